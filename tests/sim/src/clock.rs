//! Simulated time, which goes on from one control plane to the next.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
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

    /// Since the beginning of the run.
    pub fn passed(&self) -> Duration {
        let running = self.since.lock().unwrap().map_or(Duration::ZERO, |since| since.elapsed());
        *self.before.lock().unwrap() + running
    }
}

impl Clock for SimClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).unwrap() + TimeDelta::from_std(self.passed()).unwrap()
    }

    fn new_id(&self) -> Uuid {
        let number = u128::from(self.ids.fetch_add(1, Ordering::Relaxed));
        Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number)
    }
}
