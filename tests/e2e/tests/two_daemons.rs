//! Two daemons on one NATS server, both serving writes: what may be given once is given once, what only one does is done by
//! one, and whoever is killed or paused is stood in for.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use edgestack_e2e::{Api, Joined, PATIENCE, Site, edgestackd, eventually, run_edgectl::works};
use futures::future::join_all;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A holder counts as gone after 10 s of silence.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(30);

async fn start(test: &str) -> Option<(Site, Joined)> {
    let site = Site::start_simulated(test).await?;
    site.add_tiny().await;
    let joined = Joined::start(&site, "edge-2").await;
    Some((site, joined))
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("our own child");
}

async fn holder(api: &Api, lease: &str) -> Result<(String, u64), String> {
    let reply = api.look(&format!("leases/{lease}")).await.map_err(|error| error.to_string())?;
    let lease = reply.json();
    let node = lease["holder"]["node"].as_str().ok_or(reply.text)?;
    Ok((node.to_owned(), lease["epoch"].as_u64().expect("a number")))
}

async fn await_holder(api: &Api, lease: &str, node: &str, within: Duration) -> u64 {
    eventually(&format!("{node} holds {lease}"), within, async || match holder(api, lease).await? {
        (holder, epoch) if holder == node => Ok(epoch),
        other => Err(format!("{other:?}")),
    })
    .await
}

/// As [`Site::await_vm`], asked of either daemon.
async fn await_vm(api: &Api, name: &str, state: &str) -> Value {
    eventually(&format!("VM {name} is {state}"), PATIENCE, async || {
        let reply = api.look(&format!("vms/{name}")).await.map_err(|error| error.to_string())?;
        if reply.json()["state"] == state { Ok(reply.json()) } else { Err(reply.text) }
    })
    .await
}

fn a_vm(name: &str) -> Value {
    json!({"name": name, "image": "tiny", "flavor": "tiny"})
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_given_once_is_given_once_whichever_daemon_is_asked() {
    let test = "what_is_given_once_is_given_once_whichever_daemon_is_asked";
    // A real node, whose room has an end.
    let Some(site) = Site::start(test).await else { return };
    site.add_tiny().await;
    let joined = Joined::start(&site, "edge-2").await;
    let both = [site.api(), joined.api()];

    // The same names on both sides at once: each goes to one.
    let asked = (0..40).map(|number| async move {
        let (name, api) = (format!("f{}", number / 2), both[number % 2]);
        let flavor = json!({"name": name, "vcpus": 1, "memory_mib": 64, "disk_gib": 1});
        let reply = api.post("flavors", &flavor).await;
        (name, reply.status, reply.text)
    });
    let answers = join_all(asked).await;
    for number in 0..20 {
        let of_it: Vec<_> = answers.iter().filter(|(name, ..)| *name == format!("f{number}")).collect();
        let mut status: Vec<u16> = of_it.iter().map(|(_, status, _)| *status).collect();
        status.sort_unstable();
        assert_eq!(status, [201, 409], "{of_it:?}");
    }

    // More VMs than the node has room for.
    let node = both[0].get("nodes/n1").await;
    let all = node["allocatable"]["vcpus"].as_u64().unwrap();
    let room = 8;
    let large = json!({"name": "large", "vcpus": all / room, "memory_mib": 64, "disk_gib": 1});
    assert_eq!(both[0].post("flavors", &large).await.status, 201);
    join_all((0..20_usize).map(|number| async move {
        let vm = json!({"name": format!("v{number}"), "image": "tiny", "flavor": "large"});
        both[number % 2].post("vms", &vm).await.accepted()
    }))
    .await;
    let placed = eventually("the node is full", PATIENCE, async || {
        let vms = both[1].get("vms?limit=1000").await;
        let placed: Vec<Value> =
            vms["items"].as_array().unwrap().iter().filter(|vm| vm["state"] == "running").cloned().collect();
        if placed.len() as u64 == room { Ok(placed) } else { Err(format!("{} run", placed.len())) }
    })
    .await;
    let ports: BTreeSet<u64> = placed.iter().map(|vm| vm["ssh"]["port"].as_u64().unwrap_or_default()).collect();
    assert_eq!(ports.len(), placed.len(), "no SSH port twice: {ports:?}");
    let node = both[1].get("nodes/n1").await;
    assert_eq!(node["used"]["vcpus"].as_u64(), Some(room * (all / room)), "{node}");

    // A key is the site's, not the daemon's.
    let flavor = json!({"name": "once", "vcpus": 1, "memory_mib": 64, "disk_gib": 1});
    let send = async |api: &Api| {
        let request = api.request(reqwest::Method::POST, "flavors").header("Idempotency-Key", "k1").json(&flavor);
        api.send(request).await.unwrap()
    };
    let (first, second) = (send(both[0]).await, send(both[1]).await);
    assert_eq!((first.status, second.status), (201, 201), "{} {}", first.text, second.text);
    assert_eq!(first.json()["id"], second.json()["id"]);

    // What one has acknowledged, the other shows within a moment.
    let mut longest = Duration::ZERO;
    for number in 0..50 {
        let (to, from) = (both[number % 2], both[(number + 1) % 2]);
        let name = format!("g{number}");
        let flavor = json!({"name": name, "vcpus": 1, "memory_mib": 64, "disk_gib": 1});
        assert_eq!(to.post("flavors", &flavor).await.status, 201);
        let begun = std::time::Instant::now();
        eventually("the other daemon shows it", PATIENCE, async || {
            let reply = from.look(&format!("flavors/{name}")).await.map_err(|error| error.to_string())?;
            if reply.status == 200 { Ok(()) } else { Err(reply.text) }
        })
        .await;
        longest = longest.max(begun.elapsed());
    }
    println!("acknowledged by one daemon, shown by the other after {longest:?} at most");

    // Where there are no images, none can be sent to.
    let upload = json!({"name": "sent", "format": "raw", "source": {"type": "upload"}});
    both[1].post("images", &upload).await.accepted();
    let request = both[1].request(reqwest::Method::PUT, "images/sent/file").body("content");
    let reply = both[1].send(request).await.unwrap();
    assert_eq!((reply.status, &reply.json()["code"]), (421, &json!("misdirected")), "{}", reply.text);
}

/// Writers of one daemon at once.
const WRITERS: usize = 8;

/// Makes flavors, one after the other, until told to stop; those acknowledged, and how often the answer was 503.
async fn make_flavors(api: &Api, prefix: String, stop: &AtomicBool) -> (Vec<String>, usize) {
    let (mut made, mut unavailable) = (Vec::new(), 0);
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = format!("{prefix}-{number}");
        let flavor = json!({"name": name, "vcpus": 1, "memory_mib": 64, "disk_gib": 1});
        let reply = api.post("flavors", &flavor).await;
        match reply.status {
            201 => made.push(name),
            503 => unavailable += 1,
            _ => panic!("{name}: {} {}", reply.status, reply.text),
        }
    }
    (made, unavailable)
}

async fn handed_over(api: &Api) -> f64 {
    let metrics = api.look("/metrics").await.unwrap().text;
    let line = metrics.lines().find_map(|line| line.strip_prefix("edgestack_commands_handed_over_total "));
    line.map_or(0.0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn engines_that_meet_hand_over_to_one_of_them_and_go_on_without_it() {
    let test = "engines_that_meet_hand_over_to_one_of_them_and_go_on_without_it";
    let Some((site, joined)) = start(test).await else { return };
    await_holder(joined.api(), "scheduler", "n1", PATIENCE).await;
    let (stop_first, stop_second) = (AtomicBool::new(false), AtomicBool::new(false));
    let of = |api, side: &'static str, stop| {
        join_all((0..WRITERS).map(move |number| make_flavors(api, format!("{side}{number}"), stop)))
    };
    let (ended, first_ended) = tokio::sync::oneshot::channel();
    let first = async {
        let made = of(site.api(), "a", &stop_first).await;
        ended.send(()).unwrap();
        made
    };
    let play = async {
        eventually("the second daemon hands over", PATIENCE, async || match handed_over(joined.api()).await {
            count if count > 50.0 => Ok(()),
            count => Err(count.to_string()),
        })
        .await;
        assert_eq!(handed_over(site.api()).await, 0.0, "the holder of the lease carries out its own");
        stop_first.store(true, Ordering::Relaxed);
        first_ended.await.unwrap();
        signal(site.daemon.as_ref().unwrap().pid(), Signal::STOP);
        let before = joined.api().get("/edgetron/log/head").await["sequence"].as_u64().unwrap();
        // What was with the paused one is given up; all else is decided here.
        eventually("the second daemon goes on by itself", TAKEN_OVER_WITHIN, async || {
            let now = joined.api().get("/edgetron/log/head").await["sequence"].as_u64().unwrap();
            if now > before + 200 { Ok(()) } else { Err(format!("{before}, {now}")) }
        })
        .await;
        signal(site.daemon.as_ref().unwrap().pid(), Signal::CONT);
        stop_second.store(true, Ordering::Relaxed);
    };
    let (first, second, ()) = tokio::join!(first, of(joined.api(), "b", &stop_second), play);
    assert!(first.iter().all(|(made, unavailable)| !made.is_empty() && *unavailable == 0));
    let given_up: usize = second.iter().map(|(_, unavailable)| unavailable).sum();
    assert!(given_up <= 2 * WRITERS, "{given_up} were given up, each writer's one, and one more at most");
    let acknowledged: BTreeSet<&String> = first.iter().chain(&second).flat_map(|(made, _)| made).collect();
    for api in [site.api(), joined.api()] {
        // The one that has just woken up reads what it has missed.
        eventually("each daemon shows all that either has acknowledged", PATIENCE, async || {
            let (mut names, mut path) = (BTreeSet::new(), "flavors?limit=1000".to_owned());
            loop {
                let page = api.get(&path).await;
                let items = page["items"].as_array().unwrap().iter();
                names.extend(items.map(|one| one["name"].as_str().unwrap().to_owned()));
                let Some(next) = page["continue"].as_str() else { break };
                path = format!("flavors?limit=1000&continue={next}");
            }
            let missing: Vec<_> = acknowledged.iter().filter(|name| !names.contains(**name)).collect();
            if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
        })
        .await;
    }
    let verified = works(&site, &["verify-log"]);
    assert!(verified.contains("the log is whole"), "{verified}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_does_is_taken_over_when_it_is_killed_or_paused() {
    let test = "what_one_does_is_taken_over_when_it_is_killed_or_paused";
    let Some((mut site, mut joined)) = start(test).await else { return };
    for lease in ["scheduler", "overseer", "webhook"] {
        assert_eq!(await_holder(joined.api(), lease, "n1", PATIENCE).await, 1, "{lease}");
    }

    // Killed: the other takes over, sees that the node is gone, and takes commands all the while.
    site.kill_daemon();
    joined.api().post("vms", &a_vm("a")).await.accepted();
    for lease in ["scheduler", "overseer", "webhook"] {
        assert_eq!(await_holder(joined.api(), lease, "edge-2", TAKEN_OVER_WITHIN).await, 2, "{lease}");
    }
    eventually("the node counts as lost", TAKEN_OVER_WITHIN, async || {
        let node = joined.api().get("nodes/n1").await;
        if node["state"] == "not_ready" { Ok(()) } else { Err(node.to_string()) }
    })
    .await;
    site.up().await;
    await_vm(joined.api(), "a", "running").await;
    assert_eq!(holder(site.api(), "scheduler").await.unwrap(), ("edge-2".to_owned(), 2), "it stays where it is");

    // Paused: as if it were dead. When it wakes up, another has its work.
    signal(joined.daemon.pid(), Signal::STOP);
    site.api().post("vms", &a_vm("b")).await.accepted();
    let epoch = await_holder(site.api(), "scheduler", "n1", TAKEN_OVER_WITHIN).await;
    assert_eq!(epoch, 3);
    await_vm(site.api(), "b", "running").await;
    signal(joined.daemon.pid(), Signal::CONT);
    joined.api().post("vms", &a_vm("c")).await.accepted();
    await_vm(joined.api(), "c", "running").await;
    assert_eq!(holder(joined.api(), "scheduler").await.unwrap(), ("n1".to_owned(), 3));
    let taken = joined.api().get("leases/scheduler/events?limit=100").await;
    assert_eq!(taken["items"].as_array().unwrap().len(), 3, "{taken}");

    // Stopped in order: it gives back what it has, and the other has it at once.
    let mut daemon = site.daemon.take().unwrap();
    let stopped = std::time::Instant::now();
    signal(daemon.pid(), Signal::TERM);
    let lease = eventually("the lease was given back", PATIENCE, async || {
        let log = daemon.log();
        if log.contains("stopping; VMs go on") { Ok(()) } else { Err(log) }
    });
    lease.await;
    daemon.await_end(PATIENCE).await;
    println!("stopped in {:?}", stopped.elapsed());
    // Its nats-server went with it, so that only reads go on; both come back.
    assert_eq!(joined.api().get("vms/b").await["state"], "running");
    site.up().await;
    eventually("the other has taken over at once", PATIENCE, async || match holder(site.api(), "scheduler").await? {
        (_, epoch) if epoch >= 4 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    joined.daemon.kill();
    joined.up().await;
    joined.api().post("vms", &a_vm("d")).await.accepted();
    await_vm(joined.api(), "d", "running").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_left_the_live_log_is_in_the_archive_of_each() {
    let test = "what_has_left_the_live_log_is_in_the_archive_of_each";
    let Some((site, mut joined)) = start(test).await else { return };
    for number in 0..30 {
        let flavor = json!({"name": format!("f{number}"), "vcpus": 1, "memory_mib": 64, "disk_gib": 1});
        assert_eq!(site.api().post("flavors", &flavor).await.status, 201);
    }
    works(&site, &["archive", "--before", "20", "--reason", "the disk is small"]);
    let both = async |api: &Api, name: &str| {
        eventually("a command is taken", PATIENCE, async || {
            let flavor = json!({"name": name, "vcpus": 1, "memory_mib": 64, "disk_gib": 1});
            let reply = api.post("flavors", &flavor).await;
            if reply.status == 201 { Ok(()) } else { Err(reply.text) }
        })
        .await;
        let verified = api.get("flavors?at=15&limit=1000").await;
        assert!(!verified["items"].as_array().unwrap().is_empty(), "{verified}");
    };
    both(joined.api(), "a").await;
    both(site.api(), "b").await;
    joined.daemon.kill();
    joined.up().await;
    both(joined.api(), "c").await;
    assert!(!joined.daemon.log().contains("ALARM"), "{}", joined.daemon.log());

    // Who comes now has no archive, and is told where it is.
    let ticket = Joined::ticket(&site);
    let folder = site.folder().join("late");
    let arguments = ["--state-dir", &folder.to_string_lossy(), "--node", "late", "--listen", "127.0.0.1:0", "--join"];
    let output = std::process::Command::new(edgestackd()).args(arguments).arg(&ticket).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("copy the folder archive"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_joins_one_site_and_does_what_is_not_tied_to_a_node() {
    let test = "a_folder_joins_one_site_and_does_what_is_not_tied_to_a_node";
    let Some((site, _joined)) = start(test).await else { return };
    let ticket = Joined::ticket(&site);
    let ends_with = async |arguments: &[&str], says: &str| {
        let mut daemon = site.spawn(arguments, &[]);
        let status = daemon.await_end(PATIENCE).await;
        assert!(!status.success());
        assert!(daemon.log().contains(says), "{}", daemon.log());
    };
    let ticket = ticket.to_string_lossy();
    ends_with(&["--join", &ticket], "has a log of its own; give another --state-dir").await;
}
