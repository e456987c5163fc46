//! Older commits leave the live log: everything reaches them in the archive as before, and a kill at any line leaves the old
//! live log or the new one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{fs, time::Duration};

use edgestack_e2e::{
    PATIENCE, Site,
    damage::{blocks, flip_in_the_middle},
    eventually,
    run_edgectl::{fails, works},
};
use reqwest::Method;
use serde_json::{Value, json};

/// Each has some 800 bytes, so that damage in the middle is not in the last.
const FLAVORS: usize = 60;
/// Those before this one leave; the log has more than so many behind it.
const BEFORE: u64 = 40;
/// After some kills a nats-server has to come up twice.
const PATIENT: Duration = Duration::from_secs(60);

async fn a_site(test: &str) -> Option<Site> {
    let site = Site::start_simulated(test).await?;
    for number in 0..FLAVORS {
        site.add_flavor(&format!("f{number}")).await;
    }
    Some(site)
}

fn archive(site: &Site, before: u64) -> String {
    works(site, &["archive", "--before", &before.to_string(), "--reason", "the disk is small"])
}

async fn live_first(site: &Site) -> u64 {
    site.api().get("/edgetron/log/archive").await["live_first"].as_u64().unwrap()
}

async fn await_live_first(site: &Site, first: u64) {
    eventually(&format!("the live log begins with {first}"), PATIENT, async || {
        let reply = site.api().look("/edgetron/log/archive").await.map_err(|error| error.to_string())?;
        if reply.json()["live_first"] == first { Ok(()) } else { Err(reply.text) }
    })
    .await;
}

/// What reaches to the first commit, whatever of it is in the live log: told without what changes by itself.
async fn past(site: &Site) -> Vec<Value> {
    let api = site.api();
    let at = api.get("flavors?at=30&limit=1000").await["items"].clone();
    // The others register the node and take leases.
    assert!((15..30).contains(&at.as_array().unwrap().len()), "{at}");
    let diff = api.get("/edgetron/log/diff?from=10&to=50&limit=1000").await["items"].clone();
    let history = api.get("/edgetron/log/history?kind=flavor&limit=20&order=oldest").await["items"].clone();
    let one = api.get("flavors/f3/events").await["items"].clone();
    vec![at, diff, history, one]
}

/// Checked from the first commit on, and the views made anew from it are the same.
fn is_whole(site: &Site) {
    let verified = works(site, &["verify-log"]);
    assert!(verified.contains("the log is whole"), "{verified}");
    let replayed = works(site, &["replay", "--verify"]);
    assert!(replayed.contains("byte for byte"), "{replayed}");
}

/// The first event of all comes to who asks for all.
async fn subscribers_reach_the_first(site: &Site) {
    let mut events = site.api().request(Method::GET, "/edgetron/events?after=0").send().await.unwrap();
    let mut text = String::new();
    while !text.contains("NodeRegistered") {
        let chunk = tokio::time::timeout(PATIENCE, events.chunk()).await.expect("in time").unwrap();
        text.push_str(&String::from_utf8_lossy(&chunk.expect("the feed goes on")));
    }
}

#[tokio::test]
async fn what_has_left_the_live_log_is_reached_as_before() {
    let Some(mut site) = a_site("what_has_left_the_live_log_is_reached_as_before").await else { return };
    fails(&site, &["archive", "--before", "100000", "--reason", "too far"], "nothing would leave, or all");
    let before = past(&site).await;
    let dry = works(&site, &["archive", "--before", "40", "--reason", "look", "--dry-run"]);
    assert!(dry.contains("39 commits (1 to 39) would leave"), "{dry}");
    assert_eq!(live_first(&site).await, 1, "a dry run changes nothing");

    archive(&site, BEFORE);
    assert_eq!(live_first(&site).await, BEFORE);
    assert!(!site.state().join("nats/MM3.leaving").exists() && !site.state().join("nats/next").exists());
    let audited = site.api().get("nodes/n1/events?limit=1000").await;
    let audited = audited["items"].as_array().unwrap().iter().find(|event| event["type"] == "NodeLogReleased");
    let audited = audited.expect("it stands in the history");
    assert_eq!((&audited["actor"]["name"], &audited["reason"]), (&json!("admin"), &json!("the disk is small")));
    site.add_flavor("after").await;
    assert_eq!(past(&site).await, before);
    is_whole(&site);
    subscribers_reach_the_first(&site).await;
    let file = site.folder().join("site.edgestack-backup");
    works(&site, &["backup", file.to_str().unwrap()]);
    let told = works(&site, &["verify-backup", file.to_str().unwrap()]);
    assert!(told.contains("the backup is whole"), "{told}");

    // Nothing but log and archive.
    site.daemon.as_mut().unwrap().stop().await;
    for folder in ["views", "snapshots"] {
        fs::remove_dir_all(site.state().join(folder)).unwrap();
    }
    site.up().await;
    assert_eq!(past(&site).await, before);
    is_whole(&site);

    // Once more, further on; what was asked twice is done once.
    archive(&site, BEFORE + 10);
    archive(&site, BEFORE + 10);
    assert_eq!(live_first(&site).await, BEFORE + 10);
    assert_eq!(past(&site).await, before);
    is_whole(&site);
}

#[tokio::test]
async fn a_live_log_that_begins_later_is_repaired_as_such() {
    let Some(mut site) = a_site("a_live_log_that_begins_later_is_repaired_as_such").await else { return };
    archive(&site, BEFORE);
    let before = past(&site).await;
    for what in ["a bit flipped", "the store gone", "the blocks gone", "the record of what may leave changed"] {
        println!("{what}");
        site.add_flavor(&what.replace(' ', "-")).await;
        site.daemon.as_mut().unwrap().stop().await;
        match what {
            "a bit flipped" => blocks(&site.state()).iter().for_each(|block| flip_in_the_middle(block)),
            "the store gone" => fs::remove_dir_all(site.state().join("nats/jetstream")).unwrap(),
            "the blocks gone" => blocks(&site.state()).iter().for_each(|block| fs::remove_file(block).unwrap()),
            _ => {
                // It allows less than has left: the live log lacks its beginning, by all that this site has signed.
                let path = site.state().join("archive/released.json");
                let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                record["sequence"] = json!(3);
                fs::write(&path, record.to_string()).unwrap();
            }
        }
        fs::remove_dir_all(site.state().join("views")).unwrap();
        site.up().await;
        site.await_ready().await;
        // The wish is still in the log: what came back leaves once more, for which nats-server is started anew.
        await_live_first(&site, BEFORE).await;
        site.add_flavor(&format!("{}-mended", what.replace(' ', "-"))).await;
        assert_eq!(past(&site).await, before, "{what}");
        is_whole(&site);
    }
    assert!(site.log().contains("is not signed by this site's key"), "{}", site.log());
}

#[tokio::test]
async fn a_kill_at_any_line_leaves_the_old_live_log_or_the_new_one() {
    let Some(mut site) = a_site("a_kill_at_any_line_leaves_the_old_live_log_or_the_new_one").await else { return };
    let before = past(&site).await;
    let points = ["proven", "recorded", "filled", "between", "swapped", "done"];
    for (round, point) in points.into_iter().enumerate() {
        println!("killed at release.{point}");
        let wanted = BEFORE + 2 * u64::try_from(round).unwrap();
        site.daemon.as_mut().unwrap().stop().await;
        site.up_with(&[("EDGESTACK_CRASH_AT", &format!("release.{point}"))]).await;
        let asked = site.api().request(Method::POST, "/edgetron/log/archive").header("EdgeStack-Reason", "a kill");
        // The kill may be faster than the answer.
        let _ = site.api().send(asked.json(&json!({"before": wanted.to_string()}))).await;
        site.daemon.as_mut().unwrap().await_end(PATIENT).await;
        assert!(site.daemon.as_mut().unwrap().was_killed(), "release.{point} is not reached");
        site.up().await;
        await_live_first(&site, wanted).await;
        assert!(!site.log().contains("it is repaired from the archive"), "nothing is damaged by a kill");
        assert_eq!(past(&site).await, before, "{point}");
        site.add_flavor(&format!("after-{point}")).await;
        is_whole(&site);
    }
}
