//! MM3 as a client sees it, on a site in memory and without a socket (but for `sockets`).

#![allow(clippy::unwrap_used, clippy::expect_used)] // A test's helper fails as the test does.

mod auth;
mod backup;
mod changes;
mod contract;
mod events;
mod every_kind;
mod floating_ips;
mod fuzz_bodies;
mod history;
mod history_search;
mod keypairs;
mod lists;
mod load_balancers;
mod manifest;
#[path = "../../../../core/model/tests/fuzz/mutation.rs"]
mod mutation;
mod network_removal;
mod network_tests;
mod networks;
mod nics;
mod openapi;
mod past;
mod reads;
mod repair;
mod replay;
mod routers;
mod security_groups;
mod site;
mod sockets;
mod sweep;
mod undo;
mod upload;
mod watches;
mod webhooks;
mod what_if;
mod wrong_input;
