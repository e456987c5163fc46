//! Each field of each object, wrong in each way: a 4xx that names it, and nothing changes.

use axum::body::Body;
use serde_json::{Value, json};

use crate::site::{Site, request};

fn with(base: &Value, field: &str, value: Value) -> Value {
    let mut changed = base.clone();
    changed[field] = value;
    changed
}

fn without(base: &Value, field: &str) -> Value {
    let mut changed = base.clone();
    changed.as_object_mut().unwrap().remove(field);
    changed
}

async fn check(site: &Site, method: &str, path: &str, body: Value, field: &str) {
    let before = site.state.replica.head().sequence;
    let reply = site.call(method, path, Some(body.clone())).await;
    let problem = reply.json();
    let named = problem["field"].as_str().unwrap_or_default();
    assert!((400..500).contains(&reply.status.as_u16()), "{method} {path} {body}: {problem}");
    assert!(
        named == field || named.starts_with(&format!("{field}.")) || named.starts_with(&format!("{field}[")),
        "{method} {path} {body}: {problem}"
    );
    assert_eq!(site.state.replica.head().sequence, before, "{body} changed something");
}

fn bad_names() -> Vec<Value> {
    vec![
        json!(""),
        json!("-a"),
        json!("A"),
        json!("a b"),
        json!("a/b"),
        json!(".."),
        json!("ä"),
        json!("a".repeat(64)),
        json!("0197a5a0-0000-7000-8000-000000000001"),
        json!("a\u{0}"),
        json!(1),
        json!(null),
        json!([]),
    ]
}

fn bad_labels() -> Vec<Value> {
    let many: serde_json::Map<String, Value> = (0..65).map(|at| (format!("k{at}"), json!("v"))).collect();
    vec![
        json!([]),
        json!("a=b"),
        json!({"a": 1}),
        json!({"a": null}),
        json!({"": "x"}),
        json!({"a b": "x"}),
        json!({"a": "-"}),
        json!({"a": "x".repeat(64)}),
        json!(many),
    ]
}

fn bad_descriptions() -> Vec<Value> {
    vec![json!("x".repeat(1025)), json!(1), json!({})]
}

async fn check_all(site: &Site, path: &str, good: &Value, table: Vec<(&str, Vec<Value>)>, required: &[&str]) {
    for field in required {
        check(site, "POST", path, without(good, field), field).await;
    }
    check(site, "POST", path, with(good, "colour", json!("red")), "colour").await;
    for (field, values) in table {
        for value in values {
            check(site, "POST", path, with(good, field, value), field).await;
        }
    }
    site.call("POST", &format!("{path}?dry_run=true"), Some(good.clone())).await.expect(200);
}

#[tokio::test]
async fn fields_of_flavors() {
    let site = Site::new().await;
    let good = json!({"name": "a", "vcpus": 1, "memory_mib": 64, "disk_gib": 1});
    let numbers =
        |max: u64| vec![json!(0), json!(max + 1), json!(-1), json!(1.5), json!("1"), json!(null), json!(u64::MAX)];
    let table = vec![
        ("name", bad_names()),
        ("description", bad_descriptions()),
        ("labels", bad_labels()),
        ("vcpus", numbers(256)),
        ("memory_mib", numbers(16 << 20)),
        ("disk_gib", numbers(64 << 10)),
        ("dedicated_cpus", vec![json!("yes"), json!(1), json!(null)]),
        ("huge_pages", vec![json!("4Mi"), json!(2), json!("")]),
        ("numa_nodes", vec![json!(0), json!(9), json!("1")]),
    ];
    check_all(&site, "/flavors", &good, table, &["name", "vcpus", "memory_mib", "disk_gib"]).await;
}

#[tokio::test]
async fn fields_of_images() {
    let site = Site::new().await;
    let good = json!({"name": "a", "format": "raw", "source": {"type": "path", "path": "/a"}});
    let table = vec![
        ("name", bad_names()),
        ("description", bad_descriptions()),
        ("labels", bad_labels()),
        ("format", vec![json!("vmdk"), json!(1), json!(null)]),
        (
            "source",
            vec![
                json!("/a"),
                json!({"type": "path", "path": "a"}),
                json!({"type": "path", "path": "/../etc/shadow"}),
                json!({"type": "path", "path": format!("/{}", "a".repeat(4096))}),
                json!({"type": "path", "path": "/a\u{0}"}),
            ],
        ),
        ("architecture", vec![json!("sparc"), json!(1), json!("")]),
        ("min_disk_gib", vec![json!(65537), json!(-1), json!("1")]),
        ("min_memory_mib", vec![json!((16 << 20) + 1), json!(-1), json!("1")]),
        ("visibility", vec![json!("secret"), json!(1)]),
    ];
    check_all(&site, "/images", &good, table, &["name", "format", "source"]).await;
    // A tagged source is read whole, so serde may name its inner field alone.
    for (source, field) in [
        (json!({"type": "path"}), "path"),
        (json!({"type": "url"}), "source"),
        (json!({}), "type"),
        (json!({"type": "upload", "path": "/a"}), "path"),
    ] {
        let reply = site.call("POST", "/images", Some(with(&good, "source", source))).await.expect(422);
        let named = reply.json()["field"].as_str().unwrap().to_owned();
        assert!(named.ends_with(field), "{named} instead of {field}");
    }
}

#[tokio::test]
async fn fields_of_vms() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    let good = json!({"name": "a", "image": "debian", "flavor": "small"});
    let references = || {
        vec![json!("none"), json!(""), json!("x".repeat(256)), json!(1), json!("0197a5a0-0000-7000-8000-000000000001")]
    };
    let mut names = bad_names();
    names.extend([json!("a.b"), json!("a_b")]);
    let table = vec![
        ("name", names),
        ("description", bad_descriptions()),
        ("labels", bad_labels()),
        ("image", [references(), vec![json!(null)]].concat()),
        ("flavor", [references(), vec![json!(null)]].concat()),
        (
            "boot_disk",
            vec![
                json!([1]),
                json!(1),
                json!({}),
                json!({"size_gib": 0}),
                json!({"size_gib": 65537}),
                json!({"size_gib": "1"}),
                json!({"size": 1}),
            ],
        ),
        ("volumes", vec![json!("a"), json!(["none"]), json!([1])]),
        (
            "networks",
            vec![json!("a"), json!([{"network": "none"}]), json!([{}]), json!([{"network": "a", "colour": 1}])],
        ),
        ("keypair", references()),
        ("user_data", vec![json!("x".repeat((64 << 10) + 1)), json!(1), json!([])]),
        ("node", references()),
        ("node_selector", bad_labels()),
        ("run_strategy", vec![json!("sometimes"), json!(1)]),
    ];
    check_all(&site, "/vms", &good, table, &["name", "image", "flavor"]).await;
    let large = json!({"name": "large", "vcpus": 256, "memory_mib": 64, "disk_gib": 4});
    site.call("POST", "/flavors", Some(large)).await.expect(201);
    check(&site, "POST", "/vms", with(&good, "flavor", json!("large")), "flavor").await;
    let queued = json!({"name": "queued", "format": "raw", "source": {"type": "upload"}});
    site.call("POST", "/images", Some(queued)).await.expect(202);
    check(&site, "POST", "/vms", with(&good, "image", json!("queued")), "image").await;
}

#[tokio::test]
async fn fields_of_webhooks() {
    let site = Site::new().await;
    let good = json!({"name": "a", "url": "https://a.example.com/"});
    let many: Vec<String> = (0..65).map(|number| number.to_string()).collect();
    let filters = || {
        vec![
            json!([]),
            json!("vm"),
            json!({"kinds": ["cat"]}),
            json!({"kinds": "vm"}),
            json!({"kinds": [1]}),
            json!({"names": many}),
            json!({"names": [""]}),
            json!({"types": ["x".repeat(129)]}),
            json!({"actors": ["a\u{0}"]}),
            json!({"labels": {"a b": "x"}}),
            json!({"colour": "red"}),
        ]
    };
    let urls = || {
        vec![
            json!(""),
            json!(1),
            json!("a.example.com"),
            json!("ftp://a.example.com/"),
            json!("https://a:b@a.example.com/"),
            json!("https://a.example.com/#x"),
            json!("https://127.1/"),
            json!("https://a b.example.com/"),
            json!(format!("https://a.example.com/{}", "x".repeat(2048))),
            json!("https://elsewhere.org/"),
        ]
    };
    let table = vec![
        ("name", bad_names()),
        ("description", bad_descriptions()),
        ("labels", bad_labels()),
        ("url", [urls(), vec![json!(null)]].concat()),
        ("filter", filters()),
        ("secret", vec![json!("x"), json!(1), json!("whsec_AAAA")]),
        ("paused", vec![json!("yes"), json!(1), json!(null)]),
        ("after", vec![json!(-1), json!(1.5), json!("1")]),
    ];
    check_all(&site, "/webhooks", &good, table, &["name", "url"]).await;
    site.call("POST", "/webhooks", Some(good)).await.expect(201);
    for url in urls() {
        check(&site, "PATCH", "/webhooks/a", json!({"url": url}), "url").await;
    }
    for filter in filters() {
        check(&site, "PATCH", "/webhooks/a", json!({"filter": filter}), "filter").await;
    }
    check(&site, "PATCH", "/webhooks/a", json!({"paused": 1}), "paused").await;
    check(&site, "PATCH", "/webhooks/a", json!({"skip": "yes"}), "skip").await;
    check(&site, "PATCH", "/webhooks/a", json!({"name": "b"}), "name").await;
    for (body, field) in [
        (json!({}), "action"),
        (json!({"action": "explode"}), "action"),
        (json!({"action": "rotate_secret", "secret": "x"}), "secret"),
        (json!({"action": "rotate_secret", "previous_valid_seconds": 604_801}), "previous_valid_seconds"),
        (json!({"action": "rotate_secret", "colour": 1}), "colour"),
    ] {
        check(&site, "POST", "/webhooks/a/action", body, field).await;
    }
}

#[tokio::test]
async fn fields_of_updates_and_actions() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.with_vm("web").await;
    for path in ["/vms/web", "/images/debian", "/flavors/small", "/nodes/edge-1"] {
        for value in bad_labels() {
            check(&site, "PATCH", path, json!({"labels": value}), "labels").await;
        }
        for value in bad_descriptions() {
            check(&site, "PATCH", path, json!({"description": value}), "description").await;
        }
        check(&site, "PATCH", path, json!({"name": "other"}), "name").await;
        check(&site, "PUT", path, json!({"colour": "red"}), "colour").await;
    }
    check(&site, "PATCH", "/vms/web", json!({"run_strategy": "x"}), "run_strategy").await;
    let reply = site.call("PATCH", "/vms/web", Some(json!({"node_selector": {"a": "b"}}))).await;
    assert_eq!((reply.status.as_u16(), reply.json()["code"].clone()), (409, json!("wrong-state")), "it has its node");
    check(&site, "PATCH", "/images/debian", json!({"visibility": "x"}), "visibility").await;
    check(&site, "PATCH", "/images/debian", json!({"min_disk_gib": 70000}), "min_disk_gib").await;
    check(&site, "PATCH", "/images/debian", json!({"min_memory_mib": -1}), "min_memory_mib").await;
    for (body, field) in [
        (json!({}), "action"),
        (json!({"action": "explode"}), "action"),
        (json!({"action": "stop", "grace_seconds": 3601}), "grace_seconds"),
        (json!({"action": "start", "grace_seconds": 1}), "grace_seconds"),
    ] {
        check(&site, "POST", "/vms/web/action", body, field).await;
    }
}

#[tokio::test]
async fn bodies_that_are_no_json() {
    let site = Site::new().await;
    let send = async |content_type: &str, body: Vec<u8>| {
        let mut request = request("POST", "/flavors", &[("content-type", content_type)]);
        *request.body_mut() = Body::from(body);
        site.send(request).await
    };
    let json_type = "application/json";
    let reply =
        send(json_type, b"{\"name\": \"a\",\n oops}".to_vec()).await.expect_problem(400, "malformed-json", None);
    assert!(reply.text().contains("line 2 column 2"), "{}", reply.text());
    send(json_type, vec![]).await.expect_problem(400, "malformed-json", None);
    send(json_type, b"{\"name\": \"\xff\"}".to_vec()).await.expect_problem(400, "body-not-utf8", None);
    send(json_type, "[".repeat(100_000).into_bytes()).await.expect_problem(400, "malformed-json", None);
    send(json_type, vec![b' '; (1 << 20) + 1]).await.expect_problem(413, "body-too-large", None);
    for wrong in ["text/plain", "application/xml", "application/merge-patch+json", "json"] {
        send(wrong, b"{}".to_vec()).await.expect_problem(415, "unsupported-media-type", Some("Content-Type"));
    }
    // Announced as too large: refused without waiting for a single byte.
    let mut large = request("POST", "/flavors", &[("content-type", json_type), ("content-length", "104857600")]);
    *large.body_mut() = Body::from_stream(futures::stream::pending::<std::io::Result<bytes::Bytes>>());
    site.send(large).await.expect_problem(413, "body-too-large", None);
}

#[tokio::test]
async fn paths_that_are_none() {
    let site = Site::new().await;
    let long = format!("/vms/{}", "a".repeat(256));
    for (path, status) in [
        ("/vms/..", 404),
        ("/vms/%2e%2e", 404),
        ("/vms/%2e%2e%2fetc", 400),
        ("/vms/a%2Fb", 400),
        ("/vms/a%00", 400),
        ("/vms/", 404),
        ("/vms//action", 405),
        ("/vms//events", 400),
        ("/vms/%ff", 400),
        ("/vms/%zz", 400),
        (long.as_str(), 400),
        ("/../../etc/passwd", 404),
        ("/nothing", 404),
        ("//edgetron", 404),
        ("//", 404),
        ("//problems/%ff", 400),
    ] {
        let reply = site.get(path).await.expect(status);
        assert_eq!(reply.header("content-type"), "application/problem+json", "{path}");
    }
    let query = "x".repeat(9000);
    site.get(&format!("/vms?name={query}")).await.expect_problem(414, "uri-too-long", None);
    site.call("BREW", "/vms", None).await.expect_problem(405, "method-not-allowed", None);
    site.call("DELETE", "/vms", None).await.expect_problem(405, "method-not-allowed", None);
}
