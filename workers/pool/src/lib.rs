//! What all worker pools share: a queue that wakes resources by events, timers
//! and beats (law 7: what is then done follows from the folded state alone),
//! how a worker reports, the folders of a node, and the lock by which one node
//! has one worker.

mod driver_error;
mod folders;
mod node_lock;
mod reporter;
mod runner;

pub use driver_error::DriverError;
pub use edgestack_engine::crash_point;
pub use folders::NodeFolders;
pub use node_lock::{NodeLock, NodeLockError};
pub use reporter::{Reported, Reporter};
pub use runner::{Next, Pool, PoolConfig, Reconciler};
