//! Simulated time, which goes on from one control plane to the next, and a clock that jumps.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use edgestack_engine::Clock;
use tokio::time::Instant;
use uuid::Uuid;

/// Each runtime has a paused time of its own; this clock adds them up.
#[derive(Default)]
pub struct SimClock {
    before: Mutex<Duration>,
    since: Mutex<Option<Instant>>,
    /// How far the clock is ahead of the time that passed, by jumps.
    ahead_seconds: AtomicI64,
    /// By how much it was set back in all.
    set_back_seconds: AtomicI64,
    ids: AtomicU64,
}

impl SimClock {
    /// A runtime begins.
    pub fn begin(&self) {
        *self.since.lock().unwrap() = Some(Instant::now());
    }

    /// A runtime ends, still inside of it.
    pub fn end(&self) {
        let passed = self.passed();
        *self.before.lock().unwrap() = passed;
        *self.since.lock().unwrap() = None;
    }

    /// Since the beginning of the run, whatever the clock says.
    pub fn passed(&self) -> Duration {
        let running = self.since.lock().unwrap().map_or(Duration::ZERO, |since| since.elapsed());
        *self.before.lock().unwrap() + running
    }

    /// The clock jumps, back where it is negative.
    pub fn jump(&self, seconds: i64) {
        self.ahead_seconds.fetch_add(seconds, Ordering::Relaxed);
        self.set_back_seconds.fetch_sub(seconds.min(0), Ordering::Relaxed);
    }

    /// What was noted before the clock was set back may lie so far ahead of it.
    pub fn slack(&self) -> TimeDelta {
        TimeDelta::seconds(self.set_back_seconds.load(Ordering::Relaxed))
    }
}

impl Clock for SimClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).unwrap()
            + TimeDelta::from_std(self.passed()).unwrap()
            + TimeDelta::seconds(self.ahead_seconds.load(Ordering::Relaxed))
    }

    fn new_id(&self) -> Uuid {
        let number = u128::from(self.ids.fetch_add(1, Ordering::Relaxed));
        Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number)
    }
}
