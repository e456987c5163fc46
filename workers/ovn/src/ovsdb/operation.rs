//! What a transaction does: `<operation>` of RFC 7047 section 5.2.

use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::{row::Row, value::Value};

/// One operation of a transaction (RFC 7047 section 5.2).
///
/// Operations are carried out in order, and a later one sees what the earlier ones did; all of them or none become
/// visible to others. Constraints (indexes, references, the number of rows) are looked at when the transaction is
/// committed, so an order that offends one in between does no harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation(Kind);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Insert { table: String, name: Option<String>, row: Row },
    Update { table: String, selection: Selection, row: Row },
    Mutate { table: String, selection: Selection, mutations: Vec<Mutation> },
    Delete { table: String, selection: Selection },
    Wait { table: String, selection: Selection, columns: Vec<String>, rows: Vec<Row> },
    Comment(String),
}

/// The rows that an operation is about: those whose columns have exactly these values (RFC 7047 section 5.1,
/// `<condition>`, function `==`). A [`Uuid`] selects the one row that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection(Vec<(String, Value)>);

/// A change of a column that depends on what it has (RFC 7047 section 5.1, `<mutation>`); unlike an update it does not
/// undo what somebody else does to other elements at the same time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mutation {
    column: String,
    mutator: &'static str,
    value: Value,
}

/// What became of one operation (RFC 7047 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationResult {
    /// An insertion made this row.
    Inserted(Uuid),
    /// An update, mutation or deletion was about this many rows; none if the row is no longer there, which is no error.
    Count(u64),
    /// A wait was satisfied, or a comment noted.
    Done,
}

impl Operation {
    /// Adds a row (section 5.2.1). Columns not named get the schema's default. Where a table is not a root of its
    /// schema, a row that no other refers to vanishes at once, without an error.
    pub fn insert(table: impl Into<String>, row: Row) -> Self {
        Self(Kind::Insert { table: table.into(), name: None, row })
    }

    /// Adds a row and gives it a name for the length of the transaction: [`Value::named`] with the same name refers to
    /// it, in operations before and after this one.
    ///
    /// A name consists of letters, digits and underscores and does not begin with a digit (section 3.1, `<id>`); the
    /// server refuses others.
    pub fn insert_named(name: impl Into<String>, table: impl Into<String>, row: Row) -> Self {
        Self(Kind::Insert { table: table.into(), name: Some(name.into()), row })
    }

    /// Sets columns of the rows selected (section 5.2.3).
    pub fn update(table: impl Into<String>, selection: impl Into<Selection>, row: Row) -> Self {
        Self(Kind::Update { table: table.into(), selection: selection.into(), row })
    }

    /// Changes columns of the rows selected (section 5.2.4).
    pub fn mutate(
        table: impl Into<String>,
        selection: impl Into<Selection>,
        mutations: impl IntoIterator<Item = Mutation>,
    ) -> Self {
        let mutations = mutations.into_iter().collect();
        Self(Kind::Mutate { table: table.into(), selection: selection.into(), mutations })
    }

    /// Removes the rows selected (section 5.2.5).
    pub fn delete(table: impl Into<String>, selection: impl Into<Selection>) -> Self {
        Self(Kind::Delete { table: table.into(), selection: selection.into() })
    }

    /// A guard: refuses the transaction unless the rows selected are exactly these, as far as `columns` go (section
    /// 5.2.6, with `until` `==` and a timeout of 0 ms, so it never waits). [`super::Refused::guard_failed`] tells.
    pub fn wait<C: Into<String>>(
        table: impl Into<String>,
        selection: impl Into<Selection>,
        columns: impl IntoIterator<Item = C>,
        rows: impl IntoIterator<Item = Row>,
    ) -> Self {
        Self(Kind::Wait {
            table: table.into(),
            selection: selection.into(),
            columns: columns.into_iter().map(Into::into).collect(),
            rows: rows.into_iter().collect(),
        })
    }

    /// A note for the database's log (section 5.2.9).
    pub fn comment(text: impl Into<String>) -> Self {
        Self(Kind::Comment(text.into()))
    }

    /// As it travels.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.0 {
            Kind::Insert { table, name: None, row } => json!({"op": "insert", "table": table, "row": row.to_json()}),
            Kind::Insert { table, name: Some(name), row } => {
                json!({"op": "insert", "table": table, "uuid-name": name, "row": row.to_json()})
            }
            Kind::Update { table, selection, row } => {
                json!({"op": "update", "table": table, "where": selection.to_json(), "row": row.to_json()})
            }
            Kind::Mutate { table, selection, mutations } => {
                let mutations: Vec<_> = mutations.iter().map(Mutation::to_json).collect();
                json!({"op": "mutate", "table": table, "where": selection.to_json(), "mutations": mutations})
            }
            Kind::Delete { table, selection } => {
                json!({"op": "delete", "table": table, "where": selection.to_json()})
            }
            Kind::Wait { table, selection, columns, rows } => json!({
                "op": "wait",
                "table": table,
                "where": selection.to_json(),
                "columns": columns,
                "until": "==",
                "rows": rows.iter().map(Row::to_json).collect::<Vec<_>>(),
                "timeout": 0,
            }),
            Kind::Comment(text) => json!({"op": "comment", "comment": text}),
        }
    }

    /// What became of this operation, read from its element of the answer; none if it is nothing that may come of it.
    pub(super) fn result(&self, answered: Answered) -> Option<OperationResult> {
        match (&self.0, answered) {
            (Kind::Insert { .. }, Answered { uuid: Some(uuid), count: None }) => {
                uuid.as_uuid().map(OperationResult::Inserted)
            }
            (
                Kind::Update { .. } | Kind::Mutate { .. } | Kind::Delete { .. },
                Answered { uuid: None, count: Some(count) },
            ) => Some(OperationResult::Count(count)),
            (Kind::Wait { .. } | Kind::Comment(_), Answered { uuid: None, count: None }) => Some(OperationResult::Done),
            _ => None,
        }
    }
}

impl Selection {
    /// Every row of the table.
    #[must_use]
    pub fn all() -> Self {
        Self(Vec::new())
    }

    /// The rows whose column has this value.
    pub fn having(column: impl Into<String>, value: Value) -> Self {
        Self::all().and_having(column, value)
    }

    /// Those of the selection whose column has this value as well.
    #[must_use]
    pub fn and_having(mut self, column: impl Into<String>, value: Value) -> Self {
        self.0.push((column.into(), value));
        self
    }

    fn to_json(&self) -> serde_json::Value {
        self.0.iter().map(|(column, value)| json!([column, "==", value.to_json()])).collect()
    }
}

impl From<Uuid> for Selection {
    fn from(uuid: Uuid) -> Self {
        Self::having("_uuid", Value::uuid(uuid))
    }
}

impl Mutation {
    /// Adds elements to a set, or pairs to a map; a key that the map already has keeps its value, without an error (to
    /// replace it, delete it first, in the same operation).
    pub fn insert(column: impl Into<String>, value: Value) -> Self {
        Self { column: column.into(), mutator: "insert", value }
    }

    /// Takes elements out of a set; out of a map, pairs if `value` is a map, or whole keys if it is a set. What is not
    /// there is no error.
    pub fn delete(column: impl Into<String>, value: Value) -> Self {
        Self { column: column.into(), mutator: "delete", value }
    }

    /// Adds a number to an integer.
    pub fn add(column: impl Into<String>, integer: i64) -> Self {
        Self { column: column.into(), mutator: "+=", value: Value::integer(integer) }
    }

    fn to_json(&self) -> serde_json::Value {
        json!([self.column, self.mutator, self.value.to_json()])
    }
}

/// What an element of a transaction's answer may tell of an operation that succeeded.
#[derive(Debug, Default, PartialEq, Deserialize)]
pub(super) struct Answered {
    pub uuid: Option<Value>,
    pub count: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(operation: &Operation, expected: serde_json::Value) {
        assert_eq!(operation.to_json(), expected);
    }

    #[test]
    fn operations_travel_as_the_rfc_has_them() {
        let uuid = Uuid::from_u128(7);
        let by_uuid = json!([["_uuid", "==", ["uuid", uuid.to_string()]]]);
        let row = Row::new().with("name", Value::text("a"));
        check(
            &Operation::insert("T", row.clone()),
            json!({"op": "insert", "table": "T", "row": {"name": "a"}}), //
        );
        check(
            &Operation::insert_named("a", "T", Row::new().with("other", Value::named("b"))),
            json!({"op": "insert", "table": "T", "uuid-name": "a", "row": {"other": ["named-uuid", "b"]}}),
        );
        check(
            &Operation::update("T", uuid, row.clone()),
            json!({"op": "update", "table": "T", "where": by_uuid, "row": {"name": "a"}}),
        );
        let mutations = [
            Mutation::insert("m", Value::map([("k", "v")])),
            Mutation::delete("m", Value::texts(["k", "l"])),
            Mutation::add("n", 2),
        ];
        check(
            &Operation::mutate("T", uuid, mutations),
            json!({"op": "mutate", "table": "T", "where": by_uuid, "mutations": [
                ["m", "insert", ["map", [["k", "v"]]]],
                ["m", "delete", ["set", ["k", "l"]]],
                ["n", "+=", 2],
            ]}),
        );
        check(
            &Operation::delete("T", Selection::having("name", Value::text("a"))),
            json!({"op": "delete", "table": "T", "where": [["name", "==", "a"]]}),
        );
        check(
            &Operation::wait("T", uuid, ["name"], [row]),
            json!({"op": "wait", "table": "T", "where": by_uuid, "columns": ["name"], "until": "==",
                   "rows": [{"name": "a"}], "timeout": 0}),
        );
        check(&Operation::comment("why"), json!({"op": "comment", "comment": "why"}));
    }
}
