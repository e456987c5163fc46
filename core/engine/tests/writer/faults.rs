//! Law 5: an unknown outcome is resolved, not guessed.

use std::time::Duration;

use edgestack_engine::{Outcome, SubmitError};
use edgestack_log::{
    Log as _,
    memory::{Fault, FaultRates, MemoryLog},
};
use edgestack_model::{Command, Commit, flavor::FlavorCommand};
use futures::future::join_all;

use crate::site::{Site, Valve, a_flavor, a_site, a_writer, committed, refused, settle, with_key};

#[tokio::test(start_paused = true)]
async fn a_commit_whose_answer_was_lost_is_found_and_not_repeated() {
    let site = a_site().await;
    site.log.inner.inject(Fault::AnswerLost);
    let commit = committed(&site.submit(a_flavor("a")).await);
    assert_eq!(commit.sequence.0, 1);
    site.holds(&["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_found_as_well_when_the_follower_has_folded_it_long_before_the_time_out() {
    let site = a_site().await;
    site.log.inner.inject(Fault::AnswerLost);
    site.log.hold_answers();
    let time_out = async {
        settle().await;
        assert_eq!(site.replica.head().sequence, 1, "the follower was first");
        site.log.release_answers();
    };
    let (outcome, ()) = tokio::join!(site.submit(a_flavor("a")), time_out);
    committed(&outcome);
    site.holds(&["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_lost_on_its_way_is_sent_again() {
    let site = a_site().await;
    site.log.inner.inject(Fault::LostBeforeStoring);
    committed(&site.submit(a_flavor("a")).await);
    site.holds(&["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_comes_while_it_is_to_be_decided_again_is_found() {
    for refused_by_itself in [a_flavor("a"), Command::Flavor(FlavorCommand::Delete { flavor: "a".into() })] {
        let site = a_site().await;
        let is_delete = matches!(refused_by_itself, Command::Flavor(FlavorCommand::Delete { .. }));
        if is_delete {
            committed(&site.submit(a_flavor("a")).await);
        }
        site.log.store_the_next_late();
        // Without a key: nothing but its attempts tells that the commit is its own.
        let commit = committed(&site.submit(refused_by_itself).await);
        assert_eq!(commit.sequence.0, 1 + u64::from(is_delete));
        site.holds(if is_delete { &["a", "a"] } else { &["a"] }).await;
    }
}

/// What was acknowledged is in the log once, what was turned away is not, and no other answer is given.
async fn each_was_honest(site: &Site, names: &[String], outcomes: &[Result<Outcome, SubmitError>], what: &str) {
    let commits = site.commits().await;
    for (name, outcome) in names.iter().zip(outcomes) {
        let stored: Vec<_> = commits.iter().filter(|one| one.events[0].name.as_str() == name).collect();
        match outcome {
            Ok(Outcome::Committed { commit }) => assert_eq!(stored, [&**commit], "{what}, {name}"),
            Err(SubmitError::Unavailable { .. }) => assert_eq!(stored, <[&Commit; 0]>::default(), "{what}, {name}"),
            other => panic!("{what}, {name}: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn faults_in_the_middle_of_a_pipeline_lose_and_double_nothing() {
    for fault in [Fault::AnswerLost, Fault::LostBeforeStoring, Fault::Unavailable { calls: 3 }] {
        for place in [0, 1, 4, 9] {
            let site = a_site().await;
            let names: Vec<String> = (0..10).map(|number| format!("f{number}")).collect();
            for name in &names[..place] {
                committed(&site.submit(a_flavor(name)).await);
            }
            site.log.inner.inject(fault.clone());
            let outcomes = join_all(names[place..].iter().map(|name| site.submit(a_flavor(name)))).await;
            each_was_honest(&site, &names[place..], &outcomes, &format!("{fault:?} at {place}")).await;
            if !matches!(fault, Fault::Unavailable { .. }) {
                site.holds(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn seeded_faults_lose_and_double_nothing() {
    let rates = FaultRates { answer_lost: 100, lost_before_storing: 100, unavailable: 50 };
    for seed in 0..30 {
        let site = a_writer(1, Valve::new(MemoryLog::seeded(seed, rates))).await;
        let names: Vec<String> = (0..60).map(|number| format!("f{number:02}")).collect();
        let outcomes = join_all(names.iter().map(|name| site.submit_as(with_key(name, "f"), a_flavor(name)))).await;
        each_was_honest(&site, &names, &outcomes, &format!("seed {seed}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_log_is_away_commands_are_told_so_and_afterwards_all_goes_on() {
    let site = a_site().await;
    committed(&site.submit(a_flavor("before")).await);
    site.log.set_away(true);
    let begun = tokio::time::Instant::now();
    let (first, second) = tokio::join!(site.submit(a_flavor("x")), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        site.submit(a_flavor("y")).await
    });
    for outcome in [&first, &second] {
        assert!(matches!(outcome, Err(SubmitError::Unavailable { .. })), "{outcome:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(15), "told after {:?}", begun.elapsed());
    assert_eq!(site.replica.world().flavors.len(), 1, "reads go on");
    site.log.set_away(false);
    committed(&site.submit(a_flavor("after")).await);
    site.holds(&["before", "after"]).await;
}

#[tokio::test(start_paused = true)]
async fn a_short_absence_of_the_log_is_no_error() {
    let site = a_site().await;
    site.log.set_away(true);
    let back = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        site.log.set_away(false);
    };
    let (outcome, ()) = tokio::join!(site.submit(a_flavor("a")), back);
    committed(&outcome);
    site.holds(&["a"]).await;
}

#[tokio::test(start_paused = true)]
async fn an_unknown_outcome_is_called_so_and_its_key_finds_out() {
    for fault in [Fault::AnswerLost, Fault::LostBeforeStoring] {
        let site = a_site().await;
        site.log.inner.inject(fault.clone());
        site.log.hold_answers();
        let away = async {
            settle().await;
            site.log.set_away(true);
            site.log.release_answers();
        };
        let (outcome, ()) = tokio::join!(site.submit_as(with_key("k", "f"), a_flavor("a")), away);
        assert!(matches!(outcome, Err(SubmitError::OutcomeUnknown { .. })), "{outcome:?}");
        site.log.set_away(false);
        let again = site.submit_as(with_key("k", "f"), a_flavor("a")).await;
        match fault {
            Fault::AnswerLost => assert!(matches!(again, Ok(Outcome::Before { .. })), "{again:?}"),
            _ => drop(committed(&again)),
        }
        site.holds(&["a"]).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_foreign_commit_that_came_first_is_folded_and_ours_is_decided_again() {
    // The foreign writer's entry, made by a foreign writer.
    let foreign = a_site().await;
    committed(&foreign.submit(a_flavor("theirs")).await);
    let stored = foreign.log.inner.get(1).await.unwrap().unwrap();
    let commit = &foreign.commits().await[0];
    let entry = edgestack_log::Append {
        expected_last_sequence: 0,
        commit_id: commit.id.to_string(),
        subject: commit.subject(),
        payload: stored.payload,
    };
    for (ours, expect) in [("ours", Ok(2)), ("theirs", Err("name-taken"))] {
        let site = a_writer(2, Valve::new(MemoryLog::new())).await;
        site.log.inner.inject(Fault::ForeignFirst(entry.clone()));
        let outcome = site.submit(a_flavor(ours)).await;
        match expect {
            Ok(sequence) => assert_eq!(committed(&outcome).sequence.0, sequence),
            Err(code) => assert_eq!(refused(&outcome), code),
        }
        assert!(site.commits().await[0].events[0].name.as_str() == "theirs");
    }
}

#[tokio::test(start_paused = true)]
async fn a_command_that_may_still_come_is_not_refused_for_good() {
    let site = a_site().await;
    site.log.inner.inject(Fault::LostBeforeStoring);
    site.log.inner.inject(Fault::LostBeforeStoring);
    site.log.hold_answers();
    let away = async {
        settle().await;
        site.log.set_away(true);
        site.log.release_answers();
    };
    let delete = || Command::Flavor(FlavorCommand::Delete { flavor: "a".into() });
    let (created, deleted, ()) = tokio::join!(
        site.submit_as(with_key("1", "f"), a_flavor("a")),
        site.submit_as(with_key("2", "f"), delete()),
        away
    );
    for outcome in [created, deleted] {
        assert!(matches!(outcome, Err(SubmitError::OutcomeUnknown { .. })), "{outcome:?}");
    }
    site.log.set_away(false);
    // Both may lie in some socket, to be stored one after the other.
    let again = site.submit_as(with_key("2", "f"), delete()).await;
    assert!(matches!(again, Err(SubmitError::OutcomeUnknown { .. })), "{again:?}");
    // Once its place is taken it is known that it never will be; here by two others.
    committed(&site.submit(a_flavor("x")).await);
    let again = site.submit_as(with_key("2", "f"), delete()).await;
    assert!(matches!(again, Err(SubmitError::OutcomeUnknown { .. })), "{again:?}");
    committed(&site.submit(a_flavor("y")).await);
    assert_eq!(refused(&site.submit_as(with_key("2", "f"), delete()).await), "not-found");
    site.holds(&["x", "y"]).await;
}
