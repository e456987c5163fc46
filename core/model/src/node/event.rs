//! What happens to nodes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NodeFacts;
use crate::{
    meta::MetaChange,
    orphan::{Artifact, Record},
};

/// An event of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, JsonSchema)]
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
    /// Something is on it that carries an id of ours and is not in the log.
    NodeOrphanFound {
        /// What and where.
        orphan: Artifact,
        /// What the node has written down of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        record: Option<Record>,
    },
    /// An orphan is not there any more, or the log accounts for it by now.
    NodeOrphanGone {
        /// What and where.
        orphan: Artifact,
    },
    /// It has more orphans than it lists, or no longer so many.
    NodeUnlistedOrphansCounted {
        /// How many are not listed.
        unlisted: u64,
    },
    /// It is to be looked at now.
    NodeReconcileRequested {},
    /// It is forgotten: it is lost for good.
    NodeForceRemoved {},
    /// Older commits may leave the live log, once it is proven that the archive has them.
    NodeLogReleased {
        /// The last of them.
        through: u64,
        /// Its SHA-256, 64 hex digits.
        hash: String,
    },
    /// Something that nothing would ever have come for was removed.
    NodeLeftoverRemoved {
        /// What it was and where.
        leftover: Artifact,
        /// Why, in words.
        reason: String,
    },
}
