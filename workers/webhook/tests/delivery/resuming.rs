//! Going on after a stop, a crash, a pause, and the loss of what was kept.

use std::{collections::BTreeSet, fs, time::Duration};

use edgestack_model::{
    Command,
    webhook::{EventFilter, WebhookCommand},
};

use crate::{
    receiver::{Answer, Receiver, status},
    site::{Site, assert_in_order, eventually},
};

#[tokio::test]
async fn a_worker_that_is_cut_off_in_the_middle_again_and_again_loses_nothing() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    let mut count = 0_u32;
    // Some fail, and all take a moment, so that the worker is cut off in all of its states.
    receiver.answers(move |_| {
        count += 1;
        Answer { after: Duration::from_millis(2), ..status(if count.is_multiple_of(7) { 500 } else { 200 }) }
    });
    site.add_webhook("hook", &receiver).await;
    for name in ["a", "b", "c"] {
        site.add(name).await;
    }
    for round in 0..12 {
        site.start_worker();
        for name in ["a", "b", "c"] {
            for _ in 0..4 {
                site.touch(name).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(10 * round)).await;
        site.stop_worker().await;
    }
    site.start_worker();
    site.await_all_delivered("hook").await;
    let received = receiver.received();
    assert_in_order(&received);
    let arrived: BTreeSet<u64> = received.iter().map(crate::receiver::Received::sequence).collect();
    let of_webhooks = site.story().await.len();
    assert_eq!(arrived.len() + of_webhooks, usize::try_from(site.replica.head().sequence).unwrap());
    println!("{} requests for {} events", received.len(), arrived.len());
}

#[tokio::test]
async fn what_was_delivered_does_not_come_again_after_a_restart() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    site.add("a").await;
    site.await_all_delivered("hook").await;
    site.stop_worker().await;
    site.touch("a").await;
    site.start_worker();
    site.await_all_delivered("hook").await;
    assert_eq!(receiver.told(), ["flavor/a@2", "flavor/a@3"]);
}

#[tokio::test]
async fn a_pause_is_not_forgotten_and_back_off_outlives_a_restart() {
    let mut site = Site::new();
    site.patience.second = Duration::from_secs(60);
    let receiver = Receiver::start().await;
    receiver.answers(|_| status(503));
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    site.add("a").await;
    receiver.await_count(1).await;
    let id = site.webhook("hook").id.uuid();
    eventually("the failure is kept", || site.progress().read(id).unwrap()?.waiting.first()?.failures.clone()).await;
    site.stop_worker().await;
    site.start_worker();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(receiver.received().len(), 1, "five minutes are not over");
}

#[tokio::test]
async fn what_happens_while_it_is_paused_waits_and_can_be_skipped() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    site.add("a").await;
    site.await_all_delivered("hook").await;
    site.update_webhook("hook", |update| update.paused = Some(true)).await;
    site.touch("a").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(receiver.received().len(), 1);
    site.update_webhook("hook", |update| update.paused = Some(false)).await;
    receiver.await_count(2).await;
    site.update_webhook("hook", |update| update.paused = Some(true)).await;
    site.touch("a").await;
    site.update_webhook("hook", |update| (update.paused, update.skip) = (Some(false), true)).await;
    site.touch("a").await;
    let received = receiver.await_count(3).await;
    site.await_all_delivered("hook").await;
    let sequences: Vec<u64> = received.iter().map(crate::receiver::Received::sequence).collect();
    assert_eq!(sequences, [2, 4, 9], "8 skips 7");
}

#[tokio::test]
async fn another_filter_and_another_target_count_from_then_on() {
    let mut site = Site::new();
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    site.add("a").await;
    site.add("b").await;
    site.await_all_delivered("hook").await;
    let url = format!("http://{}/", other.address).parse().unwrap();
    site.update_webhook("hook", |update| {
        update.url = Some(url);
        update.filter = Some(EventFilter { names: ["b".to_owned()].into(), ..EventFilter::default() });
    })
    .await;
    site.touch("a").await;
    site.touch("b").await;
    other.await_count(1).await;
    site.await_all_delivered("hook").await;
    assert_eq!((receiver.received().len(), other.told()), (2, vec!["flavor/b@6".to_owned()]));
}

#[tokio::test]
async fn without_its_file_it_goes_on_after_what_the_log_knows() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    receiver.answers(|_| status(500));
    site.start_worker();
    site.add_webhook("hook", &receiver).await;
    site.add("a").await;
    site.await_state("hook", "failing").await;
    receiver.answers(|_| status(200));
    site.await_state("hook", "active").await;
    let known = site.webhook("hook").delivered_through.0;
    assert!(known >= 2, "{known}");
    site.stop_worker().await;
    let before = receiver.received().len();
    for broken in [None, Some("{\"version\":1,\"cur")] {
        let file = site.progress_file("hook");
        match broken {
            None => fs::remove_file(&file).unwrap(),
            Some(text) => fs::write(&file, text).unwrap(),
        }
        site.touch("a").await;
        site.start_worker();
        site.await_all_delivered("hook").await;
        site.stop_worker().await;
    }
    let after: Vec<u64> = receiver.received()[before..].iter().map(crate::receiver::Received::sequence).collect();
    assert!(after.iter().all(|sequence| *sequence > known), "{after:?}");
    assert_eq!(after.iter().collect::<BTreeSet<_>>().len(), 2, "both came: {after:?}");
    assert!(site.progress_file("hook").with_extension("broken").exists());
}

#[tokio::test]
async fn of_a_removed_webhook_nothing_is_left() {
    let mut site = Site::new();
    let receiver = Receiver::start().await;
    site.start_worker();
    for name in ["hook", "other"] {
        site.add_webhook(name, &receiver).await;
    }
    site.add("a").await;
    site.await_all_delivered("hook").await;
    site.await_all_delivered("other").await;
    let (file, other) = (site.progress_file("hook"), site.progress_file("other"));
    let remove = |name: &str| Command::Webhook(WebhookCommand::Delete { webhook: name.into() });
    site.submit(remove("hook")).await;
    eventually("its file is gone", || (!file.exists()).then_some(())).await;
    site.stop_worker().await;
    site.submit(remove("other")).await;
    assert!(other.exists());
    site.start_worker();
    eventually("what was left is swept", || (!other.exists()).then_some(())).await;
    site.touch("a").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(receiver.received().len(), 2);
}
