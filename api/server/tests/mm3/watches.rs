use serde_json::json;

use crate::site::Site;

fn pair(change: &str, name: &str) -> (String, String) {
    (change.to_owned(), name.to_owned())
}

async fn make(site: &Site, name: &str, team: &str) {
    let flavor = json!({"name": name, "vcpus": 1, "memory_mib": 64, "disk_gib": 1, "labels": {"team": team}});
    site.call("POST", "/flavors", Some(flavor)).await.expect(201);
}

async fn label(site: &Site, name: &str, team: &str) {
    let labels = json!({"labels": {"team": team}});
    site.call("PATCH", &format!("/flavors/{name}"), Some(labels)).await.expect(200);
}

#[tokio::test]
async fn a_watch_tells_what_is_there_and_then_every_change() {
    let site = Site::new().await;
    make(&site, "b", "x").await;
    make(&site, "a", "x").await;
    make(&site, "other", "y").await;
    let mut watch = site.stream("/flavors?watch=true&label=team=x", &[]).await;
    assert_eq!(watch.next_change().await, pair("ADDED", "a"));
    assert_eq!(watch.next_change().await, pair("ADDED", "b"));
    let (id, bookmark) = watch.next().await.unwrap();
    assert_eq!(bookmark["type"], "BOOKMARK");
    assert_eq!(id, site.state.replica.head().sequence.to_string());
    // Another kind's commits are not told; nor what does not match.
    site.call("POST", "/keypairs", Some(json!({"name": "k"}))).await.expect(201);
    label(&site, "other", "z").await;
    let update = site.call("PATCH", "/flavors/b", Some(json!({"description": "new"}))).await.expect(200);
    let (id, event) = watch.next().await.unwrap();
    assert_eq!((event["type"].as_str(), event["object"].clone()), (Some("MODIFIED"), update.json()));
    assert_eq!(id, update.header("edgestack-sequence"));
    label(&site, "other", "x").await;
    assert_eq!(watch.next_change().await, pair("ADDED", "other"));
    label(&site, "a", "y").await;
    assert_eq!(watch.next_change().await, pair("DELETED", "a"));
    site.call("DELETE", "/flavors/b", None).await.expect(204);
    assert_eq!(watch.next_change().await, pair("DELETED", "b"));
    site.shutdown.cancel();
    assert!(watch.next().await.is_none(), "streams end with the process");
}

#[tokio::test]
async fn a_vm_leaves_a_watch_on_a_state_when_its_state_changes() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.with_vm("web").await;
    let mut waiting = site.stream("/vms?watch=true&state=provisioning", &[]).await;
    let mut running = site.stream("/vms?watch=true&state=running", &[]).await;
    assert_eq!(waiting.next_change().await, pair("ADDED", "web"));
    assert_eq!(waiting.next_change().await, pair("BOOKMARK", ""));
    assert_eq!(running.next_change().await, pair("BOOKMARK", ""));
    site.play_workers();
    site.call("PATCH", "/nodes/edge-1", Some(json!({"description": "wakes the workers"}))).await.expect(200);
    assert_eq!(waiting.next_change().await, pair("DELETED", "web"));
    assert_eq!(running.next_change().await, pair("ADDED", "web"));
}

#[tokio::test]
async fn a_watch_at_the_present_sequence_goes_on_without_the_list() {
    let site = Site::new().await;
    make(&site, "a", "x").await;
    let now = site.state.replica.head().sequence.to_string();
    let mut resumed = site.stream("/flavors?watch=true", &[("last-event-id", &now)]).await;
    assert_eq!(resumed.next_change().await, pair("BOOKMARK", ""));
    label(&site, "a", "y").await;
    assert_eq!(resumed.next_change().await, pair("MODIFIED", "a"));
    let mut anew = site.stream("/flavors?watch=true", &[("last-event-id", &now)]).await;
    assert_eq!(anew.next_change().await, pair("ADDED", "a"));
    site.call_with("GET", "/flavors?watch=true", &[("last-event-id", "x")], None).await.expect_problem(
        400,
        "invalid-header",
        Some("Last-Event-ID"),
    );
}

#[tokio::test]
async fn a_slow_watcher_holds_up_nobody_and_is_made_whole_again() {
    let site = Site::new().await;
    make(&site, "gone", "x").await;
    make(&site, "stays", "x").await;
    let mut watch = site.stream("/flavors?watch=true", &[]).await;
    for _ in 0..3 {
        watch.next().await.unwrap();
    }
    // More commits than the feed holds, while the watcher does not read.
    site.call("DELETE", "/flavors/gone", None).await.expect(204);
    for at in 0..1100 {
        label(&site, "stays", &format!("t{at}")).await;
    }
    make(&site, "new", "x").await;
    let mut told = Vec::new();
    loop {
        let change = watch.next_change().await;
        if change.0 == "BOOKMARK" {
            break;
        }
        told.push(change);
    }
    assert_eq!(told, [pair("ADDED", "new"), pair("MODIFIED", "stays"), pair("DELETED", "gone")]);
}
