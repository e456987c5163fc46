//! Law 5: idempotency lives in the model. A client that sends a command again
//! with the same key gets the first answer, whether the first reply was lost
//! a second or a day ago.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Kind, Sequence};

/// How long a key is remembered.
pub const REMEMBERED_FOR: TimeDelta = TimeDelta::hours(24);
/// How many keys are remembered; the oldest go first.
pub const REMEMBERED_MAX: usize = 10_000;

/// "I may have sent this before."
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyClaim {
    /// The client's key, 1 to 255 visible ASCII characters.
    pub key: String,
    /// A keyed hash of the request, so that a key used for two requests is noticed.
    pub fingerprint: String,
}

/// What the first command with a key led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// The request's fingerprint.
    pub fingerprint: String,
    /// The commit that it led to.
    pub sequence: Sequence,
    /// The primary resource's kind.
    pub kind: Kind,
    /// The primary resource.
    pub resource_id: Uuid,
    /// When.
    pub time: DateTime<Utc>,
}

impl Remembered {
    /// What is remembered of a commit whose command had a key.
    pub fn of(commit: &crate::Commit) -> Option<Self> {
        let claim = commit.idempotency.as_ref()?;
        let (kind, resource_id) = commit.primary;
        let (fingerprint, sequence, time) = (claim.fingerprint.clone(), commit.sequence, commit.time);
        Some(Self { fingerprint, sequence, kind, resource_id, time })
    }
}

/// The remembered keys, each scoped by its actor's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKeys {
    by_key: BTreeMap<String, Remembered>,
    by_age: BTreeMap<Sequence, String>,
}

impl IdempotencyKeys {
    /// The form under which a key is remembered: scoped by its actor's name.
    pub fn scoped(actor: &str, key: &str) -> String {
        format!("{actor}\u{0}{key}")
    }

    /// What the actor's key led to, if it is remembered at `now`.
    pub fn get(&self, actor: &str, key: &str, now: DateTime<Utc>) -> Option<&Remembered> {
        self.by_key.get(&Self::scoped(actor, key)).filter(|first| now - first.time < REMEMBERED_FOR)
    }

    /// Remembers a key and forgets those that are too old or too many, which it returns.
    pub(crate) fn remember(&mut self, actor: &str, key: &str, first: Remembered) -> Vec<String> {
        let mut forgotten = Vec::new();
        let now = first.time;
        let key = Self::scoped(actor, key);
        self.by_age.insert(first.sequence, key.clone());
        if let Some(old) = self.by_key.insert(key, first) {
            self.by_age.remove(&old.sequence);
        }
        while let Some((sequence, oldest)) = self.by_age.first_key_value() {
            let expired = self.by_key.get(oldest).is_none_or(|first| now - first.time >= REMEMBERED_FOR);
            if !expired && self.by_age.len() <= REMEMBERED_MAX {
                break;
            }
            let sequence = *sequence;
            if let Some(oldest) = self.by_age.remove(&sequence) {
                self.by_key.remove(&oldest);
                forgotten.push(oldest);
            }
        }
        forgotten
    }

    /// Every remembered key in order: (scoped key, what it led to).
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Remembered)> {
        self.by_key.iter().map(|(key, first)| (key.as_str(), first))
    }

    /// Builds the memory again from what [`Self::iter`] gave.
    pub fn from_rows(rows: impl IntoIterator<Item = (String, Remembered)>) -> Self {
        let mut keys = Self::default();
        for (key, first) in rows {
            keys.by_age.insert(first.sequence, key.clone());
            keys.by_key.insert(key, first);
        }
        keys
    }
}

#[cfg(test)]
mod tests;
