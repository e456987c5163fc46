//! Load balancers: what is asked, shown and refused, and what undo brings back. The gateway worker doesn't play here;
//! `workers/gateway` and `tests/e2e` have it.

use std::time::Duration;

use edgestack_model::{Command, load_balancer::LoadBalancerCommand, realization::RealizationReport};
use serde_json::{Value, json};

use crate::{
    routers::{change, of, undo, with_router},
    site::{BASE, DEADLINE, Site, vm_of},
};

/// A site with router `edge` between `blue` and `outside`, and VMs `a` and `b` on `blue`, at 10.0.0.2 and 10.0.0.3.
async fn with_vms() -> Site {
    let site = with_router().await;
    site.with_flavor_and_image().await;
    for name in ["a", "b"] {
        let vm = json!({"name": name, "image": "debian", "flavor": "small", "networks": [{"network": "blue"}]});
        site.call("POST", "/vms", Some(vm)).await.expect(202);
    }
    site
}

async fn a_balancer(site: &Site, wish: Value) -> Value {
    site.call("POST", "/lbs", Some(wish)).await.expect(202).json()
}

fn the_usual() -> Value {
    json!({"name": "l", "network": "blue", "members": ["a", "b"], "rules": [{"protocol": "tcp", "port_range_min": 80}]})
}

async fn told(site: &Site, name: &str, report: RealizationReport) {
    let (load_balancer, generation) = {
        let world = site.state.replica.world();
        let balancer = world.load_balancer(&name.into()).unwrap();
        (balancer.id, balancer.meta.generation)
    };
    site.submit(Command::LoadBalancer(LoadBalancerCommand::Report { load_balancer, generation, report })).await;
}

#[tokio::test]
async fn it_is_shown_with_its_rules_members_and_limits() {
    let site = with_vms().await;
    let wish = json!({
        "name": "l", "description": "the shop", "labels": {"a": "b"}, "network": "blue", "vip": "10.0.0.50",
        "members": ["a", "10.0.0.77"], "session_affinity": "client_ip", "health_check": {"interval_seconds": 9},
        "rules": [{"protocol": "UDP", "port_range_min": 5, "port_range_max": 6, "member_port": 7}, {"protocol": "icmp"}],
    });
    let made = site.call("POST", "/lbs", Some(wish.clone())).await.expect(202);
    assert_eq!(made.header("location"), format!("{BASE}/lbs/l"));
    let shown = made.json();
    for field in ["name", "description", "labels", "network", "vip", "session_affinity"] {
        assert_eq!(shown[field], wish[field], "{field}: {shown}");
    }
    assert_eq!(shown["members"], json!(["10.0.0.2", "10.0.0.77"]));
    let vm = &shown["member_vms"][0];
    assert_eq!(of(vm, &["address", "vm", "nic"]), json!(["10.0.0.2", "a", 0]));
    let rules = json!([
        {"id": "udp-5-6", "protocol": "udp", "port_range_min": 5, "port_range_max": 6, "member_port": 7},
        {"id": "icmp", "protocol": "icmp", "port_range_min": null, "port_range_max": null, "member_port": null},
    ]);
    assert_eq!((&shown["rules"], &site.get("/lbs/l/rules").await.json()), (&rules, &rules));
    let check =
        json!({"interval_seconds": 9, "timeout_seconds": 3, "failures": 3, "successes": 2, "source": "10.0.0.4"});
    assert_eq!(shown["health_check"], check);
    assert_eq!(shown["limits"].as_array().unwrap().len(), 3, "{shown}");
    assert_eq!((&shown["state"], &shown["waiting"]["owner"]), (&json!("creating"), &json!("worker.gateway")));
    let blue = site.get("/networks/blue").await.json();
    assert!(blue["addresses"].to_string().contains("load_balancer \\\"l\\\""), "{blue}");
    assert_eq!(site.get("/lbs?label=a=b&state=creating").await.json()["items"], json!([shown]));
    told(&site, "l", RealizationReport::Realized).await;
    assert_eq!(site.get("/lbs/l").await.json()["state"], "active");
    let head = site.state.replica.head().sequence;
    change(&site, "PATCH", "/lbs/l", Some(json!({"members": null}))).await;
    assert_eq!(site.get(&format!("/lbs/l?at={head}")).await.json()["members"], shown["members"]);
    let events = site.get("/lbs/l/events").await.expect(200).json().to_string();
    assert!(events.contains("by nobody") && events.contains("LoadBalancerCreated"), "{events}");
}

#[tokio::test]
async fn wrong_values_are_told_by_their_field() {
    let site = with_vms().await;
    a_balancer(&site, the_usual()).await;
    let tcp = |min: u16, max: u16| json!([{"protocol": "tcp", "port_range_min": min, "port_range_max": max}]);
    for (fields, status, code, field) in [
        (json!({"name": "l"}), 409, "name-taken", "name"),
        (json!({"network": "nowhere"}), 409, "reference-not-found", "network"),
        (json!({"network": "outside"}), 422, "invalid-value", "network"),
        (json!({"vip": "10.0.0.4"}), 409, "address-in-use", "vip"),
        (json!({"vip": "10.9.0.4"}), 422, "invalid-value", "vip"),
        (json!({"members": ["nowhere"]}), 409, "reference-not-found", "members.0"),
        (json!({"members": ["10.9.0.4"]}), 422, "invalid-value", "members"),
        (json!({"rules": tcp(9, 8)}), 422, "invalid-value", "rules.0.port_range_max"),
        (json!({"rules": tcp(1, 300)}), 422, "invalid-value", "rules"),
        (json!({"rules": [{"protocol": "sctp"}]}), 422, "invalid-body", "rules[0].protocol"),
        (json!({"health_check": {"timeout_seconds": 9}}), 422, "invalid-value", "health_check.timeout_seconds"),
        (json!({"session_affinity": "sometimes"}), 422, "invalid-body", "session_affinity"),
        (json!({"algorithm": "round_robin"}), 422, "invalid-body", "algorithm"),
    ] {
        let mut body = json!({"name": "m", "network": "blue"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        site.call("POST", "/lbs", Some(body)).await.expect_problem(status, code, Some(field));
    }
    let rule = |fields: Value| site.call("POST", "/lbs/l/rules", Some(fields));
    let overlapping = json!({"protocol": "tcp", "port_range_min": 70, "port_range_max": 90});
    rule(overlapping).await.expect_problem(422, "invalid-value", Some("port_range_min"));
    rule(json!({"protocol": "icmp", "port_range_min": 1})).await.expect_problem(
        422,
        "invalid-value",
        Some("port_range_min"),
    );
    let gone = site.call("DELETE", "/lbs/l/rules/tcp-81", None).await;
    gone.expect_problem(409, "reference-not-found", Some("rule"));
    site.call("DELETE", "/lbs/l/rules/x", None).await.expect_problem(422, "invalid-value", Some("rule"));
    let action = json!({"action": "associate", "vm": "a", "load_balancer": "l"});
    site.call("POST", "/floating_ips", Some(json!({"name": "ip"}))).await.expect(202);
    let both = site.call("POST", "/floating_ips/ip/action", Some(action)).await;
    both.expect_problem(422, "invalid-value", Some("load_balancer"));
}

#[tokio::test]
async fn what_was_changed_is_put_back_and_what_was_removed_is_made_again() {
    let site = with_vms().await;
    a_balancer(&site, the_usual()).await;
    let before = site.get("/lbs/l").await.json();
    let fields = ["members", "rules", "session_affinity", "health_check", "vip"];
    let added = change(&site, "POST", "/lbs/l/rules", Some(json!({"protocol": "icmp"}))).await;
    let update = json!({"remove": ["a"], "session_affinity": "client_ip", "health_check": {}});
    let updated = change(&site, "PATCH", "/lbs/l", Some(update)).await;
    undo(&site, updated).await;
    undo(&site, added).await;
    assert_eq!(of(&site.get("/lbs/l").await.json(), &fields), of(&before, &fields));
    let taken = change(&site, "DELETE", "/lbs/l/rules/tcp-80", None).await;
    assert_eq!(site.get("/lbs/l/rules").await.json(), json!([]));
    undo(&site, taken).await;

    // With the floating IP that leads to it.
    let ip = json!({"name": "ip", "load_balancer": "l"});
    site.call("POST", "/floating_ips", Some(ip)).await.expect(202);
    assert_eq!(site.get("/lbs/l").await.json()["floating_ips"], json!(["192.0.2.3"]));
    let removal = change(&site, "DELETE", "/lbs/l", None).await;
    assert_eq!(site.get("/floating_ips/ip").await.json()["load_balancer"], json!(null));
    told(&site, "l", RealizationReport::Removed).await;
    let undone = undo(&site, removal).await;
    let what: Vec<&Value> = undone["commands"].as_array().unwrap().iter().map(|command| &command["what"]).collect();
    assert_eq!(what, ["make it again", "have it lead there again"], "{undone}");
    assert_eq!(of(&site.get("/lbs/l").await.json(), &fields), of(&before, &fields));
    assert_eq!(site.get("/floating_ips/ip").await.json()["load_balancer"], "l");

    // And led elsewhere, and back.
    let to_vm = json!({"action": "associate", "vm": "a"});
    let moved = change(&site, "POST", "/floating_ips/ip/action", Some(to_vm)).await;
    undo(&site, moved).await;
    assert_eq!(of(&site.get("/floating_ips/ip").await.json(), &["load_balancer", "vm"]), json!(["l", null]));
}

#[tokio::test]
async fn a_vm_that_is_removed_is_no_member_and_one_like_it_is_one_again() {
    let site = with_vms().await;
    a_balancer(&site, the_usual()).await;
    site.play_workers();
    let sequence = change(&site, "DELETE", "/vms/a", None).await;
    assert_eq!(site.get("/lbs/l").await.json()["members"], json!(["10.0.0.3"]));
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while vm_of(&site, "a").is_some() {
        assert!(tokio::time::Instant::now() < deadline, "it never went");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let undone = undo(&site, sequence).await;
    let what: Vec<&Value> = undone["commands"].as_array().unwrap().iter().map(|command| &command["what"]).collect();
    assert_eq!(what, ["make one like it", "have it as a member again"], "{undone}");
    assert_eq!(site.get("/lbs/l").await.json()["members"], json!(["10.0.0.2", "10.0.0.3"]));
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_what_is_stuck_is_repaired() {
    let site = with_vms().await;
    a_balancer(&site, the_usual()).await;
    for (method, end, body) in [
        ("GET", "", None),
        ("PATCH", "", Some(json!({"description": "x"}))),
        ("DELETE", "", None),
        ("GET", "/events", None),
        ("GET", "/rules", None),
        ("POST", "/rules", Some(json!({"protocol": "icmp"}))),
        ("DELETE", "/rules/icmp", None),
    ] {
        let reply = site.call(method, &format!("/lbs/nothing{end}"), body).await;
        reply.expect_problem(404, "not-found", None);
    }
    let action = "/lbs/l/action";
    let silent = site.call("POST", action, Some(json!({"action": "reconcile"}))).await;
    silent.expect_problem(409, "reason-required", Some("EdgeStack-Reason"));
    let because = [("edgestack-reason", "the cable is back")];
    site.call_with("POST", action, &because, Some(json!({"action": "reconcile"}))).await.expect(202);
    let forced = site.call_with("POST", action, &because, Some(json!({"action": "force_remove"}))).await;
    forced.expect_problem(409, "force-not-needed", None);
}
