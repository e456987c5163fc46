//! Floating IPs as they travel.

use std::collections::BTreeMap;

use edgestack_model::{
    Name, Waiting as ModelWaiting,
    command::Reference,
    floating_ip::{self as model, AssociationRequest, FloatingIpCommand},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Invalid, invalid,
    meta::{Meta, Waiting},
};

/// A floating IP: an address outside that leads to one VM or load balancer at a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FloatingIp {
    /// Identity and bookkeeping.
    #[serde(flatten)]
    pub meta: Meta,
    /// `creating`, `active`, `updating`, `deleting`.
    #[schema(example = "active")]
    pub state: String,
    /// What it waits for, while it is not where it should be.
    pub waiting: Option<Waiting>,
    /// The name of the router through which it leads.
    pub router: String,
    /// The router through which it leads.
    pub router_id: Uuid,
    /// The name of the network outside that it is of.
    pub external_network: String,
    /// The network outside that it is of.
    pub external_network_id: Uuid,
    /// The address.
    #[schema(example = "192.0.2.10")]
    pub floating_ip: String,
    /// The name of the VM that it leads to; null: to none.
    pub vm: Option<String>,
    /// The VM that it leads to.
    pub vm_id: Option<Uuid>,
    /// Under which of the VM's addresses.
    #[schema(example = "10.0.0.2")]
    pub fixed_ip: Option<String>,
    /// By which of the VM's NICs, from 0.
    pub nic: Option<u32>,
    /// The name of the load balancer that it leads to; null: to none.
    pub load_balancer: Option<String>,
    /// The load balancer that it leads to.
    pub load_balancer_id: Option<Uuid>,
}

/// A floating IP to be taken.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"router": "edge", "vm": "web"}))]
pub struct CreateFloatingIp {
    /// Its name; its address if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(pattern = "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
    pub name: Option<String>,
    /// Free text of at most 1,024 characters.
    #[serde(default)]
    #[schema(max_length = 1024)]
    pub description: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The router through which it is to lead, by name or id; the only one with a way outside if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub router: Option<String>,
    /// The address wished for; a free one of the external network's pool if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "192.0.2.10")]
    pub floating_ip: Option<String>,
    /// The VM that it leads to from the first, by name or id; none if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub vm: Option<String>,
    /// Which of the VM's addresses; the only one that the router leads to if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "10.0.0.2")]
    pub fixed_ip: Option<String>,
    /// The load balancer that it leads to from the first, by name or id, where to no VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 255)]
    pub load_balancer: Option<String>,
}

/// Something to do with a floating IP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[schema(example = json!({"action": "associate", "vm": "web"}))]
pub enum FloatingIpAction {
    /// Has it lead to a VM or to a load balancer, in place of where it led before.
    Associate {
        /// The VM, by name or id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(min_length = 1, max_length = 255)]
        vm: Option<String>,
        /// The load balancer, by name or id; in place of a VM.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(min_length = 1, max_length = 255)]
        load_balancer: Option<String>,
        /// Which of the VM's addresses; the only one that the router leads to if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(example = "10.0.0.2")]
        fixed_ip: Option<String>,
    },
    /// Has it lead nowhere. It stays held.
    Disassociate {},
    /// Looks at it again now, whatever it waits for. Needs a reason.
    Reconcile {},
    /// Forgets it, whatever is left of it in the virtual network, where the usual removal can't end. Needs a reason.
    ForceRemove {},
}

impl FloatingIpAction {
    /// The command that this action on a floating IP is.
    ///
    /// # Errors
    /// [`Invalid`] names the field.
    pub fn into_command(self, floating_ip: Reference) -> Result<FloatingIpCommand, Invalid> {
        Ok(match self {
            Self::Associate { vm, load_balancer, fixed_ip } => match target(vm, load_balancer, fixed_ip)? {
                (Some(to), _) => FloatingIpCommand::Associate { floating_ip, to },
                (None, Some(load_balancer)) => FloatingIpCommand::AssociateLoadBalancer { floating_ip, load_balancer },
                (None, None) => {
                    return Err(Invalid::new("vm", "name the vm or the load_balancer that it is to lead to"));
                }
            },
            Self::Disassociate {} => FloatingIpCommand::Disassociate { floating_ip },
            Self::Reconcile {} => FloatingIpCommand::Reconcile { floating_ip },
            Self::ForceRemove {} => FloatingIpCommand::ForceRemove { floating_ip },
        })
    }
}

impl TryFrom<CreateFloatingIp> for FloatingIpCommand {
    type Error = Invalid;
    fn try_from(create: CreateFloatingIp) -> Result<Self, Invalid> {
        let (to, load_balancer) = target(create.vm, create.load_balancer, create.fixed_ip)?;
        Ok(Self::Create(Box::new(model::CreateFloatingIp {
            name: create.name.as_deref().map(invalid::name).transpose()?,
            description: create.description,
            labels: invalid::labels("labels", create.labels)?,
            router: create.router.map(|router| invalid::reference("router", router)).transpose()?,
            address: create.floating_ip.map(|ip| invalid::parse("floating_ip", &ip)).transpose()?,
            to,
            load_balancer,
        })))
    }
}

/// Where one is to lead: to a VM, to a load balancer, or nowhere.
fn target(
    vm: Option<String>,
    load_balancer: Option<String>,
    fixed_ip: Option<String>,
) -> Result<(Option<AssociationRequest>, Option<Reference>), Invalid> {
    match (vm, load_balancer, fixed_ip) {
        (Some(_), Some(_), _) => Err(Invalid::new("load_balancer", "give it or vm, not both")),
        (None, _, Some(_)) => Err(Invalid::new("fixed_ip", "it is an address of a VM; name the vm, too")),
        (Some(vm), None, fixed_ip) => Ok((Some(association(vm, fixed_ip)?), None)),
        (None, Some(balancer), None) => Ok((None, Some(invalid::reference("load_balancer", balancer)?))),
        (None, None, None) => Ok((None, None)),
    }
}

fn association(vm: String, fixed_ip: Option<String>) -> Result<AssociationRequest, Invalid> {
    Ok(AssociationRequest {
        vm: invalid::reference("vm", vm)?,
        fixed_ip: fixed_ip.map(|ip| invalid::parse("fixed_ip", &ip)).transpose()?,
    })
}

/// The names of what a floating IP has to do with, as far as it is there.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// Its router's.
    pub router: Option<Name>,
    /// Its external network's.
    pub network: Option<Name>,
    /// That of the VM that it leads to.
    pub vm: Option<Name>,
    /// That of the load balancer that it leads to.
    pub load_balancer: Option<Name>,
}

impl FloatingIp {
    /// A floating IP, what it waits for, and the names around it.
    pub fn of(ip: &model::FloatingIp, waiting: Option<ModelWaiting>, names: Names) -> Self {
        let attempts = ip.realization.failure.as_ref().map_or(0, |failure| failure.attempt);
        let word = |name: Option<Name>, id: Uuid| name.map_or_else(|| id.to_string(), |name| name.to_string());
        let (router_id, external_network_id) = (ip.spec.router.uuid(), ip.spec.network.uuid());
        let to = ip.association.as_ref();
        Self {
            meta: Meta::of(ip.id.uuid(), &ip.meta),
            state: ip.realization.state.as_str().to_owned(),
            waiting: waiting.map(|waiting| Waiting::of(waiting, attempts)),
            router: word(names.router, router_id),
            router_id,
            external_network: word(names.network, external_network_id),
            external_network_id,
            floating_ip: ip.spec.address.to_string(),
            vm: to.map(|to| word(names.vm, to.vm.uuid())),
            vm_id: to.map(|to| to.vm.uuid()),
            fixed_ip: to.map(|to| to.fixed_ip.to_string()),
            nic: to.map(|to| to.nic),
            load_balancer: ip.load_balancer.map(|id| word(names.load_balancer, id.uuid())),
            load_balancer_id: ip.load_balancer.map(|id| id.uuid()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn created(body: Value) -> Result<FloatingIpCommand, Invalid> {
        serde_json::from_value::<CreateFloatingIp>(body).unwrap().try_into()
    }

    fn acted(mut body: Value) -> Result<FloatingIpCommand, Invalid> {
        body["action"] = "associate".into();
        serde_json::from_value::<FloatingIpAction>(body).unwrap().into_command("ip".into())
    }

    #[test]
    fn all_of_a_new_one_can_be_left_open() {
        let FloatingIpCommand::Create(open) = created(json!({})).unwrap() else { panic!("it is made") };
        assert_eq!((open.name, open.router, open.address, open.to), (None, None, None, None));
        let body =
            json!({"name": "web", "router": "edge", "floating_ip": "192.0.2.10", "vm": "a", "fixed_ip": "10.0.0.2"});
        let FloatingIpCommand::Create(whole) = created(body).unwrap() else { panic!("it is made") };
        assert_eq!(whole.address, Some("192.0.2.10".parse().unwrap()));
        let to = AssociationRequest { vm: "a".into(), fixed_ip: Some("10.0.0.2".parse().unwrap()) };
        assert_eq!(whole.to, Some(to));
    }

    #[test]
    fn each_wrong_value_is_told_by_its_field() {
        for (body, field) in [
            (json!({"name": "A b"}), "name"),
            (json!({"labels": {"a b": "c"}}), "labels"),
            (json!({"router": ""}), "router"),
            (json!({"floating_ip": "x"}), "floating_ip"),
            (json!({"vm": ""}), "vm"),
            (json!({"vm": "a", "fixed_ip": "x"}), "fixed_ip"),
            (json!({"fixed_ip": "10.0.0.2"}), "fixed_ip"),
            (json!({"load_balancer": "l", "fixed_ip": "10.0.0.2"}), "fixed_ip"),
            (json!({"load_balancer": "l", "vm": "a"}), "load_balancer"),
            (json!({"load_balancer": ""}), "load_balancer"),
        ] {
            assert_eq!(created(body.clone()).unwrap_err().field, field, "{body}");
        }
        assert_eq!(acted(json!({"vm": ""})).unwrap_err().field, "vm");
        assert_eq!(acted(json!({"vm": "a", "fixed_ip": "x"})).unwrap_err().field, "fixed_ip");
        assert!(matches!(acted(json!({"vm": "a"})), Ok(FloatingIpCommand::Associate { .. })));
        assert_eq!(acted(json!({})).unwrap_err().field, "vm");
        let to_balancer = acted(json!({"load_balancer": "l"}));
        assert!(matches!(to_balancer, Ok(FloatingIpCommand::AssociateLoadBalancer { .. })));
    }
}
