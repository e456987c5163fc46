//! The rows that there shall be, from the folded world: pure.

mod dhcp;
mod guard;
mod load_balancer;
mod network;
mod nic;
mod probe;
mod router;
mod security_group;

use edgestack_model::World;

pub(crate) use dhcp::server_mac as gateway_mac;
pub(crate) use probe::rows as probe_rows;
pub(crate) use security_group::{group_name, matches as rule_matches};

use crate::rows::Desired;

/// The form in which rows are written. A change of what is written for the same wish makes it another one, so that it
/// isn't taken for somebody's doing.
pub const FORM: &str = "4";

/// All rows that this world wishes.
pub fn desired(world: &World) -> Desired {
    let mut rows = Desired::new();
    let mut names = nic::names(world);
    for network in world.networks.values() {
        let router = edgestack_model::router::of_network(world, network.id);
        let names = names.remove(&network.id).unwrap_or_default();
        network::rows(network, network.is_held(world), router.is_some(), names, &mut rows);
    }
    for router in world.routers.values() {
        router::rows(world, router, &mut rows);
    }
    for ip in world.floating_ips.values() {
        router::floating_ip_rows(world, ip, &mut rows);
    }
    for balancer in world.load_balancers.values() {
        load_balancer::rows(world, balancer, &mut rows);
    }
    for group in world.security_groups.values() {
        security_group::rows(group, &mut rows);
    }
    for rule in world.security_group_rules.values() {
        security_group::rule_rows(rule, &mut rows);
    }
    for vm in world.vms.values() {
        for nic in &vm.nics {
            if let Some(network) = world.networks.get(&nic.spec.network) {
                nic::rows(vm, nic, network, &mut rows);
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests;
