//! Floating IP commands to events.

use super::{
    AssociationRequest, CreateFloatingIp, FloatingIp, FloatingIpCommand, FloatingIpEvent as Happened, FloatingIpSpec,
    association,
};
use crate::{
    Decision, Event, Generation, Given, Id, Kind, Name, Refusal, World,
    address::{self, Taken},
    command::Reference,
    decide::{check_description, check_generation, check_name_free, check_precondition},
    event::Fact,
    network::Network,
    realization::{RealizationState, Told},
    repair,
    router::{self, Router},
};

const KIND: Kind = Kind::FloatingIp;

pub(crate) fn decide(world: &World, given: &Given, command: &FloatingIpCommand) -> Result<Decision, Refusal> {
    let (id, events) = match command {
        FloatingIpCommand::Create(create) => return decide_create(world, given, create),
        FloatingIpCommand::Update { floating_ip, change } => {
            let ip = wished(world, given, floating_ip)?;
            change.description.as_deref().map_or(Ok(()), check_description)?;
            let change = change.clone().against(&ip.meta);
            let same = change.is_empty();
            (ip.id, if same { vec![] } else { vec![wish(ip, Happened::FloatingIpUpdated { change })] })
        }
        FloatingIpCommand::Associate { floating_ip, to } => {
            let ip = wished(world, given, floating_ip)?;
            (ip.id, associate(world, ip, to)?)
        }
        FloatingIpCommand::AssociateLoadBalancer { floating_ip, load_balancer } => {
            let ip = wished(world, given, floating_ip)?;
            let (to, load_balancer_name) = association::settle_load_balancer(world, &ip.spec, load_balancer)?;
            let event = Happened::FloatingIpAssociatedWithLoadBalancer { load_balancer: to, load_balancer_name };
            (ip.id, if ip.load_balancer == Some(to) { vec![] } else { vec![wish(ip, event)] })
        }
        FloatingIpCommand::Disassociate { floating_ip } => {
            let ip = wished(world, given, floating_ip)?;
            (ip.id, association::left(world, ip).map(|event| wish(ip, event)).into_iter().collect())
        }
        FloatingIpCommand::Delete { floating_ip } => {
            let ip = world.floating_ip(floating_ip)?;
            check_precondition(given, KIND, &ip.meta)?;
            let wanted = ip.realization.state != RealizationState::Deleting;
            let event = wanted.then(|| wish(ip, Happened::FloatingIpDeleteRequested {}));
            (ip.id, event.into_iter().collect())
        }
        FloatingIpCommand::Reconcile { floating_ip: of } => {
            let ip = world.floating_ip(of)?;
            repair::check_reason(given, KIND, of, "reconcile")?;
            check_precondition(given, KIND, &ip.meta)?;
            (ip.id, vec![fact(ip, Happened::FloatingIpReconcileRequested {})])
        }
        FloatingIpCommand::ForceRemove { floating_ip: of } => {
            let ip = world.floating_ip(of)?;
            repair::check_force(given, (KIND, "remove-fip"), of, &ip.meta, &ip.realization)?;
            (ip.id, vec![wish(ip, Happened::FloatingIpForceRemoved {})])
        }
        FloatingIpCommand::Report { floating_ip, generation, report } => {
            let ip = world.floating_ip(&Reference::id(*floating_ip))?;
            check_generation(KIND, &ip.meta, *generation)?;
            let event = ip.realization.told(report, given.time).map(|told| match told {
                Told::BecameReady => Happened::FloatingIpBecameReady {},
                Told::Drifted { what } => Happened::FloatingIpDrifted { what },
                Told::AttemptFailed { failure } => Happened::FloatingIpAttemptFailed { failure },
                Told::Deleted => Happened::FloatingIpDeleted {},
            });
            (ip.id, event.map(|event| fact(ip, event)).into_iter().collect())
        }
    };
    Ok(Decision::of(KIND, id.uuid(), events))
}

/// The floating IPs whose addresses are on a network go with it.
pub(crate) fn removed_with_network(world: &World, network: Id<Network>) -> impl Iterator<Item = Event> {
    let stays =
        move |ip: &&FloatingIp| ip.spec.network == network && ip.realization.state != RealizationState::Deleting;
    let ips = world.floating_ips.values().map(AsRef::as_ref).filter(stays);
    ips.map(|ip| wish(ip, Happened::FloatingIpDeleteRequested {}))
}

fn decide_create(world: &World, given: &Given, create: &CreateFloatingIp) -> Result<Decision, Refusal> {
    check_description(&create.description)?;
    let router = chosen_router(world, create.router.as_ref())?;
    router::check_stays(router, "take a floating IP of")?;
    let Some(external) = &router.spec.external else {
        let reason = format!(
            "router \"{name}\" has no way outside; edgectl update-router {name} --external-network NETWORK",
            name = router.meta.name
        );
        return Err(Refusal::Invalid { field: "router".into(), reason });
    };
    let Some(network) = world.networks.get(&external.network) else {
        let reason = "its external network is not there".to_owned();
        return Err(Refusal::Invalid { field: "router".into(), reason });
    };
    let address = address::take_one(world, network, &mut Taken::default(), ("floating_ip", "it"), create.address)?;
    let name = match &create.name {
        Some(name) => name.clone(),
        None => name_of(address)?,
    };
    check_name_free(world, KIND, &name)?;
    let [uuid, _] = given.new_ids;
    let spec = FloatingIpSpec { router: router.id, network: network.id, address };
    let to = create.to.as_ref().map(|to| association::settle(world, None, &spec, to)).transpose()?;
    let balanced = create.load_balancer.as_ref().map(|to| association::settle_load_balancer(world, &spec, to));
    let balanced = balanced.transpose()?;
    let created = Happened::FloatingIpCreated {
        description: create.description.clone(),
        labels: create.labels.clone(),
        spec,
        router_name: router.meta.name.clone(),
    };
    let associated = to.map(|(association, vm_name)| Happened::FloatingIpAssociated { association, vm_name });
    let balanced = balanced.map(|(load_balancer, load_balancer_name)| Happened::FloatingIpAssociatedWithLoadBalancer {
        load_balancer,
        load_balancer_name,
    });
    let events = [created].into_iter().chain(associated).chain(balanced).map(|event| Event {
        resource_id: uuid,
        name: name.clone(),
        generation: Generation::FIRST,
        fact: Fact::FloatingIp(event),
    });
    Ok(Decision::of(KIND, uuid, events.collect()))
}

/// The router that is named, or the only one with a way outside.
fn chosen_router<'w>(world: &'w World, named: Option<&Reference>) -> Result<&'w Router, Refusal> {
    let Some(named) = named else {
        let mut outside = world.routers.values().filter(|router| router.spec.external.is_some());
        return match (outside.next(), outside.next()) {
            (Some(router), None) => Ok(router),
            (Some(_), Some(_)) => Err(Refusal::Invalid {
                field: "router".into(),
                reason: "several routers have a way outside; name one (edgectl list-routers)".to_owned(),
            }),
            (None, _) => Err(Refusal::Invalid {
                field: "router".into(),
                reason: "no router has a way outside; make one: edgectl create-router NAME --external-network NETWORK"
                    .to_owned(),
            }),
        };
    };
    let router = world.router(named).map_err(|_| Refusal::ReferenceNotFound {
        field: "router".into(),
        kind: Kind::Router.as_str().into(),
        name: named.0.clone(),
    })?;
    Ok(router)
}

/// An address as a name: `192.0.2.10`, `2001-db8--10`.
fn name_of(address: std::net::IpAddr) -> Result<Name, Refusal> {
    let text = address.to_string().replace(':', "-");
    // A name neither begins nor ends with a dash.
    let text = if text.starts_with('-') || text.ends_with('-') { format!("fip{text}0") } else { text };
    text.parse().map_err(|error: crate::name::NameError| Refusal::Invalid {
        field: "name".into(),
        reason: format!("{text} {error}; give a name"),
    })
}

fn associate(world: &World, ip: &FloatingIp, to: &AssociationRequest) -> Result<Vec<Event>, Refusal> {
    let (association, vm_name) = association::settle(world, Some(ip.id), &ip.spec, to)?;
    if ip.association.as_ref() == Some(&association) {
        return Ok(vec![]);
    }
    Ok(vec![wish(ip, Happened::FloatingIpAssociated { association, vm_name })])
}

/// The floating IP that a person's wish is about: present, as the client saw it, and not on its way out.
fn wished<'w>(world: &'w World, given: &Given, of: &Reference) -> Result<&'w FloatingIp, Refusal> {
    let ip = world.floating_ip(of)?;
    check_precondition(given, KIND, &ip.meta)?;
    if ip.realization.state != RealizationState::Deleting {
        return Ok(ip);
    }
    Err(Refusal::WrongState {
        kind: KIND,
        name: ip.meta.name.clone(),
        state: ip.realization.state.as_str().into(),
        action: "change".into(),
        fix: "it is being removed and will be gone soon".into(),
    })
}

/// A person's wish: the generation grows.
pub(crate) fn wish(ip: &FloatingIp, event: Happened) -> Event {
    Event { generation: ip.meta.generation.next(), ..fact(ip, event) }
}

fn fact(ip: &FloatingIp, event: Happened) -> Event {
    Event {
        resource_id: ip.id.uuid(),
        name: ip.meta.name.clone(),
        generation: ip.meta.generation,
        fact: Fact::FloatingIp(event),
    }
}
