//! `kill -9` of a QEMU: an event says so within 2 s, and the run strategy decides what follows.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::time::{Duration, Instant};

use edgestack_e2e::{PATIENCE, POWERS_OFF, Site, processes};
use serde_json::{Value, json};

const SEEN_WITHIN: Duration = Duration::from_secs(2);

/// Kills a VM's QEMU and gives the event that says so.
async fn kill(site: &Site, name: &str) -> Value {
    let vm = site.await_vm(name, "running").await;
    let before = site.api().events(name).await.len();
    processes::kill(Site::pid_of(&vm));
    let begun = Instant::now();
    loop {
        let events = site.api().events(name).await;
        if let Some(stopped) = events[before..].iter().find(|event| event["type"] == "VmStopped") {
            println!("{name}: seen after {:?}", begun.elapsed());
            return stopped.clone();
        }
        assert!(begun.elapsed() < SEEN_WITHIN, "no event within {SEEN_WITHIN:?}; {events:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_killed_vm_that_always_runs_comes_back_with_back_off() {
    let Some(site) = Site::start("a_killed_vm_that_always_runs_comes_back_with_back_off").await else { return };
    site.add_tiny().await;
    site.create("a", &json!({"run_strategy": "always"})).await;
    for crashes in 1..=2_u64 {
        let stopped = kill(&site, "a").await;
        let begun = Instant::now();
        assert_eq!(stopped["data"]["how"], "crashed", "{stopped}");
        assert_eq!(stopped["data"]["then"]["next"], "starts_again_after", "{stopped}");
        assert_eq!(stopped["data"]["then"]["crashes"], crashes, "{stopped}");
        assert_eq!(stopped["actor"]["name"], "worker.vm@n1");
        // The first pause, of 1 s, may be over before a busy machine lets us look.
        if crashes > 1 {
            let vm = site.api().get("vms/a").await;
            assert_eq!(vm["state"], "back_off", "{vm}");
            let waiting = &vm["waiting"];
            assert!(waiting["reason"].as_str().unwrap().contains("crashed"), "{vm}");
            assert!(waiting["next_attempt_at"].is_string(), "{vm}");
            assert!(waiting["fix"].as_str().unwrap().contains("edgectl"), "{vm}");
        }
        site.await_vm("a", "running").await;
        let pause = begun.elapsed();
        // 1 s after the first crash, 2 s after the second; the look at the event took its part.
        assert!(pause > Duration::from_millis(600 * crashes), "no back-off: {pause:?}");
        site.assert_one_qemu_a_disk();
    }
    let vm = site.api().get("vms/a").await;
    assert_eq!(vm["last_stop"]["how"], "crashed");
    assert_eq!(processes::qemus(&site.state()).len(), 1);
}

#[tokio::test]
async fn a_killed_vm_that_reruns_on_failure_comes_back_but_not_after_its_own_shutdown() {
    let test = "a_killed_vm_that_reruns_on_failure_comes_back_but_not_after_its_own_shutdown";
    let Some(site) = Site::start(test).await else { return };
    site.add_tiny().await;
    site.create("killed", &json!({"run_strategy": "rerun_on_failure"})).await;
    let stopped = kill(&site, "killed").await;
    assert_eq!(stopped["data"]["then"]["next"], "starts_again_after", "{stopped}");
    site.await_vm("killed", "running").await;

    site.add_boot_image("powers-off", POWERS_OFF).await;
    site.create("off", &json!({"image": "powers-off", "run_strategy": "rerun_on_failure"})).await;
    let vm = site.await_vm("off", "stopped").await;
    assert_eq!(vm["last_stop"]["how"], "guest_shutdown", "{vm}");
    let events = site.api().event_types("off").await;
    assert_eq!(events.iter().filter(|name| *name == "VmStarted").count(), 1, "{events:?}");
}

#[tokio::test]
async fn a_killed_vm_of_a_person_stays_stopped_with_the_reason() {
    let Some(site) = Site::start("a_killed_vm_of_a_person_stays_stopped_with_the_reason").await else { return };
    site.add_tiny().await;
    site.create("a", &json!({"run_strategy": "manual"})).await;
    site.await_vm("a", "stopped").await;
    assert!(processes::qemus(&site.state()).is_empty());
    site.api().act("a", &json!({"action": "start"})).await.accepted();
    let stopped = kill(&site, "a").await;
    assert_eq!(stopped["data"]["then"]["next"], "stays_stopped", "{stopped}");
    let vm = site.await_vm("a", "stopped").await;
    assert_eq!(vm["last_stop"]["how"], "crashed", "{vm}");
    assert!(vm["last_stop"]["detail"].as_str().unwrap().contains("killed"), "{vm}");
    assert_eq!(vm["target"], "stopped", "{vm}");
    // A person's start works at once.
    site.api().act("a", &json!({"action": "start"})).await.accepted();
    site.await_vm("a", "running").await;

    // Removed after one more such end, it leaves nothing either: no control group that nobody emptied.
    kill(&site, "a").await;
    site.await_vm("a", "stopped").await;
    site.api().delete("vms/a").await.accepted();
    site.await_no_vm("a").await;
    site.await_nothing_left(&[vm["id"].as_str().unwrap()]).await;
}

#[tokio::test]
async fn a_kill_while_the_daemon_is_away_is_seen_when_it_is_back() {
    let Some(mut site) = Site::start("a_kill_while_the_daemon_is_away_is_seen_when_it_is_back").await else { return };
    site.add_tiny().await;
    site.create("a", &json!({})).await;
    let vm = site.await_vm("a", "running").await;
    site.kill_daemon();
    processes::kill(Site::pid_of(&vm));
    site.up().await;
    let stopped = site.await_event("a", "VmStopped", PATIENCE).await;
    assert_eq!(stopped["data"]["how"], "crashed", "{stopped}");
    let again = site
        .await_vm_that("it runs anew", "a", PATIENCE, |now| {
            now["state"] == "running" && now["instance"]["pid"] != vm["instance"]["pid"]
        })
        .await;
    assert!(processes::is_running(Site::pid_of(&again)));
}

#[tokio::test]
async fn a_guest_that_always_powers_off_is_not_restarted_in_a_rush() {
    let Some(site) = Site::start("a_guest_that_always_powers_off_is_not_restarted_in_a_rush").await else { return };
    site.add_tiny().await;
    site.add_boot_image("powers-off", POWERS_OFF).await;
    site.create("off", &json!({"image": "powers-off", "run_strategy": "always"})).await;
    site.await_event("off", "VmStopped", PATIENCE).await;
    let begun = Instant::now();
    // What is watched for is that something does not happen, and that takes its time.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let starts = site.api().event_types("off").await.iter().filter(|name| *name == "VmStarted").count();
    assert!(starts <= 6, "{starts} starts in {:?}", begun.elapsed());
    site.api().delete("vms/off").await.accepted();
    site.await_no_vm("off").await;
}
