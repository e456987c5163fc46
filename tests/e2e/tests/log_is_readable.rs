//! The log is JSON that any NATS client reads, whole by its own hash chain, and without a secret in it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{fs, path::PathBuf, time::Duration};

use async_nats::jetstream;
use edgestack_e2e::{
    Site,
    nats::{auditor, read_all},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

#[tokio::test]
async fn commits_are_read_with_a_plain_nats_client_and_hold_no_secret() {
    let test = "commits_are_read_with_a_plain_nats_client_and_hold_no_secret";
    let Some(mut site) = Site::start(test).await else { return };
    site.kill_daemon();
    site.up_with(&[("EDGESTACK_LOG", "debug")]).await;
    site.await_node().await;
    site.add_tiny().await;
    let key = site.api().post("keypairs", &json!({"name": "k"})).await.accepted();
    let private_key = key["private_key"].as_str().unwrap().to_owned();
    let secret = "correct-horse-battery-staple";
    let user_data = format!("#cloud-config\nchpasswd:\n  list: root:{secret}\n");
    let request = site
        .api()
        .request(reqwest::Method::POST, "vms")
        .header("Idempotency-Key", "once")
        .header("Edgestack-Reason", "an audit")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .json(&json!({"name": "a", "image": "tiny", "flavor": "tiny", "keypair": "k", "user_data": user_data}));
    let vm = site.api().send(request).await.unwrap().expect(202);
    site.await_vm("a", "running").await;
    // A bad request's log line must not show what was in it either.
    let wrong = json!({"name": "B A D", "image": "tiny", "flavor": "tiny", "user_data": secret});
    site.api().post("vms", &wrong).await.expect(422);

    let client = auditor(&site).await;
    let messages = read_all(&client).await;
    assert!(messages.len() >= 6, "{}", messages.len());
    let mut previous = hex::encode([0; 32]);
    let mut ids = std::collections::BTreeSet::new();
    for (index, message) in messages.iter().enumerate() {
        let commit: Value = serde_json::from_slice(&message.payload).expect("a commit is JSON");
        assert_eq!(commit["sequence"], index as u64 + 1, "no gap");
        assert_eq!(commit["previous_hash"], previous, "{commit}");
        previous = hex::encode(Sha256::digest(&message.payload));
        assert_eq!(commit["site"], "e2e");
        assert!(ids.insert(commit["id"].as_str().unwrap().to_owned()), "an id twice: {commit}");
        for field in ["id", "time", "command", "correlation_id"] {
            assert!(commit[field].is_string(), "{field} of {commit}");
        }
        for field in ["name", "credential", "from"] {
            assert!(commit["actor"][field].is_string(), "actor.{field} of {commit}");
        }
        let events = commit["events"].as_array().unwrap();
        assert!(!events.is_empty());
        for event in events {
            for field in ["kind", "resource_id", "name", "type"] {
                assert!(event[field].is_string(), "{field} of {event}");
            }
            assert!(event["version"].is_u64() && event["generation"].is_u64() && event["data"].is_object(), "{event}");
        }
        let subject: Vec<&str> = message.subject.split('.').collect();
        assert_eq!(subject[..2], ["mm3", "commit"]);
        assert!(
            message.shared && message.subject == "mm3.commit.shared"
                || events.iter().any(|event| event["kind"] == subject[2] && event["resource_id"] == subject[3]),
            "{commit}"
        );
    }

    // The wish and all that followed from it belong together.
    let commits: Vec<Value> = messages.iter().map(|m| serde_json::from_slice(&m.payload).unwrap()).collect();
    let wish = commits.iter().find(|commit| commit["command"] == "create-vm").unwrap();
    assert_eq!(wish["idempotency_key"], "once");
    assert_eq!(wish["reason"], "an audit");
    assert_eq!(wish["traceparent"], "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let followed: Vec<&str> = commits
        .iter()
        .filter(|commit| commit["correlation_id"] == wish["correlation_id"])
        .map(|commit| commit["command"].as_str().unwrap())
        .collect();
    assert!(followed.len() >= 3, "{followed:?}");

    // Law 11.
    let token = site.api().token.clone();
    let key_line = private_key.lines().nth(2).unwrap();
    for (what, needle) in [("user data", secret), ("token", token.as_str()), ("private key", key_line)] {
        for message in &messages {
            let text = String::from_utf8_lossy(&message.payload);
            assert!(!text.contains(needle), "the {what} is in the log, in message {}", message.message);
        }
        assert!(!site.log().contains(needle), "edgestackd logged the {what}");
    }
    site.daemon.as_mut().unwrap().stop().await;
    let vm_folder = site.state().join("vms").join(vm["id"].as_str().unwrap());
    for file in files(site.state()) {
        let bytes = fs::read(&file).unwrap_or_default();
        let has = |needle: &str| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
        // The guest's own seed is how it gets them.
        assert!(!has(secret) || file.starts_with(&vm_folder), "user data in {}", file.display());
        assert!(!has(key_line), "a private key in {}", file.display());
        let for_clients = file.starts_with(site.state().join("secrets")) || file.ends_with("client.json");
        assert!(!has(&token) || for_clients, "the token in {}", file.display());
    }
}

fn files(folder: PathBuf) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found
}

#[tokio::test]
async fn an_auditor_can_change_nothing() {
    let Some(site) = Site::start_simulated("an_auditor_can_change_nothing").await else { return };
    let client = auditor(&site).await;
    let context = jetstream::new(client.clone());
    let before = context.get_stream("MM3").await.unwrap().get_info().await.unwrap();
    let long = Duration::from_secs(2);

    // Each may be answered with an error or not at all; what counts is that nothing comes of it.
    let publish = async {
        match context.publish("mm3.commit.vm.forged", "{}".into()).await {
            Ok(ack) => ack.await.is_err(),
            Err(_) => true,
        }
    };
    assert!(tokio::time::timeout(long, publish).await.unwrap_or(true), "an auditor appended");
    for subject in ["$JS.API.STREAM.PURGE.MM3", "$JS.API.STREAM.DELETE.MM3", "$JS.API.STREAM.UPDATE.MM3"] {
        let answer = tokio::time::timeout(long, client.request(subject, "{}".into())).await;
        if let Ok(Ok(answer)) = answer {
            panic!("{subject} was answered: {}", String::from_utf8_lossy(&answer.payload));
        }
    }
    let delete = json!({"seq": 1}).to_string();
    let answer = tokio::time::timeout(long, client.request("$JS.API.STREAM.MSG.DELETE.MM3", delete.into())).await;
    assert!(!matches!(answer, Ok(Ok(_))), "a message could be deleted");

    let after = context.get_stream("MM3").await.unwrap().get_info().await.unwrap();
    assert!(after.state.messages >= before.state.messages);
    assert_eq!(after.config, before.config);
    for message in read_all(&client).await {
        assert_ne!(message.subject, "mm3.commit.vm.forged");
    }
}
