//! The simulated northbound driver, with time, failures and crashes, of a process that has the lease for a while.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use edgestack_pool::DriverError;
use edgestack_worker_gateway::{driver::NorthboundDriver, plan::Change, rows::Seen};

use crate::{fault::Fault, northbound::Write, outside::Outside};

/// The database as one holder of the lease sees it.
pub struct SlowNorthboundDriver {
    pub outside: Arc<Outside>,
    /// Under which taking of the lease it writes.
    pub epoch: u64,
    /// When it looked last.
    looked: AtomicU64,
}

impl SlowNorthboundDriver {
    pub fn new(outside: Arc<Outside>, epoch: u64) -> Self {
        Self { outside, epoch, looked: AtomicU64::new(0) }
    }

    async fn begin(&self, doing: &str) -> Result<(), DriverError> {
        self.outside.crash.pass().await;
        let stuck = self.outside.goes_wrong(Fault::DriverStuck, 4);
        let pause = if stuck { self.outside.random.millis(20_000, 90_000) } else { self.outside.random.millis(1, 80) };
        tokio::time::sleep(pause).await;
        self.outside.crash.pass().await;
        if self.outside.goes_wrong(Fault::DriverFailed, 60) {
            return Err(DriverError::retry_with_fix(format!("simulated: no database to {doing}"), "wait"));
        }
        Ok(())
    }

    fn refused(&self, epoch: u64) -> DriverError {
        DriverError::retry(format!("simulated: it is the turn of epoch {epoch}, ours is {}", self.epoch))
    }
}

#[async_trait]
impl NorthboundDriver for SlowNorthboundDriver {
    fn is_simulated(&self) -> bool {
        true
    }

    async fn rows(&self) -> Result<Seen, DriverError> {
        self.outside.looks.fetch_add(1, Ordering::Relaxed);
        self.begin("look").await?;
        let (seen, now) = self.outside.northbound.look(self.epoch).map_err(|epoch| self.refused(epoch))?;
        self.looked.store(now, Ordering::Relaxed);
        self.outside.crash.pass().await;
        Ok(seen)
    }

    async fn write(&self, seen: &Seen, changes: &[Change]) -> Result<(), DriverError> {
        self.begin("write").await?;
        let (outside, looked) = (&self.outside, self.looked.load(Ordering::Relaxed));
        let (seen, changes) = (seen.clone(), changes.to_vec());
        let mut write = Write { epoch: self.epoch, looked, seen, changes, is_late: false };
        outside.northbound.check_told(&outside.violations, &write);
        if outside.goes_wrong(Fault::WrittenLate, 20) {
            write.is_late = true;
            tokio::spawn(arrives_late(outside.clone(), write));
            return Err(DriverError::retry("simulated: no answer came in time"));
        }
        if outside.goes_wrong(Fault::SaidDoneButDidNot, 12) {
            outside.northbound.leave_out(&write);
            return Ok(());
        }
        outside.northbound.write(&outside.violations, &write).map_err(|epoch| self.refused(epoch))?;
        outside.tell_of_changes();
        outside.crash.pass().await;
        if outside.goes_wrong(Fault::DidButSaidError, 15) {
            return Err(DriverError::retry("simulated: no answer came in time"));
        }
        Ok(())
    }

    async fn realized(&self, _nodes: &BTreeSet<String>, within: Duration) -> Result<(), DriverError> {
        self.begin("await the nodes").await?;
        let too_slow = self.outside.goes_wrong(Fault::Unconfirmed, 30);
        if too_slow {
            tokio::time::sleep(within).await;
        }
        // Who doesn't wait finds what was confirmed meanwhile.
        let in_time = !too_slow && (!within.is_zero() || self.outside.random.per_mille(500));
        if !self.outside.northbound.confirmed(in_time) {
            return Err(DriverError::retry("simulated: the nodes have not confirmed it"));
        }
        self.outside.crash.pass().await;
        Ok(())
    }

    fn watch(&self, wake: Arc<dyn Fn() + Send + Sync>) {
        wake();
        self.outside.northbound.wake_at_changes(wake);
    }
}

/// Given up by its sender, and carried out a while later, unless it is another's turn by then.
async fn arrives_late(outside: Arc<Outside>, write: Write) {
    tokio::time::sleep(outside.random.millis(100, 20_000)).await;
    if outside.northbound.write(&outside.violations, &write).is_ok() {
        outside.tell_of_changes();
    }
}

impl Outside {
    /// Now and then a change is missed, and the beat has to see it.
    pub fn tell_of_changes(&self) {
        if !self.goes_wrong(Fault::WatchMissed, 200) {
            self.northbound.wake();
        }
    }
}
