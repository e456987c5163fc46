//! The messages of the protocol: JSON-RPC 1.0, as RFC 7047 section 4 uses it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::{
    copy::{TableUpdates, Watched},
    error::Refused,
    operation::{Answered, Operation},
};

/// What is monitored. Its name is the monitor's identifier and the identifier of the request for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Monitor {
    /// The tables that the client's owner wants.
    Copy,
    /// What the server tells of itself, in its database `_Server` (ovsdb-server(5)).
    Server,
}

impl Monitor {
    const ALL: [Self; 2] = [Self::Copy, Self::Server];

    const fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Server => "server",
        }
    }

    fn named(name: &serde_json::Value) -> Option<Self> {
        Self::ALL.into_iter().find(|monitor| name == monitor.name())
    }
}

/// The identifier of our own echo requests; transactions have numbers.
const ECHO: &str = "echo";

/// A request for a monitor (section 4.1.5).
pub(super) fn monitor(monitor: Monitor, database: &str, watched: &[Watched]) -> Vec<u8> {
    let mut tables: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for Watched { table, columns } in watched {
        tables.entry(table).or_default().extend(*columns);
    }
    let tables: serde_json::Map<String, serde_json::Value> =
        tables.into_iter().map(|(table, columns)| (table.to_owned(), json!([{"columns": columns}]))).collect();
    print(&json!({"method": "monitor", "params": [database, monitor.name(), tables], "id": monitor.name()}))
}

/// A request for a transaction (section 4.1.3).
pub(super) fn transact(id: u64, database: &str, operations: &[Operation]) -> Vec<u8> {
    let mut params = vec![json!(database)];
    params.extend(operations.iter().map(Operation::to_json));
    print(&json!({"method": "transact", "params": params, "id": id}))
}

/// Asks for a transaction to be given up (section 4.1.4).
pub(super) fn cancel(id: u64) -> Vec<u8> {
    print(&json!({"method": "cancel", "params": [id], "id": null}))
}

/// Asks for a sign of life (section 4.1.11).
pub(super) fn echo() -> Vec<u8> {
    print(&json!({"method": "echo", "params": [], "id": ECHO}))
}

/// Gives a sign of life: what was sent comes back (section 4.1.11).
pub(super) fn echoed(id: &serde_json::Value, params: &serde_json::Value) -> Vec<u8> {
    print(&json!({"id": id, "result": params, "error": null}))
}

fn print(message: &serde_json::Value) -> Vec<u8> {
    message.to_string().into_bytes()
}

/// What a server says.
#[derive(Debug, PartialEq)]
pub(super) enum Incoming {
    /// It wants a sign of life.
    Echo { id: serde_json::Value, params: serde_json::Value },
    /// It answers to a request for a monitor, with what there is.
    Monitored(Monitor, Result<TableUpdates, Refused>),
    /// Something changed.
    Updated(Monitor, TableUpdates),
    /// It answers to a transaction.
    Transacted(u64, Answer),
    /// Nothing that matters beyond that it says something.
    Other,
}

/// A server's answer to a transaction.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// What became of each operation, with an element more if the transaction could not be committed.
    Elements(Vec<Option<Element>>),
    /// It did not begin.
    Refused(Refused),
    /// It was canceled (section 4.1.4).
    Canceled,
}

/// What became of an operation.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(super) enum Element {
    Refused(Refused),
    Answered(Answered),
}

#[derive(Deserialize)]
struct Message<'a> {
    method: Option<String>,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(default)]
    id: serde_json::Value,
}

/// Reads a message; the error says what is wrong with it.
pub(super) fn decode(message: &[u8]) -> Result<Incoming, String> {
    let message: Message<'_> = parse("a message", message)?;
    match message.method.as_deref() {
        Some("echo") => {
            let params = message.params.map(|params| parse("the content of an echo", params.get().as_bytes()));
            Ok(Incoming::Echo { id: message.id, params: params.transpose()?.unwrap_or_default() })
        }
        Some("update") => {
            let params = message.params.ok_or("an update tells nothing")?;
            let (name, updates) = parse("an update", params.get().as_bytes())?;
            let monitor = Monitor::named(&name).ok_or_else(|| format!("an update is of an unknown monitor {name}"))?;
            Ok(Incoming::Updated(monitor, updates))
        }
        Some(_) => Ok(Incoming::Other),
        None => answer(&message),
    }
}

fn answer(message: &Message<'_>) -> Result<Incoming, String> {
    let outcome = match (message.error, message.result) {
        (None, Some(result)) => Ok(result.get().as_bytes()),
        (Some(error), _) => Err(refusal(error)),
        (None, None) => return Err("an answer has neither a result nor an error".to_owned()),
    };
    if let Some(monitor) = Monitor::named(&message.id) {
        let outcome = match outcome {
            Ok(result) => Ok(parse("the answer to a monitor", result)?),
            Err(refused) => Err(refused),
        };
        return Ok(Incoming::Monitored(monitor, outcome));
    }
    let Some(id) = message.id.as_u64() else { return Ok(Incoming::Other) };
    let answer = match outcome {
        Ok(result) => Answer::Elements(parse("the answer to a transaction", result)?),
        Err(refused) if refused.error == "canceled" => Answer::Canceled,
        Err(refused) => Answer::Refused(refused),
    };
    Ok(Incoming::Transacted(id, answer))
}

/// A server's error, which is an object or, for a canceled transaction, a text.
fn refusal(error: &RawValue) -> Refused {
    serde_json::from_str(error.get()).unwrap_or_else(|_| {
        let error = serde_json::from_str(error.get()).unwrap_or_else(|_| error.get().to_owned());
        Refused { operation: None, error, details: None, syntax: None }
    })
}

fn parse<'a, T: Deserialize<'a>>(what: &str, json: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(json).map_err(|error| format!("{what} cannot be read: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ovsdb::value::Value;

    fn decoded(message: serde_json::Value) -> Result<Incoming, String> {
        decode(message.to_string().as_bytes())
    }

    fn refused(error: &str) -> Refused {
        Refused { operation: None, error: error.to_owned(), details: None, syntax: None }
    }

    #[test]
    fn what_a_server_says_is_told_apart() {
        let nothing = || serde_json::from_value::<TableUpdates>(json!({})).unwrap();
        for (message, expected) in [
            (
                json!({"method": "echo", "params": ["x"], "id": "echo"}),
                Incoming::Echo { id: json!("echo"), params: json!(["x"]) },
            ),
            (json!({"result": [], "error": null, "id": "echo"}), Incoming::Other),
            (json!({"method": "locked", "params": ["l"], "id": null}), Incoming::Other),
            (
                json!({"method": "update", "params": ["copy", {}], "id": null}),
                Incoming::Updated(Monitor::Copy, nothing()),
            ),
            (json!({"result": {}, "error": null, "id": "server"}), Incoming::Monitored(Monitor::Server, Ok(nothing()))),
            (
                json!({"result": null, "error": {"error": "unknown database"}, "id": "copy"}),
                Incoming::Monitored(Monitor::Copy, Err(refused("unknown database"))),
            ),
            (json!({"result": null, "error": "canceled", "id": 3}), Incoming::Transacted(3, Answer::Canceled)),
            (
                json!({"result": null, "error": {"error": "no"}, "id": 3}),
                Incoming::Transacted(3, Answer::Refused(refused("no"))),
            ),
            (
                json!({"result": [{}, {"count": 2}, {"error": "no"}, null], "error": null, "id": 4}),
                Incoming::Transacted(
                    4,
                    Answer::Elements(vec![
                        Some(Element::Answered(Answered::default())),
                        Some(Element::Answered(Answered { uuid: None, count: Some(2) })),
                        Some(Element::Refused(refused("no"))),
                        None,
                    ]),
                ),
            ),
        ] {
            assert_eq!(decoded(message.clone()).as_ref(), Ok(&expected), "{message}");
        }
    }

    #[test]
    fn a_message_without_sense_is_an_error() {
        for message in [
            json!({}),
            json!({"id": "copy"}),
            json!({"method": "update", "id": null}),
            json!({"method": "update", "params": ["other", {}], "id": null}),
            json!({"method": "update", "params": ["copy", {"T": {"no uuid": {}}}], "id": null}),
            json!({"result": [1], "error": null, "id": "copy"}),
            json!({"result": {}, "error": null, "id": 1}),
        ] {
            assert!(decoded(message.clone()).is_err(), "{message}");
        }
        assert!(decode(b"{").is_err());
        assert!(decode(b"{\"id\": \"\xff\"}").is_err());
    }

    #[test]
    fn columns_of_a_table_named_twice_are_asked_for_once() {
        let watched = [
            Watched { table: "T", columns: &["a", "b"] },
            Watched { table: "U", columns: &[] },
            Watched { table: "T", columns: &["b", "c"] },
        ];
        let request: serde_json::Value = serde_json::from_slice(&monitor(Monitor::Copy, "D", &watched)).unwrap();
        let tables = json!({"T": [{"columns": ["a", "b", "c"]}], "U": [{"columns": []}]});
        assert_eq!(request, json!({"method": "monitor", "params": ["D", "copy", tables], "id": "copy"}));
    }

    #[test]
    fn a_transaction_names_the_database_first() {
        let operations = [Operation::insert("T", [("a", Value::integer(1))].into_iter().collect())];
        let request: serde_json::Value = serde_json::from_slice(&transact(7, "D", &operations)).unwrap();
        let operation = json!({"op": "insert", "table": "T", "row": {"a": 1}});
        assert_eq!(request, json!({"method": "transact", "params": ["D", operation], "id": 7}));
    }
}
