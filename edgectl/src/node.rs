//! Commands on nodes.

use clap::{Args, Subcommand};
use edgestack_model::Kind;
use edgestack_wire::{
    meta::Meta,
    node::{Capacity, Condition, Node},
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
        if !self.sriov_devices.is_empty() {
            sheet.pair("sr-iov devices", self.sriov_devices.join(", "));
        }
        conditions(&mut sheet, &self.conditions, view);
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
