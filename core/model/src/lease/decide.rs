//! Lease commands to events, and the fence of all commands.

use edgestack_planted::{self as planted, Bug};

use super::{Fence, Lease, LeaseCommand, LeaseEvent};
use crate::{Decision, Event, Generation, Given, Kind, Name, Refusal, World, event::Fact};

pub(crate) fn decide(world: &World, given: &Given, command: &LeaseCommand) -> Result<Decision, Refusal> {
    match command {
        LeaseCommand::Take { lease: name, node, process, replaces } => {
            let lease = world.lease(name);
            let epoch = lease.map_or(0, |lease| lease.epoch);
            let holder = lease.and_then(|lease| lease.holder.as_ref());
            if let (Some(lease), Some(holder)) = (lease, holder)
                && holder.process == *process
            {
                return Ok(Decision::of(Kind::Lease, lease.id.uuid(), vec![]));
            }
            if epoch != *replaces {
                return Err(Refusal::LeaseMoved { lease: name.clone(), expected: *replaces, actual: epoch });
            }
            let id = lease.map_or(given.new_ids[0], |lease| lease.id.uuid());
            let fact = LeaseEvent::LeaseTaken {
                node: node.clone(),
                process: *process,
                epoch: epoch + 1,
                taken_from: holder.map(|holder| holder.node.clone()),
            };
            Ok(Decision::of(Kind::Lease, id, vec![event(id, name, lease.map(|lease| &**lease), fact)]))
        }
        LeaseCommand::Release { lease: name, epoch } => {
            let moved = |actual| Refusal::LeaseMoved { lease: name.clone(), expected: *epoch, actual };
            let lease = world.lease(name).ok_or_else(|| moved(0))?;
            if lease.epoch != *epoch {
                return Err(moved(lease.epoch));
            }
            let id = lease.id.uuid();
            let released = lease.holder.is_some().then_some(LeaseEvent::LeaseReleased { epoch: *epoch });
            let events = released.into_iter().map(|fact| event(id, name, Some(lease), fact)).collect();
            Ok(Decision::of(Kind::Lease, id, events))
        }
    }
}

/// Whether singleton work may still write.
pub(crate) fn check_fence(world: &World, fence: &Fence) -> Result<(), Refusal> {
    let lease = world.lease(&fence.lease);
    let actual = lease.map_or(0, |lease| lease.epoch);
    let held = lease.is_some_and(|lease| lease.holder.is_some());
    if actual == fence.epoch && held || planted::is(Bug::LeaseWithoutFence) {
        return Ok(());
    }
    Err(Refusal::LeaseMoved { lease: fence.lease.clone(), expected: fence.epoch, actual })
}

fn event(id: uuid::Uuid, name: &Name, lease: Option<&Lease>, fact: LeaseEvent) -> Event {
    // Nobody's wish: the generation stays.
    let generation = lease.map_or(Generation::FIRST, |lease| lease.meta.generation);
    Event { resource_id: id, name: name.clone(), generation, fact: Fact::Lease(fact) }
}
