//! `kill -9` of nats-server: changes are turned away with 503, reads go on, it is restarted, and what was acknowledged
//! is there.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use edgestack_e2e::{Api, PATIENCE, Site, eventually, processes};
use serde_json::{Value, json};

fn a_flavor(name: &str) -> Value {
    json!({"name": name, "vcpus": 1, "memory_mib": 32, "disk_gib": 1})
}

#[tokio::test]
async fn without_nats_changes_get_503_and_reads_go_on() {
    let Some(site) = Site::start_simulated("without_nats_changes_get_503_and_reads_go_on").await else { return };
    let api = site.api();
    api.post("flavors", &a_flavor("before")).await.expect(201);
    let old = site.nats_pid().unwrap();
    site.take_nats_program_away();
    site.kill_nats();

    eventually("the site says that it takes no commands", PATIENCE, async || {
        let reply = api.look("/readyz").await.unwrap();
        if reply.status == 503 { Ok(()) } else { Err(reply.text) }
    })
    .await;
    for number in 0..3 {
        let begun = Instant::now();
        let reply = api.post("flavors", &a_flavor(&format!("meanwhile-{number}"))).await;
        assert_eq!(reply.status, 503, "{}", reply.text);
        assert!(reply.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds > 0), "{:?}", reply.headers);
        assert_eq!(reply.header("content-type"), "application/problem+json");
        assert!(begun.elapsed() < Duration::from_secs(15), "turned away after {:?}", begun.elapsed());
        assert_eq!(api.get("flavors/before").await["name"], "before");
        api.get("vms").await;
        assert_eq!(api.look("/healthz").await.unwrap().status, 200);
    }

    site.give_nats_program_back();
    site.await_ready().await;
    assert_ne!(site.nats_pid().unwrap(), old);
    assert_eq!(api.get("flavors/before").await["name"], "before");
    api.post("flavors", &a_flavor("after")).await.expect(201);
    // A 503 says that nothing changed, or that it is not known; either way each is there at most once, and can be made.
    for number in 0..3 {
        let reply = api.post("flavors", &a_flavor(&format!("meanwhile-{number}"))).await;
        assert!([201, 409].contains(&reply.status), "{}", reply.text);
    }
}

#[tokio::test]
async fn a_vm_asked_for_before_nats_was_killed_is_made() {
    let Some(site) = Site::start("a_vm_asked_for_before_nats_was_killed_is_made").await else { return };
    site.add_tiny().await;
    for round in 0..4 {
        let name = format!("a{round}");
        site.create_tiny(&name).await;
        site.kill_nats();
        site.await_vm(&name, "running").await;
        let types = site.api().event_types(&name).await;
        assert_eq!(types.iter().filter(|found| *found == "VmStarted").count(), 1, "{types:?}");
        site.assert_no_orphan().await;
    }
}

/// Makes flavors one after the other until told to stop; gives those that were acknowledged.
async fn create_until(api: Api, prefix: String, mut stop: tokio::sync::watch::Receiver<bool>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        if *stop.borrow_and_update() {
            break;
        }
        let name = format!("{prefix}-{number}");
        match api.try_post("flavors", &a_flavor(&name)).await {
            Ok(reply) if reply.status == 201 => acknowledged.push(name),
            Ok(reply) => {
                assert_eq!(reply.status, 503, "{}", reply.text);
                assert!(!reply.header("retry-after").is_empty(), "{:?}", reply.headers);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("the API itself must stay: {error}"),
        }
    }
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_command_is_lost_when_nats_is_killed() {
    let Some(mut site) = Site::start_simulated("no_acknowledged_command_is_lost_when_nats_is_killed").await else {
        return;
    };
    let rounds: u64 = std::env::var("EDGESTACK_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let mut acknowledged = BTreeSet::new();
    for round in 0..rounds {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let clients: Vec<_> = (0..4)
            .map(|client| tokio::spawn(create_until(site.api().clone(), format!("r{round}c{client}"), stopped.clone())))
            .collect();
        // Another moment in each round.
        tokio::time::sleep(Duration::from_millis(20 + round * 37 % 150)).await;
        let old = site.nats_pid().expect("a nats-server");
        processes::kill(old);
        eventually("nats-server is restarted", PATIENCE, async || {
            site.nats_pid().filter(|new| *new != old).ok_or_else(|| "none runs".to_owned())
        })
        .await;
        stop.send(true).unwrap();
        for client in clients {
            acknowledged.extend(client.await.expect("no panic"));
        }
        site.await_ready().await;
    }
    assert_all_there(&site, &acknowledged).await;

    // And so says the log itself, with every view gone.
    site.daemon.as_mut().unwrap().stop().await;
    std::fs::remove_dir_all(site.state().join("views")).unwrap();
    site.up().await;
    assert_all_there(&site, &acknowledged).await;
    println!("{rounds} rounds, {} acknowledged", acknowledged.len());
    assert!(acknowledged.len() as u64 >= rounds, "too few to mean anything: {}", acknowledged.len());
}

async fn assert_all_there(site: &Site, acknowledged: &BTreeSet<String>) {
    let mut there = BTreeSet::new();
    let mut path = "flavors?limit=1000".to_owned();
    loop {
        let page = site.api().get(&path).await;
        let items = page["items"].as_array().unwrap();
        there.extend(items.iter().map(|flavor| flavor["name"].as_str().unwrap().to_owned()));
        match page["continue"].as_str() {
            Some(token) => path = format!("flavors?limit=1000&continue={token}"),
            None => break,
        }
    }
    let lost: Vec<_> = acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}
