//! `GET /edgetron/log/history`: what happened, and what was refused, found by who, what, when and why.

use serde_json::{Value, json};

use crate::site::{Reply, Site};

async fn items(site: &Site, query: &str) -> Vec<Value> {
    let page = site.get(&format!("//edgetron/log/history?{query}")).await.expect(200).json();
    page["items"].as_array().unwrap().clone()
}

fn said(items: &[Value]) -> Vec<String> {
    let of = |item: &Value| match item["outcome"].as_str().unwrap() {
        "event" => item["type"].as_str().unwrap().to_owned(),
        _ => format!("{} {}", item["status"], item["code"].as_str().unwrap()),
    };
    items.iter().map(of).collect()
}

async fn flavor(site: &Site, name: &str, reason: &str) -> Reply {
    let body = json!({"name": name, "vcpus": 1, "memory_mib": 64, "disk_gib": 1, "labels": {"tier": "front"}});
    site.call_with("POST", "/flavors", &[("edgestack-reason", reason)], Some(body)).await
}

#[tokio::test]
async fn what_happened_is_found_by_each_filter_and_by_all_together() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    flavor(&site, "tiny", "ticket OPS-17").await.expect(201);
    site.with_vm("web").await;
    site.call("DELETE", "/flavors/tiny", None).await.expect(204);
    let created = items(&site, "type=FlavorCreated&name=tiny").await;
    assert_eq!(said(&created), ["FlavorCreated"]);
    let correlation = created[0]["correlation_id"].as_str().unwrap();
    for (query, expect) in [
        ("kind=flavor&order=oldest&actor=admin", vec!["FlavorCreated", "FlavorCreated", "FlavorDeleted"]),
        ("kind=flavor&actor=admin&limit=2", vec!["FlavorDeleted", "FlavorCreated"]),
        ("name=tiny", vec!["FlavorDeleted", "FlavorCreated"]),
        ("label=tier%3Dfront", vec!["FlavorDeleted", "FlavorCreated"]),
        ("label=tier%3Dback", vec![]),
        ("command=remove-flavor", vec!["FlavorDeleted"]),
        ("text=ops-17", vec!["FlavorCreated"]),
        ("text=OPS%2017%20ticket", vec!["FlavorCreated"]),
        ("text=ops-18", vec![]),
        (&format!("correlation_id={correlation}"), vec!["FlavorCreated"]),
        ("object=flavor/tiny", vec!["FlavorDeleted", "FlavorCreated"]),
        ("object=vm/web&order=oldest&limit=3", vec!["VmCreated", "VmScheduled", "VolumeCreated"]),
        ("from=1&to=1", vec!["NodeRegistered"]),
        ("to=0", vec![]),
        ("from=2100-01-01T00:00:00Z&outcome=events", vec![]),
        ("kind=vm,flavor&type=VmCreated,FlavorDeleted&actor=admin,nobody", vec!["FlavorDeleted", "VmCreated"]),
    ] {
        if query.contains("2100") {
            site.get(&format!("//edgetron/log/history?{query}")).await.expect_problem(
                400,
                "invalid-parameter",
                Some("from"),
            );
            continue;
        }
        assert_eq!(said(&items(&site, query).await), expect, "{query}");
    }
    // An object's history and this one say the same.
    let own = site.get("/vms/web/events").await.json()["items"].as_array().unwrap().len();
    assert_eq!(items(&site, "object=vm/web").await.len(), own);
    let tenth = created[0]["time"].as_str().unwrap().replace('+', "%2B");
    assert_eq!(said(&items(&site, &format!("name=tiny&to={tenth}")).await), ["FlavorCreated"]);
    assert_eq!(items(&site, &format!("name=tiny&from={tenth}")).await.len(), 2);
}

#[tokio::test]
async fn what_was_refused_is_told_with_who_and_why_and_explains_itself() {
    let site = Site::new().await;
    flavor(&site, "tiny", "").await.expect(201);
    flavor(&site, "tiny", "once more").await.expect(409);
    site.call("POST", "/vms", Some(json!({"name": "web", "image": "none", "flavor": "tiny"}))).await.expect_problem(
        409,
        "reference-not-found",
        Some("image"),
    );
    site.call("POST", "/vms", Some(json!({"name": "db", "image": 7, "flavor": "tiny"}))).await;
    site.call("POST", "/vms/none/action", Some(json!({"action": "start"}))).await.expect(404);
    site.call("DELETE", "/flavors/n%C3%B6ne", None).await.expect(404);
    // What changes nothing is no command, and a trial is none either.
    site.get("/vms/none").await.expect(404);
    site.call("POST", "/vms?dry_run=true", Some(json!({"name": "web", "image": "none", "flavor": "tiny"}))).await;
    site.call_with("POST", "/flavors", &[("authorization", "Bearer wrong")], Some(json!({}))).await.expect(401);
    let all = items(&site, "outcome=refused&order=oldest").await;
    let told: Vec<_> = all
        .iter()
        .map(|one| (one["method"].as_str().unwrap(), one["kind"].as_str().unwrap(), one["name"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(
        told,
        [
            ("POST", "flavor", "tiny"),
            ("POST", "vm", "web"),
            ("POST", "vm", "db"),
            ("POST", "vm", "none"),
            ("DELETE", "flavor", "nöne")
        ]
    );
    assert_eq!((all[0]["reason"].as_str(), all[0]["actor"]["name"].as_str()), (Some("once more"), Some("admin")));
    assert!(all[0].get("field").is_some() || all[0]["code"] == "name-taken", "{}", all[0]);
    for (query, count) in [
        ("outcome=refused&kind=vm", 3),
        ("outcome=refused&kind=vm&name=web", 1),
        ("outcome=refused&text=tiny", 1),
        ("outcome=refused&actor=robot", 0),
        ("outcome=refused&label=a%3Db", 0),
        ("object=vm/web", 1),
        ("outcome=refused&to=0", 0),
        (&format!("correlation_id={}", all[1]["correlation_id"].as_str().unwrap()), 1),
    ] {
        assert_eq!(items(&site, query).await.len(), count, "{query}");
    }
    site.get("//edgetron/log/history?object=vm/never").await.expect_problem(404, "not-found", None);
    // Why is there no VM "web"?
    let why = site.get("//edgetron/log/explain/vm/web").await.expect(200).json();
    assert_eq!((&why["exists"], why.get("id")), (&json!(false), None));
    assert_eq!(why["refused"][0]["field"], "image");
    assert!(why["summary"].as_str().unwrap().contains("admin was refused POST /vms"), "{why}");
    let tiny = site.get("//edgetron/log/explain/flavor/tiny").await.expect(200).json();
    assert_eq!((&tiny["exists"], tiny["refused"].as_array().unwrap().len()), (&json!(true), 1));
    site.get("//edgetron/log/explain/vm/never").await.expect_problem(404, "not-found", None);
}

#[tokio::test]
async fn pages_go_on_through_what_happened_and_what_was_refused() {
    let site = Site::new().await;
    for number in 0..20 {
        flavor(&site, &format!("f{number}"), "").await.expect(201);
        flavor(&site, &format!("f{}", number / 2), "").await.expect(409);
    }
    for order in ["newest", "oldest"] {
        let whole = items(&site, &format!("order={order}&limit=1000")).await;
        assert_eq!(whole.len(), 41, "{order}");
        let time = |item: &Value| item["time"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap();
        let in_order = |pair: &[Value]| {
            if order == "newest" { time(&pair[0]) >= time(&pair[1]) } else { time(&pair[0]) <= time(&pair[1]) }
        };
        assert!(whole.windows(2).all(in_order), "{order}");
        for limit in [1, 3, 7, 40, 41] {
            let (mut paged, mut token) = (Vec::new(), String::new());
            loop {
                let page = site.get(&format!("//edgetron/log/history?order={order}&limit={limit}{token}")).await.json();
                let read = page["items"].as_array().unwrap().clone();
                assert!(read.len() <= limit && !read.is_empty(), "{order} {limit}");
                paged.extend(read);
                match page["continue"].as_str() {
                    Some(next) => token = format!("&continue={next}"),
                    None => break,
                }
            }
            assert!(paged == whole, "{order} by {limit}");
        }
    }
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let site = Site::new().await;
    for (query, field) in [
        ("kind=vmx", "kind"),
        ("kind=", "kind"),
        ("kind=vm,", "kind"),
        ("object=hello", "object"),
        ("label=x", "label"),
        ("correlation_id=7", "correlation_id"),
        ("from=yesterday", "from"),
        ("order=random", "order"),
        ("outcome=all", "outcome"),
        ("limit=0", "limit"),
        ("continue=%21", "continue"),
        ("colour=red", "colour"),
    ] {
        site.get(&format!("//edgetron/log/history?{query}")).await.expect_problem(
            400,
            "invalid-parameter",
            Some(field),
        );
    }
}
