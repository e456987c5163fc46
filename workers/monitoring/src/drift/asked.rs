//! A person's wish that the node is looked at now (`edgectl reconcile node/…`).

use std::{sync::Arc, time::Duration};

use edgestack_engine::{Applied, Replica};
use edgestack_model::{Name, event::Fact, node::NodeEvent};
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// Waits for that wish.
pub(crate) struct Asked {
    feed: Receiver<Arc<Applied>>,
    node: Name,
}

impl Asked {
    pub(crate) fn new(replica: &Replica, node: &Name) -> Self {
        Self { feed: replica.subscribe(), node: node.clone() }
    }

    /// Until somebody asks.
    pub(crate) async fn for_a_look(&mut self) {
        loop {
            match self.feed.recv().await {
                Ok(applied) if applied.commit.events.iter().any(|event| self.is_meant(event)) => return,
                Ok(_) => {}
                // It may have been among what was missed; a look too many costs little.
                Err(RecvError::Lagged(_)) => return,
                // The process ends.
                Err(RecvError::Closed) => std::future::pending().await,
            }
        }
    }

    /// Until somebody asks, at most so long.
    pub(crate) async fn within(&mut self, pause: Duration) {
        // Out of time is the usual case.
        let _ = tokio::time::timeout(pause, self.for_a_look()).await;
    }

    fn is_meant(&self, event: &edgestack_model::Event) -> bool {
        matches!(event.fact, Fact::Node(NodeEvent::NodeReconcileRequested {})) && event.name == self.node
    }
}
