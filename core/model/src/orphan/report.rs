//! What a node's worker found or removed, to events.

use std::collections::BTreeSet;

use super::{
    Artifact, ArtifactKind, CHANGES_MAX, ORPHANS_MAX, PLACE_LENGTH_MAX, REASON_LENGTH_MAX, Record, Standing, standing,
};
use crate::{
    Refusal, World,
    node::{Node, NodeEvent, OrphansSeen, RemovedLeftover},
};

/// The events of a look for orphans: what is new and what is gone, and nothing when the set is the same. What the log
/// accounts for by now is no orphan, whatever the worker's world said.
pub(crate) fn seen(world: &World, node: &Node, seen: &OrphansSeen) -> Result<Vec<NodeEvent>, Refusal> {
    check_length("found", seen.found.len(), ORPHANS_MAX)?;
    seen.found.iter().try_for_each(check_place)?;
    let is_orphan = |artifact: &&Artifact| standing(world, node.id, artifact) == Standing::Unknown;
    let looked_for = |artifact: &&Artifact| seen.looked_for.contains(&artifact.kind);
    let found: BTreeSet<&Artifact> = seen.found.iter().filter(looked_for).filter(is_orphan).collect();
    let listed: BTreeSet<&Artifact> = node.orphans.iter().map(|orphan| &orphan.artifact).collect();
    let gone: Vec<&Artifact> =
        listed.iter().copied().filter(looked_for).filter(|artifact| !found.contains(artifact)).collect();
    let new: Vec<&Artifact> = found.difference(&listed).copied().collect();
    let room = ORPHANS_MAX - (listed.len() - gone.len()).min(ORPHANS_MAX);
    let without_place = new.len().saturating_sub(room) as u64;

    let mut events: Vec<NodeEvent> =
        gone.into_iter().take(CHANGES_MAX).map(|orphan| NodeEvent::NodeOrphanGone { orphan: orphan.clone() }).collect();
    // What is gone but not told yet still takes its place.
    let room = room.min(ORPHANS_MAX - (listed.len() - events.len()).min(ORPHANS_MAX)).min(CHANGES_MAX - events.len());
    let told = new
        .into_iter()
        .take(room)
        .map(|orphan| NodeEvent::NodeOrphanFound { orphan: orphan.clone(), record: record_of(seen, orphan) });
    events.extend(told);
    let unlisted = seen.unlisted.saturating_add(without_place);
    // Who could not look everywhere cannot count.
    let looked_everywhere = ArtifactKind::ALL.iter().all(|kind| seen.looked_for.contains(kind));
    if looked_everywhere && unlisted != node.orphans_unlisted {
        events.push(NodeEvent::NodeUnlistedOrphansCounted { unlisted });
    }
    Ok(events)
}

/// A VM's record stands with its folder alone, though its process carries the same id.
fn record_of(seen: &OrphansSeen, orphan: &Artifact) -> Option<Record> {
    let record = seen.records.get(&orphan.id).filter(|record| record.fits())?;
    let fits = match (record, orphan.kind) {
        (Record::Vm(_), ArtifactKind::VmFolder) | (Record::Image(_), ArtifactKind::Image) => true,
        (Record::Vm(_) | Record::Image(_), _) => false,
    };
    fits.then(|| record.clone())
}

/// The events of what was removed.
pub(crate) fn removed(leftovers: &[RemovedLeftover]) -> Result<Vec<NodeEvent>, Refusal> {
    check_length("leftovers", leftovers.len(), CHANGES_MAX)?;
    for leftover in leftovers {
        check_place(&leftover.artifact)?;
        if leftover.reason.len() > REASON_LENGTH_MAX {
            return Err(invalid("reason", format!("at most {REASON_LENGTH_MAX} bytes")));
        }
    }
    let event = |RemovedLeftover { artifact, reason }: &RemovedLeftover| NodeEvent::NodeLeftoverRemoved {
        leftover: artifact.clone(),
        reason: reason.clone(),
    };
    Ok(leftovers.iter().map(event).collect())
}

fn check_length(field: &'static str, length: usize, max: usize) -> Result<(), Refusal> {
    if length <= max { Ok(()) } else { Err(invalid(field, format!("at most {max} entries, got {length}"))) }
}

fn check_place(artifact: &Artifact) -> Result<(), Refusal> {
    let length = artifact.place.len();
    if length <= PLACE_LENGTH_MAX {
        return Ok(());
    }
    Err(invalid("place", format!("at most {PLACE_LENGTH_MAX} bytes, got {length}")))
}

fn invalid(field: &'static str, reason: String) -> Refusal {
    Refusal::Invalid { field: field.into(), reason }
}
