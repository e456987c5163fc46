//! One control plane, from its start to its end: everything that a site's processes hold.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use edgestack_engine::{
    CommandPort, Engine, EngineConfig, Heartbeats, Outcome, Replica, Submission, SubmitError, catch_up, follow,
    run_overseer, run_scheduler, verify_on_a_timer,
};
use edgestack_log::{ChainHead, Log, LogError};
use edgestack_model::World;
use edgestack_pool::{PoolConfig, Reporter};
use edgestack_views::Views;
use edgestack_worker_monitoring::{Drift, Heart, driver::SimDriver, run_drift, run_heart};
use edgestack_worker_storage::{StoragePool, StoragePoolParts};
use edgestack_worker_vm::{VmPool, VmPoolParts};

use crate::{
    outside::{Node, Outside},
    storage_driver::SlowStorageDriver,
    vm_driver::SlowVmDriver,
};

/// The running parts that others talk to.
#[derive(Clone)]
pub struct ControlPlane {
    pub replica: Arc<Replica>,
    pub port: Arc<dyn CommandPort>,
    /// Those of the first process; the second has none.
    pub views: Option<Views>,
}

/// A second process with an engine on the same log, for clients alone (law 2): it has no view and no worker.
pub async fn start_second_engine(outside: &Arc<Outside>) -> ControlPlane {
    let log: Arc<dyn Log> = Arc::new(outside.log.clone());
    let replica = Replica::new(World::default(), ChainHead::GENESIS, None);
    catch_up_for_sure(outside, &*log, &replica).await;
    let config = EngineConfig::for_site("sim");
    let engine = Engine::start(config, log.clone(), replica.clone(), outside.clock.clone());
    tokio::spawn(follow(log, replica.clone()));
    ControlPlane { replica, port: Arc::new(engine), views: None }
}

async fn catch_up_for_sure(outside: &Outside, log: &dyn Log, replica: &Replica) {
    loop {
        match catch_up(log, replica).await {
            Ok(()) => return,
            Err(LogError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => {
                outside.violations.add(format!("the log is not whole at start: {error:?}"));
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Starts all of it from what is on the disk and in the log, as the daemon does.
pub async fn start(outside: &Arc<Outside>) -> ControlPlane {
    let opened = edgestack_views::open(&outside.folder.join("views")).unwrap();
    let (world, head) = match opened.restored {
        Some(restored) => (restored.world, restored.head),
        None => (World::default(), ChainHead::GENESIS),
    };
    let views = opened.views;
    let replica = Replica::new(world, head, Some(views.projection()));
    let log: Arc<dyn Log> = Arc::new(outside.log.clone());
    catch_up_for_sure(outside, &*log, &replica).await;
    let clock: Arc<dyn edgestack_engine::Clock> = outside.clock.clone();
    let config = EngineConfig::for_site("sim");
    let engine: Arc<dyn CommandPort> = Arc::new(Engine::start(config, log.clone(), replica.clone(), clock.clone()));
    tokio::spawn(follow(log.clone(), replica.clone()));
    tokio::spawn(verify_on_a_timer(log, replica.clone(), Duration::from_secs(120)));
    tokio::spawn(settle_on_a_beat(views.clone()));
    tokio::spawn(run_scheduler(replica.clone(), engine.clone(), clock.clone()));
    let heartbeats = Heartbeats::new();
    tokio::spawn(run_overseer(replica.clone(), engine.clone(), clock, heartbeats.clone()));
    let plane = ControlPlane { replica, port: engine, views: Some(views) };
    // In half of the lives the workers are a process of their own, which hears of commits later.
    let workers = match outside.random.per_mille(500) {
        true => plane.replica.clone(),
        false => {
            let replica = Replica::new(World::default(), ChainHead::GENESIS, None);
            let log: Arc<dyn Log> = Arc::new(outside.log.clone());
            catch_up_for_sure(outside, &*log, &replica).await;
            tokio::spawn(follow(log, replica.clone()));
            replica
        }
    };
    for node in &outside.nodes {
        start_workers(outside, &plane, &workers, node, &heartbeats);
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
    node: &Node,
    heartbeats: &Heartbeats,
) {
    let port: Arc<dyn CommandPort> = Arc::new(NodePort {
        node: node.clone(),
        outside: outside.clone(),
        engine: plane.port.clone(),
        replica: replica.clone(),
    });
    let reporter = |pool: &str| Reporter::new(port.clone(), pool, &node.name);
    let config = PoolConfig { tasks_max: 4, beat: Duration::from_secs(10) };
    let disks = Arc::new(SlowStorageDriver { node: node.clone(), outside: outside.clone() });
    let machines = Arc::new(SlowVmDriver { node: node.clone(), outside: outside.clone() });
    tokio::spawn(run_drift(Drift {
        node: node.name.parse().unwrap(),
        replica: replica.clone(),
        log: Arc::new(outside.log.clone()),
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

/// A node's way to the engine, which is cut at times.
struct NodePort {
    node: Node,
    outside: Arc<Outside>,
    engine: Arc<dyn CommandPort>,
    replica: Arc<Replica>,
}

#[async_trait]
impl CommandPort for NodePort {
    async fn submit(&self, submission: Submission) -> Result<Outcome, SubmitError> {
        self.outside.crash.pass().await;
        if self.node.cut_off.load(Ordering::Relaxed) {
            let why = "simulated: the node is cut off".to_owned();
            return Err(SubmitError::Unavailable { why, retry_after: Duration::from_secs(1) });
        }
        let outcome = self.engine.submit(submission).await;
        self.outside.crash.pass().await;
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
