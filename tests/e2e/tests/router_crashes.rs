//! Routers, floating IPs, load balancers and rules whichever process is killed, and whenever: what flowed goes on flowing where
//! OVN promises it, and what was asked for is done. The guests are namespaces in the place of simulated VMs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::time::{Duration, Instant};

use edgestack_e2e::{
    PATIENCE, Plugged, Site, eventually, in_own_network, processes,
    virtual_network::{OUTSIDE, SILENCE, a_guest, a_router, a_site, await_active, await_started_again, ovn_pids},
};

use serde_json::{Value, json};

/// What the switch itself may take to carry packets again, as 250 packets of 20 ms.
const SWITCH_BACK_WITHIN: Duration = Duration::from_secs(5);

async fn a_floating_ip(site: &Site, wish: Value) {
    site.api().post("floating_ips", &wish).await.accepted();
    await_active(site, &format!("floating_ips/{}", wish["floating_ip"].as_str().unwrap())).await;
}

/// Waits until this guest is who answers there.
async fn await_who_answers(client: &Plugged, ip: &str, port: u16, guest: &Plugged) {
    eventually(&format!("{} answers at {ip} port {port}", guest.name()), PATIENCE, async || {
        match client.ask_name(ip, port, SILENCE) {
            Ok(name) if name == guest.name() => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

#[test]
fn what_comes_from_outside_goes_on_while_any_part_of_ovn_is_dead_and_what_is_moved_then_arrives() {
    let test = "what_comes_from_outside_goes_on_while_any_part_of_ovn_is_dead_and_what_is_moved_then_arrives";
    in_own_network(test, async || {
        let Some(site) = a_site(test).await else { return };
        let outside = Plugged::outside(&site, "host", "02:00:00:00:02:00", OUTSIDE);
        let (_, a) = a_guest(&site, "a", "blue").await;
        let (_, b) = a_guest(&site, "b", "blue").await;
        let (_, stays) = a_guest(&site, "stays", "blue").await;
        for guest in [&a, &b, &stays] {
            guest.tell_name_by_tcp(8080);
        }
        a_router(&site, json!({"internal_networks": ["blue"], "external_network": "out"})).await;
        let rule = json!({"protocol": "tcp", "port_range_min": 80, "member_port": 8080});
        let balancer = json!({"name": "l", "network": "blue", "members": ["a", "b"], "rules": [rule]});
        site.api().post("lbs", &balancer).await.accepted();
        await_active(&site, "lbs/l").await;
        a_floating_ip(&site, json!({"floating_ip": "192.0.2.50", "vm": "a"})).await;
        a_floating_ip(&site, json!({"floating_ip": "192.0.2.51", "vm": "stays"})).await;
        a_floating_ip(&site, json!({"floating_ip": "192.0.2.60", "load_balancer": "l"})).await;
        await_who_answers(&outside, "192.0.2.50", 8080, &a).await;
        outside.await_answer("192.0.2.51").await;
        outside.await_connection("192.0.2.60", 80).await;

        let parts = ovn_pids(&site);
        assert_eq!(parts.len(), 6, "{parts:?}");
        let (mut leads_to, mut other) = ((&a, "a"), (&b, "b"));
        for (part, pid) in parts {
            std::mem::swap(&mut leads_to, &mut other);
            let (pinging, asking) = (outside.keep_sending("192.0.2.51"), outside.keep_asking("192.0.2.60", 80));
            let moving = outside.keep_sending("192.0.2.50");
            let begun = Instant::now();
            processes::kill(pid);
            // It is dead when this is asked for.
            let to = json!({"action": "associate", "vm": leads_to.1});
            site.api().post("floating_ips/192.0.2.50/action", &to).await.accepted();
            await_started_again(&site, &part, pid).await;
            await_active(&site, "floating_ips/192.0.2.50").await;
            await_who_answers(&outside, "192.0.2.50", 8080, leads_to.0).await;
            outside.await_answer("192.0.2.51").await;
            outside.await_connection("192.0.2.60", 80).await;
            let took = begun.elapsed();
            let ((lost, sent), asked, (gap, moved)) = (pinging.stop(), asking.stop(), moving.stop());
            println!(
                "{part} killed: {lost} of {sent} packets to a floating IP lost, {gap} of {moved} to one that was moved, \
                 {asked:?} of a load balancer; all back after {took:?}"
            );
            // The switch carries the packets. In userspace it looks at none while its database is away, for a second; they
            // wait, and are not lost.
            let (lost_max, silence_max) = match part.as_str() {
                "ovs-vswitchd" => (250, SWITCH_BACK_WITHIN),
                "ovsdb-server switch" => (5, SWITCH_BACK_WITHIN),
                _ => (5, Duration::from_secs(1)),
            };
            assert!(lost <= lost_max, "{part} killed: {lost} of {sent} packets lost");
            assert!(gap <= lost_max.max(50), "{part} killed: {gap} of {moved} packets lost by a move");
            assert!(asked.longest_silence <= silence_max, "{part} killed: {asked:?} of the load balancer");
        }
    });
}
