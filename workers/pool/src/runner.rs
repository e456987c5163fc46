//! The queue of a pool: which resource is looked at when.
//!
//! A resource is woken by a commit that touched it, by its own timer, by its
//! driver, or by the beat that looks at everything (law 9). However often it is
//! woken, it is looked at by one task at a time, and once more afterwards if it
//! was woken meanwhile.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use edgestack_engine::{Change, Replica};
use edgestack_model::World;
use edgestack_planted::{self as planted, Bug};
use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    task::{JoinHandle, JoinSet},
    time::Instant,
};
use uuid::Uuid;

/// What a pool does with one resource.
#[async_trait]
pub trait Reconciler: Send + Sync + 'static {
    /// The pool's name: `vm`, `storage`.
    fn pool(&self) -> &'static str;

    /// Every resource that this pool cares for, in this world.
    fn all(&self, world: &World) -> Vec<Uuid>;

    /// The resources of this pool that a change concerns.
    fn woken_by(&self, change: &Change) -> Vec<Uuid>;

    /// Brings one resource nearer to where it should be. What it does follows from
    /// the folded state; it must be safe to end at any await and to be repeated.
    async fn reconcile(&self, id: Uuid) -> Next;
}

/// When a resource is to be looked at again, if nothing wakes it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// On the beat.
    Beat,
    /// After this time.
    After(Duration),
}

/// How a pool works.
#[derive(Clone, Copy, Debug)]
pub struct PoolConfig {
    /// Resources looked at at the same time.
    pub tasks_max: usize,
    /// How often everything is looked at.
    pub beat: Duration,
}

/// A running pool.
pub struct Pool {
    wake: mpsc::UnboundedSender<Uuid>,
    task: JoinHandle<()>,
}

/// Ends a pool when it is dropped.
struct Ends(JoinHandle<()>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Pool {
    /// Starts a pool on a replica. It runs as long as the runtime does.
    pub fn start(reconciler: Arc<dyn Reconciler>, replica: Arc<Replica>, config: PoolConfig) -> Self {
        let (wake, woken) = mpsc::unbounded_channel();
        let task = tokio::spawn(run(reconciler, replica, config, (wake.clone(), woken)));
        Self { wake, task }
    }

    /// The pool as work that ends, whatever it is doing, when this is dropped: for pools of which a site has one, under a
    /// lease.
    pub async fn until_dropped(self) {
        let mut pool = Ends(self.task);
        if let Err(error) = (&mut pool.0).await {
            tracing::error!(%error, "a pool ended");
        }
    }

    /// Something outside happened to a resource: look at it now.
    pub fn waker(&self) -> impl Fn(Uuid) + Send + Sync + 'static {
        let wake = self.wake.clone();
        move |id| {
            // A closed channel means that the runtime is ending.
            let _ = wake.send(id);
        }
    }
}

#[derive(Default)]
struct Queue {
    ready: VecDeque<Uuid>,
    queued: BTreeSet<Uuid>,
    running: BTreeSet<Uuid>,
    /// Woken while running: once more afterwards.
    again: BTreeSet<Uuid>,
    timers: BTreeMap<Uuid, Instant>,
}

impl Queue {
    fn wake(&mut self, id: Uuid) {
        self.timers.remove(&id);
        if self.running.contains(&id) && !planted::is(Bug::TwoTasksAtOnce) {
            self.again.insert(id);
        } else if self.queued.insert(id) {
            self.ready.push_back(id);
        }
    }

    fn take(&mut self) -> Option<Uuid> {
        let id = self.ready.pop_front()?;
        self.queued.remove(&id);
        self.running.insert(id);
        Some(id)
    }

    fn done(&mut self, id: Uuid, next: Next) {
        self.running.remove(&id);
        if self.again.remove(&id) {
            self.wake(id);
        } else if let Next::After(pause) = next {
            self.timers.insert(id, Instant::now() + pause);
        }
    }

    fn wake_due(&mut self, now: Instant) {
        let due: Vec<Uuid> = self.timers.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for id in due {
            self.wake(id);
        }
    }

    fn next_timer(&self) -> Option<Instant> {
        self.timers.values().min().copied()
    }
}

async fn run(
    reconciler: Arc<dyn Reconciler>,
    replica: Arc<Replica>,
    config: PoolConfig,
    // The sender is kept, so that the channel stays open when all wakers are gone.
    (_wake, mut woken): (mpsc::UnboundedSender<Uuid>, mpsc::UnboundedReceiver<Uuid>),
) {
    let pool = reconciler.pool();
    let mut feed = replica.subscribe();
    let mut queue = Queue::default();
    let mut tasks: JoinSet<(Uuid, Next)> = JoinSet::new();
    let mut task_of: BTreeMap<tokio::task::Id, Uuid> = BTreeMap::new();
    let mut next_beat = Instant::now();
    loop {
        let now = Instant::now();
        if now >= next_beat {
            for id in reconciler.all(&replica.world()) {
                queue.wake(id);
            }
            let never = planted::is(Bug::BeatOff);
            next_beat = now + if never { Duration::from_secs(86_400) } else { config.beat };
        }
        queue.wake_due(now);
        while tasks.len() < config.tasks_max {
            let Some(id) = queue.take() else { break };
            let reconciler = reconciler.clone();
            let handle = tasks.spawn(async move { (id, reconciler.reconcile(id).await) });
            task_of.insert(handle.id(), id);
            metrics::counter!("edgestack_pool_attempts_total", "pool" => pool).increment(1);
        }
        #[allow(clippy::cast_precision_loss)] // A gauge is a float; queues stay far below 2^52.
        metrics::gauge!("edgestack_pool_queue", "pool" => pool).set(queue.ready.len() as f64);
        let wait_until = queue.next_timer().map_or(next_beat, |at| at.min(next_beat));
        tokio::select! {
            // In this order, so that the same seed of the simulation leads to the same run. Nothing starves: what the
            // timer would wake is looked for above, at each turn.
            biased;
            Some(done) = tasks.join_next_with_id(), if !tasks.is_empty() => match done {
                Ok((task, (id, next))) => {
                    task_of.remove(&task);
                    queue.done(id, next);
                }
                Err(error) => {
                    // A panic in one resource must not stop the pool; it is looked at again like any failure.
                    tracing::error!(pool, error = %error, "a reconciliation panicked; it is repeated in a second");
                    if let Some(id) = task_of.remove(&error.id()) {
                        queue.done(id, Next::After(Duration::from_secs(1)));
                    }
                }
            },
            Some(id) = woken.recv() => queue.wake(id),
            applied = feed.recv() => match applied {
                Ok(applied) => {
                    for change in &applied.changes {
                        for id in reconciler.woken_by(change) {
                            queue.wake(id);
                        }
                    }
                }
                // Missed some: look at everything.
                Err(RecvError::Lagged(_)) => next_beat = Instant::now(),
                Err(RecvError::Closed) => return,
            },
            () = tokio::time::sleep_until(wait_until) => {}
        }
    }
}

#[cfg(test)]
mod tests;
