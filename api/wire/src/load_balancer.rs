//! Load balancers as they travel.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use edgestack_model::{
    Name, Waiting as ModelWaiting,
    command::Reference,
    load_balancer::{self as model, LoadBalancerCommand, MEMBERS_MAX, MemberRequest, PORTS_MAX},
    meta::MetaChange,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Invalid, invalid,
    meta::{self, Meta, Waiting},
};

/// A load balancer: an address on a network, behind which members answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoadBalancer {
    /// Identity and bookkeeping.
    #[serde(flatten)]
    pub meta: Meta,
    /// `creating`, `active`, `updating`, `deleting`.
    #[schema(example = "active")]
    pub state: String,
    /// What it waits for, while it is not where it should be.
    pub waiting: Option<Waiting>,
    /// The name of the network that it and its members are on.
    pub network: String,
    /// The network that it and its members are on.
    pub network_id: Uuid,
    /// Its address there.
    #[schema(example = "10.0.0.50")]
    pub vip: String,
    /// The addresses of those who answer.
    #[schema(example = json!(["10.0.0.2", "10.0.0.3"]))]
    pub members: Vec<String>,
    /// The VMs that have them now, as far as any has.
    pub member_vms: Vec<MemberVm>,
    /// What is answered.
    pub rules: Vec<LbRule>,
    /// Whether a client comes to the same member each time.
    pub session_affinity: SessionAffinity,
    /// How members are found dead; null: not at all.
    pub health_check: Option<ShownHealthCheck>,
    /// The addresses of the floating IPs that lead to it.
    pub floating_ips: Vec<String>,
    /// What is asked for that the virtual network does otherwise, each in a sentence.
    pub limits: Vec<String>,
}

/// A VM that has a member's address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberVm {
    /// The address.
    #[schema(example = "10.0.0.2")]
    pub address: String,
    /// The VM's name.
    pub vm: String,
    /// The VM.
    pub vm_id: Uuid,
    /// Which of its NICs, from 0.
    pub nic: u32,
}

/// What a load balancer answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LbRule {
    /// The name by which it is removed: its protocol and ports.
    #[schema(example = "tcp-80")]
    pub id: String,
    /// The protocol.
    pub protocol: LbProtocol,
    /// The first port; null with `icmp`.
    pub port_range_min: Option<u16>,
    /// The last port; null with `icmp`.
    pub port_range_max: Option<u16>,
    /// The members' port that the first one leads to; null with `icmp`.
    pub member_port: Option<u16>,
}

/// What a load balancer is to answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"protocol": "tcp", "port_range_min": 80, "member_port": 8080}))]
pub struct CreateLbRule {
    /// The protocol.
    pub protocol: LbProtocol,
    /// The first port; with `port_range_max` alone it is that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    pub port_range_min: Option<u16>,
    /// The last port; with `port_range_min` alone it is that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    pub port_range_max: Option<u16>,
    /// The members' port that the first one leads to, the next to the next one, and so on; the same port if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65535)]
    pub member_port: Option<u16>,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LbProtocol {
    /// TCP.
    #[serde(alias = "TCP")]
    Tcp,
    /// UDP.
    #[serde(alias = "UDP")]
    Udp,
    /// Echo requests and the like, spread together with all that no other rule names.
    #[serde(alias = "ICMP")]
    Icmp,
}

/// Whether a client comes to the same member each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionAffinity {
    /// Each connection comes to a member by its addresses and ports.
    #[default]
    None,
    /// All connections of a client come to one member, by the client's address.
    ClientIp,
}

/// How members are found dead, and alive again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"interval_seconds": 5}))]
pub struct HealthCheck {
    /// Seconds from one question to the next.
    #[serde(default = "interval")]
    #[schema(minimum = 1, maximum = 3600, default = 5)]
    pub interval_seconds: u16,
    /// Seconds until a question counts as not answered; not more than `interval_seconds`.
    #[serde(default = "timeout")]
    #[schema(minimum = 1, maximum = 3600, default = 3)]
    pub timeout_seconds: u16,
    /// So many failures in a row take a member out.
    #[serde(default = "failures")]
    #[schema(minimum = 1, maximum = 3600, default = 3)]
    pub failures: u16,
    /// So many answers in a row take it back in.
    #[serde(default = "successes")]
    #[schema(minimum = 1, maximum = 3600, default = 2)]
    pub successes: u16,
}

fn interval() -> u16 {
    model::HealthTiming::default().interval_seconds
}

fn timeout() -> u16 {
    model::HealthTiming::default().timeout_seconds
}

fn failures() -> u16 {
    model::HealthTiming::default().failures
}

fn successes() -> u16 {
    model::HealthTiming::default().successes
}

/// How members are found dead, and who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ShownHealthCheck {
    /// How often.
    #[serde(flatten)]
    pub timing: HealthCheck,
    /// The address on the network that asks.
    #[schema(example = "10.0.0.51")]
    pub source: String,
}

/// A load balancer to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "shop", "network": "blue", "members": ["web-1", "web-2"],
    "rules": [{"protocol": "tcp", "port_range_min": 443}], "health_check": {"interval_seconds": 5},
}))]
pub struct CreateLoadBalancer {
    /// Its name.
    #[schema(pattern = "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
    pub name: String,
    /// Free text of at most 1,024 characters.
    #[serde(default)]
    #[schema(max_length = 1024)]
    pub description: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The network that it and its members are on, by name or id.
    #[schema(min_length = 1, max_length = 255)]
    pub network: String,
    /// The address wished for; a free one of the network's pool if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "10.0.0.50")]
    pub vip: Option<String>,
    /// Who answers: addresses on the network, or VMs by name or id.
    #[serde(default)]
    #[schema(max_items = 64, example = json!(["10.0.0.2", "web-2"]))]
    pub members: Vec<String>,
    /// What is answered.
    #[serde(default)]
    #[schema(max_items = 256)]
    pub rules: Vec<CreateLbRule>,
    /// Whether a client comes to the same member each time.
    #[serde(default)]
    pub session_affinity: SessionAffinity,
    /// How members are found dead; not at all if absent.
    #[serde(default, deserialize_with = "meta::optional_object", skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

/// A change of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"add": ["web-3"], "remove": ["10.0.0.2"]}))]
pub struct UpdateLoadBalancer {
    /// Free text of at most 1,024 characters; `null` clears it.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 1024)]
    pub description: Option<Option<String>>,
    /// All labels, in place of the present ones; `null` clears them.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub labels: Option<Option<BTreeMap<String, String>>>,
    /// All members, in place of the present ones; `null` is none.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>, max_items = 64)]
    pub members: Option<Option<Vec<String>>>,
    /// Also these members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64)]
    pub add: Vec<String>,
    /// Not these members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 64)]
    pub remove: Vec<String>,
    /// All rules, in place of the present ones; `null` is none.
    #[serde(default, deserialize_with = "meta::present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<CreateLbRule>>, max_items = 256)]
    pub rules: Option<Option<Vec<CreateLbRule>>>,
    /// Whether a client comes to the same member each time.
    #[serde(default, deserialize_with = "meta::given", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = SessionAffinity, required = false)]
    pub session_affinity: Option<SessionAffinity>,
    /// How members are found dead, what is absent of it as if none had been there; `null` is not at all.
    #[serde(default, deserialize_with = "meta::present_object", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<HealthCheck>)]
    pub health_check: Option<Option<HealthCheck>>,
}

/// Something to do with a load balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[schema(example = json!({"action": "reconcile"}))]
pub enum LoadBalancerAction {
    /// Looks at it again now, whatever it waits for. Needs a reason.
    Reconcile {},
    /// Forgets it, whatever is left of it in the virtual network, where the usual removal can't end. Needs a reason.
    ForceRemove {},
}

impl LoadBalancerAction {
    /// The command that this action on a load balancer is.
    pub fn into_command(self, load_balancer: Reference) -> LoadBalancerCommand {
        match self {
            Self::Reconcile {} => LoadBalancerCommand::Reconcile { load_balancer },
            Self::ForceRemove {} => LoadBalancerCommand::ForceRemove { load_balancer },
        }
    }
}

impl TryFrom<CreateLoadBalancer> for LoadBalancerCommand {
    type Error = Invalid;
    fn try_from(create: CreateLoadBalancer) -> Result<Self, Invalid> {
        Ok(Self::Create(Box::new(model::CreateLoadBalancer {
            name: invalid::name(&create.name)?,
            description: create.description,
            labels: invalid::labels("labels", create.labels)?,
            network: invalid::reference("network", create.network)?,
            vip: create.vip.map(|vip| invalid::parse("vip", &vip)).transpose()?,
            members: members("members", create.members)?,
            rules: rules(&create.rules)?,
            session_affinity: create.session_affinity.into(),
            health_check: create.health_check.map(Into::into),
        })))
    }
}

impl UpdateLoadBalancer {
    /// The command that this update of a load balancer is.
    ///
    /// # Errors
    /// [`Invalid`] names the field.
    pub fn into_command(self, load_balancer: Reference) -> Result<LoadBalancerCommand, Invalid> {
        let change: MetaChange = meta::change(self.description, self.labels)?;
        let all = self.members.map(Option::unwrap_or_default);
        Ok(LoadBalancerCommand::Update(Box::new(model::UpdateLoadBalancer {
            load_balancer,
            change,
            members: all.map(|all| members("members", all)).transpose()?,
            add: members("add", self.add)?,
            remove: members("remove", self.remove)?,
            rules: self.rules.map(|all| rules(&all.unwrap_or_default())).transpose()?,
            session_affinity: self.session_affinity.map(Into::into),
            health_check: self.health_check.map(|check| check.map(Into::into)),
        })))
    }
}

impl CreateLbRule {
    /// The command that has a load balancer answer this, too.
    ///
    /// # Errors
    /// [`Invalid`] names the field.
    pub fn into_command(self, load_balancer: Reference) -> Result<LoadBalancerCommand, Invalid> {
        Ok(LoadBalancerCommand::AddRule { load_balancer, rule: self.parse("")? })
    }

    /// What the model takes; `at` is where it stands in the request, `rules.0.` with its dot.
    fn parse(&self, at: &str) -> Result<model::Rule, Invalid> {
        let ports = (self.port_range_min, self.port_range_max);
        model::Rule::new(self.protocol.into(), ports, self.member_port).map_err(|error| {
            let field = match error {
                model::RuleError::MemberPort { .. } => "member_port",
                model::RuleError::UpsideDown { .. } => "port_range_max",
                model::RuleError::PortZero if self.member_port == Some(0) => "member_port",
                model::RuleError::PortZero
                | model::RuleError::PortsMissing(_)
                | model::RuleError::NoPorts
                | model::RuleError::Name(_) => "port_range_min",
            };
            Invalid::new(&format!("{at}{field}"), error)
        })
    }
}

/// The command that has a load balancer answer something no more, by its rule's name.
///
/// # Errors
/// [`Invalid`] tells what no rule is called.
pub fn remove_rule(load_balancer: Reference, rule: &str) -> Result<LoadBalancerCommand, Invalid> {
    Ok(LoadBalancerCommand::RemoveRule { load_balancer, rule: invalid::parse("rule", rule)? })
}

/// Addresses as such, all else as VMs.
fn members(field: &str, named: Vec<String>) -> Result<Vec<MemberRequest>, Invalid> {
    if named.len() > MEMBERS_MAX {
        return Err(Invalid::new(field, format_args!("at most {MEMBERS_MAX} members, got {}", named.len())));
    }
    let member = |(at, text): (usize, String)| match text.parse() {
        Ok(address) => Ok(MemberRequest::Address(address)),
        Err(_) => Ok(MemberRequest::Vm(invalid::reference(&format!("{field}.{at}"), text)?)),
    };
    named.into_iter().enumerate().map(member).collect()
}

fn rules(rules: &[CreateLbRule]) -> Result<Vec<model::Rule>, Invalid> {
    if rules.len() > PORTS_MAX {
        return Err(Invalid::new("rules", format_args!("at most {PORTS_MAX} rules, got {}", rules.len())));
    }
    rules.iter().enumerate().map(|(at, rule)| rule.parse(&format!("rules.{at}."))).collect()
}

impl From<LbProtocol> for model::Protocol {
    fn from(protocol: LbProtocol) -> Self {
        match protocol {
            LbProtocol::Tcp => Self::Tcp,
            LbProtocol::Udp => Self::Udp,
            LbProtocol::Icmp => Self::Icmp,
        }
    }
}

impl From<model::Protocol> for LbProtocol {
    fn from(protocol: model::Protocol) -> Self {
        match protocol {
            model::Protocol::Tcp => Self::Tcp,
            model::Protocol::Udp => Self::Udp,
            model::Protocol::Icmp => Self::Icmp,
        }
    }
}

impl From<SessionAffinity> for model::SessionAffinity {
    fn from(affinity: SessionAffinity) -> Self {
        match affinity {
            SessionAffinity::None => Self::None,
            SessionAffinity::ClientIp => Self::ClientIp,
        }
    }
}

impl From<model::SessionAffinity> for SessionAffinity {
    fn from(affinity: model::SessionAffinity) -> Self {
        match affinity {
            model::SessionAffinity::None => Self::None,
            model::SessionAffinity::ClientIp => Self::ClientIp,
        }
    }
}

impl From<HealthCheck> for model::HealthTiming {
    fn from(check: HealthCheck) -> Self {
        let HealthCheck { interval_seconds, timeout_seconds, failures, successes } = check;
        Self { interval_seconds, timeout_seconds, failures, successes }
    }
}

impl From<model::HealthTiming> for HealthCheck {
    fn from(timing: model::HealthTiming) -> Self {
        let model::HealthTiming { interval_seconds, timeout_seconds, failures, successes } = timing;
        Self { interval_seconds, timeout_seconds, failures, successes }
    }
}

impl From<&model::Rule> for LbRule {
    fn from(rule: &model::Rule) -> Self {
        Self {
            id: rule.to_string(),
            protocol: rule.protocol.into(),
            port_range_min: rule.ports.map(|ports| ports.min),
            port_range_max: rule.ports.map(|ports| ports.max),
            member_port: rule.member_port.or(rule.ports.map(|ports| ports.min)),
        }
    }
}

/// What of others is shown with a load balancer.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// Its network's name, while it is there.
    pub network: Option<Name>,
    /// The VMs that have members' addresses.
    pub member_vms: Vec<MemberVm>,
    /// The floating IPs that lead to it.
    pub floating_ips: BTreeSet<IpAddr>,
    /// What the virtual network does otherwise.
    pub limits: Vec<String>,
}

impl LoadBalancer {
    /// A load balancer, what it waits for, and what is around it.
    pub fn of(balancer: &model::LoadBalancer, waiting: Option<ModelWaiting>, around: Around) -> Self {
        let spec = &balancer.spec;
        let attempts = balancer.realization.failure.as_ref().map_or(0, |failure| failure.attempt);
        let asks = |check: model::HealthCheck| ShownHealthCheck {
            timing: check.timing.into(),
            source: check.source.to_string(),
        };
        Self {
            meta: Meta::of(balancer.id.uuid(), &balancer.meta),
            state: balancer.realization.state.as_str().to_owned(),
            waiting: waiting.map(|waiting| Waiting::of(waiting, attempts)),
            network: around.network.map_or_else(|| spec.network.to_string(), |name| name.to_string()),
            network_id: spec.network.uuid(),
            vip: spec.vip.to_string(),
            members: spec.members.iter().map(ToString::to_string).collect(),
            member_vms: around.member_vms,
            rules: spec.rules.iter().map(Into::into).collect(),
            session_affinity: spec.session_affinity.into(),
            health_check: spec.health_check.map(asks),
            floating_ips: around.floating_ips.iter().map(ToString::to_string).collect(),
            limits: around.limits,
        }
    }
}

#[cfg(test)]
mod tests;
