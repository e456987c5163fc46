//! Lease events to the world.

use std::sync::Arc;

use super::{Holder, Lease, LeaseEvent};
use crate::{
    Id, Kind, Labels, World,
    world::{At, Impossible},
};

pub(crate) fn evolve(world: &mut World, at: &At<'_>, event: &LeaseEvent) -> Result<(), Impossible> {
    let id = Id::new(at.resource_id);
    match event {
        LeaseEvent::LeaseTaken { node, process, epoch, taken_from: _ } => {
            let holder = Some(Holder { node: node.clone(), process: *process, since: at.time() });
            if let Some(lease) = world.leases.get_mut(&id) {
                if *epoch != lease.epoch + 1 {
                    return Err(at.impossible(format!("epoch {epoch} after {}", lease.epoch)));
                }
                let lease = Arc::make_mut(lease);
                (lease.epoch, lease.holder) = (*epoch, holder);
                at.touch(&mut lease.meta);
            } else {
                world.claim_name(Kind::Lease, at)?;
                let meta = at.new_meta("", &Labels::default());
                world.leases.insert(id, Arc::new(Lease { id, meta, epoch: *epoch, holder }));
            }
        }
        LeaseEvent::LeaseReleased { epoch } => {
            let lease = world.leases.get_mut(&id).ok_or_else(|| at.impossible("no such lease"))?;
            if *epoch != lease.epoch {
                return Err(at.impossible(format!("epoch {epoch} at {}", lease.epoch)));
            }
            let lease = Arc::make_mut(lease);
            lease.holder = None;
            at.touch(&mut lease.meta);
        }
    }
    Ok(())
}
