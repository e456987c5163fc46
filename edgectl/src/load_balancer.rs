//! Commands on load balancers, and on what they answer.

use clap::{Args, Subcommand, ValueEnum};
use edgestack_model::{Kind, load_balancer as model};
use edgestack_wire::{
    load_balancer::{
        CreateLbRule, CreateLoadBalancer, HealthCheck, LbProtocol, LbRule, LoadBalancer, SessionAffinity,
        UpdateLoadBalancer,
    },
    meta::Meta,
};
use reqwest::Method;

use crate::{
    cli::{
        self, ChangeArgs, ListArgs, NameArgs, NewMetaArgs, RemoveArgs, ShowArgs, UpdateMetaArgs, WaitArgs, name_or_id,
    },
    client::{Client, Payload, Reply},
    failure::Failure,
    history::{self, EventsArgs},
    lb_health,
    output::{self, Cell, Sheet, View},
    resource::{self, Shown},
    rule_spec, vm_sheet,
    wait::Verdict,
};

/// The end of the path of a load balancer's rules.
const RULES: &str = "rules";

/// Commands on load balancers.
#[derive(Debug, Subcommand)]
pub enum LoadBalancerCommand {
    /// Makes a load balancer: an address on a network, behind which members of that network answer.
    #[command(
        name = "create-lb",
        after_help = "Example:\n  edgectl create-lb shop --network blue --member web-1,web-2 --rule tcp-443 --health-check\n  \
                      edgectl create-lb dns --network blue --vip 10.0.0.53 --member 10.0.0.7 --rule udp-53 --rule tcp-53\n  \
                      edgectl create-lb shop --network blue --member web-1 --rule tcp-80=8080 --session-affinity client-ip"
    )]
    CreateLb(Box<CreateLbArgs>),
    /// Lists the load balancers.
    #[command(name = "list-lbs", after_help = "Example:\n  edgectl list-lbs -o wide")]
    ListLbs(ListArgs),
    /// Shows a load balancer: its address, what it answers, and its members.
    #[command(name = "show-lb", after_help = "Example:\n  edgectl show-lb shop")]
    ShowLb(ShowArgs),
    /// Changes a load balancer's members, rules, health check, session affinity, description or labels.
    #[command(
        name = "update-lb",
        after_help = "Example:\n  edgectl update-lb shop --add web-3 --remove web-1\n  \
                      edgectl update-lb shop --health-check --check-interval 2\n  edgectl update-lb shop --no-health-check"
    )]
    UpdateLb(Box<UpdateLbArgs>),
    /// Removes load balancers: their addresses are free again, and floating IPs that led to them lead nowhere.
    #[command(name = "remove-lb", after_help = "Example:\n  edgectl remove-lb shop")]
    RemoveLb(RemoveArgs),
    /// Shows a load balancer's history.
    #[command(name = "show-lb-events", after_help = "Example:\n  edgectl show-lb-events shop")]
    ShowLbEvents(EventsArgs),
    /// Has a load balancer answer something more.
    #[command(
        name = "create-lbr",
        after_help = "Example:\n  edgectl create-lbr shop --protocol tcp --port 443\n  \
                      edgectl create-lbr shop --protocol udp --port 5000-5010 --member-port 6000\n  \
                      edgectl create-lbr shop --protocol icmp"
    )]
    CreateLbr(CreateLbrArgs),
    /// Has a load balancer answer something no more.
    #[command(name = "remove-lbr", after_help = "Example:\n  edgectl remove-lbr shop tcp-443 udp-5000-5010")]
    RemoveLbr(RemoveLbrArgs),
}

/// `create-lb`
#[derive(Args, Debug)]
pub struct CreateLbArgs {
    /// Its name.
    #[arg(value_name = "NAME")]
    new_name: String,
    /// The network that it and its members are on.
    #[arg(long, value_name = "NETWORK")]
    network: String,
    /// Its address there; a free one if absent.
    #[arg(long, value_name = "ADDRESS")]
    vip: Option<String>,
    /// A member: a VM, or an address on the network; may be given several times.
    #[arg(long, value_name = "VM | ADDRESS", value_delimiter = ',')]
    member: Vec<String>,
    /// What it answers: a protocol and its ports, and the members' port if that is another; may be given several times.
    #[arg(long, value_name = "tcp-N | udp-N-M | icmp [=PORT]", value_parser = rule)]
    rule: Vec<CreateLbRule>,
    /// Whether a client comes to the same member each time.
    #[arg(long, value_enum, value_name = "AFFINITY", default_value = "none")]
    session_affinity: AffinityArg,
    #[command(flatten)]
    check: CheckArgs,
    #[command(flatten)]
    meta: NewMetaArgs,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// How members are found dead.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// Ask the members whether they live, and leave out those that don't.
    #[arg(long)]
    health_check: bool,
    /// Seconds from one question to the next (default: 5).
    #[arg(long, value_name = "SECONDS", requires = "health_check")]
    check_interval: Option<u16>,
    /// Seconds until a question counts as not answered (default: 3).
    #[arg(long, value_name = "SECONDS", requires = "health_check")]
    check_timeout: Option<u16>,
    /// So many failures in a row take a member out (default: 3).
    #[arg(long, value_name = "N", requires = "health_check")]
    check_failures: Option<u16>,
    /// So many answers in a row take it back in (default: 2).
    #[arg(long, value_name = "N", requires = "health_check")]
    check_successes: Option<u16>,
}

/// `update-lb`
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args([
    "description", "label", "clear_labels", "member", "clear_members", "add", "remove", "rule", "clear_rules",
    "session_affinity", "health_check", "no_health_check",
])))]
pub struct UpdateLbArgs {
    #[command(flatten)]
    of: NameArgs,
    #[command(flatten)]
    meta: UpdateMetaArgs,
    /// A member; all of them together take the place of the present ones.
    #[arg(long, value_name = "VM | ADDRESS", value_delimiter = ',', conflicts_with_all = ["add", "remove"])]
    member: Vec<String>,
    /// Take all members.
    #[arg(long, conflicts_with = "member")]
    clear_members: bool,
    /// A member more; may be given several times.
    #[arg(long, value_name = "VM | ADDRESS", value_delimiter = ',')]
    add: Vec<String>,
    /// A member less; may be given several times.
    #[arg(long, value_name = "VM | ADDRESS", value_delimiter = ',')]
    remove: Vec<String>,
    /// What it answers; all of them together take the place of the present ones.
    #[arg(long, value_name = "tcp-N | udp-N-M | icmp [=PORT]", value_parser = rule)]
    rule: Vec<CreateLbRule>,
    /// Take all rules.
    #[arg(long, conflicts_with = "rule")]
    clear_rules: bool,
    /// Whether a client comes to the same member each time.
    #[arg(long, value_enum, value_name = "AFFINITY")]
    session_affinity: Option<AffinityArg>,
    #[command(flatten)]
    check: CheckArgs,
    /// Ask the members no more.
    #[arg(long, conflicts_with = "health_check")]
    no_health_check: bool,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `create-lbr`
#[derive(Args, Debug)]
pub struct CreateLbrArgs {
    /// The load balancer, by name or id.
    #[arg(value_name = "LB", value_parser = name_or_id)]
    lb: String,
    /// What it answers.
    #[arg(long, value_enum, value_name = "PROTOCOL", ignore_case = true)]
    protocol: ProtocolArg,
    /// A port, or a range; not with icmp.
    #[arg(long, value_name = "N | N-M", value_parser = rule_spec::ports)]
    port: Option<(u16, u16)>,
    /// The members' port that the first one leads to; the same if absent.
    #[arg(long, value_name = "N", requires = "port")]
    member_port: Option<u16>,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `remove-lbr`
#[derive(Args, Debug)]
pub struct RemoveLbrArgs {
    /// The load balancer, by name or id.
    #[arg(value_name = "LB", value_parser = name_or_id)]
    lb: String,
    /// What it answers no more, as show-lb calls it.
    #[arg(value_name = "RULE", required = true)]
    rules: Vec<String>,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum AffinityArg {
    /// Each connection comes to a member by its addresses and ports.
    None,
    /// All connections of a client come to one member.
    ClientIp,
}

impl From<AffinityArg> for SessionAffinity {
    fn from(arg: AffinityArg) -> Self {
        match arg {
            AffinityArg::None => Self::None,
            AffinityArg::ClientIp => Self::ClientIp,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProtocolArg {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Echo requests and the like.
    Icmp,
}

impl From<ProtocolArg> for LbProtocol {
    fn from(arg: ProtocolArg) -> Self {
        match arg {
            ProtocolArg::Tcp => Self::Tcp,
            ProtocolArg::Udp => Self::Udp,
            ProtocolArg::Icmp => Self::Icmp,
        }
    }
}

impl CheckArgs {
    fn check(&self) -> Option<HealthCheck> {
        let usual = HealthCheck::from(model::HealthTiming::default());
        self.health_check.then(|| HealthCheck {
            interval_seconds: self.check_interval.unwrap_or(usual.interval_seconds),
            timeout_seconds: self.check_timeout.unwrap_or(usual.timeout_seconds),
            failures: self.check_failures.unwrap_or(usual.failures),
            successes: self.check_successes.unwrap_or(usual.successes),
        })
    }
}

/// A rule in one word: `tcp-80`, `udp-5000-5010`, `icmp`, `tcp-80=8080`.
fn rule(text: &str) -> Result<CreateLbRule, String> {
    let (rule, member_port) = text.split_once('=').map_or((text, None), |(rule, port)| (rule, Some(port)));
    let rule: model::Rule = rule.parse().map_err(|error: model::RuleError| error.to_string())?;
    let member_port = member_port.map(str::parse).transpose();
    let member_port = member_port.map_err(|_| format!("{text:?}: what is after the = must be a port"))?;
    let ports = rule.ports;
    Ok(CreateLbRule {
        protocol: rule.protocol.into(),
        port_range_min: ports.map(|ports| ports.min),
        port_range_max: ports.map(|ports| ports.max),
        member_port,
    })
}

/// Runs a command on load balancers.
///
/// # Errors
/// See [`Failure`].
pub async fn run(command: LoadBalancerCommand, client: &Client) -> Result<(), Failure> {
    match command {
        LoadBalancerCommand::CreateLb(args) => create(client, *args).await,
        LoadBalancerCommand::ListLbs(args) => resource::list::<LoadBalancer>(client, &args).await,
        LoadBalancerCommand::ShowLb(args) => lb_health::show(client, &args).await,
        LoadBalancerCommand::UpdateLb(args) => update(client, *args).await,
        LoadBalancerCommand::RemoveLb(args) => resource::remove::<LoadBalancer>(client, &args).await,
        LoadBalancerCommand::ShowLbEvents(args) => history::events(client, Kind::LoadBalancer, &args).await,
        LoadBalancerCommand::CreateLbr(args) => create_rule(client, args).await,
        LoadBalancerCommand::RemoveLbr(args) => remove_rules(client, args).await,
    }
}

async fn create(client: &Client, args: CreateLbArgs) -> Result<(), Failure> {
    let health_check = args.check.check();
    let body = Payload::json(&CreateLoadBalancer {
        name: args.new_name,
        description: args.meta.description,
        labels: args.meta.label.into_iter().collect(),
        network: args.network,
        vip: args.vip,
        members: args.member,
        rules: args.rule,
        session_affinity: args.session_affinity.into(),
        health_check,
    })?;
    let reply = client.change(Method::POST, &[Kind::LoadBalancer.plural()], &body, &args.change).await?;
    finish(client, &reply, &args.change, &args.wait, "created").await
}

async fn update(client: &Client, args: UpdateLbArgs) -> Result<(), Failure> {
    let check = args.check.check();
    let body = Payload::json(&UpdateLoadBalancer {
        description: args.meta.description(),
        labels: args.meta.labels(),
        members: cli::replaced_list(args.member, args.clear_members),
        add: args.add,
        remove: args.remove,
        rules: cli::replaced_list(args.rule, args.clear_rules),
        session_affinity: args.session_affinity.map(Into::into),
        health_check: if args.no_health_check { Some(None) } else { check.map(Some) },
    })?;
    let segments = [Kind::LoadBalancer.plural(), args.of.name.as_str()];
    let reply = client.change(Method::PATCH, &segments, &body, &args.change).await?;
    finish(client, &reply, &args.change, &args.wait, "updated").await
}

async fn create_rule(client: &Client, args: CreateLbrArgs) -> Result<(), Failure> {
    let body = Payload::json(&CreateLbRule {
        protocol: args.protocol.into(),
        port_range_min: args.port.map(|(min, _)| min),
        port_range_max: args.port.map(|(_, max)| max),
        member_port: args.member_port,
    })?;
    let segments = [Kind::LoadBalancer.plural(), args.lb.as_str(), RULES];
    let reply = client.change(Method::POST, &segments, &body, &args.change).await?;
    finish(client, &reply, &args.change, &args.wait, "updated").await
}

async fn remove_rules(client: &Client, args: RemoveLbrArgs) -> Result<(), Failure> {
    let mut last = None;
    for rule in &args.rules {
        let segments = [Kind::LoadBalancer.plural(), args.lb.as_str(), RULES, rule.as_str()];
        last = Some(client.change(Method::DELETE, &segments, &Payload::Empty, &args.change).await?);
    }
    match last {
        Some(reply) => finish(client, &reply, &args.change, &args.wait, "updated").await,
        None => Err(Failure::Usage("name a rule; see edgectl show-lb".to_owned())),
    }
}

/// Tells what the virtual network does otherwise than asked for, and waits.
async fn finish(
    client: &Client,
    reply: &Reply,
    change: &ChangeArgs,
    wait: &WaitArgs,
    done: &str,
) -> Result<(), Failure> {
    let changed: LoadBalancer = serde_json::from_str(&reply.body)?;
    for limit in &changed.limits {
        output::note(limit);
    }
    resource::finish::<LoadBalancer>(client, reply, change, wait.patience(), done, verdict).await
}

/// Whether the nodes work by it.
fn verdict(balancer: &LoadBalancer) -> Verdict {
    match balancer.state.as_str() {
        "active" => Verdict::Reached,
        "deleting" => Verdict::Never(format!("load_balancer \"{}\" is being removed by now", balancer.meta.name)),
        state => Verdict::NotYet { state: state.to_owned(), waiting: balancer.waiting.clone() },
    }
}

fn rule_words(rule: &LbRule) -> String {
    let to = rule.member_port.filter(|port| Some(*port) != rule.port_range_min);
    to.map_or_else(|| rule.id.clone(), |port| format!("{} to the members' port {port}", rule.id))
}

impl Shown for LoadBalancer {
    const KIND: Kind = Kind::LoadBalancer;
    const WHEN_EMPTY: &'static str =
        "no load balancers yet; make one: edgectl create-lb shop --network blue --member web-1,web-2 --rule tcp-80";

    fn headers(wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["NAME", "STATE", "NETWORK", "VIP", "RULES", "MEMBERS"];
        if wide {
            headers.extend(["FLOATING IPS", "AFFINITY", "CHECKED", "LABELS", "ID"]);
        }
        headers.push("AGE");
        headers
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn row(&self, view: &View) -> Vec<Cell> {
        let rules: Vec<&str> = self.rules.iter().map(|rule| rule.id.as_str()).collect();
        let mut row: Vec<Cell> = vec![
            self.meta.name.as_str().into(),
            Cell::state(&self.state),
            self.network.as_str().into(),
            self.vip.as_str().into(),
            rules.join(",").into(),
            self.members.len().to_string().into(),
        ];
        if view.wide {
            row.extend([
                self.floating_ips.join(",").into(),
                model::SessionAffinity::from(self.session_affinity).as_str().into(),
                if self.health_check.is_some() { "yes" } else { "no" }.into(),
                output::labels(&self.meta.labels).into(),
                self.meta.id.to_string().into(),
            ]);
        }
        row.push(view.age(self.meta.created_at).into());
        row
    }

    fn sheet(&self, view: &View) -> Sheet {
        let mut sheet = resource::sheet_of(&self.meta, Some(Cell::state(&self.state)), view);
        if let Some(waiting) = &self.waiting {
            vm_sheet::waiting_section(&mut sheet, waiting, view);
        }
        sheet.section("Address");
        sheet.pair("VIP", self.vip.as_str());
        sheet.pair("network", self.network.as_str());
        for address in &self.floating_ips {
            sheet.pair("floating IP", address.as_str());
        }
        sheet.section("Answers");
        for rule in &self.rules {
            sheet.pair("rule", rule_words(rule));
        }
        if self.rules.is_empty() {
            sheet.pair("rule", "none: it answers nobody");
        }
        if self.session_affinity == SessionAffinity::ClientIp {
            sheet.pair("affinity", "a client comes to one member");
        }
        sheet.section("Members");
        for address in &self.members {
            let vm = self.member_vms.iter().find(|member| member.address == *address);
            sheet.pair("member", vm.map_or_else(|| address.clone(), |member| format!("{address}, vm {}", member.vm)));
        }
        if self.members.is_empty() {
            sheet.pair("member", "none: who asks is refused");
        }
        if let Some(check) = &self.health_check {
            let HealthCheck { interval_seconds, timeout_seconds, failures, successes } = check.timing;
            let how = format!(
                "each {interval_seconds} s from {}, at most {timeout_seconds} s; out after {failures}, in after {successes}",
                check.source
            );
            sheet.pair("asked", how);
        }
        if !self.limits.is_empty() {
            sheet.section("Otherwise than asked for");
            for limit in &self.limits {
                sheet.pair("limit", limit.as_str());
            }
        }
        sheet
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn a_balancer() -> LoadBalancer {
        let balancer = serde_json::json!({
            "id": "0197a5a0-0000-7000-8000-000000000001", "name": "shop", "description": "", "labels": {}, "generation": 1,
            "revision": 17, "created_at": "2026-09-21T14:13:20Z", "updated_at": "2026-09-21T14:14:20Z",
            "correlation_id": "0197a5a0-0000-7000-8000-0000000000aa", "state": "active", "waiting": null,
            "network": "blue", "network_id": "0197a5a0-0000-7000-8000-000000000002", "vip": "10.0.0.50",
            "members": ["10.0.0.2", "10.0.0.9"],
            "member_vms": [{"address": "10.0.0.2", "vm": "web", "vm_id": "0197a5a0-0000-7000-8000-000000000003", "nic": 0}],
            "rules": [{"id": "tcp-80", "protocol": "tcp", "port_range_min": 80, "port_range_max": 80, "member_port": 8080}],
            "session_affinity": "client_ip",
            "health_check": {"interval_seconds": 5, "timeout_seconds": 3, "failures": 3, "successes": 2, "source": "10.0.0.51"},
            "floating_ips": ["192.0.2.10"], "limits": ["no VM has 10.0.0.9"],
        });
        serde_json::from_value(balancer).unwrap()
    }

    #[test]
    fn the_sheet_tells_who_answers_what() {
        let view = View { wide: false, colour: false, now: DateTime::from_timestamp(1_790_000_600, 0).unwrap() };
        let text = a_balancer().sheet(&view).render(false);
        for part in [
            "10.0.0.50\n",
            "tcp-80 to the members' port 8080\n",
            "10.0.0.2, vm web\n",
            "10.0.0.9\n",
            "each 5 s from 10.0.0.51",
            "192.0.2.10\n",
            "no VM has 10.0.0.9\n",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        let empty = LoadBalancer { members: vec![], rules: vec![], ..a_balancer() };
        let text = empty.sheet(&view).render(false);
        assert!(text.contains("none: it answers nobody") && text.contains("none: who asks is refused"), "{text}");
        for wide in [false, true] {
            assert_eq!(a_balancer().row(&View { wide, ..view }).len(), LoadBalancer::headers(wide).len());
        }
    }

    #[test]
    fn it_is_waited_for_until_it_is_active() {
        assert_eq!(verdict(&a_balancer()), Verdict::Reached);
        let in_state = |state: &str| LoadBalancer { state: state.to_owned(), ..a_balancer() };
        assert!(matches!(verdict(&in_state("updating")), Verdict::NotYet { .. }));
        assert!(matches!(verdict(&in_state("deleting")), Verdict::Never(_)));
    }

    #[test]
    fn a_rule_is_one_word() {
        let ports = |text: &str| rule(text).map(|rule| (rule.port_range_min, rule.port_range_max, rule.member_port));
        assert_eq!(ports("tcp-80"), Ok((Some(80), Some(80), None)));
        assert_eq!(ports("udp-5000-5010=6000"), Ok((Some(5000), Some(5010), Some(6000))));
        assert_eq!(ports("icmp"), Ok((None, None, None)));
        for wrong in ["80", "tcp", "tcp-80=x", "sctp-1", "tcp-9-8"] {
            assert!(rule(wrong).is_err(), "{wrong}");
        }
    }
}
