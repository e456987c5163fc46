//! Commits leave the live log, seen by a daemon that has joined: it has an archive of its own, and reads on in that.
//!
//! The daemon with the nats-server decides and does it (`release.rs`). Another one only has to know that a live log which
//! begins later has lost nothing: its own archive must hold what is missing, and the live log follow on that.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use chrono::Utc;
use edgestack_archive::{Archive, ArchiveError};
use edgestack_backup::{SignedHead, SigningKey};
use edgestack_engine::{Replica, error_chain};
use edgestack_log::{ChainHead, Log as _, LogError, chain, jetstream::JetStreamLog};

use crate::failure::Failure;

/// How soon it is looked whether a log that seems damaged just begins later.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long after a failure it is tried again: a try reads the whole archive.
const TRY_AGAIN: Duration = Duration::from_secs(60);

/// What it takes.
#[derive(Clone)]
pub struct Permit {
    /// The live log.
    pub live: Arc<JetStreamLog>,
    /// This daemon's own archive.
    pub archive: Arc<Archive>,
    /// The site's name.
    pub site: String,
    /// Signs how far commits may have left.
    pub signing: SigningKey,
}

/// Why it is not known whether the live log lost something.
#[derive(Debug, thiserror::Error)]
enum PermitError {
    #[error("the live log can't be asked where it begins")]
    Log(#[from] LogError),
    #[error("the archive can't be read as a whole")]
    Archive(#[from] ArchiveError),
    #[error("the record can't be written")]
    Record(#[from] serde_json::Error),
    #[error(
        "commits before {0} have left the site's live log and are not in this daemon's archive; copy the folder archive of the first daemon's state folder over this one's, and start again"
    )]
    NotArchived(u64),
}

impl Permit {
    /// Before anything is folded.
    ///
    /// # Errors
    /// [`Failure::Join`] when what has left the live log is not here.
    pub async fn at_start(&self) -> Result<(), Failure> {
        self.look().await.map_err(|error| Failure::Join { why: error_chain(&error) })
    }

    /// For as long as the process lives: when it is wished that commits leave, and when some seem to be missing.
    pub async fn run(self, replica: Arc<Replica>) {
        let mut head = replica.watch_head();
        let mut not_before: Option<Instant> = None;
        loop {
            let wish = replica.world().log_released().map(|wish| (wish.through, wish.hash.clone()));
            if let Some((through, hash)) = wish.filter(|(through, _)| *through > self.archive.released().sequence)
                && not_before.is_none_or(|not_before| Instant::now() >= not_before)
                && self.archive.has(through + 1).await
            {
                let mut through = ChainHead { sequence: through, ..ChainHead::GENESIS };
                if hex::decode_to_slice(&hash, &mut through.hash).is_ok() {
                    let released = self.release(through).await;
                    not_before = released.is_err().then(|| Instant::now() + TRY_AGAIN);
                    self.told(released);
                }
            }
            if replica.failure().is_some() {
                self.told(self.look().await);
            }
            tokio::select! {
                changed = head.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    fn told(&self, outcome: Result<(), PermitError>) {
        if let Err(error) = outcome {
            tracing::warn!(error = error_chain(&error), "whether commits have left the live log is not known now");
        }
    }

    /// Whether the live log just begins later.
    async fn look(&self) -> Result<(), PermitError> {
        let first = self.live.head().await?.first_sequence;
        if first <= self.archive.released().sequence + 1 {
            return Ok(());
        }
        let stays = self.live.get(first).await?.ok_or(PermitError::NotArchived(first))?;
        let before = chain::before(&stays).map_err(LogError::Damaged)?;
        if !self.archive.has(before.sequence).await {
            return Err(PermitError::NotArchived(first));
        }
        self.release(before).await
    }

    async fn release(&self, through: ChainHead) -> Result<(), PermitError> {
        self.archive.prove(through, |_| ()).await?;
        let signed =
            SignedHead::sign(&self.signing, self.site.clone(), through.sequence, through.hash_hex(), Utc::now());
        Ok(self.archive.release(through, serde_json::to_vec(&signed)?).await?)
    }
}
