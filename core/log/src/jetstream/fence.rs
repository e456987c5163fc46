//! What an append must be fenced by besides the expected sequence.
//!
//! A sequence says where, not after what. Let a foreign commit take place 7 while our own 7 and 8 are in flight: our 7
//! is refused, but our 8 expects 7 to be last, finds it so, and would be stored after a commit it wasn't decided after,
//! with a `previous_hash` of nothing. So an entry whose predecessor isn't known to be stored also carries
//! `Nats-Expected-Last-Msg-Id`. It can't always do so: the server forgets that id when it restarts later than the
//! two-minute window for duplicates, and would then refuse for ever.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::chain::hash;

/// What is known of the commit an entry chains on.
pub(super) enum Answer {
    /// It is stored: nothing more is needed, as what is stored never changes.
    Stored,
    /// It was handed over on this connection and isn't acknowledged: fence by this message id.
    InFlight(String),
    /// Another commit is stored there.
    OtherChain,
    /// Look.
    Unknown,
}

struct Tip {
    sequence: u64,
    hash: String,
    /// The message id while it isn't known to be stored.
    in_flight: Option<String>,
    generation: u64,
}

/// Remembers the last entry that was handed over or seen stored.
#[derive(Default)]
pub(super) struct Fence {
    tip: Mutex<Option<Tip>>,
}

impl Fence {
    pub(super) fn ask(&self, expected: u64, previous_hash: &str, generation: u64) -> Answer {
        if expected == 0 {
            return Answer::Stored;
        }
        match &*self.tip() {
            Some(tip) if tip.sequence == expected => match &tip.in_flight {
                None if tip.hash == previous_hash => Answer::Stored,
                None => Answer::OtherChain,
                // What was in flight on a lost connection is looked up; so is a place that ours lost to another.
                Some(id) if tip.hash == previous_hash && tip.generation == generation => Answer::InFlight(id.clone()),
                Some(_) => Answer::Unknown,
            },
            _ => Answer::Unknown,
        }
    }

    pub(super) fn handed_over(&self, sequence: u64, payload: &[u8], commit_id: String, generation: u64) {
        let hash = hex::encode(hash(payload));
        *self.tip() = Some(Tip { sequence, hash, in_flight: Some(commit_id), generation });
    }

    pub(super) fn stored(&self, sequence: u64) {
        if let Some(tip) = self.tip().as_mut().filter(|tip| tip.sequence == sequence) {
            tip.in_flight = None;
        }
    }

    /// Notes what was found stored; tells whether it is what the entry chains on.
    pub(super) fn learned(&self, sequence: u64, payload: &[u8], previous_hash: &str, generation: u64) -> bool {
        let hash = hex::encode(hash(payload));
        let same = hash == previous_hash;
        *self.tip() = Some(Tip { sequence, hash, in_flight: None, generation });
        same
    }

    fn tip(&self) -> MutexGuard<'_, Option<Tip>> {
        // Nothing panics while it holds the lock.
        self.tip.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
