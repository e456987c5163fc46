//! A change that is sent again with its Idempotency-Key takes effect once, whichever process was killed in between: it gets the
//! first answer, and another request under the key is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use edgestack_e2e::{PATIENCE, Reply, Site, eventually};
use reqwest::Method;
use serde_json::{Value, json};

/// A change under a key, and another one that must not be taken for it.
struct Request {
    key: &'static str,
    method: Method,
    path: &'static str,
    body: Option<Value>,
    other: (&'static str, Option<Value>),
}

fn a_flavor(name: &str) -> Value {
    json!({"name": name, "vcpus": 1, "memory_mib": 32, "disk_gib": 1})
}

fn requests() -> [Request; 4] {
    let vm = |name: &str| Some(json!({"name": name, "image": "tiny", "flavor": "tiny"}));
    let words = |text: &str| Some(json!({ "description": text }));
    [
        Request {
            key: "made",
            method: Method::POST,
            path: "flavors",
            body: Some(a_flavor("made")),
            other: ("flavors", Some(a_flavor("other"))),
        },
        Request { key: "vm", method: Method::POST, path: "vms", body: vm("web"), other: ("vms", vm("other")) },
        Request {
            key: "changed",
            method: Method::PATCH,
            path: "flavors/tiny",
            body: words("small"),
            other: ("flavors/tiny", words("smaller")),
        },
        Request {
            key: "removed",
            method: Method::DELETE,
            path: "flavors/gone",
            body: None,
            other: ("flavors/made", None),
        },
    ]
}

/// What of an answer stays the same; what is shown is the object as it is now.
fn answer(reply: &Reply) -> (u16, String, String, Value) {
    let (sequence, location) = (reply.header("edgestack-sequence"), reply.header("location"));
    (reply.status, sequence.to_owned(), location.to_owned(), reply.json()["id"].clone())
}

async fn send(site: &Site, method: &Method, path: &str, body: Option<&Value>, key: &str) -> Reply {
    site.api().send_once(method.clone(), path, body, key).await.expect("an answer")
}

async fn answered_as_first(site: &Site, first: &[Reply], when: &str) {
    for (request, first) in requests().iter().zip(first) {
        let Request { key, method, path, body, other } = request;
        let again = send(site, method, path, body.as_ref(), key).await;
        assert_eq!(answer(&again), answer(first), "{key} after {when}: {}", again.text);
        assert_eq!(again.header("idempotent-replayed"), "true", "{key} after {when}");
        let refused = send(site, method, other.0, other.1.as_ref(), key).await;
        assert_eq!(refused.expect(422)["code"], "idempotency-key-reused", "{key} after {when}: {}", refused.text);
    }
    let flavors = site.api().get("flavors").await;
    let names: Vec<_> = flavors["items"].as_array().unwrap().iter().map(|flavor| flavor["name"].clone()).collect();
    assert_eq!(names, ["made", "tiny"], "after {when}");
    assert_eq!(site.api().event_types("web").await.iter().filter(|one| *one == "VmCreated").count(), 1, "after {when}");
}

async fn kill_nats(site: &Site) {
    let old = site.nats_pid();
    site.kill_nats();
    eventually("nats-server is restarted", PATIENCE, async || {
        site.nats_pid().filter(|new| Some(*new) != old).ok_or_else(|| "none runs".to_owned())
    })
    .await;
    site.await_ready().await;
}

async fn kill_daemon(site: &mut Site) {
    site.kill_daemon();
    site.up().await;
    site.await_node().await;
}

#[tokio::test]
async fn a_repetition_gets_the_first_answer_after_the_daemon_and_nats_were_killed() {
    let name = "a_repetition_gets_the_first_answer_after_the_daemon_and_nats_were_killed";
    let Some(mut site) = Site::start_simulated(name).await else { return };
    site.add_tiny().await;
    site.api().post("flavors", &a_flavor("gone")).await.accepted();
    let mut first = Vec::new();
    for Request { key, method, path, body, .. } in requests() {
        let reply = send(&site, &method, path, body.as_ref(), key).await;
        reply.accepted();
        assert_eq!(reply.header("idempotent-replayed"), "", "{key}");
        first.push(reply);
    }
    answered_as_first(&site, &first, "nothing").await;
    kill_daemon(&mut site).await;
    answered_as_first(&site, &first, "the daemon was killed").await;
    kill_nats(&site).await;
    answered_as_first(&site, &first, "nats-server was killed").await;
    // What the views remember is gone with them; the log has it.
    site.kill_daemon();
    site.kill_nats();
    std::fs::remove_dir_all(site.state().join("views")).unwrap();
    site.up().await;
    site.await_node().await;
    answered_as_first(&site, &first, "both were killed and the views deleted").await;
    site.daemon.as_mut().unwrap().stop().await;
}

/// Sends a change, has something killed while it is on its way, and sends it until it is answered.
async fn sent_until_answered(site: &mut Site, flavor: &str, kill: impl AsyncFnOnce(&mut Site)) {
    let (api, body) = (site.api().clone(), a_flavor(flavor));
    let key = flavor.to_owned();
    let on_its_way = tokio::spawn(async move { api.send_once(Method::POST, "flavors", Some(&body), &key).await });
    kill(site).await;
    // Whether it took effect or not, and whether that was told or not.
    let first = on_its_way.await.unwrap().ok().filter(|reply| reply.status == 201);
    let again = eventually("the change is acknowledged", PATIENCE, async || {
        let reply = site.api().send_once(Method::POST, "flavors", Some(&a_flavor(flavor)), flavor).await;
        let reply = reply.map_err(|error| error.to_string())?;
        // Anything but "not now" is final: 409 would mean that it took effect before, and nobody remembers the key.
        assert!([201, 503].contains(&reply.status), "{}", reply.text);
        if reply.status == 201 { Ok(reply) } else { Err(reply.text) }
    })
    .await;
    if let Some(first) = first {
        assert_eq!(answer(&again), answer(&first), "{flavor}");
    }
    let events = site.api().get(&format!("flavors/{flavor}/events")).await;
    assert_eq!(events["items"].as_array().unwrap().len(), 1, "{events}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_on_its_way_at_a_kill_takes_effect_once() {
    let Some(mut site) = Site::start_simulated("a_change_on_its_way_at_a_kill_takes_effect_once").await else { return };
    for round in 0..5 {
        sent_until_answered(&mut site, &format!("daemon-{round}"), async |site| kill_daemon(site).await).await;
        sent_until_answered(&mut site, &format!("nats-{round}"), async |site| kill_nats(site).await).await;
    }
    site.daemon.as_mut().unwrap().stop().await;
}
