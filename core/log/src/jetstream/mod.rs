//! The real log: a NATS JetStream stream (NATS server 2.15 or newer), and the server that holds it.
//!
//! One connection carries publishes in call order; their acknowledgements come as they are synced. Reading is JetStream's
//! "direct get" in batches (ADR-31 of the NATS project), which needs no consumer on the server and the least rights;
//! [`Log::follow`] is the same, woken by the stream's own notices of what it has stored (`mm3.stored.>`, headers only)
//! and by a watchdog, so a lost notice costs a moment and never a commit.

mod api;
mod cluster;
mod connection;
mod credentials;
mod feed;
mod guard;
mod lines;
mod nats_conf;
mod pipeline;
mod places;
mod promise;
mod reading;
mod refused;
mod server;
mod store;
mod stream;
mod supervisor;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;

pub use cluster::{CLUSTER_SERVERS, Copies, Member, check_members};
pub use credentials::{Credentials, CredentialsError, Role, sender};
pub use guard::StoreGuard;
pub use promise::{BrokenPromise, PromiseError, read_promise};
pub use refused::{REFUSED_STREAM, REFUSED_SUBJECT, RefusedStream};
pub use server::{NatsServer, NatsServerOptions, ServerError, StoreKeeper};
pub use store::{stored_bytes, stream_folder};
pub use stream::{ACCEPTED_SUBJECTS, MAX_MESSAGE_BYTES, SHARED_SUBJECT, STORED_SUBJECTS, STREAM};
pub use supervisor::ServerState;

use crate::{Append, AppendError, Cause, Damage, Log, LogError, LogHead, PendingAck, StoredCommit};
use connection::{Connection, Live};
use pipeline::Pipeline;
use places::Places;

/// How to reach the log, and how patient to be.
#[derive(Clone)]
pub struct Options {
    /// `nats://user:password@host:port`, as [`Credentials::url`] gives it. Of a cluster all servers are named, with commas
    /// between (`…@host:port,host:port`): when one is lost, another is taken.
    pub url: String,
    /// Whom the URL's user stands for; only [`Role::Engine`] may append.
    pub role: Role,
    /// How long to wait for the first connection.
    pub connect_timeout: Duration,
    /// How long to wait for the acknowledgement of an append before its outcome is unknown.
    pub ack_timeout: Duration,
    /// How long to wait for any other answer.
    pub request_timeout: Duration,
    /// How many messages may be in flight; the next call waits.
    pub max_in_flight: usize,
    /// What the server's own replica lacks or doesn't answer is not asked of the leading server: for who watches over a
    /// replica.
    pub only_this_replica: bool,
    /// How long a follower hears nothing before it looks by itself.
    pub watchdog: Duration,
}

impl Options {
    /// The usual patience: 10 s to connect, 5 s for an answer, 1,024 in flight, a look every second.
    pub fn new(url: impl Into<String>, role: Role) -> Self {
        Self {
            url: url.into(),
            role,
            connect_timeout: Duration::from_secs(10),
            ack_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(5),
            max_in_flight: 1024,
            only_this_replica: false,
            watchdog: Duration::from_secs(1),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the URL: it holds the password.
        f.debug_struct("Options").field("role", &self.role).finish_non_exhaustive()
    }
}

/// The log in JetStream. A clone is another handle on the same connection.
#[derive(Clone)]
pub struct JetStreamLog {
    inner: Arc<Inner>,
}

struct Inner {
    connection: Connection,
    options: Options,
    /// Held while an entry is handed over, so that the order of calls is the order on the wire.
    pipeline: tokio::sync::Mutex<Pipeline>,
    places: Places,
    /// As of the last read, to ask for about as many as are wanted.
    commits_per_message: AtomicUsize,
}

impl JetStreamLog {
    /// As whom it is connected.
    pub fn role(&self) -> Role {
        self.inner.options.role
    }

    /// Connects; from then on the connection heals by itself.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when there is no connection within [`Options::connect_timeout`].
    pub async fn connect(options: Options) -> Result<Self, LogError> {
        let connection = Connection::open(options.clone());
        let mut watch = connection.watch();
        let connected = tokio::time::timeout(options.connect_timeout, watch.live()).await;
        if !matches!(connected, Ok(Some(_))) {
            return Err(LogError::Unavailable(watch.why_down()));
        }
        let inner = Inner {
            connection,
            options,
            pipeline: tokio::sync::Mutex::default(),
            places: Places::default(),
            commits_per_message: AtomicUsize::new(1),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Creates the stream when there is none; never changes one that is there, whatever its settings ([`read_promise`]
    /// tells what they are worth).
    ///
    /// `replicas` is 1 on a single server and 3 on a cluster.
    ///
    /// # Errors
    /// [`LogError::Unavailable`], or [`LogError::Refused`] with the server's reason.
    pub async fn ensure_stream(&self, replicas: usize) -> Result<(), LogError> {
        self.ensure_stream_from(replicas, 1).await
    }

    /// The same; a stream that is made begins with the commit `first`, those before it are elsewhere.
    ///
    /// # Errors
    /// As [`Self::ensure_stream`].
    pub async fn ensure_stream_from(&self, replicas: usize, first: u64) -> Result<(), LogError> {
        stream::ensure(&self.live()?, replicas, first).await
    }

    /// Whether there is a connection at this moment.
    pub fn is_connected(&self) -> bool {
        self.inner.connection.live().is_ok()
    }

    /// The client of this moment's connection, for what else this process says over NATS (commands, heartbeats). It
    /// ends with the connection.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when there is no connection.
    pub fn client(&self) -> Result<async_nats::Client, LogError> {
        Ok(self.live()?.client)
    }

    /// Whether one server holds the log, so that what it lacks is nowhere; of a cluster's others might have it.
    fn is_alone(&self) -> bool {
        !self.inner.options.only_this_replica && !self.inner.options.url.contains(',')
    }

    fn live(&self) -> Result<Live, LogError> {
        self.inner.connection.live().map_err(LogError::Unavailable)
    }
}

#[async_trait]
impl Log for JetStreamLog {
    async fn append(&self, entry: Append) -> Result<PendingAck, AppendError> {
        let role = self.inner.options.role;
        if role != Role::Engine {
            return Err(AppendError::Refused(Cause::new(format!("the role {role} may not append"))));
        }
        self.hand_over(entry).await
    }

    async fn read(&self, from_sequence: u64, max_messages: usize) -> Result<Vec<StoredCommit>, LogError> {
        let from = from_sequence.max(1);
        if max_messages == 0 {
            return Ok(Vec::new());
        }
        let batch = self.read_once(from, max_messages).await?;
        if !batch.is_empty() {
            return Ok(batch);
        }
        // "None" is believed only when the stream itself says that it ends here: it could be a block that can't be read.
        let head = self.head().await?;
        if head.last_sequence < from {
            return Ok(batch);
        }
        let batch = self.read_once(from, max_messages).await?;
        if !batch.is_empty() {
            return Ok(batch);
        }
        if self.inner.options.only_this_replica {
            return Err(LogError::Unavailable(Cause::new("this server's replica ends before the log")));
        }
        match self.get(from).await? {
            // A replica that lags behind its leader.
            Some(commit) => Ok(vec![commit]),
            None => Err(Damage::Unreadable { sequence: from, last_sequence: head.last_sequence }.into()),
        }
    }

    async fn get(&self, sequence: u64) -> Result<Option<StoredCommit>, LogError> {
        let found = self.get_in(&self.live()?, sequence).await?;
        Ok(found.map(|(commit, _, _)| commit))
    }

    async fn head(&self) -> Result<LogHead, LogError> {
        self.extent().await
    }

    async fn follow(&self, from_sequence: u64) -> Result<BoxStream<'static, Result<StoredCommit, LogError>>, LogError> {
        Ok(feed::follow(self.clone(), from_sequence.max(1)))
    }

    fn backend(&self) -> &'static str {
        "jetstream"
    }
}
