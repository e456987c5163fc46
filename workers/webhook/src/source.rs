//! The events of the log, in order and without a gap, from where a webhook is: out of the live feed while it keeps up, else
//! read from the log. So a slow one holds up nobody, and what waits for it needs no memory.

use std::{collections::VecDeque, sync::Arc};

use edgestack_engine::{Applied, Replica};
use edgestack_log::{Log, LogError};
use edgestack_model::{Commit, DecodeError, Kind, Labels, World, world::Impossible};
use edgestack_timeline::{Timeline, TimelineError};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use uuid::Uuid;

/// Commits read from the log at once.
const BATCH: usize = 256;

/// What events are read from.
#[derive(Clone)]
pub(crate) struct Past {
    pub replica: Arc<Replica>,
    pub log: Arc<dyn Log>,
    pub timeline: Timeline,
}

/// Why the log can't be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    #[error("commit {sequence} can't be read")]
    Undecodable {
        sequence: u64,
        #[source]
        source: DecodeError,
    },
    #[error(transparent)]
    Impossible(#[from] Impossible),
    #[error("commit {0} is folded, and not in the log")]
    Missing(u64),
    #[error("the process ends")]
    Closed,
}

/// A commit, and the labels that the objects of its events have.
pub(crate) struct Seen {
    pub commit: Arc<Commit>,
    /// One for each event: after the commit or, where the object is gone, before it. Empty where nobody asks for labels.
    pub labels: Vec<Labels>,
}

/// One reader of the log.
pub(crate) struct Source {
    past: Past,
    /// The last commit that was given out.
    cursor: u64,
    live: Receiver<Arc<Applied>>,
    /// Whether all that it has not given out comes over the live feed.
    keeps_up: bool,
    behind: VecDeque<Arc<Commit>>,
    wants_labels: bool,
    /// With labels, while it is behind: the world after `cursor`.
    world: Option<World>,
}

impl Source {
    /// Reads on after a commit.
    pub fn new(past: Past, cursor: u64, wants_labels: bool) -> Self {
        let live = past.replica.subscribe();
        Self { past, cursor, live, keeps_up: false, behind: VecDeque::new(), wants_labels, world: None }
    }

    /// The next commit, when there is one. Dropping it loses nothing.
    pub async fn next(&mut self) -> Result<Seen, SourceError> {
        loop {
            if let Some(commit) = self.behind.front().cloned() {
                let labels = self.labels_on_the_way(&commit).await?;
                self.behind.pop_front();
                self.cursor = commit.sequence.0;
                return Ok(Seen { commit, labels });
            }
            if !self.keeps_up && self.cursor < self.past.replica.head().sequence {
                self.read_log().await?;
                continue;
            }
            self.keeps_up = true;
            match self.live.recv().await {
                Ok(applied) if applied.commit.sequence.0 <= self.cursor => {}
                Ok(applied) if applied.commit.sequence.0 == self.cursor + 1 => {
                    self.cursor += 1;
                    self.world = None;
                    return Ok(Seen { labels: labels_now(&applied), commit: applied.commit.clone() });
                }
                // A gap: what is missing is in the log, and so is this one.
                Ok(_) | Err(RecvError::Lagged(_)) => self.keeps_up = false,
                Err(RecvError::Closed) => return Err(SourceError::Closed),
            }
        }
    }

    async fn read_log(&mut self) -> Result<(), SourceError> {
        let end = self.past.replica.head().sequence;
        let stored = self.past.log.read(self.cursor + 1, BATCH).await?;
        // What is stored but not folded here yet is not believed yet.
        for stored in stored.iter().take_while(|stored| stored.sequence <= end) {
            self.behind.push_back(Arc::new(decode(stored)?));
        }
        if self.behind.is_empty() { Err(SourceError::Missing(self.cursor + 1)) } else { Ok(()) }
    }

    /// Labels are those of the moment, so the world is folded along.
    async fn labels_on_the_way(&mut self, commit: &Commit) -> Result<Vec<Labels>, SourceError> {
        if !self.wants_labels {
            return Ok(vec![]);
        }
        let mut world = match self.world.take().filter(|world| world.sequence.0 == self.cursor) {
            Some(world) => world,
            None => self.past.timeline.at_in_turn(self.cursor).await?.world().clone(),
        };
        let objects: Vec<(Kind, Uuid)> =
            commit.events.iter().map(|event| (event.fact.kind(), event.resource_id)).collect();
        let labels = |world: &World, (kind, id): (Kind, Uuid)| world.meta(kind, id).map(|meta| meta.labels.clone());
        let before: Vec<Option<Labels>> = objects.iter().map(|object| labels(&world, *object)).collect();
        world.evolve(commit)?;
        let after = objects.iter().map(|object| labels(&world, *object));
        let found = after.zip(before).map(|(after, before)| after.or(before).unwrap_or_default()).collect();
        self.world = Some(world);
        Ok(found)
    }
}

/// One commit of the log, as it is taken up again.
pub(crate) async fn commit(past: &Past, sequence: u64) -> Result<Commit, SourceError> {
    let stored = past.log.read(sequence, 1).await?;
    let stored = stored.first().filter(|stored| stored.sequence == sequence).ok_or(SourceError::Missing(sequence))?;
    decode(stored)
}

fn decode(stored: &edgestack_log::StoredCommit) -> Result<Commit, SourceError> {
    Commit::decode(&stored.payload).map_err(|source| SourceError::Undecodable { sequence: stored.sequence, source })
}

fn labels_now(applied: &Applied) -> Vec<Labels> {
    let of = |kind, id| {
        let change = applied.changes.iter().find(|change| (change.kind, change.id) == (kind, id));
        let resource = change.and_then(|change| change.after.as_ref().or(change.before.as_ref()));
        resource.map(|resource| resource.meta().labels.clone()).unwrap_or_default()
    };
    applied.commit.events.iter().map(|event| of(event.fact.kind(), event.resource_id)).collect()
}
