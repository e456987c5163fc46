//! Targets that fail, and come back or don't.

use std::{collections::BTreeMap, time::Duration};

use edgestack_model::webhook::{GaveUp, WebhookState};

use crate::{
    receiver::{Answer, Receiver, status},
    site::{Site, assert_in_order, eventually},
};

#[tokio::test]
async fn a_receiver_that_is_down_gets_everything_when_it_is_back_and_the_log_tells_it_once() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    site.add("a").await;
    receiver.await_count(1).await;
    let (address, before) = receiver.stop().await;
    for _ in 0..3 {
        site.touch("a").await;
    }
    site.add("b").await;
    let WebhookState::Failing { failure } = site.await_state("hook", "failing").await else { panic!("it fails") };
    assert!(failure.attempt >= 2 && failure.reason.contains("no connection to"), "{failure:?}");
    assert!(failure.next_attempt_at > failure.at - chrono::TimeDelta::seconds(1));
    // It goes on to fail for a while, which is nothing new.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let receiver = Receiver::at(address, None).await;
    site.await_state("hook", "active").await;
    receiver.await_count(4).await;
    site.await_all_delivered("hook").await;
    let received = [before, receiver.received()].concat();
    assert_in_order(&received);
    assert_eq!(received.len(), 5);
    assert_eq!(site.story().await, ["WebhookCreated", "WebhookFailing", "WebhookRecovered"]);
}

#[tokio::test]
async fn a_single_failure_is_nothing_to_tell() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    let mut count = 0;
    receiver.answers(move |_| {
        count += 1;
        status(if count == 1 { 503 } else { 200 })
    });
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    site.add("a").await;
    let received = receiver.await_count(2).await;
    site.await_all_delivered("hook").await;
    assert_eq!(
        received[0].header("webhook-id"),
        received[1].header("webhook-id"),
        "the same event is the same message"
    );
    assert_eq!(site.story().await, ["WebhookCreated"]);
}

#[tokio::test]
async fn an_event_that_is_refused_holds_up_its_object_alone() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    receiver.answers(|one| status(if one.object() == "flavor/bad" { 422 } else { 200 }));
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    site.add("bad").await;
    site.touch("bad").await;
    site.add("good").await;
    for _ in 0..5 {
        site.touch("good").await;
    }
    eventually("all of the good one came", || {
        (receiver.told().iter().filter(|told| told.starts_with("flavor/good")).count() == 6).then_some(())
    })
    .await;
    site.await_state("hook", "failing").await;
    assert!(receiver.received().iter().filter(|one| one.object() == "flavor/bad").all(|one| one.sequence() == 2));
    assert!(site.webhook("hook").waiting().unwrap().fix.unwrap().contains("edgectl update-webhook hook --skip"));
    receiver.answers(|_| status(200));
    site.await_state("hook", "active").await;
    site.await_all_delivered("hook").await;
    assert_in_order(&receiver.received());
    let arrived: BTreeMap<String, u64> = receiver.received().iter().map(|one| (one.object(), one.sequence())).collect();
    assert_eq!(arrived["flavor/bad"], 3);
}

#[tokio::test]
async fn a_target_that_is_gone_disables_its_webhook_and_a_person_resumes_it() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    receiver.answers(|_| status(410));
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    site.add("a").await;
    let state = site.await_state("hook", "disabled").await;
    let WebhookState::Disabled { why: GaveUp::Gone, reason, .. } = state else { panic!("{state:?}") };
    assert!(reason.contains("410 Gone"), "{reason}");
    site.touch("a").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(receiver.received().len(), 1, "nothing is sent to it");
    receiver.answers(|_| status(200));
    site.update_webhook("hook", |update| update.paused = Some(false)).await;
    receiver.await_count(3).await;
    site.await_all_delivered("hook").await;
    assert_in_order(&receiver.received());
    assert_eq!(site.story().await, ["WebhookCreated", "WebhookDisabled", "WebhookUpdated"]);
}

#[tokio::test]
async fn after_its_time_a_webhook_is_given_up_and_nothing_is_lost() {
    let mut site = Site::new();
    site.patience.give_up_after = Duration::from_millis(200);
    let receiver = Receiver::start().await;
    receiver.answers(|_| status(500));
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    site.add("a").await;
    let state = site.await_state("hook", "disabled").await;
    let WebhookState::Disabled { why: GaveUp::TooLong, reason, .. } = state else { panic!("{state:?}") };
    assert!(reason.contains("event 2.0") && reason.contains("500 Internal Server Error"), "{reason}");
    receiver.answers(|_| status(200));
    site.update_webhook("hook", |update| update.paused = Some(false)).await;
    site.await_all_delivered("hook").await;
    assert_eq!(receiver.told().last().unwrap(), "flavor/a@2");
}

#[tokio::test]
async fn the_target_says_when_to_come_back() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    let mut count = 0;
    receiver.answers(move |_| {
        count += 1;
        let headers = vec![("retry-after", "1".to_owned())];
        Answer { headers, ..status(if count == 1 { 429 } else { 200 }) }
    });
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    site.add("a").await;
    let received = receiver.await_count(2).await;
    let apart = received[1].at - received[0].at;
    assert!(apart >= Duration::from_millis(980), "{apart:?}");
}

#[tokio::test]
async fn what_fails_is_tried_at_once_when_a_person_resumes_it() {
    let mut site = Site::new();
    site.patience.second = Duration::from_millis(100);
    let receiver = Receiver::start().await;
    receiver.answers(|_| status(503));
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    site.add("a").await;
    site.await_state("hook", "failing").await;
    receiver.answers(|_| status(200));
    let begun = std::time::Instant::now();
    site.update_webhook("hook", |update| update.paused = Some(false)).await;
    site.await_all_delivered("hook").await;
    assert!(begun.elapsed() < Duration::from_secs(2), "its pause would last 3 s: {:?}", begun.elapsed());
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_none() {
    let mut site = Site::new();
    site.patience.answer_within = Duration::from_millis(100);
    let receiver = Receiver::start().await;
    receiver.answers(|_| Answer { after: Duration::from_secs(60), ..status(200) });
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    site.add("a").await;
    let WebhookState::Failing { failure } = site.await_state("hook", "failing").await else { panic!("it fails") };
    assert!(failure.reason.contains("no answer within 0.1 s"), "{}", failure.reason);
}

#[tokio::test]
async fn an_endless_body_is_left_and_the_status_counts() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    receiver.answers(|_| Answer { body: vec![b'x'; 8 << 20].into(), ..status(200) });
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    site.add("a").await;
    site.touch("a").await;
    site.await_all_delivered("hook").await;
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn a_secret_that_cannot_be_opened_is_told_with_its_fix() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    let folder = tempfile::tempdir().unwrap();
    let other = edgestack_seal::SealingKey::load_or_create(&folder.path().join("key")).unwrap();
    site.start_worker();
    let sealed = other.seal(crate::site::SECRET).unwrap();
    site.add_webhook_with("hook", &format!("http://{}/", receiver.address), |create| create.secret = sealed).await;
    site.add("a").await;
    site.await_state("hook", "failing").await;
    let waiting = site.webhook("hook").waiting().unwrap();
    assert!(waiting.fix.unwrap().contains("edgectl rotate-webhook-secret hook"), "{}", waiting.reason);
    assert!(receiver.received().is_empty());
}
