//! What a user may give as an image without harm to the host: each is refused with the reason, and nothing stays.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

mod node;

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf, time::Duration};

use edgestack_model::{
    Id,
    image::{DiskFormat, Image, ImageSource},
};
use edgestack_pool::DriverError;
use edgestack_worker_storage::driver::{LocalDriver, RootDisk, StorageDriver as _};
use node::{Node, QEMU_IMG, tool};
use uuid::Uuid;

fn an_id() -> Id<Image> {
    Id::new(Uuid::from_u128(7))
}

/// Imports what must never be taken; the reason.
async fn refused(node: &Node, format: DiskFormat, source: &ImageSource) -> String {
    let import = async { node.driver().import_image(an_id(), format, source).await };
    let outcome = tokio::time::timeout(Duration::from_secs(20), import).await.unwrap();
    match outcome {
        Err(DriverError::Never { reason, .. }) => {
            assert_eq!(node.kept(), Vec::<String>::new(), "something stayed behind");
            reason
        }
        other => panic!("{source:?} as {format:?}: {other:?}"),
    }
}

fn qcow2(node: &Node, name: &str, more: &[&str]) -> ImageSource {
    let path = node.path(name);
    let mut arguments = vec!["create", "-q", "-f", "qcow2"];
    arguments.extend(more);
    arguments.extend([path.to_str().unwrap(), "1M"]);
    assert!(tool(QEMU_IMG, &arguments));
    node.source(name)
}

#[tokio::test]
async fn a_raw_image_that_is_a_qcow2_is_refused_and_the_other_way_round() {
    let Some(node) = Node::new("a_raw_image_that_is_a_qcow2_is_refused_and_the_other_way_round") else { return };
    let source = qcow2(&node, "disk.qcow2", &[]);
    let reason = refused(&node, DiskFormat::Raw, &source).await;
    assert_eq!(reason, "its content is qcow2, not raw as declared");
    let source = node.file("disk.raw", &vec![7; 1 << 16]);
    let reason = refused(&node, DiskFormat::Qcow2, &source).await;
    assert_eq!(reason, "its content is raw, not qcow2 as declared");
}

#[tokio::test]
async fn an_image_that_names_other_files_of_the_host_is_refused() {
    let Some(node) = Node::new("an_image_that_names_other_files_of_the_host_is_refused") else { return };
    node.file("secret", &vec![1; 1 << 20]);
    let secret = node.path("secret");
    let backing = ["-b", secret.to_str().unwrap(), "-F", "raw"];
    let source = qcow2(&node, "overlay.qcow2", &backing);
    let reason = refused(&node, DiskFormat::Qcow2, &source).await;
    assert!(reason.contains("overlay of"), "{reason}");
    // A "raw" overlay is one that a guest could have written over its disk's first sectors.
    refused(&node, DiskFormat::Raw, &source).await;

    let data = format!("data_file={}", node.path("data").display());
    let source = qcow2(&node, "data.qcow2", &["-o", &data]);
    let reason = refused(&node, DiskFormat::Qcow2, &source).await;
    assert!(reason.contains("another file"), "{reason}");
}

#[tokio::test]
async fn damaged_and_foreign_content_is_refused() {
    let Some(node) = Node::new("damaged_and_foreign_content_is_refused") else { return };
    let whole = qcow2(&node, "whole.qcow2", &[]);
    let ImageSource::Path { path } = &whole else { panic!("a path") };
    let bytes = fs::read(path).unwrap();
    for (name, format, content) in [
        ("short", DiskFormat::Qcow2, bytes[..20].to_vec()),
        ("version 9", DiskFormat::Qcow2, [&bytes[..4], &[0, 0, 0, 9], &bytes[8..]].concat()),
        ("vmdk", DiskFormat::Raw, [b"KDMV".as_slice(), &[0; 4096]].concat()),
        ("xz", DiskFormat::Raw, [b"\xfd7zXZ\0".as_slice(), &[0; 4096]].concat()),
        ("luks", DiskFormat::Raw, [b"LUKS\xba\xbe".as_slice(), &[0; 4096]].concat()),
    ] {
        let reason = refused(&node, format, &node.file("bad", &content)).await;
        println!("{name}: {reason}");
    }
}

#[tokio::test]
async fn what_is_no_plain_file_is_refused_at_once() {
    let Some(node) = Node::new("what_is_no_plain_file_is_refused_at_once") else { return };
    fs::create_dir(node.path("folder")).unwrap();
    assert!(tool("mkfifo", &[node.path("pipe").to_str().unwrap()]));
    let mut sources = vec![node.source("folder"), node.source("pipe")];
    sources.extend(["/dev/zero", "/dev/null"].map(|path| ImageSource::Path { path: path.to_owned() }));
    // A link is what it leads to.
    std::os::unix::fs::symlink("/dev/zero", node.path("link")).unwrap();
    sources.push(node.source("link"));
    for source in sources {
        let reason = refused(&node, DiskFormat::Raw, &source).await;
        assert!(reason.contains("not a plain file"), "{reason}");
    }
}

#[tokio::test]
async fn a_file_that_is_not_there_yet_is_waited_for() {
    let Some(node) = Node::new("a_file_that_is_not_there_yet_is_waited_for") else { return };
    let source = node.source("later.raw");
    let missing = node.driver().import_image(an_id(), DiskFormat::Raw, &source).await;
    assert!(matches!(&missing, Err(DriverError::Retry { fix: Some(_), .. })), "{missing:?}");
    node.file("later.raw", &[7; 4096]);
    assert!(node.driver().import_image(an_id(), DiskFormat::Raw, &source).await.is_ok());
}

#[tokio::test]
async fn a_full_disk_leaves_nothing_and_freed_space_lets_it_go_on() {
    let test = "a_full_disk_leaves_nothing_and_freed_space_lets_it_go_on";
    let Some(node) = Node::new(test) else { return };
    let Some(_small) = SmallDisk::mount(test, node.folders.root().to_owned()) else { return };
    for folder in [node.folders.images(), node.folders.uploads(), node.folders.volumes()] {
        fs::create_dir_all(folder).unwrap();
    }
    let filler = node.folders.root().join("filler");
    fs::write(&filler, vec![1; 3 << 20]).unwrap();
    let source = node.file("disk.raw", &vec![7; 2 << 20]);
    let driver: LocalDriver = node.driver();
    let full = driver.import_image(an_id(), DiskFormat::Raw, &source).await;
    let Err(DriverError::Retry { reason, fix: Some(fix) }) = full else { panic!("{full:?}") };
    println!("{reason}; {fix}");
    assert!(fix.contains("free space"), "{fix}");
    assert_eq!(node.kept(), Vec::<String>::new(), "something half made stayed behind");

    fs::remove_file(&filler).unwrap();
    driver.import_image(an_id(), DiskFormat::Raw, &source).await.unwrap();
    let disk =
        RootDisk { volume: Id::new(Uuid::from_u128(8)), image: an_id(), image_format: DiskFormat::Raw, size_gib: 1 };
    let free = free_bytes(&node);
    fs::write(&filler, vec![1; free.saturating_sub(64 << 10)]).unwrap();
    let full = driver.create_root_disk(disk).await;
    assert!(matches!(&full, Err(DriverError::Retry { fix: Some(_), .. })), "{full:?}");
    assert_eq!(node.kept(), [format!("images/{}", an_id())]);
    fs::remove_file(&filler).unwrap();
    driver.create_root_disk(disk).await.unwrap();
}

fn free_bytes(node: &Node) -> usize {
    let stat = rustix::fs::statvfs(node.folders.root()).unwrap();
    usize::try_from(stat.f_bavail * stat.f_bsize).unwrap()
}

/// A file system of 4 MiB, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, after saying so, where it cannot be mounted.
    fn mount(test: &str, at: PathBuf) -> Option<Self> {
        if fs::metadata("/proc/self").unwrap().uid() != 0 {
            println!("skipped: {test}: only root can mount a small file system");
            return None;
        }
        if !tool("mount", &["-t", "tmpfs", "-o", "size=4m", "tmpfs", at.to_str().unwrap()]) {
            println!("skipped: {test}: a small file system cannot be mounted here");
            return None;
        }
        Some(Self(at))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        tool("umount", &["-l", self.0.to_str().unwrap()]);
    }
}
