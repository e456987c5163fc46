//! What views say, digested, so that two of them can be compared: all rows as they are stored, or what is read of one kind
//! or up to a commit. History is stored in blocks that grow with it, so of a part of it the events are compared.

use edgestack_model::{Kind, Sequence, World};
use sha2::{Digest as _, Sha256};

use crate::{Order, Term, ViewError, Views, state};

/// A digest of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest {
    hash: [u8; 32],
    /// How many rows they are.
    pub rows: u64,
}

/// Each row with its lengths, so that rows can't be taken for others.
#[derive(Default)]
pub(crate) struct Digester {
    hasher: Sha256,
    rows: u64,
}

impl Digester {
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        for part in [key, value] {
            self.hasher.update((part.len() as u64).to_be_bytes());
            self.hasher.update(part);
        }
        self.rows += 1;
    }

    pub fn end(self) -> Digest {
        Digest { hash: self.hasher.finalize().into(), rows: self.rows }
    }
}

impl Views {
    /// A digest of every row of both views, or of all that they say of one kind, and the sequence that it is of; `None`
    /// while commits keep coming in.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn digest(&self, kind: Option<Kind>) -> Result<Option<(Digest, Sequence)>, ViewError> {
        let before = self.sequence()?;
        let mut digester = Digester::default();
        match kind {
            None => {
                self.state.add_to(&mut digester)?;
                self.history.add_to(&mut digester)?;
            }
            Some(_) => {
                self.state.add_said(kind, &mut digester)?;
                self.add_events(kind, before, &mut digester)?;
            }
        }
        let written = self.written()?;
        Ok((written == before).then(|| (digester.end(), before)))
    }

    /// A digest of what they say of objects and requests: all, or the objects of one kind.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn state_digest(&self, kind: Option<Kind>) -> Result<Digest, ViewError> {
        self.settle();
        let mut digester = Digester::default();
        self.state.add_said(kind, &mut digester)?;
        Ok(digester.end())
    }

    /// A digest of the events up to a commit: all, or those of one kind.
    ///
    /// # Errors
    /// [`ViewError`].
    pub fn events_digest(&self, kind: Option<Kind>, upto: Sequence) -> Result<Digest, ViewError> {
        let mut digester = Digester::default();
        self.add_events(kind, upto, &mut digester)?;
        Ok(digester.end())
    }

    fn add_events(&self, kind: Option<Kind>, upto: Sequence, digester: &mut Digester) -> Result<(), ViewError> {
        let groups = kind.map(|kind| vec![Term::Kind(kind)]).into_iter().collect();
        for row in self.search(groups, Order::OldestFirst, (Sequence(0), u32::MAX)) {
            let row = row?;
            if row.sequence > upto {
                break;
            }
            digester.add(&row.sequence.0.to_be_bytes(), &serde_json::to_vec(&row)?);
        }
        Ok(())
    }
}

/// What [`Views::state_digest`] of views is that hold a world.
///
/// # Errors
/// [`ViewError`].
pub fn digest_of_world(world: &World, kind: Option<Kind>) -> Result<Digest, ViewError> {
    let mut digester = Digester::default();
    for (key, value) in state::said_of(world, kind)? {
        digester.add(&key, &value);
    }
    Ok(digester.end())
}
