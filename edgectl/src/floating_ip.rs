//! Commands on floating IPs.

use clap::{Args, Subcommand};
use edgestack_model::Kind;
use edgestack_wire::{
    floating_ip::{CreateFloatingIp, FloatingIp, FloatingIpAction},
    meta::Meta,
};
use reqwest::Method;

use crate::{
    cli::{ChangeArgs, ListArgs, NameArgs, NewMetaArgs, RemoveArgs, ShowArgs, WaitArgs, name_or_id},
    client::{Client, Payload},
    failure::Failure,
    flavor::{self, UpdateArgs},
    history::{self, EventsArgs},
    output::{self, Cell, Sheet, View},
    resource::{self, Shown},
    vm_sheet,
    wait::Verdict,
};

/// Commands on floating IPs.
#[derive(Debug, Subcommand)]
pub enum FloatingIpCommand {
    /// Takes a floating IP: an address outside that leads to one VM or load balancer at a time. It is held until it is removed.
    #[command(
        name = "create-fip",
        after_help = "Example:\n  edgectl create-fip --router edge\n  edgectl create-fip --ip 192.0.2.10 --vm web --name web"
    )]
    CreateFip(CreateFipArgs),
    /// Lists the floating IPs.
    #[command(name = "list-fips", after_help = "Example:\n  edgectl list-fips -o wide")]
    ListFips(ListArgs),
    /// Shows a floating IP, and where it leads.
    #[command(name = "show-fip", after_help = "Example:\n  edgectl show-fip 192.0.2.10")]
    ShowFip(ShowArgs),
    /// Changes a floating IP's description or labels.
    #[command(name = "update-fip", after_help = "Example:\n  edgectl update-fip 192.0.2.10 --description 'the shop'")]
    UpdateFip(UpdateArgs),
    /// Removes floating IPs: their addresses are free again.
    #[command(name = "remove-fip", after_help = "Example:\n  edgectl remove-fip 192.0.2.10")]
    RemoveFip(RemoveArgs),
    /// Shows a floating IP's history.
    #[command(name = "show-fip-events", after_help = "Example:\n  edgectl show-fip-events 192.0.2.10")]
    ShowFipEvents(EventsArgs),
    /// Has a floating IP lead to a VM or a load balancer, in place of where it led before.
    #[command(
        name = "associate-fip",
        after_help = "Example:\n  edgectl associate-fip 192.0.2.10 web\n  edgectl associate-fip 192.0.2.10 web --fixed-ip 10.0.0.2\n  \
                      edgectl associate-fip 192.0.2.10 --lb shop"
    )]
    AssociateFip(AssociateFipArgs),
    /// Has a floating IP lead nowhere. It stays held.
    #[command(name = "disassociate-fip", after_help = "Example:\n  edgectl disassociate-fip 192.0.2.10")]
    DisassociateFip(DisassociateFipArgs),
}

/// `create-fip`
#[derive(Args, Debug)]
pub struct CreateFipArgs {
    /// The router through which it leads; the only one with a way outside if absent.
    #[arg(long, value_name = "ROUTER")]
    router: Option<String>,
    /// The address wished for; a free one if absent.
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// The VM that it leads to from the first; none if absent.
    #[arg(long, value_name = "VM")]
    vm: Option<String>,
    /// Which of the VM's addresses; the only one that the router leads to if absent.
    #[arg(long, value_name = "ADDRESS", requires = "vm")]
    fixed_ip: Option<String>,
    /// The load balancer that it leads to from the first, in place of a VM.
    #[arg(long, value_name = "LB", conflicts_with = "vm")]
    lb: Option<String>,
    /// Its name; its address if absent.
    #[arg(long = "name", value_name = "NAME")]
    new_name: Option<String>,
    #[command(flatten)]
    meta: NewMetaArgs,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `associate-fip`
#[derive(Args, Debug)]
pub struct AssociateFipArgs {
    #[command(flatten)]
    of: NameArgs,
    /// The VM, by name or id.
    #[arg(value_name = "VM", value_parser = name_or_id, required_unless_present = "lb")]
    vm: Option<String>,
    /// The load balancer in place of a VM, by name or id.
    #[arg(long, value_name = "LB", conflicts_with_all = ["vm", "fixed_ip"])]
    lb: Option<String>,
    /// Which of the VM's addresses; the only one that the router leads to if absent.
    #[arg(long, value_name = "ADDRESS")]
    fixed_ip: Option<String>,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `disassociate-fip`
#[derive(Args, Debug)]
pub struct DisassociateFipArgs {
    #[command(flatten)]
    of: NameArgs,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Runs a command on floating IPs.
///
/// # Errors
/// See [`Failure`].
pub async fn run(command: FloatingIpCommand, client: &Client) -> Result<(), Failure> {
    match command {
        FloatingIpCommand::CreateFip(args) => create(client, args).await,
        FloatingIpCommand::ListFips(args) => resource::list::<FloatingIp>(client, &args).await,
        FloatingIpCommand::ShowFip(args) => resource::show::<FloatingIp>(client, &args).await,
        FloatingIpCommand::UpdateFip(args) => flavor::update::<FloatingIp>(client, &args).await,
        FloatingIpCommand::RemoveFip(args) => resource::remove::<FloatingIp>(client, &args).await,
        FloatingIpCommand::ShowFipEvents(args) => history::events(client, Kind::FloatingIp, &args).await,
        FloatingIpCommand::AssociateFip(args) => {
            let action = FloatingIpAction::Associate { vm: args.vm, load_balancer: args.lb, fixed_ip: args.fixed_ip };
            act(client, (&args.of.name, action), &args.change, &args.wait, "associated").await
        }
        FloatingIpCommand::DisassociateFip(args) => {
            let action = FloatingIpAction::Disassociate {};
            act(client, (&args.of.name, action), &args.change, &args.wait, "disassociated").await
        }
    }
}

async fn create(client: &Client, args: CreateFipArgs) -> Result<(), Failure> {
    let body = Payload::json(&CreateFloatingIp {
        name: args.new_name,
        description: args.meta.description,
        labels: args.meta.label.into_iter().collect(),
        router: args.router,
        floating_ip: args.ip,
        vm: args.vm,
        fixed_ip: args.fixed_ip,
        load_balancer: args.lb,
    })?;
    let reply = client.change(Method::POST, &[Kind::FloatingIp.plural()], &body, &args.change).await?;
    resource::finish::<FloatingIp>(client, &reply, &args.change, args.wait.patience(), "created", verdict).await
}

async fn act(
    client: &Client,
    (name, action): (&str, FloatingIpAction),
    change: &ChangeArgs,
    wait: &WaitArgs,
    done: &str,
) -> Result<(), Failure> {
    let body = Payload::json(&action)?;
    let reply = client.change(Method::POST, &[Kind::FloatingIp.plural(), name, "action"], &body, change).await?;
    resource::finish::<FloatingIp>(client, &reply, change, wait.patience(), done, verdict).await
}

/// Whether the nodes work by it.
fn verdict(ip: &FloatingIp) -> Verdict {
    match ip.state.as_str() {
        "active" => Verdict::Reached,
        "deleting" => Verdict::Never(format!("floating_ip \"{}\" is being removed by now", ip.meta.name)),
        state => Verdict::NotYet { state: state.to_owned(), waiting: ip.waiting.clone() },
    }
}

impl Shown for FloatingIp {
    const KIND: Kind = Kind::FloatingIp;
    const WHEN_EMPTY: &'static str = "no floating IPs yet; take one: edgectl create-fip --router ROUTER";

    fn headers(wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["NAME", "STATE", "FLOATING IP", "VM", "FIXED IP", "LB"];
        if wide {
            headers.extend(["ROUTER", "NETWORK", "LABELS", "ID"]);
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
            self.floating_ip.as_str().into(),
            self.vm.as_deref().unwrap_or_default().into(),
            self.fixed_ip.as_deref().unwrap_or_default().into(),
            self.load_balancer.as_deref().unwrap_or_default().into(),
        ];
        if view.wide {
            row.extend([
                self.router.as_str().into(),
                self.external_network.as_str().into(),
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
        sheet.pair("floating IP", self.floating_ip.as_str());
        sheet.pair("network", self.external_network.as_str());
        sheet.pair("router", self.router.as_str());
        sheet.section("Leads to");
        match (&self.vm, &self.load_balancer) {
            (Some(vm), _) => sheet.pair("vm", vm.as_str()),
            (None, Some(balancer)) => sheet.pair("load balancer", balancer.as_str()),
            (None, None) => sheet.pair("vm", "none: it leads nowhere, and stays held"),
        }
        sheet.pair_if("fixed IP", self.fixed_ip.as_deref());
        sheet.pair_if("NIC", self.nic.map(|nic| nic.to_string()));
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

    fn an_ip() -> FloatingIp {
        let ip = serde_json::json!({
            "id": "0197a5a0-0000-7000-8000-000000000001", "name": "192.0.2.10", "description": "", "labels": {},
            "generation": 1, "revision": 17, "created_at": "2026-09-21T14:13:20Z", "updated_at": "2026-09-21T14:14:20Z",
            "correlation_id": "0197a5a0-0000-7000-8000-0000000000aa", "state": "active", "waiting": null,
            "router": "edge", "router_id": "0197a5a0-0000-7000-8000-000000000002",
            "external_network": "outside", "external_network_id": "0197a5a0-0000-7000-8000-000000000003",
            "floating_ip": "192.0.2.10", "vm": "web", "vm_id": "0197a5a0-0000-7000-8000-000000000004",
            "fixed_ip": "10.0.0.2", "nic": 0, "load_balancer": null, "load_balancer_id": null,
        });
        serde_json::from_value(ip).unwrap()
    }

    #[test]
    fn the_sheet_tells_where_it_leads() {
        let view = View { wide: false, colour: false, now: DateTime::from_timestamp(1_790_000_600, 0).unwrap() };
        let text = an_ip().sheet(&view).render(false);
        let told = "Leads to\n  vm           web\n  fixed IP     10.0.0.2\n  NIC          0\n";
        assert!(text.ends_with(told), "{text}");
        let balanced =
            FloatingIp { vm: None, fixed_ip: None, nic: None, load_balancer: Some("shop".to_owned()), ..an_ip() };
        let text = balanced.sheet(&view).render(false);
        assert!(text.ends_with("load balancer  shop\n"), "{text}");
        let nowhere = FloatingIp { vm: None, vm_id: None, fixed_ip: None, nic: None, ..an_ip() };
        assert!(nowhere.sheet(&view).render(false).ends_with("none: it leads nowhere, and stays held\n"));
        for wide in [false, true] {
            assert_eq!(an_ip().row(&View { wide, ..view }).len(), FloatingIp::headers(wide).len());
        }
    }

    #[test]
    fn it_is_waited_for_until_it_is_active() {
        assert_eq!(verdict(&an_ip()), Verdict::Reached);
        let in_state = |state: &str| FloatingIp { state: state.to_owned(), ..an_ip() };
        assert!(matches!(verdict(&in_state("updating")), Verdict::NotYet { .. }));
        assert!(matches!(verdict(&in_state("deleting")), Verdict::Never(_)));
    }
}
