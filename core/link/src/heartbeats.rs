//! Signs of life of nodes whose workers run in other processes than the engine.

use std::sync::Arc;

use edgestack_engine::{Heartbeats, error_chain};
use edgestack_log::jetstream::JetStreamLog;
use futures::StreamExt as _;

use crate::{HEARTBEAT, connection};

/// Hears all nodes of the site for ever, over whichever connection there is.
pub async fn hear_heartbeats(log: Arc<JetStreamLog>, heartbeats: Heartbeats) {
    loop {
        let client = connection::next(&log).await;
        match client.subscribe(format!("{HEARTBEAT}.>")).await {
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

/// Gives a sign of life of a node each time it is called. A lost one is nothing: the next follows in seconds.
pub fn heartbeat_sender(log: Arc<JetStreamLog>, node: &str) -> impl Fn() + Send + Sync + 'static {
    let subject = format!("{HEARTBEAT}.{}", node.replace('.', "_"));
    let node = node.to_owned();
    move || {
        let Ok(client) = log.client() else { return };
        let (subject, node) = (subject.clone(), node.clone());
        tokio::spawn(async move {
            if let Err(error) = client.publish(subject, node.into()).await {
                tracing::debug!(%error, "a heart-beat was not sent");
            }
        });
    }
}
