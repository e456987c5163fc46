//! A commit as a line: its payload, byte for byte, and a line feed.
//!
//! JSON needs no line feed between its tokens and allows none within a string, and the writer makes none; a payload
//! that has one all the same could not be told from two, so it is refused.

use bytes::Bytes;
use edgestack_log::{ChainHead, Damage, StoredCommit};
use serde::{Deserialize, Serialize};

/// What of a commit's envelope the subject is made of.
#[derive(Deserialize)]
struct Primary<'a> {
    sequence: u64,
    #[serde(borrow)]
    kind: &'a str,
    #[serde(borrow)]
    resource_id: &'a str,
}

/// A line read back as the commit that it was.
pub(crate) fn to_commit(line: Bytes, expected: u64) -> Result<StoredCommit, Damage> {
    let undecodable = |why: String| Damage::Undecodable { sequence: expected, why };
    let primary: Primary<'_> = serde_json::from_slice(&line).map_err(|error| undecodable(error.to_string()))?;
    if primary.sequence != expected {
        return Err(Damage::Reordered { sequence: expected, says: primary.sequence });
    }
    let subject = format!("mm3.commit.{}.{}", primary.kind, primary.resource_id);
    Ok(StoredCommit { sequence: expected, subject, payload: line })
}

/// The commit's id, by which JetStream knows a message sent twice.
pub(crate) fn id_of(commit: &StoredCommit) -> Result<String, Damage> {
    #[derive(Deserialize)]
    struct Id {
        id: String,
    }
    let id: Result<Id, _> = serde_json::from_slice(&commit.payload);
    id.map(|id| id.id).map_err(|error| Damage::Undecodable { sequence: commit.sequence, why: error.to_string() })
}

/// Appends a commit's line.
pub(crate) fn write(commit: &StoredCommit, lines: &mut Vec<u8>) -> Result<(), Damage> {
    let undecodable = |why: &str| Damage::Undecodable { sequence: commit.sequence, why: why.to_owned() };
    if commit.payload.contains(&b'\n') {
        return Err(undecodable("it has a line feed, which no commit of ours has"));
    }
    if to_commit(commit.payload.clone(), commit.sequence)?.subject != commit.subject {
        return Err(undecodable("its subject is not that of its primary resource"));
    }
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
