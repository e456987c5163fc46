//! Commands on nodes.

use clap::{Args, Subcommand};
use edgestack_model::Kind;
use edgestack_wire::{
    meta::Meta,
    node::{Capacity, Condition, Node, Orphan},
};
use reqwest::Method;

use crate::{
    cli::{ChangeArgs, ListArgs, NameArgs, ShowArgs},
    client::{Client, Payload},
    failure::Failure,
    flavor::{self, UpdateArgs},
    history::{self, EventsArgs},
    output::{self, Cell, Sheet, Tone, View},
    resource::{self, Shown},
};

/// Commands on nodes.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Lists the nodes.
    #[command(after_help = "Example:\n  edgectl list-nodes -o wide")]
    ListNodes(ListArgs),
    /// Shows a node: what it is, has, and has given away.
    #[command(after_help = "Example:\n  edgectl show-node edge-1")]
    ShowNode(ShowArgs),
    /// Changes a node's description or labels.
    #[command(after_help = "Example:\n  edgectl update-node edge-1 --label rack=b-12")]
    UpdateNode(UpdateArgs),
    /// Keeps new VMs off a node; those on it stay.
    #[command(after_help = "Example:\n  edgectl cordon-node edge-1 --reason 'new memory on Monday'")]
    CordonNode(CordonArgs),
    /// Lets a node take new VMs again.
    #[command(after_help = "Example:\n  edgectl uncordon-node edge-1")]
    UncordonNode(CordonArgs),
    /// Shows a node's history.
    #[command(after_help = "Example:\n  edgectl show-node-events edge-1 --follow")]
    ShowNodeEvents(EventsArgs),
}

/// `cordon-node`, `uncordon-node`
#[derive(Args, Debug)]
pub struct CordonArgs {
    #[command(flatten)]
    of: NameArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Runs a command on nodes.
///
/// # Errors
/// See [`Failure`].
pub async fn run(command: NodeCommand, client: &Client) -> Result<(), Failure> {
    match command {
        NodeCommand::ListNodes(args) => resource::list::<Node>(client, &args).await,
        NodeCommand::ShowNode(args) => resource::show::<Node>(client, &args).await,
        NodeCommand::UpdateNode(args) => flavor::update::<Node>(client, &args).await,
        NodeCommand::CordonNode(args) => act(client, &args, "cordon", "cordoned").await,
        NodeCommand::UncordonNode(args) => act(client, &args, "uncordon", "uncordoned").await,
        NodeCommand::ShowNodeEvents(args) => history::events(client, Kind::Node, &args).await,
    }
}

async fn act(client: &Client, args: &CordonArgs, action: &str, done: &str) -> Result<(), Failure> {
    let body = Payload::json(&serde_json::json!({ "action": action }))?;
    let segments = [Kind::Node.plural(), args.of.name.as_str(), "action"];
    resource::change::<Node>(client, Method::POST, &segments, &body, &args.change, done).await
}

impl Shown for Node {
    const KIND: Kind = Kind::Node;
    const WHEN_EMPTY: &'static str = "no nodes yet; a node appears when its workers start: see the log of edgestackd";

    fn headers(wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["NAME", "STATE", "VMS", "VCPUS", "MEMORY", "DISK", "HYPERVISOR"];
        if wide {
            headers.extend(["ADDRESSES", "ARCHITECTURE", "KERNEL", "LABELS", "ID"]);
        }
        headers.push("AGE");
        headers
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn row(&self, view: &View) -> Vec<Cell> {
        let of = |part: fn(&Capacity) -> u64| format!("{}/{}", part(&self.used), part(&self.allocatable));
        let gib = |part: fn(&Capacity) -> u64, per_gib: u64| {
            let in_gib = |capacity| part(capacity) as f64 / per_gib as f64;
            format!("{:.1}/{:.1} GiB", in_gib(&self.used), in_gib(&self.allocatable))
        };
        let mut row: Vec<Cell> = vec![
            self.meta.name.as_str().into(),
            state(self),
            self.vms.to_string().into(),
            of(|c| c.vcpus).into(),
            gib(|c| c.memory_mib, 1024).into(),
            gib(|c| c.disk_gib, 1).into(),
            hypervisor(self).into(),
        ];
        if view.wide {
            row.extend([
                self.addresses.join(",").into(),
                self.architecture.as_str().into(),
                self.kernel.as_str().into(),
                output::labels(&self.meta.labels).into(),
                self.meta.id.to_string().into(),
            ]);
        }
        row.push(view.age(self.meta.created_at).into());
        row
    }

    fn sheet(&self, view: &View) -> Sheet {
        let mut sheet = resource::sheet_of(&self.meta, Some(state(self)), view);
        sheet.section("System");
        sheet.pair("addresses", self.addresses.join(", "));
        sheet.pair("architecture", self.architecture.as_str());
        sheet.pair("operating system", self.operating_system.as_str());
        sheet.pair("kernel", self.kernel.as_str());
        sheet.section("Hypervisor");
        sheet.pair("runs on", hypervisor(self));
        sheet.pair("because", self.hypervisor.accelerator_reason.as_str());
        if self.hypervisor.simulated {
            sheet.pair("simulated", simulated_note());
        }
        sheet.section("Room (used of what VMs may take; the machine has)");
        sheet.pair("vcpus", format!("{} of {} ({})", self.used.vcpus, self.allocatable.vcpus, self.capacity.vcpus));
        let mib = output::mebibytes;
        sheet.pair(
            "memory",
            format!(
                "{} of {} ({})",
                mib(self.used.memory_mib),
                mib(self.allocatable.memory_mib),
                mib(self.capacity.memory_mib)
            ),
        );
        sheet.pair(
            "disk",
            format!("{} of {} GiB ({})", self.used.disk_gib, self.allocatable.disk_gib, self.capacity.disk_gib),
        );
        sheet.pair("vms", self.vms.to_string());
        if let Some(network) = &self.network {
            sheet.section("Virtual network");
            sheet.pair("chassis", network.chassis.as_str());
            let outside = network.physical_networks.join(", ");
            sheet.pair("leads outside to", if outside.is_empty() { "nothing".to_owned() } else { outside });
        }
        if !self.sriov_devices.is_empty() {
            sheet.pair("sr-iov devices", self.sriov_devices.join(", "));
        }
        conditions(&mut sheet, &self.conditions, view);
        orphans(&mut sheet, self, view);
        sheet
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }
}

/// The marker of a node that makes nothing real.
pub fn simulated_note() -> Cell {
    Cell { text: "yes: nothing real runs here".to_owned(), tone: Tone::Bad }
}

fn state(node: &Node) -> Cell {
    let mut cell = Cell::state(&node.state);
    if !node.schedulable {
        cell.text.push_str(",cordoned");
        if cell.tone == Tone::Good {
            cell.tone = Tone::Busy;
        }
    }
    cell
}

fn hypervisor(node: &Node) -> String {
    let hypervisor = &node.hypervisor;
    if hypervisor.simulated {
        return "simulated".to_owned();
    }
    format!("{} {} ({})", hypervisor.name, hypervisor.version, hypervisor.accelerator)
}

/// What lies or runs on a node and is not in the log: where, since when, and what to do.
fn orphans(sheet: &mut Sheet, node: &Node, view: &View) {
    sheet.section("Orphans (on the node, not in the log)");
    for Orphan { kind, place, since, advice, .. } in &node.orphans {
        let text = format!("{place}, since {}: {advice}", view.time(*since));
        sheet.pair(&kind.replace('_', " "), Cell { text, tone: Tone::Bad });
    }
    if node.orphans_unlisted > 0 {
        let text = format!("{} more, which are listed as others go", node.orphans_unlisted);
        sheet.pair("not listed", Cell { text, tone: Tone::Bad });
    }
}

/// A section of conditions, as VMs and nodes have them.
pub fn conditions(sheet: &mut Sheet, conditions: &[Condition], view: &View) {
    sheet.section("Conditions");
    for condition in conditions {
        let mut text = if condition.status { "yes" } else { "no" }.to_owned();
        if !condition.message.is_empty() {
            text.push_str(&format!(": {}", condition.message));
        }
        if let Some(since) = condition.since {
            text.push_str(&format!(", since {}", view.time(since)));
        }
        sheet.pair(&condition.condition_type, text);
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::json;

    use super::*;

    const ID: &str = "0199a0b1-0000-7000-8000-000000000001";

    /// As a server of before orphans were shown answers, with some fields more.
    fn a_node(more: serde_json::Value) -> Node {
        let has = json!({"vcpus": 4, "memory_mib": 4096, "disk_gib": 50});
        let mut node = json!({
            "id": ID, "name": "edge-1", "description": "", "labels": {}, "generation": 1, "revision": 7,
            "created_at": "2026-11-25T10:00:00Z", "updated_at": "2026-11-25T10:00:00Z", "correlation_id": ID,
            "state": "ready", "schedulable": true, "addresses": [], "architecture": "x86_64", "kernel": "6.1",
            "operating_system": "Debian", "hypervisor": {
                "name": "QEMU", "version": "10", "accelerator": "kvm", "accelerator_reason": "", "simulated": false
            },
            "capacity": has, "allocatable": has, "used": has, "vms": 0, "sriov_devices": [], "conditions": [],
        });
        node.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(node).unwrap()
    }

    fn sheet(node: &Node) -> String {
        let now = DateTime::parse_from_rfc3339("2026-11-25T12:00:00Z").unwrap().into();
        node.sheet(&View { wide: true, colour: false, now }).render(false)
    }

    #[test]
    fn a_node_without_orphans_says_nothing_of_them() {
        let text = sheet(&a_node(json!({})));
        assert!(text.contains("edge-1") && !text.contains("Orphans"), "{text}");
    }

    #[test]
    fn its_way_into_the_virtual_network_is_shown() {
        let on = |leads: serde_json::Value| json!({"network": {"chassis": "c0ffee", "physical_networks": leads}});
        let lines = |node: &Node| {
            sheet(node).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
        };
        let there = lines(&a_node(on(json!(["lab", "wan"]))));
        assert!(
            there.contains(&"chassis c0ffee".to_owned()) && there.contains(&"leads outside to lab, wan".to_owned()),
            "{there:?}"
        );
        assert!(lines(&a_node(on(json!([])))).contains(&"leads outside to nothing".to_owned()));
        assert!(!sheet(&a_node(json!({}))).contains("chassis"));
    }

    #[test]
    fn orphans_are_shown_with_their_place_and_what_to_do() {
        let orphan = json!({
            "kind": "vm_folder", "id": ID, "place": format!("vms/{ID}"), "since": "2026-11-25T11:00:00Z",
            "advice": "remove the folder",
        });
        let text = sheet(&a_node(json!({"orphans": [orphan], "orphans_unlisted": 3})));
        let line = text.lines().find(|line| line.contains("vm folder")).unwrap();
        assert!(line.contains(&format!("vms/{ID}, since 2026-11-25T11:00:00.000Z: remove the folder")), "{text}");
        assert!(text.contains("3 more"), "{text}");
    }
}
