//! Floating IPs: what is asked, shown and refused, and where they lead. The gateway worker doesn't play here;
//! `workers/gateway` and `tests/e2e` have it.

use std::time::Duration;

use edgestack_model::{Command, floating_ip::FloatingIpCommand, realization::RealizationReport};
use serde_json::{Value, json};

use crate::{
    routers::{a_router, change, of, told_of_router, undo, with_router},
    site::{BASE, DEADLINE, Site, vm_of},
};

/// A site with router `edge` between `blue` and `outside`, and VMs `a` and `b` on `blue`.
async fn with_vms() -> Site {
    let site = with_router().await;
    site.with_flavor_and_image().await;
    for name in ["a", "b"] {
        a_vm(&site, name, json!([{"network": "blue"}])).await;
    }
    site
}

async fn a_vm(site: &Site, name: &str, networks: Value) -> Value {
    let vm = json!({"name": name, "image": "debian", "flavor": "small", "networks": networks});
    site.call("POST", "/vms", Some(vm)).await.expect(202).json()
}

async fn an_ip(site: &Site, wish: Value) -> Value {
    site.call("POST", "/floating_ips", Some(wish)).await.expect(202).json()
}

async fn told(site: &Site, name: &str, report: RealizationReport) {
    let (floating_ip, generation) = {
        let world = site.state.replica.world();
        let ip = world.floating_ip(&name.into()).unwrap();
        (ip.id, ip.meta.generation)
    };
    site.submit(Command::FloatingIp(FloatingIpCommand::Report { floating_ip, generation, report })).await;
}

fn associate(vm: &str) -> Option<Value> {
    Some(json!({"action": "associate", "vm": vm}))
}

const IP: &str = "/floating_ips/192.0.2.10";
const ACTION: &str = "/floating_ips/192.0.2.10/action";
const WHERE: [&str; 3] = ["vm", "fixed_ip", "nic"];

#[tokio::test]
async fn an_address_is_taken_and_is_its_name() {
    let site = with_vms().await;
    let made = site.call("POST", "/floating_ips", Some(json!({}))).await.expect(202);
    assert_eq!(made.header("location"), format!("{BASE}/floating_ips/192.0.2.3"));
    let ip = made.json();
    let fields = ["name", "floating_ip", "router", "external_network", "state", "vm", "vm_id", "fixed_ip", "nic"];
    let expect = json!(["192.0.2.3", "192.0.2.3", "edge", "outside", "creating", null, null, null, null]);
    assert_eq!(of(&ip, &fields), expect, "after the gateway's and the router's");
    assert_eq!(ip["waiting"]["owner"], "worker.gateway");
    let (edge, outside) = (site.get("/routers/edge").await.json(), site.get("/networks/outside").await.json());
    assert_eq!((&ip["router_id"], &ip["external_network_id"]), (&edge["id"], &outside["id"]));
    assert_eq!(edge["floating_ips"], json!(["192.0.2.3"]));
    assert!(outside["addresses"].to_string().contains("floating_ip \\\"192.0.2.3\\\""), "{outside}");
    let wish = json!({
        "name": "web", "description": "the shop", "labels": {"a": "b"}, "router": edge["id"], "floating_ip": "192.0.2.10",
        "vm": "a", "fixed_ip": "10.0.0.2",
    });
    let web = an_ip(&site, wish.clone()).await;
    for field in ["name", "description", "labels", "floating_ip", "vm", "fixed_ip"] {
        assert_eq!(web[field], wish[field], "{field}");
    }
    assert_eq!((&web["nic"], &web["vm_id"]), (&json!(0), &site.get("/vms/a").await.json()["id"]));
    assert_eq!(site.get("/vms/a").await.json()["floating_ips"], json!(["192.0.2.10"]));
    assert_eq!(site.get("/floating_ips?label=a=b&state=creating").await.json()["items"], json!([web]));
    let changed = site.call("PATCH", "/floating_ips/web", Some(json!({"labels": null}))).await.expect(200);
    undo(&site, changed.header("edgestack-sequence").parse().unwrap()).await;
    assert_eq!(site.get("/floating_ips/web").await.json()["labels"], json!({"a": "b"}));
    site.call("PATCH", "/floating_ips/web", Some(json!({"vm": "b"}))).await.expect_problem(
        422,
        "invalid-body",
        Some("vm"),
    );
}

#[tokio::test]
async fn wrong_values_are_told_by_their_field() {
    let site = with_vms().await;
    an_ip(&site, json!({"floating_ip": "192.0.2.10", "vm": "b"})).await;
    a_router(&site, json!({"name": "inside"})).await;
    a_vm(&site, "red", json!([{"network": "red"}])).await;
    a_vm(&site, "two", json!([{"network": "blue"}, {"network": "blue"}])).await;
    for (body, status, code, field) in [
        (json!({"name": "A b"}), 422, "invalid-value", "name"),
        (json!({"labels": {"": "x"}}), 422, "invalid-value", "labels"),
        (json!({"description": "x".repeat(1025)}), 422, "invalid-value", "description"),
        (json!({"router": ""}), 422, "invalid-value", "router"),
        (json!({"router": "nowhere"}), 409, "reference-not-found", "router"),
        (json!({"router": "inside"}), 422, "invalid-value", "router"),
        (json!({"floating_ip": "x"}), 422, "invalid-value", "floating_ip"),
        (json!({"floating_ip": "10.0.0.9"}), 422, "invalid-value", "floating_ip"),
        (json!({"floating_ip": "192.0.2.10"}), 409, "address-in-use", "floating_ip"),
        (json!({"fixed_ip": "10.0.0.2"}), 422, "invalid-value", "fixed_ip"),
        (json!({"vm": "nowhere"}), 409, "reference-not-found", "vm"),
        (json!({"vm": "red"}), 422, "invalid-value", "vm"),
        (json!({"vm": "two"}), 422, "invalid-value", "fixed_ip"),
        (json!({"vm": "b"}), 409, "address-in-use", "fixed_ip"),
        (json!({"vm": "a", "fixed_ip": "10.0.0.77"}), 422, "invalid-value", "fixed_ip"),
        (json!({"vm": "a", "fixed_ip": "x"}), 422, "invalid-value", "fixed_ip"),
        (json!({"address": "192.0.2.11"}), 422, "invalid-body", "address"),
        (json!({"vm": 1}), 422, "invalid-body", "vm"),
    ] {
        site.call("POST", "/floating_ips", Some(body)).await.expect_problem(status, code, Some(field));
    }
    for (action, status, code, field) in [
        (json!({"vm": "nowhere"}), 409, "reference-not-found", "vm"),
        (json!({"vm": "red"}), 422, "invalid-value", "vm"),
        (json!({"vm": "a", "fixed_ip": "x"}), 422, "invalid-value", "fixed_ip"),
        (json!({}), 422, "invalid-value", "vm"),
        (json!({"vm": "a", "nic": 0}), 422, "invalid-body", "nic"),
    ] {
        let mut body = action;
        body["action"] = "associate".into();
        site.call("POST", ACTION, Some(body)).await.expect_problem(status, code, Some(field));
    }
    assert_eq!(site.get("/floating_ips").await.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn it_is_led_to_a_vm_moved_to_another_and_led_back_by_undo() {
    let site = with_vms().await;
    an_ip(&site, json!({"floating_ip": "192.0.2.10"})).await;
    told(&site, "192.0.2.10", RealizationReport::Realized).await;
    let dry = site.call("POST", &format!("{ACTION}?dry_run=true"), associate("a")).await.expect(200).json();
    assert_eq!((&dry["vm"], &site.get(IP).await.json()["vm"]), (&json!("a"), &json!(null)));
    let to_a = change(&site, "POST", ACTION, associate("a")).await;
    let ip = site.get(IP).await.json();
    assert_eq!((of(&ip, &WHERE), &ip["state"]), (json!(["a", "10.0.0.2", 0]), &json!("updating")));
    let moved = site.call("POST", ACTION, associate("b")).await.expect(202);
    let to_b: u64 = moved.header("edgestack-sequence").parse().unwrap();
    assert_eq!(to_b, to_a + 1, "it is moved in one commit");
    let leads = async |vm: &str| site.get(&format!("/vms/{vm}")).await.json()["floating_ips"].clone();
    assert_eq!((leads("a").await, leads("b").await), (json!([]), json!(["192.0.2.10"])));
    // What is shown of a VM on a network moves without a commit of its own: no tag vouches for it.
    let tag = site.get("/vms/b").await.header("etag").to_owned();
    site.call_with("GET", "/vms/b", &[("if-none-match", &tag)], None).await.expect(200);
    assert_eq!(undo(&site, to_b).await["commands"][0]["what"], "have it lead there again");
    assert_eq!(of(&site.get(IP).await.json(), &WHERE), json!(["a", "10.0.0.2", 0]));
    let back = site.call("POST", "//edgetron/undo", Some(json!({"sequence": to_b}))).await.expect(200).json();
    assert_eq!(back["commands"], json!([]), "{back}");
    assert_eq!(undo(&site, to_a).await["commands"][0]["what"], "have it lead nowhere");
    let again = change(&site, "POST", ACTION, associate("b")).await;
    let nowhere = change(&site, "POST", ACTION, Some(json!({"action": "disassociate"}))).await;
    assert_eq!(of(&site.get(IP).await.json(), &WHERE), json!([null, null, null]));
    assert_eq!(again + 1, nowhere);
    undo(&site, nowhere).await;
    assert_eq!(site.get(IP).await.json()["vm"], "b");
    let events = site.get(&format!("{IP}/events")).await.expect(200).json();
    let told = events["items"].to_string();
    assert!(told.contains("FloatingIpAssociated") && told.contains("FloatingIpDisassociated"), "{told}");
}

#[tokio::test]
async fn a_vms_removal_leaves_it_held_and_undo_leads_it_to_the_new_one() {
    let site = with_vms().await;
    an_ip(&site, json!({"floating_ip": "192.0.2.10", "vm": "a"})).await;
    site.play_workers();
    let sequence = change(&site, "DELETE", "/vms/a", None).await;
    assert_eq!(of(&site.get(IP).await.expect(200).json(), &WHERE), json!([null, null, null]));
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while vm_of(&site, "a").is_some() {
        assert!(tokio::time::Instant::now() < deadline, "it never went");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let undone = undo(&site, sequence).await;
    let what: Vec<&Value> = undone["commands"].as_array().unwrap().iter().map(|command| &command["what"]).collect();
    assert_eq!(what, ["make one like it", "have it lead there again"], "{undone}");
    let (ip, a) = (site.get(IP).await.json(), site.get("/vms/a").await.json());
    assert_eq!((&ip["vm_id"], &ip["fixed_ip"]), (&a["id"], &json!("10.0.0.2")));
}

#[tokio::test]
async fn a_router_with_floating_ips_goes_only_with_them_and_comes_back_with_them() {
    let site = with_vms().await;
    an_ip(&site, json!({"floating_ip": "192.0.2.10", "vm": "a", "name": "web"})).await;
    for (method, path, body) in [
        ("DELETE", "/routers/edge", None),
        ("PATCH", "/routers/edge", Some(json!({"detach": ["blue"]}))),
        ("PATCH", "/routers/edge", Some(json!({"external": null}))),
    ] {
        let refused = site.call(method, path, body).await.expect_problem(409, "in-use", None).json();
        assert!(refused["detail"].as_str().unwrap().contains("floating_ip \"web\""), "{refused}");
    }
    for path in ["/floating_ips/web?cascade=true", "/routers/edge?cascade=yes"] {
        site.call("DELETE", path, None).await.expect_problem(400, "invalid-parameter", Some("cascade"));
    }
    let dry = site.call("DELETE", "/routers/edge?cascade=true&dry_run=true", None).await.expect(200).json();
    assert_eq!(dry["state"], "deleting");
    let sequence = change(&site, "DELETE", "/routers/edge?cascade=true", None).await;
    assert_eq!(site.get("/floating_ips/web").await.json()["state"], "deleting");
    site.call("POST", "/floating_ips/web/action", associate("a")).await.expect_problem(409, "wrong-state", None);
    told(&site, "web", RealizationReport::Removed).await;
    told_of_router(&site, "edge", RealizationReport::Removed).await;
    let undone = undo(&site, sequence).await;
    let what: Vec<&Value> = undone["commands"].as_array().unwrap().iter().map(|command| &command["what"]).collect();
    assert_eq!(what, ["make it again", "take its address again"], "{undone}");
    let web = site.get("/floating_ips/web").await.expect(200).json();
    assert_eq!(of(&web, &["floating_ip", "router", "vm", "fixed_ip"]), json!(["192.0.2.10", "edge", "a", "10.0.0.2"]));
}

#[tokio::test]
async fn what_is_removed_is_taken_again_while_its_address_is_free() {
    let site = with_vms().await;
    let made = change(&site, "POST", "/floating_ips", Some(json!({"floating_ip": "192.0.2.10", "vm": "a"}))).await;
    let undone = undo(&site, made).await;
    let line = undone["commands"][0]["edgectl"].as_str().unwrap();
    assert!(line.starts_with("edgectl remove-fip "), "{line}");
    let removal = site.state.replica.head().sequence;
    told(&site, "192.0.2.10", RealizationReport::Removed).await;
    site.get(IP).await.expect(404);
    undo(&site, removal).await;
    assert_eq!(site.get(IP).await.expect(200).json()["vm"], "a");
    let removal = change(&site, "DELETE", IP, None).await;
    told(&site, "192.0.2.10", RealizationReport::Removed).await;
    an_ip(&site, json!({"floating_ip": "192.0.2.10", "name": "other"})).await;
    let undone = undo(&site, removal).await;
    assert_eq!(undone["commands"], json!([]), "{undone}");
    assert!(undone["cannot"].to_string().contains("floating_ip \\\"other\\\""), "{undone}");
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_is_stuck_is_repaired() {
    let site = with_vms().await;
    an_ip(&site, json!({"floating_ip": "192.0.2.10"})).await;
    for (method, end, body) in [
        ("GET", "", None),
        ("PATCH", "", Some(json!({"description": "x"}))),
        ("DELETE", "", None),
        ("GET", "/events", None),
        ("POST", "/action", associate("a")),
        ("POST", "/action", Some(json!({"action": "disassociate"}))),
    ] {
        let reply = site.call(method, &format!("/floating_ips/nothing{end}"), body).await;
        reply.expect_problem(404, "not-found", None);
    }
    let silent = site.call("POST", ACTION, Some(json!({"action": "reconcile"}))).await;
    silent.expect_problem(409, "reason-required", Some("EdgeStack-Reason"));
    let because = [("edgestack-reason", "the cable is back")];
    site.call_with("POST", ACTION, &because, Some(json!({"action": "reconcile"}))).await.expect(202);
    let forced = site.call_with("POST", ACTION, &because, Some(json!({"action": "force_remove"}))).await;
    forced.expect_problem(409, "force-not-needed", None);
}
