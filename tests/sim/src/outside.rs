//! What outlives the control plane: the log, the nodes with what runs on them, the clients' memory, and the watch that
//! is kept over all of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use edgestack_log::memory::{FaultRates, MemoryLog};
use edgestack_model::{Id, node::Capacity, vm::Vm, volume::Volume};
use edgestack_seal::SealingKey;
use edgestack_worker_storage::driver as storage;
use edgestack_worker_vm::driver as vm;
use uuid::Uuid;

use crate::{clients::Ledger, clock::SimClock, crash::CrashSwitch, log::SimLog, random::Random};

/// Everything outside the control plane.
pub struct Outside {
    pub seed: u64,
    pub random: Random,
    pub clock: Arc<SimClock>,
    pub log: SimLog,
    pub crash: CrashSwitch,
    pub nodes: Vec<Node>,
    pub ledger: Ledger,
    pub violations: Violations,
    /// The ids of all that was left on nodes and is of no log.
    pub planted: Mutex<BTreeSet<Uuid>>,
    /// Whether things go wrong now.
    pub faults: Arc<AtomicBool>,
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
    pub allocatable: Capacity,
    /// What drivers are just doing, by VM.
    pub busy: Arc<Mutex<BTreeMap<Id<Vm>, &'static str>>>,
}

/// What was seen that must never be, first one first.
#[derive(Clone, Default)]
pub struct Violations(Arc<Mutex<Vec<String>>>);

impl Violations {
    pub fn add(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    pub fn first(&self) -> Option<String> {
        self.0.lock().unwrap().first().cloned()
    }
}

impl Outside {
    pub fn new(seed: u64, folder: PathBuf) -> Self {
        let random = Random::seeded(seed);
        let crash = CrashSwitch::default();
        let rates = FaultRates { answer_lost: 15, lost_before_storing: 15, unavailable: 10 };
        let log = SimLog {
            inner: MemoryLog::seeded(seed, rates),
            away: Arc::default(),
            crash: crash.clone(),
            random: random.clone(),
        };
        let nodes = (1..=3)
            .map(|number| Node {
                name: format!("edge-{number}"),
                machines: vm::SimDriver::new(),
                disks: Arc::default(),
                volumes: Arc::default(),
                cut_off: Arc::default(),
                allocatable: Capacity { vcpus: 6, memory_mib: 4096, disk_gib: 60 },
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
            ledger: Ledger::default(),
            violations: Violations::default(),
            planted: Mutex::default(),
            faults: Arc::new(AtomicBool::new(true)),
            folder,
            seal,
        }
    }

    pub fn faulty(&self) -> bool {
        self.faults.load(Ordering::Relaxed)
    }

    /// From now on nothing goes wrong any more.
    pub fn calm_down(&self) {
        self.faults.store(false, Ordering::Relaxed);
        self.log.away.store(false, Ordering::Relaxed);
        self.crash.arm(0);
        for node in &self.nodes {
            node.cut_off.store(false, Ordering::Relaxed);
        }
    }

    /// A key that no other client uses.
    pub fn key(&self) -> String {
        Uuid::from_u128(u128::from(self.random.below(u64::MAX))).to_string()
    }
}
