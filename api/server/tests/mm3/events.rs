//! `GET /edgetron/events`: each event once, in order, from any place of the log on.

use edgestack_log::Log;
use edgestack_model::{
    Command, Commit, Labels,
    flavor::{FlavorCommand, Shape},
};
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use crate::site::{EventStream, Site};

const PATH: &str = "//edgetron/events";

/// The next event that is no sign of life.
async fn next(events: &mut EventStream) -> (String, Value) {
    loop {
        let (id, data) = events.next().await.expect("the stream goes on");
        if data["specversion"] == "1.0" {
            return (id, data);
        }
        assert!(data["sequence"].is_u64(), "{data}");
    }
}

async fn take(events: &mut EventStream, upto: &str) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let (id, _) = next(events).await;
        ids.push(id);
        if ids.last().is_some_and(|id| id == upto) {
            return ids;
        }
    }
}

/// The ids of all events in the log.
async fn ids(site: &Site) -> Vec<String> {
    let mut ids = Vec::new();
    for stored in site.log.read(1, usize::MAX).await.unwrap() {
        let commit = Commit::decode(&stored.payload).unwrap();
        ids.extend((0..commit.events.len()).map(|index| format!("{}.{index}", commit.sequence)));
    }
    ids
}

fn a_flavor(name: &str, label: Option<&str>) -> Command {
    let labels = label.map(|tier| ("tier".to_owned(), tier.to_owned())).into_iter().collect();
    Command::Flavor(FlavorCommand::Create {
        name: name.parse().unwrap(),
        description: String::new(),
        labels: Labels::try_from(std::collections::BTreeMap::<String, String>::from_iter::<Vec<_>>(labels)).unwrap(),
        shape: Shape {
            vcpus: 1,
            memory_mib: 64,
            disk_gib: 1,
            dedicated_cpus: false,
            huge_pages: None,
            numa_nodes: None,
        },
    })
}

#[tokio::test]
async fn each_event_comes_once_and_in_order_from_any_place_on() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.with_vm("web").await;
    let all = ids(&site).await;
    let last = all.last().unwrap().clone();
    let mut from_the_start = site.stream(&format!("{PATH}?after=0"), &[]).await;
    assert_eq!(take(&mut from_the_start, &last).await, all);
    for (number, id) in all.iter().enumerate() {
        let mut resumed = site.stream(PATH, &[("last-event-id", id)]).await;
        if number + 1 < all.len() {
            assert_eq!(take(&mut resumed, &last).await, all[number + 1..], "after {id}");
        }
    }
    // A whole commit's place, as a list tells it: what comes is what happened after the list.
    let list = site.get("/flavors").await.json();
    let mut after_list = site.stream(PATH, &[("last-event-id", &list["sequence"].to_string())]).await;
    let mut from_now = site.stream(PATH, &[]).await;
    site.submit(a_flavor("later", None)).await;
    for events in [&mut after_list, &mut from_now, &mut from_the_start] {
        let (id, event) = next(events).await;
        assert_eq!(event["subject"], "flavor/later", "{id}");
    }
}

#[tokio::test]
async fn an_event_is_a_cloud_event_with_who_and_why() {
    let site = Site::new().await;
    let mut events = site.stream(PATH, &[]).await;
    // The first sign of life tells where one is.
    let (id, begin) = events.next().await.unwrap();
    let end = site.log.head().await.unwrap().last_sequence;
    assert_eq!((id, &begin), (end.to_string(), &json!({"sequence": end})));
    let flavor = json!({"name": "tiny", "vcpus": 1, "memory_mib": 64, "disk_gib": 1});
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    site.call_with("POST", "/flavors", &[("edgestack-reason", "a demo"), ("traceparent", trace)], Some(flavor))
        .await
        .expect(201);
    let (id, event) = next(&mut events).await;
    let sequence = end + 1;
    assert_eq!(id, format!("{sequence}.0"));
    for (field, value) in [
        ("specversion", json!("1.0")),
        ("id", json!(id)),
        ("source", json!("/edgetron/sites/test")),
        ("type", json!("edgestack.FlavorCreated.v1")),
        ("subject", json!("flavor/tiny")),
        ("datacontenttype", json!("application/json")),
        ("sequence", json!(sequence.to_string())),
        ("traceparent", json!(trace)),
    ] {
        assert_eq!(event[field], value, "{field} of {event}");
    }
    // CloudEvents: an attribute's name is lower-case letters and digits.
    for name in event.as_object().unwrap().keys() {
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()), "{name}");
    }
    let history = site.get("/flavors/tiny/events").await.json();
    assert_eq!(event["data"], history["items"][0]);
    assert_eq!(event["data"]["reason"], "a demo");
}

#[tokio::test]
async fn filters_choose_the_same_events_now_and_then() {
    let site = Site::new().await;
    let queries = [
        ("kind=flavor", 4),
        ("kind=flavors,image", 4),
        ("kind=vm", 0),
        ("name=front-1", 2),
        ("label=tier%3Dfront", 3),
        ("type=FlavorDeleted", 1),
        ("type=FlavorDeleted,FlavorCreated&label=tier%3Dback", 1),
        ("actor=worker.test%40edge-1&kind=flavor", 3),
        ("actor=admin", 1),
        ("actor=nobody", 0),
    ];
    let begin = site.log.head().await.unwrap().last_sequence;
    let mut live = Vec::new();
    for (query, _) in queries {
        live.push(site.stream(&format!("{PATH}?{query}"), &[]).await);
    }
    site.submit(a_flavor("front-1", Some("front"))).await;
    site.submit(a_flavor("back-1", Some("back"))).await;
    site.submit(a_flavor("front-2", Some("front"))).await;
    site.call("DELETE", "/flavors/front-1", None).await.expect(204);
    let end = site.log.head().await.unwrap().last_sequence;
    for ((query, count), mut live) in queries.into_iter().zip(live) {
        let mut then = site.stream(&format!("{PATH}?{query}&after={begin}"), &[]).await;
        for events in [&mut live, &mut then] {
            let mut found = Vec::new();
            while found.len() < count {
                found.push(next(events).await.1);
            }
            assert!(found.is_sorted_by_key(|event| event["sequence"].as_str().unwrap().parse::<u64>().unwrap()));
            assert!(found.iter().all(|event| event["sequence"].as_str().unwrap().parse::<u64>().unwrap() > begin));
        }
        // No more than these: all that comes next is of a later commit.
        let mut resumed = site.stream(&format!("{PATH}?{query}"), &[("last-event-id", &end.to_string())]).await;
        let (_, sign) = resumed.next().await.unwrap();
        assert_eq!(sign, json!({"sequence": end}), "{query}");
    }
}

/// Many writers, some readers that come and go at any time, one of which takes nothing for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_nothing_is_missed_or_doubled() {
    let site = Site::new().await;
    let begin = site.log.head().await.unwrap().last_sequence;
    let mut sleeper = site.stream(PATH, &[]).await;
    sleeper.next().await.unwrap();
    let writing = stream::iter(0..10_000).for_each_concurrent(32, async |number| {
        site.submit(a_flavor(&format!("f{number}"), None)).await;
    });
    let last = format!("{}.0", begin + 10_000);
    let reading = async {
        let mut seen: Vec<String> = Vec::new();
        while seen.last() != Some(&last) {
            // It comes again with the last id that it saw, as after a broken connection.
            let id = seen.last().cloned().unwrap_or_else(|| begin.to_string());
            let mut events = site.stream(PATH, &[("last-event-id", &id)]).await;
            for _ in 0..700 {
                if seen.last() == Some(&last) {
                    break;
                }
                seen.push(next(&mut events).await.0);
            }
        }
        seen
    };
    let mut steady = site.stream(&format!("{PATH}?after={begin}"), &[]).await;
    let (_, seen, steadily) = tokio::join!(writing, reading, take(&mut steady, &last));
    let wanted: Vec<String> = (begin + 1..=begin + 10_000).map(|sequence| format!("{sequence}.0")).collect();
    assert_eq!(seen, wanted);
    assert_eq!(steadily, wanted);
    assert_eq!(take(&mut sleeper, &last).await, wanted, "who slept reads the log first");
}

#[tokio::test]
async fn who_takes_nothing_for_long_is_sent_away_and_comes_back_to_where_it_was() {
    let site = Site::new().await;
    let begin = site.log.head().await.unwrap().last_sequence;
    let mut slow = site.stream(PATH, &[]).await;
    let (_, greeting) = slow.next().await.unwrap();
    assert_eq!(greeting, json!({"sequence": begin}));
    // Nobody waits for it.
    let count = 10_001;
    stream::iter(0..count)
        .for_each_concurrent(32, async |number| {
            site.submit(a_flavor(&format!("f{number}"), None)).await;
        })
        .await;
    tokio::time::pause();
    tokio::time::advance(std::time::Duration::from_secs(61)).await;
    tokio::time::resume();
    let (id, last_words) = slow.next().await.expect("it is told why");
    assert_eq!(last_words["sequence"], begin, "{last_words}");
    assert!(last_words["reason"].as_str().unwrap().contains(&format!("Last-Event-ID: {id}")), "{last_words}");
    assert_eq!(slow.next().await, None, "those were its last words");
    let mut again = site.stream(PATH, &[("last-event-id", &id)]).await;
    let wanted: Vec<String> = (begin + 1..=begin + count).map(|sequence| format!("{sequence}.0")).collect();
    assert_eq!(take(&mut again, wanted.last().unwrap()).await, wanted);
}

#[tokio::test]
async fn wrong_places_and_filters_are_refused() {
    let site = Site::new().await;
    let end = site.log.head().await.unwrap().last_sequence;
    for (query, field) in [
        (format!("after={}", end + 1), "after"),
        ("after=-1".to_owned(), "after"),
        ("kind=vmx".to_owned(), "kind"),
        ("label=x".to_owned(), "label"),
        ("colour=red".to_owned(), "colour"),
    ] {
        site.get(&format!("{PATH}?{query}")).await.expect_problem(400, "invalid-parameter", Some(field));
    }
    for id in ["x", "1.x", "-1", &(end + 1).to_string(), &format!("{}.0", end + 2)] {
        let reply = site.call_with("GET", PATH, &[("last-event-id", id)], None).await;
        reply.expect_problem(400, "invalid-header", Some("Last-Event-ID"));
    }
}

#[tokio::test]
async fn a_stream_ends_with_the_server() {
    let site = Site::new().await;
    let mut events = site.stream(PATH, &[]).await;
    events.next().await.unwrap();
    site.shutdown.cancel();
    assert_eq!(events.next().await, None);
}
