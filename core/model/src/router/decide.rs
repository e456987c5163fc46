//! Router commands to events.

use edgestack_planted::{self as planted, Bug};

use super::{CreateRouter, Router, RouterCommand, RouterEvent, RouterSpec, UpdateRouter, check};
use crate::{
    Decision, Event, Generation, Given, Id, Kind, Refusal, World,
    command::Reference,
    decide::{check_description, check_generation, check_name_free, check_precondition},
    event::Fact,
    floating_ip::{self, FloatingIpEvent},
    meta::MetaChange,
    network::Network,
    realization::{RealizationState, Told},
    repair,
};

const KIND: Kind = Kind::Router;
/// How many users a refusal names.
pub(super) const NAMED_MAX: usize = 5;

pub(crate) fn decide(world: &World, given: &Given, command: &RouterCommand) -> Result<Decision, Refusal> {
    let (id, events) = match command {
        RouterCommand::Create(create) => return decide_create(world, given, create),
        RouterCommand::Update(update) => {
            let router = world.router(&update.router)?;
            check_precondition(given, KIND, &router.meta)?;
            check_stays(router, "change")?;
            (router.id, decide_update(world, router, update)?)
        }
        RouterCommand::Delete { router, cascade } => {
            let router = world.router(router)?;
            check_precondition(given, KIND, &router.meta)?;
            if router.realization.state == RealizationState::Deleting {
                return Ok(Decision::of(KIND, router.id.uuid(), vec![]));
            }
            (router.id, delete(world, router, *cascade)?)
        }
        RouterCommand::Reconcile { router: of } => {
            let router = world.router(of)?;
            repair::check_reason(given, KIND, of, "reconcile")?;
            check_precondition(given, KIND, &router.meta)?;
            (router.id, vec![fact(router, RouterEvent::RouterReconcileRequested {})])
        }
        RouterCommand::ForceRemove { router: of } => {
            let router = world.router(of)?;
            repair::check_force(given, (KIND, "remove-router"), of, &router.meta, &router.realization)?;
            (router.id, vec![wish(router, RouterEvent::RouterForceRemoved {})])
        }
        RouterCommand::Report { router, generation, report } => {
            let router = world.router(&Reference::id(*router))?;
            check_generation(KIND, &router.meta, *generation)?;
            let event = router.realization.told(report, given.time).map(|told| match told {
                Told::BecameReady => RouterEvent::RouterBecameReady {},
                Told::Drifted { what } => RouterEvent::RouterDrifted { what },
                Told::AttemptFailed { failure } => RouterEvent::RouterAttemptFailed { failure },
                Told::Deleted => RouterEvent::RouterDeleted {},
            });
            (router.id, event.map(|event| fact(router, event)).into_iter().collect())
        }
    };
    Ok(Decision::of(KIND, id.uuid(), events))
}

fn decide_create(world: &World, given: &Given, create: &CreateRouter) -> Result<Decision, Refusal> {
    check_description(&create.description)?;
    check_name_free(world, KIND, &create.name)?;
    let [uuid, _] = given.new_ids;
    let id = Id::new(uuid);
    let internal = check::networks(world, "internal_networks", &create.internal)?;
    let external = create.external.as_ref().map(|wish| check::place_outside(world, id, None, wish)).transpose()?;
    let spec = RouterSpec {
        enable_snat: create.enable_snat,
        internal: internal.iter().map(|network| network.id).collect(),
        external,
        peer: create.peer,
        routes: create.routes.clone(),
    };
    check::check(world, id, &spec)?;
    let (description, labels) = (create.description.clone(), create.labels.clone());
    let words = check::words(world, None, &spec);
    let fact = Fact::Router(RouterEvent::RouterCreated { description, labels, spec, words });
    let event = Event { resource_id: uuid, name: create.name.clone(), generation: Generation::FIRST, fact };
    Ok(Decision::of(KIND, uuid, vec![event]))
}

fn decide_update(world: &World, router: &Router, update: &UpdateRouter) -> Result<Vec<Event>, Refusal> {
    update.change.description.as_deref().map_or(Ok(()), check_description)?;
    let mut spec = router.spec.clone();
    spec.enable_snat = update.enable_snat.unwrap_or(spec.enable_snat);
    if let Some(internal) = &update.internal {
        let internal = check::networks(world, "internal_networks", internal)?;
        spec.internal = internal.iter().map(|network| network.id).collect();
    }
    spec.internal.extend(check::networks(world, "attach", &update.attach)?.iter().map(|network| network.id));
    for (at, of) in update.detach.iter().enumerate() {
        let is_joined = world.network(of).is_ok_and(|network| spec.internal.remove(&network.id));
        if !is_joined {
            let reason = format!("network \"{}\" is not on this router", of.0);
            return Err(Refusal::Invalid { field: format!("detach.{at}").into(), reason });
        }
    }
    if let Some(external) = &update.external {
        let present = spec.external.as_ref();
        let place = external.as_ref().map(|wish| check::place_outside(world, router.id, present, wish));
        spec.external = place.transpose()?;
    }
    spec.peer = update.peer.unwrap_or(spec.peer);
    if let Some(routes) = &update.routes {
        spec.routes.clone_from(routes);
    }
    check::check(world, router.id, &spec)?;
    check::check_floating_ips(world, router, &spec)?;
    let change = update.change.clone().against(&router.meta);
    let words = check::words(world, Some(&router.spec), &spec);
    let spec = (spec != router.spec).then_some(spec);
    if change.is_empty() && spec.is_none() {
        return Ok(vec![]);
    }
    Ok(vec![wish(router, RouterEvent::RouterUpdated { change, spec, words })])
}

fn delete(world: &World, router: &Router, cascade: bool) -> Result<Vec<Event>, Refusal> {
    let mut ips: Vec<_> = check::floating_ips(world, router.id).collect();
    if !cascade {
        let by: Vec<String> = ips.iter().map(|ip| check::named(ip)).take(NAMED_MAX).collect();
        if !by.is_empty() && !planted::is(Bug::RouterInUseRemoved) {
            return Err(Refusal::InUse { kind: KIND, name: router.meta.name.clone(), by });
        }
        ips.clear();
    }
    let ips = ips.into_iter().map(|ip| floating_ip::wish(ip, FloatingIpEvent::FloatingIpDeleteRequested {}));
    Ok(ips.chain([wish(router, RouterEvent::RouterDeleteRequested {})]).collect())
}

/// Routers leave a network that goes, whose floating IPs, and where those lead, go with it.
pub(crate) fn left_network(world: &World, network: Id<Network>) -> impl Iterator<Item = Event> {
    check::on_network(world, network).map(move |router| {
        let spec = check::without_network(world, &router.spec, network);
        let words = check::words(world, Some(&router.spec), &spec);
        wish(router, RouterEvent::RouterUpdated { change: MetaChange::default(), spec: Some(spec), words })
    })
}

/// What is being removed takes nothing new.
pub(crate) fn check_stays(router: &Router, action: &'static str) -> Result<(), Refusal> {
    if router.realization.state != RealizationState::Deleting {
        return Ok(());
    }
    Err(Refusal::WrongState {
        kind: KIND,
        name: router.meta.name.clone(),
        state: router.realization.state.as_str().into(),
        action: action.into(),
        fix: "it is being removed and will be gone soon".into(),
    })
}

/// A person's wish: the generation grows.
fn wish(router: &Router, event: RouterEvent) -> Event {
    Event { generation: router.meta.generation.next(), ..fact(router, event) }
}

fn fact(router: &Router, event: RouterEvent) -> Event {
    Event {
        resource_id: router.id.uuid(),
        name: router.meta.name.clone(),
        generation: router.meta.generation,
        fact: Fact::Router(event),
    }
}
