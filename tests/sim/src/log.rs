//! The simulated log, with time and faults: answers take a while, get lost or come late, and it is away at times.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use edgestack_archive::LogStore;
use edgestack_log::{
    Append, AppendError, Cause, Log, LogError, LogHead, PendingAck, StoredCommit,
    memory::{Fault as LogFault, MemoryLog},
};
use futures::{FutureExt as _, StreamExt as _, stream::BoxStream};

use crate::{
    crash::CrashSwitch,
    fault::{Fault, Faults},
    random::Random,
};

/// A [`MemoryLog`] behind a network.
#[derive(Clone)]
pub struct SimLog {
    pub inner: MemoryLog,
    pub away: Arc<AtomicBool>,
    pub full: Arc<AtomicBool>,
    /// Whether the process that holds this handle is cut off.
    pub cut: Arc<AtomicBool>,
    pub crash: CrashSwitch,
    pub random: Random,
    pub faults: Faults,
    /// Whether things go wrong by themselves.
    pub faulty: Arc<AtomicBool>,
    /// After which commits that are on their way want to stand, whose senders have given them up.
    pub on_their_way: OnTheirWay,
}

/// The expected last sequence of each commit that is on its way.
#[derive(Clone, Default)]
pub struct OnTheirWay(Arc<Mutex<Vec<u64>>>);

impl OnTheirWay {
    fn begin(&self, after: u64) -> Coming {
        self.0.lock().unwrap().push(after);
        Coming { all: self.clone(), after }
    }

    /// Whether one wants to stand after this commit or a later one.
    pub fn any_past(&self, sequence: u64) -> bool {
        self.0.lock().unwrap().iter().any(|after| *after >= sequence)
    }
}

/// One that is on its way as long as this lives.
struct Coming {
    all: OnTheirWay,
    after: u64,
}

impl Drop for Coming {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap();
        if let Some(at) = all.iter().position(|after| *after == self.after) {
            all.swap_remove(at);
        }
    }
}

impl SimLog {
    /// A handle of another process, which can be cut off alone.
    pub fn of_another_process(&self, cut: &Arc<AtomicBool>) -> Self {
        Self { cut: cut.clone(), ..self.clone() }
    }

    /// A handle through which nothing goes wrong by itself: a repair appends everything, and would never end else.
    pub fn steady(&self) -> Self {
        Self { faulty: Arc::default(), ..self.clone() }
    }

    fn check(&self) -> Result<(), Cause> {
        match self.away.load(Ordering::Relaxed) || self.cut.load(Ordering::Relaxed) {
            true => Err(Cause::new("simulated: the log is away")),
            false => Ok(()),
        }
    }

    /// What goes wrong with this append, if anything.
    fn next_fault(&self) -> Option<Fault> {
        if !self.faulty.load(Ordering::Relaxed) {
            return None;
        }
        match self.random.below(1000) {
            0..14 => Some(Fault::AnswerLost),
            14..26 => Some(Fault::LostBeforeStoring),
            26..34 => Some(Fault::StoredLate),
            34..42 => Some(Fault::SentTwice),
            42..50 => Some(Fault::AnswerLate),
            50..60 => Some(Fault::LogFlickers),
            _ => None,
        }
    }

    /// Stored by the log when its sender has given it up already, if nothing has taken its place.
    fn store_late(&self, entry: Append) {
        let (inner, faults, pause) = (self.inner.clone(), self.faults.clone(), self.random.millis(5, 2500));
        let coming = self.on_their_way.begin(entry.expected_last_sequence);
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            drop(coming);
            if inner.append_foreign(entry).is_ok() {
                faults.fired(Fault::StoredLate);
            }
        });
    }
}

#[async_trait]
impl Log for SimLog {
    async fn append(&self, entry: Append) -> Result<PendingAck, AppendError> {
        self.crash.pass().await;
        self.check().map_err(AppendError::Unavailable)?;
        if self.full.load(Ordering::Relaxed) {
            self.faults.fired(Fault::LogFull);
            return Err(AppendError::Unavailable(Cause::new("simulated: no space left on device")));
        }
        let mut latency = self.random.millis(1, 6);
        let fault = self.next_fault();
        tracing::trace!(?fault, after = entry.expected_last_sequence, id = entry.commit_id, "an append");
        let ack = match fault {
            Some(Fault::StoredLate) => {
                self.store_late(entry);
                let lost = AppendError::UnknownOutcome(Cause::new("simulated: no answer came"));
                futures::future::ready(Err(lost)).boxed()
            }
            Some(Fault::SentTwice) => {
                let ack = self.inner.append(entry.clone()).await?;
                self.faults.fired(Fault::SentTwice);
                // The fence refuses it, whenever it comes.
                let _ = self.inner.append_foreign(entry);
                ack
            }
            other => {
                match other {
                    Some(Fault::AnswerLost) => self.inner.inject(LogFault::AnswerLost),
                    Some(Fault::LostBeforeStoring) => self.inner.inject(LogFault::LostBeforeStoring),
                    Some(Fault::LogFlickers) => {
                        let calls = 1 + u32::try_from(self.random.below(4)).unwrap();
                        self.inner.inject(LogFault::Unavailable { calls });
                    }
                    Some(Fault::AnswerLate) => latency = self.random.millis(500, 4000),
                    _ => {}
                }
                if let Some(fault) = other {
                    self.faults.fired(fault);
                }
                self.inner.append(entry).await?
            }
        };
        self.crash.pass().await;
        let (crash, faults) = (self.crash.clone(), self.faults.clone());
        Ok(async move {
            tokio::time::sleep(latency).await;
            crash.pass().await;
            let answer = ack.await;
            if matches!(answer, Err(AppendError::WrongLastSequence { .. })) {
                faults.fired(Fault::AppendConflict);
            }
            answer
        }
        .boxed())
    }

    async fn read(&self, from_sequence: u64, max_messages: usize) -> Result<Vec<StoredCommit>, LogError> {
        self.check().map_err(LogError::Unavailable)?;
        self.inner.read(from_sequence, max_messages).await
    }

    async fn get(&self, sequence: u64) -> Result<Option<StoredCommit>, LogError> {
        self.check().map_err(LogError::Unavailable)?;
        self.inner.get(sequence).await
    }

    async fn head(&self) -> Result<LogHead, LogError> {
        self.check().map_err(LogError::Unavailable)?;
        self.inner.head().await
    }

    async fn follow(&self, from_sequence: u64) -> Result<BoxStream<'static, Result<StoredCommit, LogError>>, LogError> {
        // Looked for again and again: the log's own watch would wake several followers in an order that no seed decides.
        let follower = Follower { log: self.clone(), next: from_sequence, again: None };
        Ok(futures::stream::unfold(follower, |mut follower| async move {
            let item = follower.next().await;
            Some((item, follower))
        })
        .boxed())
    }

    fn backend(&self) -> &'static str {
        "memory (simulated)"
    }
}

struct Follower {
    log: SimLog,
    next: u64,
    /// A commit that is delivered once more.
    again: Option<StoredCommit>,
}

impl Follower {
    async fn next(&mut self) -> Result<StoredCommit, LogError> {
        if let Some(commit) = self.again.take() {
            return Ok(commit);
        }
        loop {
            // What others appended is heard a little later, and now and then much later.
            let faulty = self.log.faulty.load(Ordering::Relaxed);
            let late = faulty && self.log.random.per_mille(5);
            let behind = if late { self.log.random.millis(100, 1500) } else { self.log.random.millis(5, 25) };
            match self.log.read(self.next, 1).await.map(|mut batch| batch.pop()) {
                Ok(Some(commit)) => {
                    self.next += 1;
                    if faulty && self.log.random.per_mille(20) {
                        self.log.faults.fired(Fault::DeliveredTwice);
                        self.again = Some(commit.clone());
                    }
                    return Ok(commit);
                }
                Ok(None) | Err(LogError::Unavailable(_)) => {
                    if late {
                        self.log.faults.fired(Fault::DeliveredLate);
                    }
                    tokio::time::sleep(behind).await;
                }
                Err(error) => {
                    tokio::time::sleep(behind).await;
                    return Err(error);
                }
            }
        }
    }
}

/// A nats-server that puts its store aside takes a moment to come back.
#[async_trait]
impl LogStore for SimLog {
    async fn replace(&self, _first: u64) -> Result<String, String> {
        self.crash.pass().await;
        self.check().map_err(|cause| cause.to_string())?;
        self.inner.put_aside();
        tokio::time::sleep(Duration::from_millis(40)).await;
        self.crash.pass().await;
        Ok("nowhere: it is simulated".to_owned())
    }
}
