//! Telling what happens to a running machine as it happens.

use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::{Instance, QMP_DEADLINE};
use crate::command_line::AGENT_PORT;
use crate::qmp::{Event, QmpClient, QmpError, RunState};

/// Between two tries to reach the monitor of a QEMU that runs.
const CONNECT_AGAIN: Duration = Duration::from_millis(100);

/// Something that happened to a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// QEMU has ended; the last of all changes.
    Exited {
        /// QEMU's last line, if it wrote any; a killed one says nothing.
        last_words: Option<String>,
    },
    /// The guest powered itself off. QEMU still runs and waits for its end.
    GuestShutdown,
    /// The guest stands still, by `stop`.
    Paused,
    /// The guest runs (again).
    Resumed,
    /// The guest restarted, by itself or by the reset button.
    Reset,
    /// The guest's kernel panicked; the machine stands still.
    GuestPanicked,
    /// A disk failed or the accelerator did; the machine stands still.
    Failed,
    /// The guest agent opened its port (true) or closed it (false).
    GuestAgent(bool),
}

/// Watches the machine until QEMU ends or the receiver is dropped. Takes the monitor `watch` for itself: one watcher a
/// machine.
///
/// What happened before is told as far as the machine's state shows it: a machine found in state `shutdown` begins with
/// [`Change::GuestShutdown`]. So a watcher that was away misses no state, only what was undone in the meantime.
pub fn watch(instance: &Instance) -> mpsc::Receiver<Change> {
    let (sender, receiver) = mpsc::channel(64);
    let instance = instance.clone();
    tokio::spawn(async move {
        let exited = async {
            if let Err(error) = instance.ended().await {
                // Without the kernel's event, look every now and then.
                tracing::warn!(id = %instance.id, %error, "a QEMU's end can't be waited for; looking for it instead");
                while instance.is_running() {
                    sleep(CONNECT_AGAIN).await;
                }
            }
        };
        tokio::select! {
            () = exited => {
                let last_words = instance.last_words();
                // Nobody listens any more: fine.
                drop(sender.send(Change::Exited { last_words }).await);
            }
            () = tell_changes(&instance, &sender) => (),
            () = sender.closed() => (),
        }
    });
    receiver
}

/// Tells changes for as long as someone listens. Ends only when nobody does.
async fn tell_changes(instance: &Instance, sender: &mpsc::Sender<Change>) {
    let mut told = Told { state: RunState::Running };
    loop {
        match session(instance, sender, &mut told).await {
            Ok(()) => return,
            Err(error) => {
                tracing::debug!(id = %instance.id, %error, "the watch connection is made again")
            }
        }
        sleep(CONNECT_AGAIN).await;
    }
}

/// What the listener believes of the machine's state.
struct Told {
    state: RunState,
}

async fn session(instance: &Instance, sender: &mpsc::Sender<Change>, told: &mut Told) -> Result<(), QmpError> {
    let client = QmpClient::connect(&instance.layout.watch_socket(), Some(instance.pid()), QMP_DEADLINE).await?;
    let Some(mut events) = client.events() else {
        return Ok(());
    };
    if !tell_state(&client, sender, told).await? {
        return Ok(());
    }
    loop {
        let heard = match events.recv().await {
            Ok(event) => tell_event(&event, &client, sender, told).await?,
            Err(RecvError::Lagged(_)) => tell_state(&client, sender, told).await?,
            Err(RecvError::Closed) => {
                return Err(QmpError::Gone(std::io::ErrorKind::UnexpectedEof.into()));
            }
        };
        if !heard {
            return Ok(());
        }
    }
}

/// Tells what an event means; false when nobody listens.
async fn tell_event(
    event: &Event,
    client: &QmpClient,
    sender: &mpsc::Sender<Change>,
    told: &mut Told,
) -> Result<bool, QmpError> {
    // QEMU qapi/run-state.json, qapi/char.json.
    let change = match event.name.as_str() {
        "RESET" => Change::Reset,
        "VSERPORT_CHANGE" if event.data["id"] == AGENT_PORT => Change::GuestAgent(event.data["open"] == true),
        "STOP" | "RESUME" | "SHUTDOWN" | "GUEST_PANICKED" | "BLOCK_IO_ERROR" => {
            return tell_state(client, sender, told).await;
        }
        _ => return Ok(true),
    };
    Ok(sender.send(change).await.is_ok())
}

/// Asks for the state and tells it, if it isn't known; false when nobody listens. Several events announce one change
/// (a guest's shutdown sends SHUTDOWN and STOP), so the state decides what they mean.
async fn tell_state(client: &QmpClient, sender: &mpsc::Sender<Change>, told: &mut Told) -> Result<bool, QmpError> {
    let state = client.query_status().await?;
    if state == told.state {
        return Ok(true);
    }
    let change = match state {
        RunState::Running => Change::Resumed,
        RunState::Paused => Change::Paused,
        RunState::Shutdown => Change::GuestShutdown,
        RunState::GuestPanicked => Change::GuestPanicked,
        RunState::InternalError | RunState::IoError => Change::Failed,
        RunState::Prelaunch | RunState::Other => return Ok(true),
    };
    told.state = state;
    Ok(sender.send(change).await.is_ok())
}
