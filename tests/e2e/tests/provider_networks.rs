//! VMs on networks outside, with real packets: by VLAN, and untagged. The guests are namespaces in the place of simulated VMs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use edgestack_e2e::{
    Plugged, Site, in_own_network,
    virtual_network::{OUTSIDE, SILENCE, a_guest, a_router, a_site, await_active},
};
use serde_json::json;

async fn a_vlan(site: &Site, name: &str, vlan: u32) {
    let external = json!({"physical_network": "external"});
    let network = json!({
        "name": name, "type": "VLAN", "segment_id": vlan, "external": external, "cidr": "10.7.0.0/24",
        "ip_pool": {"start": "10.7.0.10", "end": "10.7.0.99"},
    });
    site.api().post("networks", &network).await.accepted();
    await_active(site, &format!("networks/{name}")).await;
}

#[test]
fn a_vm_on_a_vlan_reaches_hosts_outside_on_that_one_and_no_others() {
    let test = "a_vm_on_a_vlan_reaches_hosts_outside_on_that_one_and_no_others";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        // The same prefix, so that it is the VLAN alone that keeps them apart.
        a_vlan(&site, "seven", 7).await;
        a_vlan(&site, "eight", 8).await;
        let on_seven = Plugged::outside_on_vlan(&site, "seven", "02:00:00:00:07:00", "10.7.0.207", 7);
        let on_eight = Plugged::outside_on_vlan(&site, "eight", "02:00:00:00:08:00", "10.7.0.208", 8);
        let untagged = Plugged::outside(&site, "untagged", "02:00:00:00:09:00", "10.7.0.209");
        let (_, a) = a_guest(&site, "a", "seven").await;
        // The same address on the other one.
        let (_, b) = a_guest(&site, "b", "eight").await;
        assert_eq!(a.ip, b.ip);
        for (guest, host, others) in [(&a, &on_seven, [&on_eight, &untagged]), (&b, &on_eight, [&on_seven, &untagged])]
        {
            guest.await_answer(&host.ip).await;
            host.await_answer(&guest.ip).await;
            for other in others {
                assert!(!guest.is_answered(&other.ip, SILENCE), "{} reaches {}", guest.name(), other.name());
            }
        }
        assert!(!untagged.is_answered(&a.ip, SILENCE), "an untagged packet came to a VLAN");
        assert!(!on_seven.is_answered(&on_eight.ip, SILENCE), "the test's own hosts are apart");
    });
}

#[test]
fn a_router_leads_outside_by_a_vlan_and_floating_ips_answer_on_it_alone() {
    let test = "a_router_leads_outside_by_a_vlan_and_floating_ips_answer_on_it_alone";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        a_vlan(&site, "seven", 7).await;
        let on_seven = Plugged::outside_on_vlan(&site, "seven", "02:00:00:00:07:00", "10.7.0.207", 7);
        let untagged = Plugged::outside(&site, "untagged", "02:00:00:00:09:00", "10.7.0.209");
        let (_, a) = a_guest(&site, "a", "blue").await;
        a_router(&site, json!({"internal_networks": ["blue"], "external_network": "seven"})).await;
        a.await_answer(&on_seven.ip).await;
        site.api().post("floating_ips", &json!({"floating_ip": "10.7.0.50", "vm": "a"})).await.accepted();
        await_active(&site, "floating_ips/10.7.0.50").await;
        on_seven.await_answer("10.7.0.50").await;
        assert!(!untagged.is_answered("10.7.0.50", SILENCE), "an untagged packet came to a VLAN");
    });
}

#[test]
fn a_vm_on_a_flat_network_is_a_host_outside_like_others() {
    let test = "a_vm_on_a_flat_network_is_a_host_outside_like_others";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let outside = Plugged::outside(&site, "host", "02:00:00:00:02:00", OUTSIDE);
        let (_, a) = a_guest(&site, "a", "out").await;
        let (_, b) = a_guest(&site, "b", "out").await;
        assert!(a.ip.starts_with("192.0.2."), "{}", a.ip);
        a.await_answer(OUTSIDE).await;
        outside.await_answer(&a.ip).await;
        b.await_answer(&a.ip).await;
        // Its address is its own there, too.
        b.set_ip("192.0.2.77");
        assert!(!b.is_answered(OUTSIDE, SILENCE), "a forged address got out");
    });
}
