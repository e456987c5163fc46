//! The vm pool: makes VMs run, pause, stop and go, on this node.
//!
//! * [`plan`]: (the VM as the log has it, the VM as the driver sees it) → the one next step, pure;
//! * [`reconcile`]: looks, plans, does one step, reports, and looks again;
//! * [`driver`]: what touches the outside world: QEMU, or a simulation that says so.

pub mod driver;
pub mod plan;
mod reconcile;

pub use reconcile::{VmPool, VmPoolParts};
