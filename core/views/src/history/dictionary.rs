//! Rows of the index: terms, and where each is.

use super::{
    layout::Block,
    places::{self, Place, Places},
};

/// Terms by hash with their places in one block, gathered in the order of the places.
#[derive(Debug)]
pub(crate) struct Dictionary {
    first: u64,
    /// Term, commits behind `first`, event of the commit.
    gathered: Vec<(u64, u32, u32)>,
}

impl Dictionary {
    /// An empty one for a block that begins with the commit `first`.
    pub fn from(first: u64) -> Self {
        Self { first, gathered: Vec::new() }
    }

    /// Adds a place behind all others.
    pub fn push(&mut self, term: u64, (sequence, event): Place) {
        // A block has 262,144 commits at most.
        self.gathered.push((term, sequence.saturating_sub(self.first) as u32, event));
    }

    /// Adds what a row of the block says, behind all others; `None` when it is no row.
    pub fn append(&mut self, row: &[u8]) -> Option<()> {
        let begun = self.gathered.len();
        each(row, |term, bytes| {
            places::read(bytes, self.first)?.into_iter().for_each(|place| self.push(term, place));
            Some(())
        })?;
        // What is in a row is in the order of terms.
        self.gathered.get_mut(begun..)?.sort_by_key(|&(_, behind, event)| (behind, event));
        Some(())
    }

    /// Gives its rows in ascending order of their numbers, without the empty ones.
    pub fn write(mut self, block: Block, write: impl FnMut(u64, Vec<u8>)) {
        // Stable, so the places of a term stay in order.
        self.gathered.sort_by_key(|(term, ..)| *term);
        let mut rows = Rows { block, row: Vec::new(), number: 0, write };
        let mut places = Places::default();
        for one in self.gathered.chunk_by(|left, right| left.0 == right.0) {
            places.begin(self.first);
            one.iter().for_each(|&(_, behind, event)| places.push((self.first + u64::from(behind), event)));
            if let Some((term, ..)) = one.first() {
                rows.add(*term, places.bytes());
            }
        }
        rows.end();
    }
}

/// Joins rows of blocks that follow each other, each with the commit that its block begins with, to those of the block that
/// they become; given as [`Dictionary::write`] does. `None` when one is no row.
pub(crate) fn join(parts: &[(u64, Vec<u8>)], block: Block, write: impl FnMut(u64, Vec<u8>)) -> Option<()> {
    let mut terms: Vec<(u64, u64, &[u8])> = Vec::new();
    for (first, row) in parts {
        each(row, |term, places| {
            terms.push((term, *first, places));
            Some(())
        })?;
    }
    // Stable, so what is of one term stays in the order of the blocks.
    terms.sort_by_key(|(term, ..)| *term);
    let mut rows = Rows { block, row: Vec::new(), number: 0, write };
    let mut joined = Places::default();
    for one in terms.chunk_by(|left, right| left.0 == right.0) {
        joined.begin(block.first());
        for (_, first, places) in one {
            joined.append(places, *first)?;
        }
        if let Some((term, ..)) = one.first() {
            rows.add(*term, joined.bytes());
        }
    }
    rows.end();
    Some(())
}

/// A block's rows while its terms come in ascending order. A row has of each term the hash (8 bytes, big endian), the length of
/// its places, its places.
struct Rows<W> {
    block: Block,
    row: Vec<u8>,
    number: u64,
    write: W,
}

impl<W: FnMut(u64, Vec<u8>)> Rows<W> {
    fn add(&mut self, term: u64, places: &[u8]) {
        let number = self.block.number_of(term);
        if number != self.number {
            self.end();
            self.number = number;
        }
        self.row.extend_from_slice(&term.to_be_bytes());
        places::number(&mut self.row, places.len() as u64);
        self.row.extend_from_slice(places);
    }

    fn end(&mut self) {
        if !self.row.is_empty() {
            (self.write)(self.number, std::mem::take(&mut self.row));
        }
    }
}

/// The places of one term in a row of a block that begins with `first`; `None` when it is no row.
pub(crate) fn look_up(row: &[u8], term: u64, first: u64) -> Option<Vec<Place>> {
    let mut found = Vec::new();
    each(row, |this, bytes| {
        if this == term {
            found = places::read(bytes, first)?;
        }
        Some(())
    })?;
    Some(found)
}

fn each<'a>(mut row: &'a [u8], mut take: impl FnMut(u64, &'a [u8]) -> Option<()>) -> Option<()> {
    while let Some((term, rest)) = row.split_first_chunk::<8>() {
        row = rest;
        let length = usize::try_from(places::take_number(&mut row)?).ok()?;
        let (places, rest) = row.split_at_checked(length)?;
        take(u64::from_be_bytes(*term), places)?;
        row = rest;
    }
    row.is_empty().then_some(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::history::layout::TOP_LEVEL;
    use proptest::prelude::*;

    /// As a block writes it: its rows by number.
    fn rows_of(level: u32, number: u64, places: &[(u64, Place)]) -> BTreeMap<u64, Vec<u8>> {
        let block = Block { level, number };
        let mut dictionary = Dictionary::from(block.first());
        places.iter().for_each(|&(term, place)| dictionary.push(term, place));
        let mut rows = BTreeMap::new();
        dictionary.write(block, |number, row| assert!(rows.insert(number, row).is_none(), "a row twice"));
        rows
    }

    #[test]
    fn a_row_tells_each_term_and_goes_on_where_it_was_left() {
        let block = Block { level: 0, number: 0 };
        let row = &rows_of(0, 0, &[(7, (1, 0)), (9, (1, 1)), (7, (60, 0)), (7, (60, 0))])[&0];
        assert_eq!(look_up(row, 7, 1), Some(vec![(1, 0), (60, 0)]));
        assert_eq!(look_up(row, 8, 1), Some(vec![]));
        let mut more = Dictionary::from(1);
        more.append(row).unwrap();
        more.push(9, (61, 2));
        more.write(block, |number, row| {
            assert_eq!(number, 0);
            assert_eq!(look_up(&row, 7, 1), Some(vec![(1, 0), (60, 0)]));
            assert_eq!(look_up(&row, 9, 1), Some(vec![(1, 1), (61, 2)]));
        });
    }

    proptest! {
        #[test]
        fn blocks_that_are_joined_are_as_if_they_had_been_written_at_once(
            level in 1..=TOP_LEVEL,
            number in 0_u64..4,
            mut places in prop::collection::vec((0_u64..40, 0_u64..1 << 18, 0_u32..3), 0..200),
        ) {
            let whole = Block { level, number };
            let commits = whole.last() + 1 - whole.first();
            places.sort_by_key(|&(_, at, event)| (at % commits, event));
            let places: Vec<(u64, Place)> = places
                .into_iter()
                .map(|(term, at, event)| (term.wrapping_mul(0x9e37_79b9_7f4a_7c15), (whole.first() + at % commits, event)))
                .collect();
            let mut parts: BTreeMap<u64, Vec<(u64, Vec<u8>)>> = BTreeMap::new();
            for part in whole.parts() {
                let here: Vec<_> =
                    places.iter().copied().filter(|(_, place)| (part.first()..=part.last()).contains(&place.0)).collect();
                for (bucket, row) in rows_of(part.level, part.number, &here) {
                    parts.entry(bucket).or_default().push((part.first(), row));
                }
            }
            let mut joined = BTreeMap::new();
            for parts in parts.values() {
                join(parts, whole, |number, row| assert!(joined.insert(number, row).is_none())).unwrap();
            }
            prop_assert_eq!(joined, rows_of(level, number, &places));
        }

        #[test]
        fn any_bytes_are_a_row_or_none(bytes in prop::collection::vec(any::<u8>(), 0..60), term in any::<u64>()) {
            let _ = look_up(&bytes, term, 1);
            let _ = Dictionary::from(1).append(&bytes);
            let _ = join(&[(1, bytes)], Block { level: 1, number: 0 }, |_, _| {});
        }
    }
}
