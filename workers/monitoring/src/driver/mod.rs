//! What the monitoring pool looks at the node with.

mod linux;
mod sim;

use async_trait::async_trait;
use edgestack_model::node::NodeFacts;
use edgestack_pool::DriverError;

pub use linux::{LinuxDriver, LinuxDriverConfig};
pub use sim::SimDriver;

/// Looks at one node.
///
/// **Guarantees.** Facts that have not changed are given as equal values, so
/// that looking often writes nothing into the log.
#[async_trait]
pub trait NodeDriver: Send + Sync + 'static {
    /// What the node is and has.
    async fn facts(&self) -> Result<NodeFacts, DriverError>;

    /// Whether more of them is to be found out soon: then they are looked at with each beat.
    fn are_to_come(&self) -> bool {
        false
    }
}
