//! Network events to the world.

use std::sync::Arc;

use super::{Network, NetworkEvent};
use crate::{
    Id, Kind, World,
    realization::Realization,
    world::{At, Impossible},
};

pub(crate) fn evolve(world: &mut World, at: &At<'_>, event: &NetworkEvent) -> Result<(), Impossible> {
    let id = Id::new(at.resource_id);
    match event {
        NetworkEvent::NetworkCreated { description, labels, spec } => {
            world.claim_name(Kind::Network, at)?;
            let meta = at.new_meta(description, labels);
            let network = Network { id, meta, spec: spec.clone(), realization: Realization::new() };
            world.networks.insert(id, Arc::new(network));
            return Ok(());
        }
        NetworkEvent::NetworkDeleted {} | NetworkEvent::NetworkForceRemoved {} => {
            let network = world.networks.remove(&id).ok_or_else(|| at.impossible("no such network"))?;
            world.release_name(Kind::Network, &network.meta.name);
            return Ok(());
        }
        NetworkEvent::NetworkUpdated { .. }
        | NetworkEvent::NetworkBecameReady {}
        | NetworkEvent::NetworkDrifted { .. }
        | NetworkEvent::NetworkAttemptFailed { .. }
        | NetworkEvent::NetworkDeleteRequested {}
        | NetworkEvent::NetworkReconcileRequested {} => {}
    }
    let network = Arc::make_mut(world.networks.get_mut(&id).ok_or_else(|| at.impossible("no such network"))?);
    at.touch(&mut network.meta);
    let Network { meta, spec, realization, .. } = network;
    match event {
        NetworkEvent::NetworkCreated { .. }
        | NetworkEvent::NetworkDeleted {}
        | NetworkEvent::NetworkForceRemoved {} => {}
        NetworkEvent::NetworkUpdated { change, mtu, dns_servers, host_routes, dhcp, pools, port_security } => {
            change.apply(meta);
            let before = spec.clone();
            spec.mtu = mtu.unwrap_or(spec.mtu);
            spec.dhcp = dhcp.unwrap_or(spec.dhcp);
            spec.port_security = port_security.unwrap_or(spec.port_security);
            if let Some(dns_servers) = dns_servers {
                spec.dns_servers.clone_from(dns_servers);
            }
            if let Some(host_routes) = host_routes {
                spec.host_routes.clone_from(host_routes);
            }
            if let (Some(pools), Some(subnet)) = (pools, spec.subnets.first_mut()) {
                subnet.pools.clone_from(pools);
            }
            if *spec != before {
                realization.begin_update();
            }
        }
        NetworkEvent::NetworkBecameReady {} => realization.became_ready(),
        NetworkEvent::NetworkDrifted { .. } => realization.begin_update(),
        NetworkEvent::NetworkAttemptFailed { failure } => realization.failure = Some(failure.clone()),
        NetworkEvent::NetworkDeleteRequested {} => realization.begin_removal(),
        NetworkEvent::NetworkReconcileRequested {} => realization.failure = None,
    }
    Ok(())
}
