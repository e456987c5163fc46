//! Time and new ids come from outside (law 12): a clock of its own for the simulation.

use chrono::{DateTime, SubsecRound, Utc};
use uuid::Uuid;

/// Where time and ids come from.
pub trait Clock: Send + Sync + 'static {
    /// Now, to the microsecond (what JSON keeps of it, all views keep).
    fn now(&self) -> DateTime<Utc>;

    /// A fresh UUIDv7.
    fn new_id(&self) -> Uuid;
}

/// The machine's own clock and randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }

    fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}
