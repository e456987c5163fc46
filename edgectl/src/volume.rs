//! Commands on volumes: read-only while they are only root disks of VMs.

use clap::Subcommand;
use edgestack_model::Kind;
use edgestack_wire::{meta::Meta, volume::Volume};

use crate::{
    cli::{ListArgs, ShowArgs},
    client::Client,
    failure::Failure,
    history::{self, EventsArgs},
    output::{self, Cell, Sheet, View},
    resource::{self, Shown},
};

/// Commands on volumes.
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// Lists the volumes.
    #[command(after_help = "Example:\n  edgectl list-vols --state available")]
    ListVols(ListArgs),
    /// Shows a volume.
    #[command(after_help = "Example:\n  edgectl show-vol hello-root")]
    ShowVol(ShowArgs),
    /// Shows a volume's history.
    #[command(after_help = "Example:\n  edgectl show-vol-events hello-root")]
    ShowVolEvents(EventsArgs),
}

/// Runs a command on volumes.
///
/// # Errors
/// See [`Failure`].
pub async fn run(command: VolumeCommand, client: &Client) -> Result<(), Failure> {
    match command {
        VolumeCommand::ListVols(args) => resource::list::<Volume>(client, &args).await,
        VolumeCommand::ShowVol(args) => resource::show::<Volume>(client, &args).await,
        VolumeCommand::ShowVolEvents(args) => history::events(client, Kind::Volume, &args).await,
    }
}

impl Shown for Volume {
    const KIND: Kind = Kind::Volume;
    const WHEN_EMPTY: &'static str =
        "no volumes yet; each VM brings its root disk: edgectl create-vm hello --image IMAGE --flavor FLAVOR";

    fn headers(wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["NAME", "STATE", "SIZE"];
        if wide {
            headers.extend(["VM ID", "IMAGE ID", "NODE ID", "LABELS", "ID"]);
        }
        headers.push("AGE");
        headers
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn row(&self, view: &View) -> Vec<Cell> {
        let mut row: Vec<Cell> =
            vec![self.meta.name.as_str().into(), Cell::state(&self.state), format!("{} GiB", self.size_gib).into()];
        if view.wide {
            row.extend([
                self.vm_id.to_string().into(),
                self.image_id.to_string().into(),
                self.node_id.to_string().into(),
                output::labels(&self.meta.labels).into(),
                self.meta.id.to_string().into(),
            ]);
        }
        row.push(view.age(self.meta.created_at).into());
        row
    }

    fn sheet(&self, view: &View) -> Sheet {
        let mut sheet = resource::sheet_of(&self.meta, Some(Cell::state(&self.state)), view);
        sheet.section("Disk");
        sheet.pair("size", format!("{} GiB", self.size_gib));
        sheet.pair("vm id", self.vm_id.to_string());
        sheet.pair("image id", self.image_id.to_string());
        sheet.pair("node id", self.node_id.to_string());
        sheet
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }
}
