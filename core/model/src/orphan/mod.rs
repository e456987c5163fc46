//! Law 9: what lies or runs on a node, carries an id of ours, and is not in the
//! log. It joins nodes with VMs, volumes and images, so it has a room of its own.
//!
//! * [`Artifact`]: something on a node that carries an id of ours;
//! * [`standing`]: what the log says of the resource with that id;
//! * [`treatment`]: what is done with it, the policy;
//! * `report.rs`: what a node's worker found, to events.
//!
//! An orphan is told and flagged, never touched: a log restored from an older
//! backup must not cost a running VM. Only uploads are ever removed.

mod policy;
mod record;
pub(crate) mod report;
#[cfg(test)]
mod tests;

use std::fmt;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use policy::{Standing, Treatment, standing, standing_of_upload, treatment};
pub use record::{ImageRecord, RECORD_BYTES_MAX, Record, VmRecord};

/// How many orphans a node lists; the others are counted.
pub const ORPHANS_MAX: usize = 256;
/// How many events one report of a node leads to at most, so that its commit stays small; the next report tells the rest.
pub const CHANGES_MAX: usize = 64;
/// The longest [`Artifact::place`], in bytes.
pub const PLACE_LENGTH_MAX: usize = 128;
/// The longest reason for a removal, in bytes.
pub const REASON_LENGTH_MAX: usize = 256;

/// Something on a node that carries an id of ours, whether the log knows it or not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    /// What it is.
    pub kind: ArtifactKind,
    /// The resource's id that it carries.
    pub id: Uuid,
    /// Where it is: a path below the node's state folder, or `pid 4711`. At most 128 bytes ([`PLACE_LENGTH_MAX`]).
    pub place: String,
}

/// What an artifact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ArtifactKind {
    /// A VM's folder.
    VmFolder,
    /// A QEMU that runs a VM.
    VmProcess,
    /// A volume's file.
    Volume,
    /// An image's stored file.
    Image,
    /// An image's content that came in whole and waits to be stored.
    Upload,
    /// An image's content that is coming in, or broke off.
    UnfinishedUpload,
}

impl ArtifactKind {
    /// All of them, in order.
    pub const ALL: [Self; 6] =
        [Self::VmFolder, Self::VmProcess, Self::Volume, Self::Image, Self::Upload, Self::UnfinishedUpload];

    /// As users see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::VmFolder => "vm_folder",
            Self::VmProcess => "vm_process",
            Self::Volume => "volume",
            Self::Image => "image",
            Self::Upload => "upload",
            Self::UnfinishedUpload => "unfinished_upload",
        }
    }

    /// In a sentence.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::VmFolder => "a VM's folder",
            Self::VmProcess => "a QEMU",
            Self::Volume => "a volume's file",
            Self::Image => "an image's file",
            Self::Upload => "an upload",
            Self::UnfinishedUpload => "an unfinished upload",
        }
    }
}

impl fmt::Display for ArtifactKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The id that a name is, in the one form that we write: lower case, with hyphens.
pub fn id_in(name: &str) -> Option<Uuid> {
    Uuid::parse_str(name).ok().filter(|id| id.to_string() == name)
}

/// What a file of this name in the folder of uploads is: `<image id>`, or `<image id>.part` until it has come in whole;
/// `None` for what is not of ours.
pub fn upload_named(name: &str) -> Option<Artifact> {
    let (id, kind) = match name.strip_suffix(".part") {
        Some(id) => (id, ArtifactKind::UnfinishedUpload),
        None => (name, ArtifactKind::Upload),
    };
    Some(Artifact { kind, id: id_in(id)?, place: format!("uploads/{name}") })
}

/// An artifact that the log does not account for, as its node lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orphan {
    /// What it is and where.
    pub artifact: Artifact,
    /// When it was told first.
    pub since: DateTime<Utc>,
    /// What the node has written down of it: with that it can be adopted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Record>,
}

impl Orphan {
    /// Why it is an orphan, and what a person can do about it.
    pub fn advice(&self) -> String {
        let advice = self.artifact.advice();
        match &self.record {
            None => advice,
            Some(record) => format!(
                "it is {}; edgectl adopt {} --reason … takes it over as it is. {advice}",
                record.describe(),
                self.artifact.id
            ),
        }
    }
}

impl Artifact {
    /// Why it is an orphan, and what a person can do about it.
    pub fn advice(&self) -> String {
        let Self { kind, id, place } = self;
        let unknown = |resource: &str| format!("the log has no {resource} {id} on this node");
        let ever_known = "tells whether this log ever had it";
        match kind {
            ArtifactKind::VmFolder => format!(
                "{}; it is left alone. edgectl show-vm-events {id} {ever_known}; if nobody needs it, remove the folder",
                unknown("VM")
            ),
            ArtifactKind::VmProcess => format!(
                "{}; the QEMU goes on. If the log was restored from an older backup, restore a newer one; \
                 if nobody needs the VM, end {place}",
                unknown("VM")
            ),
            ArtifactKind::Volume => format!(
                "{}; it is left alone. edgectl api GET volumes/{id}/events {ever_known}; \
                 if nobody needs the disk, remove the file",
                unknown("volume")
            ),
            ArtifactKind::Image => format!(
                "{}; it is left alone. edgectl api GET images/{id}/events {ever_known}; disks made from it need it: \
                 remove the file only if there are none",
                unknown("image")
            ),
            ArtifactKind::Upload => format!(
                "{}, so nothing comes for the upload. edgectl api GET images/{id}/events {ever_known}; \
                 if nobody needs it, remove the file",
                unknown("image")
            ),
            ArtifactKind::UnfinishedUpload => format!(
                "{}; the process with the role api removes it once no upload writes it; start one if none runs",
                unknown("image")
            ),
        }
    }
}
