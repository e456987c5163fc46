//! Ending all of it: the processes and the devices.

use std::io::ErrorKind;
use std::time::Duration;

use rustix::process::Signal;
use tokio::process::Command;

use super::error::BundledError;
use super::part::Part;
use super::process::Watched;
use super::{Plan, control, devices, tool};

/// How long a process may take to clear up and end.
const EXIT_PATIENCE: Duration = Duration::from_secs(10);
/// How long one that takes no orders may take to end.
const TERM_PATIENCE: Duration = Duration::from_secs(2);
/// How long a killed one may take to go.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// From the one who works for others to the one who is worked for: the controller takes its chassis out of the
/// southbound database, the switch its devices out of the kernel.
const ORDER: [Part; 6] = [
    Part::Controller,
    Part::Northd,
    Part::Switch,
    Part::SouthboundDatabase,
    Part::NorthboundDatabase,
    Part::SwitchDatabase,
];

/// Ends what runs in the folder, and removes the devices of its switch and of the VMs' ports. Nobody may watch over the
/// processes any more.
pub(super) async fn end_all(plan: &Plan) -> Result<(), BundledError> {
    let named = devices::named(plan).await;
    if let Ok(named) = &named
        && let Err(error) = unplug(plan, named).await
    {
        // The devices go all the same; a switch that is started here again says that it can't open them.
        tracing::warn!(%error, "the ports of VMs stay in the switch's database");
    }
    for part in ORDER {
        while let Some(process) = Watched::find(part, &plan.folder).map_err(BundledError::Look)? {
            end(plan, part, process).await?;
        }
    }
    let named = named.map_err(BundledError::Devices)?;
    let names = named.internal.into_iter().chain(named.plugged).collect();
    devices::remove_taps(plan, names).await.map_err(BundledError::Devices)
}

async fn unplug(plan: &Plan, named: &devices::Named) -> Result<(), tool::ToolError> {
    let database = plan.folder.socket(Part::SwitchDatabase);
    if named.plugged.is_empty() || control::call(&database, "echo", &[]).await.is_err() {
        return Ok(());
    }
    let mut command = Command::new(&plan.config.programs.ovs_vsctl);
    command.arg(format!("--db=unix:{}", database.display())).args(["--timeout=5", "--no-wait"]);
    for device in &named.plugged {
        command.args(["--", "--if-exists", "del-port", device]);
    }
    tool::run(command, Duration::from_secs(10)).await.map(drop)
}

async fn end(plan: &Plan, part: Part, mut process: Watched) -> Result<(), BundledError> {
    let pid = process.pid;
    let process_error = |source| BundledError::Process { part, pid, source };
    // With --cleanup the switch removes its devices; ovs-vswitchd(8).
    let parameters: &[&str] = if part == Part::Switch { &["--cleanup"] } else { &[] };
    let ordered = control::call(&plan.folder.control(part, pid), "exit", parameters).await;
    // The connection may break as it ends; then it took the order too.
    let taken = ordered.as_ref().err().is_none_or(|error| {
        matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
    });
    if taken && process.ended_within(EXIT_PATIENCE).await {
        return Ok(());
    }
    process.signal(Signal::TERM).map_err(process_error)?;
    if process.ended_within(TERM_PATIENCE).await {
        return Ok(());
    }
    tracing::warn!(process = %part, pid, "a process of OVN doesn't stop; killing it");
    process.signal(Signal::KILL).map_err(process_error)?;
    if process.ended_within(KILL_PATIENCE).await { Ok(()) } else { Err(BundledError::Stuck { part, pid }) }
}
