//! The simulated log: it keeps every promise of [`Log`], and its faults are what they say.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

use std::sync::Arc;
use std::time::Duration;

use edgestack_log::conformance::{CASES, Handles, append_some, commit};
use edgestack_log::memory::{Fault, FaultRates, MemoryLog};
use edgestack_log::{AppendError, ChainHead, Damage, Log, LogError, Resolution, resolve, verify};
use futures::StreamExt;

#[tokio::test]
async fn the_simulated_log_keeps_every_promise() {
    for case in CASES {
        let log = MemoryLog::new();
        let handles = Handles { log: Arc::new(log.clone()), other: Arc::new(log) };
        let outcome = (case.run)(handles).await;
        println!("memory {}: {outcome:?}", case.name);
        assert_eq!(outcome, Ok(()), "{}", case.name);
    }
}

async fn three() -> (MemoryLog, ChainHead) {
    let log = MemoryLog::new();
    let chain = append_some(&log, ChainHead::GENESIS, 3).await.unwrap();
    (log, chain)
}

#[tokio::test]
async fn an_unknown_outcome_is_resolved_whether_it_was_stored_or_not() {
    for (fault, found) in [(Fault::AnswerLost, Resolution::Ours), (Fault::LostBeforeStoring, Resolution::Absent)] {
        let (log, chain) = three().await;
        let ours = commit(&chain, "ours", 600);
        log.inject(fault);
        let outcome = log.append(ours.clone()).await.unwrap().await;
        assert!(matches!(outcome, Err(AppendError::UnknownOutcome(_))));
        assert_eq!(resolve(&log, 4, "ours", Duration::ZERO).await.unwrap(), found);
        // Repeating the same bytes is safe either way, and then it is certain.
        let again = log.append(ours).await.unwrap().await;
        assert_eq!(again.is_ok(), found == Resolution::Absent);
        assert_eq!(resolve(&log, 4, "ours", Duration::ZERO).await.unwrap(), Resolution::Ours);
        assert_eq!(verify(&log, None).await.unwrap().sequence, 4);
    }
}

#[tokio::test]
async fn a_foreign_commit_just_before_ours_refuses_ours() {
    let (log, chain) = three().await;
    log.inject(Fault::ForeignFirst(commit(&chain, "theirs", 600)));
    let outcome = log.append(commit(&chain, "ours", 600)).await.unwrap().await;
    assert!(matches!(outcome, Err(AppendError::WrongLastSequence { actual: Some(4) })));
    assert_eq!(resolve(&log, 4, "ours", Duration::ZERO).await.unwrap(), Resolution::Foreign);
}

#[tokio::test]
async fn an_unavailable_log_comes_back_and_the_follower_goes_on() {
    let (log, chain) = three().await;
    log.inject(Fault::Unavailable { calls: 2 });
    assert!(matches!(log.append(commit(&chain, "ours", 600)).await.map(drop), Err(AppendError::Unavailable(_))));
    assert!(matches!(log.head().await, Err(LogError::Unavailable(_))));
    assert_eq!(log.head().await.unwrap().last_sequence, 3);
    log.inject(Fault::Unavailable { calls: 3 });
    assert!(log.append(commit(&chain, "ours", 600)).await.is_err());
    let followed = log.follow(1).await.unwrap().take(3).count().await;
    assert_eq!(followed, 3);
}

#[tokio::test]
async fn every_damage_is_found_though_the_head_looks_healthy() {
    let (log, _) = three().await;
    let healthy = log.head().await.unwrap();
    assert!(log.drop_message(2));
    assert_eq!(log.head().await.unwrap(), healthy);
    assert!(matches!(verify(&log, None).await, Err(LogError::Damaged(Damage::Gap { expected: 2, found: 3 }))));
    let followed: Vec<_> = log.follow(1).await.unwrap().collect().await;
    assert!(followed[0].is_ok());
    assert!(matches!(followed[1], Err(LogError::Damaged(Damage::Gap { expected: 2, found: 3 }))));
    assert_eq!(followed.len(), 2, "following ends at the damage");

    let (log, _) = three().await;
    assert!(log.drop_message(3));
    let last = verify(&log, None).await;
    assert!(matches!(last, Err(LogError::Damaged(Damage::Unreadable { sequence: 3, last_sequence: 3 }))), "{last:?}");

    let (log, _) = three().await;
    // The last byte but two is filling: the JSON stays readable and only the hash can tell.
    let length = log.get(2).await.unwrap().unwrap().payload.len();
    assert!(log.flip_bit(2, (length - 3) * 8));
    assert!(matches!(verify(&log, None).await, Err(LogError::Damaged(Damage::BrokenHash { sequence: 3, .. }))));

    let (log, _) = three().await;
    log.cut_tail(1);
    assert_eq!(verify(&log, None).await.unwrap().sequence, 2, "without a memory of our own nothing tells");
    let cut = verify(&log, Some(3)).await;
    assert!(matches!(cut, Err(LogError::Damaged(Damage::CutTail { acknowledged: 3, last: 2 }))));
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    async fn run(seed: u64) -> Vec<String> {
        let rates = FaultRates { answer_lost: 100, lost_before_storing: 100, unavailable: 100 };
        let log = MemoryLog::seeded(seed, rates);
        let mut chain = ChainHead::GENESIS;
        let mut seen = Vec::new();
        for number in 0..200 {
            let entry = commit(&chain, &format!("c{number}"), 600);
            let outcome = match log.append(entry.clone()).await {
                Ok(ack) => ack.await,
                Err(error) => Err(error),
            };
            if log.get(chain.sequence + 1).await.is_ok_and(|found| found.is_some()) {
                chain = chain.after(&entry.payload);
            }
            seen.push(format!("{outcome:?}"));
        }
        seen
    }
    let first = run(7).await;
    assert_eq!(first, run(7).await);
    assert_ne!(first, run(8).await);
    for kind in ["Ok(", "UnknownOutcome", "Unavailable"] {
        assert!(first.iter().any(|seen| seen.contains(kind)), "no {kind} in 200 appends");
    }
}

#[tokio::test]
async fn a_log_that_goes_on_from_another_takes_what_chains_on_its_head_and_nothing_else() {
    let (_, head) = three().await;
    let on = MemoryLog::going_on_from(head);
    assert_eq!(on.head().await.unwrap().last_sequence, 3);
    let foreign = commit(&ChainHead { hash: [7; 32], ..head }, "of another log", 600);
    let refused = on.append(foreign).await.unwrap().await;
    assert!(matches!(refused, Err(AppendError::WrongLastSequence { actual: None })), "{refused:?}");
    assert_eq!(append_some(&on, head, 2).await.unwrap().sequence, 5);
    assert_eq!(on.read(4, 10).await.unwrap().len(), 2);
    assert_eq!(on.follow(4).await.unwrap().take(2).count().await, 2);
    let told = on.head().await.unwrap();
    assert_eq!((told.first_sequence, told.last_sequence, told.messages), (4, 5, 2));
}
