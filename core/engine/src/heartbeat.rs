//! Nodes are heard, or not. Heart-beats themselves are not commits (a site
//! would fill its log with them); that they stop and come back is.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use edgestack_model::{
    Command, Id,
    command::Reference,
    node::{Node, NodeCommand, NodeReport},
};

use edgestack_planted::{self as planted, Bug};
use tokio::time::Instant;

use crate::{Clock, CommandPort, Duty, Origin, Replica, Submission, error_chain};

/// How often a node's monitoring worker gives a sign of life.
pub const BEAT_EVERY: Duration = Duration::from_secs(2);
/// After this silence a node counts as lost.
pub const LOST_AFTER: Duration = Duration::from_secs(10);

/// When each node, and each process that holds a lease, was last heard by this process.
#[derive(Clone)]
pub struct Heartbeats {
    since: Instant,
    heard: Arc<Mutex<BTreeMap<String, Instant>>>,
}

impl Default for Heartbeats {
    fn default() -> Self {
        Self::new()
    }
}

impl Heartbeats {
    /// Nobody heard yet; silence counts from now.
    pub fn new() -> Self {
        Self { since: Instant::now(), heard: Arc::default() }
    }

    /// A node gave a sign of life.
    pub fn beat(&self, node: &str) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(node.to_owned(), Instant::now());
    }

    /// How long nothing was heard; at most since this process's start.
    pub(crate) fn silence(&self, node: &str) -> Duration {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(node).copied().unwrap_or(self.since).elapsed()
    }
}

/// Reports nodes that are not heard. Runs for ever; where the engine is, under a lease where there can be several. That a
/// node is back, its own inventory report says.
pub async fn run_overseer(
    replica: Arc<Replica>,
    port: Arc<dyn CommandPort>,
    clock: Arc<dyn Clock>,
    heartbeats: Heartbeats,
    duty: Duty,
) {
    let actor = duty.actor("overseer");
    let mut beat = tokio::time::interval(BEAT_EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        for (id, silence) in lost(&replica, &heartbeats) {
            let reason = format!("nothing was heard from its workers for {} s", silence.as_secs());
            let command = Command::Node(NodeCommand::Report(NodeReport::Lost { node: Reference::id(id), reason }));
            let origin = Origin::of(actor.clone(), clock.new_id(), None).under(duty.fence.clone());
            if let Err(error) = port.submit(Submission { command, origin }).await {
                tracing::warn!(%id, error = error_chain(&error), "a lost node could not be reported; it is repeated");
            }
        }
    }
}

fn lost(replica: &Replica, heartbeats: &Heartbeats) -> Vec<(Id<Node>, Duration)> {
    let world = replica.world();
    world
        .nodes
        .values()
        .filter(|node| node.readiness.ready)
        .map(|node| (node.id, heartbeats.silence(node.meta.name.as_str())))
        .filter(|(_, silence)| *silence >= LOST_AFTER && !planted::is(Bug::HeartbeatIgnored))
        .collect()
}
