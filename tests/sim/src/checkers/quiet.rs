//! Where all is as it should be, nothing stirs: no loop stays busy.

use std::{sync::atomic::Ordering, time::Duration};

use crate::{control_plane::ControlPlane, outside::Outside};

/// A VM that finds no room is told so after each try, with pauses that double up to five minutes.
const COMMITS_MAX: u64 = 12;
/// A pool looks at each VM on its beat of 10 s, and each 5 s for its agent.
const LOOKS_PER_SECOND_MAX: u64 = 8;

/// A while of rest.
///
/// # Errors
/// What is busy.
pub async fn check(outside: &Outside, plane: &ControlPlane, during: Duration) -> Result<(), String> {
    let (commits, looks) = (plane.replica.head().sequence, outside.looks.load(Ordering::Relaxed));
    let writes = outside.northbound.writes();
    tokio::time::sleep(during).await;
    let commits = plane.replica.head().sequence - commits;
    let looks = outside.looks.load(Ordering::Relaxed) - looks;
    if commits > COMMITS_MAX {
        return Err(format!("all was settled, and {commits} commits came in {during:?}"));
    }
    if looks > LOOKS_PER_SECOND_MAX * during.as_secs() {
        return Err(format!("all was settled, and {looks} times a driver was asked in {during:?}"));
    }
    let writes = outside.northbound.writes() - writes;
    if writes > 0 {
        return Err(format!("all was settled, and {writes} times the virtual network was written in {during:?}"));
    }
    Ok(())
}
