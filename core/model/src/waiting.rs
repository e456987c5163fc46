//! Law 8: nothing waits without an owner, a reason and a next attempt.

use chrono::{DateTime, TimeDelta, Utc};
use edgestack_planted::{self as planted, Bug};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::backoff;

/// What a resource that is not yet where it should be waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Whose turn it is: `worker.vm@edge-1`, `scheduler`, `user`.
    pub owner: String,
    /// Why, in a sentence for people.
    pub reason: String,
    /// What a person can do about it, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// When the owner tries next; absent when an event is awaited that may come at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<DateTime<Utc>>,
}

/// A failed attempt of a worker on a resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// What was tried: `start`, `stop`, `create-disk` …
    pub step: String,
    /// 1 for the first try since the last success or wish.
    pub attempt: u32,
    /// What went wrong, in words; QEMU's own last line where QEMU failed.
    pub reason: String,
    /// What a person can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// When it happened.
    pub at: DateTime<Utc>,
    /// When it is tried again.
    pub next_attempt_at: DateTime<Utc>,
}

/// What a worker reports of a failed attempt; the model adds number and times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// What was tried.
    pub step: String,
    /// What went wrong.
    pub reason: String,
    /// What a person can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Failure {
    /// When it is tried again, while that is still to come. What lies further ahead than the longest pause is due: the
    /// clock was set back since, and nobody shall wait until it has come round again.
    pub fn still_to_come(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let pause = self.next_attempt_at - now;
        let believed = pause <= backoff::LONGEST || planted::is(Bug::ClockSetBackBelieved);
        (pause > TimeDelta::zero() && believed).then_some(self.next_attempt_at)
    }
}

impl FailedAttempt {
    /// The failure that follows `previous`, at `now`.
    pub fn after(self, previous: Option<&Failure>, now: DateTime<Utc>) -> Failure {
        let attempt = previous.map_or(1, |failure| failure.attempt.saturating_add(1));
        Failure {
            step: self.step,
            attempt,
            reason: self.reason,
            fix: self.fix,
            at: now,
            next_attempt_at: now + backoff::after_attempt(attempt),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_attempt_that_a_clock_set_back_has_moved_far_ahead_is_due() {
        let now = DateTime::UNIX_EPOCH + TimeDelta::days(9);
        let failed = FailedAttempt { step: "start".into(), reason: "no".into(), fix: None };
        let failure = failed.after(None, now);
        let next = failure.next_attempt_at;
        for (asked_at, expect) in [
            (now, Some(next)),
            (next, None),
            (next + TimeDelta::days(1), None),
            (next - backoff::LONGEST, Some(next)),
            (next - backoff::LONGEST - TimeDelta::seconds(1), None),
            (now - TimeDelta::days(1), None),
        ] {
            assert_eq!(failure.still_to_come(asked_at), expect, "{asked_at}");
        }
    }
}
