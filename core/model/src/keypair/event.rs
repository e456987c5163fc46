//! What happens to keypairs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::PublicKey;
use crate::{Labels, meta::MetaChange};

/// An event of a keypair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum KeypairEvent {
    /// It is there.
    KeypairCreated {
        /// Free text.
        description: String,
        /// Its labels.
        labels: Labels,
        /// The key.
        key: PublicKey,
    },
    /// Description or labels changed.
    KeypairUpdated {
        /// The fields that changed.
        change: MetaChange,
    },
    /// It is gone.
    KeypairDeleted {},
}
