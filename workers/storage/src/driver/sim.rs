//! A simulated driver, which says so: images and volumes are entries in a table.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use edgestack_model::{
    Id,
    image::{DiskFormat, Image, ImageContent, ImageSource},
    orphan::{Artifact, ArtifactKind, ImageRecord},
    volume::Volume,
};
use edgestack_pool::DriverError;
use uuid::Uuid;

use super::{RootDisk, StorageDriver};

/// The table of simulated images and volumes.
#[derive(Default)]
pub struct SimDriver {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    images: BTreeMap<Id<Image>, Option<ImageRecord>>,
    volumes: BTreeSet<Id<Volume>>,
}

impl SimDriver {
    /// A node without images and volumes.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl StorageDriver for SimDriver {
    fn is_simulated(&self) -> bool {
        true
    }

    async fn import_image(
        &self,
        id: Id<Image>,
        _format: DiskFormat,
        _source: &ImageSource,
    ) -> Result<ImageContent, DriverError> {
        self.lock().images.entry(id).or_default();
        Ok(ImageContent { size_bytes: 0, virtual_size_bytes: 1 << 30, sha256: "0".repeat(64) })
    }

    async fn remove_image(&self, id: Id<Image>) -> Result<(), DriverError> {
        self.lock().images.remove(&id);
        Ok(())
    }

    async fn create_root_disk(&self, disk: RootDisk) -> Result<(), DriverError> {
        let mut kept = self.lock();
        if kept.volumes.contains(&disk.volume) {
            return Ok(());
        }
        // A restarted simulation has forgotten its images; the log says that they were imported.
        kept.images.entry(disk.image).or_default();
        kept.volumes.insert(disk.volume);
        Ok(())
    }

    async fn remove_volume(&self, id: Id<Volume>) -> Result<(), DriverError> {
        self.lock().volumes.remove(&id);
        Ok(())
    }

    async fn keep_record(&self, id: Id<Image>, record: &ImageRecord) -> Result<(), DriverError> {
        self.lock().images.insert(id, Some(record.clone()));
        Ok(())
    }

    async fn record(&self, id: Id<Image>) -> Result<Option<ImageRecord>, DriverError> {
        Ok(self.lock().images.get(&id).cloned().flatten())
    }

    async fn artifacts(&self) -> Result<Vec<Artifact>, DriverError> {
        let kept = self.lock();
        let of = |kind, folder: &str, id: Uuid| Artifact { kind, id, place: format!("{folder}/{id}") };
        let images = kept.images.keys().map(|id| of(ArtifactKind::Image, "images", id.uuid()));
        let volumes = kept.volumes.iter().map(|id| of(ArtifactKind::Volume, "volumes", id.uuid()));
        Ok(images.chain(volumes).collect())
    }
}
