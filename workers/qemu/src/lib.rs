//! QEMU as a library: probe it, describe a machine, launch, find, watch and end it, speak QMP and the guest agent's
//! protocol, make disks and cloud-init seeds, keep the console's log small.
//!
//! It knows nothing of EdgeStack's model: parameters come in, facts go out, ids are strings that are UUIDs. What it
//! promises about processes:
//!
//! * a QEMU outlives its launcher and is found again ([`find`]), by its record or, without one, by its arguments;
//! * one virtual machine has one QEMU at most: a lock orders the launchers, and QEMU's own lock on its pid file, taken
//!   before it opens a socket or a disk, refuses a second one even where a launcher died between two lines;
//! * image locks are never bypassed;
//! * each QEMU runs as an unprivileged user (when the launcher is root), in its own session, with its system calls
//!   filtered and its memory, CPU and tasks bounded.

pub mod accelerator;
mod command_line;
pub mod console;
pub mod disk_image;
pub mod durable;
pub mod guest_agent;
pub mod hotplug;
pub mod machine;
pub mod process;
pub mod qmp;
pub mod seed;

pub use accelerator::{Accelerator, probe_accelerator};
pub use command_line::{arguments, supports_direct_io};
pub use machine::{Backing, Disk, DiskFormat, HostForward, InvalidMachine, Limits, Machine, NIC_PORTS, Nic};
pub use process::{
    Change, EndError, Ended, Instance, LaunchError, Layout, clear_away, end, find, grant_read, launch, watch,
};
