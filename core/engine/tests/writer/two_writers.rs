//! Law 2: several writers of one log keep it honest together.

use std::collections::BTreeMap;

use edgestack_engine::{Outcome, SubmitError};
use edgestack_log::memory::{FaultRates, MemoryLog};
use edgestack_model::{Refusal, World};
use futures::future::join_all;

use crate::site::{Valve, a_flavor, a_writer, commits, with_key};

async fn race(seed: u64, rates: FaultRates) {
    let log = MemoryLog::seeded(seed, rates);
    let mut writers = Vec::new();
    for number in 1..=3 {
        writers.push(a_writer(number, Valve::new(log.clone())).await);
    }
    // Each name is wished from each writer.
    let names: Vec<String> = (0..25).map(|number| format!("f{number:02}")).collect();
    let wishes = writers.iter().enumerate().flat_map(|(number, writer)| {
        names.iter().map(move |name| async move {
            let key = format!("{number}-{name}");
            (name.clone(), writer.submit_as(with_key(&key, "f"), a_flavor(name)).await)
        })
    });
    let outcomes = join_all(wishes).await;
    let stored = commits(&log).await;
    let mut acknowledged: BTreeMap<&str, usize> = BTreeMap::new();
    for (name, outcome) in &outcomes {
        match outcome {
            Ok(Outcome::Committed { commit }) => {
                *acknowledged.entry(name).or_default() += 1;
                let found: Vec<_> = stored.iter().filter(|one| one.id == commit.id).collect();
                assert_eq!(found, [&**commit], "seed {seed}: an acknowledged commit is in the log once");
            }
            Err(SubmitError::Refused(Refusal::NameTaken { .. })) => {
                let exists = stored.iter().any(|one| one.events[0].name.as_str() == name);
                assert!(exists, "seed {seed}: {name} was said to be taken");
            }
            // A writer that found the log away has not sent it.
            Err(SubmitError::Unavailable { .. }) => {}
            other => panic!("seed {seed}, {name}: {other:?}"),
        }
    }
    assert!(acknowledged.values().all(|times| *times == 1), "seed {seed}: {acknowledged:?}");
    assert_eq!(stored.len(), acknowledged.len(), "seed {seed}: nothing else is in the log");
    if rates.unavailable == 0 {
        assert_eq!(acknowledged.len(), names.len(), "seed {seed}: each name was made");
    }
    let mut world = World::default();
    for commit in &stored {
        world.evolve(commit).unwrap();
    }
    for writer in &writers {
        writer.replica.wait_for(world.sequence).await;
        assert_eq!(*writer.replica.world(), world, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn three_writers_of_one_log_make_each_name_once() {
    race(0, FaultRates::default()).await;
}

#[tokio::test(start_paused = true)]
async fn three_writers_of_one_log_with_faults_make_each_name_once() {
    for seed in 1..=20 {
        race(seed, FaultRates { answer_lost: 60, lost_before_storing: 60, unavailable: 30 }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_writers_on_several_threads_make_each_name_once() {
    for seed in 1..=5 {
        race(seed, FaultRates { answer_lost: 30, lost_before_storing: 30, unavailable: 0 }).await;
    }
}
