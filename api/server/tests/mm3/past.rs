//! `?at=`: every read shows what it showed then.

use chrono::{SecondsFormat, Utc};
use edgestack_log::Log;
use serde_json::{Value, json};

use crate::site::Site;

/// What reads are compared; of each kind a list and one.
const READS: [&str; 11] = [
    "/vms",
    "/vms/web",
    "/vms/web/manifest",
    "/vms/web/events",
    "/flavors",
    "/flavors/small",
    "/images",
    "/images/debian",
    "/keypairs",
    "/nodes/edge-1",
    "/volumes",
];

/// The log's end and the answer to each read there.
async fn seen(site: &Site) -> (u64, Vec<(u16, Value)>) {
    let mut answers = Vec::new();
    let sequence = site.log.head().await.unwrap().last_sequence;
    for path in READS {
        let reply = site.call_with("GET", path, &[("accept", "application/json")], None).await;
        let body = if reply.status == 200 { reply.json() } else { Value::Null };
        answers.push((reply.status.as_u16(), body));
    }
    assert_eq!(site.log.head().await.unwrap().last_sequence, sequence, "the site stood still");
    (sequence, answers)
}

#[tokio::test]
async fn whatever_was_shown_once_is_shown_again() {
    let site = Site::new().await;
    let mut all = vec![seen(&site).await];
    site.with_flavor_and_image().await;
    all.push(seen(&site).await);
    site.with_vm("web").await;
    all.push(seen(&site).await);
    site.with_vm("db").await;
    site.call("PATCH", "/vms/web", Some(json!({"labels": {"tier": "front"}}))).await.expect(200);
    all.push(seen(&site).await);
    site.call("POST", "/nodes/edge-1/cordon", None).await;
    site.call("POST", "/flavors", Some(json!({"name": "tiny", "vcpus": 1, "memory_mib": 64, "disk_gib": 1}))).await;
    all.push(seen(&site).await);
    site.call("DELETE", "/flavors/tiny", None).await.expect(204);
    all.push(seen(&site).await);
    // Much happens after, and the names come to others.
    site.play_workers();
    site.wait_for_state("/vms/web", "running").await;
    site.call("DELETE", "/vms/web", None).await;
    let deadline = tokio::time::Instant::now() + crate::site::DEADLINE;
    while site.get("/vms/web").await.status != 404 {
        assert!(tokio::time::Instant::now() < deadline, "it goes");
        tokio::task::yield_now().await;
    }
    // Its name is nobody's, and then another's: its history stays its own.
    all.push(seen(&site).await);
    let gone = site.get("//edgetron/log/explain/vm/web").await.expect(200).json();
    site.with_vm("web").await;
    site.wait_for_state("/vms/web", "running").await;
    let between = all.last().unwrap().0;
    let then = site.get(&format!("//edgetron/log/explain/vm/web?at={between}")).await.expect(200).json();
    assert_eq!(then, gone);
    assert_eq!(then["exists"], false);
    let diff = site.get(&format!("//edgetron/log/diff?from={}&object=vm/web", all[2].0)).await.expect(200).json();
    let changes: Vec<_> = diff["items"].as_array().unwrap().iter().map(|item| item["change"].clone()).collect();
    assert_eq!(changes.len(), 2, "one went and another came: {diff}");
    assert!(changes.contains(&json!("removed")) && changes.contains(&json!("added")), "{diff}");
    assert_eq!(all.iter().map(|(sequence, _)| *sequence).collect::<std::collections::BTreeSet<_>>().len(), all.len());
    for (sequence, answers) in &all {
        for (path, (status, body)) in READS.iter().zip(answers) {
            let path = format!("{path}?at={sequence}");
            let reply = site.call_with("GET", &path, &[("accept", "application/json")], None).await;
            if *status != 200 {
                reply.expect_problem(404, "not-found", None);
                continue;
            }
            let reply = reply.expect(200);
            assert_eq!(&reply.json(), body, "{path}");
            assert_eq!(reply.header("edgestack-sequence"), sequence.to_string(), "{path}");
            assert!(reply.header("edgestack-time").ends_with('Z'), "{path}");
        }
    }
}

#[tokio::test]
async fn a_moment_can_be_a_time_and_pages_go_on_in_it() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    let before = site.get("/flavors").await.json();
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let time = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
    for name in ["a", "b", "c"] {
        let flavor = json!({"name": name, "vcpus": 1, "memory_mib": 64, "disk_gib": 1});
        site.call("POST", "/flavors", Some(flavor)).await.expect(201);
    }
    let then = site.get(&format!("/flavors?at={time}")).await.expect(200).json();
    assert_eq!(then["items"], before["items"]);
    // Before the site's first commit there was nothing.
    let early = site.get("/flavors?at=1%20hour%20ago").await.expect(200);
    assert_eq!(early.json(), json!({"items": [], "sequence": 0}));
    site.get("/flavors/small?at=1+hour+ago").await.expect_problem(404, "not-found", None);
    // Pages of one moment, though the site goes on.
    let sequence = site.log.head().await.unwrap().last_sequence;
    let first = site.get(&format!("/flavors?at={sequence}&limit=2")).await.expect(200).json();
    site.call("DELETE", "/flavors/c", None).await.expect(204);
    let token = first["continue"].as_str().unwrap();
    let second = site.get(&format!("/flavors?at={sequence}&limit=2&continue={token}")).await.expect(200).json();
    let names: Vec<_> =
        [&first, &second].iter().flat_map(|page| page["items"].as_array().unwrap()).map(|f| &f["name"]).collect();
    assert_eq!(names, ["a", "b", "c", "small"]);
    assert_eq!(site.get(&format!("/flavors?at={sequence}&name=c")).await.json()["items"][0]["name"], "c");
}

#[tokio::test]
async fn a_moment_that_makes_no_sense_is_refused() {
    let site = Site::new().await;
    let last = site.log.head().await.unwrap().last_sequence;
    for at in ["", "x", "-1", &(last + 1).to_string(), "2999-01-01T00:00:00Z", "2026-11-25", "10+minutes"] {
        for path in ["/flavors", "/nodes/edge-1", "/nodes/edge-1/events"] {
            let reply = site.get(&format!("{path}?at={at}")).await;
            reply.expect_problem(400, "invalid-parameter", Some("at"));
        }
    }
    site.get("/flavors?at=1&watch=true").await.expect_problem(400, "invalid-parameter", Some("watch"));
    site.get("/nodes/edge-1/events?at=1&follow=true").await.expect_problem(400, "invalid-parameter", Some("follow"));
    // What only a living guest can tell.
    site.get("/vms/web/guest_info?at=1").await.expect_problem(400, "invalid-parameter", Some("at"));
}

#[tokio::test]
async fn a_damaged_log_is_no_past() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    let last = site.log.head().await.unwrap().last_sequence;
    assert!(site.log.flip_bit(2, 300));
    site.get(&format!("/flavors?at={last}")).await.expect_problem(503, "past-unavailable", None);
    site.get("/flavors").await.expect(200);
}

#[tokio::test]
async fn a_diff_tells_each_field_with_who_and_why() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.with_vm("web").await;
    let from = site.log.head().await.unwrap().last_sequence;
    let change = json!({"description": "front", "labels": {"tier": "front"}});
    site.call_with("PATCH", "/vms/web", &[("edgestack-reason", "a release")], Some(change)).await.expect(200);
    let between = site.log.head().await.unwrap().last_sequence;
    site.call("POST", "/flavors", Some(json!({"name": "tiny", "vcpus": 1, "memory_mib": 64, "disk_gib": 1})))
        .await
        .expect(201);
    site.call("DELETE", "/flavors/small", None).await;
    let to = site.log.head().await.unwrap().last_sequence;

    let all = site.get(&format!("//edgetron/log/diff?from={from}")).await.expect(200).json();
    assert_eq!((&all["from"]["sequence"], &all["to"]["sequence"]), (&json!(from), &json!(to)));
    let told: Vec<_> =
        all["items"].as_array().unwrap().iter().map(|item| (&item["kind"], &item["name"], &item["change"])).collect();
    assert!(told.contains(&(&json!("flavor"), &json!("tiny"), &json!("added"))), "{told:?}");
    let web = site.get(&format!("//edgetron/log/diff?from={from}&object=vm/web")).await.expect(200).json();
    let fields = &web["items"][0]["fields"];
    assert_eq!(
        fields,
        &json!([
            {"field": "description", "before": "", "after": "front"},
            {"field": "labels.tier", "before": null, "after": "front"},
        ])
    );
    let event = &web["items"][0]["events"][0];
    assert_eq!(
        (&event["actor"]["name"], &event["reason"], &event["sequence"]),
        (&json!("admin"), &json!("a release"), &json!(between))
    );
    // The other way round, the same fields and nobody's doing.
    let back = site.get(&format!("//edgetron/log/diff?from={to}&to={from}&object=vm/web")).await.expect(200).json();
    assert_eq!(back["items"][0]["fields"][1], json!({"field": "labels.tier", "before": "front", "after": null}));
    assert_eq!(back["items"][0]["events"], json!([]));
    // Nothing between a moment and itself; all of it from the beginning; page by page the same.
    let none = site.get(&format!("//edgetron/log/diff?from={to}&to={to}")).await.expect(200).json();
    assert_eq!(none["items"], json!([]));
    let whole = site.get("//edgetron/log/diff").await.expect(200).json();
    assert!(whole["items"].as_array().unwrap().iter().all(|item| item["change"] == "added"));
    let (mut paged, mut token) = (vec![], String::new());
    loop {
        let page = site.get(&format!("//edgetron/log/diff?to={to}&limit=1{token}")).await.expect(200).json();
        paged.extend(page["items"].as_array().unwrap().clone());
        match page["continue"].as_str() {
            Some(next) => token = format!("&continue={next}"),
            None => break,
        }
    }
    assert_eq!(Value::Array(paged), whole["items"]);
    let of_images = site.get("//edgetron/log/diff?kind=image").await.expect(200).json();
    let kinds = |found: &Value| -> Vec<String> {
        found["items"].as_array().unwrap().iter().map(|item| item["kind"].to_string()).collect()
    };
    assert_eq!(kinds(&of_images), [r#""image""#], "{of_images}");
    for (query, field) in [
        ("from=x", "from"),
        ("to=99999", "to"),
        ("object=web", "object"),
        ("kind=vm/web", "kind"),
        ("limit=0", "limit"),
        ("x=1", "x"),
    ] {
        site.get(&format!("//edgetron/log/diff?{query}")).await.expect_problem(400, "invalid-parameter", Some(field));
    }
    site.get("//edgetron/log/diff?object=vm/none").await.expect_problem(404, "not-found", None);
}

#[tokio::test]
async fn an_explanation_tells_the_wish_what_followed_and_whose_turn_it_is() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    let path = |object: &str| format!("//edgetron/log/explain/{object}");
    site.call_with(
        "POST",
        "/vms",
        &[("edgestack-reason", "for the demo")],
        Some(json!({"name": "web", "image": "debian", "flavor": "small"})),
    )
    .await
    .expect(202);
    let then = site.log.head().await.unwrap().last_sequence;
    let told = site.get(&path("vm/web")).await.expect(200).json();
    assert_eq!((&told["exists"], &told["state"]), (&json!(true), &json!("provisioning")), "{told}");
    assert_eq!(told["name"], "web", "not its disk's, whose event is the last one");
    assert_eq!(told["waiting"]["owner"], "worker.storage@edge-1");
    let summary = told["summary"].as_str().unwrap();
    for part in ["admin asked for create-vm", "for the demo", "it waits for worker.storage@edge-1"] {
        assert!(summary.contains(part), "{part}: {summary}");
    }
    site.play_workers();
    site.wait_for_state("/vms/web", "running").await;
    let told = site.get(&path("vms/web")).await.expect(200).json();
    let types: Vec<_> = told["events"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!(&types[..3], ["VmCreated", "VmScheduled", "VolumeCreated"], "the whole wish comes first");
    assert!(types.contains(&"VmStarted"), "{types:?}");
    assert_eq!((&told["waiting"], &told["more_events"]), (&Value::Null, &json!(false)));
    // New labels are told and hide nothing; a later wish is where the next explanation begins.
    site.call("PATCH", "/vms/web", Some(json!({"labels": {"a": "b"}}))).await.expect(200);
    let told = site.get(&path("vm/web")).await.json();
    let types: Vec<_> = told["events"].as_array().unwrap().iter().map(|e| e["type"].as_str().unwrap()).collect();
    assert_eq!((types[0], types[types.len() - 1]), ("VmCreated", "VmUpdated"), "{types:?}");
    assert!(told["summary"].as_str().unwrap().contains("admin asked for create-vm"), "{told}");
    site.call("PATCH", "/vms/web", Some(json!({"run_strategy": "manual"}))).await.expect(200);
    let told = site.get(&path("vm/web")).await.json();
    assert_eq!(told["events"][0]["type"], "VmUpdated", "{told}");
    assert_eq!(told["events"].as_array().unwrap().len(), 1, "{told}");
    // One that is gone, and one that never was.
    site.call("DELETE", "/vms/web", None).await;
    let deadline = tokio::time::Instant::now() + crate::site::DEADLINE;
    while site.get("/vms/web").await.status != 404 {
        assert!(tokio::time::Instant::now() < deadline, "it goes");
        tokio::task::yield_now().await;
    }
    let told = site.get(&path("vm/web")).await.expect(200).json();
    assert_eq!((&told["exists"], &told["events"][0]["command"]), (&json!(false), &json!("remove-vm")), "{told}");
    assert!(told["summary"].as_str().unwrap().contains("is gone since"), "{told}");
    let back = site.get(&format!("{}?at={then}", path("vm/web"))).await.expect(200).json();
    assert_eq!(back["state"], "provisioning");
    assert_eq!(back["events"].as_array().unwrap().len(), 3, "{back}");
    // A worker's own report is no wish: a node explains itself by what it reported.
    let node = site.get(&path("node/edge-1")).await.expect(200).json();
    assert_eq!(node["exists"], true);
    assert!(!node["events"].as_array().unwrap().is_empty());
    site.get(&path("vm/none")).await.expect_problem(404, "not-found", None);
    site.get(&path("vmx/web")).await.expect_problem(404, "no-such-path", None);
    site.get(&path("web")).await.expect_problem(404, "no-such-path", None);
}
