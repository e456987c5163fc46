//! Hosts of our own in the virtual network, for as long as a test takes: from where it is seen how a packet fares.
//!
//! * here: which probes there are, in this process's memory;
//! * [`place`]: where one is put, and under which addresses;
//! * [`path`]: from the question to a packet, pure;
//! * [`run`]: how it asks;
//! * [`explain`]: from OVN's trace of that packet to words about the site's objects, pure.
//!
//! A probe's rows are wished beside those of the log ([`crate::desired`]), and written by the same writer. They stand
//! nowhere else: when this process ends they are rows of ours that nobody wishes, and the next look removes them.

pub mod explain;
pub mod path;
pub mod place;
pub mod run;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use edgestack_model::World;
use tokio::sync::watch;
use uuid::Uuid;

use crate::rows::{Desired, Key, Table};
pub use place::{Place, Probe};

/// So many at once: each is a write of the northbound database, and a thread that waits for answers.
const PROBES_MAX: usize = 8;
/// How long the nodes may take to work by a probe's rows.
const REALIZED_WITHIN: Duration = Duration::from_secs(15);

type Wake = Arc<dyn Fn() + Send + Sync>;

/// The probes of this process, shared with its gateway pool.
#[derive(Clone, Default)]
pub struct Probes(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    running: BTreeMap<Uuid, Running>,
    /// The pool that writes their rows, while this process has it.
    wake: Option<(u64, Wake)>,
    pools: u64,
}

struct Running {
    probe: Probe,
    realized: watch::Sender<bool>,
}

/// Why there is no probe.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Another process writes the virtual network, or none yet.
    #[error("this process does not work the virtual network now")]
    NotHere,
    /// Others test.
    #[error("{PROBES_MAX} tests run already")]
    TooMany,
    /// All addresses that are given on the network are held.
    #[error("network \"{network}\" has no free address to ask from")]
    NoAddress {
        /// The network's name.
        network: String,
    },
    /// What it was to be put at is gone or on its way out.
    #[error("it is gone")]
    Gone,
    /// The nodes don't work by it.
    #[error("the nodes did not work by it within {} s", REALIZED_WITHIN.as_secs())]
    Unrealized,
}

/// A probe that there is until this is dropped.
pub struct Standing {
    probes: Probes,
    /// Where it is, and as whom.
    pub probe: Probe,
    realized: watch::Receiver<bool>,
}

impl Probes {
    /// Puts a probe somewhere.
    ///
    /// # Errors
    /// [`ProbeError`], but for [`ProbeError::Unrealized`].
    pub fn put(&self, world: &World, id: Uuid, place: Place) -> Result<Standing, ProbeError> {
        let mut state = self.lock();
        let Some((_, wake)) = state.wake.clone() else { return Err(ProbeError::NotHere) };
        if state.running.len() >= PROBES_MAX {
            return Err(ProbeError::TooMany);
        }
        let others: Vec<&Probe> = state.running.values().map(|running| &running.probe).collect();
        let probe = Probe::new(world, id, place, &others)?;
        let (sender, realized) = watch::channel(false);
        state.running.insert(id, Running { probe: probe.clone(), realized: sender });
        drop(state);
        wake();
        Ok(Standing { probes: self.clone(), probe, realized })
    }

    /// Adds what all of them wish; returns those that nobody has confirmed yet.
    pub(crate) fn rows(&self, world: &World, rows: &mut Desired) -> Vec<Uuid> {
        let state = self.lock();
        for running in state.running.values() {
            crate::desired::probe_rows(world, &running.probe, rows);
        }
        // One whose place is gone has no rows, and is never confirmed.
        let has_rows = |id: &Uuid| rows.contains_key(&Key::new(Table::LogicalSwitchPort, id.to_string()));
        let unconfirmed = state.running.iter().filter(|(id, running)| has_rows(id) && !*running.realized.borrow());
        unconfirmed.map(|(id, _)| *id).collect()
    }

    /// The nodes work by these.
    pub(crate) fn tell_realized(&self, ids: &[Uuid]) {
        let state = self.lock();
        for running in ids.iter().filter_map(|id| state.running.get(id)) {
            running.realized.send_replace(true);
        }
    }

    /// From now on, until the result is dropped, a pool writes their rows; it is woken whenever they change.
    pub fn served_by(&self, wake: Wake) -> Served {
        let mut state = self.lock();
        state.pools += 1;
        let pool = state.pools;
        state.wake = Some((pool, wake));
        Served { probes: self.clone(), pool }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // What a panic leaves behind is whole: each change is one insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    /// Waits until the nodes work by it.
    ///
    /// # Errors
    /// [`ProbeError::Unrealized`].
    pub async fn until_realized(&self) -> Result<(), ProbeError> {
        let mut realized = self.realized.clone();
        let realized = tokio::time::timeout(REALIZED_WITHIN, realized.wait_for(|realized| *realized)).await;
        if matches!(realized, Ok(Ok(_))) { Ok(()) } else { Err(ProbeError::Unrealized) }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        let mut state = self.probes.lock();
        state.running.remove(&self.probe.id);
        let wake = state.wake.clone();
        drop(state);
        if let Some((_, wake)) = wake {
            wake();
        }
    }
}

/// A pool that writes probes' rows.
pub struct Served {
    probes: Probes,
    pool: u64,
}

impl Drop for Served {
    fn drop(&mut self) {
        let mut state = self.probes.lock();
        if state.wake.as_ref().is_some_and(|(pool, _)| *pool == self.pool) {
            state.wake = None;
        }
    }
}
