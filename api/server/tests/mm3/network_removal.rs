//! Networks that are removed with all that is on them, and brought back. The gateway worker doesn't play here.

use edgestack_model::{
    Command, floating_ip::FloatingIpCommand, load_balancer::LoadBalancerCommand, network::NetworkCommand,
    realization::RealizationReport, vm::VmReport,
};
use serde_json::{Value, json};

use crate::{
    nics::{nics, told, with_vm},
    routers::{change, of, undo},
    site::Site,
};

/// The gateway pool says that nothing of a network is left.
async fn told_removed(site: &Site, network: &str) {
    let (network, generation) = {
        let world = site.state.replica.world();
        let network = world.network(&network.into()).unwrap();
        (network.id, network.meta.generation)
    };
    let report = RealizationReport::Removed;
    site.submit(Command::Network(NetworkCommand::Report { network, generation, report })).await;
}

#[tokio::test]
async fn a_network_goes_with_what_is_on_it_and_undo_brings_it_back() {
    let site = with_vm().await;
    let balancer =
        json!({"name": "l", "network": "blue", "members": ["a"], "rules": [{"protocol": "tcp", "port_range_min": 80}]});
    site.call("POST", "/lbs", Some(balancer)).await.expect(202);
    let ip = json!({"floating_ip": "192.0.2.10", "vm": "a"});
    site.call("POST", "/floating_ips", Some(ip)).await.expect(202);
    let refused = site.call("DELETE", "/networks/blue", None).await.expect_problem(409, "in-use", None);
    for user in ["vm \"a\"", "load_balancer \"l\"", "router \"edge\""] {
        assert!(refused.text().contains(&user.replace('"', "\\\"")), "{}", refused.text());
    }
    let dry = site.call("DELETE", "/networks/blue?cascade=true&dry_run=true", None).await.expect(200).json();
    assert_eq!((&dry["state"], nics(&site).await.as_array().unwrap().len()), (&json!("deleting"), 1));
    let removed = change(&site, "DELETE", "/networks/blue?cascade=true", None).await;
    let network = site.get("/networks/blue").await.json();
    assert_eq!(network["waiting"]["reason"], "NIC 0 of vm \"a\" is still on it: NIC 0 is being taken out of the VM");

    // Nobody puts on a network what it is to be free of.
    let early = json!({"sequence": removed, "dry_run": true});
    let early = site.call("POST", "//edgetron/undo", Some(early)).await.expect(200);
    assert!(early.text().contains("it is still being removed; ask again once it is gone"), "{}", early.text());
    told(&site, VmReport::NicUnplugged { number: 0 }).await;
    let (load_balancer, generation) = {
        let world = site.state.replica.world();
        let balancer = world.load_balancer(&"l".into()).unwrap();
        (balancer.id, balancer.meta.generation)
    };
    let report = RealizationReport::Removed;
    site.submit(Command::LoadBalancer(LoadBalancerCommand::Report { load_balancer, generation, report })).await;
    told_removed(&site, "blue").await;
    site.get("/networks/blue").await.expect(404);
    assert_eq!(site.get("/routers/edge").await.json()["internal_networks"], json!(["red"]));

    let undone = undo(&site, removed).await;
    let done: Vec<&str> =
        undone["commands"].as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap()).collect();
    let expected = [
        "make it again",
        "put back internal_networks",
        "attach one like NIC 0",
        "have it lead there again",
        "make it again",
    ];
    assert_eq!(done, expected, "{undone}");
    assert_eq!(nics(&site).await, json!([[1, "blue", "10.0.0.2", "attaching"]]));
    assert_eq!(site.get("/routers/edge").await.json()["internal_networks"], json!(["red", "blue"]));
    assert_eq!(site.get("/lbs/l").await.json()["members"], json!(["10.0.0.2"]));
    assert_eq!(site.get("/floating_ips/192.0.2.10").await.json()["vm"], "a");

    // One outside, with the floating IPs on it.
    let removed = change(&site, "DELETE", "/networks/outside?cascade=true", None).await;
    assert_eq!(site.get("/routers/edge").await.json()["external_network"], Value::Null);
    assert_eq!(site.get("/floating_ips/192.0.2.10").await.json()["state"], "deleting");
    let (floating_ip, generation) = {
        let world = site.state.replica.world();
        let ip = world.floating_ip(&"192.0.2.10".into()).unwrap();
        (ip.id, ip.meta.generation)
    };
    let report = RealizationReport::Removed;
    site.submit(Command::FloatingIp(FloatingIpCommand::Report { floating_ip, generation, report })).await;
    told_removed(&site, "outside").await;
    // Another one has its name: what led to the one that is gone is not put back, and that is said.
    let taken = json!({"name": "outside", "cidr": "198.51.100.0/24"});
    site.call("POST", "/networks", Some(taken)).await.expect(202);
    let proposed = json!({"sequence": removed, "dry_run": true});
    let proposed = site.call("POST", "//edgetron/undo", Some(proposed)).await.expect(200).json();
    assert_eq!(proposed["commands"], json!([]), "{proposed}");
    let cannot = proposed["cannot"].to_string();
    assert!(
        cannot.contains("is gone: it is not put back on it") && cannot.contains("which it was on, is gone"),
        "{cannot}"
    );
    site.call("DELETE", "/networks/outside", None).await.expect(202);
    told_removed(&site, "outside").await;

    undo(&site, removed).await;
    let router = site.get("/routers/edge").await.json();
    assert_eq!(router["external_network"], "outside", "{router}");
    let ip = site.get("/floating_ips/192.0.2.10").await.json();
    assert_eq!(of(&ip, &["vm", "fixed_ip"]), json!(["a", "10.0.0.2"]));
}
