//! The real log: a NATS JetStream stream (NATS server 2.15 or newer), and the server that holds it.
//!
//! One connection carries publishes in call order; their acknowledgements come as they are synced. Reading is JetStream's
//! "direct get" in batches (ADR-31 of the NATS project), which needs no consumer on the server and the least rights;
//! [`Log::follow`] is the same, woken by the stream's own notices of what it has stored (`mm3.stored.>`, headers only)
//! and by a watchdog, so a lost notice costs a moment and never a commit.

mod api;
mod connection;
mod credentials;
mod feed;
mod fence;
mod nats_conf;
mod promise;
mod server;
mod stream;
mod supervisor;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::context::{PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_trait::async_trait;
use futures::stream::BoxStream;

pub use credentials::{Credentials, CredentialsError, Role, sender};
pub use promise::{BrokenPromise, PromiseError, read_promise};
pub use server::{NatsServer, NatsServerOptions, ServerError, StoreKeeper};
pub use stream::{ACCEPTED_SUBJECTS, MAX_MESSAGE_BYTES, STORED_SUBJECTS, STREAM};
pub use supervisor::ServerState;

use crate::chain::{check_entry, dense_part};
use crate::{Append, AppendError, Cause, Damage, Log, LogError, LogHead, MAX_COMMIT_BYTES, PendingAck, StoredCommit};
use connection::{Connection, Live};
use fence::Fence;

/// How to reach the log, and how patient to be.
#[derive(Clone)]
pub struct Options {
    /// `nats://user:password@host:port`, as [`Credentials::url`] gives it.
    pub url: String,
    /// Whom the URL's user stands for; only [`Role::Engine`] may append.
    pub role: Role,
    /// How long to wait for the first connection.
    pub connect_timeout: Duration,
    /// How long to wait for the acknowledgement of an append before its outcome is unknown.
    pub ack_timeout: Duration,
    /// How long to wait for any other answer.
    pub request_timeout: Duration,
    /// How many appends may be in flight; the next call waits.
    pub max_in_flight: usize,
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
    fence: Arc<Fence>,
    /// Held while an entry is handed over, so that the order of calls is the order on the wire.
    hand_over: tokio::sync::Mutex<()>,
}

impl JetStreamLog {
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
        let inner = Inner { connection, options, fence: Arc::default(), hand_over: tokio::sync::Mutex::default() };
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
        stream::ensure(&self.live()?, replicas).await
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

    fn live(&self) -> Result<Live, LogError> {
        self.inner.connection.live().map_err(LogError::Unavailable)
    }

    async fn read_once(&self, from: u64, max_messages: usize) -> Result<Vec<StoredCommit>, LogError> {
        let batch = api::direct_get(&self.live()?, from, max_messages, self.inner.options.request_timeout).await?;
        Ok(dense_part(from, batch)?)
    }
}

#[async_trait]
impl Log for JetStreamLog {
    async fn append(&self, entry: Append) -> Result<PendingAck, AppendError> {
        let inner = &self.inner;
        if inner.options.role != Role::Engine {
            return Err(AppendError::Refused(Cause::new(format!("the role {} may not append", inner.options.role))));
        }
        let envelope = check_entry(&entry)?;
        let _in_order = inner.hand_over.lock().await;
        let live = inner.connection.live().map_err(AppendError::Unavailable)?;
        let expected = entry.expected_last_sequence;
        let previous_id = match inner.fence.ask(expected, &envelope.previous_hash, live.generation) {
            fence::Answer::Stored => None,
            fence::Answer::InFlight(id) => Some(id),
            fence::Answer::OtherChain => {
                return Err(AppendError::WrongLastSequence { actual: None });
            }
            fence::Answer::Unknown => {
                self.learn_previous(&live, expected, &envelope.previous_hash).await?;
                None
            }
        };
        let mut message = PublishMessage::build()
            .payload(entry.payload.clone())
            .message_id(&entry.commit_id)
            .expected_last_sequence(expected);
        if let Some(id) = previous_id {
            message = message.expected_last_message_id(id);
        }
        let bytes = entry.payload.len();
        let sent = live.context.send_publish(entry.subject, message).await;
        let ack = sent.map_err(|error| told_by_publish(error, bytes))?;
        let sequence = expected + 1;
        inner.fence.handed_over(sequence, &entry.payload, entry.commit_id.clone(), live.generation);
        let fence = inner.fence.clone();
        Ok(Box::pin(async move {
            let ack = ack.await.map_err(|error| told_by_publish(error, bytes))?;
            // A duplicate is acknowledged with the place of the first one.
            if ack.sequence != sequence {
                let why = format!("commit {} is already stored at {}", entry.commit_id, ack.sequence);
                return Err(AppendError::Refused(Cause::new(why)));
            }
            fence.stored(sequence);
            Ok(sequence)
        }))
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
        match self.get(from).await? {
            // A replica that lags behind its leader.
            Some(commit) => Ok(vec![commit]),
            None => Err(Damage::Unreadable { sequence: from, last_sequence: head.last_sequence }.into()),
        }
    }

    async fn get(&self, sequence: u64) -> Result<Option<StoredCommit>, LogError> {
        api::message_get(&self.live()?, sequence).await
    }

    async fn head(&self) -> Result<LogHead, LogError> {
        let state = api::stream_info(&self.live()?).await?.state;
        Ok(LogHead { first_sequence: state.first_seq, last_sequence: state.last_seq, messages: state.messages })
    }

    async fn follow(&self, from_sequence: u64) -> Result<BoxStream<'static, Result<StoredCommit, LogError>>, LogError> {
        Ok(feed::follow(self.clone(), from_sequence.max(1)))
    }

    fn backend(&self) -> &'static str {
        "jetstream"
    }
}

impl JetStreamLog {
    /// Makes sure that what is stored at `expected` is what the entry chains on; what is stored never changes, so the
    /// expected sequence alone is the fence from here on.
    async fn learn_previous(&self, live: &Live, expected: u64, previous_hash: &str) -> Result<(), AppendError> {
        let found = match api::message_get(live, expected).await {
            Ok(found) => found,
            Err(LogError::Unavailable(cause)) => return Err(AppendError::Unavailable(cause)),
            Err(LogError::Refused(cause)) => return Err(AppendError::Refused(cause)),
            Err(LogError::Damaged(damage)) => {
                return Err(AppendError::Refused(Cause::with_source("the log is damaged", damage)));
            }
        };
        let Some(found) = found else {
            return Err(AppendError::WrongLastSequence { actual: None });
        };
        if self.inner.fence.learned(expected, &found.payload, previous_hash, live.generation) {
            return Ok(());
        }
        Err(AppendError::WrongLastSequence { actual: None })
    }
}

/// Tells the outcome of a publish by the server's error number (nats-server `server/errors.json`), never by its text.
fn told_by_publish(error: PublishError, bytes: usize) -> AppendError {
    use std::error::Error;
    let api = error.source().and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
    let Some(api) = api else {
        return match error.kind() {
            PublishErrorKind::StreamNotFound => {
                AppendError::Unavailable(Cause::new("no server answers for the stream (JetStream is down or starting)"))
            }
            PublishErrorKind::MaxPayloadExceeded => AppendError::TooLarge { bytes, limit: MAX_COMMIT_BYTES },
            // Time-out, lost connection, an answer that isn't understood: it may have been stored.
            _ => AppendError::UnknownOutcome(Cause::with_source("no answer from JetStream", error)),
        };
    };
    let api = api.clone();
    match api.error_code().0 {
        // JSStreamWrongLastSequenceErrF: "wrong last sequence: {seq}".
        api::WRONG_LAST_SEQUENCE => AppendError::WrongLastSequence { actual: number_after_colon(&api.to_string()) },
        // JSStreamWrongLastSequenceConstantErr: the same while another message is being replicated, without the number.
        // JSStreamWrongLastMsgIDErrF: the sequence is right but another commit stands there.
        api::WRONG_LAST_SEQUENCE_CONSTANT | api::WRONG_LAST_MESSAGE_ID => {
            AppendError::WrongLastSequence { actual: None }
        }
        // JSStreamDuplicateMessageConflictErr: an equal message is being replicated now; its outcome is ours.
        api::DUPLICATE_IN_PROCESS => {
            AppendError::UnknownOutcome(Cause::with_source("an equal append is in progress", api))
        }
        api::MESSAGE_TOO_LARGE => AppendError::TooLarge { bytes, limit: MAX_COMMIT_BYTES },
        api::NOT_AVAILABLE | api::NO_RESOURCES | api::NO_STORAGE | api::NOT_ENABLED | api::NOT_ENABLED_FOR_ACCOUNT => {
            AppendError::Unavailable(Cause::with_source("JetStream can't store now", api))
        }
        // The server's fault (a store that failed half-way, for one): it may or may not be there.
        _ if api.code() >= 500 => AppendError::UnknownOutcome(Cause::with_source("JetStream failed", api)),
        _ => AppendError::Refused(Cause::with_source("JetStream refuses it", api)),
    }
}

fn number_after_colon(text: &str) -> Option<u64> {
    let digits = text.split_once(": ")?.1;
    digits.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
