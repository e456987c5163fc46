//! Law 9: what is on the node and not in the log is told and left alone, also a running VM that the log has lost.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, Output},
};

use edgestack_e2e::{PATIENCE, Site, edgectl, eventually, processes};
use serde_json::{Value, json};

const UNKNOWN: &str = "0190d2b4-0000-7000-8000-00000000000";

fn unknown(number: u8) -> String {
    format!("{UNKNOWN}{number}")
}

/// Waits until exactly these places are listed on the node.
async fn await_orphans(site: &Site, places: &[String]) -> Value {
    let expect: BTreeSet<&str> = places.iter().map(String::as_str).collect();
    eventually("the node lists its orphans", PATIENCE, async || {
        let reply = site.api().look("nodes/n1").await.map_err(|error| error.to_string())?;
        let node = reply.json();
        let orphans = node["orphans"].as_array().cloned().unwrap_or_default();
        let listed: BTreeSet<&str> = orphans.iter().filter_map(|orphan| orphan["place"].as_str()).collect();
        if listed == expect { Ok(node.clone()) } else { Err(format!("{listed:?}")) }
    })
    .await
}

/// The places that events of this type of the node name.
async fn told(site: &Site, event_type: &str, field: &str) -> BTreeSet<String> {
    let list = site.api().get("nodes/n1/events?limit=1000").await;
    let events = list["items"].as_array().expect("a list").clone();
    let of_type = events.iter().filter(|event| event["type"] == event_type);
    of_type.map(|event| event["data"][field]["place"].as_str().expect("a place").to_owned()).collect()
}

fn run_edgectl(site: &Site, words: &[&str]) -> Output {
    Command::new(edgectl())
        .args(words)
        .env("EDGESTACK_URL", &site.api().url)
        .env("EDGESTACK_TOKEN", &site.api().token)
        .env("HOME", site.folder())
        .env("NO_COLOR", "1")
        .output()
        .expect("edgectl runs")
}

fn put(site: &Site, place: &str) {
    let path = site.state().join(place);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    fs::write(path, place).expect("written");
}

#[tokio::test]
async fn what_is_on_the_node_and_not_in_the_log_is_listed_and_left_alone() {
    let test = "what_is_on_the_node_and_not_in_the_log_is_listed_and_left_alone";
    let Some(mut site) = Site::start(test).await else { return };
    site.add_tiny().await;
    site.create_tiny("known").await;
    let pid = Site::pid_of(&site.await_vm("known", "running").await);
    site.daemon.as_mut().expect("a daemon").stop().await;

    let orphans = [
        format!("vms/{}", unknown(1)),
        format!("volumes/{}.qcow2", unknown(2)),
        format!("images/{}", unknown(3)),
        format!("uploads/{}", unknown(4)),
    ];
    let part = format!("uploads/{}.part", unknown(5));
    let inside = format!("vms/{}/seed.img", unknown(1));
    let foreign = ["vms/lost+found/x", "volumes/db.qcow2", "images/notes.txt", "uploads/notes.part"];
    let files: Vec<&str> =
        [inside.as_str(), &orphans[1], &orphans[2], &orphans[3]].into_iter().chain(foreign).collect();
    for file in files.iter().copied().chain([part.as_str()]) {
        put(&site, file);
    }
    site.up().await;
    let node = await_orphans(&site, &orphans).await;
    assert_eq!(node["orphans_unlisted"], 0);
    for orphan in node["orphans"].as_array().expect("a list") {
        assert!(orphan["since"].is_string() && orphan["advice"].as_str().is_some_and(|advice| !advice.is_empty()));
    }

    // The unfinished upload is our own: it went, and the history says so.
    assert!(!site.state().join(&part).exists());
    eventually("its removal is told", PATIENCE, async || {
        let removed = told(&site, "NodeLeftoverRemoved", "leftover").await;
        if removed == BTreeSet::from([part.clone()]) { Ok(()) } else { Err(format!("{removed:?}")) }
    })
    .await;

    // Where people look.
    let shown = run_edgectl(&site, &["show-node", "n1"]);
    let sheet = String::from_utf8_lossy(&shown.stdout).into_owned();
    for place in &orphans {
        assert!(sheet.contains(place.as_str()), "{sheet}");
    }
    let history = run_edgectl(&site, &["show-node-events", "n1"]);
    let history = String::from_utf8_lossy(&history.stdout).into_owned();
    assert!(history.contains("NodeOrphanFound") && history.contains("NodeLeftoverRemoved"), "{history}");
    let metrics = site.api().look("/metrics").await.expect("an answer").text;
    for (kind, count) in [("vm_folder", 1), ("volume", 1), ("upload", 1), ("vm_process", 0)] {
        let line = metrics
            .lines()
            .find(|line| line.starts_with("edgestack_orphans{") && line.contains(&format!("kind=\"{kind}\"")));
        assert!(line.is_some_and(|line| line.ends_with(&format!(" {count}"))), "{kind}: {line:?}");
    }

    // A person removes one.
    fs::remove_file(site.state().join(&orphans[1])).expect("removed");
    let left = [orphans[0].clone(), orphans[2].clone(), orphans[3].clone()];
    await_orphans(&site, &left).await;
    assert_eq!(told(&site, "NodeOrphanGone", "orphan").await, BTreeSet::from([orphans[1].clone()]));
    assert_eq!(told(&site, "NodeOrphanFound", "orphan").await, orphans.clone().into(), "and nothing else ever");
    for file in files.iter().filter(|file| **file != orphans[1]) {
        assert_eq!(fs::read_to_string(site.state().join(file)).ok().as_deref(), Some(*file), "{file} was touched");
    }
    let known = site.await_vm("known", "running").await;
    assert_eq!(Site::pid_of(&known), pid);
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["--archive", "--no-target-directory"]).arg(from).arg(to).status();
    assert!(copied.is_ok_and(|status| status.success()), "{} is copied", from.display());
}

#[tokio::test]
async fn a_log_from_an_older_backup_costs_no_running_vm() {
    let Some(mut site) = Site::start("a_log_from_an_older_backup_costs_no_running_vm").await else { return };
    site.add_tiny().await;
    let (store, backup) = (site.state().join("nats/jetstream"), site.folder().join("backup"));
    site.daemon.as_mut().expect("a daemon").stop().await;
    copy(&store, &backup);
    site.up().await;
    site.await_node().await;
    site.create_tiny("lost").await;
    let vm = site.await_vm("lost", "running").await;
    let (id, pid) = (vm["id"].as_str().expect("an id").to_owned(), Site::pid_of(&vm));
    let volume = vm["boot_disk"]["volume_id"].as_str().expect("an id").to_owned();
    site.daemon.as_mut().expect("a daemon").stop().await;

    fs::remove_dir_all(&store).expect("removed");
    copy(&backup, &store);
    fs::remove_dir_all(site.state().join("views")).expect("removed");
    // Else the archive would bring back what the backup lacks.
    fs::remove_dir_all(site.state().join("archive")).expect("removed");
    site.up().await;
    let places = [format!("vms/{id}"), format!("pid {pid}"), format!("volumes/{volume}.qcow2")];
    let node = await_orphans(&site, &places).await;
    assert_eq!(site.api().look("vms/lost").await.expect("an answer").status, 404);
    let process = node["orphans"].as_array().and_then(|orphans| orphans.iter().find(|one| one["kind"] == "vm_process"));
    let advice = process.and_then(|process| process["advice"].as_str()).expect("an advice");
    assert!(advice.contains("restore a newer one") && advice.contains(&format!("end pid {pid}")), "{advice}");

    // The site goes on beside it, and the next VM is not in its way.
    site.create("next", &json!({})).await;
    site.await_vm("next", "running").await;
    assert!(processes::is_running(pid), "the lost VM goes on");
    site.assert_one_qemu_a_disk();

    // Somebody ends it as advised.
    processes::kill(pid);
    await_orphans(&site, &[places[0].clone(), places[2].clone()]).await;
}
