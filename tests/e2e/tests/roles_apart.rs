//! Each role in a process of its own on the same NATS, and each killed in turn: the site works on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use edgestack_e2e::{Daemon, PATIENCE, Site, SiteOptions, eventually, processes};
use serde_json::json;

const ENGINE: &[&str] = &["--roles", "nats,engine"];
const API: &[&str] = &["--roles", "api"];
const WORKERS: &[&str] = &["--roles", "worker.vm,worker.storage,worker.monitoring,worker.webhook"];

struct Apart {
    site: Site,
    engine: Daemon,
    api: Daemon,
    workers: Daemon,
}

impl Apart {
    async fn start(test: &str) -> Option<Self> {
        let mut site = Site::prepare(test, SiteOptions::default())?;
        let engine = site.spawn(ENGINE, &[]);
        eventually("the engine's nats-server is there", PATIENCE, async || {
            let there = site.state().join("nats/credentials.json").exists() && site.nats_pid().is_some();
            there.then_some(()).ok_or_else(|| site.log())
        })
        .await;
        let api = start_api(&mut site).await;
        let workers = site.spawn(WORKERS, &[]);
        site.await_node().await;
        Some(Self { site, engine, api, workers })
    }

    /// The whole life of a VM.
    async fn work(&self, name: &str) {
        // What was killed may be missed a moment longer than it takes to see that; a client then asks again.
        eventually("a VM can be asked for", PATIENCE, async || {
            let reply = self.site.api().post("vms", &json!({"name": name, "image": "tiny", "flavor": "tiny"})).await;
            match reply.status {
                202 => Ok(()),
                503 if !reply.header("retry-after").is_empty() => Err(reply.text),
                _ => panic!("{} {}", reply.status, reply.text),
            }
        })
        .await;
        self.site.await_vm(name, "running").await;
        self.site.assert_one_qemu_a_disk();
        self.site.api().act(name, &json!({"action": "stop", "grace_seconds": 0})).await.accepted();
        self.site.await_vm(name, "stopped").await;
        self.site.api().delete(&format!("vms/{name}")).await.accepted();
        self.site.await_no_vm(name).await;
    }
}

/// Starts the API; as a supervisor would, again and again until what it needs is there.
async fn start_api(site: &mut Site) -> Daemon {
    let begun = std::time::Instant::now();
    loop {
        let mut api = site.spawn(API, &[]);
        match site.await_api(&mut api).await {
            Ok(()) => return api,
            Err(why) => assert!(begun.elapsed() < PATIENCE, "the API does not come up: {why}"),
        }
    }
}

#[tokio::test]
async fn a_site_of_three_processes_works_whichever_is_killed() {
    let Some(mut apart) = Apart::start("a_site_of_three_processes_works_whichever_is_killed").await else { return };
    apart.site.add_tiny().await;
    apart.site.create_tiny("stays").await;
    let stays = Site::pid_of(&apart.site.await_vm("stays", "running").await);
    apart.work("a").await;

    // Without workers, what is asked for waits and says for whom.
    apart.workers.kill();
    apart.site.create_tiny("b").await;
    let vm = apart.site.api().get("vms/b").await;
    assert!(vm["waiting"]["reason"].is_string(), "{vm}");
    apart.workers = apart.site.spawn(WORKERS, &[]);
    apart.site.await_vm("b", "running").await;

    // Without the engine reads go on, changes are turned away.
    apart.engine.kill();
    assert_eq!(apart.site.api().get("vms/b").await["state"], "running");
    let reply = apart.site.api().act("b", &json!({"action": "pause"})).await;
    assert_eq!(reply.status, 503, "{}", reply.text);
    assert!(!reply.header("retry-after").is_empty());
    apart.engine = apart.site.spawn(ENGINE, &[]);
    eventually("changes are taken again", PATIENCE, async || {
        let reply = apart.site.api().act("b", &json!({"action": "pause"})).await;
        if reply.status < 300 || reply.status == 409 { Ok(()) } else { Err(reply.text) }
    })
    .await;
    apart.site.await_vm("b", "paused").await;
    apart.work("c").await;

    // NATS itself.
    apart.site.kill_nats();
    apart.work("d").await;

    // The API.
    apart.api.kill();
    apart.api = start_api(&mut apart.site).await;
    apart.work("e").await;

    let vm = apart.site.await_vm("stays", "running").await;
    assert_eq!(Site::pid_of(&vm), stays, "it ran all the while");
    assert!(processes::is_running(stays));
    apart.site.assert_no_orphan().await;
}

#[tokio::test]
async fn a_second_worker_on_the_same_node_is_turned_away() {
    let Some(apart) = Apart::start("a_second_worker_on_the_same_node_is_turned_away").await else { return };
    let mut second = apart.site.spawn(WORKERS, &[]);
    let status = second.await_end(PATIENCE).await;
    assert!(!status.success());
    assert!(apart.site.log().contains("another edgestackd has the role worker.vm"), "{}", apart.site.log());
}

#[tokio::test]
async fn orphans_are_told_and_leftovers_swept_by_processes_apart() {
    let Some(mut apart) = Apart::start("orphans_are_told_and_leftovers_swept_by_processes_apart").await else { return };
    apart.site.add_tiny().await;
    let id = "0190d2b4-0000-7000-8000-000000000001";
    let state = apart.site.state();
    let (part, volume) = (state.join(format!("uploads/{id}.part")), state.join(format!("volumes/{id}.qcow2")));
    // One while all run, one while the API is away: the folder of uploads is the API's alone.
    std::fs::write(&part, "x").expect("written");
    std::fs::write(&volume, "x").expect("written");
    let told = async |event: &str, ending: &str| {
        eventually(&format!("{event} is told"), PATIENCE, async || {
            let events = apart.site.api().get("nodes/n1/events?limit=1000").await;
            let all = events["items"].as_array().expect("a list");
            let seen = all.iter().any(|one| one["type"] == event && one["data"].to_string().contains(ending));
            if seen { Ok(()) } else { Err(events.to_string()) }
        })
        .await;
    };
    told("NodeOrphanFound", ".qcow2").await;
    told("NodeLeftoverRemoved", ".part").await;
    assert!(!part.exists() && volume.exists());
    apart.api.kill();
    std::fs::write(&part, "x").expect("written");
    apart.api = start_api(&mut apart.site).await;
    let gone = eventually("the second one is swept", PATIENCE, async || {
        if part.exists() { Err("it is there".to_owned()) } else { Ok(()) }
    });
    gone.await;
    // VMs come and go meanwhile: never is one of them told.
    for name in ["a", "b"] {
        apart.work(name).await;
    }
    let node = apart.site.api().get("nodes/n1").await;
    assert_eq!(node["orphans"].as_array().map(Vec::len), Some(1), "{node}");
}
