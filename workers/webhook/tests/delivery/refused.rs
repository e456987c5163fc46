//! Where a webhook never delivers to (SSRF).

use std::time::Duration;

use edgestack_model::webhook::WebhookState;

use crate::{
    receiver::{Answer, Receiver, status},
    site::Site,
};

async fn refused(site: &Site) -> String {
    let WebhookState::Failing { failure } = site.await_state("hook", "failing").await else { panic!("it fails") };
    assert_eq!(failure.attempt, 1, "it is told at once");
    assert!(failure.reason.contains("--webhook-allow"), "{}", failure.reason);
    failure.reason
}

#[tokio::test]
async fn a_name_that_leads_to_loopback_is_refused_though_the_name_is_allowed() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    let port = receiver.address.port();
    site.allow = vec![format!("http://receiver.test:{port}"), format!("http://0.0.0.0/0:{port}")];
    site.names.lead("receiver.test", &["127.0.0.1", "::1", "::ffff:127.0.0.1"]);
    site.start_worker();
    site.add_webhook_with("hook", &format!("http://receiver.test:{port}/"), |_| {}).await;
    site.add("a").await;
    let reason = refused(&site).await;
    assert!(reason.contains("receiver.test, which leads to 127.0.0.1, is a loopback address"), "{reason}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn a_name_that_changes_its_mind_is_checked_at_each_connection() {
    let mut site = Site::new();
    // Two receivers at one port of two addresses; only one of them is allowed.
    let inside = Receiver::at("127.0.0.2:0".parse().unwrap(), None).await;
    let port = inside.address.port();
    let outside = Receiver::at(format!("127.0.0.1:{port}").parse().unwrap(), None).await;
    outside.answers(|_| Answer { headers: vec![("connection", "close".to_owned())], ..status(200) });
    site.allow = vec![format!("http://127.0.0.1:{port}"), format!("http://receiver.test:{port}")];
    site.names.lead("receiver.test", &["127.0.0.1"]);
    site.start_worker();
    site.add_webhook_with("hook", &format!("http://receiver.test:{port}/"), |_| {}).await;
    site.add("a").await;
    outside.await_count(1).await;
    assert_eq!(outside.received()[0].header("host"), format!("receiver.test:{port}"));
    site.names.lead("receiver.test", &["127.0.0.2"]);
    site.touch("a").await;
    let reason = refused(&site).await;
    assert!(reason.contains("127.0.0.2"), "{reason}");
    assert!(inside.received().is_empty());
    // Of several addresses the allowed one is taken.
    site.names.lead("receiver.test", &["127.0.0.2", "127.0.0.1"]);
    site.await_state("hook", "active").await;
    assert!(inside.received().is_empty());
    outside.await_count(2).await;
}

#[tokio::test]
async fn a_target_that_is_no_longer_allowed_is_not_delivered_to() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    site.allow = vec![];
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    site.add("a").await;
    let reason = refused(&site).await;
    assert!(reason.contains(&format!("http://127.0.0.1:{}", receiver.address.port())), "{reason}");
    assert!(receiver.received().is_empty());
    // The operator allows it, and restarts the daemon.
    site.stop_worker().await;
    site.allow = vec!["http://127.0.0.1:*".to_owned()];
    site.start_worker();
    receiver.await_count(1).await;
    site.await_state("hook", "active").await;
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_not_followed() {
    let mut site = Site::new();
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let location = format!("http://{}/", other.address);
    receiver.answers(move |_| Answer { headers: vec![("location", location.clone())], ..status(307) });
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    site.add("a").await;
    let WebhookState::Failing { failure } = site.await_state("hook", "failing").await else { panic!("it fails") };
    assert!(failure.reason.contains("307") && failure.fix.unwrap().contains("redirects are not followed"));
    assert!(other.received().is_empty());
}

#[tokio::test]
async fn nothing_of_an_answers_body_is_told() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    receiver.answers(|_| Answer { body: "root-password-of-the-inside".into(), ..status(500) });
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    site.add("a").await;
    site.await_state("hook", "failing").await;
    let told = format!("{:?}{}", site.webhook("hook"), std::fs::read_to_string(site.progress_file("hook")).unwrap());
    assert!(told.contains("500") && !told.contains("root-password"), "{told}");
}
