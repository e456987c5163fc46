//! Routers, floating IPs, load balancers and rules whichever process is killed, and whenever: what flowed goes on flowing where
//! OVN promises it, and what was asked for is done. The guests are namespaces in the place of simulated VMs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::time::{Duration, Instant};

use edgestack_e2e::{
    PATIENCE, Plugged, Site, eventually, in_own_network, processes,
    virtual_network::{
        OUTSIDE, SILENCE, a_guest, a_router, a_site, await_active, await_gone, await_started_again, drifts, ovn_pids,
    },
};

use reqwest::Method;
use serde_json::{Value, json};

/// What the switch itself may take to carry packets again, as 250 packets of 20 ms.
const SWITCH_BACK_WITHIN: Duration = Duration::from_secs(5);

async fn a_floating_ip(site: &Site, wish: Value) {
    site.api().post("floating_ips", &wish).await.accepted();
    await_active(site, &format!("floating_ips/{}", wish["floating_ip"].as_str().unwrap())).await;
}

/// Waits until this guest is who answers there.
async fn await_who_answers(client: &Plugged, ip: &str, port: u16, guest: &Plugged) {
    eventually(&format!("{} answers at {ip} port {port}", guest.name()), PATIENCE, async || {
        match client.ask_name(ip, port, SILENCE) {
            Ok(name) if name == guest.name() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[test]
fn what_comes_from_outside_goes_on_while_any_part_of_ovn_is_dead_and_what_is_moved_then_arrives() {
    let test = "what_comes_from_outside_goes_on_while_any_part_of_ovn_is_dead_and_what_is_moved_then_arrives";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let outside = Plugged::outside(&site, "host", "02:00:00:00:02:00", OUTSIDE);
        let (_, a) = a_guest(&site, "a", "blue").await;
        let (_, b) = a_guest(&site, "b", "blue").await;
        let (_, stays) = a_guest(&site, "stays", "blue").await;
        for guest in [&a, &b, &stays] {
            guest.tell_name_by_tcp(8080);
        }
        a_router(&site, json!({"internal_networks": ["blue"], "external_network": "out"})).await;
        let rule = json!({"protocol": "tcp", "port_range_min": 80, "member_port": 8080});
        let balancer = json!({"name": "l", "network": "blue", "members": ["a", "b"], "rules": [rule]});
        site.api().post("lbs", &balancer).await.accepted();
        await_active(&site, "lbs/l").await;
        a_floating_ip(&site, json!({"floating_ip": "192.0.2.50", "vm": "a"})).await;
        a_floating_ip(&site, json!({"floating_ip": "192.0.2.51", "vm": "stays"})).await;
        a_floating_ip(&site, json!({"floating_ip": "192.0.2.60", "load_balancer": "l"})).await;
        await_who_answers(&outside, "192.0.2.50", 8080, &a).await;
        outside.await_answer("192.0.2.51").await;
        outside.await_connection("192.0.2.60", 80).await;

        let parts = ovn_pids(&site);
        assert_eq!(parts.len(), 6, "{parts:?}");
        let (mut leads_to, mut other) = ((&a, "a"), (&b, "b"));
        for (part, pid) in parts {
            std::mem::swap(&mut leads_to, &mut other);
            let (pinging, asking) = (outside.keep_sending("192.0.2.51"), outside.keep_asking("192.0.2.60", 80));
            let moving = outside.keep_sending("192.0.2.50");
            let begun = Instant::now();
            processes::kill(pid);
            // It is dead when this is asked for.
            let to = json!({"action": "associate", "vm": leads_to.1});
            site.api().post("floating_ips/192.0.2.50/action", &to).await.accepted();
            await_started_again(&site, &part, pid).await;
            await_active(&site, "floating_ips/192.0.2.50").await;
            await_who_answers(&outside, "192.0.2.50", 8080, leads_to.0).await;
            outside.await_answer("192.0.2.51").await;
            outside.await_connection("192.0.2.60", 80).await;
            let took = begun.elapsed();
            let ((lost, sent), asked, (gap, moved)) = (pinging.stop(), asking.stop(), moving.stop());
            println!(
                "{part} killed: {lost} of {sent} packets to a floating IP lost, {gap} of {moved} to one that was moved, \
                 {asked:?} of a load balancer; all back after {took:?}"
            );
            // The switch carries the packets. In userspace it looks at none while its database is away, for a second; they
            // wait, and are not lost.
            let (lost_max, silence_max) = match part.as_str() {
                "ovs-vswitchd" => (250, SWITCH_BACK_WITHIN),
                "ovsdb-server switch" => (5, SWITCH_BACK_WITHIN),
                _ => (5, Duration::from_secs(1)),
            };
            assert!(lost <= lost_max, "{part} killed: {lost} of {sent} packets lost");
            assert!(gap <= lost_max.max(50), "{part} killed: {gap} of {moved} packets lost by a move");
            assert!(asked.longest_silence <= silence_max, "{part} killed: {asked:?} of the load balancer");
        }
    });
}

/// Asks for a change until it is taken, whichever daemon lives then: under one key, so it is made once.
async fn insist(site: &mut Site, key: &str, method: Method, path: &str, body: Option<Value>) {
    eventually(&format!("{method} {path} is taken"), PATIENCE, async || {
        match site.api().send_once(method.clone(), path, body.as_ref(), key).await {
            Ok(reply) if reply.status == 503 => Err(reply.text),
            Ok(reply) => {
                reply.accepted();
                Ok(())
            }
            Err(error) => {
                up_if_it_died(site).await;
                Err(error.to_string())
            }
        }
    })
    .await;
}

/// Starts the daemon again if it has died by its crash point.
async fn up_if_it_died(site: &mut Site) {
    if site.daemon.as_mut().is_some_and(|daemon| daemon.was_killed()) {
        site.up().await;
        site.await_ready().await;
    }
}

/// Has the daemon die at a point of what these changes lead to, and go on by itself afterwards.
async fn dies_during(site: &mut Site, point: &str, changes: Vec<(Method, &str, Option<Value>)>) {
    site.kill_daemon();
    site.up_with(&[("EDGESTACK_CRASH_AT", point)]).await;
    site.await_ready().await;
    let armed = site.daemon.as_ref().unwrap().pid();
    for (number, (method, path, body)) in changes.into_iter().enumerate() {
        insist(site, &format!("{point}-{number}-{armed}"), method, path, body).await;
    }
    eventually(&format!("the daemon dies at {point}"), PATIENCE, async || {
        let daemon = site.daemon.as_mut().unwrap();
        if daemon.pid() != armed || daemon.was_killed() { Ok(()) } else { Err("it lives".to_owned()) }
    })
    .await;
    up_if_it_died(site).await;
}

#[test]
fn a_router_and_what_is_on_it_are_made_changed_and_removed_whenever_the_daemon_was_killed() {
    let test = "a_router_and_what_is_on_it_are_made_changed_and_removed_whenever_the_daemon_was_killed";
    in_own_network(test, async || {
        let Some(mut site) = a_site(test).await else { return };
        let outside = Plugged::outside(&site, "host", "02:00:00:00:02:00", OUTSIDE);
        let (_, a) = a_guest(&site, "a", "blue").await;
        let (_, b) = a_guest(&site, "b", "blue").await;
        let (_, near) = a_guest(&site, "near", "blue").await;
        // What it lets in is told by rules alone.
        let closed = json!({"name": "closed", "rules": [{"direction": "egress"}]});
        site.api().post("security_groups", &closed).await.accepted();
        site.create("c", &json!({"networks": [{"network": "blue", "security_groups": ["closed"]}]})).await;
        let c = Plugged::as_nic(&site, &site.await_nics("c").await, 0);
        for guest in [&a, &b, &c] {
            guest.tell_name_by_tcp(8080);
        }
        let (router, ip) = ("routers/r", "floating_ips/192.0.2.50");
        let rule = "security_group_rules/web";
        for point in ["gateway.write.before", "gateway.write.after", "gateway.realized"] {
            let made = vec![
                (
                    Method::POST,
                    "routers",
                    Some(json!({"name": "r", "internal_networks": ["blue"], "external_network": "out"})),
                ),
                (Method::POST, "floating_ips", Some(json!({"floating_ip": "192.0.2.50", "vm": "a"}))),
                (
                    Method::POST,
                    "lbs",
                    Some(json!({
                        "name": "l", "network": "blue", "vip": "10.0.0.50", "members": ["a", "b"],
                        "rules": [{"protocol": "tcp", "port_range_min": 80, "member_port": 8080}],
                    })),
                ),
                (
                    Method::POST,
                    "security_group_rules",
                    Some(json!({
                        "name": "web", "security_group": "closed", "direction": "ingress", "protocol": "tcp",
                        "port_range_min": 8080,
                    })),
                ),
            ];
            dies_during(&mut site, point, made).await;
            for path in [router, ip, "lbs/l", rule] {
                await_active(&site, path).await;
            }
            await_who_answers(&outside, "192.0.2.50", 8080, &a).await;
            near.await_connection("10.0.0.50", 80).await;
            await_who_answers(&near, &c.ip, 8080, &c).await;

            let moves = json!({"action": "associate", "vm": "b"});
            let changed = vec![
                (Method::POST, "floating_ips/192.0.2.50/action", Some(moves)),
                (Method::PATCH, "lbs/l", Some(json!({"remove": ["a"]}))),
                (Method::DELETE, rule, None),
            ];
            dies_during(&mut site, point, changed).await;
            await_gone(&site, rule).await;
            for path in [ip, "lbs/l"] {
                await_active(&site, path).await;
            }
            await_who_answers(&outside, "192.0.2.50", 8080, &b).await;
            await_who_answers(&near, "10.0.0.50", 80, &b).await;
            assert!(near.connect(&c.ip, 8080, SILENCE).is_err(), "{point}: its rule is gone");

            let removed =
                vec![(Method::DELETE, "lbs/l", None), (Method::DELETE, ip, None), (Method::DELETE, router, None)];
            dies_during(&mut site, point, removed).await;
            for path in ["lbs/l", ip, router] {
                await_gone(&site, path).await;
            }
            assert!(!outside.is_answered("192.0.2.50", SILENCE), "{point}: nobody has it");
            assert!(!near.is_answered("10.0.0.50", SILENCE), "{point}: nobody has it");
            near.await_answer(&a.ip).await;
            for table in ["Logical_Router", "Logical_Router_Port", "NAT", "Load_Balancer", "Gateway_Chassis"] {
                let left = site.nbctl(&["--bare", "--columns=_uuid", "list", table]);
                assert_eq!(left.trim(), "", "{point}: rows of {table} are left of what is gone");
            }
        }
    });
}

#[test]
fn what_others_did_to_a_router_is_told_and_mended_though_the_daemon_dies_in_between() {
    let test = "what_others_did_to_a_router_is_told_and_mended_though_the_daemon_dies_in_between";
    in_own_network(test, async || {
        let Some(mut site) = a_site(test).await else { return };
        let outside = Plugged::outside(&site, "host", "02:00:00:00:02:00", OUTSIDE);
        let (_, a) = a_guest(&site, "a", "blue").await;
        a.tell_name_by_tcp(8080);
        a_router(&site, json!({"internal_networks": ["blue"], "external_network": "out"})).await;
        let rule = json!({"protocol": "tcp", "port_range_min": 80, "member_port": 8080});
        let balancer = json!({"name": "l", "network": "blue", "members": ["a"], "rules": [rule]});
        site.api().post("lbs", &balancer).await.accepted();
        await_active(&site, "lbs/l").await;
        a_floating_ip(&site, json!({"floating_ip": "192.0.2.50", "vm": "a"})).await;
        a_floating_ip(&site, json!({"floating_ip": "192.0.2.60", "load_balancer": "l"})).await;
        let name = "edgestack-r";
        for (path, event, taken) in [
            ("routers/r", "RouterDrifted", vec!["clear", "Logical_Router", name, "static_routes"]),
            ("floating_ips/192.0.2.50", "FloatingIpDrifted", vec!["lr-nat-del", name, "dnat_and_snat", "192.0.2.50"]),
            ("lbs/l", "LoadBalancerDrifted", vec!["lb-del", "edgestack-l-tcp"]),
        ] {
            site.kill_daemon();
            site.up_with(&[("EDGESTACK_CRASH_AT", "gateway.drift.before")]).await;
            site.await_ready().await;
            site.nbctl(&taken);
            eventually("the daemon dies", PATIENCE, async || {
                let died = site.daemon.as_mut().is_some_and(|daemon| daemon.was_killed());
                if died { Ok(()) } else { Err("it lives".to_owned()) }
            })
            .await;
            site.up().await;
            drifts(&site, path, event).await;
            await_who_answers(&outside, "192.0.2.50", 8080, &a).await;
            await_who_answers(&outside, "192.0.2.60", 80, &a).await;
        }
    });
}
