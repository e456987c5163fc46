//! What outlives the control plane: the log, the nodes with what runs on them, the clients' memory, and the watch that
//! is kept over all of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use edgestack_archive::Archive;
use edgestack_engine::Replica;
use edgestack_log::memory::MemoryLog;
use edgestack_model::{Id, node::Capacity, vm::Vm, volume::Volume};
use edgestack_seal::SealingKey;
use edgestack_worker_storage::driver as storage;
use edgestack_worker_vm::driver as vm;
use object_store::memory::InMemory;
use uuid::Uuid;

use crate::{
    clients::Ledger,
    clock::SimClock,
    crash::CrashSwitch,
    fault::{Fault, Faults},
    log::{OnTheirWay, SimLog},
    northbound::Northbound,
    random::Random,
};

/// Everything outside the control plane.
pub struct Outside {
    pub seed: u64,
    pub random: Random,
    pub clock: Arc<SimClock>,
    pub log: SimLog,
    pub crash: CrashSwitch,
    pub nodes: Vec<Node>,
    /// The virtual network, as it is.
    pub northbound: Northbound,
    pub ledger: Ledger,
    pub violations: Violations,
    /// The ids of all that was left on nodes and is of no log.
    pub planted: Mutex<BTreeSet<Uuid>>,
    /// Whether things go wrong now.
    pub faulty: Arc<AtomicBool>,
    /// What has gone wrong, and how often.
    pub faults: Faults,
    /// Whether the workers' process is cut off from the log.
    pub workers_cut: Arc<AtomicBool>,
    /// Whether those who hold leases are not heard just now.
    pub holders_silent: Arc<AtomicBool>,
    /// The archive's closed segments.
    pub segments: Arc<InMemory>,
    /// How far engines have folded the log, as long as they live.
    pub standing: Mutex<Vec<Weak<Replica>>>,
    /// The archive, as long as a control plane has it open.
    pub archive: Mutex<Option<Arc<Archive>>>,
    /// How far the archive's open segments are synced.
    pub synced: Mutex<BTreeMap<PathBuf, u64>>,
    /// How long log and archive were when they were last seen whole and equal.
    pub longest: Mutex<u64>,
    /// What the last life waits for.
    pub waits_for: Mutex<String>,
    /// Calls of drivers that only look.
    pub looks: AtomicU64,
    pub folder: PathBuf,
    pub seal: SealingKey,
}

/// One node: what runs and lies there, and whether its workers reach the engine.
#[derive(Clone)]
pub struct Node {
    pub name: String,
    pub machines: vm::SimDriver,
    pub disks: Arc<storage::SimDriver>,
    /// The volumes that have a file there.
    pub volumes: Arc<Mutex<BTreeSet<Id<Volume>>>>,
    pub cut_off: Arc<AtomicBool>,
    /// Since when, by the time that has passed in all.
    pub cut_off_since: Arc<Mutex<Option<Duration>>>,
    /// Nothing can be stored there just now.
    pub full: Arc<AtomicBool>,
    /// It never comes back.
    pub lost: Arc<AtomicBool>,
    pub allocatable: Capacity,
    /// What drivers are just doing, by VM.
    pub busy: Arc<Mutex<BTreeMap<Id<Vm>, &'static str>>>,
}

impl Node {
    /// The engine is reached again.
    pub fn connect(&self) {
        self.cut_off.store(false, Ordering::Relaxed);
        *self.cut_off_since.lock().unwrap() = None;
    }

    /// The engine is not reached any more.
    pub fn cut_off(&self, now: Duration) {
        self.cut_off.store(true, Ordering::Relaxed);
        *self.cut_off_since.lock().unwrap() = Some(now);
    }
}

/// What was seen that must never be, first one first.
#[derive(Clone, Default)]
pub struct Violations(Arc<Mutex<Vec<String>>>);

impl Violations {
    pub fn add(&self, what: String) {
        // What a law says begins with its name; all else is said by nobody who could be the only judge.
        if !crate::run::is_judged_by(what.split(':').next().unwrap_or_default()) {
            return;
        }
        self.0.lock().unwrap().push(what);
    }

    pub fn first(&self) -> Option<String> {
        self.0.lock().unwrap().first().cloned()
    }
}

impl Outside {
    pub fn new(seed: u64, folder: PathBuf) -> Self {
        let random = Random::seeded(seed);
        let faults = Faults::default();
        let faulty = Arc::new(AtomicBool::new(true));
        let crash = CrashSwitch::new(faults.clone());
        let log = SimLog {
            inner: MemoryLog::new(),
            away: Arc::default(),
            full: Arc::default(),
            cut: Arc::default(),
            crash: crash.clone(),
            random: random.clone(),
            faults: faults.clone(),
            faulty: faulty.clone(),
            on_their_way: OnTheirWay::default(),
        };
        let nodes = (1..=3)
            .map(|number| Node {
                name: format!("edge-{number}"),
                machines: vm::SimDriver::new(),
                disks: Arc::default(),
                volumes: Arc::default(),
                cut_off: Arc::default(),
                cut_off_since: Arc::default(),
                full: Arc::default(),
                lost: Arc::default(),
                allocatable: Capacity { vcpus: 4, memory_mib: 4096, disk_gib: 60 },
                busy: Arc::default(),
            })
            .collect();
        let seal = SealingKey::load_or_create(&folder.join("sealing.key")).unwrap();
        Self {
            seed,
            random,
            clock: Arc::default(),
            log,
            crash,
            nodes,
            northbound: Northbound::default(),
            ledger: Ledger::default(),
            violations: Violations::default(),
            standing: Mutex::default(),
            planted: Mutex::default(),
            faulty,
            faults,
            workers_cut: Arc::default(),
            holders_silent: Arc::default(),
            segments: Arc::default(),
            archive: Mutex::default(),
            synced: Mutex::default(),
            longest: Mutex::default(),
            waits_for: Mutex::default(),
            looks: AtomicU64::new(0),
            folder,
            seal,
        }
    }

    pub fn faulty(&self) -> bool {
        self.faulty.load(Ordering::Relaxed)
    }

    /// Whether something of this sort goes wrong now, in so many of a thousand times; counted if so.
    pub fn goes_wrong(&self, fault: Fault, rate: u64) -> bool {
        let wrong = self.faulty() && self.random.per_mille(rate);
        if wrong {
            self.faults.fired(fault);
        }
        wrong
    }

    /// From now on nothing goes wrong any more.
    pub fn calm_down(&self) {
        self.faulty.store(false, Ordering::Relaxed);
        self.end_pauses();
        self.crash.arm(0);
        for node in &self.nodes {
            node.connect();
        }
    }

    /// Those who ended what was away or full for a while are gone with a life.
    pub fn end_pauses(&self) {
        for flag in [&self.log.away, &self.log.full, &self.workers_cut, &self.holders_silent]
            .into_iter()
            .chain(self.nodes.iter().map(|node| &node.full))
        {
            flag.store(false, Ordering::Relaxed);
        }
    }

    /// The nodes that are not lost for good.
    pub fn living(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().filter(|node| !node.lost.load(Ordering::Relaxed))
    }

    /// One node and all on it never comes back.
    pub fn lose_a_node(&self) {
        let node = self.random.one_of(&self.nodes);
        self.faults.fired(Fault::NodeLost);
        node.lost.store(true, Ordering::Relaxed);
    }

    /// A key that no other client uses.
    pub fn key(&self) -> String {
        Uuid::from_u128(u128::from(self.random.below(u64::MAX))).to_string()
    }
}
