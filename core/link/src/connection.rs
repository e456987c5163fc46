//! The connection of this moment. A NATS client of the log lives for one TCP
//! connection, so that nothing is sent late; who speaks over the link takes the
//! present one each time.

use std::time::Duration;

use async_nats::Client;
use edgestack_log::jetstream::JetStreamLog;

/// Between two looks for a connection; the log heals its own within about as long.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The next usable connection.
pub(crate) async fn next(log: &JetStreamLog) -> Client {
    loop {
        // Also after a subscription ended: the log may not have noticed yet that its connection is gone.
        tokio::time::sleep(LOOK_AGAIN).await;
        if let Ok(client) = log.client() {
            return client;
        }
    }
}
