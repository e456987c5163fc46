//! A simulated driver, which says so: images and volumes are entries in a table.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use edgestack_model::{
    Id,
    image::{DiskFormat, Image, ImageContent, ImageSource},
    volume::Volume,
};
use edgestack_pool::DriverError;

use super::{RootDisk, StorageDriver};

/// The table of simulated images and volumes.
#[derive(Default)]
pub struct SimDriver {
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    images: BTreeSet<Id<Image>>,
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
        self.lock().images.insert(id);
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
        kept.images.insert(disk.image);
        kept.volumes.insert(disk.volume);
        Ok(())
    }

    async fn remove_volume(&self, id: Id<Volume>) -> Result<(), DriverError> {
        self.lock().volumes.remove(&id);
        Ok(())
    }
}
