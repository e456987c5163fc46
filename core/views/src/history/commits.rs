//! The commits themselves, packed: what the index leads to.
//!
//! A row holds 32 commits, packed with zstd: commits are much alike, so a row is a seventh of them. Only the last row is
//! ever written again.

use std::sync::Arc;

use edgestack_model::Commit;
use sled::Tree;
use zstd::bulk::Compressor;

use crate::ViewError;

use super::write::Rows;

/// Commits in a row.
const ROW_COMMITS: u64 = 32;
/// zstd's level: the fastest that packs well.
const LEVEL: i32 = 1;
/// The most that a row unpacks to: as many commits of the size that the log takes at most (256 KiB), and a bit.
const UNPACKED_MAX: usize = 9 << 20;

/// One row, unpacked.
#[derive(Debug, Default)]
pub(crate) struct Row {
    number: u64,
    /// Each commit's length (4 bytes, little endian) and bytes, one after the other.
    text: Vec<u8>,
    /// Where each one's bytes are in `text`.
    commits: Vec<std::ops::Range<usize>>,
}

impl Row {
    /// Reads the row in which a commit is.
    pub fn read(tree: &Tree, sequence: u64) -> Result<Arc<Self>, ViewError> {
        let number = number_of(sequence);
        let packed = tree.get(key(number))?.ok_or(ViewError::Incomplete)?;
        Ok(Arc::new(Self::unpack(number, &packed).ok_or(ViewError::Incomplete)?))
    }

    /// Whether a commit is in it.
    pub fn has(&self, sequence: u64) -> bool {
        sequence > 0 && number_of(sequence) == self.number && self.range(sequence).is_some()
    }

    /// A commit in it.
    pub fn commit(&self, sequence: u64) -> Result<Commit, ViewError> {
        let bytes = self.range(sequence).and_then(|range| self.text.get(range.clone()));
        Ok(Commit::decode(bytes.ok_or(ViewError::Incomplete)?)?)
    }

    fn range(&self, sequence: u64) -> Option<&std::ops::Range<usize>> {
        self.commits.get(usize::try_from((sequence - 1) % ROW_COMMITS).ok()?)
    }

    fn push(&mut self, payload: &[u8]) {
        // A commit is at most 256 KiB.
        self.text.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        let begin = self.text.len();
        self.text.extend_from_slice(payload);
        self.commits.push(begin..self.text.len());
    }

    fn pack(&self, packer: &mut Compressor<'_>) -> Result<Vec<u8>, ViewError> {
        packer.compress(&self.text).map_err(ViewError::Packing)
    }

    fn unpack(number: u64, packed: &[u8]) -> Option<Self> {
        let length = usize::try_from(zstd::zstd_safe::get_frame_content_size(packed).ok()??).ok()?;
        if length > UNPACKED_MAX {
            return None;
        }
        let text = zstd::bulk::decompress(packed, length).ok()?;
        let (mut commits, mut at) = (Vec::new(), 0);
        while at < text.len() {
            let length = u32::from_le_bytes(*text.get(at..)?.first_chunk::<4>()?);
            let begin = at + 4;
            at = begin.checked_add(usize::try_from(length).ok()?).filter(|end| *end <= text.len())?;
            commits.push(begin..at);
        }
        Some(Self { number, text, commits })
    }
}

/// The last row, as it is being filled.
pub(crate) struct LastRow {
    row: Option<Row>,
    /// Making one costs more than packing a row with it.
    packer: Compressor<'static>,
}

impl LastRow {
    /// None yet.
    pub fn new() -> Result<Self, ViewError> {
        Ok(Self { row: None, packer: Compressor::new(LEVEL).map_err(ViewError::Packing)? })
    }

    /// Adds the commit that follows the last one.
    pub fn push(&mut self, rows: &mut Rows<'_>, sequence: u64, payload: &[u8]) -> Result<(), ViewError> {
        let number = number_of(sequence);
        let mut row = match self.row.take() {
            Some(row) if row.number == number => row,
            Some(whole) => {
                rows.insert(key(whole.number), whole.pack(&mut self.packer)?);
                Row { number, ..Row::default() }
            }
            None if (sequence - 1).is_multiple_of(ROW_COMMITS) => Row { number, ..Row::default() },
            None => {
                let packed = rows.get(&key(number))?.ok_or(ViewError::Incomplete)?;
                Row::unpack(number, &packed).ok_or(ViewError::Incomplete)?
            }
        };
        if row.commits.len() as u64 != (sequence - 1) % ROW_COMMITS {
            return Err(ViewError::Incomplete);
        }
        row.push(payload);
        self.row = Some(row);
        Ok(())
    }

    /// Writes it.
    pub fn finish(mut self, rows: &mut Rows<'_>) -> Result<(), ViewError> {
        if let Some(row) = self.row.take() {
            rows.insert(key(row.number), row.pack(&mut self.packer)?);
        }
        Ok(())
    }
}

fn number_of(sequence: u64) -> u64 {
    sequence.saturating_sub(1) / ROW_COMMITS
}

fn key(number: u64) -> Vec<u8> {
    let mut key = vec![b'c'];
    key.extend_from_slice(&number.to_be_bytes());
    key
}
