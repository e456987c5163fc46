//! Deliveries over real sockets on loopback, of a site whose log is in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

mod arriving;
mod failing;
mod receiver;
mod refused;
mod resuming;
mod seeded;
mod site;
mod tls;
