//! The NATS server of a site on one machine: configured, started, adopted after our own death, watched, stopped.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::FutureExt as _;
use rustix::fs::{FlockOperation, flock};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::cluster::Member;
use super::credentials::{Credentials, CredentialsError, Role, write_private};
use super::store::stream_folder;
use super::supervisor::{Order, Plan, ServerState, Watched, put_store_aside, running_with, supervise};
use super::{JetStreamLog, Options, nats_conf};
use crate::LogError;

/// How long a server of an older configuration has to stop.
const REPLACE_PATIENCE: Duration = Duration::from_secs(10);

/// How to run the server.
#[derive(Debug, Clone)]
pub struct NatsServerOptions {
    /// The `nats-server` to run, 2.15 or newer.
    pub binary: PathBuf,
    /// Everything of the server is under this folder: configuration, credentials, log, store. It is made if need be.
    pub dir: PathBuf,
    /// Where to listen; loopback, unless a cluster is made.
    pub host: IpAddr,
    /// On which port; 0 takes a free one at the first start and keeps it.
    pub port: u16,
    /// The servers of a cluster, with this one among them; none for a server alone. It decides where this one listens.
    pub cluster: Vec<Member>,
    /// How long the first start may take, reading a large store included.
    pub ready_timeout: Duration,
}

impl NatsServerOptions {
    /// On a free loopback port, with a minute to start.
    pub fn new(binary: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            dir: dir.into(),
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            cluster: Vec::new(),
            ready_timeout: Duration::from_secs(60),
        }
    }
}

/// Why the server doesn't run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The folder can't be used.
    #[error("can't use {} for nats-server", path.display())]
    Folder {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Quotes and the like would break the configuration.
    #[error("{} can't be the folder of nats-server: choose a path without quotes, $ and \\", path.display())]
    OddPath {
        /// The folder.
        path: PathBuf,
    },
    /// Another daemon uses the folder.
    #[error("another process uses {}: stop the other daemon, or choose another data folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The passwords can't be had.
    #[error("can't have the credentials of nats-server")]
    Credentials(
        #[source]
        #[from]
        CredentialsError,
    ),
    /// A server alone can't become one of a cluster, nor back, with its store.
    #[error(
        "{} holds the log of {}, and is to be that of {}: move it away and start again, the log is then filled from the \
         archive",
        path.display(), kind(*clustered), kind(!clustered)
    )]
    OtherKind {
        /// The store.
        path: PathBuf,
        /// Whether the store is a cluster's.
        clustered: bool,
    },
    /// Somebody else listens there.
    #[error("can't listen on {address}: stop what listens there, or choose another port")]
    AddressTaken {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The old server can't be found out about or stopped.
    #[error("can't take over the nats-server that was left running")]
    Adopt(#[source] io::Error),
    /// It ended instead of starting.
    #[error("nats-server doesn't start: {why}")]
    Failed {
        /// How it ended, with its last words.
        why: String,
    },
    /// It takes too long.
    #[error("nats-server doesn't answer after {waited:?}; see nats-server.log in its folder")]
    Slow {
        /// How long was waited.
        waited: Duration,
    },
}

/// A watched NATS server.
///
/// It outlives us: when this process is killed (or this value dropped) the server goes on, and the next
/// [`NatsServer::start`] on the same folder takes it over if its configuration is still the wanted one. Only
/// [`NatsServer::stop`] stops it.
#[derive(Debug)]
pub struct NatsServer {
    credentials: Credentials,
    state: watch::Receiver<ServerState>,
    orders: mpsc::Sender<Order>,
    supervisor: JoinHandle<()>,
    /// Keeps a second daemon out of the folder; the kernel lets go of it when we die.
    _lock: File,
}

impl NatsServer {
    /// Starts the server, or adopts the one that was left running, and returns when it answers. From then on it is
    /// started again whenever it ends (after 50 ms, doubling to 5 s while it doesn't come up); [`NatsServer::state`] tells.
    ///
    /// # Errors
    /// Each tells what to do. After an error nothing that was started here is left running.
    pub async fn start(options: NatsServerOptions) -> Result<Self, ServerError> {
        let (dir, lock) = take_folder(&options.dir)?;
        let recorded = Credentials::load_if_there(&dir)?;
        let config_path = dir.join("nats.conf");
        let mut left_running = take_running(&config_path).map_err(ServerError::Adopt)?;

        let address = wanted_address(&options, recorded.as_ref(), !left_running.is_empty())?;
        let credentials = match recorded.clone() {
            Some(recorded) => recorded.at(address),
            None => Credentials::generate(address),
        };
        let credentials = match &options.cluster[..] {
            [] => credentials,
            members => credentials.among(members),
        };
        check_kind(&dir, &credentials)?;
        if recorded.as_ref() != Some(&credentials) {
            credentials.save(&dir)?;
        }
        let config = nats_conf::render(&dir, &credentials);
        let unchanged = fs::read(&config_path).is_ok_and(|bytes| bytes == config.as_bytes());
        let adoptable = unchanged && left_running.len() == 1 && is_same_program(left_running[0].pid, &options.binary);
        let adopted = if adoptable { left_running.pop() } else { None };
        for old in left_running {
            tracing::info!(pid = old.pid, "stopping a nats-server of an older configuration");
            old.stop(REPLACE_PATIENCE).await.map_err(ServerError::Adopt)?;
        }
        if !unchanged {
            write_private(&config_path, config.as_bytes()).map_err(folder_error(&config_path))?;
        }
        if let Some(adopted) = &adopted {
            tracing::info!(pid = adopted.pid, "adopting the nats-server that was left running");
        }

        let first = ServerState::Starting { pid: adopted.as_ref().map_or(0, |adopted| adopted.pid) };
        let plan = Plan { binary: options.binary, dir, credentials: credentials.clone() };
        let (tell, state) = watch::channel(first);
        let (orders, ordered) = mpsc::channel(1);
        let supervisor = tokio::spawn(supervise(plan, adopted, tell, ordered));
        let server = Self { credentials, state, orders, supervisor, _lock: lock };
        server.first_start(options.ready_timeout).await
    }

    async fn first_start(self, patience: Duration) -> Result<Self, ServerError> {
        let mut state = self.state.clone();
        let settled = state.wait_for(|state| !matches!(state, ServerState::Starting { .. }));
        let problem = match tokio::time::timeout(patience, settled).await {
            Ok(Ok(state)) => match &*state {
                ServerState::Running { .. } => None,
                ServerState::Restarting { why, .. } => Some(ServerError::Failed { why: why.clone() }),
                other => Some(ServerError::Failed { why: format!("it is {other:?}") }),
            },
            Ok(Err(_)) => Some(ServerError::Failed { why: "its supervisor ended".to_owned() }),
            Err(_) => Some(ServerError::Slow { waited: patience }),
        };
        match problem {
            None => Ok(self),
            Some(error) => {
                self.stop(REPLACE_PATIENCE).await;
                Err(error)
            }
        }
    }

    /// What the server is doing, now and whenever it changes.
    pub fn state(&self) -> watch::Receiver<ServerState> {
        self.state.clone()
    }

    /// Its process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        match &*self.state.borrow() {
            ServerState::Starting { pid } | ServerState::Running { pid, .. } => Some(*pid),
            ServerState::Restarting { .. } | ServerState::Stopped => None,
        }
    }

    /// Where it listens, and the passwords.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Connects to the log on it.
    ///
    /// # Errors
    /// As [`JetStreamLog::connect`].
    pub async fn log(&self, role: Role) -> Result<JetStreamLog, LogError> {
        JetStreamLog::connect(Options::new(self.credentials.url(role), role)).await
    }

    /// Who may put the store aside, without holding the server.
    pub fn store_keeper(&self) -> StoreKeeper {
        StoreKeeper { orders: self.orders.downgrade(), state: self.state.clone() }
    }

    /// Ends the server that may be left running in a folder, and removes the folder.
    ///
    /// # Errors
    /// [`ServerError::Adopt`], [`ServerError::Folder`].
    pub async fn remove(dir: &Path) -> Result<(), ServerError> {
        Self::end(dir).await?;
        match fs::remove_dir_all(dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(folder_error(dir)(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Ends the server that may be left running in a folder.
    ///
    /// # Errors
    /// [`ServerError::Adopt`], [`ServerError::Folder`].
    pub async fn end(dir: &Path) -> Result<(), ServerError> {
        let dir = match dir.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            found => found.map_err(folder_error(dir))?,
        };
        for left in take_running(&dir.join("nats.conf")).map_err(ServerError::Adopt)? {
            left.stop(REPLACE_PATIENCE).await.map_err(ServerError::Adopt)?;
        }
        Ok(())
    }

    /// Asks it to stop, and kills it when `patience` is over. Returns when it has ended.
    pub async fn stop(self, patience: Duration) {
        // A supervisor that has ended has nothing to stop.
        let _ = self.orders.send(Order::Stop(patience)).await;
        if let Err(error) = self.supervisor.await {
            tracing::error!(%error, "the supervisor of nats-server failed");
        }
    }
}

/// Replaces a server's store; it doesn't keep the server running.
#[derive(Debug, Clone)]
pub struct StoreKeeper {
    orders: mpsc::WeakSender<Order>,
    state: watch::Receiver<ServerState>,
}

impl StoreKeeper {
    /// Stops the server, renames its store to `jetstream.damaged` (one is kept, for whoever wants to look) and starts
    /// the server with an empty one. Returns where the old store is, once the server answers.
    ///
    /// # Errors
    /// An I/O error when the server cannot be stopped or the folder not be renamed, or the server is being stopped.
    pub async fn replace(&self) -> io::Result<PathBuf> {
        self.replace_if(async { Ok(()) }).await
    }

    /// The same, when what is looked at while the server is stopped is as it should be.
    ///
    /// # Errors
    /// As [`Self::replace`], and those of the look; the store stays then.
    pub async fn replace_if(&self, look: impl Future<Output = io::Result<()>> + Send + 'static) -> io::Result<PathBuf> {
        let work = |dir: PathBuf| async move {
            look.await?;
            put_store_aside(&dir)
        };
        self.while_stopped(work).await
    }

    /// Stops the server, does something in its folder, and starts it again, however that went. Returns its outcome once
    /// the server answers.
    ///
    /// # Errors
    /// An I/O error when the server cannot be stopped or is being stopped, and the work's own.
    pub async fn while_stopped<W>(&self, work: impl FnOnce(PathBuf) -> W + Send + 'static) -> io::Result<PathBuf>
    where
        W: Future<Output = io::Result<PathBuf>> + Send + 'static,
    {
        let stopping = || io::Error::other("nats-server is being stopped");
        let (reply, done) = oneshot::channel();
        let orders = self.orders.upgrade().ok_or_else(stopping)?;
        let work = Box::new(move |dir| work(dir).boxed());
        orders.send(Order::WhileStopped(work, reply)).await.map_err(|_| stopping())?;
        drop(orders);
        let done = done.await.map_err(|_| stopping())?;
        let mut state = self.state.clone();
        let answers = state.wait_for(|state| matches!(state, ServerState::Running { .. } | ServerState::Stopped));
        match answers.await.as_deref() {
            Ok(ServerState::Running { .. }) => done,
            Ok(_) | Err(_) => Err(stopping()),
        }
    }
}

fn folder_error(path: &Path) -> impl FnOnce(io::Error) -> ServerError {
    let path = path.to_owned();
    move |source| ServerError::Folder { path, source }
}

fn take_folder(dir: &Path) -> Result<(PathBuf, File), ServerError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(folder_error(dir))?;
    // Absolute, as the path is what a server that was left running is known by.
    let dir = dir.canonicalize().map_err(folder_error(dir))?;
    if !nats_conf::is_plain(&dir) {
        return Err(ServerError::OddPath { path: dir });
    }
    let path = dir.join("lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let lock = lock.map_err(folder_error(&path))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok((dir, lock)),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ServerError::InUse { path: dir }),
        Err(error) => Err(ServerError::Folder { path, source: error.into() }),
    }
}

fn take_running(config_path: &Path) -> io::Result<Vec<Watched>> {
    let mut taken = Vec::new();
    for pid in running_with(config_path)? {
        taken.extend(Watched::adopt(pid, config_path)?);
    }
    Ok(taken)
}

/// Whether the process runs this very file; after an upgrade it runs a deleted one.
fn is_same_program(pid: u32, binary: &Path) -> bool {
    let runs = fs::read_link(format!("/proc/{pid}/exe"));
    matches!((runs, binary.canonicalize()), (Ok(runs), Ok(binary)) if runs == binary)
}

fn kind(clustered: bool) -> &'static str {
    if clustered { "a cluster" } else { "a server alone" }
}

/// What nats-server makes of a store that was made in the other way is not what was in it.
fn check_kind(dir: &Path, credentials: &Credentials) -> Result<(), ServerError> {
    let path = dir.join("jetstream");
    if !stream_folder(dir).exists() {
        return Ok(());
    }
    // Where a server of a cluster keeps, in the system account, what the servers agree on.
    let clustered = path.join("jetstream/SYS/_js_/_meta_").exists();
    if clustered != credentials.members().is_empty() { Ok(()) } else { Err(ServerError::OtherKind { path, clustered }) }
}

fn wanted_address(
    options: &NatsServerOptions,
    recorded: Option<&Credentials>,
    is_running: bool,
) -> Result<SocketAddr, ServerError> {
    let recorded = recorded.map(Credentials::address).filter(|address| address.ip() == options.host);
    let kept_port = recorded.map_or(0, |address| address.port());
    let port = if options.port == 0 { kept_port } else { options.port };
    let address = SocketAddr::new(options.host, port);
    // Our own server listens there already, and stays or is stopped.
    if port != 0 && is_running && recorded == Some(address) {
        return Ok(address);
    }
    // Bound for a moment only: another process can still be faster, and the start then fails with the reason.
    match TcpListener::bind(address) {
        Ok(listener) => listener.local_addr().map_err(|source| ServerError::AddressTaken { address, source }),
        Err(_) if options.port == 0 && port != 0 => wanted_address(options, None, false),
        Err(source) => Err(ServerError::AddressTaken { address, source }),
    }
}
