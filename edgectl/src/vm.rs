//! Commands on VMs that change them or list them.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use edgestack_model::Kind;
use edgestack_wire::vm::{BootDiskRequest, CreateVm, RunStrategy, UpdateVm, Vm, VmAction, VmNetwork};
use reqwest::Method;

use crate::{
    cli::{
        self, ChangeArgs, ListArgs, LookArgs, NameArgs, NewMetaArgs, RemoveArgs, ShowArgs, UpdateMetaArgs, WaitArgs,
    },
    client::{Client, Payload},
    failure::Failure,
    guest::{self, LogsArgs},
    history::{self, EventsArgs},
    live::{self, WatchArgs},
    resource,
    vm_nic::{self, AttachNicArgs, DetachNicArgs, EditNicArgs, EditSgArgs},
    wait::Verdict,
};

/// Commands on VMs.
#[derive(Debug, Subcommand)]
pub enum VmCommand {
    /// Makes a VM and starts it.
    #[command(
        after_help = "Example:\n  edgectl create-vm hello --image debian-12 --flavor small --keypair default\n  \
                      edgectl create-vm db --image debian-12 --flavor large --user-data init.yaml --label app=db --disk-gib 40\n  \
                      edgectl create-vm web --image debian-12 --flavor small --network blue,sg=web,sg=ssh --network red,ip=10.1.0.20"
    )]
    CreateVm(CreateVmArgs),
    /// Lists the VMs.
    #[command(after_help = "Example:\n  edgectl list-vms --state running,back_off --label app=db")]
    ListVms(ListArgs),
    /// Shows a VM: its state and what it waits for, where it runs, how to log in.
    #[command(after_help = "Example:\n  edgectl show-vm hello")]
    ShowVm(ShowArgs),
    /// Changes a VM's description, labels, run strategy or node selector.
    #[command(after_help = "Example:\n  edgectl update-vm hello --run-strategy rerun-on-failure")]
    UpdateVm(UpdateVmArgs),
    /// Removes VMs and their root disks.
    #[command(after_help = "Example:\n  edgectl remove-vm hello web-1 web-2")]
    RemoveVm(RemoveArgs),
    /// Starts a VM.
    #[command(after_help = "Example:\n  edgectl start-vm hello --wait-for guest-agent --timeout 120")]
    StartVm(StartArgs),
    /// Asks a VM's guest to shut down; after the grace it is cut off.
    #[command(after_help = "Example:\n  edgectl stop-vm hello --grace-seconds 30")]
    StopVm(StopArgs),
    /// Stops a VM and starts it again.
    #[command(after_help = "Example:\n  edgectl restart-vm hello --reason 'new kernel'")]
    RestartVm(ActArgs),
    /// Holds a VM's CPUs; its memory stays.
    #[command(after_help = "Example:\n  edgectl pause-vm hello")]
    PauseVm(ActArgs),
    /// Lets a paused VM go on.
    #[command(after_help = "Example:\n  edgectl unpause-vm hello")]
    UnpauseVm(ActArgs),
    /// Changes the security groups of a VM's NICs.
    #[command(
        name = "edit-vm-sg",
        after_help = "Example:\n  edgectl edit-vm-sg hello --add web --remove default\n  edgectl edit-vm-sg hello --nic 1 --set web,db"
    )]
    EditVmSg(EditSgArgs),
    /// Changes a VM's NICs: whether they are held to their own addresses.
    #[command(after_help = "Example:\n  edgectl edit-vm-nic hello --nic 0 --port-security off")]
    EditVmNic(EditNicArgs),
    /// Attaches a NIC to a VM, also while it runs.
    #[command(
        after_help = "Example:\n  edgectl attach-nic hello --network blue\n  edgectl attach-nic hello --network red,ip=10.1.0.20,sg=web"
    )]
    AttachNic(AttachNicArgs),
    /// Detaches a NIC from a VM, also while it runs: its guest lets go of it.
    #[command(after_help = "Example:\n  edgectl detach-nic hello --nic 1\n  edgectl detach-nic hello --network red")]
    DetachNic(DetachNicArgs),
    /// Shows a VM's whole history, also after its removal.
    #[command(
        after_help = "Example:\n  edgectl show-vm-events hello -o wide\n  edgectl show-vm-events hello --at 2026-11-25T03:04:05Z"
    )]
    ShowVmEvents(EventsArgs),
    /// Shows a VM's serial console log.
    #[command(after_help = "Example:\n  edgectl show-vm-logs hello --tail 100 --follow")]
    ShowVmLogs(LogsArgs),
    /// Prints the KubeVirt VirtualMachine that is equivalent to a VM.
    #[command(
        after_help = "Example:\n  edgectl show-vm-manifest hello > hello.yaml\n  edgectl show-vm-manifest hello --at \"1 hour ago\""
    )]
    ShowVmManifest(ShowArgs),
    /// Shows what the guest's agent says about the guest.
    #[command(after_help = "Example:\n  edgectl show-guest-info hello")]
    ShowGuestInfo(LookArgs),
    /// Shows who is logged in in the guest.
    #[command(after_help = "Example:\n  edgectl show-login-users hello")]
    ShowLoginUsers(LookArgs),
    /// Shows the VMs and keeps the picture up to date.
    #[command(after_help = "Example:\n  edgectl watch-vms\n  edgectl watch-vms -o json | jq -r .object.state")]
    WatchVms(WatchArgs),
}

/// `create-vm`
#[derive(Args, Debug)]
pub struct CreateVmArgs {
    /// Its name; it becomes the guest's host name.
    #[arg(value_name = "NAME")]
    new_name: String,
    /// The image that its root disk starts from, by name or id.
    #[arg(long)]
    image: String,
    /// Its size, by name or id.
    #[arg(long)]
    flavor: String,
    /// The keypair to let in, by name or id.
    #[arg(long)]
    keypair: Option<String>,
    /// A network to be on, by name or id, the addresses wished for there, and security groups; may be given several times,
    /// a NIC each.
    #[arg(long, value_name = "NAME[,ip=ADDRESS][,mac=ADDRESS][,sg=GROUP]...[,port-security=on|off]", value_parser = vm_nic::parse)]
    network: Vec<VmNetwork>,
    /// A security group of the NICs for which --network names none; may be given several times. The group default if absent.
    #[arg(long, value_name = "NAME", value_delimiter = ',', requires = "network")]
    security_group: Vec<String>,
    /// cloud-init user data; "-" reads standard input.
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    user_data: Option<PathBuf>,
    /// The one node that it may run on, by name or id.
    #[arg(long)]
    node: Option<String>,
    /// A label that its node must have; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = cli::key_value)]
    node_selector: Vec<(String, String)>,
    /// What follows when it stops by itself.
    #[arg(long, value_enum, default_value = "always", value_name = "STRATEGY")]
    run_strategy: RunStrategyArg,
    /// Its root disk's size, GiB, if it is not to be as the flavor says.
    #[arg(long, value_name = "GIB")]
    disk_gib: Option<u64>,
    #[command(flatten)]
    meta: NewMetaArgs,
    #[command(flatten)]
    wait_for: WaitForArgs,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// `--wait-for`
#[derive(Args, Clone, Copy, Debug)]
struct WaitForArgs {
    /// How far to wait.
    #[arg(long, value_enum, default_value = "running", value_name = "POINT", help_heading = "Waiting")]
    wait_for: WaitFor,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum WaitFor {
    /// Its CPUs run.
    Running,
    /// The agent in the guest has answered: the system is up.
    GuestAgent,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RunStrategyArg {
    /// Started again after each stop that nobody asked for.
    Always,
    /// Started again after a crash.
    RerunOnFailure,
    /// Only people start it, the first time too.
    Manual,
    /// Made, not started; the first start makes it "always".
    Halted,
}

impl From<RunStrategyArg> for RunStrategy {
    fn from(strategy: RunStrategyArg) -> Self {
        match strategy {
            RunStrategyArg::Always => Self::Always,
            RunStrategyArg::RerunOnFailure => Self::RerunOnFailure,
            RunStrategyArg::Manual => Self::Manual,
            RunStrategyArg::Halted => Self::Halted,
        }
    }
}

/// `update-vm`
#[derive(Args, Debug)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(
    ["description", "label", "clear_labels", "run_strategy", "node_selector", "clear_node_selector"]
)))]
pub struct UpdateVmArgs {
    #[command(flatten)]
    of: NameArgs,
    #[command(flatten)]
    meta: UpdateMetaArgs,
    /// What follows when it stops by itself.
    #[arg(long, value_enum, value_name = "STRATEGY")]
    run_strategy: Option<RunStrategyArg>,
    /// A label that its node must have; all together take the place of the present ones.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',', value_parser = cli::key_value)]
    node_selector: Vec<(String, String)>,
    /// Let it run on any node.
    #[arg(long, conflicts_with = "node_selector")]
    clear_node_selector: bool,
    #[command(flatten)]
    change: ChangeArgs,
}

/// `restart-vm`, `pause-vm`, `unpause-vm`
#[derive(Args, Debug)]
pub struct ActArgs {
    #[command(flatten)]
    of: NameArgs,
    #[command(flatten)]
    change: ChangeArgs,
    /// How long.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// `start-vm`
#[derive(Args, Debug)]
pub struct StartArgs {
    #[command(flatten)]
    of: NameArgs,
    #[command(flatten)]
    wait_for: WaitForArgs,
    #[command(flatten)]
    change: ChangeArgs,
    /// How long.
    #[command(flatten)]
    pub wait: WaitArgs,
}

/// `stop-vm`
#[derive(Args, Debug)]
pub struct StopArgs {
    #[command(flatten)]
    of: NameArgs,
    /// How long the guest may take to shut down.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(0..=3600))]
    grace_seconds: u32,
    /// Cut it off at once, as if the power failed.
    #[arg(long, conflicts_with = "grace_seconds")]
    force: bool,
    #[command(flatten)]
    change: ChangeArgs,
    #[command(flatten)]
    wait: WaitArgs,
}

/// Runs a command on VMs.
///
/// # Errors
/// See [`Failure`].
pub async fn run(command: VmCommand, client: &Client) -> Result<(), Failure> {
    let agent_no_matter = WaitForArgs { wait_for: WaitFor::Running };
    match command {
        VmCommand::CreateVm(args) => create(client, args).await,
        VmCommand::ListVms(args) => resource::list::<Vm>(client, &args).await,
        VmCommand::ShowVm(args) => resource::show::<Vm>(client, &args).await,
        VmCommand::UpdateVm(args) => update(client, &args).await,
        VmCommand::RemoveVm(args) => resource::remove::<Vm>(client, &args).await,
        VmCommand::StartVm(args) => {
            let action = VmAction::Start {};
            let StartArgs { of, wait_for, change, wait } = args;
            act(client, &of, &action, &change, &wait, wait_for).await
        }
        VmCommand::StopVm(args) => {
            let grace_seconds = if args.force { 0 } else { args.grace_seconds };
            let action = VmAction::Stop { grace_seconds };
            act(client, &args.of, &action, &args.change, &args.wait, agent_no_matter).await
        }
        VmCommand::RestartVm(args) => {
            let action = VmAction::Restart {};
            act(client, &args.of, &action, &args.change, &args.wait, agent_no_matter).await
        }
        VmCommand::PauseVm(args) => {
            let action = VmAction::Pause {};
            act(client, &args.of, &action, &args.change, &args.wait, agent_no_matter).await
        }
        VmCommand::UnpauseVm(args) => {
            let action = VmAction::Unpause {};
            act(client, &args.of, &action, &args.change, &args.wait, agent_no_matter).await
        }
        VmCommand::EditVmSg(args) => vm_nic::edit(client, args).await,
        VmCommand::EditVmNic(args) => vm_nic::edit_nic(client, args).await,
        VmCommand::AttachNic(args) => vm_nic::attach(client, args).await,
        VmCommand::DetachNic(args) => vm_nic::detach(client, args).await,
        VmCommand::ShowVmEvents(args) => history::events(client, Kind::Vm, &args).await,
        VmCommand::ShowVmLogs(args) => guest::logs(client, &args).await,
        VmCommand::ShowVmManifest(args) => guest::manifest(client, &args).await,
        VmCommand::ShowGuestInfo(args) => guest::info(client, &args).await,
        VmCommand::ShowLoginUsers(args) => guest::login_users(client, &args).await,
        VmCommand::WatchVms(args) => live::watch::<Vm>(client, &args).await,
    }
}

async fn create(client: &Client, args: CreateVmArgs) -> Result<(), Failure> {
    let user_data = match &args.user_data {
        Some(path) => Some(cli_text(path)?),
        None => None,
    };
    let body = Payload::json(&CreateVm {
        name: args.new_name,
        description: args.meta.description,
        labels: args.meta.label.into_iter().collect(),
        image: args.image,
        flavor: args.flavor,
        boot_disk: args.disk_gib.map(|size_gib| BootDiskRequest { size_gib }),
        volumes: vec![],
        networks: vm_nic::in_groups(args.network, &args.security_group),
        keypair: args.keypair,
        user_data,
        node: args.node,
        node_selector: args.node_selector.into_iter().collect(),
        run_strategy: args.run_strategy.into(),
    })?;
    let reply = client.change(Method::POST, &[Kind::Vm.plural()], &body, &args.change).await?;
    let patience = args.wait.patience();
    let judge = judge(&reply.body, args.wait_for)?;
    resource::finish::<Vm>(client, &reply, &args.change, patience, "created", judge).await
}

/// A local text file, or standard input for `-`.
fn cli_text(path: &PathBuf) -> Result<String, Failure> {
    let read =
        if path.as_os_str() == "-" { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    read.map_err(|source| Failure::File { doing: "read", path: path.clone(), source })
}

async fn update(client: &Client, args: &UpdateVmArgs) -> Result<(), Failure> {
    let body = Payload::json(&UpdateVm {
        description: args.meta.description(),
        labels: args.meta.labels(),
        run_strategy: args.run_strategy.map(|strategy| Some(strategy.into())),
        node_selector: cli::replacement(&args.node_selector, args.clear_node_selector),
    })?;
    let segments = [Kind::Vm.plural(), args.of.name.as_str()];
    resource::change::<Vm>(client, Method::PATCH, &segments, &body, &args.change, "updated").await
}

async fn act(
    client: &Client,
    of: &NameArgs,
    action: &VmAction,
    change: &ChangeArgs,
    wait: &WaitArgs,
    wait_for: WaitForArgs,
) -> Result<(), Failure> {
    let body = Payload::json(action)?;
    let segments = [Kind::Vm.plural(), of.name.as_str(), "action"];
    let reply = client.change(Method::POST, &segments, &body, change).await?;
    let done = match action {
        VmAction::Start {} => "started",
        VmAction::Stop { .. } => "stopped",
        VmAction::Restart {} => "restarted",
        VmAction::Pause {} => "paused",
        VmAction::Unpause {} => "unpaused",
        VmAction::EditSecurityGroups { .. } | VmAction::EditNic { .. } => "edited",
        VmAction::AttachNic { .. } => "attached",
        VmAction::DetachNic { .. } => "detached",
        VmAction::Reconcile {} => "to be looked at again",
        VmAction::ForceRemove {} => "forgotten",
    };
    let judge = judge(&reply.body, wait_for)?;
    resource::finish::<Vm>(client, &reply, change, wait.patience(), done, judge).await
}

/// Judges a VM by the target that the change's answer shows.
fn judge(reply: &str, wait_for: WaitForArgs) -> Result<impl Fn(&Vm) -> Verdict, Failure> {
    let wished: Vm = serde_json::from_str(reply)?;
    Ok(move |vm: &Vm| verdict(vm, &wished, wait_for.wait_for))
}

fn verdict(vm: &Vm, wished: &Vm, wait_for: WaitFor) -> Verdict {
    if vm.target != wished.target {
        return Verdict::Never(superseded(vm, &wished.target));
    }
    let there = vm.state == vm.target;
    if there && vm.target == "running" && wait_for == WaitFor::GuestAgent && vm.guest.is_none() {
        return Verdict::NotYet { state: "running, its guest agent has not answered yet".to_owned(), waiting: None };
    }
    if there { Verdict::Reached } else { Verdict::NotYet { state: vm.state.clone(), waiting: vm.waiting.clone() } }
}

/// Somebody else, or the run strategy, wants something else by now.
fn superseded(vm: &Vm, wished: &str) -> String {
    let name = &vm.meta.name;
    let stop = match &vm.last_stop {
        Some(stop) if vm.target == "stopped" => format!(" ({}: {})", stop.how, stop.detail),
        Some(_) | None => String::new(),
    };
    format!("vm \"{name}\" shall be {} by now, not {wished}{stop}; see why: edgectl show-vm-events {name}", vm.target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm_sheet::tests::a_vm;
    use edgestack_wire::vm::Guest;

    fn is(state: &str, target: &str) -> Vm {
        Vm { state: state.to_owned(), target: target.to_owned(), ..a_vm() }
    }

    #[test]
    fn a_vm_is_there_when_its_state_is_its_target() {
        let wished = is("pending", "running");
        let by = |vm: &Vm| verdict(vm, &wished, WaitFor::Running);
        assert_eq!(by(&is("running", "running")), Verdict::Reached);
        for state in ["pending", "starting", "back_off", "restarting"] {
            let verdict = by(&is(state, "running"));
            assert!(matches!(verdict, Verdict::NotYet { .. }), "{state}: {verdict:?}");
        }
        assert!(matches!(by(&is("stopping", "stopped")), Verdict::Never(_)));
    }

    #[test]
    fn waiting_for_the_guest_agent_outlasts_running() {
        let wished = is("pending", "running");
        let mut vm = is("running", "running");
        vm.guest = None;
        let verdict_of = |vm: &Vm| verdict(vm, &wished, WaitFor::GuestAgent);
        assert!(matches!(verdict_of(&vm), Verdict::NotYet { .. }));
        vm.guest = Some(Guest {
            hostname: "hello".to_owned(),
            operating_system: "Debian".to_owned(),
            since: vm.meta.created_at,
        });
        assert_eq!(verdict_of(&vm), Verdict::Reached);
    }
}
