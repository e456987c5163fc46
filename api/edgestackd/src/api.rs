//! The API role: MM3 over HTTP on this process's views.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use edgestack_backup::SigningKey;
use edgestack_engine::CommandPort;
use edgestack_fork::SimulatedForks;
use edgestack_log::{
    Log as _,
    jetstream::{NatsServer, ServerState},
};
use edgestack_model::Name;
use edgestack_pool::NodeFolders;
use edgestack_seal::SealingKey;
use edgestack_server::{
    AppState, Listener, NetworkAccess, Readiness, Refusals, RunningUploads, SiteInfo, TlsFiles, Tokens, UploadSweep,
    WebhookAccess,
};
use edgestack_timeline::Timeline;
use edgestack_views::Views;
use edgestack_worker_vm::driver::VmDriver;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    certificate,
    client_file::{self, Reach},
    failure::Failure,
    guest_access::DriverGuests,
    log_store::LogStore,
    options::Options,
    site_metrics,
};

/// What the API is made of besides the log.
pub struct Parts {
    /// Where commands go.
    pub port: Arc<dyn CommandPort>,
    /// What reads are answered from.
    pub views: Views,
    /// What reads of the past are answered from.
    pub timeline: Timeline,
    /// Where webhooks may deliver to, and how they do.
    pub webhooks: Arc<dyn WebhookAccess>,
    /// Signs backups.
    pub signing: SigningKey,
    /// Seals user data.
    pub seal: SealingKey,
    /// The site's token.
    pub token: String,
    /// The way into guests.
    pub driver: Arc<dyn VmDriver>,
    /// How the virtual network is tested.
    pub network: Arc<dyn NetworkAccess>,
    /// The node whose upload folder it keeps.
    pub node: Name,
    /// Whether images and VMs are on it.
    pub workers_here: bool,
}

/// Listens, tells clients where (`client.json`), and serves until the token is cancelled.
///
/// # Errors
/// [`Failure::Api`] when the address is not to be had, [`Failure::Certificate`] when the TLS files are no such, [`Failure::Folder`] when `client.json` cannot be written.
pub async fn serve(
    options: &Options,
    parts: Parts,
    store: &LogStore,
    folders: &NodeFolders,
    metrics: PrometheusHandle,
    shutdown: CancellationToken,
) -> Result<JoinHandle<()>, Failure> {
    let Parts { port, views, timeline, webhooks, signing, seal, token, driver, network, node, workers_here } = parts;
    let tls = options.tls_cert.clone().zip(options.tls_key.clone());
    let tls = tls.map(|(certificates, key)| TlsFiles { certificates, key });
    let listener = Listener::bind(options.listen, tls.as_ref()).await?;
    let root = folders.root();
    let reach = reach(options, listener.address())?;
    client_file::write(root, &reach, &token, &store.credentials)
        .map_err(|source| Failure::Folder { path: root.join("client.json"), source })?;
    tokio::spawn(timeline.clone().keep(store.replica.clone()));
    let state = AppState {
        port,
        replica: store.replica.clone(),
        views: views.clone(),
        timeline,
        refusals: Refusals::keep_in(Arc::new(store.log.refused())),
        signing,
        seal,
        webhooks,
        tokens: Tokens::new([(token.as_str(), "admin")]),
        forks: Arc::new(SimulatedForks),
        guests: Arc::new(DriverGuests(driver)),
        network,
        uploads: folders.uploads(),
        running_uploads: RunningUploads::default(),
        workers_here,
        log_can_leave: store.credentials.members().is_empty(),
        upload_bytes_max: edgestack_server::UPLOAD_BYTES_MAX,
        readiness: readiness(store),
        metrics: {
            let replica = store.replica.clone();
            Arc::new(move || site_metrics::render(&metrics, &replica, &views))
        },
        site: SiteInfo {
            name: options.site.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            log_backend: store.log.backend().to_owned(),
            url: reach.url,
            nats_address: Some(store.credentials.address().to_string()),
        },
        shutdown: shutdown.clone(),
    };
    let mut sweep = UploadSweep::new(state.clone(), node);
    sweep.once().await;
    tokio::spawn(sweep.run(Duration::from_secs(options.beat_seconds)));
    tracing::info!(address = %listener.address(), "the API listens");
    Ok(tokio::spawn(listener.serve(edgestack_server::app(state), shutdown)))
}

/// How clients on this machine reach the API, and whom they must trust for it.
fn reach(options: &Options, address: SocketAddr) -> Result<Reach, Failure> {
    let address = client_file::reachable(address);
    let Some(certificates) = &options.tls_cert else {
        return Ok(Reach { url: format!("http://{address}"), ca_file: None });
    };
    let chain = certificate::read(certificates)?;
    let host = certificate::host(&chain, address);
    let url = format!("https://{host}:{}", address.port());
    let Some(ca_file) = &options.tls_ca else { return Ok(Reach { url, ca_file: None }) };
    let ca = certificate::read(ca_file)?;
    // No reason not to serve: others may trust more, and an old certificate is still better than a site without API.
    if let Err(why) = certificate::check(&chain, &ca, &host) {
        tracing::error!(%url, ca_file = %ca_file.display(), error = %why, "clients that trust --tls-ca will refuse the certificate in --tls-cert; get one that this CA has signed for this host");
    }
    let absolute = std::path::absolute(ca_file).map_err(|source| Failure::Folder { path: ca_file.clone(), source })?;
    Ok(Reach { url, ca_file: Some(absolute) })
}

/// Whether commands can be taken: the log must answer, and our own nats-server be up.
fn readiness(store: &LogStore) -> Readiness {
    let log = store.log.clone();
    let server = store.server.as_ref().map(NatsServer::state);
    Arc::new(move || {
        if let Some(server) = &server
            && let ServerState::Restarting { why, .. } = &*server.borrow()
        {
            return Err(format!("the site's nats-server is being restarted: {why}"));
        }
        if log.is_connected() { Ok(()) } else { Err("the log cannot be reached".to_owned()) }
    })
}
