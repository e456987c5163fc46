//! The event log as a contract for programs in any language: what is served about it is true of a real run, a program in
//! another language reads, checks and follows it, and the user that it logs in as can do nothing else.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
};

use edgestack_e2e::{
    PATIENCE, Site, edgectl, eventually,
    nats::{auditor, read_all},
    python,
};
use futures::StreamExt as _;
use jsonschema::Validator;
use serde_json::{Value, json};

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A bit of everything that happens without a hypervisor.
async fn live(site: &Site) {
    site.add_tiny().await;
    let api = site.api();
    let labels = json!({"labels": {"tier": "front"}});
    api.send(api.request(reqwest::Method::PATCH, "flavors/tiny").json(&labels)).await.unwrap().accepted();
    api.post("keypairs", &json!({"name": "k"})).await.accepted();
    let image = json!({"name": "missing", "format": "raw", "source": {"type": "path", "path": "/nowhere/at/all"}});
    api.post("images", &image).await.accepted();
    site.create("a", &json!({"keypair": "k", "user_data": "#cloud-config\n{}\n"})).await;
    site.await_vm("a", "running").await;
    api.act("a", &json!({"action": "pause"})).await.accepted();
    site.await_vm("a", "paused").await;
    api.act("a", &json!({"action": "unpause"})).await.accepted();
    site.await_vm("a", "running").await;
    api.act("a", &json!({"action": "restart"})).await.accepted();
    api.post("nodes/n1/action", &json!({"action": "cordon"})).await.accepted();
    site.create("b", &json!({})).await;
    site.await_event("b", "VmUnschedulable", PATIENCE).await;
    api.post("nodes/n1/action", &json!({"action": "uncordon"})).await.accepted();
    site.await_vm("b", "running").await;
    api.act("b", &json!({"action": "stop"})).await.accepted();
    site.await_vm("b", "stopped").await;
    for vm in ["a", "b"] {
        api.delete(&format!("vms/{vm}")).await.accepted();
        site.await_no_vm(vm).await;
    }
    for gone in ["keypairs/k", "flavors/tiny"] {
        api.delete(gone).await.accepted();
    }
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft202012::options().should_validate_formats(true).build(schema).unwrap()
}

fn complaints(validator: &Validator, value: &Value) -> Vec<String> {
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The schema at an absolute address, asked for without a token.
async fn schema_at(url: &str) -> Validator {
    let answer = reqwest::get(url).await.unwrap();
    assert_eq!(answer.status(), 200, "{url}");
    validator(&serde_json::from_str(&answer.text().await.unwrap()).unwrap())
}

/// The CloudEvents of the feed from the beginning to the end of the log as it is now.
async fn told(site: &Site, upto: u64) -> Vec<Value> {
    let request = site.api().request(reqwest::Method::GET, "/edgetron/events?after=0");
    let mut bytes = request.send().await.unwrap().bytes_stream();
    let (mut text, mut events) = (String::new(), Vec::new());
    loop {
        let chunk = tokio::time::timeout(PATIENCE, bytes.next()).await.expect("in time").expect("no end").unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        while let Some((event, rest)) = text.split_once("\n\n") {
            let data = event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
            let data: Value = serde_json::from_str(data).unwrap();
            text = rest.to_owned();
            if data["specversion"] == "1.0" {
                events.push(data);
            }
        }
        let last = events.last().and_then(|event| event["sequence"].as_str()?.parse().ok());
        if last.is_some_and(|last: u64| last >= upto) {
            return events;
        }
    }
}

#[tokio::test]
async fn every_event_of_a_real_run_keeps_the_schema_that_the_site_serves() {
    let test = "every_event_of_a_real_run_keeps_the_schema_that_the_site_serves";
    let Some(site) = Site::start_simulated(test).await else { return };
    live(&site).await;

    let served = Command::new(edgectl())
        .args(["api", "GET", "/asyncapi.json"])
        .env("EDGESTACK_URL", &site.api().url)
        .env("EDGESTACK_TOKEN", &site.api().token)
        .env("HOME", site.folder())
        .output()
        .unwrap();
    let document: Value = serde_json::from_slice(&served.stdout).unwrap();
    assert_eq!(edgestack_asyncapi::complaints(&document), Vec::<String>::new());
    let nats_url = site.client_file()["nats_url"].as_str().unwrap().to_owned();
    assert!(nats_url.ends_with(&format!("@{}", document["servers"]["log"]["host"].as_str().unwrap())), "{nats_url}");
    assert!(site.api().url.ends_with(document["servers"]["api"]["host"].as_str().unwrap()));
    let payload = |message: &Value| {
        let mut schema = message["payload"].clone();
        schema["components"] = json!({"schemas": document["components"]["schemas"]});
        jsonschema::draft7::options().should_validate_formats(true).build(&schema).unwrap()
    };

    // The stream: each commit, and each event in it.
    let lines = read_all(&auditor(&site).await).await;
    let message = payload(&document["components"]["messages"]["Commit"]);
    let commit_schema = schema_at(&format!("{}/schemas/Commit/1", site.api().url)).await;
    let mut types = BTreeSet::new();
    for line in &lines {
        let commit: Value = serde_json::from_slice(&line.payload).unwrap();
        assert_eq!(complaints(&commit_schema, &commit), Vec::<String>::new());
        assert!(message.is_valid(&commit), "{commit}");
        for event in commit["events"].as_array().unwrap() {
            let url = format!("{}/schemas/{}/{}", site.api().url, event["type"].as_str().unwrap(), event["version"]);
            let schema = schema_at(&url).await;
            assert_eq!(complaints(&schema, event), Vec::<String>::new(), "{event}");
            for field in ["name", "generation", "data"] {
                let mut other = event.clone();
                other[field] = json!([7]);
                assert!(!schema.is_valid(&other), "{field} of {event} may be anything");
            }
            types.insert(event["type"].as_str().unwrap().to_owned());
        }
    }
    assert!(types.len() >= 25, "only {types:?}");

    // The feed: each event as a CloudEvent, by the schema that it names itself.
    let events = told(&site, lines.len() as u64).await;
    let messages = document["channels"]["events"]["messages"].as_object().unwrap();
    let mut told_types = BTreeSet::new();
    for event in &events {
        let (name, version) = (event["data"]["type"].as_str().unwrap(), &event["data"]["version"]);
        let schema = schema_at(event["dataschema"].as_str().unwrap()).await;
        assert_eq!(complaints(&schema, &event["data"]), Vec::<String>::new(), "{event}");
        let reference = messages[&format!("{name}.v{version}")]["$ref"].as_str().unwrap();
        let message = payload(edgestack_asyncapi::target(&document, reference).unwrap());
        assert_eq!(complaints(&message, event), Vec::<String>::new(), "{event}");
        told_types.insert(name.to_owned());
    }
    assert_eq!(told_types, types);
}

/// docs/examples/follow_log.py, as a user runs it.
struct Follower {
    child: Child,
    lines: Receiver<Value>,
    position: PathBuf,
}

impl Follower {
    fn start(python: &Path, site: &Site, more: &[&str]) -> Self {
        let position = site.folder().join("seen.json");
        let mut child = Command::new(python)
            .arg(repository().join("docs/examples/follow_log.py"))
            .arg("--client-file")
            .arg(site.state().join("client.json"))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // Who listens may be gone.
                let _ = sender.send(serde_json::from_str(&line).expect("a line of JSON"));
            }
        });
        Self { child, lines, position }
    }

    fn following(python: &Path, site: &Site) -> Self {
        let position = site.folder().join("seen.json");
        Self::start(python, site, &["--position", position.to_str().unwrap()])
    }

    /// All lines up to one of this type and object.
    fn until(&mut self, event_type: &str, object: &str) -> Vec<Value> {
        let mut seen = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE).unwrap_or_else(|error| {
                panic!("no {event_type} of {object} ({error}; {:?}): {seen:?}", self.child.try_wait());
            });
            let found = line["type"] == event_type && line["object"] == object;
            seen.push(line);
            if found {
                return seen;
            }
        }
    }

    /// Waits until it has noted that it came so far.
    async fn noted(&self, sequence: &Value) {
        eventually("the position is kept", PATIENCE, async || {
            let kept = fs::read_to_string(&self.position).unwrap_or_default();
            let kept: Value = serde_json::from_str(&kept).unwrap_or_default();
            if kept["sequence"].as_u64() >= sequence.as_u64() { Ok(()) } else { Err(kept.to_string()) }
        })
        .await;
    }

    /// `kill -9`; what it had printed already.
    fn kill(mut self) -> Vec<Value> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.lines, mpsc::channel().1).iter().collect()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// (sequence, type, object) of each event, as the client prints it.
fn brief(lines: &[Value]) -> Vec<(u64, String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    lines.iter().map(|line| (line["sequence"].as_u64().unwrap(), text(&line["type"]), text(&line["object"]))).collect()
}

#[tokio::test]
async fn a_program_in_another_language_reads_checks_and_follows_the_log() {
    let test = "a_program_in_another_language_reads_checks_and_follows_the_log";
    let Some(python) = python(test) else { return };
    let Some(site) = Site::start_simulated(test).await else { return };
    site.add_tiny().await;

    // From the first commit on, and then as it happens.
    let mut follower = Follower::following(&python, &site);
    let mut seen = follower.until("FlavorCreated", "flavor/tiny");
    assert_eq!(seen[0]["sequence"], 1);
    site.create_tiny("a").await;
    site.await_vm("a", "running").await;
    seen.extend(follower.until("VmStarted", "vm/a"));

    // The server goes away and comes back; the program stays.
    site.kill_nats();
    site.await_ready().await;
    site.create_tiny("b").await;
    site.await_vm("b", "running").await;
    seen.extend(follower.until("VmStarted", "vm/b"));

    // The program goes away and comes back; it goes on where it was.
    follower.noted(&seen.last().unwrap()["sequence"]).await;
    seen.extend(follower.kill());
    for vm in ["a", "b"] {
        site.api().delete(&format!("vms/{vm}")).await.accepted();
        site.await_no_vm(vm).await;
    }
    let mut again = Follower::following(&python, &site);
    seen.extend(again.until("VmDeleted", "vm/b"));
    drop(again);

    // Nothing was missed or told twice, and a second look from the beginning sees the same.
    let history = site.api().get("/edgetron/log/history?outcome=events&order=oldest&limit=1000").await;
    let truth: Vec<Value> = history["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let object = format!("{}/{}", item["kind"].as_str().unwrap(), item["name"].as_str().unwrap());
            json!({"sequence": item["sequence"], "type": item["type"], "object": object})
        })
        .collect();
    let truth = brief(&truth);
    assert_eq!(brief(&seen), truth[..seen.len()]);
    let whole = Command::new(&python)
        .arg(repository().join("docs/examples/follow_log.py"))
        .arg("--client-file")
        .arg(site.state().join("client.json"))
        .arg("--no-follow")
        .output()
        .unwrap();
    assert!(whole.status.success(), "{}", String::from_utf8_lossy(&whole.stderr));
    let whole: Vec<Value> =
        String::from_utf8(whole.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(brief(&whole), truth);

    // What was changed on the way is noticed.
    let noticed = Command::new(&python)
        .arg(repository().join("tests/e2e/python/client_notices_damage.py"))
        .arg(repository().join("docs/examples"))
        .arg(site.state().join("client.json"))
        .output()
        .unwrap();
    assert!(noticed.status.success(), "{}", String::from_utf8_lossy(&noticed.stderr));
}

#[tokio::test]
async fn the_user_who_reads_the_log_can_do_nothing_else() {
    let test = "the_user_who_reads_the_log_can_do_nothing_else";
    let Some(python) = python(test) else { return };
    let Some(site) = Site::start_simulated(test).await else { return };
    site.add_tiny().await;
    let client = auditor(&site).await;
    let stream = async_nats::jetstream::new(client.clone()).get_stream("MM3").await.unwrap();
    let before = (stream.get_info().await.unwrap().config, read_all(&client).await);
    let tried = Command::new(&python)
        .arg(repository().join("tests/e2e/python/auditor_is_refused.py"))
        .arg(site.state().join("client.json"))
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&tried.stdout).into_owned();
    assert!(tried.status.success(), "{words}{}", String::from_utf8_lossy(&tried.stderr));
    assert_eq!(words, "45 refused\n");
    let after = (stream.get_info().await.unwrap().config, read_all(&client).await);
    assert_eq!(after.0, before.0);
    let payloads =
        |lines: &[edgestack_e2e::nats::Line]| lines.iter().map(|line| line.payload.clone()).collect::<Vec<_>>();
    assert_eq!(payloads(&after.1)[..before.1.len()], payloads(&before.1));
    // What a quiet site adds meanwhile is its own.
    for line in &after.1[before.1.len()..] {
        let commit: Value = serde_json::from_slice(&line.payload).unwrap();
        assert_eq!(commit["site"], "e2e", "{commit}");
    }
}
