//! The log as one file: taken while the site lives, checked, and brought back: beside what still runs, and on a bare machine.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use edgestack_e2e::{
    PATIENCE, Site, edgectl, eventually,
    run_edgectl::{fails, works},
};
use serde_json::{Value, json};

/// All lists but the nodes', whose heart-beats go on.
async fn lists(site: &Site) -> Vec<Value> {
    let mut all = Vec::new();
    for kind in ["vms", "images", "flavors", "keypairs", "volumes"] {
        all.push(site.api().get(&format!("{kind}?limit=1000")).await["items"].clone());
    }
    all
}

fn lose_the_log(site: &Site) {
    for folder in ["nats", "archive", "views", "snapshots"] {
        fs::remove_dir_all(site.state().join(folder)).unwrap();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn a_lost_log_comes_back_and_what_runs_is_taken_over() {
    let Some(mut site) = Site::start("a_lost_log_comes_back_and_what_runs_is_taken_over").await else {
        return;
    };
    site.add_tiny().await;
    site.create("a", &json!({"user_data": "#cloud-config\n"})).await;
    let before = site.await_vm("a", "running").await;
    let (history, seen) = (site.api().get("vms/a/events?limit=1000").await, lists(&site).await);
    let file = site.folder().join("site.edgestack-backup");
    let told = works(&site, &["backup", text(&file)]);
    assert!(told.contains("checked") && told.contains("signed by"), "{told}");
    fails(&site, &["backup", text(&file)], "is there already");
    let key = site.api().get("/edgetron/log/head").await["public_key"].as_str().unwrap().to_owned();
    assert!(works(&site, &["verify-backup", text(&file), "--public-key", &key]).contains("the backup is whole"));
    let other_key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    fails(&site, &["verify-backup", text(&file), "--public-key", other_key], "not by the key");

    let state = site.state();
    let restore = ["restore", text(&file), "--state-dir", text(&state)];
    fails(&site, &restore, "edgestackd"); // It runs: its roles are taken.
    site.kill_daemon();
    site.kill_nats();
    fails(&site, &restore, "holds a log already");
    lose_the_log(&site);
    // What is not whole changes nothing.
    let damaged = site.folder().join("damaged");
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&damaged, &bytes).unwrap();
    fails(&site, &["restore", text(&damaged), "--state-dir", text(&state)], "can't be restored");
    fs::write(&damaged, &bytes[..middle]).unwrap();
    fails(&site, &["restore", text(&damaged), "--state-dir", text(&state)], "can't be restored");
    assert_eq!(fs::read_dir(state.join("archive")).map_or(0, Iterator::count), 0);

    assert!(works(&site, &restore).contains("restored"));
    site.up().await;
    site.await_node().await;
    let after = site.await_vm("a", "running").await;
    assert_eq!(Site::pid_of(&after), Site::pid_of(&before), "the same QEMU goes on");
    let told = site.api().get("vms/a/events?limit=1000").await;
    let old = history["items"].as_array().unwrap();
    assert_eq!(told["items"].as_array().unwrap()[..old.len()], old[..]);
    assert_eq!(lists(&site).await[1..], seen[1..], "all but the VMs, which are told anew by their workers");
    assert!(works(&site, &["verify-log"]).contains("the log is whole"));
    assert!(works(&site, &["explain", "vm/a"]).contains("create-vm"));
    site.assert_no_orphan().await;
    works(&site, &["remove-vm", "a"]);
}

#[tokio::test]
async fn a_restore_that_is_killed_is_begun_anew_and_a_bare_machine_has_the_whole_site() {
    let test = "a_restore_that_is_killed_is_begun_anew_and_a_bare_machine_has_the_whole_site";
    let Some(site) = Site::start_simulated(test).await else { return };
    for number in 0..400 {
        let flavor = json!({"name": format!("f{number}"), "vcpus": 1, "memory_mib": 32, "disk_gib": 1});
        site.api().post("flavors", &flavor).await.expect(201);
    }
    let file = site.folder().join("site.edgestack-backup");
    works(&site, &["backup", text(&file)]);
    let head = site.api().get("/edgetron/log/head").await;
    let seen = lists(&site).await;
    let Some(mut bare) = Site::start_simulated(test).await else { return };
    bare.kill_daemon();
    bare.kill_nats();
    lose_the_log(&bare);
    let state = bare.state();
    let program = edgectl().with_file_name("edgestackd");
    for pause_ms in [1, 3, 5, 8, 12, 20, 30, 50] {
        let mut restoring = Command::new(&program)
            .args(["--state-dir", text(&state), "--restore", text(&file)])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        restoring.kill().unwrap();
        restoring.wait().unwrap();
        // Either it had not ended, and another is taken; or it had, and the log is there.
        if state.join("archive/open").exists() {
            lose_the_log_again(&state);
        }
    }
    works(&bare, &["restore", text(&file), "--state-dir", text(&state)]);
    assert!(!state.join("archive.restoring").exists());
    bare.up().await;
    assert_eq!(lists(&bare).await, seen);
    let sequence = head["sequence"].as_u64().unwrap();
    let row = bare.api().get(&format!("/edgetron/log/history?from={sequence}&to={sequence}")).await;
    assert!(!row["items"].as_array().unwrap().is_empty(), "the last commit is there: {row}");
    assert!(works(&bare, &["verify-log"]).contains("the log is whole"));
}

/// Both copies of the log are whole and too old: only what was signed later tells.
#[tokio::test]
async fn a_log_that_was_set_back_is_noticed_by_what_was_signed() {
    let test = "a_log_that_was_set_back_is_noticed_by_what_was_signed";
    let Some(mut site) = Site::start_simulated(test).await else { return };
    let flavor = |name: &str| json!({"name": name, "vcpus": 1, "memory_mib": 32, "disk_gib": 1});
    site.api().post("flavors", &flavor("old")).await.expect(201);
    let file = site.folder().join("old.edgestack-backup");
    works(&site, &["backup", text(&file)]);
    site.api().post("flavors", &flavor("new")).await.expect(201);
    let last = site.api().get("/edgetron/log/head").await["sequence"].as_u64().unwrap();
    // At its start a site signs what it has.
    let state = site.state();
    let head = state.join("archive/head.json");
    site.kill_daemon();
    site.up().await;
    eventually("the head is signed", PATIENCE, async || {
        let signed: Value = serde_json::from_slice(&fs::read(&head).unwrap_or_default()).unwrap_or_default();
        if signed["sequence"].as_u64() >= Some(last) { Ok(()) } else { Err(format!("{signed}")) }
    })
    .await;
    let signed = fs::read(&head).unwrap();
    site.kill_daemon();
    site.kill_nats();
    lose_the_log(&site);
    works(&site, &["restore", text(&file), "--state-dir", text(&state)]);
    fs::write(&head, &signed).unwrap();
    assert!(!site.try_up_with(&[]).await, "a site that was set back does not serve");
    let log = site.log();
    assert!(log.contains("were set back") && log.contains("head.json"), "{log}");
    fs::remove_file(&head).unwrap();
    site.up().await;
    assert_eq!(site.api().get("flavors").await["items"].as_array().unwrap().len(), 1);
}

fn lose_the_log_again(state: &Path) {
    fs::remove_dir_all(state.join("archive")).unwrap();
}
