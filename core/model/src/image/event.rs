//! What happens to images.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ImageContent, ImageSpec, Visibility};
use crate::{Labels, meta::MetaChange, waiting::Failure};

/// An event of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum ImageEvent {
    /// It is asked for.
    ImageCreated {
        /// Free text.
        description: String,
        /// Its labels.
        labels: Labels,
        /// What it is to be.
        spec: ImageSpec,
    },
    /// Something about it changed.
    ImageUpdated {
        /// Description and labels.
        change: MetaChange,
        /// Who sees it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        visibility: Option<Visibility>,
        /// Smallest root disk, GiB.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_disk_gib: Option<u64>,
        /// Smallest memory, MiB.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        min_memory_mib: Option<u64>,
    },
    /// Its content has arrived.
    ImageUploaded {
        /// Bytes received.
        size_bytes: u64,
        /// SHA-256 of them.
        sha256: String,
    },
    /// Checked and stored: VMs can be made from it.
    ImageImported {
        /// What was found in it.
        content: ImageContent,
    },
    /// An attempt failed and will be repeated.
    ImageAttemptFailed {
        /// What, why, when again.
        failure: Failure,
    },
    /// Its content cannot be used.
    ImageRejected {
        /// What and why.
        failure: Failure,
    },
    /// It shall go.
    ImageDeleteRequested {},
    /// It is gone.
    ImageDeleted {},
    /// It is to be looked at now, whatever it waited for.
    ImageReconcileRequested {},
    /// It is forgotten, whatever is left of it on disk.
    ImageForceRemoved {},
}
