//! What to write, from what shall be and what is: pure.

use std::collections::{BTreeMap, BTreeSet};

use edgestack_ovn::ovsdb::Row;
use edgestack_planted::{self as planted, Bug};
use uuid::Uuid;

use crate::{
    desired::FORM,
    rows::{Derived, Desired, Key, Owner, Seen, SeenRow, Table, Wanted},
};

/// A change of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// There is none.
    Insert {
        /// Which.
        key: Key,
        /// What it shall be.
        wanted: Wanted,
    },
    /// It is otherwise.
    Update {
        /// Which.
        key: Key,
        /// Where it is.
        uuid: Uuid,
        /// The columns to be set.
        columns: Row,
        /// Whether its `external_ids` are to be written anew, with this name for people.
        label: Option<String>,
        /// Rows that it shall refer to, by column, and doesn't.
        refer: BTreeMap<&'static str, BTreeSet<Key>>,
        /// Rows that it refers to, by column, and shall not.
        leave: BTreeMap<&'static str, BTreeSet<Uuid>>,
    },
    /// Nobody wants it.
    Delete {
        /// In which table.
        table: Table,
        /// Where it is.
        uuid: Uuid,
    },
}

/// What to write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes, in no order that matters: they are one transaction.
    pub changes: Vec<Change>,
    /// What is otherwise than it shall be, in words. A reference that is missing is told where both its ends are there
    /// (others differ with the rows that they name), and one that is too many, too.
    pub differences: BTreeMap<Key, String>,
}

/// What to write.
pub fn plan(desired: &Desired, seen: &Seen) -> Plan {
    let mut plan = Plan::default();
    // Another form may have more rows; that those are not there yet is nobody's doing.
    let is_of_other_form = |(key, _): &(&Key, &Wanted)| seen.rows.get(*key).is_some_and(|row| row.form != FORM);
    let other_form: BTreeSet<Owner> = desired.iter().filter(is_of_other_form).map(|(_, wanted)| wanted.owner).collect();
    for (key, wanted) in desired {
        match seen.rows.get(key) {
            None => {
                plan.changes.push(Change::Insert { key: key.clone(), wanted: wanted.clone() });
                if !other_form.contains(&wanted.owner) {
                    plan.differences.insert(key.clone(), format!("the {} is gone", key.table.word()));
                }
            }
            Some(row) => plan.compare(key, wanted, row, seen),
        }
    }
    let is_unwanted = |key: &Key| !desired.contains_key(key) && !planted::is(Bug::OrphanRowsLeft);
    let unwanted = seen.rows.iter().filter(|(key, _)| is_unwanted(key));
    plan.changes.extend(unwanted.map(|(key, row)| Change::Delete { table: key.table, uuid: row.uuid }));
    plan.changes.extend(seen.doubles.iter().map(|(table, uuid)| Change::Delete { table: *table, uuid: *uuid }));
    plan
}

/// The wish, with that of it taken as it is found which nobody can tell from others' doing who doesn't know what was written
/// last: what follows from other objects, and which rows others refer to.
pub fn as_found(desired: &Desired, seen: &Seen) -> Desired {
    let found = |(key, wanted): (&Key, &Wanted)| {
        let derived = if planted::is(Bug::NamesTakenForDrift) { Derived::Nothing } else { wanted.derived };
        let mut wanted = wanted.clone();
        if !planted::is(Bug::UnsettledTakenForDrift) {
            wanted.references.values_mut().for_each(|refers| refers.retain(|to| !wanted.unsettled.contains(to)));
        }
        if let Some(row) = seen.rows.get(key) {
            for (column, to) in &row.references {
                wanted.references.entry(column).or_default().extend(to.keys().cloned());
            }
            match derived {
                Derived::Nothing => {}
                Derived::Columns(columns) => {
                    for column in columns {
                        row.columns
                            .get(column)
                            .into_iter()
                            .for_each(|value| wanted.columns.set(*column, value.clone()));
                    }
                }
                Derived::Whole => wanted.columns = row.columns.clone(),
            }
        } else if derived == Derived::Whole {
            return None;
        }
        Some((key.clone(), wanted))
    };
    desired.iter().filter_map(found).collect()
}

impl Plan {
    fn compare(&mut self, key: &Key, wanted: &Wanted, row: &SeenRow, seen: &Seen) {
        let columns = wanted.columns.differing_from(&row.columns);
        let mut changed: Vec<&str> = columns.iter().map(|(column, _)| column.as_str()).collect();
        let (mut refer, mut leave) = (BTreeMap::new(), BTreeMap::new());
        for (column, _) in key.table.references() {
            let (nothing, none) = (BTreeSet::new(), BTreeMap::new());
            let shall = wanted.references.get(column).unwrap_or(&nothing);
            let does = row.references.get(column).unwrap_or(&none);
            let missing: BTreeSet<Key> = shall.iter().filter(|key| !does.contains_key(*key)).cloned().collect();
            let unwanted = does.iter().filter(|(key, _)| !shall.contains(*key));
            let unwanted: BTreeSet<Uuid> = unwanted.map(|(_, uuid)| *uuid).collect();
            let differs = !unwanted.is_empty() || missing.iter().any(|key| seen.rows.contains_key(key));
            if differs && !planted::is(Bug::ReferencesNotCompared) {
                changed.push(column);
            }
            if !missing.is_empty() {
                refer.insert(*column, missing);
            }
            if !unwanted.is_empty() && !planted::is(Bug::LeftGroupKept) {
                leave.insert(*column, unwanted);
            }
        }
        let same_form = row.form == FORM && row.label == wanted.label;
        let label = (!same_form).then(|| wanted.label.clone());
        if columns.is_empty() && refer.is_empty() && leave.is_empty() && label.is_none() {
            return;
        }
        // What another version of this program wrote differs without anybody's doing.
        if row.form == FORM && !changed.is_empty() {
            let what = format!("the {}'s {} changed", key.table.word(), changed.join(", "));
            self.differences.insert(key.clone(), what);
        }
        self.changes.push(Change::Update { key: key.clone(), uuid: row.uuid, columns, label, refer, leave });
    }
}

#[cfg(test)]
mod tests;
