//! The history view: every event under its resource's id, oldest first.
//!
//! Keys begin with a letter for the table: `c` sequence → the commit as the log
//! has it, `h` id sequence index → nothing (one for each event of the resource),
//! `g` kind name → id of the last resource that had the name and is gone, `p` →
//! position. So an event is stored once, unparsed, and an old one is upcast when
//! it is read. A volume's events stand under its VM's id too: they are part of
//! its story.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use edgestack_engine::Applied;
use edgestack_log::ChainHead;
use edgestack_model::{Actor, Commit, Kind, Sequence, event::EventRecord, world::Resource};
use sha2::{Digest as _, Sha256};
use sled::{Batch, IVec, Tree};
use uuid::Uuid;

use crate::ViewError;

const POSITION: &[u8] = b"p";

/// One event with its commit's envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// The commit.
    pub sequence: Sequence,
    /// Which of its events, from 0.
    pub index: u32,
    /// When it was decided.
    pub time: DateTime<Utc>,
    /// Who.
    pub actor: Actor,
    /// The command's name.
    pub command: String,
    /// The commit's id.
    pub commit_id: Uuid,
    /// What the commit belongs to.
    pub correlation_id: Uuid,
    /// What caused it.
    pub causation_id: Option<Uuid>,
    /// The caller's reason.
    pub reason: Option<String>,
    /// What happened, in words.
    pub message: String,
    /// The event.
    pub event: EventRecord,
}

/// The history view. Clones share it.
#[derive(Clone)]
pub(crate) struct History {
    tree: Tree,
}

impl History {
    pub(crate) fn new(tree: Tree) -> Self {
        Self { tree }
    }

    pub(crate) fn position(&self) -> Result<u64, ViewError> {
        Ok(self.tree.get(POSITION)?.map(|row| serde_json::from_slice(&row)).transpose()?.unwrap_or(0))
    }

    pub(crate) fn clear(&self) -> Result<(), ViewError> {
        self.tree.clear()?;
        Ok(())
    }

    /// Each row with its lengths, so that rows can't be taken for others.
    pub(crate) fn add_to(&self, hasher: &mut Sha256) -> Result<(), ViewError> {
        for row in self.tree.iter() {
            let (key, value) = row?;
            hasher.update((key.len() as u64).to_be_bytes());
            hasher.update(&key);
            hasher.update((value.len() as u64).to_be_bytes());
            hasher.update(&value);
        }
        Ok(())
    }

    pub(crate) fn rows(&self) -> Result<crate::Rows, ViewError> {
        self.tree.iter().map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(Into::into)).collect()
    }

    pub(crate) fn knows(&self, id: Uuid) -> Result<bool, ViewError> {
        let first = self.tree.scan_prefix(event_prefix(id)).next().transpose()?;
        Ok(first.is_some())
    }

    pub(crate) fn last_of_name(&self, kind: Kind, name: &str) -> Result<Option<Uuid>, ViewError> {
        Ok(self.tree.get(gone_key(kind, name))?.and_then(|id| Uuid::from_slice(&id).ok()))
    }

    pub(crate) fn events(
        &self,
        id: Uuid,
        after: (Sequence, u32),
    ) -> impl Iterator<Item = Result<HistoryRow, ViewError>> + use<> {
        let prefix = event_prefix(id);
        let mut from = event_key(id, after.0, after.1);
        from.push(0);
        let tree = self.tree.clone();
        let mut last: Option<Commit> = None;
        self.tree
            .range(from..)
            .take_while(move |row| row.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)))
            .map(move |row| {
                let (sequence, index) = place_of(&row?.0).ok_or(ViewError::Incomplete)?;
                // Events of one commit stand side by side; it is decoded once.
                let commit = match last.take() {
                    Some(commit) if commit.sequence == sequence => commit,
                    Some(_) | None => read_commit(&tree, sequence)?,
                };
                let row = HistoryRow::of(&commit, index);
                last = Some(commit);
                row
            })
    }

    /// As [`Self::events`], the newest first, from the commit `from` back.
    pub(crate) fn events_back(
        &self,
        id: Uuid,
        from: Sequence,
    ) -> impl Iterator<Item = Result<HistoryRow, ViewError>> + use<> {
        let tree = self.tree.clone();
        let mut last: Option<Commit> = None;
        self.tree.range(event_prefix(id)..=event_key(id, from, u32::MAX)).rev().map(move |row| {
            let (sequence, index) = place_of(&row?.0).ok_or(ViewError::Incomplete)?;
            let commit = match last.take() {
                Some(commit) if commit.sequence == sequence => commit,
                Some(_) | None => read_commit(&tree, sequence)?,
            };
            let row = HistoryRow::of(&commit, index);
            last = Some(commit);
            row
        })
    }

    pub(crate) fn project(&self, applied: &[Arc<Applied>], head: &ChainHead) -> Result<(), ViewError> {
        let position = self.position()?;
        let mut batch = Batch::default();
        for one in applied.iter().filter(|one| one.commit.sequence.0 > position) {
            let sequence = one.commit.sequence;
            batch.insert(commit_key(sequence), IVec::from(&one.payload[..]));
            for (index, event) in (0_u32..).zip(&one.commit.events) {
                batch.insert(event_key(event.resource_id, sequence, index), IVec::default());
                if let Some(owner) = owner_of(one, event.fact.kind(), event.resource_id) {
                    batch.insert(event_key(owner, sequence, index), IVec::default());
                }
            }
            for gone in one.changes.iter().filter(|change| change.after.is_none()) {
                if let Some(before) = &gone.before {
                    batch.insert(gone_key(gone.kind, before.meta().name.as_str()), gone.id.as_bytes().to_vec());
                }
            }
        }
        batch.insert(POSITION, serde_json::to_vec(&head.sequence)?);
        self.tree.apply_batch(batch)?;
        Ok(())
    }
}

impl HistoryRow {
    /// An event of a commit.
    ///
    /// # Errors
    /// [`ViewError::Incomplete`] when the commit has no such event.
    pub fn of(commit: &Commit, index: u32) -> Result<Self, ViewError> {
        let event =
            usize::try_from(index).ok().and_then(|index| commit.events.get(index)).ok_or(ViewError::Incomplete)?;
        Ok(Self {
            sequence: commit.sequence,
            index,
            time: commit.time,
            actor: commit.actor.clone(),
            command: commit.command.clone(),
            commit_id: commit.id,
            correlation_id: commit.correlation_id,
            causation_id: commit.causation_id,
            reason: commit.reason.clone(),
            message: event.describe(),
            event: event.to_record()?,
        })
    }
}

fn read_commit(tree: &Tree, sequence: Sequence) -> Result<Commit, ViewError> {
    let payload = tree.get(commit_key(sequence))?.ok_or(ViewError::Incomplete)?;
    Ok(Commit::decode(&payload)?)
}

fn owner_of(applied: &Applied, kind: Kind, id: Uuid) -> Option<Uuid> {
    if kind != Kind::Volume {
        return None;
    }
    let change = applied.changes.iter().find(|change| (change.kind, change.id) == (kind, id))?;
    match change.after.as_ref().or(change.before.as_ref())? {
        Resource::Volume(volume) => Some(volume.spec.vm.uuid()),
        Resource::Vm(_) | Resource::Image(_) | Resource::Flavor(_) | Resource::Keypair(_) | Resource::Node(_) => None,
    }
}

fn event_prefix(id: Uuid) -> Vec<u8> {
    let mut key = vec![b'h'];
    key.extend_from_slice(id.as_bytes());
    key
}

fn event_key(id: Uuid, sequence: Sequence, index: u32) -> Vec<u8> {
    let mut key = event_prefix(id);
    key.extend_from_slice(&sequence.0.to_be_bytes());
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// Sequence and index at the end of an event's key.
fn place_of(key: &[u8]) -> Option<(Sequence, u32)> {
    let (rest, index) = key.split_last_chunk::<4>()?;
    let (_, sequence) = rest.split_last_chunk::<8>()?;
    Some((Sequence(u64::from_be_bytes(*sequence)), u32::from_be_bytes(*index)))
}

fn commit_key(sequence: Sequence) -> Vec<u8> {
    let mut key = vec![b'c'];
    key.extend_from_slice(&sequence.0.to_be_bytes());
    key
}

fn gone_key(kind: Kind, name: &str) -> Vec<u8> {
    let mut key = vec![b'g', kind as u8];
    key.extend_from_slice(name.as_bytes());
    key
}
