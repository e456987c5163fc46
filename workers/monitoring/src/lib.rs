//! The monitoring pool: tells what this node is and has, that it is alive, and
//! what lies on it that the log does not know (law 9). The drift of running VMs
//! is seen by the vm pool's own beat and watches.

mod drift;
pub mod driver;
mod heart;

pub use drift::{Drift, Finder, run_drift};
pub use heart::{Heart, run_heart};
