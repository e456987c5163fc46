//! Finds places for VMs that have none: whenever a node or a placed VM changes,
//! and at each pending VM's set time. Level-triggered: what it does follows
//! from the world, the change only wakes it.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use edgestack_model::{Command, Id, Kind, vm::Target, vm::Vm, vm::VmCommand, world::Resource};
use uuid::Uuid;

use crate::{Clock, CommandPort, Duty, Origin, Replica, Submission, error_chain};

/// The longest time between two looks, for clocks that jump.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(60);
/// The pause before a look that is due.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The pause after a round in which a command could not be submitted.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Runs for ever; under a lease where there can be several.
pub async fn run_scheduler(replica: Arc<Replica>, port: Arc<dyn CommandPort>, clock: Arc<dyn Clock>, duty: Duty) {
    let actor = duty.actor("scheduler");
    let mut feed = replica.subscribe();
    loop {
        let mut failed = false;
        for pending in pending(&replica) {
            let origin =
                Origin::of(actor.clone(), pending.correlation_id, Some(pending.cause)).under(duty.fence.clone());
            let command = Command::Vm(VmCommand::Schedule { vm: pending.vm });
            if let Err(error) = port.submit(Submission { command, origin }).await {
                tracing::warn!(id = %pending.vm, error = error_chain(&error), "scheduling was not possible now");
                failed = true;
            }
        }
        let wait = if failed { PAUSE_AFTER_FAILURE } else { until_next(&replica, clock.now()) };
        let deadline = tokio::time::sleep(wait);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                // In this order, so that the same seed of the simulation leads to the same run.
                biased;
                () = &mut deadline => break,
                applied = feed.recv() => match applied {
                    Ok(applied) if applied.changes.iter().any(calls_for_a_look) => break,
                    Ok(_) => {}
                    Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => break,
                    Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
                },
            }
        }
    }
}

/// A node that changed, or a VM that is gone: others may fit now. Or a VM without a place that waits for nothing: a
/// person has asked for another look.
fn calls_for_a_look(change: &crate::Change) -> bool {
    match change.kind {
        Kind::Node => true,
        Kind::Vm => match &change.after {
            Some(Resource::Vm(vm)) => vm.placement.is_none() && vm.failure.is_none(),
            Some(_) | None => true,
        },
        Kind::Image
        | Kind::Flavor
        | Kind::Keypair
        | Kind::Volume
        | Kind::Network
        | Kind::SecurityGroup
        | Kind::SecurityGroupRule
        | Kind::Router
        | Kind::FloatingIp
        | Kind::LoadBalancer
        | Kind::Webhook
        | Kind::Lease => false,
    }
}

struct Pending {
    vm: Id<Vm>,
    correlation_id: Uuid,
    cause: Uuid,
}

fn pending(replica: &Replica) -> Vec<Pending> {
    let world = replica.world();
    world
        .vms
        .values()
        .filter(|vm| vm.placement.is_none() && vm.target != Target::Deleted)
        .map(|vm| Pending { vm: vm.id, correlation_id: vm.meta.correlation_id, cause: vm.meta.cause })
        .collect()
}

fn until_next(replica: &Replica, now: DateTime<Utc>) -> Duration {
    let world = replica.world();
    world
        .vms
        .values()
        .filter(|vm| vm.placement.is_none())
        .filter_map(|vm| vm.failure.as_ref())
        .map(|failure| failure.still_to_come(now).and_then(|at| (at - now).to_std().ok()).unwrap_or(LOOK_AGAIN))
        .min()
        .unwrap_or(LOOK_AT_LEAST_EVERY)
        .min(LOOK_AT_LEAST_EVERY)
}
