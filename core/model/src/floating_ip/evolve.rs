//! Floating IP events to the world.

use std::sync::Arc;

use super::{FloatingIp, FloatingIpEvent as Happened};
use crate::{
    Id, Kind, World,
    realization::Realization,
    world::{At, Impossible},
};

pub(crate) fn evolve(world: &mut World, at: &At<'_>, event: &Happened) -> Result<(), Impossible> {
    let id = Id::new(at.resource_id);
    match event {
        Happened::FloatingIpCreated { description, labels, spec, .. } => {
            world.claim_name(Kind::FloatingIp, at)?;
            let (meta, realization) = (at.new_meta(description, labels), Realization::new());
            let ip = FloatingIp { id, meta, spec: spec.clone(), association: None, load_balancer: None, realization };
            world.floating_ips.insert(id, Arc::new(ip));
            return Ok(());
        }
        Happened::FloatingIpDeleted {} | Happened::FloatingIpForceRemoved {} => {
            let ip = world.floating_ips.remove(&id).ok_or_else(|| at.impossible("no such floating IP"))?;
            world.release_name(Kind::FloatingIp, &ip.meta.name);
            return Ok(());
        }
        Happened::FloatingIpUpdated { .. }
        | Happened::FloatingIpAssociated { .. }
        | Happened::FloatingIpAssociatedWithLoadBalancer { .. }
        | Happened::FloatingIpDisassociated { .. }
        | Happened::FloatingIpDisassociatedFromLoadBalancer { .. }
        | Happened::FloatingIpBecameReady {}
        | Happened::FloatingIpDrifted { .. }
        | Happened::FloatingIpAttemptFailed { .. }
        | Happened::FloatingIpDeleteRequested {}
        | Happened::FloatingIpReconcileRequested {} => {}
    }
    let ip = world.floating_ips.get_mut(&id).ok_or_else(|| at.impossible("no such floating IP"))?;
    let FloatingIp { meta, association, load_balancer, realization, .. } = Arc::make_mut(ip);
    at.touch(meta);
    match event {
        Happened::FloatingIpCreated { .. } | Happened::FloatingIpDeleted {} | Happened::FloatingIpForceRemoved {} => {}
        Happened::FloatingIpUpdated { change } => change.apply(meta),
        Happened::FloatingIpAssociated { association: to, .. } => {
            *association = Some(to.clone());
            *load_balancer = None;
            realization.begin_update();
        }
        Happened::FloatingIpAssociatedWithLoadBalancer { load_balancer: to, .. } => {
            *association = None;
            *load_balancer = Some(*to);
            realization.begin_update();
        }
        Happened::FloatingIpDisassociated { .. } | Happened::FloatingIpDisassociatedFromLoadBalancer { .. } => {
            *association = None;
            *load_balancer = None;
            realization.begin_update();
        }
        Happened::FloatingIpBecameReady {} => realization.became_ready(),
        Happened::FloatingIpDrifted { .. } => realization.begin_update(),
        Happened::FloatingIpAttemptFailed { failure } => realization.failure = Some(failure.clone()),
        Happened::FloatingIpDeleteRequested {} => {
            *association = None;
            *load_balancer = None;
            realization.begin_removal();
        }
        Happened::FloatingIpReconcileRequested {} => realization.failure = None,
    }
    Ok(())
}
