use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use edgestack_log::Log;
use edgestack_server::fork::{ForkSeed, Forks, Play};
use serde_json::{Value, json};

use crate::site::{DEADLINE, Reply, Site, vm_of};

const PATH: &str = "//edgetron/what-if";

async fn ask(site: &Site, steps: Value) -> Value {
    reply(site, steps).await.expect(200).json()
}

async fn reply(site: &Site, steps: Value) -> Reply {
    site.call("POST", PATH, Some(json!({ "steps": steps }))).await
}

async fn with_running_vm(name: &str) -> Site {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.play_workers();
    site.with_vm(name).await;
    site.wait_for_state(&format!("/vms/{name}"), "running").await;
    site
}

fn create(name: &str) -> Value {
    json!({"method": "POST", "path": "vms", "body": {"name": name, "image": "debian", "flavor": "small"}})
}

fn types(answer: &Value) -> Vec<&str> {
    answer["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_vm_is_tried_placed_and_run_and_nothing_real_is_touched() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    let (log, world) = (site.log.head().await.unwrap(), site.state.replica.world().clone());
    let rows = site.state.views.rows().unwrap();
    let answer = ask(&site, json!([create("tried")])).await;
    assert_eq!(answer["simulated"], true);
    assert_eq!(answer["complete"], true, "{answer}");
    assert_eq!(answer["from"]["sequence"], log.last_sequence);
    assert_eq!((&answer["steps"][0]["outcome"], &answer["steps"][0]["status"]), (&json!("taken"), &json!(202)));
    assert_eq!(answer["placements"][0]["vm"], "tried");
    assert_eq!(answer["placements"][0]["to"], "edge-1");
    let types = types(&answer);
    for expected in ["VmCreated", "VmScheduled", "VolumeCreated", "VolumeBecameAvailable", "VmStarted"] {
        assert!(types.contains(&expected), "{expected} is not in {types:?}");
    }
    let started = answer["events"].as_array().unwrap().iter().find(|event| event["type"] == "VmStarted").unwrap();
    assert_eq!(started["data"]["instance"]["hypervisor"], "simulated");
    assert_eq!(answer["steps"][0]["first_sequence"], log.last_sequence + 1);
    let added = answer["difference"].as_array().unwrap().iter().find(|one| one["kind"] == "vm").unwrap();
    assert_eq!((&added["name"], &added["change"]), (&json!("tried"), &json!("added")));
    assert_eq!(answer["waiting"], json!([]));

    assert_eq!(site.log.head().await.unwrap(), log);
    assert_eq!(*site.state.replica.world(), world);
    assert_eq!(site.state.views.rows().unwrap(), rows);
    assert!(vm_of(&site, "tried").is_none());
}

#[tokio::test]
async fn a_site_at_rest_stays_at_rest_in_a_fork() {
    let site = with_running_vm("web").await;
    let answer = ask(&site, json!([{"wait_seconds": 3600}])).await;
    assert_eq!((&answer["events"], &answer["difference"]), (&json!([]), &json!([])), "{answer}");
    assert!(answer["simulated_seconds"].as_f64().unwrap() >= 3600.0);
}

#[tokio::test]
async fn what_would_be_refused_is_refused_with_the_same_words_and_the_next_step_is_tried() {
    let site = with_running_vm("web").await;
    let wrong = json!({"name": "tried", "image": "debian", "flavor": "huge"});
    let answer = ask(
        &site,
        json!([
            {"method": "POST", "path": "vms", "body": wrong},
            {"method": "post", "path": "/edgetron/resources/kubvirt/vms/web/action", "body": {"action": "stop"}},
            {"method": "DELETE", "path": "flavors/small"},
            {"method": "POST", "path": "nonsense", "body": {}},
            {"crash_vm": "web"},
            {"lose_node": "edge-9"},
        ]),
    )
    .await;
    let steps = &answer["steps"];
    let real = site.call("POST", "/vms", Some(wrong)).await.expect(409).json();
    for field in ["code", "detail", "field", "status", "type", "title"] {
        assert_eq!(steps[0]["problem"][field], real[field], "{field}");
    }
    assert_eq!(steps[1]["outcome"], "taken");
    for (step, code) in [(2, "in-use"), (3, "no-such-path"), (4, "wrong-state"), (5, "not-found")] {
        assert_eq!(steps[step]["outcome"], "refused", "{step}");
        assert_eq!(steps[step]["problem"]["code"], code, "{step}: {}", steps[step]);
    }
    assert!(answer["summary"].as_str().unwrap().contains("1 of 6 steps taken, 5 refused"), "{}", answer["summary"]);
    assert!(types(&answer).contains(&"VmStopped"));
    assert_eq!(site.get("/vms/web").await.json()["state"], "running");
    // What was refused in a fork was not refused on the site: only the real one is noted.
    let refused = site.get("//edgetron/log/history?outcome=refused").await.expect(200).json();
    assert_eq!(refused["items"].as_array().unwrap().len(), 1, "{refused}");
}

#[tokio::test]
async fn a_lost_node_is_seen_as_lost_its_vms_wait_and_it_comes_back() {
    let site = with_running_vm("web").await;
    let answer = ask(&site, json!([{"lose_node": "edge-1"}, create("next")])).await;
    assert!(types(&answer).contains(&"NodeBecameNotReady"), "{answer}");
    assert_eq!(answer["placements"][0]["vm"], "next");
    let why = answer["placements"][0]["why_none"].as_str().unwrap();
    assert!(why.contains("not ready"), "{why}");
    let waiting = answer["waiting"].as_array().unwrap();
    assert!(waiting.iter().any(|one| one["name"] == "next" && one["waited_before"] == false), "{answer}");
    assert!(answer["notes"].as_array().unwrap().iter().any(|note| note.as_str().unwrap().contains("power")));
    assert!(answer["notes"].to_string().contains("when it is back: web"), "{answer}");

    for steps in [
        json!([{"lose_node": "edge-1"}, {"return_node": "edge-1"}]),
        json!([{"lose_node": "edge-1"}, {"wait_seconds": 60}, {"return_node": "edge-1"}]),
    ] {
        let answer = ask(&site, steps).await;
        let types = types(&answer);
        for expected in ["NodeBecameNotReady", "NodeBecameReady", "VmStopped", "VmStarted"] {
            assert!(types.contains(&expected), "{expected} is not in {types:?}");
        }
        let stopped = answer["events"].as_array().unwrap().iter().find(|one| one["type"] == "VmStopped").unwrap();
        assert_eq!(stopped["data"]["how"], "host_restarted");
        assert_eq!(answer["waiting"], json!([]));
    }
    assert_eq!(site.get("/nodes/edge-1").await.json()["state"], "ready");
}

#[tokio::test]
async fn a_drained_node_takes_no_vm_its_own_stop_and_stay_there() {
    let site = with_running_vm("web").await;
    site.with_vm("db").await;
    site.wait_for_state("/vms/db", "running").await;
    site.call("POST", "/vms/db/action", Some(json!({"action": "stop"}))).await.expect(202);
    site.wait_for_state("/vms/db", "stopped").await;
    let answer = ask(&site, json!([{"drain_node": "edge-1"}, create("next")])).await;
    assert_eq!((&answer["steps"][0]["outcome"], &answer["steps"][0]["settled"]), (&json!("taken"), &json!(true)));
    let requested: Vec<_> =
        answer["events"].as_array().unwrap().iter().filter(|e| e["actor"]["name"] == "admin").collect();
    let requested: Vec<_> =
        requested.iter().map(|e| (e["type"].as_str().unwrap(), e["name"].as_str().unwrap())).collect();
    assert_eq!(requested[..2], [("NodeCordoned", "edge-1"), ("VmStopRequested", "web")], "one that is stopped is left");
    assert!(types(&answer).contains(&"VmStopped") && !types(&answer).contains(&"VmStarted"), "{answer}");
    let places = answer["placements"].as_array().unwrap();
    assert_eq!(places.len(), 1, "the others stay where they are: {answer}");
    assert!(places[0]["why_none"].as_str().unwrap().contains("cordoned"), "{answer}");
    let notes = answer["notes"].to_string();
    assert!(notes.contains("stays there until it is started again: web; root disks do not move"), "{notes}");
    // Its VMs can be started where they are, and a second time there is nothing to stop.
    let start = json!({"method": "POST", "path": "vms/web/action", "body": {"action": "start"}});
    let answer =
        ask(&site, json!([{"drain_node": "edge-1"}, {"drain_node": "edge-1"}, start, {"drain_node": "none"}])).await;
    let outcomes: Vec<_> = answer["steps"].as_array().unwrap().iter().map(|step| step["outcome"].clone()).collect();
    assert_eq!(outcomes, ["taken", "taken", "taken", "refused"], "{answer}");
    assert!(answer["notes"].to_string().contains("nothing is meant to run on edge-1"), "{answer}");
    assert!(types(&answer).contains(&"VmStarted"), "{answer}");
    assert_eq!(site.get("/vms/web").await.json()["state"], "running");
    assert_eq!(site.get("/nodes/edge-1").await.json()["schedulable"], true);
}

#[tokio::test]
async fn a_crashed_vm_is_started_again_as_its_strategy_says() {
    let site = with_running_vm("web").await;
    let answer = ask(&site, json!([{"crash_vm": "web"}])).await;
    let events = answer["events"].as_array().unwrap();
    let stopped = events.iter().find(|event| event["type"] == "VmStopped").unwrap();
    assert_eq!(stopped["data"]["how"], "crashed", "{stopped}");
    assert!(types(&answer).contains(&"VmStarted"));
}

#[tokio::test]
async fn a_cordoned_node_takes_no_new_vm_in_a_fork() {
    let site = with_running_vm("web").await;
    let cordon = json!({"method": "POST", "path": "nodes/edge-1/action", "body": {"action": "cordon"}});
    let answer = ask(&site, json!([cordon, create("next")])).await;
    let why = answer["placements"][0]["why_none"].as_str().unwrap();
    assert!(why.contains("cordoned"), "{why}");
    assert_eq!(site.get("/nodes/edge-1").await.json()["schedulable"], true);
}

#[tokio::test]
async fn a_fork_begins_at_any_moment() {
    let site = with_running_vm("web").await;
    let stop = json!([{"method": "POST", "path": "vms/web/action", "body": {"action": "stop"}}]);
    let path = format!("{PATH}?at=1");
    let past = site.call("POST", &path, Some(json!({"steps": stop}))).await.expect(200).json();
    assert_eq!(past["from"]["sequence"], 1);
    assert_eq!(past["steps"][0]["problem"]["code"], "not-found");
    let now = ask(&site, stop).await;
    assert_eq!(now["steps"][0]["outcome"], "taken");
    site.call("POST", &format!("{PATH}?at=99999"), Some(json!({"steps": []}))).await.expect_problem(
        400,
        "invalid-parameter",
        Some("at"),
    );
}

#[tokio::test]
async fn no_secret_of_a_step_is_told() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    let mut vm = create("tried");
    vm["body"]["user_data"] = json!("#cloud-config\npassword: swordfish\n");
    let keypair = json!({"method": "POST", "path": "keypairs", "body": {"name": "tried"}});
    let text = reply(&site, json!([keypair, vm])).await.expect(200).text();
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(answer["steps"][0]["status"], 201, "{text}");
    assert_eq!(answer["steps"][1]["status"], 202, "{text}");
    assert!(!text.contains("swordfish") && !text.contains("PRIVATE KEY"), "{text}");
}

#[tokio::test]
async fn what_cannot_be_tried_is_refused_before_anything_is() {
    let site = Site::new().await;
    for (steps, field) in [
        (json!([{"method": "GET", "path": "vms"}]), "steps.0.method"),
        (json!([create("a"), {}]), "steps.1"),
        (json!([{"wait_seconds": 80_000}, {"wait_seconds": 80_000}]), "steps"),
        (Value::Array(vec![create("a"); 101]), "steps"),
        (json!([{"method": "PUT", "path": "images/a/file"}]), "steps.0.path"),
    ] {
        reply(&site, steps).await.expect_problem(422, "invalid-value", Some(field));
    }
    reply(&site, json!([{"lose": "edge-1"}])).await.expect(422);
    site.call("POST", &format!("{PATH}?dry_run=true"), Some(json!({"steps": []}))).await.expect_problem(
        400,
        "invalid-parameter",
        Some("dry_run"),
    );
}

/// Keeps what it is to play.
#[derive(Default)]
struct Unplayed(Mutex<Vec<Play>>);

impl Forks for Unplayed {
    fn begin(&self, _seed: ForkSeed, play: Play) -> std::io::Result<()> {
        self.0.lock().unwrap().push(play);
        Ok(())
    }
}

#[tokio::test]
async fn a_third_fork_at_once_is_sent_away_and_one_that_breaks_off_says_so() {
    let forks = Arc::new(Unplayed::default());
    let given = forks.clone();
    let site = Arc::new(Site::with(|state| state.forks = given).await);
    let asking: Vec<_> = (0..2)
        .map(|_| {
            let site = site.clone();
            tokio::spawn(async move { reply(&site, json!([])).await })
        })
        .collect();
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while forks.0.lock().unwrap().len() < 2 {
        assert!(tokio::time::Instant::now() < deadline, "the forks never began");
        tokio::task::yield_now().await;
    }
    let away = reply(&site, json!([])).await.expect_problem(429, "too-many-requests", None);
    assert_eq!(away.header("retry-after"), "1");
    forks.0.lock().unwrap().clear();
    for asked in asking {
        asked.await.unwrap().expect_problem(500, "internal", None);
    }
}

/// Plays in real time, so that a fork takes long, and tells when a play has ended.
struct Slow(Arc<AtomicBool>);

impl Forks for Slow {
    fn begin(&self, seed: ForkSeed, play: Play) -> std::io::Result<()> {
        let ended = self.0.clone();
        edgestack_fork::SimulatedForks.begin(
            seed,
            Box::new(move |fork| {
                Box::pin(async move {
                    tokio::time::resume();
                    play(fork).await;
                    ended.store(true, Ordering::SeqCst);
                })
            }),
        )
    }
}

#[tokio::test]
async fn a_fork_ends_when_its_client_goes_away() {
    let ended = Arc::new(AtomicBool::new(false));
    let forks = Arc::new(Slow(ended.clone()));
    let site = Site::with(|state| state.forks = forks).await;
    let answered = tokio::time::timeout(Duration::from_millis(200), reply(&site, json!([]))).await;
    assert!(answered.is_err(), "it is not slow");
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    while !ended.load(Ordering::SeqCst) {
        assert!(tokio::time::Instant::now() < deadline, "it goes on for nobody");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
