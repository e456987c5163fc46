//! What would happen, through the binary.

// The lint's exception for tests does not reach their helpers.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod canned;

use canned::{Canned, json, problem};
use serde_json::{Value, json as value};

const ASK: &str = "POST /edgetron/what-if";

fn told() -> Value {
    value!({
        "simulated": true, "summary": "simulated: 1 of 2 steps taken, 1 refused", "from": {"sequence": 7},
        "steps": [
            {"step": {"method": "DELETE", "path": "/edgetron/resources/kubevirt/vms/a"}, "outcome": "taken", "status": 202,
             "first_sequence": 8, "simulated_seconds": 15.0, "settled": true},
            {"step": {"method": "DELETE", "path": "/edgetron/resources/kubevirt/vms/b"}, "outcome": "refused", "status": 404,
             "problem": {"type": "/problems/not-found", "title": "Not found", "status": 404, "code": "not-found",
                         "detail": "vm \"b\" does not exist"},
             "first_sequence": 9, "simulated_seconds": 0.0, "settled": true},
        ],
        "placements": [{"vm_id": "0197a5a0-0000-7000-8000-000000000001", "vm": "a", "from": "edge-1"}],
        "waiting": [], "events": [], "more_events": false,
        "difference": [{"kind": "vm", "id": "0197a5a0-0000-7000-8000-000000000001", "name": "a", "change": "removed",
                        "fields": [{"field": "state", "before": "running", "after": null}], "events": [], "more_events": false}],
        "more_difference": false, "simulated_seconds": 30.0, "complete": true, "notes": ["a note"],
    })
}

async fn answering() -> Canned {
    Canned::start(|asked, _| match asked.line().split('?').next().unwrap() {
        ASK => json(200, told().to_string()),
        other => panic!("{other}"),
    })
    .await
}

#[tokio::test]
async fn a_changing_command_is_recorded_and_tried_and_never_sent() {
    let server = answering().await;
    let ran = server
        .run(&["what-if", "--lose-node", "edge-1", "--drain-node", "edge-2", "remove-vm", "a", "b", "--reason", "x"])
        .await
        .expect(0);
    assert_eq!(server.lines(), [ASK]);
    assert_eq!(
        server.asked()[0].json(),
        value!({"steps": [
            {"drain_node": "edge-2"},
            {"lose_node": "edge-1"},
            {"method": "DELETE", "path": "/edgetron/resources/kubevirt/vms/a"},
            {"method": "DELETE", "path": "/edgetron/resources/kubevirt/vms/b"},
        ]})
    );
    assert_eq!(
        ran.out,
        "what if        simulated: 1 of 2 steps taken, 1 refused\n\
         from           commit 7\n\
         time passed    30 s, simulated\n\
         \n\
         Refused, or not tried\n\
         2. DELETE vms/b    vm \"b\" does not exist\n\
         \n\
         Places\n\
         VM  FROM    TO  WHY NONE\n\
         a   edge-1  -   -\n\
         \n\
         What would be different\n\
         - vm a removed\n    state  running\n"
    );
    assert_eq!(ran.err, "note: a note\n");
}

#[tokio::test]
async fn a_command_with_a_body_is_tried_at_a_moment_and_printed_as_it_asks() {
    let server = answering().await;
    let create = ["create-vm", "hello", "--image", "debian-12", "--flavor", "small", "-o", "json"];
    let ran = server.run(&[&["what-if", "--at", "10 minutes ago"][..], &create].concat()).await.expect(0);
    assert_eq!(server.lines(), [format!("{ASK}?at=10+minutes+ago")]);
    let step = &server.asked()[0].json()["steps"][0];
    assert_eq!((&step["method"], &step["body"]["name"]), (&value!("POST"), &value!("hello")));
    let printed: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(printed, told());
}

#[tokio::test]
async fn a_file_of_steps_and_manifests_is_tried() {
    let server = answering().await;
    let file = server.folder().join("plan.yaml");
    std::fs::write(&file, "- kind: flavor\n  name: small\n- crash_vm: web\n").unwrap();
    server.run(&["what-if", file.to_str().unwrap(), "--wait-seconds", "5", "-o", "name"]).await.expect(0);
    assert_eq!(
        server.asked()[0].json(),
        value!({"steps": [
            {"method": "POST", "path": "flavors", "body": {"name": "small"}}, {"crash_vm": "web"}, {"wait_seconds": 5},
        ]})
    );
}

#[tokio::test]
async fn wrong_usage_asks_nothing_and_a_refusal_is_a_failure() {
    let server = Canned::start(|_, _| problem(422, "invalid-value", "steps.0: must be one of")).await;
    server.run(&["what-if", "list-vms"]).await.expect(2);
    server.run(&["what-if", "create-vm", "hello"]).await.expect(2);
    assert!(server.lines().is_empty());
    let ran = server.run(&["what-if", "--crash-vm", "a"]).await.expect(1);
    assert!(ran.err.contains("steps.0: must be one of"), "{}", ran.err);
}

fn undo(ran: bool, problem: Option<&str>) -> Value {
    let mut command = value!({
        "sequence": 12, "object": "vm/web", "what": "start it", "method": "POST", "path": "vms/1/action",
        "body": {"action": "start"}, "edgectl": "edgectl start-vm 1",
    });
    if ran {
        command["status"] = value!(if problem.is_some() { 409 } else { 202 });
    }
    if let Some(detail) = problem {
        command["problem"] =
            value!({"type": "/problems/x", "title": "X", "status": 409, "code": "x", "detail": detail});
    }
    value!({
        "of": "commit 12",
        "commits": [{"sequence": 12, "time": "2026-11-26T03:04:05Z", "command": "stop-vm", "reason": "night",
                     "actor": {"name": "admin", "credential": "token:1", "from": "::1"}}],
        "commands": [command], "changed_since": [], "already": [],
        "cannot": [{"sequence": 12, "object": "vm/web", "why": "what ran in its guest was ended: it boots anew"}],
        "tag": "abc", "effect": if ran { Value::Null } else { told() }, "ran": ran,
    })
}

async fn undoing(problem: Option<&'static str>) -> Canned {
    Canned::start(move |asked, _| {
        assert_eq!(asked.line(), "POST /edgetron/undo");
        json(200, undo(asked.json()["dry_run"] == false, problem).to_string())
    })
    .await
}

#[tokio::test]
async fn undo_shows_what_it_would_do_and_runs_that_very_thing_when_told_so() {
    let server = undoing(None).await;
    let shown = server.run(&["undo", "12", "--dry-run"]).await.expect(0).out;
    for part in [
        "stop-vm by admin (\"night\")",
        "1. vm/web: start it\n     edgectl start-vm 1\n",
        "Cannot be undone\n  vm/web: what ran in its guest was ended",
        "What would be different, simulated\n- vm a removed",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // Nobody there to be asked: it is no guess.
    let ran = server.run(&["undo", "12"]).await.expect(2);
    assert!(ran.err.contains("--yes"), "{}", ran.err);
    assert!(server.asked().iter().all(|asked| asked.json()["dry_run"] == true));
    let ran = server.run(&["undo", "12", "--yes", "--reason", "a slip"]).await.expect(0);
    assert!(ran.out.ends_with("vm/web: start it: done\n"), "{}", ran.out);
    let last = server.asked().last().unwrap().json();
    assert_eq!(last, value!({"sequence": 12, "dry_run": false, "tag": "abc", "reason": "a slip"}));
    let raw = server.run(&["undo", "12", "--yes", "-o", "json"]).await.expect(0);
    assert_eq!(serde_json::from_str::<Value>(&raw.out).unwrap()["ran"], true);
}

#[tokio::test]
async fn an_undo_that_is_refused_is_a_failure_and_a_word_is_no_commit() {
    let server = undoing(Some("it is in use")).await;
    let ran = server.run(&["undo", "12", "--yes"]).await.expect(1);
    assert!(ran.err.contains("0 of 1 were taken") && ran.err.contains("it is in use"), "{}", ran.err);
    server.run(&["undo", "yesterday"]).await.expect(2);
    let id = "0197a5a0-0000-7000-8000-000000000001";
    server.run(&["undo", id, "--dry-run"]).await.expect(0);
    assert_eq!(server.asked().last().unwrap().json()["correlation"], id);
}

#[tokio::test]
async fn what_a_removal_takes_with_it_is_tried_as_well() {
    let server = answering().await;
    server.run(&["what-if", "remove-sg", "web", "--cascade"]).await.expect(0);
    let path = "/edgetron/resources/kubevirt/security_groups/web?cascade=true";
    assert_eq!(server.asked()[0].json(), value!({"steps": [{"method": "DELETE", "path": path}]}));
}
