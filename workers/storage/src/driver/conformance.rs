//! What every storage driver must do, run against each by one line a driver.

use edgestack_model::{
    image::{DiskFormat, ImageContent, ImageSource, ImageSpec, Visibility},
    orphan::{Artifact, ArtifactKind, ImageRecord},
};
use uuid::Uuid;

use super::{RootDisk, StorageDriver};

/// Runs every case against a driver; `disk.image` can be imported from `source`. What may lie in its folders already
/// carries no id of ours.
///
/// # Panics
/// When the driver breaks one of its promises; the message says which.
pub async fn run(driver: &dyn StorageDriver, disk: RootDisk, source: &ImageSource) {
    let (image, format) = (disk.image, disk.image_format);
    assert!(driver.remove_image(image).await.is_ok(), "removing what is not there is fine");
    assert!(driver.remove_volume(disk.volume).await.is_ok(), "removing what is not there is fine");

    assert_eq!(carried(driver).await, [], "what does not carry an id of ours is not told");

    let content = driver.import_image(image, format, source).await;
    let content = content.unwrap_or_else(|error| panic!("it does not import: {error}"));
    assert_eq!(content.sha256.len(), 64, "the checksum is a SHA-256");
    let again = driver.import_image(image, format, source).await;
    assert_eq!(again.ok().as_ref(), Some(&content), "importing again finds the same content");
    assert!(matches!(driver.record(image).await, Ok(None)), "nothing is written down of it yet");
    let record = a_record(format, source.clone(), content);
    for _ in 0..2 {
        assert!(driver.keep_record(image, &record).await.is_ok(), "what it is can be written down, twice too");
        assert_eq!(driver.record(image).await.ok().flatten().as_ref(), Some(&record), "and read again");
    }

    assert!(driver.create_root_disk(disk).await.is_ok(), "a root disk can be made from it");
    assert!(driver.create_root_disk(disk).await.is_ok(), "making it again keeps it");
    let (an_image, a_volume) = ((ArtifactKind::Image, image.uuid()), (ArtifactKind::Volume, disk.volume.uuid()));
    assert_eq!(carried(driver).await, [a_volume, an_image], "both are told, each once");
    assert!(driver.remove_volume(disk.volume).await.is_ok(), "it can be removed");
    assert_eq!(carried(driver).await, [an_image], "what is removed is not told");
    assert!(driver.create_root_disk(disk).await.is_ok(), "and made anew");

    assert!(driver.remove_volume(disk.volume).await.is_ok(), "it can be removed");
    assert!(driver.remove_image(image).await.is_ok(), "the image can be removed");
    assert!(driver.remove_image(image).await.is_ok(), "removing it twice is fine");
    assert_eq!(carried(driver).await, [], "nothing of it is left");
    assert!(matches!(driver.record(image).await, Ok(None)), "its record goes with it");
}

#[allow(clippy::unwrap_used, reason = "it is a name")]
fn a_record(format: DiskFormat, source: ImageSource, content: ImageContent) -> ImageRecord {
    let spec = ImageSpec {
        format,
        source,
        architecture: "x86_64".to_owned(),
        min_disk_gib: 0,
        min_memory_mib: 0,
        visibility: Visibility::Private,
    };
    ImageRecord { name: "debian".parse().unwrap(), spec, content }
}

/// What the driver tells of, by kind and id.
async fn carried(driver: &dyn StorageDriver) -> Vec<(ArtifactKind, Uuid)> {
    let artifacts = driver.artifacts().await.unwrap_or_else(|error| panic!("it does not tell what is there: {error}"));
    let mut carried: Vec<_> = artifacts.iter().map(|Artifact { kind, id, .. }| (*kind, *id)).collect();
    carried.sort_unstable();
    carried
}
