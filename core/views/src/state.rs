//! The state view: rows of the world.
//!
//! Keys begin with a letter for the table: `r` kind id → resource, `n` kind name
//! → id, `i` actor NUL key → remembered request, `p` → position and digest.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use edgestack_engine::Applied;
use edgestack_log::ChainHead;
use edgestack_model::{
    Kind, Sequence, World,
    idempotency::{IdempotencyKeys, Remembered},
    world::Resource,
};
use edgestack_planted::{self as planted, Bug};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sled::{Batch, Tree};
use std::sync::Mutex;
use uuid::Uuid;

use crate::{ViewError, compare::Digester};

const POSITION: &[u8] = b"p";
/// Resources in a batch when a whole world is written.
const BATCH: usize = 2048;

/// The state view. Clones share it.
#[derive(Clone)]
pub(crate) struct State {
    tree: Tree,
    digest: Arc<Mutex<RowsDigest>>,
}

/// Where the view is, and what its rows add up to.
#[derive(Debug, Serialize, Deserialize)]
struct Position {
    sequence: u64,
    /// Whose types the rows are ([`edgestack_model::SOURCES`]).
    #[serde(default)]
    model: String,
    hash: String,
    rows_digest: [u64; 4],
}

/// A sum over all rows, in any order: adding and taking away a row is one step
/// each, so it costs nothing to keep. It guards against lost and torn rows, not
/// against an attacker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RowsDigest([u64; 4]);

impl RowsDigest {
    fn of(key: &[u8], value: &[u8]) -> [u64; 4] {
        let mut hasher = Sha256::new();
        hasher.update((key.len() as u64).to_be_bytes());
        hasher.update(key);
        hasher.update(value);
        let bytes: [u8; 32] = hasher.finalize().into();
        let mut words = [0_u64; 4];
        for (word, chunk) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            let mut eight = [0_u8; 8];
            eight.copy_from_slice(chunk);
            *word = u64::from_be_bytes(eight);
        }
        words
    }

    fn add(&mut self, key: &[u8], value: &[u8]) {
        for (sum, word) in self.0.iter_mut().zip(Self::of(key, value)) {
            *sum = sum.wrapping_add(word);
        }
    }

    fn take_away(&mut self, key: &[u8], value: &[u8]) {
        for (sum, word) in self.0.iter_mut().zip(Self::of(key, value)) {
            *sum = sum.wrapping_sub(word);
        }
    }
}

impl State {
    pub(crate) fn new(tree: Tree) -> Self {
        Self { tree, digest: Arc::default() }
    }

    pub(crate) fn get(&self, kind: Kind, id: Uuid) -> Result<Option<Resource>, ViewError> {
        let row = self.tree.get(resource_key(kind, id))?;
        Ok(row.map(|row| serde_json::from_slice(&row)).transpose()?)
    }

    pub(crate) fn id_of(&self, kind: Kind, name: &str) -> Result<Option<Uuid>, ViewError> {
        Ok(self.tree.get(name_key(kind, name))?.and_then(|id| Uuid::from_slice(&id).ok()))
    }

    pub(crate) fn list(
        &self,
        kind: Kind,
        after: Option<&str>,
    ) -> impl Iterator<Item = Result<Resource, ViewError>> + use<> {
        let prefix = name_key(kind, "");
        let mut from = name_key(kind, after.unwrap_or(""));
        if after.is_some() {
            from.push(0);
        }
        let state = self.clone();
        self.tree
            .range(from..)
            .take_while(move |row| row.as_ref().map_or(true, |(key, _)| key.starts_with(&prefix)))
            .filter_map(move |row| match row {
                Ok((_, id)) => Uuid::from_slice(&id).ok().and_then(|id| state.get(kind, id).transpose()),
                Err(error) => Some(Err(error.into())),
            })
    }

    pub(crate) fn position(&self) -> Result<Option<ChainHead>, ViewError> {
        Ok(self.read_position()?.and_then(|position| {
            let mut hash = [0_u8; 32];
            hex::decode_to_slice(&position.hash, &mut hash).ok()?;
            Some(ChainHead { sequence: position.sequence, hash })
        }))
    }

    fn read_position(&self) -> Result<Option<Position>, ViewError> {
        Ok(self.tree.get(POSITION)?.map(|row| serde_json::from_slice(&row)).transpose()?)
    }

    pub(crate) fn add_to(&self, digester: &mut Digester) -> Result<(), ViewError> {
        for row in self.tree.iter() {
            let (key, value) = row?;
            digester.add(&key, &value);
        }
        Ok(())
    }

    /// The rows of [`said_of`] as they are stored.
    pub(crate) fn add_said(&self, kind: Option<Kind>, digester: &mut Digester) -> Result<(), ViewError> {
        let prefixes = match kind {
            None => vec![vec![b'i'], vec![b'n'], vec![b'r']],
            Some(kind) => vec![vec![b'n', kind as u8], vec![b'r', kind as u8]],
        };
        for row in prefixes.into_iter().flat_map(|prefix| self.tree.scan_prefix(prefix)) {
            let (key, value) = row?;
            digester.add(&key, &value);
        }
        Ok(())
    }

    pub(crate) fn rows(&self) -> Result<crate::Rows, ViewError> {
        self.tree.iter().map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())).map_err(Into::into)).collect()
    }

    pub(crate) fn flush(&self) -> Result<(), ViewError> {
        self.tree.flush()?;
        Ok(())
    }

    /// The world in the rows, if they add up to what was written.
    pub(crate) fn restore(&self) -> Result<Option<(World, ChainHead)>, ViewError> {
        let (Some(position), Some(head)) = (self.read_position()?, self.position()?) else {
            return Ok(None);
        };
        if position.model != edgestack_model::SOURCES {
            tracing::info!(
                seq = head.sequence,
                "the views were written by another version; they are rebuilt from the log"
            );
            return Ok(None);
        }
        let mut digest = RowsDigest::default();
        let mut resources = Vec::new();
        let mut remembered: Vec<(String, Remembered)> = Vec::new();
        for row in self.tree.iter() {
            let (key, value) = row?;
            if key == POSITION {
                continue;
            }
            digest.add(&key, &value);
            match key.first() {
                Some(b'r') => resources.push(serde_json::from_slice(&value)?),
                Some(b'i') => {
                    let key = String::from_utf8_lossy(key.get(1..).unwrap_or_default()).into_owned();
                    remembered.push((key, serde_json::from_slice(&value)?));
                }
                Some(_) | None => {}
            }
        }
        if digest.0 != position.rows_digest {
            tracing::warn!(seq = head.sequence, "the state view does not add up and is rebuilt from the log");
            return Ok(None);
        }
        *self.lock() = digest;
        if planted::is(Bug::KeysForgottenAtRestart) {
            remembered.clear();
        }
        let world = World::from_parts(Sequence(head.sequence), resources, IdempotencyKeys::from_rows(remembered));
        Ok(Some((world, head)))
    }

    pub(crate) fn clear(&self) -> Result<(), ViewError> {
        self.tree.clear()?;
        *self.lock() = RowsDigest::default();
        Ok(())
    }

    pub(crate) fn project(&self, applied: &[Arc<Applied>], head: &ChainHead) -> Result<(), ViewError> {
        let mut digest = self.lock();
        let mut rows = Rows { tree: &self.tree, batch: Batch::default(), digest: *digest, pending: HashMap::new() };
        // Only what is left after the last commit is written; what is gone goes first, since its name may be another's by now.
        let mut last: BTreeMap<(Kind, Uuid), &Resource> = BTreeMap::new();
        // What none of these commits made has rows from before.
        let mut made: HashSet<(Kind, Uuid)> = HashSet::new();
        for change in applied.iter().flat_map(|one| &one.changes) {
            if change.before.is_none() {
                made.insert((change.kind, change.id));
            }
            match (&change.before, &change.after) {
                (_, Some(after)) => drop(last.insert((change.kind, change.id), after)),
                (before, None) => {
                    let made_here = last.remove(&(change.kind, change.id));
                    rows.remove(resource_key(change.kind, change.id))?;
                    if let Some(gone) = before.as_ref().or(made_here) {
                        rows.remove(name_key(change.kind, gone.meta().name.as_str()))?;
                    }
                }
            }
        }
        for ((kind, id), resource) in last {
            let (key, value) = (resource_key(kind, id), serde_json::to_vec(resource)?);
            if made.contains(&(kind, id)) {
                rows.insert_new(name_key(kind, resource.meta().name.as_str()), id.as_bytes().to_vec());
                rows.insert_new(key, value);
            } else {
                // Names never change, so the row of the name stays.
                rows.insert(key, value)?;
            }
        }
        for one in applied {
            project_idempotency(&mut rows, one)?;
        }
        let Rows { mut batch, digest: new_digest, .. } = rows;
        batch.insert(POSITION, position(head, new_digest)?);
        self.tree.apply_batch(batch)?;
        *digest = new_digest;
        Ok(())
    }

    /// Writes the rows of a whole world instead of what is there. Only the last batch says where they stand, so a kill in
    /// between leaves what is no state.
    pub(crate) fn write_whole(&self, world: &World, head: &ChainHead) -> Result<(), ViewError> {
        let mut digest = self.lock();
        self.tree.clear()?;
        *digest = RowsDigest::default();
        let mut rows = Rows { tree: &self.tree, batch: Batch::default(), digest: *digest, pending: HashMap::new() };
        let mut in_batch = 0;
        for resource in world.resources() {
            for (key, value) in rows_of(&resource)? {
                rows.insert_new(key, value);
            }
            in_batch += 1;
            if in_batch == BATCH {
                self.tree.apply_batch(std::mem::take(&mut rows.batch))?;
                in_batch = 0;
            }
        }
        for (key, first) in world.idempotency.iter() {
            rows.insert_new(idempotency_key(key), serde_json::to_vec(first)?);
        }
        let Rows { mut batch, digest: sum, .. } = rows;
        batch.insert(POSITION, position(head, sum)?);
        self.tree.apply_batch(batch)?;
        *digest = sum;
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, RowsDigest> {
        self.digest.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Key and value.
type Row = (Vec<u8>, Vec<u8>);

fn rows_of(resource: &Resource) -> Result<[Row; 2], ViewError> {
    let (kind, id) = (resource.kind(), resource.id());
    let name = (name_key(kind, resource.meta().name.as_str()), id.as_bytes().to_vec());
    Ok([name, (resource_key(kind, id), serde_json::to_vec(resource)?)])
}

/// The rows of a world, or of its objects of one kind, in the order of their keys; all but where they stand.
pub(crate) fn said_of(world: &World, kind: Option<Kind>) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, ViewError> {
    let mut rows = BTreeMap::new();
    for resource in world.resources().filter(|resource| kind.is_none_or(|kind| kind == resource.kind())) {
        rows.extend(rows_of(&resource)?);
    }
    if kind.is_none() {
        for (key, first) in world.idempotency.iter() {
            rows.insert(idempotency_key(key), serde_json::to_vec(first)?);
        }
    }
    Ok(rows)
}

fn position(head: &ChainHead, digest: RowsDigest) -> Result<Vec<u8>, ViewError> {
    let (model, hash) = (edgestack_model::SOURCES.to_owned(), hex::encode(head.hash));
    Ok(serde_json::to_vec(&Position { sequence: head.sequence, model, hash, rows_digest: digest.0 })?)
}

fn project_idempotency(rows: &mut Rows<'_>, one: &Applied) -> Result<(), ViewError> {
    for forgotten in &one.forgotten {
        rows.remove(idempotency_key(forgotten))?;
    }
    if let (Some(claim), Some(first)) = (&one.commit.idempotency, Remembered::of(&one.commit)) {
        let key = IdempotencyKeys::scoped(&one.commit.actor.name, &claim.key);
        rows.insert(idempotency_key(&key), serde_json::to_vec(&first)?)?;
    }
    Ok(())
}

/// A batch that keeps the digest right: it knows what each key held before.
struct Rows<'a> {
    tree: &'a Tree,
    batch: Batch,
    digest: RowsDigest,
    pending: HashMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Rows<'_> {
    fn insert(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<(), ViewError> {
        self.forget(&key)?;
        self.digest.add(&key, &value);
        self.batch.insert(key.clone(), value.clone());
        self.pending.insert(key, Some(value));
        Ok(())
    }

    /// A row that is in no store yet, and is touched once; most rows are such ones.
    fn insert_new(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.digest.add(&key, &value);
        self.batch.insert(key, value);
    }

    fn remove(&mut self, key: Vec<u8>) -> Result<(), ViewError> {
        self.forget(&key)?;
        self.batch.remove(key.clone());
        self.pending.insert(key, None);
        Ok(())
    }

    fn forget(&mut self, key: &[u8]) -> Result<(), ViewError> {
        match self.pending.get(key) {
            Some(Some(value)) => self.digest.take_away(key, value),
            Some(None) => {}
            None => {
                if let Some(value) = self.tree.get(key)? {
                    self.digest.take_away(key, &value);
                }
            }
        }
        Ok(())
    }
}

fn resource_key(kind: Kind, id: Uuid) -> Vec<u8> {
    let mut key = vec![b'r', kind as u8];
    key.extend_from_slice(id.as_bytes());
    key
}

fn name_key(kind: Kind, name: &str) -> Vec<u8> {
    let mut key = vec![b'n', kind as u8];
    key.extend_from_slice(name.as_bytes());
    key
}

fn idempotency_key(scoped: &str) -> Vec<u8> {
    let mut key = vec![b'i'];
    key.extend_from_slice(scoped.as_bytes());
    key
}
