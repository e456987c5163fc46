use serde_json::json;

use crate::site::Site;

#[tokio::test]
async fn a_history_is_paged_and_outlives_its_resource() {
    let site = Site::new().await;
    let flavor = json!({"name": "small", "vcpus": 1, "memory_mib": 256, "disk_gib": 4});
    let made = site.call("POST", "/flavors", Some(flavor)).await.expect(201).json();
    for text in ["a", "b", "c"] {
        site.call("PATCH", "/flavors/small", Some(json!({"description": text}))).await.expect(200);
    }
    site.call("DELETE", "/flavors/small", None).await.expect(204);
    let mut types = Vec::new();
    let mut path = "/flavors/small/events?limit=2".to_owned();
    loop {
        let page = site.get(&path).await.expect(200).json();
        for event in page["items"].as_array().unwrap() {
            types.push(event["type"].as_str().unwrap().to_owned());
        }
        match page["continue"].as_str() {
            Some(token) => path = format!("/flavors/small/events?limit=2&continue={token}"),
            None => break,
        }
    }
    let updates = ["FlavorUpdated"; 3];
    assert_eq!(types, [&["FlavorCreated"][..], &updates, &["FlavorDeleted"]].concat());
    let by_id = site.get(&format!("/flavors/{}/events", made["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(by_id.json()["items"].as_array().unwrap().len(), 5);
    // The id of another kind is not found here.
    site.get(&format!("/vms/{}/events", made["id"].as_str().unwrap())).await.expect(404);
    site.get("/flavors/never-was/events").await.expect_problem(404, "not-found", None);
}

#[tokio::test]
async fn a_vm_tells_its_disks_events_too() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.with_vm("web").await;
    let page = site.get("/vms/web/events").await.expect(200).json();
    let types: Vec<&str> =
        page["items"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["VmCreated", "VmScheduled", "VolumeCreated"]);
}

#[tokio::test]
async fn a_followed_history_goes_on_and_resumes_at_the_last_event() {
    let site = Site::new().await;
    let flavor = json!({"name": "small", "vcpus": 1, "memory_mib": 256, "disk_gib": 4});
    site.call("POST", "/flavors", Some(flavor)).await.expect(201);
    let mut stream = site.stream("/flavors/small/events?follow=true", &[]).await;
    let (first_id, first) = stream.next().await.unwrap();
    assert_eq!(first["type"], "FlavorCreated");
    assert_eq!(first_id, format!("{}.0", first["sequence"]));
    site.call("PATCH", "/flavors/small", Some(json!({"description": "a"}))).await.expect(200);
    let (_, second) = stream.next().await.unwrap();
    assert_eq!(second["type"], "FlavorUpdated");
    let mut resumed = site.stream("/flavors/small/events?follow=true", &[("last-event-id", &first_id)]).await;
    assert_eq!(resumed.next().await.unwrap().1, second);
    site.shutdown.cancel();
    assert!(resumed.next().await.is_none(), "streams end with the process");
    assert!(stream.next().await.is_none());
    site.call_with("GET", "/flavors/small/events?follow=true", &[("last-event-id", "x")], None).await.expect_problem(
        400,
        "invalid-header",
        Some("Last-Event-ID"),
    );
}
