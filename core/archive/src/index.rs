//! The index at the end of a closed segment: what it holds, on what it chains, and where each frame begins.

use edgestack_log::ChainHead;
use serde::{Deserialize, Serialize};

use crate::{ArchiveError, segment_error};

/// The one format there is.
pub(crate) const FORMAT: u32 = 1;

/// As it stands in the skippable frame, in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentIndex {
    pub format: u32,
    pub first: u64,
    pub last: u64,
    /// SHA-256 of the payload before the first, 64 hex digits; zeros before the first of all.
    pub previous_hash: String,
    /// SHA-256 of the last payload.
    pub hash: String,
    /// Bytes of all frames before the index, and their SHA-256.
    pub bytes: u64,
    pub sha256: String,
    pub frames: Vec<Frame>,
}

/// One Zstandard frame of lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Frame {
    /// Sequence of its first line.
    pub first: u64,
    /// Where it begins in the object.
    pub at: u64,
}

impl SegmentIndex {
    /// The chain's head after the last commit.
    pub fn head(&self) -> Result<ChainHead, ArchiveError> {
        Ok(ChainHead { sequence: self.last, hash: self.decode(&self.hash)? })
    }

    /// The chain's head before the first commit.
    pub fn before(&self) -> Result<ChainHead, ArchiveError> {
        Ok(ChainHead { sequence: self.first.saturating_sub(1), hash: self.decode(&self.previous_hash)? })
    }

    /// The frames that hold `from` up to `max` lines on: the first one's first sequence, and their bytes in the object.
    pub fn range(&self, from: u64, max: usize) -> Option<(u64, std::ops::Range<u64>)> {
        let begin = self.frames.partition_point(|frame| frame.first <= from).checked_sub(1)?;
        let to = from.saturating_add(max.try_into().unwrap_or(u64::MAX));
        let after = self.frames.partition_point(|frame| frame.first < to);
        let end = self.frames.get(after).map_or(self.bytes, |frame| frame.at);
        let begin = self.frames.get(begin)?;
        (begin.at < end).then_some((begin.first, begin.at..end))
    }

    fn decode(&self, hex_digits: &str) -> Result<[u8; 32], ArchiveError> {
        let mut hash = [0; 32];
        hex::decode_to_slice(hex_digits, &mut hash)
            .map_err(|_| segment_error(self.first, self.last, "a hash in its index is no hash".to_owned()))?;
        Ok(hash)
    }
}
