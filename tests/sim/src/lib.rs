//! A whole site in one thread and in simulated time, driven by one seed.
//!
//! Real are the engine, the replica, the views, the scheduler, the overseer and the vm, storage, gateway and monitoring
//! pools.
//! Simulated are the log, the drivers and the clock (law 12), and what is around them: clients that wish and try again,
//! guests that die, nodes that are cut off, others who write into the virtual network, a log that loses answers or is away,
//! and the control plane itself, which is killed at any await and started anew from the log, while the drivers' world goes
//! on.
//!
//! * [`run`]: one seed, from the first command to the last check;
//! * [`checkers`]: what must hold, one law a file.

#![allow(clippy::unwrap_used, reason = "this crate is a test: what fails ends it")]

pub mod checkers;
mod clients;
mod clock;
mod control_plane;
mod crash;
mod damage;
mod fault;
mod faults;
mod log;
mod northbound;
mod northbound_driver;
mod objects;
mod others;
mod outside;
mod planting;
mod random;
mod run;
mod storage_driver;
mod vm_driver;
mod wishes;

pub use checkers::LAWS;
pub use fault::Fault;
pub use run::{REPLAY, Report, Violation, run, run_judged_by};
