//! Writing the history: commits, index and place in one batch.

use std::{collections::BTreeMap, sync::Arc};

use edgestack_engine::Applied;
use edgestack_log::ChainHead;
use sled::{Batch, Tree};

use super::{
    bearers,
    commits::LastRow,
    dictionary::Dictionary,
    layout::{Block, TOP_LEVEL},
    terms,
};
use crate::ViewError;

/// The key of the sequence up to which the view is written.
pub(super) const POSITION: &[u8] = b"p";

/// What a batch will change, readable before it is written.
pub(crate) struct Rows<'a> {
    tree: &'a Tree,
    changed: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Rows<'_> {
    /// A row as it will be.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        match self.changed.get(key) {
            Some(changed) => Ok(changed.clone()),
            None => Ok(self.tree.get(key)?.map(|row| row.to_vec())),
        }
    }

    /// Sets a row.
    pub fn insert(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.changed.insert(key, Some(value));
    }

    fn remove(&mut self, key: Vec<u8>) -> Result<(), ViewError> {
        // What this very batch made was never written.
        if self.tree.contains_key(&key)? {
            self.changed.insert(key, None);
        } else {
            self.changed.remove(&key);
        }
        Ok(())
    }
}

/// The batch that brings the view from `position` to `head`.
pub(super) fn batch(
    tree: &Tree,
    position: u64,
    applied: &[Arc<Applied>],
    head: &ChainHead,
) -> Result<Batch, ViewError> {
    let mut rows = Rows { tree, changed: BTreeMap::new() };
    let mut last_row = LastRow::default();
    let mut index = Index::default();
    for one in applied.iter().filter(|one| one.commit.sequence.0 > position) {
        last_row.push(&mut rows, one.commit.sequence.0, &one.payload)?;
        index.add(&mut rows, one)?;
        bearers::add(&mut rows, one);
    }
    last_row.finish(&mut rows)?;
    index.finish(&mut rows);
    let mut batch = Batch::default();
    for (key, value) in rows.changed {
        match value {
            Some(value) => batch.insert(key, value),
            None => batch.remove(key),
        }
    }
    // It may be ahead of the other view, after a kill between the two.
    batch.insert(POSITION, serde_json::to_vec(&head.sequence.max(position))?);
    Ok(batch)
}

/// The last block of level 0, as it is being filled.
#[derive(Default)]
struct Index {
    last: Option<(Block, Dictionary)>,
}

impl Index {
    fn add(&mut self, rows: &mut Rows<'_>, applied: &Applied) -> Result<(), ViewError> {
        let sequence = applied.commit.sequence.0;
        let block = Block::of(0, sequence);
        let (_, dictionary) = match self.last.take().filter(|(last, _)| *last == block) {
            Some(last) => self.last.insert(last),
            None => {
                let mut dictionary = Dictionary::from(block.first());
                if let Some(row) = rows.get(&block.row(0))? {
                    dictionary.append(&row, block.first()).ok_or(ViewError::Incomplete)?;
                }
                self.last.insert((block, dictionary))
            }
        };
        terms::each_of(applied, |term, index| dictionary.push(term, (sequence, index)));
        if sequence == block.last() {
            self.write_last(rows);
            for level in 1..=TOP_LEVEL {
                let above = Block::of(level, sequence);
                if above.last() != sequence {
                    break;
                }
                merge(rows, above)?;
            }
        }
        Ok(())
    }

    fn write_last(&mut self, rows: &mut Rows<'_>) {
        if let Some((block, dictionary)) = self.last.take() {
            rows.insert(block.row(0), dictionary.encode());
        }
    }

    fn finish(mut self, rows: &mut Rows<'_>) {
        self.write_last(rows);
    }
}

/// Makes a block of those below it, which go. Row by row, so that little of it is in memory at once.
fn merge(rows: &mut Rows<'_>, block: Block) -> Result<(), ViewError> {
    let parts: Vec<Block> = block.parts().collect();
    let below = parts.first().map_or(0, |part| part.rows());
    let finer = block.rows() / below.max(1);
    for bucket in 0..below {
        let mut joined = Dictionary::from(block.first());
        for part in &parts {
            let key = part.row(bucket);
            if let Some(row) = rows.get(&key)? {
                joined.append(&row, part.first()).ok_or(ViewError::Incomplete)?;
                rows.remove(key)?;
            }
        }
        for number in bucket * finer..(bucket + 1) * finer {
            let dictionary = joined.take_below(first_term(block, number + 1));
            if !dictionary.is_empty() {
                rows.insert(block.row(number), dictionary.encode());
            }
        }
    }
    Ok(())
}

/// The smallest hash in a block's row of this number; `None` behind the last.
fn first_term(block: Block, number: u64) -> Option<u64> {
    (number < block.rows()).then(|| number * (u64::MAX / block.rows() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::dictionary::look_up;

    /// What a log of 262,144 commits comes to, without the commits.
    #[test]
    fn whole_blocks_become_one_of_the_next_level_and_every_term_stays_found() {
        let db = sled::Config::new().temporary(true).open().unwrap();
        let top = Block { level: TOP_LEVEL, number: 2 };
        let terms: Vec<u64> = (0..300_u64).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).collect();
        let mut expect: BTreeMap<u64, Vec<(u64, u32)>> = BTreeMap::new();
        let mut rows = Rows { tree: &db, changed: BTreeMap::new() };
        for part in top.parts() {
            let mut dictionaries: BTreeMap<Vec<u8>, Dictionary> = BTreeMap::new();
            for (number, &term) in terms.iter().enumerate().filter(|(number, _)| number % 7 != part.number as usize % 7)
            {
                let place = (part.first() + (number as u64 * 13) % 4096, number as u32 % 3);
                let dictionary = dictionaries.entry(part.row_of(term));
                dictionary.or_insert_with(|| Dictionary::from(part.first())).push(term, place);
                expect.entry(term).or_default().push(place);
            }
            for (key, dictionary) in dictionaries {
                rows.insert(key, dictionary.encode());
            }
        }
        merge(&mut rows, top).unwrap();
        for (term, places) in expect {
            let row = rows.get(&top.row_of(term)).unwrap().unwrap();
            assert_eq!(look_up(&row, term, top.first()), Some(places), "{term:x}");
        }
        let left = rows.changed.iter().filter(|(key, row)| row.is_some() && key[1] != TOP_LEVEL as u8);
        assert_eq!(left.count(), 0, "what was joined is gone");
    }
}
