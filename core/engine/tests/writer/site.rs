//! A replica and a writer on a log that can be held up.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use edgestack_engine::{
    Clock, CommandPort as _, Engine, EngineConfig, Origin, Outcome, Replica, Submission, SubmitError, catch_up, follow,
};
use edgestack_log::{
    Append, AppendError, Cause, ChainHead, Log, LogError, LogHead, PendingAck, StoredCommit, memory::MemoryLog,
};
use edgestack_model::{
    Actor, Command, Commit, Labels, World,
    flavor::{FlavorCommand, Shape},
    idempotency::IdempotencyClaim,
    keypair::{KeypairCommand, PublicKey},
};
use futures::{FutureExt as _, stream::BoxStream};
use tokio::sync::watch;
use uuid::Uuid;

/// The simulated log behind a valve: its answers can be held back, and it can be out of reach.
#[derive(Clone)]
pub struct Valve {
    pub inner: MemoryLog,
    answers: watch::Sender<bool>,
    away: Arc<AtomicBool>,
    belated: Arc<Mutex<Belated>>,
}

/// An append that is given up, and stored while the next one finds the log away.
#[derive(Default)]
enum Belated {
    #[default]
    None,
    Next,
    OnItsWay(Append),
}

impl Valve {
    pub fn new(inner: MemoryLog) -> Self {
        Self { inner, answers: watch::Sender::new(true), away: Arc::default(), belated: Arc::default() }
    }

    /// What is appended is stored, and its answer waits.
    pub fn hold_answers(&self) {
        self.answers.send_replace(false);
    }

    pub fn release_answers(&self) {
        self.answers.send_replace(true);
    }

    /// Whether the log is out of reach.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// The next append has no answer, and is stored only when it is sent again, which finds the log away.
    pub fn store_the_next_late(&self) {
        *self.belated.lock().unwrap() = Belated::Next;
    }

    fn check(&self) -> Result<(), Cause> {
        if self.away.load(Ordering::Relaxed) { Err(Cause::new("the valve is shut")) } else { Ok(()) }
    }
}

#[async_trait]
impl Log for Valve {
    async fn append(&self, entry: Append) -> Result<PendingAck, AppendError> {
        self.check().map_err(AppendError::Unavailable)?;
        let belated = std::mem::take(&mut *self.belated.lock().unwrap());
        match belated {
            Belated::None => {}
            Belated::Next => {
                *self.belated.lock().unwrap() = Belated::OnItsWay(entry);
                return Ok(async { Err(AppendError::UnknownOutcome(Cause::new("no answer came"))) }.boxed());
            }
            Belated::OnItsWay(first) => {
                // Behind the look that follows this failure, and before the pause after it is over.
                let inner = self.inner.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    inner.append(first).await.unwrap().await.unwrap();
                });
                return Err(AppendError::Unavailable(Cause::new("the log is away for a moment")));
            }
        }
        let ack = self.inner.append(entry).await?;
        let mut answers = self.answers.subscribe();
        Ok(async move {
            // The valve outlives its log's users.
            answers.wait_for(|open| *open).await.unwrap();
            ack.await
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
        self.inner.follow(from_sequence).await
    }

    fn backend(&self) -> &'static str {
        "memory (simulated)"
    }
}

/// Ids in order, and the runtime's paused time.
pub struct TestClock {
    writer: u8,
    begun: tokio::time::Instant,
    ids: AtomicU64,
}

impl TestClock {
    pub fn of_writer(writer: u8) -> Arc<Self> {
        Arc::new(Self { writer, begun: tokio::time::Instant::now(), ids: AtomicU64::new(1) })
    }
}

impl Clock for TestClock {
    fn now(&self) -> DateTime<Utc> {
        let passed = TimeDelta::from_std(self.begun.elapsed()).unwrap();
        DateTime::from_timestamp(1_790_000_000, 0).unwrap() + passed
    }

    fn new_id(&self) -> Uuid {
        let number = u128::from(self.ids.fetch_add(1, Ordering::Relaxed));
        Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + (u128::from(self.writer) << 56) + number)
    }
}

/// One process's replica and writer.
#[derive(Clone)]
pub struct Site {
    pub log: Valve,
    pub replica: Arc<Replica>,
    pub engine: Engine,
}

/// A site on an empty log.
pub async fn a_site() -> Site {
    a_writer(1, Valve::new(MemoryLog::new())).await
}

/// One of several writers of a log.
pub async fn a_writer(writer: u8, log: Valve) -> Site {
    a_writer_with(EngineConfig::for_site("test"), writer, log).await
}

pub async fn a_writer_with(config: EngineConfig, writer: u8, log: Valve) -> Site {
    let replica = Replica::new(World::default(), ChainHead::GENESIS, None);
    catch_up(&log.inner, &replica).await.unwrap();
    tokio::spawn(follow(Arc::new(log.clone()), replica.clone()));
    let engine = Engine::start(config, Arc::new(log.clone()), replica.clone(), TestClock::of_writer(writer));
    Site { log, replica, engine }
}

impl Site {
    pub async fn submit(&self, command: Command) -> Result<Outcome, SubmitError> {
        self.submit_as(a_person(), command).await
    }

    pub async fn submit_as(&self, origin: Origin, command: Command) -> Result<Outcome, SubmitError> {
        self.engine.submit(Submission { command, origin }).await
    }

    /// The commits in the log, each decoded.
    pub async fn commits(&self) -> Vec<Commit> {
        commits(&self.log.inner).await
    }

    /// The log holds exactly these commands' commits, in this order, and the replica has folded them.
    pub async fn holds(&self, names: &[&str]) {
        let commits = self.commits().await;
        let held: Vec<String> = commits.iter().map(|commit| commit.events[0].name.to_string()).collect();
        assert_eq!(held, names);
        let mut world = World::default();
        for commit in &commits {
            world.evolve(commit).unwrap();
        }
        assert_eq!(*self.replica.world(), world);
        edgestack_log::verify(&self.log.inner, None).await.unwrap();
    }
}

pub async fn commits(log: &MemoryLog) -> Vec<Commit> {
    let mut commits = Vec::new();
    loop {
        match log.read(commits.len() as u64 + 1, 1000).await {
            Ok(batch) if batch.is_empty() => return commits,
            Ok(batch) => commits.extend(batch.iter().map(|stored| Commit::decode(&stored.payload).unwrap())),
            // Seeded faults make the log unavailable for some calls.
            Err(LogError::Unavailable(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

pub fn a_person() -> Origin {
    origin_of("admin")
}

pub fn a_worker() -> Origin {
    origin_of("worker.vm@edge-1")
}

fn origin_of(name: &str) -> Origin {
    let actor = Actor { name: name.into(), credential: "test".into(), from: "here".into() };
    Origin::of(actor, Uuid::nil(), None)
}

pub fn with_key(key: &str, fingerprint: &str) -> Origin {
    let claim = IdempotencyClaim { key: key.into(), fingerprint: fingerprint.into() };
    Origin { idempotency: Some(claim), ..a_person() }
}

pub fn a_flavor(name: &str) -> Command {
    Command::Flavor(FlavorCommand::Create {
        name: name.parse().unwrap(),
        description: String::new(),
        labels: Labels::default(),
        shape: Shape {
            vcpus: 1,
            memory_mib: 512,
            disk_gib: 5,
            dedicated_cpus: false,
            huge_pages: None,
            numa_nodes: None,
        },
    })
}

pub fn a_keypair(name: &str, bytes: usize) -> Command {
    Command::Keypair(KeypairCommand::Create {
        name: name.parse().unwrap(),
        description: String::new(),
        labels: Labels::default(),
        key: PublicKey { key_type: "rsa".into(), openssh: "x".repeat(bytes), fingerprint: "SHA256:x".into() },
    })
}

#[track_caller]
pub fn committed(outcome: &Result<Outcome, SubmitError>) -> Arc<Commit> {
    match outcome {
        Ok(Outcome::Committed { commit }) => commit.clone(),
        other => panic!("not committed: {other:?}"),
    }
}

#[track_caller]
pub fn refused(outcome: &Result<Outcome, SubmitError>) -> &'static str {
    match outcome {
        Err(SubmitError::Refused(refusal)) => refusal.code(),
        other => panic!("not refused: {other:?}"),
    }
}

/// Lets every task run until each of them waits for something.
pub async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
