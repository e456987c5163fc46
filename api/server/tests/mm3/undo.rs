use edgestack_log::Log;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::site::{Reply, Site, vm_of};

const PATH: &str = "//edgetron/undo";

/// Makes a change and gives its commit's sequence.
async fn change(site: &Site, method: &str, path: &str, body: Option<Value>) -> u64 {
    let reply = site.call(method, path, body).await;
    assert!(reply.status.is_success(), "{method} {path}: {}", reply.text());
    reply.header("edgestack-sequence").parse().unwrap_or_else(|_| site.state.replica.head().sequence)
}

async fn ask(site: &Site, body: Value) -> Reply {
    site.call("POST", PATH, Some(body)).await
}

async fn propose(site: &Site, sequence: u64) -> Value {
    ask(site, json!({"sequence": sequence, "dry_run": true})).await.expect(200).json()
}

/// Runs it; every command of it must be taken.
async fn run(site: &Site, sequence: u64) -> Value {
    let ran = ask(site, json!({"sequence": sequence})).await.expect(200).json();
    for command in ran["commands"].as_array().unwrap() {
        assert_eq!(command["problem"], Value::Null, "{command}");
        assert!(command["status"].as_u64().unwrap() < 300, "{command}");
    }
    ran
}

fn whats(answer: &Value) -> Vec<&str> {
    answer["commands"].as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap()).collect()
}

fn whys<'a>(answer: &'a Value, list: &str) -> Vec<&'a str> {
    answer[list].as_array().unwrap().iter().map(|one| one["why"].as_str().unwrap()).collect()
}

async fn with_flavor(labels: Value) -> Site {
    let site = Site::new().await;
    let flavor = json!({"name": "small", "vcpus": 1, "memory_mib": 256, "disk_gib": 4, "labels": labels});
    change(&site, "POST", "/flavors", Some(flavor)).await;
    site
}

async fn with_running_vm() -> Site {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.play_workers();
    site.with_vm("web").await;
    site.wait_for_state("/vms/web", "running").await;
    site
}

async fn act(site: &Site, action: Value) -> u64 {
    change(site, "POST", "/vms/web/action", Some(action)).await
}

#[tokio::test]
async fn a_change_is_proposed_tried_and_taken_back_once() {
    let site = with_flavor(json!({"tier": "front", "team": "core"})).await;
    let update = json!({"labels": {"tier": "back", "new": "1"}, "description": "moved"});
    let sequence = change(&site, "PATCH", "/flavors/small", Some(update)).await;
    let proposal = propose(&site, sequence).await;
    assert_eq!((&proposal["of"], &proposal["ran"]), (&json!(format!("commit {sequence}")), &json!(false)));
    assert_eq!(proposal["commits"][0]["command"], "update-flavor");
    assert_eq!(whats(&proposal), ["put back description, labels"]);
    let command = &proposal["commands"][0];
    assert_eq!(command["body"], json!({"description": "", "labels": {"tier": "front", "team": "core"}}));
    assert!(command["edgectl"].as_str().unwrap().starts_with("edgectl api PATCH flavors/"), "{command}");
    let effect = &proposal["effect"];
    assert_eq!((&effect["simulated"], &effect["steps"][0]["outcome"]), (&json!(true), &json!("taken")), "{effect}");
    assert_eq!(effect["difference"][0]["name"], "small");
    assert_eq!(site.log.head().await.unwrap().last_sequence, sequence, "a proposal changed something");

    let asked = json!({"sequence": sequence, "tag": proposal["tag"], "reason": "a slip"});
    let ran = ask(&site, asked.clone()).await.expect(200).json();
    assert_eq!((&ran["ran"], &ran["commands"][0]["status"]), (&json!(true), &json!(200)), "{ran}");
    let flavor = site.get("/flavors/small").await.json();
    assert_eq!(flavor["labels"], json!({"tier": "front", "team": "core"}));
    let events = site.get("/flavors/small/events").await.json();
    let last = events["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["reason"], format!("undo of commit {sequence}: a slip"));
    assert_eq!(last["actor"]["name"], "admin");

    // Asked again it finds all as it was, and the old proposal is not run a second time.
    let again = run(&site, sequence).await;
    assert_eq!((whats(&again), again["already"].as_array().unwrap().len()), (vec![], 1), "{again}");
    ask(&site, asked).await.expect_problem(412, "precondition-failed", Some("tag"));
    assert_eq!(site.log.head().await.unwrap().last_sequence, sequence + 1);

    // What undo did is a change like any other.
    let back = run(&site, sequence + 1).await;
    assert_eq!(whats(&back), ["put back description, labels"]);
    assert_eq!(site.get("/flavors/small").await.json()["labels"], json!({"tier": "back", "new": "1"}));
}

#[tokio::test]
async fn what_others_changed_since_is_left_as_it_is_and_said() {
    let site = with_flavor(json!({"a": "1", "b": "1"})).await;
    let update = json!({"labels": {"a": "2", "b": "2"}, "description": "first"});
    let sequence = change(&site, "PATCH", "/flavors/small", Some(update)).await;
    let since = json!({"labels": {"a": "3", "b": "2", "c": "1"}, "description": "second"});
    change(&site, "PATCH", "/flavors/small", Some(since)).await;
    let ran = run(&site, sequence).await;
    assert_eq!(whats(&ran), ["put back labels"]);
    let changed = whys(&ran, "changed_since").join(" ");
    assert!(changed.contains("description") && changed.contains("labels.a"), "{changed}");
    assert!(!changed.contains("labels.b"), "{changed}");
    let flavor = site.get("/flavors/small").await.json();
    assert_eq!(flavor["labels"], json!({"a": "3", "b": "1", "c": "1"}));
    assert_eq!(flavor["description"], "second");
}

#[tokio::test]
async fn what_was_made_goes_and_what_was_removed_is_made_again_with_another_id() {
    let site = with_flavor(json!({"tier": "front"})).await;
    let before = site.get("/flavors/small").await.json();
    let removed = change(&site, "DELETE", "/flavors/small", None).await;
    let ran = run(&site, removed).await;
    assert!(whys(&ran, "cannot").join(" ").contains("another id"), "{ran}");
    let after = site.get("/flavors/small").await.expect(200).json();
    for field in ["vcpus", "memory_mib", "disk_gib", "labels", "description"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert_ne!(after["id"], before["id"]);
    let again = run(&site, removed).await;
    assert!(whys(&again, "already").join(" ").contains("of this name"), "{again}");

    // Taken back, removed by hand, and taken back once more within the day: it is made again.
    change(&site, "DELETE", "/flavors/small", None).await;
    run(&site, removed).await;
    let third = site.get("/flavors/small").await.expect(200).json();
    assert_ne!(third["id"], after["id"]);

    let made = change(&site, "POST", "/keypairs", Some(json!({"name": "laptop"}))).await;
    let key = site.get("/keypairs/laptop").await.json()["public_key"].clone();
    run(&site, made).await;
    site.get("/keypairs/laptop").await.expect(404);
    let gone = site.state.replica.head().sequence;
    run(&site, gone).await;
    assert_eq!(site.get("/keypairs/laptop").await.expect(200).json()["public_key"], key);
}

#[tokio::test]
async fn a_removed_vm_comes_back_without_its_data_and_says_so_and_keeps_its_secret() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.play_workers();
    let secret = "#cloud-config\npassword: swordfish\n";
    let vm = json!({"name": "web", "image": "debian", "flavor": "small", "user_data": secret, "labels": {"a": "b"},
                    "boot_disk": {"size_gib": 9}});
    let created = change(&site, "POST", "/vms", Some(vm)).await;
    site.wait_for_state("/vms/web", "running").await;
    let first = vm_of(&site, "web").unwrap();
    let made = propose(&site, created).await;
    assert_eq!(whats(&made), ["remove it"]);
    assert!(whys(&made, "cannot").join(" ").contains("root disk"), "{made}");
    let removed = change(&site, "DELETE", "/vms/web", None).await;
    let deadline = tokio::time::Instant::now() + crate::site::DEADLINE;
    while vm_of(&site, "web").is_some() {
        assert!(tokio::time::Instant::now() < deadline, "it never went");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let reply = ask(&site, json!({"sequence": removed, "dry_run": true})).await.expect(200);
    assert!(!reply.text().contains("swordfish"), "{}", reply.text());
    let proposal = reply.json();
    assert_eq!(whats(&proposal), ["make one like it"]);
    let cannot = whys(&proposal, "cannot").join("; ");
    assert!(cannot.contains("data on its root disk is gone for good") && cannot.contains("sealed"), "{cannot}");
    assert!(proposal["effect"]["placements"][0]["to"] == "edge-1", "{proposal}");
    run(&site, removed).await;
    site.wait_for_state("/vms/web", "running").await;
    let second = vm_of(&site, "web").unwrap();
    assert_ne!(second.id, first.id);
    assert_eq!((&second.meta.labels, second.spec.shape), (&first.meta.labels, first.spec.shape));
    let opened = site.state.seal.open(second.spec.user_data.as_ref().unwrap()).unwrap();
    assert_eq!(opened, secret);
}

#[tokio::test]
async fn each_power_command_has_its_counterpart_or_says_that_there_is_none() {
    let site = with_running_vm().await;
    let paused = act(&site, json!({"action": "pause"})).await;
    site.wait_for_state("/vms/web", "paused").await;
    assert_eq!(whats(&run(&site, paused).await), ["unpause it"]);
    site.wait_for_state("/vms/web", "running").await;
    assert!(whys(&propose(&site, paused).await, "already").join(" ").contains("running, as before"));

    act(&site, json!({"action": "pause"})).await;
    site.wait_for_state("/vms/web", "paused").await;
    let unpaused = act(&site, json!({"action": "unpause"})).await;
    site.wait_for_state("/vms/web", "running").await;
    let proposal = propose(&site, unpaused).await;
    assert_eq!(whats(&proposal), ["pause it"]);
    assert!(whys(&proposal, "cannot").join(" ").contains("is done"));

    let restarted = act(&site, json!({"action": "restart"})).await;
    let proposal = propose(&site, restarted).await;
    assert_eq!((whats(&proposal), &proposal["effect"]), (vec![], &Value::Null));
    assert!(whys(&proposal, "cannot").join(" ").contains("rebooted"));
    site.wait_for_state("/vms/web", "running").await;

    let stopped = act(&site, json!({"action": "stop"})).await;
    site.wait_for_state("/vms/web", "stopped").await;
    let ran = run(&site, stopped).await;
    assert_eq!(whats(&ran), ["start it"]);
    assert!(whys(&ran, "cannot").join(" ").contains("boots anew"));
    site.wait_for_state("/vms/web", "running").await;
    act(&site, json!({"action": "stop"})).await;
    site.wait_for_state("/vms/web", "stopped").await;
    let started = act(&site, json!({"action": "start"})).await;
    site.wait_for_state("/vms/web", "running").await;
    assert_eq!(whats(&run(&site, started).await), ["stop it"]);
    site.wait_for_state("/vms/web", "stopped").await;
    // Paused was undone to running; now it is stopped by others.
    assert!(whys(&propose(&site, paused).await, "changed_since").join(" ").contains("stopped by now"));
}

#[tokio::test]
async fn a_halted_vm_that_was_started_is_stopped_and_halted_again() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.play_workers();
    let vm = json!({"name": "web", "image": "debian", "flavor": "small", "run_strategy": "halted"});
    change(&site, "POST", "/vms", Some(vm)).await;
    let started = act(&site, json!({"action": "start"})).await;
    site.wait_for_state("/vms/web", "running").await;
    assert_eq!(whats(&run(&site, started).await), ["stop it", "put back run_strategy"]);
    site.wait_for_state("/vms/web", "stopped").await;
    assert_eq!(site.get("/vms/web").await.json()["run_strategy"], "halted");
}

#[tokio::test]
async fn a_node_is_uncordoned_and_cordoned_again() {
    let site = with_running_vm().await;
    let cordon = |action: &str| Some(json!({ "action": action }));
    let cordoned = change(&site, "POST", "/nodes/edge-1/action", cordon("cordon")).await;
    assert_eq!(whats(&run(&site, cordoned).await), ["uncordon"]);
    assert_eq!(site.get("/nodes/edge-1").await.json()["schedulable"], true);
    let uncordoned = site.state.replica.head().sequence;
    assert_eq!(whats(&run(&site, uncordoned).await), ["cordon"]);
    assert_eq!(site.get("/nodes/edge-1").await.json()["schedulable"], false);
}

#[tokio::test]
async fn an_image_comes_back_from_its_file_and_its_update_is_put_back() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.play_workers();
    let update = json!({"visibility": "public", "min_memory_mib": 64});
    let updated = change(&site, "PATCH", "/images/debian", Some(update)).await;
    let ran = run(&site, updated).await;
    assert_eq!(ran["commands"][0]["body"], json!({"visibility": "private", "min_memory_mib": 0}));
    let removed = change(&site, "DELETE", "/images/debian", None).await;
    let deadline = tokio::time::Instant::now() + crate::site::DEADLINE;
    while !site.state.replica.world().images.is_empty() {
        assert!(tokio::time::Instant::now() < deadline, "it never went");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let ran = run(&site, removed).await;
    assert_eq!(whats(&ran), ["make it again from its file"]);
    site.wait_for_state("/images/debian", "active").await;
}

#[tokio::test]
async fn all_of_a_correlation_is_meant_but_nothing_that_nobody_asked_for() {
    let site = with_running_vm().await;
    let reply = site.call("PATCH", "/vms/web", Some(json!({"description": "x"}))).await.expect(200);
    let id = reply.header("edgestack-correlation-id").to_owned();
    let proposal = ask(&site, json!({"correlation": id, "dry_run": true})).await.expect(200).json();
    assert_eq!(
        (whats(&proposal), &proposal["of"]),
        (vec!["put back description"], &json!(format!("correlation {id}")))
    );

    // The VM's creation with all that its workers reported: one wish.
    let created = site.get("/vms/web/events").await.json()["items"][0].clone();
    let id = created["correlation_id"].clone();
    let proposal = ask(&site, json!({"correlation": id, "dry_run": true})).await.expect(200).json();
    assert_eq!(proposal["commits"].as_array().unwrap().len(), 1);
    assert_eq!(whats(&proposal), ["remove it"]);

    let events = site.get("/vms/web/events").await.json();
    let started =
        events["items"].as_array().unwrap().iter().find(|event| event["type"] == "VmStarted").unwrap().clone();
    let proposal = propose(&site, started["sequence"].as_u64().unwrap()).await;
    assert_eq!(whats(&proposal), Vec::<&str>::new());
    assert!(whys(&proposal, "cannot")[0].contains("nobody asked for"), "{proposal}");
}

#[tokio::test]
async fn a_refused_command_ends_the_run_and_is_noted() {
    let site = with_running_vm().await;
    // Its VM still needs the flavor.
    let made = 2;
    let ran = ask(&site, json!({"sequence": made})).await.expect(200).json();
    assert_eq!((&ran["ran"], &ran["commands"][0]["status"]), (&json!(true), &json!(409)), "{ran}");
    assert_eq!(ran["commands"][0]["problem"]["code"], "in-use");
    site.get("/flavors/small").await.expect(200);
    let refused = site.get("//edgetron/log/history?outcome=refused").await.expect(200).json();
    assert_eq!(refused["items"][0]["reason"], "undo of commit 2", "{refused}");
}

#[tokio::test]
async fn what_is_asked_wrongly_changes_nothing() {
    let site = with_flavor(json!({})).await;
    for (body, status, code, field) in [
        (json!({}), 422, "invalid-value", Some("sequence")),
        (json!({"sequence": 1, "correlation": Uuid::nil()}), 422, "invalid-value", Some("sequence")),
        (json!({"sequence": 0}), 404, "not-found", None),
        (json!({"sequence": 99}), 404, "not-found", None),
        (json!({"correlation": Uuid::nil()}), 404, "not-found", None),
        (json!({"sequence": 2, "tag": "another"}), 412, "precondition-failed", Some("tag")),
        (json!({"sequence": 2, "reason": "a".repeat(901)}), 422, "invalid-value", Some("reason")),
        (json!({"sequence": 2, "reason": "a\nb"}), 422, "invalid-value", Some("reason")),
    ] {
        ask(&site, body).await.expect_problem(status, code, field);
    }
    assert_eq!(site.log.head().await.unwrap().last_sequence, 2);
}
