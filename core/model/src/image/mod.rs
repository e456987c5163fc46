//! An image: a disk that VMs are made from.
//!
//! ```text
//! create ──▶ queued ──upload──▶ importing ──▶ active ──delete──▶ deleting ──▶ (gone)
//!    └────── path given ──────────▲   └▶ failed (bad content; delete it)
//! ```
//! Deletion is legal in every state unless VMs use the image.

mod command;
mod decide;
mod event;
mod evolve;
#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use command::{ImageCommand, ImageReport};
pub(crate) use decide::{check_unused, decide, wish};
pub use event::ImageEvent;
pub(crate) use evolve::evolve;

use crate::{Id, Meta, Waiting, waiting::Failure};

/// An image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Its id.
    pub id: Id<Image>,
    /// Name, labels, generation …
    pub meta: Meta,
    /// What was asked for.
    pub spec: ImageSpec,
    /// Where it is on its way.
    pub state: ImageState,
    /// What the storage pool found in it, once imported.
    pub content: Option<ImageContent>,
    /// The last failed attempt, until the next success.
    pub failure: Option<Failure>,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageSpec {
    /// The content's format.
    pub format: DiskFormat,
    /// Where the content comes from.
    pub source: ImageSource,
    /// CPU architecture of the system in it.
    pub architecture: String,
    /// Smallest root disk, GiB; 0 for no demand beyond the image's own size.
    pub min_disk_gib: u64,
    /// Smallest memory, MiB; 0 for no demand.
    pub min_memory_mib: u64,
    /// Who sees it.
    pub visibility: Visibility,
}

/// A disk format that EdgeStack takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DiskFormat {
    /// QEMU copy on write, version 2 or 3.
    Qcow2,
    /// Bytes as they are.
    Raw,
}

impl DiskFormat {
    /// As QEMU calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
        }
    }
}

/// Where an image's content comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ImageSource {
    /// A file on the machine of the storage pool.
    Path {
        /// Absolute, without `..`.
        path: String,
    },
    /// Bytes sent to `PUT images/{name}/file`.
    Upload,
}

/// Who sees an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Its owner.
    #[default]
    Private,
    /// Every user of the site.
    Public,
}

/// Where an image is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageState {
    /// Waits for its upload.
    Queued,
    /// The storage pool checks and stores it.
    Importing,
    /// VMs can be made from it.
    Active,
    /// Its content cannot be used; the failure says why.
    Failed,
    /// Its file is being removed.
    Deleting,
}

impl ImageState {
    /// As users see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Importing => "importing",
            Self::Active => "active",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
        }
    }
}

/// What the storage pool found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageContent {
    /// Length of the stored file in bytes.
    pub size_bytes: u64,
    /// Length of the disk that a guest sees, in bytes.
    pub virtual_size_bytes: u64,
    /// SHA-256 of the content as it came, 64 hex digits.
    pub sha256: String,
}

impl Image {
    /// What it waits for, if it isn't where it should be.
    pub fn waiting(&self) -> Option<Waiting> {
        let (owner, default_reason) = match self.state {
            ImageState::Active => return None,
            ImageState::Queued => ("user", "its content has not been uploaded"),
            ImageState::Importing => ("worker.storage", "its content is being checked and stored"),
            ImageState::Failed => ("user", "its content cannot be used"),
            ImageState::Deleting => ("worker.storage", "its file is being removed"),
        };
        let fix = match self.state {
            ImageState::Queued => Some(format!("edgectl upload-image {} --file FILE", self.meta.name)),
            ImageState::Failed => {
                Some(format!("edgectl remove-image {}, and create it from a good file", self.meta.name))
            }
            ImageState::Active | ImageState::Importing | ImageState::Deleting => None,
        };
        let failure = self.failure.as_ref();
        Some(Waiting {
            owner: owner.to_owned(),
            reason: failure.map_or_else(|| default_reason.to_owned(), |f| f.reason.clone()),
            fix: failure.and_then(|f| f.fix.clone()).or(fix),
            next_attempt_at: failure.filter(|_| self.state != ImageState::Failed).map(|f| f.next_attempt_at),
        })
    }
}
