//! The EdgeStack daemon: wires log, engine, views, pools and API together, by roles.

mod accelerator;
mod api;
mod archiving;
mod certificate;
mod client_file;
mod cluster;
mod failure;
mod guest_access;
mod join;
mod log_store;
mod network_access;
mod networks;
mod options;
mod permit;
mod release;
mod restore;
mod signals;
mod signed_head;
mod silent_log;
mod site_metrics;
mod state_folder;
mod store_guard;
mod telemetry;
mod webhooks;
mod workers;

use std::{
    path::Path,
    process::ExitCode,
    sync::{Arc, OnceLock},
    time::Duration,
};

use clap::Parser as _;
use edgestack_backup::SigningKey;
use edgestack_engine::{
    Clock, CommandPort, Engine, EngineConfig, Heartbeats, Leases, SystemClock, catch_up_for_sure, error_chain,
    run_overseer, run_scheduler,
};
use edgestack_link::{
    RemotePort, SharedPort, hear_heartbeats, hear_others, heartbeat_sender, serve_commands, serve_engines,
};
use edgestack_log::{Log, jetstream::NatsServer};
use edgestack_model::realization::GATEWAY_LEASE;
use edgestack_pool::NodeLock;
use edgestack_qemu::Accelerator;
use edgestack_seal::SealingKey;
use edgestack_timeline::Timeline;
use edgestack_worker_webhook::ProgressFolder;
use futures::FutureExt as _;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    failure::Failure,
    log_store::LogStore,
    options::{Options, Role},
    release::Release,
    signals::Signals,
};

/// No bug that the simulation plants is ever in a daemon (ADR 0027).
const _: () = assert!(!edgestack_planted::COMPILED_IN, "build edgestackd without the feature edgestack-planted/bugs");

/// sled frees in its own threads what others allocated, which glibc's arenas serialize (ADR 0019).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// How long requests in flight, and then nats-server, may take when the daemon stops.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to give back the leases before that.
const GIVE_BACK_PATIENCE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let options = Options::parse();
    telemetry::start_logging(options.log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the operating system gives no threads");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            tracing::error!("{}", error_chain(&failure));
            ExitCode::FAILURE
        }
    }
}

/// Starts what the roles ask for, waits for the signal to stop, and ends it in order.
async fn run(mut options: Options) -> Result<(), Failure> {
    // First of all: a signal that comes while we start must end what was started by then.
    let mut signals = Signals::listen()?;
    signals::raise_descriptor_limit();
    let metrics = telemetry::start_metrics()
        .map_err(|error| Failure::System { what: "metrics", source: std::io::Error::other(error) })?;
    tokio::spawn(telemetry::keep_up(metrics.clone()));
    let folders =
        state_folder::prepare(&options.state_dir).map_err(|(path, source)| Failure::Folder { path, source })?;
    let root = folders.root().to_owned();
    if options.print_join {
        return join::print(&options, &root);
    }
    if let Some(file) = &options.join {
        join::join(&root, file)?;
    }
    let joined = join::site_of(&root)?;
    let members = cluster::members(&options, &root)?;
    let is_member = cluster::own(&members, options.node_name().as_ref()).is_some();
    join::settle_roles(&mut options, joined.is_some(), is_member)?;
    if let Some(mark) = &joined {
        options.site = mark.site.clone();
    }
    if options.end_networks {
        let node_name = options.node_name().ok_or(Failure::NoNodeName)?;
        return networks::end(&options, &root, &node_name).await;
    }
    let _roles = take_roles(&options, &root).await?;
    if let Some(file) = &options.restore {
        return restore::run(&root, file, options.restore_signed_by).await;
    }
    let node_name = options.node_name().ok_or(Failure::NoNodeName)?;
    let secrets = state_folder::secrets(&root);
    let seal = SealingKey::load_or_create(&secrets.join("sealing.key"))?;
    let signing = SigningKey::from_seed(&edgestack_seal::key_file(&secrets.join("signing.key"))?);
    let token = client_file::token(&secrets)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);

    let archived = joined.as_ref().map_or(0, |mark| mark.archived);
    let store = tokio::select! {
        store = log_store::open(&options, &root, &signing, &members, archived) => store?,
        // It may wait for other machines.
        () = signals.stop(), if is_member => return stop_waiting(&options, &root).await,
    };
    let heartbeats = Heartbeats::new();
    let process = clock.new_id();
    let port = command_port(&options, &store, &clock, process, &heartbeats);
    let leases = Leases {
        node: node_name.clone(),
        process,
        replica: store.replica.clone(),
        port: port.clone(),
        clock: clock.clone(),
        heartbeats: heartbeats.clone(),
        beat: Arc::new(heartbeat_sender(store.log.clone())),
        stopping: CancellationToken::new(),
    };
    let mut singletons = JoinSet::new();
    if options.has(Role::Engine) {
        hold_engine_work(&leases, &mut singletons);
        tokio::spawn(hear_others(store.log.clone(), store.replica.clone()));
    }
    tokio::spawn(hear_heartbeats(store.log.clone(), heartbeats.clone()));
    let accelerator: Arc<OnceLock<Accelerator>> = Arc::default();
    let network = networks::start(&options, &root, &node_name);
    let driver = workers::vm_driver(&options, &folders, &accelerator, network.node.clone());
    let webhook_driver = webhooks::driver(&options)?;
    let timeline = webhooks::timeline(&options, &store, &root)?;
    start_releasing(&options, &store, &root, joined.is_some(), &timeline, &signing);
    let shutdown = CancellationToken::new();
    let serving = match store.views.clone().filter(|_| options.has(Role::Api)) {
        Some(views) => {
            let parts = api::Parts {
                port: port.clone(),
                views,
                timeline: timeline.clone(),
                webhooks: Arc::new(webhooks::Access {
                    driver: webhook_driver.clone(),
                    progress: ProgressFolder::new(state_folder::webhooks(&root)),
                }),
                signing,
                seal: seal.clone(),
                token,
                driver: driver.clone(),
                network: Arc::new(network_access::Tests {
                    replica: store.replica.clone(),
                    clock: clock.clone(),
                    probes: network.probes.clone(),
                    node_name: node_name.clone(),
                    node: network.node.clone(),
                    southbound: networks::southbound(&options, &root),
                    tracer: networks::tracer(&options, &root),
                    turns: tokio::sync::Semaphore::new(network_access::TESTS_MAX),
                    driver: driver.clone(),
                }),
                node: node_name.clone(),
                workers_here: joined.is_none(),
            };
            Some(api::serve(&options, parts, &store, &folders, metrics, shutdown.clone()).await?)
        }
        None => None,
    };

    let parts = webhooks::Parts {
        port: port.clone(),
        seal: seal.clone(),
        clock: clock.clone(),
        driver: webhook_driver,
        timeline,
        node: node_name.clone(),
    };
    if options.has(Role::WorkerWebhook) {
        let work = webhooks::work(&options, parts, &store, &root);
        singletons.spawn(leases.clone().hold("webhook", work));
    }
    if options.has(Role::WorkerGateway) {
        let parts = networks::Parts {
            replica: store.replica.clone(),
            port: port.clone(),
            clock: clock.clone(),
            node: node_name.clone(),
        };
        if let Some(work) = networks::work(&options, &root, parts, &network) {
            singletons.spawn(leases.clone().hold(GATEWAY_LEASE, work));
        }
    }
    let working = async {
        // The probe runs a guest and may take seconds; nothing waits for it but the workers.
        let found = accelerator::find(&options, &root).await;
        let found = accelerator.get_or_init(|| found).clone();
        let beat: Box<dyn Fn() + Send + Sync> = if options.has(Role::Engine) {
            // The site's other engines hear it over NATS.
            let (name, tell) = (node_name.to_string(), leases.beat.clone());
            Box::new(move || {
                heartbeats.beat(&name);
                tell(&name);
            })
        } else {
            let (name, tell) = (node_name.to_string(), leases.beat.clone());
            Box::new(move || tell(&name))
        };
        // On a damaged log the world stands still in the past, and would be acted upon.
        catch_up_for_sure(&*store.whole, &store.replica).await;
        let node = workers::Node {
            name: node_name.clone(),
            folders: folders.clone(),
            replica: store.replica.clone(),
            log: store.whole.clone(),
            port,
            clock,
            seal,
            accelerator: found,
            network: network.node.clone(),
            beat,
        };
        workers::start(&options, node, &driver)
    };
    tokio::select! {
        () = signals.stop() => {}
        () = working => signals.stop().await,
    }
    tracing::info!("stopping; VMs go on without us");
    leases.stopping.cancel();
    let given_back = async { while singletons.join_next().await.is_some() {} };
    if tokio::time::timeout(GIVE_BACK_PATIENCE, given_back).await.is_err() {
        tracing::warn!("some leases were not given back; others wait for our silence");
    }
    shutdown.cancel();
    if let Some(serving) = serving
        && tokio::time::timeout(STOP_PATIENCE, serving).await.is_err()
    {
        tracing::warn!("some requests did not end in time");
    }
    stop(store).await;
    Ok(())
}

/// Each role is one process's on a node: the locks are held as long as it lives. They come first, so that whatever
/// else a process that was killed had open is free as well.
async fn take_roles(options: &Options, root: &Path) -> Result<Vec<NodeLock>, Failure> {
    let mut locks = Vec::new();
    for role in Role::ALL.into_iter().filter(|role| options.has(*role)) {
        locks.push(NodeLock::take(root, &role.to_string()).await?);
    }
    Ok(locks)
}

/// Where commands go: our own engine, or another process's.
fn command_port(
    options: &Options,
    store: &LogStore,
    clock: &Arc<dyn Clock>,
    process: Uuid,
    heartbeats: &Heartbeats,
) -> Arc<dyn CommandPort> {
    let (log, replica, clock) = (store.log.clone(), store.replica.clone(), clock.clone());
    if !options.has(Role::Engine) {
        return Arc::new(RemotePort::new(log, replica, clock));
    }
    let config = EngineConfig::for_site(options.site.to_string());
    let appended: Arc<dyn Log> = match &store.server {
        // In a cluster a silence is an election.
        Some(server) if server.credentials().members().is_empty() => {
            silent_log::watched(store.whole.clone(), server.state())
        }
        Some(_) | None => store.whole.clone(),
    };
    let engine = Engine::start(config, appended, replica.clone(), clock);
    tokio::spawn(serve_engines(log.clone(), Arc::new(engine.clone()), process));
    let port: Arc<dyn CommandPort> =
        Arc::new(SharedPort::new(engine, process, log.clone(), replica, heartbeats.clone()));
    tokio::spawn(serve_commands(log, port.clone()));
    port
}

/// What only one engine of a site does.
fn hold_engine_work(leases: &Leases, singletons: &mut JoinSet<()>) {
    let Leases { replica, port, clock, heartbeats, .. } = leases.clone();
    singletons.spawn(
        leases
            .clone()
            .hold("scheduler", move |duty| run_scheduler(replica.clone(), port.clone(), clock.clone(), duty).boxed()),
    );
    let Leases { replica, port, clock, .. } = leases.clone();
    singletons.spawn(leases.clone().hold("overseer", move |duty| {
        run_overseer(replica.clone(), port.clone(), clock.clone(), heartbeats.clone(), duty).boxed()
    }));
}

/// Lets older commits leave the live log when that is wished, where the nats-server and the archive are ours.
fn start_releasing(
    options: &Options,
    store: &LogStore,
    root: &Path,
    joined: bool,
    timeline: &Timeline,
    signing: &SigningKey,
) {
    let (Some(archive), Some(log)) = (&store.archive, &store.held) else { return };
    let Some(server) = store.server.as_ref().filter(|server| server.credentials().members().is_empty()) else {
        if !joined {
            tokio::spawn(release::nobody_can(store.replica.clone()));
        }
        return;
    };
    let release = Release {
        log: log.clone(),
        live: store.log.clone(),
        archive: archive.clone(),
        replica: store.replica.clone(),
        timeline: timeline.clone(),
        keeper: server.store_keeper(),
        program: options.nats_server(),
        nats: state_folder::nats(root),
        site: options.site.to_string(),
        signing: signing.clone(),
    };
    tokio::spawn(release.run());
}

/// The end of a start that waited for the other servers of the cluster: nothing but our own runs by then.
async fn stop_waiting(options: &Options, root: &Path) -> Result<(), Failure> {
    if options.has(Role::Nats) {
        NatsServer::end(&state_folder::nats(root)).await?;
    }
    Ok(())
}

async fn stop(store: LogStore) {
    if let Some(views) = &store.views
        && let Err(error) = views.flush()
    {
        tracing::warn!(error = error_chain(&error), "the views were not written; they are rebuilt at the next start");
    }
    if let Some(archive) = &store.archive
        && store.replica.failure().is_none()
    {
        // What was committed at the very end has its second copy, too, before the log's server goes.
        let archived = edgestack_archive::catch_up(archive, &*store.whole, &store.replica);
        match tokio::time::timeout(STOP_PATIENCE, archived).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = error_chain(&error), "the last commits are not archived yet"),
            Err(_) => tracing::warn!("the last commits are not archived yet"),
        }
    }
    if let Some(server) = store.server {
        server.stop(STOP_PATIENCE).await;
    }
}
