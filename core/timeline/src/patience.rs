//! Reading on through a short absence of the log: nats-server is started anew when commits leave the live log, when the log is
//! repaired, and when it has died. Who has read half of a long log then does not begin again.

use std::time::Duration;

use edgestack_log::{Log, LogError, LogHead, StoredCommit};
use tokio::time::Instant;

/// How long the log may be away. More than a start of nats-server takes, less than a person waits in doubt.
const AWAY_MAX: Duration = Duration::from_secs(30);
/// Between two tries: that the log is back gives no event here.
const TRY_AGAIN: Duration = Duration::from_millis(100);

struct Patience {
    since: Instant,
}

impl Patience {
    fn new() -> Self {
        Self { since: Instant::now() }
    }

    /// Waits before the next try, or gives the error back: it is no absence, or has lasted too long.
    async fn after(&self, error: LogError) -> Result<(), LogError> {
        if !matches!(error, LogError::Unavailable(_)) || self.since.elapsed() >= AWAY_MAX {
            return Err(error);
        }
        tokio::time::sleep(TRY_AGAIN).await;
        Ok(())
    }
}

/// As [`Log::read`].
pub(crate) async fn read(log: &dyn Log, from: u64, wanted: usize) -> Result<Vec<StoredCommit>, LogError> {
    let patience = Patience::new();
    loop {
        match log.read(from, wanted).await {
            Err(error) => patience.after(error).await?,
            read => return read,
        }
    }
}

/// As [`Log::head`].
pub(crate) async fn head(log: &dyn Log) -> Result<LogHead, LogError> {
    let patience = Patience::new();
    loop {
        match log.head().await {
            Err(error) => patience.after(error).await?,
            head => return head,
        }
    }
}
