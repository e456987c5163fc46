//! What every storage driver must do, run against each by one line a driver.

use edgestack_model::image::ImageSource;

use super::{RootDisk, StorageDriver};

/// Runs every case against a driver; `disk.image` can be imported from `source`.
///
/// # Panics
/// When the driver breaks one of its promises; the message says which.
pub async fn run(driver: &dyn StorageDriver, disk: RootDisk, source: &ImageSource) {
    let (image, format) = (disk.image, disk.image_format);
    assert!(driver.remove_image(image).await.is_ok(), "removing what is not there is fine");
    assert!(driver.remove_volume(disk.volume).await.is_ok(), "removing what is not there is fine");

    let content = driver.import_image(image, format, source).await;
    let content = content.unwrap_or_else(|error| panic!("it does not import: {error}"));
    assert_eq!(content.sha256.len(), 64, "the checksum is a SHA-256");
    let again = driver.import_image(image, format, source).await;
    assert_eq!(again.ok(), Some(content), "importing again finds the same content");

    assert!(driver.create_root_disk(disk).await.is_ok(), "a root disk can be made from it");
    assert!(driver.create_root_disk(disk).await.is_ok(), "making it again keeps it");
    assert!(driver.remove_volume(disk.volume).await.is_ok(), "it can be removed");
    assert!(driver.create_root_disk(disk).await.is_ok(), "and made anew");

    assert!(driver.remove_volume(disk.volume).await.is_ok(), "it can be removed");
    assert!(driver.remove_image(image).await.is_ok(), "the image can be removed");
    assert!(driver.remove_image(image).await.is_ok(), "removing it twice is fine");
}
