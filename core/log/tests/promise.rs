//! Law 3 read from real servers and streams that were really weakened.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

mod nats;

use edgestack_log::conformance::append_some;
use edgestack_log::jetstream::{BrokenPromise, JetStreamLog, Options, Role, read_promise};
use edgestack_log::{ChainHead, Log};
use nats::{Bare, Site};
use serde_json::{Value, json};

/// The settings that keep the promise, as any NATS client would write them.
fn whole() -> Value {
    json!({
        "name": "MM3", "subjects": ["mm3.commit.>"], "storage": "file", "retention": "limits", "discard": "new",
        "num_replicas": 1, "deny_delete": true, "deny_purge": true, "allow_direct": true,
    })
}

async fn broken_by(binary: &std::path::Path, jetstream: &str, change: Value) -> Vec<BrokenPromise> {
    let server = Bare::start(binary, jetstream).await;
    let client = server.client("all").await;
    let mut config = whole();
    for (key, value) in change.as_object().unwrap() {
        config[key] = value.clone();
    }
    let answer = client.request("$JS.API.STREAM.CREATE.MM3", config.to_string().into()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.payload).unwrap();
    assert!(answer.get("error").is_none(), "{answer}");
    let log = JetStreamLog::connect(Options::new(server.url("all"), Role::Engine)).await.unwrap();
    // What is there is never changed.
    log.ensure_stream(1).await.unwrap();
    read_promise(&log, &server.url("sys"), 1).await.unwrap()
}

#[tokio::test]
async fn each_weakened_setting_is_named_with_its_fix() {
    let Some(binary) = nats::binary("each_weakened_setting_is_named_with_its_fix") else {
        return;
    };
    let always = "sync_interval: always";
    let server = || "weak".to_owned();
    let evicts = |setting, value| vec![BrokenPromise::Evicts { setting, value }];
    let cases = [
        (always, json!({}), vec![]),
        ("", json!({}), vec![BrokenPromise::SyncNotAlways { server: server(), sync_interval_s: 120 }]),
        (
            "sync_interval: \"2m\"",
            json!({}),
            vec![BrokenPromise::SyncNotAlways { server: server(), sync_interval_s: 120 }],
        ),
        (always, json!({"persist_mode": "async"}), vec![BrokenPromise::AsyncPersist { mode: "async".into() }]),
        (always, json!({"discard": "old"}), vec![BrokenPromise::DiscardNotNew { policy: "old".into() }]),
        (always, json!({"max_msgs": 1000}), evicts("max_msgs", 1000)),
        (always, json!({"max_bytes": 1_000_000}), evicts("max_bytes", 1_000_000)),
        (always, json!({"max_age": 3_600_000_000_000_i64}), evicts("max_age", 3_600_000_000_000)),
        (always, json!({"max_msgs_per_subject": 5}), evicts("max_msgs_per_subject", 5)),
        (always, json!({"deny_purge": false}), vec![BrokenPromise::PurgeAllowed]),
        (always, json!({"deny_delete": false}), vec![BrokenPromise::DeleteAllowed]),
        (always, json!({"storage": "memory"}), vec![BrokenPromise::NotOnDisk { storage: "memory".into() }]),
        (
            always,
            json!({"retention": "workqueue"}),
            vec![BrokenPromise::RetentionNotLimits { retention: "workqueue".into() }],
        ),
        (always, json!({"allow_msg_ttl": true}), vec![BrokenPromise::MessageTtlAllowed]),
        (always, json!({"no_ack": true}), vec![BrokenPromise::NoAcknowledgements]),
        (always, json!({"sources": [{"name": "OTHER"}]}), vec![BrokenPromise::ForeignSource { setting: "sources" }]),
        (always, json!({"subjects": ["mm3.>"]}), vec![BrokenPromise::WrongSubjects { subjects: vec!["mm3.>".into()] }]),
    ];
    for (jetstream, change, expect) in cases {
        let what = format!("{jetstream:?} {change}");
        let broken = broken_by(&binary, jetstream, change).await;
        println!("{what}: {broken:?}");
        assert_eq!(broken, expect, "{what}");
        assert!(broken.iter().all(|promise| promise.to_string().contains(": ")), "no fix: {broken:?}");
    }
}

#[tokio::test]
async fn several_weak_settings_are_all_told() {
    let Some(binary) = nats::binary("several_weak_settings_are_all_told") else {
        return;
    };
    let broken = broken_by(&binary, "", json!({"discard": "old", "max_msgs": 7, "deny_purge": false})).await;
    assert_eq!(broken.len(), 4, "{broken:?}");
}

#[tokio::test]
async fn our_own_server_and_stream_keep_the_promise() {
    let Some(binary) = nats::binary("our_own_server_and_stream_keep_the_promise") else {
        return;
    };
    let site = Site::start(&binary).await;
    let log = site.log().await;
    append_some(&log, ChainHead::GENESIS, 1).await.unwrap();
    let monitor = site.server().credentials().url(Role::Monitor);
    assert_eq!(read_promise(&log, &monitor, 1).await.unwrap(), vec![]);
    let few = read_promise(&log, &monitor, 3).await.unwrap();
    assert_eq!(few, vec![BrokenPromise::TooFewReplicas { wanted: 3, actual: 1 }]);
    // A user who may not ask hears nothing, which is no promise kept.
    let deaf = read_promise(&log, &site.server().credentials().url(Role::Auditor), 1).await;
    assert!(!matches!(&deaf, Ok(broken) if broken.is_empty()), "{deaf:?}");
    log.ensure_stream(1).await.unwrap();
    assert_eq!(log.head().await.unwrap().messages, 1, "ensuring an existing stream changes nothing");
    site.stop().await;
}
