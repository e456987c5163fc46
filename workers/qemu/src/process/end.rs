//! Ending a machine's QEMU: by the guest's own shutdown, by QEMU's `quit`, by a kill.

use std::io;
use std::path::Path;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::time::{Instant, interval, timeout, timeout_at};

use super::find::{Record, find, read_record};
use super::launch::lock;
use super::{Instance, Layout};
use crate::durable::remove_if_there;
use crate::qmp::{QmpError, RunState};

/// How long QEMU may take to accept the order to quit.
const ORDER_DEADLINE: Duration = Duration::from_secs(5);
/// How long it may then take: it flushes its disks first.
const QUIT_DEADLINE: Duration = Duration::from_secs(30);
/// How long a killed process may take to go. It is longer only when the kernel holds it, in a hung disk's I/O.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// The power button is pressed again this often: a guest that is still booting doesn't feel the first time.
const PRESS_AGAIN: Duration = Duration::from_secs(5);

/// How long a patient end keeps the monitor to itself.
const MONITOR_HELD: Duration = Duration::from_millis(200);

/// How a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It had ended before.
    AlreadyGone,
    /// The guest shut down by itself, asked by us or before; QEMU then quit.
    ByGuest,
    /// QEMU was told to quit, the guest wasn't asked or didn't go in time. Disks are flushed, the guest's caches lost.
    Quit,
    /// QEMU didn't quit and was killed.
    Killed,
}

/// Why it isn't ended. It may still run.
#[derive(Debug, thiserror::Error)]
pub enum EndError {
    /// The kernel refused.
    #[error("QEMU (pid {pid}) can't be waited for or killed")]
    Process {
        /// The process.
        pid: i32,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Killed, yet not gone: the kernel holds it, most likely in I/O to a disk that hangs.
    #[error("QEMU (pid {pid}) was killed but is not gone; look at its disks, the kernel holds it in I/O")]
    Stuck {
        /// The process.
        pid: i32,
    },
}

/// Ends the machine: with `graceful`, the power button is pressed and the guest has that long to go; then, or at once
/// with `None`, QEMU quits; if it doesn't, it is killed. Then removes its sockets, its record and its control groups.
///
/// Safe to repeat, and to call at once with a graceful one under way: the harder one wins.
pub async fn end(instance: &Instance, graceful: Option<Duration>) -> Result<Ended, EndError> {
    let ended = end_process(instance, graceful).await?;
    clear(&instance.id, &instance.layout, instance.record.as_ref()).await;
    Ok(ended)
}

/// Removes what machine `id` left in its folder and outside when it ended, by whomever: its sockets, its record, its
/// control groups. Does nothing while it runs or is being launched, or where there is no such folder.
pub async fn clear_away(id: &str, directory: &Path) {
    if directory.exists() {
        clear(id, &Layout::new(directory), None).await;
    }
}

async fn end_process(instance: &Instance, graceful: Option<Duration>) -> Result<Ended, EndError> {
    if !instance.is_running() {
        return Ok(Ended::AlreadyGone);
    }
    let pid = instance.pid();
    let process_error = |source| EndError::Process { pid, source };
    let mut by_guest = false;
    if let Some(patience) = graceful {
        let until = Instant::now() + patience;
        by_guest = tokio::select! {
            asked = timeout_at(until, ask_guest(instance)) => match asked {
                Ok(Ok(())) => true,
                Ok(Err(error)) => {
                    tracing::warn!(id = %instance.id, pid, %error, "the guest can't be asked to shut down");
                    false
                }
                Err(_) => false,
            },
            ended = instance.ended() => {
                ended.map_err(process_error)?;
                return Ok(Ended::ByGuest);
            }
        };
    }
    let quit = async {
        let client = instance.control().await?;
        // A guest that went down between its deadline and here went down by itself.
        let state = client.query_status().await?;
        client.quit().await?;
        Ok::<_, QmpError>(state)
    };
    match timeout(ORDER_DEADLINE, quit).await {
        Ok(Ok(state)) => {
            by_guest |= state == RunState::Shutdown;
            if let Ok(ended) = timeout(QUIT_DEADLINE, instance.ended()).await {
                ended.map_err(process_error)?;
                return Ok(if by_guest { Ended::ByGuest } else { Ended::Quit });
            }
        }
        Ok(Err(error)) => {
            tracing::warn!(id = %instance.id, pid, %error, "QEMU can't be told to quit, it is killed")
        }
        Err(_) => {
            tracing::warn!(id = %instance.id, pid, "QEMU doesn't take the order to quit, it is killed")
        }
    }
    instance.identity.kill().map_err(process_error)?;
    match timeout(KILL_DEADLINE, instance.ended()).await {
        Ok(ended) => ended.map_err(process_error).map(|()| Ended::Killed),
        Err(_) => Err(EndError::Stuck { pid }),
    }
}

/// Presses the power button until the guest is down. The monitor is let go every now and then: a forced end, or
/// someone who only asks for the state, must not wait until the guest is down.
async fn ask_guest(instance: &Instance) -> Result<(), QmpError> {
    let mut press = interval(PRESS_AGAIN);
    loop {
        let monitor = instance.control().await?;
        // Listening begins before the state is asked for, so no change falls between the two.
        let Some(mut events) = monitor.events() else {
            continue;
        };
        match monitor.query_status().await? {
            state if state.is_over() => return Ok(()),
            // A guest that doesn't run can't react.
            RunState::Paused | RunState::Prelaunch => monitor.cont().await?,
            _ => (),
        }
        if press.tick().now_or_never().is_some() {
            monitor.system_powerdown().await?;
        }
        // Whatever happens, the state is asked for again.
        match timeout(MONITOR_HELD, events.recv()).await {
            Ok(Ok(event)) => {
                tracing::trace!(id = %instance.id, event = event.name, "while the guest shuts down")
            }
            Ok(Err(missed)) => {
                tracing::trace!(id = %instance.id, %missed, "while the guest shuts down")
            }
            Err(_) => (),
        }
    }
}

/// Removes what an ended QEMU leaves behind, unless a new one already runs there. What can't be removed is overwritten
/// by the next launch, so it is only told.
async fn clear(id: &str, layout: &Layout, known: Option<&Record>) {
    let until = Instant::now() + Duration::from_secs(1);
    let Ok(_lock) = lock(layout, id, until).await else {
        tracing::debug!(id, "a new launch is under way, nothing is cleared away");
        return;
    };
    if !matches!(find(id, &layout.directory), Ok(None)) {
        return;
    }
    let record = read_record(layout).or_else(|| known.cloned());
    if let Some(record) = record {
        record.containment.remove().await;
    }
    let files = layout.sockets().into_iter().chain([layout.pid_file(), layout.record()]);
    for path in files {
        if let Err(error) = remove_if_there(&path) {
            tracing::warn!(path = %path.display(), %error, "a file of an ended machine stays behind");
        }
    }
}
