//! A client of OVSDB databases (RFC 7047), such as those of OVN and Open vSwitch.
//!
//! ```text
//! reconciler ── transact ──▶ Client ── Request ──▶ Connection ──▶ server
//!            ◀─── copy ────        ◀─── State ────      (task) ◀──
//! ```
//!
//! A [`Client`] is one connection to one database, with a [`LocalCopy`] of the tables that its owner watches. It is made
//! for who compares what should be with the copy and sends the difference as one transaction:
//!
//! * the copy is always one that the database had, between two transactions; it never shows half of one;
//! * when [`Client::transact`] has answered, the copy shows what the transaction did;
//! * a connection that has ended stays so, and its owner connects anew and plans from the new copy. Nothing is sent
//!   twice by itself;
//! * what was sent and not answered is told as such ([`OvsdbError::UnknownOutcome`]).
//!
//! What a plan took for granted, and others might change meanwhile, goes into the transaction as a guard
//! ([`Operation::wait`]).
//!
//! Absent on purpose: schemas (the server knows them, and refuses), indexes on the copy, conditions on monitors
//! (`monitor_cond`, ovsdb-server(7) section 4.1.12: its rows come without the columns that have the schema's defaults),
//! locks, and any reconnecting.
//!
//! Code map: `endpoint` and `tls` open a stream, `framing` cuts it into messages, `message` reads and writes them,
//! `connection` is the task that owns the stream, `client` is what callers have in hand; `atom`, `value`, `row`, `copy`
//! are the data, `operation` is what a transaction does to it, `error` what may go wrong.

mod atom;
mod client;
mod connection;
mod copy;
mod endpoint;
mod error;
mod framing;
mod message;
mod operation;
mod row;
mod tls;
mod value;

pub use atom::{Atom, Real};
pub use client::{Changes, Client};
pub use connection::{PROBE_AFTER, SIGN_OF_LIFE_WITHIN};
pub use copy::{LocalCopy, Table, Watched};
pub use endpoint::{Endpoint, EndpointError, Endpoints, HostPort};
pub use error::{Attempt, Ended, Lost, OvsdbError, Refused};
pub use framing::MESSAGE_MAX;
pub use operation::{Mutation, Operation, OperationResult, Selection};
pub use row::Row;
pub use tls::{Tls, TlsError};
pub use value::Value;
