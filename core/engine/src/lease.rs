//! Work that only one process of the site may do: it is done under a lease, and everywhere it could be done somebody
//! waits for the lease.
//!
//! Who has it stands in the log (`edgestack_model::lease`), so that the log's own fence decides between two that want it.
//! That its holder lives is told outside the log, as nodes do ([`Heartbeats`]); after [`LOST_AFTER`] of silence another
//! takes it. A holder that only seemed to be dead can't write any more: its commands name an epoch that is over.

use std::{sync::Arc, time::Duration};

use edgestack_model::{
    Actor, Command, Kind, Name, Refusal, World,
    lease::{Fence, Lease, LeaseCommand},
};
use futures::future::BoxFuture;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Applied, BEAT_EVERY, Clock, CommandPort, Heartbeats, LOST_AFTER, Origin, Outcome, Replica, Submission, SubmitError,
    error_chain,
};

/// The pause after a lease could not be asked for.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// In whose name singleton work is done.
#[derive(Clone, Debug)]
pub struct Duty {
    /// The node of the process.
    pub node: String,
    /// The lease that it is done under; `None` where there is one process only.
    pub fence: Option<Fence>,
}

impl Duty {
    /// Of the one process of a site.
    pub fn alone(node: &str) -> Self {
        Self { node: node.to_owned(), fence: None }
    }

    /// As whom it asks.
    pub(crate) fn actor(&self, name: &str) -> Actor {
        internal(name, &self.node)
    }
}

/// What one process needs to hold leases. Clones share it.
#[derive(Clone)]
pub struct Leases {
    /// The process's node.
    pub node: Name,
    /// The process, by an id made at its start.
    pub process: Uuid,
    /// Who has which lease.
    pub replica: Arc<Replica>,
    /// Where commands go.
    pub port: Arc<dyn CommandPort>,
    /// Time and ids.
    pub clock: Arc<dyn Clock>,
    /// Which holders are heard.
    pub heartbeats: Heartbeats,
    /// Tells the site's other processes that this one, by the name that it is given, lives.
    pub beat: Arc<dyn Fn(&str) + Send + Sync>,
    /// Cancelled once this process is stopping: leases are given back.
    pub stopping: CancellationToken,
}

impl Leases {
    /// Does some work whenever this process has the lease of that name, for as long as it has it: the work is dropped when
    /// the lease is lost, and begun anew, under another fence, when it is had again. Ends when the process stops, with the
    /// lease given back.
    pub async fn hold(self, lease: &'static str, work: impl Fn(Duty) -> BoxFuture<'static, ()>) {
        let lease = match lease.parse::<Name>() {
            Ok(lease) => lease,
            Err(error) => return tracing::error!(lease, %error, "no name of a lease"),
        };
        // What an earlier process of this node had when this one began: that one has ended.
        let mut inherited = self.epoch_of_own_node(&lease);
        loop {
            let fence = tokio::select! {
                biased;
                () = self.stopping.cancelled() => return,
                fence = self.take(&lease, inherited.take()) => fence,
            };
            tracing::info!(%lease, epoch = fence.epoch, "this process does the work of the lease");
            let lost = tokio::select! {
                biased;
                () = self.stopping.cancelled() => false,
                () = self.keep(&fence) => true,
                // Such work has no end of its own.
                () = work(Duty { node: self.node.to_string(), fence: Some(fence.clone()) }) => true,
            };
            if !lost {
                return self.give_back(fence).await;
            }
            tracing::warn!(%lease, epoch = fence.epoch, "another process does the work of the lease by now");
        }
    }

    /// The epoch under which a process of this node has the lease. A node has one process of a role (ADR 0009).
    fn epoch_of_own_node(&self, lease: &Name) -> Option<u64> {
        let world = self.replica.world();
        let lease = world.lease(lease)?;
        lease.holder.as_ref().filter(|holder| holder.node == self.node).map(|_| lease.epoch)
    }

    /// Waits until the lease is free, its holder silent, or its epoch the inherited one, and takes it.
    async fn take(&self, lease: &Name, inherited: Option<u64>) -> Fence {
        let mut feed = self.replica.subscribe();
        let mut known = None;
        loop {
            // On a damaged log nothing can be written, and who holds what may have changed since.
            self.replica.wait_until_whole().await;
            let seen = self.replica.world().lease(lease).cloned();
            let seen = seen.as_deref();
            if let Some(fence) = seen.and_then(|lease| self.ours(lease)) {
                return fence;
            }
            if let Some(holder) = seen.and_then(|lease| lease.holder.as_ref())
                && known.replace(holder.process) != Some(holder.process)
            {
                // That it has taken the lease is a sign of life, and may be seen before its first beat is heard.
                self.heartbeats.beat(&beat_of(lease, holder.process));
            }
            let wait = match self.silent_in(lease, seen, inherited) {
                None => {
                    self.ask_for(lease, seen).await;
                    ASK_AGAIN
                }
                Some(wait) => wait,
            };
            tokio::select! {
                biased;
                // Given back, or taken.
                () = changed(&mut feed) => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// How long until the lease can be asked for, as things are; `None`: now.
    fn silent_in(&self, name: &Name, seen: Option<&Lease>, inherited: Option<u64>) -> Option<Duration> {
        let lease = seen?;
        let holder = lease.holder.as_ref()?;
        if inherited == Some(lease.epoch) {
            return None;
        }
        let silence = self.heartbeats.silence(&beat_of(name, holder.process));
        LOST_AFTER.checked_sub(silence).filter(|wait| !wait.is_zero())
    }

    async fn ask_for(&self, lease: &Name, seen: Option<&Lease>) {
        let command = LeaseCommand::Take {
            lease: lease.clone(),
            node: self.node.clone(),
            process: self.process,
            replaces: seen.map_or(0, |lease| lease.epoch),
        };
        let holder = seen.and_then(|lease| lease.holder.as_ref());
        let reason = holder.map(|holder| match holder.node == self.node {
            true => "its process on this node has ended".to_owned(),
            false => {
                format!("nothing was heard from its process on node {} for {} s", holder.node, LOST_AFTER.as_secs())
            }
        });
        match self.submit(command, reason).await {
            Ok(_) | Err(SubmitError::Refused(Refusal::LeaseMoved { .. })) => {}
            Err(error) => tracing::warn!(%lease, error = error_chain(&error), "the lease could not be asked for"),
        }
    }

    /// Tells that its holder lives, until it is another's. Whose world stands still does not tell: it does no work, and one
    /// whose world is whole is to do it.
    async fn keep(&self, fence: &Fence) {
        let mut feed = self.replica.subscribe();
        let mut beat = tokio::time::interval(BEAT_EVERY);
        beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // First: on a busy site there is always another commit, and a holder that is busy is not dead.
                biased;
                _ = beat.tick() => {
                    if self.replica.failure().is_none() {
                        (self.beat)(&beat_of(&fence.lease, self.process));
                    }
                }
                () = changed(&mut feed) => {}
            }
            let still = self.replica.world().lease(&fence.lease).and_then(|lease| self.ours(lease));
            if still.as_ref() != Some(fence) {
                return;
            }
        }
    }

    async fn give_back(&self, fence: Fence) {
        let command = LeaseCommand::Release { lease: fence.lease.clone(), epoch: fence.epoch };
        match self.submit(command, Some("its process stops".to_owned())).await {
            Ok(_) | Err(SubmitError::Refused(Refusal::LeaseMoved { .. })) => {}
            // Others wait for its silence then.
            Err(error) => tracing::warn!(lease = %fence.lease, error = error_chain(&error), "not given back"),
        }
    }

    fn ours(&self, lease: &Lease) -> Option<Fence> {
        let holder = lease.holder.as_ref().filter(|holder| holder.process == self.process)?;
        debug_assert_eq!(holder.node, self.node);
        Some(Fence { lease: lease.meta.name.clone(), epoch: lease.epoch })
    }

    async fn submit(&self, command: LeaseCommand, reason: Option<String>) -> Result<Outcome, SubmitError> {
        let mut origin = Origin::of(internal("lease", self.node.as_str()), self.clock.new_id(), None);
        origin.reason = reason;
        self.port.submit(Submission { command: Command::Lease(command), origin }).await
    }
}

/// Waits until something happens to a lease. (A watch would wake those who wait in an order that no seed decides.)
async fn changed(feed: &mut broadcast::Receiver<Arc<Applied>>) {
    loop {
        match feed.recv().await {
            Ok(applied) if applied.changes.iter().any(|change| change.kind == Kind::Lease) => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            // The replica is going, and with it the process.
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// The process that has a lease, if it was heard within the time given.
pub fn holder_heard_within(world: &World, heartbeats: &Heartbeats, lease: &str, time: Duration) -> Option<Uuid> {
    let lease: Name = lease.parse().ok()?;
    let process = world.lease(&lease)?.holder.as_ref()?.process;
    (heartbeats.silence(&beat_of(&lease, process)) <= time).then_some(process)
}

/// The actor of a process's own work.
fn internal(name: &str, node: &str) -> Actor {
    Actor { name: name.to_owned(), credential: "internal".to_owned(), from: format!("edgestackd on {node}") }
}

/// As which a holder is heard.
fn beat_of(lease: &Name, process: Uuid) -> String {
    format!("lease/{lease}/{process}")
}
