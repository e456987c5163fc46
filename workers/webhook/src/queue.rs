//! What is to be delivered, and what of it next. Pure: time comes with each call.
//!
//! Each object has a lane, and only the first event of a lane is on its way: so an object's events arrive in their order,
//! and one that can't be delivered holds up its own object alone. When the target itself seems down, one attempt at a time
//! is made, with pauses that grow: knocking with every lane would help nobody.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::backoff::Patience;

/// Events that wait in memory; what comes after them waits in the log.
const EVENTS_MAX: usize = 256;
/// The same in bytes; one event more may be there.
const BYTES_MAX: usize = 1 << 20;
/// Deliveries on their way at once.
const IN_FLIGHT_MAX: usize = 4;
/// The longest pause that a target can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// A place in the log: sequence, and which of the commit's events.
pub(crate) type Place = (u64, u32);

/// An event to be delivered.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub place: Place,
    pub object: Uuid,
    /// `webhook-id`.
    pub message_id: String,
    pub body: Bytes,
}

/// The attempts at an event so far, all in vain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failures {
    /// How many.
    pub attempts: u32,
    /// When the first one was.
    pub since: DateTime<Utc>,
    /// When it is tried again.
    pub next_attempt_at: DateTime<Utc>,
    /// What went wrong last.
    pub reason: String,
    /// What a person can do.
    pub fix: Option<String>,
    /// It makes no sense to wait for the second attempt before people are told.
    pub is_certain: bool,
    /// It was tried at once when the target came back; from then on it keeps its own time.
    woken: bool,
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    pub reason: String,
    pub fix: Option<String>,
    /// The target's wish, from `Retry-After`.
    pub retry_after: Option<Duration>,
    /// It would have gone the same with any other event.
    pub of_target: bool,
    /// See [`Failures::is_certain`].
    pub is_certain: bool,
}

#[derive(Debug)]
struct Lane {
    items: VecDeque<Item>,
    in_flight: bool,
    failures: Option<Failures>,
}

/// The target seems to be down.
#[derive(Debug)]
struct Down {
    attempts: u32,
    next_attempt_at: DateTime<Utc>,
}

/// What to do now.
#[derive(Debug)]
pub(crate) enum Next {
    /// Deliver this; it is on its way from now on.
    Deliver(Item),
    /// Nothing until then, or until something else happens.
    Wait(Option<DateTime<Utc>>),
}

/// What one webhook has to deliver.
#[derive(Debug)]
pub(crate) struct Queue {
    webhook: Uuid,
    patience: Patience,
    lanes: BTreeMap<Uuid, Lane>,
    events: usize,
    bytes: usize,
    in_flight: usize,
    /// The lane of the last attempt that failed through the target, with no success since.
    last_failed: Option<Uuid>,
    down: Option<Down>,
}

impl Queue {
    pub fn new(webhook: Uuid, patience: Patience) -> Self {
        let lanes = BTreeMap::new();
        Self { webhook, patience, lanes, events: 0, bytes: 0, in_flight: 0, last_failed: None, down: None }
    }

    /// Whether another event may come in.
    pub fn has_room(&self) -> bool {
        self.events < EVENTS_MAX && self.bytes < BYTES_MAX
    }

    pub fn len(&self) -> usize {
        self.events
    }

    /// Takes an event in, behind those of its object that came before; with its failed attempts where it is taken up again.
    pub fn push(&mut self, item: Item, failures: Option<Failures>) {
        self.events += 1;
        self.bytes += item.body.len();
        let lane = self.lanes.entry(item.object);
        let lane = lane.or_insert_with(|| Lane { items: VecDeque::new(), in_flight: false, failures: None });
        if lane.items.is_empty() {
            lane.failures = failures;
        }
        lane.items.push_back(item);
    }

    /// The next event to be delivered: of those whose time has come, the oldest.
    pub fn next(&mut self, now: DateTime<Utc>) -> Next {
        let in_flight_max = if self.down.is_some() { 1 } else { IN_FLIGHT_MAX };
        if self.in_flight >= in_flight_max {
            return Next::Wait(None);
        }
        if let Some(down) = self.down.as_ref().filter(|down| down.next_attempt_at > now) {
            return Next::Wait(Some(down.next_attempt_at));
        }
        let is_down = self.down.is_some();
        let time_of = |lane: &Lane| match &lane.failures {
            Some(failures) if !is_down => Some(failures.next_attempt_at),
            Some(_) | None => None,
        };
        let waiting = self.lanes.values_mut().filter(|lane| !lane.in_flight);
        let mut wait_until: Option<DateTime<Utc>> = None;
        let mut best: Option<&mut Lane> = None;
        for lane in waiting {
            if let Some(time) = time_of(lane).filter(|time| *time > now) {
                wait_until = Some(wait_until.map_or(time, |until| until.min(time)));
                continue;
            }
            let place = |lane: &Lane| lane.items.front().map(|item| item.place);
            if best.as_ref().is_none_or(|best| place(lane) < place(best)) {
                best = Some(lane);
            }
        }
        let Some((lane, item)) = best.and_then(|lane| lane.items.front().cloned().map(|item| (lane, item))) else {
            return Next::Wait(wait_until);
        };
        lane.in_flight = true;
        self.in_flight += 1;
        Next::Deliver(item)
    }

    /// The event of this object that was on its way has arrived.
    pub fn delivered(&mut self, object: Uuid) {
        self.landed(object);
        self.last_failed = None;
        self.down = None;
        if let Some(lane) = self.lanes.get_mut(&object) {
            if let Some(item) = lane.items.pop_front() {
                self.events -= 1;
                self.bytes -= item.body.len();
            }
            lane.failures = None;
            if lane.items.is_empty() {
                self.lanes.remove(&object);
            }
        }
        // The target is there: what failed meanwhile need not wait. Each only once, as it may be the event's own fault.
        for failures in self.lanes.values_mut().filter_map(|lane| lane.failures.as_mut()) {
            if !failures.woken {
                failures.woken = true;
                failures.next_attempt_at = failures.since;
            }
        }
    }

    /// The event of this object that was on its way has not arrived, or nobody knows.
    pub fn failed(&mut self, object: Uuid, failed: Failed, now: DateTime<Utc>) {
        self.landed(object);
        let asked = failed.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        let after = |attempts| now + self.patience.pause(self.webhook, attempts).max(asked);
        if failed.of_target {
            let others_too = self.last_failed.is_some_and(|last| last != object);
            let attempts = match &self.down {
                // It was on its way before the target was known to be down, and tells nothing new.
                Some(down) if now < down.next_attempt_at => None,
                Some(down) => Some(down.attempts.saturating_add(1)),
                None => others_too.then_some(1),
            };
            if let Some(attempts) = attempts {
                self.down = Some(Down { attempts, next_attempt_at: after(attempts) });
            }
            self.last_failed = Some(object);
        }
        if let Some(lane) = self.lanes.get_mut(&object) {
            let before = lane.failures.take();
            let attempts = before.as_ref().map_or(0, |before| before.attempts).saturating_add(1);
            lane.failures = Some(Failures {
                attempts,
                since: before.as_ref().map_or(now, |before| before.since),
                next_attempt_at: after(attempts),
                reason: failed.reason,
                fix: failed.fix,
                is_certain: failed.is_certain,
                woken: before.is_some_and(|before| before.woken),
            });
        }
    }

    fn landed(&mut self, object: Uuid) {
        if let Some(lane) = self.lanes.get_mut(&object)
            && std::mem::take(&mut lane.in_flight)
        {
            self.in_flight -= 1;
        }
    }

    /// The event that people should know of: tried twice or more in vain, or without hope; the one tried longest.
    pub fn failing(&self) -> Option<(&Item, &Failures)> {
        let failing = self.first_failures().filter(|(_, failures)| failures.attempts > 1 || failures.is_certain);
        failing.min_by_key(|(_, failures)| failures.since)
    }

    /// Whether something failed that has not arrived yet.
    pub fn has_failures(&self) -> bool {
        self.first_failures().next().is_some()
    }

    /// An event that was tried for too long.
    pub fn overdue(&self, now: DateTime<Utc>) -> Option<(&Item, &Failures)> {
        let patience = self.patience.give_up_after;
        self.first_failures().find(|(_, failures)| (now - failures.since).to_std().is_ok_and(|age| age > patience))
    }

    /// When the next attempt is made, where nothing is tried at once.
    pub fn next_attempt_at(&self) -> Option<DateTime<Utc>> {
        if let Some(down) = &self.down {
            return Some(down.next_attempt_at);
        }
        self.first_failures().map(|(_, failures)| failures.next_attempt_at).min()
    }

    fn first_failures(&self) -> impl Iterator<Item = (&Item, &Failures)> {
        self.lanes.values().filter_map(|lane| Some((lane.items.front()?, lane.failures.as_ref()?)))
    }

    /// Everything that has not arrived, oldest first.
    pub fn waiting(&self) -> Vec<(Place, Option<&Failures>)> {
        let mut all: Vec<_> = self
            .lanes
            .values()
            .flat_map(|lane| {
                let first = lane.failures.as_ref();
                lane.items.iter().enumerate().map(move |(at, item)| (item.place, first.filter(|_| at == 0)))
            })
            .collect();
        all.sort_by_key(|(place, _)| *place);
        all
    }
}

#[cfg(test)]
mod tests;
