//! Commands on leases.

use clap::Subcommand;
use edgestack_model::Kind;
use edgestack_wire::{lease::Lease, meta::Meta};

use crate::{
    cli::{ListArgs, ShowArgs},
    client::Client,
    failure::Failure,
    history::{self, EventsArgs},
    output::{Cell, Sheet, View},
    resource::{self, Shown},
};

/// Commands on leases.
#[derive(Debug, Subcommand)]
pub enum LeaseCommand {
    /// Lists the leases: which process does the work that only one of the site may do.
    #[command(after_help = "Example:\n  edgectl list-leases")]
    ListLeases(ListArgs),
    /// Shows a lease: who has it, since when.
    #[command(after_help = "Example:\n  edgectl show-lease scheduler")]
    ShowLease(ShowArgs),
    /// Shows a lease's history: who had it when.
    #[command(after_help = "Example:\n  edgectl show-lease-events scheduler")]
    ShowLeaseEvents(EventsArgs),
}

/// Runs a command on leases.
///
/// # Errors
/// See [`Failure`].
pub async fn run(command: LeaseCommand, client: &Client) -> Result<(), Failure> {
    match command {
        LeaseCommand::ListLeases(args) => resource::list::<Lease>(client, &args).await,
        LeaseCommand::ShowLease(args) => resource::show::<Lease>(client, &args).await,
        LeaseCommand::ShowLeaseEvents(args) => history::events(client, Kind::Lease, &args).await,
    }
}

impl Shown for Lease {
    const KIND: Kind = Kind::Lease;
    const WHEN_EMPTY: &'static str = "no leases yet; a daemon with the role engine takes them when it starts";

    fn headers(wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["NAME", "STATE", "NODE", "EPOCH", "SINCE"];
        if wide {
            headers.extend(["PROCESS", "ID"]);
        }
        headers
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn row(&self, view: &View) -> Vec<Cell> {
        let holder = self.holder.as_ref();
        let mut row: Vec<Cell> = vec![
            self.meta.name.as_str().into(),
            Cell::state(&self.state),
            holder.map_or("", |holder| holder.node.as_str()).into(),
            self.epoch.to_string().into(),
            view.age(holder.map_or(self.meta.updated_at, |holder| holder.since)).into(),
        ];
        if view.wide {
            let process = holder.map(|holder| holder.process.to_string()).unwrap_or_default();
            row.extend([process.into(), self.meta.id.to_string().into()]);
        }
        row
    }

    fn sheet(&self, view: &View) -> Sheet {
        let mut sheet = resource::sheet_of(&self.meta, Some(Cell::state(&self.state)), view);
        sheet.pair("epoch", self.epoch.to_string());
        if let Some(holder) = &self.holder {
            sheet.section("Holder");
            sheet.pair("node", holder.node.as_str());
            sheet.pair("process", holder.process.to_string());
            sheet.pair("since", view.time(holder.since));
        }
        sheet
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }
}
