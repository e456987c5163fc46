//! Events of older versions, as they were written, and how each becomes the newest.
//!
//! A room an event type (or for several that changed together) holds the frozen Rust type of each old version, from
//! which its schema is made too, and one pure step from each version to the next. The bytes of the log are never
//! rewritten: the archive, the hash chain and readers of NATS see the stored form; everything behind
//! [`crate::Commit::decode`] sees the newest alone.
//!
//! Events of the newest version don't come here: the decoder compares two numbers and goes on.

mod node_facts;

use serde::Deserializer;

pub(crate) use node_facts::NodeEventV1;

use crate::{Kind, event::Fact};

/// The version in which events of a type are written. Types that never changed are at 1.
pub(crate) fn newest(event_type: &str) -> u32 {
    match event_type {
        "NodeRegistered" | "NodeFactsChanged" => 2,
        _ => 1,
    }
}

/// Reads an event of an older version than its newest and takes it there. `None`: the log never had such a one.
pub(crate) fn read<'de, D>(kind: Kind, event_type: &str, version: u32, tagged: D) -> Option<Result<Fact, D::Error>>
where
    D: Deserializer<'de>,
{
    match (kind, event_type, version) {
        (Kind::Node, "NodeRegistered" | "NodeFactsChanged", 1) => Some(NodeEventV1::read(tagged).map(Fact::Node)),
        _ => None,
    }
}
