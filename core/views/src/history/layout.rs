//! Which commits stand together in the index.
//!
//! A block of level 0 covers 64 commits and is one row. 64 whole blocks become one of the next level, whose rows are 64
//! times as many, each with the terms that share the first bits of their hash. So rows stay of a size, a look-up reads one
//! row a block, and a log of any length has few blocks: at 36,500,000 commits (ten years at 10,000 a day) some 139 of level
//! 2, and at most 64 of each other. The layout follows from the number of commits alone, so that an index made anew
//! is the same byte for byte.

/// Blocks that become one of the next level, as a power of two; the first level's commits too.
const STEP_BITS: u32 = 6;
/// The highest level. Merging into it reads and writes some 20 MB, once in 262,144 commits.
pub(crate) const TOP_LEVEL: u32 = 2;
/// Blocks of a level that become one of the next.
pub(crate) const STEP: u64 = 1 << STEP_BITS;

/// A run of commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Block {
    pub level: u32,
    /// Counted from 0 in its level.
    pub number: u64,
}

impl Block {
    /// The block to write a commit into that is in no block yet, when all up to `upto` are written with it: one of level 1 at
    /// once if it becomes whole.
    pub fn to_write(sequence: u64, upto: u64) -> Self {
        let large = Self::of(1, sequence);
        if large.first() == sequence && large.last() <= upto { large } else { Self::of(0, sequence) }
    }

    /// The block of a level that a commit is in.
    pub fn of(level: u32, sequence: u64) -> Self {
        Self { level, number: sequence.saturating_sub(1) / commits(level) }
    }

    /// The block that holds a commit where the log has `position` commits: of the highest level that is whole.
    pub fn holding(sequence: u64, position: u64) -> Self {
        let whole = (1..=TOP_LEVEL).rev().map(|level| Self::of(level, sequence)).find(|block| block.last() <= position);
        whole.unwrap_or_else(|| Self::of(0, sequence))
    }

    /// Its first commit.
    pub fn first(self) -> u64 {
        self.number * commits(self.level) + 1
    }

    /// Its last commit.
    pub fn last(self) -> u64 {
        (self.number + 1) * commits(self.level)
    }

    /// The blocks that become this one, of the level below; none for level 0.
    pub fn parts(self) -> impl Iterator<Item = Self> {
        let below = self.level.checked_sub(1);
        below.into_iter().flat_map(move |level| {
            (self.number * STEP..(self.number + 1) * STEP).map(move |number| Self { level, number })
        })
    }

    /// The key of the row in which it has a term.
    pub fn row_of(self, term: u64) -> Vec<u8> {
        self.row(self.number_of(term))
    }

    /// The number of the row in which it has a term.
    pub fn number_of(self, term: u64) -> u64 {
        bucket(self.level, term)
    }

    /// The key of its row of this number.
    pub fn row(self, bucket: u64) -> Vec<u8> {
        let mut key = vec![b'x', self.level as u8];
        key.extend_from_slice(&self.number.to_be_bytes());
        key.extend_from_slice(&bucket.to_be_bytes());
        key
    }

    /// How many rows it has at most.
    pub fn rows(self) -> u64 {
        1 << (STEP_BITS * self.level)
    }
}

/// Which row of a block of this level has a term: the first bits of its hash.
fn bucket(level: u32, term: u64) -> u64 {
    term.checked_shr(64 - STEP_BITS * level).unwrap_or(0)
}

fn commits(level: u32) -> u64 {
    STEP << (STEP_BITS * level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_commit_is_in_one_block_and_blocks_follow_each_other() {
        for position in [1, 63, 64, 65, 4095, 4096, 4097, 8192, 262_144, 262_145, 266_240, 600_001] {
            let (mut sequence, mut blocks) = (1, 0);
            while sequence <= position {
                let block = Block::holding(sequence, position);
                assert_eq!(block.first(), sequence, "{position}");
                assert!(block.level == 0 || block.last() <= position, "{position}: {block:?}");
                assert_eq!(Block::holding(block.last().min(position), position), block);
                sequence = block.last() + 1;
                blocks += 1;
            }
            assert!(blocks <= position / 262_144 + 2 * 64, "{position}: {blocks}");
        }
    }

    #[test]
    fn parts_cover_their_block_and_rows_divide_those_of_their_parts() {
        let block = Block { level: 2, number: 3 };
        let parts: Vec<_> = block.parts().collect();
        assert_eq!((parts[0].first(), parts[63].last()), (block.first(), block.last()));
        assert!(parts.windows(2).all(|pair| pair[0].last() + 1 == pair[1].first()));
        assert_eq!(Block { level: 0, number: 0 }.parts().count(), 0);
        for term in [0, 1, u64::MAX, u64::MAX / 3, 1 << 58, 1 << 52] {
            assert_eq!(bucket(0, term), 0);
            assert!(bucket(2, term) < block.rows());
            assert_eq!(bucket(2, term) / STEP, bucket(1, term));
        }
    }
}
