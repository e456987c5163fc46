//! Load balancer commands to events.

use super::{
    CreateLoadBalancer, LoadBalancer, LoadBalancerCommand, LoadBalancerEvent as Happened, LoadBalancerSpec, Rule,
    UpdateLoadBalancer,
    check::{self, check_stays},
};
use crate::{
    Decision, Event, Generation, Given, Id, Kind, Refusal, World,
    address::Taken,
    command::Reference,
    decide::{check_description, check_generation, check_name_free, check_precondition},
    event::Fact,
    floating_ip,
    meta::MetaChange,
    network::{self, Network},
    realization::{RealizationState, Told},
    repair,
};

const KIND: Kind = Kind::LoadBalancer;

pub(crate) fn decide(world: &World, given: &Given, command: &LoadBalancerCommand) -> Result<Decision, Refusal> {
    let (id, events) = match command {
        LoadBalancerCommand::Create(create) => return decide_create(world, given, create),
        LoadBalancerCommand::Update(update) => {
            let balancer = wished(world, given, &update.load_balancer)?;
            (balancer.id, decide_update(world, balancer, update)?)
        }
        LoadBalancerCommand::AddRule { load_balancer, rule } => {
            let balancer = wished(world, given, load_balancer)?;
            (balancer.id, add_rule(world, balancer, *rule)?)
        }
        LoadBalancerCommand::RemoveRule { load_balancer, rule } => {
            let balancer = wished(world, given, load_balancer)?;
            (balancer.id, remove_rule(world, balancer, rule)?)
        }
        LoadBalancerCommand::Delete { load_balancer } => {
            let balancer = world.load_balancer(load_balancer)?;
            check_precondition(given, KIND, &balancer.meta)?;
            let wanted = balancer.realization.state != RealizationState::Deleting;
            (
                balancer.id,
                if wanted { removed(world, balancer, Happened::LoadBalancerDeleteRequested {}) } else { vec![] },
            )
        }
        LoadBalancerCommand::Reconcile { load_balancer: of } => {
            let balancer = world.load_balancer(of)?;
            repair::check_reason(given, KIND, of, "reconcile")?;
            check_precondition(given, KIND, &balancer.meta)?;
            (balancer.id, vec![fact(balancer, Happened::LoadBalancerReconcileRequested {})])
        }
        LoadBalancerCommand::ForceRemove { load_balancer: of } => {
            let balancer = world.load_balancer(of)?;
            repair::check_force(given, (KIND, "remove-lb"), of, &balancer.meta, &balancer.realization)?;
            (balancer.id, removed(world, balancer, Happened::LoadBalancerForceRemoved {}))
        }
        LoadBalancerCommand::Report { load_balancer, generation, report } => {
            let balancer = world.load_balancer(&Reference::id(*load_balancer))?;
            check_generation(KIND, &balancer.meta, *generation)?;
            let event = balancer.realization.told(report, given.time).map(|told| match told {
                Told::BecameReady => Happened::LoadBalancerBecameReady {},
                Told::Drifted { what } => Happened::LoadBalancerDrifted { what },
                Told::AttemptFailed { failure } => Happened::LoadBalancerAttemptFailed { failure },
                Told::Deleted => Happened::LoadBalancerDeleted {},
            });
            (balancer.id, event.map(|event| fact(balancer, event)).into_iter().collect())
        }
    };
    Ok(Decision::of(KIND, id.uuid(), events))
}

fn decide_create(world: &World, given: &Given, create: &CreateLoadBalancer) -> Result<Decision, Refusal> {
    check_description(&create.description)?;
    check_name_free(world, KIND, &create.name)?;
    let network = world.network(&create.network).map_err(|_| Refusal::ReferenceNotFound {
        field: "network".into(),
        kind: Kind::Network.as_str().into(),
        name: create.network.0.clone(),
    })?;
    network::check_stays(network, "put a load balancer on")?;
    let mut taken = Taken::default();
    let vip = check::place(world, network, &mut taken, create.vip)?;
    let asks = create.health_check;
    let asks = asks.map(|timing| check::health_check(world, network, &mut taken, (vip, None), timing)).transpose()?;
    let spec = LoadBalancerSpec {
        network: network.id,
        vip,
        members: check::members(world, "members", (network, vip), &create.members)?,
        rules: check::check_rules("rules", &create.rules)?,
        session_affinity: create.session_affinity,
        health_check: asks,
    };
    check::check(network, &spec)?;
    let [uuid, _] = given.new_ids;
    let (description, labels) = (create.description.clone(), create.labels.clone());
    let words = check::words(world, None, &spec);
    let fact = Fact::LoadBalancer(Happened::LoadBalancerCreated { description, labels, spec, words });
    let event = Event { resource_id: uuid, name: create.name.clone(), generation: Generation::FIRST, fact };
    Ok(Decision::of(KIND, uuid, vec![event]))
}

fn decide_update(world: &World, balancer: &LoadBalancer, update: &UpdateLoadBalancer) -> Result<Vec<Event>, Refusal> {
    update.change.description.as_deref().map_or(Ok(()), check_description)?;
    let network = network_of(world, balancer)?;
    let mut spec = balancer.spec.clone();
    let place = (network, spec.vip);
    if let Some(all) = &update.members {
        spec.members = check::members(world, "members", place, all)?;
    }
    spec.members.extend(check::members(world, "add", place, &update.add)?);
    for (at, address) in check::members(world, "remove", place, &update.remove)?.iter().enumerate() {
        if !spec.members.remove(address) {
            let reason = format!("{address} is no member");
            return Err(Refusal::Invalid { field: format!("remove.{at}").into(), reason });
        }
    }
    if let Some(all) = &update.rules {
        spec.rules = check::check_rules("rules", all)?;
    }
    spec.session_affinity = update.session_affinity.unwrap_or(spec.session_affinity);
    if let Some(wish) = update.health_check {
        let present = (spec.vip, spec.health_check);
        let asks = wish.map(|timing| check::health_check(world, network, &mut Taken::default(), present, timing));
        spec.health_check = asks.transpose()?;
    }
    updated(world, balancer, update.change.clone().against(&balancer.meta), spec)
}

fn add_rule(world: &World, balancer: &LoadBalancer, rule: Rule) -> Result<Vec<Event>, Refusal> {
    let mut spec = balancer.spec.clone();
    if spec.rules.contains(&rule) {
        return Ok(vec![]);
    }
    if let Some(other) = spec.rules.iter().find(|other| other.overlaps(&rule)) {
        let reason = format!("{rule} is answered by rule {other} already; remove that first, or name other ports");
        return Err(Refusal::Invalid { field: "port_range_min".into(), reason });
    }
    let all: Vec<Rule> = spec.rules.iter().copied().chain([rule]).collect();
    spec.rules = check::check_rules("port_range_max", &all)?;
    updated(world, balancer, MetaChange::default(), spec)
}

fn remove_rule(world: &World, balancer: &LoadBalancer, rule: &Rule) -> Result<Vec<Event>, Refusal> {
    let mut spec = balancer.spec.clone();
    spec.rules.retain(|other| (other.protocol, other.ports) != (rule.protocol, rule.ports));
    if spec.rules.len() == balancer.spec.rules.len() {
        return Err(Refusal::ReferenceNotFound { field: "rule".into(), kind: "rule".into(), name: rule.to_string() });
    }
    updated(world, balancer, MetaChange::default(), spec)
}

fn updated(
    world: &World,
    balancer: &LoadBalancer,
    change: MetaChange,
    spec: LoadBalancerSpec,
) -> Result<Vec<Event>, Refusal> {
    check::check(network_of(world, balancer)?, &spec)?;
    let words = check::words(world, Some(&balancer.spec), &spec);
    let spec = (spec != balancer.spec).then_some(spec);
    if change.is_empty() && spec.is_none() {
        return Ok(vec![]);
    }
    Ok(vec![wish(balancer, Happened::LoadBalancerUpdated { change, spec, words })])
}

/// What leads to it leads nowhere from now on.
fn removed(world: &World, balancer: &LoadBalancer, how: Happened) -> Vec<Event> {
    let mut events = floating_ip::freed_with_load_balancer(world, balancer);
    events.push(wish(balancer, how));
    events
}

fn network_of<'w>(world: &'w World, balancer: &LoadBalancer) -> Result<&'w Network, Refusal> {
    world.network(&Reference::id(balancer.spec.network)).map(AsRef::as_ref)
}

/// The load balancer that a person's wish is about: present, as the client saw it, and not on its way out.
fn wished<'w>(world: &'w World, given: &Given, of: &Reference) -> Result<&'w LoadBalancer, Refusal> {
    let balancer = world.load_balancer(of)?;
    check_precondition(given, KIND, &balancer.meta)?;
    check_stays(balancer, "change")?;
    Ok(balancer)
}

/// A person's wish: the generation grows.
pub(super) fn wish(balancer: &LoadBalancer, event: Happened) -> Event {
    Event { generation: balancer.meta.generation.next(), ..fact(balancer, event) }
}

fn fact(balancer: &LoadBalancer, event: Happened) -> Event {
    Event {
        resource_id: balancer.id.uuid(),
        name: balancer.meta.name.clone(),
        generation: balancer.meta.generation,
        fact: Fact::LoadBalancer(event),
    }
}

/// The load balancers on a network go with it.
pub(crate) fn removed_with_network(world: &World, network: Id<Network>) -> impl Iterator<Item = Event> {
    let stay = |balancer: &&LoadBalancer| balancer.realization.state != RealizationState::Deleting;
    let all = on_network(world, network).filter(stay);
    all.flat_map(|balancer| removed(world, balancer, Happened::LoadBalancerDeleteRequested {}))
}

/// The load balancers on a network, until they are gone.
pub(crate) fn on_network(world: &World, network: Id<Network>) -> impl Iterator<Item = &LoadBalancer> {
    world.load_balancers.values().map(AsRef::as_ref).filter(move |balancer| balancer.spec.network == network)
}
