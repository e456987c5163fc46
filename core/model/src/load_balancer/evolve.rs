//! Load balancer events to the world.

use std::sync::Arc;

use super::{LoadBalancer, LoadBalancerEvent as Happened};
use crate::{
    Id, Kind, World,
    realization::Realization,
    world::{At, Impossible},
};

pub(crate) fn evolve(world: &mut World, at: &At<'_>, event: &Happened) -> Result<(), Impossible> {
    let id = Id::new(at.resource_id);
    match event {
        Happened::LoadBalancerCreated { description, labels, spec, .. } => {
            world.claim_name(Kind::LoadBalancer, at)?;
            let meta = at.new_meta(description, labels);
            let balancer = LoadBalancer { id, meta, spec: spec.clone(), realization: Realization::new() };
            world.load_balancers.insert(id, Arc::new(balancer));
            return Ok(());
        }
        Happened::LoadBalancerDeleted {} | Happened::LoadBalancerForceRemoved {} => {
            let balancer = world.load_balancers.remove(&id).ok_or_else(|| at.impossible("no such load balancer"))?;
            world.release_name(Kind::LoadBalancer, &balancer.meta.name);
            return Ok(());
        }
        Happened::LoadBalancerUpdated { .. }
        | Happened::LoadBalancerBecameReady {}
        | Happened::LoadBalancerDrifted { .. }
        | Happened::LoadBalancerAttemptFailed { .. }
        | Happened::LoadBalancerDeleteRequested {}
        | Happened::LoadBalancerReconcileRequested {} => {}
    }
    let balancer =
        Arc::make_mut(world.load_balancers.get_mut(&id).ok_or_else(|| at.impossible("no such load balancer"))?);
    at.touch(&mut balancer.meta);
    let LoadBalancer { meta, spec, realization, .. } = balancer;
    match event {
        Happened::LoadBalancerCreated { .. }
        | Happened::LoadBalancerDeleted {}
        | Happened::LoadBalancerForceRemoved {} => {}
        Happened::LoadBalancerUpdated { change, spec: new, .. } => {
            change.apply(meta);
            if let Some(new) = new {
                spec.clone_from(new);
                realization.begin_update();
            }
        }
        Happened::LoadBalancerBecameReady {} => realization.became_ready(),
        Happened::LoadBalancerDrifted { .. } => realization.begin_update(),
        Happened::LoadBalancerAttemptFailed { failure } => realization.failure = Some(failure.clone()),
        Happened::LoadBalancerDeleteRequested {} => realization.begin_removal(),
        Happened::LoadBalancerReconcileRequested {} => realization.failure = None,
    }
    Ok(())
}
