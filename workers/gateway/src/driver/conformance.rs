//! What every northbound database must do, run against each by one line a driver.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use edgestack_model::Id;
use edgestack_ovn::ovsdb::{Row, Value};
use uuid::Uuid;

use super::NorthboundDriver;
use crate::{
    plan::{Plan, plan},
    rows::{Desired, Key, Owner, Seen, Table, Wanted},
};

/// How long the nodes of a test may take.
const CONFIRM_WITHIN: Duration = Duration::from_secs(30);

/// Runs every case against a driver whose database has no rows of its site. What may be in it besides must be as before.
///
/// # Panics
/// When the driver breaks one of its promises; the message says which.
pub async fn run(driver: &dyn NorthboundDriver) {
    assert_eq!(look(driver).await, Seen::default(), "nobody has written anything");
    what_is_written_is_read_again(driver).await;
    new_rows_refer_to_older_ones(driver).await;
    columns_and_names_are_changed(driver).await;
    references_are_left_and_taken_otherwise(driver).await;
    what_is_not_wished_is_gone(driver).await;
    writing_nothing_is_a_write_too(driver).await;
}

/// Looks, plans, writes, awaits the nodes, and looks again: nothing is left to do.
///
/// # Panics
/// When something is.
pub async fn reach(driver: &dyn NorthboundDriver, desired: &Desired) -> Seen {
    let seen = look(driver).await;
    let changes = plan(desired, &seen).changes;
    let wrote = driver.write(&seen, &changes).await;
    wrote.unwrap_or_else(|error| panic!("it does not write {changes:?}: {error}"));
    let planned = plan(desired, &look(driver).await);
    assert_eq!(planned, Plan::default(), "what was written is read again as it was written");
    let realized = driver.realized(&BTreeSet::new(), CONFIRM_WITHIN).await;
    realized.unwrap_or_else(|error| panic!("the nodes do not confirm it: {error}"));
    let seen = look(driver).await;
    assert_eq!(plan(desired, &seen), Plan::default(), "what the nodes write is not read as a difference");
    assert!(seen.rows.keys().eq(desired.keys()), "there are as many rows as wished");
    seen
}

async fn look(driver: &dyn NorthboundDriver) -> Seen {
    driver.rows().await.unwrap_or_else(|error| panic!("it does not tell its rows: {error}"))
}

async fn what_is_written_is_read_again(driver: &dyn NorthboundDriver) {
    let desired = two_networks();
    let seen = reach(driver, &desired).await;
    for (key, wanted) in &desired {
        let row = &seen.rows[key];
        assert_eq!(row.columns, wanted.columns, "{key}");
        assert_eq!(row.label, wanted.label, "{key}");
        let refers = row.references.iter().map(|(column, to)| (*column, to.keys().cloned().collect()));
        assert_eq!(refers.collect::<BTreeMap<_, BTreeSet<Key>>>(), wanted.references, "{key}");
        for (to, uuid) in row.references.values().flatten() {
            assert_eq!(seen.rows[to].uuid, *uuid, "{key} refers to {to}");
        }
    }
    assert_eq!(seen.doubles, BTreeSet::new());
}

async fn new_rows_refer_to_older_ones(driver: &dyn NorthboundDriver) {
    let mut desired = two_networks();
    let before = reach(driver, &desired).await;
    desired.insert(port("c"), a_port("c", 3, "blue"));
    refer(&mut desired, &switch("blue"), "ports", &[port("a"), port("b"), port("c")]);
    let after = reach(driver, &desired).await;
    for (key, row) in &before.rows {
        assert_eq!(after.rows[key].uuid, row.uuid, "{key} is the row that it was");
    }
}

async fn columns_and_names_are_changed(driver: &dyn NorthboundDriver) {
    let mut desired = two_networks();
    reach(driver, &desired).await;
    for (key, wanted) in &mut desired {
        wanted.label = format!("{}-renamed", wanted.label);
        match key.table {
            Table::LogicalSwitch => wanted.columns.set("other_config", Value::empty_map()),
            Table::LogicalSwitchPort => wanted.columns.set("enabled", Value::boolean(false)),
            Table::DhcpOptions => wanted.columns.set("options", options("9000")),
            Table::Dns => wanted.columns.set("records", Value::map([("new", "10.0.0.9"), ("other", "10.0.0.8")])),
            Table::PortGroup => wanted.columns.set("name", Value::text("conformance_renamed")),
            Table::Acl => wanted.columns.set("action", Value::text("drop")),
            // Not `enabled`: a router that is off and has NAT entries ends OVN 23.03's ovn-northd.
            Table::LogicalRouter => wanted.columns.set("name", Value::text("edgestack-other")),
            Table::LogicalRouterPort => wanted.columns.set("mac", Value::text("fe:16:3e:00:00:77")),
            Table::Nat => wanted.columns.set("logical_ip", Value::text("10.0.0.77")),
            Table::StaticRoute => wanted.columns.set("nexthop", Value::text("10.0.0.77")),
            Table::GatewayChassis => wanted.columns.set("priority", Value::integer(7)),
            Table::LoadBalancer => wanted.columns.set("vips", Value::map([("10.0.0.8:80", ""), ("10.0.0.8:81", "")])),
            Table::LoadBalancerHealthCheck => wanted.columns.set("vip", Value::text("10.0.0.8:81")),
            Table::StaticMacBinding => {
                wanted.label.clear();
                wanted.columns.set("mac", Value::text("02:00:00:00:00:77"));
            }
        }
    }
    reach(driver, &desired).await;
    reach(driver, &two_networks()).await;
}

async fn references_are_left_and_taken_otherwise(driver: &dyn NorthboundDriver) {
    let mut desired = two_networks();
    reach(driver, &desired).await;
    // Where there is room for one, it is another one.
    refer(&mut desired, &port("a"), "dhcpv4_options", &[dhcp("red")]);
    reach(driver, &desired).await;
    refer(&mut desired, &port("a"), "dhcpv4_options", &[]);
    refer(&mut desired, &switch("blue"), "dns_records", &[]);
    reach(driver, &desired).await;
    // A port moves to another switch.
    refer(&mut desired, &switch("blue"), "ports", &[port("a")]);
    refer(&mut desired, &switch("red"), "ports", &[port("b")]);
    reach(driver, &desired).await;
    // A port leaves a group, which has another ACL in place of its own.
    refer(&mut desired, &group("blue"), "ports", &[port("b")]);
    desired.remove(&acl("blue"));
    desired.insert(acl("other"), an_acl("blue", "tcp.dst == 80"));
    refer(&mut desired, &group("blue"), "acls", &[acl("other")]);
    reach(driver, &desired).await;
    // A router's NAT entry and route in place of others.
    for (table, column) in [(Table::Nat, "nat"), (Table::StaticRoute, "static_routes")] {
        let row = desired.remove(&Key::new(table, "r"));
        let Some(row) = row else { panic!("there is no {table:?} r") };
        desired.insert(Key::new(table, "other"), row);
        refer(&mut desired, &router(), column, &[Key::new(table, "other")]);
    }
    reach(driver, &desired).await;
    // A load balancer leaves a network, and is asked for otherwise.
    refer(&mut desired, &switch("blue"), "load_balancer", &[]);
    let check = desired.remove(&health_check("lb"));
    let Some(check) = check else { panic!("there is no health check") };
    desired.insert(health_check("other"), check);
    refer(&mut desired, &balancer(), "health_check", &[health_check("other")]);
    reach(driver, &desired).await;
    // What it refers to is new, and what it referred to goes.
    desired.insert(dhcp("green"), a_dhcp());
    refer(&mut desired, &port("b"), "dhcpv4_options", &[dhcp("green")]);
    desired.remove(&dhcp("blue"));
    reach(driver, &desired).await;
    reach(driver, &two_networks()).await;
}

async fn what_is_not_wished_is_gone(driver: &dyn NorthboundDriver) {
    let mut desired = two_networks();
    reach(driver, &desired).await;
    // A port alone.
    desired.remove(&port("b"));
    refer(&mut desired, &switch("blue"), "ports", &[port("a")]);
    refer(&mut desired, &group("blue"), "ports", &[port("a")]);
    reach(driver, &desired).await;
    // A router with all that it has.
    let of_router = [
        Table::LogicalRouter,
        Table::LogicalRouterPort,
        Table::Nat,
        Table::StaticRoute,
        Table::StaticMacBinding,
        Table::GatewayChassis,
    ];
    desired.retain(|key, _| !of_router.contains(&key.table));
    reach(driver, &desired).await;
    // A load balancer with what it has.
    desired.retain(|key, _| ![Table::LoadBalancer, Table::LoadBalancerHealthCheck].contains(&key.table));
    refer(&mut desired, &switch("blue"), "load_balancer", &[]);
    reach(driver, &desired).await;
    // A group with its ACL, and not its ports.
    desired.retain(|key, _| ![Table::PortGroup, Table::Acl].contains(&key.table));
    reach(driver, &desired).await;
    // A network with all that it has.
    desired.retain(|key, _| key.id == "red");
    reach(driver, &desired).await;
    assert_eq!(reach(driver, &Desired::new()).await, Seen::default());
}

async fn writing_nothing_is_a_write_too(driver: &dyn NorthboundDriver) {
    for _ in 0..3 {
        reach(driver, &Desired::new()).await;
    }
}

fn switch(id: &str) -> Key {
    Key::new(Table::LogicalSwitch, id)
}

fn port(id: &str) -> Key {
    Key::new(Table::LogicalSwitchPort, id)
}

fn dhcp(id: &str) -> Key {
    Key::new(Table::DhcpOptions, id)
}

fn dns(id: &str) -> Key {
    Key::new(Table::Dns, id)
}

fn group(id: &str) -> Key {
    Key::new(Table::PortGroup, id)
}

fn acl(id: &str) -> Key {
    Key::new(Table::Acl, id)
}

fn router() -> Key {
    Key::new(Table::LogicalRouter, "r")
}

fn balancer() -> Key {
    Key::new(Table::LoadBalancer, "lb")
}

fn health_check(id: &str) -> Key {
    Key::new(Table::LoadBalancerHealthCheck, id)
}

fn refer(desired: &mut Desired, key: &Key, column: &'static str, to: &[Key]) {
    let Some(row) = desired.get_mut(key) else { panic!("there is no {key}") };
    if to.is_empty() {
        row.references.remove(column);
    } else {
        row.references.insert(column, to.iter().cloned().collect());
    }
}

/// `blue` with ports `a` and `b`, which are in a group with an ACL, and `red`; each with options and names.
fn two_networks() -> Desired {
    let mut desired = Desired::new();
    for (name, key) in [("blue", "101"), ("red", "102")] {
        let columns = Row::new()
            .with("name", Value::text(format!("edgestack-{name}")))
            .with("other_config", Value::map([("requested-tnl-key", key)]));
        desired.insert(switch(name), a_row(name, columns));
        desired.insert(dhcp(name), a_dhcp());
        desired.insert(dns(name), a_row(name, Row::new().with("records", Value::map([("a", "10.0.0.1")]))));
        refer(&mut desired, &switch(name), "dns_records", &[dns(name)]);
    }
    desired.insert(port("a"), a_port("a", 1, "blue"));
    desired.insert(port("b"), a_port("b", 2, "blue"));
    refer(&mut desired, &switch("blue"), "ports", &[port("a"), port("b")]);
    desired.insert(group("blue"), a_row("blue", Row::new().with("name", Value::text("conformance_blue"))));
    desired.insert(acl("blue"), an_acl("blue", "icmp4"));
    refer(&mut desired, &group("blue"), "ports", &[port("a"), port("b")]);
    refer(&mut desired, &group("blue"), "acls", &[acl("blue")]);
    a_router(&mut desired);
    a_balancer(&mut desired);
    desired
}

/// A router with a port outside, a route, a NAT entry, a neighbour and a gateway.
fn a_router(desired: &mut Desired) {
    let text =
        |pairs: &[(&str, &str)]| pairs.iter().fold(Row::new(), |row, (key, value)| row.with(*key, Value::text(*value)));
    let empty = |row: Row, columns: &[&str]| columns.iter().fold(row, |row, column| row.with(*column, Value::empty()));
    let (port, chassis) = ("conformance-port", "conformance-chassis");
    let columns = text(&[("name", "edgestack-r")]).with("enabled", Value::empty()).with("options", Value::empty_map());
    desired.insert(router(), a_row("r", columns));
    let columns = text(&[("name", port), ("mac", "fe:16:3e:00:00:01")])
        .with("networks", Value::set(["192.0.2.1/24".to_owned(), "2001:db8::1/64".to_owned()]))
        .with("ipv6_ra_configs", Value::empty_map())
        .with("enabled", Value::empty())
        .with("options", Value::empty_map());
    desired.insert(Key::new(Table::LogicalRouterPort, port), a_row("r", columns));
    let nat = text(&[("type", "dnat_and_snat"), ("external_ip", "192.0.2.9"), ("logical_ip", "10.0.0.9")]);
    desired.insert(Key::new(Table::Nat, "r"), a_row("r", empty(nat, &["logical_port", "external_mac"])));
    let route = text(&[("ip_prefix", "0.0.0.0/0"), ("nexthop", "192.0.2.254"), ("output_port", port)]);
    desired.insert(Key::new(Table::StaticRoute, "r"), a_row("r", empty(route, &["policy"])));
    let binding = text(&[("logical_port", port), ("ip", "192.0.2.254"), ("mac", "02:00:00:00:00:01")]);
    let binding = binding.with("override_dynamic_mac", Value::boolean(true));
    desired.insert(Key::new(Table::StaticMacBinding, port), a_row("", binding));
    let gateway = text(&[("name", chassis), ("chassis_name", "nowhere")]).with("priority", Value::integer(1));
    desired.insert(Key::new(Table::GatewayChassis, chassis), a_row("r", gateway));
    refer(desired, &router(), "ports", &[Key::new(Table::LogicalRouterPort, port)]);
    refer(desired, &router(), "nat", &[Key::new(Table::Nat, "r")]);
    refer(desired, &router(), "static_routes", &[Key::new(Table::StaticRoute, "r")]);
    let port = Key::new(Table::LogicalRouterPort, port);
    refer(desired, &port, "gateway_chassis", &[Key::new(Table::GatewayChassis, chassis)]);
}

/// A load balancer with a health check, on `blue` and on the router.
fn a_balancer(desired: &mut Desired) {
    let columns = Row::new()
        .with("name", Value::text("edgestack-lb"))
        .with("protocol", Value::text("tcp"))
        .with("vips", Value::map([("10.0.0.8:80", "10.0.0.1:8080,10.0.0.2:8080")]))
        .with("selection_fields", Value::set(["ip_src".to_owned()]))
        .with("options", Value::map([("reject", "true")]))
        .with("ip_port_mappings", Value::map([("10.0.0.1", "conformance-a:10.0.0.9")]));
    desired.insert(balancer(), a_row("lb", columns));
    let asks = Value::map([("interval", "5"), ("timeout", "3")]);
    let columns = Row::new().with("vip", Value::text("10.0.0.8:80")).with("options", asks);
    desired.insert(health_check("lb"), a_row("lb", columns));
    refer(desired, &balancer(), "health_check", &[health_check("lb")]);
    refer(desired, &switch("blue"), "load_balancer", &[balancer()]);
    refer(desired, &router(), "load_balancer", &[balancer()]);
}

fn an_acl(group: &str, matches: &str) -> Wanted {
    let columns = Row::new()
        .with("direction", Value::text("to-lport"))
        .with("priority", Value::integer(1002))
        .with("match", Value::text(format!("outport == @conformance_{group} && {matches}")))
        .with("action", Value::text("allow-related"));
    a_row(group, columns)
}

fn a_port(id: &str, number: u8, network: &str) -> Wanted {
    let address = Value::text(format!("fa:16:3e:00:00:{number:02x} 10.0.0.{number}"));
    let columns = Row::new()
        .with("name", Value::text(format!("conformance-{id}")))
        .with("type", Value::text(""))
        .with("addresses", address.clone())
        .with("port_security", address)
        .with("options", Value::empty_map())
        .with("tag", Value::empty())
        .with("enabled", Value::empty());
    let references = BTreeMap::from([("dhcpv4_options", BTreeSet::from([dhcp(network)]))]);
    Wanted { references, ..a_row(id, columns) }
}

fn a_dhcp() -> Wanted {
    a_row("dhcp", Row::new().with("cidr", Value::text("10.0.0.0/24")).with("options", options("1442")))
}

fn options(mtu: &str) -> Value {
    let of_server = [("server_id", "10.0.0.254"), ("server_mac", "fe:16:3e:00:00:01"), ("lease_time", "3600")];
    Value::map(of_server.into_iter().chain([("mtu", mtu)]))
}

fn a_row(label: &str, columns: Row) -> Wanted {
    Wanted::new(Owner::Network(Id::new(Uuid::nil())), columns, label)
}
