//! The local copy of a database's tables.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use uuid::Uuid;

use super::row::Row;

/// A table and those of its columns that are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// The table's name in the schema.
    pub table: &'static str,
    /// The columns' names in the schema.
    pub columns: &'static [&'static str],
}

/// The rows of a table.
pub type Table = BTreeMap<Uuid, Arc<Row>>;

/// The watched tables as they were at one moment, between two transactions of the server.
///
/// Cheap to clone: tables and rows are shared until they change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalCopy(BTreeMap<String, Arc<Table>>);

impl LocalCopy {
    /// The copy of an empty database; of use to tests of those who plan from a copy.
    pub fn of<'a>(watched: impl IntoIterator<Item = &'a Watched>) -> Self {
        Self(watched.into_iter().map(|watched| (watched.table.to_owned(), Arc::default())).collect())
    }

    /// The same copy with a row more, whatever its table; for tests, like [`LocalCopy::of`].
    #[must_use]
    pub fn with(mut self, table: &str, uuid: Uuid, row: Row) -> Self {
        Arc::make_mut(self.0.entry(table.to_owned()).or_default()).insert(uuid, Arc::new(row));
        self
    }

    /// The rows of a table.
    ///
    /// # Panics
    /// The table is not watched. That it has no rows would be a guess, and who guesses so inserts them a second time.
    #[must_use]
    pub fn table(&self, table: &str) -> &Table {
        match self.0.get(table) {
            Some(rows) => rows,
            None => panic!("the table {table} is not watched"),
        }
    }

    /// A row.
    ///
    /// # Panics
    /// As [`LocalCopy::table`].
    #[must_use]
    pub fn row(&self, table: &str, uuid: Uuid) -> Option<&Row> {
        self.table(table).get(&uuid).map(AsRef::as_ref)
    }

    /// The rows of a table, in order of their UUIDs.
    ///
    /// # Panics
    /// As [`LocalCopy::table`].
    pub fn rows(&self, table: &str) -> impl Iterator<Item = (Uuid, &Row)> {
        self.table(table).iter().map(|(uuid, row)| (*uuid, row.as_ref()))
    }

    /// The first row of a table with this text in this column, such as its name.
    ///
    /// # Panics
    /// As [`LocalCopy::table`].
    #[must_use]
    pub fn find(&self, table: &str, column: &str, text: &str) -> Option<(Uuid, &Row)> {
        self.rows(table).find(|(_, row)| row.text(column) == Some(text))
    }

    /// Takes up what the server tells. Rows come whole, so doing it twice does no harm.
    pub(super) fn apply(&mut self, updates: TableUpdates) -> Result<(), NotWatched> {
        for (name, rows) in updates.0 {
            let Some(table) = self.0.get_mut(&name) else { return Err(NotWatched(name)) };
            let table = Arc::make_mut(table);
            for (uuid, update) in rows {
                match update.new {
                    Some(row) => drop(table.insert(uuid, Arc::new(row))),
                    None => drop(table.remove(&uuid)),
                }
            }
        }
        Ok(())
    }
}

/// The server told of a table that nobody asked for.
#[derive(Debug, PartialEq)]
pub(super) struct NotWatched(pub String);

/// What changed (RFC 7047 section 4.1.6, `<table-updates>`); the first copy comes in the same form.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(transparent)]
pub(super) struct TableUpdates(BTreeMap<String, BTreeMap<Uuid, RowUpdate>>);

/// A row as it is now, with all its watched columns; without one, it is gone. What it was before is of no use here.
#[derive(Debug, PartialEq, Deserialize)]
struct RowUpdate {
    new: Option<Row>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ovsdb::value::Value;

    const WATCHED: [Watched; 2] =
        [Watched { table: "T", columns: &["name"] }, Watched { table: "U", columns: &["name"] }];

    fn named(name: &str) -> Row {
        Row::new().with("name", Value::text(name))
    }

    fn apply(copy: &mut LocalCopy, updates: serde_json::Value) -> Result<(), NotWatched> {
        copy.apply(serde_json::from_value(updates).unwrap())
    }

    #[test]
    fn rows_come_change_and_go() {
        let uuid = Uuid::from_u128(1);
        let row = |update: serde_json::Value| serde_json::json!({"T": {uuid.to_string(): update}});
        let mut copy = LocalCopy::of(&WATCHED);
        apply(&mut copy, row(serde_json::json!({"new": {"name": "a"}}))).unwrap();
        assert_eq!(copy, LocalCopy::of(&WATCHED).with("T", uuid, named("a")));
        let before = copy.clone();
        apply(&mut copy, row(serde_json::json!({"old": {"name": "a"}, "new": {"name": "b"}}))).unwrap();
        assert_eq!(copy.row("T", uuid), Some(&named("b")));
        assert_eq!(before.row("T", uuid), Some(&named("a")), "a copy once taken stays as it was");
        assert_eq!(copy.find("T", "name", "b"), Some((uuid, &named("b"))));
        apply(&mut copy, row(serde_json::json!({"old": {"name": "b"}}))).unwrap();
        assert_eq!(copy, LocalCopy::of(&WATCHED));
    }

    #[test]
    fn a_table_that_nobody_asked_for_is_noticed() {
        let updates = serde_json::json!({"V": {}});
        assert_eq!(apply(&mut LocalCopy::of(&WATCHED), updates), Err(NotWatched("V".to_owned())));
    }

    #[test]
    #[should_panic(expected = "the table V is not watched")]
    fn a_table_that_is_not_watched_is_not_taken_for_an_empty_one() {
        let _ = LocalCopy::of(&WATCHED).table("V");
    }
}
