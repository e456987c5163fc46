//! A commit as a line: its payload, byte for byte, and a line feed.
//!
//! JSON needs no line feed between its tokens and allows none within a string, and the writer makes none; a payload
//! that has one all the same could not be told from two, so it is refused.

use bytes::Bytes;
use edgestack_log::{Append, ChainHead, Damage, StoredCommit};
use serde::{Deserialize, Serialize};

/// What of a commit's envelope is needed to append it again.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    id: &'a str,
    sequence: u64,
    #[serde(borrow)]
    kind: &'a str,
    #[serde(borrow)]
    resource_id: &'a str,
}

impl<'a> Envelope<'a> {
    fn read(line: &'a [u8], expected: u64) -> Result<Self, Damage> {
        let envelope: Self = serde_json::from_slice(line)
            .map_err(|error| Damage::Undecodable { sequence: expected, why: error.to_string() })?;
        if envelope.sequence != expected {
            return Err(Damage::Reordered { sequence: expected, says: envelope.sequence });
        }
        Ok(envelope)
    }
}

/// A line read back as the commit that it was.
pub(crate) fn to_commit(line: Bytes, expected: u64) -> Result<StoredCommit, Damage> {
    Envelope::read(&line, expected)?;
    Ok(StoredCommit { sequence: expected, payload: line })
}

/// The append that puts a commit back where it was.
pub(crate) fn to_append(commit: StoredCommit) -> Result<Append, Damage> {
    let envelope = Envelope::read(&commit.payload, commit.sequence)?;
    Ok(Append {
        expected_last_sequence: commit.sequence - 1,
        commit_id: envelope.id.to_owned(),
        subject: format!("mm3.commit.{}.{}", envelope.kind, envelope.resource_id),
        payload: commit.payload,
    })
}

/// Appends a commit's line.
pub(crate) fn write(commit: &StoredCommit, lines: &mut Vec<u8>) -> Result<(), Damage> {
    if commit.payload.contains(&b'\n') {
        let why = "it has a line feed, which no commit of ours has".to_owned();
        return Err(Damage::Undecodable { sequence: commit.sequence, why });
    }
    // What couldn't be appended again is no copy.
    Envelope::read(&commit.payload, commit.sequence)?;
    lines.extend_from_slice(&commit.payload);
    lines.push(b'\n');
    Ok(())
}

/// What follows the commits of each write in the open segment: that they were written whole. The chain vouches for
/// every commit but the last; the seal vouches for that one.
#[derive(Serialize, Deserialize, PartialEq, Eq)]
pub(crate) struct Seal {
    /// Sequence of the last commit before it.
    synced: u64,
    /// SHA-256 of that commit's payload, 64 hex digits.
    hash: String,
}

impl Seal {
    fn of(head: &ChainHead) -> Self {
        Self { synced: head.sequence, hash: head.hash_hex() }
    }

    /// The seal in a line; `None` when it is a commit.
    pub fn read(line: &[u8]) -> Option<Self> {
        if line.starts_with(br#"{"synced":"#) { serde_json::from_slice(line).ok() } else { None }
    }

    /// Whether it vouches for this head.
    pub fn is_of(&self, head: &ChainHead) -> bool {
        *self == Self::of(head)
    }

    /// Appends the line of a head's seal.
    pub fn write(head: &ChainHead, lines: &mut Vec<u8>) {
        // Two plain fields, as `Self` has them: nothing that JSON could refuse.
        lines.extend_from_slice(
            format!("{{\"synced\":{},\"hash\":\"{}\"}}\n", head.sequence, head.hash_hex()).as_bytes(),
        );
    }
}

/// The whole lines of a text, each with its place in it; and how many bytes of a torn one follow.
pub(crate) fn split(text: &Bytes) -> (Vec<(usize, Bytes)>, usize) {
    let (mut lines, mut start) = (Vec::new(), 0);
    for (at, byte) in text.iter().enumerate() {
        if *byte == b'\n' {
            lines.push((start, text.slice(start..at)));
            start = at + 1;
        }
    }
    (lines, text.len() - start)
}
