//! A VM's whole life with real QEMU: made, run, held, stopped, run anew, removed, and nothing of it left.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::time::Duration;

use edgestack_e2e::{PATIENCE, PREFIXES, SPEAKS, Site, processes};
use serde_json::json;

#[tokio::test]
async fn a_vm_lives_and_dies_and_leaves_nothing() {
    let Some(site) = Site::start("a_vm_lives_and_dies_and_leaves_nothing").await else { return };
    site.add_tiny().await;
    let api = site.api();

    let reply = api
        .send(
            api.request(reqwest::Method::POST, "vms")
                .header("Edgestack-Reason", "to see it live")
                .json(&json!({"name": "a", "image": "tiny", "flavor": "tiny", "labels": {"team": "core"}})),
        )
        .await
        .unwrap();
    assert_eq!(reply.status, 202, "{}", reply.text);
    assert_eq!(reply.header("location"), "/edgetron/resources/kubevirt/vms/a");
    let id = reply.json()["id"].as_str().unwrap().to_owned();

    let vm = site.await_vm("a", "running").await;
    let pid = Site::pid_of(&vm);
    assert_eq!(processes::qemus(&site.state()).iter().map(|qemu| qemu.pid).collect::<Vec<_>>(), [pid]);
    assert_eq!(vm["node"], "n1");
    assert_eq!(vm["simulated"], false);
    for prefix in PREFIXES {
        assert_eq!(api.get(&format!("{prefix}/vms/a")).await["id"], *id);
        assert_eq!(api.get(&format!("{prefix}/vms/{id}")).await["name"], "a");
    }

    // Paused: the same process, its vCPUs still.
    api.act("a", &json!({"action": "pause"})).await.accepted();
    assert_eq!(Site::pid_of(&site.await_vm("a", "paused").await), pid);
    api.act("a", &json!({"action": "unpause"})).await.accepted();
    assert_eq!(Site::pid_of(&site.await_vm("a", "running").await), pid);

    // This guest is deaf to the power button: cut off when its grace is over.
    api.act("a", &json!({"action": "stop", "grace_seconds": 1})).await.accepted();
    let vm = site.await_vm("a", "stopped").await;
    assert_eq!(vm["last_stop"]["how"], "forced", "{vm}");
    assert!(!processes::is_running(pid));
    assert!(processes::qemus(&site.state()).is_empty());

    api.act("a", &json!({"action": "start"})).await.accepted();
    let second = Site::pid_of(&site.await_vm("a", "running").await);
    assert_ne!(second, pid);

    let types = api.event_types("a").await;
    let expected = [
        "VmCreated",
        "VmScheduled",
        "VolumeCreated",
        "VolumeBecameAvailable",
        "VmStarted",
        "VmPauseRequested",
        "VmPaused",
        "VmUnpauseRequested",
        "VmUnpaused",
        "VmStopRequested",
        "VmStopped",
        "VmStartRequested",
        "VmStarted",
    ];
    assert_eq!(types, expected);
    let events = api.events("a").await;
    assert_eq!(events[0]["reason"], "to see it live");
    assert_eq!(events[0]["actor"]["name"], "admin");
    let started = &events[4];
    assert_eq!(started["actor"]["name"], "worker.vm@n1");
    assert_eq!(started["correlation_id"], events[0]["correlation_id"], "the start belongs to the wish");
    assert!(started["causation_id"].is_string(), "{started}");
    let sequences: Vec<u64> = events.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert!(sequences.is_sorted(), "{sequences:?}");

    api.delete("vms/a").await.accepted();
    site.await_no_vm("a").await;
    site.await_nothing_left(&[&id]).await;
    assert_eq!(api.event_types("a").await.last().unwrap(), "VmDeleted", "history outlives the VM");
    site.assert_no_orphan().await;

    // The image was in use till now, and no longer is.
    api.delete("images/tiny").await.accepted();
    edgestack_e2e::eventually("the image's file is gone", PATIENCE, async || {
        let files = site.image_files();
        if files.is_empty() { Ok(()) } else { Err(files.join(", ")) }
    })
    .await;
}

#[tokio::test]
async fn a_restart_is_a_new_process_on_the_same_disk() {
    let Some(site) = Site::start("a_restart_is_a_new_process_on_the_same_disk").await else { return };
    site.add_tiny().await;
    site.create_tiny("a").await;
    let before = site.await_vm("a", "running").await;
    let pid = Site::pid_of(&before);
    // A paused guest can't hear the power button, so a restart doesn't wait for it.
    site.api().act("a", &json!({"action": "pause"})).await.accepted();
    site.await_vm("a", "paused").await;
    site.api().act("a", &json!({"action": "restart"})).await.accepted();
    let after = site
        .await_vm_that("VM a runs anew", "a", PATIENCE, |vm| {
            vm["state"] == "running" && vm["instance"]["pid"] != before["instance"]["pid"]
        })
        .await;
    assert!(!processes::is_running(pid));
    assert_eq!(before["boot_disk"], after["boot_disk"]);
    site.assert_one_qemu_a_disk();
}

#[tokio::test]
async fn a_vm_can_be_removed_in_every_state() {
    let Some(site) = Site::start("a_vm_can_be_removed_in_every_state").await else { return };
    site.add_tiny().await;
    let mut ids = Vec::new();
    for (name, strategy) in
        [("at-once", "always"), ("never-run", "manual"), ("paused", "always"), ("stopping", "always")]
    {
        let vm = site.create(name, &json!({"run_strategy": strategy})).await;
        ids.push(vm["id"].as_str().unwrap().to_owned());
        if name == "at-once" {
            site.api().delete("vms/at-once").await.accepted();
        }
    }
    site.await_vm("never-run", "stopped").await;
    site.await_vm("paused", "running").await;
    site.await_vm("stopping", "running").await;
    site.api().act("paused", &json!({"action": "pause"})).await.accepted();
    site.await_vm("paused", "paused").await;
    site.api().act("stopping", &json!({"action": "stop", "grace_seconds": 600})).await.accepted();
    for name in ["never-run", "paused", "stopping"] {
        site.api().delete(&format!("vms/{name}")).await.accepted();
    }
    for name in ["at-once", "never-run", "paused", "stopping"] {
        site.await_no_vm(name).await;
    }
    site.await_nothing_left(&ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn the_console_log_is_what_the_guest_wrote() {
    let Some(site) = Site::start("the_console_log_is_what_the_guest_wrote").await else { return };
    site.add_tiny().await;
    site.add_boot_image("speaks", SPEAKS).await;
    site.create("a", &json!({"image": "speaks"})).await;
    site.await_vm("a", "running").await;
    edgestack_e2e::eventually("the console says hello", Duration::from_secs(20), async || {
        let reply = site.api().look("vms/a/logs").await.map_err(|error| error.to_string())?;
        if reply.text.contains("hello") { Ok(()) } else { Err(format!("{} {:?}", reply.status, reply.text)) }
    })
    .await;
}
