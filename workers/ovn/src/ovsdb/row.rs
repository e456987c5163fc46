//! A row: columns with their values.

use std::collections::{BTreeMap, btree_map};

use serde::Deserialize;
use uuid::Uuid;

use super::value::Value;

/// Columns with their values (RFC 7047 section 5.1, `<row>`); all the watched ones of a row in the copy, some of them in
/// an operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Row(BTreeMap<String, Value>);

impl Row {
    /// The row without any column.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same row with this column set.
    #[must_use]
    pub fn with(mut self, column: impl Into<String>, value: Value) -> Self {
        self.set(column, value);
        self
    }

    /// Sets a column.
    pub fn set(&mut self, column: impl Into<String>, value: Value) {
        self.0.insert(column.into(), value);
    }

    /// The value of a column, if the row has it.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&Value> {
        self.0.get(column)
    }

    /// The text of a column; see [`Value::as_text`].
    #[must_use]
    pub fn text(&self, column: &str) -> Option<&str> {
        self.get(column)?.as_text()
    }

    /// The integer of a column; see [`Value::as_integer`].
    #[must_use]
    pub fn integer(&self, column: &str) -> Option<i64> {
        self.get(column)?.as_integer()
    }

    /// The truth value of a column; see [`Value::as_boolean`].
    #[must_use]
    pub fn boolean(&self, column: &str) -> Option<bool> {
        self.get(column)?.as_boolean()
    }

    /// The rows that a column refers to; see [`Value::as_uuids`].
    pub fn uuids(&self, column: &str) -> impl Iterator<Item = Uuid> {
        self.get(column).into_iter().flat_map(Value::as_uuids)
    }

    /// What a column of maps has under a key, such as an entry of `external_ids`; see [`Value::text_at`].
    #[must_use]
    pub fn text_at(&self, column: &str, key: &str) -> Option<&str> {
        self.get(column)?.text_at(key)
    }

    /// The columns, in order of their names.
    pub fn iter(&self) -> btree_map::Iter<'_, String, Value> {
        self.0.iter()
    }

    /// Whether it has no column.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The columns of this row that `present` has not, or has otherwise: what an update must write so that `present`
    /// becomes as this one wishes. Columns that this row does not name are left.
    #[must_use]
    pub fn differing_from(&self, present: &Self) -> Self {
        let differs = |(column, value): &(&String, &Value)| present.get(column) != Some(*value);
        self.iter().filter(differs).map(|(column, value)| (column.clone(), value.clone())).collect()
    }

    /// As it travels.
    pub(super) fn to_json(&self) -> serde_json::Value {
        self.iter().map(|(column, value)| (column.clone(), value.to_json())).collect()
    }
}

impl<C: Into<String>> FromIterator<(C, Value)> for Row {
    fn from_iter<I: IntoIterator<Item = (C, Value)>>(columns: I) -> Self {
        Self(columns.into_iter().map(|(column, value)| (column.into(), value)).collect())
    }
}

impl<'a> IntoIterator for &'a Row {
    type Item = (&'a String, &'a Value);
    type IntoIter = btree_map::Iter<'a, String, Value>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_differing_columns_are_written() {
        let present = Row::new().with("name", Value::text("a")).with("tag", Value::empty()).with("up", Value::empty());
        let desired = Row::new().with("name", Value::text("a")).with("tag", Value::integer(7));
        assert_eq!(desired.differing_from(&present), Row::new().with("tag", Value::integer(7)));
        assert_eq!(desired.differing_from(&Row::new()), desired);
        assert!(present.differing_from(&present).is_empty());
    }
}
