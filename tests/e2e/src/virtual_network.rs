//! What tests of the virtual network begin with: a site with networks, groups, a router and guests, which are namespaces in
//! the place of simulated VMs.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::{PATIENCE, Plugged, Site, eventually, processes};

/// How long to wait for an answer that must not come.
pub const SILENCE: Duration = Duration::from_millis(700);
/// A host outside.
pub const OUTSIDE: &str = "192.0.2.200";

/// A site with networks `blue` and `red`, the one outside `out`, a group `open` that lets all through, and image and flavor
/// `tiny`.
pub async fn a_site(test: &str) -> Option<Site> {
    let site = Site::start_networked(test).await?;
    furnish(&site).await;
    Some(site)
}

/// Gives a site what one of [`a_site`] has.
pub async fn furnish(site: &Site) {
    site.add_tiny().await;
    let out = json!({
        "name": "out", "type": "FLAT", "external": {"physical_network": "external"}, "cidr": "192.0.2.0/24", "dhcp": false,
    });
    for network in [json!({"name": "blue", "cidr": "10.0.0.0/24"}), json!({"name": "red", "cidr": "10.1.0.0/24"}), out]
    {
        site.api().post("networks", &network).await.accepted();
        site.await_network(network["name"].as_str().expect("a text"), "active").await;
    }
    let open = json!({"name": "open", "rules": [{"direction": "egress"}, {"direction": "ingress"}]});
    site.api().post("security_groups", &open).await.accepted();
    await_active(site, "security_groups/open").await;
}

/// Waits until an object is active.
pub async fn await_active(site: &Site, path: &str) -> Value {
    eventually(&format!("{path} is active"), PATIENCE, async || {
        let reply = site.api().look(path).await.map_err(|error| error.to_string())?;
        if reply.json()["state"] == "active" { Ok(reply.json()) } else { Err(reply.text) }
    })
    .await
}

/// Waits until an object is gone.
pub async fn await_gone(site: &Site, path: &str) {
    eventually(&format!("{path} is gone"), PATIENCE, async || {
        let reply = site.api().look(path).await.map_err(|error| error.to_string())?;
        if reply.status == 404 { Ok(()) } else { Err(reply.text) }
    })
    .await;
}

/// A router that there is when this returns.
pub async fn a_router(site: &Site, mut wish: Value) -> Value {
    wish["name"] = "r".into();
    site.api().post("routers", &wish).await.accepted();
    await_active(site, "routers/r").await
}

/// A VM on a network, and a guest in its place that knows its way out.
pub async fn a_guest(site: &Site, name: &str, network: &str) -> (Value, Plugged) {
    site.create(name, &json!({"networks": [{"network": network, "security_groups": ["open"]}]})).await;
    let vm = site.await_nics(name).await;
    let guest = Plugged::as_nic(site, &vm, 0);
    let (prefix, _) = guest.ip.rsplit_once('.').expect("an IPv4 address");
    guest.add_route("default", &format!("{prefix}.1"));
    (vm, guest)
}

/// Waits until an event tells of others' doing, and the object is active again.
pub async fn drifts(site: &Site, path: &str, event_type: &str) {
    eventually(&format!("{event_type} is told"), PATIENCE, async || {
        let events = site.api().get(&format!("{path}/events?limit=1000")).await;
        let told = events["items"].as_array().expect("a list").iter().any(|one| one["type"] == event_type);
        if told { Ok(()) } else { Err(events.to_string()) }
    })
    .await;
    await_active(site, path).await;
}

/// OVN's processes of a site, by what they are.
pub fn ovn_pids(site: &Site) -> BTreeMap<String, u32> {
    let folder = site.state().join("ovn");
    let of_ovn = processes::touching(&folder).into_iter().filter(|process| process.program.starts_with('o'));
    of_ovn
        .map(|process| {
            let database = ["nb", "sb", "switch"].into_iter().find(|name| {
                process.program == "ovsdb-server"
                    && process.arguments.iter().any(|word| word.ends_with(&format!("{name}.sock")))
            });
            let name = database.map_or(process.program.clone(), |database| format!("{} {database}", process.program));
            (name, process.pid)
        })
        .collect()
}

/// Waits until one of them is there again, as another process than that.
pub async fn await_started_again(site: &Site, name: &str, pid: u32) {
    eventually(&format!("{name} is started again"), PATIENCE, async || {
        let now = ovn_pids(site);
        if now.len() == 6 && now.get(name) != Some(&pid) { Ok(()) } else { Err(format!("{now:?}")) }
    })
    .await;
}
