//! Every planted bug is found: each by the seed that found it first (the table, which ADR 0027 explains), or measured anew
//! by `EDGESTACK_SIM_MEASURE=200`, which says how many seeds each takes and how many of the first 200 find it.
#![cfg(feature = "planted-bugs")]
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use edgestack_planted::{Bug, plant};
use edgestack_sim::{REPLAY, Violation, run};

/// Each bug, and the first seed that finds it.
const FOUND_BY: [(Bug, u64); 41] = [
    (Bug::StaleReportAccepted, 0),
    (Bug::NameGivenTwice, 0),
    (Bug::KeyOfAnotherRequestAccepted, 0),
    (Bug::PreconditionIgnored, 1),
    (Bug::CapacityNotCounted, 0),
    (Bug::CapacityCountedTwice, 4),
    (Bug::PortGivenTwice, 0),
    (Bug::CordonIgnored, 0),
    (Bug::BackOffWithoutEnd, 8),
    (Bug::ClockSetBackBelieved, 16),
    (Bug::KeysForgottenAtRestart, 2),
    (Bug::AcknowledgedBeforeStored, 0),
    (Bug::OutcomeGuessed, 0),
    (Bug::BlindRetry, 1),
    (Bug::ConflictAcknowledged, 0),
    (Bug::RefusalAcknowledged, 0),
    (Bug::AnsweredAheadOfFlight, 3),
    (Bug::RewindForgotten, 0),
    (Bug::FoldLeftToFollower, 0),
    (Bug::CommitProjectedTwice, 0),
    (Bug::FoldedBeforeVouched, 10),
    (Bug::PastActedUpon, 7),
    (Bug::DryRunStored, 0),
    (Bug::HashNotChecked, 0),
    (Bug::RollbackNotNoticed, 5),
    (Bug::VerifyTimerOff, 0),
    (Bug::HeartbeatIgnored, 0),
    (Bug::LogWithoutFence, 0),
    (Bug::FenceBySequenceAlone, 0),
    (Bug::ViewBatchSplit, 0),
    (Bug::WakeLost, 0),
    (Bug::BeatOff, 49),
    (Bug::TwoTasksAtOnce, 0),
    (Bug::StartedWithoutDisk, 0),
    (Bug::UnseenTakenForGone, 2),
    (Bug::BusyAtRest, 0),
    (Bug::OrphanNotConfirmed, 0),
    (Bug::DeletionForgottenAtRestart, 0),
    (Bug::ArchiveSyncSkipped, 1),
    (Bug::ArchiveNotConsulted, 11),
    (Bug::SalvageSkipped, 9),
];

fn run_with(bug: Bug, seed: u64) -> Result<(), Violation> {
    plant(Some(bug));
    let outcome = run(seed);
    plant(None);
    outcome.map(drop)
}

/// Does something for each, on all cores, and gives what came of it in the same order.
fn each<T: Sync, R: Send>(all: &[T], act: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let one_by_one = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(one) = all.get(at) else { return };
            let made = act(one);
            done.lock().unwrap().push((at, made));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(one_by_one))));
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, made)| made).collect()
}

fn first_line(violation: &Violation) -> &str {
    violation.what.lines().next().unwrap_or_default()
}

#[test]
fn every_planted_bug_is_found() {
    if let Ok(seeds) = std::env::var("EDGESTACK_SIM_MEASURE") {
        return measure(seeds.parse().unwrap_or_else(|error| panic!("EDGESTACK_SIM_MEASURE: {error}")));
    }
    let listed: Vec<Bug> = FOUND_BY.iter().map(|(bug, _)| *bug).collect();
    assert_eq!(listed, Bug::ALL, "measure those that are missing: EDGESTACK_SIM_MEASURE=100 {REPLAY}");
    let begun = Instant::now();
    let outcomes = each(&FOUND_BY, |(bug, seed)| run_with(*bug, *seed));
    let mut unseen = Vec::new();
    for ((bug, seed), outcome) in FOUND_BY.iter().zip(outcomes) {
        match outcome {
            Err(violation) => println!("{bug:?}, seed {seed}: {}", first_line(&violation)),
            Ok(()) => unseen.push((bug, seed)),
        }
    }
    println!("{} bugs in {:?}", FOUND_BY.len(), begun.elapsed());
    assert!(unseen.is_empty(), "these seeds found these bugs once, and don't any more: {unseen:?}");
}

/// For each bug: the first seed that finds it, how many of the first `seeds` do, and what the first says.
fn measure(seeds: u64) {
    let only = std::env::var("EDGESTACK_SIM_BUG").ok();
    let bugs: Vec<Bug> =
        Bug::ALL.into_iter().filter(|bug| only.as_ref().is_none_or(|only| format!("{bug:?}").contains(only))).collect();
    let found = each(&bugs, |bug| {
        println!("{bug:?} …");
        let mut first = None;
        let mut count = 0;
        for seed in 0..seeds {
            if let Err(violation) = run_with(*bug, seed) {
                count += 1;
                if first.is_none() {
                    println!("{bug:?}: seed {seed}: {}", first_line(&violation));
                }
                first.get_or_insert((seed, first_line(&violation).to_owned()));
            }
            // Where it is found at once, more seeds tell nothing.
            if count >= 3 && seed >= 19 {
                return (first, count, seed + 1);
            }
        }
        (first, count, seeds)
    });
    println!("| bug | first seed | found by | what the first says |\n|---|---|---|---|");
    for (bug, (first, count, of)) in bugs.iter().zip(&found) {
        match first {
            Some((seed, what)) => println!("| {bug:?} | {seed} | {count} of {of} | {what} |"),
            None => println!("| {bug:?} | none | 0 of {of} | |"),
        }
    }
    for (bug, (first, ..)) in bugs.iter().zip(&found) {
        println!("    (Bug::{bug:?}, {}),", first.as_ref().map_or(-1, |(seed, _)| i64::try_from(*seed).unwrap()));
    }
    assert!(
        found.iter().all(|(first, ..)| first.is_some()),
        "a bug that no seed finds: a fault or a checker is missing"
    );
}
