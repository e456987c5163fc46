//! A nats-server that once could not write (its disk was full) takes no message any more, also when there is room
//! again: it answers reads, and leaves appends without an answer until it is started anew (seen with 2.15.1, "critical
//! write error"). So appends are watched, and where they stay unanswered the server, which is ours, is restarted.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use edgestack_log::{Append, AppendError, Log, LogError, LogHead, PendingAck, StoredCommit, jetstream::ServerState};
use futures::{FutureExt as _, stream::BoxStream};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::{mpsc, watch};

/// Appends unanswered for so long, tried anew meanwhile, are a silence. A disk that stalls for a moment is none.
const SILENCE: Duration = Duration::from_secs(4);
/// How long a server runs at least before it is restarted for its silence: while the disk stays full it is no help.
const RUNS_AT_LEAST: Duration = Duration::from_secs(8);

/// A log whose unanswered appends lead to a restart of its server.
struct WatchedLog {
    log: Arc<dyn Log>,
    appends: Arc<Appends>,
}

struct Appends {
    /// When the first of those that were not answered since the last answer was given up.
    unanswered_since: Mutex<Option<Instant>>,
    silent: mpsc::UnboundedSender<()>,
}

/// Watches the appends to a log of our own server.
pub fn watched(log: Arc<dyn Log>, server: watch::Receiver<ServerState>) -> Arc<dyn Log> {
    let (silent, silences) = mpsc::unbounded_channel();
    tokio::spawn(restart_when_silent(silences, server));
    Arc::new(WatchedLog { log, appends: Arc::new(Appends { unanswered_since: Mutex::new(None), silent }) })
}

impl Appends {
    fn ended(&self, answer: &Result<u64, AppendError>) {
        let mut since = self.unanswered_since.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            Ok(_) => *since = None,
            Err(AppendError::UnknownOutcome(_)) => {
                if since.get_or_insert_with(Instant::now).elapsed() >= SILENCE {
                    // A closed channel means that the runtime is ending.
                    let _ = self.silent.send(());
                }
            }
            Err(
                AppendError::WrongLastSequence { .. }
                | AppendError::TooLarge { .. }
                | AppendError::Unavailable(_)
                | AppendError::Refused(_),
            ) => {}
        }
    }
}

async fn restart_when_silent(mut silences: mpsc::UnboundedReceiver<()>, server: watch::Receiver<ServerState>) {
    while silences.recv().await.is_some() {
        let ServerState::Running { pid, since, .. } = *server.borrow() else { continue };
        let runs_long =
            (DateTime::<Utc>::from(SystemTime::now()) - since).to_std().is_ok_and(|runs| runs >= RUNS_AT_LEAST);
        let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw).filter(|_| runs_long) else { continue };
        tracing::error!(
            pid,
            "nats-server answers no append and is restarted; if this comes again, look for a full or broken disk in nats-server.log"
        );
        if let Err(error) = kill_process(id, Signal::TERM) {
            tracing::warn!(pid, %error, "nats-server could not be told to end");
        }
    }
}

#[async_trait]
impl Log for WatchedLog {
    async fn append(&self, entry: Append) -> Result<PendingAck, AppendError> {
        let pending = self.log.append(entry).await?;
        let appends = self.appends.clone();
        Ok(pending.inspect(move |answer| appends.ended(answer)).boxed())
    }

    async fn read(&self, from_sequence: u64, max_messages: usize) -> Result<Vec<StoredCommit>, LogError> {
        self.log.read(from_sequence, max_messages).await
    }

    async fn get(&self, sequence: u64) -> Result<Option<StoredCommit>, LogError> {
        self.log.get(sequence).await
    }

    async fn head(&self) -> Result<LogHead, LogError> {
        self.log.head().await
    }

    async fn follow(&self, from_sequence: u64) -> Result<BoxStream<'static, Result<StoredCommit, LogError>>, LogError> {
        self.log.follow(from_sequence).await
    }

    fn backend(&self) -> &'static str {
        self.log.backend()
    }
}
