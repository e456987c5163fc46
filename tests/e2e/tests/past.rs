//! The site as it was, and the whole log once more, on the real thing: through kills, and with broken snapshots.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{fs, path::PathBuf};

use edgestack_e2e::{
    PATIENCE, Site, eventually,
    run_edgectl::{run, works},
};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

const KINDS: [&str; 6] = ["vms", "images", "flavors", "keypairs", "nodes", "volumes"];

/// All lists of one moment; `None` when something happened in between.
async fn lists(site: &Site, at: Option<u64>) -> Option<(u64, Vec<Value>)> {
    let mut all = Vec::new();
    for kind in KINDS {
        let query = at.map(|at| format!("&at={at}")).unwrap_or_default();
        all.push(site.api().get(&format!("{kind}?limit=1000{query}")).await);
    }
    let sequence = all[0]["sequence"].as_u64().unwrap();
    let items = all.iter().map(|list| list["items"].clone()).collect();
    all.iter().all(|list| list["sequence"] == sequence).then_some((sequence, items))
}

async fn settled(site: &Site) -> (u64, Vec<Value>) {
    eventually("the site stands still", PATIENCE, async || lists(site, None).await.ok_or("it moves".to_owned())).await
}

#[tokio::test]
async fn what_was_shown_is_shown_again_after_kills_and_told_by_edgectl() {
    let Some(mut site) = Site::start("what_was_shown_is_shown_again_after_kills_and_told_by_edgectl").await else {
        return;
    };
    site.add_tiny().await;
    let mut seen = vec![settled(&site).await];
    site.create_tiny("a").await;
    site.await_vm("a", "running").await;
    seen.push(settled(&site).await);
    works(&site, &["update-vm", "a", "--label", "tier=front", "--reason", "a release"]);
    seen.push(settled(&site).await);
    let before_removal = seen[2].0;
    works(&site, &["remove-vm", "a", "--reason", "no longer wanted"]);
    seen.push(settled(&site).await);
    let labelled = before_removal.to_string();

    for round in 0..3 {
        for (sequence, items) in &seen {
            let (_, then) = lists(&site, Some(*sequence)).await.unwrap();
            assert_eq!(&then, items, "round {round}, after {sequence}");
        }
        site.kill_daemon();
        if round == 1 {
            fs::remove_dir_all(site.state().join("snapshots")).unwrap();
        }
        site.up().await;
        site.await_node().await;
    }

    assert_eq!(works(&site, &["list-vms", "-o", "name"]), "");
    assert_eq!(works(&site, &["list-vms", "-o", "name", "--at", &labelled]), "a\n");
    let shown: Value = serde_json::from_str(&works(&site, &["show-vm", "a", "-o", "json", "--at", &labelled])).unwrap();
    assert_eq!((&shown["state"], &shown["labels"]["tier"]), (&json!("running"), &json!("front")));
    assert!(works(&site, &["show-vm-manifest", "a", "--at", &labelled]).contains("tier: front"));
    let from = seen[1].0.to_string();
    let diff = works(&site, &["diff", "vm/a", "--from", &from, "--to", &labelled]);
    assert!(diff.contains("labels.tier") && diff.contains("front") && diff.contains("a release"), "{diff}");
    let told = works(&site, &["explain", "vm/a"]);
    for part in ["gone", "VmDeleteRequested", "remove-vm", "VmDeleted"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(works(&site, &["explain", "vm/a", "--at", &from]).contains("running"));

    let verified = works(&site, &["verify-log"]);
    assert!(verified.contains("the log is whole"), "{verified}");
    let replayed = works(&site, &["replay", "--verify"]);
    assert!(replayed.contains("byte for byte"), "{replayed}");
    works(&site, &["replay", "--until", &labelled]);
    let of_vms = works(&site, &["replay", "--verify", "vm"]);
    assert!(of_vms.contains("say of kind vm what the live ones say"), "{of_vms}");
    for args in [&["--verify", "--until", &labelled][..], &["--verify", "vm", "--until", &labelled]] {
        let then = works(&site, &[&["replay"], args].concat());
        assert!(then.contains("what --at shows of then"), "{then}");
    }
    let first_of_vms = works(&site, &["replay", "--step", "vm"]);
    assert!(first_of_vms.contains("+ vm a added") && !first_of_vms.contains("volume a-root"), "{first_of_vms}");
    // A moment that was never is one clear line, and wrong usage another.
    let never = run(&site, &["list-vms", "--at", "tomorrow"]);
    assert_eq!(never.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&never.stderr).contains("10 minutes ago"));
    assert_eq!(run(&site, &["replay", "--from", "3"]).status.code(), Some(2));
    site.daemon.as_mut().unwrap().stop().await;
}

fn snapshots(site: &Site) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(site.state().join("snapshots"))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "snapshot"))
        .collect();
    files.sort();
    files
}

/// Flavors come and go, many at once; each round is some commits.
async fn many_commits(site: &Site, round: usize) {
    stream::iter(0..1500)
        .for_each_concurrent(32, async |number| {
            let name = format!("f-{round}-{}", number % 700);
            if number < 700 {
                let flavor = json!({"name": name, "vcpus": 1, "memory_mib": 64, "disk_gib": 1});
                let _ = site.api().try_post("flavors", &flavor).await;
            } else {
                let _ = site.api().try_delete(&format!("flavors/{name}")).await;
            }
        })
        .await;
}

#[tokio::test]
async fn snapshots_are_made_under_load_and_a_broken_one_is_never_shown() {
    let Some(mut site) = Site::start_simulated("snapshots_are_made_under_load_and_a_broken_one_is_never_shown").await
    else {
        return;
    };
    let mut seen = Vec::new();
    for round in 0..4 {
        many_commits(&site, round).await;
        seen.push(settled(&site).await);
        if round == 2 {
            site.kill_daemon();
            site.up().await;
            site.await_node().await;
        }
    }
    let end = settled(&site).await.0;
    assert!(end > 4200, "only {end} commits");
    eventually("a snapshot is made", PATIENCE, async || {
        if snapshots(&site).is_empty() { Err("none yet".to_owned()) } else { Ok(()) }
    })
    .await;
    site.kill_daemon();
    for (number, file) in snapshots(&site).iter().enumerate() {
        let mut bytes = fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        match number % 2 {
            0 => bytes[middle] ^= 0x20,
            _ => bytes.truncate(middle),
        }
        fs::write(file, bytes).unwrap();
    }
    let broken = snapshots(&site);
    let texts: Vec<_> = broken.iter().map(|file| fs::read(file).unwrap()).collect();
    site.up().await;
    site.await_node().await;
    for (sequence, items) in &seen {
        let (_, then) = lists(&site, Some(*sequence)).await.unwrap();
        assert_eq!(&then, items, "after {sequence}");
    }
    let at_end = site.api().get(&format!("flavors?at={end}&limit=1000")).await;
    assert_eq!(at_end["sequence"], end);
    for (file, text) in broken.iter().zip(texts) {
        assert!(fs::read(file).is_ok_and(|now| now != text) || !file.exists(), "{} is still there", file.display());
    }
    let verified = works(&site, &["replay", "--verify"]);
    assert!(verified.contains("byte for byte"), "{verified}");
    site.daemon.as_mut().unwrap().stop().await;
}
