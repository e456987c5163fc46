//! Law 2: several writers of one log keep it honest together.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use edgestack_engine::{CommandPort as _, Outcome, Submission, SubmitError, Unserved};
use edgestack_log::{
    Append,
    memory::{Fault, FaultRates, MemoryLog},
};
use edgestack_model::{Refusal, World};
use futures::future::join_all;

use crate::site::{Valve, a_flavor, a_person, a_writer, commits, with_key};

/// What the writers but the first do when the first was faster.
#[derive(Clone, Copy, PartialEq)]
enum Beaten {
    /// They try again themselves.
    TryAgain,
    /// They have the command back, and give it to the first.
    HandOver,
}

/// How many commands were handed over.
async fn race(seed: u64, rates: FaultRates, beaten: Beaten) -> usize {
    let log = MemoryLog::seeded(seed, rates);
    let mut writers = Vec::new();
    for number in 1..=3 {
        writers.push(a_writer(number, Valve::new(log.clone())).await);
    }
    // Each name is wished from each writer.
    let names: Vec<String> = (0..25).map(|number| format!("f{number:02}")).collect();
    let (first, handed_over) = (&writers[0], &AtomicUsize::new(0));
    let wishes = writers.iter().enumerate().flat_map(|(number, writer)| {
        names.iter().map(move |name| async move {
            let origin = with_key(&format!("{number}-{name}"), "f");
            if number == 0 || beaten == Beaten::TryAgain {
                return (name.clone(), writer.submit_as(origin, a_flavor(name)).await);
            }
            let submission = Submission { command: a_flavor(name), origin };
            let outcome = match writer.engine.submit_or_hand_back(submission).await {
                Ok(outcome) => Ok(outcome),
                Err(Unserved::Failed(error)) => Err(error),
                Err(Unserved::Overtaken(submission)) => {
                    handed_over.fetch_add(1, Ordering::Relaxed);
                    first.engine.submit(*submission).await
                }
            };
            (name.clone(), outcome)
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
    handed_over.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn three_writers_of_one_log_make_each_name_once() {
    race(0, FaultRates::default(), Beaten::TryAgain).await;
    race(0, FaultRates::default(), Beaten::HandOver).await;
}

#[tokio::test(start_paused = true)]
async fn three_writers_of_one_log_with_faults_make_each_name_once() {
    for seed in 1..=20 {
        for beaten in [Beaten::TryAgain, Beaten::HandOver] {
            race(seed, FaultRates { answer_lost: 60, lost_before_storing: 60, unavailable: 30 }, beaten).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn three_writers_on_several_threads_make_each_name_once() {
    let (mut handed_over, rates) = (0, FaultRates { answer_lost: 30, lost_before_storing: 30, unavailable: 0 });
    for seed in 1..=5 {
        assert_eq!(race(seed, rates, Beaten::TryAgain).await, 0);
        handed_over += race(seed, rates, Beaten::HandOver).await;
    }
    assert!(handed_over > 0, "no writer was ever faster than another");
}

#[tokio::test(start_paused = true)]
async fn a_command_that_was_ever_in_doubt_is_not_handed_back() {
    // Another writer's commit, to be first.
    let other = a_writer(2, Valve::new(MemoryLog::new())).await;
    other.submit(a_flavor("theirs")).await.unwrap();
    let commit = &other.commits().await[0];
    let theirs = Append {
        expected_last_sequence: 0,
        commit_id: commit.id.to_string(),
        subject: commit.subject(),
        payload: commit.encode().unwrap().into(),
    };
    for lost in [false, true] {
        let site = a_writer(1, Valve::new(MemoryLog::new())).await;
        if lost {
            site.log.inner.inject(Fault::LostBeforeStoring);
        }
        site.log.inner.inject(Fault::ForeignFirst(theirs.clone()));
        let submission = Submission { command: a_flavor("ours"), origin: a_person() };
        let outcome = site.engine.submit_or_hand_back(submission).await;
        match lost {
            false => assert!(matches!(outcome, Err(Unserved::Overtaken(_))), "{outcome:?}"),
            true => assert!(matches!(outcome, Ok(Outcome::Committed { .. })), "{outcome:?}"),
        }
    }
}
