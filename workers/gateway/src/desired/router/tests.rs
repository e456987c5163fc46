//! The rows of routers and floating IPs.

use std::collections::BTreeSet;

use edgestack_model::{
    floating_ip::FloatingIpCommand,
    network::Ipv6Mode,
    node::NetworkFacts,
    router::{PeerRouter, RouterCommand, UpdateRouter, external_mac},
};

use crate::{
    desired::{desired, dhcp::server_mac},
    rows::{Desired, Key, Owner, Table, Wanted},
    world::*,
};

/// A router `r` between `blue` and `out`, with VM `web` on `blue`.
fn a_site() -> Site {
    let mut site = Site::new();
    site.has(a_registered_node("edge-1"));
    site.has(create(a_dual_network("blue", "fd00::/64", Ipv6Mode::Slaac)));
    site.has(create(a_network("red", "10.1.0.0/24")));
    site.has(create(a_provider_network("out", "192.0.2.0/24", None)));
    site.has(create_router(a_router("r", &["blue"], Some("out"))));
    site.has(create_vm("web", &[a_nic("blue")]));
    site
}

fn of_table(rows: &Desired, table: Table) -> Vec<(&Key, &Wanted)> {
    rows.iter().filter(|(key, _)| key.table == table).collect()
}

/// What a column of each row of a table says, in order.
fn texts<'d>(rows: &'d Desired, table: Table, column: &str) -> BTreeSet<&'d str> {
    of_table(rows, table).into_iter().filter_map(|(_, row)| row.columns.text(column)).collect()
}

fn change(site: &mut Site, change: impl FnOnce(&mut UpdateRouter)) {
    let mut update = an_update("r");
    change(&mut update);
    site.has(edgestack_model::Command::Router(RouterCommand::Update(Box::new(update))));
}

#[test]
fn a_router_is_found_under_the_gateways_addresses_in_place_of_nobody() {
    let site = a_site();
    let (rows, router, blue) = (desired(&site.world), site.router("r").id, site.network("blue"));
    let port = &rows[&Key::new(Table::LogicalRouterPort, format!("{router}-{}", blue.id))];
    let networks: Vec<&str> = port.columns.get("networks").unwrap().as_texts().collect();
    assert_eq!(networks, ["10.0.0.1/24", "fd00::1/64"]);
    assert_eq!(
        port.columns.text("mac"),
        Some(server_mac(blue).to_string().as_str()),
        "guests know it by this one already"
    );
    let told = port.columns.get("ipv6_ra_configs").unwrap();
    assert_eq!(told.text_at("address_mode"), Some("dhcpv6_stateless"));
    let nobody = Key::new(Table::LogicalSwitchPort, format!("{}-gateway", blue.id));
    assert!(!rows.contains_key(&nobody));
    let of_switch = &rows[&Key::new(Table::LogicalSwitchPort, format!("{router}-{}-port", blue.id))];
    assert_eq!(of_switch.columns.text("type"), Some("router"));
    assert_eq!(of_switch.owner, Owner::Router(router));
    let mut site = site;
    change(&mut site, |update| update.detach = vec!["blue".into()]);
    assert!(desired(&site.world).contains_key(&nobody), "and somebody is found there again without it");
}

#[test]
fn its_way_outside_is_by_nodes_that_lead_there_under_their_names_in_the_virtual_network() {
    let mut site = a_site();
    let chassis = |site: &Site| -> BTreeSet<String> {
        let rows = desired(&site.world);
        texts(&rows, Table::GatewayChassis, "chassis_name").into_iter().map(str::to_owned).collect()
    };
    let on = |chassis: &str, leads: &[&str]| {
        let physical_networks = leads.iter().map(|name| (*name).to_owned()).collect();
        Some(NetworkFacts { chassis: chassis.to_owned(), physical_networks })
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(chassis(&site), names(&["edge-1"]), "who tells nothing may lead there");
    let outside = site.network("out").spec.physical_network.clone().unwrap();
    site.has(a_node_on("edge-2", on("c0ffee", &["lab", outside.as_str()])));
    site.has(a_node_on("edge-3", on("edge-3", &["lab"])));
    assert_eq!(chassis(&site), names(&["edge-1", "c0ffee"]));
    for silent in ["a", "b", "c", "d", "e"] {
        site.has(a_registered_node(silent));
    }
    assert!(chassis(&site).contains("c0ffee"), "who is known to lead there is not crowded out");
    for silent in ["a", "b", "c", "d", "e"] {
        site.has(a_node_on(silent, on(silent, &[])));
    }
    site.has(a_node_on("edge-1", on("edge-1", &[])));
    assert_eq!(chassis(&site), names(&["c0ffee"]));
    site.has(a_node_on("edge-2", on("c0ffee", &["lab"])));
    assert_eq!(chassis(&site).len(), 5, "where none does, each may yet");
}

#[test]
fn outside_it_has_its_address_its_nodes_its_next_hop_and_its_snat() {
    let mut site = a_site();
    let (rows, router, out) = (desired(&site.world), site.router("r").id, site.network("out").id);
    let name = format!("{router}-{out}");
    let port = &rows[&Key::new(Table::LogicalRouterPort, name.clone())];
    assert_eq!(port.columns.get("networks").unwrap().as_texts().collect::<Vec<_>>(), ["192.0.2.2/24"]);
    assert_eq!(port.columns.text("mac"), Some(external_mac(router).to_string().as_str()));
    assert_eq!(texts(&rows, Table::GatewayChassis, "chassis_name"), ["edge-1"].into());
    assert_eq!(port.references["gateway_chassis"].len(), 1);
    assert_eq!(texts(&rows, Table::StaticRoute, "nexthop"), ["192.0.2.1"].into());
    assert_eq!(texts(&rows, Table::StaticRoute, "output_port"), [name.as_str()].into());
    assert_eq!(texts(&rows, Table::Nat, "logical_ip"), ["10.0.0.0/24"].into());
    assert_eq!(texts(&rows, Table::Nat, "external_ip"), ["192.0.2.2"].into());
    assert_eq!(of_table(&rows, Table::StaticMacBinding), []);

    let peer =
        PeerRouter { ip_address: "192.0.2.9".parse().unwrap(), mac_address: "02:00:00:00:00:09".parse().unwrap() };
    change(&mut site, |update| {
        update.enable_snat = Some(false);
        update.peer = Some(Some(peer));
        update.attach = vec!["red".into()];
        update.routes = Some(vec![route("10.9.0.0/16", "10.1.0.7")]);
    });
    let rows = desired(&site.world);
    assert_eq!(texts(&rows, Table::Nat, "type"), [].into());
    assert_eq!(texts(&rows, Table::StaticRoute, "nexthop"), ["192.0.2.9", "10.1.0.7"].into());
    let binding = &rows[&Key::new(Table::StaticMacBinding, name)];
    assert_eq!((binding.columns.text("mac"), binding.label.as_str()), (Some("02:00:00:00:00:09"), ""));
    assert_eq!(of_table(&rows, Table::LogicalRouterPort).len(), 3);
    // Its own default route takes the place of the peer's.
    change(&mut site, |update| update.routes = Some(vec![route("0.0.0.0/0", "10.1.0.7")]));
    assert_eq!(texts(&desired(&site.world), Table::StaticRoute, "nexthop"), ["10.1.0.7"].into());
}

#[test]
fn a_floating_ip_has_a_row_while_it_leads_somewhere() {
    let mut site = a_site();
    site.has(create_floating_ip(a_floating_ip("192.0.2.10")));
    let nats = |site: &Site| of_table(&desired(&site.world), Table::Nat).len();
    assert_eq!(nats(&site), 1, "the router's own");
    site.has(associate("192.0.2.10", "web"));
    let rows = desired(&site.world);
    let ip = site.world.floating_ip(&"192.0.2.10".into()).unwrap().id;
    let nat = &rows[&Key::new(Table::Nat, ip.to_string())];
    assert_eq!(nat.owner, Owner::FloatingIp(ip));
    let said = ["type", "external_ip", "logical_ip"].map(|column| nat.columns.text(column).unwrap());
    assert_eq!(said, ["dnat_and_snat", "192.0.2.10", "10.0.0.2"]);
    let router = &rows[&Key::new(Table::LogicalRouter, site.router("r").id.to_string())];
    assert_eq!(router.references["nat"].len(), 2);
    site.has(remove_vm("web"));
    assert_eq!(nats(&site), 1);
    let cascade = RouterCommand::Delete { router: "r".into(), cascade: true };
    site.has(edgestack_model::Command::Router(cascade));
    let left = desired(&site.world);
    let of_router = |row: &Wanted| matches!(row.owner, Owner::Router(_) | Owner::FloatingIp(_));
    assert!(!left.values().any(of_router), "{left:?}");
}

#[test]
fn every_row_of_a_router_is_kept_by_one_and_told_of_whose_it_is() {
    let mut site = a_site();
    site.has(create_floating_ip(a_floating_ip("192.0.2.10")));
    site.has(associate("192.0.2.10", "web"));
    let rows = desired(&site.world);
    for table in Table::ALL {
        let there = of_table(&rows, table).len();
        let Some((keeper, column)) = table.kept_by().first() else { continue };
        let held: usize = of_table(&rows, *keeper)
            .into_iter()
            .map(|(_, row)| row.references.get(column).map_or(0, BTreeSet::len))
            .sum();
        assert_eq!(there, held, "{}", table.word());
    }
    for (key, wanted) in &rows {
        for (column, refers) in &wanted.references {
            let (_, table) = key.table.references().iter().find(|(of, _)| of == column).unwrap();
            assert!(refers.iter().all(|key| key.table == *table && rows.contains_key(key)), "{key}: {column}");
        }
        let read = key.table.all_columns().len() - usize::from(key.table.has_marks());
        assert_eq!(wanted.columns.iter().count() + key.table.references().len(), read, "{key}");
    }
    site.has(edgestack_model::Command::FloatingIp(FloatingIpCommand::Disassociate {
        floating_ip: "192.0.2.10".into(),
    }));
    assert_ne!(desired(&site.world), rows);
}
