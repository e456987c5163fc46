//! A row of the index: terms, and where each is.

use std::collections::BTreeMap;

use super::places::{self, Place, Places};

/// Terms by hash, each with its places in one block.
#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    first: u64,
    terms: BTreeMap<u64, Places>,
}

impl Dictionary {
    /// An empty one for a block that begins with the commit `first`.
    pub fn from(first: u64) -> Self {
        Self { first, terms: BTreeMap::new() }
    }

    /// Adds a place behind all others.
    pub fn push(&mut self, term: u64, place: Place) {
        self.terms.entry(term).or_insert_with(|| Places::from(self.first)).push(place);
    }

    /// Adds what a row of a block says that begins with the commit `first`, behind all others; `None` when it is no row.
    pub fn append(&mut self, row: &[u8], first: u64) -> Option<()> {
        each(row, |term, bytes| {
            for place in places::read(bytes, first)? {
                self.push(term, place);
            }
            Some(())
        })
    }

    /// As a row: of each term in ascending order the hash (8 bytes, big endian), the length of its places, its places.
    pub fn encode(&self) -> Vec<u8> {
        let mut row = Vec::new();
        for (term, places) in &self.terms {
            row.extend_from_slice(&term.to_be_bytes());
            places::number(&mut row, places.bytes().len() as u64);
            row.extend_from_slice(places.bytes());
        }
        row
    }

    /// Takes all terms out whose hash is below `end`.
    pub fn take_below(&mut self, end: Option<u64>) -> Self {
        let rest = end.map_or_else(BTreeMap::new, |end| self.terms.split_off(&end));
        Self { first: self.first, terms: std::mem::replace(&mut self.terms, rest) }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
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

fn each(mut row: &[u8], mut take: impl FnMut(u64, &[u8]) -> Option<()>) -> Option<()> {
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
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_row_tells_each_term_and_blocks_are_joined_in_order() {
        let mut one = Dictionary::from(1);
        one.push(7, (1, 0));
        one.push(9, (1, 1));
        one.push(7, (60, 0));
        let mut two = Dictionary::from(65);
        two.push(7, (65, 3));
        two.push(u64::MAX, (128, 0));
        let mut joined = Dictionary::from(1);
        joined.append(&one.encode(), 1).unwrap();
        joined.append(&two.encode(), 65).unwrap();
        let low = joined.take_below(Some(9));
        assert_eq!(look_up(&low.encode(), 7, 1), Some(vec![(1, 0), (60, 0), (65, 3)]));
        assert_eq!(look_up(&low.encode(), 9, 1), Some(vec![]));
        let rest = joined.take_below(None);
        assert_eq!(look_up(&rest.encode(), 9, 1), Some(vec![(1, 1)]));
        assert_eq!(look_up(&rest.encode(), u64::MAX, 1), Some(vec![(128, 0)]));
        assert!(joined.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_row_or_none(bytes in prop::collection::vec(any::<u8>(), 0..60), term in any::<u64>()) {
            let _ = look_up(&bytes, term, 1);
            let _ = Dictionary::from(1).append(&bytes, 1);
        }
    }
}
