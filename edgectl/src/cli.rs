//! The command line's frame, and the options that many commands share.

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, Parser, Subcommand};

use crate::{
    api::ApiArgs,
    archive::ArchiveArgs,
    backup::{BackupArgs, RestoreArgs, VerifyBackupArgs},
    completion::CompletionArgs,
    config::ConfigCommand,
    config::TargetArgs,
    diff::DiffArgs,
    events::WatchEventsArgs,
    explain::ExplainArgs,
    flavor::FlavorCommand,
    floating_ip::FloatingIpCommand,
    image::ImageCommand,
    keypair::KeypairCommand,
    lease::LeaseCommand,
    load_balancer::LoadBalancerCommand,
    network::NetworkCommand,
    network_cli::NetworkCliArgs,
    network_test::{PingArgs, TraceArgs},
    node::NodeCommand,
    output::Format,
    repair::{AdoptArgs, ForceRemoveArgs, ReconcileArgs},
    replay::{ReplayArgs, VerifyArgs},
    router::RouterCommand,
    search::HistoryArgs,
    security_group::SecurityGroupCommand,
    security_group_rule::SecurityGroupRuleCommand,
    undo::UndoArgs,
    version::VersionArgs,
    vm::VmCommand,
    volume::VolumeCommand,
    webhook::WebhookCommand,
    what_if::WhatIfArgs,
};

/// Virtual machines at the edge, from the command line.
#[derive(Debug, Parser)]
#[command(
    name = "edgectl",
    version,
    propagate_version = false,
    arg_required_else_help = true,
    max_term_width = 110,
    after_help = "Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 timed out while waiting.\n\n\
                  Example:\n  edgectl create-vm hello --image debian-12 --flavor small --keypair default"
)]
pub struct Cli {
    /// Which site, as whom.
    #[command(flatten)]
    pub target: TargetArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// On VMs.
    #[command(flatten)]
    Vm(VmCommand),
    /// On images.
    #[command(flatten)]
    Image(ImageCommand),
    /// On flavors.
    #[command(flatten)]
    Flavor(FlavorCommand),
    /// On keypairs.
    #[command(flatten)]
    Keypair(KeypairCommand),
    /// On nodes.
    #[command(flatten)]
    Node(NodeCommand),
    /// On volumes.
    #[command(flatten)]
    Volume(VolumeCommand),
    /// On networks.
    #[command(flatten)]
    Network(NetworkCommand),
    /// On security groups.
    #[command(flatten)]
    SecurityGroup(SecurityGroupCommand),
    /// On security group rules.
    #[command(flatten)]
    SecurityGroupRule(SecurityGroupRuleCommand),
    /// On routers.
    #[command(flatten)]
    Router(RouterCommand),
    /// On floating IPs.
    #[command(flatten)]
    FloatingIp(FloatingIpCommand),
    /// On load balancers.
    #[command(flatten)]
    LoadBalancer(LoadBalancerCommand),
    /// On webhooks.
    #[command(flatten)]
    Webhook(WebhookCommand),
    /// On leases.
    #[command(flatten)]
    Lease(LeaseCommand),
    /// Makes a raw, authenticated call of the API.
    #[command(
        after_help = "Example:\n  edgectl api GET vms?state=running\n  edgectl api POST vms/hello/action -d '{\"action\":\"stop\",\"grace_seconds\":30}'"
    )]
    Api(ApiArgs),
    /// Shows what changed between two moments, field by field, with who and why.
    #[command(
        after_help = "Example:\n  edgectl diff --from '10 minutes ago'\n  edgectl diff vm/hello --from 17 --to 2026-11-25T03:04:05Z"
    )]
    Diff(DiffArgs),
    /// Follows what happens on the site, from any place of the log on, until interrupted.
    #[command(after_help = "Example:\n  edgectl watch\n  edgectl watch --after 0 --kind vm --type VmStarted -o json")]
    Watch(WatchEventsArgs),
    /// Finds what happened on the site, and what was refused, by who, what, when and why.
    #[command(
        after_help = "Example:\n  edgectl history --actor admin --from '2 hours ago'\n  edgectl history --refused\n  edgectl history --kind vm --text 'exit status' -o json"
    )]
    History(HistoryArgs),
    /// Explains why an object is as it is: who asked for what, what followed, what it waits for, and what you can do.
    #[command(after_help = "Example:\n  edgectl explain vm/hello\n  edgectl explain vm/hello --at '1 hour ago'")]
    Explain(ExplainArgs),
    /// Shows the site's virtual network: a prompt with history and completion, or one command: topology, ports, routes, nat, lb,
    /// acl, addresses, counters, trace, ping.
    #[command(
        after_help = "Example:\n  edgectl network-cli\n  edgectl network-cli topology\n  edgectl network-cli ports web -o json\n  edgectl network-cli trace vm:web db tcp/5432"
    )]
    NetworkCli(NetworkCliArgs),
    /// Sends echo requests from one place of the virtual network to another, and tells where they stop if none come back.
    #[command(
        after_help = "Exit code 1 when not one is answered.\n\nExample:\n  edgectl test-ping web\n  edgectl test-ping web --from vm:db --count 10\n  edgectl test-ping 192.0.2.50 --from outside"
    )]
    TestPing(PingArgs),
    /// Tells which way a packet would take through the virtual network, and where it would stop. None is sent.
    #[command(
        after_help = "Exit code 1 when it would not come through.\n\nExample:\n  edgectl trace-packet vm:web db tcp/5432\n  edgectl trace-packet outside 192.0.2.50 tcp/80 --raw"
    )]
    TracePacket(TraceArgs),
    /// Looks at an object again now, whatever it waits for: its failure is forgotten, its worker tries at once.
    #[command(
        after_help = "Example:\n  edgectl reconcile vm/hello --reason 'the cable is back'\n  edgectl reconcile --all --reason 'after the power cut'"
    )]
    Reconcile(ReconcileArgs),
    /// Forgets an object whose usual removal can't end. What is left of it on its node becomes an orphan there.
    #[command(after_help = "Example:\n  edgectl force-remove vm/hello --reason 'edge-2 burnt down'")]
    ForceRemove(ForceRemoveArgs),
    /// Takes over a VM or image that is on a node and not in the log, as it is: a VM that runs goes on.
    #[command(
        after_help = "Example:\n  edgectl adopt 0199a0b1-0000-7000-8000-000000000001 --reason 'the log was restored'"
    )]
    Adopt(AdoptArgs),
    /// Tells what would happen, on a copy of the site in memory with simulated drivers; nothing real is touched.
    #[command(
        after_help = "The steps of files come first, then what is drained, lost or crashes, then the command, then what comes back, then time.\n\nExample:\n  edgectl what-if create-vm hello --image debian-12 --flavor small\n  edgectl what-if --drain-node edge-1\n  edgectl what-if --lose-node edge-1 --wait-seconds 60\n  edgectl what-if plan.yaml --at '1 hour ago'"
    )]
    WhatIf(Box<WhatIfArgs>),
    /// Proposes the commands that take a change back, shows what they would lead to, and runs them when you say so.
    #[command(
        after_help = "Nothing is taken out of the log: what undoes a change is a change, too.\n\nExample:\n  edgectl undo 12\n  edgectl undo 12 --yes --reason 'a slip'"
    )]
    Undo(UndoArgs),
    /// Checks the whole log: sequences, hash chain, events, and the worlds between. Exit code 1 when it is not whole.
    #[command(after_help = "Example:\n  edgectl verify-log")]
    VerifyLog(VerifyArgs),
    /// Replays the log from its first commit, and compares what it leads to with what the site shows.
    #[command(
        after_help = "Example:\n  edgectl replay --verify\n  edgectl replay --verify vm --until '1 hour ago'\n  edgectl replay --step vm\n  edgectl replay --step vm/hello"
    )]
    Replay(ReplayArgs),
    /// Lets older commits leave the live log: they are in the archive, and everything reaches them there as before.
    #[command(
        after_help = "The archive is their only copy then. It is read as a whole and compared first.\n\nExample:\n  edgectl archive --before '90 days ago' --reason 'the disk of the log is small' --dry-run"
    )]
    Archive(ArchiveArgs),
    /// Takes a backup of the log: one file, packed, checked and signed. Disks, images and keys are not in it.
    #[command(after_help = "Example:\n  edgectl backup site.edgestack-backup")]
    Backup(BackupArgs),
    /// Checks a backup: its commits, their chain, its checksum, its signature. Needs no site.
    #[command(after_help = "Example:\n  edgectl verify-backup site.edgestack-backup")]
    VerifyBackup(VerifyBackupArgs),
    /// Brings the log of a backup back, into a state folder without one; the site is started after that.
    #[command(after_help = "Example:\n  edgectl restore site.edgestack-backup --state-dir /var/lib/edgestack")]
    Restore(RestoreArgs),
    /// Shows the configuration in effect.
    #[command(subcommand, after_help = "Example:\n  edgectl config view")]
    Config(ConfigCommand),
    /// Prints a script that makes the shell complete commands, options and names.
    #[command(after_help = "Example:\n  edgectl completion bash >> ~/.bashrc")]
    Completion(CompletionArgs),
    /// Tells the versions of edgectl and of the site.
    #[command(after_help = "Example:\n  edgectl version -o json")]
    Version(VersionArgs),
}

/// `-o`.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct OutputArgs {
    /// How to print the result.
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub output: Format,
}

/// Options of every change.
#[derive(Args, Clone, Debug, Default)]
pub struct ChangeArgs {
    /// Let the server check the change, and change nothing.
    #[arg(long, help_heading = "Change")]
    pub dry_run: bool,
    /// Why, for the history; at most 1,024 characters.
    #[arg(long, value_name = "TEXT", help_heading = "Change")]
    pub reason: Option<String>,
    /// How to print the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Options of changes that work follows.
#[derive(Args, Clone, Debug)]
pub struct WaitArgs {
    /// Wait until the work is done (the default).
    #[arg(long, overrides_with = "no_wait", help_heading = "Waiting")]
    pub wait: bool,
    /// Return as soon as the change is accepted.
    #[arg(long, overrides_with = "wait", help_heading = "Waiting")]
    pub no_wait: bool,
    /// Wait at most so long; the work itself goes on after that (exit code 3).
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 600,
        value_parser = clap::value_parser!(u64).range(1..=604_800),
        help_heading = "Waiting"
    )]
    pub timeout: u64,
}

impl WaitArgs {
    /// How long to wait; `None` for not at all.
    pub fn patience(&self) -> Option<Duration> {
        (!self.no_wait).then(|| Duration::from_secs(self.timeout))
    }
}

/// One resource.
#[derive(Args, Clone, Debug)]
pub struct NameArgs {
    /// Its name or id.
    #[arg(value_name = "NAME", value_parser = name_or_id)]
    pub name: String,
}

/// Which moment is shown.
#[derive(Args, Clone, Debug, Default)]
pub struct AtArgs {
    /// As it was: after a commit (17), at a time (2026-11-25T03:04:05Z), or so long ago ("10 minutes ago").
    #[arg(long, value_name = "MOMENT")]
    pub at: Option<String>,
}

impl AtArgs {
    /// As the query has it.
    pub fn query(&self) -> Vec<(&'static str, String)> {
        self.at.iter().map(|at| ("at", at.clone())).collect()
    }
}

/// One resource to be read.
#[derive(Args, Clone, Debug)]
pub struct ShowArgs {
    /// Which.
    #[command(flatten)]
    pub of: NameArgs,
    /// When.
    #[command(flatten)]
    pub at: AtArgs,
    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// One resource to be read that tells of now only.
#[derive(Args, Clone, Debug)]
pub struct LookArgs {
    /// Which.
    #[command(flatten)]
    pub of: NameArgs,
    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Resources to be removed.
#[derive(Args, Clone, Debug)]
pub struct RemoveArgs {
    /// Their names or ids.
    #[arg(value_name = "NAME", required = true, value_parser = name_or_id)]
    pub names: Vec<String>,
    /// How.
    #[command(flatten)]
    pub change: ChangeArgs,
    /// How long.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// Which of a kind's resources.
#[derive(Args, Clone, Debug, Default)]
pub struct FilterArgs {
    /// Only the one of this name.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Only those with this label; may be given several times, all must match.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = key_value)]
    pub label: Vec<(String, String)>,
    /// Only those in one of these states.
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub state: Vec<String>,
}

impl FilterArgs {
    /// As the query has it.
    pub fn query(&self) -> Vec<(&'static str, String)> {
        let mut query = Vec::new();
        if let Some(name) = &self.name {
            query.push(("name", name.clone()));
        }
        if !self.label.is_empty() {
            let labels: Vec<String> = self.label.iter().map(|(k, v)| format!("{k}={v}")).collect();
            query.push(("label", labels.join(",")));
        }
        if !self.state.is_empty() {
            query.push(("state", self.state.join(",")));
        }
        query
    }
}

/// A list.
#[derive(Args, Clone, Debug, Default)]
pub struct ListArgs {
    /// Which.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// When.
    #[command(flatten)]
    pub at: AtArgs,
    /// At most so many; all if absent.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: Option<u32>,
    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What every new resource may have.
#[derive(Args, Clone, Debug, Default)]
pub struct NewMetaArgs {
    /// Free text.
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub description: String,
    /// A label; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = key_value)]
    pub label: Vec<(String, String)>,
}

/// What may change on every resource.
#[derive(Args, Clone, Debug, Default)]
pub struct UpdateMetaArgs {
    /// New free text; "" clears it.
    #[arg(long, value_name = "TEXT")]
    pub description: Option<String>,
    /// A label; all of them together take the place of the present ones.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = key_value)]
    pub label: Vec<(String, String)>,
    /// Take all labels off.
    #[arg(long, conflicts_with = "label")]
    pub clear_labels: bool,
}

impl UpdateMetaArgs {
    /// The description as a PATCH has it: absent leaves, `null` clears.
    pub fn description(&self) -> Option<Option<String>> {
        let text = self.description.clone()?;
        Some(Some(text).filter(|text| !text.is_empty()))
    }

    /// The labels as a PATCH has them.
    pub fn labels(&self) -> Option<Option<BTreeMap<String, String>>> {
        replacement(&self.label, self.clear_labels)
    }
}

/// A map of a PATCH: given pairs replace it, `clear` makes it `null`, neither leaves it.
pub fn replacement(pairs: &[(String, String)], clear: bool) -> Option<Option<BTreeMap<String, String>>> {
    if clear {
        return Some(None);
    }
    (!pairs.is_empty()).then(|| Some(pairs.iter().cloned().collect()))
}

/// A switch.
///
/// # Errors
/// What it can be, as a sentence.
pub fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("must be on or off".to_owned()),
    }
}

/// A list of a PATCH: what is given replaces it, `clear` makes it `null`, neither leaves it.
pub fn replaced_list<T>(given: Vec<T>, clear: bool) -> Option<Option<Vec<T>>> {
    if clear { Some(None) } else { (!given.is_empty()).then_some(Some(given)) }
}

/// Reads `key=value`.
///
/// # Errors
/// There is no `=`, or nothing before it.
pub fn key_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        Some(_) | None => Err("must be KEY=VALUE".to_owned()),
    }
}

/// Reads a name or id that becomes a path segment; whether it exists, the server says.
///
/// # Errors
/// It would change the path's shape.
pub fn name_or_id(text: &str) -> Result<String, String> {
    match text {
        "" | "." | ".." => Err("must be a name or an id".to_owned()),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests;
