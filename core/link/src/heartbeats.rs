//! Signs of life of nodes whose workers run in other processes than the engine.

use async_nats::Client;
use edgestack_engine::Heartbeats;
use futures::StreamExt as _;

use crate::HEARTBEAT;

/// Hears all nodes of the site until the connection is closed for good.
///
/// # Errors
/// When the subscription is refused.
pub async fn hear_heartbeats(client: Client, heartbeats: Heartbeats) -> Result<(), async_nats::SubscribeError> {
    let mut beats = client.subscribe(format!("{HEARTBEAT}.>")).await?;
    while let Some(beat) = beats.next().await {
        // The payload is the name: names may hold dots, which divide a subject.
        if let Ok(node) = std::str::from_utf8(&beat.payload) {
            heartbeats.beat(node);
        }
    }
    Ok(())
}

/// Gives a sign of life of a node each time it is called. A lost one is nothing: the next follows in seconds.
pub fn heartbeat_sender(client: Client, node: &str) -> impl Fn() + Send + Sync + 'static {
    let subject = format!("{HEARTBEAT}.{}", node.replace('.', "_"));
    let node = node.to_owned();
    move || {
        let (client, subject, node) = (client.clone(), subject.clone(), node.clone());
        tokio::spawn(async move {
            if let Err(error) = client.publish(subject, node.into()).await {
                tracing::debug!(%error, "a heart-beat was not sent");
            }
        });
    }
}
