//! Tests of the virtual network: what is asked wrongly is told by its field, and what can't be tested by its code.

use serde_json::{Value, json};

use crate::site::Site;

const PING: &str = "//edgetron/network/ping";
const TRACE: &str = "//edgetron/network/trace";

fn a_ping(change: Value) -> Value {
    let mut ping = json!({"from": {"network": "blue"}, "to": {"vm": "web"}});
    ping.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
    ping
}

#[tokio::test]
async fn what_is_asked_wrongly_is_told_by_its_field() {
    let site = Site::new().await;
    for (change, field) in [
        (json!({"count": 0}), "count"),
        (json!({"count": 101}), "count"),
        (json!({"count": 100, "interval_ms": 200}), "count"),
        (json!({"interval_ms": 9}), "interval_ms"),
        (json!({"timeout_ms": 5001}), "timeout_ms"),
        (json!({"size_bytes": 8953}), "size_bytes"),
    ] {
        let reply = site.call("POST", PING, Some(a_ping(change))).await;
        reply.expect_problem(422, "invalid-value", Some(field));
    }
    for (change, field) in [
        (json!({"to": {"address": "10.0.0"}}), "to.address"),
        (json!({"ip_version": "5"}), "ip_version"),
        (json!({"dry_run": true}), "dry_run"),
    ] {
        let reply = site.call("POST", PING, Some(a_ping(change))).await;
        reply.expect_problem(422, "invalid-body", Some(field));
    }
    for change in [json!({"protocol": "tcp"}), json!({"port": 22}), json!({"protocol": "udp", "port": 0})] {
        let reply = site.call("POST", TRACE, Some(a_ping(change))).await;
        reply.expect_problem(422, "invalid-value", Some("port"));
    }
}

#[tokio::test]
async fn what_can_not_be_tested_says_why_and_nothing_of_it_is_in_the_log() {
    let site = Site::new().await;
    let before = site.get("//edgetron/log/head").await.expect(200).json()["sequence"].clone();
    site.call("POST", PING, Some(a_ping(json!({})))).await.expect_problem(409, "network-not-here", None);
    let nobody = site.call("POST", TRACE, Some(a_ping(json!({})))).await;
    nobody.expect_problem(409, "reference-not-found", Some("from"));
    let down = site.get("//edgetron/network/counters").await;
    let down = down.expect_problem(503, "network-unreachable", None);
    assert_eq!(down.header("retry-after"), "2");
    site.get("//edgetron/network/ping").await.expect_problem(405, "method-not-allowed", None);
    assert_eq!(site.get("//edgetron/log/head").await.expect(200).json()["sequence"], before);
}
