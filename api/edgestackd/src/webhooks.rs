//! The webhook role, and what the API asks of it.

use std::{path::Path, sync::Arc, time::Duration};

use edgestack_engine::{Clock, CommandPort, Duty};
use edgestack_model::{
    Id, Name,
    webhook::{AllowList, NotAllowed, TargetUrl, Webhook},
};
use edgestack_pool::Reporter;
use edgestack_seal::SealingKey;
use edgestack_server::WebhookAccess;
use edgestack_timeline::Timeline;
use edgestack_wire::webhook::{Delivery, LastAttempt};
use edgestack_worker_webhook::{
    Patience, Progress, ProgressFolder, WebhookPool, WebhookPoolParts,
    driver::{HttpDriver, SystemResolver},
};

use futures::future::BoxFuture;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    certificate,
    failure::Failure,
    log_store::LogStore,
    options::{Options, Role},
    state_folder,
};

/// The driver, which delivers where the command line allows it.
///
/// # Errors
/// [`Failure::Certificate`] when `--webhook-ca` is no certificate, [`Failure::System`] when TLS can't be set up.
pub fn driver(options: &Options) -> Result<Arc<HttpDriver>, Failure> {
    let roots = match &options.webhook_ca {
        Some(file) => certificate::read(file)?,
        None => vec![],
    };
    let allowed = AllowList::new(options.webhook_allow.iter().cloned());
    HttpDriver::new(allowed, Arc::new(SystemResolver), roots)
        .map(Arc::new)
        .map_err(|error| Failure::System { what: "TLS for webhooks", source: std::io::Error::other(error) })
}

/// What the worker is given besides the log.
#[derive(Clone)]
pub struct Parts {
    /// Where commands go.
    pub port: Arc<dyn CommandPort>,
    /// Opens secrets.
    pub seal: SealingKey,
    /// Time and ids.
    pub clock: Arc<dyn Clock>,
    /// What posts, and knows where it may.
    pub driver: Arc<HttpDriver>,
    /// What labels of the past are read from.
    pub timeline: Timeline,
    /// The node's name.
    pub node: Name,
}

/// The worker, as the work of a lease: of several processes with its role one delivers.
pub fn work(
    options: &Options,
    parts: Parts,
    store: &LogStore,
    root: &Path,
) -> impl Fn(Duty) -> BoxFuture<'static, ()> + use<> {
    let (replica, log) = (store.replica.clone(), store.whole.clone());
    let (folder, beat) = (state_folder::webhooks(root), Duration::from_secs(options.beat_seconds));
    move |duty| {
        let Parts { port, seal, clock, driver, timeline, node } = parts.clone();
        let pool = WebhookPool::start(WebhookPoolParts {
            replica: replica.clone(),
            log: log.clone(),
            timeline,
            reporter: Reporter::new(port, "webhook", node.as_str()).under(duty.fence),
            seal,
            driver,
            progress: ProgressFolder::new(folder.clone()),
            clock,
            patience: Patience::default(),
            beat,
        });
        // Who loses the lease drops this, and that ends the deliveries.
        let pool = AbortOnDropHandle::new(pool);
        Box::pin(async move {
            if let Err(error) = pool.await {
                tracing::error!(%error, "the webhook worker ended");
            }
        })
    }
}

/// The past, for those of our roles that look into it. The folder of snapshots is the API's where this process has that
/// role: two must not write into one.
///
/// # Errors
/// [`Failure::Folder`].
pub fn timeline(options: &Options, store: &LogStore, root: &Path) -> Result<Timeline, Failure> {
    let folder = if options.has(Role::Api) {
        state_folder::snapshots(root)
    } else {
        state_folder::webhooks(root).join("snapshots")
    };
    Timeline::open(&folder, store.whole.clone(), store.archive.clone())
        .map_err(|source| Failure::Folder { path: folder, source })
}

/// What the API asks: the operator's list, and the worker's files, which are on this node whichever process writes them.
pub struct Access {
    /// What posts, and knows where it may.
    pub driver: Arc<HttpDriver>,
    /// How far each webhook has come.
    pub progress: ProgressFolder,
}

impl WebhookAccess for Access {
    fn check(&self, url: &TargetUrl) -> Result<(), NotAllowed> {
        self.driver.check(url)
    }

    fn delivery(&self, webhook: Id<Webhook>, head: u64) -> Option<Delivery> {
        // One that can't be read is the worker's to mend, and to tell.
        let progress = self.progress.read(webhook.uuid()).ok()??;
        Some(shown(&progress, head))
    }
}

fn shown(progress: &Progress, head: u64) -> Delivery {
    let attempts =
        progress.waiting.iter().filter_map(|waiting| waiting.failures.as_ref()).map(|failed| failed.attempts);
    let last = progress.last_attempt.as_ref();
    Delivery {
        delivered_through: progress.delivered_through(),
        behind_commits: head.saturating_sub(progress.cursor),
        waiting_events: progress.waiting.len() as u64,
        oldest_waiting: progress.waiting.first().map(|first| format!("{}.{}", first.sequence, first.index)),
        attempts: attempts.max().unwrap_or(0),
        next_attempt_at: progress.next_attempt_at,
        last_attempt: last.map(|last| LastAttempt {
            at: last.at,
            event: last.event.clone(),
            delivered: last.delivered,
            answer: last.answer.clone(),
        }),
        last_delivered_at: progress.last_delivered_at,
        delivered_events: progress.delivered,
    }
}
