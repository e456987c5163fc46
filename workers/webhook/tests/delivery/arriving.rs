//! What arrives, and what doesn't.

use std::{collections::BTreeSet, time::Duration};

use edgestack_model::{
    Command, Kind, Sequence,
    webhook::{EventFilter, WebhookCommand},
};

use crate::{
    receiver::{Answer, Receiver, status},
    site::{SECRET, Site, assert_in_order, eventually},
};

#[tokio::test]
async fn every_event_arrives_signed_as_the_feed_tells_it() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    site.start_worker();
    site.add("before").await;
    site.add_webhook("hook", &receiver).await;
    for name in ["a", "b"] {
        site.add(name).await;
        site.touch(name).await;
    }
    site.remove("a").await;
    let received = receiver.await_count(5).await;
    site.await_all_delivered("hook").await;
    assert_in_order(&received);
    for one in &received {
        assert!(one.is_signed_with(SECRET), "{one:?}");
        assert_eq!(one.path, "/hook?a=b");
        assert_eq!(one.header("host"), receiver.address.to_string());
        assert_eq!(one.header("content-type"), "application/cloudevents+json; charset=utf-8");
        assert!(one.header("webhook-id").starts_with("evt_") && !one.header("webhook-id").contains('.'));
        let age = chrono::Utc::now().timestamp() - one.header("webhook-timestamp").parse::<i64>().unwrap();
        assert!((0..20).contains(&age), "{age}");
        let event = one.event();
        assert_eq!((&event["specversion"], &event["source"]), (&"1.0".into(), &"/edgetron/sites/test".into()));
    }
    let mut told: Vec<String> = receiver.told();
    told.sort();
    assert_eq!(told, ["flavor/a@3", "flavor/a@4", "flavor/a@7", "flavor/b@5", "flavor/b@6"]);
    let ids: BTreeSet<&str> = received.iter().map(|one| one.header("webhook-id")).collect();
    assert_eq!(ids.len(), 5);
}

#[tokio::test]
async fn the_log_does_not_grow_by_deliveries() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    site.add_webhook_with("curious", &format!("http://{}/", receiver.address), |create| {
        create.spec.filter.kinds = [Kind::Webhook].into();
    })
    .await;
    site.add("a").await;
    for _ in 0..50 {
        site.touch("a").await;
    }
    let end = site.replica.head().sequence;
    site.await_all_delivered("hook").await;
    site.await_all_delivered("curious").await;
    assert_eq!(site.replica.head().sequence, end);
    assert_eq!(receiver.received().len(), 51 + 1, "and the making of the second for itself");
}

#[tokio::test]
async fn an_objects_events_come_one_after_the_other_and_others_beside_them() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    receiver.answers(|_| Answer { after: Duration::from_millis(20), ..status(200) });
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    for round in 0..4 {
        for name in ["a", "b", "c", "d"] {
            if round == 0 { site.add(name).await } else { site.touch(name).await }
        }
    }
    let begun = std::time::Instant::now();
    let received = receiver.await_count(16).await;
    assert_in_order(&received);
    assert!(begun.elapsed() < Duration::from_millis(16 * 20), "they went one by one: {:?}", begun.elapsed());
    for name in ["flavor/a", "flavor/b", "flavor/c", "flavor/d"] {
        let times: Vec<_> = received.iter().filter(|one| one.object() == name).map(|one| one.at).collect();
        let apart = times.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(19));
        assert!(apart, "two of {name} were on their way at once");
    }
}

#[tokio::test]
async fn a_filter_chooses_and_labels_are_those_of_the_moment_also_from_the_past() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    site.add_labelled("a", &[("app", "web")]).await;
    site.add_labelled("b", &[("app", "db")]).await;
    site.relabel("a", &[]).await;
    site.relabel("b", &[("app", "web")]).await;
    site.remove("b").await;
    let end = site.replica.head().sequence;
    let filter = |create: &mut edgestack_model::webhook::CreateWebhook| {
        let labels = std::collections::BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        create.spec.filter = EventFilter { labels: labels.try_into().unwrap(), ..EventFilter::default() };
        create.after = Some(Sequence(0));
    };
    site.add_webhook_with("hook", &format!("http://{}/", receiver.address), filter).await;
    site.start_worker();
    // Made as web; became web; was web when it went.
    receiver.await_count(3).await;
    site.await_all_delivered("hook").await;
    assert_eq!(receiver.told(), ["flavor/a@1".to_owned(), "flavor/b@4".to_owned(), "flavor/b@5".to_owned()]);
    // And now live.
    site.add_labelled("c", &[("app", "web")]).await;
    site.relabel("c", &[("app", "db")]).await;
    site.touch("a").await;
    receiver.await_count(4).await;
    site.await_all_delivered("hook").await;
    assert_eq!(receiver.told()[3..], [format!("flavor/c@{}", end + 2)]);
}

#[tokio::test]
async fn a_target_that_never_answers_holds_up_nobody() {
    let mut site = Site::new();
    let (silent, quick) = (Receiver::start().await, Receiver::start().await);
    silent.answers(|_| Answer { after: Duration::from_secs(3600), ..status(200) });
    site.start_worker();
    site.add_webhook("silent", &silent).await;
    site.add_webhook("quick", &quick).await;
    site.add("a").await;
    let begun = std::time::Instant::now();
    for _ in 0..600 {
        site.touch("a").await;
    }
    // A bound that would never hold if each commit waited for the target; what they take is the writer's own time.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    quick.await_count(601).await;
    let id = site.webhook("silent").id.uuid();
    let waiting = eventually("the queue is full", || {
        let waiting = site.progress().read(id).unwrap()?.waiting.len();
        (waiting >= 256).then_some(waiting)
    })
    .await;
    assert_eq!(waiting, 256, "the rest waits in the log");
}

#[tokio::test]
async fn a_rotated_secret_and_the_old_one_sign_for_a_while() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    let new = edgestack_seal::webhook_secret::generate().unwrap();
    let rotate = |seconds| WebhookCommand::RotateSecret {
        webhook: "hook".into(),
        secret: site.seal.seal(&new).unwrap(),
        previous_valid_seconds: seconds,
    };
    site.submit(Command::Webhook(rotate(60))).await;
    site.add("a").await;
    let received = receiver.await_count(1).await;
    assert!(received[0].is_signed_with(&new) && received[0].is_signed_with(SECRET));
    site.submit(Command::Webhook(rotate(0))).await;
    site.touch("a").await;
    let received = receiver.await_count(2).await;
    assert!(received[1].is_signed_with(&new) && !received[1].is_signed_with(SECRET));
}
