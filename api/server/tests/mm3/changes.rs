use serde_json::{Value, json};

use crate::site::{BASE, Site, vm_of};

fn flavor(name: &str) -> Option<Value> {
    Some(json!({"name": name, "vcpus": 1, "memory_mib": 256, "disk_gib": 4}))
}

#[tokio::test]
async fn creating_answers_with_resource_location_tag_and_sequence() {
    let site = Site::new().await;
    let made = site.call("POST", "/flavors", flavor("small")).await.expect(201);
    assert_eq!(made.header("location"), format!("{BASE}/flavors/small"));
    let shown = made.json();
    assert_eq!(made.header("etag"), format!("\"g1.r{}\"", shown["revision"]));
    assert_eq!(made.header("edgestack-sequence"), shown["revision"].to_string());
    assert_eq!(shown, site.get("/flavors/small").await.json());
    site.call("POST", "/flavors", flavor("small")).await.expect_problem(409, "name-taken", Some("name"));
}

#[tokio::test]
async fn work_that_follows_is_accepted() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    let vm = json!({"name": "web", "image": "debian", "flavor": "small", "user_data": "#cloud-config\n"});
    let made = site.call("POST", "/vms", Some(vm)).await.expect(202);
    assert_eq!(made.header("location"), format!("{BASE}/vms/web"));
    assert_eq!(made.json()["user_data"], json!({"sealed": true, "length_bytes": 14}));
    site.play_workers();
    site.call("PATCH", "/vms/web", Some(json!({"labels": {"a": "b"}}))).await.expect(200);
    site.wait_for_state("/vms/web", "running").await;
    for (action, state) in
        [("pause", "paused"), ("unpause", "running"), ("restart", "running"), ("stop", "stopped"), ("start", "running")]
    {
        let reply = site.call("POST", "/vms/web/action", Some(json!({"action": action}))).await.expect(202);
        assert_eq!(reply.header("location"), "");
        site.wait_for_state("/vms/web", state).await;
    }
    site.call("POST", "/vms/web/action", Some(json!({"action": "start"}))).await.expect_problem(
        409,
        "wrong-state",
        None,
    );
    site.call("DELETE", "/flavors/small", None).await.expect_problem(409, "in-use", None);
    // Workers may be faster than the answer: 202 while it goes, 204 when it is gone.
    let removed = site.call("DELETE", "/vms/web", None).await;
    assert!(removed.status == 202 || removed.status == 204, "{}", removed.text());
    let deadline = std::time::Instant::now() + crate::site::DEADLINE;
    while vm_of(&site, "web").is_some() {
        assert!(std::time::Instant::now() < deadline, "the VM never went");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    site.get("/vms/web").await.expect_problem(404, "not-found", None);
    site.get("/volumes/web-root").await.expect(404);
    site.call("DELETE", "/vms/web", None).await.expect_problem(404, "not-found", None);
}

#[tokio::test]
async fn deleting_what_is_being_deleted_is_accepted_again() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.with_vm("web").await;
    let first = site.call("DELETE", "/vms/web", None).await.expect(202);
    let again = site.call("DELETE", "/vms/web", None).await.expect(202);
    assert_eq!(again.json()["state"], "deleting");
    assert_eq!(first.header("edgestack-sequence"), again.header("edgestack-sequence"));
    site.call("POST", "/vms/web/action", Some(json!({"action": "stop"}))).await.expect_problem(
        409,
        "wrong-state",
        None,
    );
}

#[tokio::test]
async fn what_goes_at_once_is_gone() {
    let site = Site::new().await;
    site.call("POST", "/flavors", flavor("small")).await.expect(201);
    let gone = site.call("DELETE", "/flavors/small", None).await.expect(204);
    assert!(gone.body.is_empty());
    assert!(!gone.header("edgestack-sequence").is_empty());
    site.get("/flavors/small").await.expect(404);
}

#[tokio::test]
async fn patch_and_put_change_what_is_named_and_null_clears() {
    let site = Site::new().await;
    site.call("POST", "/flavors", flavor("small")).await.expect(201);
    let labels = json!({"labels": {"a": "b"}, "description": "tiny"});
    site.call("PATCH", "/flavors/small", Some(labels)).await.expect(200);
    let merge = [("content-type", "application/merge-patch+json; charset=utf-8")];
    let reply =
        site.call_with("PATCH", "/flavors/small", &merge, Some(json!({"description": null}))).await.expect(200).json();
    assert_eq!((&reply["description"], &reply["labels"]), (&json!(""), &json!({"a": "b"})));
    let reply = site.call("PUT", "/flavors/small", Some(json!({"labels": null}))).await.expect(200);
    assert_eq!(reply.json()["labels"], json!({}));
    // Nothing to change is no commit.
    let before = site.state.replica.head().sequence;
    let same = site.call("PATCH", "/flavors/small", Some(json!({}))).await.expect(200);
    assert_eq!(same.header("edgestack-sequence"), before.to_string());
    assert_eq!(site.state.replica.head().sequence, before);
}

#[tokio::test]
async fn if_match_guards_against_lost_updates_but_not_against_reports() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.with_vm("web").await;
    let tag = site.get("/vms/web").await.header("etag").to_owned();
    site.play_workers();
    site.call("PATCH", "/nodes/edge-1", Some(json!({"description": "wakes the workers"}))).await.expect(200);
    site.wait_for_state("/vms/web", "running").await;
    assert_ne!(site.get("/vms/web").await.header("etag"), tag);
    // The revision moved by reports alone: the change goes through, and then no more.
    let change = |text: &str| Some(json!({"description": text}));
    site.call_with("PATCH", "/vms/web", &[("if-match", &tag)], change("a")).await.expect(200);
    for (method, path, body) in [
        ("PATCH", "/vms/web", change("b")),
        ("DELETE", "/vms/web", None),
        ("POST", "/vms/web/action", Some(json!({"action": "stop"}))),
    ] {
        site.call_with(method, path, &[("if-match", &tag)], body).await.expect_problem(
            412,
            "precondition-failed",
            Some("If-Match"),
        );
    }
    site.call_with("PATCH", "/vms/web", &[("if-match", "*")], change("c")).await.expect(200);
    site.call_with("PATCH", "/vms/web", &[("if-match", "nonsense")], change("d")).await.expect_problem(
        400,
        "invalid-header",
        Some("If-Match"),
    );
    site.call_with("POST", "/flavors", &[("if-match", &tag)], flavor("x")).await.expect_problem(
        400,
        "invalid-header",
        Some("If-Match"),
    );
}

#[tokio::test]
async fn an_idempotency_key_makes_a_request_take_effect_once() {
    let site = Site::new().await;
    let key = [("idempotency-key", "k-1")];
    let first = site.call_with("POST", "/flavors", &key, flavor("small")).await.expect(201);
    assert_eq!(first.header("idempotent-replayed"), "");
    site.call("PATCH", "/flavors/small", Some(json!({"description": "now"}))).await.expect(200);
    // The other spelling of the path is the same request.
    let again = site.call_with("POST", "//edgetron/resources/kubvirt/flavors", &key, flavor("small")).await.expect(201);
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.header("edgestack-sequence"), first.header("edgestack-sequence"));
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.json()["id"], first.json()["id"]);
    assert_eq!(again.json()["description"], "now");
    site.call_with("POST", "/flavors", &key, flavor("other")).await.expect_problem(
        422,
        "idempotency-key-reused",
        Some("Idempotency-Key"),
    );
    // Keys are each actor's own.
    let robot = [("idempotency-key", "k-1"), ("authorization", "Bearer another-token")];
    site.call_with("POST", "/flavors", &robot, flavor("robots")).await.expect(201);
}

#[tokio::test]
async fn a_repetition_after_the_end_says_so() {
    let site = Site::new().await;
    let (made, removed) = ([("idempotency-key", "a")], [("idempotency-key", "b")]);
    let first = site.call_with("POST", "/flavors", &made, flavor("small")).await.expect(201);
    site.call_with("DELETE", "/flavors/small", &removed, None).await.expect(204);
    let again = site.call_with("DELETE", "/flavors/small", &removed, None).await.expect(204);
    assert_eq!(again.header("idempotent-replayed"), "true");
    let gone = site.call_with("POST", "/flavors", &made, flavor("small")).await;
    let gone = gone.expect_problem(410, "gone-since", None);
    assert!(gone.text().contains(&format!("commit {}", first.header("edgestack-sequence"))));
    site.call_with("DELETE", "/flavors/small", &[("idempotency-key", "c")], None).await.expect(404);
}

#[tokio::test]
async fn a_dry_run_shows_what_would_be_and_changes_nothing() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.with_vm("web").await;
    let before = site.state.replica.head().sequence;
    let made = site.call("POST", "/flavors?dry_run=true", flavor("big")).await.expect(200);
    assert_eq!(made.json()["name"], "big");
    assert_eq!((made.header("location"), made.header("etag")), ("", ""));
    let vm = json!({"name": "db", "image": "debian", "flavor": "small"});
    let made = site.call("POST", "/vms?dry_run=true", Some(vm)).await.expect(200).json();
    assert_eq!((&made["node"], &made["state"]), (&json!("edge-1"), &json!("provisioning")));
    let changed = site.call("PATCH", "/vms/web?dry_run=true", Some(json!({"description": "x"}))).await;
    assert_eq!(changed.expect(200).json()["description"], "x");
    let stopped = site.call("POST", "/vms/web/action?dry_run=true", Some(json!({"action": "stop"}))).await;
    assert_eq!(stopped.expect(200).json()["target"], "stopped");
    let removed = site.call("DELETE", "/vms/web?dry_run=true", None).await.expect(200).json();
    assert_eq!(removed["state"], "deleting");
    site.call("POST", "/keypairs?dry_run=true", Some(json!({"name": "k"}))).await.expect(200);
    site.call("POST", "/flavors?dry_run=true", flavor("small")).await.expect_problem(409, "name-taken", Some("name"));
    site.call("POST", "/flavors?dry_run=perhaps", flavor("big")).await.expect_problem(
        400,
        "invalid-parameter",
        Some("dry_run"),
    );
    assert_eq!(site.state.replica.head().sequence, before);
    assert_eq!(site.get("/vms/web").await.json()["target"], "running");
    // A flavor that would be gone is shown as it is.
    let spare = site.call("POST", "/flavors", flavor("spare")).await.expect(201).json();
    let removed = site.call("DELETE", "/flavors/spare?dry_run=true", None).await.expect(200);
    assert_eq!(removed.json(), spare);
}

#[tokio::test]
async fn reason_trace_and_correlation_id_reach_the_history() {
    let site = Site::new().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("edgestack-reason", "für die Vorführung"), ("traceparent", trace)];
    let made = site.call_with("POST", "/flavors", &headers, flavor("small")).await.expect(201);
    let events = site.get("/flavors/small/events").await.json();
    let event = &events["items"][0];
    assert_eq!(event["reason"], "für die Vorführung");
    assert_eq!(event["correlation_id"], made.header("edgestack-correlation-id"));
    let stored = edgestack_log::Log::get(&site.log, 2).await.unwrap().unwrap();
    assert!(String::from_utf8_lossy(&stored.payload).contains(trace));
    let long = "x".repeat(1025);
    site.call_with("POST", "/flavors", &[("edgestack-reason", &long)], flavor("b")).await.expect_problem(
        400,
        "invalid-header",
        Some("EdgeStack-Reason"),
    );
    site.call_with("POST", "/flavors", &[("idempotency-key", "a b")], flavor("b")).await.expect_problem(
        400,
        "invalid-header",
        Some("Idempotency-Key"),
    );
}

#[tokio::test]
async fn nodes_are_cordoned_and_labelled_but_not_created() {
    let site = Site::new().await;
    let act = |action: &str| Some(json!({"action": action}));
    let node = site.call("POST", "/nodes/edge-1/action", act("cordon")).await.expect(200).json();
    assert_eq!(node["schedulable"], false);
    site.call("POST", "/nodes/edge-1/action", act("cordon")).await.expect(200);
    let node = site.call("POST", "/nodes/edge-1/action", act("uncordon")).await.expect(200).json();
    assert_eq!(node["schedulable"], true);
    site.call("POST", "/nodes/edge-1/action", act("drain")).await.expect_problem(422, "invalid-body", Some("action"));
    let labels = json!({"labels": {"disk": "ssd"}});
    site.call("PATCH", "/nodes/edge-1", Some(labels)).await.expect(200);
    for (method, path, allowed) in [
        ("POST", "/nodes", "GET,HEAD"),
        ("DELETE", "/nodes/edge-1", "GET,HEAD,PATCH,PUT"),
        ("POST", "/volumes", "GET,HEAD"),
    ] {
        let reply = site.call(method, path, Some(json!({}))).await;
        let reply = reply.expect_problem(405, "method-not-allowed", None);
        let mut methods: Vec<&str> = reply.header("allow").split(',').collect();
        methods.sort_unstable();
        assert_eq!(methods.join(","), allowed);
    }
}
