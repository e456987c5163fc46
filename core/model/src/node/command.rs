//! What can be asked of nodes, and what their workers report.

use serde::{Deserialize, Serialize};

use super::NodeFacts;
use crate::{Name, command::Reference, meta::MetaChange};

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
}

impl NodeCommand {
    /// The command's name in the envelope.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Update { .. } => "update-node",
            Self::Cordon { .. } => "cordon-node",
            Self::Uncordon { .. } => "uncordon-node",
            Self::Report(NodeReport::Inventory { .. }) => "report-node-inventory",
            Self::Report(NodeReport::Lost { .. }) => "report-node-lost",
        }
    }
}
