//! Networks that go with all that is on them, and what else there is going on meanwhile. The guests are namespaces in the
//! place of simulated VMs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use edgestack_e2e::{
    Plugged, Site, in_own_network,
    run_edgectl::works,
    virtual_network::{OUTSIDE, SILENCE, a_guest, a_router, a_site, await_active, await_gone},
};
use serde_json::json;

/// VMs `web` on `blue` and `red`, `db` on `blue`; a router between them and `out`; a floating IP, and a load balancer with
/// another one. Answers the guests: `web` on `blue`, `web` on `red`, `far` on `red`.
async fn a_busy_site(site: &Site) -> [Plugged; 3] {
    a_router(site, json!({"internal_networks": ["blue", "red"], "external_network": "out"})).await;
    let nic = |network: &str| json!({"network": network, "security_groups": ["open"]});
    site.create("web", &json!({"networks": [nic("blue"), nic("red")]})).await;
    site.create("db", &json!({"networks": [nic("blue")]})).await;
    let web = site.await_nics("web").await;
    site.await_nics("db").await;
    let (blue, red) = (Plugged::as_nic(site, &web, 0), Plugged::as_nic(site, &web, 1));
    blue.add_route("default", "10.0.0.1");
    red.add_route("default", "10.1.0.1");
    let (_, far) = a_guest(site, "far", "red").await;
    let balancer = json!({
        "name": "l", "network": "blue", "members": ["web", "db"], "rules": [{"protocol": "tcp", "port_range_min": 80}],
    });
    site.api().post("lbs", &balancer).await.accepted();
    await_active(site, "lbs/l").await;
    for ip in [
        json!({"floating_ip": "192.0.2.50", "vm": "web", "fixed_ip": blue.ip}),
        json!({"floating_ip": "192.0.2.60", "load_balancer": "l"}),
        json!({"floating_ip": "192.0.2.70", "vm": "web", "fixed_ip": red.ip}),
    ] {
        site.api().post("floating_ips", &ip).await.accepted();
        await_active(site, &format!("floating_ips/{}", ip["floating_ip"].as_str().unwrap())).await;
    }
    [blue, red, far]
}

/// The rows of OVN that name an object, in all tables that we write.
fn rows_about(site: &Site, id: &str) -> String {
    let tables = ["Logical_Switch", "Logical_Switch_Port", "DHCP_Options", "DNS", "Port_Group", "ACL", "Load_Balancer"];
    let dumps = tables.map(|table| site.nbctl(&["--columns=external_ids", "--bare", "list", table]));
    dumps.concat().lines().filter(|line| line.contains(id)).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_network_goes_with_all_that_is_on_it_and_the_rest_goes_on() {
    let test = "a_network_goes_with_all_that_is_on_it_and_the_rest_goes_on";
    in_own_network(test, async || {
        let Some(mut site) = a_site(test).await else { return };
        let [blue, red, far] = a_busy_site(&site).await;
        let outside = Plugged::outside(&site, "outside", "02:00:00:00:02:00", OUTSIDE);
        outside.await_answer("192.0.2.50").await;
        outside.await_answer("192.0.2.70").await;
        let id = site.api().get("networks/blue").await["id"].as_str().unwrap().to_owned();
        assert_ne!(rows_about(&site, &id), "");
        let in_use = site.api().delete("networks/blue").await;
        assert_eq!(in_use.status, 409, "{}", in_use.text);
        let told = works(&site, &["what-if", "remove-network", "blue", "--cascade"]);
        for part in [
            "- network blue removed",
            "- load_balancer l removed",
            "~ floating_ip 192.0.2.50 changed",
            "~ router r changed",
            "~ vm db changed",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }

        // The daemon is killed as soon as it is said, and the rest of it goes on.
        let sending = outside.keep_sending("192.0.2.70");
        site.api().delete("networks/blue?cascade=true").await.accepted();
        site.kill_daemon();
        site.up().await;
        site.await_ready().await;
        await_gone(&site, "networks/blue").await;
        await_gone(&site, "lbs/l").await;
        let (lost, sent) = sending.stop();
        assert!(lost <= 1, "{lost} of {sent} packets lost of one who has to do with another network");
        assert_eq!(rows_about(&site, &id), "");
        let router = await_active(&site, "routers/r").await;
        assert_eq!(router["internal_networks"], json!(["red"]), "{router}");
        for ip in ["192.0.2.50", "192.0.2.60"] {
            let ip = await_active(&site, &format!("floating_ips/{ip}")).await;
            assert_eq!((&ip["vm"], &ip["load_balancer"]), (&json!(null), &json!(null)), "{ip}");
        }
        assert!(!outside.is_answered("192.0.2.50", SILENCE), "it leads nowhere, and is answered");
        let vms = [site.api().get("vms/web").await, site.api().get("vms/db").await];
        let networks =
            vms.map(|vm| vm["networks"].as_array().unwrap().iter().map(|nic| nic["network"].clone()).collect());
        let networks: [Vec<_>; 2] = networks;
        assert_eq!(networks, [vec![json!("red")], vec![]]);
        red.await_answer(&far.ip).await;
        drop(blue);

        // The one outside, as a person at a terminal does it.
        let said = works(&site, &["remove-network", "out", "--cascade"]);
        assert!(said.contains("out"), "{said}");
        await_gone(&site, "networks/out").await;
        await_gone(&site, "floating_ips/192.0.2.70").await;
        let router = await_active(&site, "routers/r").await;
        assert_eq!(router["external_network"], json!(null), "{router}");
        red.await_answer(&far.ip).await;
        // Its name and prefix are free.
        site.api().post("networks", &json!({"name": "blue", "cidr": "10.0.0.0/24"})).await.accepted();
        await_active(&site, "networks/blue").await;
    });
}
