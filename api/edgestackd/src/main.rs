//! The EdgeStack daemon: wires log, engine, views, pools and API together, by roles.

mod accelerator;
mod client_file;
mod failure;
mod guest_access;
mod log_store;
mod options;
mod site_metrics;
mod state_folder;
mod telemetry;
mod workers;

use std::{process::ExitCode, sync::Arc, time::Duration};

use clap::Parser as _;
use edgestack_engine::{
    Clock, CommandPort, Engine, EngineConfig, Heartbeats, SystemClock, error_chain, run_overseer, run_scheduler,
};
use edgestack_link::{RemotePort, hear_heartbeats, heartbeat_sender, serve_commands};
use edgestack_log::{Log, jetstream::ServerState};
use edgestack_qemu::Accelerator;
use edgestack_seal::SealingKey;
use edgestack_server::{AppState, Listener, SiteInfo, TlsFiles, Tokens};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::{
    failure::Failure,
    guest_access::DriverGuests,
    log_store::LogStore,
    options::{Options, Role},
};

/// How long requests in flight may take when the daemon stops.
const STOP_PATIENCE: Duration = Duration::from_secs(10);
/// File descriptors wanted: connections, and three for each watched VM.
const DESCRIPTORS: u64 = 65_536;

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

async fn run(options: Options) -> Result<(), Failure> {
    let begun = std::time::Instant::now();
    raise_descriptor_limit();
    let metrics = telemetry::start_metrics()
        .map_err(|error| Failure::System { what: "metrics", source: std::io::Error::other(error) })?;
    tokio::spawn(telemetry::keep_up(metrics.clone()));
    let folders =
        state_folder::prepare(&options.state_dir).map_err(|(path, source)| Failure::Folder { path, source })?;
    let root = folders.root().to_owned();
    let node_name = options.node_name().ok_or(Failure::NoNodeName)?;
    let seal = SealingKey::load_or_create(&state_folder::secrets(&root).join("sealing.key"))?;
    let token = client_file::token(&state_folder::secrets(&root))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    // The probe runs a guest; nothing waits for it but the workers.
    let accelerator = {
        let (options, root) = (options.clone(), root.clone());
        tokio::spawn(async move { accelerator::find(&options, &root).await })
    };

    let store = log_store::open(&options, &root).await?;
    let log: Arc<dyn Log> = store.log.clone();
    let client = store.log.client()?;
    let heartbeats = Heartbeats::new();
    let port: Arc<dyn CommandPort> = if options.has(Role::Engine) {
        let config = EngineConfig::for_site(options.site.to_string());
        let engine = Arc::new(Engine::start(config, log.clone(), store.replica.clone(), clock.clone()));
        tokio::spawn(run_scheduler(store.replica.clone(), engine.clone(), clock.clone()));
        tokio::spawn(run_overseer(store.replica.clone(), engine.clone(), clock.clone(), heartbeats.clone()));
        tokio::spawn(serve_link(client.clone(), engine.clone(), heartbeats.clone()));
        engine
    } else {
        Arc::new(RemotePort::new(client.clone(), log.clone(), store.replica.clone(), clock.clone()))
    };

    let shutdown = CancellationToken::new();
    let serving = if let (true, Some(views)) = (options.has(Role::Api), store.views.clone()) {
        let driver = workers::vm_driver(&options, &folders, &Accelerator::Tcg { why: String::new() });
        let state = AppState {
            port: port.clone(),
            replica: store.replica.clone(),
            views: views.clone(),
            seal: seal.clone(),
            tokens: Tokens::new([(token.as_str(), "admin")]),
            guests: Arc::new(DriverGuests(driver)),
            uploads: folders.uploads(),
            upload_bytes_max: edgestack_server::UPLOAD_BYTES_MAX,
            readiness: readiness(&store),
            metrics: {
                let (replica, views) = (store.replica.clone(), views.clone());
                Arc::new(move || site_metrics::render(&metrics, &replica, &views))
            },
            site: SiteInfo {
                name: options.site.to_string(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                log_backend: log.backend().to_owned(),
            },
            shutdown: shutdown.clone(),
        };
        let tls = options
            .tls_cert
            .clone()
            .zip(options.tls_key.clone())
            .map(|(certificates, key)| TlsFiles { certificates, key });
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listener = Listener::bind(options.listen, tls.as_ref()).await?;
        client_file::write(&root, scheme, listener.address(), &token, &store.credentials)
            .map_err(|source| Failure::Folder { path: root.join("client.json"), source })?;
        tracing::info!(
            address = %listener.address(),
            elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            "the API listens"
        );
        Some(tokio::spawn(listener.serve(edgestack_server::app(state), shutdown.clone())))
    } else {
        None
    };

    let accelerator =
        accelerator.await.unwrap_or_else(|error| Accelerator::Tcg { why: format!("the probe failed: {error}") });
    let driver = workers::vm_driver(&options, &folders, &accelerator);
    let beat: Box<dyn Fn() + Send + Sync> = if options.has(Role::Engine) {
        let name = node_name.to_string();
        Box::new(move || heartbeats.beat(&name))
    } else {
        Box::new(heartbeat_sender(client, node_name.as_str()))
    };
    let node = workers::Node {
        name: node_name,
        folders,
        replica: store.replica.clone(),
        port,
        clock,
        seal,
        accelerator,
        beat,
    };
    let _locks = workers::start(&options, node, &driver)?;

    wait_for_stop().await?;
    tracing::info!("stopping; VMs go on without us");
    shutdown.cancel();
    if let Some(serving) = serving
        && tokio::time::timeout(STOP_PATIENCE, serving).await.is_err()
    {
        tracing::warn!("some requests did not end in time");
    }
    stop(store).await;
    Ok(())
}

/// The engine's side of the link to other processes; it lasts as long as the connection.
async fn serve_link(client: edgestack_link::Client, port: Arc<dyn CommandPort>, heartbeats: Heartbeats) {
    let commands = serve_commands(client.clone(), port);
    let beats = hear_heartbeats(client, heartbeats);
    if let (Err(error), _) | (_, Err(error)) = tokio::join!(commands, beats) {
        tracing::error!(
            error = error_chain(&error),
            "processes of other roles cannot reach this engine; restart edgestackd"
        );
    }
}

/// Whether commands can be taken: the log must answer, and our own nats-server be up.
fn readiness(store: &LogStore) -> edgestack_server::Readiness {
    let log = store.log.clone();
    let server = store.server.as_ref().map(edgestack_log::jetstream::NatsServer::state);
    Arc::new(move || {
        if let Some(server) = &server
            && let ServerState::Restarting { why, .. } = &*server.borrow()
        {
            return Err(format!("the site's nats-server is being restarted: {why}"));
        }
        if log.is_connected() { Ok(()) } else { Err("the log cannot be reached".to_owned()) }
    })
}

async fn wait_for_stop() -> Result<(), Failure> {
    let listen = |kind| signal(kind).map_err(|source| Failure::System { what: "a signal handler", source });
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn stop(store: LogStore) {
    if let Some(views) = &store.views
        && let Err(error) = views.flush()
    {
        tracing::warn!(error = error_chain(&error), "the views were not written; they are rebuilt at the next start");
    }
    if let Some(server) = store.server {
        server.stop(STOP_PATIENCE).await;
    }
}

/// Takes as many file descriptors as the system lets us have, up to what a busy site needs.
fn raise_descriptor_limit() {
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let wanted = limit.maximum.map_or(DESCRIPTORS, |maximum| maximum.min(DESCRIPTORS));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit) {
            tracing::warn!(%error, "the limit of open files stays low; many connections at once will be refused");
        }
    }
}
