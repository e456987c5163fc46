//! The simulated storage driver, with time, failures and crashes.

use std::sync::{Arc, atomic::Ordering};

use async_trait::async_trait;
use edgestack_model::{
    Id,
    image::{DiskFormat, Image, ImageContent, ImageSource},
    orphan::{Artifact, ArtifactKind, ImageRecord, Record},
    volume::Volume,
};
use edgestack_pool::DriverError;
use edgestack_worker_monitoring::Finder;
use edgestack_worker_storage::driver::{RootDisk, StorageDriver};

use crate::{
    fault::Fault,
    outside::{Node, Outside},
};

/// A node's driver as one control plane sees it.
pub struct SlowStorageDriver {
    pub node: Node,
    pub outside: Arc<Outside>,
}

impl SlowStorageDriver {
    async fn begin(&self, doing: &str) -> Result<(), DriverError> {
        self.outside.crash.pass().await;
        let stuck = self.outside.goes_wrong(Fault::DriverStuck, 4);
        let pause = if stuck { self.outside.random.millis(20_000, 90_000) } else { self.outside.random.millis(1, 200) };
        tokio::time::sleep(pause).await;
        self.outside.crash.pass().await;
        if doing != "remove" && self.node.full.load(Ordering::Relaxed) {
            self.outside.faults.fired(Fault::DiskFull);
            return Err(DriverError::retry_with_fix(format!("simulated: the disk is full, to {doing}"), "free space"));
        }
        if self.outside.goes_wrong(Fault::DriverFailed, 60) {
            return Err(DriverError::retry_with_fix(format!("simulated: no space to {doing}"), "free space"));
        }
        Ok(())
    }

    /// After what was done, before the caller learns of it.
    async fn done<T>(&self, outcome: Result<T, DriverError>) -> Result<T, DriverError> {
        self.outside.crash.pass().await;
        if outcome.is_ok() && self.outside.goes_wrong(Fault::DidButSaidError, 15) {
            return Err(DriverError::retry("simulated: no answer came in time"));
        }
        outcome
    }

    /// Says that it is done, and nothing is. Only of removals: a disk that is said to be there and isn't is lost data, which
    /// nothing can bring back.
    fn lies(&self) -> bool {
        self.outside.goes_wrong(Fault::SaidDoneButDidNot, 12)
    }
}

#[async_trait]
impl StorageDriver for SlowStorageDriver {
    fn is_simulated(&self) -> bool {
        true
    }

    async fn import_image(
        &self,
        id: Id<Image>,
        format: DiskFormat,
        source: &ImageSource,
    ) -> Result<ImageContent, DriverError> {
        self.begin("import").await?;
        if self.outside.goes_wrong(Fault::DriverFailed, 20) {
            return Err(DriverError::never("simulated: it is no image", "give another"));
        }
        let outcome = self.node.disks.import_image(id, format, source).await;
        self.done(outcome).await
    }

    async fn remove_image(&self, id: Id<Image>) -> Result<(), DriverError> {
        self.begin("remove").await?;
        let outcome = if self.lies() { Ok(()) } else { self.node.disks.remove_image(id).await };
        self.done(outcome).await
    }

    async fn create_root_disk(&self, disk: RootDisk) -> Result<(), DriverError> {
        self.begin("make a disk").await?;
        let outcome = self.node.disks.create_root_disk(disk).await;
        self.node.volumes.lock().unwrap().insert(disk.volume);
        self.done(outcome).await
    }

    async fn remove_volume(&self, id: Id<Volume>) -> Result<(), DriverError> {
        self.begin("remove").await?;
        let outcome = if self.lies() {
            // Whatever is left is of no log from now on.
            self.outside.planted.lock().unwrap().insert(id.uuid());
            Ok(())
        } else {
            self.node.volumes.lock().unwrap().remove(&id);
            self.node.disks.remove_volume(id).await
        };
        self.done(outcome).await
    }

    async fn keep_record(&self, id: Id<Image>, record: &ImageRecord) -> Result<(), DriverError> {
        self.outside.crash.pass().await;
        self.node.disks.keep_record(id, record).await
    }

    async fn record(&self, id: Id<Image>) -> Result<Option<ImageRecord>, DriverError> {
        self.outside.crash.pass().await;
        self.node.disks.record(id).await
    }

    async fn artifacts(&self) -> Result<Vec<Artifact>, DriverError> {
        self.outside.crash.pass().await;
        if self.outside.goes_wrong(Fault::Unseen, 50) {
            return Err(DriverError::retry("simulated: the folders cannot be read"));
        }
        let artifacts = self.node.disks.artifacts().await;
        // What was listed is old by the time it is looked at.
        tokio::time::sleep(self.outside.random.millis(1, 400)).await;
        artifacts
    }
}

#[async_trait]
impl Finder for SlowStorageDriver {
    fn looks_for(&self) -> &'static [ArtifactKind] {
        &[ArtifactKind::Volume, ArtifactKind::Image, ArtifactKind::Upload, ArtifactKind::UnfinishedUpload]
    }

    async fn found(&self) -> Result<Vec<Artifact>, DriverError> {
        self.artifacts().await
    }

    async fn record(&self, artifact: &Artifact) -> Result<Option<Record>, DriverError> {
        match artifact.kind {
            ArtifactKind::Image => {
                Ok(StorageDriver::record(self, Id::new(artifact.id)).await?.map(Box::new).map(Record::Image))
            }
            _ => Ok(None),
        }
    }
}
