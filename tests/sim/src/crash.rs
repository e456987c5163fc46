//! The control plane is killed at an await, as by `kill -9`.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use tokio::sync::Notify;

/// Counts the places where it could happen; at the chosen one nothing goes on. Clones share it.
#[derive(Clone, Default)]
pub struct CrashSwitch {
    left: Arc<AtomicI64>,
    pulled: Arc<Notify>,
}

impl CrashSwitch {
    /// It happens at the `passes`-th place from now on; 0: never.
    pub fn arm(&self, passes: i64) {
        self.left.store(passes, Ordering::Relaxed);
    }

    /// A place where it can happen: before or after an append, a driver's call, a report.
    pub async fn pass(&self) {
        if self.left.load(Ordering::Relaxed) == 0 {
            return;
        }
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.pulled.notify_one();
            std::future::pending::<()>().await;
        }
    }

    /// Waits until it happens.
    pub async fn pulled(&self) {
        self.pulled.notified().await;
    }
}
