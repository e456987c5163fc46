//! What other engines of the site append.

use std::{sync::Arc, time::Duration};

use edgestack_engine::{Replica, catch_up, error_chain, fold_next};
use edgestack_log::{
    LogError,
    jetstream::{JetStreamLog, STORED_SUBJECTS},
};
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
            if log.has_appended_within(OWN_ACK) {
                tokio::time::sleep(OWN_ACK).await;
            }
            let mut last = number(&notice);
            while let Some(Some(notice)) = notices.next().now_or_never() {
                last = last.max(number(&notice));
            }
            replica.wait_until_whole().await;
            // Damage has raised the alarm; whatever else is repeated on the beat of reading back.
            if let Err(error) = fold_up_to(&log, &replica, last).await {
                tracing::debug!(error = error_chain(&error), "what others have stored cannot be read now");
            }
        }
    }
}

/// Folds what is in the log up to a message, which a notice has told of.
async fn fold_up_to(log: &JetStreamLog, replica: &Replica, last: Option<u64>) -> Result<(), LogError> {
    let Some(last) = last else { return catch_up(log, replica).await };
    while !log.has_read_past(last, replica.head().sequence + 1) && fold_next(log, replica).await? {}
    Ok(())
}

/// The message's sequence, which a notice tells in a header.
fn number(notice: &async_nats::Message) -> Option<u64> {
    notice.headers.as_ref()?.get("Nats-Sequence")?.as_str().parse().ok()
}
