//! What can be asked of volumes, and what the storage pool reports.

use serde::{Deserialize, Serialize};

use super::Volume;
use crate::{Generation, Id, command::Reference, waiting::FailedAttempt};

/// A command on a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum VolumeCommand {
    /// Looks at it again now, whatever it waits for; see [`crate::repair`].
    Reconcile {
        /// Which.
        volume: Reference,
    },
    /// From the storage pool.
    Report {
        /// Which.
        volume: Id<Volume>,
        /// The generation it acted on.
        generation: Generation,
        /// What it did or saw.
        report: VolumeReport,
    },
}

/// What the storage pool reports of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "kebab-case")]
pub enum VolumeReport {
    /// It is there and can be used.
    Created,
    /// Tried in vain; it is tried again.
    AttemptFailed(FailedAttempt),
    /// Nothing of it is left.
    Removed,
}

impl VolumeCommand {
    /// The command's name in the envelope.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Reconcile { .. } => "reconcile-volume",
            Self::Report { report, .. } => match report {
                VolumeReport::Created => "report-volume-created",
                VolumeReport::AttemptFailed(_) => "report-volume-attempt-failed",
                VolumeReport::Removed => "report-volume-removed",
            },
        }
    }
}
