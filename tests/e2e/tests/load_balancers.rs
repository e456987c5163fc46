//! Load balancers with real packets. The guests are namespaces in the place of simulated VMs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use edgestack_e2e::{
    PATIENCE, Plugged, Site, eventually, in_own_network, processes,
    run_edgectl::works,
    virtual_network::{OUTSIDE, SILENCE, a_guest, a_router, a_site, await_active, await_gone, drifts},
};
use serde_json::{Value, json};

/// How long to wait for an answer that must come.
const SOON: Duration = Duration::from_secs(2);

async fn a_balancer(site: &Site, mut wish: Value) -> Value {
    wish["name"] = "l".into();
    site.api().post("lbs", &wish).await.accepted();
    await_active(site, "lbs/l").await
}

async fn update(site: &Site, change: Value) -> Value {
    site.api().patch("lbs/l", &change).await.accepted();
    await_active(site, "lbs/l").await
}

/// Who answers how often; an error is nobody.
fn who_answers(client: &Plugged, ip: &str, port: u16, times: usize) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..times {
        let name = client.ask_name(ip, port, SOON).unwrap_or_else(|error| format!("nobody: {error}"));
        *answers.entry(name).or_default() += 1;
    }
    answers
}

fn names(answers: &BTreeMap<String, usize>) -> Vec<&str> {
    answers.keys().map(String::as_str).collect()
}

/// Waits until these answer, and nobody else: 16 connections come to both of two but once in 32,768 times.
async fn await_who_answers(client: &Plugged, ip: &str, port: u16, expect: &[&Plugged]) {
    let mut expect: Vec<&str> = expect.iter().map(|guest| guest.name()).collect();
    expect.sort_unstable();
    eventually(&format!("{expect:?} answer at {ip} port {port}"), PATIENCE, async || {
        let answers = who_answers(client, ip, port, 16);
        if names(&answers) == expect { Ok(()) } else { Err(format!("{answers:?}")) }
    })
    .await;
}

/// Waits until this is said of the members of `l`, in this order.
async fn await_health(site: &Site, members: &[(&str, &str)]) {
    let expected: Vec<_> = members.iter().map(|(ip, health)| json!([ip, "tcp", 8080, health])).collect();
    eventually(&format!("the members are {expected:?}"), PATIENCE, async || {
        let health = site.api().get("lbs/l/health").await;
        let items = health["items"].as_array().expect("a list").iter();
        let told: Vec<_> =
            items.map(|one| json!([one["address"], one["protocol"], one["port"], one["health"]])).collect();
        if health["checked"] == true && told == expected { Ok(()) } else { Err(health.to_string()) }
    })
    .await;
}

#[test]
fn a_load_balancer_spreads_drops_a_dead_member_and_takes_it_back() {
    let test = "a_load_balancer_spreads_drops_a_dead_member_and_takes_it_back";
    in_own_network(test, async || {
        let Some(mut site) = a_site(test).await else { return };
        let outside = Plugged::outside(&site, "host", "02:00:00:00:02:00", OUTSIDE);
        a_router(&site, json!({"internal_networks": ["blue", "red"], "external_network": "out"})).await;
        let (_, m1) = a_guest(&site, "m1", "blue").await;
        let (_, m2) = a_guest(&site, "m2", "blue").await;
        let (_, near) = a_guest(&site, "near", "blue").await;
        let (_, far) = a_guest(&site, "far", "red").await;
        m1.tell_name_by_tcp(8080);
        m2.tell_name_by_tcp(8080);
        let made = a_balancer(
            &site,
            json!({
                "network": "blue", "members": ["m1", m2.ip],
                "rules": [{"protocol": "tcp", "port_range_min": 80, "member_port": 8080}],
                "health_check": {"interval_seconds": 1, "timeout_seconds": 1, "failures": 2, "successes": 1},
            }),
        )
        .await;
        let vip = made["vip"].as_str().unwrap().to_owned();
        assert_eq!(made["members"], json!([m1.ip, m2.ip]), "{made}");
        assert_eq!(made["member_vms"][1]["vm"], "m2", "{made}");
        for client in [&near, &far] {
            await_who_answers(client, &vip, 80, &[&m1, &m2]).await;
        }
        near.await_answer(&vip).await;
        // A member that is a client comes to itself, too.
        await_who_answers(&m1, &vip, 80, &[&m1, &m2]).await;

        // From outside by a floating IP.
        let ip = json!({"floating_ip": "192.0.2.50", "load_balancer": "l"});
        let ip = site.api().post("floating_ips", &ip).await.accepted();
        assert_eq!((&ip["load_balancer"], &ip["vm"]), (&json!("l"), &json!(null)), "{ip}");
        await_active(&site, "floating_ips/192.0.2.50").await;
        await_who_answers(&outside, "192.0.2.50", 80, &[&m1, &m2]).await;

        // A member that answers nothing any more is out within its check's time: two failures, each told by the second
        // question after it.
        m1.wire(false);
        let cut = Instant::now();
        for (client, ip) in [(&near, vip.as_str()), (&outside, "192.0.2.50")] {
            await_who_answers(client, ip, 80, &[&m2]).await;
        }
        await_health(&site, &[(&m1.ip, "offline"), (&m2.ip, "online")]).await;
        let shown = works(&site, &["show-lb", "l"]);
        assert!(shown.contains(&format!("tcp/8080 of {}, vm m1", m1.ip)) && shown.contains("offline"), "{shown}");
        println!("a dead member is out after {:.1} s", cut.elapsed().as_secs_f64());
        m1.wire(true);
        for (client, ip) in [(&near, vip.as_str()), (&far, vip.as_str()), (&outside, "192.0.2.50")] {
            await_who_answers(client, ip, 80, &[&m1, &m2]).await;
        }
        await_health(&site, &[(&m1.ip, "online"), (&m2.ip, "online")]).await;

        // What others take of it is told and mended.
        for switch in site.nbctl(&["--bare", "--columns=name", "list", "Logical_Switch"]).split_whitespace() {
            site.nbctl(&["clear", "Logical_Switch", switch, "load_balancer"]);
        }
        let check = site.nbctl(&["--bare", "--columns=_uuid", "find", "Load_Balancer", "name=edgestack-l-tcp"]);
        site.nbctl(&["set", "Load_Balancer", check.trim(), "vips={}"]);
        drifts(&site, "lbs/l", "LoadBalancerDrifted").await;
        await_who_answers(&far, &vip, 80, &[&m1, &m2]).await;

        // It goes on while nobody of us lives.
        site.kill_daemon();
        assert_eq!(who_answers(&near, &vip, 80, 16).values().sum::<usize>(), 16);
        assert!(names(&who_answers(&outside, "192.0.2.50", 80, 16)).iter().all(|name| !name.starts_with("nobody")));
        site.up().await;
        site.await_ready().await;

        let running = processes::touching(&site.state().join("ovn"));
        for program in ["ovn-northd", "ovn-controller"] {
            let process = running.iter().find(|process| process.program == program).expect(program);
            processes::kill(process.pid);
            for (client, ip) in [(&near, vip.as_str()), (&outside, "192.0.2.50")] {
                await_who_answers(client, ip, 80, &[&m1, &m2]).await;
            }
        }

        // The floating IP leads to a VM, and back; then to nobody.
        let action = "floating_ips/192.0.2.50/action";
        site.api().post(action, &json!({"action": "associate", "vm": "m2"})).await.accepted();
        await_active(&site, "floating_ips/192.0.2.50").await;
        await_who_answers(&outside, "192.0.2.50", 8080, &[&m2]).await;
        site.api().post(action, &json!({"action": "associate", "load_balancer": "l"})).await.accepted();
        await_active(&site, "floating_ips/192.0.2.50").await;
        await_who_answers(&outside, "192.0.2.50", 80, &[&m1, &m2]).await;

        // A VM that is removed is no member.
        site.api().delete("vms/m1").await.accepted();
        site.await_no_vm("m1").await;
        let left = await_active(&site, "lbs/l").await;
        assert_eq!(left["members"], json!([m2.ip]), "{left}");
        await_who_answers(&near, &vip, 80, &[&m2]).await;

        let in_use = site.api().delete("networks/blue").await;
        assert_eq!(in_use.status, 409, "{}", in_use.text);
        assert!(in_use.text.contains("load_balancer \\\"l\\\""), "{}", in_use.text);
        site.api().delete("lbs/l").await.accepted();
        await_gone(&site, "lbs/l").await;
        for table in ["Load_Balancer", "Load_Balancer_Health_Check"] {
            assert_eq!(site.nbctl(&["--bare", "--columns=_uuid", "list", table]).trim(), "", "{table}");
        }
        assert!(!near.is_answered(&vip, SILENCE), "nobody is found under its VIP");
        let ip = await_active(&site, "floating_ips/192.0.2.50").await;
        assert_eq!(ip["load_balancer"], json!(null), "{ip}");
        assert!(outside.ask_name("192.0.2.50", 80, SILENCE).is_err());
    });
}

#[test]
fn its_rules_open_and_close_ports_on_a_network_that_no_router_is_on() {
    let test = "its_rules_open_and_close_ports_on_a_network_that_no_router_is_on";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let (_, m1) = a_guest(&site, "m1", "blue").await;
        let (_, m2) = a_guest(&site, "m2", "blue").await;
        let (_, client) = a_guest(&site, "client", "blue").await;
        for port in [80, 81, 82] {
            m1.tell_name_by_tcp(port);
            m2.tell_name_by_tcp(port);
        }
        let rule = json!({"protocol": "TCP", "port_range_min": 80});
        let made = a_balancer(&site, json!({"network": "blue", "vip": "10.0.0.50", "rules": [rule]})).await;
        assert_eq!(made["vip"], "10.0.0.50");
        // Who has no members says so at once.
        let refused = client.ask_name("10.0.0.50", 80, SOON).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{refused}");
        update(&site, json!({"add": ["m1", "m2"]})).await;
        await_who_answers(&client, "10.0.0.50", 80, &[&m1, &m2]).await;
        assert!(client.ask_name("10.0.0.50", 81, SILENCE).is_err(), "no rule is for that port");
        let range = json!({"protocol": "tcp", "port_range_min": 81, "port_range_max": 82});
        site.api().post("lbs/l/rules", &range).await.accepted();
        await_active(&site, "lbs/l").await;
        for port in [81, 82] {
            await_who_answers(&client, "10.0.0.50", port, &[&m1, &m2]).await;
        }
        assert_eq!(site.api().get("lbs/l/rules").await.as_array().unwrap().len(), 2);
        site.api().delete("lbs/l/rules/tcp-81-82").await.accepted();
        await_active(&site, "lbs/l").await;
        assert!(client.ask_name("10.0.0.50", 81, SILENCE).is_err(), "its rule is gone");

        // A client comes to one member, whichever port it comes from.
        let sticks = update(&site, json!({"session_affinity": "client_ip"})).await;
        assert_eq!(sticks["limits"], json!([]), "{sticks}");
        let answers = who_answers(&client, "10.0.0.50", 80, 16);
        assert_eq!(answers.len(), 1, "{answers:?}");
        update(&site, json!({"session_affinity": "none"})).await;
        await_who_answers(&client, "10.0.0.50", 80, &[&m1, &m2]).await;

        // ICMP comes to a member, and it is said what that brings with it.
        let icmp = site.api().post("lbs/l/rules", &json!({"protocol": "icmp"})).await.accepted();
        assert!(icmp["limits"][0].as_str().unwrap().starts_with("icmp is spread together"), "{icmp}");
        await_active(&site, "lbs/l").await;
        client.await_answer("10.0.0.50").await;
        await_who_answers(&client, "10.0.0.50", 81, &[&m1, &m2]).await;
        await_who_answers(&client, "10.0.0.50", 80, &[&m1, &m2]).await;
        site.api().delete("lbs/l/rules/icmp").await.accepted();
        await_active(&site, "lbs/l").await;
        assert!(client.ask_name("10.0.0.50", 81, SILENCE).is_err());

        for (body, part) in [
            (json!({"name": "m", "network": "blue", "vip": "10.0.0.50"}), "load_balancer"),
            (json!({"name": "m", "network": "out"}), "is one outside"),
            (json!({"name": "m", "network": "blue", "members": ["10.1.0.9"]}), "10.1.0.9"),
        ] {
            let refused = site.api().post("lbs", &body).await;
            assert!(refused.status >= 400 && refused.text.contains(part), "{}", refused.text);
        }
    });
}
