//! A site with a log in memory and the worker.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use edgestack_engine::{
    Clock, CommandPort as _, Engine, EngineConfig, Origin, Outcome, Replica, Submission, SystemClock,
};
use edgestack_log::{ChainHead, memory::MemoryLog};
use edgestack_model::{
    Actor, Command, Id, Kind, Labels, Name, World,
    flavor::{FlavorCommand, Shape},
    meta::MetaChange,
    webhook::{
        AllowList, CreateWebhook, EventFilter, UpdateWebhook, Webhook, WebhookCommand, WebhookSpec, WebhookState,
    },
};
use edgestack_pool::Reporter;
use edgestack_seal::SealingKey;
use edgestack_timeline::Timeline;
use edgestack_worker_webhook::{
    Patience, ProgressFolder, WebhookPool, WebhookPoolParts,
    driver::{HttpDriver, Resolver, WebhookDriver},
};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::receiver::Receiver;

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAAAAAAAAA=";
/// How long a test waits for what must come.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Polls until there is something.
pub async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = std::time::Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < DEADLINE, "it never came that {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Names lead where a test says.
#[derive(Clone, Default)]
pub struct Names(Arc<Mutex<BTreeMap<String, Vec<IpAddr>>>>);

impl Names {
    pub fn lead(&self, name: &str, addresses: &[&str]) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.0.lock().unwrap().insert(name.to_owned(), addresses);
    }
}

#[async_trait::async_trait]
impl Resolver for Names {
    async fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.0.lock().unwrap().get(name).cloned().ok_or_else(|| io::Error::other("no such name"))
    }
}

pub struct Site {
    pub replica: Arc<Replica>,
    pub log: MemoryLog,
    pub names: Names,
    pub allow: Vec<String>,
    pub roots: Vec<rustls::pki_types::CertificateDer<'static>>,
    pub patience: Patience,
    pub beat: Duration,
    pub seal: SealingKey,
    clock: Arc<dyn Clock>,
    engine: Engine,
    timeline: Timeline,
    worker: Option<JoinHandle<()>>,
    folder: tempfile::TempDir,
}

impl Site {
    /// A site that allows receivers on loopback. Seconds of its pauses last 4 ms.
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let replica = Replica::new(World::default(), ChainHead::GENESIS, None);
        let log = MemoryLog::new();
        let config = EngineConfig::for_site("test");
        let engine = Engine::start(config, Arc::new(log.clone()), replica.clone(), clock.clone());
        Self {
            replica,
            names: Names::default(),
            allow: vec!["http://127.0.0.1:*".to_owned(), "127.0.0.1:*".to_owned()],
            roots: vec![],
            beat: Duration::from_millis(200),
            patience: Patience {
                second: Duration::from_millis(4),
                give_up_after: Duration::from_secs(3600),
                answer_within: Duration::from_secs(5),
            },
            seal: SealingKey::load_or_create(&folder.path().join("secrets/key")).unwrap(),
            timeline: Timeline::open(&folder.path().join("snapshots"), Arc::new(log.clone()), None).unwrap(),
            log,
            clock,
            engine,
            worker: None,
            folder,
        }
    }

    pub fn start_worker(&mut self) {
        let allowed = AllowList::new(self.allow.iter().map(|entry| entry.parse().unwrap()));
        let driver = HttpDriver::new(allowed, Arc::new(self.names.clone()), self.roots.clone()).unwrap();
        self.start_worker_with(Arc::new(driver));
    }

    pub fn start_worker_with(&mut self, driver: Arc<dyn WebhookDriver>) {
        self.worker = Some(WebhookPool::start(WebhookPoolParts {
            replica: self.replica.clone(),
            log: Arc::new(self.log.clone()),
            timeline: self.timeline.clone(),
            reporter: Reporter::new(Arc::new(self.engine.clone()), "webhook", "n1"),
            seal: self.seal.clone(),
            driver,
            progress: self.progress(),
            clock: self.clock.clone(),
            patience: self.patience,
            beat: self.beat,
        }));
    }

    /// Ends the worker wherever it is.
    pub async fn stop_worker(&mut self) {
        let worker = self.worker.take().unwrap();
        worker.abort();
        let _ = worker.await;
    }

    pub fn progress(&self) -> ProgressFolder {
        ProgressFolder::new(self.folder.path().join("webhooks"))
    }

    pub fn progress_file(&self, webhook: &str) -> PathBuf {
        let id = self.webhook(webhook).id;
        self.folder.path().join(format!("webhooks/{id}.json"))
    }

    pub async fn submit(&self, command: impl Into<Command>) -> Outcome {
        let actor = Actor { name: "admin".to_owned(), credential: "token:0".to_owned(), from: "test".to_owned() };
        let origin = Origin::of(actor, Uuid::now_v7(), None);
        self.engine.submit(Submission { command: command.into(), origin }).await.unwrap()
    }

    /// A webhook for a receiver.
    pub async fn add_webhook(&self, name: &str, receiver: &Receiver) {
        self.add_webhook_with(name, &format!("http://{}/{name}?a=b", receiver.address), |_| {}).await;
    }

    pub async fn add_webhook_with(&self, name: &str, url: &str, change: impl FnOnce(&mut CreateWebhook)) {
        let mut create = CreateWebhook {
            name: name.parse().unwrap(),
            description: String::new(),
            labels: Labels::default(),
            spec: WebhookSpec { url: url.parse().unwrap(), filter: EventFilter::default() },
            secret: self.seal.seal(SECRET).unwrap(),
            paused: false,
            after: None,
        };
        change(&mut create);
        self.submit(Command::Webhook(WebhookCommand::Create(Box::new(create)))).await;
    }

    pub async fn update_webhook(&self, name: &str, change: impl FnOnce(&mut UpdateWebhook)) {
        let mut update = UpdateWebhook {
            webhook: name.into(),
            change: MetaChange::default(),
            url: None,
            filter: None,
            paused: None,
            skip: false,
        };
        change(&mut update);
        self.submit(Command::Webhook(WebhookCommand::Update(Box::new(update)))).await;
    }

    pub fn webhook(&self, name: &str) -> Arc<Webhook> {
        self.replica.world().webhook(&name.into()).unwrap().clone()
    }

    pub async fn await_state(&self, name: &str, state: &str) -> WebhookState {
        eventually(&format!("{name} is {state}"), || {
            Some(self.webhook(name).state.clone()).filter(|now| now.as_str() == state)
        })
        .await
    }

    /// Waits until everything up to the log's end was delivered, and kept.
    pub async fn await_all_delivered(&self, name: &str) {
        let id: Id<Webhook> = self.webhook(name).id;
        eventually(&format!("{name} has delivered everything"), || {
            let progress = self.progress().read(id.uuid()).ok().flatten()?;
            (progress.waiting.is_empty() && progress.cursor == self.replica.head().sequence).then_some(())
        })
        .await;
    }

    /// An object to which things can happen.
    pub async fn add(&self, name: &str) {
        self.add_labelled(name, &[]).await;
    }

    pub async fn add_labelled(&self, name: &str, labels: &[(&str, &str)]) {
        let shape =
            Shape { vcpus: 1, memory_mib: 64, disk_gib: 1, dedicated_cpus: false, huge_pages: None, numa_nodes: None };
        let (name, labels): (Name, _) = (name.parse().unwrap(), self::labels(labels));
        let create = FlavorCommand::Create { name, description: String::new(), labels, shape };
        self.submit(Command::Flavor(create)).await;
    }

    /// Something happens to an object.
    pub async fn touch(&self, name: &str) {
        let description = Some(format!("after commit {}", self.replica.head().sequence));
        let change = MetaChange { description, labels: None };
        self.submit(Command::Flavor(FlavorCommand::Update { flavor: name.into(), change })).await;
    }

    pub async fn relabel(&self, name: &str, labels: &[(&str, &str)]) {
        let change = MetaChange { description: None, labels: Some(self::labels(labels)) };
        self.submit(Command::Flavor(FlavorCommand::Update { flavor: name.into(), change })).await;
    }

    pub async fn remove(&self, name: &str) {
        self.submit(Command::Flavor(FlavorCommand::Delete { flavor: name.into() })).await;
    }

    /// The types of a webhook's events so far.
    pub async fn story(&self) -> Vec<String> {
        let stored = edgestack_log::Log::read(&self.log, 1, 100_000).await.unwrap();
        let commits = stored.iter().map(|stored| edgestack_model::Commit::decode(&stored.payload).unwrap());
        let events = commits.flat_map(|commit| commit.events);
        let of_webhooks = events.filter(|event| event.fact.kind() == Kind::Webhook);
        of_webhooks.map(|event| event.fact.event_type().to_owned()).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            worker.abort();
        }
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    pairs.collect::<BTreeMap<_, _>>().try_into().unwrap()
}

/// That each object's events came in their order; repetitions of what came before are no disorder.
pub fn assert_in_order(received: &[crate::receiver::Received]) {
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen = std::collections::BTreeSet::new();
    for one in received {
        if seen.insert(one.header("webhook-id").to_owned()) {
            let before = last.insert(one.object(), one.sequence()).unwrap_or(0);
            assert!(before < one.sequence(), "{} came after {before}: {}", one.sequence(), one.object());
        }
    }
}
