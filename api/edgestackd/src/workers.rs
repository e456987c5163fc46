//! The worker pools of this node.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use edgestack_engine::{Clock, CommandPort, Replica, error_chain};
use edgestack_log::Log;
use edgestack_model::{
    Id, Kind, Name,
    node::{NetworkFacts, NodeFacts},
    orphan::{Artifact, ArtifactKind, Record},
};
use edgestack_ovn::chassis::Identity;
use edgestack_pool::{DriverError, NodeFolders, PoolConfig, Reporter};
use edgestack_qemu::Accelerator;
use edgestack_seal::SealingKey;
use edgestack_worker_monitoring::{Drift, Finder, Heart, driver as node_driver, run_drift, run_heart};
use edgestack_worker_storage::{StoragePool, StoragePoolParts, driver as storage_driver, driver::StorageDriver};
use edgestack_worker_vm::driver::VmDriver;
use edgestack_worker_vm::{VmPool, VmPoolParts, driver as vm_driver};

use crate::options::{DriverKind, Options, Role};

/// VMs worked on at once: each start forks a QEMU.
const VM_TASKS_MAX: usize = 8;
/// Images and disks worked on at once.
const STORAGE_TASKS_MAX: usize = 4;

/// How long a node's switch may take to tell as whom it is known.
const IDENTITY_PATIENCE: Duration = Duration::from_secs(2);

/// What the pools share.
pub struct Node {
    /// The node's name.
    pub name: Name,
    /// Its folders.
    pub folders: NodeFolders,
    /// The folded world.
    pub replica: Arc<Replica>,
    /// The log.
    pub log: Arc<dyn Log>,
    /// Where reports go.
    pub port: Arc<dyn CommandPort>,
    /// Time and ids.
    pub clock: Arc<dyn Clock>,
    /// Opens user data.
    pub seal: SealingKey,
    /// What runs guests' code.
    pub accelerator: Accelerator,
    /// Its way into the virtual network, once it is up; `None` where it has none.
    pub network: Option<vm_driver::NodeNetwork>,
    /// Where signs of life go.
    pub beat: Box<dyn Fn() + Send + Sync>,
}

/// The driver of VMs on this node; also the API's way into guests.
pub fn vm_driver(
    options: &Options,
    folders: &NodeFolders,
    accelerator: &Arc<OnceLock<Accelerator>>,
    network: Option<vm_driver::NodeNetwork>,
) -> Arc<dyn VmDriver> {
    match options.driver {
        DriverKind::Simulated => Arc::new(vm_driver::SimDriver::new()),
        DriverKind::Qemu => Arc::new(vm_driver::QemuDriver::new(vm_driver::QemuDriverConfig {
            folders: folders.clone(),
            qemu: options.qemu.clone(),
            accelerator: accelerator.clone(),
            run_as: rustix::process::geteuid().is_root().then(|| options.vm_user.clone()),
            network,
        })),
    }
}

/// Starts the pools that this process has a role for.
pub fn start(options: &Options, node: Node, driver: &Arc<dyn VmDriver>) {
    let beat = Duration::from_secs(options.beat_seconds);
    let name = node.name.to_string();
    let reporter = |pool: &str| Reporter::new(node.port.clone(), pool, &name);
    let storage: Arc<dyn StorageDriver> = match options.driver {
        DriverKind::Simulated => Arc::new(storage_driver::SimDriver::new()),
        DriverKind::Qemu => Arc::new(storage_driver::LocalDriver::new(node.folders.clone(), &options.qemu_img)),
    };
    if options.has(Role::WorkerStorage) {
        StoragePool::start(StoragePoolParts {
            node: name.clone(),
            replica: node.replica.clone(),
            reporter: reporter("storage"),
            driver: storage.clone(),
            clock: node.clock.clone(),
            config: PoolConfig { tasks_max: STORAGE_TASKS_MAX, beat },
        });
    }
    if options.has(Role::WorkerVm) {
        VmPool::start(VmPoolParts {
            node: name.clone(),
            replica: node.replica.clone(),
            reporter: reporter("vm"),
            driver: driver.clone(),
            seal: node.seal.clone(),
            clock: node.clock.clone(),
            config: PoolConfig { tasks_max: VM_TASKS_MAX, beat },
        });
    }
    if options.has(Role::WorkerMonitoring) {
        tokio::spawn(run_drift(Drift {
            node: node.name.clone(),
            replica: node.replica.clone(),
            log: node.log.clone(),
            reporter: reporter("monitoring"),
            finders: vec![Arc::new(OfVms(driver.clone())), Arc::new(OfStorage(storage))],
            clock: node.clock.clone(),
            every: beat,
        }));
        let driver = Arc::new(OnNetwork {
            driver: node_driver(options, &node),
            network: node.network.clone(),
            replica: node.replica.clone(),
            node: node.name.clone(),
            is_told: AtomicBool::new(false),
        });
        let reporter = reporter("monitoring");
        let Node { name, replica, clock, beat, .. } = node;
        tokio::spawn(run_heart(Heart { node: name, replica, reporter, driver, clock, beat }));
    }
}

fn node_driver(options: &Options, node: &Node) -> Arc<dyn node_driver::NodeDriver> {
    if options.driver == DriverKind::Simulated {
        return Arc::new(node_driver::SimDriver::default());
    }
    Arc::new(node_driver::LinuxDriver::new(node_driver::LinuxDriverConfig {
        disks: node.folders.root().to_owned(),
        qemu: options.qemu.clone(),
        accelerator: node.accelerator.as_str().to_owned(),
        accelerator_reason: match &node.accelerator {
            Accelerator::Kvm => "a guest was run with it to see".to_owned(),
            Accelerator::Tcg { why } => why.clone(),
        },
        cpu_overcommit: options.cpu_overcommit,
        ssh_ports: edgestack_model::node::PortRange { first: options.ssh_ports.first, last: options.ssh_ports.last },
    }))
}

/// What a node is, its way into the virtual network included.
struct OnNetwork {
    driver: Arc<dyn node_driver::NodeDriver>,
    network: Option<vm_driver::NodeNetwork>,
    replica: Arc<Replica>,
    node: Name,
    /// Whether the last look told it.
    is_told: AtomicBool,
}

#[async_trait::async_trait]
impl node_driver::NodeDriver for OnNetwork {
    async fn facts(&self) -> Result<NodeFacts, DriverError> {
        let mut facts = self.driver.facts().await?;
        let Some(network) = &self.network else { return Ok(facts) };
        let identity = match network.get() {
            // The node's beats wait for this.
            Some(chassis) => match tokio::time::timeout(IDENTITY_PATIENCE, chassis.identity()).await {
                Ok(told) => told.map_err(|error| error_chain(&error)),
                Err(_) => Err(format!("the switch does not answer within {} s", IDENTITY_PATIENCE.as_secs())),
            },
            None => Err("it is not up yet".to_owned()),
        };
        self.is_told.store(identity.is_ok(), Ordering::Relaxed);
        facts.network = match identity {
            Ok(Identity { name, physical_networks }) => {
                Some(NetworkFacts { chassis: name, physical_networks: physical_networks.into_iter().collect() })
            }
            // What was told before holds: a switch that is not up yet, or not for a moment, is no news.
            Err(why) => {
                tracing::debug!(why, "what this node is in the virtual network cannot be told now");
                let world = self.replica.world();
                let id = world.id_of(Kind::Node, &self.node).map(Id::new);
                id.and_then(|id| world.nodes.get(&id)).and_then(|node| node.facts.network.clone())
            }
        };
        Ok(facts)
    }

    fn are_to_come(&self) -> bool {
        self.network.is_some() && !self.is_told.load(Ordering::Relaxed)
    }
}

/// What on this node is of VMs.
struct OfVms(Arc<dyn VmDriver>);

#[async_trait::async_trait]
impl Finder for OfVms {
    fn looks_for(&self) -> &'static [ArtifactKind] {
        &[ArtifactKind::VmFolder, ArtifactKind::VmProcess]
    }

    async fn found(&self) -> Result<Vec<Artifact>, DriverError> {
        self.0.artifacts().await
    }

    async fn record(&self, artifact: &Artifact) -> Result<Option<Record>, DriverError> {
        match artifact.kind {
            ArtifactKind::VmFolder => Ok(self.0.record(Id::new(artifact.id)).await?.map(Box::new).map(Record::Vm)),
            _ => Ok(None),
        }
    }
}

/// What on this node is of images and volumes.
struct OfStorage(Arc<dyn StorageDriver>);

#[async_trait::async_trait]
impl Finder for OfStorage {
    fn looks_for(&self) -> &'static [ArtifactKind] {
        &[ArtifactKind::Volume, ArtifactKind::Image, ArtifactKind::Upload, ArtifactKind::UnfinishedUpload]
    }

    async fn found(&self) -> Result<Vec<Artifact>, DriverError> {
        self.0.artifacts().await
    }

    async fn record(&self, artifact: &Artifact) -> Result<Option<Record>, DriverError> {
        match artifact.kind {
            ArtifactKind::Image => Ok(self.0.record(Id::new(artifact.id)).await?.map(Box::new).map(Record::Image)),
            _ => Ok(None),
        }
    }
}
