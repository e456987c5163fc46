//! The link between processes of one site: the same binary runs each role as a
//! process of its own, and they meet on NATS. Commits travel by the stream; what
//! else they say to each other is here, as plain NATS requests and messages:
//!
//! * `mm3.command.submit`: a command to whichever process runs an engine ([`RemotePort`], [`serve_commands`]);
//! * `mm3.engine.<process>`: a command from one engine of the site to another ([`SharedPort`], [`serve_engines`]);
//! * `mm3.heartbeat.<node>`: a node's sign of life ([`heartbeat_sender`], [`hear_heartbeats`]).
//!
//! A worker that speaks over the link is named in the log as what NATS knows it
//! as: it cannot claim another credential.

mod connection;
mod heartbeats;
mod others;
mod port;
mod service;
mod shared;

pub use heartbeats::{hear_heartbeats, heartbeat_sender};
pub use others::hear_others;
pub use port::RemotePort;
pub use service::{serve_commands, serve_engines};
pub use shared::SharedPort;

use edgestack_engine::{Outcome, SubmitError};
use edgestack_model::{Kind, Refusal};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

/// Where commands go.
pub(crate) const SUBMIT: &str = "mm3.command.submit";
/// The engines share the work: one of them answers each command.
pub(crate) const ENGINES: &str = "engines";
/// Before the process's id: its engine, for the site's other engines.
pub(crate) const ENGINE: &str = "mm3.engine";
/// With the id of the process that asks. What JetStream delivers to a subject of a consumer's choice has no such header.
pub(crate) const FROM_ENGINE: &str = "EdgeStack-From-Engine";
/// Before the node's name.
pub(crate) const HEARTBEAT: &str = "mm3.heartbeat";
/// Before that, where readers hear them.
pub(crate) const HEARD: &str = "heard";

/// The answer to a command, as it travels.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub(crate) enum Answer {
    Committed { sequence: u64 },
    Unchanged { kind: Kind, id: Uuid },
    Before { sequence: u64, kind: Kind, id: Uuid },
    Refused { refusal: Refusal },
    Busy { retry_after_ms: u64 },
    Unavailable { why: String, retry_after_ms: u64 },
    OutcomeUnknown { retry_after_ms: u64 },
    Damaged { why: String },
    TooLarge { bytes: usize, limit: usize },
    Internal { why: String },
}

impl Answer {
    pub(crate) fn of(outcome: Result<Outcome, SubmitError>) -> Self {
        let ms = |pause: Duration| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        match outcome {
            Ok(Outcome::Committed { commit }) => Self::Committed { sequence: commit.sequence.0 },
            Ok(Outcome::Unchanged { primary: (kind, id) }) => Self::Unchanged { kind, id },
            Ok(Outcome::Before { sequence, primary: (kind, id) }) => Self::Before { sequence: sequence.0, kind, id },
            Ok(Outcome::DryRun { primary: (kind, id), .. }) => Self::Unchanged { kind, id },
            Err(SubmitError::Refused(refusal)) => Self::Refused { refusal },
            Err(SubmitError::Busy { retry_after }) => Self::Busy { retry_after_ms: ms(retry_after) },
            Err(SubmitError::Unavailable { why, retry_after }) => {
                Self::Unavailable { why, retry_after_ms: ms(retry_after) }
            }
            Err(SubmitError::OutcomeUnknown { retry_after }) => {
                Self::OutcomeUnknown { retry_after_ms: ms(retry_after) }
            }
            Err(SubmitError::Damaged { why }) => Self::Damaged { why },
            Err(SubmitError::TooLarge { bytes, limit }) => Self::TooLarge { bytes, limit },
            Err(SubmitError::Internal(why)) => Self::Internal { why },
        }
    }
}
