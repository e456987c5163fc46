//! Two thousand seeds at each `deploy/test sim`; one by `EDGESTACK_SIM_SEED=7`, many by `EDGESTACK_SIM_SEED=0..500`.
//!
//! Only with the feature `planted-bugs`: through its seam the simulation kills between two steps, and keeps work that
//! blocks in its turn, without which a seed would not lead to the same run twice.
#![cfg(feature = "planted-bugs")]
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use edgestack_sim::{Fault, REPLAY, Violation, run};

/// Seeds that are run when nothing else is asked for.
const SEEDS: Range<u64> = 0..2000;

/// Seeds that once found something wrong in EdgeStack or in this simulation, and what. They are run each time.
const KEPT: [(u64, &str); 9] = [
    (7, "a flipped bit that was read before the next commit could tell stopped a replica for good"),
    (12, "the archive's first segment was lost, and nobody noticed until the log was lost, too"),
    (16, "workers began on the world of the past that a damaged log led to"),
    (20, "as 7, in another field"),
    (35, "as 12, with a log that was whole"),
    (72, "those who waited for a repair were woken in an order that no seed decided"),
    (1040, "a refusal was decided behind commits in flight, while another engine had written behind them"),
    (1441, "a process whose replica had failed kept its leases, and nobody did their work"),
    (1290, "a flipped bit in the hash that the index of the archive's last segment tells"),
];

fn asked_for() -> Option<Range<u64>> {
    let text = std::env::var("EDGESTACK_SIM_SEED").ok()?;
    let seed = |text: &str| text.trim().parse::<u64>().unwrap_or_else(|error| panic!("{text:?} is no seed: {error}"));
    Some(match text.split_once("..") {
        Some((first, end)) => seed(first)..seed(end),
        None => seed(&text)..seed(&text) + 1,
    })
}

/// What many seeds came to.
#[derive(Default)]
struct Sum {
    seeds: u64,
    commits: u64,
    lives: u64,
    crashes: u64,
    simulated: Duration,
    faults: BTreeMap<Fault, u64>,
    answers: BTreeMap<&'static str, usize>,
    violations: Vec<Violation>,
}

/// Runs seeds on all cores; a seed is one thread.
fn run_all(seeds: &[u64]) -> Sum {
    trace_if_asked_for();
    let (next, sum, begun) = (AtomicU64::new(0), Mutex::new(Sum::default()), Instant::now());
    let one_by_one = || {
        while let Some(seed) = seeds.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap()) {
            let begun = Instant::now();
            let outcome = run(*seed);
            let mut sum = sum.lock().unwrap();
            match outcome {
                Ok(report) => {
                    if seeds.len() < 50 || begun.elapsed() > Duration::from_secs(10) {
                        println!("seed {seed}: {report:?}, {:?}", begun.elapsed());
                    }
                    sum.seeds += 1;
                    sum.commits += report.commits;
                    sum.lives += report.lives.0;
                    sum.crashes += report.lives.1;
                    sum.simulated += report.simulated;
                    for (fault, count) in report.faults {
                        *sum.faults.entry(fault).or_default() += count;
                    }
                    for (answer, count) in report.answers {
                        *sum.answers.entry(answer).or_default() += count;
                    }
                }
                Err(violation) => {
                    println!("{violation}");
                    sum.violations.push(violation);
                    if sum.violations.len() == 20 {
                        next.store(u64::try_from(seeds.len()).unwrap(), Ordering::Relaxed);
                    }
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(one_by_one))));
    let sum = sum.into_inner().unwrap();
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    println!(
        "{} seeds in {:.1} min on {cores} cores, {:.0} a minute: {} lives, {} of them killed, {} commits, {:.1} simulated days",
        sum.seeds,
        minutes,
        f64::from(u32::try_from(sum.seeds).unwrap()) / minutes,
        sum.lives,
        sum.crashes,
        sum.commits,
        sum.simulated.as_secs_f64() / 86_400.0
    );
    println!("answers: {:?}", sum.answers);
    sum
}

fn check_laws(sum: &Sum) {
    if let Some(first) = sum.violations.first() {
        panic!("{} of the seeds broke a law; the first:\n{first}", sum.violations.len());
    }
}

/// `RUST_LOG` shows what the control plane does, in simulated order.
fn trace_if_asked_for() {
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        // A second test of this process finds it set.
        let _ = tracing_subscriber::fmt().with_env_filter(filter).without_time().try_init();
    }
}

#[test]
fn every_law_holds_on_every_seed() {
    if let Some(seeds) = asked_for() {
        return check_laws(&run_all(&seeds.collect::<Vec<_>>()));
    }
    let seeds: Vec<u64> = KEPT.iter().map(|(seed, _)| *seed).chain(SEEDS).collect();
    let sum = run_all(&seeds);
    println!("these and more: EDGESTACK_SIM_SEED=0..5000 {REPLAY}");
    check_laws(&sum);
    println!("faults, and how often each fired:");
    for fault in Fault::ALL {
        println!("  {fault:?}: {}", sum.faults.get(&fault).copied().unwrap_or_default());
    }
    let silent: Vec<Fault> = Fault::ALL.into_iter().filter(|fault| !sum.faults.contains_key(fault)).collect();
    assert!(silent.is_empty(), "faults that never fired prove nothing: {silent:?}");
}

#[test]
fn the_same_seed_leads_to_the_same_run() {
    let first = asked_for().map_or(3, |seeds| seeds.start);
    for seed in first..first + 20 {
        let twice = [seed; 2].map(|seed| run(seed).unwrap_or_else(|violation| panic!("{violation}")));
        assert_eq!(twice[0], twice[1]);
    }
}
