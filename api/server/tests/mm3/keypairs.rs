use serde_json::{Value, json};

use crate::site::Site;

const GIVEN: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBrS/aHTOO8AybtmnFD72GYUExxqhC2aZN1B1EVlrsYT ed";

#[tokio::test]
async fn a_given_key_is_kept_and_no_private_key_is_answered() {
    let site = Site::new().await;
    let create = json!({"name": "laptop", "public_key": format!("{GIVEN}\n")});
    let made = site.call("POST", "/keypairs", Some(create)).await.expect(201).json();
    assert_eq!(made["public_key"], GIVEN);
    assert_eq!(made["type"], "ed25519");
    assert!(made["fingerprint"].as_str().unwrap().starts_with("SHA256:"));
    assert_eq!(made.get("private_key"), None);
}

#[tokio::test]
async fn a_generated_private_key_is_in_its_first_answer_only() {
    let site = Site::new().await;
    let create = Some(json!({"name": "laptop"}));
    let key = [("idempotency-key", "k")];
    let made = site.call_with("POST", "/keypairs", &key, create.clone()).await.expect(201);
    assert_eq!(made.header("cache-control"), "no-store");
    let private = made.json()["private_key"].as_str().unwrap().to_owned();
    assert!(private.starts_with("-----BEGIN OPENSSH PRIVATE KEY-----\n"));
    let again = site.call_with("POST", "/keypairs", &key, create).await.expect(201);
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(again.json()["public_key"], made.json()["public_key"]);
    let body = private.lines().nth(2).unwrap();
    let mut seen = again.text();
    seen.push_str(&site.get("/keypairs/laptop").await.text());
    seen.push_str(&site.get("/keypairs/laptop/events").await.text());
    for stored in edgestack_log::Log::read(&site.log, 1, 100).await.unwrap() {
        seen.push_str(&String::from_utf8_lossy(&stored.payload));
    }
    assert!(!seen.contains(body), "the private key is somewhere");
    assert_eq!(again.json().get("private_key").unwrap_or(&Value::Null), &Value::Null);
}

#[tokio::test]
async fn an_rsa_key_can_be_generated() {
    let site = Site::new().await;
    let create = json!({"name": "old", "type": "rsa"});
    let made = site.call("POST", "/keypairs", Some(create)).await.expect(201).json();
    assert_eq!(made["type"], "rsa");
    let again = json!({"name": "same", "public_key": made["public_key"]});
    let again = site.call("POST", "/keypairs", Some(again)).await.expect(201).json();
    assert_eq!(again["fingerprint"], made["fingerprint"]);
}

#[tokio::test]
async fn a_key_that_is_none_is_refused_by_field() {
    let site = Site::new().await;
    for (create, field) in [
        (json!({"name": "a", "public_key": "nonsense"}), "public_key"),
        (json!({"name": "a", "public_key": ""}), "public_key"),
        (json!({"name": "a", "public_key": GIVEN, "type": "rsa"}), "type"),
        (json!({"name": "A"}), "name"),
    ] {
        site.call("POST", "/keypairs", Some(create)).await.expect_problem(422, "invalid-value", Some(field));
    }
    let unknown = json!({"name": "a", "type": "dsa"});
    site.call("POST", "/keypairs", Some(unknown)).await.expect_problem(422, "invalid-body", Some("type"));
}
