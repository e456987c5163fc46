//! The rows of each kind of network and NIC.

use std::collections::{BTreeMap, BTreeSet};

use edgestack_model::{
    Command,
    address::Mac,
    network::{CreateNetwork, Ipv6Mode, Network, NetworkCommand, SubnetRequest},
    security_group::{CreateSecurityGroup, SecurityGroupCommand},
    security_group_rule::{
        Direction, EtherType, Ports, Protocol, RemoteRequest, RuleRequest, SecurityGroupRuleCommand,
    },
    vm::{NicRequest, port_name},
};
use edgestack_ovn::ovsdb::{Row, Value};

use super::{FORM, desired, dhcp::server_mac};
use crate::{
    rows::{Derived, Desired, Key, Owner, Table, Wanted},
    world::*,
};

fn a_site(networks: impl IntoIterator<Item = CreateNetwork>) -> Site {
    let mut site = Site::new();
    for network in networks {
        site.has(create(network));
    }
    site
}

/// The one row of a table whose id begins so.
#[track_caller]
fn row<'d>(rows: &'d Desired, table: Table, id: &str) -> &'d Wanted {
    let mut found = rows.iter().filter(|(key, _)| key.table == table && key.id.starts_with(id));
    let (Some((_, row)), None) = (found.next(), found.next()) else { panic!("not one {table:?} {id} in {rows:#?}") };
    row
}

/// How many rows of each table there are: switches, ports, DHCP options, DNS records.
fn counts(rows: &Desired) -> [usize; 4] {
    let tables = [Table::LogicalSwitch, Table::LogicalSwitchPort, Table::DhcpOptions, Table::Dns];
    tables.map(|table| rows.keys().filter(|key| key.table == table).count())
}

/// The port under the router's addresses.
fn gateway(network: &Network) -> Key {
    Key::new(Table::LogicalSwitchPort, format!("{}-gateway", network.id))
}

fn map(pairs: &[(&str, &str)]) -> Value {
    Value::map(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
}

/// What DHCP tells of a family, `4` or `6`.
fn told(site: &Site, network: &str, family: usize) -> BTreeMap<String, String> {
    let rows = desired(&site.world);
    let network = site.network(network);
    let is_family = |(_, subnet): &(usize, &edgestack_model::network::Subnet)| {
        if family == 4 { subnet.cidr.is_ipv4() } else { !subnet.cidr.is_ipv4() }
    };
    let (at, subnet) = network.spec.subnets.iter().enumerate().find(is_family).unwrap();
    let options = row(&rows, Table::DhcpOptions, &format!("{}-{at}", network.id));
    assert_eq!(options.columns.text("cidr"), Some(subnet.cidr.to_string().as_str()));
    let pairs = options.columns.get("options").unwrap().text_map();
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

#[test]
fn a_tenant_network_takes_nobodys_key_on_the_wire_and_has_no_way_outside() {
    let site = a_site([CreateNetwork { segment_id: Some(77), ..a_network("blue", "10.0.0.0/24") }]);
    let (rows, network) = (desired(&site.world), site.network("blue"));
    assert_eq!(counts(&rows), [1, 1, 1, 1]);
    let id = network.id.to_string();
    let switch = row(&rows, Table::LogicalSwitch, &id);
    let columns = Row::new().with("name", Value::text("edgestack-blue")).with("other_config", Value::empty_map());
    assert_eq!(switch.columns, columns);
    assert_eq!((switch.owner, switch.label.as_str()), (Owner::Network(network.id), "blue"));
    let names = Key::new(Table::Dns, id);
    let ports = [gateway(network)].into();
    assert_eq!(switch.references, BTreeMap::from([("dns_records", [names.clone()].into()), ("ports", ports)]));
    assert_eq!(rows[&names].derived, Derived::Columns(&["records"]), "names come and go with VMs");
    assert_eq!(rows[&names].columns, Row::new().with("records", Value::empty_map()));
    assert!(rows.values().all(|row| row.owner == Owner::Network(network.id) && row.label == "blue"));
}

#[test]
fn somebody_is_found_under_the_routers_addresses_where_there_is_no_router() {
    let without = |cidr: &str| SubnetRequest { gateway_ip: Some(None), ..a_subnet(cidr) };
    let of = |subnets: Vec<SubnetRequest>| CreateNetwork { subnets, ..a_network("blue", "10.0.0.0/24") };
    for (subnets, addresses) in [
        (vec![a_subnet("10.0.0.0/24")], "10.0.0.1"),
        (vec![a_subnet("fd00::/64")], "fd00::1"),
        (vec![a_subnet("10.0.0.0/24"), a_subnet("fd00::/64")], "10.0.0.1 fd00::1"),
        (vec![without("10.0.0.0/24"), a_subnet("fd00::/64")], "fd00::1"),
    ] {
        for dhcp in [true, false] {
            let site = a_site([CreateNetwork { dhcp, ..of(subnets.clone()) }]);
            let (rows, network) = (desired(&site.world), site.network("blue"));
            let key = gateway(network);
            let columns = Row::new()
                .with("name", Value::text(key.id.clone()))
                .with("type", Value::text("localport"))
                .with("addresses", Value::text(format!("{} {addresses}", server_mac(network))))
                .with("port_security", Value::empty())
                .with("options", Value::empty_map())
                .with("tag", Value::empty())
                .with("enabled", Value::empty());
            let (owner, label) = (Owner::Network(network.id), "blue".to_owned());
            let wanted = Wanted { derived: Derived::Whole, ..Wanted::new(owner, columns, label) };
            assert_eq!(rows[&key], wanted);
            let switch = row(&rows, Table::LogicalSwitch, &network.id.to_string());
            assert_eq!(switch.references["ports"], [key].into());
            if dhcp {
                let answers = if addresses.starts_with("10.") { ("server_mac", 4) } else { ("server_id", 6) };
                let told = told(&site, "blue", answers.1);
                assert_eq!(told[answers.0], server_mac(network).to_string(), "it is who answers");
            }
        }
    }
    for nobody in [vec![without("10.0.0.0/24")], vec![without("10.0.0.0/24"), without("fd00::/64")]] {
        let site = a_site([of(nobody)]);
        let (rows, network) = (desired(&site.world), site.network("blue"));
        assert_eq!(counts(&rows)[1], 0, "nobody is to be found");
        assert_eq!(row(&rows, Table::LogicalSwitch, &network.id.to_string()).references.get("ports"), None);
    }
}

#[test]
fn a_network_outside_is_reached_through_a_port_of_its_switch() {
    for (vlan, tag) in [(Some(42), Value::integer(42)), (None, Value::empty())] {
        let site = a_site([a_provider_network("out", "192.0.2.0/24", vlan)]);
        let (rows, id) = (desired(&site.world), site.network("out").id.to_string());
        assert_eq!(counts(&rows), [1, 1, 1, 1]);
        let port = Key::new(Table::LogicalSwitchPort, format!("{id}-localnet"));
        let columns = Row::new()
            .with("name", Value::text(port.id.clone()))
            .with("type", Value::text("localnet"))
            .with("addresses", Value::text("unknown"))
            .with("port_security", Value::empty())
            .with("options", map(&[("network_name", "outside")]))
            .with("tag", tag)
            .with("enabled", Value::empty());
        assert_eq!(rows[&port].columns, columns, "{vlan:?}");
        let switch = row(&rows, Table::LogicalSwitch, &id);
        assert_eq!(switch.references["ports"], [port].into(), "it has a router of its own");
        assert_eq!(switch.columns.get("other_config"), Some(&Value::empty_map()), "the VLAN is no tunnel key");
    }
}

#[test]
fn every_column_that_is_read_is_wished() {
    let mut site = a_site([a_provider_network("out", "192.0.2.0/24", Some(7)), a_network("blue", "10.0.0.0/24")]);
    site.has(create_vm("web", &[a_nic("out"), a_nic("blue")]));
    for (key, wanted) in desired(&site.world) {
        for column in key.table.all_columns() {
            let elsewhere = *column == "external_ids" || key.table.references().iter().any(|(of, _)| of == column);
            assert_eq!(wanted.columns.get(column).is_some(), !elsewhere, "{key}: {column}");
        }
        assert_eq!(wanted.columns.iter().count() + key.table.references().len() + 1, key.table.all_columns().len());
    }
}

#[test]
fn dhcp_tells_gateway_names_and_the_largest_packet() {
    let site = a_site([CreateNetwork {
        dns_servers: vec![
            "192.0.2.53".parse().unwrap(),
            "2001:db8::53".parse().unwrap(),
            "192.0.2.54".parse().unwrap(),
        ],
        ..a_network("blue", "10.0.0.0/24")
    }]);
    let mut told = told(&site, "blue", 4);
    let mac = told.remove("server_mac").unwrap();
    assert!(mac.starts_with("fe:16:3e:") && mac.parse::<Mac>().is_ok(), "{mac}");
    let expect = [
        ("server_id", "10.0.0.1"),
        ("router", "10.0.0.1"),
        ("lease_time", "86400"),
        ("mtu", "1442"),
        ("domain_name", "\"internal\""),
        ("dns_server", "{192.0.2.53, 192.0.2.54}"),
    ];
    assert_eq!(told, expect.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
}

#[test]
fn without_a_gateway_somebody_answers_and_no_router_is_told() {
    let without = SubnetRequest { gateway_ip: Some(None), ..a_subnet("10.0.0.0/24") };
    let site = a_site([CreateNetwork {
        subnets: vec![without],
        host_routes: vec![a_route("10.9.0.0/16", "10.0.0.9")],
        ..a_network("blue", "10.0.0.0/24")
    }]);
    let told = told(&site, "blue", 4);
    assert_eq!(told["server_id"], "169.254.169.253");
    assert_eq!(told["dns_server"], told["server_id"], "names are asked of whoever answers");
    assert_eq!(told.get("router"), None);
    assert_eq!(told["classless_static_route"], "{10.9.0.0/16,10.0.0.9}", "no default route");
}

#[test]
fn routes_are_told_with_the_default_route_which_their_readers_take_from_nowhere_else() {
    let routes = vec![a_route("10.9.0.0/16", "10.0.0.9"), a_route("0.0.0.0/1", "10.0.0.8")];
    let site = a_site([CreateNetwork { host_routes: routes, ..a_network("blue", "10.0.0.0/24") }]);
    let told = told(&site, "blue", 4);
    assert_eq!(told["classless_static_route"], "{10.9.0.0/16,10.0.0.9, 0.0.0.0/1,10.0.0.8, 0.0.0.0/0,10.0.0.1}");
    assert_eq!(told["router"], "10.0.0.1");
}

#[test]
fn a_default_route_of_its_own_is_the_only_one() {
    let routes = vec![a_route("0.0.0.0/0", "10.0.0.9")];
    let site = a_site([CreateNetwork { host_routes: routes, ..a_network("blue", "10.0.0.0/24") }]);
    assert_eq!(told(&site, "blue", 4)["classless_static_route"], "{0.0.0.0/0,10.0.0.9}");
}

#[test]
fn both_families_are_told_by_their_mode() {
    for (mode, prefix) in [(Ipv6Mode::Slaac, "fd00::/64"), (Ipv6Mode::Dhcpv6Stateful, "fd00::/96")] {
        let network = CreateNetwork {
            dns_servers: vec!["2001:db8::53".parse().unwrap()],
            ..a_dual_network("blue", prefix, mode)
        };
        let mut site = a_site([network]);
        site.has(create_vm("web", &[a_nic("blue")]));
        let (v4, mut v6) = (told(&site, "blue", 4), told(&site, "blue", 6));
        assert_eq!(v4["dns_server"], "10.0.0.1", "the other family's is not told");
        assert_eq!(v6.remove("server_id"), v4.get("server_mac").cloned());
        let stateless = v6.remove("dhcpv6_stateless");
        assert_eq!(stateless.as_deref(), (mode == Ipv6Mode::Slaac).then_some("true"));
        let expect = [("domain_search", "\"internal\""), ("dns_server", "{2001:db8::53}")];
        assert_eq!(v6, expect.map(|(key, value)| (key.to_owned(), value.to_owned())).into());

        let (rows, vm) = (desired(&site.world), site.vm("web"));
        let port = row(&rows, Table::LogicalSwitchPort, &port_name(vm.id, 0));
        let network = site.network("blue").id;
        let options = |at: usize| [Key::new(Table::DhcpOptions, format!("{network}-{at}"))].into();
        assert_eq!(
            port.references,
            BTreeMap::from([("dhcpv4_options", options(0)), ("dhcpv6_options", options(1))]),
            "{mode:?}"
        );
        let spec = &vm.nics[0].spec;
        let address = format!("{} {} {}", spec.mac, spec.addresses[0], spec.addresses[1]);
        assert_eq!(port.columns.text("addresses"), Some(address.as_str()));
        assert_eq!(port.columns.text("port_security"), Some(address.as_str()));
    }
}

#[test]
fn a_nic_without_port_security_may_send_as_anybody_and_gets_what_is_for_nobody() {
    let mut site = a_site([a_network("blue", "10.0.0.0/24")]);
    site.has(create_vm("web", &[NicRequest { port_security: Some(false), ..a_nic("blue") }]));
    let columns = |site: &Site, nic: u32| {
        let (rows, vm) = (desired(&site.world), site.vm("web").id);
        row(&rows, Table::LogicalSwitchPort, &port_name(vm, nic)).columns.clone()
    };
    let spec = site.vm("web").nics[0].spec.clone();
    let address = format!("{} {}", spec.mac, spec.addresses[0]);
    assert_eq!(columns(&site, 0).get("addresses"), Some(&Value::texts([address.as_str(), "unknown"])));
    assert_eq!(columns(&site, 0).get("port_security"), Some(&Value::empty()));
    let edit = edgestack_model::vm::VmCommand::EditNics { vm: "web".into(), nic: None, port_security: true };
    site.has(edgestack_model::Command::Vm(edit));
    assert_eq!(columns(&site, 0).text("addresses"), Some(address.as_str()));
    assert_eq!(columns(&site, 0).text("port_security"), Some(address.as_str()));
}

#[test]
fn a_network_of_ipv6_alone_has_no_options_of_ipv4() {
    let mut site = a_site([a_network("six", "fd00::/64")]);
    site.has(create_vm("web", &[a_nic("six")]));
    let rows = desired(&site.world);
    let port = row(&rows, Table::LogicalSwitchPort, &port_name(site.vm("web").id, 0));
    assert_eq!(port.references.keys().copied().collect::<Vec<_>>(), ["dhcpv6_options"]);
}

#[test]
fn without_dhcp_nothing_is_told_and_no_port_asks() {
    let mut site = a_site([CreateNetwork { dhcp: false, ..a_network("blue", "10.0.0.0/24") }]);
    site.has(create_vm("web", &[a_nic("blue")]));
    let (rows, port) = (desired(&site.world), port_name(site.vm("web").id, 0));
    assert_eq!(counts(&rows), [1, 2, 0, 1]);
    assert!(row(&rows, Table::LogicalSwitchPort, &port).references.is_empty());
    site.has(update("blue", |update| update.dhcp = Some(true)));
    let rows = desired(&site.world);
    assert_eq!(counts(&rows), [1, 2, 1, 1]);
    assert!(row(&rows, Table::LogicalSwitchPort, &port).references.contains_key("dhcpv4_options"));
}

#[test]
fn a_vm_with_two_nics_on_a_network_has_two_ports_and_one_name() {
    let mut site = a_site([a_network("blue", "10.0.0.0/24"), a_network("red", "10.0.0.0/24")]);
    let at = |address: &str, mac: u32| NicRequest {
        fixed_ip: Some(address.parse().unwrap()),
        mac: Some(Mac::in_range(mac)),
        ..a_nic("blue")
    };
    site.has(create_vm("web", &[at("10.0.0.7", 1), a_nic("red"), at("10.0.0.5", 2)]));
    site.has(create_vm("db", &[a_nic("blue")]));
    let (rows, id) = (desired(&site.world), site.vm("web").id);
    assert_eq!(counts(&rows), [2, 6, 2, 2]);
    let port = &rows[&Key::new(Table::LogicalSwitchPort, format!("{id}-2"))];
    let address = format!("{} 10.0.0.5", Mac::in_range(2));
    let columns = Row::new()
        .with("name", Value::text(format!("{id}-2")))
        .with("type", Value::text(""))
        .with("addresses", Value::text(address.clone()))
        .with("port_security", Value::text(address))
        .with("options", Value::empty_map())
        .with("tag", Value::empty())
        .with("enabled", Value::empty());
    assert_eq!(port.columns, columns);
    assert_eq!((port.owner, port.label.as_str(), port.derived), (Owner::Nic(id, 2), "web", Derived::Nothing));
    let on = |network: &str| {
        let switch = row(&rows, Table::LogicalSwitch, &site.network(network).id.to_string());
        switch.references["ports"].iter().map(|key| key.id.clone()).collect::<Vec<_>>()
    };
    let with_gateway = |network: &str, mut ports: Vec<String>| {
        ports.push(gateway(site.network(network)).id);
        ports.sort();
        ports
    };
    assert_eq!(on("red"), with_gateway("red", vec![format!("{id}-1")]));
    let of_blue = vec![format!("{id}-0"), format!("{id}-2"), port_name(site.vm("db").id, 0)];
    assert_eq!(on("blue"), with_gateway("blue", of_blue));
    let names = |network: &str| {
        let records = row(&rows, Table::Dns, &site.network(network).id.to_string());
        records.columns.get("records").unwrap().clone()
    };
    let db = "10.0.0.1";
    let (both, expect_red) = ("10.0.0.7 10.0.0.5", site.vm("web").nics[1].spec.addresses[0].to_string());
    let db_address = site.vm("db").nics[0].spec.addresses[0].to_string();
    assert_ne!(db_address, db, "the gateway's");
    assert_eq!(
        names("blue"),
        map(&[("web", both), ("web.internal", both), ("db", &db_address), ("db.internal", &db_address)])
    );
    assert_eq!(names("red"), map(&[("web", &expect_red), ("web.internal", &expect_red)]), "only who is on it");
}

#[test]
fn a_vm_without_networks_has_no_rows() {
    let mut site = a_site([a_network("blue", "10.0.0.0/24")]);
    let before = desired(&site.world);
    site.has(create_vm("web", &[]));
    assert_eq!(desired(&site.world), before);
}

#[test]
fn what_is_on_its_way_out_has_no_rows() {
    let mut site = a_site([a_provider_network("out", "192.0.2.0/24", None), a_network("blue", "10.0.0.0/24")]);
    site.has(create_vm("web", &[a_nic("out"), a_nic("blue")]));
    let both = desired(&site.world);
    assert_eq!(counts(&both), [2, 4, 2, 2]);
    site.has(remove_vm("web"));
    site.has(remove("out"));
    let rows = desired(&site.world);
    assert_eq!(counts(&rows), [1, 1, 1, 1]);
    let blue = site.network("blue").id;
    let of_networks = |row: &&Wanted| matches!(row.owner, Owner::Network(_) | Owner::Nic(..));
    assert!(rows.values().filter(of_networks).all(|row| row.owner == Owner::Network(blue)));
    let names = row(&rows, Table::Dns, &blue.to_string());
    assert_eq!(names.columns.get("records"), Some(&Value::empty_map()));
}

#[test]
fn a_network_that_goes_has_its_rows_until_its_last_nic_is_gone() {
    let mut site = a_site([a_network("blue", "10.0.0.0/24")]);
    site.has(a_registered_node("edge-1"));
    site.has(create_vm("web", &[a_nic("blue")]));
    let before = desired(&site.world);
    // As long as its VM is there, on its way out.
    site.has(remove_vm("web"));
    site.has(Command::Network(NetworkCommand::Delete { network: "blue".into(), cascade: true }));
    assert_eq!(desired(&site.world), before);
    // No command leads to a NIC without a network; a log that does must not stop the others.
    site.world.security_groups.clear();
    site.world.networks.clear();
    assert_eq!(desired(&site.world), Desired::new());
}

#[test]
fn equal_wishes_give_equal_rows_and_states_of_the_way_make_no_difference() {
    let make = || {
        let mut site = a_site([a_dual_network("blue", "fd00::/64", Ipv6Mode::Slaac), a_network("red", "10.1.0.0/24")]);
        site.has(create_vm("web", &[a_nic("red"), a_nic("blue")]));
        site
    };
    let (mut one, other) = (make(), make());
    assert_eq!(desired(&one.world), desired(&other.world));
    one.realized("blue");
    one.has(update("red", |update| update.change.description = Some("other words".to_owned())));
    assert_eq!(desired(&one.world), desired(&other.world));
    one.has(update("red", |update| update.mtu = Some(1400)));
    assert_ne!(desired(&one.world), desired(&other.world));
}

#[test]
fn every_reference_leads_to_a_row_of_its_table() {
    let mut site = a_site([
        a_dual_network("blue", "fd00::/64", Ipv6Mode::Slaac),
        a_provider_network("out", "192.0.2.0/24", Some(9)),
        CreateNetwork { dhcp: false, ..a_network("quiet", "10.7.0.0/24") },
    ]);
    site.has(create_vm("web", &[a_nic("blue"), a_nic("out"), a_nic("quiet"), a_nic("blue")]));
    let rows = desired(&site.world);
    for (key, wanted) in &rows {
        for (column, refers) in &wanted.references {
            let (_, table) = key.table.references().iter().find(|(of, _)| of == column).unwrap();
            assert!(refers.iter().all(|key| key.table == *table && rows.contains_key(key)), "{key}: {column}");
            assert!(refers.len() == 1 || !key.table.has_room_for_one(column), "{key}: {column}");
        }
    }
    for (table, keeper, column) in
        [(Table::LogicalSwitchPort, Table::LogicalSwitch, "ports"), (Table::Acl, Table::PortGroup, "acls")]
    {
        let there = rows.keys().filter(|key| key.table == table).count();
        let keepers = rows.iter().filter(|(key, _)| key.table == keeper);
        let held: usize = keepers.map(|(_, row)| row.references.get(column).map_or(0, |held| held.len())).sum();
        assert_eq!(there, held, "each {} is kept by one row", table.word());
    }
}

/// Whoever changes what is written for the same wish gives it another form; or else all sites would tell of strangers'
/// changes after their upgrade.
#[test]
fn the_rows_of_this_form_are_as_they_were() {
    let mut site = a_site([
        CreateNetwork {
            host_routes: vec![a_route("10.9.0.0/16", "10.0.0.9")],
            ..a_dual_network("blue", "fd00::/64", Ipv6Mode::Slaac)
        },
        a_provider_network("out", "192.0.2.0/24", Some(42)),
    ]);
    site.has(create_vm("web", &[a_nic("blue"), a_nic("out")]));
    let with_rules = CreateSecurityGroup { rules: Some(one_rule_of_each_form()), ..a_group("all") };
    site.has(create_group(with_rules));
    let mut rows = String::new();
    for (key, Wanted { owner: _, columns, references, label, derived: _, unsettled: _ }) in desired(&site.world) {
        rows += &format!("{key}, of {label}\n");
        for (column, value) in &columns {
            rows += &format!("  {column}: {value}\n");
        }
        for (column, refers) in references {
            let refers: Vec<String> = refers.iter().map(ToString::to_string).collect();
            rows += &format!("  {column} -> {}\n", refers.join(", "));
        }
    }
    let golden = format!("{}/tests/golden/rows-of-form-{FORM}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::write(&golden, &rows).unwrap();
    }
    assert_eq!(rows, std::fs::read_to_string(&golden).unwrap(), "another FORM, then run this with UPDATE_GOLDEN=1");
}

/// Rules of each form that a match has.
fn one_rule_of_each_form() -> Vec<RuleRequest> {
    let ports = |min, max| Some(Ports::new(min, max).unwrap());
    let (v4, v6) = (EtherType::Ipv4, EtherType::Ipv6);
    let prefix = |text: &str| RemoteRequest::Prefix(text.parse().unwrap());
    let icmp = |icmp_type, icmp_code| Protocol::Icmp { icmp_type, icmp_code };
    let group = || RemoteRequest::Group("default".into());
    [
        (Direction::Ingress, v4, Protocol::Any, RemoteRequest::Any),
        (Direction::Egress, v6, Protocol::Any, RemoteRequest::Any),
        (Direction::Ingress, v4, Protocol::Tcp { ports: ports(22, 22) }, prefix("192.0.2.0/24")),
        (Direction::Egress, v6, Protocol::Udp { ports: ports(5000, 5100) }, prefix("2001:db8::/32")),
        (Direction::Ingress, v6, Protocol::Sctp { ports: None }, group()),
        (Direction::Egress, v4, Protocol::Tcp { ports: None }, group()),
        (Direction::Ingress, v4, icmp(Some(3), Some(4)), RemoteRequest::Any),
        (Direction::Ingress, v6, icmp(Some(128), None), RemoteRequest::Any),
        (Direction::Ingress, v4, icmp(None, None), RemoteRequest::Any),
        (Direction::Ingress, v4, Protocol::Number { number: 47 }, RemoteRequest::Any),
    ]
    .map(|(direction, ether_type, protocol, remote)| RuleRequest { protocol, remote, ..a_rule(direction, ether_type) })
    .into()
}

/// The ports and ACLs of a port group.
fn group_of(rows: &Desired, id: &str) -> [BTreeSet<String>; 2] {
    let group = row(rows, Table::PortGroup, id);
    ["ports", "acls"]
        .map(|column| group.references.get(column).into_iter().flatten().map(|key| key.id.clone()).collect())
}

#[test]
fn a_nic_is_a_port_of_its_groups_and_of_its_networks_guard() {
    let mut site = a_site([a_network("blue", "10.0.0.0/24")]);
    for group in ["web", "db"] {
        site.has(create_group(a_group(group)));
    }
    site.has(create_vm("two", &[a_nic_in("blue", &["web", "db"])]));
    site.has(create_vm("none", &[a_nic_in("blue", &[])]));
    let (rows, blue) = (desired(&site.world), site.network("blue").id.to_string());
    let (two, none) = (port_name(site.vm("two").id, 0), port_name(site.vm("none").id, 0));
    let group = |name: &str| site.world.security_group(&name.into()).unwrap().id.to_string();
    for name in ["web", "db"] {
        let [ports, acls] = group_of(&rows, &group(name));
        assert_eq!((ports, acls.len()), ([two.clone()].into(), 2), "the rules that a group has from the first");
    }
    let [guarded, acls] = group_of(&rows, &blue);
    assert_eq!((guarded, acls.len()), ([two, none].into(), 3), "who is in no group is guarded all the same");
    // As a log of before there were groups has it.
    let id = site.vm("none").id;
    std::sync::Arc::make_mut(site.world.vms.get_mut(&id).unwrap()).nics[0].security_groups = None;
    assert_eq!(group_of(&desired(&site.world), &blue)[0].len(), 1);
}

#[test]
fn a_rule_that_goes_has_no_acl_and_a_group_that_goes_none_at_all() {
    let mut site = a_site([]);
    site.has(create_group(a_group("web")));
    let acls = |site: &Site| desired(&site.world).keys().filter(|key| key.table == Table::Acl).count();
    assert_eq!(acls(&site), 2);
    let rule = site.world.security_group_rules.keys().next().copied().unwrap();
    let rule = edgestack_model::command::Reference::id(rule);
    site.has(Command::SecurityGroupRule(SecurityGroupRuleCommand::Delete { rule }));
    assert_eq!(acls(&site), 1);
    site.has(Command::SecurityGroup(SecurityGroupCommand::Delete { group: "web".into(), cascade: false }));
    assert_eq!(desired(&site.world), Desired::new());
}
