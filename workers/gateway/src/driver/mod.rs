//! What the gateway pool touches the outside world with.

mod confirmation;
pub mod conformance;
mod ovn;
mod sim;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use edgestack_pool::DriverError;

pub use ovn::{OvnConfig, OvnDriver};
pub use sim::SimDriver;

use crate::{plan::Change, rows::Seen};

/// The site's northbound database.
///
/// **Guarantees.** Only rows that carry an id of this site are told and written; what is not ours is never touched, nor
/// a reference to it, but for one that stands where a row of ours has room for a single one. A write is all or nothing.
/// From the first look of a process on, writes of those before it are refused.
///
/// **Assumptions.** One caller at a time.
///
/// **Errors.** [`DriverError::Retry`] for all: whatever happened, the next look tells what is.
#[async_trait]
pub trait NorthboundDriver: Send + Sync + 'static {
    /// Whether nothing real is made (law 12).
    fn is_simulated(&self) -> bool;

    /// All rows of ours.
    async fn rows(&self) -> Result<Seen, DriverError>;

    /// Carries out the changes, planned on `seen`, in one transaction, and asks the nodes to confirm it.
    async fn write(&self, seen: &Seen, changes: &[Change]) -> Result<(), DriverError>;

    /// Waits until nodes, by the names of their chassis, work by what is written: these where they can be asked one by one, else
    /// all that there are.
    async fn realized(&self, nodes: &BTreeSet<String>, within: Duration) -> Result<(), DriverError>;

    /// Has `wake` called whenever rows may have been changed, from now on; asked once.
    fn watch(&self, wake: Arc<dyn Fn() + Send + Sync>);
}
