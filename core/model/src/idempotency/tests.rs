//! A command sent again with its key takes effect once.

use chrono::TimeDelta;

use super::{IdempotencyKeys, REMEMBERED_FOR, REMEMBERED_MAX, Remembered};
use crate::{Decision, Kind, Refusal, Sequence, builders::*};

fn remembered(sequence: u64, after: TimeDelta) -> Remembered {
    Remembered {
        fingerprint: "f".into(),
        sequence: Sequence(sequence),
        kind: Kind::Vm,
        resource_id: uuid::Uuid::from_u128(u128::from(sequence)),
        time: an_empty_world().now + after,
    }
}

#[test]
fn the_same_request_with_its_key_gets_the_first_answer() {
    let mut site = a_world().with_key("k1", "f1");
    site.has(a_vm("web"));
    let first = site.log.last().unwrap();
    let again = site.decide(&a_vm("web").into());
    let Ok(Decision::Before(before)) = again else { panic!("{again:?}") };
    assert_eq!((before.sequence, before.primary), (first.sequence, first.primary));
}

#[test]
fn a_key_used_for_another_request_is_refused() {
    let mut site = a_world().with_key("k1", "f1");
    site.has(a_vm("web"));
    let first = site.world.sequence;
    let refused = site.clone().with_key("k1", "f2").try_do(a_vm("other"));
    assert_eq!(refused, Err(Refusal::IdempotencyKeyReused { first }));
    check(&site.with_key("k1", "f2"), a_vm("other"), Err("idempotency-key-reused Idempotency-Key"));
}

#[test]
fn the_key_comes_before_every_other_refusal() {
    let mut site = a_world().with_key("k1", "f1");
    site.has(a_vm("web"));
    // Without the key: the name is taken.
    check(&site.clone().with_key("k2", "f1"), a_vm("web"), Err("name-taken name"));
    check(&site.clone().having_seen(99), a_vm("web"), Err("before 6"));
    // Even when what it made is gone since.
    site.key = None;
    site.has(delete("web"));
    site.workers_finish_removals();
    check(&site.with_key("k1", "f1"), a_vm("web"), Err("before 6"));
}

#[test]
fn one_actors_key_is_not_anothers() {
    let mut site = a_world().with_key("k1", "f1");
    site.has(a_vm("web"));
    let mut given = site.given();
    given.actor.name = "other".into();
    assert!(
        crate::decide(&site.world, &given, &a_vm("web2").into()).is_ok_and(|d| matches!(d, Decision::Commit { .. }))
    );
}

#[test]
fn a_key_is_remembered_for_a_day() {
    let mut site = a_world().with_key("k1", "f1");
    site.has(a_vm("web"));
    let just_before = site.clone().later(REMEMBERED_FOR - TimeDelta::seconds(1));
    check(&just_before, a_vm("web"), Err("before 6"));
    let mut after = site.later(REMEMBERED_FOR);
    check(&after, a_vm("web"), Err("name-taken name"));
    after.has(a_vm("web2"));
    let remembered: Vec<Sequence> = after.world.idempotency.iter().map(|(_, first)| first.sequence).collect();
    assert_eq!(remembered, [Sequence(7)], "the new request took the old one's place");
}

#[test]
fn a_request_that_changed_nothing_leaves_its_key_free() {
    let mut site = a_world().with_key("k1", "f1");
    site.has(uncordon("edge-1"));
    assert_eq!(site.world.idempotency.iter().count(), 0);
    check(&site.with_key("k1", "f2"), a_vm("web"), Ok(&["VmCreated", "VmScheduled", "VolumeCreated"]));
}

#[test]
fn the_oldest_go_first_when_there_are_too_many() {
    let mut keys = IdempotencyKeys::default();
    for sequence in 1..=u64::try_from(REMEMBERED_MAX).unwrap() {
        assert!(keys.remember("a", &sequence.to_string(), remembered(sequence, TimeDelta::zero())).is_empty());
    }
    let forgotten = keys.remember("a", "one-more", remembered(20_000, TimeDelta::zero()));
    assert_eq!(forgotten, [IdempotencyKeys::scoped("a", "1")]);
    assert_eq!(keys.iter().count(), REMEMBERED_MAX);
}

#[test]
fn the_memory_built_from_its_rows_is_the_same() {
    let mut keys = IdempotencyKeys::default();
    for (sequence, hours) in [(3, 0), (5, 1), (9, 2), (12, 25)] {
        keys.remember("a", &format!("k{}", sequence % 4), remembered(sequence, TimeDelta::hours(hours)));
    }
    let rows = keys.iter().map(|(key, first)| (key.to_owned(), first.clone()));
    assert_eq!(IdempotencyKeys::from_rows(rows), keys);
}
