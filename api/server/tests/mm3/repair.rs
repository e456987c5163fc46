//! Force, a look again, and adoption: each with its reason, each in the history.

use edgestack_model::{
    Command,
    node::{NodeCommand, NodeReport, OrphansSeen},
    orphan::{Artifact, ArtifactKind, Record, VmRecord},
};
use serde_json::json;

use crate::site::Site;

const WHY: (&str, &str) = ("edgestack-reason", "the node burnt down");

async fn lose_the_node(site: &Site) {
    let report = NodeReport::Lost { node: "edge-1".into(), reason: "nothing was heard".into() };
    site.submit(Command::Node(NodeCommand::Report(report))).await;
}

#[tokio::test]
async fn a_repair_needs_a_reason_and_stays_in_the_history() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.with_vm("web").await;
    for (path, action) in [
        ("/vms/web/action", "force_remove"),
        ("/vms/web/action", "reconcile"),
        ("/volumes/web-root/action", "reconcile"),
        ("/nodes/edge-1/action", "reconcile"),
        ("/nodes/edge-1/action", "force_remove"),
    ] {
        let asked = site.call("POST", path, Some(json!({ "action": action }))).await;
        asked.expect_problem(409, "reason-required", Some("EdgeStack-Reason"));
    }
    let look = Some(json!({"action": "reconcile"}));
    site.call_with("POST", "/vms/web/action", &[WHY], look.clone()).await.expect(202);
    site.call_with("POST", "/nodes/edge-1/action", &[WHY], look.clone()).await.expect(202);
    site.call_with("POST", "/volumes/web-root/action", &[WHY], look).await.expect(202);
    let events = site.get("/vms/web/events").await.expect(200).json();
    let items = events["items"].as_array().unwrap();
    let asked = items.iter().find(|event| event["type"] == "VmReconcileRequested").unwrap();
    assert_eq!((&asked["reason"], &asked["actor"]["name"]), (&json!(WHY.1), &json!("admin")));
}

#[tokio::test]
async fn what_a_lost_node_had_is_forgotten_and_the_node_after_it() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.with_vm("web").await;
    let force = Some(json!({"action": "force_remove"}));
    let refused = site.call_with("POST", "/vms/web/action", &[WHY], force.clone()).await;
    refused.expect_problem(409, "force-not-needed", None);
    lose_the_node(&site).await;
    let node = site.call_with("POST", "/nodes/edge-1/action", &[WHY], force.clone()).await;
    node.expect_problem(409, "in-use", None);
    let tried = site.call_with("POST", "/vms/web/action?dry_run=true", &[WHY], force.clone()).await;
    assert_eq!(tried.expect(200).json()["name"], "web");
    site.call_with("POST", "/vms/web/action", &[WHY], force.clone()).await.expect(204);
    site.get("/vms/web").await.expect(404);
    site.get("/volumes/web-root").await.expect(404);
    site.call_with("POST", "/nodes/edge-1/action", &[WHY], force).await.expect(204);
    site.get("/nodes/edge-1").await.expect(404);
    let events = site.get("/vms/web/events").await.expect(200).json();
    let last = events["items"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["type"], &last["reason"]), (&json!("VmForceRemoved"), &json!(WHY.1)));
    assert!(last["message"].as_str().unwrap().contains("orphan"), "{last}");
}

#[tokio::test]
async fn an_orphan_is_adopted_as_what_it_was() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.with_vm("web").await;
    let (id, record) = {
        let world = site.state.replica.world();
        let vm = world.vm(&"web".into()).unwrap();
        (vm.id.uuid(), VmRecord::of(vm).unwrap())
    };
    lose_the_node(&site).await;
    let force = Some(json!({"action": "force_remove"}));
    site.call_with("POST", "/vms/web/action", &[WHY], force).await.expect(204);
    let of = |kind, id| Artifact { kind, id, place: format!("{kind}/{id}") };
    let seen = OrphansSeen {
        looked_for: ArtifactKind::ALL.into(),
        found: [of(ArtifactKind::VmFolder, id), of(ArtifactKind::Volume, record.root_volume.uuid())].into(),
        unlisted: 0,
        records: [(id, Record::Vm(Box::new(record)))].into(),
    };
    let report = NodeReport::Orphans { node: "edge-1".into(), seen: Box::new(seen) };
    site.submit(Command::Node(NodeCommand::Report(report))).await;
    let node = site.get("/nodes/edge-1").await.json();
    let orphan = node["orphans"].as_array().unwrap().iter().find(|one| one["kind"] == "vm_folder").unwrap().clone();
    assert!(orphan["record"].as_str().unwrap().contains("web"), "{orphan}");
    assert!(orphan["advice"].as_str().unwrap().contains(&format!("edgectl adopt {id}")), "{orphan}");

    let adopt = |more: serde_json::Value| {
        let mut body = json!({"action": "adopt", "id": id});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Some(body)
    };
    site.call("POST", "/nodes/edge-1/action", adopt(json!({}))).await.expect_problem(
        409,
        "reason-required",
        Some("EdgeStack-Reason"),
    );
    let bad = site.call_with("POST", "/nodes/edge-1/action", &[WHY], adopt(json!({"name": "no name"}))).await;
    bad.expect_problem(422, "invalid-value", Some("name"));
    let tried = site.call_with("POST", "/nodes/edge-1/action?dry_run=true", &[WHY], adopt(json!({}))).await;
    assert_eq!(tried.expect(200).json()["state"], "stopped");
    let adopted = site.call_with("POST", "/nodes/edge-1/action", &[WHY], adopt(json!({"name": "web-2"}))).await;
    let vm = adopted.expect(201);
    assert!(vm.header("location").ends_with("/vms/web-2"));
    assert_eq!((&vm.json()["id"], &vm.json()["state"]), (&json!(id.to_string()), &json!("stopped")));
    assert_eq!(site.get("/nodes/edge-1").await.json()["orphans"], json!([]));
    let again = site.call_with("POST", "/nodes/edge-1/action", &[WHY], adopt(json!({}))).await;
    again.expect_problem(409, "not-adoptable", None);
}
