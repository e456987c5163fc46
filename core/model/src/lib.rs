//! The pure core of EdgeStack: what the kinds are, which commands are legal,
//! which events they lead to, and what the world looks like after them.
//!
//! Everything here is a function of its arguments. Time, new ids, the actor and
//! the reason arrive with the command in [`Given`]; nothing reads a clock, a
//! socket or a disk.
//!
//! The three entry points:
//! * [`decide`]: (world, given, command) → events, or a [`Refusal`] that a person can act on;
//! * [`World::evolve`]: (world, commit) → the next world; it cannot refuse, the commit happened;
//! * [`Commit`]: the envelope in which the events of one command travel and stay.

#![forbid(unsafe_code)]

pub mod actor;
pub mod address;
pub mod backoff;
#[cfg(test)]
mod builders;
pub mod command;
pub mod commit;
mod decide;
mod describe;
pub mod event;
pub mod flavor;
pub mod floating_ip;
pub mod given;
pub mod id;
pub mod idempotency;
pub mod image;
mod invariants;
pub mod keypair;
pub mod kind;
pub mod labels;
pub mod lease;
pub mod load_balancer;
pub mod meta;
pub mod name;
pub mod network;
pub mod node;
#[cfg(test)]
mod old_logs;
pub mod orphan;
pub mod placement;
#[cfg(test)]
mod properties;
pub mod realization;
pub mod refusal;
pub mod repair;
pub mod router;
pub mod schema;
pub mod sealed;
pub mod security_group;
pub mod security_group_rule;
pub mod sequence;
mod upcast;
pub mod vm;
pub mod volume;
pub mod waiting;
pub mod webhook;
pub mod world;

/// Names this very model, by its sources: what holds its types in a form of its own (rows of views, snapshots) is readable
/// for the same model only.
pub const SOURCES: &str = env!("EDGESTACK_MODEL_SOURCES");

pub use actor::Actor;
pub use command::Command;
pub use commit::{Commit, DecodeError};
pub use decide::{Decision, decide};
pub use event::Event;
pub use given::Given;
pub use id::Id;
pub use kind::Kind;
pub use labels::Labels;
pub use meta::Meta;
pub use name::Name;
pub use refusal::Refusal;
pub use sequence::{Generation, Sequence};
pub use waiting::Waiting;
pub use world::World;
