//! A full disk: what is asked for waits and says why, nothing half made is left, and room lets it go on by itself.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use edgestack_e2e::{PATIENCE, Site, SiteOptions, eventually, processes};
use serde_json::json;

/// A small file system of its own, gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None`, after saying so, where nothing may be mounted.
    fn mount(test: &str, at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).expect("a folder");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=711"), "none"])
            .arg(at)
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            Ok(output) => {
                println!("skipped: {test}: cannot mount a tmpfs: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                println!("skipped: {test}: cannot run mount: {error}");
                None
            }
        }
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    fn fill(&self) {
        let mut file = fs::OpenOptions::new().create(true).append(true).open(self.filler()).expect("a file");
        for size in [1 << 16, 1 << 12, 1 << 9, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).expect("removed");
    }

    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).expect("readable").flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).filter(|name| name != "filler").collect()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a QEMU of the test may still have a disk open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_vm_whose_disk_finds_no_room_waits_says_why_and_goes_on() {
    let test = "a_vm_whose_disk_finds_no_room_waits_says_why_and_goes_on";
    let Some(mut site) = Site::prepare(test, SiteOptions::default()) else { return };
    let Some(disk) = SmallDisk::mount(test, &site.state().join("volumes"), "2m") else { return };
    site.up().await;
    site.await_node().await;
    site.add_tiny().await;

    disk.fill();
    let vm = site.create_tiny("a").await;
    let waiting = site
        .await_vm_that("a says that the disk is full", "a", PATIENCE, |vm| {
            vm["waiting"]["reason"].as_str().is_some_and(|reason| reason.to_lowercase().contains("no space"))
        })
        .await;
    assert_eq!(waiting["state"], "provisioning", "{waiting}");
    assert!(waiting["waiting"]["next_attempt_at"].is_string(), "{waiting}");
    assert!(waiting["waiting"]["owner"].as_str().unwrap().starts_with("worker.storage"), "{waiting}");
    let event = site.await_event("a", "VolumeAttemptFailed", PATIENCE).await;
    assert!(event["message"].as_str().unwrap().to_lowercase().contains("no space"), "{event}");
    assert_eq!(disk.files(), Vec::<String>::new(), "nothing half made is left");
    assert!(processes::qemus(&site.state()).is_empty());

    // Killed while it waits: it goes on waiting, and going on.
    site.kill_daemon();
    site.up().await;
    disk.make_room();
    site.await_vm("a", "running").await;
    site.assert_no_orphan().await;
    site.api().delete("vms/a").await.accepted();
    site.await_no_vm("a").await;
    site.await_nothing_left(&[vm["id"].as_str().unwrap()]).await;
}

#[tokio::test]
async fn a_vm_that_finds_no_room_can_be_removed() {
    let test = "a_vm_that_finds_no_room_can_be_removed";
    let Some(mut site) = Site::prepare(test, SiteOptions::default()) else { return };
    let Some(disk) = SmallDisk::mount(test, &site.state().join("volumes"), "2m") else { return };
    site.up().await;
    site.await_node().await;
    site.add_tiny().await;
    disk.fill();
    site.create_tiny("a").await;
    site.await_event("a", "VolumeAttemptFailed", PATIENCE).await;
    site.api().delete("vms/a").await.accepted();
    site.await_no_vm("a").await;
    assert_eq!(disk.files(), Vec::<String>::new());
}

#[tokio::test]
async fn an_image_that_finds_no_room_waits_says_why_and_goes_on() {
    let test = "an_image_that_finds_no_room_waits_says_why_and_goes_on";
    let Some(mut site) = Site::prepare(test, SiteOptions::default()) else { return };
    let Some(disk) = SmallDisk::mount(test, &site.state().join("images"), "4m") else { return };
    site.up().await;
    site.await_node().await;
    let source = site.folder().join("big.img");
    fs::write(&source, vec![7; 2 << 20]).unwrap();
    disk.fill();
    let image = json!({"name": "big", "format": "raw", "source": {"type": "path", "path": source}});
    site.api().post("images", &image).await.accepted();
    eventually("the image says that the disk is full", PATIENCE, async || {
        let reply = site.api().look("images/big").await.map_err(|error| error.to_string())?;
        let image = reply.json();
        let reason = image["waiting"]["reason"].as_str().unwrap_or_default().to_lowercase();
        if reason.contains("no space") && image["waiting"]["next_attempt_at"].is_string() {
            Ok(())
        } else {
            Err(reply.text)
        }
    })
    .await;
    assert_eq!(disk.files(), Vec::<String>::new(), "nothing half made is left");
    disk.make_room();
    site.await_image("big", "active").await;
    assert_eq!(fs::read(site.state().join("images").join(&site.stored_images()[0])).unwrap(), vec![7; 2 << 20]);
}

#[tokio::test]
async fn a_log_that_finds_no_room_turns_changes_away_and_goes_on() {
    let test = "a_log_that_finds_no_room_turns_changes_away_and_goes_on";
    let Some(mut site) = Site::prepare(test, SiteOptions { simulated: true, ..SiteOptions::default() }) else { return };
    let Some(disk) = SmallDisk::mount(test, &site.state().join("nats"), "16m") else { return };
    site.up().await;
    site.await_node().await;
    let a_flavor = |name: &str| json!({"name": name, "vcpus": 1, "memory_mib": 32, "disk_gib": 1});
    let mut acknowledged = Vec::new();
    for round in 0..2 {
        disk.fill();
        let mut turned_away = 0;
        // The file system's last page may take some commits more.
        for number in 0..200 {
            let name = format!("r{round}-{number}");
            let reply = site.api().post("flavors", &a_flavor(&name)).await;
            match reply.status {
                201 => acknowledged.push(name),
                503 => {
                    assert!(!reply.header("retry-after").is_empty(), "{:?}", reply.headers);
                    turned_away += 1;
                }
                _ => panic!("{} {}", reply.status, reply.text),
            }
            site.api().get("flavors").await;
            if turned_away == 2 {
                break;
            }
        }
        assert_eq!(turned_away, 2, "changes were acknowledged that had no room");
        disk.make_room();
        eventually("changes are taken again", PATIENCE, async || {
            let name = format!("r{round}-after");
            let reply = site.api().post("flavors", &a_flavor(&name)).await;
            match reply.status {
                201 => {
                    acknowledged.push(name);
                    Ok(())
                }
                // An earlier try, of which it was not known, was stored.
                409 => Ok(()),
                _ => Err(reply.text),
            }
        })
        .await;
    }
    // And so says the log itself.
    site.kill_daemon();
    site.kill_nats();
    fs::remove_dir_all(site.state().join("views")).unwrap();
    site.up().await;
    for name in acknowledged {
        assert_eq!(site.api().get(&format!("flavors/{name}")).await["name"], name);
    }
}
