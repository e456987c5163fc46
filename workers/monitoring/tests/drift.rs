//! From what finders see to events of the node, in paused time.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use edgestack_engine::{Clock, CommandPort, Engine, EngineConfig, Origin, Replica, Submission};
use edgestack_log::{ChainHead, Log, memory::MemoryLog};
use edgestack_model::{
    Actor, Command, Id, Kind, World,
    command::Reference,
    node::{NodeCommand, NodeReport},
    orphan::{Artifact, ArtifactKind, Record, VmRecord},
};
use edgestack_pool::{DriverError, Reported, Reporter};
use edgestack_worker_monitoring::{
    Drift, Finder,
    driver::{NodeDriver as _, SimDriver},
    run_drift,
};
use tokio::sync::watch;
use uuid::Uuid;

const DEADLINE: Duration = Duration::from_secs(120);

struct Ids(AtomicU64);

impl Clock for Ids {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).unwrap()
    }

    fn new_id(&self) -> Uuid {
        Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + u128::from(self.0.fetch_add(1, Ordering::Relaxed)))
    }
}

/// Sees what it is told to see, and counts its looks.
struct Eyes {
    kinds: &'static [ArtifactKind],
    sees: Mutex<BTreeSet<Artifact>>,
    blind: AtomicBool,
    records: Mutex<BTreeMap<Uuid, Record>>,
    looks: watch::Sender<u64>,
}

impl Eyes {
    fn new(kinds: &'static [ArtifactKind]) -> Arc<Self> {
        Arc::new(Self {
            kinds,
            sees: Mutex::default(),
            blind: AtomicBool::new(false),
            records: Mutex::default(),
            looks: watch::Sender::new(0),
        })
    }

    fn see(&self, artifact: &Artifact) {
        self.sees.lock().unwrap().insert(artifact.clone());
    }

    fn lose(&self, artifact: &Artifact) {
        self.sees.lock().unwrap().remove(artifact);
    }

    /// Waits until it has looked so many times from now on.
    async fn look_again(&self, times: u64) {
        let until = *self.looks.borrow() + times;
        let mut looks = self.looks.subscribe();
        let waited = tokio::time::timeout(DEADLINE, looks.wait_for(|looks| *looks >= until)).await;
        assert!(matches!(waited, Ok(Ok(_))), "it looks on a beat");
    }
}

#[async_trait]
impl Finder for Eyes {
    fn looks_for(&self) -> &'static [ArtifactKind] {
        self.kinds
    }

    async fn found(&self) -> Result<Vec<Artifact>, DriverError> {
        let found = self.sees.lock().unwrap().iter().cloned().collect();
        self.looks.send_modify(|looks| *looks += 1);
        if self.blind.load(Ordering::Relaxed) { Err(DriverError::retry("blind")) } else { Ok(found) }
    }

    async fn record(&self, artifact: &Artifact) -> Result<Option<Record>, DriverError> {
        Ok(self.records.lock().unwrap().get(&artifact.id).cloned())
    }
}

const OF_VMS: &[ArtifactKind] = &[ArtifactKind::VmFolder, ArtifactKind::VmProcess];
const OF_STORAGE: &[ArtifactKind] =
    &[ArtifactKind::Volume, ArtifactKind::Image, ArtifactKind::Upload, ArtifactKind::UnfinishedUpload];

struct Site {
    port: Arc<dyn CommandPort>,
    replica: Arc<Replica>,
    vms: Arc<Eyes>,
    storage: Arc<Eyes>,
}

impl Site {
    async fn start() -> Self {
        let log: Arc<dyn Log> = Arc::new(MemoryLog::new());
        let replica = Replica::new(World::default(), ChainHead::GENESIS, None);
        let clock: Arc<dyn Clock> = Arc::new(Ids(AtomicU64::new(1)));
        let config = EngineConfig::for_site("test");
        let port: Arc<dyn CommandPort> = Arc::new(Engine::start(config, log.clone(), replica.clone(), clock.clone()));
        let reporter = Reporter::new(port.clone(), "monitoring", "n1");
        let (vms, storage) = (Eyes::new(OF_VMS), Eyes::new(OF_STORAGE));
        tokio::spawn(run_drift(Drift {
            node: "n1".parse().unwrap(),
            replica: replica.clone(),
            log,
            reporter: reporter.clone(),
            finders: vec![vms.clone(), storage.clone()],
            clock: clock.clone(),
            every: Duration::from_secs(15),
        }));
        let facts = Box::new(SimDriver::default().facts().await.unwrap());
        let report = NodeReport::Inventory { name: "n1".parse().unwrap(), facts };
        let command = Command::Node(NodeCommand::Report(report));
        assert_eq!(reporter.report_unasked(clock.new_id(), command).await, Reported::Taken);
        Self { port, replica, vms, storage }
    }

    fn listed(&self) -> Vec<Artifact> {
        let world = self.replica.world();
        let id = world.id_of(Kind::Node, &"n1".parse().unwrap()).unwrap();
        world.nodes[&Id::new(id)].orphans.iter().map(|orphan| orphan.artifact.clone()).collect()
    }

    async fn await_listed(&self, expect: &[&Artifact]) {
        let mut head = self.replica.watch_head();
        while self.listed().iter().collect::<Vec<_>>() != expect {
            let changed = tokio::time::timeout(DEADLINE, head.changed()).await;
            changed.unwrap_or_else(|_| panic!("{:?} is listed", self.listed())).unwrap();
        }
    }
}

fn an_orphan(kind: ArtifactKind) -> Artifact {
    let id = Uuid::from_u128(7);
    Artifact { kind, id, place: format!("{kind}/{id}") }
}

#[tokio::test(start_paused = true)]
async fn what_stays_is_told_and_then_told_gone() {
    let site = Site::start().await;
    let (folder, volume) = (an_orphan(ArtifactKind::VmFolder), an_orphan(ArtifactKind::Volume));
    site.vms.see(&folder);
    site.await_listed(&[&folder]).await;
    site.storage.see(&volume);
    site.await_listed(&[&folder, &volume]).await;
    site.vms.look_again(3).await;
    let before = site.replica.head().sequence;
    site.vms.look_again(3).await;
    assert_eq!(site.replica.head().sequence, before, "the same again is no commit");
    site.vms.lose(&folder);
    site.await_listed(&[&volume]).await;
    site.storage.lose(&volume);
    site.await_listed(&[]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_written_down_of_an_orphan_is_told_with_it() {
    let site = Site::start().await;
    let (folder, process) = (an_orphan(ArtifactKind::VmFolder), an_orphan(ArtifactKind::VmProcess));
    let record = serde_json::json!({
        "name": "web", "image": folder.id, "flavor": folder.id, "run_strategy": "always", "root_volume": folder.id,
        "shape": {"vcpus": 1, "memory_mib": 32, "disk_gib": 1, "dedicated_cpus": false},
        "mac": "52:54:00:00:00:01", "ssh_port": 22000,
    });
    let record = Record::Vm(Box::new(serde_json::from_value::<VmRecord>(record).unwrap()));
    site.vms.records.lock().unwrap().insert(folder.id, record.clone());
    site.vms.see(&folder);
    site.vms.see(&process);
    site.await_listed(&[&folder, &process]).await;
    let world = site.replica.world();
    let node = world.nodes.values().next().unwrap();
    let records: Vec<_> = node.orphans.iter().map(|orphan| orphan.record.clone()).collect();
    assert_eq!(records, [Some(record), None]);
}

#[tokio::test(start_paused = true)]
async fn a_person_who_asks_does_not_wait_for_the_beat() {
    let site = Site::start().await;
    site.vms.look_again(2).await;
    let begun = tokio::time::Instant::now();
    let node = Reference("n1".to_owned());
    let origin = Origin {
        reason: Some("to be sure".to_owned()),
        ..Origin::of(Actor { name: "admin".into(), credential: "t".into(), from: "l".into() }, Uuid::nil(), None)
    };
    let asked = site.port.submit(Submission { command: Command::Node(NodeCommand::Reconcile { node }), origin });
    let ((), asked) = tokio::join!(site.vms.look_again(1), asked);
    asked.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_one_look_alone_saw_is_never_told() {
    let site = Site::start().await;
    let folder = an_orphan(ArtifactKind::VmFolder);
    let before = site.replica.head().sequence;
    for _ in 0..3 {
        site.vms.see(&folder);
        site.vms.look_again(1).await;
        site.vms.lose(&folder);
        site.vms.look_again(1).await;
    }
    site.vms.look_again(3).await;
    assert_eq!((site.listed(), site.replica.head().sequence), (vec![], before));
}

#[tokio::test(start_paused = true)]
async fn a_look_that_fails_says_nothing_and_holds_up_no_other() {
    let site = Site::start().await;
    let (folder, volume) = (an_orphan(ArtifactKind::VmFolder), an_orphan(ArtifactKind::Volume));
    site.vms.see(&folder);
    site.await_listed(&[&folder]).await;
    site.vms.blind.store(true, Ordering::Relaxed);
    site.storage.see(&volume);
    site.await_listed(&[&folder, &volume]).await;
    site.vms.look_again(3).await;
    assert_eq!(site.listed(), [folder.clone(), volume.clone()]);
    site.vms.lose(&folder);
    site.vms.blind.store(false, Ordering::Relaxed);
    site.await_listed(&[&volume]).await;
}
