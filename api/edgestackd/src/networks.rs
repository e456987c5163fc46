//! The site's virtual network: the OVN of our own on this node, or another one; and the gateway pool on it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
    time::Duration,
};

use edgestack_engine::{Clock, CommandPort, Duty, Replica, error_chain};
use edgestack_model::Name;
use edgestack_ovn::{
    bundled::{Bundled, BundledConfig, Datapath, Programs},
    chassis::Chassis,
    ovsdb::{Endpoints, Tls},
    trace::Tracer,
};
use edgestack_pool::Reporter;
use edgestack_worker_gateway::{
    GatewayPool, GatewayPoolParts,
    driver::{NorthboundDriver, OvnConfig, OvnDriver, SimDriver},
    probe::{self, Probes},
};
use edgestack_worker_vm::driver::NodeNetwork;
use futures::future::BoxFuture;
use tokio::sync::watch;

use crate::{
    failure::Failure,
    options::{DriverKind, NetworksKind, Options, Role},
};

/// The pause after the OVN of our own could not be started, at first and at most.
const START_AGAIN: Duration = Duration::from_secs(1);
const START_AGAIN_MAX: Duration = Duration::from_secs(60);

/// The folder of the OVN of our own.
fn folder(root: &Path) -> PathBuf {
    root.join("ovn")
}

/// The virtual network, as this process has it.
pub struct VirtualNetwork {
    /// This node's way into it, once it is up; `None` where it has none.
    pub node: Option<NodeNetwork>,
    /// Whether it is up, or could not be brought up at first: nobody looks at it before.
    tried: watch::Receiver<bool>,
    /// The hosts of our own in it, for tests.
    pub probes: Probes,
}

/// Brings up the virtual network, as far as it is this process's to do.
pub fn start(options: &Options, root: &Path, node: &Name) -> VirtualNetwork {
    let (network, probes) = (NodeNetwork::default(), Probes::default());
    let (tried, was_tried) = watch::channel(false);
    match options.networks {
        NetworksKind::Off => return VirtualNetwork { node: None, tried: watch::channel(true).1, probes },
        NetworksKind::Bundled if options.has(Role::Ovn) => {
            let (options, folder, node) = (options.clone(), folder(root), node.clone());
            tokio::spawn(keep_up(options, folder, node, network.clone(), tried));
            return VirtualNetwork { node: Some(network), tried: was_tried, probes };
        }
        // Another process of this node runs it.
        NetworksKind::Bundled => {
            let switch = format!("unix:{}", folder(root).join("switch.sock").display());
            tokio::spawn(find(options.clone(), switch, network.clone()));
        }
        NetworksKind::Existing => {
            tokio::spawn(find(options.clone(), options.ovs_database.clone(), network.clone()));
        }
    }
    VirtualNetwork { node: Some(network), tried: watch::channel(true).1, probes }
}

/// Keeps the OVN of our own running. It outlives this process, and is adopted by the next one.
async fn keep_up(
    options: Options,
    folder: PathBuf,
    node: Name,
    network: Arc<OnceLock<Chassis>>,
    tried: watch::Sender<bool>,
) {
    let mut pause = START_AGAIN;
    loop {
        let started = match config(&options, folder.clone(), &node).await {
            Ok(config) => Bundled::start(config).await,
            Err(error) => Err(error),
        };
        match started {
            Ok(bundled) => {
                tracing::info!(northbound = bundled.northbound(), "the virtual network is up");
                // Before there can be tests of this process.
                probe::run::sweep(&bundled.chassis()).await;
                // Nobody else sets it.
                let _ = network.set(bundled.chassis());
                tried.send_replace(true);
                // As long as this is held, what ends is started again.
                return std::future::pending().await;
            }
            Err(error) => {
                tried.send_replace(true);
                let again = pause.as_secs();
                tracing::error!(
                    error = error_chain(&error),
                    "the virtual network does not come up; again in {again} s"
                );
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(START_AGAIN_MAX);
            }
        }
    }
}

async fn config(
    options: &Options,
    folder: PathBuf,
    node: &Name,
) -> Result<BundledConfig, edgestack_ovn::bundled::BundledError> {
    let probed = Datapath::probe().await;
    tracing::info!(datapath = probed.datapath.type_name(), why = probed.why, "who moves packets was probed");
    let mut config = BundledConfig::new(folder, node.as_str(), probed.datapath, Programs::find()?);
    config.integration_bridge.clone_from(&options.integration_bridge);
    config.physical_networks = options
        .physical_network
        .iter()
        .map(|(name, bridge)| (name.to_string(), bridge.clone()))
        .collect::<BTreeMap<_, _>>();
    Ok(config)
}

/// The way into a virtual network that others run.
async fn find(options: Options, switch: String, network: Arc<OnceLock<Chassis>>) {
    let probed = Datapath::probe().await;
    match Programs::find() {
        Ok(programs) => {
            let chassis = Chassis {
                switch,
                bridge: options.integration_bridge.clone(),
                datapath: probed.datapath,
                netns: None,
                ovs_vsctl: programs.ovs_vsctl,
                ip: programs.ip,
            };
            probe::run::sweep(&chassis).await;
            // Nobody else sets it.
            let _ = network.set(chassis);
        }
        Err(error) => tracing::error!(error = error_chain(&error), "VMs cannot be put on networks on this node"),
    }
}

/// Ends the OVN of our own, for a site that is taken down.
///
/// # Errors
/// What stands in the way.
pub async fn end(options: &Options, root: &Path, node: &Name) -> Result<(), Failure> {
    let folder = folder(root);
    if !folder.exists() {
        return Ok(());
    }
    Bundled::end(config(options, folder, node).await?).await?;
    Ok(())
}

/// What the gateway pool is given besides the log.
#[derive(Clone)]
pub struct Parts {
    /// The folded world.
    pub replica: Arc<Replica>,
    /// Where commands go.
    pub port: Arc<dyn CommandPort>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The node's name.
    pub node: Name,
}

/// The pool, as the work of a lease: of several processes with its role one writes. `None`: there is nothing to write to.
pub fn work(
    options: &Options,
    root: &Path,
    parts: Parts,
    network: &VirtualNetwork,
) -> Option<impl Fn(Duty) -> BoxFuture<'static, ()> + use<>> {
    let simulated = options.networks == NetworksKind::Off;
    if simulated && options.driver != DriverKind::Simulated {
        return None;
    }
    let (tried, probes) = (network.tried.clone(), network.probes.clone());
    let (northbound, southbound) = (northbound(options, root), southbound(options, root));
    let (site, beat) = (options.site.to_string(), Duration::from_secs(options.beat_seconds));
    // A simulated network is this process's memory, as all that is simulated.
    let sim = SimDriver::new();
    Some(move |duty: Duty| -> BoxFuture<'static, ()> {
        let Parts { replica, port, clock, node } = parts.clone();
        let epoch = duty.fence.as_ref().map(|fence| fence.epoch);
        let driver: Arc<dyn NorthboundDriver> = if simulated {
            Arc::new(sim.clone())
        } else {
            let (northbound, southbound) = (northbound.clone(), southbound.clone());
            Arc::new(OvnDriver::new(OvnConfig { northbound, southbound, site: site.clone(), epoch }))
        };
        let reporter = Reporter::new(port, "gateway", node.as_str()).under(duty.fence);
        let parts = GatewayPoolParts { replica, reporter, driver, clock, beat, probes: probes.clone() };
        let mut tried = tried.clone();
        Box::pin(async move {
            // Without a node, OVN takes everything for confirmed by all nodes. Its sender has an end only with us.
            let _ = tried.wait_for(|tried| *tried).await;
            GatewayPool::start(parts).until_dropped().await;
        })
    })
}

fn northbound(options: &Options, root: &Path) -> Endpoints {
    let own = || edgestack_ovn::ovsdb::Endpoint::Unix(folder(root).join("nb.sock")).into();
    let endpoints = match options.networks {
        NetworksKind::Existing => options.ovn_northbound.clone().unwrap_or_else(own),
        NetworksKind::Bundled | NetworksKind::Off => own(),
    };
    with_tls(options, endpoints)
}

/// What is said where OVN's southbound database is needed and not known.
pub const UNSAID: &str = "where OVN's southbound database is was not said; start edgestackd with --networks bundled, or with --ovn-southbound";

/// OVN's trace of packets, or why there is none.
///
/// # Errors
/// A sentence.
pub fn tracer(options: &Options, root: &Path) -> Result<Tracer, String> {
    let southbound = southbound(options, root).ok_or_else(|| UNSAID.to_owned())?;
    Tracer::find(southbound).map_err(|error| error_chain(&error))
}

/// The southbound database; `None` where nobody said.
pub fn southbound(options: &Options, root: &Path) -> Option<Endpoints> {
    let endpoints = match options.networks {
        NetworksKind::Existing => options.ovn_southbound.clone()?,
        NetworksKind::Bundled => edgestack_ovn::ovsdb::Endpoint::Unix(folder(root).join("sb.sock")).into(),
        NetworksKind::Off => return None,
    };
    Some(with_tls(options, endpoints))
}

fn with_tls(options: &Options, endpoints: Endpoints) -> Endpoints {
    match (&options.ovn_tls_ca, &options.ovn_tls_cert, &options.ovn_tls_key) {
        (Some(ca), Some(certificate), Some(private_key)) => endpoints.with_tls(Tls {
            ca: ca.clone(),
            certificate: certificate.clone(),
            private_key: private_key.clone(),
        }),
        _ => endpoints,
    }
}
