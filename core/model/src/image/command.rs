//! What can be asked of images, and what the storage pool reports.

use serde::{Deserialize, Serialize};

use super::{Image, ImageContent, ImageSpec, Visibility};
use crate::{Generation, Id, Labels, Name, command::Reference, meta::MetaChange, waiting::FailedAttempt};

/// A command on an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum ImageCommand {
    /// Makes a new one.
    Create {
        /// Its name.
        name: Name,
        /// Free text.
        description: String,
        /// Its labels.
        labels: Labels,
        /// What it is to be.
        spec: ImageSpec,
    },
    /// Changes what can be changed; an absent field leaves what is there.
    Update {
        /// Which.
        image: Reference,
        /// Description and labels.
        change: MetaChange,
        /// Who sees it.
        visibility: Option<Visibility>,
        /// Smallest root disk, GiB.
        min_disk_gib: Option<u64>,
        /// Smallest memory, MiB.
        min_memory_mib: Option<u64>,
    },
    /// Its content has arrived whole in the upload folder.
    FinishUpload {
        /// Which.
        image: Reference,
        /// Bytes received.
        size_bytes: u64,
        /// SHA-256 of them, 64 hex digits.
        sha256: String,
    },
    /// Removes it.
    Delete {
        /// Which.
        image: Reference,
    },
    /// Forgets it, whatever is left of it on disk; see [`crate::repair`].
    ForceRemove {
        /// Which.
        image: Reference,
    },
    /// Looks at it again now, whatever it waits for; see [`crate::repair`].
    Reconcile {
        /// Which.
        image: Reference,
    },
    /// From the storage pool.
    Report {
        /// Which.
        image: Id<Image>,
        /// The generation it acted on.
        generation: Generation,
        /// What it did or saw.
        report: ImageReport,
    },
}

/// What the storage pool reports of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "kebab-case")]
pub enum ImageReport {
    /// Checked and stored.
    Imported(ImageContent),
    /// Tried in vain; it is tried again.
    AttemptFailed(FailedAttempt),
    /// The content itself is bad: trying again is no use.
    Rejected(FailedAttempt),
    /// Nothing of it is left.
    Removed,
}

impl ImageCommand {
    /// The command's name in the envelope.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create-image",
            Self::Update { .. } => "update-image",
            Self::FinishUpload { .. } => "upload-image",
            Self::Delete { .. } => "remove-image",
            Self::ForceRemove { .. } => "force-remove-image",
            Self::Reconcile { .. } => "reconcile-image",
            Self::Report { report, .. } => match report {
                ImageReport::Imported(_) => "report-image-imported",
                ImageReport::AttemptFailed(_) => "report-image-attempt-failed",
                ImageReport::Rejected(_) => "report-image-rejected",
                ImageReport::Removed => "report-image-removed",
            },
        }
    }
}
