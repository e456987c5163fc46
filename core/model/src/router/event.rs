//! What happens to routers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RouterSpec;
use crate::{Labels, meta::MetaChange, waiting::Failure};

/// An event of a router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum RouterEvent {
    /// It is asked for.
    RouterCreated {
        /// Free text.
        description: String,
        /// Its labels.
        labels: Labels,
        /// What it is to be.
        spec: RouterSpec,
        /// The same for people, with names.
        words: Vec<String>,
    },
    /// Something about it is to be otherwise.
    RouterUpdated {
        /// Description and labels.
        change: MetaChange,
        /// All that it is to be from now on.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        spec: Option<RouterSpec>,
        /// What of that is other than before, for people, with names.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        words: Vec<String>,
    },
    /// The nodes work by it.
    RouterBecameReady {},
    /// Others changed or removed something of it; it is mended.
    RouterDrifted {
        /// What, one a row.
        what: Vec<String>,
    },
    /// An attempt failed and will be repeated.
    RouterAttemptFailed {
        /// What, why, when again.
        failure: Failure,
    },
    /// It shall go.
    RouterDeleteRequested {},
    /// It is gone.
    RouterDeleted {},
    /// It is to be looked at now, whatever it waited for.
    RouterReconcileRequested {},
    /// It is forgotten, whatever is left of it in the virtual network.
    RouterForceRemoved {},
}
