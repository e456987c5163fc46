//! What the server is given, and what it holds besides.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use edgestack_backup::SigningKey;
use edgestack_engine::{CommandPort, Replica};
use edgestack_seal::SealingKey;
use edgestack_timeline::Timeline;
use edgestack_views::Views;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    GuestAccess, NetworkAccess, Refusals, RunningUploads, Tokens, WebhookAccess, codes, events::Hub, fork::Forks,
    problem::Failure, schemas::asyncapi,
};

/// The longest upload of an image unless set otherwise: 64 GiB.
pub const UPLOAD_BYTES_MAX: u64 = 64 << 30;

/// RSA keys that are generated at once; each takes a core for about a second.
const RSA_GENERATIONS_MAX: usize = 2;

/// Backups that are made at once.
const BACKUPS_MAX: usize = 2;

/// Forks of the site that run at once; each takes a thread.
const FORKS_MAX: usize = 2;

/// Asked by `/readyz`: `Err` says in a sentence why the site takes no commands now.
pub type Readiness = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the server is given.
#[derive(Clone)]
pub struct AppState {
    /// Where commands go.
    pub port: Arc<dyn CommandPort>,
    /// The folded world of this process: watches, and answers to changes.
    pub replica: Arc<Replica>,
    /// What reads are answered from.
    pub views: Views,
    /// What reads of the past are answered from.
    pub timeline: Timeline,
    /// The commands that were refused.
    pub refusals: Refusals,
    /// Signs backups and heads of the log.
    pub signing: SigningKey,
    /// Seals user data, and fingerprints requests.
    pub seal: SealingKey,
    /// Who may call.
    pub tokens: Tokens,
    /// Makes copies of the site to try things on.
    pub forks: Arc<dyn Forks>,
    /// Where webhooks may deliver to, and how they do.
    pub webhooks: Arc<dyn WebhookAccess>,
    /// How guests are reached.
    pub guests: Arc<dyn GuestAccess>,
    /// How the virtual network is tested.
    pub network: Arc<dyn NetworkAccess>,
    /// The folder in which `PUT images/{name}/file` leaves `<image id>`.
    pub uploads: PathBuf,
    /// The uploads that run in this process.
    pub running_uploads: RunningUploads,
    /// Whether images and VMs are on this process's node; a daemon that has joined a site has none.
    pub workers_here: bool,
    /// Whether older commits can leave the live log; not where it is on several servers.
    pub log_can_leave: bool,
    /// The longest upload, bytes; [`UPLOAD_BYTES_MAX`] is the usual bound.
    pub upload_bytes_max: u64,
    /// Whether commands are taken now, besides what the replica knows itself.
    pub readiness: Readiness,
    /// `/metrics`, in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Which site this is.
    pub site: SiteInfo,
    /// Cancelled when the process ends: streams end then, so that connections can.
    pub shutdown: CancellationToken,
}

impl AppState {
    /// Refuses what can only be done where images and VMs are.
    pub(crate) fn has_workers_here(&self) -> Result<(), Failure> {
        if self.workers_here {
            return Ok(());
        }
        let text = "this daemon has joined the site and has no images and VMs of its own; send this to the API of the daemon that has";
        Err(Failure::new(&codes::MISDIRECTED, text))
    }

    /// The way into guests, where there is one.
    pub(crate) fn guests(&self) -> Result<&dyn GuestAccess, Failure> {
        self.has_workers_here().map(|()| &*self.guests)
    }
}

/// Which site this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteInfo {
    /// Its name.
    pub name: String,
    /// EdgeStack's version.
    pub version: String,
    /// What keeps its log.
    pub log_backend: String,
    /// How clients reach the API: `http://127.0.0.1:9080`.
    pub url: String,
    /// Where its nats-server listens; `None` for a log that is not on NATS.
    pub nats_address: Option<String>,
}

/// The state of all handlers.
pub(crate) struct Site {
    pub app: AppState,
    /// `/openapi.json`, made once.
    pub openapi: String,
    asyncapi: OnceLock<String>,
    pub rsa_generations: Semaphore,
    /// What happens now, for all who follow.
    pub events: Hub,
    /// Few backups at a time.
    pub backups: Arc<Semaphore>,
    /// Few forks at a time.
    pub forks: Arc<Semaphore>,
    /// One replay at a time.
    pub replays: Arc<Semaphore>,
}

impl Site {
    pub fn new(app: AppState, openapi: String) -> Arc<Self> {
        Arc::new(Self {
            app,
            openapi,
            asyncapi: OnceLock::new(),
            rsa_generations: Semaphore::new(RSA_GENERATIONS_MAX),
            backups: Arc::new(Semaphore::new(BACKUPS_MAX)),
            forks: Arc::new(Semaphore::new(FORKS_MAX)),
            replays: Arc::new(Semaphore::new(1)),
            events: Hub::default(),
        })
    }

    /// `/asyncapi.json`, made when it is first asked for.
    pub fn asyncapi(&self) -> &str {
        self.asyncapi.get_or_init(|| asyncapi::document(&self.app.site).to_string())
    }
}
