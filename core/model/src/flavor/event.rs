//! What happens to flavors.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Shape;
use crate::{Labels, meta::MetaChange};

/// An event of a flavor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum FlavorEvent {
    /// It is there.
    FlavorCreated {
        /// Free text.
        description: String,
        /// Its labels.
        labels: Labels,
        /// The size of its VMs.
        shape: Shape,
    },
    /// Description or labels changed.
    FlavorUpdated {
        /// The fields that changed.
        change: MetaChange,
    },
    /// It is gone.
    FlavorDeleted {},
}
