//! Finding events, in either direction, block by block.

use std::{collections::VecDeque, sync::Arc};

use edgestack_model::Commit;

use super::{History, HistoryRow, Term, commits::Row, dictionary::look_up, layout::Block, places::Place};
use crate::ViewError;

/// In which order events are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// From the first on.
    OldestFirst,
    /// From the last back.
    NewestFirst,
}

/// What to look for: of each group one must hold; all events if there is none.
pub type Groups = Vec<Vec<Term>>;

/// Events that are found one after the other. Commits that come in meanwhile are found as well by who looks for the oldest
/// first.
pub(crate) struct Found {
    history: History,
    groups: Groups,
    hashes: Vec<Vec<u64>>,
    order: Order,
    /// Where it has come to: what is found next is behind it, or before it.
    cursor: Place,
    ready: VecDeque<Place>,
    row: Arc<Row>,
    commit: Option<Commit>,
    failed: bool,
}

impl Found {
    /// Begins behind a place (oldest first) or before it (newest first).
    pub fn new(history: History, groups: Groups, order: Order, cursor: Place) -> Self {
        let hashes = groups.iter().map(|group| group.iter().map(Term::hash).collect()).collect();
        let (ready, row) = (VecDeque::new(), Arc::default());
        Self { history, groups, hashes, order, cursor, ready, row, commit: None, failed: false }
    }

    fn step(&mut self) -> Result<Option<HistoryRow>, ViewError> {
        loop {
            if let Some((sequence, index)) = self.ready.pop_front() {
                let commit = self.commit(sequence)?;
                let event = usize::try_from(index).ok().and_then(|index| commit.events.get(index));
                let event = event.ok_or(ViewError::Incomplete)?;
                let fits = self.groups.iter().all(|group| group.iter().any(|term| term.fits(&commit, event)));
                let row = fits.then(|| HistoryRow::of(&commit, index)).transpose();
                self.commit = Some(commit);
                match row? {
                    Some(row) => return Ok(Some(row)),
                    None => continue,
                }
            }
            let Some(places) = self.next_places()? else { return Ok(None) };
            match self.order {
                Order::OldestFirst => self.ready.extend(places),
                Order::NewestFirst => self.ready.extend(places.into_iter().rev()),
            }
        }
    }

    /// The places in the next block; `None` at the end.
    fn next_places(&mut self) -> Result<Option<Vec<Place>>, ViewError> {
        // While it is held no block is merged into another.
        let history = self.history.clone();
        let position = history.position_now();
        let (sequence, index) = self.cursor;
        let next = match self.order {
            Order::OldestFirst if index == u32::MAX => sequence.saturating_add(1),
            Order::OldestFirst => sequence.max(1),
            Order::NewestFirst if sequence > *position => *position,
            Order::NewestFirst if index == 0 => sequence.saturating_sub(1),
            Order::NewestFirst => sequence,
        };
        if next == 0 || next > *position {
            return Ok(None);
        }
        let (first, last, places) = if self.hashes.is_empty() {
            (next, next, self.all_of(next)?)
        } else {
            let block = Block::holding(next, *position);
            (block.first(), block.last().min(*position), self.in_block(block)?)
        };
        let cursor = self.cursor;
        let wanted = |place: &Place| match self.order {
            Order::OldestFirst => *place > cursor,
            Order::NewestFirst => *place < cursor,
        };
        let places = places.into_iter().filter(wanted).collect();
        self.cursor = match self.order {
            Order::OldestFirst => (last, u32::MAX),
            Order::NewestFirst => (first, 0),
        };
        Ok(Some(places))
    }

    fn in_block(&self, block: Block) -> Result<Vec<Place>, ViewError> {
        let mut all: Option<Vec<Place>> = None;
        for group in &self.hashes {
            let mut places = Vec::new();
            for &term in group {
                if let Some(row) = self.history.tree.get(block.row_of(term))? {
                    places.extend(look_up(&row, term, block.first()).ok_or(ViewError::Incomplete)?);
                }
            }
            places.sort_unstable();
            places.dedup();
            if let Some(before) = all {
                places.retain(|place| before.binary_search(place).is_ok());
            }
            if places.is_empty() {
                return Ok(places);
            }
            all = Some(places);
        }
        Ok(all.unwrap_or_default())
    }

    fn all_of(&mut self, sequence: u64) -> Result<Vec<Place>, ViewError> {
        let commit = self.commit(sequence)?;
        let events = u32::try_from(commit.events.len()).map_err(|_| ViewError::Incomplete)?;
        self.commit = Some(commit);
        Ok((0..events).map(|index| (sequence, index)).collect())
    }

    /// A commit; events of one stand side by side, and neighbours are in one row.
    fn commit(&mut self, sequence: u64) -> Result<Commit, ViewError> {
        match self.commit.take() {
            Some(commit) if commit.sequence.0 == sequence => Ok(commit),
            Some(_) | None => {
                if !self.row.has(sequence) {
                    self.row = Row::read(&self.history.tree, sequence)?;
                }
                self.row.commit(sequence)
            }
        }
    }
}

impl Iterator for Found {
    type Item = Result<HistoryRow, ViewError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let found = self.step();
        self.failed = found.is_err();
        found.transpose()
    }
}
