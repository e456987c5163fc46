//! IPv6 with real packets: guests that make their address of what the router advertises, and a floating IP of IPv6. The guests
//! are namespaces in the place of simulated VMs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use edgestack_e2e::{
    PATIENCE, Plugged, Site, eventually, in_own_network,
    virtual_network::{SILENCE, a_router, await_active},
};
use serde_json::{Value, json};

const FLOATING: &str = "2001:db8:1::50";

/// A site with `dual`, whose guests make their IPv6 addresses themselves, `far`, where DHCP tells them, `out` outside, and a
/// group `open` that lets all of both families through.
async fn a_site(test: &str) -> Option<Site> {
    let site = Site::start_networked(test).await?;
    site.add_tiny().await;
    let out = json!({
        "name": "out", "type": "FLAT", "external": {"physical_network": "external"}, "cidr": "192.0.2.0/24", "dhcp": false,
        "ipv6": {"cidr": "2001:db8:1::/64", "address_mode": "dhcpv6_stateful"},
    });
    let dual = |name: &str, number: u32, mode: &str| {
        let ipv6 = json!({"cidr": format!("fd00:{number}::/64"), "address_mode": mode});
        json!({"name": name, "cidr": format!("10.{number}.0.0/24"), "ipv6": ipv6})
    };
    for network in [dual("dual", 5, "slaac"), dual("far", 6, "dhcpv6_stateful"), out] {
        site.api().post("networks", &network).await.accepted();
        site.await_network(network["name"].as_str().unwrap(), "active").await;
    }
    let rule = |direction, family| json!({"direction": direction, "ether_type": family});
    let rules = [("ingress", "IPv4"), ("egress", "IPv4"), ("ingress", "IPv6"), ("egress", "IPv6")];
    let open = json!({"name": "open", "rules": rules.map(|(direction, family)| rule(direction, family))});
    site.api().post("security_groups", &open).await.accepted();
    await_active(&site, "security_groups/open").await;
    Some(site)
}

/// A VM on a network, a guest in its place, and its IPv6 address.
async fn a_guest(site: &Site, name: &str, network: &str) -> (Plugged, String) {
    site.create(name, &json!({"networks": [{"network": network, "security_groups": ["open"]}]})).await;
    let vm: Value = site.await_nics(name).await;
    let address = vm["networks"][0]["addresses"][1].as_str().unwrap().to_owned();
    (Plugged::as_nic(site, &vm, 0), address)
}

/// Waits until the router's advertisement has told it who it is and where to send the rest.
async fn await_advertised(guest: &Plugged, address: &str) {
    guest.run(&["sh", "-c", "echo 2 > /proc/sys/net/ipv6/conf/eth0/accept_ra"]);
    eventually(&format!("{address} and a default route by advertisement"), PATIENCE, async || {
        let told = |words: &[&str]| String::from_utf8_lossy(&guest.run(words).stdout).into_owned();
        let has = told(&["ip", "-6", "address", "show", "dev", "eth0", "scope", "global", "dynamic", "-tentative"]);
        let way = told(&["ip", "-6", "route", "show", "default", "proto", "ra"]);
        let is_told = has.contains(&format!("{address}/64")) && way.contains("via fe80:");
        if is_told { Ok(()) } else { Err(format!("{has}{way}")) }
    })
    .await;
}

#[test]
fn a_guest_makes_its_address_and_its_way_out_of_what_the_router_advertises() {
    let test = "a_guest_makes_its_address_and_its_way_out_of_what_the_router_advertises";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        a_router(&site, json!({"internal_networks": ["dual", "far"], "external_network": "out"})).await;
        let (a, address) = a_guest(&site, "a", "dual").await;
        let (far, far_address) = a_guest(&site, "far", "far").await;
        await_advertised(&a, &address).await;
        far.add_ip(&far_address, 64);
        far.add_route("default", "fd00:6::1");
        a.await_answer(&far_address).await;
        far.await_answer(&address).await;
    });
}

#[test]
fn a_floating_ip_of_ipv6_answers_from_outside_until_it_leads_nowhere() {
    let test = "a_floating_ip_of_ipv6_answers_from_outside_until_it_leads_nowhere";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let outside = Plugged::outside(&site, "host", "02:00:00:00:02:00", "192.0.2.200");
        outside.add_ip("2001:db8:1::200", 64);
        a_router(&site, json!({"internal_networks": ["dual"], "external_network": "out"})).await;
        let (a, address) = a_guest(&site, "a", "dual").await;
        await_advertised(&a, &address).await;
        let ip = json!({"floating_ip": FLOATING, "name": "six", "vm": "a"});
        let made = site.api().post("floating_ips", &ip).await.accepted();
        assert_eq!(made["fixed_ip"], json!(address), "{made}");
        await_active(&site, "floating_ips/six").await;
        outside.await_answer(FLOATING).await;
        a.await_answer("2001:db8:1::200").await;
        a.answer_tcp(80);
        outside.await_connection(FLOATING, 80).await;
        site.api().post("floating_ips/six/action", &json!({"action": "disassociate"})).await.accepted();
        await_active(&site, "floating_ips/six").await;
        assert!(!outside.is_answered(FLOATING, SILENCE), "it leads nowhere, and is answered");
    });
}
