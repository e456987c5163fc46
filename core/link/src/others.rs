//! What other engines of the site append.

use std::{sync::Arc, time::Duration};

use edgestack_engine::{Replica, catch_up, error_chain};
use edgestack_log::jetstream::{JetStreamLog, STORED_SUBJECTS};
use futures::{FutureExt as _, StreamExt as _};

use crate::connection;

/// What this process appends itself is acknowledged, and so known, within this time of its notice.
const OWN_ACK: Duration = Duration::from_millis(3);

/// Folds what others append within milliseconds, in a process whose own writer feeds the replica (and which reads all of it
/// back a moment behind, see [`edgestack_engine::follow_behind`]). For ever.
pub async fn hear_others(log: Arc<JetStreamLog>, replica: Arc<Replica>) {
    loop {
        let client = connection::next(&log).await;
        let mut notices = match client.subscribe(STORED_SUBJECTS).await {
            Ok(notices) => notices,
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "what others store is seen a moment later now");
                continue;
            }
        };
        while let Some(notice) = notices.next().await {
            tokio::time::sleep(OWN_ACK).await;
            let mut last = number(&notice);
            while let Some(Some(notice)) = notices.next().now_or_never() {
                last = last.max(number(&notice));
            }
            let known = |message| log.has_read_past(message, replica.head().sequence + 1);
            if last.is_some_and(known) {
                continue;
            }
            replica.wait_until_whole().await;
            // Damage has raised the alarm; whatever else is repeated on the beat of reading back.
            if let Err(error) = catch_up(&*log, &replica).await {
                tracing::debug!(error = error_chain(&error), "what others have stored cannot be read now");
            }
        }
    }
}

/// The message's sequence, which a notice tells in a header.
fn number(notice: &async_nats::Message) -> Option<u64> {
    notice.headers.as_ref()?.get("Nats-Sequence")?.as_str().parse().ok()
}
