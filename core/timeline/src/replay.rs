//! The whole log once more, from its first commit: is it whole, can it be read, does it fit together, and is what it
//! leads to what this site shows?

use std::sync::Arc;

use edgestack_engine::{Projection, Replica, ReplicaError, error_chain};
use edgestack_log::{ChainHead, LogError, StoredCommit};
use edgestack_model::World;

use crate::{Timeline, TimelineError, blocking, decode, patience};

/// Commits read at once.
const BATCH: usize = 1024;
/// Commits between two checks of the whole world; the first unsound one among them is then searched for.
const SOUND_EVERY: u64 = 4096;

/// The first thing wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The first commit that is, or may be, wrong.
    pub sequence: u64,
    /// What is wrong, in a sentence.
    pub what: String,
}

/// What a replay came to.
pub struct Replayed {
    /// The world that the log leads to, up to the first thing wrong.
    pub replica: Arc<Replica>,
    /// The first thing wrong; `None`: all is well.
    pub finding: Option<Finding>,
}

impl Timeline {
    /// Folds the log from its first commit up to `upto`, checking sequences, chain, each commit and each event, and
    /// that the worlds between are sound. `projection` gets all that is folded; `told` hears of the last commit checked.
    ///
    /// # Errors
    /// When the log can't be reached for half a minute. That it is damaged is a [`Finding`].
    pub async fn replay(
        &self,
        upto: u64,
        projection: Option<Box<dyn Projection>>,
        mut told: impl FnMut(u64) + Send,
    ) -> Result<Replayed, TimelineError> {
        let replica = Replica::new(World::default(), ChainHead::GENESIS, projection);
        let mut sound = World::default();
        let mut finding = None;
        while finding.is_none() && replica.head().sequence < upto {
            let from = replica.head().sequence + 1;
            let wanted = usize::try_from(upto + 1 - from).unwrap_or(BATCH).min(BATCH);
            let batch = match patience::read(&*self.inner.log, from, wanted).await {
                Ok(batch) if batch.is_empty() => {
                    let what = format!("the log ends at {}, before {upto}", from - 1);
                    finding = Some(Finding { sequence: from, what });
                    continue;
                }
                Ok(batch) => batch,
                Err(LogError::Damaged(damage)) => {
                    finding = Some(Finding { sequence: damage.first_wrong(), what: damage.to_string() });
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let fold = replica.clone();
            let folded = blocking(move || fold.apply(batch.into_iter().map(|stored| (stored, None)).collect())).await?;
            let head = replica.head().sequence;
            told(head);
            if let Err(error) = folded {
                finding = Some(of_replica(&error, head));
            } else if head == upto || head >= sound.sequence.0 + SOUND_EVERY {
                let world = replica.world().clone();
                sound = match blocking(move || world.unsound().map_or(Ok(world), Err)).await? {
                    Ok(world) => world,
                    Err(what) => {
                        finding = Some(self.first_unsound(sound, head, what).await?);
                        break;
                    }
                };
            }
        }
        if finding.is_none() {
            let extent = patience::head(&*self.inner.log).await?;
            finding = extent
                .check_count()
                .err()
                .map(|damage| Finding { sequence: damage.first_wrong(), what: damage.to_string() });
        }
        Ok(Replayed { replica, finding })
    }

    /// Folds what has come after a replay, up to `upto`; the first thing wrong if there is one.
    ///
    /// # Errors
    /// As [`Self::replay`].
    pub async fn replay_on(&self, replica: &Arc<Replica>, upto: u64) -> Result<Option<Finding>, TimelineError> {
        while replica.head().sequence < upto {
            let from = replica.head().sequence + 1;
            let wanted = usize::try_from(upto + 1 - from).unwrap_or(BATCH).min(BATCH);
            let batch = patience::read(&*self.inner.log, from, wanted).await?;
            if batch.is_empty() {
                return Ok(Some(Finding {
                    sequence: from,
                    what: format!("the log ends at {}, before {upto}", from - 1),
                }));
            }
            let fold = replica.clone();
            let folded = blocking(move || fold.apply(batch.into_iter().map(|stored| (stored, None)).collect())).await?;
            if let Err(error) = folded {
                return Ok(Some(of_replica(&error, replica.head().sequence)));
            }
        }
        Ok(None)
    }

    /// The first commit after which the world isn't sound, by halving between a sound one and one that isn't.
    async fn first_unsound(&self, mut sound: World, unsound: u64, mut what: String) -> Result<Finding, TimelineError> {
        let mut commits: Vec<StoredCommit> = Vec::new();
        while commits.last().map_or(sound.sequence.0, |last| last.sequence) < unsound {
            let from = commits.last().map_or(sound.sequence.0, |last| last.sequence) + 1;
            let batch = patience::read(&*self.inner.log, from, BATCH).await?;
            if batch.is_empty() {
                break;
            }
            commits.extend(batch.into_iter().filter(|commit| commit.sequence <= unsound));
        }
        blocking(move || {
            while commits.len() > 1 {
                let half = commits.len() / 2;
                let mut world = sound.clone();
                for stored in &commits[..half] {
                    world.evolve(&decode(stored)?)?;
                }
                match world.unsound() {
                    Some(why) => {
                        commits.truncate(half);
                        what = why;
                    }
                    None => {
                        sound = world;
                        commits.drain(..half);
                    }
                }
            }
            let sequence = commits.first().map_or(unsound, |commit| commit.sequence);
            Ok(Finding { sequence, what: format!("after commit {sequence} {what}") })
        })
        .await?
    }
}

fn of_replica(error: &ReplicaError, head: u64) -> Finding {
    let what = error_chain(error);
    let sequence = match error {
        ReplicaError::Damaged(damage) => damage.first_wrong(),
        ReplicaError::Undecodable(_) => head + 1,
        ReplicaError::Impossible(impossible) => impossible.sequence.0,
        ReplicaError::Differs(sequence) => *sequence,
    };
    Finding { sequence, what }
}
