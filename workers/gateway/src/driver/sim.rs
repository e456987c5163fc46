//! A simulated northbound database, which says so: rows in a table, and nodes that work by them at once.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use edgestack_ovn::ovsdb::{Row, Value};
use edgestack_pool::DriverError;
use uuid::Uuid;

use super::NorthboundDriver;
use crate::{
    desired::FORM,
    plan::Change,
    rows::{Key, Seen, SeenRow},
};

/// The table of simulated rows. Clones share it.
#[derive(Clone, Default)]
pub struct SimDriver {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Default)]
struct Kept {
    rows: BTreeMap<Uuid, Kept1>,
    /// Rows' ids in order of their making.
    next: u128,
}

#[derive(Clone)]
struct Kept1 {
    key: Key,
    form: String,
    label: String,
    columns: Row,
    references: BTreeMap<&'static str, Vec<Uuid>>,
}

impl SimDriver {
    /// An empty database.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What others do: removes the `nth` row, if there are any.
    pub fn others_remove(&self, nth: usize) -> Option<Key> {
        let mut kept = self.lock();
        let count = kept.rows.len();
        let uuid = *kept.rows.keys().nth(nth.checked_rem(count)?)?;
        let key = kept.rows.remove(&uuid)?.key;
        kept.forget(uuid);
        Some(key)
    }

    /// What others do: removes the row of this name.
    pub fn others_remove_row(&self, key: &Key) {
        let mut kept = self.lock();
        if let Some(uuid) = kept.uuid_of(key) {
            kept.rows.remove(&uuid);
            kept.forget(uuid);
        }
    }

    /// What others do: removes all rows.
    pub fn others_empty(&self) {
        self.lock().rows.clear();
    }

    /// What others do: changes a column of the row of this name.
    pub fn others_set(&self, key: &Key, column: &str, value: Value) {
        self.others_change(key, |row| row.columns.set(column, value));
    }

    /// What others do: takes away what a column of the row of this name refers to.
    pub fn others_clear(&self, key: &Key, column: &str) {
        self.others_change(key, |row| drop(row.references.remove(column)));
    }

    /// What others do: copies the row of this name, id included.
    pub fn others_copy(&self, key: &Key) {
        let mut kept = self.lock();
        let copy = kept.rows.values().find(|row| row.key == *key).cloned();
        if let Some(copy) = copy {
            kept.add(copy);
        }
    }

    /// What an older version of this program does: writes the row of this name in a form of its own.
    pub fn written_in_form(&self, key: &Key, form: &str) {
        self.others_change(key, |row| form.clone_into(&mut row.form));
    }

    fn others_change(&self, key: &Key, change: impl FnOnce(&mut Kept1)) {
        if let Some(row) = self.lock().rows.values_mut().find(|row| row.key == *key) {
            change(row);
        }
    }
}

impl Kept {
    fn add(&mut self, row: Kept1) {
        self.next += 1;
        self.rows.insert(Uuid::from_u128(self.next), row);
    }

    /// No row refers to one that is gone.
    fn forget(&mut self, gone: Uuid) {
        for row in self.rows.values_mut() {
            row.references.values_mut().for_each(|refers| refers.retain(|uuid| *uuid != gone));
        }
    }

    fn seen(&self) -> Seen {
        let mut seen = Seen::default();
        for (uuid, row) in &self.rows {
            if seen.rows.contains_key(&row.key) {
                seen.doubles.insert((row.key.table, *uuid));
                continue;
            }
            let name = |uuid: &Uuid| Some((self.rows.get(uuid)?.key.clone(), *uuid));
            let refer =
                |(column, refers): (&&'static str, &Vec<Uuid>)| (*column, refers.iter().filter_map(name).collect());
            let references = row.references.iter().filter(|(_, refers)| !refers.is_empty()).map(refer).collect();
            let shown = SeenRow {
                uuid: *uuid,
                form: row.form.clone(),
                label: row.label.clone(),
                columns: row.columns.clone(),
                references,
            };
            seen.rows.insert(row.key.clone(), shown);
        }
        seen
    }

    fn uuid_of(&self, key: &Key) -> Option<Uuid> {
        self.rows.iter().find(|(_, row)| row.key == *key).map(|(uuid, _)| *uuid)
    }
}

#[async_trait]
impl NorthboundDriver for SimDriver {
    fn is_simulated(&self) -> bool {
        true
    }

    async fn rows(&self) -> Result<Seen, DriverError> {
        Ok(self.lock().seen())
    }

    async fn write(&self, _seen: &Seen, changes: &[Change]) -> Result<(), DriverError> {
        let mut kept = self.lock();
        for change in changes {
            if let Change::Insert { key, wanted } = change {
                kept.add(Kept1 {
                    key: key.clone(),
                    form: FORM.to_owned(),
                    label: wanted.label.clone(),
                    columns: wanted.columns.clone(),
                    references: BTreeMap::new(),
                });
            }
        }
        for change in changes {
            match change {
                Change::Insert { key, wanted } => {
                    let Some(uuid) = kept.uuid_of(key) else { continue };
                    for (column, refers) in &wanted.references {
                        let uuids = refers.iter().filter_map(|key| kept.uuid_of(key)).collect();
                        if let Some(row) = kept.rows.get_mut(&uuid) {
                            row.references.insert(column, uuids);
                        }
                    }
                }
                Change::Update { uuid, columns, label, refer, leave, .. } => {
                    let refer: Vec<(&'static str, Vec<Uuid>)> = refer
                        .iter()
                        .map(|(column, keys)| (*column, keys.iter().filter_map(|key| kept.uuid_of(key)).collect()))
                        .collect();
                    let Some(row) = kept.rows.get_mut(uuid) else { continue };
                    for (column, value) in columns {
                        row.columns.set(column, value.clone());
                    }
                    if let Some(label) = label {
                        (row.label, row.form) = (label.clone(), FORM.to_owned());
                    }
                    for (column, uuids) in refer {
                        row.references.entry(column).or_default().extend(uuids);
                    }
                    for (column, uuids) in leave {
                        row.references.entry(column).or_default().retain(|uuid| !uuids.contains(uuid));
                    }
                }
                Change::Delete { uuid, .. } => {
                    kept.rows.remove(uuid);
                    kept.forget(*uuid);
                }
            }
        }
        Ok(())
    }

    async fn realized(&self, _nodes: &BTreeSet<String>, _within: Duration) -> Result<(), DriverError> {
        Ok(())
    }

    fn watch(&self, _wake: Arc<dyn Fn() + Send + Sync>) {
        // What others do is found on the beat.
    }
}
