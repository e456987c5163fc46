//! The webhook worker: delivers events to addresses outside, at least once and in order for each object
//! ([ADR 0030](../../../ADR/0030-webhooks-keep-their-place-beside-the-log.md)).
//!
//! * [`deliveries`]: one task for each webhook, which reads the log at its own pace.
//! * [`queue`]: what goes next, pure.
//! * [`source`]: the events, from the live feed or the log.
//! * [`driver`]: resolve, check, connect, ask; or a simulated target.
//! * [`progress`]: what was delivered, kept beside the log.
//!
//! What it does follows from the folded state and its own file alone: starting, resuming after a change, and going on
//! after a crash are one path.

mod backoff;
mod deliveries;
pub mod driver;
pub mod progress;
mod queue;
mod signature;
mod source;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use edgestack_engine::{Clock, Replica};
use edgestack_log::Log;
use edgestack_model::{Id, Kind, webhook::Webhook};
use edgestack_pool::Reporter;
use edgestack_seal::SealingKey;
use edgestack_timeline::Timeline;
use tokio::{
    sync::{broadcast::error::RecvError, watch},
    task::JoinHandle,
};

pub use backoff::Patience;
pub use progress::{Progress, ProgressFolder};

use deliveries::Shared;
use driver::WebhookDriver;
use source::Past;

/// What the worker is made of.
pub struct WebhookPoolParts {
    /// The folded world.
    pub replica: Arc<Replica>,
    /// What is read while a webhook is behind.
    pub log: Arc<dyn Log>,
    /// What labels of the past are read from.
    pub timeline: Timeline,
    /// Where reports go.
    pub reporter: Reporter,
    /// Opens secrets.
    pub seal: SealingKey,
    /// What posts.
    pub driver: Arc<dyn WebhookDriver>,
    /// Where it is kept how far each webhook has come.
    pub progress: ProgressFolder,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// When is tried again.
    pub patience: Patience,
    /// How often it is looked whether each webhook has its task.
    pub beat: Duration,
}

/// The worker.
pub struct WebhookPool;

impl WebhookPool {
    /// Starts it. It runs as long as the runtime does, or until the handle is aborted.
    pub fn start(parts: WebhookPoolParts) -> JoinHandle<()> {
        let WebhookPoolParts { replica, log, timeline, reporter, seal, driver, progress, clock, patience, beat } =
            parts;
        let past = Past { replica, log, timeline };
        let shared = Arc::new(Shared { past, reporter, seal, driver, progress, clock, patience });
        tokio::spawn(supervise(shared, beat))
    }
}

/// A webhook's task, and how it is told that its webhook changed. The task ends with it.
struct Running {
    wishes: watch::Sender<()>,
    task: AbortOnDrop,
}

struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Sees that each webhook has its task.
async fn supervise(shared: Arc<Shared>, beat: Duration) {
    let mut feed = shared.past.replica.subscribe();
    let mut running: BTreeMap<Id<Webhook>, Running> = BTreeMap::new();
    sweep(&shared);
    loop {
        // One that ended did so because its webhook is gone, or it panicked.
        running.retain(|_, running| !running.task.0.is_finished());
        let webhooks: Vec<Id<Webhook>> = shared.past.replica.world().webhooks.keys().copied().collect();
        for id in webhooks {
            running.entry(id).or_insert_with(|| {
                let (wishes, changed) = watch::channel(());
                let task = tokio::spawn(deliveries::run(shared.clone(), id, changed));
                Running { wishes, task: AbortOnDrop(task) }
            });
        }
        let next_look = tokio::time::sleep(beat);
        tokio::pin!(next_look);
        loop {
            tokio::select! {
                applied = feed.recv() => match applied {
                    Ok(applied) => {
                        let changed: Vec<Id<Webhook>> = applied
                            .changes
                            .iter()
                            .filter(|change| change.kind == Kind::Webhook)
                            .map(|change| Id::new(change.id))
                            .collect();
                        for id in &changed {
                            if let Some(running) = running.get(id) {
                                running.wishes.send_replace(());
                            }
                        }
                        if !changed.is_empty() {
                            break;
                        }
                    }
                    Err(RecvError::Lagged(_)) => {
                        running.values().for_each(|running| running.wishes.send_replace(()));
                        break;
                    }
                    Err(RecvError::Closed) => return,
                },
                () = &mut next_look => break,
            }
        }
    }
}

/// Forgets webhooks that went while this process was away.
fn sweep(shared: &Shared) {
    if shared.past.replica.failure().is_some() {
        // What is folded is not all that there is.
        return;
    }
    let kept = match shared.progress.all() {
        Ok(kept) => kept,
        Err(error) => {
            tracing::warn!(%error, "the folder of webhooks cannot be read; what is left of removed ones stays there");
            return;
        }
    };
    for id in kept {
        if !shared.past.replica.world().webhooks.contains_key(&Id::new(id))
            && let Err(error) = shared.progress.remove(id)
        {
            tracing::warn!(%id, %error, "what is left of a removed webhook stays where it is");
        }
    }
}
