//! What is delivered next, by a clock of the test's own.

use chrono::TimeDelta;

use super::*;

fn object(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn item(sequence: u64, of: u128) -> Item {
    Item { place: (sequence, 0), object: object(of), message_id: format!("evt_{sequence}"), body: Bytes::from("{}") }
}

fn a_queue(items: &[(u64, u128)]) -> Queue {
    let mut queue = Queue::new(Uuid::from_u128(99), Patience::default());
    for (sequence, of) in items {
        queue.push(item(*sequence, *of), None);
    }
    queue
}

fn second(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()
}

fn failed(of_target: bool) -> Failed {
    Failed { reason: "no".into(), fix: None, retry_after: None, of_target, is_certain: false }
}

/// All that may go now, by sequence.
fn started(queue: &mut Queue, now: DateTime<Utc>) -> Vec<u64> {
    let mut started = Vec::new();
    while let Next::Deliver(item) = queue.next(now) {
        started.push(item.place.0);
    }
    started
}

#[test]
fn an_objects_events_go_one_after_the_other_and_objects_side_by_side() {
    let mut queue = a_queue(&[(1, 1), (2, 1), (3, 2), (4, 1)]);
    assert_eq!(started(&mut queue, second(0)), [1, 3]);
    queue.delivered(object(2));
    assert_eq!(started(&mut queue, second(0)), [] as [u64; 0]);
    queue.delivered(object(1));
    assert_eq!(started(&mut queue, second(0)), [2]);
    queue.delivered(object(1));
    assert_eq!(started(&mut queue, second(0)), [4]);
    queue.delivered(object(1));
    assert!(queue.len() == 0 && queue.waiting().is_empty());
}

#[test]
fn a_few_are_on_their_way_at_once() {
    let mut queue = a_queue(&[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]);
    assert_eq!(started(&mut queue, second(0)), [1, 2, 3, 4]);
    queue.delivered(object(3));
    assert_eq!(started(&mut queue, second(0)), [5]);
}

#[test]
fn an_event_that_fails_holds_up_its_object_alone() {
    let mut queue = a_queue(&[(1, 1), (2, 1), (3, 2)]);
    started(&mut queue, second(0));
    queue.failed(object(1), failed(false), second(0));
    queue.delivered(object(2));
    queue.push(item(4, 2), None);
    assert_eq!(started(&mut queue, second(1)), [1, 4], "the target answers, so it is tried once more at once");
    queue.failed(object(1), failed(false), second(1));
    queue.delivered(object(2));
    queue.push(item(5, 2), None);
    assert_eq!(started(&mut queue, second(2)), [5], "and from then on at its own time");
    let Next::Wait(Some(until)) = queue.next(second(2)) else { panic!("it has a time") };
    assert!((second(20)..=second(40)).contains(&until), "{until}");
    assert_eq!(started(&mut queue, until), [1]);
    queue.delivered(object(1));
    assert_eq!(started(&mut queue, until), [2]);
}

#[test]
fn a_target_that_is_down_is_knocked_at_by_one_alone_and_ever_more_rarely() {
    let mut queue = a_queue(&[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6)]);
    assert_eq!(started(&mut queue, second(0)), [1, 2, 3, 4]);
    for of in 1..=4 {
        queue.failed(object(of), failed(true), second(0));
    }
    let mut now = second(0);
    let mut pauses = Vec::new();
    for _ in 0..5 {
        let Next::Wait(Some(until)) = queue.next(now) else { panic!("it pauses") };
        pauses.push((until - now).num_seconds());
        now = until;
        assert_eq!(started(&mut queue, now), [1], "the oldest, alone");
        queue.failed(object(1), failed(true), now);
    }
    assert!(pauses.is_sorted() && (4..=6).contains(&pauses[0]) && pauses[4] > 700, "{pauses:?}");
    now += TimeDelta::hours(1);
    assert_eq!(started(&mut queue, now), [1]);
    queue.delivered(object(1));
    assert_eq!(started(&mut queue, now), [2, 3, 4, 5], "when it is back, all go at once");
}

#[test]
fn one_object_that_fails_does_not_make_the_target_down() {
    let mut queue = a_queue(&[(1, 1), (2, 2)]);
    started(&mut queue, second(0));
    queue.failed(object(1), failed(true), second(0));
    queue.delivered(object(2));
    queue.push(item(3, 2), None);
    assert_eq!(started(&mut queue, second(0)), [1, 3]);
    queue.failed(object(1), failed(true), second(0));
    queue.delivered(object(2));
    queue.push(item(4, 2), None);
    queue.push(item(5, 3), None);
    assert_eq!(started(&mut queue, second(0)), [4, 5]);
}

#[test]
fn what_the_target_asks_for_is_kept_within_a_day() {
    for (asked, least, most) in [(600, 600, 601), (1, 4, 7), (10_000_000, 86_400, 86_400)] {
        let mut queue = a_queue(&[(1, 1)]);
        started(&mut queue, second(0));
        let retry_after = Some(Duration::from_secs(asked));
        queue.failed(object(1), Failed { retry_after, ..failed(true) }, second(0));
        let Next::Wait(Some(until)) = queue.next(second(0)) else { panic!("it waits") };
        assert!((second(least)..=second(most)).contains(&until), "{asked}: {until}");
    }
}

#[test]
fn people_are_told_after_the_second_attempt_or_at_once_when_it_is_certain() {
    let mut queue = a_queue(&[(1, 1), (2, 2)]);
    started(&mut queue, second(0));
    queue.failed(object(1), failed(true), second(0));
    assert!(queue.failing().is_none() && queue.has_failures());
    queue.failed(object(2), Failed { is_certain: true, ..failed(true) }, second(1));
    assert_eq!(queue.failing().unwrap().0.place, (2, 0));
    assert_eq!(started(&mut queue, second(60)), [1]);
    queue.failed(object(1), failed(true), second(60));
    let (first, failures) = queue.failing().unwrap();
    assert_eq!((first.place, failures.attempts, failures.since), ((1, 0), 2, second(0)));
    started(&mut queue, second(3600));
    queue.delivered(object(1));
    started(&mut queue, second(3600));
    queue.delivered(object(2));
    assert!(queue.failing().is_none() && !queue.has_failures());
}

#[test]
fn an_event_that_fails_for_days_is_overdue() {
    let mut queue = a_queue(&[(1, 1)]);
    started(&mut queue, second(0));
    queue.failed(object(1), failed(true), second(0));
    let days = |days: i64| second(days * 24 * 3600 + 1);
    assert!(queue.overdue(days(2)).is_none());
    assert_eq!(queue.overdue(days(3)).unwrap().0.place, (1, 0));
}

#[test]
fn what_was_kept_is_taken_up_again_with_its_attempts() {
    let mut queue = a_queue(&[(1, 1), (2, 1), (3, 2)]);
    started(&mut queue, second(0));
    queue.failed(object(1), failed(true), second(0));
    let kept: Vec<_> = queue.waiting().into_iter().map(|(place, failures)| (place, failures.cloned())).collect();
    assert_eq!(kept.iter().map(|(place, _)| place.0).collect::<Vec<_>>(), [1, 2, 3]);
    let mut again = Queue::new(Uuid::from_u128(99), Patience::default());
    for ((place, failures), of) in kept.into_iter().zip([1, 1, 2]) {
        again.push(item(place.0, of), failures);
    }
    assert_eq!(started(&mut again, second(1)), [3], "its pause is not over");
    assert_eq!(started(&mut again, second(7)), [1]);
}

#[test]
fn memory_is_bounded_in_events_and_in_bytes() {
    let mut queue = a_queue(&[]);
    let mut sequence = 0;
    while queue.has_room() {
        sequence += 1;
        queue.push(item(sequence, 1), None);
    }
    assert_eq!(queue.len(), EVENTS_MAX);
    let mut queue = a_queue(&[]);
    let large = Item { body: Bytes::from(vec![b' '; 256 << 10]), ..item(1, 1) };
    for _ in 0..4 {
        assert!(queue.has_room());
        queue.push(large.clone(), None);
    }
    assert!(!queue.has_room());
    started(&mut queue, second(0));
    queue.delivered(object(1));
    assert!(queue.has_room());
}
