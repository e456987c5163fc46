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
