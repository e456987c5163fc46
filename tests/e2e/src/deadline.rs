//! Awaiting a condition.

use std::time::{Duration, Instant};

/// What a step of a site may take at most on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two looks, where nothing gives an event.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Looks until `look` has what is awaited; its error says what is seen instead.
///
/// # Panics
/// When it is not in time, with what was seen last.
pub async fn eventually<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let begun = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) => {
                assert!(begun.elapsed() < within, "not within {within:?}: {what}; seen last: {seen}");
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
}
