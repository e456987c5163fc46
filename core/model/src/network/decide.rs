//! Network commands to events.

use super::{CreateNetwork, Network, NetworkCommand, NetworkEvent, UpdateNetwork, check, removal};
use crate::{
    Decision, Event, Generation, Given, Kind, Refusal, World,
    command::Reference,
    decide::{check_description, check_generation, check_name_free, check_precondition},
    event::Fact,
    realization::{RealizationState, Told},
    repair,
};

pub(crate) fn decide(world: &World, given: &Given, command: &NetworkCommand) -> Result<Decision, Refusal> {
    let (id, events) = match command {
        NetworkCommand::Create(create) => return decide_create(world, given, create),
        NetworkCommand::Update(update) => {
            let network = wished(world, given, &update.network)?;
            (network.id, decide_update(network, update)?)
        }
        NetworkCommand::Delete { network, cascade } => {
            let network = world.network(network)?;
            check_precondition(given, Kind::Network, &network.meta)?;
            (network.id, removal::requested(world, network, *cascade)?)
        }
        NetworkCommand::Reconcile { network: of } => {
            let network = world.network(of)?;
            repair::check_reason(given, Kind::Network, of, "reconcile")?;
            check_precondition(given, Kind::Network, &network.meta)?;
            (network.id, vec![fact(network, NetworkEvent::NetworkReconcileRequested {})])
        }
        NetworkCommand::ForceRemove { network: of } => {
            let network = world.network(of)?;
            repair::check_force(given, (Kind::Network, "remove-network"), of, &network.meta, &network.realization)?;
            removal::check_free(world, network)?;
            (network.id, vec![wish(network, NetworkEvent::NetworkForceRemoved {})])
        }
        NetworkCommand::Report { network, generation, report } => {
            let network = world.network(&Reference::id(*network))?;
            check_generation(Kind::Network, &network.meta, *generation)?;
            let event = network.realization.told(report, given.time).and_then(|told| match told {
                Told::BecameReady => Some(NetworkEvent::NetworkBecameReady {}),
                Told::Drifted { what } => Some(NetworkEvent::NetworkDrifted { what }),
                Told::AttemptFailed { failure } => Some(NetworkEvent::NetworkAttemptFailed { failure }),
                // It is told again when the last is gone that is on it.
                Told::Deleted => (!network.is_held(world)).then_some(NetworkEvent::NetworkDeleted {}),
            });
            (network.id, event.map(|event| fact(network, event)).into_iter().collect())
        }
    };
    Ok(Decision::of(Kind::Network, id.uuid(), events))
}

fn decide_create(world: &World, given: &Given, create: &CreateNetwork) -> Result<Decision, Refusal> {
    check_description(&create.description)?;
    check_name_free(world, Kind::Network, &create.name)?;
    let spec = check::settle(world, create)?;
    let [id, _] = given.new_ids;
    let created =
        NetworkEvent::NetworkCreated { description: create.description.clone(), labels: create.labels.clone(), spec };
    let event = Event {
        resource_id: id,
        name: create.name.clone(),
        generation: Generation::FIRST,
        fact: Fact::Network(created),
    };
    Ok(Decision::of(Kind::Network, id, vec![event]))
}

fn decide_update(network: &Network, update: &UpdateNetwork) -> Result<Vec<Event>, Refusal> {
    let spec = &network.spec;
    update.change.description.as_deref().map_or(Ok(()), check_description)?;
    update.mtu.map_or(Ok(()), |mtu| check::check_mtu(spec, mtu))?;
    update.dns_servers.as_deref().map_or(Ok(()), check::check_dns_servers)?;
    update.host_routes.as_deref().map_or(Ok(()), |routes| check::check_host_routes(spec, routes))?;
    let pools_now = spec.subnets.first().map(|subnet| &subnet.pools);
    if let (Some(pools), Some(subnet)) = (&update.pools, spec.subnets.first()) {
        check::check_pools(subnet, pools, "ip_pool")?;
        if *pools != subnet.pools {
            check::check_has_pools(subnet.ipv6_mode, "ip_pool")?;
        }
    }
    let change = update.change.clone().against(&network.meta);
    let mtu = update.mtu.filter(|new| *new != spec.mtu);
    let dhcp = update.dhcp.filter(|new| *new != spec.dhcp);
    let port_security = update.port_security.filter(|new| *new != spec.port_security);
    let dns_servers = update.dns_servers.clone().filter(|new| *new != spec.dns_servers);
    let host_routes = update.host_routes.clone().filter(|new| *new != spec.host_routes);
    let pools = update.pools.clone().filter(|new| Some(new) != pools_now);
    let same = change.is_empty()
        && mtu.is_none()
        && dhcp.is_none()
        && dns_servers.is_none()
        && host_routes.is_none()
        && pools.is_none()
        && port_security.is_none();
    let event = NetworkEvent::NetworkUpdated { change, mtu, dns_servers, host_routes, dhcp, pools, port_security };
    Ok(if same { vec![] } else { vec![wish(network, event)] })
}

/// The network that a person's wish is about: present, as the client saw it, and not on its way out.
fn wished<'w>(world: &'w World, given: &Given, of: &Reference) -> Result<&'w Network, Refusal> {
    let network = world.network(of)?;
    check_precondition(given, Kind::Network, &network.meta)?;
    check_stays(network, "change")?;
    Ok(network)
}

/// What is being removed takes nothing new.
pub(crate) fn check_stays(network: &Network, action: &'static str) -> Result<(), Refusal> {
    if network.realization.state != RealizationState::Deleting {
        return Ok(());
    }
    Err(Refusal::WrongState {
        kind: Kind::Network,
        name: network.meta.name.clone(),
        state: network.realization.state.as_str().into(),
        action: action.into(),
        fix: "it is being removed and will be gone soon".into(),
    })
}

/// A person's wish: the generation grows.
pub(super) fn wish(network: &Network, event: NetworkEvent) -> Event {
    Event { generation: network.meta.generation.next(), ..fact(network, event) }
}

fn fact(network: &Network, event: NetworkEvent) -> Event {
    Event {
        resource_id: network.id.uuid(),
        name: network.meta.name.clone(),
        generation: network.meta.generation,
        fact: Fact::Network(event),
    }
}
