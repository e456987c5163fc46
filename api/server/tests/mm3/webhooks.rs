use serde_json::{Value, json};

use crate::site::Site;

const GIVEN: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwAAAAAAAAAAA=";

fn a_webhook(name: &str) -> Value {
    json!({"name": name, "url": "https://hooks.example.com/edge", "filter": {"kinds": ["vm"], "labels": {"app": "web"}}})
}

/// All that can be read of a site: lists, histories, the feed, and the log itself.
async fn everything(site: &Site, name: &str) -> String {
    let mut seen = String::new();
    for path in [
        "/webhooks".to_owned(),
        format!("/webhooks/{name}"),
        format!("/webhooks/{name}?at=2"),
        format!("/webhooks/{name}/events"),
        format!("//edgetron/log/explain/webhook/{name}"),
        "//edgetron/log/history".to_owned(),
        "//edgetron/log/diff?from=1".to_owned(),
    ] {
        let reply = site.get(&path).await;
        assert!(reply.status.is_success(), "{path}: {}", reply.text());
        seen.push_str(&reply.text());
    }
    for stored in edgestack_log::Log::read(&site.log, 1, 1000).await.unwrap() {
        seen.push_str(&String::from_utf8_lossy(&stored.payload));
    }
    seen
}

#[tokio::test]
async fn a_made_secret_is_in_its_first_answer_only() {
    let site = Site::new().await;
    let key = [("idempotency-key", "k")];
    let dry = site.call("POST", "/webhooks?dry_run=true", Some(a_webhook("ops"))).await.expect(200);
    assert_eq!(dry.json().get("secret"), None);
    let made = site.call_with("POST", "/webhooks", &key, Some(a_webhook("ops"))).await.expect(201);
    assert_eq!(made.header("cache-control"), "no-store");
    assert_eq!(made.header("location"), "/edgetron/resources/kubevirt/webhooks/ops");
    let secret = made.json()["secret"].as_str().unwrap().to_owned();
    assert!(edgestack_seal::webhook_secret::key(&secret).is_ok(), "{secret}");
    let again = site.call_with("POST", "/webhooks", &key, Some(a_webhook("ops"))).await.expect(201);
    assert_eq!(again.header("idempotent-replayed"), "true");
    let rotate = json!({"action": "rotate_secret"});
    let rotated = site.call("POST", "/webhooks/ops/action", Some(rotate)).await.expect(200).json();
    let other = rotated["secret"].as_str().unwrap().to_owned();
    assert_ne!(secret, other);
    assert!(rotated["previous_secret_until"].is_string());
    let seen = everything(&site, "ops").await + &again.text();
    assert!(!seen.contains(&secret) && !seen.contains(&other), "a secret is somewhere");
    assert!(!seen.contains(&secret[6..]) && !seen.contains(&other[6..]), "a secret is somewhere, without its mark");
}

#[tokio::test]
async fn a_given_secret_is_kept_and_never_answered() {
    let site = Site::new().await;
    let mut create = a_webhook("ops");
    create["secret"] = GIVEN.into();
    let made = site.call("POST", "/webhooks", Some(create)).await.expect(201);
    assert_eq!(made.json().get("secret"), None);
    let rotate = json!({"action": "rotate_secret", "secret": GIVEN, "previous_valid_seconds": 0});
    let rotated = site.call("POST", "/webhooks/ops/action", Some(rotate)).await.expect(200);
    assert_eq!((rotated.json().get("secret"), rotated.json().get("previous_secret_until")), (None, None));
    let seen = everything(&site, "ops").await + &made.text() + &rotated.text();
    assert!(!seen.contains(&GIVEN[6..]), "the secret is somewhere");
    for bad in ["whsec_short", "secret", "", "whsec_%%%"] {
        let mut create = a_webhook("bad");
        create["secret"] = bad.into();
        let refused = site.call("POST", "/webhooks", Some(create)).await;
        let refused = refused.expect_problem(422, "invalid-value", Some("secret"));
        assert!(bad.is_empty() || bad == "secret" || !refused.text().contains(bad), "{}", refused.text());
    }
}

#[tokio::test]
async fn a_target_that_the_operator_does_not_allow_is_refused_with_the_option_that_would() {
    let site = Site::new().await;
    for url in [
        "https://elsewhere.example.org/",
        "http://hooks.example.com/",
        "https://hooks.example.com:8443/",
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/",
    ] {
        let mut create = a_webhook("ops");
        create["url"] = url.into();
        let refused = site.call("POST", "/webhooks?dry_run=true", Some(create.clone())).await;
        refused.expect_problem(403, "webhook-target-not-allowed", Some("url"));
        let refused = site.call("POST", "/webhooks", Some(create)).await;
        let refused = refused.expect_problem(403, "webhook-target-not-allowed", Some("url"));
        assert!(refused.text().contains("--webhook-allow"), "{}", refused.text());
    }
    site.call("POST", "/webhooks", Some(a_webhook("ops"))).await.expect(201);
    let change = Some(json!({"url": "https://10.0.0.1/"}));
    let refused = site.call("PATCH", "/webhooks/ops", change).await;
    refused.expect_problem(403, "webhook-target-not-allowed", Some("url"));
    let history = site.get("//edgetron/log/history?outcome=refused").await.text();
    assert!(history.contains("webhook-target-not-allowed"), "a refusal is told: {history}");
}

#[tokio::test]
async fn each_field_is_changed_and_shown() {
    let site = Site::new().await;
    let made = site.call("POST", "/webhooks", Some(a_webhook("ops"))).await.expect(201).json();
    assert_eq!(made["state"], "active");
    assert_eq!(made["filter"], json!({"kinds": ["vm"], "labels": {"app": "web"}}));
    let tag = site.get("/webhooks/ops").await.header("etag").to_owned();
    let change = json!({"paused": true, "filter": null, "url": "https://other.example.com/", "description": "x"});
    let stale = [("if-match", "\"g9.r9\"")];
    let refused = site.call_with("PATCH", "/webhooks/ops", &stale, Some(change.clone())).await;
    refused.expect_problem(412, "precondition-failed", Some("If-Match"));
    let fresh = [("if-match", tag.as_str())];
    let changed = site.call_with("PATCH", "/webhooks/ops", &fresh, Some(change)).await.expect(200).json();
    assert_eq!((&changed["state"], &changed["filter"]), (&json!("paused"), &json!({})));
    assert_eq!((&changed["url"], &changed["description"]), (&json!("https://other.example.com/"), &json!("x")));
    let now = site.state.replica.head().sequence;
    let resumed =
        site.call("PUT", "/webhooks/ops", Some(json!({"paused": false, "skip": true}))).await.expect(200).json();
    assert_eq!((&resumed["state"], &resumed["begin_after"]), (&json!("active"), &json!(now)));
    assert_eq!(site.get("/webhooks/ops?at=3").await.json()["state"], "paused");
    assert_eq!(site.get("/webhooks?state=active").await.json()["items"].as_array().unwrap().len(), 1);
    assert_eq!(site.get("/webhooks?state=failing").await.json()["items"].as_array().unwrap().len(), 0);
    site.call("DELETE", "/webhooks/ops", None).await.expect(204);
    site.get("/webhooks/ops").await.expect_problem(404, "not-found", None);
    let events = site.get("/webhooks/ops/events").await.json();
    let types: Vec<&str> =
        events["items"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["WebhookCreated", "WebhookUpdated", "WebhookUpdated", "WebhookDeleted"]);
}

#[tokio::test]
async fn a_watch_tells_of_each_change() {
    let site = Site::new().await;
    let mut watch = site.stream("/webhooks?watch=true", &[]).await;
    assert_eq!(watch.next_change().await.0, "BOOKMARK");
    site.call("POST", "/webhooks", Some(a_webhook("ops"))).await.expect(201);
    assert_eq!(watch.next_change().await, ("ADDED".to_owned(), "ops".to_owned()));
    site.call("PATCH", "/webhooks/ops", Some(json!({"paused": true}))).await.expect(200);
    assert_eq!(watch.next_change().await, ("MODIFIED".to_owned(), "ops".to_owned()));
    site.call("DELETE", "/webhooks/ops", None).await.expect(204);
    assert_eq!(watch.next_change().await, ("DELETED".to_owned(), "ops".to_owned()));
}

#[tokio::test]
async fn what_it_waits_for_is_shown_and_explained() {
    let site = Site::new().await;
    site.call("POST", "/webhooks", Some(a_webhook("ops"))).await.expect(201);
    let shown = site.get("/webhooks/ops").await;
    let waiting = &shown.json()["waiting"];
    assert_eq!((&waiting["owner"], &waiting["attempts"]), (&json!("worker.webhook"), &json!(1)));
    let reason = waiting["reason"].as_str().unwrap();
    assert!(reason.contains("1 event waits") && reason.contains("503 Service Unavailable"), "{reason}");
    assert!(waiting["next_attempt_at"].is_string());
    let explained = site.get("//edgetron/log/explain/webhook/ops").await.json();
    assert_eq!((&explained["state"], &explained["waiting"]), (&json!("active"), waiting));
    assert!(explained["summary"].as_str().unwrap().contains("503"), "{}", explained["summary"]);
    // What moves without a commit is no reason to say that nothing changed.
    let tag = shown.header("etag").to_owned();
    site.call_with("GET", "/webhooks/ops", &[("if-none-match", &tag)], None).await.expect(200);
    site.call("PATCH", "/webhooks/ops", Some(json!({"paused": true}))).await.expect(200);
    let explained = site.get("//edgetron/log/explain/webhook/ops").await.json();
    assert_eq!(explained["waiting"]["owner"], "user");
    assert!(explained["waiting"]["fix"].as_str().unwrap().contains("edgectl update-webhook ops --resume"));
}

#[tokio::test]
async fn the_feed_tells_of_webhooks_as_of_all_kinds() {
    let site = Site::new().await;
    let mut feed = site.stream("//edgetron/events?kind=webhook&after=0", &[]).await;
    site.call("POST", "/webhooks", Some(a_webhook("ops"))).await.expect(201);
    loop {
        let (_, data) = feed.next().await.unwrap();
        if data["type"] == "edgestack.WebhookCreated.v1" {
            assert_eq!(data["data"]["data"]["spec"]["url"], "https://hooks.example.com/edge");
            return;
        }
    }
}
