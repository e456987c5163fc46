//! `network-cli`: the site's virtual network at one place, as a prompt or a command at a time.

mod prompt;
mod site;
mod tables;
mod tree;

use clap::{Args, Parser, Subcommand};
use edgestack_wire::network_test::Counters;

use crate::{
    client::Client,
    failure::Failure,
    network_test::{self, PingArgs, TraceArgs},
    output::{self, Format, View},
};
use site::Site;
use tables::Table;

/// `network-cli`
#[derive(Args, Clone, Debug)]
pub struct NetworkCliArgs {
    /// What to show; a prompt if absent.
    #[command(subcommand)]
    command: Option<NetworkCommand>,
}

/// A line at the prompt.
#[derive(Parser, Debug)]
#[command(name = "", no_binary_name = true, disable_help_flag = true, infer_subcommands = true, multicall = false)]
struct Line {
    #[command(subcommand)]
    command: NetworkCommand,
}

#[derive(Subcommand, Clone, Debug)]
enum NetworkCommand {
    /// Networks, what is on them, and who joins them, as a tree.
    #[command(after_help = "Example:\n  edgectl network-cli topology\n  edgectl network-cli topology edge")]
    Topology(What),
    /// NICs, and who else has a port: addresses, security groups, state.
    #[command(after_help = "Example:\n  edgectl network-cli ports web")]
    Ports(What),
    /// Routes, of routers and those that guests are told of.
    #[command(after_help = "Example:\n  edgectl network-cli routes edge")]
    Routes(What),
    /// SNAT and floating IPs.
    #[command(after_help = "Example:\n  edgectl network-cli nat")]
    Nat(What),
    /// Load balancers: what is answered, and by whom.
    #[command(after_help = "Example:\n  edgectl network-cli lb shop")]
    Lb(What),
    /// Rules of security groups, and whom they are about.
    #[command(after_help = "Example:\n  edgectl network-cli acl web")]
    Acl(What),
    /// Who holds which address.
    #[command(after_help = "Example:\n  edgectl network-cli addresses blue")]
    Addresses(What),
    /// What went over the NICs of the daemon's node.
    #[command(after_help = "Example:\n  edgectl network-cli counters")]
    Counters(What),
    /// Which way a packet would take: trace vm:web db tcp/5432.
    #[command(after_help = "Example:\n  edgectl network-cli trace vm:web db tcp/5432")]
    Trace(TraceArgs),
    /// Real echo requests: ping web --from vm:db.
    #[command(after_help = "Example:\n  edgectl network-cli ping web --from vm:db")]
    Ping(PingArgs),
}

/// What is shown, and how.
#[derive(Args, Clone, Debug)]
struct What {
    /// Only what is of this network, router, VM, load balancer or security group.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    output: crate::cli::OutputArgs,
}

/// `network-cli`
///
/// # Errors
/// The server's, or output's; at the prompt they are told there.
pub async fn run(client: &Client, args: NetworkCliArgs) -> Result<(), Failure> {
    match args.command {
        Some(command) => perform(client, command).await,
        None => prompt::run(client).await,
    }
}

async fn perform(client: &Client, command: NetworkCommand) -> Result<(), Failure> {
    match command {
        NetworkCommand::Trace(args) => network_test::trace(client, &args).await,
        NetworkCommand::Ping(args) => network_test::ping(client, &args).await,
        NetworkCommand::Topology(what) => tree::print(&Site::read(client).await?, &what),
        NetworkCommand::Ports(what) => print(&tables::ports(&Site::read(client).await?), &what),
        NetworkCommand::Routes(what) => print(&tables::routes(&Site::read(client).await?), &what),
        NetworkCommand::Nat(what) => print(&tables::nat(&Site::read(client).await?), &what),
        NetworkCommand::Lb(what) => print(&tables::load_balancers(&Site::read(client).await?), &what),
        NetworkCommand::Acl(what) => print(&tables::rules(&Site::read(client).await?), &what),
        NetworkCommand::Addresses(what) => print(&tables::addresses(&Site::read(client).await?), &what),
        NetworkCommand::Counters(what) => {
            let raw = client.get(client.path("/edgetron/network/counters")).await?;
            print(&tables::counters(&serde_json::from_str::<Counters>(&raw)?), &what)
        }
    }
}

fn print(table: &Table, what: &What) -> Result<(), Failure> {
    let table = match &what.name {
        Some(name) => table.about(name),
        None => table.clone(),
    };
    let format = what.output.output;
    if table.rows.is_empty() && matches!(format, Format::Table | Format::Wide) {
        let of = what.name.as_ref().map(|name| format!(" of \"{name}\"")).unwrap_or_default();
        output::note(&format!("there are no {}{of}", table.of));
        return Ok(());
    }
    let raw = table.json().to_string();
    output::print_document(format, &raw, "", |view: View| Ok(table.text(view.colour)))
}
