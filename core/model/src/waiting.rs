//! Law 8: nothing waits without an owner, a reason and a next attempt.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
            next_attempt_at: now + crate::backoff::after_attempt(attempt),
        }
    }
}
