//! A change is taken back by commands like any others, on a real VM, and what cannot come back is said.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use edgestack_e2e::{
    Site,
    run_edgectl::{run, works},
};
use serde_json::{Value, json};

/// The commit of the VM's last event of a type.
async fn commit_of(site: &Site, event_type: &str) -> String {
    let events = site.api().get("vms/a/events?limit=1000").await;
    let events = events["items"].as_array().unwrap();
    let last = events.iter().rev().find(|event| event["type"] == event_type).expect("it happened");
    last["sequence"].to_string()
}

#[tokio::test]
async fn what_was_done_to_a_real_vm_is_taken_back_and_its_lost_data_is_told() {
    let test = "what_was_done_to_a_real_vm_is_taken_back_and_its_lost_data_is_told";
    let Some(mut site) = Site::start(test).await else { return };
    site.add_tiny().await;
    site.create_tiny("a").await;
    site.await_vm("a", "running").await;
    let first = site.api().get("vms/a").await;
    works(&site, &["update-vm", "a", "--label", "tier=front", "--run-strategy", "manual"]);
    let updated = commit_of(&site, "VmUpdated").await;
    works(&site, &["stop-vm", "a", "--force"]);
    let stopped = commit_of(&site, "VmStopRequested").await;

    // Nobody to be asked, and nothing done without.
    assert_eq!(run(&site, &["undo", &stopped]).status.code(), Some(2));
    assert_eq!(site.api().get("vms/a").await["target"], "stopped");
    let told = works(&site, &["undo", &stopped, "--yes", "--reason", "it is needed"]);
    assert!(told.contains("start it: done") && told.contains("boots anew"), "{told}");
    let second = site.await_vm("a", "running").await;
    assert_ne!(Site::pid_of(&second), Site::pid_of(&first));
    assert_eq!(second["labels"], json!({"tier": "front"}));
    works(&site, &["undo", &updated, "--yes"]);
    let back = site.api().get("vms/a").await;
    assert_eq!((&back["labels"], &back["run_strategy"]), (&json!({}), &json!("always")));
    assert!(works(&site, &["undo", &updated, "--yes"]).contains("As it was already"));
    let history = works(&site, &["history", "--text", "undo", "-o", "json"]);
    assert!(history.contains(&format!("undo of commit {stopped}: it is needed")), "{history}");

    works(&site, &["remove-vm", "a"]);
    let removed = commit_of(&site, "VmDeleteRequested").await;
    let proposal: Value = serde_json::from_str(&works(&site, &["undo", &removed, "--dry-run", "-o", "json"])).unwrap();
    assert!(proposal["cannot"].to_string().contains("data on its root disk is gone for good"), "{proposal}");
    assert_eq!(proposal["effect"]["placements"][0]["vm"], "a", "{proposal}");
    assert_eq!(site.volume_files(), Vec::<String>::new(), "a proposal made a disk");
    works(&site, &["undo", &removed, "--yes"]);
    let third = site.await_vm("a", "running").await;
    assert_ne!(third["id"], first["id"]);
    site.assert_one_qemu_a_disk();
    assert!(works(&site, &["verify-log"]).contains("the log is whole"));
    site.daemon.as_mut().unwrap().stop().await;
}
