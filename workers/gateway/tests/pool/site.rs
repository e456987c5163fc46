//! A site with a log in memory, a simulated virtual network that can fail, and the pool between them.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use edgestack_engine::{
    CommandPort, Engine, EngineConfig, Origin, Outcome, Replica, Submission, SubmitError, SystemClock,
};
use edgestack_log::{ChainHead, Log as _, memory::MemoryLog};
use edgestack_model::{
    Actor, Command, Commit, World,
    event::Fact,
    network::NetworkEvent,
    realization::{Realization, RealizationState},
    vm::VmEvent,
};
use edgestack_pool::{DriverError, Reporter};
use edgestack_worker_gateway::{
    GatewayPool, GatewayPoolParts,
    desired::desired,
    driver::{NorthboundDriver, SimDriver},
    plan::{Change, Plan, plan},
    probe::Probes,
    rows::Seen,
};
use tokio::{sync::Notify, task::JoinHandle};
use uuid::Uuid;

use crate::world::{self, create_vm};

/// How long a test waits for what must come.
pub const DEADLINE: Duration = Duration::from_secs(20);
/// A beat that no test sees.
pub const NEVER: Duration = Duration::from_secs(3600);
/// A beat that finds what others did.
pub const OFTEN: Duration = Duration::from_millis(20);

/// Polls until it is so.
pub async fn eventually(what: &str, mut look: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !look() {
        assert!(begun.elapsed() < DEADLINE, "it never came that {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A step of the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Look,
    Write,
    Realize,
}

impl Step {
    pub const ALL: [Self; 3] = [Self::Look, Self::Write, Self::Realize];

    /// As failed attempts are told.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Look => "look",
            Self::Write => "write",
            Self::Realize => "realize",
        }
    }
}

/// The simulated network, which counts, fails and holds as a test says.
#[derive(Default)]
pub struct Watched {
    pub sim: SimDriver,
    pub looks: AtomicUsize,
    /// Each write's changes.
    pub writes: Mutex<Vec<Vec<Change>>>,
    fails_at: Mutex<Option<Step>>,
    holds: AtomicBool,
    /// Reached the place where it is held.
    pub held: Notify,
    goes_on: Notify,
    wake: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

impl Watched {
    pub fn fails_at(&self, step: Option<Step>) {
        *self.fails_at.lock().unwrap() = step;
    }

    pub fn writes(&self) -> usize {
        self.writes.lock().unwrap().len()
    }

    /// The next confirmation waits until it is let go.
    pub fn hold(&self) {
        self.holds.store(true, Ordering::SeqCst);
    }

    pub fn let_go(&self) {
        self.holds.store(false, Ordering::SeqCst);
        self.goes_on.notify_one();
    }

    /// Something is told of the database, and the pool has begun to look at it.
    pub async fn wakes(&self) {
        let looks = self.looks.load(Ordering::SeqCst);
        self.wake.lock().unwrap().as_ref().unwrap()();
        eventually("it is woken", || self.looks.load(Ordering::SeqCst) > looks).await;
    }

    fn pass(&self, step: Step) -> Result<(), DriverError> {
        if *self.fails_at.lock().unwrap() == Some(step) {
            return Err(DriverError::retry_with_fix(format!("no {}", step.as_str()), "wait"));
        }
        Ok(())
    }
}

#[async_trait]
impl NorthboundDriver for Watched {
    fn is_simulated(&self) -> bool {
        true
    }

    async fn rows(&self) -> Result<Seen, DriverError> {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.pass(Step::Look)?;
        self.sim.rows().await
    }

    async fn write(&self, seen: &Seen, changes: &[Change]) -> Result<(), DriverError> {
        self.pass(Step::Write)?;
        self.writes.lock().unwrap().push(changes.to_vec());
        self.sim.write(seen, changes).await
    }

    async fn realized(&self, nodes: &BTreeSet<String>, within: Duration) -> Result<(), DriverError> {
        self.pass(Step::Realize)?;
        if self.holds.load(Ordering::SeqCst) {
            self.held.notify_one();
            self.goes_on.notified().await;
        }
        self.sim.realized(nodes, within).await
    }

    fn watch(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        *self.wake.lock().unwrap() = Some(wake);
    }
}

/// The engine, which takes no reports while a test says so.
#[derive(Clone)]
struct Port {
    engine: Engine,
    is_away: Arc<AtomicBool>,
}

#[async_trait]
impl CommandPort for Port {
    async fn submit(&self, submission: Submission) -> Result<Outcome, SubmitError> {
        if self.is_away.load(Ordering::SeqCst) {
            return Err(SubmitError::Unavailable { why: "a test".to_owned(), retry_after: Duration::from_secs(1) });
        }
        self.engine.submit(submission).await
    }
}

pub struct Site {
    pub replica: Arc<Replica>,
    pub driver: Arc<Watched>,
    pub beat: Duration,
    pub probes: Probes,
    log: MemoryLog,
    engine: Engine,
    reports_away: Arc<AtomicBool>,
    pool: Option<JoinHandle<()>>,
}

impl Site {
    /// A site with what a VM needs, and no pool yet.
    pub async fn new() -> Self {
        let replica = Replica::new(World::default(), ChainHead::GENESIS, None);
        let log = MemoryLog::new();
        let config = EngineConfig::for_site("test");
        let engine = Engine::start(config, Arc::new(log.clone()), replica.clone(), Arc::new(SystemClock));
        let (driver, reports_away) = (Arc::default(), Arc::default());
        let site =
            Self { replica, driver, beat: NEVER, probes: Probes::default(), log, engine, reports_away, pool: None };
        for command in world::what_a_vm_needs() {
            site.has(command).await;
        }
        site.has(world::imported(&site.world())).await;
        site
    }

    /// The same, with the pool at work.
    pub async fn with_pool(beat: Duration) -> Self {
        let mut site = Self::new().await;
        site.beat = beat;
        site.start_pool();
        site
    }

    pub fn start_pool(&mut self) {
        let port = Port { engine: self.engine.clone(), is_away: self.reports_away.clone() };
        let pool = GatewayPool::start(GatewayPoolParts {
            replica: self.replica.clone(),
            reporter: Reporter::new(Arc::new(port), "gateway", "n1"),
            driver: self.driver.clone(),
            clock: Arc::new(SystemClock),
            beat: self.beat,
            probes: self.probes.clone(),
        });
        self.pool = Some(tokio::spawn(pool.until_dropped()));
    }

    /// Ends the pool wherever it is.
    pub async fn stop_pool(&mut self) {
        let pool = self.pool.take().unwrap();
        pool.abort();
        let _ = pool.await;
    }

    /// Whether reports can't be taken.
    pub fn reports_are_away(&self, away: bool) {
        self.reports_away.store(away, Ordering::SeqCst);
    }

    /// Submits what must not be refused.
    pub async fn has(&self, command: impl Into<Command>) {
        let command = command.into();
        let actor = Actor { name: "admin".to_owned(), credential: "token:0".to_owned(), from: "test".to_owned() };
        let origin = Origin { reason: Some("a test".to_owned()), ..Origin::of(actor, Uuid::now_v7(), None) };
        let submitted = self.engine.submit(Submission { command: command.clone(), origin }).await;
        submitted.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    }

    pub async fn has_network(&self, name: &str, cidr: &str) {
        self.has(world::create(world::a_network(name, cidr))).await;
    }

    pub async fn has_vm(&self, name: &str, networks: &[&str]) {
        let nics: Vec<_> = networks.iter().map(|network| world::a_nic(network)).collect();
        self.has(create_vm(name, &nics)).await;
    }

    pub fn world(&self) -> World {
        self.replica.snapshot().0
    }

    /// The state of a network, `gone` without one.
    pub fn state(&self, network: &str) -> &'static str {
        let world = self.replica.world();
        world.network(&network.into()).map_or("gone", |network| network.realization.state.as_str())
    }

    pub async fn await_state(&self, network: &str, state: &str) {
        eventually(&format!("{network} is {state}"), || self.state(network) == state).await;
    }

    pub async fn await_ready(&self, vm: &str) {
        eventually(&format!("the NICs of {vm} are ready"), || self.is_ready(vm)).await;
    }

    pub fn is_ready(&self, vm: &str) -> bool {
        self.replica.world().vm(&vm.into()).unwrap().nics.iter().all(|nic| nic.ready)
    }

    /// Everything that was asked for is there, and told.
    pub async fn settles(&self) {
        eventually("all is settled", || {
            let world = self.replica.world();
            let is_active = |realization: &Realization| realization.state == RealizationState::Active;
            world.networks.values().all(|network| is_active(&network.realization))
                && world.security_groups.values().all(|group| is_active(&group.realization))
                && world.security_group_rules.values().all(|rule| is_active(&rule.realization))
                && world.vms.values().all(|vm| vm.nics.iter().all(|nic| nic.ready))
        })
        .await;
        assert_eq!(self.plan().await, Plan::default());
    }

    /// What would be written now.
    pub async fn plan(&self) -> Plan {
        plan(&desired(&self.world()), &self.driver.sim.rows().await.unwrap())
    }

    /// Waits until the pool has begun and ended these many looks from now on.
    pub async fn looks(&self, more: usize) {
        let looks = || self.driver.looks.load(Ordering::SeqCst);
        // The one that begins after them tells that they ended.
        let enough = looks() + more + 1;
        eventually("it looked again", || looks() >= enough).await;
    }

    /// What happened to networks and NICs so far, but for their making: `blue NetworkBecameReady`.
    pub async fn story(&self) -> Vec<String> {
        let told = self.events().await.into_iter().filter_map(|(name, fact)| {
            let of_networks =
                matches!(fact, Fact::Network(ref event) if !matches!(event, NetworkEvent::NetworkCreated { .. }));
            let of_nics = matches!(fact, Fact::Vm(VmEvent::VmNicBecameReady { .. } | VmEvent::VmNicDrifted { .. }));
            (of_networks || of_nics).then(|| format!("{name} {}", fact.event_type()))
        });
        told.collect()
    }

    /// Waits until this and no more has happened since so many events of the story.
    pub async fn await_story(&self, since: usize, expect: &[&str]) {
        let begun = Instant::now();
        loop {
            let story = self.story().await.split_off(since);
            if story == expect {
                return;
            }
            let may_come = story.len() < expect.len() && begun.elapsed() < DEADLINE;
            assert!(may_come, "{story:?} instead of {expect:?}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    pub async fn events(&self) -> Vec<(String, Fact)> {
        let stored = self.log.read(1, 100_000).await.unwrap();
        let commits = stored.iter().map(|stored| Commit::decode(&stored.payload).unwrap());
        commits.flat_map(|commit| commit.events).map(|event| (event.name.to_string(), event.fact)).collect()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(pool) = self.pool.take() {
            pool.abort();
        }
    }
}
