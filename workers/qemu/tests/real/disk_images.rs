//! The real qemu-img: hostile images, full disks, crashes half-way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::site::{Guest, QEMU_IMG, Site};
use edgestack_qemu::disk_image::{ImageError, Overlay, QemuImg, detect_format};
use edgestack_qemu::{Backing, DiskFormat, end};

const MIB: u64 = 1 << 20;
const SOON: Duration = Duration::from_secs(60);

fn qemu_img() -> QemuImg {
    QemuImg::new(Path::new(QEMU_IMG))
}

/// qemu-img as a user would call it.
fn by_hand(arguments: &[&str]) {
    let output = Command::new(QEMU_IMG).args(arguments).output().expect("it runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn an_image(site: &Site, name: &str, format: &str, options: &str) -> PathBuf {
    let path = site.path(name);
    let mut arguments = vec!["create", "-q", "-f", format];
    if !options.is_empty() {
        arguments.extend(["-o", options]);
    }
    arguments.extend([text(&path), "8M"]);
    by_hand(&arguments);
    path
}

#[tokio::test]
async fn formats_are_told_by_magic_and_foreign_ones_refused() {
    let Some(site) = Site::new("formats_are_told_by_magic_and_foreign_ones_refused") else {
        return;
    };
    for (format, expect) in [("raw", DiskFormat::Raw), ("qcow2", DiskFormat::Qcow2)] {
        let path = an_image(&site, format, format, "");
        assert_eq!(detect_format(&path).expect("known"), expect);
        let info = qemu_img().info(&path).await.expect("usable");
        assert_eq!((info.format, info.virtual_size_bytes), (expect, 8 * MIB));
    }
    for format in ["vmdk", "vhdx", "qed"] {
        let path = an_image(&site, format, format, "");
        let refused = qemu_img().info(&path).await.expect_err("foreign");
        assert!(matches!(refused, ImageError::Format { .. }), "{refused}");
    }
}

#[tokio::test]
async fn an_image_that_names_another_file_is_refused_before_a_tool_opens_it() {
    let Some(site) = Site::new("an_image_that_names_another_file_is_refused_before_a_tool_opens_it") else {
        return;
    };
    let secret = site.path("secret");
    fs::write(&secret, "root:x:0").expect("written");
    let options = format!("backing_file={},backing_fmt=raw", text(&secret));
    let backed = an_image(&site, "backed", "qcow2", &options);
    // No such program: it isn't reached.
    let no_tool = QemuImg::new(Path::new("/nonexistent/qemu-img"));
    let refused = no_tool.info(&backed).await.expect_err("backed");
    assert!(matches!(refused, ImageError::BackingFile { ref backing, .. } if backing == text(&secret)), "{refused}");

    let options = format!("data_file={},data_file_raw=on", text(&site.path("data")));
    let outside = an_image(&site, "outside", "qcow2", &options);
    let refused = no_tool.info(&outside).await.expect_err("data elsewhere");
    assert!(matches!(refused, ImageError::DataFile { .. }), "{refused}");
    let refused = no_tool.convert(&outside, &site.path("out"), DiskFormat::Raw, SOON).await;
    assert!(matches!(refused, Err(ImageError::DataFile { .. })));

    let encrypted = site.path("encrypted");
    by_hand(&[
        "create",
        "-q",
        "-f",
        "qcow2",
        "--object",
        "secret,id=key,data=abc",
        "-o",
        "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10",
        text(&encrypted),
        "8M",
    ]);
    let refused = no_tool.info(&encrypted).await.expect_err("encrypted");
    assert!(matches!(refused, ImageError::Encrypted { .. }), "{refused}");
}

#[tokio::test]
async fn nonsense_after_the_magic_is_an_error_and_no_panic() {
    let Some(site) = Site::new("nonsense_after_the_magic_is_an_error_and_no_panic") else {
        return;
    };
    let path = site.path("nonsense");
    for rest in [0usize, 10, 100, 4096] {
        for byte in [0x00, 0x03, 0xff] {
            let mut bytes = b"QFI\xfb".to_vec();
            bytes.resize(4 + rest, byte);
            fs::write(&path, bytes).expect("written");
            qemu_img().info(&path).await.expect_err("nonsense");
        }
    }
    let missing = qemu_img().info(&site.path("missing")).await.expect_err("missing");
    assert!(matches!(missing, ImageError::Io { .. }), "{missing}");
}

#[tokio::test]
async fn an_overlay_is_made_once_and_kept() {
    let Some(site) = Site::new("an_overlay_is_made_once_and_kept") else {
        return;
    };
    let mut overlay = Overlay {
        base: an_image(&site, "base.qcow2", "qcow2", ""),
        base_format: DiskFormat::Qcow2,
        path: site.path("root,1.qcow2"),
        size_bytes: 16 * MIB,
    };
    // What a crash half-way left.
    fs::write(site.path(".root,1.qcow2.part"), "half").expect("written");
    qemu_img().create_overlay(&overlay).await.expect("made");
    assert!(!site.path(".root,1.qcow2.part").exists());
    let output = Command::new(QEMU_IMG).args(["info", "--output=json", text(&overlay.path)]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("\"backing-filename-format\": \"qcow2\"") && said.contains("16777216"), "{said}");

    let before = fs::read(&overlay.path).expect("read");
    qemu_img().create_overlay(&overlay).await.expect("kept");
    assert!(before == fs::read(&overlay.path).expect("read"));

    overlay.size_bytes = 32 * MIB;
    let other = qemu_img().create_overlay(&overlay).await.expect_err("another size");
    assert!(matches!(other, ImageError::Other { .. }), "{other}");
    qemu_img().resize(&overlay.path, 32 * MIB).await.expect("grown");
    qemu_img().create_overlay(&overlay).await.expect("kept");

    overlay.path = site.path("small.qcow2");
    overlay.size_bytes = MIB;
    let small = qemu_img().create_overlay(&overlay).await.expect_err("smaller than its base");
    assert!(matches!(small, ImageError::Shrink { .. }), "{small}");
    assert!(!overlay.path.exists());
}

#[tokio::test]
async fn a_machine_runs_from_an_overlay_and_its_disk_is_in_use_meanwhile() {
    let Some(site) = Site::new("a_machine_runs_from_an_overlay_and_its_disk_is_in_use_meanwhile") else {
        return;
    };
    let mut machine = site.a_machine(Guest::PowersOff);
    let base = machine.disks[0].path.clone();
    edgestack_qemu::grant_read(&base, "nobody").expect("granted");
    let path = site.path("root.qcow2");
    let overlay = Overlay { base: base.clone(), base_format: DiskFormat::Raw, path: path.clone(), size_bytes: 8 * MIB };
    qemu_img().create_overlay(&overlay).await.expect("made");
    machine.disks[0].path = path.clone();
    machine.disks[0].format = DiskFormat::Qcow2;
    machine.disks[0].backing = Some(Backing { path: base, format: DiskFormat::Raw });
    let instance = site.launch(&machine).await.expect("launched");
    let mut changes = edgestack_qemu::watch(&instance);
    // The guest's code came through the overlay.
    assert_eq!(changes.recv().await, Some(edgestack_qemu::Change::GuestShutdown));
    let in_use = qemu_img().resize(&path, 9 * MIB).await.expect_err("in use");
    assert!(matches!(in_use, ImageError::InUse { .. }), "{in_use}");
    end(&instance, None).await.expect("ended");
    qemu_img().resize(&path, 9 * MIB).await.expect("grown");
}

#[tokio::test]
async fn conversion_check_and_growth() {
    let Some(site) = Site::new("conversion_check_and_growth") else {
        return;
    };
    let raw = site.path("disk.raw");
    let bytes: Vec<u8> = (0..2 * MIB).map(|at| (at % 251) as u8).collect();
    fs::write(&raw, &bytes).expect("written");
    let qcow2 = site.path("disk.qcow2");
    qemu_img().convert(&raw, &qcow2, DiskFormat::Qcow2, SOON).await.expect("converted");
    let report = qemu_img().check(&qcow2, SOON).await.expect("checked");
    assert_eq!((report.corruptions, report.leaks), (0, 0));
    let back = site.path("back.raw");
    qemu_img().convert(&qcow2, &back, DiskFormat::Raw, SOON).await.expect("converted");
    assert!(bytes == fs::read(&back).expect("read"));

    qemu_img().resize(&qcow2, 4 * MIB).await.expect("grown");
    qemu_img().resize(&qcow2, 4 * MIB).await.expect("already so");
    let shrink = qemu_img().resize(&qcow2, MIB).await.expect_err("shrink");
    assert!(matches!(shrink, ImageError::Shrink { .. }), "{shrink}");
    assert_eq!(qemu_img().info(&qcow2).await.expect("usable").virtual_size_bytes, 4 * MIB);
}

#[tokio::test]
async fn a_full_disk_is_told_as_such_and_nothing_half_made_stays() {
    let Some(site) = Site::new("a_full_disk_is_told_as_such_and_nothing_half_made_stays") else {
        return;
    };
    let small = site.path("small");
    fs::create_dir(&small).expect("a folder");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs", text(&small)]).status();
    if !mounted.is_ok_and(|status| status.success()) {
        println!("skipped: a_full_disk_is_told_as_such_and_nothing_half_made_stays: no tmpfs can be mounted");
        return;
    }
    struct Unmount<'a>(&'a Path);
    impl Drop for Unmount<'_> {
        fn drop(&mut self) {
            let unmounted = Command::new("umount").arg(self.0).status();
            if !unmounted.is_ok_and(|status| status.success()) {
                eprintln!("{} stays mounted", self.0.display());
            }
        }
    }
    let _unmount = Unmount(&small);
    let raw = site.path("disk.raw");
    fs::write(&raw, vec![0x55; 4 << 20]).expect("written");
    let path = small.join("disk.qcow2");
    let full = qemu_img().convert(&raw, &path, DiskFormat::Qcow2, SOON).await.expect_err("full");
    match full {
        ImageError::DiskFull { free_bytes, needed_bytes, .. } => {
            assert!(free_bytes <= MIB && needed_bytes >= 4 * MIB, "{free_bytes} {needed_bytes}");
        }
        other => panic!("{other}"),
    }
    assert_eq!(fs::read_dir(&small).expect("readable").count(), 0);

    fs::write(small.join("ballast"), vec![0; 1 << 20]).expect("fills it");
    let base = an_image(&site, "base.qcow2", "qcow2", "");
    let overlay = Overlay { base, base_format: DiskFormat::Qcow2, path, size_bytes: 8 * MIB };
    let full = qemu_img().create_overlay(&overlay).await.expect_err("full");
    assert!(matches!(full, ImageError::DiskFull { .. }), "{full}");
    fs::remove_file(small.join("ballast")).expect("removed");
    qemu_img().create_overlay(&overlay).await.expect("made once there is room");
}
