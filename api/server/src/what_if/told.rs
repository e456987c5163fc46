//! What came of a play, as it is told.

use edgestack_model::{
    Commit, World,
    event::{Fact, ImageEvent},
    image::ImageState,
    vm::Vm,
    world::Resource,
};
use edgestack_views::HistoryRow;
use edgestack_wire::{
    event::HistoryEvent,
    log::Moment,
    meta::Waiting,
    what_if::{Outcome, PlacementChange, StepOutcome, StillWaiting, WhatIf},
};

use super::play::Player;
use crate::{any_kind, diff, history, problem::Failure, shown::Surroundings};

/// Events that are told.
const EVENTS_MAX: usize = 2000;
/// Objects that are told.
const OBJECTS_MAX: usize = 1000;
/// Commits read at once.
const BATCH: usize = 1000;

/// Tells all of it.
pub(super) async fn tell(start: &World, from: Moment, player: Player) -> Result<WhatIf, Failure> {
    let bound = player.bound();
    let simulated_seconds = player.simulated().as_secs_f64();
    let told = events(&player).await?;
    let end = player.fork.replica.world().clone();
    let (difference, more_difference) = diff::between(start, &end, OBJECTS_MAX)?;
    let (placements, waiting) = (placements(start, &end), waiting(start, &end)?);
    let Player { steps, mut notes, .. } = player;
    if told.imported {
        notes
            .push("no image is read in a fork: one that is imported there is taken to be good and of 1 GiB".to_owned());
    }
    if steps.iter().any(|step| !step.settled) {
        notes.push("some of it had not come to rest when it was looked at; wait_seconds follows it further".to_owned());
    }
    if let Some(bound) = &bound {
        notes.push(format!("it was broken off, since {bound}; what is told had happened until then"));
    }
    let summary = format!(
        "simulated: {}; {}, {}, {} different, {} waiting at the end",
        of_steps(&steps),
        counted(told.events.len(), "event", "events"),
        counted(placements.len(), "change of place", "changes of place"),
        counted(difference.len(), "object", "objects"),
        waiting.len(),
    );
    Ok(WhatIf {
        simulated: true,
        summary,
        from,
        steps,
        placements,
        waiting,
        events: told.events,
        more_events: told.more,
        difference,
        more_difference,
        simulated_seconds,
        complete: bound.is_none(),
        notes,
    })
}

/// "2 of 3 steps taken, 1 refused".
fn of_steps(steps: &[StepOutcome]) -> String {
    let count = |outcome| steps.iter().filter(|step| step.outcome == outcome).count();
    let mut text = format!("{} of {} taken", count(Outcome::Taken), counted(steps.len(), "step", "steps"));
    for (outcome, words) in [(Outcome::Refused, "refused"), (Outcome::NotTried, "not tried")] {
        if count(outcome) > 0 {
            text.push_str(&format!(", {} {words}", count(outcome)));
        }
    }
    text
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// What happened.
struct Told {
    events: Vec<HistoryEvent>,
    more: bool,
    /// Whether an image was imported.
    imported: bool,
}

async fn events(player: &Player) -> Result<Told, Failure> {
    let mut told = Told { events: Vec::new(), more: false, imported: false };
    let mut next = player.began_after + 1;
    loop {
        let failed = |error| Failure::internal(edgestack_engine::error_chain(&error));
        let batch = player.fork.log.read(next, BATCH).await.map_err(failed)?;
        let Some(last) = batch.last() else { return Ok(told) };
        next = last.sequence + 1;
        for stored in &batch {
            let commit = Commit::decode(&stored.payload)
                .map_err(|error| Failure::internal(edgestack_engine::error_chain(&error)))?;
            for (index, event) in (0_u32..).zip(&commit.events) {
                told.imported |= matches!(event.fact, Fact::Image(ImageEvent::ImageImported { .. }));
                if told.events.len() == EVENTS_MAX {
                    told.more = true;
                    continue;
                }
                told.events.push(history::shown(HistoryRow::of(&commit, index)?).1);
            }
        }
    }
}

/// VMs whose place is another one, and new ones without.
fn placements(start: &World, end: &World) -> Vec<PlacementChange> {
    let of = |id, name: &str, before: Option<&Vm>, after: Option<&Vm>| {
        let (from, to) = (before.and_then(|vm| node_of(start, vm)), after.and_then(|vm| node_of(end, vm)));
        let none_yet = after.filter(|vm| vm.placement.is_none());
        let changed = from != to || (before.is_none() && none_yet.is_some());
        let why_none = none_yet.and_then(|vm| vm.waiting(end)).map(|waiting| waiting.reason);
        changed.then(|| PlacementChange { vm_id: id, vm: name.to_owned(), from, to, why_none })
    };
    let stayed_or_came = end.vms.values().filter_map(|vm| {
        let before = start.vms.get(&vm.id).map(AsRef::as_ref);
        of(vm.id.uuid(), vm.meta.name.as_str(), before, Some(vm))
    });
    let went = start.vms.values().filter(|vm| !end.vms.contains_key(&vm.id));
    let went = went.filter_map(|vm| of(vm.id.uuid(), vm.meta.name.as_str(), Some(vm), None));
    let mut changes: Vec<PlacementChange> = stayed_or_came.chain(went).collect();
    changes.sort_by(|a, b| a.vm.cmp(&b.vm));
    changes
}

fn node_of(world: &World, vm: &Vm) -> Option<String> {
    let placement = vm.placement.as_ref()?;
    let node = world.nodes.get(&placement.node).map(|node| node.meta.name.to_string());
    Some(node.unwrap_or_else(|| placement.node.to_string()))
}

/// What is not where it should be at the end.
fn waiting(start: &World, end: &World) -> Result<Vec<StillWaiting>, Failure> {
    let mut all = Vec::new();
    let mut around = Surroundings::of_world(end);
    for resource in end.resources().filter(|resource| waits(end, resource)) {
        let (kind, id, name) = (resource.kind(), resource.id(), resource.meta().name.to_string());
        let Some(shown) = any_kind::show(&resource, &mut around)? else { continue };
        let waiting: Option<Waiting> = serde_json::from_value(shown["waiting"].clone()).unwrap_or_default();
        let Some(waiting) = waiting else { continue };
        let waited_before = start.resource(kind, id).is_some_and(|before| waits(start, &before));
        let state = shown["state"].as_str().unwrap_or_default().to_owned();
        all.push(StillWaiting { kind: kind.to_string(), id, name, state, waiting, waited_before });
    }
    all.sort_by(|a, b| (a.waited_before, &a.kind, &a.name).cmp(&(b.waited_before, &b.kind, &b.name)));
    Ok(all)
}

/// Whether it is not where it should be. A root disk is waited for by its VM, which tells of it.
fn waits(world: &World, resource: &Resource) -> bool {
    match resource {
        Resource::Vm(vm) => vm.waiting(world).is_some(),
        Resource::Image(image) => !matches!(image.state, ImageState::Active),
        Resource::Network(network) => network.waiting(world).is_some(),
        Resource::SecurityGroup(group) => group.realization.waiting(world).is_some(),
        Resource::SecurityGroupRule(rule) => rule.realization.waiting(world).is_some(),
        Resource::Router(router) => router.realization.waiting(world).is_some(),
        Resource::FloatingIp(ip) => ip.realization.waiting(world).is_some(),
        Resource::LoadBalancer(balancer) => balancer.realization.waiting(world).is_some(),
        Resource::Flavor(_)
        | Resource::Keypair(_)
        | Resource::Node(_)
        | Resource::Volume(_)
        | Resource::Webhook(_)
        | Resource::Lease(_) => false,
    }
}
