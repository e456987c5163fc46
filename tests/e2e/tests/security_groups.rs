//! Security groups with real packets: what a rule opens, and that its end closes it, for connections that are open, too.
//! The guests are network namespaces in the place of simulated VMs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use edgestack_e2e::{
    PATIENCE, Plugged, Site, eventually, in_own_network, is_alive,
    run_edgectl::works,
    virtual_network::{SILENCE, await_active, await_gone},
};
use serde_json::{Value, json};

/// A site with network `blue` of both families, and image and flavor `tiny`.
async fn a_site(test: &str) -> Option<Site> {
    let site = Site::start_networked(test).await?;
    site.add_tiny().await;
    let ipv6 = json!({"cidr": "fd00:b::/64", "address_mode": "dhcpv6_stateful"});
    site.api().post("networks", &json!({"name": "blue", "cidr": "10.0.0.0/24", "ipv6": ipv6})).await.accepted();
    site.await_network("blue", "active").await;
    Some(site)
}

/// A VM on `blue` in these groups, and a guest in its place with both its addresses.
async fn a_guest(site: &Site, name: &str, groups: &[&str]) -> (Value, Plugged) {
    site.create(name, &json!({"networks": [{"network": "blue", "security_groups": groups}]})).await;
    let vm = site.await_nics(name).await;
    let guest = Plugged::as_nic(site, &vm, 0);
    guest.add_ip(ipv6(&vm), 64);
    (vm, guest)
}

fn ipv6(vm: &Value) -> &str {
    vm["networks"][0]["addresses"][1].as_str().expect("an address")
}

/// A group with just these rules.
async fn a_group(site: &Site, name: &str, rules: Value) {
    site.api().post("security_groups", &json!({"name": name, "rules": rules})).await.accepted();
    await_active(site, &format!("security_groups/{name}")).await;
}

/// A rule more, under a name.
async fn a_rule(site: &Site, group: &str, name: &str, mut rule: Value) {
    rule["name"] = name.into();
    rule["security_group"] = group.into();
    site.api().post("security_group_rules", &rule).await.accepted();
    await_active(site, &format!("security_group_rules/{name}")).await;
}

async fn without_rule(site: &Site, name: &str) {
    let path = format!("security_group_rules/{name}");
    site.api().delete(&path).await.accepted();
    await_gone(site, &path).await;
}

async fn edit_groups(site: &Site, vm: &str, mut change: Value) {
    change["action"] = "edit_security_groups".into();
    site.api().act(vm, &change).await.accepted();
    site.await_nics(vm).await;
}

#[test]
fn the_default_group_lets_its_own_in_and_all_out() {
    let test = "the_default_group_lets_its_own_in_and_all_out";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        await_active(&site, "security_groups/default").await;
        let (_, a) = a_guest(&site, "a", &["default"]).await;
        site.create("b", &json!({"networks": [{"network": "blue"}]})).await;
        let vm = site.await_nics("b").await;
        assert_eq!(vm["networks"][0]["security_groups"], json!(["default"]), "{vm}");
        let b = Plugged::as_nic(&site, &vm, 0);
        let stranger = Plugged::at_a_port_of_our_own(&site, "blue", "p", "10.0.0.200");
        stranger.answer_tcp(80);
        b.answer_tcp(80);
        assert!(is_alive(&a.await_connection(&b.ip, 80).await));
        assert!(is_alive(&a.await_connection("10.0.0.200", 80).await), "all may leave, and its answers come back");
        assert!(!stranger.is_answered(&a.ip, SILENCE), "a stranger came in");
        assert!(stranger.connect(&b.ip, 80, SILENCE).is_err(), "a stranger came in");
        let refused = site.api().delete("security_groups/default").await;
        assert_eq!(refused.status, 409, "{}", refused.text);
    });
}

#[test]
fn a_rule_opens_just_its_port_and_its_removal_closes_it_for_open_connections_too() {
    let test = "a_rule_opens_just_its_port_and_its_removal_closes_it_for_open_connections_too";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        a_group(&site, "web", json!([])).await;
        let (vm, web) = a_guest(&site, "web", &["web"]).await;
        let (_, client) = a_guest(&site, "client", &["default"]).await;
        let web_6 = ipv6(&vm);
        [80, 81].into_iter().for_each(|port| web.answer_tcp(port));
        assert!(client.connect(&web.ip, 80, SILENCE).is_err(), "nothing is let in yet");

        let tcp_80 = json!({"direction": "ingress", "protocol": "tcp", "port_range_min": 80, "port_range_max": 80});
        a_rule(&site, "web", "http", tcp_80.clone()).await;
        let open = client.await_connection(&web.ip, 80).await;
        assert!(is_alive(&open));
        assert!(client.connect(&web.ip, 81, SILENCE).is_err(), "another port came in");
        assert!(client.connect(web_6, 80, SILENCE).is_err(), "another family came in");
        assert!(!client.is_answered(&web.ip, SILENCE), "another protocol came in");
        assert!(web.connect(&client.ip, 80, SILENCE).is_err(), "it has no rule that lets anything out");

        a_rule(
            &site,
            "web",
            "http6",
            json!({"ether_type": "IPv6", "direction": "ingress", "protocol": "tcp",
            "port_range_min": 80}),
        )
        .await;
        let open_6 = client.await_connection(web_6, 80).await;
        assert!(is_alive(&open_6));
        let echo = json!({"direction": "ingress", "protocol": "icmp", "icmp_type": 8});
        a_rule(&site, "web", "ping", echo).await;
        client.await_answer(&web.ip).await;

        let begun = Instant::now();
        without_rule(&site, "http").await;
        println!("a rule was removed, by the nodes' own word, in {:?}", begun.elapsed());
        assert!(!is_alive(&open), "what was open goes on");
        assert!(client.connect(&web.ip, 80, SILENCE).is_err(), "it is let in without a rule");
        assert!(is_alive(&open_6), "the rule of the other family was not removed");
        client.await_answer(&web.ip).await;
        // A rule like it opens it again.
        a_rule(&site, "web", "http-again", tcp_80).await;
        assert!(is_alive(&client.await_connection(&web.ip, 80).await));

        // What others do to a rule is told and mended.
        let rule = site.api().get("security_group_rules/http-again").await["id"].as_str().unwrap().to_owned();
        let acl = site.nbctl(&[
            "--bare",
            "--columns=_uuid",
            "find",
            "ACL",
            &format!("external_ids:\"edgestack:id\"=\"{rule}\""),
        ]);
        let group =
            site.nbctl(&["--bare", "--columns=_uuid", "find", "Port_Group", &format!("acls{{>=}}{}", acl.trim())]);
        site.nbctl(&["remove", "Port_Group", group.trim(), "acls", acl.trim()]);
        eventually("its drift is told", PATIENCE, async || {
            let events = site.api().get("security_group_rules/http-again/events?limit=1000").await;
            let drifted =
                events["items"].as_array().unwrap().iter().any(|one| one["type"] == "SecurityGroupRuleDrifted");
            if drifted { Ok(()) } else { Err(events.to_string()) }
        })
        .await;
        await_active(&site, "security_group_rules/http-again").await;
        assert!(is_alive(&client.await_connection(&web.ip, 80).await));
    });
}

#[test]
fn a_rule_about_a_group_follows_who_is_in_it_for_open_connections_too() {
    let test = "a_rule_about_a_group_follows_who_is_in_it_for_open_connections_too";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        a_group(&site, "web", json!([{"direction": "egress"}])).await;
        let from_web =
            json!({"direction": "ingress", "protocol": "tcp", "port_range_min": 5432, "remote_group": "web"});
        a_group(&site, "db", json!([from_web])).await;
        let (_, db) = a_guest(&site, "db", &["db"]).await;
        let (_, web) = a_guest(&site, "web", &["web"]).await;
        let (_, other) = a_guest(&site, "other", &["default"]).await;
        db.answer_tcp(5432);
        let of_web = web.await_connection(&db.ip, 5432).await;
        assert!(is_alive(&of_web));
        assert!(other.connect(&db.ip, 5432, SILENCE).is_err(), "it is not in the group");

        edit_groups(&site, "other", json!({"add": ["web"]})).await;
        let of_other = other.await_connection(&db.ip, 5432).await;
        assert!(is_alive(&of_other));
        edit_groups(&site, "other", json!({"remove": ["web"]})).await;
        assert!(!is_alive(&of_other), "it left the group, and its connection goes on");
        assert!(other.connect(&db.ip, 5432, SILENCE).is_err());
        assert!(is_alive(&of_web), "another's connection was cut");

        // A VM that goes leaves the group, and a new one that has its address is not in it.
        let in_use = site.api().delete("security_groups/web").await;
        assert_eq!(in_use.status, 409, "{}", in_use.text);
        for user in ["vm \\\"web\\\"", "security_group_rule \\\"db-ingress-ipv4-tcp-5432\\\""] {
            assert!(in_use.text.contains(user), "{}", in_use.text);
        }
        // No group at all: nothing passes in either direction.
        edit_groups(&site, "web", json!({"security_groups": []})).await;
        assert!(!is_alive(&of_web));
        assert!(!web.is_answered(&other.ip, SILENCE) && !other.is_answered(&web.ip, SILENCE));
        edit_groups(&site, "web", json!({"security_groups": ["web"]})).await;
        web.await_connection(&db.ip, 5432).await;
        site.api().delete("security_groups/web?cascade=true").await.accepted();
        eventually("the group is gone with the rule about it", PATIENCE, async || {
            let gone = async |path: &str| site.api().look(path).await.is_ok_and(|reply| reply.status == 404);
            let both = gone("security_groups/web").await && gone("security_group_rules/db-ingress-ipv4-tcp-5432").await;
            if both { Ok(()) } else { Err("one is there".to_owned()) }
        })
        .await;
        assert!(web.connect(&db.ip, 5432, SILENCE).is_err(), "it is let in without a rule");
    });
}

#[test]
fn a_rule_opens_just_its_remote_prefix_and_just_its_icmp_type() {
    let test = "a_rule_opens_just_its_remote_prefix_and_just_its_icmp_type";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let (_, named) = a_guest(&site, "named", &["default"]).await;
        let (_, other) = a_guest(&site, "other", &["default"]).await;
        works(&site, &["create-sg", "web", "--rule", &format!("ingress,tcp,80,from={}/32", named.ip)]);
        await_active(&site, "security_groups/web").await;
        let (_, web) = a_guest(&site, "web", &["web"]).await;
        web.answer_tcp(80);
        assert!(is_alive(&named.await_connection(&web.ip, 80).await));
        assert!(other.connect(&web.ip, 80, SILENCE).is_err(), "a neighbour of the one that is named came in");

        // Timestamp requests are let in, echo requests are not.
        let stamp = json!({"direction": "ingress", "protocol": "icmp", "icmp_type": 13});
        a_rule(&site, "web", "stamp", stamp).await;
        assert!(!named.is_answered(&web.ip, SILENCE), "another type of ICMP came in");
        a_rule(&site, "web", "ping", json!({"direction": "ingress", "protocol": "icmp", "icmp_type": 8})).await;
        named.await_answer(&web.ip).await;
        without_rule(&site, "ping").await;
        assert!(!named.is_answered(&web.ip, SILENCE), "its rule is gone");
    });
}

#[test]
fn what_a_group_no_longer_lets_out_or_in_is_closed_for_open_connections_too() {
    let test = "what_a_group_no_longer_lets_out_or_in_is_closed_for_open_connections_too";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        a_group(&site, "client", json!([])).await;
        a_group(&site, "silent", json!([])).await;
        a_group(&site, "web", json!([{"direction": "ingress", "protocol": "tcp", "port_range_min": 80}])).await;
        for (name, port) in [("out-80", 80), ("out-81", 81)] {
            let out = json!({"direction": "egress", "protocol": "tcp", "port_range_min": port});
            a_rule(&site, "client", name, out).await;
        }
        a_rule(&site, "silent", "in-81", json!({"direction": "ingress", "protocol": "tcp", "port_range_min": 81}))
            .await;
        let (_, client) = a_guest(&site, "client", &["client"]).await;
        let (_, web) = a_guest(&site, "web", &["silent", "web"]).await;
        [80, 81].into_iter().for_each(|port| web.answer_tcp(port));
        let (of_80, of_81) = (client.await_connection(&web.ip, 80).await, client.await_connection(&web.ip, 81).await);
        assert!(is_alive(&of_80) && is_alive(&of_81));

        // A rule of who sends.
        without_rule(&site, "out-80").await;
        assert!(!is_alive(&of_80), "it may not leave any more, and goes on");
        assert!(client.connect(&web.ip, 80, SILENCE).is_err());
        assert!(is_alive(&of_81), "the other rule was not removed");
        let out = json!({"direction": "egress", "protocol": "tcp", "port_range_min": 80});
        a_rule(&site, "client", "out-80", out).await;
        let of_80 = client.await_connection(&web.ip, 80).await;
        assert!(is_alive(&of_80));

        // A group of who serves.
        edit_groups(&site, "web", json!({"remove": ["web"]})).await;
        assert!(!is_alive(&of_80), "who serves has left the group, and it goes on");
        assert!(client.connect(&web.ip, 80, SILENCE).is_err());
        assert!(is_alive(&of_81), "the other group was not left");
    });
}

#[test]
fn a_guest_that_may_send_nothing_is_told_its_address_all_the_same() {
    let test = "a_guest_that_may_send_nothing_is_told_its_address_all_the_same";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let (vm, guest) = a_guest(&site, "shut", &[]).await;
        let mac = vm["networks"][0]["mac"].as_str().unwrap().to_owned();
        guest.run(&["ip", "address", "flush", "dev", "eth0"]);
        guest.run(&["ip", "route", "add", "255.255.255.255", "dev", "eth0"]);
        let socket = guest.socket(|| UdpSocket::bind("0.0.0.0:68")).unwrap();
        socket.set_broadcast(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let offered = eventually("an address is offered", PATIENCE, async || {
            socket.send_to(&discover(&mac), "255.255.255.255:67").map_err(|error| error.to_string())?;
            let mut answer = [0; 1500];
            let (length, _) = socket.recv_from(&mut answer).map_err(|error| error.to_string())?;
            // `yiaddr`: RFC 2131, section 2.
            answer[..length].get(16..20).map(<[u8]>::to_vec).ok_or_else(|| "it is short".to_owned())
        })
        .await;
        assert_eq!(offered, [10, 0, 0, 2]);
    });
}

/// DHCPDISCOVER, to be answered by broadcast. Source: RFC 2131, section 2; RFC 2132, section 9.6.
fn discover(mac: &str) -> Vec<u8> {
    let mut message = vec![0; 236];
    message[..4].copy_from_slice(&[1, 1, 6, 0]);
    message[4..8].copy_from_slice(&0x0ed6_e57a_u32.to_be_bytes());
    message[10] = 0x80;
    for (at, part) in mac.split(':').enumerate() {
        message[28 + at] = u8::from_str_radix(part, 16).expect("a MAC address");
    }
    message.extend([0x63, 0x82, 0x53, 0x63, 53, 1, 1, 255]);
    message
}
