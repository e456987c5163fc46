//! What lies or runs on the node, carries an id of ours, and is not in the log
//! (law 9). It is told, and becomes an event of the node; nothing is done with
//! it here: a log restored from an older backup must not cost a running VM.
//!
//! **No false orphan becomes an event.** What a resource is made of is made after
//! the commit that makes the resource, and is gone before the commit that says so.
//! So a thing is an orphan once it was seen (1), then a world that had folded all
//! that was in the log after (1) did not account for it (2), and after (2) it was
//! seen again (3): were it of a VM just being made, (2) would know the VM; were it
//! of one just removed, (3) would not see it. That holds however far this
//! process's replica lags. `decide` asks the engine's own world once more.

pub(crate) mod asked;
mod suspects;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use edgestack_engine::{Clock, Replica, error_chain};
use edgestack_log::Log;
use edgestack_model::{
    Command, Id, Kind, Name, World,
    command::Reference,
    node::{Node, NodeCommand, NodeReport, OrphansSeen},
    orphan::{Artifact, ArtifactKind, ORPHANS_MAX, Orphan, Record},
};
use edgestack_planted::{self as planted, Bug};
use edgestack_pool::{DriverError, Reported, Reporter};

use uuid::Uuid;

use asked::Asked;
use suspects::Suspects;

/// The pause before the look that confirms what the last one saw first.
const CONFIRM_AFTER: Duration = Duration::from_secs(2);

/// Tells what on the node carries ids of ours.
#[async_trait]
pub trait Finder: Send + Sync + 'static {
    /// The kinds that it tells all of.
    fn looks_for(&self) -> &'static [ArtifactKind];

    /// Everything of these kinds, known to the log or not.
    async fn found(&self) -> Result<Vec<Artifact>, DriverError>;

    /// What is written down of one of them, if it can be adopted with that.
    async fn record(&self, artifact: &Artifact) -> Result<Option<Record>, DriverError>;
}

/// What the search for orphans of one node is made of.
pub struct Drift {
    /// The node's name.
    pub node: Name,
    /// The folded world.
    pub replica: Arc<Replica>,
    /// The log, for its end alone.
    pub log: Arc<dyn Log>,
    /// Where reports go.
    pub reporter: Reporter,
    /// What looks.
    pub finders: Vec<Arc<dyn Finder>>,
    /// Ids.
    pub clock: Arc<dyn Clock>,
    /// How often it is looked.
    pub every: Duration,
}

/// Looks for ever, at once and then on a beat, and reports what changed.
pub async fn run_drift(drift: Drift) {
    let mut suspects = Suspects::default();
    let mut asked = Asked::new(&drift.replica, &drift.node);
    loop {
        let known = look(&drift, &mut suspects).await;
        let again = !known || suspects.want_another_look();
        let pause = if again { drift.every.min(CONFIRM_AFTER) } else { drift.every };
        asked.within(pause).await;
    }
}

/// One look; false while the log does not know the node.
async fn look(drift: &Drift, suspects: &mut Suspects) -> bool {
    let Some(node) = node_of(&drift.replica.world(), &drift.node).map(|node| node.id) else { return false };
    // Before anything is looked at: this world is what the last look waits for.
    let confirmed = suspects.confirmed_by(&drift.replica.world(), node);
    let mut looked_for = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for finder in &drift.finders {
        match finder.found().await {
            Ok(found) => {
                looked_for.extend(finder.looks_for());
                seen.extend(found);
            }
            Err(error) => tracing::warn!(%error, "cannot look for what the log does not know; it is repeated"),
        }
    }
    let end = match drift.log.head().await {
        Ok(head) => head.last_sequence,
        Err(error) => {
            tracing::warn!(error = error_chain(&error), "cannot compare the node with the log; it is repeated");
            return true;
        }
    };
    let report = {
        let world = drift.replica.world();
        let Some(node) = node_of(&world, &drift.node) else { return false };
        let orphans = suspects::orphans_among(&world, node.id, seen);
        suspects.take(&orphans, &node.orphans, &confirmed, end);
        report_of(node, orphans, &confirmed, looked_for)
    };
    if let Some(mut seen) = report {
        seen.records = records(drift, node, &seen.found).await;
        tell(drift, node, seen).await;
    }
    true
}

fn node_of<'a>(world: &'a World, name: &Name) -> Option<&'a Node> {
    world.id_of(Kind::Node, name).and_then(|id| world.nodes.get(&Id::new(id))).map(Arc::as_ref)
}

/// What is to be reported: the orphans that the node lists and that are there still, then those confirmed; `None` when
/// that is what it lists.
fn report_of(
    node: &Node,
    orphans: BTreeSet<Artifact>,
    confirmed: &BTreeSet<Artifact>,
    looked_for: BTreeSet<ArtifactKind>,
) -> Option<OrphansSeen> {
    let listed: BTreeSet<&Artifact> = node.orphans.iter().map(|orphan| &orphan.artifact).collect();
    let (still, others): (Vec<_>, Vec<_>) = orphans.into_iter().partition(|orphan| listed.contains(orphan));
    let new: Vec<_> = others
        .into_iter()
        .filter(|orphan| confirmed.contains(orphan) || planted::is(Bug::OrphanNotConfirmed))
        .collect();
    let all = still.len() + new.len();
    let found: BTreeSet<Artifact> = still.into_iter().chain(new).take(ORPHANS_MAX).collect();
    let unlisted = (all - found.len()) as u64;
    let expected = listed.iter().filter(|orphan| looked_for.contains(&orphan.kind)).count();
    let same = found.len() == expected
        && found.iter().all(|orphan| listed.contains(orphan))
        && (unlisted == node.orphans_unlisted || looked_for.len() < ArtifactKind::ALL.len());
    (!same).then_some(OrphansSeen { looked_for, found, unlisted, records: BTreeMap::new() })
}

/// What is written down of those that the node does not list yet.
async fn records(drift: &Drift, node: Id<Node>, found: &BTreeSet<Artifact>) -> BTreeMap<Uuid, Record> {
    let listed: BTreeSet<Artifact> = {
        let world = drift.replica.world();
        let orphans = world.nodes.get(&node).map(|node| node.orphans.as_slice()).unwrap_or_default();
        orphans.iter().map(|orphan| orphan.artifact.clone()).collect()
    };
    let mut records = BTreeMap::new();
    for artifact in found.difference(&listed) {
        for finder in drift.finders.iter().filter(|finder| finder.looks_for().contains(&artifact.kind)) {
            match finder.record(artifact).await {
                Ok(record) => records.extend(record.filter(Record::fits).map(|record| (artifact.id, record))),
                Err(error) => tracing::warn!(
                    id = %artifact.id, %error,
                    "cannot read what is written down of an orphan; it is told without, and can't be adopted"
                ),
            }
        }
    }
    records
}

async fn tell(drift: &Drift, node: Id<Node>, seen: OrphansSeen) {
    let listed = |world: &World| -> BTreeSet<Artifact> {
        let orphans = world.nodes.get(&node).map(|node| node.orphans.as_slice()).unwrap_or_default();
        orphans.iter().map(|Orphan { artifact, .. }| artifact.clone()).collect()
    };
    let before = listed(&drift.replica.world());
    let report = NodeReport::Orphans { node: Reference::id(node), seen: Box::new(seen) };
    let command = Command::Node(NodeCommand::Report(report));
    match drift.reporter.report_unasked(drift.clock.new_id(), command).await {
        Reported::Taken => {}
        // The next look says it again, if it is still so.
        Reported::Stale | Reported::NotNow => return,
    }
    for Artifact { kind, id, place } in listed(&drift.replica.world()).difference(&before) {
        tracing::warn!(
            %kind, %id, place, name = %drift.node,
            "this is on the node but not in the log; it is left alone: edgectl show-node says what to do"
        );
    }
}
