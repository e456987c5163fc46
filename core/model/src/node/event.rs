//! What happens to nodes.

use serde::{Deserialize, Serialize};

use super::NodeFacts;
use crate::meta::MetaChange;

/// An event of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum NodeEvent {
    /// Its worker registered it.
    NodeRegistered {
        /// What it has.
        facts: NodeFacts,
    },
    /// Its worker found something changed.
    NodeFactsChanged {
        /// What it has now.
        facts: NodeFacts,
    },
    /// Description or labels changed.
    NodeUpdated {
        /// The fields that changed.
        change: MetaChange,
    },
    /// No new VMs.
    NodeCordoned {},
    /// New VMs again.
    NodeUncordoned {},
    /// Its workers are heard again.
    NodeBecameReady {},
    /// Its workers are not heard.
    NodeBecameNotReady {
        /// Since when nothing was heard.
        reason: String,
    },
}
