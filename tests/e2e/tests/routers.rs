//! Routers and floating IPs with real packets, to and from an outside world of network namespaces. The guests are
//! namespaces in the place of simulated VMs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::net::TcpListener;

use edgestack_e2e::{
    Plugged, Site, in_own_network, processes,
    run_edgectl::works,
    virtual_network::{OUTSIDE, SILENCE, a_guest, a_router, a_site, await_active, await_gone, drifts},
};
use serde_json::{Value, json};

async fn update_router(site: &Site, change: Value) {
    site.api().patch("routers/r", &change).await.accepted();
    await_active(site, "routers/r").await;
}

async fn act_on_ip(site: &Site, ip: &str, action: Value) {
    site.api().post(&format!("floating_ips/{ip}/action"), &action).await.accepted();
    await_active(site, &format!("floating_ips/{ip}")).await;
}

/// As whom a guest comes to a host outside.
async fn comes_as(guest: &Plugged, outside: &Plugged) -> String {
    let listener = outside.socket(|| TcpListener::bind((OUTSIDE, 0))).unwrap();
    let port = listener.local_addr().unwrap().port();
    guest.await_connection(OUTSIDE, port).await;
    listener.accept().unwrap().1.ip().to_string()
}

#[test]
fn two_networks_are_apart_until_a_router_joins_them() {
    let test = "two_networks_are_apart_until_a_router_joins_them";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let (_, a) = a_guest(&site, "a", "blue").await;
        let (_, b) = a_guest(&site, "b", "red").await;
        assert!(!a.is_answered(&b.ip, SILENCE), "a packet came from one network to another");
        a_router(&site, json!({"internal_networks": ["blue"]})).await;
        assert!(!a.is_answered(&b.ip, SILENCE), "the router is on one of them only");
        update_router(&site, json!({"attach": ["red"]})).await;
        a.await_answer(&b.ip).await;
        b.await_answer(&a.ip).await;
        let in_use = site.api().delete("networks/red").await;
        assert_eq!(in_use.status, 409, "{}", in_use.text);
        update_router(&site, json!({"detach": ["red"]})).await;
        assert!(!a.is_answered(&b.ip, SILENCE), "they are apart again");
        site.api().delete("routers/r").await.accepted();
        await_gone(&site, "routers/r").await;
        assert_eq!(site.nbctl(&["lr-list"]).trim(), "");
        // Somebody is found under the gateway's address again, so that guests ask for names.
        let ports = site.nbctl(&["--bare", "--columns=type", "list", "Logical_Switch_Port"]);
        assert_eq!(ports.matches("localport").count(), 2, "{ports}");
    });
}

#[test]
fn snat_hides_who_comes_and_without_it_he_is_seen() {
    let test = "snat_hides_who_comes_and_without_it_he_is_seen";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let outside = Plugged::outside(&site, "host", "02:00:00:00:02:00", OUTSIDE);
        let (_, a) = a_guest(&site, "a", "blue").await;
        let router = a_router(&site, json!({"internal_networks": ["blue"], "external_network": "out"})).await;
        let address = router["external_ips"][0].as_str().unwrap().to_owned();
        assert_eq!(router["external"], json!({address.clone(): "out"}), "{router}");
        a.await_answer(OUTSIDE).await;
        assert_eq!(comes_as(&a, &outside).await, address);
        outside.add_route("10.0.0.0/24", &address);
        update_router(&site, json!({"enable_snat": false})).await;
        assert_eq!(comes_as(&a, &outside).await, a.ip);
        outside.await_answer(&a.ip).await;
        update_router(&site, json!({"enable_snat": true})).await;
        assert_eq!(comes_as(&a, &outside).await, address);

        // What others take of it is told and mended.
        let nat = site.nbctl(&["--bare", "--columns=_uuid", "find", "NAT", "type=snat"]);
        let name = site.nbctl(&["--bare", "--columns=name", "list", "Logical_Router"]);
        site.nbctl(&["remove", "Logical_Router", name.trim(), "nat", nat.trim()]);
        drifts(&site, "routers/r", "RouterDrifted").await;
        assert_eq!(comes_as(&a, &outside).await, address);
    });
}

#[test]
fn a_floating_ip_answers_from_outside_moves_without_a_gap_and_stops_when_it_leads_nowhere() {
    let test = "a_floating_ip_answers_from_outside_moves_without_a_gap_and_stops_when_it_leads_nowhere";
    in_own_network(test, async || {
        let Some(mut site) = a_site(test).await else { return };
        let outside = Plugged::outside(&site, "host", "02:00:00:00:02:00", OUTSIDE);
        let (_, a) = a_guest(&site, "a", "blue").await;
        let (_, b) = a_guest(&site, "b", "blue").await;
        a_router(&site, json!({"internal_networks": ["blue"], "external_network": "out"})).await;
        let ip = site.api().post("floating_ips", &json!({"floating_ip": "192.0.2.50", "vm": "a"})).await.accepted();
        assert_eq!((&ip["name"], &ip["fixed_ip"]), (&json!("192.0.2.50"), &json!(a.ip)), "{ip}");
        await_active(&site, "floating_ips/192.0.2.50").await;
        outside.await_answer("192.0.2.50").await;
        a.answer_tcp(80);
        outside.await_connection("192.0.2.50", 80).await;
        assert_eq!(comes_as(&a, &outside).await, "192.0.2.50", "it leaves as who it is outside");
        assert_ne!(comes_as(&b, &outside).await, "192.0.2.50");

        // Moved while packets come each 20 ms.
        let sending = outside.keep_sending("192.0.2.50");
        act_on_ip(&site, "192.0.2.50", json!({"action": "associate", "vm": "b"})).await;
        outside.await_answer("192.0.2.50").await;
        let (lost, sent) = sending.stop();
        println!("a floating IP moved: {lost} of {sent} packets lost, 20 ms each");
        assert!(lost < 50, "{lost} packets of 20 ms are a second and more");
        assert_eq!(comes_as(&b, &outside).await, "192.0.2.50");

        // What others take of it is told and mended; an emptied database is filled again.
        let nat = site.nbctl(&["--bare", "--columns=_uuid", "find", "NAT", "type=dnat_and_snat"]);
        let name = site.nbctl(&["--bare", "--columns=name", "list", "Logical_Router"]);
        site.nbctl(&["remove", "Logical_Router", name.trim(), "nat", nat.trim()]);
        drifts(&site, "floating_ips/192.0.2.50", "FloatingIpDrifted").await;
        outside.await_answer("192.0.2.50").await;

        // Whoever of us is dead, packets that passed go on passing.
        let sending = outside.keep_sending("192.0.2.50");
        site.kill_daemon();
        site.up().await;
        site.await_ready().await;
        let (lost, sent) = sending.stop();
        assert!(lost <= 1, "the daemon killed: {lost} of {sent} packets lost");
        for process in processes::touching(&site.state().join("ovn")) {
            if process.program == "ovn-northd" || process.program == "ovn-controller" {
                let sending = outside.keep_sending("192.0.2.50");
                processes::kill(process.pid);
                act_on_ip(&site, "192.0.2.50", json!({"action": "associate", "vm": "a"})).await;
                act_on_ip(&site, "192.0.2.50", json!({"action": "associate", "vm": "b"})).await;
                outside.await_answer("192.0.2.50").await;
                let (lost, sent) = sending.stop();
                println!("{} killed, and moved twice: {lost} of {sent} packets lost", process.program);
                assert!(lost < 50, "{} killed: {lost} of {sent} packets lost", process.program);
            }
        }

        act_on_ip(&site, "192.0.2.50", json!({"action": "disassociate"})).await;
        assert!(!outside.is_answered("192.0.2.50", SILENCE), "it leads nowhere, and is answered");
        act_on_ip(&site, "192.0.2.50", json!({"action": "associate", "vm": "b"})).await;
        outside.await_answer("192.0.2.50").await;
        site.api().delete("vms/b").await.accepted();
        site.await_no_vm("b").await;
        let ip = await_active(&site, "floating_ips/192.0.2.50").await;
        assert_eq!(ip["vm"], json!(null), "{ip}");
        assert!(!outside.is_answered("192.0.2.50", SILENCE));
        let in_use = site.api().delete("routers/r").await;
        assert_eq!(in_use.status, 409, "{}", in_use.text);
        assert!(in_use.text.contains("192.0.2.50"), "{}", in_use.text);
        site.api().delete("routers/r?cascade=true").await.accepted();
        await_gone(&site, "routers/r").await;
        await_gone(&site, "floating_ips/192.0.2.50").await;
    });
}

#[test]
fn networks_that_come_later_work_and_disturb_nobody() {
    let test = "networks_that_come_later_work_and_disturb_nobody";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let outside = Plugged::outside(&site, "host", "02:00:00:00:02:00", OUTSIDE);
        let (_, _a) = a_guest(&site, "a", "blue").await;
        a_router(&site, json!({"internal_networks": ["blue"], "external_network": "out"})).await;
        site.api().post("floating_ips", &json!({"floating_ip": "192.0.2.50", "vm": "a"})).await.accepted();
        await_active(&site, "floating_ips/192.0.2.50").await;
        outside.await_answer("192.0.2.50").await;
        // What a network leaves behind is for the next one; a segment id may be anything that is free.
        site.api().delete("networks/red").await.accepted();
        await_gone(&site, "networks/red").await;
        for (number, segment_id) in [json!(null), json!(null), json!(5), json!(6)].into_iter().enumerate() {
            let sending = outside.keep_sending("192.0.2.50");
            let (name, segment_of_own) = (format!("later-{number}"), !segment_id.is_null());
            let mut network = json!({"name": name, "cidr": "10.9.0.0/24"});
            if segment_of_own {
                network["segment_id"] = segment_id;
            }
            site.api().post("networks", &network).await.accepted();
            site.await_network(&name, "active").await;
            let (_, c) = a_guest(&site, &format!("c{number}"), &name).await;
            let (_, d) = a_guest(&site, &format!("d{number}"), &name).await;
            c.await_answer(&d.ip).await;
            d.await_answer(&c.ip).await;
            let (lost, sent) = sending.stop();
            assert!(lost <= 1, "{name} came: {lost} of {sent} packets of others lost");
            outside.await_answer("192.0.2.50").await;
        }
    });
}

#[test]
fn a_static_route_leads_where_no_other_does_until_it_is_gone() {
    let test = "a_static_route_leads_where_no_other_does_until_it_is_gone";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let outside = Plugged::outside(&site, "host", "02:00:00:00:02:00", OUTSIDE);
        let (_, a) = a_guest(&site, "a", "blue").await;
        let (_, gate) = a_guest(&site, "gate", "red").await;
        // What is behind each of them; the network's own gateway is not there.
        outside.add_ip("198.51.100.7", 32);
        a_router(&site, json!({"internal_networks": ["blue", "red"], "external_network": "out"})).await;
        outside.await_answer(router_ip(&site).await.as_str()).await;
        assert!(!a.is_answered("198.51.100.7", SILENCE), "nobody leads there yet");
        works(&site, &["update-router", "r", "--route", &format!("198.51.100.0/24={OUTSIDE}")]);
        await_active(&site, "routers/r").await;
        a.await_answer("198.51.100.7").await;

        // By a next hop inside, which is let off from having its own address alone.
        let edit = json!({"action": "edit_nic", "port_security": false});
        site.api().act("gate", &edit).await.accepted();
        site.await_nics("gate").await;
        gate.add_ip("203.0.113.9", 32);
        let routes = [format!("198.51.100.0/24={OUTSIDE}"), format!("203.0.113.0/24={}", gate.ip)];
        works(&site, &["update-router", "r", "--route", &routes[0], "--route", &routes[1]]);
        await_active(&site, "routers/r").await;
        a.await_answer("203.0.113.9").await;
        a.await_answer("198.51.100.7").await;

        update_router(&site, json!({"routes": []})).await;
        for ip in ["198.51.100.7", "203.0.113.9"] {
            assert!(!a.is_answered(ip, SILENCE), "its route to {ip} is gone");
        }
    });
}

async fn router_ip(site: &Site) -> String {
    let router = site.api().get("routers/r").await;
    router["external_ips"][0].as_str().unwrap().to_owned()
}

#[test]
fn a_peer_router_gets_what_goes_outside_by_the_mac_address_that_was_given() {
    let test = "a_peer_router_gets_what_goes_outside_by_the_mac_address_that_was_given";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let mac = "02:00:00:00:02:fe";
        let peer = Plugged::outside(&site, "peer", mac, "192.0.2.254");
        // What is behind it.
        peer.add_ip("198.51.100.7", 32);
        let (_, a) = a_guest(&site, "a", "blue").await;
        let router = a_router(&site, json!({"internal_networks": ["blue"], "external_network": "out"})).await;
        let address = router["external_ips"][0].as_str().unwrap().to_owned();
        let router_mac = site.nbctl(&[
            "--bare",
            "--columns=mac",
            "find",
            "Logical_Router_Port",
            &format!("networks{{>=}}{address}\\/24"),
        ]);
        // Nobody can ask it, nor does it ask.
        peer.run(&["ip", "neighbour", "replace", &address, "lladdr", router_mac.trim(), "dev", "eth0"]);
        peer.without_arp();
        peer.run(&["ip", "neighbour", "replace", &address, "lladdr", router_mac.trim(), "dev", "eth0"]);
        assert!(!a.is_answered("198.51.100.7", SILENCE), "the network's own gateway is not there");
        let wish = json!({"ip_address": "192.0.2.254", "mac_address": mac});
        site.api().put("routers/r/peer_router", &wish).await.accepted();
        await_active(&site, "routers/r").await;
        a.await_answer("198.51.100.7").await;
        site.api().delete("routers/r/peer_router").await.accepted();
        await_active(&site, "routers/r").await;
        assert!(!a.is_answered("198.51.100.7", SILENCE), "it is no next hop any more");
    });
}
