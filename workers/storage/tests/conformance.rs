//! Both drivers keep the promises of `StorageDriver`.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

mod node;

use edgestack_model::{
    Id,
    image::{DiskFormat, ImageSource},
    orphan::{Artifact, ArtifactKind},
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
    let foreign = node.litter();
    conformance::run(&node.driver(), a_disk(), &source).await;
    // Killed while it made an empty overlay: it goes with its image.
    let image = a_disk().image;
    std::fs::write(node.folders.images().join(format!(".{image}.blank-1.part")), "x").unwrap();
    assert_eq!(node.driver().artifacts().await.unwrap().len(), 1);
    node.driver().remove_image(image).await.unwrap();
    assert_eq!(node.kept(), foreign, "all of ours went, and nothing else");
}

#[tokio::test]
async fn what_carries_an_id_of_ours_is_told_with_its_place_and_not_touched() {
    let Some(node) = Node::new("what_carries_an_id_of_ours_is_told_with_its_place_and_not_touched") else { return };
    node.litter();
    let id = |number: u128| Uuid::from_u128(number);
    let places = [
        format!("images/{}", id(1)),
        format!("images/{}.blank-10", id(1)),
        format!("images/{}.draft", id(2)),
        format!("uploads/{}", id(3)),
        format!("uploads/{}.part", id(4)),
        format!("volumes/{}.draft", id(5)),
        format!("volumes/{}.qcow2", id(5)),
    ];
    for place in &places {
        std::fs::write(node.folders.root().join(place), "x").unwrap();
    }
    let before = node.kept();
    let found = node.driver().artifacts().await.unwrap();
    let expect = [
        (ArtifactKind::Volume, 5, &places[6]),
        (ArtifactKind::Image, 1, &places[0]),
        (ArtifactKind::Image, 2, &places[2]),
        (ArtifactKind::Upload, 3, &places[3]),
        (ArtifactKind::UnfinishedUpload, 4, &places[4]),
    ];
    let expect = expect.map(|(kind, number, place)| Artifact { kind, id: id(number), place: place.clone() });
    assert_eq!(found, expect);
    // An upload has its file locked.
    let uploads = [&places[3], &places[4]].map(|place| std::fs::File::open(node.folders.root().join(place)).unwrap());
    uploads.iter().for_each(|file| file.lock().unwrap());
    assert_eq!(node.driver().artifacts().await.unwrap(), expect[..3], "what is being written is nobody's leftover");
    drop(uploads);
    assert_eq!(node.driver().artifacts().await.unwrap(), expect);
    assert_eq!(node.kept(), before);
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

#[tokio::test]
async fn volumes_made_at_once_of_one_image_are_all_whole() {
    let Some(node) = Node::new("volumes_made_at_once_of_one_image_are_all_whole") else { return };
    let source = node.file("disk.raw", &vec![7; 1 << 20]);
    let driver = node.driver();
    for round in 0..5 {
        // Each round's images have no empty overlay yet.
        let image = Id::new(Uuid::from_u128(100 + round));
        driver.import_image(image, DiskFormat::Raw, &source).await.unwrap();
        let disks: Vec<RootDisk> = (0..8)
            .map(|number| RootDisk { volume: Id::new(Uuid::from_u128(1000 + round * 10 + number)), image, ..a_disk() })
            .collect();
        let made = futures::future::join_all(disks.iter().map(|disk| driver.create_root_disk(*disk))).await;
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        for disk in disks {
            let path = node.folders.volume(disk.volume);
            assert!(node::tool(node::QEMU_IMG, &["info", path.to_str().unwrap()]), "it is no whole disk");
            let header = std::fs::read(&path).unwrap();
            assert!(header.starts_with(b"QFI\xfb"), "round {round}: it is no qcow2");
        }
    }
}
