//! Webhooks: everything arrives, signed and in order for each object, whatever is killed; nothing arrives where the
//! operator does not allow it; and the secret is nowhere.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use edgestack_e2e::{Delivered, PATIENCE, Receiver, Site, SiteOptions, edgectl, eventually};
use reqwest::Method;
use serde_json::{Value, json};

/// A site with simulated VMs that allows some targets.
async fn a_site(test: &str, allow: &[String]) -> Option<Site> {
    let arguments = allow.iter().flat_map(|entry| ["--webhook-allow".to_owned(), entry.clone()]).collect();
    let mut site = Site::prepare(test, SiteOptions { simulated: true, arguments })?;
    site.up().await;
    site.await_node().await;
    Some(site)
}

async fn add_webhook(site: &Site, name: &str, url: &str) -> String {
    let create = json!({"name": name, "url": url, "filter": {"kinds": ["flavor"]}});
    let made = site.api().post("webhooks", &create).await.expect(201);
    made["secret"].as_str().unwrap().to_owned()
}

async fn add_flavor(site: &Site, name: &str) {
    let flavor = json!({"name": name, "vcpus": 1, "memory_mib": 64, "disk_gib": 1});
    site.api().post("flavors", &flavor).await.expect(201);
}

/// Something happens to a flavor, whether or not the daemon is killed meanwhile.
async fn touch(site: &Site, name: &str, number: u32) -> bool {
    let change = json!({"description": format!("change {number}")});
    let path = format!("flavors/{name}");
    let answer = site.api().send_once(Method::PATCH, &path, Some(&change), &format!("{name}-{number}")).await;
    answer.is_ok_and(|reply| reply.status == 200)
}

async fn webhook(site: &Site, name: &str) -> Result<Value, String> {
    let reply = site.api().look(&format!("webhooks/{name}")).await.map_err(|error| error.to_string())?;
    if reply.status == 200 { Ok(reply.json()) } else { Err(reply.text) }
}

async fn await_state(site: &Site, name: &str, state: &str) -> Value {
    eventually(&format!("webhook {name} is {state}"), PATIENCE, async || {
        let shown = webhook(site, name).await?;
        if shown["state"] == state { Ok(shown) } else { Err(shown.to_string()) }
    })
    .await
}

async fn await_all_delivered(site: &Site, name: &str) {
    eventually(&format!("webhook {name} has delivered everything"), PATIENCE, async || {
        let shown = webhook(site, name).await?;
        let delivery = &shown["delivery"];
        if delivery["waiting_events"] == 0 && delivery["behind_commits"] == 0 { Ok(()) } else { Err(shown.to_string()) }
    })
    .await;
}

/// All events of flavors that the log has, as `sequence.index`.
async fn in_the_log(site: &Site) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut token = String::new();
    loop {
        let path = format!("/edgetron/log/history?kind=flavor&outcome=events&order=oldest&limit=1000{token}");
        let page = site.api().get(&path).await;
        all.extend(page["items"].as_array().unwrap().iter().map(|one| one["sequence"].to_string()));
        match page["continue"].as_str() {
            Some(next) => token = format!("&continue={next}"),
            None => return all,
        }
    }
}

/// Standard Webhooks by another implementation of HMAC than the sender's.
fn assert_signed(delivered: &[Delivered], secret: &str) {
    let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key);
    for one in delivered {
        let mut signed = format!("{}.{}.", one.header("webhook-id"), one.header("webhook-timestamp")).into_bytes();
        signed.extend_from_slice(&one.body);
        let signature = one.header("webhook-signature").strip_prefix("v1,").expect("one signature");
        ring::hmac::verify(&key, &signed, &BASE64.decode(signature).unwrap()).expect("it is ours");
        let other = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"another");
        assert!(ring::hmac::verify(&other, &signed, &BASE64.decode(signature).unwrap()).is_err());
    }
}

/// Each object's events in their order, repetitions apart; and one message has one content.
fn assert_in_order(delivered: &[Delivered]) {
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for one in delivered {
        let id = one.header("webhook-id").to_owned();
        if let Some(before) = seen.insert(id.clone(), one.body.clone()) {
            assert_eq!(before, one.body, "{id} came with another body");
            continue;
        }
        let before = last.insert(one.object(), one.sequence()).unwrap_or(0);
        assert!(before < one.sequence(), "{} of {} came after {before}", one.sequence(), one.object());
    }
}

#[tokio::test]
async fn a_daemon_that_is_killed_in_the_middle_of_deliveries_loses_none() {
    let test = "a_daemon_that_is_killed_in_the_middle_of_deliveries_loses_none";
    let receiver = Receiver::start();
    let Some(mut site) = a_site(test, &[format!("http://{}", receiver.address)]).await else { return };
    let secret = add_webhook(&site, "hook", &format!("http://{}/edge", receiver.address)).await;
    for name in ["a", "b", "c"] {
        add_flavor(&site, name).await;
    }
    receiver.take(Duration::from_millis(3));
    let mut number = 0;
    let crashes = ["webhook.deliver.before:4", "webhook.deliver.after:4", "webhook.deliver.after:9", "", "", "", ""];
    for crash_at in crashes {
        if !crash_at.is_empty() {
            site.kill_daemon();
            let came_up = site.try_up_with(&[("EDGESTACK_CRASH_AT", crash_at)]).await;
            println!("with a crash at {crash_at}: came up: {came_up}");
        }
        for _ in 0..12 {
            number += 1;
            for name in ["a", "b", "c"] {
                touch(&site, name, number).await;
            }
        }
        if !crash_at.is_empty() {
            let daemon = site.daemon.as_mut().unwrap();
            let ended = async || daemon.ended().map(drop).ok_or_else(|| "it lives".to_owned());
            eventually("the daemon has killed itself", PATIENCE, ended).await;
        }
        site.kill_daemon();
        site.up().await;
        site.await_ready().await;
    }
    await_all_delivered(&site, "hook").await;
    let delivered = receiver.delivered();
    assert_signed(&delivered, &secret);
    assert_in_order(&delivered);
    assert!(delivered.iter().all(|one| one.line == "POST /edge HTTP/1.1"), "{}", delivered[0].line);
    let arrived: BTreeSet<String> = delivered.iter().map(|one| one.sequence().to_string()).collect();
    let log = in_the_log(&site).await;
    assert!(log.len() > 100, "{} events", log.len());
    assert_eq!(arrived, log, "what arrived, and what is in the log");
    println!("{} requests for {} events", delivered.len(), log.len());
    // Nothing of that is in the log itself.
    assert_eq!(site.api().get("webhooks/hook/events").await["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_receiver_that_is_down_gets_all_when_it_is_back_and_one_that_is_gone_is_left_alone() {
    let test = "a_receiver_that_is_down_gets_all_when_it_is_back_and_one_that_is_gone_is_left_alone";
    let receiver = Receiver::start();
    let address = receiver.address;
    let Some(site) = a_site(test, &[format!("http://{address}")]).await else { return };
    let secret = add_webhook(&site, "hook", &format!("http://{address}/")).await;
    add_flavor(&site, "a").await;
    await_all_delivered(&site, "hook").await;
    let before = receiver.delivered();
    drop(receiver);
    for number in 0..5 {
        assert!(touch(&site, "a", number).await);
    }
    let shown = await_state(&site, "hook", "failing").await;
    assert_eq!(shown["waiting"]["owner"], "worker.webhook");
    let reason = shown["waiting"]["reason"].as_str().unwrap();
    assert!(reason.contains("5 events") && reason.contains("no connection to"), "{reason}");
    let explained = works(&site, "explain webhook/hook");
    for part in ["failing", "worker.webhook", "5 events", "no connection to", "tried again"] {
        assert!(explained.contains(part), "{part:?} is not in {explained}");
    }
    let receiver = Receiver::at(address);
    await_state(&site, "hook", "active").await;
    await_all_delivered(&site, "hook").await;
    let delivered = [before, receiver.delivered()].concat();
    assert_in_order(&delivered);
    assert_signed(&delivered, &secret);
    assert_eq!(delivered.len(), 6);
    receiver.answer(410);
    assert!(touch(&site, "a", 6).await);
    let shown = await_state(&site, "hook", "disabled").await;
    assert!(shown["waiting"]["fix"].as_str().unwrap().contains("edgectl update-webhook hook --resume"), "{shown}");
    assert!(touch(&site, "a", 7).await);
    receiver.answer(204);
    let came = receiver.delivered().len();
    works(&site, "update-webhook hook --resume");
    await_all_delivered(&site, "hook").await;
    let sequences: Vec<u64> = receiver.delivered()[came..].iter().map(Delivered::sequence).collect();
    assert_eq!(sequences.len(), 2, "the one that was refused, and the one after it: {sequences:?}");
    let events = site.api().get("webhooks/hook/events").await;
    let types: Vec<&str> =
        events["items"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap()).collect();
    let wanted = ["WebhookCreated", "WebhookFailing", "WebhookRecovered", "WebhookDisabled", "WebhookUpdated"];
    assert_eq!(types, wanted);
    let metrics = site.api().look("/metrics").await.unwrap().text;
    assert!(metrics.contains("edgestack_webhook_deliveries_total{outcome=\"delivered\"} 8"), "{metrics}");
}

#[tokio::test]
async fn a_name_that_leads_to_a_forbidden_address_is_never_reached() {
    let receiver = Receiver::start();
    let port = receiver.address.port();
    let allow = [format!("http://localhost:{port}"), format!("http://0.0.0.0/0:{port}")];
    let Some(site) = a_site("a_name_that_leads_to_a_forbidden_address_is_never_reached", &allow).await else { return };
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://169.254.169.254:{port}/latest/meta-data"),
        format!("https://localhost:{port}/"),
        "https://elsewhere.example.com/".to_owned(),
    ] {
        let refused = site.api().post("webhooks", &json!({"name": "bad", "url": url})).await;
        assert_eq!(refused.expect(403)["code"], "webhook-target-not-allowed", "{url}");
        assert!(refused.text.contains("--webhook-allow"), "{}", refused.text);
    }
    // The name itself is allowed; where it leads is not.
    add_webhook(&site, "hook", &format!("http://localhost:{port}/")).await;
    add_flavor(&site, "a").await;
    let shown = await_state(&site, "hook", "failing").await;
    let reason = shown["waiting"]["reason"].as_str().unwrap();
    assert!(reason.contains("loopback address") && reason.contains("--webhook-allow"), "{reason}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(receiver.delivered().is_empty());
    let metrics = site.api().look("/metrics").await.unwrap().text;
    assert!(metrics.contains("edgestack_webhook_deliveries_total{outcome=\"refused\"}"), "{metrics}");
}

#[tokio::test]
async fn a_site_that_allows_nothing_says_how_to_allow_something() {
    let Some(site) = a_site("a_site_that_allows_nothing_says_how_to_allow_something", &[]).await else { return };
    let words = fails(&site, "create-webhook ops --target https://hooks.example.com/edge", 1);
    assert!(words.contains("--webhook-allow hooks.example.com"), "{words}");
}

#[tokio::test]
async fn edgectl_leads_a_webhook_through_its_life_and_the_secret_is_nowhere() {
    let receiver = Receiver::start();
    let test = "edgectl_leads_a_webhook_through_its_life_and_the_secret_is_nowhere";
    let Some(mut site) = a_site(test, &[format!("http://{}", receiver.address)]).await else { return };
    let url = format!("http://{}/", receiver.address);
    let made = works(&site, &format!("create-webhook trial --target {url} --dry-run"));
    assert!(made.contains("would be created"), "{made}");
    let kept = site.folder().join("hook.secret");
    let said = works(
        &site,
        &format!(
            "create-webhook hook --target {url} --event-kind flavor --label team=ops --secret-file {}",
            kept.display()
        ),
    );
    assert!(said.contains(&kept.display().to_string()), "{said}");
    let secret = fs::read_to_string(&kept).unwrap().trim().to_owned();
    assert!(secret.starts_with("whsec_") && !said.contains(&secret));
    add_flavor(&site, "a").await;
    await_all_delivered(&site, "hook").await;
    assert_signed(&receiver.delivered(), &secret);
    let table = works(&site, "list-webhooks --label team=ops");
    assert!(table.contains("hook") && table.contains("active") && table.contains("kind flavor"), "{table}");
    assert_eq!(works(&site, "list-webhooks -o name").trim(), "hook");
    let sheet = works(&site, "show-webhook hook");
    assert!(sheet.contains("delivered events") && sheet.contains(&url), "{sheet}");
    works(&site, "update-webhook hook --pause --reason maintenance");
    assert!(works(&site, "explain webhook/hook").contains("--resume"));
    works(&site, "update-webhook hook --resume --skip --event-name a,b");
    assert!(works(&site, "show-webhook hook").contains("name a|b"));
    let rotated = works(&site, "rotate-webhook-secret hook --previous-valid-seconds 0 -o json");
    let other = serde_json::from_str::<Value>(&rotated).unwrap()["secret"].as_str().unwrap().to_owned();
    assert_ne!(other, secret);
    let came = receiver.delivered().len();
    assert!(touch(&site, "a", 1).await);
    await_all_delivered(&site, "hook").await;
    assert_signed(&receiver.delivered()[came..], &other);
    let events = works(&site, "show-webhook-events hook");
    assert!(events.contains("signed with a new secret") && events.contains("paused"), "{events}");
    assert!(works(&site, "show-webhook-events hook -o json").contains("maintenance"), "the reason is kept");
    fails(&site, "update-webhook hook", 2);
    fails(&site, "show-webhook none", 1);

    // Everything that is said of it, and every file of the site but the key's own.
    let mut seen = String::new();
    for line in [
        "show-webhook hook -o json",
        "show-webhook-events hook -o json",
        "history -o json",
        "explain webhook/hook -o json",
    ] {
        seen.push_str(&works(&site, line));
    }
    seen.push_str(&site.api().get("/edgetron/log/diff?from=1").await.to_string());
    works(&site, "remove-webhook hook");
    fails(&site, "show-webhook hook", 1);
    site.kill_daemon();
    site.up().await;
    let log = site.log();
    fs::remove_file(&kept).unwrap();
    for secret in [secret, other] {
        let bare = secret.strip_prefix("whsec_").unwrap();
        assert!(!seen.contains(bare) && !log.contains(bare), "a secret was told");
        assert_nowhere(&site.state(), bare);
    }
}

#[tokio::test]
async fn a_worker_in_a_process_of_its_own_delivers_and_may_be_killed_alone() {
    let test = "a_worker_in_a_process_of_its_own_delivers_and_may_be_killed_alone";
    let receiver = Receiver::start();
    let arguments = vec!["--webhook-allow".to_owned(), format!("http://{}", receiver.address)];
    let Some(mut site) = Site::prepare(test, SiteOptions { simulated: true, arguments }) else { return };
    let mut main = site.spawn(&["--roles", "nats,engine,api,worker.monitoring"], &[]);
    site.await_api(&mut main).await.unwrap();
    site.daemon = Some(main);
    site.await_node().await;
    let client = fs::read(site.state().join("client.json")).unwrap();
    let spawn = |site: &Site| {
        let worker = site.spawn(&["--roles", "worker.webhook"], &[]);
        // Only the API writes it, at its start.
        fs::write(site.state().join("client.json"), &client).unwrap();
        worker
    };
    let mut worker = spawn(&site);
    let create = json!({"name": "hook", "url": format!("http://{}/", receiver.address), "filter": {"kinds": ["flavor"], "labels": {"app": "web"}}});
    site.api().post("webhooks", &create).await.expect(201);
    add_flavor(&site, "a").await;
    let labels = json!({"labels": {"app": "web"}});
    site.api().send_once(Method::PATCH, "flavors/a", Some(&labels), "web").await.unwrap().expect(200);
    let came = async || (!receiver.delivered().is_empty()).then_some(()).ok_or_else(|| "nothing came".to_owned());
    eventually("the first event came", PATIENCE, came).await;
    worker.kill();
    for number in 0..5 {
        assert!(touch(&site, "a", number).await);
    }
    let _worker = spawn(&site);
    await_all_delivered(&site, "hook").await;
    let delivered = receiver.delivered();
    assert_in_order(&delivered);
    let arrived: BTreeSet<u64> = delivered.iter().map(Delivered::sequence).collect();
    assert_eq!(arrived.len(), 6, "not the making, as it had no labels then: {arrived:?}");
}

fn assert_nowhere(folder: &Path, secret: &str) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_nowhere(&path, secret);
        } else if path.is_file() {
            let bytes = fs::read(&path).unwrap_or_default();
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "the secret is in {}", path.display());
        }
    }
}

fn run(site: &Site, line: &str) -> Output {
    Command::new(edgectl())
        .args(line.split(' '))
        .env("EDGESTACK_URL", &site.api().url)
        .env("EDGESTACK_TOKEN", &site.api().token)
        .env("HOME", site.folder())
        .env("NO_COLOR", "1")
        .env_remove("XDG_CONFIG_HOME")
        .output()
        .expect("edgectl runs")
}

#[track_caller]
fn works(site: &Site, line: &str) -> String {
    let output = run(site, line);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "edgectl {line}: {}: {words}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[track_caller]
fn fails(site: &Site, line: &str, code: i32) -> String {
    let output = run(site, line);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "edgectl {line}: {words}");
    words
}
