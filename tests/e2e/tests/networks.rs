//! Virtual networks with real packets: OVN on Open vSwitch, run by the daemon. The guests of most of these are network
//! namespaces in the place of simulated VMs; `network_guests.rs` has real ones.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::time::{Duration, Instant};

use edgestack_e2e::{
    PATIENCE, Plugged, Site, eventually, in_own_network, processes,
    virtual_network::{await_started_again, ovn_pids},
};
use serde_json::{Value, json};

/// How long to wait for an answer that must not come.
const SILENCE: Duration = Duration::from_millis(600);

/// A site with networks `blue` and `red`, of the same prefix, and image and flavor `tiny`.
async fn a_site(test: &str) -> Option<Site> {
    let site = Site::start_networked(test).await?;
    site.add_tiny().await;
    for network in ["blue", "red"] {
        let wish = json!({"name": network, "cidr": "10.0.0.0/24"});
        let reply = site.api().post("networks", &wish).await;
        assert_eq!(reply.status, 202, "{}", reply.text);
        site.await_network(network, "active").await;
    }
    Some(site)
}

/// A VM on a network, and a guest in its place.
async fn a_guest(site: &Site, name: &str, network: &str, ip: Option<&str>) -> (Value, Plugged) {
    let mut nic = json!({"network": network});
    if let Some(ip) = ip {
        nic["fixed_ip"] = ip.into();
    }
    site.create(name, &json!({"networks": [nic]})).await;
    let vm = site.await_nics(name).await;
    let guest = Plugged::as_nic(site, &vm, 0);
    (vm, guest)
}

async fn events_of(site: &Site, what: &str) -> Vec<String> {
    let events = site.api().get(&format!("{what}/events?limit=1000")).await;
    let events = events["items"].as_array().expect("a list").clone();
    events.iter().map(|event| event["type"].as_str().expect("a type").to_owned()).collect()
}

#[test]
fn guests_of_one_network_reach_each_other_and_those_of_another_they_do_not() {
    let test = "guests_of_one_network_reach_each_other_and_those_of_another_they_do_not";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let (_, a) = a_guest(&site, "a", "blue", None).await;
        let (_, b) = a_guest(&site, "b", "blue", None).await;
        // The same address on a network of the same prefix, and one that only that network has.
        let (_, other) = a_guest(&site, "other", "red", Some("10.0.0.3")).await;
        let (_, third) = a_guest(&site, "third", "red", Some("10.0.0.99")).await;
        assert_eq!((a.ip.as_str(), b.ip.as_str()), ("10.0.0.2", "10.0.0.3"));
        a.await_answer(&b.ip).await;
        b.await_answer(&a.ip).await;
        other.await_answer(&third.ip).await;
        assert!(!a.is_answered(&third.ip, SILENCE), "a packet came from one network to another");
        assert!(!third.is_answered(&a.ip, SILENCE), "a packet came from one network to another");

        // Nothing leaves under another's address.
        let mac = a.mac.clone();
        a.set_mac("02:00:00:00:00:99");
        assert!(!a.is_answered(&b.ip, SILENCE), "a forged MAC address got through");
        a.set_mac(&b.mac);
        assert!(!a.is_answered(&third.ip, SILENCE), "another's MAC address got through");
        a.set_mac(&mac);
        a.await_answer(&b.ip).await;
        a.set_ip("10.0.0.50");
        assert!(!a.is_answered(&b.ip, SILENCE), "a forged IP address got through");
        a.set_ip("10.0.0.2");
        a.await_answer(&b.ip).await;
    });
}

#[test]
fn a_guest_that_routes_or_bridges_is_not_held_to_its_addresses_if_it_is_wished() {
    let test = "a_guest_that_routes_or_bridges_is_not_held_to_its_addresses_if_it_is_wished";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        // The default group knows its NICs by their own addresses.
        let open = json!({"name": "open", "rules": [{"direction": "ingress"}, {"direction": "egress"}]});
        site.api().post("security_groups", &open).await.accepted();
        let groups = json!(["open"]);
        for (name, port_security) in [("a", None), ("b", None), ("bridge", Some(false))] {
            let mut nic = json!({"network": "blue", "security_groups": groups});
            nic["port_security"] = json!(port_security);
            site.create(name, &json!({"networks": [nic]})).await;
        }
        let (a, vm) = (site.await_nics("a").await, site.await_nics("bridge").await);
        let b = Plugged::as_nic(&site, &site.await_nics("b").await, 0);
        assert_eq!(
            (&a["networks"][0]["port_security"], &vm["networks"][0]["port_security"]),
            (&json!(true), &json!(false))
        );
        let (a, bridge) = (Plugged::as_nic(&site, &a, 0), Plugged::as_nic(&site, &vm, 0));
        a.await_answer(&b.ip).await;

        // Somebody behind it, whom the network doesn't know.
        bridge.set_mac("02:00:00:00:00:99");
        bridge.set_ip("10.0.0.50");
        bridge.await_answer(&b.ip).await;
        b.await_answer("10.0.0.50").await;
        a.set_ip("10.0.0.60");
        assert!(!a.is_answered(&b.ip, SILENCE), "the others are held to theirs");

        // Off and on while it runs.
        let edit = async |vm: &str, port_security: bool| {
            let edit = json!({"action": "edit_nic", "port_security": port_security});
            site.api().act(vm, &edit).await.accepted();
            site.await_nics(vm).await;
        };
        edit("a", false).await;
        a.await_answer(&b.ip).await;
        edit("bridge", true).await;
        assert!(!bridge.is_answered(&b.ip, SILENCE), "a forged address got through");
        assert!(!b.is_answered("10.0.0.50", SILENCE), "what is for nobody came to it");
        edit("a", true).await;
        assert!(!a.is_answered(&b.ip, SILENCE), "a forged address got through");
        let events = events_of(&site, "vms/a").await;
        let changed = events.iter().filter(|event| *event == "VmNicPortSecurityChanged").count();
        assert_eq!((changed, events.contains(&"VmNicDrifted".to_owned())), (2, false), "{events:?}");

        // A network where nobody is, unless he says so.
        site.api().patch("networks/red", &json!({"port_security": false})).await.accepted();
        site.await_network("red", "active").await;
        let (vm, c) = a_guest(&site, "c", "red", None).await;
        assert_eq!(vm["networks"][0]["port_security"], false, "{vm}");
        let d = Plugged::at_a_port_of_our_own(&site, "red", "p", "10.0.0.200");
        c.set_ip("10.0.0.70");
        c.await_answer(&d.ip).await;
    });
}

#[test]
fn what_others_change_is_told_and_mended_and_what_is_not_ours_stays() {
    let test = "what_others_change_is_told_and_mended_and_what_is_not_ours_stays";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let (vm, a) = a_guest(&site, "a", "blue", None).await;
        let (_, b) = a_guest(&site, "b", "blue", None).await;
        let probe = Plugged::at_a_port_of_our_own(&site, "blue", "p", "10.0.0.200");
        site.nbctl(&["ls-add", "somebody-elses"]);
        // From outside of its group nothing comes to it but answers.
        a.await_answer(&probe.ip).await;

        // A port.
        let port = format!("{}-0", vm["id"].as_str().unwrap());
        site.nbctl(&["lsp-del", &port]);
        let drifted = site.await_event("a", "VmNicDrifted", PATIENCE).await;
        assert_eq!(drifted["data"]["what"], json!(["the port is gone"]), "{drifted}");
        site.await_nics("a").await;
        a.await_answer(&b.ip).await;

        // What its port lets through.
        site.nbctl(&["lsp-set-port-security", &port]);
        eventually("port security is back", PATIENCE, async || {
            let present = site.nbctl(&["lsp-get-port-security", &port]);
            if present.contains(&a.mac) { Ok(()) } else { Err(present) }
        })
        .await;
        site.await_nics("a").await;

        // The whole switch, and with it everybody's ports.
        site.nbctl(&["ls-del", "edgestack-blue"]);
        eventually("NetworkDrifted is told", PATIENCE, async || {
            let events = events_of(&site, "networks/blue").await;
            if events.contains(&"NetworkDrifted".to_owned()) { Ok(()) } else { Err(events.join(", ")) }
        })
        .await;
        site.await_network("blue", "active").await;
        site.await_nics("b").await;
        a.await_answer(&b.ip).await;

        // All of it: filled again, and no drift.
        let before = (events_of(&site, "networks/red").await.len(), events_of(&site, "vms/b").await.len());
        let begun = Instant::now();
        site.nbctl(&[
            "--if-exists",
            "ls-del",
            "edgestack-blue",
            "--",
            "ls-del",
            "edgestack-red",
            "--",
            "--all",
            "destroy",
            "DHCP_Options",
            "--",
            "--all",
            "destroy",
            "DNS",
            "--",
            "--all",
            "destroy",
            "Port_Group",
        ]);
        eventually("the switches are back", PATIENCE, async || {
            let switches = site.nbctl(&["ls-list"]);
            let all = ["edgestack-blue", "edgestack-red"].iter().all(|name| switches.contains(name));
            if all { Ok(()) } else { Err(switches) }
        })
        .await;
        a.await_answer(&b.ip).await;
        println!("an emptied northbound database was filled, and packets passed, after {:?}", begun.elapsed());
        let after = (events_of(&site, "networks/red").await.len(), events_of(&site, "vms/b").await.len());
        assert_eq!(before, after, "recovery is no drift");
        assert!(site.nbctl(&["ls-list"]).contains("somebody-elses"), "what is not ours was touched");
    });
}

#[test]
fn traffic_goes_on_while_any_of_our_processes_is_dead_and_all_comes_back() {
    let test = "traffic_goes_on_while_any_of_our_processes_is_dead_and_all_comes_back";
    in_own_network(test, async || {
        let Some(mut site) = a_site(test).await else { return };
        let (_, a) = a_guest(&site, "a", "blue", None).await;
        let (_, b) = a_guest(&site, "b", "blue", None).await;
        a.await_answer(&b.ip).await;

        // The daemon: OVN goes on, and is taken over.
        let before = ovn_pids(&site);
        assert_eq!(before.len(), 6, "{before:?}");
        let sending = a.keep_sending(&b.ip);
        site.kill_daemon();
        site.up().await;
        site.await_ready().await;
        let (lost, sent) = sending.stop();
        // The last may be on its way.
        assert!(lost <= 1, "{lost} of {sent} packets lost");
        assert_eq!(ovn_pids(&site), before);
        let wish = json!({"name": "green", "cidr": "10.1.0.0/24"});
        site.api().post("networks", &wish).await.accepted();
        site.await_network("green", "active").await;

        // Each process of OVN, and then a change that needs it.
        for (number, (name, pid)) in (0..).zip(ovn_pids(&site)) {
            let sending = a.keep_sending(&b.ip);
            let begun = Instant::now();
            processes::kill(pid);
            let wish = json!({"name": format!("n{number}"), "cidr": "10.2.0.0/24"});
            site.api().post("networks", &wish).await.accepted();
            site.await_network(&format!("n{number}"), "active").await;
            a.await_answer(&b.ip).await;
            let took = begun.elapsed();
            let (lost, sent) = sending.stop();
            println!("{name} killed: {lost} of {sent} packets lost, a new network active after {took:?}");
            // The switch itself carries the packets; the switch's database is what it listens to.
            assert!(lost <= 5 || name == "ovs-vswitchd", "{name} killed: {lost} of {sent} packets lost");
            await_started_again(&site, &name, pid).await;
        }
    });
}

#[test]
fn a_network_is_made_and_removed_whenever_the_daemon_was_killed() {
    let test = "a_network_is_made_and_removed_whenever_the_daemon_was_killed";
    in_own_network(test, async || {
        let Some(mut site) = a_site(test).await else { return };
        for (number, point) in ["gateway.write.before", "gateway.write.after", "gateway.realized"].iter().enumerate() {
            let name = format!("n{number}");
            for pass in ["made", "removed"] {
                site.kill_daemon();
                site.up_with(&[("EDGESTACK_CRASH_AT", point)]).await;
                site.await_ready().await;
                if pass == "made" {
                    let wish = json!({"name": name, "cidr": "10.3.0.0/24"});
                    site.api().post("networks", &wish).await.accepted();
                } else {
                    site.api().delete(&format!("networks/{name}")).await.accepted();
                }
                eventually("the daemon dies", PATIENCE, async || {
                    let ended = site.daemon.as_mut().and_then(|daemon| daemon.ended());
                    if ended.is_some() { Ok(()) } else { Err("it lives".to_owned()) }
                })
                .await;
                site.up().await;
                if pass == "made" {
                    site.await_network(&name, "active").await;
                } else {
                    await_gone(&site, &name).await;
                }
            }
        }
        let switches = site.nbctl(&["--bare", "--columns=name", "list", "Logical_Switch"]);
        let left: Vec<&str> = switches.split_whitespace().collect();
        assert_eq!(left.len(), 2, "rows are left of networks that are gone: {left:?}");
        let options = site.nbctl(&["--bare", "--columns=_uuid", "list", "DHCP_Options"]);
        assert_eq!(options.split_whitespace().count(), 2, "{options}");

        // Between the sight of what others did and the event that tells it.
        site.kill_daemon();
        site.up_with(&[("EDGESTACK_CRASH_AT", "gateway.drift.before")]).await;
        site.await_ready().await;
        site.nbctl(&["ls-del", "edgestack-red"]);
        eventually("the daemon dies", PATIENCE, async || {
            let ended = site.daemon.as_mut().and_then(|daemon| daemon.ended());
            if ended.is_some() { Ok(()) } else { Err("it lives".to_owned()) }
        })
        .await;
        site.up().await;
        eventually("NetworkDrifted is told", PATIENCE, async || {
            let events = events_of(&site, "networks/red").await;
            if events.contains(&"NetworkDrifted".to_owned()) { Ok(()) } else { Err(events.join(", ")) }
        })
        .await;
        site.await_network("red", "active").await;
    });
}

async fn await_gone(site: &Site, network: &str) {
    eventually(&format!("network {network} is gone"), PATIENCE, async || {
        let reply = site.api().look(&format!("networks/{network}")).await.map_err(|error| error.to_string())?;
        if reply.status == 404 { Ok(()) } else { Err(reply.text) }
    })
    .await;
}

#[test]
fn bad_wishes_are_refused_with_a_word_and_removals_wait_for_their_users() {
    let test = "bad_wishes_are_refused_with_a_word_and_removals_wait_for_their_users";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        for (wish, status, word) in [
            (json!({"name": "x", "cidr": "10.0.0.1/24"}), 422, "the prefix is 10.0.0.0/24"),
            (json!({"name": "x", "cidr": "10.0.0.0/24", "gateway_ip": "10.0.1.1"}), 422, "no host's address"),
            (json!({"name": "x", "cidr": "10.0.0.0/24", "mtu": 1500}), 422, "encapsulation"),
            (json!({"name": "x", "cidr": "10.0.0.0/24", "segment_id": 1}), 409, "network \"blue\""),
            (
                json!({"name": "x", "cidr": "10.0.0.0/24", "ip_pools": [
                    {"start": "10.0.0.5", "end": "10.0.0.9"}, {"start": "10.0.0.9", "end": "10.0.0.20"}
                ]}),
                422,
                "overlap",
            ),
        ] {
            let reply = site.api().post("networks", &wish).await;
            assert_eq!(reply.status, status, "{}", reply.text);
            assert!(reply.text.contains(&word.replace('"', "\\\"")), "{}", reply.text);
        }
        let small =
            json!({"name": "small", "cidr": "10.5.0.0/24", "ip_pool": {"start": "10.5.0.9", "end": "10.5.0.9"}});
        site.api().post("networks", &small).await.accepted();
        site.create("one", &json!({"networks": [{"network": "small"}]})).await;
        let two = json!({"name": "two", "image": "tiny", "flavor": "tiny", "networks": [{"network": "small"}]});
        let full = site.api().post("vms", &two).await;
        assert_eq!(full.status, 409, "{}", full.text);
        assert!(full.text.contains("10.5.0.9 by vm \\\"one\\\""), "{}", full.text);
        let in_use = site.api().delete("networks/small").await;
        assert_eq!(in_use.status, 409, "{}", in_use.text);
        assert!(in_use.text.contains("vm \\\"one\\\""), "{}", in_use.text);
        site.api().delete("vms/one").await.accepted();
        site.await_no_vm("one").await;
        site.api().delete("networks/small").await.accepted();
        await_gone(&site, "small").await;
    });
}
