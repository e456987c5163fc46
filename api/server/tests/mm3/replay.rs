//! `GET /edgetron/log/replay`: a whole log says so, and each kind of damage is found where it is.

use std::sync::Arc;

use edgestack_engine::{Applied, Change};
use edgestack_log::Log;
use edgestack_model::{Commit, Kind, world::Resource};
use serde_json::{Value, json};

use crate::site::Site;

const PATH: &str = "//edgetron/log/replay";

/// The result, and how many steps were told before it.
async fn result_of(site: &Site, query: &str) -> Value {
    let mut events = site.stream(&format!("{PATH}{query}"), &[]).await;
    let mut checked = 0;
    loop {
        let (_, event) = events.next().await.expect("a result comes before the end");
        match event["type"].as_str().unwrap() {
            "progress" => {
                assert!(event["checked"].as_u64().unwrap() >= checked, "{event}");
                checked = event["checked"].as_u64().unwrap();
            }
            "result" => {
                assert_eq!(events.next().await, None, "the result is the end");
                return event;
            }
            other => panic!("{other}: {event}"),
        }
    }
}

/// A site with a life: VMs come, run, and go.
async fn a_site() -> Site {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.play_workers();
    for name in ["web", "db"] {
        site.with_vm(name).await;
        site.wait_for_state(&format!("/vms/{name}"), "running").await;
    }
    site.call("DELETE", "/vms/db", None).await;
    let deadline = tokio::time::Instant::now() + crate::site::DEADLINE;
    while site.get("/vms/db").await.status != 404 {
        assert!(tokio::time::Instant::now() < deadline, "it goes");
        tokio::task::yield_now().await;
    }
    site
}

#[tokio::test]
async fn a_whole_log_leads_to_what_is_shown() {
    let site = a_site().await;
    let last = site.log.head().await.unwrap().last_sequence;
    let whole = result_of(&site, "").await;
    assert_eq!((&whole["checked"], &whole["same_world"]), (&json!(last), &json!(true)), "{whole}");
    assert_eq!((&whole["finding"], &whole["same_views"]), (&Value::Null, &Value::Null), "{whole}");
    let views = result_of(&site, "?views=true").await;
    assert_eq!((&views["same_world"], &views["same_views"]), (&json!(true), &json!(true)), "{views}");
    for until in [0, 1, last / 2, last] {
        let part = result_of(&site, &format!("?until={until}")).await;
        assert_eq!((&part["checked"], &part["same_world"]), (&json!(until), &json!(true)), "{part}");
        assert_eq!(part["same_views"], Value::Null, "{part}");
    }
}

#[tokio::test]
async fn views_are_compared_up_to_a_moment_and_of_one_kind() {
    let site = a_site().await;
    let last = site.log.head().await.unwrap().last_sequence;
    let rows = async |query: String| {
        let found = result_of(&site, &query).await;
        assert_eq!((&found["same_world"], &found["same_views"]), (&json!(true), &json!(true)), "{query}: {found}");
        found["rows_compared"].as_u64().unwrap()
    };
    let mut before = 0;
    for until in [0, 1, last / 2, last] {
        let all = rows(format!("?views=true&until={until}")).await;
        assert!(until == 0 && all == 0 || all > before, "{until}: {all}");
        before = all;
    }
    let (mut now, mut then) = (0, 0);
    for kind in Kind::ALL {
        now += rows(format!("?views=true&kind={kind}")).await;
        then += rows(format!("?views=true&kind={}&until={last}", kind.plural())).await;
    }
    // A row for each object and its name, and one for each event.
    assert_eq!((now, then), (before, before));
    // One VM is left; of the other one there are only events.
    let events = site.get("//edgetron/log/history?kind=vm&outcome=events&limit=1000").await.json();
    assert_eq!(rows("?views=true&kind=vm".to_owned()).await, 2 + events["items"].as_array().unwrap().len() as u64);
}

/// A history that went its own way: `until` finds it, too.
#[tokio::test]
async fn a_history_that_differs_is_told_of_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let other = edgestack_views::open(&folder.path().join("views")).unwrap().views;
    let site = Site::with(|state| state.views = other).await;
    let until = site.log.head().await.unwrap().last_sequence;
    for (query, same) in [("", false), ("&kind=node", false), ("&kind=vm", true)] {
        let found = result_of(&site, &format!("?views=true&until={until}{query}")).await;
        assert_eq!((&found["same_world"], &found["same_views"]), (&json!(true), &json!(same)), "{query}: {found}");
    }
}

#[tokio::test]
async fn each_damage_is_found_where_it_is() {
    for (what, first_wrong) in [("flipped", 9), ("removed", 9), ("swapped", 9), ("cut", 0), ("torn", 9)] {
        let site = a_site().await;
        let last = site.log.head().await.unwrap().last_sequence;
        let first_wrong = match what {
            // In the commit's text, where nothing but the next one's hash tells.
            "flipped" => {
                let payload = site.log.get(first_wrong).await.unwrap().unwrap().payload;
                let text = String::from_utf8(payload.to_vec()).unwrap();
                let at = text.find("\"site\":\"").unwrap() + 8;
                assert!(site.log.flip_bit(first_wrong, at * 8));
                first_wrong
            }
            "removed" => {
                assert!(site.log.drop_message(first_wrong));
                first_wrong
            }
            "swapped" => {
                assert!(site.log.swap_messages(first_wrong, first_wrong + 1));
                first_wrong
            }
            "cut" => {
                site.log.cut_tail(3);
                last - 2
            }
            // No JSON any more.
            _ => {
                assert!(site.log.flip_bit(first_wrong, 0));
                first_wrong
            }
        };
        let found = result_of(&site, "").await;
        assert_eq!(found["finding"]["sequence"], first_wrong, "{what}: {found}");
        assert!(!found["finding"]["what"].as_str().unwrap().is_empty());
        assert_eq!(found["same_world"], Value::Null, "{what}: {found}");
    }
}

/// A view that went its own way: the log is whole, and the difference is told.
#[tokio::test]
async fn views_that_differ_are_told() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    let (world, head) = site.state.replica.snapshot();
    let Resource::Flavor(flavor) = world.list(Kind::Flavor, None).next().unwrap() else { panic!("a flavor") };
    let mut wrong = (*flavor).clone();
    "not what the log says".clone_into(&mut wrong.meta.description);
    let stored = site.log.get(head.sequence).await.unwrap().unwrap();
    let applied = Applied {
        commit: Arc::new(Commit::decode(&stored.payload).unwrap()),
        payload: stored.payload,
        changes: vec![Change {
            kind: Kind::Flavor,
            id: flavor.id.uuid(),
            before: Some(Resource::Flavor(flavor)),
            after: Some(Resource::Flavor(Arc::new(wrong))),
        }],
        forgotten: vec![],
    };
    site.state.views.projection().project(&[Arc::new(applied)], &world, &head);
    assert_eq!(site.get("/flavors/small").await.json()["description"], "not what the log says");
    let found = result_of(&site, "?views=true").await;
    assert_eq!((&found["same_world"], &found["same_views"]), (&json!(true), &json!(false)), "{found}");
    for (kind, same) in [("flavor", false), ("image", true)] {
        let found = result_of(&site, &format!("?views=true&kind={kind}")).await;
        assert_eq!(found["same_views"], json!(same), "{kind}: {found}");
    }
}

#[tokio::test]
async fn one_replay_at_a_time_and_only_as_long_as_somebody_listens() {
    let site = a_site().await;
    let first = site.stream(PATH, &[]).await;
    // The first may have ended by itself by now; what it holds is let go when its listener leaves.
    let _ = site.get(PATH).await;
    drop(first);
    let deadline = tokio::time::Instant::now() + crate::site::DEADLINE;
    while site.get(PATH).await.status != 200 {
        assert!(tokio::time::Instant::now() < deadline, "the turn comes");
        tokio::task::yield_now().await;
    }
    site.get(&format!("{PATH}?until=x")).await.expect_problem(400, "invalid-parameter", Some("until"));
    site.get(&format!("{PATH}?kind=vmx")).await.expect_problem(400, "invalid-parameter", Some("kind"));
}
