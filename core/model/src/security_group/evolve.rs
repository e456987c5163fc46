//! Security group events to the world.

use std::sync::Arc;

use super::{SecurityGroup, SecurityGroupEvent as Happened};
use crate::{
    Id, Kind, World,
    realization::Realization,
    world::{At, Impossible},
};

pub(crate) fn evolve(world: &mut World, at: &At<'_>, event: &Happened) -> Result<(), Impossible> {
    let id = Id::new(at.resource_id);
    match event {
        Happened::SecurityGroupCreated { description, labels } => {
            world.claim_name(Kind::SecurityGroup, at)?;
            let meta = at.new_meta(description, labels);
            let group = SecurityGroup { id, meta, realization: Realization::new() };
            world.security_groups.insert(id, Arc::new(group));
            return Ok(());
        }
        Happened::SecurityGroupDeleted {} | Happened::SecurityGroupForceRemoved {} => {
            let group = world.security_groups.remove(&id).ok_or_else(|| at.impossible("no such group"))?;
            world.release_name(Kind::SecurityGroup, &group.meta.name);
            return Ok(());
        }
        Happened::SecurityGroupUpdated { .. }
        | Happened::SecurityGroupBecameReady {}
        | Happened::SecurityGroupDrifted { .. }
        | Happened::SecurityGroupAttemptFailed { .. }
        | Happened::SecurityGroupDeleteRequested {}
        | Happened::SecurityGroupReconcileRequested {} => {}
    }
    let group = world.security_groups.get_mut(&id).ok_or_else(|| at.impossible("no such group"))?;
    let SecurityGroup { meta, realization, .. } = Arc::make_mut(group);
    at.touch(meta);
    match event {
        Happened::SecurityGroupCreated { .. }
        | Happened::SecurityGroupDeleted {}
        | Happened::SecurityGroupForceRemoved {} => {}
        Happened::SecurityGroupUpdated { change } => change.apply(meta),
        Happened::SecurityGroupBecameReady {} => realization.became_ready(),
        Happened::SecurityGroupDrifted { .. } => realization.begin_update(),
        Happened::SecurityGroupAttemptFailed { failure } => realization.failure = Some(failure.clone()),
        Happened::SecurityGroupDeleteRequested {} => realization.begin_removal(),
        Happened::SecurityGroupReconcileRequested {} => realization.failure = None,
    }
    Ok(())
}
