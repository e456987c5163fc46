//! Writing the history: commits, index and place in one batch.

use std::{collections::BTreeMap, sync::Arc};

use edgestack_engine::Applied;
use sled::{Batch, Tree};

use super::{
    bearers,
    commits::LastRow,
    dictionary::{self, Dictionary},
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

/// The batch that brings the view from `position` to `upto`.
pub(super) fn batch(tree: &Tree, position: u64, applied: &[Arc<Applied>], upto: u64) -> Result<Batch, ViewError> {
    let mut rows = Rows { tree, changed: BTreeMap::new() };
    let mut last_row = LastRow::new()?;
    let mut index = Index { upto, last: None };
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
    batch.insert(POSITION, serde_json::to_vec(&upto.max(position))?);
    Ok(batch)
}

/// The last block, as it is being filled.
struct Index {
    /// The last commit of the batch.
    upto: u64,
    last: Option<(Block, Dictionary)>,
}

impl Index {
    fn add(&mut self, rows: &mut Rows<'_>, applied: &Applied) -> Result<(), ViewError> {
        let sequence = applied.commit.sequence.0;
        let (block, dictionary) = match self.last.take() {
            Some(last) => self.last.insert(last),
            None => {
                let block = Block::to_write(sequence, self.upto);
                let mut dictionary = Dictionary::from(block.first());
                if block.level == 0
                    && let Some(row) = rows.get(&block.row(0))?
                {
                    dictionary.append(&row).ok_or(ViewError::Incomplete)?;
                }
                self.last.insert((block, dictionary))
            }
        };
        terms::each_of(applied, |term, index| dictionary.push(term, (sequence, index)));
        if sequence == block.last() {
            let level = block.level;
            self.write_last(rows);
            for level in level + 1..=TOP_LEVEL {
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
            dictionary.write(block, |number, row| rows.insert(block.row(number), row));
        }
    }

    fn finish(mut self, rows: &mut Rows<'_>) {
        self.write_last(rows);
    }
}

/// Makes a block of those below it, which go. Some rows at once, so that little of it is in memory.
fn merge(rows: &mut Rows<'_>, block: Block) -> Result<(), ViewError> {
    let parts: Vec<Block> = block.parts().collect();
    let below = parts.first().map_or(0, |part| part.rows());
    for bucket in 0..below {
        let mut found = Vec::with_capacity(parts.len());
        for part in &parts {
            let key = part.row(bucket);
            if let Some(row) = rows.get(&key)? {
                found.push((part.first(), row));
                rows.remove(key)?;
            }
        }
        dictionary::join(&found, block, |number, row| rows.insert(block.row(number), row))
            .ok_or(ViewError::Incomplete)?;
    }
    Ok(())
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
            let mut dictionary = Dictionary::from(part.first());
            for (number, &term) in terms.iter().enumerate().filter(|(number, _)| number % 7 != part.number as usize % 7)
            {
                let place = (part.first() + (number as u64 * 13) % 4096, number as u32 % 3);
                dictionary.push(term, place);
                expect.entry(term).or_default().push(place);
            }
            dictionary.write(part, |number, row| rows.insert(part.row(number), row));
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
