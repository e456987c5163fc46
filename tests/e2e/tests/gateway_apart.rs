//! The gateway pool, and who watches over OVN, in processes of their own: each killed while packets come from outside and a
//! floating IP is moved. The guests are namespaces in the place of simulated VMs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use edgestack_e2e::{
    Daemon, PATIENCE, Plugged, Site, SiteOptions, eventually, in_own_network, processes,
    virtual_network::{OUTSIDE, SILENCE, a_guest, a_router, await_active, await_started_again, furnish, ovn_pids},
};
use serde_json::{Value, json};

const SITE: &[&str] = &["--roles", "nats,engine,api"];
const NODE: &[&str] = &["--roles", "worker.vm,worker.storage,worker.monitoring"];
const OVN: &[&str] = &["--roles", "ovn"];
const GATEWAY: &[&str] = &["--roles", "worker.gateway"];
const IP: &str = "192.0.2.50";

struct Apart {
    site: Site,
    node: Daemon,
    ovn: Daemon,
    gateway: Daemon,
}

impl Apart {
    async fn start(test: &str) -> Option<Self> {
        let arguments = ["--networks", "bundled", "--physical-network", "external=br-ex"].map(str::to_owned).to_vec();
        let mut site = Site::prepare(test, SiteOptions { simulated: true, arguments })?;
        let mut first = site.spawn(SITE, &[]);
        site.await_api(&mut first).await.unwrap();
        site.daemon = Some(first);
        let [ovn, node, gateway] = [OVN, NODE, GATEWAY].map(|roles| site.spawn(roles, &[]));
        site.await_node().await;
        furnish(&site).await;
        Some(Self { site, node, ovn, gateway })
    }

    /// Has the floating IP lead to this VM, when somebody does it.
    async fn ask_for_a_move(&self, vm: &str) {
        let to = json!({"action": "associate", "vm": vm});
        self.site.api().post(&format!("floating_ips/{IP}/action"), &to).await.accepted();
    }

    async fn floating_ip(&self) -> Value {
        self.site.api().get(&format!("floating_ips/{IP}")).await
    }

    /// The move was made, and packets come to who it leads to.
    async fn await_moved(&self, outside: &Plugged, guest: &Plugged) {
        await_active(&self.site, &format!("floating_ips/{IP}")).await;
        eventually(&format!("{} answers", guest.name()), PATIENCE, async || match outside.ask_name(IP, 80, SILENCE) {
            Ok(name) if name == guest.name() => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    }
}

#[test]
fn what_is_asked_for_while_the_gateway_pool_or_ovns_watcher_is_dead_is_done_after() {
    let test = "what_is_asked_for_while_the_gateway_pool_or_ovns_watcher_is_dead_is_done_after";
    in_own_network(test, async || {
        let Some(mut apart) = Apart::start(test).await else { return };
        let outside = Plugged::outside(&apart.site, "host", "02:00:00:00:02:00", OUTSIDE);
        let (_, a) = a_guest(&apart.site, "a", "blue").await;
        let (_, b) = a_guest(&apart.site, "b", "blue").await;
        a.tell_name_by_tcp(80);
        b.tell_name_by_tcp(80);
        a_router(&apart.site, json!({"internal_networks": ["blue"], "external_network": "out"})).await;
        apart.site.api().post("floating_ips", &json!({"floating_ip": IP, "vm": "a"})).await.accepted();
        apart.await_moved(&outside, &a).await;

        // The pool: what flows goes on as it was, and what is asked for waits for it by name.
        let sending = outside.keep_sending(IP);
        apart.gateway.kill();
        apart.ask_for_a_move("b").await;
        let ip = apart.floating_ip().await;
        assert_eq!((&ip["state"], &ip["waiting"]["owner"]), (&json!("updating"), &json!("worker.gateway@n1")), "{ip}");
        assert_eq!(outside.ask_name(IP, 80, SILENCE).unwrap(), a.name(), "nobody moves it");
        apart.gateway = apart.site.spawn(GATEWAY, &[]);
        apart.await_moved(&outside, &b).await;
        let (lost, sent) = sending.stop();
        println!("the gateway pool was dead, and a floating IP moved: {lost} of {sent} packets lost");
        assert!(lost < 50, "{lost} packets of 20 ms are a second and more");

        // At each of its steps.
        let (mut to, mut other) = ((&a, "a"), (&b, "b"));
        for point in ["gateway.write.before", "gateway.write.after", "gateway.realized"] {
            apart.gateway.kill();
            apart.gateway = apart.site.spawn(GATEWAY, &[("EDGESTACK_CRASH_AT", point)]);
            let sending = outside.keep_sending(IP);
            apart.ask_for_a_move(to.1).await;
            apart.gateway.await_end(PATIENCE).await;
            assert!(apart.gateway.was_killed(), "it ended otherwise than at {point}");
            apart.gateway = apart.site.spawn(GATEWAY, &[]);
            apart.await_moved(&outside, to.0).await;
            let (lost, sent) = sending.stop();
            assert!(lost < 50, "{point}: {lost} of {sent} packets lost");
            std::mem::swap(&mut to, &mut other);
        }

        // Who watches over OVN: OVN goes on, and what dies of it is started again when somebody watches.
        let sending = outside.keep_sending(IP);
        let before = ovn_pids(&apart.site);
        apart.ovn.kill();
        apart.ask_for_a_move(to.1).await;
        apart.await_moved(&outside, to.0).await;
        assert_eq!(ovn_pids(&apart.site), before);
        let northd = before["ovn-northd"];
        processes::kill(northd);
        apart.ask_for_a_move(other.1).await;
        apart.ovn = apart.site.spawn(OVN, &[]);
        await_started_again(&apart.site, "ovn-northd", northd).await;
        apart.await_moved(&outside, other.0).await;
        let (lost, sent) = sending.stop();
        assert!(lost < 100, "{lost} of {sent} packets lost by two moves");

        // The whole node: it is said of it, not of a pool that nobody hears.
        apart.gateway.kill();
        apart.node.kill();
        apart.ask_for_a_move(to.1).await;
        let told = eventually("the node is said to be silent", PATIENCE, async || {
            let ip = apart.floating_ip().await;
            let reason = ip["waiting"]["reason"].as_str().unwrap_or_default();
            if reason.contains("is not ready") { Ok(ip["waiting"].clone()) } else { Err(ip.to_string()) }
        })
        .await;
        assert_eq!(told["owner"], "worker.gateway@n1", "{told}");
        let explained = apart.site.api().get(&format!("/edgetron/log/explain/floating_ip/{IP}")).await;
        assert!(explained["summary"].as_str().unwrap().contains("is not ready"), "{explained}");
        apart.node = apart.site.spawn(NODE, &[]);
        apart.gateway = apart.site.spawn(GATEWAY, &[]);
        apart.await_moved(&outside, to.0).await;
    });
}
