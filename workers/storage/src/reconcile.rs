//! Plans, does the step, reports.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use edgestack_engine::{Change, Clock, Replica};
use edgestack_model::{
    Command, Id, Kind, World,
    image::{Image, ImageCommand, ImageContent, ImageReport, ImageState},
    orphan::ImageRecord,
    volume::{Volume, VolumeCommand, VolumeReport, VolumeState},
};
use edgestack_pool::{DriverError, Next, Pool, PoolConfig, Reconciler, Reported, Reporter, crash_point};
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    driver::{RootDisk, StorageDriver},
    plan::{ImageStep, VolumeStep, plan_image, plan_volume},
};

/// The pause after a report that the engine could not take.
const REPORT_AGAIN: Duration = Duration::from_secs(1);

/// What a storage pool is made of.
pub struct StoragePoolParts {
    /// The node's name; the volumes placed there are the pool's.
    pub node: String,
    /// The folded world.
    pub replica: Arc<Replica>,
    /// Where reports go.
    pub reporter: Reporter,
    /// What keeps images and volumes.
    pub driver: Arc<dyn StorageDriver>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How the pool works.
    pub config: PoolConfig,
}

/// The running storage pool of a node.
pub struct StoragePool {
    parts: StoragePoolParts,
}

impl StoragePool {
    /// Starts the pool.
    pub fn start(parts: StoragePoolParts) -> Pool {
        let (replica, config) = (parts.replica.clone(), parts.config);
        Pool::start(Arc::new(Self { parts }), replica, config)
    }

    fn is_here(&self, world: &World, volume: &Volume) -> bool {
        world.nodes.get(&volume.spec.node).is_some_and(|node| node.meta.name.as_str() == self.parts.node)
    }

    fn image(&self, id: Id<Image>) -> Option<Arc<Image>> {
        self.parts.replica.world().images.get(&id).cloned()
    }

    fn volume(&self, id: Id<Volume>) -> Option<Arc<Volume>> {
        let world = self.parts.replica.world();
        world.volumes.get(&id).filter(|volume| self.is_here(&world, volume)).cloned()
    }

    async fn reconcile_image(&self, image: &Image) -> Next {
        let driver = &self.parts.driver;
        let (step, outcome) = match plan_image(image, self.parts.clock.now()) {
            ImageStep::Rest => return Next::Beat,
            ImageStep::WaitUntil(at) => return Next::After(self.until(at)),
            ImageStep::Import => {
                crash_point::pass("image.import.before");
                let imported = driver.import_image(image.id, image.spec.format, &image.spec.source).await;
                let imported = self.with_record(image, imported).await;
                crash_point::pass("image.import.after");
                ("import", imported.map(ImageReport::Imported))
            }
            ImageStep::Remove => {
                let removed = driver.remove_image(image.id).await;
                crash_point::pass("image.remove.after");
                ("remove", removed.map(|()| ImageReport::Removed))
            }
        };
        let report = outcome.unwrap_or_else(|error| {
            tracing::warn!(id = %image.id, name = %image.meta.name, step, %error, "attempt failed");
            match error {
                DriverError::Never { .. } => ImageReport::Rejected(error.failed_attempt(step)),
                DriverError::Retry { .. } | DriverError::PortTaken(_) | DriverError::Gone => {
                    ImageReport::AttemptFailed(error.failed_attempt(step))
                }
            }
        });
        let command =
            Command::Image(ImageCommand::Report { image: image.id, generation: image.meta.generation, report });
        after(self.parts.reporter.report(&image.meta, command).await)
    }

    /// Before it can be used: a file without its record can't be adopted.
    async fn with_record(
        &self,
        image: &Image,
        imported: Result<ImageContent, DriverError>,
    ) -> Result<ImageContent, DriverError> {
        let content = imported?;
        let (name, spec) = (image.meta.name.clone(), image.spec.clone());
        let record = ImageRecord { name, spec, content: content.clone() };
        self.parts.driver.keep_record(image.id, &record).await?;
        Ok(content)
    }

    async fn reconcile_volume(&self, volume: &Volume) -> Next {
        let driver = &self.parts.driver;
        let (step, outcome) = match plan_volume(volume, self.parts.clock.now()) {
            VolumeStep::Rest => return Next::Beat,
            VolumeStep::WaitUntil(at) => return Next::After(self.until(at)),
            VolumeStep::Create => {
                let Some(image) = self.image(volume.spec.image) else { return Next::Beat };
                let disk = RootDisk {
                    volume: volume.id,
                    image: image.id,
                    image_format: image.spec.format,
                    size_gib: volume.spec.size_gib,
                };
                crash_point::pass("volume.create.before");
                let created = driver.create_root_disk(disk).await;
                crash_point::pass("volume.create.after");
                ("create-disk", created.map(|()| VolumeReport::Created))
            }
            VolumeStep::Remove => {
                crash_point::pass("volume.remove.before");
                let removed = driver.remove_volume(volume.id).await;
                crash_point::pass("volume.remove.after");
                ("remove-disk", removed.map(|()| VolumeReport::Removed))
            }
        };
        let report = outcome.unwrap_or_else(|error| {
            tracing::warn!(id = %volume.id, name = %volume.meta.name, step, %error, "attempt failed");
            VolumeReport::AttemptFailed(error.failed_attempt(step))
        });
        let command =
            Command::Volume(VolumeCommand::Report { volume: volume.id, generation: volume.meta.generation, report });
        after(self.parts.reporter.report(&volume.meta, command).await)
    }

    fn until(&self, at: DateTime<Utc>) -> Duration {
        (at - self.parts.clock.now()).to_std().unwrap_or_default().max(Duration::from_millis(10))
    }
}

/// A report that was taken changes the resource, and that wakes it again; so does a newer wish.
fn after(reported: Reported) -> Next {
    match reported {
        Reported::Taken | Reported::Stale => Next::Beat,
        Reported::NotNow => Next::After(REPORT_AGAIN),
    }
}

#[async_trait]
impl Reconciler for StoragePool {
    fn pool(&self) -> &'static str {
        "storage"
    }

    fn all(&self, world: &World) -> Vec<Uuid> {
        let images = world.images.values().filter(|image| image.state != ImageState::Active);
        let volumes = world
            .volumes
            .values()
            .filter(|volume| volume.state != VolumeState::Available && self.is_here(world, volume));
        images.map(|image| image.id.uuid()).chain(volumes.map(|volume| volume.id.uuid())).collect()
    }

    fn woken_by(&self, change: &Change) -> Vec<Uuid> {
        match change.kind {
            Kind::Image | Kind::Volume if change.after.is_some() => vec![change.id],
            Kind::Image
            | Kind::Volume
            | Kind::Vm
            | Kind::Flavor
            | Kind::Keypair
            | Kind::Node
            | Kind::Network
            | Kind::SecurityGroup
            | Kind::SecurityGroupRule
            | Kind::Router
            | Kind::FloatingIp
            | Kind::LoadBalancer
            | Kind::Webhook
            | Kind::Lease => vec![],
        }
    }

    async fn reconcile(&self, id: Uuid) -> Next {
        if let Some(image) = self.image(Id::new(id)) {
            let span = tracing::info_span!(
                "reconcile", kind = %Kind::Image, %id, name = %image.meta.name,
                correlation_id = %image.meta.correlation_id
            );
            return self.reconcile_image(&image).instrument(span).await;
        }
        if let Some(volume) = self.volume(Id::new(id)) {
            let span = tracing::info_span!(
                "reconcile", kind = %Kind::Volume, %id, name = %volume.meta.name,
                correlation_id = %volume.meta.correlation_id
            );
            return self.reconcile_volume(&volume).instrument(span).await;
        }
        Next::Beat
    }
}
