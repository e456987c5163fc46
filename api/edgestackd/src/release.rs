//! Older commits leave the live log: done after the wish in the log (`edgectl archive --before`), as often as it takes.
//!
//! A stream that denies delete and purge lets nothing go, and that stays so. So a second nats-server of ours fills a stream
//! that begins later, beside the live one, which goes on meanwhile; it is read back and checked. Then appends are held back,
//! the last commits are copied, our nats-server is stopped, the two streams' folders change places, and it is started
//! again. A kill leaves the old stream or the new one in its place, both whole ([`settle`]).

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use chrono::Utc;
use edgestack_archive::{Archive, NoAppends, WholeLog, copy, refill};
use edgestack_backup::{SignedHead, SigningKey};
use edgestack_engine::{Replica, crash_point, error_chain};
use edgestack_log::{
    ChainHead, Log, LogError, chain,
    jetstream::{
        JetStreamLog, NatsServer, NatsServerOptions, Role, ServerError, StoreKeeper, stored_bytes, stream_folder,
    },
};
use edgestack_model::node::LogRelease;
use edgestack_timeline::Timeline;

/// The second nats-server's folder, below the first one's.
const NEXT: &str = "next";
/// The stream that was live, from the moment when it is no more until the new one is.
const LEAVING: &str = "MM3.leaving";
/// How long after a failure it is tried again.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// How long appends may take to be answered once no more are let through.
const HOLD: Duration = Duration::from_secs(10);
/// How long the second nats-server may take to stop.
const STOP: Duration = Duration::from_secs(10);
/// How long our own may take until the log in it answers again.
const COME_BACK: Duration = Duration::from_secs(60);
/// A connection that comes back gives no event here, so it is asked.
const ASK_EACH: Duration = Duration::from_millis(10);

/// Why commits have not left the live log. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Log or archive.
    #[error("{doing} failed")]
    Failed {
        /// What.
        doing: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What the two copies say is not the same, or not all of it is there.
    #[error("{0}")]
    Refused(String),
}

fn failed<E: std::error::Error + Send + Sync + 'static>(doing: &'static str) -> impl FnOnce(E) -> ReleaseError {
    move |source| ReleaseError::Failed { doing, source: Box::new(source) }
}

/// At a start, before nats-server runs: puts the streams' folders in order, whenever the last process was killed.
///
/// # Errors
/// [`ServerError`].
pub async fn settle(nats: &Path) -> Result<(), ServerError> {
    let folder = |path: &Path| {
        let path = path.to_owned();
        move |source| ServerError::Folder { path, source }
    };
    let (live, leaving) = (stream_folder(nats), nats.join(LEAVING));
    if leaving.exists() {
        if live.exists() {
            fs::remove_dir_all(&leaving).map_err(folder(&leaving))?;
        } else {
            fs::rename(&leaving, &live).map_err(folder(&leaving))?;
            sync(&live).map_err(folder(&live))?;
            tracing::warn!(
                "commits were leaving the live log when this site was killed; the log is as it was before, and they leave now"
            );
        }
    }
    NatsServer::remove(&nats.join(NEXT)).await
}

/// The records of the folders above a renamed one.
fn sync(renamed: &Path) -> io::Result<()> {
    renamed.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// Where the site's nats-server and its engine are two processes, neither has all that it takes: tells so at each wish.
pub async fn nobody_can(replica: Arc<Replica>) {
    let (mut head, mut told) = (replica.watch_head(), 0);
    loop {
        let wish = replica.world().log_released().map(|wish| wish.through);
        if let Some(through) = wish.filter(|through| *through > told) {
            told = through;
            tracing::warn!(
                through,
                "commits are to leave the live log, and stay: only a process with both roles, nats and engine, lets them go"
            );
        }
        if head.changed().await.is_err() {
            return;
        }
    }
}

/// What it takes.
pub struct Release {
    /// The log with the archive of what has left it; it holds appends back.
    pub log: WholeLog,
    /// The live log alone.
    pub live: Arc<JetStreamLog>,
    /// The second copy.
    pub archive: Arc<Archive>,
    /// Where the wish is.
    pub replica: Arc<Replica>,
    /// Keeps snapshots.
    pub timeline: Timeline,
    /// Stops and starts our nats-server.
    pub keeper: StoreKeeper,
    /// Its program.
    pub program: PathBuf,
    /// Its folder.
    pub nats: PathBuf,
    /// The site's name.
    pub site: String,
    /// Signs how far commits may leave.
    pub signing: SigningKey,
}

impl Release {
    /// Does what is wished, for as long as the process lives.
    pub async fn run(self) {
        let mut head = self.replica.watch_head();
        let mut done = 0;
        loop {
            self.replica.wait_until_whole().await;
            head.borrow_and_update();
            let wish = self.replica.world().log_released().cloned();
            if let Some(wish) = wish.filter(|wish| wish.through > done) {
                match self.once(&wish).await {
                    Ok(()) => done = wish.through,
                    Err(error) => {
                        tracing::warn!(
                            through = wish.through,
                            error = error_chain(&error),
                            "commits have not left the live log; all goes on as before, and it is tried again in 10 s"
                        );
                        tokio::time::sleep(TRY_AGAIN).await;
                    }
                }
                continue;
            }
            if head.changed().await.is_err() {
                return;
            }
        }
    }

    async fn once(&self, wish: &LogRelease) -> Result<(), ReleaseError> {
        let begins = self.live.head().await.map_err(failed("asking the log where it begins"))?.first_sequence;
        if begins > wish.through {
            return Ok(());
        }
        if self.archive.released().sequence < wish.through {
            self.prove(wish).await?;
        }
        let begun = std::time::Instant::now();
        self.renew().await?;
        let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(through = wish.through, elapsed_ms, "commits have left the live log; they are in the archive");
        Ok(())
    }

    /// Whatever leaves is in the archive, the archive is whole, and it fits what stays.
    async fn prove(&self, wish: &LogRelease) -> Result<(), ReleaseError> {
        let mut hash = [0; 32];
        hex::decode_to_slice(&wish.hash, &mut hash).map_err(failed("reading the wish"))?;
        let through = ChainHead { sequence: wish.through, hash };
        if !self.archive.has(wish.through + 1).await {
            return Err(ReleaseError::Refused("the archive is not that far yet".to_owned()));
        }
        let stays = self.live.get(wish.through + 1).await.map_err(failed("reading what stays"))?;
        let fits = stays.is_some_and(|stays| chain::before(&stays).is_ok_and(|before| before == through));
        if !fits {
            let why = format!("commit {} of the log does not follow on what is to leave", wish.through + 1);
            return Err(ReleaseError::Refused(why));
        }
        self.archive.prove(through, |_| ()).await.map_err(failed("reading the whole archive"))?;
        self.timeline.keep_snapshot(wish.through).await.map_err(failed("making a snapshot"))?;
        crash_point::pass("release.proven");
        let signed =
            SignedHead::sign(&self.signing, self.site.clone(), through.sequence, through.hash_hex(), Utc::now());
        let record = serde_json::to_vec(&signed).map_err(failed("writing the record"))?;
        self.archive.release(through, record).await.map_err(failed("writing the record"))?;
        crash_point::pass("release.recorded");
        Ok(())
    }

    /// A live log that begins after what may leave takes the place of the one that is.
    async fn renew(&self) -> Result<(), ReleaseError> {
        let folder = self.nats.join(NEXT);
        NatsServer::remove(&folder).await.map_err(failed("removing what an earlier try left"))?;
        let options = NatsServerOptions::new(&self.program, &folder);
        let next = NatsServer::start(options).await.map_err(failed("starting a second nats-server"))?;
        let filled = self.fill(&next).await;
        next.stop(STOP).await;
        let (held, head, bytes) = filled?;
        let swapped = self.keeper.while_stopped(move |nats| async move { swap(&nats, bytes) }).await;
        let back = match &swapped {
            Ok(_) => self.is_back(head).await,
            Err(_) => Ok(()),
        };
        drop(held);
        swapped.map_err(failed("putting the new stream in place"))?;
        back?;
        crash_point::pass("release.done");
        let leaving = self.nats.join(LEAVING);
        fs::remove_dir_all(&leaving).map_err(failed("removing what has left"))?;
        NatsServer::remove(&folder).await.map_err(failed("removing the second nats-server"))
    }

    /// Fills the second nats-server's stream with all that stays; after that nothing is appended to the live one.
    async fn fill(&self, next: &NatsServer) -> Result<(NoAppends, ChainHead, u64), ReleaseError> {
        let log = next.log(Role::Engine).await.map_err(failed("connecting to the second nats-server"))?;
        let first = self.archive.released().sequence + 1;
        log.ensure_stream_from(1, first).await.map_err(failed("making the new stream"))?;
        let log = WholeLog::new(Arc::new(log), self.archive.clone());
        let filled = refill(&self.archive, &log, |_| ()).await.map_err(failed("filling the new stream"))?;
        crash_point::pass("release.filled");
        let held = tokio::time::timeout(HOLD, self.log.hold_appends()).await;
        let held = held.map_err(failed("waiting for the answers to what was appended"))?;
        // Taken first: whoever else appends after this is seen by it.
        let bytes = stored_bytes(&self.nats).map_err(failed("looking at the stream's files"))?;
        let head = copy(&self.log, &log, filled).await.map_err(failed("copying the last commits"))?;
        Ok((held, head, bytes))
    }

    /// Waits until our nats-server has the new stream, and its end is the old one's.
    async fn is_back(&self, head: ChainHead) -> Result<(), ReleaseError> {
        let first = self.archive.released().sequence + 1;
        let deadline = tokio::time::Instant::now() + COME_BACK;
        loop {
            let found = match self.live.head().await {
                Ok(found) => self.live.get(head.sequence).await.map(|stored| (found, stored)),
                Err(error) => Err(error),
            };
            match found {
                Ok((found, Some(stored)))
                    if found.first_sequence == first
                        && found.last_sequence >= head.sequence
                        && chain::hash(&stored.payload) == head.hash =>
                {
                    return Ok(());
                }
                Err(LogError::Unavailable(_)) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(ASK_EACH).await;
                }
                Ok(_) => return Err(ReleaseError::Refused("the new stream is not what was filled".to_owned())),
                Err(error) => return Err(failed("asking the log after the change")(error)),
            }
        }
    }
}

/// While nats-server is stopped: the new stream's folder for the old one's.
fn swap(nats: &Path, bytes: u64) -> io::Result<PathBuf> {
    if stored_bytes(nats)? != bytes {
        return Err(io::Error::other("another process has appended to the log meanwhile"));
    }
    let (live, leaving, next) = (stream_folder(nats), nats.join(LEAVING), stream_folder(&nats.join(NEXT)));
    fs::rename(&live, &leaving)?;
    File::open(nats)?.sync_all()?;
    sync(&live)?;
    crash_point::pass("release.between");
    fs::rename(&next, &live)?;
    sync(&live)?;
    crash_point::pass("release.swapped");
    Ok(live)
}
