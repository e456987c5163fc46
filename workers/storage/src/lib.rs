//! The storage pool: imports images, makes and removes the root disks of VMs, on this node.
//!
//! * [`plan`]: (resource as the log has it, now) → the next step, pure;
//! * [`reconcile`]: plans, does the step, reports;
//! * [`driver`]: local files through qemu-img, or a simulation that says so.

pub mod driver;
pub mod plan;
mod reconcile;

pub use reconcile::{StoragePool, StoragePoolParts};
