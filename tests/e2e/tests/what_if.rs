//! What would happen is told, and nothing of it is done: with a real log, a real VM and its real process.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::fs;

use edgestack_e2e::{
    PATIENCE, Site, eventually,
    run_edgectl::{run, works},
};
use serde_json::{Value, json};

/// What a change of the site would show in: the log's head, the disks, the VM's process, and what is counted.
async fn traces(site: &Site) -> (Value, Vec<String>, Value, Vec<String>) {
    let log = site.api().get("/edgetron/log/head").await;
    let vm = site.api().get("vms/a").await;
    let metrics = site.api().look("/metrics").await.unwrap().text;
    let counted = ["edgestack_commits_total", "edgestack_commands_refused_total", "edgestack_append_seconds_count"];
    let lines = metrics.lines().filter(|line| counted.iter().any(|name| line.starts_with(name)));
    let mut files = site.volume_files();
    files.extend(site.vm_folders());
    files.extend(site.image_files());
    let mut lines: Vec<String> = lines.map(str::to_owned).collect();
    lines.sort();
    (log["sequence"].clone(), files, vm, lines)
}

#[tokio::test]
async fn what_would_happen_is_told_and_nothing_of_it_is_done() {
    let Some(mut site) = Site::start("what_would_happen_is_told_and_nothing_of_it_is_done").await else { return };
    site.add_tiny().await;
    site.create_tiny("a").await;
    site.await_vm("a", "running").await;
    let before = eventually("the site stands still", PATIENCE, async || {
        let (one, other) = (traces(&site).await, traces(&site).await);
        if one == other { Ok(one) } else { Err("it moves".to_owned()) }
    })
    .await;

    let told = works(&site, &["what-if", "create-vm", "tried", "--image", "tiny", "--flavor", "tiny"]);
    for part in ["simulated: 1 of 1 step taken", "VmStarted", "+ vm tried added"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let node = site.api().get("nodes").await["items"][0]["name"].as_str().unwrap().to_owned();
    let plan = site.folder().join("plan.yaml");
    let steps = json!([
        {"lose_node": node}, {"wait_seconds": 60}, {"return_node": node},
        {"method": "DELETE", "path": "vms/a"}, {"method": "DELETE", "path": "flavors/none"},
    ]);
    fs::write(&plan, steps.to_string()).unwrap();
    let begun = std::time::Instant::now();
    let raw = works(&site, &["what-if", plan.to_str().unwrap(), "-o", "json"]);
    println!("two minutes of a fork took {:?}", begun.elapsed());
    let told: Value = serde_json::from_str(&raw).unwrap();
    assert!(told["simulated_seconds"].as_f64().unwrap() > 100.0, "{told}");
    let types: Vec<&str> = told["events"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap()).collect();
    for expected in
        ["NodeBecameNotReady", "VmStopped", "NodeBecameReady", "VmStarted", "VmDeleteRequested", "VmDeleted"]
    {
        assert!(types.contains(&expected), "{expected} is not in {types:?}");
    }
    let outcomes: Vec<&str> =
        told["steps"].as_array().unwrap().iter().map(|one| one["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["taken", "taken", "taken", "taken", "refused"]);
    let drained = run(&site, &["what-if", "--drain-node", &node]);
    let (told, notes) = (String::from_utf8_lossy(&drained.stdout), String::from_utf8_lossy(&drained.stderr));
    for part in ["NodeCordoned", "VmStopRequested", "VmStopped", "state", "running -> stopped"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(notes.contains("stays there until it is started again: a; root disks do not move"), "{notes}");
    let past = works(&site, &["what-if", "--at", "1", "remove-vm", "a"]);
    assert!(past.contains("Refused") && past.contains("does not exist"), "{past}");

    assert_eq!(traces(&site).await, before);
    assert!(works(&site, &["verify-log"]).contains("the log is whole"));
    site.assert_no_orphan().await;
    assert!(!site.log().contains("tried"), "the daemon's log tells of what was only tried");
    site.daemon.as_mut().unwrap().stop().await;
}
