use edgestack_model::{
    Command,
    node::{NodeCommand, NodeReport, OrphansSeen},
    orphan::{Artifact, ArtifactKind},
};
use serde_json::json;
use uuid::Uuid;

use crate::site::{Site, request};

#[tokio::test]
async fn a_resource_is_found_by_name_and_by_id_with_its_tag() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    let by_name = site.get("/flavors/small").await.expect(200);
    let id = by_name.json()["id"].as_str().unwrap().to_owned();
    let by_id = site.get(&format!("/flavors/{id}")).await.expect(200);
    assert_eq!(by_name.json(), by_id.json());
    let shown = by_name.json();
    let tag = format!("\"g{}.r{}\"", shown["generation"], shown["revision"]);
    assert_eq!(by_name.header("etag"), tag);
    let unmodified =
        site.call_with("GET", "/flavors/small", &[("if-none-match", &format!("\"x\", {tag}"))], None).await.expect(304);
    assert!(unmodified.body.is_empty());
    assert_eq!(unmodified.header("etag"), tag);
    site.call_with("GET", "/flavors/small", &[("if-none-match", "\"g9.r9\"")], None).await.expect(200);
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    let reply = site.send(request("HEAD", "/flavors/small", &[])).await.expect(200);
    assert!(reply.body.is_empty());
    assert!(!reply.header("etag").is_empty());
    site.send(request("HEAD", "/flavors/none", &[])).await.expect(404);
}

#[tokio::test]
async fn a_vm_is_shown_with_its_neighbours_and_what_it_waits_for() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.with_vm("web").await;
    let vm = site.get("/vms/web").await.expect(200).json();
    assert_eq!(vm["state"], "provisioning");
    assert_eq!(vm["image"], "debian");
    assert_eq!(vm["flavor"], "small");
    assert_eq!(vm["node"], "edge-1");
    assert_eq!(vm["simulated"], true);
    assert_eq!(vm["boot_disk"]["volume"], "web-root");
    assert_eq!(vm["waiting"]["owner"], "worker.storage@edge-1");
    site.play_workers();
    site.with_vm("web-2").await;
    site.wait_for_state("/vms/web", "running").await;
    let vm = site.get("/vms/web").await.json();
    assert_eq!(vm["waiting"], serde_json::Value::Null);
    assert_eq!(vm["instance"]["pid"], 4242);
    // A page reads the same neighbours.
    let list = site.get("/vms?name=web").await.json();
    assert_eq!(list["items"][0], vm);
}

#[tokio::test]
async fn a_node_shows_what_is_on_it_and_not_in_the_log() {
    let site = Site::new().await;
    let node = site.get("/nodes/edge-1").await.expect(200).json();
    assert_eq!((&node["orphans"], &node["orphans_unlisted"]), (&json!([]), &json!(0)));
    let id = Uuid::from_u128(7);
    let orphan = Artifact { kind: ArtifactKind::VmProcess, id, place: "pid 4711".into() };
    let seen =
        OrphansSeen { looked_for: ArtifactKind::ALL.into(), found: [orphan].into(), unlisted: 3, records: [].into() };
    let report = NodeReport::Orphans { node: "edge-1".into(), seen: Box::new(seen) };
    site.submit(Command::Node(NodeCommand::Report(report))).await;
    let node = site.get("/nodes/edge-1").await.expect(200).json();
    let orphan = &node["orphans"][0];
    assert_eq!((&orphan["kind"], &orphan["place"]), (&json!("vm_process"), &json!("pid 4711")));
    assert_eq!(orphan["id"], id.to_string());
    assert!(orphan["since"].is_string() && orphan["advice"].as_str().unwrap().contains("end pid 4711"), "{orphan}");
    assert_eq!(node["orphans_unlisted"], 3);
    let events = site.get("/nodes/edge-1/events").await.expect(200).json();
    assert_eq!(events["items"][1]["type"], "NodeOrphanFound");
    assert!(events["items"][1]["message"].as_str().unwrap().contains("pid 4711"), "{events}");
}

#[tokio::test]
async fn a_node_shows_what_its_vms_take_and_is_never_stale() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    let before = site.get("/nodes/edge-1").await.expect(200);
    assert_eq!(before.json()["used"]["memory_mib"], 0);
    site.with_vm("web").await;
    let tag = before.header("etag").to_owned();
    let after = site.call_with("GET", "/nodes/edge-1", &[("if-none-match", &tag)], None).await.expect(200);
    assert_eq!(after.json()["used"]["memory_mib"], 256);
    assert_eq!(after.json()["vms"], 1);
}

#[tokio::test]
async fn guests_answer_or_say_why_not() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.with_vm("web").await;
    let log = site.get("/vms/web/logs").await.expect(200);
    assert_eq!(log.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(log.text(), "Linux version 6.1\nlogin: ");
    assert_eq!(site.get("/vms/web/logs?tail=7").await.text(), "login: ");
    site.get("/vms/web/logs?tail=x").await.expect_problem(400, "invalid-parameter", Some("tail"));
    // By the log it doesn't run, whatever a process that is just ending would say.
    site.get("/vms/web/guest_info").await.expect_problem(409, "vm-not-running", None);
    site.get("/vms/web/login_users").await.expect_problem(409, "vm-not-running", None);
    site.play_workers();
    site.wait_for_state("/vms/web", "running").await;
    site.get("/vms/web/guest_info").await.expect_problem(409, "vm-not-running", None);
    let silent = site.get("/vms/web/login_users").await;
    let silent = silent.expect_problem(409, "guest-agent-not-answering", None);
    assert_eq!(silent.header("retry-after"), "5");
    site.get("/vms/none/logs").await.expect_problem(404, "not-found", None);
}

#[tokio::test]
async fn reads_go_on_when_the_log_is_away_and_changes_say_when_to_come_back() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.log.inject(edgestack_log::memory::Fault::Unavailable { calls: 1_000_000 });
    let update = json!({"description": "x"});
    let reply = site.call("PATCH", "/flavors/small", Some(update)).await;
    let reply = reply.expect_problem(503, "log-unavailable", None);
    assert!(reply.header("retry-after").parse::<u64>().unwrap() >= 1);
    site.get("/flavors/small").await.expect(200);
}

#[tokio::test]
async fn readiness_tells_site_and_log_or_why_not() {
    let site = Site::new().await;
    let ready = site.get("//readyz").await.expect(200).json();
    assert_eq!(ready["site"], "test");
    assert_eq!(ready["log"]["backend"], "memory (simulated)");
    assert_eq!(ready["sequence"], site.state.replica.head().sequence);
    site.state.replica.fail(edgestack_engine::ReplicaError::Differs(3));
    let reply = site.get("//readyz").await.expect_problem(503, "not-ready", None);
    assert!(reply.text().contains("commit 3"));
    site.get("//healthz").await.expect(200);
    let damaged = site.call("PATCH", "/nodes/edge-1", Some(json!({"description": "x"}))).await;
    damaged.expect_problem(503, "log-damaged", None);
    site.get("/nodes/edge-1").await.expect(200);
}

#[tokio::test]
async fn readiness_asks_the_daemon_too() {
    let site = Site::with(|state| {
        state.readiness = std::sync::Arc::new(|| Err("nats-server is being restarted".to_owned()));
    })
    .await;
    let reply = site.get("//readyz").await.expect_problem(503, "not-ready", None);
    assert!(reply.text().contains("nats-server is being restarted"));
}

#[tokio::test]
async fn every_code_of_the_table_has_its_page() {
    let site = Site::new().await;
    for code in edgestack_server::codes::ALL {
        let page = site.get(&format!("//problems/{}", code.code)).await.expect(200).json();
        assert_eq!(page["status"], code.status);
    }
    site.get("//problems/none").await.expect_problem(404, "no-such-path", None);
}
