//! The control plane is killed at an await or in the midst of writing, as by `kill -9` or a power cut.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use tokio::sync::Notify;

use crate::fault::{Fault, Faults};

/// Counts the places where it could happen; from the chosen one on nothing goes on. Clones share it.
#[derive(Clone, Default)]
pub struct CrashSwitch {
    left: Arc<AtomicI64>,
    dead: Arc<AtomicBool>,
    pulled: Arc<Notify>,
    faults: Faults,
}

/// What a process that is killed between two steps unwinds with.
pub struct Killed;

impl CrashSwitch {
    pub fn new(faults: Faults) -> Self {
        Self { faults, ..Self::default() }
    }

    /// It happens at the `passes`-th place from now on; 0: never. Whoever was dead lives again.
    pub fn arm(&self, passes: i64) {
        self.left.store(passes, Ordering::Relaxed);
        self.dead.store(false, Ordering::Relaxed);
    }

    fn comes(&self) -> bool {
        self.left.load(Ordering::Relaxed) != 0 && self.left.fetch_sub(1, Ordering::Relaxed) == 1
    }

    fn kill(&self, fault: Fault) {
        self.faults.fired(fault);
        self.dead.store(true, Ordering::Relaxed);
        self.pulled.notify_one();
    }

    /// An await where it can happen: before or after an append, a driver's call, a report.
    pub async fn pass(&self) {
        if !self.is_dead() && self.comes() {
            self.kill(Fault::Killed);
        }
        self.or_never().await;
    }

    /// A place between two steps, without an await: it unwinds.
    pub fn pass_between(&self) {
        if !self.is_dead() && self.comes() {
            self.kill(Fault::KilledWhileWriting);
        }
        if self.is_dead() {
            resume_unwind(Box::new(Killed));
        }
    }

    /// What is dead does nothing any more, even if it is scheduled once more.
    pub async fn or_never(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Waits until it happens.
    pub async fn pulled(&self) {
        self.pulled.notified().await;
    }
}
