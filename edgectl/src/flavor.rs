//! Commands on flavors.

use clap::{Args, Subcommand, ValueEnum};
use edgestack_model::Kind;
use edgestack_wire::{
    flavor::{CreateFlavor, Flavor, HugePages},
    meta::{Meta, UpdateMeta},
};
use reqwest::Method;

use crate::{
    cli::{ChangeArgs, ListArgs, NameArgs, NewMetaArgs, RemoveArgs, ShowArgs, UpdateMetaArgs},
    client::{Client, Payload},
    failure::Failure,
    history::{self, EventsArgs},
    output::{self, Cell, Sheet, View},
    resource::{self, Shown},
};

/// Commands on flavors.
#[derive(Debug, Subcommand)]
pub enum FlavorCommand {
    /// Makes a flavor: a size of VMs.
    #[command(after_help = "Example:\n  edgectl create-flavor small --vcpus 1 --memory-mib 512 --disk-gib 4")]
    CreateFlavor(CreateFlavorArgs),
    /// Lists the flavors.
    #[command(after_help = "Example:\n  edgectl list-flavors -o wide")]
    ListFlavors(ListArgs),
    /// Shows a flavor.
    #[command(after_help = "Example:\n  edgectl show-flavor small")]
    ShowFlavor(ShowArgs),
    /// Changes a flavor's description or labels; its size never changes.
    #[command(after_help = "Example:\n  edgectl update-flavor small --label tier=demo")]
    UpdateFlavor(UpdateArgs),
    /// Removes flavors.
    #[command(after_help = "Example:\n  edgectl remove-flavor small medium")]
    RemoveFlavor(RemoveArgs),
    /// Shows a flavor's history.
    #[command(after_help = "Example:\n  edgectl show-flavor-events small")]
    ShowFlavorEvents(EventsArgs),
}

/// `create-flavor`
#[derive(Args, Debug)]
pub struct CreateFlavorArgs {
    /// Its name.
    #[arg(value_name = "NAME")]
    new_name: String,
    /// Virtual CPUs.
    #[arg(long, value_name = "N")]
    vcpus: u32,
    /// Memory, MiB.
    #[arg(long, value_name = "MIB")]
    memory_mib: u64,
    /// Root disk, GiB.
    #[arg(long, value_name = "GIB")]
    disk_gib: u64,
    /// Give each vCPU a core of its own.
    #[arg(long)]
    dedicated_cpus: bool,
    /// Take the memory from huge pages of this size.
    #[arg(long, value_enum, value_name = "SIZE")]
    huge_pages: Option<HugePagesArg>,
    /// NUMA nodes that the guest sees.
    #[arg(long, value_name = "N")]
    numa_nodes: Option<u32>,
    #[command(flatten)]
    meta: NewMetaArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HugePagesArg {
    /// 2 MiB.
    #[value(name = "2Mi")]
    Mi2,
    /// 1 GiB.
    #[value(name = "1Gi")]
    Gi1,
}

/// An update of a resource whose own fields never change.
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["description", "label", "clear_labels"])))]
pub struct UpdateArgs {
    #[command(flatten)]
    of: NameArgs,
    #[command(flatten)]
    meta: UpdateMetaArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Updates a resource that has nothing but description and labels to change.
///
/// # Errors
/// The server's, or output's.
pub async fn update<T: Shown>(client: &Client, args: &UpdateArgs) -> Result<(), Failure> {
    let body = Payload::json(&UpdateMeta { description: args.meta.description(), labels: args.meta.labels() })?;
    let segments = [T::KIND.plural(), args.of.name.as_str()];
    resource::change::<T>(client, Method::PATCH, &segments, &body, &args.change, "updated").await
}

/// Runs a command on flavors.
///
/// # Errors
/// See [`Failure`].
pub async fn run(command: FlavorCommand, client: &Client) -> Result<(), Failure> {
    match command {
        FlavorCommand::CreateFlavor(args) => create(client, args).await,
        FlavorCommand::ListFlavors(args) => resource::list::<Flavor>(client, &args).await,
        FlavorCommand::ShowFlavor(args) => resource::show::<Flavor>(client, &args).await,
        FlavorCommand::UpdateFlavor(args) => update::<Flavor>(client, &args).await,
        FlavorCommand::RemoveFlavor(args) => resource::remove::<Flavor>(client, &args).await,
        FlavorCommand::ShowFlavorEvents(args) => history::events(client, Kind::Flavor, &args).await,
    }
}

async fn create(client: &Client, args: CreateFlavorArgs) -> Result<(), Failure> {
    let body = Payload::json(&CreateFlavor {
        name: args.new_name,
        description: args.meta.description,
        labels: args.meta.label.into_iter().collect(),
        vcpus: args.vcpus,
        memory_mib: args.memory_mib,
        disk_gib: args.disk_gib,
        dedicated_cpus: args.dedicated_cpus,
        huge_pages: args.huge_pages.map(|size| match size {
            HugePagesArg::Mi2 => HugePages::Mi2,
            HugePagesArg::Gi1 => HugePages::Gi1,
        }),
        numa_nodes: args.numa_nodes,
    })?;
    let segments = [Kind::Flavor.plural()];
    resource::change::<Flavor>(client, Method::POST, &segments, &body, &args.change, "created").await
}

impl Shown for Flavor {
    const KIND: Kind = Kind::Flavor;
    const WHEN_EMPTY: &'static str =
        "no flavors yet; make one: edgectl create-flavor small --vcpus 1 --memory-mib 512 --disk-gib 4";

    fn headers(wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["NAME", "VCPUS", "MEMORY", "DISK"];
        if wide {
            headers.extend(["DEDICATED", "HUGE PAGES", "NUMA", "LABELS", "ID"]);
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
            self.vcpus.to_string().into(),
            output::mebibytes(self.memory_mib).into(),
            format!("{} GiB", self.disk_gib).into(),
        ];
        if view.wide {
            row.extend([
                if self.dedicated_cpus { "yes" } else { "no" }.into(),
                huge_pages(self.huge_pages).unwrap_or_default().into(),
                self.numa_nodes.map(|n| n.to_string()).unwrap_or_default().into(),
                output::labels(&self.meta.labels).into(),
                self.meta.id.to_string().into(),
            ]);
        }
        row.push(view.age(self.meta.created_at).into());
        row
    }

    fn sheet(&self, view: &View) -> Sheet {
        let mut sheet = resource::sheet_of(&self.meta, None, view);
        sheet.section("Size");
        sheet.pair("vcpus", self.vcpus.to_string());
        sheet.pair("memory", output::mebibytes(self.memory_mib));
        sheet.pair("root disk", format!("{} GiB", self.disk_gib));
        if self.dedicated_cpus {
            sheet.pair("dedicated cpus", "each vCPU has a core of its own");
        }
        sheet.pair_if("huge pages", huge_pages(self.huge_pages));
        sheet.pair_if("numa nodes", self.numa_nodes.map(|n| n.to_string()));
        sheet
    }

    fn state(&self) -> Option<&str> {
        None
    }
}

fn huge_pages(size: Option<HugePages>) -> Option<&'static str> {
    size.map(|size| match size {
        HugePages::Mi2 => "2Mi",
        HugePages::Gi1 => "1Gi",
    })
}
