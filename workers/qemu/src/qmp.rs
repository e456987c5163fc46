//! QEMU's machine protocol over a unix socket: one JSON object a line, commands with ids, events at any time.
//! QEMU docs/interop/qmp-spec, qapi/*.json.
//!
//! A monitor serves one connection at a time; a second one waits in the socket's queue until the first is closed.
//! A [`Machine`](crate::Machine) therefore has two: `control`, for connections that are closed soon, and `watch`, for
//! the one that stays ([`crate::watch`]). Events come on both.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{broadcast, oneshot};
use tokio::task::AbortHandle;

/// Longest answer read. QEMU is not trusted: its guest may have taken it over.
const LINE_BYTES_MAX: u64 = 8 << 20;
/// Events kept for a receiver that is slow; older ones are lost to it, and it is told so.
const EVENTS_KEPT: usize = 256;

/// Why a command has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// QEMU understood and refused.
    #[error("QEMU refused {command}: {desc}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's class of errors, `GenericError` for nearly all.
        class: String,
        /// QEMU's own words.
        desc: String,
    },
    /// The socket isn't there, nobody listens, or the connection ended: QEMU has ended, or is just starting.
    #[error("no connection to QEMU")]
    Gone(#[source] io::Error),
    /// What came isn't QMP.
    #[error("QEMU's answer is not QMP: {0}")]
    Protocol(String),
    /// No answer in time. The command may still be carried out.
    #[error("QEMU did not answer {what} within {} ms", after.as_millis())]
    TimedOut {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
    },
}

/// An event, as it came.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Event {
    /// Its name, `SHUTDOWN`.
    #[serde(rename = "event")]
    pub name: String,
    /// What it brings; `Null` when nothing.
    #[serde(default)]
    pub data: Value,
}

/// Where the machine is in its life. QEMU qapi/run-state.json, `RunState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Started with `-S`, no instruction of the guest has run.
    Prelaunch,
    /// The guest runs.
    Running,
    /// Stopped by `stop`.
    Paused,
    /// The guest powered itself off; QEMU stays because of `-action shutdown=pause`.
    Shutdown,
    /// The guest told of its own kernel's panic.
    GuestPanicked,
    /// The accelerator met something it can't handle.
    InternalError,
    /// A disk failed and the machine was stopped for it.
    IoError,
    /// Another state, of migration or debugging.
    #[serde(other)]
    Other,
}

impl RunState {
    /// Whether the guest's run is over, though QEMU is still there.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Shutdown | Self::GuestPanicked | Self::InternalError)
    }
}

/// A virtual CPU and the host's thread that runs it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cpu {
    /// Its number.
    pub cpu_index: u32,
    /// The thread's id on the host.
    pub thread_id: i32,
}

/// What KVM has to do with this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Kvm {
    /// The machine runs on it.
    pub enabled: bool,
    /// This QEMU could.
    pub present: bool,
}

/// A connection to a monitor. Clones share it; it is closed when the last one is dropped.
#[derive(Debug, Clone)]
pub struct QmpClient {
    connection: Arc<Connection>,
    qemu_version: String,
    deadline: Duration,
}

#[derive(Debug)]
struct Connection {
    shared: Arc<Shared>,
    write: tokio::sync::Mutex<OwnedWriteHalf>,
    reader: AbortHandle,
    events: broadcast::WeakSender<Event>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    next_id: u64,
    /// Set once the connection has ended: nobody will answer any more.
    closed: bool,
    answers: HashMap<u64, oneshot::Sender<Result<Value, Refusal>>>,
}

impl Shared {
    fn waiting(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Deserialize)]
struct Refusal {
    class: String,
    desc: String,
}

impl QmpClient {
    /// Connects, reads the greeting and enters command mode, all within `deadline`, which each later call has too.
    ///
    /// With `pid`, a socket on which another process listens counts as [`QmpError::Gone`]: a path can lead to another
    /// QEMU than the one that is meant.
    pub async fn connect(socket: &Path, pid: Option<i32>, deadline: Duration) -> Result<Self, QmpError> {
        let hello = async {
            let stream = UnixStream::connect(socket).await.map_err(QmpError::Gone)?;
            let listener = stream.peer_cred().map_err(QmpError::Gone)?.pid();
            if pid.is_some() && listener != pid {
                let other = format!("process {} listens there", listener.unwrap_or(0));
                return Err(QmpError::Gone(io::Error::other(other)));
            }
            let (read, write) = stream.into_split();
            let mut read = BufReader::new(read);
            let greeting: Greeting = parse(&next_line(&mut read).await?)?;
            let client = Self::start(read, write, greeting.qmp.version.to_string(), deadline);
            client.execute("qmp_capabilities", Value::Null).await?;
            Ok(client)
        };
        tokio::time::timeout(deadline, hello).await.unwrap_or_else(|_| Err(timed_out("a connection", deadline)))
    }

    fn start(read: BufReader<OwnedReadHalf>, write: OwnedWriteHalf, qemu_version: String, deadline: Duration) -> Self {
        let shared = Arc::new(Shared::default());
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        let weak_events = events.downgrade();
        let reader = tokio::spawn(read_answers(read, Arc::clone(&shared), events)).abort_handle();
        Self {
            connection: Arc::new(Connection {
                shared,
                write: tokio::sync::Mutex::new(write),
                reader,
                events: weak_events,
            }),
            qemu_version,
            deadline,
        }
    }

    /// QEMU's version as its greeting told it, `10.0.2`.
    pub fn qemu_version(&self) -> &str {
        &self.qemu_version
    }

    /// Events from now on. The channel closes when the connection does; `None` when it already has.
    pub fn events(&self) -> Option<broadcast::Receiver<Event>> {
        Some(self.connection.events.upgrade()?.subscribe())
    }

    /// Runs a command and gives what it returned. `Value::Null` for `arguments` sends none.
    pub async fn execute(&self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let (sender, receiver) = oneshot::channel();
        let id = {
            let mut waiting = self.connection.shared.waiting();
            if waiting.closed {
                return Err(gone());
            }
            waiting.next_id += 1;
            let id = waiting.next_id;
            waiting.answers.insert(id, sender);
            id
        };
        let mut request = json!({"execute": command, "id": id});
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let line = format!("{request}\n");
        let exchange = async {
            // A command cut short by its deadline would garble the next one, so writing isn't cancelled half-way:
            // a line is far smaller than the socket's buffer.
            let mut write = self.connection.write.lock().await;
            write.write_all(line.as_bytes()).await.map_err(QmpError::Gone)?;
            drop(write);
            receiver.await.map_err(|_| gone())?.map_err(|refusal| QmpError::Refused {
                command: command.to_owned(),
                class: refusal.class,
                desc: refusal.desc,
            })
        };
        let outcome = tokio::time::timeout(self.deadline, exchange).await;
        if !matches!(outcome, Ok(Ok(_))) {
            self.connection.shared.waiting().answers.remove(&id);
        }
        outcome.unwrap_or_else(|_| Err(timed_out(command, self.deadline)))
    }

    async fn order(&self, command: &str) -> Result<(), QmpError> {
        self.execute(command, Value::Null).await.map(drop)
    }

    async fn query<T: for<'de> Deserialize<'de>>(&self, command: &str) -> Result<T, QmpError> {
        let answer = self.execute(command, Value::Null).await?;
        serde_json::from_value(answer).map_err(|error| QmpError::Protocol(format!("{command}: {error}")))
    }

    /// `query-status`: where the machine is in its life.
    pub async fn query_status(&self) -> Result<RunState, QmpError> {
        #[derive(Deserialize)]
        struct Status {
            status: RunState,
        }
        Ok(self.query::<Status>("query-status").await?.status)
    }

    /// `cont`: lets the guest run, for the first time or again.
    pub async fn cont(&self) -> Result<(), QmpError> {
        self.order("cont").await
    }

    /// `stop`: pauses the guest.
    pub async fn stop(&self) -> Result<(), QmpError> {
        self.order("stop").await
    }

    /// `system_powerdown`: presses the power button. What the guest does about it is its own matter.
    pub async fn system_powerdown(&self) -> Result<(), QmpError> {
        self.order("system_powerdown").await
    }

    /// `system_reset`: presses the reset button.
    pub async fn system_reset(&self) -> Result<(), QmpError> {
        self.order("system_reset").await
    }

    /// `quit`: QEMU flushes its disks and ends, without asking the guest. A connection that ends instead of an answer
    /// is success too.
    pub async fn quit(&self) -> Result<(), QmpError> {
        match self.order("quit").await {
            Err(QmpError::Gone(_)) => Ok(()),
            answer => answer,
        }
    }

    /// `query-version`, asked anew.
    pub async fn query_version(&self) -> Result<String, QmpError> {
        Ok(self.query::<Version>("query-version").await?.to_string())
    }

    /// `query-kvm`.
    pub async fn query_kvm(&self) -> Result<Kvm, QmpError> {
        self.query("query-kvm").await
    }

    /// `query-block`, as QEMU tells it: QEMU qapi/block-core.json, `BlockInfo`.
    pub async fn query_block(&self) -> Result<Vec<Value>, QmpError> {
        self.query("query-block").await
    }

    /// `query-cpus-fast`: the virtual CPUs that exist.
    pub async fn query_cpus_fast(&self) -> Result<Vec<Cpu>, QmpError> {
        self.query("query-cpus-fast").await
    }

    /// `set-action`, for example `{"shutdown": "poweroff"}`; QEMU qapi/run-state.json.
    pub async fn set_action(&self, actions: Value) -> Result<(), QmpError> {
        self.execute("set-action", actions).await.map(drop)
    }
}

#[derive(Deserialize)]
struct Greeting {
    #[serde(rename = "QMP")]
    qmp: GreetingBody,
}

#[derive(Deserialize)]
struct GreetingBody {
    version: Version,
}

#[derive(Deserialize)]
struct Version {
    qemu: VersionNumbers,
}

#[derive(Deserialize)]
struct VersionNumbers {
    major: u32,
    minor: u32,
    micro: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let VersionNumbers { major, minor, micro } = self.qemu;
        write!(f, "{major}.{minor}.{micro}")
    }
}

/// A line from QEMU in command mode: an event, or the answer to the command with that id.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Event(Event),
    Error { error: Refusal, id: Option<u64> },
    Return { r#return: Value, id: Option<u64> },
}

/// Reads until the connection ends, then fails everyone who still waits.
async fn read_answers(mut read: BufReader<OwnedReadHalf>, shared: Arc<Shared>, events: broadcast::Sender<Event>) {
    loop {
        let line = match next_line(&mut read).await {
            Ok(line) => line,
            Err(QmpError::Gone(_)) => break,
            Err(error) => {
                tracing::warn!(%error, "a QMP connection is given up");
                break;
            }
        };
        let (id, answer) = match parse(&line) {
            Ok(Line::Event(event)) => {
                // Nobody may be listening, which is fine.
                drop(events.send(event));
                continue;
            }
            Ok(Line::Return { r#return, id }) => (id, Ok(r#return)),
            Ok(Line::Error { error, id }) => (id, Err(error)),
            Err(error) => {
                tracing::warn!(%error, "a QMP connection is given up");
                break;
            }
        };
        // An answer that nobody waits for any more is late; its caller has been told so.
        let waiting = id.and_then(|id| shared.waiting().answers.remove(&id));
        if let Some(waiting) = waiting {
            drop(waiting.send(answer));
        }
    }
    let mut waiting = shared.waiting();
    waiting.closed = true;
    waiting.answers.clear();
}

async fn next_line(read: &mut (impl AsyncBufRead + Unpin)) -> Result<Vec<u8>, QmpError> {
    let mut line = Vec::new();
    let mut bounded = read.take(LINE_BYTES_MAX);
    bounded.read_until(b'\n', &mut line).await.map_err(QmpError::Gone)?;
    if line.last() == Some(&b'\n') {
        return Ok(line);
    }
    if line.len() as u64 >= LINE_BYTES_MAX {
        return Err(QmpError::Protocol(format!("a line of more than {LINE_BYTES_MAX} bytes")));
    }
    Err(gone())
}

fn parse<T: for<'de> Deserialize<'de>>(line: &[u8]) -> Result<T, QmpError> {
    serde_json::from_slice(line).map_err(|error| {
        let shown = String::from_utf8_lossy(&line[..line.len().min(200)]);
        QmpError::Protocol(format!("{error} in {:?}", shown.trim_end()))
    })
}

fn gone() -> QmpError {
    QmpError::Gone(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed"))
}

fn timed_out(what: &str, after: Duration) -> QmpError {
    QmpError::TimedOut { what: what.to_owned(), after }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    const GREETING: &str =
        r#"{"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}"#;
    const SOON: Duration = Duration::from_millis(200);

    /// A peer that greets, accepts the capabilities and then says `lines` after one further command.
    async fn client_of(lines: &'static str) -> (Result<QmpClient, QmpError>, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("qmp.sock");
        let listener = UnixListener::bind(&path).expect("a listener");
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("a client");
            let (read, mut write) = stream.into_split();
            let mut read = BufReader::new(read).lines();
            write.write_all(format!("{GREETING}\n").as_bytes()).await.expect("written");
            read.next_line().await.expect("a command");
            write.write_all(b"{\"return\": {}, \"id\": 1}\n").await.expect("written");
            read.next_line().await.expect("a command");
            write.write_all(lines.as_bytes()).await.expect("written");
            if !lines.is_empty() {
                return;
            }
            // Keeps the connection open without a word.
            std::future::pending::<()>().await;
        });
        (QmpClient::connect(&path, None, SOON).await, folder)
    }

    #[tokio::test]
    async fn an_answer_finds_its_command_and_an_event_its_listener() {
        let (client, _folder) =
            client_of("{\"event\": \"STOP\", \"timestamp\": {}}\n{\"return\": {\"status\": \"paused\"}, \"id\": 2}\n")
                .await;
        let client = client.expect("connected");
        assert_eq!(client.qemu_version(), "10.0.2");
        let mut events = client.events().expect("open");
        assert_eq!(client.query_status().await.expect("answered"), RunState::Paused);
        assert_eq!(events.recv().await.expect("an event").name, "STOP");
    }

    #[tokio::test]
    async fn a_refusal_carries_class_and_words() {
        let (client, _folder) =
            client_of("{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, \"id\": 2}\n").await;
        let refused = client.expect("connected").cont().await.expect_err("refused");
        assert!(
            matches!(refused, QmpError::Refused { ref class, ref desc, .. } if class == "GenericError" && desc == "no")
        );
    }

    #[tokio::test]
    async fn a_closed_connection_fails_who_waits_and_who_comes_later() {
        let (client, _folder) = client_of("{\"event\": \"SHUTDOWN\"}\n").await;
        let client = client.expect("connected");
        assert!(matches!(client.cont().await, Err(QmpError::Gone(_))));
        assert!(matches!(client.cont().await, Err(QmpError::Gone(_))));
    }

    #[tokio::test]
    async fn a_silent_peer_costs_no_more_than_the_deadline() {
        let (client, _folder) = client_of("").await;
        assert!(matches!(client.expect("connected").cont().await, Err(QmpError::TimedOut { .. })));
    }

    #[tokio::test]
    async fn what_is_not_qmp_ends_the_connection() {
        let (client, _folder) = client_of("HTTP/1.1 400 Bad Request\n").await;
        assert!(matches!(client.expect("connected").cont().await, Err(QmpError::Gone(_))));
    }

    #[tokio::test]
    async fn a_missing_socket_is_told_apart_from_silence() {
        let missing = QmpClient::connect(Path::new("/nonexistent/qmp.sock"), None, SOON).await;
        assert!(matches!(missing, Err(QmpError::Gone(_))));
    }
}
