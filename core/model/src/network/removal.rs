//! A network's end. What is on it goes first, by somebody's own wish or with it; it itself is there until nothing is.

use edgestack_planted::{self as planted, Bug};

use super::{Network, NetworkEvent, decide::wish};
use crate::{
    Event, Id, Kind, Refusal, Waiting, World, floating_ip, load_balancer, realization::RealizationState, router, vm,
};

/// How many users a refusal names.
const NAMED_MAX: usize = 5;

/// The events of a person's wish to remove a network; none when it is wished already.
pub(super) fn requested(world: &World, network: &Network, cascade: bool) -> Result<Vec<Event>, Refusal> {
    if network.realization.state == RealizationState::Deleting {
        return Ok(vec![]);
    }
    let own = wish(network, NetworkEvent::NetworkDeleteRequested {});
    if !cascade {
        check_free(world, network)?;
        return Ok(vec![own]);
    }
    // Balancers and floating IPs before what they lead to; routers after what they lead in.
    let balancers = load_balancer::removed_with_network(world, network.id);
    let ips = floating_ip::removed_with_network(world, network.id);
    let nics = world.vms.values().flat_map(|vm| vm::detached_with_network(world, vm, network.id));
    let routers = router::left_network(world, network.id);
    Ok(balancers.chain(ips).chain(nics).chain(routers).chain([own]).collect())
}

/// Whether nothing is on it.
pub(super) fn check_free(world: &World, network: &Network) -> Result<(), Refusal> {
    let by: Vec<String> = users(world, network.id).take(NAMED_MAX).collect();
    if by.is_empty() || planted::is(Bug::NetworkInUseRemoved) {
        return Ok(());
    }
    Err(Refusal::InUse { kind: Kind::Network, name: network.meta.name.clone(), by })
}

/// What is on a network, as `vm "web"`.
fn users(world: &World, network: Id<Network>) -> impl Iterator<Item = String> {
    let has_nic = move |vm: &&std::sync::Arc<vm::Vm>| vm.nics.iter().any(|nic| nic.spec.network == network);
    let vms = world.vms.values().filter(has_nic).map(|vm| format!("vm \"{}\"", vm.meta.name));
    let balancers = load_balancer::on_network(world, network);
    let balancers = balancers.map(|balancer| format!("load_balancer \"{}\"", balancer.meta.name));
    let routers = router::on_network(world, network).map(|router| format!("router \"{}\"", router.meta.name));
    let ips = world.floating_ips.values().filter(move |ip| ip.spec.network == network);
    let ips = ips.map(|ip| format!("floating_ip \"{}\"", ip.meta.name));
    vms.chain(balancers).chain(routers).chain(ips)
}

impl Network {
    /// Whether it is on its way out, and something is on it still.
    pub fn is_held(&self, world: &World) -> bool {
        self.realization.state == RealizationState::Deleting && users(world, self.id).next().is_some()
    }

    /// Law 8: what it waits for, while it is not where it should be.
    pub fn waiting(&self, world: &World) -> Option<Waiting> {
        let waiting = self.realization.waiting(world)?;
        if self.realization.state != RealizationState::Deleting {
            return Some(waiting);
        }
        let mut nics = world.vms.values().flat_map(|vm| vm.nics.iter().map(move |nic| (vm, nic)));
        let Some((vm, nic)) = nics.find(|(_, nic)| nic.spec.network == self.id) else {
            let by = users(world, self.id).next();
            return Some(
                by.map_or(waiting.clone(), |by| Waiting { reason: format!("{by} is still on it"), ..waiting }),
            );
        };
        let number = nic.spec.number;
        let held = format!("NIC {number} of vm \"{}\" is still on it", vm.meta.name);
        Some(match vm.waiting_to_let_go(world, nic) {
            Some(waiting) => Waiting { reason: format!("{held}: {}", waiting.reason), ..waiting },
            None => Waiting { owner: "worker.vm".to_owned(), reason: held, fix: None, next_attempt_at: None },
        })
    }
}

#[cfg(test)]
mod tests;
