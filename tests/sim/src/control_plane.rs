//! One control plane, from its start to its end: everything that a site's processes hold.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use edgestack_archive::{Archive, LogStore, Options as ArchiveOptions, Repairer, Unfit};
use edgestack_engine::{
    Clock as _, CommandPort, Duty, Engine, EngineConfig, Heartbeats, Leases, Outcome, Replica, Submission, SubmitError,
    catch_up, catch_up_for_sure, follow, follow_behind, mend_when_repaired, run_overseer, run_scheduler,
    verify_on_a_timer,
};
use edgestack_log::{ChainHead, Log, LogError};
use edgestack_model::{World, realization::GATEWAY_LEASE};
use edgestack_pool::{PoolConfig, Reporter};
use edgestack_views::Views;
use edgestack_worker_gateway::{GatewayPool, GatewayPoolParts, probe::Probes};
use edgestack_worker_monitoring::{Drift, Heart, driver::SimDriver, run_drift, run_heart};
use edgestack_worker_storage::{StoragePool, StoragePoolParts};
use edgestack_worker_vm::{VmPool, VmPoolParts};

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;

use crate::{
    checkers::reports,
    fault::Fault,
    log::SimLog,
    northbound_driver::SlowNorthboundDriver,
    outside::{Node, Outside},
    storage_driver::SlowStorageDriver,
    vm_driver::SlowVmDriver,
};

/// How often a pool looks at everything.
const BEAT: Duration = Duration::from_secs(10);
/// Small, so that segments are closed in each run.
const SEGMENT_BYTES: u64 = 48 << 10;
/// As the daemon does.
const FOLLOW_BEHIND: Duration = Duration::from_millis(250);
const LOOK_FOR_REPAIR: Duration = Duration::from_secs(2);
const VERIFY_EVERY: Duration = Duration::from_secs(60);

/// The running parts that others talk to.
#[derive(Clone)]
pub struct ControlPlane {
    pub replica: Arc<Replica>,
    pub port: Arc<dyn CommandPort>,
    /// Those of the first process; the second has none.
    pub views: Option<Views>,
    /// Who is heard, by all processes alike.
    pub heartbeats: Heartbeats,
}

/// A second process with an engine on the same log, for clients and to stand by (law 2): it has no view, and no worker but
/// the gateway pool.
pub async fn start_second_engine(outside: &Arc<Outside>, heartbeats: &Heartbeats) -> ControlPlane {
    outside.faults.fired(Fault::SecondWriter);
    let log: Arc<dyn Log> = Arc::new(outside.log.clone());
    let replica = a_replica_of_another_process(outside, log.clone()).await;
    let config = EngineConfig::for_site("sim");
    let engine: Arc<dyn CommandPort> = Arc::new(Engine::start(config, log, replica.clone(), outside.clock.clone()));
    let leases = leases(outside, "second", &replica, &engine, heartbeats);
    hold_engine_work(&leases);
    hold_gateway(outside, leases);
    ControlPlane { replica, port: engine, views: None, heartbeats: heartbeats.clone() }
}

/// What a process needs to hold leases.
fn leases(
    outside: &Arc<Outside>,
    node: &str,
    replica: &Arc<Replica>,
    engine: &Arc<dyn CommandPort>,
    heartbeats: &Heartbeats,
) -> Leases {
    let (heard, silent) = (heartbeats.clone(), outside.holders_silent.clone());
    Leases {
        node: node.parse().unwrap(),
        process: outside.clock.new_id(),
        replica: replica.clone(),
        port: engine.clone(),
        clock: outside.clock.clone(),
        heartbeats: heartbeats.clone(),
        beat: Arc::new(move |name| {
            if !silent.load(Ordering::Relaxed) {
                heard.beat(name);
            }
        }),
        stopping: CancellationToken::new(),
    }
}

/// What only one engine does, as the daemon does it.
fn hold_engine_work(leases: &Leases) {
    let Leases { replica, port, clock, .. } = leases.clone();
    tokio::spawn(
        leases
            .clone()
            .hold("scheduler", move |duty| run_scheduler(replica.clone(), port.clone(), clock.clone(), duty).boxed()),
    );
    let Leases { replica, port, clock, heartbeats, .. } = leases.clone();
    tokio::spawn(leases.clone().hold("overseer", move |duty| {
        run_overseer(replica.clone(), port.clone(), clock.clone(), heartbeats.clone(), duty).boxed()
    }));
}

/// The gateway pool, of several processes with one the work of the holder, as the daemon does it.
fn hold_gateway(outside: &Arc<Outside>, leases: Leases) {
    outside.northbound.known_to(&leases.replica);
    let Leases { node, replica, port, clock, .. } = leases.clone();
    let port: Arc<dyn CommandPort> =
        Arc::new(WorkerPort { node: None, outside: outside.clone(), engine: port, replica: replica.clone() });
    let outside = outside.clone();
    let work = move |duty: Duty| {
        let epoch = duty.fence.as_ref().map_or(0, |fence| fence.epoch);
        let parts = GatewayPoolParts {
            replica: replica.clone(),
            reporter: Reporter::new(port.clone(), "gateway", node.as_str()).under(duty.fence),
            driver: Arc::new(SlowNorthboundDriver::new(outside.clone(), epoch)),
            clock: clock.clone(),
            beat: BEAT,
            probes: Probes::default(),
        };
        async move { GatewayPool::start(parts).until_dropped().await }.boxed()
    };
    tokio::spawn(leases.hold(GATEWAY_LEASE, work));
}

/// The world as a process without views and archive folds it.
async fn a_replica_of_another_process(outside: &Outside, log: Arc<dyn Log>) -> Arc<Replica> {
    let replica = Replica::new(World::default(), ChainHead::GENESIS, None);
    outside.standing.lock().unwrap().push(Arc::downgrade(&replica));
    tokio::spawn(mend_when_repaired(log.clone(), replica.clone(), LOOK_FOR_REPAIR));
    catch_up_for_sure(&*log, &replica).await;
    tokio::spawn(follow(log, replica.clone()));
    replica
}

/// Opens the archive and compares the log with it, as the daemon does before it folds anything.
async fn open_archive(outside: &Arc<Outside>) -> (Repairer, Option<edgestack_log::Damage>) {
    let folder = outside.folder.join("archive");
    let options = ArchiveOptions { segment_bytes: SEGMENT_BYTES, ..ArchiveOptions::default() };
    let archive = Arc::new(Archive::open(&folder, outside.segments.clone(), options).await.unwrap());
    *outside.archive.lock().unwrap() = Some(archive.clone());
    let log = Arc::new(outside.log.steady());
    let repairer = Repairer { archive, log: log.clone(), store: Some(log as Arc<dyn LogStore>) };
    loop {
        match repairer.check_at_start().await {
            Ok(unrepaired) => return (repairer, unrepaired),
            Err(Unfit::Incomparable(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error @ Unfit::ForeignLog { .. }) => {
                outside.violations.add(format!("the site does not start: {error}"));
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Starts all of it from what is on the disk and in the log, as the daemon does.
pub async fn start(outside: &Arc<Outside>) -> ControlPlane {
    outside.northbound.begin_life();
    let log: Arc<dyn Log> = Arc::new(outside.log.clone());
    let (repairer, unrepaired) = open_archive(outside).await;
    let opened = edgestack_views::open(&outside.folder.join("views")).unwrap();
    let (world, head) = match opened.restored {
        Some(restored) => (restored.world, restored.head),
        None => (World::default(), ChainHead::GENESIS),
    };
    let views = opened.views;
    let replica = Replica::new(world, head, Some(views.projection()));
    outside.standing.lock().unwrap().push(Arc::downgrade(&replica));
    loop {
        match catch_up(&*log, &replica).await {
            Ok(()) => break,
            Err(LogError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(_) => {
                repairer.try_to_mend(&replica).await;
                break;
            }
        }
    }
    if let Some(damage) = unrepaired {
        replica.fail(damage.into());
    }
    let clock: Arc<dyn edgestack_engine::Clock> = outside.clock.clone();
    let config = EngineConfig::for_site("sim");
    let engine: Arc<dyn CommandPort> = Arc::new(Engine::start(config, log.clone(), replica.clone(), clock.clone()));
    tokio::spawn(follow_behind(log.clone(), replica.clone(), FOLLOW_BEHIND));
    repairer.start(&replica);
    tokio::spawn(verify_on_a_timer(log.clone(), replica.clone(), VERIFY_EVERY));
    tokio::spawn(settle_on_a_beat(views.clone()));
    let heartbeats = Heartbeats::new();
    hold_engine_work(&leases(outside, "first", &replica, &engine, &heartbeats));
    let plane = ControlPlane { replica, port: engine, views: Some(views), heartbeats: heartbeats.clone() };
    catch_up_for_sure(&*log, &plane.replica).await;
    // In half of the lives the workers are a process of their own, which hears of commits later.
    let (workers, workers_log) = match outside.random.per_mille(500) {
        true => (plane.replica.clone(), outside.log.clone()),
        false => {
            let log = outside.log.of_another_process(&outside.workers_cut);
            (a_replica_of_another_process(outside, Arc::new(log.clone())).await, log)
        }
    };
    outside.northbound.known_to(&plane.replica);
    hold_gateway(outside, leases(outside, "first", &workers, &plane.port, &heartbeats));
    for node in outside.living() {
        start_workers(outside, &plane, &workers, &workers_log, node, &heartbeats);
    }
    plane
}

/// Views are written when they are read; this writes those that nobody reads, as the daemon does.
async fn settle_on_a_beat(views: Views) {
    let mut beat = tokio::time::interval(Duration::from_millis(200));
    loop {
        beat.tick().await;
        views.settle();
    }
}

fn start_workers(
    outside: &Arc<Outside>,
    plane: &ControlPlane,
    replica: &Arc<Replica>,
    log: &SimLog,
    node: &Node,
    heartbeats: &Heartbeats,
) {
    let port: Arc<dyn CommandPort> = Arc::new(WorkerPort {
        node: Some(node.clone()),
        outside: outside.clone(),
        engine: plane.port.clone(),
        replica: replica.clone(),
    });
    let reporter = |pool: &str| Reporter::new(port.clone(), pool, &node.name);
    let config = PoolConfig { tasks_max: 4, beat: BEAT };
    let disks = Arc::new(SlowStorageDriver { node: node.clone(), outside: outside.clone() });
    let machines = Arc::new(SlowVmDriver { node: node.clone(), outside: outside.clone() });
    tokio::spawn(run_drift(Drift {
        node: node.name.parse().unwrap(),
        replica: replica.clone(),
        log: Arc::new(log.clone()),
        reporter: reporter("monitoring"),
        finders: vec![machines.clone(), disks.clone()],
        clock: outside.clock.clone(),
        every: config.beat,
    }));
    StoragePool::start(StoragePoolParts {
        node: node.name.clone(),
        replica: replica.clone(),
        reporter: reporter("storage"),
        driver: disks,
        clock: outside.clock.clone(),
        config,
    });
    VmPool::start(VmPoolParts {
        node: node.name.clone(),
        replica: replica.clone(),
        reporter: reporter("vm"),
        driver: machines,
        seal: outside.seal.clone(),
        clock: outside.clock.clone(),
        config,
    });
    let (heard, cut_off, name) = (heartbeats.clone(), node.cut_off.clone(), node.name.clone());
    tokio::spawn(run_heart(Heart {
        node: node.name.parse().unwrap(),
        replica: replica.clone(),
        reporter: reporter("monitoring"),
        driver: Arc::new(SimDriver { allocatable: node.allocatable }),
        clock: outside.clock.clone(),
        beat: Box::new(move || {
            if !cut_off.load(Ordering::Relaxed) {
                heard.beat(&name);
            }
        }),
    }));
}

/// A worker's way to the engine; a node's is cut at times.
struct WorkerPort {
    node: Option<Node>,
    outside: Arc<Outside>,
    engine: Arc<dyn CommandPort>,
    replica: Arc<Replica>,
}

#[async_trait]
impl CommandPort for WorkerPort {
    async fn submit(&self, submission: Submission) -> Result<Outcome, SubmitError> {
        self.outside.crash.pass().await;
        if self.node.as_ref().is_some_and(|node| node.cut_off.load(Ordering::Relaxed)) {
            let why = "simulated: the node is cut off".to_owned();
            return Err(SubmitError::Unavailable { why, retry_after: Duration::from_secs(1) });
        }
        if let Some(node) = &self.node {
            reports::check_before(&self.outside, node, &self.replica.world(), &submission.command);
        }
        let untrue = reports::untrue(&self.outside, &self.replica.world(), &submission.command);
        let reported = submission.command.clone();
        let outcome = self.engine.submit(submission).await;
        self.outside.crash.pass().await;
        reports::check_after(&self.outside, &reported, untrue, &outcome);
        let told = match &outcome {
            Ok(Outcome::Committed { commit }) => commit.sequence,
            Ok(Outcome::Before { sequence, .. }) => *sequence,
            Ok(Outcome::Unchanged { .. } | Outcome::DryRun { .. }) | Err(_) => return outcome,
        };
        // As the port over NATS does: an `Ok` means that this process's replica shows it. Asked again and again, since
        // tokio's watch would wake its waiters in an order that no seed decides.
        let until = tokio::time::Instant::now() + Duration::from_secs(10);
        while self.replica.head().sequence < told.0 {
            if tokio::time::Instant::now() > until {
                return Err(SubmitError::OutcomeUnknown { retry_after: Duration::from_secs(1) });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        outcome
    }
}
