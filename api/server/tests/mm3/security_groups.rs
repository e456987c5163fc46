//! Security groups, their rules, and NICs in them: what is asked, shown and refused. The gateway worker doesn't play here;
//! `workers/gateway` and `tests/e2e` have it.

use std::{collections::BTreeSet, time::Duration};

use edgestack_model::{Command, Id, realization::RealizationReport, security_group::SecurityGroupCommand};
use serde_json::{Value, json};

use crate::site::{BASE, DEADLINE, Site, vm_of};

async fn a_group(site: &Site, wish: Value) -> Value {
    site.call("POST", "/security_groups", Some(wish)).await.expect(202).json()
}

async fn with_web_on_blue() -> Site {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    site.call("POST", "/networks", Some(json!({"name": "blue", "cidr": "10.0.0.0/24"}))).await.expect(202);
    a_group(&site, json!({"name": "web"})).await;
    a_group(&site, json!({"name": "db"})).await;
    site
}

async fn a_vm(site: &Site, name: &str, networks: Value) -> Value {
    let vm = json!({"name": name, "image": "debian", "flavor": "small", "networks": networks});
    site.call("POST", "/vms", Some(vm)).await.expect(202).json()
}

/// The sequence of a change's commit.
async fn change(site: &Site, method: &str, path: &str, body: Option<Value>) -> u64 {
    let reply = site.call(method, path, body).await;
    assert!(reply.status.is_success(), "{method} {path}: {}", reply.text());
    reply.header("edgestack-sequence").parse().unwrap()
}

/// The gateway pool has removed it.
async fn is_removed(site: &Site, name: &str) {
    let (group, generation) = {
        let world = site.state.replica.world();
        let group = world.security_group(&name.into()).unwrap();
        (group.id, group.meta.generation)
    };
    let report = RealizationReport::Removed;
    site.submit(Command::SecurityGroup(SecurityGroupCommand::Report { group, generation, report })).await;
}

fn names<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|one| one[field].as_str().unwrap()).collect()
}

async fn undo(site: &Site, sequence: u64) -> Value {
    let undone = site.call("POST", "//edgetron/undo", Some(json!({"sequence": sequence}))).await.expect(200).json();
    for command in undone["commands"].as_array().unwrap() {
        assert_eq!(command["problem"], Value::Null, "{command}");
    }
    undone
}

#[tokio::test]
async fn a_group_without_rules_of_its_own_lets_out_what_its_nics_send() {
    let site = Site::new().await;
    let made = site.call("POST", "/security_groups", Some(json!({"name": "web"}))).await.expect(202);
    assert_eq!(made.header("location"), format!("{BASE}/security_groups/web"));
    let web = made.json();
    assert_eq!((&web["state"], &web["members"]), (&json!("creating"), &json!([])));
    // Nobody works on it, and that is said with what to do.
    assert_eq!(web["waiting"]["owner"], "worker.gateway");
    let rules = web["rules"].as_array().unwrap();
    let families: BTreeSet<&str> = names(&web["rules"], "ether_type").into_iter().collect();
    assert_eq!((rules.len(), families), (2, ["IPv4", "IPv6"].into()));
    for rule in rules {
        assert_eq!(rule["direction"], "egress", "{rule}");
        assert_eq!((&rule["protocol"], &rule["remote_ip_prefix"]), (&json!("any"), &json!(null)), "{rule}");
        assert_eq!((&rule["security_group"], &rule["security_group_id"]), (&json!("web"), &web["id"]), "{rule}");
    }
    assert_eq!(a_group(&site, json!({"name": "closed", "rules": []})).await["rules"], json!([]));
    assert_eq!(site.get("/security_groups?state=creating").await.json()["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn rules_are_shown_as_they_were_asked_for() {
    let site = Site::new().await;
    a_group(&site, json!({"name": "web"})).await;
    let rules = json!([
        {"name": "ssh", "direction": "ingress", "protocol": "tcp", "port_range_min": 22, "remote_ip_prefix": "10.0.0.0/8",
         "description": "from inside", "labels": {"a": "b"}},
        {"name": "ping", "direction": "ingress", "protocol": "icmpv6", "icmp_type": 128},
        {"name": "from-web", "direction": "ingress", "protocol": 17, "port_range_min": 8000, "port_range_max": 8100, "remote_group": "web"},
        {"name": "vrrp", "direction": "egress", "protocol": "112", "remote_ip_prefix": "fd00::/8"},
        {"name": "self", "direction": "ingress", "ether_type": "ipv6", "remote_group": "lb"},
    ]);
    let lb = a_group(&site, json!({"name": "lb", "rules": rules})).await;
    let rule = |name: &str| lb["rules"].as_array().unwrap().iter().find(|rule| rule["name"] == name).unwrap();
    let of = |name: &str, fields: &[&str]| -> Value { fields.iter().map(|field| rule(name)[*field].clone()).collect() };
    assert_eq!(of("ssh", &["name", "description", "labels"]), json!(["ssh", "from inside", {"a": "b"}]));
    let what = ["ether_type", "protocol", "port_range_min", "port_range_max", "remote_ip_prefix"];
    assert_eq!(of("ssh", &what), json!(["IPv4", "tcp", 22, 22, "10.0.0.0/8"]));
    let icmp = ["ether_type", "protocol", "icmp_type", "icmp_code", "port_range_min"];
    assert_eq!(of("ping", &icmp), json!(["IPv6", "icmp", 128, null, null]));
    let of_group = ["protocol", "port_range_min", "port_range_max", "remote_group"];
    assert_eq!(of("from-web", &of_group), json!(["udp", 8000, 8100, "web"]));
    assert_eq!(of("vrrp", &["ether_type", "protocol", "direction"]), json!(["IPv6", "112", "egress"]));
    assert_eq!(of("self", &["remote_group", "remote_group_id"]), json!(["lb", lb["id"]]));
    // Made one by one it is the same, by the name or the id of its group.
    let rule = json!({"security_group": lb["id"], "direction": "ingress", "protocol": "tcp", "port_range_min": 443});
    let made = site.call("POST", "/security_group_rules", Some(rule)).await.expect(202);
    assert_eq!(made.header("location"), format!("{BASE}/security_group_rules/lb-ingress-ipv4-tcp-443"));
    let made = made.json();
    assert_eq!((&made["security_group"], &made["port_range_max"]), (&json!("lb"), &json!(443)));
    let group = site.get("/security_groups/lb").await.json();
    assert_eq!(group["rules"][5], made);
    assert!(group["revision"].as_u64() > lb["revision"].as_u64(), "a rule of its is news of it");
    let listed = site.get("/security_group_rules?label=a=b").await.json();
    assert_eq!(names(&listed["items"], "name"), ["ssh"]);
}

#[tokio::test]
async fn wrong_values_are_told_by_their_field() {
    let site = Site::new().await;
    a_group(&site, json!({"name": "web"})).await;
    let good = json!({"direction": "ingress"});
    for (fields, field) in [
        (json!({"name": "A b"}), "name"),
        (json!({"labels": {"": "x"}}), "labels"),
        (json!({"protocol": "ospf"}), "protocol"),
        (json!({"protocol": 256}), "protocol"),
        (json!({"protocol": "icmpv6", "ether_type": "IPv4"}), "ether_type"),
        (json!({"protocol": "tcp", "port_range_min": 0}), "port_range_min"),
        (json!({"protocol": "tcp", "port_range_min": 90, "port_range_max": 80}), "port_range_min"),
        (json!({"port_range_min": 22}), "port_range_min"),
        (json!({"protocol": "udp", "icmp_type": 8}), "icmp_type"),
        (json!({"protocol": "icmp", "icmp_code": 0}), "icmp_code"),
        (json!({"protocol": "icmp", "port_range_min": 256}), "port_range_min"),
        (json!({"protocol": "icmp", "icmp_type": 8, "port_range_min": 8}), "port_range_min"),
        (json!({"remote_ip_prefix": "10.0.0.1/8"}), "remote_ip_prefix"),
        (json!({"remote_ip_prefix": "10.0.0.0/8", "ether_type": "IPv6"}), "remote_ip_prefix"),
        (json!({"remote_ip_prefix": "10.0.0.0/8", "remote_group": "web"}), "remote_group"),
    ] {
        let mut rule = good.clone();
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let group = json!({"name": "new", "rules": [good, rule]});
        let place = format!("rules.1.{field}");
        site.call("POST", "/security_groups", Some(group)).await.expect_problem(422, "invalid-value", Some(&place));
        rule["security_group"] = "web".into();
        let made = site.call("POST", "/security_group_rules", Some(rule)).await;
        made.expect_problem(422, "invalid-value", Some(field));
    }
    for (rule, field) in [
        (json!({}), "direction"),
        (json!({"direction": "both"}), "direction"),
        (json!({"direction": "ingress", "ether_type": "ARP"}), "ether_type"),
        (json!({"direction": "ingress", "protocol": true}), "protocol"),
        (json!({"direction": "ingress", "port_range_min": 65536}), "port_range_min"),
        (json!({"direction": "ingress", "icmp_type": 256}), "icmp_type"),
        (json!({"direction": "ingress", "port": 22}), "port"),
    ] {
        let mut alone = rule.clone();
        alone["security_group"] = "web".into();
        let made = site.call("POST", "/security_group_rules", Some(alone)).await;
        made.expect_problem(422, "invalid-body", Some(field));
        let group = json!({"name": "new", "rules": [rule]});
        let made = site.call("POST", "/security_groups", Some(group)).await;
        made.expect_problem(422, "invalid-body", Some(&format!("rules[0].{field}")));
    }
    for (body, field) in [
        (json!({"name": "A"}), "name"),
        (json!({"name": "new", "labels": {"a b": "c"}}), "labels"),
        (json!({"name": "new", "description": "x".repeat(1025)}), "description"),
        (json!({"name": "new", "rules": vec![good.clone(); 201]}), "rules"),
    ] {
        let made = site.call("POST", "/security_groups", Some(body)).await;
        made.expect_problem(422, "invalid-value", Some(field));
    }
    for body in
        [json!({"name": "new", "rule": []}), json!({"name": "new", "rules": [{"direction": "egress", "to": 1}]})]
    {
        site.call("POST", "/security_groups", Some(body)).await.expect(422);
    }
    let unknown = json!({"security_group": "nowhere", "direction": "ingress"});
    let made = site.call("POST", "/security_group_rules", Some(unknown)).await;
    made.expect_problem(409, "reference-not-found", Some("security_group"));
    let unknown = json!({"name": "new", "rules": [{"direction": "ingress", "remote_group": "nowhere"}]});
    let made = site.call("POST", "/security_groups", Some(unknown)).await;
    made.expect_problem(409, "reference-not-found", Some("rules.0.remote_group"));
    // Nothing of all this was made.
    assert_eq!(names(&site.get("/security_groups").await.json()["items"], "name"), ["web"]);
}

#[tokio::test]
async fn the_same_rule_twice_and_a_rule_too_many_are_refused() {
    let site = Site::new().await;
    a_group(&site, json!({"name": "web"})).await;
    let all = json!({"security_group": "web", "direction": "egress"});
    let twice = site.call("POST", "/security_group_rules", Some(all)).await;
    let problem = twice.expect_problem(409, "rule-exists", None).json();
    assert!(problem["detail"].as_str().unwrap().contains("\"web-egress-ipv4\""), "{problem}");
    let port = |port: u16| json!({"direction": "ingress", "protocol": "tcp", "port_range_min": port});
    let full: Vec<Value> = (1..=200).map(port).collect();
    a_group(&site, json!({"name": "full", "rules": full})).await;
    let mut one_more = port(201);
    one_more["security_group"] = "full".into();
    site.call("POST", "/security_group_rules", Some(one_more)).await.expect_problem(409, "group-full", None);
}

#[tokio::test]
async fn description_and_labels_are_all_that_changes() {
    let site = Site::new().await;
    let rule = json!({"name": "ssh", "direction": "ingress", "protocol": "tcp", "port_range_min": 22});
    a_group(&site, json!({"name": "web", "rules": [rule]})).await;
    for (path, other) in
        [("/security_groups/web", json!({"rules": []})), ("/security_group_rules/ssh", json!({"protocol": "udp"}))]
    {
        let update = json!({"description": "for the demo", "labels": {"team": "core"}});
        let changed = site.call("PATCH", path, Some(update.clone())).await.expect(200);
        let sequence: u64 = changed.header("edgestack-sequence").parse().unwrap();
        let changed = changed.json();
        for field in ["description", "labels"] {
            assert_eq!(changed[field], update[field], "{path}");
        }
        assert_eq!(changed["generation"], 2);
        site.call("PATCH", path, Some(other)).await.expect(422);
        assert_eq!(names(&undo(&site, sequence).await["commands"], "what"), ["put back description, labels"]);
        assert_eq!(site.get(path).await.json()["labels"], json!({}));
        let events = site.get(&format!("{path}/events")).await.expect(200).json();
        assert_eq!(events["items"].as_array().unwrap().len(), 3, "{events}");
        let silent = site.call("POST", &format!("{path}/action"), Some(json!({"action": "reconcile"}))).await;
        silent.expect_problem(409, "reason-required", Some("EdgeStack-Reason"));
        let because = [("edgestack-reason", "the cable is back")];
        let action = json!({"action": "reconcile"});
        site.call_with("POST", &format!("{path}/action"), &because, Some(action)).await.expect(202);
        let force = json!({"action": "force_remove"});
        let forced = site.call_with("POST", &format!("{path}/action"), &because, Some(force)).await;
        forced.expect_problem(409, "force-not-needed", None);
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let site = Site::new().await;
    for kind in ["security_groups", "security_group_rules"] {
        for (method, end, body) in [
            ("GET", "", None),
            ("PATCH", "", Some(json!({"description": "x"}))),
            ("DELETE", "", None),
            ("GET", "/events", None),
            ("POST", "/action", Some(json!({"action": "reconcile"}))),
        ] {
            let reply = site.call(method, &format!("/{kind}/nothing{end}"), body).await;
            reply.expect_problem(404, "not-found", None);
        }
    }
    let reply = site.call("DELETE", "/security_groups/nothing?cascade=true", None).await;
    reply.expect_problem(404, "not-found", None);
}

#[tokio::test]
async fn nics_are_in_the_groups_that_are_named_or_in_the_default_one() {
    let site = with_web_on_blue().await;
    let networks = json!([
        {"network": "blue"},
        {"network": "blue", "security_groups": ["web", "db"]},
        {"network": "blue", "security_groups": []},
        {"network": "blue", "security_groups": null},
    ]);
    let vm = a_vm(&site, "a", networks).await;
    let groups: Vec<&Value> = (0..4).map(|nic| &vm["networks"][nic]["security_groups"]).collect();
    assert_eq!(groups, [&json!(["default"]), &json!(["web", "db"]), &json!([]), &json!(["default"])]);
    let default = site.get("/security_groups/default").await.expect(200).json();
    assert_eq!(default["rules"].as_array().unwrap().len(), 4);
    let member = |nic: u32| json!({"vm": "a", "vm_id": vm["id"], "nic": nic});
    assert_eq!(default["members"], json!([member(0), member(3)]));
    assert_eq!(site.get("/security_groups/db").await.json()["members"], json!([member(1)]));
    for (groups, code, status, field) in [
        (json!(["web", "nowhere"]), "reference-not-found", 409, "networks.0.security_groups.1"),
        (json!([""]), "invalid-value", 422, "networks.0.security_groups.0"),
        (json!(vec!["web"; 17]), "invalid-value", 422, "networks.0.security_groups"),
    ] {
        let networks = json!([{"network": "blue", "security_groups": groups}]);
        let vm = json!({"name": "b", "image": "debian", "flavor": "small", "networks": networks});
        site.call("POST", "/vms", Some(vm)).await.expect_problem(status, code, Some(field));
    }
}

#[tokio::test]
async fn the_groups_of_a_vms_nics_are_edited_and_put_back() {
    let site = with_web_on_blue().await;
    a_vm(&site, "a", json!([{"network": "blue"}, {"network": "blue", "security_groups": ["web"]}])).await;
    let groups = async || -> Value {
        let vm = site.get("/vms/a").await.json();
        vm["networks"].as_array().unwrap().iter().map(|nic| nic["security_groups"].clone()).collect()
    };
    let edit = |mut body: Value| {
        body["action"] = "edit_security_groups".into();
        Some(body)
    };
    change(&site, "POST", "/vms/a/action", edit(json!({"add": ["db"], "remove": ["web"]}))).await;
    assert_eq!(groups().await, json!([["default", "db"], ["db"]]));
    let sequence = change(&site, "POST", "/vms/a/action", edit(json!({"nic": 1, "security_groups": []}))).await;
    assert_eq!(groups().await, json!([["default", "db"], []]));
    assert_eq!(site.get("/vms/a").await.json()["networks"][1]["ready"], false);
    let undone = undo(&site, sequence).await;
    assert_eq!(names(&undone["commands"], "what"), ["put NIC 1 back in its security groups"]);
    let line = undone["commands"][0]["edgectl"].as_str().unwrap();
    assert!(line.starts_with("edgectl edit-vm-sg ") && line.ends_with(" --nic 1 --set db"), "{line}");
    assert_eq!(groups().await, json!([["default", "db"], ["db"]]));
    assert!(names(&undo(&site, sequence).await["already"], "why")[0].contains("of before"));
    // Both of them in one commit are put back by two commands.
    let sequence = change(&site, "POST", "/vms/a/action", edit(json!({"security_groups": ["web"]}))).await;
    assert_eq!(groups().await, json!([["web"], ["web"]]));
    change(&site, "POST", "/vms/a/action", edit(json!({"nic": 1, "add": ["db"]}))).await;
    let undone = undo(&site, sequence).await;
    assert!(names(&undone["changed_since"], "why")[0].starts_with("NIC 1"), "{undone}");
    assert_eq!(groups().await, json!([["default", "db"], ["web", "db"]]));

    for (body, status, code, field) in [
        (json!({}), 422, "invalid-value", "security_groups"),
        (json!({"nic": 2, "add": ["web"]}), 409, "reference-not-found", "nic"),
        (json!({"add": ["web"], "remove": ["web"]}), 422, "invalid-value", "remove"),
        (json!({"add": ["nowhere"]}), 409, "reference-not-found", "add.0"),
        (json!({"remove": ["nowhere"]}), 409, "reference-not-found", "remove.0"),
        (json!({"security_groups": ["web", "nowhere"]}), 409, "reference-not-found", "security_groups.1"),
        (json!({"sg": ["web"]}), 422, "invalid-body", "sg"),
    ] {
        let reply = site.call("POST", "/vms/a/action", edit(body)).await;
        reply.expect_problem(status, code, Some(field));
    }
    site.call("POST", "/vms/nothing/action", edit(json!({"add": ["web"]}))).await.expect(404);
    let events = site.get("/vms/a/events").await.json();
    let told = names(&events["items"], "message");
    assert!(told.contains(&"NIC 1 is in no security group: nothing passes"), "{told:?}");
}

#[tokio::test]
async fn a_group_in_use_goes_only_with_what_uses_it_and_comes_back_with_that() {
    let site = with_web_on_blue().await;
    let rule = |more: Value| {
        let mut rule = json!({"direction": "ingress", "protocol": "tcp"});
        rule.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Some(rule)
    };
    change(
        &site,
        "POST",
        "/security_group_rules",
        rule(json!({"security_group": "db", "name": "of-web", "remote_group": "web"})),
    )
    .await;
    change(
        &site,
        "POST",
        "/security_group_rules",
        rule(json!({"security_group": "web", "name": "self", "remote_group": "web"})),
    )
    .await;
    a_vm(&site, "a", json!([{"network": "blue", "security_groups": ["web", "db"]}])).await;
    let refused = site.call("DELETE", "/security_groups/web", None).await.expect_problem(409, "in-use", None).json();
    let detail = refused["detail"].as_str().unwrap();
    assert!(detail.contains("vm \"a\"") && detail.contains("security_group_rule \"of-web\""), "{detail}");
    site.call("DELETE", "/security_groups/web?cascade=yes", None).await.expect_problem(
        400,
        "invalid-parameter",
        Some("cascade"),
    );
    for path in ["/floating_ips/a?cascade=true", "/security_group_rules/self?cascade=true", "/vms/a?cascade=true"] {
        site.call("DELETE", path, None).await.expect_problem(400, "invalid-parameter", Some("cascade"));
    }
    let before = site.state.replica.head().sequence;
    let dry = site.call("DELETE", "/security_groups/web?cascade=true&dry_run=true", None).await.expect(200).json();
    assert_eq!((&dry["state"], &dry["members"]), (&json!("deleting"), &json!([])));
    assert_eq!(site.state.replica.head().sequence, before, "a dry run changed something");

    let sequence = change(&site, "DELETE", "/security_groups/web?cascade=true", None).await;
    assert_eq!(site.get("/vms/a").await.json()["networks"][0]["security_groups"], json!(["db"]));
    let of_db = site.get("/security_group_rules/of-web").await.json();
    assert_eq!(of_db["state"], "deleting");
    let reply = site.call("POST", "//edgetron/undo", Some(json!({"sequence": sequence}))).await.expect(200).json();
    assert!(names(&reply["changed_since"], "why")[0].contains("being removed"), "{reply}");
    is_removed(&site, "web").await;
    let db_rule: Id<_> = of_db["id"].as_str().unwrap().parse().unwrap();
    let generation = site.state.replica.world().security_group_rules[&db_rule].meta.generation;
    let removed = edgestack_model::security_group_rule::SecurityGroupRuleCommand::Report {
        rule: db_rule,
        generation,
        report: RealizationReport::Removed,
    };
    site.submit(Command::SecurityGroupRule(removed)).await;
    site.get("/security_groups/web").await.expect(404);

    let undone = undo(&site, sequence).await;
    let what = ["make it again, with its rules", "make it again", "put NIC 0 back in its security groups"];
    assert_eq!(names(&undone["commands"], "what"), what, "{undone}");
    let web = site.get("/security_groups/web").await.expect(200).json();
    let rules: BTreeSet<&str> = names(&web["rules"], "name").into_iter().collect();
    assert_eq!(rules, ["web-egress-ipv4", "web-egress-ipv6", "self"].into());
    let itself = web["rules"].as_array().unwrap().iter().find(|rule| rule["name"] == "self").unwrap();
    assert_eq!((&itself["remote_group_id"], &web["members"][0]["vm"]), (&web["id"], &json!("a")));
    let of_db = site.get("/security_group_rules/of-web").await.expect(200).json();
    assert_eq!((&of_db["security_group"], &of_db["remote_group_id"]), (&json!("db"), &web["id"]));
}

#[tokio::test]
async fn what_was_made_is_undone_but_for_the_default_group() {
    let site = with_web_on_blue().await;
    let made = site.state.replica.head().sequence;
    a_vm(&site, "a", json!([{"network": "blue"}])).await;
    let with_vm = site.state.replica.head().sequence;
    let proposal = json!({"sequence": with_vm, "dry_run": true});
    let proposal = site.call("POST", "//edgetron/undo", Some(proposal)).await.expect(200).json();
    assert_eq!(names(&proposal["commands"], "object"), ["vm/a"], "{proposal}");
    assert!(names(&proposal["cannot"], "object").contains(&"security_group/default"), "{proposal}");
    let undone = undo(&site, made).await;
    assert_eq!(names(&undone["commands"], "object"), ["security_group/db"]);
    let line = undone["commands"][0]["edgectl"].as_str().unwrap();
    assert!(line.starts_with("edgectl remove-sg "), "{line}");
    assert_eq!(site.get("/security_groups/db").await.json()["state"], "deleting");
    site.call("DELETE", "/security_groups/default", None).await.expect_problem(409, "wrong-state", None);
}

#[tokio::test]
async fn a_vm_made_again_names_its_groups() {
    let site = with_web_on_blue().await;
    a_group(&site, json!({"name": "gone"})).await;
    let networks =
        json!([{"network": "blue", "security_groups": ["web", "gone"]}, {"network": "blue", "security_groups": []}]);
    a_vm(&site, "a", networks).await;
    site.play_workers();
    let sequence = change(&site, "DELETE", "/vms/a", None).await;
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while vm_of(&site, "a").is_some() {
        assert!(tokio::time::Instant::now() < deadline, "it never went");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    change(&site, "DELETE", "/security_groups/gone", None).await;
    let undone = undo(&site, sequence).await;
    let networks = &undone["commands"][0]["body"]["networks"];
    assert_eq!((&networks[0]["security_groups"], &networks[1]["security_groups"]), (&json!(["web"]), &json!([])));
    assert!(names(&undone["cannot"], "why").join("; ").contains("security group \"gone\" is gone"), "{undone}");
    assert_eq!(site.get("/vms/a").await.expect(200).json()["networks"][0]["security_groups"], json!(["web"]));
}

#[tokio::test]
async fn a_removal_that_takes_all_with_it_is_tried_on_a_fork() {
    let site = with_web_on_blue().await;
    a_vm(&site, "a", json!([{"network": "blue", "security_groups": ["web"]}])).await;
    let steps = json!([
        {"method": "DELETE", "path": "security_groups/web"},
        {"method": "DELETE", "path": "security_groups/web?cascade=true"},
    ]);
    let told = site.call("POST", "//edgetron/what-if", Some(json!({"steps": steps}))).await.expect(200).json();
    assert_eq!(names(&told["steps"], "outcome"), ["refused", "taken"], "{told}");
    site.get("/security_groups/web").await.expect(200);
}

#[tokio::test]
async fn the_document_tells_what_a_rule_and_an_edit_of_groups_can_be() {
    let site = Site::new().await;
    let document = site.get("//openapi.json").await.expect(200).json();
    let takes = |schema: &str, body: &Value| {
        let schema = json!({"$ref": format!("#/components/schemas/{schema}"), "components": document["components"]});
        jsonschema::draft202012::options().build(&schema).unwrap().is_valid(body)
    };
    for (takes_it, edit) in [
        (true, json!({"security_groups": []})),
        (true, json!({"security_groups": ["web"], "nic": 0})),
        (true, json!({"add": ["web"], "remove": ["db"], "security_groups": null})),
        (false, json!({})),
        (false, json!({"nic": 0})),
        (false, json!({"security_groups": null, "add": []})),
        (false, json!({"remove": [""]})),
        (false, json!({"add": vec!["web"; 17]})),
        (false, json!({"add": ["web"], "grace_seconds": 1})),
    ] {
        let mut body = edit;
        body["action"] = "edit_security_groups".into();
        assert_eq!(takes("VmAction", &body), takes_it, "{body}");
    }
    for (takes_it, protocol) in
        [(true, json!("tcp")), (true, json!(6)), (true, json!("112")), (false, json!("ospf")), (false, json!(256))]
    {
        let rule = json!({"direction": "ingress", "protocol": protocol});
        assert_eq!(takes("RuleRequest", &rule), takes_it, "{rule}");
        let group = json!({"name": "web", "rules": [rule]});
        assert_eq!(takes("CreateSecurityGroup", &group), takes_it, "{group}");
        let mut alone = rule;
        alone["security_group"] = "web".into();
        assert_eq!(takes("CreateSecurityGroupRule", &alone), takes_it, "{alone}");
    }
    for wrong in [json!({"direction": "ingress", "labels": {"a b": "c"}}), json!({"direction": "up"}), json!({})] {
        assert!(!takes("RuleRequest", &wrong), "{wrong}");
    }
    let parameters = &document["paths"][format!("{BASE}/security_groups/{{name}}")]["delete"]["parameters"];
    let cascade = parameters.as_array().unwrap().iter().find(|parameter| parameter["name"] == "cascade").unwrap();
    assert_eq!((&cascade["in"], &cascade["schema"]), (&json!("query"), &json!({"type": "boolean"})));
}
