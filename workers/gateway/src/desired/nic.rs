//! A NIC: a port of its network's switch, and its VM's name on the network.

use std::collections::{BTreeMap, BTreeSet};

use edgestack_model::{
    Id, World,
    network::{DOMAIN, Network},
    vm::{Nic, Vm, port_name},
};
use edgestack_ovn::ovsdb::{Row, Value};
use edgestack_planted::{self as planted, Bug};

use super::{guard, network, security_group};
use crate::rows::{Desired, Key, Owner, Table, Wanted};

/// Whoever is on no other port.
const UNKNOWN: &str = "unknown";

/// The rows of a NIC, and what its network's rows have of it.
pub(super) fn rows(vm: &Vm, nic: &Nic, on: &Network, rows: &mut Desired) {
    // One that leaves keeps its rows until its node has let go of it and it is gone from the log.
    let Nic { spec: nic, ready, security_groups, port_security, stage: _, failure: _ } = nic;
    let Some(switch) = rows.get_mut(&network::switch(on)) else { return };
    let key = Key::new(Table::LogicalSwitchPort, port_name(vm.id, nic.number));
    switch.references.entry("ports").or_default().insert(key.clone());
    // A NIC of before there were groups is in none, and all passes.
    let is_guarded = |groups: &&Vec<_>| !groups.is_empty() || !planted::is(Bug::EmptyGroupsUnguarded);
    if let Some(groups) = security_groups.as_ref().filter(is_guarded) {
        let groups = groups.iter().map(|group| security_group::key(*group));
        for group in groups.chain([guard::key(on)]) {
            let Some(group) = rows.get_mut(&group) else { continue };
            group.references.entry("ports").or_default().insert(key.clone());
            if !ready {
                group.unsettled.insert(key.clone());
            }
        }
    }
    let addresses: Vec<String> = nic.addresses.iter().map(ToString::to_string).collect();
    let address = format!("{} {}", nic.mac, addresses.join(" "));
    let (addresses, port_security) = if *port_security {
        (Value::text(address.clone()), Value::text(address))
    } else {
        // Who is behind it is not known: what is for none of the others is for it. ovn-nb(5), `addresses`.
        (Value::texts([address.as_str(), UNKNOWN]), Value::empty())
    };
    let columns = Row::new()
        .with("name", Value::text(port_name(vm.id, nic.number)))
        .with("type", Value::text(""))
        .with("addresses", addresses)
        // Nothing leaves by it under another's address.
        .with("port_security", port_security)
        .with("options", Value::empty_map())
        .with("tag", Value::empty())
        .with("enabled", Value::empty());
    let mut references: BTreeMap<&'static str, BTreeSet<Key>> = BTreeMap::new();
    if on.spec.dhcp {
        for (subnet, key) in on.spec.subnets.iter().zip(network::dhcp_keys(on)) {
            let column = if subnet.cidr.is_ipv4() { "dhcpv4_options" } else { "dhcpv6_options" };
            references.entry(column).or_default().insert(key);
        }
    }
    let owner = Owner::Nic(vm.id, nic.number);
    let label = vm.meta.name.to_string();
    rows.insert(key, Wanted { references, ..Wanted::new(owner, columns, label) });
}

/// The names that resolve on each network: each VM's to its addresses there, alone and in the domain.
pub(super) fn names(world: &World) -> BTreeMap<Id<Network>, BTreeMap<String, String>> {
    let mut names: BTreeMap<Id<Network>, BTreeMap<String, String>> = BTreeMap::new();
    for vm in world.vms.values() {
        for nic in &vm.nics {
            let on = names.entry(nic.spec.network).or_default();
            for name in [vm.meta.name.to_string(), format!("{}.{DOMAIN}", vm.meta.name)] {
                let told = on.entry(name).or_default();
                for address in &nic.spec.addresses {
                    if !told.is_empty() {
                        told.push(' ');
                    }
                    told.push_str(&address.to_string());
                }
            }
        }
    }
    names
}
