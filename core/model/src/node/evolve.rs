//! Node events to the world.

use std::sync::Arc;

use super::{LogRelease, Node, NodeEvent, Readiness};
use crate::{
    Id, Kind, Labels, World,
    orphan::Orphan,
    world::{At, Impossible},
};

pub(crate) fn evolve(world: &mut World, at: &At<'_>, event: &NodeEvent) -> Result<(), Impossible> {
    let id = Id::new(at.resource_id);
    if let NodeEvent::NodeRegistered { facts } = event {
        world.claim_name(Kind::Node, at)?;
        let node = Node {
            id,
            meta: at.new_meta("", &Labels::default()),
            facts: facts.clone(),
            cordoned: false,
            readiness: Readiness { ready: true, since: at.time(), reason: None },
            orphans: vec![],
            orphans_unlisted: 0,
            log_released: None,
        };
        world.nodes.insert(id, Arc::new(node));
        return Ok(());
    }
    if let NodeEvent::NodeForceRemoved {} = event {
        let node = world.nodes.remove(&id).ok_or_else(|| at.impossible("no such node"))?;
        world.release_name(Kind::Node, &node.meta.name);
        return Ok(());
    }
    let node = Arc::make_mut(world.nodes.get_mut(&id).ok_or_else(|| at.impossible("no such node"))?);
    at.touch(&mut node.meta);
    match event {
        NodeEvent::NodeRegistered { .. } | NodeEvent::NodeForceRemoved {} | NodeEvent::NodeReconcileRequested {} => {}
        NodeEvent::NodeFactsChanged { facts } => node.facts = facts.clone(),
        NodeEvent::NodeUpdated { change } => change.apply(&mut node.meta),
        NodeEvent::NodeCordoned {} => node.cordoned = true,
        NodeEvent::NodeUncordoned {} => node.cordoned = false,
        NodeEvent::NodeBecameReady {} => {
            node.readiness = Readiness { ready: true, since: at.time(), reason: None };
        }
        NodeEvent::NodeBecameNotReady { reason } => {
            node.readiness = Readiness { ready: false, since: at.time(), reason: Some(reason.clone()) };
        }
        NodeEvent::NodeOrphanFound { orphan, record } => {
            let place = node.orphans.binary_search_by(|listed| listed.artifact.cmp(orphan));
            let place = place.err().ok_or_else(|| at.impossible("an orphan is found twice"))?;
            node.orphans.insert(place, Orphan { artifact: orphan.clone(), since: at.time(), record: record.clone() });
        }
        NodeEvent::NodeOrphanGone { orphan } => {
            let place = node.orphans.binary_search_by(|listed| listed.artifact.cmp(orphan));
            let place = place.map_err(|_| at.impossible("an orphan is gone that was not found"))?;
            node.orphans.remove(place);
        }
        NodeEvent::NodeLogReleased { through, hash } => {
            node.log_released = Some(LogRelease { through: *through, hash: hash.clone() });
        }
        NodeEvent::NodeUnlistedOrphansCounted { unlisted } => node.orphans_unlisted = *unlisted,
        // Most were never listed: they are removed before a look sees them twice.
        NodeEvent::NodeLeftoverRemoved { leftover, .. } => node.orphans.retain(|listed| listed.artifact != *leftover),
    }
    Ok(())
}
