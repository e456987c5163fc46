//! Law 4: a damaged log takes no writes, and reads go on.

use std::{sync::Arc, time::Duration};

use edgestack_engine::{
    Replica, ReplicaError, SubmitError, catch_up, catch_up_for_sure, follow, follow_behind, verify_on_a_timer,
};
use edgestack_log::{ChainHead, Damage, LogError};
use edgestack_model::World;

use crate::site::{Site, a_flavor, a_site, committed};

async fn a_site_of_three() -> Site {
    let site = a_site().await;
    for name in ["a", "b", "c"] {
        committed(&site.submit(a_flavor(name)).await);
    }
    site
}

/// Writes are refused as damaged, the world can be read, nothing more got into the log.
async fn has_stopped(site: &Site) {
    for name in ["x", "y"] {
        let outcome = site.submit(a_flavor(name)).await;
        assert!(matches!(outcome, Err(SubmitError::Damaged { .. })), "{outcome:?}");
    }
    assert!(site.replica.failure().is_some());
    assert_eq!(site.replica.world().flavors.len(), 3, "reads go on");
    assert_eq!(site.replica.head().sequence, 3);
}

#[tokio::test(start_paused = true)]
async fn a_cut_tail_is_found_at_the_next_write() {
    let site = a_site_of_three().await;
    site.log.inner.cut_tail(1);
    has_stopped(&site).await;
    let cut = Damage::CutTail { acknowledged: 3, last: 2 };
    assert!(matches!(site.replica.failure(), Some(ReplicaError::Damaged(damage)) if damage == cut));
}

#[tokio::test(start_paused = true)]
async fn a_lost_commit_and_a_flipped_bit_are_found_on_the_timer() {
    for damage in [0, 1] {
        let site = a_site_of_three().await;
        let every = Duration::from_secs(60);
        tokio::spawn(verify_on_a_timer(Arc::new(site.log.clone()), site.replica.clone(), every));
        tokio::time::sleep(every / 2).await;
        assert!(site.replica.failure().is_none());
        if damage == 0 {
            assert!(site.log.inner.drop_message(2));
        } else {
            assert!(site.log.inner.flip_bit(2, 700));
        }
        let mut failed = site.replica.watch_failure();
        tokio::time::timeout(2 * every, failed.wait_for(Option::is_some)).await.unwrap().unwrap();
        has_stopped(&site).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_log_delivers_is_compared_with_what_was_acknowledged() {
    let site = a_site_of_three().await;
    // The last commit has none after it whose hash would tell.
    assert!(site.log.inner.flip_bit(3, 700));
    let replica = Replica::new(World::default(), ChainHead::GENESIS, None);
    let behind = follow_behind(Arc::new(site.log.clone()), site.replica.clone(), Duration::from_secs(1));
    tokio::spawn(behind);
    // It begins where the replica is; what comes after is compared.
    drop(replica);
    let stored = edgestack_log::Log::get(&site.log, 3).await.unwrap().unwrap();
    let differs = site.replica.apply(vec![(stored, None)]);
    assert!(matches!(differs, Err(ReplicaError::Differs(3))), "{differs:?}");
    has_stopped(&site).await;
}

#[tokio::test(start_paused = true)]
async fn a_damaged_log_is_found_at_start() {
    for damage in [0, 1, 2] {
        let site = a_site_of_three().await;
        match damage {
            0 => assert!(site.log.inner.drop_message(2)),
            1 => assert!(site.log.inner.flip_bit(2, 700)),
            _ => assert!(site.log.inner.drop_message(3)),
        }
        let replica = Replica::new(World::default(), ChainHead::GENESIS, None);
        let outcome = catch_up(&site.log, &replica).await;
        assert!(replica.failure().is_some(), "damage {damage}: {outcome:?}");
        assert!(!matches!(outcome, Err(LogError::Unavailable(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_repaired_log_takes_writes_again_and_both_followers_go_on() {
    let site = a_site_of_three().await;
    let log: Arc<dyn edgestack_log::Log> = Arc::new(site.log.clone());
    let beat = Duration::from_secs(1);
    tokio::spawn(follow_behind(log.clone(), site.replica.clone(), beat));
    tokio::spawn(edgestack_engine::mend_when_repaired(log, site.replica.clone(), beat));
    assert!(site.log.inner.flip_bit(2, 700));
    let mut failed = site.replica.watch_failure();
    let damage = Damage::Gap { expected: 2, found: 3 };
    site.replica.fail(damage.into());
    // Not mended while something is wrong.
    tokio::time::sleep(5 * beat).await;
    has_stopped(&site).await;
    // The same bit once more: as it was.
    assert!(site.log.inner.flip_bit(2, 700));
    tokio::time::timeout(3 * beat, failed.wait_for(Option::is_none)).await.unwrap().unwrap();
    committed(&site.submit(a_flavor("d")).await);
    assert_eq!(site.replica.head().sequence, 4);
    // And what is lost now is found again.
    tokio::time::sleep(2 * beat).await;
    site.log.inner.cut_tail(1);
    tokio::time::timeout(3 * beat, failed.wait_for(Option::is_some)).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_changed_commit_is_not_folded_where_the_next_one_tells() {
    let site = a_site_of_three().await;
    let stored = edgestack_log::Log::get(&site.log, 2).await.unwrap().unwrap();
    let text = String::from_utf8(stored.payload.to_vec()).unwrap();
    // The flavor's name becomes another, and one of the envelope's fields unknown: either is JSON, and chains on the first.
    for place in [text.find(r#""name":"b""#).unwrap() + 8, text.find(r#""command""#).unwrap() + 2] {
        assert!(site.log.inner.flip_bit(2, place * 8));
        let log: Arc<dyn edgestack_log::Log> = Arc::new(site.log.clone());
        let caught_up = Replica::new(World::default(), ChainHead::GENESIS, None);
        assert!(catch_up(&*log, &caught_up).await.is_err() || caught_up.failure().is_some());
        let follows = Replica::new(World::default(), ChainHead::GENESIS, None);
        tokio::spawn(follow(log, follows.clone()));
        let mut failed = follows.watch_failure();
        tokio::time::timeout(Duration::from_secs(5), failed.wait_for(Option::is_some)).await.unwrap().unwrap();
        for replica in [caught_up, follows] {
            assert!(replica.failure().unwrap().is_damage(), "{:?}", replica.failure());
            assert_eq!(replica.head().sequence, 1, "what was changed was folded");
            assert_eq!(replica.world().flavors.len(), 1);
        }
        assert!(site.log.inner.flip_bit(2, place * 8));
    }
}

#[tokio::test(start_paused = true)]
async fn who_acts_on_the_world_waits_for_a_damaged_log_to_be_repaired() {
    let site = a_site_of_three().await;
    assert!(site.log.inner.flip_bit(2, 700));
    let log: Arc<dyn edgestack_log::Log> = Arc::new(site.log.clone());
    let replica = Replica::new(World::default(), ChainHead::GENESIS, None);
    tokio::spawn(edgestack_engine::mend_when_repaired(log.clone(), replica.clone(), Duration::from_secs(1)));
    let waiting = tokio::spawn({
        let (log, replica) = (log.clone(), replica.clone());
        async move { catch_up_for_sure(&*log, &replica).await }
    });
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!waiting.is_finished(), "the world of commit {} is of the past", replica.head().sequence);
    assert!(site.log.inner.flip_bit(2, 700));
    tokio::time::timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    assert_eq!(replica.head().sequence, 3);
}

/// Nothing behind it vouches for the last commit: what can't be read there is damage, which a repair mends, and the repair
/// is awaited where the damage is, not only where the folded commits are.
#[tokio::test(start_paused = true)]
async fn a_changed_commit_at_the_end_waits_for_its_repair() {
    let site = a_site_of_three().await;
    let stored = edgestack_log::Log::get(&site.log, 3).await.unwrap().unwrap();
    let text = String::from_utf8(stored.payload.to_vec()).unwrap();
    let place = text.find(r#""type":"FlavorCreated""#).unwrap() + 9;
    let log: Arc<dyn edgestack_log::Log> = Arc::new(site.log.clone());
    assert!(site.log.inner.flip_bit(3, place * 8));
    let replica = Replica::new(World::default(), ChainHead::GENESIS, None);
    tokio::spawn(edgestack_engine::mend_when_repaired(log.clone(), replica.clone(), Duration::from_secs(1)));
    tokio::spawn(follow(log, replica.clone()));
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(replica.head().sequence, 2, "{:?}", replica.failure());
    assert!(replica.failure().is_none_or(|error| error.is_damage()), "{:?}", replica.failure());
    assert!(site.log.inner.flip_bit(3, place * 8));
    tokio::time::timeout(Duration::from_secs(20), replica.wait_for(edgestack_model::Sequence(3))).await.unwrap();
}
