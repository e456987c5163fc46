//! What the end-to-end tests share: a site of real processes in a folder of its own.
//!
//! * [`Site`]: one state folder, its daemons, its client, and their end whatever happens.
//! * [`Api`]: MM3 over HTTP as any client would speak it.
//! * [`processes`]: what the kernel says runs, which no report of ours can embellish.
//! * [`eventually`]: awaits a condition with a deadline, and says what was seen last.
//! * [`Joined`]: a second daemon on a site.
//! * [`Three`]: a site whose log is on three nodes, in network namespaces if need be.
//! * [`Guest`]: a Debian guest over SSH.
//! * [`in_own_network`]: a test in a network namespace of its own, for sites with virtual networks; [`Plugged`] a guest there.
//! * [`virtual_network`]: what its tests begin with; [`existing_ovn`]: an OVN that others run.
//! * [`damage`]: what others do to our files.
//! * [`nats`]: the log as a plain NATS client reads it.
//!
//! The programs come from `EDGESTACK_BIN_DIR`, or from the target folder that this test was built in.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "this crate is tests: a panic is how it fails")]

mod api;
mod daemon;
pub mod damage;
mod deadline;
mod disks;
pub mod existing_ovn;
mod guest;
mod joined;
mod machine;
pub mod nats;
mod own_network;
mod ports;
pub mod processes;
mod receiver;
pub mod run_edgectl;
mod sending;
mod site;
mod spare;
mod talk;
mod three;
pub mod virtual_network;
mod vms;

pub use api::{Api, PREFIXES, Reply};
pub use daemon::Daemon;
pub use deadline::{PATIENCE, eventually};
pub use disks::{POWERS_OFF, SPEAKS, TINY, write_boot_disk};
pub use guest::Guest;
pub use joined::Joined;
pub use machine::{edgectl, edgestackd, guest_image, nats_server, python, qemu};
pub use own_network::{Plugged, in_own_network};
pub use receiver::{Delivered, Receiver};
pub use sending::Sending;
pub use site::{Site, SiteOptions, a_flavor};
pub use talk::{Asked, Asking, Serving, is_alive};
pub use three::{Node, Three};
