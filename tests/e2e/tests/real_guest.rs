//! A Debian guest: it is let in by key, has its user data, tells of itself, logs its console, goes on while everything of
//! ours is dead, and shuts down when asked.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use edgestack_e2e::{Guest, PATIENCE, Site, eventually, guest_image, processes};
use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};

/// From power-on to the guest agent's answer under software emulation, other guests beside it.
const BOOT_PATIENCE: Duration = Duration::from_secs(300);

const USER_DATA: &str = "#cloud-config
users:
  - default
  - name: ops
    sudo: ALL=(ALL) NOPASSWD:ALL
    shell: /bin/bash
write_files:
  - path: /etc/edge-greeting
    content: \"written by user data\\n\"
";

/// A site with a Debian guest asked for; its user is the image's default one.
async fn a_site_with_debian(test: &str, image: &Path, vm: Value) -> Option<(Site, Value, String)> {
    let site = Site::start(test).await?;
    site.add_image("debian", "qcow2", image).await;
    let flavor = json!({"name": "small", "vcpus": 1, "memory_mib": 512, "disk_gib": 4});
    site.api().post("flavors", &flavor).await.accepted();
    let key = site.api().post("keypairs", &json!({"name": "k"})).await.accepted();
    let private_key = key["private_key"].as_str().expect("given once").to_owned();
    let mut request = json!({"name": "deb", "image": "debian", "flavor": "small", "keypair": "k"});
    for (field, value) in vm.as_object().unwrap() {
        request[field] = value.clone();
    }
    site.api().post("vms", &request).await.accepted();
    let vm = site.await_vm("deb", "running").await;
    Some((site, vm, private_key))
}

/// Collects what a VM's console says from now on.
async fn follow_console(site: &Site) -> Arc<Mutex<String>> {
    let heard = Arc::new(Mutex::new(String::new()));
    let client = reqwest::Client::new();
    let url = format!("{}/edgetron/resources/kubevirt/vms/deb/logs?follow=true", site.api().url);
    let answer = client.get(url).bearer_auth(&site.api().token).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let mut stream = answer.bytes_stream();
    let sink = heard.clone();
    tokio::spawn(async move {
        while let Some(Ok(piece)) = stream.next().await {
            sink.lock().unwrap().push_str(&String::from_utf8_lossy(&piece));
        }
    });
    heard
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_boots_lets_us_in_and_survives_us() {
    let test = "a_guest_boots_lets_us_in_and_survives_us";
    let (Some(image), Some(())) = (guest_image(test), Guest::needs_ssh(test)) else { return };
    let Some((mut site, vm, private_key)) = a_site_with_debian(test, &image, json!({"user_data": USER_DATA})).await
    else {
        return;
    };
    assert_eq!(vm["user_data"]["sealed"], true);
    assert_eq!(vm["user_data"]["length_bytes"], USER_DATA.len());
    let heard = follow_console(&site).await;
    let pid = Site::pid_of(&vm);

    // The agent's first answer is an event, and then it can be asked.
    let connected = site.await_event("deb", "VmGuestAgentConnected", BOOT_PATIENCE).await;
    assert_eq!(connected["data"]["guest_agent"]["hostname"], "deb", "{connected}");
    let info = site.api().get("vms/deb/guest_info").await;
    assert_eq!(info["hostname"], "deb");
    assert!(info["operating_system"].as_str().unwrap().contains("Debian"), "{info}");
    assert!(info["interfaces"].to_string().contains("10.0.2.15"), "{info}");
    let vm = site.api().get("vms/deb").await;
    let agent = vm["conditions"].as_array().unwrap().iter().find(|c| c["type"] == "GuestAgentConnected").unwrap();
    assert_eq!(agent["status"], true, "{agent}");

    // By the generated key, through the forwarded port; and what user data asked for is there.
    let user = default_user(&site, &vm, &private_key).await;
    let guest = Guest::of(&vm, &user, &private_key, site.folder());
    assert_eq!(guest.await_run("cat /etc/edge-greeting").await, "written by user data");
    assert!(guest.await_run("getent passwd ops").await.starts_with("ops:"));
    assert_eq!(guest.await_run("hostname").await, "deb");
    assert!(heard.lock().unwrap().contains("Linux version"), "the console was followed from the kernel on");

    // Paused, the guest's clock of its own life stands still.
    let before = guest.uptime_s().await;
    site.api().act("deb", &json!({"action": "pause"})).await.accepted();
    site.await_vm("deb", "paused").await;
    site.api().act("deb", &json!({"action": "unpause"})).await.accepted();
    site.await_vm("deb", "running").await;
    assert!(guest.uptime_s().await >= before);

    // With the daemon and NATS dead the guest doesn't notice.
    let before = guest.uptime_s().await;
    site.kill_daemon();
    site.kill_nats();
    let meanwhile = guest.uptime_s().await;
    assert!(meanwhile > before, "{before} {meanwhile}");
    assert!(processes::is_running(pid));
    site.up().await;
    let adopted = site.await_vm("deb", "running").await;
    assert_eq!(Site::pid_of(&adopted), pid);
    assert!(guest.uptime_s().await > meanwhile, "the guest went on");
    let types = site.api().event_types("deb").await;
    assert_eq!(types.iter().filter(|found| *found == "VmStarted").count(), 1, "{types:?}");
    eventually("the agent answers the daemon that came back", PATIENCE, async || {
        let reply = site.api().look("vms/deb/guest_info").await.map_err(|error| error.to_string())?;
        if reply.status == 200 { Ok(()) } else { Err(reply.text) }
    })
    .await;

    // Asked to stop, the guest shuts itself down.
    site.api().act("deb", &json!({"action": "stop", "grace_seconds": 240})).await.accepted();
    let vm = site.await_vm_within("deb", "stopped", BOOT_PATIENCE).await;
    assert_eq!(vm["last_stop"]["how"], "graceful", "{vm}");
    eventually("the console tells of the end", PATIENCE, async || {
        let log = site.api().look("vms/deb/logs").await.map_err(|error| error.to_string())?.text;
        if log.contains("Power down") { Ok(()) } else { Err(log.chars().rev().take(300).collect()) }
    })
    .await;
    // That it stopped is told first, then its process is ended.
    eventually("its process ends", PATIENCE, async || {
        if processes::is_running(pid) { Err(format!("{pid} runs")) } else { Ok(()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_restarts_on_the_same_disk_and_may_shut_itself_down() {
    let test = "a_guest_restarts_on_the_same_disk_and_may_shut_itself_down";
    let (Some(image), Some(())) = (guest_image(test), Guest::needs_ssh(test)) else { return };
    let fields = json!({"run_strategy": "rerun_on_failure"});
    let Some((site, vm, private_key)) = a_site_with_debian(test, &image, fields).await else { return };
    site.await_event("deb", "VmGuestAgentConnected", BOOT_PATIENCE).await;
    let user = default_user(&site, &vm, &private_key).await;
    let guest = Guest::of(&vm, &user, &private_key, site.folder());
    guest.await_run("echo kept > ~/note && sync").await;
    let first_boot = guest.await_run("cat /proc/sys/kernel/random/boot_id").await;

    site.api().act("deb", &json!({"action": "restart"})).await.accepted();
    site.await_vm_that("deb runs anew", "deb", BOOT_PATIENCE, |now| {
        now["state"] == "running" && now["instance"]["pid"] != vm["instance"]["pid"]
    })
    .await;
    let second_boot = guest.await_run("cat /proc/sys/kernel/random/boot_id").await;
    assert_ne!(first_boot, second_boot);
    assert_eq!(guest.await_run("cat ~/note").await, "kept");

    // Its own shutdown is told apart from one that was asked for; this strategy leaves it down.
    let _ = guest.run("sudo systemctl poweroff").await;
    let vm = site.await_vm_within("deb", "stopped", BOOT_PATIENCE).await;
    assert_eq!(vm["last_stop"]["how"], "guest_shutdown", "{vm}");
    let reply = site.api().send(site.api().request(Method::GET, "vms/deb/guest_info")).await.unwrap();
    assert!((400..500).contains(&reply.status), "{}", reply.text);
}

/// The user that cloud-init makes in this image: `debian` in Debian's own.
async fn default_user(site: &Site, vm: &Value, private_key: &str) -> String {
    eventually("the guest lets one of its users in", BOOT_PATIENCE, async || {
        let mut said = String::new();
        for user in ["debian", "edge"] {
            match Guest::of(vm, user, private_key, site.folder()).run("true").await {
                Ok(_) => return Ok(user.to_owned()),
                Err(error) => said = error,
            }
        }
        Err(said)
    })
    .await
}
