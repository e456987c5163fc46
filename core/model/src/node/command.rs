//! What can be asked of nodes, and what their workers report.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{LogRelease, NodeFacts};
use crate::{
    Name,
    command::Reference,
    meta::MetaChange,
    orphan::{Artifact, ArtifactKind, Record},
};

/// A command on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum NodeCommand {
    /// Changes description and labels.
    Update {
        /// Which.
        node: Reference,
        /// What.
        change: MetaChange,
    },
    /// Stops placing VMs on it.
    Cordon {
        /// Which.
        node: Reference,
    },
    /// Places VMs on it again.
    Uncordon {
        /// Which.
        node: Reference,
    },
    /// Forgets it, when it is lost for good; see [`crate::repair`].
    ForceRemove {
        /// Which.
        node: Reference,
    },
    /// Looks at it again now; see [`crate::repair`].
    Reconcile {
        /// Which.
        node: Reference,
    },
    /// Lets older commits leave the live log for the archive.
    ReleaseLog {
        /// In whose history it stands.
        node: Reference,
        /// The last commit that leaves, and its SHA-256.
        through: LogRelease,
    },
    /// Takes over one of its orphans; see [`crate::repair`].
    Adopt {
        /// The node.
        node: Reference,
        /// The id that the orphan carries.
        id: Uuid,
        /// Its name from now on, if not the one that it had.
        name: Option<Name>,
        /// A VM's flavor, where the log doesn't have the one that it was made with.
        flavor: Option<Reference>,
    },
    /// From its monitoring worker, or from the overseer of heart-beats.
    Report(NodeReport),
}

/// What is reported of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "kebab-case")]
pub enum NodeReport {
    /// "I am here, and this is what I have." Registers the node at first.
    Inventory {
        /// The node's own name.
        name: Name,
        /// What it has.
        facts: Box<NodeFacts>,
    },
    /// Its heart-beats are missing.
    Lost {
        /// Which.
        node: Reference,
        /// Since when nothing was heard.
        reason: String,
    },
    /// What is on it and not in the log.
    Orphans {
        /// Which.
        node: Reference,
        /// What was seen.
        seen: Box<OrphansSeen>,
    },
    /// What was on its way into the log, came to nothing, and was removed.
    LeftoversRemoved {
        /// Which.
        node: Reference,
        /// What was removed; at most [`crate::orphan::CHANGES_MAX`].
        leftovers: Vec<RemovedLeftover>,
    },
}

/// What a look for orphans saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphansSeen {
    /// What was looked for, without a failure: of other kinds nothing is said.
    pub looked_for: BTreeSet<ArtifactKind>,
    /// The orphans, each seen twice; those that the node lists already before new ones. At most
    /// [`crate::orphan::ORPHANS_MAX`].
    pub found: BTreeSet<Artifact>,
    /// How many there are besides.
    pub unlisted: u64,
    /// What the node has written down of those found, by id; whose is not here can't be adopted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub records: BTreeMap<Uuid, Record>,
}

/// Something that was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedLeftover {
    /// What and where.
    pub artifact: Artifact,
    /// Why, in words; at most [`crate::orphan::REASON_LENGTH_MAX`] bytes.
    pub reason: String,
}

impl NodeCommand {
    /// The command's name in the envelope.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Update { .. } => "update-node",
            Self::Cordon { .. } => "cordon-node",
            Self::Uncordon { .. } => "uncordon-node",
            Self::ForceRemove { .. } => "force-remove-node",
            Self::Reconcile { .. } => "reconcile-node",
            Self::ReleaseLog { .. } => "release-log",
            Self::Adopt { .. } => "adopt",
            Self::Report(NodeReport::Inventory { .. }) => "report-node-inventory",
            Self::Report(NodeReport::Lost { .. }) => "report-node-lost",
            Self::Report(NodeReport::Orphans { .. }) => "report-node-orphans",
            Self::Report(NodeReport::LeftoversRemoved { .. }) => "report-node-leftovers-removed",
        }
    }
}
