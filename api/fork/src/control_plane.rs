//! The control plane of a fork: what a site's processes hold, but for views and HTTP.

use std::{sync::Arc, time::Duration};

use edgestack_engine::{
    Clock, CommandPort, Duty, Engine, EngineConfig, Heartbeats, Replica, run_overseer, run_scheduler,
};
use edgestack_log::{Log, memory::MemoryLog};
use edgestack_model::World;
use edgestack_pool::{PoolConfig, Reporter};
use edgestack_server::fork::{Fork, ForkSeed};
use edgestack_worker_gateway::{GatewayPool, GatewayPoolParts, driver::SimDriver as SimNorthbound, probe::Probes};
use edgestack_worker_monitoring::{Heart, run_heart};
use edgestack_worker_storage::{StoragePool, StoragePoolParts, driver::SimDriver as SimStorage};
use edgestack_worker_vm::{VmPool, VmPoolParts};

use crate::{
    clock::ForkClock,
    nodes::{ForkNode, LoggedFacts, NodePort, Nodes},
};

/// The beat finds what no event told of; in a fork all is told, so it is rare, and hours of a large site are cheap.
const POOL: PoolConfig = PoolConfig { tasks_max: 8, beat: Duration::from_secs(300) };

/// Starts all of it on the current runtime; it ends with that.
pub fn start(seed: ForkSeed) -> Fork {
    let ForkSeed { world, head, now, site, seal } = seed;
    let nodes = Nodes::of(&world);
    let log: Arc<dyn Log> = Arc::new(MemoryLog::going_on_from(head));
    let replica = Replica::new(world, head, None);
    let clock: Arc<dyn Clock> = Arc::new(ForkClock::begin(now));
    // Only this engine writes to the log, and it tells the replica: nobody has to follow.
    let engine = Engine::start(EngineConfig::for_site(site), log.clone(), replica.clone(), clock.clone());
    let engine: Arc<dyn CommandPort> = Arc::new(engine);
    let duty = Duty::alone("a fork");
    tokio::spawn(run_scheduler(replica.clone(), engine.clone(), clock.clone(), duty.clone()));
    let heartbeats = Heartbeats::new();
    tokio::spawn(run_overseer(replica.clone(), engine.clone(), clock.clone(), heartbeats.clone(), duty));
    tokio::spawn(run_gateway(GatewayPoolParts {
        replica: replica.clone(),
        reporter: Reporter::new(engine.clone(), "gateway", "a fork"),
        driver: Arc::new(SimNorthbound::new()),
        clock: clock.clone(),
        beat: POOL.beat,
        probes: Probes::default(),
    }));
    for node in nodes.all() {
        let port: Arc<dyn CommandPort> = Arc::new(NodePort { power: node.power.subscribe(), engine: engine.clone() });
        let workers = Workers { node, port, replica: &replica, clock: &clock, heartbeats: &heartbeats };
        workers.start(&seal);
    }
    Fork { port: engine, replica: replica.clone(), log, outside: Box::new(nodes) }
}

/// The gateway pool, from the first object of the virtual network on: it makes the default group at once, and of a site that
/// has no virtual network that would be told as news.
async fn run_gateway(parts: GatewayPoolParts) {
    let has_none =
        |world: &World| world.networks.is_empty() && world.security_groups.is_empty() && world.routers.is_empty();
    let mut head = parts.replica.watch_head();
    while has_none(&parts.replica.world()) {
        if head.changed().await.is_err() {
            return;
        }
    }
    GatewayPool::start(parts);
}

/// The workers of one node.
struct Workers<'a> {
    node: &'a ForkNode,
    port: Arc<dyn CommandPort>,
    replica: &'a Arc<Replica>,
    clock: &'a Arc<dyn Clock>,
    heartbeats: &'a Heartbeats,
}

impl Workers<'_> {
    fn start(self, seal: &edgestack_seal::SealingKey) {
        let name = self.node.name.to_string();
        let reporter = |pool: &str| Reporter::new(self.port.clone(), pool, &name);
        StoragePool::start(StoragePoolParts {
            node: name.clone(),
            replica: self.replica.clone(),
            reporter: reporter("storage"),
            driver: Arc::new(SimStorage::new()),
            clock: self.clock.clone(),
            config: POOL,
        });
        VmPool::start(VmPoolParts {
            node: name.clone(),
            replica: self.replica.clone(),
            reporter: reporter("vm"),
            driver: Arc::new(self.node.machines.clone()),
            seal: seal.clone(),
            clock: self.clock.clone(),
            config: POOL,
        });
        let (heard, power, beating) = (self.heartbeats.clone(), self.node.power.subscribe(), name.clone());
        tokio::spawn(run_heart(Heart {
            node: self.node.name.clone(),
            replica: self.replica.clone(),
            reporter: reporter("monitoring"),
            driver: Arc::new(LoggedFacts(self.node.facts.clone())),
            clock: self.clock.clone(),
            beat: Box::new(move || {
                if *power.borrow() {
                    heard.beat(&beating);
                }
            }),
        }));
    }
}
