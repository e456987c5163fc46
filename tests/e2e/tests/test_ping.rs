//! test-ping and trace-packet with real packets: from networks, routers and the outside to guests, and where packets stop.
//! The guests are network namespaces in the place of simulated VMs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::time::Duration;

use edgestack_e2e::{
    PATIENCE, Plugged, Site, eventually, in_own_network,
    run_edgectl::{fails, works},
    virtual_network::{a_guest, a_router, a_site, await_active},
};
use serde_json::{Value, json};

const PING: &str = "/edgetron/network/ping";
const TRACE: &str = "/edgetron/network/trace";

async fn ping(site: &Site, from: Value, to: Value) -> Value {
    site.api()
        .post(PING, &json!({"from": from, "to": to, "count": 3, "interval_ms": 50, "timeout_ms": 500}))
        .await
        .expect(200)
}

/// The way of a connection's first packet from `far`.
async fn traced(site: &Site, to: Value, port: u16) -> Value {
    let asked = json!({"from": {"vm": "far"}, "to": to, "protocol": "tcp", "port": port});
    site.api().post(TRACE, &asked).await.expect(200)
}

/// All requests were answered, and there is nothing to explain.
#[track_caller]
fn is_answered(ping: &Value) {
    assert_eq!((&ping["sent"], &ping["received"], &ping["trace"]), (&json!(3), &json!(3), &json!(null)), "{ping}");
    let rtt = &ping["rtt"];
    let (min, max) = (rtt["min_ms"].as_f64().unwrap(), rtt["max_ms"].as_f64().unwrap());
    assert!(0.0 < min && min <= max && max < 500.0, "{ping}");
}

/// A VM in group `default`, and a guest in its place.
async fn a_closed_guest(site: &Site, name: &str, network: &str) -> Plugged {
    site.create(name, &json!({"networks": [{"network": network}]})).await;
    let vm = site.await_nics(name).await;
    let guest = Plugged::as_nic(site, &vm, 0);
    guest.add_route("default", if network == "blue" { "10.0.0.1" } else { "10.1.0.1" });
    guest
}

/// What tests have in the northbound database.
fn rows(site: &Site) -> String {
    let of_table = |table| {
        site.nbctl(&["--bare", "--columns=external_ids", "find", table, "external_ids:\"edgestack:name\"=test-ping"])
    };
    ["Logical_Switch_Port", "Logical_Router_Port", "Logical_Switch", "NAT"].map(of_table).concat()
}

/// Nothing of a test is in the network any more.
async fn await_nothing_left(site: &Site) {
    eventually("the test's rows and ports are gone", PATIENCE, async || {
        let ports = site.vsctl(&["--bare", "--columns=name,external_ids", "list", "Interface"]);
        let left = rows(site);
        if left.trim().is_empty() && !ports.contains("probe-") { Ok(()) } else { Err(format!("{left}{ports}")) }
    })
    .await;
}

#[test]
fn a_ping_tells_who_answers_whom_and_where_packets_stop() {
    let test = "a_ping_tells_who_answers_whom_and_where_packets_stop";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let (_, open) = a_guest(&site, "open", "blue").await;
        let (_, far) = a_guest(&site, "far", "red").await;
        let closed = a_closed_guest(&site, "closed", "blue").await;

        // Before there is a router, the networks are apart.
        is_answered(&ping(&site, json!({"network": "blue"}), json!({"vm": "open"})).await);
        let apart = ping(&site, json!({"network": "blue"}), json!({"vm": "far"})).await;
        assert_eq!((&apart["received"], &apart["trace"]["verdict"]), (&json!(0), &json!("no_way")), "{apart}");
        assert!(apart["trace"]["why"].as_str().unwrap().contains("no router is on network \"blue\""), "{apart}");
        let dual = json!({"name": "dual", "cidr": "10.5.0.0/24", "ipv6": {"cidr": "fd00:5::/64"}});
        site.api().post("networks", &dual).await.accepted();
        site.await_network("dual", "active").await;
        let wish = json!({"internal_networks": ["blue", "red", "dual"], "external_network": "out"});
        a_router(&site, wish).await;
        let rule = |direction| json!({"direction": direction, "ether_type": "IPv6"});
        let open6 = json!({"name": "open6", "rules": [rule("ingress"), rule("egress")]});
        site.api().post("security_groups", &open6).await.accepted();
        await_active(&site, "security_groups/open6").await;
        site.create("six", &json!({"networks": [{"network": "dual", "security_groups": ["open6"]}]})).await;
        let vm = site.await_nics("six").await;
        let six = Plugged::as_nic(&site, &vm, 0);
        let address = vm["networks"][0]["addresses"][1].as_str().unwrap();
        six.add_ip(address, 64);
        six.add_route("default", "fd00:5::1");

        let sequence = site.api().get("/edgetron/log/head").await["sequence"].clone();
        for (from, to) in [
            (json!({"network": "blue"}), json!({"vm": "far"})),
            (json!({"network": "red"}), json!({"address": open.ip})),
            (json!({"router": "r"}), json!({"vm": "open"})),
            (json!({"router": "r"}), json!({"address": far.ip})),
            (json!({"network": "blue"}), json!({"address": "10.1.0.1"})),
            (json!({"network": "dual"}), json!({"address": "fd00:5::1"})),
            (json!({"network": "dual"}), json!({"address": address})),
            (json!({"router": "r"}), json!({"address": address})),
        ] {
            is_answered(&ping(&site, from, to).await);
        }
        // Who has the address is not on the network.
        let nobody = ping(&site, json!({"network": "blue"}), json!({"address": "10.0.0.99"})).await;
        assert!(nobody["trace"]["why"].as_str().unwrap().contains("has the address 10.0.0.99"), "{nobody}");

        // The group of the closed one lets only its own in; the rule that is missing is told, and is the right one.
        let dropped = ping(&site, json!({"network": "red"}), json!({"vm": "closed"})).await;
        assert_eq!((&dropped["received"], &dropped["loss_percent"]), (&json!(0), &json!(100.0)), "{dropped}");
        let trace = &dropped["trace"];
        assert_eq!(trace["verdict"], "dropped", "{dropped}");
        let why = trace["why"].as_str().unwrap();
        assert!(why.contains("vm \"closed\" (\"default\") has a rule that lets ICMP in"), "{why}");
        assert!(trace["ovn_trace"].as_str().unwrap().contains("ls_out_acl"), "{dropped}");
        assert_eq!(site.api().get("/edgetron/log/head").await["sequence"], sequence, "a test is no change");
        let fix: Vec<&str> = trace["fix"].as_str().unwrap().split(' ').skip(1).collect();
        works(&site, &[&fix[..], &["--name", "let-in"]].concat());
        await_active(&site, "security_group_rules/let-in").await;
        is_answered(&ping(&site, json!({"network": "red"}), json!({"vm": "closed"})).await);

        // A guest that doesn't answer, though the network hands all over.
        closed.wire(false);
        let silent = ping(&site, json!({"network": "red"}), json!({"vm": "closed"})).await;
        assert_eq!((&silent["received"], &silent["trace"]["verdict"]), (&json!(0), &json!("delivered")), "{silent}");
        assert!(silent["trace"]["why"].as_str().unwrap().contains("NIC 0 of vm \"closed\""), "{silent}");

        // From outside, by a floating IP.
        let none = site.api().post(PING, &json!({"from": {"outside": ""}, "to": {"vm": "open"}})).await.expect(422);
        assert!(none["detail"].as_str().unwrap().contains("no floating IP"), "{none}");
        let ip = json!({"floating_ip": "192.0.2.50", "vm": "open"});
        site.api().post("floating_ips", &ip).await.accepted();
        await_active(&site, "floating_ips/192.0.2.50").await;
        let outside = ping(&site, json!({"outside": "out"}), json!({"vm": "open"})).await;
        assert_eq!(outside["to_ip"], "192.0.2.50");
        is_answered(&outside);

        let asked = json!({"from": {"router": "r"}, "to": {"address": "203.0.113.9"}});
        let waits = site.api().post(TRACE, &asked).await.expect(200);
        assert_eq!(waits["verdict"], "awaits_neighbour", "{waits}");
        assert!(waits["why"].as_str().unwrap().contains("until 192.0.2.1 says its MAC address"), "{waits}");

        // What packets of TCP would meet, none sent.
        let way = traced(&site, json!({"vm": "open"}), 22).await;
        assert_eq!(way["verdict"], "delivered", "{way}");
        let steps: Vec<&str> =
            way["steps"].as_array().unwrap().iter().map(|step| step["what"].as_str().unwrap()).collect();
        assert!(steps.iter().any(|step| step.contains("takes the route to 10.0.0.0/24")), "{way}");
        assert!(
            steps.iter().any(|step| step.contains("of security group \"open\" lets it in to vm \"open\"")),
            "{way}"
        );
        assert_eq!(traced(&site, json!({"vm": "closed"}), 22).await["verdict"], "dropped");

        // A simulated VM has no guest to ask with; the trace is told all the same.
        let unsent = ping(&site, json!({"vm": "far"}), json!({"vm": "open"})).await;
        assert_eq!((&unsent["sent"], &unsent["trace"]["verdict"]), (&json!(0), &json!("delivered")), "{unsent}");
        assert!(unsent["not_sent"].as_str().unwrap().contains("simulated"), "{unsent}");

        for (asked, status, about) in [
            (json!({"from": {"vm": "nobody"}, "to": {"vm": "open"}}), 409, "from"),
            (json!({"from": {"network": "blue"}, "to": {"vm": "nobody"}}), 409, "to"),
            (json!({"from": {"network": "blue"}, "to": {"vm": "open"}, "count": 0}), 422, "count"),
            (
                json!({"from": {"network": "blue"}, "to": {"vm": "open"}, "count": 100, "interval_ms": 5000}),
                422,
                "count",
            ),
            (json!({"from": {"network": "red"}, "to": {"vm": "far"}, "ip_version": "6"}), 422, "to"),
            (json!({"from": {"network": "red"}, "to": {"address": "::"}}), 422, "to"),
            (json!({"from": {"outside": "red"}, "to": {"vm": "far"}}), 422, "from"),
            (json!({"from": {"network": "red"}, "to": {"vm": "far"}, "size_bytes": 1500}), 422, "size_bytes"),
        ] {
            let refused = site.api().post(PING, &asked).await;
            assert_eq!(
                (refused.status, &refused.json()["field"]),
                (status, &json!(about)),
                "{asked}: {}",
                refused.text
            );
        }

        // The same by hand.
        let told = works(&site, &["test-ping", "open", "--count", "2"]);
        assert!(told.contains("2 sent, 2 answered, 0 % lost"), "{told}");
        fails(
            &site,
            &["test-ping", "closed", "--from", "network:red", "--count", "1"],
            "does not answer network \"red\"",
        );
        works(&site, &["trace-packet", "outside", "192.0.2.50", "tcp/80", "--raw"]);
        fails(&site, &["trace-packet", "vm:far", "closed", "tcp/22"], "has a rule that lets TCP port 22 in");
        await_nothing_left(&site).await;
    });
}

#[test]
fn what_a_killed_test_leaves_is_taken_away_and_nobody_is_told_of_drift() {
    let test = "what_a_killed_test_leaves_is_taken_away_and_nobody_is_told_of_drift";
    in_own_network(test, async || {
        let Some(mut site) = a_site(test).await else { return };
        a_router(&site, json!({"internal_networks": ["blue"], "external_network": "out"})).await;
        let (_, open) = a_guest(&site, "open", "blue").await;
        for from in [json!({"network": "blue"}), json!({"router": "r"})] {
            let long = json!({"from": from, "to": {"address": open.ip}, "count": 100, "interval_ms": 90});
            let (api, long) = (site.api().clone(), long);
            let asked = tokio::spawn(async move { api.try_post(PING, &long).await.map(|reply| reply.text) });
            eventually("the test's port is there", PATIENCE, async || {
                let ports = site.vsctl(&["--bare", "--columns=external_ids", "list", "Interface"]);
                let is_there = ports.lines().any(|line| line.contains("probe-") && line.contains("ovn-installed"));
                if is_there { Ok(()) } else { Err(ports) }
            })
            .await;
            assert!(!rows(&site).trim().is_empty(), "its rows are found");
            site.kill_daemon();
            let broken = tokio::time::timeout(Duration::from_secs(20), asked).await.expect("it ends").unwrap();
            assert!(broken.is_err(), "{broken:?}");
            site.up().await;
            site.await_ready().await;
            await_nothing_left(&site).await;
            is_answered(&ping(&site, from, json!({"address": open.ip})).await);
        }
        await_nothing_left(&site).await;
        // A route that is missing, and a port that a router refuses, by OVN's real trace.
        let change = json!({"external_network": null});
        site.api().patch("routers/r", &change).await.accepted();
        await_active(&site, "routers/r").await;
        let asked = json!({"from": {"network": "blue"}, "to": {"address": "203.0.113.9"}});
        let lost = site.api().post(TRACE, &asked).await.expect(200);
        assert_eq!(lost["verdict"], "dropped", "{lost}");
        assert!(lost["why"].as_str().unwrap().contains("router \"r\": no route leads to 203.0.113.9"), "{lost}");
        let asked = json!({"from": {"network": "blue"}, "to": {"address": "10.0.0.1"}, "protocol": "tcp", "port": 80});
        let refused = site.api().post(TRACE, &asked).await.expect(200);
        assert_eq!(refused["verdict"], "dropped", "{refused}");
        assert!(refused["why"].as_str().unwrap().contains("refused"), "{refused}");
        for path in ["networks/blue", "networks/out", "routers/r"] {
            let events = site.api().get(&format!("{path}/events?limit=1000")).await;
            let drifts = events["items"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|one| one["type"].as_str().unwrap().ends_with("Drifted"));
            assert_eq!(drifts.count(), 0, "{events}");
        }
    });
}
