//! Signs of life of nodes whose workers run in other processes than the engine.

use std::sync::Arc;

use edgestack_engine::{Heartbeats, error_chain};
use edgestack_log::jetstream::{JetStreamLog, Role};
use futures::StreamExt as _;

use crate::{HEARD, HEARTBEAT, connection};

/// Hears all nodes of the site, and all who hold a lease, for ever, over whichever connection there is.
pub async fn hear_heartbeats(log: Arc<JetStreamLog>, heartbeats: Heartbeats) {
    loop {
        let client = connection::next(&log).await;
        let heartbeats_of_all = match log.role() {
            Role::Engine => format!("{HEARTBEAT}.>"),
            Role::Reader | Role::Auditor | Role::Monitor => format!("{HEARD}.{HEARTBEAT}.>"),
        };
        match client.subscribe(heartbeats_of_all).await {
            Ok(mut beats) => {
                while let Some(beat) = beats.next().await {
                    // The payload is the name: names may hold dots, which divide a subject.
                    if let Ok(node) = std::str::from_utf8(&beat.payload) {
                        heartbeats.beat(node);
                    }
                }
            }
            Err(error) => tracing::warn!(error = error_chain(&error), "nodes cannot be heard now"),
        }
    }
}

/// Gives a sign of life of a node, or of who holds a lease, each time it is called. A lost one is nothing: the next follows
/// in seconds.
pub fn heartbeat_sender(log: Arc<JetStreamLog>) -> impl Fn(&str) + Send + Sync + 'static {
    move |node| {
        let Ok(client) = log.client() else { return };
        let (subject, node) = (format!("{HEARTBEAT}.{}", node.replace(['.', '/'], "_")), node.to_owned());
        tokio::spawn(async move {
            if let Err(error) = client.publish(subject, node.into()).await {
                tracing::debug!(%error, "a heart-beat was not sent");
            }
        });
    }
}
