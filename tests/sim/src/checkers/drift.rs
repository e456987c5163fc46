//! Law 9, of the virtual network: what others did is told, and what nobody did is not. That it is told before it is mended
//! is asked at each write ([`crate::northbound::Northbound::check_told`]).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use edgestack_log::Log as _;
use edgestack_model::Commit;
use futures::FutureExt as _;

use super::Evidence;
use crate::{
    control_plane::ControlPlane,
    objects::{Whose, drift},
    outside::Outside,
};

/// The pool looks each 10 s.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// Over the whole log: each drift has a deed of its own before it.
///
/// # Errors
/// What is wrong, for people.
pub fn check(outside: &Outside, evidence: &Evidence) -> Result<(), String> {
    let mut told: BTreeMap<Whose, usize> = BTreeMap::new();
    for commit in &evidence.commits {
        for (whose, what) in commit.events.iter().filter_map(drift) {
            let told = told.entry(whose).or_default();
            *told += 1;
            let done = outside.northbound.disturbed(whose).iter().filter(|after| **after < commit.sequence.0).count();
            if *told > done {
                let sequence = commit.sequence;
                return Err(format!("commit {sequence}: {whose:?}: {what:?} is told, and nobody did that"));
            }
        }
    }
    Ok(())
}

/// Somebody does something to the virtual network while all is at rest, and no watch tells of it.
///
/// # Errors
/// That it is not told, or that it is though all was emptied.
pub async fn check_at_rest(outside: &Outside, plane: &ControlPlane) -> Result<(), String> {
    let before = plane.replica.head().sequence;
    let Some(deed) = outside.others_write() else { return Ok(()) };
    let done = tokio::time::Instant::now();
    let mut expected = if deed.is_emptied { BTreeSet::new() } else { deed.owners };
    {
        // Of a network that goes, and waits for its NICs, it is not told (ADR 0043).
        let world = plane.replica.world();
        for network in world.networks.values().filter(|network| network.is_held(&world)) {
            expected.remove(&Whose::object(network.id.uuid()));
        }
    }
    let mut told = BTreeSet::new();
    while done.elapsed() < TOLD_WITHIN {
        tokio::time::sleep(Duration::from_secs(1)).await;
        told = told_after(outside, before);
    }
    if told == expected {
        return Ok(());
    }
    let what = deed.what;
    Err(format!("others did something to the virtual network at rest ({what:?} of {expected:?}), and told is {told:?}"))
}

fn told_after(outside: &Outside, sequence: u64) -> BTreeSet<Whose> {
    loop {
        // It is out of reach for a number of calls.
        let Some(Ok(stored)) = outside.log.inner.read(sequence + 1, 10_000).now_or_never() else { continue };
        let commits: Vec<Commit> = stored.iter().map(|stored| Commit::decode(&stored.payload).unwrap()).collect();
        return commits.iter().flat_map(|commit| &commit.events).filter_map(drift).map(|(whose, _)| whose).collect();
    }
}
