//! Commands on security groups.

use clap::{Args, Subcommand};
use edgestack_model::Kind;
use edgestack_wire::{
    meta::Meta,
    security_group::{CreateSecurityGroup, SecurityGroup},
    security_group_rule::RuleRequest,
};
use reqwest::Method;

use crate::{
    cli::{ChangeArgs, ListArgs, NewMetaArgs, RemoveArgs, ShowArgs, WaitArgs},
    client::{Client, Payload},
    failure::Failure,
    flavor::{self, UpdateArgs},
    history::{self, EventsArgs},
    output::{self, Cell, Sheet, View},
    resource::{self, Shown},
    rule_spec, security_group_rule, vm_sheet,
    wait::Verdict,
};

/// Commands on security groups.
#[derive(Debug, Subcommand)]
pub enum SecurityGroupCommand {
    /// Makes a security group: nothing passes its NICs but what its rules let through, and the answers to it.
    #[command(
        name = "create-sg",
        after_help = "A rule: ingress or egress; a protocol (any, icmp, icmpv6, tcp, udp, sctp, or a number); ports (N or N-M), or \
                      type=N and code=N of icmp; from=PREFIX, to=PREFIX or group=GROUP; ipv4 or ipv6; name=NAME.\n\n\
                      Example:\n  edgectl create-sg web --rule ingress,tcp,443 --rule ingress,tcp,22,from=10.0.0.0/8 --rule egress\n  \
                      edgectl create-sg db --rule ingress,tcp,5432,group=web --rule ingress,icmp,type=8 --rule egress,udp,53,to=192.0.2.1/32"
    )]
    CreateSg(CreateSgArgs),
    /// Lists the security groups.
    #[command(name = "list-sgs", after_help = "Example:\n  edgectl list-sgs -o wide")]
    ListSgs(ListArgs),
    /// Shows a security group: its rules, and the NICs that are in it.
    #[command(name = "show-sg", after_help = "Example:\n  edgectl show-sg web")]
    ShowSg(ShowArgs),
    /// Changes a security group's description or labels.
    #[command(name = "update-sg", after_help = "Example:\n  edgectl update-sg web --label tier=front")]
    UpdateSg(UpdateArgs),
    /// Removes security groups with their rules.
    #[command(
        name = "remove-sg",
        after_help = "Example:\n  edgectl remove-sg web db\n  edgectl remove-sg web --cascade"
    )]
    RemoveSg(RemoveSgArgs),
    /// Shows a security group's history.
    #[command(name = "show-sg-events", after_help = "Example:\n  edgectl show-sg-events web")]
    ShowSgEvents(EventsArgs),
}

/// `create-sg`
#[derive(Args, Debug)]
pub struct CreateSgArgs {
    /// Its name.
    #[arg(value_name = "NAME")]
    new_name: String,
    /// A rule, as ingress,tcp,22,from=10.0.0.0/8; may be given several times. All that its NICs send if absent.
    #[arg(long, value_name = "RULE", value_parser = rule_spec::parse)]
    rule: Vec<RuleRequest>,
    /// Let it have no rule: nothing passes.
    #[arg(long, conflicts_with = "rule")]
    no_rules: bool,
    #[command(flatten)]
    meta: NewMetaArgs,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `remove-sg`
#[derive(Args, Debug)]
pub struct RemoveSgArgs {
    /// Take NICs out of it first, and remove rules of other groups that name it. Refused where there are any otherwise.
    #[arg(long)]
    cascade: bool,
    #[command(flatten)]
    remove: RemoveArgs,
}

/// Runs a command on security groups.
///
/// # Errors
/// See [`Failure`].
pub async fn run(command: SecurityGroupCommand, client: &Client) -> Result<(), Failure> {
    match command {
        SecurityGroupCommand::CreateSg(args) => create(client, args).await,
        SecurityGroupCommand::ListSgs(args) => resource::list::<SecurityGroup>(client, &args).await,
        SecurityGroupCommand::ShowSg(args) => resource::show::<SecurityGroup>(client, &args).await,
        SecurityGroupCommand::UpdateSg(args) => flavor::update::<SecurityGroup>(client, &args).await,
        SecurityGroupCommand::RemoveSg(args) => {
            let query: &[(&str, &str)] = if args.cascade { &[("cascade", "true")] } else { &[] };
            resource::remove_by::<SecurityGroup>(client, &args.remove, query).await
        }
        SecurityGroupCommand::ShowSgEvents(args) => history::events(client, Kind::SecurityGroup, &args).await,
    }
}

async fn create(client: &Client, args: CreateSgArgs) -> Result<(), Failure> {
    let body = Payload::json(&CreateSecurityGroup {
        name: args.new_name,
        description: args.meta.description,
        labels: args.meta.label.into_iter().collect(),
        rules: (args.no_rules || !args.rule.is_empty()).then_some(args.rule),
    })?;
    let reply = client.change(Method::POST, &[Kind::SecurityGroup.plural()], &body, &args.change).await?;
    resource::finish::<SecurityGroup>(client, &reply, &args.change, args.wait.patience(), "created", verdict).await
}

/// Whether the nodes work by it and by all of its rules.
fn verdict(group: &SecurityGroup) -> Verdict {
    let open = group.rules.iter().find(|rule| rule.state != "active");
    match (group.state.as_str(), open) {
        ("active", None) => Verdict::Reached,
        ("active", Some(rule)) => Verdict::NotYet {
            state: format!("active, its rule \"{}\" is {}", rule.meta.name, rule.state),
            waiting: rule.waiting.clone(),
        },
        ("deleting", _) => Verdict::Never(format!("security group \"{}\" is being removed by now", group.meta.name)),
        (state, _) => Verdict::NotYet { state: state.to_owned(), waiting: group.waiting.clone() },
    }
}

impl Shown for SecurityGroup {
    const KIND: Kind = Kind::SecurityGroup;
    const WHEN_EMPTY: &'static str =
        "no security groups yet; make one: edgectl create-sg web --rule ingress,tcp,443 --rule egress";

    fn headers(wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["NAME", "STATE", "RULES", "NICS"];
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
            self.rules.len().to_string().into(),
            self.members.len().to_string().into(),
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
        for rule in &self.rules {
            let words = security_group_rule::words(rule);
            let state = if rule.state == "active" { String::new() } else { format!(" ({})", rule.state) };
            sheet.pair(&rule.meta.name, format!("{words}{state}"));
        }
        if self.rules.is_empty() {
            sheet.pair("rules", "none: nothing passes");
        }
        sheet.section("NICs in it");
        for member in &self.members {
            sheet.pair(&member.vm, format!("NIC {}", member.nic));
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

    fn a_group() -> SecurityGroup {
        let meta = |name: &str| {
            serde_json::json!({
                "id": "0197a5a0-0000-7000-8000-000000000001", "name": name, "description": "", "labels": {}, "generation": 1,
                "revision": 17, "created_at": "2026-09-21T14:13:20Z", "updated_at": "2026-09-21T14:14:20Z",
                "correlation_id": "0197a5a0-0000-7000-8000-0000000000aa", "state": "active", "waiting": null,
            })
        };
        let mut rule = meta("ssh");
        let what = serde_json::json!({
            "security_group": "web", "security_group_id": "0197a5a0-0000-7000-8000-000000000001", "direction": "ingress",
            "ether_type": "IPv4", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22, "icmp_type": null,
            "icmp_code": null, "remote_ip_prefix": "10.0.0.0/8", "remote_group": null, "remote_group_id": null,
        });
        rule.as_object_mut().unwrap().extend(what.as_object().unwrap().clone());
        let mut group = meta("web");
        group["rules"] = serde_json::json!([rule]);
        group["members"] = serde_json::json!([
            {"vm": "a", "vm_id": "0197a5a0-0000-7000-8000-000000000002", "nic": 1},
        ]);
        serde_json::from_value(group).unwrap()
    }

    #[test]
    fn the_sheet_tells_rules_and_members() {
        let view = View { wide: false, colour: false, now: DateTime::from_timestamp(1_790_000_600, 0).unwrap() };
        let text = a_group().sheet(&view).render(false);
        let told =
            "Lets through\n  ssh          ingress IPv4, tcp 22, from 10.0.0.0/8\n\nNICs in it\n  a            NIC 1\n";
        assert!(text.ends_with(told), "{text}");
        let closed = SecurityGroup { rules: vec![], ..a_group() };
        assert!(closed.sheet(&view).render(false).contains("none: nothing passes"));
        for wide in [false, true] {
            assert_eq!(a_group().row(&View { wide, ..view }).len(), SecurityGroup::headers(wide).len());
        }
    }

    #[test]
    fn a_group_is_there_when_its_rules_are() {
        assert_eq!(verdict(&a_group()), Verdict::Reached);
        let mut group = a_group();
        group.rules[0].state = "creating".to_owned();
        let Verdict::NotYet { state, .. } = verdict(&group) else { panic!("a rule is not there yet") };
        assert_eq!(state, "active, its rule \"ssh\" is creating");
        let going = SecurityGroup { state: "deleting".to_owned(), ..a_group() };
        assert!(matches!(verdict(&going), Verdict::Never(_)));
    }
}
