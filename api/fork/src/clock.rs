//! A fork's time: it begins where the fork does, and goes on as its runtime's does.

use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use edgestack_engine::{Clock, SystemClock};
use tokio::time::Instant;
use uuid::Uuid;

/// The clock of one fork.
pub struct ForkClock {
    began: DateTime<Utc>,
    since: Instant,
}

impl ForkClock {
    /// It is `now`; called on the fork's runtime.
    pub fn begin(now: DateTime<Utc>) -> Self {
        Self { began: now, since: Instant::now() }
    }
}

impl Clock for ForkClock {
    fn now(&self) -> DateTime<Utc> {
        let passed: Duration = self.since.elapsed();
        // A fork is bounded to days; no date is out of chrono's range then.
        let passed = TimeDelta::from_std(passed).unwrap_or(TimeDelta::MAX);
        self.began.checked_add_signed(passed).unwrap_or(DateTime::<Utc>::MAX_UTC).trunc_subsecs(6)
    }

    fn new_id(&self) -> Uuid {
        SystemClock.new_id()
    }
}
