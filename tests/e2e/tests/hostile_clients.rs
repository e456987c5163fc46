//! Clients that send nothing, too much, too slowly, the wrong thing, or all at once: each gets its answer, the others go
//! on being served.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use edgestack_e2e::{Api, PREFIXES, Site, eventually};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// What another client's request may take meanwhile, on a machine that is busy with other tests.
const SERVED_WITHIN: Duration = Duration::from_secs(2);
/// The server gives a connection that says nothing 10 s.
const IDLE_END: Duration = Duration::from_secs(30);

/// This process holds the clients' ends of a thousand connections.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum.or(Some(65_536));
    setrlimit(Resource::Nofile, limit).expect("our own limit");
}

fn address(site: &Site) -> String {
    site.api().url.strip_prefix("http://").unwrap().to_owned()
}

async fn is_served(api: &Api) {
    let begun = Instant::now();
    api.get("flavors").await;
    assert!(begun.elapsed() < SERVED_WITHIN, "a read took {:?}", begun.elapsed());
    let begun = Instant::now();
    let reply = api.post("flavors?dry_run=true", &a_flavor("dry")).await;
    assert!(reply.status < 300, "{}", reply.text);
    assert!(begun.elapsed() < SERVED_WITHIN, "a change took {:?}", begun.elapsed());
}

fn a_flavor(name: &str) -> Value {
    json!({"name": name, "vcpus": 1, "memory_mib": 32, "disk_gib": 1})
}

/// Sends bytes as they are; gives all that comes back.
async fn raw(site: &Site, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address(site)).await.unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_silent_connections_hold_up_nobody_and_are_closed() {
    let test = "a_thousand_silent_connections_hold_up_nobody_and_are_closed";
    let Some(site) = Site::start_simulated(test).await else { return };
    raise_descriptor_limit();
    let mut silent = Vec::new();
    for _ in 0..1000 {
        silent.push(TcpStream::connect(address(&site)).await.expect("accepted"));
    }
    for _ in 0..5 {
        is_served(site.api()).await;
    }
    let begun = Instant::now();
    for mut stream in silent {
        let mut rest = Vec::new();
        let left = IDLE_END.saturating_sub(begun.elapsed());
        let closed = tokio::time::timeout(left, stream.read_to_end(&mut rest)).await;
        assert!(closed.is_ok(), "a silent connection is still open after {:?}", begun.elapsed());
    }
    is_served(site.api()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_send_their_request_byte_by_byte_are_cut_off() {
    let Some(site) = Site::start_simulated("clients_that_send_their_request_byte_by_byte_are_cut_off").await else {
        return;
    };
    let begun = Instant::now();
    let slow: Vec<_> = (0..200)
        .map(|_| {
            let address = address(&site);
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.expect("accepted");
                let request = format!("GET /healthz HTTP/1.1\r\nHost: a\r\nX-Slow: {}", "a".repeat(4000));
                for byte in request.bytes() {
                    let sent = stream.write_all(&[byte]).await;
                    let mut answer = [0; 512];
                    let heard = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut answer)).await;
                    if sent.is_err() || matches!(heard, Ok(Ok(0) | Err(_))) {
                        return;
                    }
                }
            })
        })
        .collect();
    for _ in 0..5 {
        is_served(site.api()).await;
    }
    for client in slow {
        let left = IDLE_END.saturating_sub(begun.elapsed());
        tokio::time::timeout(left, client).await.expect("cut off").expect("no panic");
    }
    is_served(site.api()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_a_hundred_megabytes_is_refused_at_once() {
    let Some(site) = Site::start_simulated("a_body_of_a_hundred_megabytes_is_refused_at_once").await else { return };
    let api = site.api();
    for (path, method) in [("vms", Method::POST), ("flavors", Method::POST), ("images", Method::POST)] {
        let begun = Instant::now();
        let head = format!(
            "{method} {}/{path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 104857600\r\nConnection: close\r\n\r\n",
            PREFIXES[0], api.token
        );
        let answer = raw(&site, head.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{path}: {answer:.200}");
        assert!(answer.contains("application/problem+json"), "{answer}");
        assert!(begun.elapsed() < Duration::from_secs(5), "after {:?}", begun.elapsed());
    }
    // Without a length beforehand it is cut off on the way.
    let pieces = futures::stream::iter((0..100).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1 << 20])));
    let request = api
        .request(Method::POST, "vms")
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(pieces));
    // An error is the connection that was closed while we still sent.
    if let Ok(reply) = api.send(request).await {
        assert_eq!(reply.status, 413, "{}", reply.text);
    }
    is_served(api).await;
}

#[tokio::test]
async fn odd_paths_and_wrong_tokens_get_their_4xx_and_change_nothing() {
    let test = "odd_paths_and_wrong_tokens_get_their_4xx_and_change_nothing";
    let Some(site) = Site::start_simulated(test).await else { return };
    let token = site.api().token.clone();
    let before = site.api().get("flavors").await["sequence"].clone();
    for path in [
        "/../../etc/passwd",
        "/edgetron/resources/kubevirt/../../../etc/passwd",
        "/edgetron/resources/kubevirt/vms/..%2f..%2fetc%2fpasswd",
        "/edgetron/resources/kubevirt/vms/%2e%2e",
        "/edgetron/resources/kubevirt/vms/../images",
        "/edgetron/resources/kubevirt/images/../../secrets/api-token/file",
        "/edgetron/resources/kubevirt/vms/a%00b",
        "/edgetron/resources/kubevirt/vms/%ff%fe",
        "//etc/passwd",
        "/edgetron/resources/kubevirt/vms//action",
    ] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
        let answer = raw(&site, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{path}: {answer:.300}");
        assert!(answer.contains("application/problem+json"), "{path}: {answer}");
        assert!(!answer.contains("root:"), "{path}: {answer}");
    }
    for garbage in
        [&b"\x16\x03\x01\x02\x00\x01\x00"[..], b"GET\r\n\r\n", b"\0\0\0\0\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
    {
        let answer = raw(&site, garbage).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{garbage:?}: {answer:.300}");
    }

    let wrong = format!("{}x", &token[..token.len() - 1]);
    for authorization in
        [None, Some("Bearer ".to_owned()), Some(format!("Bearer {wrong}")), Some(format!("Basic {token}")), Some(token)]
    {
        for prefix in PREFIXES {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                let client = reqwest::Client::new();
                let mut request = client
                    .request(method.clone(), format!("{}{prefix}/flavors", site.api().url))
                    .json(&a_flavor("forbidden"));
                if let Some(authorization) = &authorization {
                    request = request.header("authorization", authorization);
                }
                let reply = site.api().send(request).await.unwrap();
                assert!(
                    reply.status == 401 || (method == Method::DELETE && reply.status == 405),
                    "{method} {authorization:?}: {} {}",
                    reply.status,
                    reply.text
                );
            }
        }
    }
    assert_eq!(site.api().get("flavors").await["sequence"], before, "nothing changed");
    is_served(site.api()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_clients_at_once_are_served_or_told_to_come_again() {
    let test = "five_hundred_clients_at_once_are_served_or_told_to_come_again";
    let Some(site) = Site::start_simulated(test).await else { return };
    site.add_tiny().await;
    raise_descriptor_limit();
    let api = site.api();
    let start = std::sync::Arc::new(tokio::sync::Barrier::new(501));
    let clients: Vec<_> = (0..500)
        .map(|number| {
            let (api, start) = (Api::new(&api.url, &api.token), start.clone());
            tokio::spawn(async move {
                start.wait().await;
                let mut replies = Vec::new();
                for round in 0..3 {
                    let name = format!("c{number}-{round}");
                    let vm = json!({"name": name, "image": "tiny", "flavor": "tiny", "run_strategy": "halted"});
                    let begun = Instant::now();
                    let reply = api.try_post("vms", &vm).await;
                    replies.push((name, reply, begun.elapsed()));
                }
                replies
            })
        })
        .collect();
    start.wait().await;
    // Someone else reads meanwhile.
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let begun = Instant::now();
        api.get("flavors/tiny").await;
        slowest = slowest.max(begun.elapsed());
    }
    let mut count: BTreeMap<u16, usize> = BTreeMap::new();
    let mut acknowledged = BTreeSet::new();
    let mut longest = Duration::ZERO;
    for client in clients {
        for (name, reply, took) in client.await.unwrap() {
            let reply = reply.expect("an answer, whichever");
            *count.entry(reply.status).or_default() += 1;
            match reply.status {
                202 => {
                    acknowledged.insert(name);
                    longest = longest.max(took);
                }
                429 | 503 => assert!(!reply.header("retry-after").is_empty(), "{:?}", reply.headers),
                other => panic!("{other} {}", reply.text),
            }
        }
    }
    println!("{count:?}; slowest read {slowest:?}; slowest create {longest:?}");
    assert!(slowest < Duration::from_secs(5), "a read took {slowest:?}");
    assert!(longest < Duration::from_secs(15), "an admitted create took {longest:?}");

    let there = eventually("every acknowledged VM is there", Duration::from_secs(20), async || {
        let mut there = BTreeSet::new();
        let mut path = "vms?limit=1000".to_owned();
        loop {
            let page = api.get(&path).await;
            let items = page["items"].as_array().unwrap();
            there.extend(items.iter().map(|vm| vm["name"].as_str().unwrap().to_owned()));
            let Some(token) = page["continue"].as_str() else { break };
            path = format!("vms?limit=1000&continue={token}");
        }
        let lost: Vec<_> = acknowledged.difference(&there).collect();
        if lost.is_empty() { Ok(there) } else { Err(format!("{lost:?}")) }
    })
    .await;
    assert_eq!(there, acknowledged, "who was turned away changed nothing");
    is_served(api).await;
}
