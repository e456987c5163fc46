//! From the command to what the nodes work by, against OVN's own time for the same rows.

use std::time::{Duration, Instant};

use crate::{
    Failure,
    site::Site,
    stats::{Stats, ms, ratio},
};

use super::{
    NICS,
    by_hand::{self, ByHand},
    create_network, create_vm,
};

const RUNS: usize = 50;
/// Between two: what follows from the one before is over by then.
const PAUSE: Duration = Duration::from_millis(150);
/// The network by hand that has NICs.
const WITH_NICS: usize = 1000;

/// Prints the rows.
pub async fn measure(site: &Site) -> Result<(), Failure> {
    let by_hand = ByHand::of(site);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in 0..RUNS {
        tokio::time::sleep(PAUSE).await;
        ours.push(create_network(site, &format!("network-{number}")).await?);
        tokio::time::sleep(PAUSE).await;
        theirs.push(timed(&by_hand, &by_hand::network(number, 0))?);
    }
    print("network: command to realized on the chassis (the network alone)", ours, theirs);

    // As many NICs on it as on ours.
    let network = by_hand::network(WITH_NICS, NICS);
    let rows = by_hand.realize(&[network, by_hand::default_group(WITH_NICS..WITH_NICS + 1, NICS)].concat())?;
    let [dns, dhcp, ..] = rows.as_slice() else { return Err(format!("ovn-nbctl made {rows:?}").into()) };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for number in NICS..NICS + RUNS {
        tokio::time::sleep(PAUSE).await;
        ours.push(create_vm(site, &format!("blue-{number}"), "blue").await?);
        tokio::time::sleep(PAUSE).await;
        theirs.push(timed(&by_hand, &by_hand::nic_more(WITH_NICS, number, dns, dhcp))?);
    }
    print("a VM's NIC on a network that is there: command to realized on the chassis", ours, theirs);
    Ok(())
}

fn timed(by_hand: &ByHand, words: &[String]) -> Result<Duration, Failure> {
    let begun = Instant::now();
    by_hand.realize(words)?;
    Ok(begun.elapsed())
}

fn print(what: &str, ours: Vec<Duration>, theirs: Vec<Duration>) {
    let (ours, theirs) = (Stats::of(ours), Stats::of(theirs));
    println!(
        "| {what} | {} | {} | {} (the same rows by `ovn-nbctl --wait=hv`; p99 {}) | {} | p50 ≤ 300 ms, ≤ 1.5 |",
        ms(ours.median()),
        ms(ours.percentile(99)),
        ms(theirs.median()),
        ms(theirs.percentile(99)),
        ratio(ours.median(), theirs.median())
    );
}
