//! The hash chain over the commits, and the check of a whole log against it.
//!
//! A log can lose acknowledged messages while its own health says that all is well, so what is read is checked: the
//! stream's sequence has no gap, the payload's own `sequence` is the stream's, and `previous_hash` is the SHA-256 of
//! the payload before it, byte for byte as stored.

use edgestack_planted::{self as planted, Bug};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::{Append, AppendError, Cause, Log, LogError, LogHead, MAX_COMMIT_BYTES, StoredCommit};

/// Messages asked for at once while verifying; large enough that the round trip doesn't count.
const VERIFY_BATCH: usize = 1024;

/// SHA-256 of a payload, byte for byte as stored.
pub fn hash(payload: &[u8]) -> [u8; 32] {
    Sha256::digest(payload).into()
}

/// The place up to which the chain is known to be whole; the default is the head of an empty log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChainHead {
    /// Sequence of the last checked commit; 0 before the first.
    pub sequence: u64,
    /// [`hash`] of its payload; zeros before the first.
    pub hash: [u8; 32],
}

/// The first thing found wrong in a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Commits are missing between two that are there.
    #[error("commits {expected} to {} are missing: after {} comes {found}", found - 1, expected - 1)]
    Gap {
        /// The sequence that should have come.
        expected: u64,
        /// The larger one that came.
        found: u64,
    },
    /// A commit's `previous_hash` is not the hash of the commit before it: one of the two was changed.
    #[error(
        "commit {sequence} says that the hash before it is {says}, but commit {} has {is}: one of them was changed",
        sequence - 1
    )]
    BrokenHash {
        /// The commit whose `previous_hash` doesn't match.
        sequence: u64,
        /// Its `previous_hash`.
        says: String,
        /// The hash of the commit before it, 64 hex digits.
        is: String,
    },
    /// A commit stands at another place than the one it was decided for.
    #[error("commit {says} stands at place {sequence}")]
    Reordered {
        /// Where it stands.
        sequence: u64,
        /// The sequence its payload names.
        says: u64,
    },
    /// A payload is no commit.
    #[error("commit {sequence} can't be read: {why}")]
    Undecodable {
        /// Where it stands.
        sequence: u64,
        /// What the decoder says.
        why: String,
    },
    /// The log counts fewer (or more) messages than its sequences allow.
    #[error(
        "the log says that it holds {messages} commits, but {first_sequence} to {last_sequence} would be {expected}"
    )]
    Missing {
        /// Oldest sequence by the log's own word.
        first_sequence: u64,
        /// Newest sequence by the log's own word.
        last_sequence: u64,
        /// How many there should be.
        expected: u64,
        /// How many it says there are.
        messages: u64,
    },
    /// The end of the log is gone.
    #[error("commit {acknowledged} was acknowledged, but the log ends at {last}")]
    CutTail {
        /// A sequence that is known to have been acknowledged.
        acknowledged: u64,
        /// Where the log ends.
        last: u64,
    },
    /// A commit inside the log can't be read, though those around it are there.
    #[error("commit {sequence} can't be read, though the log says it goes on to {last_sequence}")]
    Unreadable {
        /// The commit that doesn't come.
        sequence: u64,
        /// Newest sequence by the log's own word.
        last_sequence: u64,
    },
    /// Somebody else changed the files that the log lies in, under the server that has them open; what it answers from its
    /// memory says nothing of them.
    #[error("somebody changed the log's files: {what}")]
    Touched {
        /// Which, and how.
        what: String,
    },
}

impl Damage {
    /// The first commit that is, or may be, not what was acknowledged.
    pub fn first_wrong(&self) -> u64 {
        match self {
            Self::Gap { expected, .. } => *expected,
            // Of the two that don't fit the earlier one may be the changed one.
            Self::BrokenHash { sequence, .. } => sequence.saturating_sub(1).max(1),
            Self::Reordered { sequence, .. }
            | Self::Undecodable { sequence, .. }
            | Self::Unreadable { sequence, .. } => *sequence,
            Self::Missing { first_sequence, .. } => (*first_sequence).max(1),
            Self::CutTail { last, .. } => last + 1,
            Self::Touched { .. } => 1,
        }
    }
}

/// The three fields of a commit that the log reads.
#[derive(Debug, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) id: String,
    pub(crate) sequence: u64,
    pub(crate) previous_hash: String,
}

impl Envelope {
    pub(crate) fn read(commit: &StoredCommit) -> Result<Self, Damage> {
        serde_json::from_slice(&commit.payload)
            .map_err(|error| Damage::Undecodable { sequence: commit.sequence, why: error.to_string() })
    }
}

/// What an entry says of itself, after checking that it is a commit for the place it asks for: a malformed commit must
/// never get into the log, as it could never be taken out again.
pub(crate) fn check_entry(entry: &Append) -> Result<Envelope, AppendError> {
    let bytes = entry.payload.len();
    if bytes > MAX_COMMIT_BYTES {
        return Err(AppendError::TooLarge { bytes, limit: MAX_COMMIT_BYTES });
    }
    let refused = |why: String| Err(AppendError::Refused(Cause::new(why)));
    let envelope: Envelope = match serde_json::from_slice(&entry.payload) {
        Ok(envelope) => envelope,
        Err(error) => {
            return Err(AppendError::Refused(Cause::with_source("the payload is no commit", error)));
        }
    };
    if memchr::memchr(b'\n', &entry.payload).is_some() {
        return refused("a commit is one line, without a line feed".to_owned());
    }
    if envelope.id != entry.commit_id {
        return refused(format!("the payload's id is {}, the entry's {}", envelope.id, entry.commit_id));
    }
    if Some(envelope.sequence) != entry.expected_last_sequence.checked_add(1) {
        let expected = entry.expected_last_sequence;
        return refused(format!("the payload says sequence {} but would come after {expected}", envelope.sequence));
    }
    if entry.expected_last_sequence == 0 && envelope.previous_hash != ChainHead::GENESIS.hash_hex() {
        return refused("the first commit's previous_hash must be 64 zeros".to_owned());
    }
    Ok(envelope)
}

impl ChainHead {
    /// The head of an empty log.
    pub const GENESIS: Self = Self { sequence: 0, hash: [0; 32] };

    /// The hash as a commit's `previous_hash` spells it: 64 lower-case hex digits.
    pub fn hash_hex(&self) -> String {
        hex::encode(self.hash)
    }

    /// The head after `payload` was stored next, unchecked: for the writer, which made the payload itself.
    #[must_use]
    pub fn after(&self, payload: &[u8]) -> Self {
        Self { sequence: self.sequence + 1, hash: hash(payload) }
    }

    /// Checks that `commit` is the one that comes next and moves on to it; stays where it is otherwise.
    ///
    /// # Errors
    /// What is wrong, naming the first wrong sequence.
    pub fn check_next(&mut self, commit: &StoredCommit) -> Result<(), Damage> {
        self.check_place(commit)?;
        let envelope = Envelope::read(commit)?;
        self.check_next_read(commit, envelope.sequence, &envelope.previous_hash)
    }

    /// As [`Self::check_next`], for who has read already what the commit's payload says of its sequence and of the hash before
    /// it.
    ///
    /// # Errors
    /// As [`Self::check_next`].
    pub fn check_next_read(&mut self, commit: &StoredCommit, says: u64, previous_hash: &str) -> Result<(), Damage> {
        self.check_place(commit)?;
        if says != commit.sequence {
            return Err(Damage::Reordered { sequence: commit.sequence, says });
        }
        if !self.is_spelt(previous_hash) && !planted::is(Bug::HashNotChecked) {
            let says = previous_hash.to_owned();
            return Err(Damage::BrokenHash { sequence: commit.sequence, says, is: self.hash_hex() });
        }
        *self = self.after(&commit.payload);
        Ok(())
    }

    fn check_place(&self, commit: &StoredCommit) -> Result<(), Damage> {
        let expected = self.sequence + 1;
        if commit.sequence > expected {
            return Err(Damage::Gap { expected, found: commit.sequence });
        }
        if commit.sequence < expected {
            return Err(Damage::Reordered { sequence: expected, says: commit.sequence });
        }
        Ok(())
    }

    /// Whether a text is [`Self::hash_hex`].
    fn is_spelt(&self, text: &str) -> bool {
        let mut digits = [0; 64];
        hex::encode_to_slice(self.hash, &mut digits).is_ok() && digits == text.as_bytes()
    }
}

/// The head on which a commit says that it chains.
///
/// # Errors
/// [`Damage::Undecodable`].
pub fn before(commit: &StoredCommit) -> Result<ChainHead, Damage> {
    let envelope = Envelope::read(commit)?;
    let mut hash = [0; 32];
    hex::decode_to_slice(&envelope.previous_hash, &mut hash)
        .map_err(|error| Damage::Undecodable { sequence: commit.sequence, why: error.to_string() })?;
    Ok(ChainHead { sequence: commit.sequence.saturating_sub(1), hash })
}

impl LogHead {
    /// Compares the log's count of messages with its own sequences.
    ///
    /// # Errors
    /// [`Damage::Missing`] when they don't agree.
    pub fn check_count(&self) -> Result<(), Damage> {
        // An empty stream says first 0 or last + 1, which both come out as none.
        let expected =
            if self.last_sequence == 0 { 0 } else { (self.last_sequence + 1).saturating_sub(self.first_sequence) };
        if expected == self.messages {
            return Ok(());
        }
        Err(Damage::Missing {
            first_sequence: self.first_sequence,
            last_sequence: self.last_sequence,
            expected,
            messages: self.messages,
        })
    }
}

/// The part of `batch` that starts at `from` and has no gap: what is whole is given out before the damage is told.
pub(crate) fn dense_part(from: u64, mut batch: Vec<StoredCommit>) -> Result<Vec<StoredCommit>, Damage> {
    let whole = (from..).zip(&batch).take_while(|(expected, commit)| commit.sequence == *expected).count();
    match batch.first() {
        Some(first) if whole == 0 && first.sequence > from => {
            Err(Damage::Gap { expected: from, found: first.sequence })
        }
        Some(first) if whole == 0 => Err(Damage::Reordered { sequence: from, says: first.sequence }),
        _ => {
            batch.truncate(whole);
            Ok(batch)
        }
    }
}

/// Reads and checks the whole log: the count, the sequences and the chain.
///
/// `upto` is the last sequence that is known to have been acknowledged (from a view, an archive, the writer's memory):
/// a log that ends before it has lost its tail, and the check ends there. `None` checks all that the log says it has.
///
/// # Errors
/// [`LogError::Damaged`] with the first thing wrong, [`LogError::Unavailable`] when the log can't be read.
pub async fn verify(log: &dyn Log, upto: Option<u64>) -> Result<ChainHead, LogError> {
    verify_from(log, ChainHead::GENESIS, upto).await
}

/// As [`verify`], going on from a head that was checked before: for the check on a timer.
///
/// # Errors
/// As [`verify`].
pub async fn verify_from(log: &dyn Log, mut chain: ChainHead, upto: Option<u64>) -> Result<ChainHead, LogError> {
    // Taken first: what is appended while we read is beyond it and needs no agreement with it.
    let head = log.head().await?;
    let acknowledged = upto.unwrap_or(0).max(chain.sequence);
    if head.last_sequence < acknowledged {
        return Err(Damage::CutTail { acknowledged, last: head.last_sequence }.into());
    }
    head.check_count()?;
    let end = upto.unwrap_or(head.last_sequence);
    while chain.sequence < end {
        let wanted = usize::try_from(end - chain.sequence).unwrap_or(VERIFY_BATCH).min(VERIFY_BATCH);
        let batch = log.read(chain.sequence + 1, wanted).await?;
        if batch.is_empty() {
            let sequence = chain.sequence + 1;
            return Err(Damage::Unreadable { sequence, last_sequence: head.last_sequence }.into());
        }
        for commit in &batch {
            chain.check_next(commit)?;
        }
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn commit(sequence: u64, says: u64, previous_hash: &str) -> StoredCommit {
        let payload = format!(r#"{{"id":"c{sequence}","sequence":{says},"previous_hash":"{previous_hash}","more":1}}"#);
        StoredCommit { sequence, payload: Bytes::from(payload) }
    }

    fn check(commit: &StoredCommit, expect: Result<(), Damage>) {
        let mut head = ChainHead::GENESIS;
        assert_eq!(head.check_next(commit), expect);
        assert_eq!(head.sequence, u64::from(expect.is_ok()), "a refused commit must not move the head");
    }

    #[test]
    fn each_kind_of_damage_is_named_with_its_first_sequence() {
        let zeros = "0".repeat(64);
        check(&commit(1, 1, &zeros), Ok(()));
        check(&commit(4, 4, &zeros), Err(Damage::Gap { expected: 1, found: 4 }));
        check(&commit(1, 2, &zeros), Err(Damage::Reordered { sequence: 1, says: 2 }));
        let ones = "1".repeat(64);
        check(&commit(1, 1, &ones), Err(Damage::BrokenHash { sequence: 1, says: ones.clone(), is: zeros.clone() }));
        let junk = StoredCommit { payload: Bytes::from_static(b"\xff"), ..commit(1, 1, &zeros) };
        let mut head = ChainHead::GENESIS;
        assert!(matches!(head.check_next(&junk), Err(Damage::Undecodable { sequence: 1, .. })));
    }

    #[test]
    fn the_chain_goes_on_from_the_hash_of_the_bytes_as_stored() {
        let mut head = ChainHead::GENESIS;
        let first = commit(1, 1, &head.hash_hex());
        head.check_next(&first).unwrap();
        assert_eq!(head.hash, hash(&first.payload));
        head.check_next(&commit(2, 2, &hex::encode(hash(&first.payload)))).unwrap();
        assert_eq!(head.sequence, 2);
    }

    #[test]
    fn damage_is_told_in_a_plain_sentence() {
        let gap = Damage::Gap { expected: 4, found: 7 };
        assert_eq!(gap.to_string(), "commits 4 to 6 are missing: after 3 comes 7");
        let cut = Damage::CutTail { acknowledged: 9, last: 7 };
        assert_eq!(cut.to_string(), "commit 9 was acknowledged, but the log ends at 7");
    }

    #[test]
    fn an_empty_log_and_a_full_one_pass_the_count_and_a_hole_does_not() {
        for (first_sequence, last_sequence, messages, whole) in
            [(0, 0, 0, true), (1, 0, 0, true), (1, 3, 3, true), (1, 3, 2, false), (1, 0, 1, false)]
        {
            let head = LogHead { first_sequence, last_sequence, messages };
            assert_eq!(head.check_count().is_ok(), whole, "{head:?}");
        }
    }
}
