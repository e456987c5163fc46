//! The log as a contract: `/schemas`, `/asyncapi.json`, and that what the feed tells keeps them.

use std::{collections::BTreeSet, fs, path::Path};

use edgestack_log::Log;
use edgestack_model::{Kind, schema};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::site::{EventStream, Site};

fn validator(document: &Value) -> Validator {
    jsonschema::draft202012::options().should_validate_formats(true).build(document).unwrap()
}

fn complaints(validator: &Validator, value: &Value) -> Vec<String> {
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The schema at an address that the site itself told.
async fn schema_at(site: &Site, url: &str) -> Value {
    let path = url.strip_prefix(&site.state.site.url).unwrap_or_else(|| panic!("{url} is elsewhere"));
    let reply = site.get(&format!("/{path}")).await.expect(200);
    assert_eq!(reply.header("content-type"), "application/schema+json");
    let document = reply.json();
    assert_eq!(document["$id"], url);
    assert!(jsonschema::draft202012::meta::is_valid(&document), "{document}");
    document
}

async fn asyncapi(site: &Site) -> Value {
    let reply = site.get("//asyncapi.json").await.expect(200);
    assert_eq!(reply.header("content-type"), "application/json");
    reply.json()
}

/// The schema of a message's payload, with all that it refers to.
fn payload(document: &Value, message: &Value) -> Validator {
    let mut schema = message["payload"].clone();
    schema["components"] = json!({"schemas": document["components"]["schemas"]});
    jsonschema::draft7::options().should_validate_formats(true).build(&schema).unwrap()
}

fn golden_events() -> Vec<Value> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/events");
    let folders = Kind::ALL.map(|kind| golden.join(kind.as_str()));
    let files = folders.into_iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    files.map(|file| serde_json::from_slice(&fs::read(file.unwrap().path()).unwrap()).unwrap()).collect()
}

async fn next(events: &mut EventStream) -> Value {
    loop {
        let (_, data) = events.next().await.expect("the stream goes on");
        if data["specversion"] == "1.0" {
            return data;
        }
    }
}

#[tokio::test]
async fn every_golden_event_keeps_the_schema_that_is_served_for_it() {
    let site = Site::new().await;
    let list = site.get("//schemas").await.expect(200).json();
    let mut served = BTreeSet::new();
    for link in list["items"].as_array().unwrap() {
        assert!(!link["description"].as_str().unwrap().is_empty(), "{link}");
        served.insert((link["name"].clone().to_string(), link["version"].to_string()));
        schema_at(&site, link["url"].as_str().unwrap()).await;
    }
    for event in golden_events() {
        let (name, version) = (&event["type"], &event["version"]);
        assert!(served.contains(&(name.to_string(), version.to_string())), "{name} version {version} is not listed");
        let url = format!("{}/schemas/{}/{version}", site.state.site.url, name.as_str().unwrap());
        let checker = validator(&schema_at(&site, &url).await);
        assert_eq!(complaints(&checker, &event), Vec::<String>::new());
        for field in ["resource_id", "name", "generation", "data"] {
            let mut less = event.clone();
            less.as_object_mut().unwrap().remove(field);
            assert!(!checker.is_valid(&less), "{field} of {name} may be absent");
        }
    }
    for unknown in ["VmTeleported/1", "VmCreated/2", "VmCreated/01", "vmcreated/1", "VmCreated/x"] {
        let reply = site.get(&format!("//schemas/{unknown}")).await.expect(404);
        assert_eq!(reply.json()["code"], "no-such-path", "{unknown}");
    }
}

#[tokio::test]
async fn what_the_feed_tells_keeps_the_schema_that_it_names() {
    let site = Site::new().await;
    let mut events = site.stream("//edgetron/events?after=0", &[]).await;
    site.with_flavor_and_image().await;
    site.with_vm("web").await;
    site.call("PATCH", "/flavors/small", Some(json!({"labels": {"tier": "front"}}))).await.expect(200);
    let document = asyncapi(&site).await;
    let messages = &document["channels"]["events"]["messages"];
    let mut seen = BTreeSet::new();
    while !seen.contains("FlavorUpdated") {
        let event = next(&mut events).await;
        let (name, version) = (event["data"]["type"].as_str().unwrap(), &event["data"]["version"]);
        let checker = validator(&schema_at(&site, event["dataschema"].as_str().unwrap()).await);
        assert_eq!(complaints(&checker, &event["data"]), Vec::<String>::new(), "{event}");
        let reference = messages[format!("{name}.v{version}")]["$ref"].as_str().unwrap();
        let message = payload(&document, edgestack_asyncapi::target(&document, reference).unwrap());
        assert_eq!(complaints(&message, &event), Vec::<String>::new(), "{event}");
        for (place, wrong) in [
            ("/type", json!("edgestack.VmTeleported.v1")),
            ("/data/type", json!("VmTeleported")),
            ("/data/data", json!("text")),
            ("/data/actor", json!(null)),
            ("/time", json!("today")),
        ] {
            let mut other = event.clone();
            *other.pointer_mut(place).unwrap() = wrong;
            assert!(!message.is_valid(&other), "{place} of {name} may be anything");
        }
        seen.insert(name.to_owned());
    }
    assert!(seen.len() >= 6, "{seen:?}");
}

#[tokio::test]
async fn the_commits_of_a_site_keep_their_schema() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.with_vm("web").await;
    let document = asyncapi(&site).await;
    let message = payload(&document, &document["components"]["messages"]["Commit"]);
    let alone = validator(&schema_at(&site, &format!("{}/schemas/{}/1", site.state.site.url, schema::COMMIT)).await);
    let stored = site.log.read(1, usize::MAX).await.unwrap();
    assert!(stored.len() >= 5, "{}", stored.len());
    for commit in stored {
        let commit: Value = serde_json::from_slice(&commit.payload).unwrap();
        for checker in [&message, &alone] {
            assert_eq!(complaints(checker, &commit), Vec::<String>::new());
        }
        for (place, wrong) in [
            ("/previous_hash", json!("00")),
            ("/sequence", json!(-1)),
            ("/version", json!(2)),
            ("/actor/from", json!(7)),
            ("/events", json!({})),
            ("/events/0/name", json!("Not A Name")),
        ] {
            let mut other = commit.clone();
            *other.pointer_mut(place).unwrap() = wrong;
            for checker in [&message, &alone] {
                assert!(!checker.is_valid(&other), "{place} may be anything");
            }
        }
        // What the events say inside is told by all of them together.
        let mut other = commit.clone();
        other["events"][0]["data"] = json!(7);
        assert!(!message.is_valid(&other), "{other}");
    }
}

#[tokio::test]
async fn the_asyncapi_document_is_valid_and_tells_every_event() {
    let site = Site::new().await;
    let document = asyncapi(&site).await;
    assert_eq!(edgestack_asyncapi::complaints(&document), Vec::<String>::new());
    assert_eq!(document["asyncapi"], "3.0.0");
    let addresses: BTreeSet<_> = document["channels"]
        .as_object()
        .unwrap()
        .values()
        .map(|channel| channel["address"].as_str().unwrap())
        .collect();
    let expected = [
        "/edgetron/events",
        "mm3.commit.shared",
        "mm3.commit.{kind}.{resource_id}",
        "mm3.stored.shared",
        "mm3.stored.{kind}.{resource_id}",
    ];
    assert_eq!(addresses, expected.into_iter().collect());
    assert_eq!(document["servers"]["api"]["host"], "127.0.0.1:9080");
    assert_eq!(document["servers"]["log"]["host"], "127.0.0.1:4222");
    let told = document["channels"]["events"]["messages"].as_object().unwrap();
    for event in golden_events() {
        let message = format!("{}.v{}", event["type"].as_str().unwrap(), event["version"]);
        assert!(told.contains_key(&message), "{message} is not told");
    }
    // A heart-beat and a dismissal are told, too.
    for (name, good) in [("heartbeat", json!({"sequence": 7})), ("dropped", json!({"sequence": 7, "reason": "slow"}))] {
        let message = payload(&document, &told[name]);
        assert!(message.is_valid(&good) && !message.is_valid(&json!({})), "{name}");
    }
}

#[tokio::test]
async fn a_site_without_nats_tells_the_feed_alone() {
    let site = Site::with(|state| state.site.nats_address = None).await;
    let document = asyncapi(&site).await;
    assert_eq!(edgestack_asyncapi::complaints(&document), Vec::<String>::new());
    assert_eq!(document["channels"].as_object().unwrap().keys().collect::<Vec<_>>(), ["events"]);
}
