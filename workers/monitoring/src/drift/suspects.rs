//! What was seen once and may be an orphan.

use std::collections::{BTreeMap, BTreeSet};

use edgestack_model::{
    Id, World,
    node::Node,
    orphan::{Artifact, Orphan, Standing, standing},
};

/// What the last look saw first, and the log's end after that look.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    seen: BTreeMap<Artifact, u64>,
    unconfirmed: bool,
}

impl Suspects {
    /// Whether another look would make some of them certain.
    pub(super) fn want_another_look(&self) -> bool {
        self.unconfirmed
    }

    /// Those that this world does not account for, though it has folded everything that was in the log after they were
    /// seen. If a look that begins now sees them again, they are orphans.
    pub(super) fn confirmed_by(&self, world: &World, node: Id<Node>) -> BTreeSet<Artifact> {
        let new_enough = self.seen.iter().filter(|(_, end)| world.sequence.0 >= **end);
        new_enough.map(|(artifact, _)| artifact).filter(|artifact| is_orphan(world, node, artifact)).cloned().collect()
    }

    /// Keeps what a look saw and what is neither listed nor confirmed; `end` is the log's end after that look.
    pub(super) fn take(
        &mut self,
        orphans: &BTreeSet<Artifact>,
        listed: &[Orphan],
        confirmed: &BTreeSet<Artifact>,
        end: u64,
    ) {
        let listed: BTreeSet<&Artifact> = listed.iter().map(|orphan| &orphan.artifact).collect();
        let before = std::mem::take(&mut self.seen);
        self.unconfirmed = false;
        for orphan in orphans.iter().filter(|orphan| !listed.contains(orphan)) {
            // One that was confirmed stays so until it is listed: its report may fail, or have no room.
            let kept = before.get(orphan).copied().filter(|_| confirmed.contains(orphan));
            self.unconfirmed |= kept.is_none();
            self.seen.insert(orphan.clone(), kept.unwrap_or(end));
        }
    }
}

/// Those that a world does not account for.
pub(super) fn orphans_among(world: &World, node: Id<Node>, seen: BTreeSet<Artifact>) -> BTreeSet<Artifact> {
    seen.into_iter().filter(|artifact| is_orphan(world, node, artifact)).collect()
}

fn is_orphan(world: &World, node: Id<Node>, artifact: &Artifact) -> bool {
    standing(world, node, artifact) == Standing::Unknown
}

#[cfg(test)]
mod tests {
    use edgestack_model::{Sequence, orphan::ArtifactKind};
    use uuid::Uuid;

    use super::*;

    fn orphans(numbers: &[u128]) -> BTreeSet<Artifact> {
        let of = |number: &u128| {
            let id = Uuid::from_u128(*number);
            Artifact { kind: ArtifactKind::Volume, id, place: format!("volumes/{id}.qcow2") }
        };
        numbers.iter().map(of).collect()
    }

    fn world_at(sequence: u64) -> World {
        let mut world = World::default();
        world.sequence = Sequence(sequence);
        world
    }

    fn node() -> Id<Node> {
        Id::new(Uuid::from_u128(9))
    }

    #[test]
    fn only_a_world_as_new_as_the_look_confirms_what_it_saw() {
        let mut suspects = Suspects::default();
        suspects.take(&orphans(&[1]), &[], &BTreeSet::new(), 7);
        assert!(suspects.want_another_look());
        assert_eq!(suspects.confirmed_by(&world_at(6), node()), BTreeSet::new());
        assert_eq!(suspects.confirmed_by(&world_at(7), node()), orphans(&[1]));
        // It lagged at the second look, so that one counts as the first.
        suspects.take(&orphans(&[1]), &[], &BTreeSet::new(), 20);
        assert_eq!(suspects.confirmed_by(&world_at(19), node()), BTreeSet::new());
        assert_eq!(suspects.confirmed_by(&world_at(20), node()), orphans(&[1]));
    }

    #[test]
    fn what_was_not_there_in_between_begins_anew() {
        let mut suspects = Suspects::default();
        suspects.take(&orphans(&[1, 2]), &[], &BTreeSet::new(), 1);
        let confirmed = suspects.confirmed_by(&world_at(1), node());
        suspects.take(&orphans(&[2]), &[], &confirmed, 5);
        assert!(!suspects.want_another_look(), "it is certain");
        suspects.take(&orphans(&[1, 2]), &[], &suspects.confirmed_by(&world_at(5), node()).clone(), 6);
        assert!(suspects.want_another_look());
        assert_eq!(suspects.confirmed_by(&world_at(5), node()), orphans(&[2]), "as its report may have failed");
        assert_eq!(suspects.confirmed_by(&world_at(6), node()), orphans(&[1, 2]));
    }

    #[test]
    fn what_is_listed_is_no_suspect() {
        let mut suspects = Suspects::default();
        let listed: Vec<Orphan> = orphans(&[1])
            .into_iter()
            .map(|artifact| Orphan { artifact, since: chrono::DateTime::UNIX_EPOCH, record: None })
            .collect();
        suspects.take(&orphans(&[1]), &listed, &BTreeSet::new(), 1);
        assert!(!suspects.want_another_look());
        assert_eq!(suspects.confirmed_by(&world_at(9), node()), BTreeSet::new());
    }
}
