//! Router events to the world.

use std::sync::Arc;

use super::{Router, RouterEvent};
use crate::{
    Id, Kind, World,
    realization::Realization,
    world::{At, Impossible},
};

pub(crate) fn evolve(world: &mut World, at: &At<'_>, event: &RouterEvent) -> Result<(), Impossible> {
    let id = Id::new(at.resource_id);
    match event {
        RouterEvent::RouterCreated { description, labels, spec, .. } => {
            world.claim_name(Kind::Router, at)?;
            let meta = at.new_meta(description, labels);
            let router = Router { id, meta, spec: spec.clone(), realization: Realization::new() };
            world.routers.insert(id, Arc::new(router));
            return Ok(());
        }
        RouterEvent::RouterDeleted {} | RouterEvent::RouterForceRemoved {} => {
            let router = world.routers.remove(&id).ok_or_else(|| at.impossible("no such router"))?;
            world.release_name(Kind::Router, &router.meta.name);
            return Ok(());
        }
        RouterEvent::RouterUpdated { .. }
        | RouterEvent::RouterBecameReady {}
        | RouterEvent::RouterDrifted { .. }
        | RouterEvent::RouterAttemptFailed { .. }
        | RouterEvent::RouterDeleteRequested {}
        | RouterEvent::RouterReconcileRequested {} => {}
    }
    let router = Arc::make_mut(world.routers.get_mut(&id).ok_or_else(|| at.impossible("no such router"))?);
    at.touch(&mut router.meta);
    let Router { meta, spec, realization, .. } = router;
    match event {
        RouterEvent::RouterCreated { .. } | RouterEvent::RouterDeleted {} | RouterEvent::RouterForceRemoved {} => {}
        RouterEvent::RouterUpdated { change, spec: new, .. } => {
            change.apply(meta);
            if let Some(new) = new {
                spec.clone_from(new);
                realization.begin_update();
            }
        }
        RouterEvent::RouterBecameReady {} => realization.became_ready(),
        RouterEvent::RouterDrifted { .. } => realization.begin_update(),
        RouterEvent::RouterAttemptFailed { failure } => realization.failure = Some(failure.clone()),
        RouterEvent::RouterDeleteRequested {} => realization.begin_removal(),
        RouterEvent::RouterReconcileRequested {} => realization.failure = None,
    }
    Ok(())
}
