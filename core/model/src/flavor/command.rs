//! What can be asked of flavors.

use serde::{Deserialize, Serialize};

use super::Shape;
use crate::{Labels, Name, command::Reference, meta::MetaChange};

/// A command on a flavor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum FlavorCommand {
    /// Makes a new one.
    Create {
        /// Its name.
        name: Name,
        /// Free text.
        description: String,
        /// Its labels.
        labels: Labels,
        /// The size of its VMs.
        shape: Shape,
    },
    /// Changes description and labels.
    Update {
        /// Which.
        flavor: Reference,
        /// What.
        change: MetaChange,
    },
    /// Removes it; VMs made with it keep their size.
    Delete {
        /// Which.
        flavor: Reference,
    },
}

impl FlavorCommand {
    /// The command's name in the envelope.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create-flavor",
            Self::Update { .. } => "update-flavor",
            Self::Delete { .. } => "remove-flavor",
        }
    }
}
