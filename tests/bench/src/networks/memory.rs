//! What the processes of a site with networks hold.

use std::time::Duration;

use crate::{Failure, site::Site};

/// How long a site is left alone before.
const QUIET: Duration = Duration::from_secs(3);

/// Prints the row.
pub async fn measure(site: &Site, of: &str, to_reach: &str) -> Result<(), Failure> {
    tokio::time::sleep(QUIET).await;
    let parts = site.ovn_resident_kib()?;
    let sum: u64 = parts.iter().map(|(_, kib)| kib).sum();
    let parts: Vec<String> = parts.iter().map(|(name, kib)| format!("{name} {}", kib >> 10)).collect();
    let (daemon, nats) = site.resident_mib()?;
    println!(
        "| resident memory with {of}: OVN's six processes, and daemon + nats-server | {} MiB ({}), {daemon} + {nats} MiB | | | | {to_reach} |",
        sum >> 10,
        parts.join(", ")
    );
    Ok(())
}
