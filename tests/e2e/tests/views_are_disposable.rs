//! Law 6: the views deleted, cut short or overwritten come back byte for byte the same.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use edgestack_e2e::{Site, damage::cut_in_half, eventually};
use serde_json::json;

const KINDS: [&str; 6] = ["vms", "images", "flavors", "keypairs", "nodes", "volumes"];

/// Every answer that is read from the views, as bytes.
async fn everything(site: &Site) -> BTreeMap<String, String> {
    let mut answers = BTreeMap::new();
    for kind in KINDS {
        let path = format!("{kind}?limit=1000");
        let list = site.api().get(&path).await;
        answers.insert(path.clone(), site.api().look(&path).await.unwrap().text);
        let items = list["items"].as_array().unwrap().clone();
        for item in &items {
            for path in [
                format!("{kind}/{}", item["id"].as_str().unwrap()),
                format!("{kind}/{}/events?limit=1000", item["id"].as_str().unwrap()),
            ] {
                let reply = site.api().look(&path).await.unwrap();
                answers.insert(path, format!("{} {}", reply.status, reply.text));
            }
        }
    }
    // The history of one that is gone.
    answers.insert("gone".to_owned(), site.api().look("vms/gone/events?limit=1000").await.unwrap().text);
    answers
}

async fn a_site_with_content(test: &str) -> Option<Site> {
    // Real VMs: simulated ones end with the daemon, which is news.
    let site = Site::start(test).await?;
    site.add_tiny().await;
    site.api().post("keypairs", &json!({"name": "k"})).await.accepted();
    for number in 0..6 {
        let fields = json!({
            "labels": {"number": number.to_string()},
            "keypair": "k",
            "user_data": "#cloud-config\n",
            "run_strategy": if number < 3 { "always" } else { "halted" },
        });
        site.create(&format!("vm-{number}"), &fields).await;
    }
    site.create("gone", &json!({})).await;
    for number in 0..3 {
        site.await_vm(&format!("vm-{number}"), "running").await;
    }
    site.api().act("vm-0", &json!({"action": "stop", "grace_seconds": 0})).await.accepted();
    site.await_vm("vm-0", "stopped").await;
    site.api().delete("vms/gone").await.accepted();
    site.await_no_vm("gone").await;
    Some(site)
}

/// Waits until nothing happens any more: the same answers twice with a pause between.
async fn settled(site: &Site) -> BTreeMap<String, String> {
    let mut last = everything(site).await;
    eventually("the site is at rest", edgestack_e2e::PATIENCE, async || {
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        let now = everything(site).await;
        let same = now == last;
        last = now;
        if same { Ok(()) } else { Err("it changes".to_owned()) }
    })
    .await;
    last
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    found.sort();
    found
}

type Damage = fn(&Path);

fn overwrite_the_middle(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let (from, to) = (bytes.len() / 3, bytes.len() * 2 / 3);
    for (place, byte) in bytes[from..to].iter_mut().enumerate() {
        *byte = u8::try_from(place % 251).unwrap() ^ 0x5a;
    }
    fs::write(file, bytes).unwrap();
}

fn flip_one_bit(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    fs::write(file, bytes).unwrap();
}

fn empty(file: &Path) {
    fs::write(file, b"").unwrap();
}

#[tokio::test]
async fn views_that_were_deleted_come_back_the_same() {
    let Some(mut site) = a_site_with_content("views_that_were_deleted_come_back_the_same").await else { return };
    let before = settled(&site).await;
    for orderly in [true, false] {
        if orderly {
            site.daemon.as_mut().unwrap().stop().await;
        } else {
            site.kill_daemon();
        }
        fs::remove_dir_all(site.state().join("views")).unwrap();
        site.up().await;
        assert_same(&before, &settled(&site).await);
    }
}

#[tokio::test]
async fn views_that_were_damaged_come_back_the_same() {
    let Some(mut site) = a_site_with_content("views_that_were_damaged_come_back_the_same").await else { return };
    let before = settled(&site).await;
    let damages: [(&str, Damage); 4] = [
        ("cut", cut_in_half),
        ("overwritten", overwrite_the_middle),
        ("a bit flipped", flip_one_bit),
        ("empty", empty),
    ];
    for (what, damage) in damages {
        site.daemon.as_mut().unwrap().stop().await;
        let names: Vec<_> = files(&site.state().join("views"))
            .iter()
            .map(|file| file.strip_prefix(site.state().join("views")).unwrap().to_owned())
            .collect();
        site.up().await;
        for name in names {
            site.daemon.as_mut().unwrap().stop().await;
            let file = site.state().join("views").join(&name);
            // A snapshot may have got another name meanwhile.
            if !file.exists() {
                site.up().await;
                continue;
            }
            println!("{what}: {}", name.display());
            damage(&file);
            site.up().await;
            assert_same(&before, &settled(&site).await);
        }
    }
}

fn assert_same(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) {
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (path, answer) in before {
        assert_eq!(of_any_start(answer), of_any_start(&after[path]), "{path}");
    }
}

/// A list's answer without its last word, how long the log is: each start takes leases.
fn of_any_start(answer: &str) -> &str {
    match answer.rsplit_once(",\"sequence\":") {
        Some((told, length)) if length.trim_end_matches('}').bytes().all(|byte| byte.is_ascii_digit()) => told,
        Some(_) | None => answer,
    }
}
