//! The history view: every event under its resource's id, oldest first.
//!
//! Keys begin with a letter for the table: `h` id sequence index → row, `g` kind
//! name NUL sequence → id of a resource that once had the name, `p` → position.
//! A volume's events stand under its VM's id too: they are part of its story.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use edgestack_engine::Applied;
use edgestack_log::ChainHead;
use edgestack_model::{Actor, Kind, Sequence, event::EventRecord, world::Resource};
use serde::{Deserialize, Serialize};
use sled::{Batch, Tree};
use uuid::Uuid;

use crate::ViewError;

const POSITION: &[u8] = b"p";

/// One event with its commit's envelope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

    pub(crate) fn rows(&self) -> Result<crate::Rows, ViewError> {
        self.tree.iter().map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(Into::into)).collect()
    }

    pub(crate) fn knows(&self, id: Uuid) -> Result<bool, ViewError> {
        let first = self.tree.scan_prefix(event_prefix(id)).next().transpose()?;
        Ok(first.is_some())
    }

    pub(crate) fn last_of_name(&self, kind: Kind, name: &str) -> Result<Option<Uuid>, ViewError> {
        let last = self.tree.scan_prefix(name_prefix(kind, name)).next_back().transpose()?;
        Ok(last.and_then(|(_, id)| Uuid::from_slice(&id).ok()))
    }

    pub(crate) fn events(
        &self,
        id: Uuid,
        after: (Sequence, u32),
    ) -> impl Iterator<Item = Result<HistoryRow, ViewError>> + use<> {
        let prefix = event_prefix(id);
        let mut from = event_key(id, after.0, after.1);
        from.push(0);
        self.tree
            .range(from..)
            .take_while(move |row| row.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)))
            .map(|row| Ok(serde_json::from_slice(&row?.1)?))
    }

    pub(crate) fn project(&self, applied: &[Arc<Applied>], head: &ChainHead) -> Result<(), ViewError> {
        let position = self.position()?;
        let mut batch = Batch::default();
        for one in applied.iter().filter(|one| one.commit.sequence.0 > position) {
            for (row, event) in rows_of(one)?.into_iter().zip(&one.commit.events) {
                let value = serde_json::to_vec(&row)?;
                batch.insert(event_key(event.resource_id, row.sequence, row.index), value.clone());
                if let Some(owner) = owner_of(one, event.fact.kind(), event.resource_id) {
                    batch.insert(event_key(owner, row.sequence, row.index), value);
                }
                if event.generation == edgestack_model::Generation::FIRST && row.event.event_type.ends_with("Created")
                    || row.event.event_type.ends_with("Registered")
                {
                    let mut key = name_prefix(event.fact.kind(), event.name.as_str());
                    key.extend_from_slice(&row.sequence.0.to_be_bytes());
                    batch.insert(key, event.resource_id.as_bytes().to_vec());
                }
            }
        }
        batch.insert(POSITION, serde_json::to_vec(&head.sequence)?);
        self.tree.apply_batch(batch)?;
        Ok(())
    }
}

/// The rows of a commit's events.
pub(crate) fn rows_of(applied: &Applied) -> Result<Vec<HistoryRow>, ViewError> {
    let commit = &applied.commit;
    (0_u32..)
        .zip(&commit.events)
        .map(|(index, event)| {
            Ok(HistoryRow {
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
        })
        .collect()
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

fn name_prefix(kind: Kind, name: &str) -> Vec<u8> {
    let mut key = vec![b'g', kind as u8];
    key.extend_from_slice(name.as_bytes());
    key.push(0);
    key
}
