//! Load balancers by real packets of each kind: members whose process ends, UDP, IPv6, and a floating IP that comes and goes.
//! The guests are namespaces in the place of simulated VMs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use edgestack_e2e::{
    PATIENCE, Plugged, Site, eventually, in_own_network,
    virtual_network::{OUTSIDE, SILENCE, a_guest, a_router, a_site, await_active, await_gone},
};
use serde_json::{Value, json};

/// How long to wait for an answer that must come.
const SOON: Duration = Duration::from_secs(2);

async fn a_balancer(site: &Site, mut wish: Value) -> Value {
    wish["name"] = "l".into();
    site.api().post("lbs", &wish).await.accepted();
    await_active(site, "lbs/l").await
}

async fn a_floating_ip(site: &Site, ip: &str, to: Value) {
    let mut wish = to;
    wish["floating_ip"] = ip.into();
    site.api().post("floating_ips", &wish).await.accepted();
    await_active(site, &format!("floating_ips/{ip}")).await;
}

/// Waits until just these answer: 16 questions come to both of two but once in 32,768 times.
async fn await_who_answers(within: Duration, expect: &[&Plugged], ask: impl Fn() -> std::io::Result<String>) {
    let expect: BTreeSet<String> = expect.iter().map(|guest| guest.name().to_owned()).collect();
    eventually(&format!("{expect:?} answer"), within, async || {
        let answers: Vec<_> = (0..16).map(|_| ask().unwrap_or_else(|error| format!("nobody: {error}"))).collect();
        let answers: BTreeSet<String> = answers.into_iter().collect();
        if answers == expect { Ok(()) } else { Err(format!("{answers:?}")) }
    })
    .await;
}

#[test]
fn a_member_whose_process_ends_is_out_within_its_checks_time_and_back_when_it_lives() {
    let test = "a_member_whose_process_ends_is_out_within_its_checks_time_and_back_when_it_lives";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let (_, m1) = a_guest(&site, "m1", "blue").await;
        let (_, m2) = a_guest(&site, "m2", "blue").await;
        let (_, near) = a_guest(&site, "near", "blue").await;
        let serving = m1.serve_name_by_tcp(8080);
        m2.tell_name_by_tcp(8080);
        let check = json!({"interval_seconds": 2, "timeout_seconds": 1, "failures": 2, "successes": 2});
        let rule = json!({"protocol": "tcp", "port_range_min": 80, "member_port": 8080});
        let wish = json!({"network": "blue", "members": ["m1", "m2"], "rules": [rule], "health_check": check});
        let made = a_balancer(&site, wish).await;
        let vip = made["vip"].as_str().unwrap();
        let ask = || near.ask_name(vip, 80, SOON);
        await_who_answers(PATIENCE, &[&m1, &m2], ask).await;
        // The number of answers in a row that tell it and one that was just before, each after the other; the last may take
        // its time; and what a busy machine needs to tell it, and this test to see it.
        let in_time = Duration::from_secs((2 + 1) * 2 + 1) + Duration::from_secs(3);

        serving.end();
        let ended = Instant::now();
        await_who_answers(in_time, &[&m2], ask).await;
        println!("a member whose process ended is out after {:.1} s", ended.elapsed().as_secs_f64());

        m1.tell_name_by_tcp(8080);
        let began = Instant::now();
        await_who_answers(in_time, &[&m1, &m2], ask).await;
        println!("it is back after {:.1} s", began.elapsed().as_secs_f64());
    });
}

#[test]
fn datagrams_come_to_members_by_the_vip_and_by_a_floating_ip_at_each_port_of_a_range() {
    let test = "datagrams_come_to_members_by_the_vip_and_by_a_floating_ip_at_each_port_of_a_range";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let outside = Plugged::outside(&site, "host", "02:00:00:00:02:00", OUTSIDE);
        a_router(&site, json!({"internal_networks": ["blue", "red"], "external_network": "out"})).await;
        let (_, m1) = a_guest(&site, "m1", "blue").await;
        let (_, m2) = a_guest(&site, "m2", "blue").await;
        let (_, near) = a_guest(&site, "near", "blue").await;
        let (_, far) = a_guest(&site, "far", "red").await;
        for member in [&m1, &m2] {
            (6000..=6003).for_each(|port| member.tell_name_by_udp(&member.ip, port));
        }
        let rule = json!({"protocol": "udp", "port_range_min": 5000, "port_range_max": 5002, "member_port": 6000});
        let made = a_balancer(&site, json!({"network": "blue", "members": ["m1", "m2"], "rules": [rule]})).await;
        a_floating_ip(&site, "192.0.2.50", json!({"load_balancer": "l"})).await;
        let vip = made["vip"].as_str().unwrap();
        let ways = [(&near, vip), (&far, vip), (&outside, "192.0.2.50")];
        for (client, ip) in ways {
            for port in 5000..=5002 {
                await_who_answers(PATIENCE, &[&m1, &m2], || client.ask_name_by_udp(ip, port, SILENCE)).await;
            }
            for port in [4999, 5003] {
                assert!(client.ask_name_by_udp(ip, port, SILENCE).is_err(), "no rule is for port {port} of {ip}");
            }
        }
        site.api().delete("lbs/l/rules/udp-5000-5002").await.accepted();
        await_active(&site, "lbs/l").await;
        for (client, ip) in ways {
            assert!(client.ask_name_by_udp(ip, 5000, SILENCE).is_err(), "its rule is gone");
        }
    });
}

#[test]
fn a_vip_of_ipv6_answers_on_its_network_and_behind_a_router() {
    let test = "a_vip_of_ipv6_answers_on_its_network_and_behind_a_router";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let rule = |direction| json!({"direction": direction, "ether_type": "IPv6"});
        let open = json!({"name": "open6", "rules": [rule("ingress"), rule("egress")]});
        site.api().post("security_groups", &open).await.accepted();
        await_active(&site, "security_groups/open6").await;
        for (name, number) in [("six", 5), ("farsix", 6)] {
            let ipv6 = json!({"cidr": format!("fd00:{number}::/64"), "address_mode": "dhcpv6_stateful"});
            let network = json!({"name": name, "cidr": format!("10.{number}.0.0/24"), "ipv6": ipv6});
            site.api().post("networks", &network).await.accepted();
            site.await_network(name, "active").await;
        }
        a_router(&site, json!({"internal_networks": ["six", "farsix"]})).await;
        let a_guest = async |name: &str, network: &str, gateway: &str| {
            site.create(name, &json!({"networks": [{"network": network, "security_groups": ["open6"]}]})).await;
            let vm = site.await_nics(name).await;
            let guest = Plugged::as_nic(&site, &vm, 0);
            guest.add_ip(vm["networks"][0]["addresses"][1].as_str().unwrap(), 64);
            guest.add_route("default", gateway);
            guest
        };
        let m1 = a_guest("m1", "six", "fd00:5::1").await;
        let m2 = a_guest("m2", "six", "fd00:5::1").await;
        let near = a_guest("near", "six", "fd00:5::1").await;
        let far = a_guest("far", "farsix", "fd00:6::1").await;
        m1.tell_name_by_tcp(8080);
        m2.tell_name_by_tcp(8080);
        let made = a_balancer(
            &site,
            json!({
                "network": "six", "vip": "fd00:5::50", "members": ["m1", "m2"],
                "rules": [{"protocol": "tcp", "port_range_min": 80, "member_port": 8080}],
            }),
        )
        .await;
        assert_eq!(made["vip"], "fd00:5::50", "{made}");
        for client in [&near, &far] {
            await_who_answers(PATIENCE, &[&m1, &m2], || client.ask_name("fd00:5::50", 80, SOON)).await;
        }
    });
}

#[test]
fn who_knew_a_load_balancer_finds_the_next_one_of_its_vip_at_once() {
    let test = "who_knew_a_load_balancer_finds_the_next_one_of_its_vip_at_once";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let (_, m1) = a_guest(&site, "m1", "blue").await;
        let (_, m2) = a_guest(&site, "m2", "blue").await;
        let (_, near) = a_guest(&site, "near", "blue").await;
        for (name, member) in [("m1", &m1), ("m2", &m2)] {
            member.tell_name_by_tcp(80);
            let rule = json!({"protocol": "tcp", "port_range_min": 80});
            a_balancer(&site, json!({"network": "blue", "vip": "10.0.0.50", "members": [name], "rules": [rule]})).await;
            // A host keeps for half a minute which MAC address it was told.
            await_who_answers(Duration::from_secs(5), &[member], || near.ask_name("10.0.0.50", 80, SILENCE)).await;
            site.api().delete("lbs/l").await.accepted();
            await_gone(&site, "lbs/l").await;
        }
    });
}

#[test]
fn a_floating_ip_moves_from_a_vm_to_a_load_balancer_and_back_within_a_second() {
    let test = "a_floating_ip_moves_from_a_vm_to_a_load_balancer_and_back_within_a_second";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let outside = Plugged::outside(&site, "host", "02:00:00:00:02:00", OUTSIDE);
        a_router(&site, json!({"internal_networks": ["blue"], "external_network": "out"})).await;
        let (_, member) = a_guest(&site, "member", "blue").await;
        let (_, vm) = a_guest(&site, "vm", "blue").await;
        for guest in [&member, &vm] {
            guest.tell_name_by_tcp(80);
        }
        let rule = json!({"protocol": "tcp", "port_range_min": 80});
        a_balancer(&site, json!({"network": "blue", "members": ["member"], "rules": [rule]})).await;
        a_floating_ip(&site, "192.0.2.50", json!({"vm": "vm"})).await;
        let ask = || outside.ask_name("192.0.2.50", 80, SOON);
        await_who_answers(PATIENCE, &[&vm], ask).await;
        for (to, guest) in [(json!({"load_balancer": "l"}), &member), (json!({"vm": "vm"}), &vm)] {
            let asking = outside.keep_asking("192.0.2.50", 80);
            let mut action = to.clone();
            action["action"] = "associate".into();
            site.api().post("floating_ips/192.0.2.50/action", &action).await.accepted();
            await_active(&site, "floating_ips/192.0.2.50").await;
            await_who_answers(PATIENCE, &[guest], ask).await;
            let asked = asking.stop();
            println!("a floating IP moved to {to}: {asked:?}");
            assert!(asked.longest_silence < Duration::from_secs(1), "{to}: {asked:?}");
        }
    });
}
