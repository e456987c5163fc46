//! A northbound database that somebody emptied: all of it is made again, by packets, and nobody is told of drift. The guests are
//! namespaces in the place of simulated VMs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::time::Instant;

use edgestack_e2e::{
    PATIENCE, Plugged, Site, eventually, in_own_network,
    virtual_network::{OUTSIDE, a_guest, a_router, a_site, await_active},
};
use serde_json::json;

/// The tables whose rows stand by themselves; the others' go with them.
const ROOTS: [&str; 7] =
    ["Logical_Switch", "Logical_Router", "Load_Balancer", "DHCP_Options", "DNS", "Port_Group", "Static_MAC_Binding"];

/// The rows of all tables that there are in it, but for its global settings.
fn rows(site: &Site) -> usize {
    let others = [
        "Logical_Switch_Port",
        "ACL",
        "Logical_Router_Port",
        "NAT",
        "Logical_Router_Static_Route",
        "Gateway_Chassis",
        "Load_Balancer_Health_Check",
    ];
    let count = |table| site.nbctl(&["--bare", "--columns=_uuid", "list", table]).split_whitespace().count();
    ROOTS.into_iter().chain(others).map(count).sum()
}

/// In one transaction.
fn empty(site: &Site) {
    let words: Vec<&str> = ROOTS.iter().flat_map(|table| ["--", "--all", "destroy", table]).collect();
    site.nbctl(&words[1..]);
}

#[test]
fn an_emptied_database_is_filled_again_and_all_answer_as_before() {
    let test = "an_emptied_database_is_filled_again_and_all_answer_as_before";
    in_own_network(test, async || {
        let Some(mut site) = a_site(test).await else { return };
        let outside = Plugged::outside(&site, "host", "02:00:00:00:02:00", OUTSIDE);
        let (_, a) = a_guest(&site, "a", "blue").await;
        let (_, b) = a_guest(&site, "b", "blue").await;
        let (_, far) = a_guest(&site, "far", "red").await;
        for guest in [&a, &b] {
            guest.tell_name_by_tcp(8080);
        }
        let peer = json!({"ip_address": OUTSIDE, "mac_address": outside.mac});
        let router = json!({"internal_networks": ["blue", "red"], "external_network": "out", "peer_router": peer});
        a_router(&site, router).await;
        let balancer = json!({
            "name": "l", "network": "blue", "members": ["a", "b"],
            "rules": [{"protocol": "tcp", "port_range_min": 80, "member_port": 8080}],
            "health_check": {"interval_seconds": 1, "timeout_seconds": 1, "failures": 2, "successes": 1},
        });
        site.api().post("lbs", &balancer).await.accepted();
        let balancer = await_active(&site, "lbs/l").await;
        let vip = balancer["vip"].as_str().unwrap();
        for ip in [
            json!({"floating_ip": "192.0.2.50", "vm": "a"}),
            json!({"floating_ip": "192.0.2.60", "load_balancer": "l"}),
        ] {
            site.api().post("floating_ips", &ip).await.accepted();
            await_active(&site, &format!("floating_ips/{}", ip["floating_ip"].as_str().unwrap())).await;
        }
        let all_answers = async || {
            outside.await_answer("192.0.2.50").await;
            outside.await_connection("192.0.2.60", 80).await;
            far.await_connection(vip, 80).await;
            a.await_answer(&far.ip).await;
            far.await_answer(OUTSIDE).await;
        };
        all_answers().await;
        let objects =
            ["networks/blue", "networks/red", "networks/out", "routers/r", "lbs/l", "floating_ips/192.0.2.50"];
        let nics = site.api().get("vms/a").await["networks"].clone();
        let before = rows(&site);
        let from = site.api().get("/edgetron/log/head").await["sequence"].clone();

        for daemon in ["lives", "is dead"] {
            if daemon == "is dead" {
                site.kill_daemon();
            }
            let begun = Instant::now();
            empty(&site);
            if daemon == "is dead" {
                assert_eq!(rows(&site), 0);
                site.up().await;
                site.await_ready().await;
            }
            eventually("all rows are back", PATIENCE, async || {
                let now = rows(&site);
                if now == before { Ok(()) } else { Err(format!("{now} of {before}")) }
            })
            .await;
            all_answers().await;
            println!(
                "emptied while the daemon {daemon}: all {before} rows back, and all answers, after {:?}",
                begun.elapsed()
            );
            for object in objects {
                await_active(&site, object).await;
            }
        }

        let path = format!("/edgetron/log/history?from={from}&outcome=events&limit=1000");
        let drifts = async || {
            let told = site.api().get(&path).await;
            let told = told["items"].as_array().unwrap().clone();
            told.into_iter().filter(|one| one.to_string().contains("Drifted")).collect::<Vec<_>>()
        };
        let told = drifts().await;
        assert!(told.is_empty(), "recovery is no drift: {told:?}");
        assert_eq!(site.api().get("vms/a").await["networks"], nics, "guests keep their addresses");
        // It would be told there: a single row, and not all.
        site.nbctl(&["lr-nat-del", "edgestack-r", "dnat_and_snat", "192.0.2.50"]);
        eventually("the drift is told", PATIENCE, async || {
            if drifts().await.is_empty() { Err("it is not".to_owned()) } else { Ok(()) }
        })
        .await;
    });
}
