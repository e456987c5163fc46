//! The writer on the simulated log, with faults, foreign writers and damage; time is paused.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

mod answers;
mod damage;
mod faults;
mod leases;
mod newer_events;
mod site;
mod two_writers;
