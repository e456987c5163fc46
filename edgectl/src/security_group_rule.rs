//! Commands on security group rules.

use clap::{Args, Subcommand, ValueEnum};
use edgestack_model::Kind;
use edgestack_wire::{
    meta::Meta,
    security_group_rule::{CreateSecurityGroupRule, Direction, EtherType, SecurityGroupRule},
};
use reqwest::Method;

use crate::{
    cli::{ChangeArgs, ListArgs, NewMetaArgs, RemoveArgs, ShowArgs, WaitArgs, name_or_id},
    client::{Client, Payload},
    failure::Failure,
    flavor::{self, UpdateArgs},
    history::{self, EventsArgs},
    output::{self, Cell, Sheet, View},
    resource::{self, Shown},
    rule_spec, vm_sheet,
    wait::Verdict,
};

/// Commands on security group rules.
#[derive(Debug, Subcommand)]
pub enum SecurityGroupRuleCommand {
    /// Adds a rule to a security group: traffic that it lets through, and the answers to it.
    #[command(
        name = "create-sgr",
        after_help = "Example:\n  edgectl create-sgr web --direction ingress --protocol tcp --port 8000-8100 --remote-ip-prefix 10.0.0.0/8\n  \
                      edgectl create-sgr db --direction ingress --protocol tcp --port 5432 --remote-group web --name of-web\n  \
                      edgectl create-sgr web --direction ingress --ether-type ipv6 --protocol icmp --icmp-type 128"
    )]
    CreateSgr(Box<CreateSgrArgs>),
    /// Lists the rules of all security groups.
    #[command(name = "list-sgrs", after_help = "Example:\n  edgectl list-sgrs -o wide")]
    ListSgrs(ListArgs),
    /// Shows a security group rule.
    #[command(name = "show-sgr", after_help = "Example:\n  edgectl show-sgr web-ingress-ipv4-tcp-443")]
    ShowSgr(ShowArgs),
    /// Changes a rule's description or labels; what it lets through never changes.
    #[command(name = "update-sgr", after_help = "Example:\n  edgectl update-sgr of-web --description 'the web tier'")]
    UpdateSgr(UpdateArgs),
    /// Removes rules: what they let through is dropped, also of connections that are open.
    #[command(name = "remove-sgr", after_help = "Example:\n  edgectl remove-sgr of-web")]
    RemoveSgr(RemoveArgs),
    /// Shows a rule's history.
    #[command(name = "show-sgr-events", after_help = "Example:\n  edgectl show-sgr-events of-web")]
    ShowSgrEvents(EventsArgs),
}

/// `create-sgr`
#[derive(Args, Debug)]
pub struct CreateSgrArgs {
    /// Its group, by name or id.
    #[arg(value_name = "GROUP", value_parser = name_or_id)]
    group: String,
    /// Its name; made of what it is if absent.
    #[arg(long = "name", value_name = "NAME")]
    new_name: Option<String>,
    /// Whether it is about what comes to the VM or what it sends.
    #[arg(long, value_enum, value_name = "DIRECTION")]
    direction: DirectionArg,
    /// Of which family; if absent that of --remote-ip-prefix, else IPv4.
    #[arg(long, value_enum, value_name = "FAMILY", ignore_case = true)]
    ether_type: Option<EtherTypeArg>,
    /// any, icmp, icmpv6, tcp, udp, sctp, or a number.
    #[arg(long, value_name = "PROTOCOL", default_value = "any")]
    protocol: String,
    /// A port of tcp, udp or sctp, or a range; all if absent.
    #[arg(long, value_name = "N | N-M", value_parser = rule_spec::ports)]
    port: Option<(u16, u16)>,
    /// Which ICMP messages; all if absent.
    #[arg(long, value_name = "N")]
    icmp_type: Option<u8>,
    /// Which of the type; all if absent.
    #[arg(long, value_name = "N", requires = "icmp_type")]
    icmp_code: Option<u8>,
    /// Whose addresses it is about; anybody's if absent.
    #[arg(long, value_name = "PREFIX")]
    remote_ip_prefix: Option<String>,
    /// The group whose NICs it is about, by name or id.
    #[arg(long, value_name = "GROUP", conflicts_with = "remote_ip_prefix")]
    remote_group: Option<String>,
    #[command(flatten)]
    meta: NewMetaArgs,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DirectionArg {
    /// To the VM.
    Ingress,
    /// From the VM.
    Egress,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum EtherTypeArg {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// Runs a command on security group rules.
///
/// # Errors
/// See [`Failure`].
pub async fn run(command: SecurityGroupRuleCommand, client: &Client) -> Result<(), Failure> {
    match command {
        SecurityGroupRuleCommand::CreateSgr(args) => create(client, *args).await,
        SecurityGroupRuleCommand::ListSgrs(args) => resource::list::<SecurityGroupRule>(client, &args).await,
        SecurityGroupRuleCommand::ShowSgr(args) => resource::show::<SecurityGroupRule>(client, &args).await,
        SecurityGroupRuleCommand::UpdateSgr(args) => flavor::update::<SecurityGroupRule>(client, &args).await,
        SecurityGroupRuleCommand::RemoveSgr(args) => resource::remove::<SecurityGroupRule>(client, &args).await,
        SecurityGroupRuleCommand::ShowSgrEvents(args) => history::events(client, Kind::SecurityGroupRule, &args).await,
    }
}

async fn create(client: &Client, args: CreateSgrArgs) -> Result<(), Failure> {
    let body = Payload::json(&CreateSecurityGroupRule {
        security_group: args.group,
        name: args.new_name,
        description: args.meta.description,
        labels: args.meta.label.into_iter().collect(),
        direction: match args.direction {
            DirectionArg::Ingress => Direction::Ingress,
            DirectionArg::Egress => Direction::Egress,
        },
        ether_type: args.ether_type.map(|family| match family {
            EtherTypeArg::Ipv4 => EtherType::Ipv4,
            EtherTypeArg::Ipv6 => EtherType::Ipv6,
        }),
        protocol: args.protocol,
        port_range_min: args.port.map(|(min, _)| min),
        port_range_max: args.port.map(|(_, max)| max),
        icmp_type: args.icmp_type,
        icmp_code: args.icmp_code,
        remote_ip_prefix: args.remote_ip_prefix,
        remote_group: args.remote_group,
    })?;
    let reply = client.change(Method::POST, &[Kind::SecurityGroupRule.plural()], &body, &args.change).await?;
    resource::finish::<SecurityGroupRule>(client, &reply, &args.change, args.wait.patience(), "created", verdict).await
}

/// Whether the nodes work by it.
fn verdict(rule: &SecurityGroupRule) -> Verdict {
    match rule.state.as_str() {
        "active" => Verdict::Reached,
        "deleting" => Verdict::Never(format!("security group rule \"{}\" is being removed by now", rule.meta.name)),
        state => Verdict::NotYet { state: state.to_owned(), waiting: rule.waiting.clone() },
    }
}

/// What it lets through: `ingress IPv4, tcp 22, from 10.0.0.0/8`.
pub fn words(rule: &SecurityGroupRule) -> String {
    let way = match rule.direction {
        Direction::Ingress => "from",
        Direction::Egress => "to",
    };
    let part = part(rule);
    let part = if part.is_empty() { part } else { format!(" {part}") };
    let (direction, family) = (direction_word(rule), family_word(rule));
    format!("{direction} {family}, {}{part}, {way} {}", rule.protocol, remote(rule))
}

/// `ingress`.
pub fn direction_word(rule: &SecurityGroupRule) -> &'static str {
    edgestack_model::security_group_rule::Direction::from(rule.direction).as_str()
}

/// `IPv4`.
pub fn family_word(rule: &SecurityGroupRule) -> &'static str {
    edgestack_model::security_group_rule::EtherType::from(rule.ether_type).as_str()
}

/// Its ports or messages; empty: all of them.
pub fn part(rule: &SecurityGroupRule) -> String {
    match (rule.port_range_min, rule.port_range_max, rule.icmp_type, rule.icmp_code) {
        (Some(min), Some(max), ..) if min != max => format!("{min}-{max}"),
        (Some(port), ..) | (None, Some(port), ..) => port.to_string(),
        (None, None, Some(of_type), Some(code)) => format!("type {of_type} code {code}"),
        (None, None, Some(of_type), None) => format!("type {of_type}"),
        (None, None, None, _) => String::new(),
    }
}

/// With whom.
pub fn remote(rule: &SecurityGroupRule) -> String {
    match (&rule.remote_group, &rule.remote_ip_prefix) {
        (Some(group), _) => format!("group {group}"),
        (None, Some(prefix)) => prefix.clone(),
        (None, None) => "anybody".to_owned(),
    }
}

impl Shown for SecurityGroupRule {
    const KIND: Kind = Kind::SecurityGroupRule;
    const WHEN_EMPTY: &'static str =
        "no security group rules yet; add one: edgectl create-sgr GROUP --direction ingress --protocol tcp --port 443";

    fn headers(wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["NAME", "STATE", "GROUP", "DIRECTION", "FAMILY", "PROTOCOL", "PART", "REMOTE"];
        if wide {
            headers.extend(["LABELS", "DESCRIPTION", "ID"]);
        }
        headers.push("AGE");
        headers
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn row(&self, view: &View) -> Vec<Cell> {
        let mut row: Vec<Cell> = vec![
            self.meta.name.as_str().into(),
            Cell::state(&self.state),
            self.security_group.as_str().into(),
            direction_word(self).into(),
            family_word(self).into(),
            self.protocol.as_str().into(),
            part(self).into(),
            remote(self).into(),
        ];
        if view.wide {
            row.extend([
                output::labels(&self.meta.labels).into(),
                self.meta.description.as_str().into(),
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
        sheet.section("Lets through");
        sheet.pair("of group", self.security_group.as_str());
        sheet.pair("direction", direction_word(self));
        sheet.pair("family", family_word(self));
        sheet.pair("protocol", self.protocol.as_str());
        let part = part(self);
        sheet.pair_if("of it", (!part.is_empty()).then_some(part));
        let way = match self.direction {
            Direction::Ingress => "from",
            Direction::Egress => "to",
        };
        sheet.pair(way, remote(self));
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
    use serde_json::{Value, json};

    fn a_rule(what: Value) -> SecurityGroupRule {
        let mut rule = json!({
            "id": "0197a5a0-0000-7000-8000-000000000001", "name": "a", "description": "", "labels": {}, "generation": 1,
            "revision": 17, "created_at": "2026-09-21T14:13:20Z", "updated_at": "2026-09-21T14:14:20Z",
            "correlation_id": "0197a5a0-0000-7000-8000-0000000000aa", "state": "active", "waiting": null,
            "security_group": "web", "security_group_id": "0197a5a0-0000-7000-8000-000000000002", "direction": "ingress",
            "ether_type": "IPv4", "protocol": "any",
        });
        rule.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        serde_json::from_value(rule).unwrap()
    }

    #[test]
    fn a_rule_is_told_in_words() {
        for (what, words_of_it) in [
            (json!({}), "ingress IPv4, any, from anybody"),
            (
                json!({"direction": "egress", "protocol": "udp", "port_range_min": 53, "port_range_max": 53}),
                "egress IPv4, udp 53, to anybody",
            ),
            (
                json!({"protocol": "tcp", "port_range_min": 80, "port_range_max": 90, "remote_group": "db"}),
                "ingress IPv4, tcp 80-90, from group db",
            ),
            (
                json!({"protocol": "icmp", "ether_type": "IPv6", "icmp_type": 1, "icmp_code": 4, "remote_ip_prefix": "fd00::/8"}),
                "ingress IPv6, icmp type 1 code 4, from fd00::/8",
            ),
        ] {
            assert_eq!(words(&a_rule(what)), words_of_it);
        }
    }

    #[test]
    fn a_row_has_a_cell_for_each_head() {
        for wide in [false, true] {
            let view = View { wide, colour: false, now: DateTime::from_timestamp(1_790_000_600, 0).unwrap() };
            let rule = a_rule(json!({}));
            assert_eq!(rule.row(&view).len(), SecurityGroupRule::headers(wide).len());
            assert!(rule.sheet(&view).render(false).contains("anybody\n"));
        }
    }
}
