//! Networks, and VMs on them: what is asked, shown and refused. The gateway worker doesn't play here; `workers/gateway` and
//! `tests/e2e` have it.

use serde_json::{Value, json};

use crate::site::{BASE, Site};

async fn a_network(site: &Site, wish: Value) -> Value {
    site.call("POST", "/networks", Some(wish)).await.expect(202).json()
}

#[tokio::test]
async fn a_network_is_shown_with_all_that_was_left_open() {
    let site = Site::new().await;
    let made = site.call("POST", "/networks", Some(json!({"name": "blue", "cidr": "10.0.0.0/24"}))).await.expect(202);
    assert_eq!(made.header("location"), format!("{BASE}/networks/blue"));
    let blue = made.json();
    for (field, expect) in [
        ("state", json!("creating")),
        ("type", json!("GENEVE")),
        ("segment_id", json!(1)),
        ("mtu", json!(1442)),
        ("gateway_ip", json!("10.0.0.1")),
        ("ip_pool", json!({"start": "10.0.0.1", "end": "10.0.0.254"})),
        ("dhcp", json!(true)),
        ("external", json!(null)),
        ("addresses", json!([{"ip": "10.0.0.1", "holder": "the gateway"}])),
    ] {
        assert_eq!(blue[field], expect, "{field}: {blue}");
    }
    // Nobody works on it, and that is said with what to do.
    assert_eq!(blue["waiting"]["owner"], "worker.gateway");
    assert!(blue["waiting"]["fix"].as_str().unwrap().contains("--networks bundled"), "{blue}");
    let vlan = json!({
        "name": "outside", "type": "VLAN", "segment_id": 7, "external": {"physical_network": "ext"}, "cidr": "fd00::/64",
        "gateway_ip": null, "address_mode": "dhcpv6_stateful", "mtu": 1400, "dhcp": false, "dns_servers": ["fd00::53"],
    });
    let outside = a_network(&site, vlan.clone()).await;
    for field in ["type", "segment_id", "external", "cidr", "gateway_ip", "address_mode", "mtu", "dhcp", "dns_servers"]
    {
        assert_eq!(outside[field], vlan[field], "{field}: {outside}");
    }
    // The words of programs written for the first version, in either case.
    let dual = json!({"name": "dual", "type": "vxlan", "cidr": "10.0.0.0/24", "ipv6": {"cidr": "fd00::/64"}});
    assert_eq!(a_network(&site, dual).await["ipv6"]["gateway_ip"], "fd00::1");
    assert_eq!(site.get("/networks?state=creating").await.json()["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_vm_shows_its_nics_and_its_network_who_is_on_it() {
    let site = Site::new().await;
    site.with_flavor_and_image().await;
    a_network(&site, json!({"name": "blue", "cidr": "10.0.0.0/24"})).await;
    let vm = json!({
        "name": "web", "image": "debian", "flavor": "small",
        "networks": [{"network": "blue"}, {"network": "blue", "fixed_ip": "10.0.0.50", "mac": "fa:16:3e:00:00:50"}],
    });
    let web = site.call("POST", "/vms", Some(vm)).await.expect(202).json();
    assert_eq!(web["networks"][0]["fixed_ip"], "10.0.0.2");
    assert_eq!(web["networks"][1]["mac"], "fa:16:3e:00:00:50");
    assert_eq!(web["networks"][1]["network"], "blue");
    assert_eq!(web["addresses"][1], json!({"network": "blue", "ip": "10.0.0.50", "mac": "fa:16:3e:00:00:50"}));
    assert_eq!(web["ssh"], json!(null), "its port leads nowhere");
    let manifest = site.call_with("GET", "/vms/web/manifest", &[("accept", "application/json")], None).await;
    let spec = &manifest.expect(200).json()["spec"]["template"]["spec"];
    assert_eq!(spec["networks"][1], json!({"name": "nic1", "multus": {"networkName": "blue"}}));
    assert_eq!(spec["domain"]["devices"]["interfaces"][1]["macAddress"], "fa:16:3e:00:00:50");
    let held = site.get("/networks/blue").await.json()["addresses"].clone();
    assert_eq!(held[2], json!({"ip": "10.0.0.50", "holder": "vm \"web\""}));
    site.call("DELETE", "/networks/blue", None).await.expect_problem(409, "in-use", None);
    let same = json!({"name": "b", "image": "debian", "flavor": "small", "networks": [{"network": "blue", "fixed_ip": "10.0.0.50"}]});
    site.call("POST", "/vms", Some(same)).await.expect_problem(409, "address-in-use", Some("networks.0.fixed_ip"));
}

#[tokio::test]
async fn wrong_values_are_told_by_their_field() {
    let site = Site::new().await;
    for (wish, field) in [
        (json!({"name": "a", "cidr": "10.0.0.1/24"}), "cidr"),
        (json!({"name": "a", "cidr": "x"}), "cidr"),
        (json!({"name": "a", "cidr": "10.0.0.0/24", "gateway_ip": "x"}), "gateway_ip"),
        (json!({"name": "a", "cidr": "10.0.0.0/24", "ip_pool": {"start": "10.0.0.9", "end": "10.0.0.8"}}), "ip_pool"),
        (
            json!({"name": "a", "cidr": "10.0.0.0/24", "ip_pool": {"start": "10.0.0.9", "end": "10.0.0.10"},
                   "ip_pools": [{"start": "10.0.0.9", "end": "10.0.0.10"}]}),
            "ip_pools",
        ),
        (json!({"name": "a", "cidr": "10.0.0.0/24", "ipv6": {"cidr": "fd00::1/64"}}), "ipv6.cidr"),
        (json!({"name": "a", "cidr": "10.0.0.0/24", "dns_servers": ["9.9.9.9", "x"]}), "dns_servers.1"),
        (
            json!({"name": "a", "cidr": "10.0.0.0/24", "host_routes": [{"destination": "10.1.0.0/16", "next_hop": "x"}]}),
            "host_routes.0.next_hop",
        ),
        (json!({"name": "a", "cidr": "10.0.0.0/24", "type": "FLAT"}), "external.physical_network"),
    ] {
        site.call("POST", "/networks", Some(wish)).await.expect_problem(422, "invalid-value", Some(field));
    }
}

#[tokio::test]
async fn a_change_is_merged_and_taken_back() {
    let site = Site::new().await;
    a_network(&site, json!({"name": "blue", "cidr": "10.0.0.0/24", "dns_servers": ["9.9.9.9"]})).await;
    let patch = json!({"dns_servers": null, "mtu": 1300, "ip_pools": [{"start": "10.0.0.10", "end": "10.0.0.19"}]});
    let changed = site.call("PATCH", "/networks/blue", Some(patch)).await.expect(200);
    let sequence: u64 = changed.header("edgestack-sequence").parse().unwrap();
    let blue = changed.json();
    assert_eq!((&blue["dns_servers"], &blue["mtu"]), (&json!([]), &json!(1300)));
    site.call("PATCH", "/networks/blue", Some(json!({"cidr": "10.1.0.0/24"}))).await.expect(422);
    let events = site.get("/networks/blue/events").await.json();
    let message = events["items"][1]["message"].as_str().unwrap();
    assert!(message.contains("mtu 1300") && message.contains("10.0.0.10-10.0.0.19"), "{message}");
    let undone = site.call("POST", "//edgetron/undo", Some(json!({"sequence": sequence}))).await.expect(200).json();
    assert_eq!(undone["commands"][0]["problem"], json!(null), "{undone}");
    let back = site.get("/networks/blue").await.json();
    for (field, expect) in [
        ("mtu", json!(1442)),
        ("dns_servers", json!(["9.9.9.9"])),
        ("ip_pool", json!({"start": "10.0.0.1", "end": "10.0.0.254"})),
    ] {
        assert_eq!(back[field], expect, "{field}: {back}");
    }
}
