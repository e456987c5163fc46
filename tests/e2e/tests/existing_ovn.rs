//! A site on an OVN that others run: over TLS, by another chassis' name than the node's, and beside what is there already.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use edgestack_e2e::{
    PATIENCE, Plugged, Site, eventually,
    existing_ovn::{CHASSIS, ExistingOvn},
    in_own_network,
    run_edgectl::works,
    virtual_network::{OUTSIDE, SILENCE, a_guest, a_router, await_active, await_gone, furnish},
};
use serde_json::json;

/// All that others have in the northbound database.
fn others_rows(site: &Site) -> String {
    let tables = ["Logical_Switch", "Logical_Switch_Port", "ACL", "Logical_Router", "Port_Group", "NB_Global"];
    let dump = |table: &str| {
        let columns = if table == "NB_Global" { "--columns=options" } else { "--columns=_uuid,name,external_ids" };
        site.nbctl(&["--format=csv", "--no-headings", columns, "list", table])
    };
    let lines = tables.map(dump).concat();
    let mut others: Vec<&str> = lines.lines().filter(|line| !line.contains("edgestack:")).collect();
    others.sort_unstable();
    others.join("\n")
}

/// By which keys others' switches and routers are known on the wire.
fn others_keys(site: &Site) -> String {
    let columns = "--columns=external_ids,tunnel_key";
    let lines = site.sbctl(&["--format=csv", "--no-headings", columns, "list", "Datapath_Binding"]);
    let mut others: Vec<&str> = lines.lines().filter(|line| line.contains("their")).collect();
    others.sort_unstable();
    others.join("\n")
}

#[test]
fn an_ovn_that_others_run_is_used_and_what_is_theirs_stays() {
    let test = "an_ovn_that_others_run_is_used_and_what_is_theirs_stays";
    in_own_network(test, async || {
        let mut ovn = ExistingOvn::start().await;
        let Some(mut site) = Site::start_on(test, &ovn).await else { return };
        site.nbctl(&["ls-add", "theirs", "--", "lsp-add", "theirs", "their-port", "--", "lr-add", "their-router"]);
        site.nbctl(&[
            "acl-add",
            "theirs",
            "to-lport",
            "1001",
            "ip4",
            "drop",
            "--",
            "pg-add",
            "their_group",
            "their-port",
        ]);
        site.nbctl(&["--wait=sb", "set", "NB_Global", ".", "options:their=word"]);
        // One of their chassis is dead, and confirms nothing.
        site.sbctl(&["chassis-add", "their-dead-one", "geneve", "127.0.0.9"]);
        let dead = site.sbctl(&["--bare", "--columns=_uuid", "find", "Chassis", "name=their-dead-one"]);
        site.sbctl(&["create", "Chassis_Private", "name=their-dead-one", &format!("chassis={}", dead.trim())]);
        let (before, keys) = (others_rows(&site), others_keys(&site));
        assert_eq!(keys.lines().count(), 2, "{keys}");
        furnish(&site).await;

        // As whom the node is known there, and where it leads.
        let node = eventually("the node tells of its network", PATIENCE, async || {
            let node = site.api().get("nodes").await["items"][0].clone();
            if node["network"].is_object() { Ok(node) } else { Err(node.to_string()) }
        })
        .await;
        assert_eq!(node["network"], json!({"chassis": CHASSIS, "physical_networks": ["external"]}), "{node}");
        let out = site.api().get("networks/out").await;
        assert_eq!(out["reached_by"], json!([node["name"]]), "{out}");

        // With segments of our own that have the numbers of theirs.
        for segment in [1, 2, 3] {
            let segment = json!({"name": format!("segment-{segment}"), "cidr": "10.7.0.0/24", "segment_id": segment});
            let made = site.api().post("networks", &segment).await;
            assert!([202, 409].contains(&made.status), "{}", made.text);
        }
        assert_eq!(others_keys(&site), keys);

        // Inside, out, and in from outside.
        a_router(&site, json!({"internal_networks": ["blue", "red"], "external_network": "out"})).await;
        let (_, a) = a_guest(&site, "a", "blue").await;
        let (_, b) = a_guest(&site, "b", "red").await;
        a.await_answer(&b.ip).await;
        let outside = Plugged::outside(&site, "outside", "02:00:00:00:02:00", OUTSIDE);
        a.await_answer(OUTSIDE).await;
        let ip = json!({"floating_ip": "192.0.2.50", "vm": "a"});
        site.api().post("floating_ips", &ip).await.accepted();
        await_active(&site, "floating_ips/192.0.2.50").await;
        outside.await_answer("192.0.2.50").await;
        let balancer = json!({
            "name": "l", "network": "red", "vip": "10.1.0.100", "members": ["b"],
            "rules": [{"protocol": "tcp", "port_range_min": 80}], "health_check": {"interval_seconds": 1, "timeout_seconds": 1},
        });
        b.tell_name_by_tcp(80);
        site.api().post("lbs", &balancer).await.accepted();
        await_active(&site, "lbs/l").await;
        eventually("the load balancer answers", PATIENCE, async || match a.ask_name("10.1.0.100", 80, SILENCE) {
            Ok(name) if name == b.name() => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        eventually("its member is known to live", PATIENCE, async || {
            let health = site.api().get("lbs/l/health").await;
            if health["items"][0]["health"] == "online" { Ok(()) } else { Err(health.to_string()) }
        })
        .await;
        let pinged = works(&site, &["test-ping", "a", "--from", "router:r", "--count", "2"]);
        assert!(pinged.contains("2 answered"), "{pinged}");
        works(&site, &["trace-packet", "vm:b", "a", "tcp/22"]);

        // Their database's server dies, and comes back; the daemon is killed meanwhile.
        let sending = outside.keep_sending("192.0.2.50");
        ovn.kill("nb");
        site.api().post("floating_ips", &json!({"floating_ip": "192.0.2.60", "vm": "b"})).await.accepted();
        site.kill_daemon();
        ovn.start_part("nb");
        site.up().await;
        await_active(&site, "floating_ips/192.0.2.60").await;
        outside.await_answer("192.0.2.60").await;
        let (lost, sent) = sending.stop();
        assert!(lost <= 1, "{lost} of {sent} packets lost");

        // All of ours goes, all of theirs is as it was.
        for what in ["vms/a", "vms/b"] {
            site.api().delete(what).await.accepted();
        }
        for vm in ["a", "b"] {
            site.await_no_vm(vm).await;
        }
        for network in ["out", "blue", "red", "segment-3"] {
            site.api().delete(&format!("networks/{network}?cascade=true")).await.accepted();
            await_gone(&site, &format!("networks/{network}")).await;
        }
        site.api().delete("routers/r").await.accepted();
        await_gone(&site, "routers/r").await;
        assert_eq!(others_rows(&site), before);
        assert_eq!(others_keys(&site), keys);
        let switches = site.nbctl(&["--bare", "--columns=name", "list", "Logical_Switch"]);
        assert_eq!(switches.trim(), "theirs");
    });
}
