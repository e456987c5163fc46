//! Keeps one nats-server running: starts it, waits until it answers, watches it, starts it again.

use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::Deserialize;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncBufReadExt, BufReader, Interest};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot, watch};

use super::credentials::Credentials;

/// First and longest wait before another start.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How long a server may take to stop before its store is replaced.
const REPLACE_PATIENCE: Duration = Duration::from_secs(5);
/// A server that starts gives no event when it listens, so it is asked.
const READY_POLL: Duration = Duration::from_millis(5);

/// What the server is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerState {
    /// It was started and doesn't answer yet (it reads its store).
    Starting {
        /// Its process.
        pid: u32,
    },
    /// It answers.
    Running {
        /// Its process.
        pid: u32,
        /// Since when it answers.
        since: DateTime<Utc>,
        /// How often it was started again since we watch it.
        restarts: u64,
    },
    /// It ended, and will be started again.
    Restarting {
        /// Counts the starts since it last answered, from 1.
        attempt: u32,
        /// How it ended, with its last words.
        why: String,
        /// When it is started.
        next_at: DateTime<Utc>,
    },
    /// It was stopped on demand.
    Stopped,
}

/// What is needed to start the server.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) binary: PathBuf,
    pub(super) dir: PathBuf,
    pub(super) credentials: Credentials,
}

impl Plan {
    pub(super) fn config_path(&self) -> PathBuf {
        self.dir.join("nats.conf")
    }

    fn words_path(&self) -> PathBuf {
        self.dir.join("nats-server.stderr")
    }
}

/// A server process that is watched through its pidfd, our child or not.
pub(super) struct Watched {
    pub(super) pid: u32,
    pidfd: AsyncFd<OwnedFd>,
    /// Only when it is our own child; then its end must be collected.
    child: Option<Child>,
}

impl Watched {
    /// Takes hold of `pid` if it (still) is a server with this configuration. The pidfd names a process, not a number,
    /// and so can't come to mean another one.
    pub(super) fn adopt(pid: u32, config_path: &Path) -> io::Result<Option<Self>> {
        let Some(number) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(number, PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if !runs_with(pid, config_path) {
            return Ok(None);
        }
        Ok(Some(Self { pid, pidfd: watch_end(pidfd)?, child: None }))
    }

    fn start(plan: &Plan) -> io::Result<Self> {
        let words = OpenOptions::new().create(true).write(true).truncate(true).open(plan.words_path())?;
        let child = Command::new(&plan.binary)
            .arg("-c")
            .arg(plan.config_path())
            .current_dir(&plan.dir)
            .stdin(Stdio::null())
            .stdout(words.try_clone()?)
            .stderr(words)
            // Its own group: a Ctrl-C meant for the daemon isn't meant for the log.
            .process_group(0)
            .spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("the child has no pid"))?;
        // It isn't collected yet, so the number is still its own.
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| io::Error::other("a bad pid"))?;
        let pidfd = pidfd_open(number, PidfdFlags::empty())?;
        Ok(Self { pid, pidfd: watch_end(pidfd)?, child: Some(child) })
    }

    /// Waits for its end and tells how it ended.
    async fn ended(&mut self) -> String {
        if let Some(child) = &mut self.child {
            return match child.wait().await {
                Ok(status) => format!("nats-server ended ({status})"),
                Err(error) => format!("nats-server is lost ({error})"),
            };
        }
        match self.pidfd.readable().await {
            Ok(_) => "nats-server ended".to_owned(),
            Err(error) => format!("nats-server can't be watched ({error})"),
        }
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.pidfd.get_ref(), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks it to end, waits, and ends it.
    pub(super) async fn stop(mut self, patience: Duration) -> io::Result<()> {
        self.signal(Signal::TERM)?;
        if tokio::time::timeout(patience, self.ended()).await.is_err() {
            tracing::warn!(pid = self.pid, "nats-server doesn't stop; killing it");
            self.signal(Signal::KILL)?;
            self.ended().await;
        }
        Ok(())
    }
}

#[allow(deprecated, reason = "the new constructor is unsafe for types that don't own their descriptor; OwnedFd does")]
fn watch_end(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// All our processes that were started with this configuration, by their command lines. It finds a server whose parent
/// was killed before it could note the pid anywhere.
pub(super) fn running_with(config_path: &Path) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        if let Some(pid) = name.to_str().and_then(|name| name.parse().ok())
            && runs_with(pid, config_path)
        {
            found.push(pid);
        }
    }
    Ok(found)
}

fn runs_with(pid: u32, config_path: &Path) -> bool {
    // A process that ends meanwhile has no such file, and one of another user is none of ours.
    let (Ok(file), Ok(line)) = (fs::metadata(format!("/proc/{pid}")), fs::read(format!("/proc/{pid}/cmdline"))) else {
        return false;
    };
    let mut words = line.split(|byte| *byte == 0);
    words.any(|word| word == b"-c")
        && words.next() == Some(config_path.as_os_str().as_encoded_bytes())
        && file.uid() == rustix::process::geteuid().as_raw()
}

/// What the supervisor is asked to do.
pub(super) enum Order {
    /// Stop the server, this patiently, and end.
    Stop(Duration),
    /// Stop the server, do this in its folder, and start it again.
    WhileStopped(Work, oneshot::Sender<io::Result<PathBuf>>),
}

/// What is done in a server's folder while it doesn't run.
pub(super) type Work = Box<dyn FnOnce(PathBuf) -> BoxFuture<'static, io::Result<PathBuf>> + Send>;

/// Runs until it is told to stop; if nobody is left to tell it anything, the server is left running.
pub(super) async fn supervise(
    plan: Plan,
    mut adopted: Option<Watched>,
    tell: watch::Sender<ServerState>,
    mut orders: mpsc::Receiver<Order>,
) {
    let (mut attempt, mut restarts) = (0_u32, 0_u64);
    loop {
        let started = match adopted.take() {
            Some(adopted) => Ok(adopted),
            None => take_or_start(&plan),
        };
        let why = match started {
            Err(error) => format!("can't start {}: {error}", plan.binary.display()),
            Ok(mut server) => {
                tell.send_replace(ServerState::Starting { pid: server.pid });
                let watching = watch_over(&plan, &mut server, &tell, restarts);
                let Some(end) = until_ordered(watching, &mut orders).await else {
                    return;
                };
                match end {
                    Watch::Ordered(Order::WhileStopped(work, reply)) => {
                        // Before its files are touched, for who watches over them.
                        tell.send_replace(ServerState::Starting { pid: 0 });
                        let done = match server.stop(REPLACE_PATIENCE).await {
                            Ok(()) => work(plan.dir.clone()).await,
                            Err(error) => Err(error),
                        };
                        // Who asked may be gone; the server is started all the same.
                        let _ = reply.send(done);
                        continue;
                    }
                    Watch::Ordered(Order::Stop(patience)) => {
                        if let Err(error) = server.stop(patience).await {
                            tracing::error!(%error, "can't stop nats-server; stop it by hand");
                        }
                        tell.send_replace(ServerState::Stopped);
                        return;
                    }
                    Watch::Ended(end) => {
                        // The wait is for a server that can't start; one that was killed at work is wanted back at once.
                        if end.answered {
                            attempt = 0;
                        }
                        end.how
                    }
                }
            }
        };
        attempt += 1;
        restarts += 1;
        let wait = (FIRST_WAIT * 2_u32.saturating_pow(attempt - 1)).min(LONGEST_WAIT);
        tracing::warn!(why, attempt, wait_ms = wait.as_millis() as u64, "nats-server is started again");
        tell.send_replace(ServerState::Restarting { attempt, why, next_at: now() + wait });
        match until_ordered(tokio::time::sleep(wait), &mut orders).await {
            Some(Watch::Ended(())) => {}
            Some(Watch::Ordered(Order::WhileStopped(work, reply))) => {
                let _ = reply.send(work(plan.dir.clone()).await);
            }
            Some(Watch::Ordered(Order::Stop(_))) => {
                tell.send_replace(ServerState::Stopped);
                return;
            }
            None => return,
        }
    }
}

/// A daemon that was killed just as it started the server may have left one that came up after we looked.
fn take_or_start(plan: &Plan) -> io::Result<Watched> {
    for pid in running_with(&plan.config_path())? {
        if let Some(running) = Watched::adopt(pid, &plan.config_path())? {
            return Ok(running);
        }
    }
    Watched::start(plan)
}

enum Watch<T> {
    Ended(T),
    Ordered(Order),
}

async fn until_ordered<T>(work: impl Future<Output = T>, orders: &mut mpsc::Receiver<Order>) -> Option<Watch<T>> {
    tokio::select! {
        done = work => Some(Watch::Ended(done)),
        order = orders.recv() => order.map(Watch::Ordered),
    }
}

/// Renames the store of a server that doesn't run; the last one put aside before makes room.
pub(super) fn put_store_aside(dir: &Path) -> io::Result<PathBuf> {
    let (store, aside) = (dir.join("jetstream"), dir.join("jetstream.damaged"));
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    match fs::rename(&store, &aside) {
        // A store that is gone altogether leaves nothing to keep.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    File::open(dir)?.sync_all()?;
    Ok(aside)
}

/// How a server ended.
struct End {
    how: String,
    /// Whether it had answered before.
    answered: bool,
}

/// Tells when the server answers, and returns when it has ended.
async fn watch_over(plan: &Plan, server: &mut Watched, tell: &watch::Sender<ServerState>, restarts: u64) -> End {
    let pid = server.pid;
    let early = tokio::select! {
        how = server.ended() => Some(how),
        () = answers(&plan.credentials) => None,
    };
    let answered = early.is_none();
    let how = match early {
        Some(how) => how,
        None => {
            tell.send_replace(ServerState::Running { pid, since: now(), restarts });
            tracing::info!(pid, restarts, "nats-server runs");
            server.ended().await
        }
    };
    let how = match last_words(plan) {
        Some(words) => format!("{how}; its last words: {words}"),
        None => how,
    };
    End { how, answered }
}

/// Waits until the server answers. It listens only after JetStream has read its store.
async fn answers(credentials: &Credentials) {
    loop {
        if let Ok(name) = tokio::time::timeout(Duration::from_secs(2), server_name(credentials)).await
            && name.as_deref() == Some(&credentials.server_name())
        {
            return;
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

/// The name in the `INFO {...}` line with which a NATS server greets (NATS client protocol).
async fn server_name(credentials: &Credentials) -> Option<String> {
    #[derive(Deserialize)]
    struct Info {
        server_name: String,
    }
    let stream = TcpStream::connect(credentials.address()).await.ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).await.ok()?;
    serde_json::from_str::<Info>(line.strip_prefix("INFO ")?).ok().map(|info| info.server_name)
}

/// The last complaint: early ones go to standard error, later ones to the log.
fn last_words(plan: &Plan) -> Option<String> {
    let tail = |path: &Path| {
        let text = read_tail(path)?;
        text.lines().rev().find(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned())
    };
    tail(&plan.words_path()).or_else(|| {
        let text = read_tail(&plan.dir.join("nats-server.log"))?;
        let last = text.lines().next_back()?;
        (last.contains("[FTL]") || last.contains("[ERR]")).then(|| last.to_owned())
    })
}

fn read_tail(path: &Path) -> Option<String> {
    use std::io::{Read, Seek, SeekFrom};
    const TAIL_BYTES: u64 = 4096;
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
