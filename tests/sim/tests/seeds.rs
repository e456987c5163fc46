//! Some seeds at each run; one by `EDGESTACK_SIM_SEED=7`; many by
//! `EDGESTACK_SIM_SEED=0..500 cargo test -p edgestack-sim --test seeds -- --nocapture` (nextest would end it after its
//! usual time).

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use edgestack_sim::run;

/// Seeds that are run when nothing else is asked for, in each of two tests that run side by side.
const SEEDS: [Range<u64>; 2] = [0..10, 10..20];
/// No new seed is begun after this time when nothing else is asked for, so that the suite stays quick on slow machines.
const ENOUGH: Duration = Duration::from_secs(45);

fn asked_for() -> Option<Range<u64>> {
    let text = std::env::var("EDGESTACK_SIM_SEED").ok()?;
    let seed = |text: &str| text.trim().parse::<u64>().unwrap_or_else(|error| panic!("{text:?} is no seed: {error}"));
    Some(match text.split_once("..") {
        Some((first, end)) => seed(first)..seed(end),
        None => seed(&text)..seed(&text) + 1,
    })
}

fn run_all(seeds: Range<u64>, enough: Option<Duration>) {
    trace_if_asked_for();
    let begun = Instant::now();
    for seed in seeds {
        if enough.is_some_and(|enough| begun.elapsed() > enough) {
            println!("enough of seeds before {seed}; all of them: EDGESTACK_SIM_SEED=0..20");
            return;
        }
        // A run that never ends is ended from outside, and then this line tells which.
        println!("seed {seed} begins; alone: EDGESTACK_SIM_SEED={seed} cargo nextest run -p edgestack-sim");
        match run(seed) {
            Ok(report) => println!("seed {seed}: {report:?}, {:?}", begun.elapsed()),
            Err(violation) => panic!("{violation}"),
        }
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
    match asked_for() {
        Some(seeds) => run_all(seeds, None),
        None => run_all(SEEDS[0].clone(), Some(ENOUGH)),
    }
}

#[test]
fn every_law_holds_on_further_seeds() {
    if asked_for().is_none() {
        run_all(SEEDS[1].clone(), Some(ENOUGH));
    }
}

#[test]
fn the_same_seed_leads_to_the_same_run() {
    let first = asked_for().map_or(3, |seeds| seeds.start);
    for seed in first..first + 2 {
        let twice = [seed; 2].map(|seed| run(seed).unwrap_or_else(|violation| panic!("{violation}")));
        assert_eq!(twice[0], twice[1]);
    }
}
