//! From the start of both processes to the first answer.

use crate::{Failure, site::Site, stats::Stats, stats::ms};

const STARTS: usize = 10;

/// Prints the row.
pub async fn measure(site: &mut Site, vms: usize) -> Result<(), Failure> {
    let mut samples = Vec::new();
    for _ in 0..STARTS {
        samples.push(site.restart().await?);
    }
    let stats = Stats::of(samples);
    println!(
        "| start of daemon and nats-server (after kill -9 of both) to the first answer, {vms} VMs | {} | {} | | | ≤ 500 ms |",
        ms(stats.median()),
        ms(stats.percentile(99))
    );
    Ok(())
}
