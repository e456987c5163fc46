//! The gateway pool: keeps the northbound database of the site's OVN as the log wishes it.
//!
//! * [`rows`]: what is in that database, by names of our own;
//! * [`desired`]: the world → the rows that there shall be, pure;
//! * [`plan`]: (desired, seen) → what to write, pure;
//! * [`reconcile`](GatewayPool): looks, plans, writes all of it in one transaction, awaits the nodes, reports;
//! * [`probe`]: hosts of our own in the virtual network, for tests;
//! * [`driver`]: OVN, or a simulation that says so.
//!
//! It looks at the whole virtual network at once: an object's creation, its change, what others did to it, and an emptied
//! database are the same difference between two sets of rows.

pub mod desired;
pub mod driver;
mod objects;
pub mod plan;
pub mod probe;
mod reconcile;
pub mod rows;

pub use reconcile::{GatewayPool, GatewayPoolParts};

#[cfg(test)]
#[path = "../tests/world/mod.rs"]
mod world;
