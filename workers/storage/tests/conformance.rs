//! Both drivers keep the promises of `StorageDriver`.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

mod node;

use edgestack_model::{
    Id,
    image::{DiskFormat, ImageSource},
};
use edgestack_worker_storage::driver::{RootDisk, SimDriver, StorageDriver as _, conformance};
use node::Node;
use uuid::Uuid;

fn a_disk() -> RootDisk {
    RootDisk {
        volume: Id::new(Uuid::from_u128(1)),
        image: Id::new(Uuid::from_u128(2)),
        image_format: DiskFormat::Raw,
        size_gib: 1,
    }
}

#[tokio::test]
async fn the_simulated_driver_keeps_every_promise() {
    conformance::run(&SimDriver::new(), a_disk(), &ImageSource::Upload).await;
}

#[tokio::test]
async fn the_local_driver_keeps_every_promise() {
    let Some(node) = Node::new("the_local_driver_keeps_every_promise") else { return };
    let source = node.file("disk.raw", &vec![7; 1 << 20]);
    conformance::run(&node.driver(), a_disk(), &source).await;
    assert_eq!(node.kept(), Vec::<String>::new(), "everything went");
}

#[tokio::test]
async fn an_upload_is_taken_into_the_store_and_gone_from_its_folder() {
    let Some(node) = Node::new("an_upload_is_taken_into_the_store_and_gone_from_its_folder") else { return };
    let disk = a_disk();
    std::fs::write(node.folders.upload(disk.image), vec![7; 4096]).unwrap();
    let content = node.driver().import_image(disk.image, DiskFormat::Raw, &ImageSource::Upload).await.unwrap();
    assert_eq!((content.size_bytes, content.virtual_size_bytes), (4096, 4096));
    assert_eq!(node.kept(), [format!("images/{}", disk.image)]);
    // Killed between storing and reporting: the next try finds it stored.
    let again = node.driver().import_image(disk.image, DiskFormat::Raw, &ImageSource::Upload).await.unwrap();
    assert_eq!(again, content);
}

#[tokio::test]
async fn a_root_disk_keeps_what_its_guest_wrote() {
    let Some(node) = Node::new("a_root_disk_keeps_what_its_guest_wrote") else { return };
    let disk = a_disk();
    let source = node.file("disk.raw", &vec![7; 1 << 20]);
    let driver = node.driver();
    driver.import_image(disk.image, DiskFormat::Raw, &source).await.unwrap();
    driver.create_root_disk(disk).await.unwrap();
    let path = node.folders.volume(disk.volume);
    let write = ["-c", "write -P 9 0 64k", path.to_str().unwrap()];
    assert!(node::tool("/usr/bin/qemu-io", &write), "the guest wrote");
    let before = std::fs::read(&path).unwrap();
    driver.create_root_disk(disk).await.unwrap();
    assert!(std::fs::read(&path).unwrap() == before, "made again, it was changed");
}
