//! Routers, and the next hop outside that one may have: what is asked, shown and refused. The gateway worker doesn't play
//! here; `workers/gateway` and `tests/e2e` have it.

use edgestack_model::{Command, realization::RealizationReport, router::RouterCommand};
use serde_json::{Value, json};

use crate::site::{BASE, Site};

/// A site with networks `blue`, `red`, and `outside`, which is one outside.
pub async fn with_networks() -> Site {
    let site = Site::new().await;
    let outside =
        json!({"name": "outside", "type": "FLAT", "external": {"physical_network": "ext"}, "cidr": "192.0.2.0/24"});
    for network in
        [json!({"name": "blue", "cidr": "10.0.0.0/24"}), json!({"name": "red", "cidr": "10.1.0.0/24"}), outside]
    {
        site.call("POST", "/networks", Some(network)).await.expect(202);
    }
    site
}

pub async fn a_router(site: &Site, wish: Value) -> Value {
    site.call("POST", "/routers", Some(wish)).await.expect(202).json()
}

/// The same with router `edge`, which joins `blue` and leads to `outside`.
pub async fn with_router() -> Site {
    let site = with_networks().await;
    a_router(&site, json!({"name": "edge", "internal_networks": ["blue"], "external_network": "outside"})).await;
    site
}

/// What the gateway pool says of a router.
pub async fn told_of_router(site: &Site, name: &str, report: RealizationReport) {
    let (router, generation) = {
        let world = site.state.replica.world();
        let router = world.router(&name.into()).unwrap();
        (router.id, router.meta.generation)
    };
    site.submit(Command::Router(RouterCommand::Report { router, generation, report })).await;
}

/// The sequence of a change's commit.
pub async fn change(site: &Site, method: &str, path: &str, body: Option<Value>) -> u64 {
    let reply = site.call(method, path, body).await;
    assert!(reply.status.is_success(), "{method} {path}: {}", reply.text());
    reply.header("edgestack-sequence").parse().unwrap()
}

pub async fn undo(site: &Site, sequence: u64) -> Value {
    let undone = site.call("POST", "//edgetron/undo", Some(json!({"sequence": sequence}))).await.expect(200).json();
    for command in undone["commands"].as_array().unwrap() {
        assert_eq!(command["problem"], Value::Null, "{command}");
    }
    undone
}

pub fn of(shown: &Value, fields: &[&str]) -> Value {
    fields.iter().map(|field| shown[*field].clone()).collect()
}

fn peer() -> Value {
    json!({"ip_address": "192.0.2.254", "mac_address": "02:00:00:00:00:01"})
}

#[tokio::test]
async fn a_router_is_shown_with_both_of_its_sides() {
    let site = with_networks().await;
    let wish = json!({
        "name": "edge", "description": "to the world", "labels": {"a": "b"}, "internal_networks": ["blue", "red"],
        "external": {"192.0.2.5": "outside"}, "peer_router": peer(),
        "routes": [{"destination": "10.9.0.0/16", "next_hop": "10.0.0.254"}],
    });
    let made = site.call("POST", "/routers", Some(wish.clone())).await.expect(202);
    assert_eq!(made.header("location"), format!("{BASE}/routers/edge"));
    let edge = made.json();
    for field in ["name", "description", "labels", "internal_networks", "external", "peer_router", "routes"] {
        assert_eq!(edge[field], wish[field], "{field}: {edge}");
    }
    let more = ["enable_snat", "state", "external_network", "external_ips", "floating_ips"];
    assert_eq!(of(&edge, &more), json!([true, "creating", "outside", ["192.0.2.5"], []]));
    let networks = site.get("/networks").await.json()["items"].clone();
    let id = |name: &str| networks.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap()["id"].clone();
    assert_eq!(edge["internal_network_ids"], json!([id("blue"), id("red")]));
    assert_eq!(edge["external_network_id"], id("outside"));
    // Nobody works on it, and that is said with what to do.
    assert_eq!(edge["waiting"]["owner"], "worker.gateway");
    let inside = a_router(&site, json!({"name": "inside", "enable_snat": false})).await;
    let fields = ["enable_snat", "external", "external_network", "external_ips", "peer_router", "routes"];
    assert_eq!(of(&inside, &fields), json!([false, {}, null, [], null, []]));
    assert_eq!(inside["internal_networks"], json!([]));
    assert_eq!(site.get("/routers?state=creating&label=a=b").await.json()["items"], json!([edge]));
    let held = site.get("/networks/blue").await.json()["addresses"].clone();
    assert_eq!(held[0], json!({"ip": "10.0.0.1", "holder": "router \"edge\""}));
    let events = site.get("/routers/edge/events").await.expect(200).json();
    let message = events["items"][0]["message"].as_str().unwrap();
    assert!(message.contains("joins blue, red") && message.contains("192.0.2.5 on outside"), "{message}");
}

#[tokio::test]
async fn wrong_values_are_told_by_their_field() {
    let site = with_router().await;
    site.call("POST", "/networks", Some(json!({"name": "twin", "cidr": "10.1.0.128/25"}))).await.expect(202);
    let route = |destination: &str, hop: &str| json!({"routes": [{"destination": destination, "next_hop": hop}]});
    let with_peer = |ip: &str, mac: &str| json!({"external_network": "outside", "peer_router": {"ip_address": ip, "mac_address": mac}});
    for (fields, status, code, field) in [
        (json!({"name": "A b"}), 422, "invalid-value", "name"),
        (json!({"labels": {"": "x"}}), 422, "invalid-value", "labels"),
        (json!({"description": "x".repeat(1025)}), 422, "invalid-value", "description"),
        (json!({"internal_networks": ["red", "nowhere"]}), 409, "reference-not-found", "internal_networks.1"),
        (json!({"internal_networks": ["blue"]}), 409, "address-in-use", "internal_networks"),
        (json!({"internal_networks": ["red", "twin"]}), 422, "invalid-value", "internal_networks"),
        (json!({"external_network": "nowhere"}), 409, "reference-not-found", "external_network"),
        (json!({"external_network": "red"}), 422, "invalid-value", "external_network"),
        (json!({"external": {"192.0.2.2": "outside"}}), 409, "address-in-use", "external_ip"),
        (json!({"external": {"10.0.0.9": "outside"}}), 422, "invalid-value", "external_ip"),
        (json!({"external": {"x": "outside"}}), 422, "invalid-value", "external"),
        (json!({"external_network": "outside", "external_ip": "x"}), 422, "invalid-value", "external_ip"),
        (json!({"external_ip": "192.0.2.9"}), 422, "invalid-value", "external_ip"),
        (json!({"external": {}, "external_network": "outside"}), 422, "invalid-value", "external"),
        (json!({"peer_router": peer()}), 422, "invalid-value", "peer_router"),
        (with_peer("10.1.0.9", "02:00:00:00:00:01"), 422, "invalid-value", "peer_router.ip_address"),
        (with_peer("192.0.2.254", "01:00:00:00:00:01"), 422, "invalid-value", "peer_router.mac_address"),
        (route("10.9.0.1/16", "10.1.0.9"), 422, "invalid-value", "routes.0.destination"),
        (route("10.9.0.0/16", "10.7.0.1"), 422, "invalid-value", "routes.0.next_hop"),
        (json!({"snat": true}), 422, "invalid-body", "snat"),
        (json!({"enable_snat": "yes"}), 422, "invalid-body", "enable_snat"),
        (json!({"internal_networks": "red"}), 422, "invalid-body", "internal_networks"),
        (json!({"external": ["outside"]}), 422, "invalid-body", "external"),
        (json!({"peer_router": {"ip_address": "192.0.2.254"}}), 422, "invalid-body", "peer_router.mac_address"),
    ] {
        let mut wish = json!({"name": "new"});
        wish.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let reply = site.call("POST", "/routers", Some(wish)).await;
        reply.expect_problem(status, code, Some(field));
    }
    for (update, status, code, field) in [
        (json!({"attach": ["nowhere"]}), 409, "reference-not-found", "attach.0"),
        (json!({"detach": ["blue", "red"]}), 422, "invalid-value", "detach.1"),
        (json!({"external": {"10.0.0.9": "outside"}}), 422, "invalid-value", "external_ip"),
        (json!({"external_ip": "192.0.2.9"}), 422, "invalid-value", "external_ip"),
        (json!({"enable_snat": null}), 422, "invalid-body", "enable_snat"),
        (json!({"name": "other"}), 422, "invalid-body", "name"),
    ] {
        let reply = site.call("PATCH", "/routers/edge", Some(update)).await;
        reply.expect_problem(status, code, Some(field));
    }
    // Nothing of all this was made.
    assert_eq!(site.get("/routers").await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_change_is_merged_and_taken_back() {
    let site = with_router().await;
    let path = "/routers/edge";
    let before = site.get(path).await.json();
    let dry = json!({"detach": ["blue"]});
    let dry = site.call("PATCH", &format!("{path}?dry_run=true"), Some(dry)).await.expect(200).json();
    assert_eq!((&dry["internal_networks"], &site.get(path).await.json()), (&json!([]), &before));
    let patch = json!({
        "labels": {"team": "core"}, "attach": ["red"], "detach": ["blue"], "enable_snat": false,
        "external": {"192.0.2.77": "outside"}, "peer_router": peer(),
        "routes": [{"destination": "10.9.0.0/16", "next_hop": "10.1.0.254"}],
    });
    let sequence = change(&site, "PATCH", path, Some(patch)).await;
    let edge = site.get(path).await.json();
    let fields = ["internal_networks", "enable_snat", "external_ips", "peer_router", "generation"];
    assert_eq!(of(&edge, &fields), json!([["red"], false, ["192.0.2.77"], peer(), 2]));
    let undone = undo(&site, sequence).await;
    let what = "put back enable_snat, external, internal_networks, labels, peer_router, routes";
    assert_eq!(undone["commands"][0]["what"], what, "{undone}");
    let back = site.get(path).await.json();
    let fields = ["internal_networks", "enable_snat", "external", "peer_router", "routes", "labels"];
    assert_eq!(of(&back, &fields), of(&before, &fields));
    // A part that was changed again since is left as it is.
    let sequence = change(&site, "PATCH", path, Some(json!({"enable_snat": false, "external": null}))).await;
    assert_eq!(site.get(path).await.json()["external"], json!({}));
    change(&site, "PATCH", path, Some(json!({"enable_snat": true}))).await;
    let undone = undo(&site, sequence).await;
    assert_eq!(undone["commands"][0]["what"], "put back external", "{undone}");
    assert!(undone["already"][0]["why"].as_str().unwrap().contains("enable_snat"), "{undone}");
    assert_eq!(site.get(path).await.json()["external"], before["external"]);
    // All at once, by id; and null is none.
    let red = site.get("/networks/red").await.json()["id"].clone();
    change(&site, "PUT", path, Some(json!({"internal_networks": [red]}))).await;
    assert_eq!(site.get(path).await.json()["internal_networks"], json!(["red"]));
    change(&site, "PUT", path, Some(json!({"internal_networks": null}))).await;
    assert_eq!(site.get(path).await.json()["internal_networks"], json!([]));
}

#[tokio::test]
async fn the_peer_router_is_a_resource_of_its_own() {
    let site = with_router().await;
    let path = "/routers/edge/peer_router";
    let none = site.get(path).await.expect_problem(404, "not-found", None).json();
    assert!(none["detail"].as_str().unwrap().contains("create-peer-router edge"), "{none}");
    for (body, code, field) in [
        (json!({"ip_address": "x", "mac_address": "02:00:00:00:00:01"}), "invalid-value", "ip_address"),
        (json!({"ip_address": "192.0.2.254", "mac_address": "x"}), "invalid-value", "mac_address"),
        (json!({"ip_address": "10.0.0.9", "mac_address": "02:00:00:00:00:01"}), "invalid-value", "ip_address"),
        (json!({"ip_address": "192.0.2.254"}), "invalid-body", "mac_address"),
    ] {
        site.call("PUT", path, Some(body)).await.expect_problem(422, code, Some(field));
    }
    let dry = site.call("PUT", &format!("{path}?dry_run=true"), Some(peer())).await.expect(200).json();
    assert_eq!(dry["peer_router"], peer());
    site.get(path).await.expect(404);
    let set = site.call("PUT", path, Some(peer())).await.expect(200);
    let sequence: u64 = set.header("edgestack-sequence").parse().unwrap();
    assert_eq!(set.json()["peer_router"], peer());
    assert_eq!(site.get(path).await.expect(200).json(), peer());
    site.get(&format!("{path}?at={}", sequence - 1)).await.expect(404);
    let no_way = site.call("PATCH", "/routers/edge", Some(json!({"external": null}))).await;
    no_way.expect_problem(422, "invalid-value", Some("peer_router"));
    let stale = [("if-match", "\"g1.r1\"")];
    site.call_with("DELETE", path, &stale, None).await.expect_problem(412, "precondition-failed", Some("If-Match"));
    let removed = site.call("DELETE", path, None).await.expect(200).json();
    assert_eq!(removed["peer_router"], json!(null));
    site.call("DELETE", path, None).await.expect(200);
    undo(&site, sequence + 1).await;
    assert_eq!(site.get(path).await.expect(200).json(), peer());
    for (method, body) in [("GET", None), ("PUT", Some(peer())), ("DELETE", None)] {
        site.call(method, "/routers/nothing/peer_router", body).await.expect_problem(404, "not-found", None);
    }
    site.call("POST", path, Some(peer())).await.expect(405);
}

#[tokio::test]
async fn a_network_stays_while_a_router_is_on_it_and_a_router_comes_back_with_its_networks() {
    let site = with_networks().await;
    let wish = json!({
        "name": "edge", "internal_networks": ["blue", "red"], "external": {"192.0.2.5": "outside"}, "peer_router": peer(),
        "routes": [{"destination": "10.9.0.0/16", "next_hop": "10.1.0.254"}, {"destination": "10.8.0.0/16", "next_hop": "10.0.0.254"}],
    });
    let made = change(&site, "POST", "/routers", Some(wish.clone())).await;
    for network in ["blue", "outside"] {
        let refused = site.call("DELETE", &format!("/networks/{network}"), None).await;
        let detail = refused.expect_problem(409, "in-use", None).json()["detail"].clone();
        assert!(detail.as_str().unwrap().contains("router \"edge\""), "{detail}");
    }
    let dry = site.call("DELETE", "/routers/edge?dry_run=true", None).await.expect(200).json();
    assert_eq!(dry["state"], "deleting");
    let sequence = undo_to_remove(&site, made).await;
    site.call("PATCH", "/routers/edge", Some(json!({"enable_snat": false}))).await.expect_problem(
        409,
        "wrong-state",
        None,
    );
    told_of_router(&site, "edge", RealizationReport::Removed).await;
    site.get("/routers/edge").await.expect(404);
    change(&site, "DELETE", "/networks/red", None).await;
    let undone = undo(&site, sequence).await;
    assert_eq!(undone["commands"][0]["what"], "make it again", "{undone}");
    let edge = site.get("/routers/edge").await.expect(200).json();
    for field in ["external", "peer_router"] {
        assert_eq!(edge[field], wish[field], "{field}");
    }
    assert_eq!(edge["internal_networks"], json!(["blue"]));
    assert_eq!(edge["routes"], json!([{"destination": "10.8.0.0/16", "next_hop": "10.0.0.254"}]));
    let lost = undone["cannot"].to_string();
    assert!(lost.contains("network \\\"red\\\" is gone") && lost.contains("10.9.0.0/16"), "{lost}");
}

/// Takes a creation back, and tells the sequence of the removal.
async fn undo_to_remove(site: &Site, made: u64) -> u64 {
    let undone = undo(site, made).await;
    let line = undone["commands"][0]["edgectl"].as_str().unwrap();
    assert!(line.starts_with("edgectl remove-router "), "{line}");
    assert_eq!(site.get("/routers/edge").await.json()["state"], "deleting");
    site.state.replica.head().sequence
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_is_stuck_is_repaired() {
    let site = with_router().await;
    for (method, end, body) in [
        ("GET", "", None),
        ("PATCH", "", Some(json!({"description": "x"}))),
        ("DELETE", "", None),
        ("DELETE", "?cascade=true", None),
        ("GET", "/events", None),
        ("POST", "/action", Some(json!({"action": "reconcile"}))),
    ] {
        let reply = site.call(method, &format!("/routers/nothing{end}"), body).await;
        reply.expect_problem(404, "not-found", None);
    }
    let path = "/routers/edge/action";
    let silent = site.call("POST", path, Some(json!({"action": "reconcile"}))).await;
    silent.expect_problem(409, "reason-required", Some("EdgeStack-Reason"));
    let because = [("edgestack-reason", "the cable is back")];
    site.call_with("POST", path, &because, Some(json!({"action": "reconcile"}))).await.expect(202);
    let force = json!({"action": "force_remove"});
    let forced = site.call_with("POST", path, &because, Some(force)).await;
    forced.expect_problem(409, "force-not-needed", None);
    site.call("POST", path, Some(json!({"action": "associate"}))).await.expect(422);
}

#[tokio::test]
async fn a_router_is_tried_on_a_fork_and_watched() {
    let site = with_router().await;
    let steps = json!([
        {"method": "PATCH", "path": "routers/edge", "body": {"attach": ["red"]}},
        {"method": "PUT", "path": "routers/edge/peer_router", "body": peer()},
        {"method": "DELETE", "path": "routers/edge?cascade=true"},
    ]);
    let told = site.call("POST", "//edgetron/what-if", Some(json!({"steps": steps}))).await.expect(200).json();
    let outcomes: Vec<&Value> = told["steps"].as_array().unwrap().iter().map(|step| &step["outcome"]).collect();
    assert_eq!(outcomes, ["taken", "taken", "taken"], "{told}");
    site.get("/routers/edge").await.expect(200);
    let document = site.get("//openapi.json").await.expect(200).json();
    let takes = |schema: &str, body: &Value| {
        let schema = json!({"$ref": format!("#/components/schemas/{schema}"), "components": document["components"]});
        jsonschema::draft202012::options().build(&schema).unwrap().is_valid(body)
    };
    for (takes_it, body) in [
        (true, json!({"external": {"192.0.2.5": "outside"}, "internal_networks": ["blue"]})),
        (true, json!({"external": null, "routes": [{"destination": "10.9.0.0/16", "next_hop": "10.0.0.9"}]})),
        (false, json!({"external": {"192.0.2.5": "outside", "192.0.2.6": "outside"}})),
        (false, json!({"external": {"outside": "192.0.2.5"}})),
        (false, json!({"internal_networks": [""]})),
        (false, json!({"peer_router": {"ip_address": "192.0.2.254", "mac_address": "01:00:00:00:00:01"}})),
        (false, json!({"snat": true})),
    ] {
        assert_eq!(takes("UpdateRouter", &body), takes_it, "{body}");
        let mut whole = body;
        whole["name"] = "edge".into();
        assert_eq!(takes("CreateRouter", &whole), takes_it, "{whole}");
    }
}
