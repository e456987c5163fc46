//! What a person does when the usual way doesn't end: look again now, forget by force, adopt what is left.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{fs, path::Path, process::Command};

use edgestack_e2e::{
    PATIENCE, Site, eventually, processes,
    run_edgectl::{fails, run, works},
};
use serde_json::Value;

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["--archive", "--no-target-directory"]).arg(from).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "{} is copied", from.display());
}

/// Waits until the node lists so many orphans.
async fn await_orphans(site: &Site, count: usize) -> Vec<Value> {
    eventually("the node lists its orphans", PATIENCE, async || {
        let node = site.api().look("nodes/n1").await.map_err(|error| error.to_string())?.json();
        let orphans = node["orphans"].as_array().cloned().unwrap_or_default();
        if orphans.len() == count { Ok(orphans) } else { Err(format!("{orphans:?}")) }
    })
    .await
}

async fn is_gone(site: &Site, path: &str) -> bool {
    site.api().look(path).await.expect("an answer").status == 404
}

#[tokio::test]
async fn what_an_older_log_has_lost_is_adopted_and_goes_on_under_its_own_process() {
    let test = "what_an_older_log_has_lost_is_adopted_and_goes_on_under_its_own_process";
    let Some(mut site) = Site::start(test).await else { return };
    let (store, backup) = (site.state().join("nats/jetstream"), site.folder().join("backup"));
    site.daemon.as_mut().expect("a daemon").stop().await;
    copy(&store, &backup);
    site.up().await;
    site.await_node().await;
    // Image, flavor and VM are all of after the backup.
    site.add_tiny().await;
    site.create_tiny("lost").await;
    let before = site.await_vm("lost", "running").await;
    let (id, pid) = (before["id"].as_str().expect("an id").to_owned(), Site::pid_of(&before));
    let image = site.api().get("images").await["items"][0]["id"].as_str().expect("an id").to_owned();
    site.daemon.as_mut().expect("a daemon").stop().await;
    fs::remove_dir_all(&store).expect("removed");
    copy(&backup, &store);
    for folder in ["views", "archive"] {
        fs::remove_dir_all(site.state().join(folder)).expect("removed");
    }
    site.up().await;
    // Its folder, its process, its disk, and its image.
    await_orphans(&site, 4).await;
    let sheet = works(&site, &["show-node", "n1"]);
    assert!(sheet.contains(&format!("edgectl adopt {id}")), "{sheet}");

    let adopt = |id: &str, more: &[&str]| {
        let words = [&["adopt", id, "--reason", "the log was restored"], more].concat();
        words.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let with = |words: &[String], f: &dyn Fn(&[&str])| f(&words.iter().map(String::as_str).collect::<Vec<_>>());
    with(&adopt(&id, &[]), &|words| fails(&site, words, &format!("adopt that first: edgectl adopt {image}")));
    with(&adopt(&image, &[]), &|words| drop(works(&site, words)));
    with(&adopt(&id, &[]), &|words| fails(&site, words, "--flavor"));
    works(&site, &["create-flavor", "any", "--vcpus", "1", "--memory-mib", "32", "--disk-gib", "1"]);
    with(&adopt(&id, &["--flavor", "any"]), &|words| drop(works(&site, words)));
    let after = site.await_vm("lost", "running").await;
    assert_eq!((after["id"].as_str(), Site::pid_of(&after)), (Some(id.as_str()), pid), "the same process goes on");
    await_orphans(&site, 0).await;
    assert!(works(&site, &["explain", "vm/lost"]).contains("the log was restored"));

    // From now on it is a VM as any other.
    works(&site, &["stop-vm", "lost", "--force"]);
    works(&site, &["start-vm", "lost"]);
    assert_ne!(Site::pid_of(&site.await_vm("lost", "running").await), pid);
    site.assert_one_qemu_a_disk();
    works(&site, &["remove-vm", "lost"]);
    assert!(!site.state().join("vms").join(&id).exists());
    works(&site, &["remove-image", "tiny"]);
    await_orphans(&site, 0).await;
    assert_eq!(fs::read_dir(site.state().join("images")).expect("a folder").count(), 0, "its record went with it");
}

#[tokio::test]
async fn a_removal_that_cannot_end_is_forced_and_what_is_left_is_told() {
    let test = "a_removal_that_cannot_end_is_forced_and_what_is_left_is_told";
    let Some(site) = Site::start(test).await else { return };
    site.add_tiny().await;
    site.create_tiny("stuck").await;
    let vm = site.await_vm("stuck", "running").await;
    fails(&site, &["force-remove", "vm/stuck", "--reason", "in a hurry"], "edgectl remove-vm stuck");
    assert_eq!(run(&site, &["force-remove", "vm/stuck"]).status.code(), Some(2), "a reason is needed");
    assert!(processes::is_running(Site::pid_of(&vm)), "a refusal does nothing");

    // A disk that can't be removed: there is a folder in its place.
    let volume = vm["boot_disk"]["volume_id"].as_str().expect("an id");
    let file = site.state().join(format!("volumes/{volume}.qcow2"));
    fs::remove_file(&file).expect("removed");
    fs::create_dir(&file).expect("made");
    works(&site, &["remove-vm", "stuck", "--no-wait"]);
    eventually("the removal of its disk fails", PATIENCE, async || {
        let told = works(&site, &["show-vm-events", "stuck"]);
        if told.contains("VolumeAttemptFailed") { Ok(()) } else { Err(told) }
    })
    .await;
    let told = works(&site, &["force-remove", "vm/stuck", "--reason", "the disk is broken"]);
    assert!(told.contains("orphan"), "{told}");
    assert!(is_gone(&site, "vms/stuck").await && is_gone(&site, "volumes/stuck-root").await);
    let orphans = await_orphans(&site, 1).await;
    assert_eq!(orphans[0]["kind"], "volume");
    assert!(works(&site, &["explain", "vm/stuck"]).contains("the disk is broken"));
    // The name is free, and the log is sound.
    site.create_tiny("stuck").await;
    site.await_vm("stuck", "running").await;
    assert!(works(&site, &["verify-log"]).contains("whole"));
    fs::remove_dir(&file).expect("removed");
    await_orphans(&site, 0).await;
}

#[tokio::test]
async fn a_look_again_is_made_at_once_and_not_at_the_next_attempt() {
    let test = "a_look_again_is_made_at_once_and_not_at_the_next_attempt";
    let Some(site) = Site::start(test).await else { return };
    site.add_tiny().await;
    let image = site.api().get("images").await["items"][0]["id"].as_str().expect("an id").to_owned();
    let (file, away) = (site.state().join("images").join(&image), site.folder().join("away"));
    fs::rename(&file, &away).expect("moved");
    site.create_tiny("waits").await;
    // Each attempt doubles the pause; at the fifth it is far longer than this test waits.
    eventually("its disk has failed often", PATIENCE, async || {
        let told = site.api().get("vms/waits").await;
        let attempts = told["waiting"]["attempts"].as_u64().unwrap_or_default();
        if attempts >= 4 { Ok(()) } else { Err(told["waiting"].to_string()) }
    })
    .await;
    fs::rename(&away, &file).expect("moved back");
    let asked = std::time::Instant::now();
    let next = site.api().get("vms/waits").await["waiting"]["next_attempt_at"].as_str().map(str::to_owned);
    works(&site, &["reconcile", "--all", "--reason", "the image is back"]);
    site.await_vm("waits", "running").await;
    println!("looked at again after {:?}; by itself at {next:?}", asked.elapsed());
    let history = works(&site, &["history", "--type", "VmReconcileRequested", "-o", "json"]);
    assert!(history.contains("the image is back"), "{history}");
}
