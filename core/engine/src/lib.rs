//! The command engine: one writer that decides commands on the world, appends
//! the commits to the log and only then answers; and the replica, the folded
//! world that everyone in this process reads.
//!
//! * [`Replica`]: commits in, in order and checked (law 4); world, projections and watchers out.
//! * [`Engine`]: the writer (laws 2, 3 and 5), behind a bounded queue.
//! * [`CommandPort`]: how a command reaches a writer, in this process or in another.
//! * [`Clock`]: time and new ids, real or simulated (law 12).
//!
//! It knows nothing of HTTP, sled, NATS or any driver.

pub mod clock;
pub mod crash_point;
mod error_chain;
mod follower;
mod heartbeat;
mod lease;
mod port;
mod queues;
mod reconnect;
mod replica;
mod scheduler;
mod submission;
mod writer;

pub use clock::{Clock, SystemClock};
pub use error_chain::error_chain;
pub use follower::{
    catch_up, catch_up_for_sure, fold_next, follow, follow_behind, mend_when_repaired, verify_on_a_timer,
};
pub use heartbeat::{BEAT_EVERY, Heartbeats, LOST_AFTER, run_overseer};
pub use lease::{Duty, Leases, holder_heard_within};
pub use port::CommandPort;
pub use replica::{Applied, Change, Projection, Replica, ReplicaError};
pub use scheduler::run_scheduler;
pub use submission::{Origin, Outcome, Submission, SubmitError};
pub use writer::{Engine, EngineConfig, Unserved};
