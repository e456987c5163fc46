//! A real stream that begins later than with the first commit, as it is made when older commits have left.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

mod nats;

use edgestack_log::conformance::commit;
use edgestack_log::{ChainHead, Damage, Log, LogError, verify_from};
use nats::{DEADLINE, Site, kill, until};

const FIRST: u64 = 41;

#[tokio::test]
async fn it_counts_on_from_there_and_comes_back_so() {
    let Some(binary) = nats::binary("it_counts_on_from_there_and_comes_back_so") else { return };
    let site = Site::start(&binary).await;
    let log = site.server().log(edgestack_log::jetstream::Role::Engine).await.unwrap();
    log.ensure_stream_from(1, FIRST).await.unwrap();
    let empty = log.head().await.unwrap();
    assert_eq!((empty.first_sequence, empty.last_sequence, empty.messages), (FIRST, FIRST - 1, 0));
    empty.check_count().unwrap();
    assert!(log.read(FIRST, 10).await.unwrap().is_empty());

    let before = ChainHead { sequence: FIRST - 1, hash: [9; 32] };
    let mut head = before;
    let mut pending = vec![];
    for number in 0..100 {
        let entry = commit(&head, &format!("c{number}"), 600);
        head = head.after(&entry.payload);
        pending.push(log.append(entry).await.unwrap());
    }
    for (sequence, ack) in (FIRST..).zip(pending) {
        assert_eq!(ack.await.unwrap(), sequence);
    }
    // Another place than the end is refused, and so is what comes before the beginning.
    assert!(log.append(commit(&before, "again", 600)).await.unwrap().await.is_err());

    for round in 0..2 {
        let found = log.head().await.unwrap();
        assert_eq!((found.first_sequence, found.last_sequence, found.messages), (FIRST, FIRST + 99, 100), "{round}");
        assert_eq!(verify_from(&log, before, None).await.unwrap(), head);
        assert_eq!(log.get(FIRST - 1).await.unwrap(), None);
        assert_eq!(log.get(FIRST).await.unwrap().unwrap().sequence, FIRST);
        let gap = log.read(FIRST - 1, 5).await;
        assert!(
            matches!(gap, Err(LogError::Damaged(Damage::Gap { expected: 40, found: FIRST }))),
            "what is not there is never stepped over: {gap:?}"
        );
        // A server that was killed has it so, too.
        let victim = site.server().pid().unwrap();
        kill(victim);
        until("the server is back", async || {
            site.server().pid().is_some_and(|pid| pid != victim) && log.head().await.is_ok()
        })
        .await;
    }
    let entry = commit(&head, "after", 600);
    let stored = tokio::time::timeout(DEADLINE, log.append(entry).await.unwrap()).await.unwrap();
    assert_eq!(stored.unwrap(), FIRST + 100);
    site.stop().await;
}
