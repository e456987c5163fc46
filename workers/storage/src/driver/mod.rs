//! What the storage pool touches the outside world with.

pub mod conformance;
mod local;
mod named;
mod sim;

use async_trait::async_trait;
use edgestack_model::{
    Id,
    image::{DiskFormat, Image, ImageContent, ImageSource},
    orphan::{Artifact, ImageRecord},
    volume::Volume,
};
use edgestack_pool::DriverError;

pub use local::LocalDriver;
pub use sim::SimDriver;

/// A root disk to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RootDisk {
    /// The volume.
    pub volume: Id<Volume>,
    /// The image that it starts from.
    pub image: Id<Image>,
    /// The image's format.
    pub image_format: DiskFormat,
    /// Its size as the guest sees it, GiB.
    pub size_gib: u64,
}

/// Keeps images and volumes on one node.
///
/// **Guarantees.** Each call is safe to repeat, and after a crash at any line of
/// an earlier one; what it says is done is durable; a step that fails leaves
/// nothing half made. Files carry the ids of the log; others are never touched.
///
/// **Assumptions.** One caller a resource at a time; one driver a node.
///
/// **Errors.** [`DriverError::Retry`] for what may work later (disk full, a
/// source that is not there), [`DriverError::Never`] for content that cannot be used.
#[async_trait]
pub trait StorageDriver: Send + Sync + 'static {
    /// Whether nothing real is made (law 12).
    fn is_simulated(&self) -> bool;

    /// Checks an image's content and stores it.
    async fn import_image(
        &self,
        id: Id<Image>,
        format: DiskFormat,
        source: &ImageSource,
    ) -> Result<ImageContent, DriverError>;

    /// Removes an image's files, its upload among them.
    async fn remove_image(&self, id: Id<Image>) -> Result<(), DriverError>;

    /// Makes a root disk; one that is there already and right is kept with what the guest wrote.
    async fn create_root_disk(&self, disk: RootDisk) -> Result<(), DriverError>;

    /// Removes a volume's files.
    async fn remove_volume(&self, id: Id<Volume>) -> Result<(), DriverError>;

    /// Writes down what an imported image is, beside its file.
    async fn keep_record(&self, id: Id<Image>, record: &ImageRecord) -> Result<(), DriverError>;

    /// What was written down of an image; `None` if nothing was, or if it can't be understood.
    async fn record(&self, id: Id<Image>) -> Result<Option<ImageRecord>, DriverError>;

    /// Everything on this node that carries the id of an image or a volume, known or not, but uploads that are being
    /// written: one entry a kind and id, however many files there are.
    async fn artifacts(&self) -> Result<Vec<Artifact>, DriverError>;
}
