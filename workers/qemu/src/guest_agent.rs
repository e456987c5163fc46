//! The guest agent's protocol, over the unix socket of its virtio-serial port. QEMU docs/interop/qemu-ga-ref,
//! qga/qapi-schema.json.
//!
//! The port has no notion of a connection: bytes that were meant for an earlier client may still come. So each
//! connection begins with `guest-sync-delimited`, whose answer starts with the byte 0xFF, and everything before it is
//! thrown away. The socket serves one client at a time; a second one waits and is told [`AgentError::NotAnswering`].
//! What comes is the guest's word and is bounded: it may be wrong, or hostile.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;

mod exec;

pub use exec::{Ran, run};

/// Longest answer read from a guest.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// Most that is thrown away while waiting for the answer to the first sync.
const STALE_BYTES_MAX: u64 = 4 << 20;

/// Why the agent gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// No agent runs in the guest (yet), it is busy with another client, or the machine is gone.
    #[error("the guest agent does not answer: {why}")]
    NotAnswering {
        /// What was seen.
        why: String,
        /// The socket's error, where there was one.
        #[source]
        source: Option<io::Error>,
    },
    /// The agent understood and refused, as agents do with commands that are switched off in the guest.
    #[error("the guest agent refused {command}: {desc}")]
    Refused {
        /// The command.
        command: String,
        /// The class, `CommandNotFound` for one that is unknown or switched off.
        class: String,
        /// The agent's own words.
        desc: String,
    },
    /// A program in the guest has not ended in time, and runs on.
    #[error("{program} still runs in the guest after {} s", patience.as_secs_f32())]
    StillRuns {
        /// The program.
        program: &'static str,
        /// How long it was waited for.
        patience: Duration,
    },
    /// Something else than an agent's answer came.
    #[error("what the guest answered is not the guest agent's protocol: {0}")]
    Protocol(String),
}

/// `guest-info`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AgentInfo {
    /// The agent's version.
    pub version: String,
    /// The commands it knows.
    pub supported_commands: Vec<AgentCommand>,
}

/// A command the agent knows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct AgentCommand {
    /// Its name.
    pub name: String,
    /// Whether it may be used.
    pub enabled: bool,
}

/// `guest-get-osinfo`; a guest leaves out what it doesn't know.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct OsInfo {
    /// `debian`.
    pub id: Option<String>,
    /// `Debian GNU/Linux`.
    pub name: Option<String>,
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub pretty_name: Option<String>,
    /// `12 (bookworm)`.
    pub version: Option<String>,
    /// `12`.
    pub version_id: Option<String>,
    /// `x86_64`.
    pub machine: Option<String>,
    /// `6.1.0-38-cloud-amd64`.
    pub kernel_release: Option<String>,
    /// `#1 SMP …`.
    pub kernel_version: Option<String>,
}

/// One interface of `guest-network-get-interfaces`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GuestInterface {
    /// Its name in the guest, `enp0s3`.
    pub name: String,
    /// Its MAC address.
    pub hardware_address: Option<String>,
    /// Its addresses.
    #[serde(default)]
    pub ip_addresses: Vec<GuestAddress>,
}

/// An address of an interface in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GuestAddress {
    /// `ipv4` or `ipv6`.
    pub ip_address_type: String,
    /// The address.
    pub ip_address: String,
    /// The length of its network's prefix, bits.
    pub prefix: u8,
}

/// A login of `guest-get-users`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GuestUser {
    /// The user's name.
    pub user: String,
    /// The domain, on Windows.
    pub domain: Option<String>,
    /// When the user logged in, seconds since 1970 by the guest's clock.
    pub login_time: f64,
}

/// How the guest is to go down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShutdownMode {
    /// Power off.
    Powerdown,
    /// Restart.
    Reboot,
    /// Stop without power off.
    Halt,
}

/// A connection to an agent that has just proven to be there.
#[derive(Debug)]
pub struct GuestAgent {
    stream: BufReader<UnixStream>,
    deadline: Duration,
}

impl GuestAgent {
    /// Connects and syncs within `deadline` (a second does; an agent answers in some ms), which each later call has too.
    pub async fn connect(socket: &Path, deadline: Duration) -> Result<Self, AgentError> {
        let sync = async {
            let stream = UnixStream::connect(socket)
                .await
                .map_err(|source| not_answering("its socket does not open", Some(source)))?;
            let mut agent = Self { stream: BufReader::new(stream), deadline };
            agent.sync().await?;
            Ok(agent)
        };
        tokio::time::timeout(deadline, sync).await.unwrap_or_else(|_| Err(silent(deadline)))
    }

    /// `guest-sync-delimited`. The leading 0xFF, which can't be part of JSON, makes the agent's parser forget what an
    /// earlier client left unfinished.
    async fn sync(&mut self) -> Result<(), AgentError> {
        let id = sync_id();
        let mut request = vec![0xff];
        request.extend_from_slice(
            format!("{}\n", json!({"execute": "guest-sync-delimited", "arguments": {"id": id}})).as_bytes(),
        );
        self.write(&request).await?;
        let mut thrown_away = 0;
        while thrown_away < STALE_BYTES_MAX {
            let mut stale = Vec::new();
            let mut bounded = (&mut self.stream).take(ANSWER_BYTES_MAX);
            bounded.read_until(0xff, &mut stale).await.map_err(broken)?;
            thrown_away += stale.len() as u64;
            match stale.last() {
                None => return Err(closed()),
                Some(0xff) => (),
                Some(_) => continue,
            }
            // An answer to an earlier client's sync has another id, an answer cut short is no JSON: go on.
            let line = self.read_line().await?;
            if let Ok(Answer::Return(Value::Number(answered))) = serde_json::from_slice(&line)
                && answered.as_u64() == Some(id)
            {
                return Ok(());
            }
            thrown_away += line.len() as u64;
        }
        Err(AgentError::Protocol(format!("no answer to the sync within {STALE_BYTES_MAX} bytes")))
    }

    /// `guest-ping`.
    pub async fn ping(&mut self) -> Result<(), AgentError> {
        self.execute("guest-ping", Value::Null).await.map(drop)
    }

    /// `guest-info`: the agent's version and commands.
    pub async fn info(&mut self) -> Result<AgentInfo, AgentError> {
        self.query("guest-info").await
    }

    /// `guest-get-osinfo`.
    pub async fn os_info(&mut self) -> Result<OsInfo, AgentError> {
        self.query("guest-get-osinfo").await
    }

    /// `guest-get-host-name`.
    pub async fn host_name(&mut self) -> Result<String, AgentError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct HostName {
            host_name: String,
        }
        Ok(self.query::<HostName>("guest-get-host-name").await?.host_name)
    }

    /// `guest-network-get-interfaces`.
    pub async fn interfaces(&mut self) -> Result<Vec<GuestInterface>, AgentError> {
        self.query("guest-network-get-interfaces").await
    }

    /// `guest-get-users`: who is logged in.
    pub async fn users(&mut self) -> Result<Vec<GuestUser>, AgentError> {
        self.query("guest-get-users").await
    }

    /// `guest-shutdown`. An agent that obeys says nothing; an error within half a second is a refusal, silence is taken
    /// for consent. Whether the guest went down is seen from the machine's state.
    pub async fn shutdown(mut self, mode: ShutdownMode) -> Result<(), AgentError> {
        let mode = match mode {
            ShutdownMode::Powerdown => "powerdown",
            ShutdownMode::Reboot => "reboot",
            ShutdownMode::Halt => "halt",
        };
        self.deadline = self.deadline.min(Duration::from_millis(500));
        match self.execute("guest-shutdown", json!({"mode": mode})).await {
            Err(AgentError::NotAnswering { .. }) => Ok(()),
            answer => answer.map(drop),
        }
    }

    async fn query<T: for<'de> Deserialize<'de>>(&mut self, command: &str) -> Result<T, AgentError> {
        self.query_with(command, Value::Null).await
    }

    async fn query_with<T: for<'de> Deserialize<'de>>(
        &mut self,
        command: &str,
        arguments: Value,
    ) -> Result<T, AgentError> {
        let answer = self.execute(command, arguments).await?;
        serde_json::from_value(answer).map_err(|error| AgentError::Protocol(format!("{command}: {error}")))
    }

    /// Runs a command. After an error that isn't a refusal the connection is of no more use: an answer may still come.
    async fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, AgentError> {
        let mut request = json!({"execute": command});
        if !arguments.is_null() {
            request["arguments"] = arguments;
        }
        let deadline = self.deadline;
        let exchange = async {
            self.write(format!("{request}\n").as_bytes()).await?;
            let line = self.read_line().await?;
            match serde_json::from_slice(&line) {
                Ok(Answer::Return(value)) => Ok(value),
                Ok(Answer::Error { class, desc }) => {
                    Err(AgentError::Refused { command: command.to_owned(), class, desc })
                }
                Err(error) => Err(AgentError::Protocol(format!("{command}: {error}"))),
            }
        };
        tokio::time::timeout(deadline, exchange).await.unwrap_or_else(|_| Err(silent(deadline)))
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), AgentError> {
        self.stream.get_mut().write_all(bytes).await.map_err(broken)
    }

    async fn read_line(&mut self) -> Result<Vec<u8>, AgentError> {
        let mut line = Vec::new();
        let mut bounded = (&mut self.stream).take(ANSWER_BYTES_MAX);
        bounded.read_until(b'\n', &mut line).await.map_err(broken)?;
        match line.last() {
            Some(b'\n') => Ok(line),
            _ if line.len() as u64 >= ANSWER_BYTES_MAX => {
                Err(AgentError::Protocol(format!("an answer of more than {ANSWER_BYTES_MAX} bytes")))
            }
            _ => Err(closed()),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Return(Value),
    Error { class: String, desc: String },
}

/// A number that no earlier client of this guest is likely to have used, and that JSON readers keep exactly.
fn sync_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let micros = u64::try_from(since_1970.as_micros()).unwrap_or(0);
    (micros.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed))) & ((1 << 52) - 1)
}

fn not_answering(why: &str, source: Option<io::Error>) -> AgentError {
    AgentError::NotAnswering { why: why.to_owned(), source }
}

fn broken(source: io::Error) -> AgentError {
    not_answering("the connection broke", Some(source))
}

fn closed() -> AgentError {
    not_answering("the connection was closed", None)
}

fn silent(deadline: Duration) -> AgentError {
    not_answering(&format!("no answer within {} ms", deadline.as_millis()), None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    pub(super) const SOON: Duration = Duration::from_millis(300);

    /// A guest that answers each command with what `answer` makes of it and its arguments.
    pub(super) fn a_guest(
        answer: impl Fn(&str, &Value) -> Vec<u8> + Send + Sync + 'static,
    ) -> (std::path::PathBuf, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("agent.sock");
        let listener = UnixListener::bind(&path).expect("a listener");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = vec![0; 4096];
                while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                    let line: Vec<_> = buffer[..length].iter().copied().filter(|byte| *byte != 0xff).collect();
                    let request: Value = serde_json::from_slice(&line).expect("a request");
                    let command = request["execute"].as_str().expect("a command");
                    let bytes = answer(command, &request["arguments"]);
                    if stream.write_all(&bytes).await.is_err() {
                        break;
                    }
                }
            }
        });
        (path, folder)
    }

    pub(super) fn delimited(id: &Value) -> Vec<u8> {
        let mut bytes = vec![0xff];
        bytes.extend_from_slice(format!("{{\"return\": {id}}}\n").as_bytes());
        bytes
    }

    #[tokio::test]
    async fn stale_answers_before_the_sync_are_thrown_away() {
        let (socket, _folder) = a_guest(|command, arguments| match command {
            "guest-sync-delimited" => {
                let mut bytes = b"{\"return\": {}}\n{\"ret".to_vec();
                bytes.extend(delimited(&json!(7)));
                bytes.extend(delimited(&arguments["id"]));
                bytes
            }
            _ => b"{\"return\": {\"host-name\": \"db\"}}\n".to_vec(),
        });
        let mut agent = GuestAgent::connect(&socket, SOON).await.expect("synced");
        assert_eq!(agent.host_name().await.expect("a name"), "db");
    }

    #[tokio::test]
    async fn a_guest_without_an_agent_is_not_answering_and_costs_no_more_than_the_deadline() {
        let (socket, _folder) = a_guest(|_, _| Vec::new());
        let before = std::time::Instant::now();
        let silent = GuestAgent::connect(&socket, SOON).await.expect_err("nobody there");
        assert!(matches!(silent, AgentError::NotAnswering { .. }), "{silent}");
        assert!(before.elapsed() < SOON * 3);
        let missing = GuestAgent::connect(Path::new("/nonexistent"), SOON).await.expect_err("no socket");
        assert!(matches!(missing, AgentError::NotAnswering { .. }), "{missing}");
    }

    #[tokio::test]
    async fn a_refusal_and_nonsense_are_told_apart() {
        let (socket, _folder) = a_guest(|command, arguments| match command {
            "guest-sync-delimited" => delimited(&arguments["id"]),
            "guest-ping" => b"{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"disabled\"}}\n".to_vec(),
            _ => b"<html>\n".to_vec(),
        });
        let mut agent = GuestAgent::connect(&socket, SOON).await.expect("synced");
        let refused = agent.ping().await.expect_err("refused");
        assert!(matches!(refused, AgentError::Refused { ref class, .. } if class == "CommandNotFound"));
        assert!(matches!(agent.users().await, Err(AgentError::Protocol(_))));
    }

    #[tokio::test]
    async fn an_endless_answer_is_cut() {
        let (socket, _folder) = a_guest(|command, arguments| match command {
            "guest-sync-delimited" => delimited(&arguments["id"]),
            _ => vec![b'x'; 3 << 20],
        });
        let mut agent = GuestAgent::connect(&socket, SOON * 10).await.expect("synced");
        assert!(matches!(agent.info().await, Err(AgentError::Protocol(_))));
    }

    #[tokio::test]
    async fn silence_after_a_shutdown_is_consent() {
        let (socket, _folder) = a_guest(|command, arguments| match command {
            "guest-sync-delimited" => delimited(&arguments["id"]),
            _ => Vec::new(),
        });
        let agent = GuestAgent::connect(&socket, SOON).await.expect("synced");
        agent.shutdown(ShutdownMode::Powerdown).await.expect("consent");
    }
}
