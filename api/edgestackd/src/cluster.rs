//! A site whose log is on three nodes, a replica on each (ADR 0033): which they are, how a start waits for a majority, and
//! how the replica of this node is watched over and made anew from the others.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use edgestack_archive::{Archive, LogStore, WholeLog};
use edgestack_engine::error_chain;
use edgestack_log::{
    ChainHead, Log, LogError, chain,
    jetstream::{
        Credentials, JetStreamLog, Member, NatsServer, Options as LogOptions, Role as NatsRole, StoreKeeper,
        check_members, stored_bytes,
    },
    verify_from,
};
use edgestack_model::Name;
use tokio::{sync::Mutex, time::Instant};

use crate::{failure::Failure, options::Options, state_folder};

/// What a server that is lost has not acknowledged by then is sent again to the next one that leads.
pub const ACK_TIMEOUT: Duration = Duration::from_secs(2);
/// How often the leading server is asked which others follow it.
const WATCH_EVERY: Duration = Duration::from_secs(5);
/// How long a replica may answer nothing, and not grow, before it is made anew.
const STUCK: Duration = Duration::from_secs(15);
/// How soon servers are asked again: their elections give no event.
const ASK_AGAIN: Duration = Duration::from_millis(250);
/// How often a start that waits says so.
const SAY_AGAIN: Duration = Duration::from_secs(10);
/// How long the other servers may take to elect one that leads: nats-server waits 4 to 9 s before it tries.
const ELECTED_WITHIN: Duration = Duration::from_secs(30);
/// How long a replica may take to be filled by the others.
const FILLED_WITHIN: Duration = Duration::from_secs(15 * 60);

/// The servers of the site's cluster, as given or as they were at the last start; none where there is one server alone.
///
/// # Errors
/// [`Failure::Cluster`], [`Failure::Credentials`].
pub fn members(options: &Options, root: &Path) -> Result<Vec<Member>, Failure> {
    if options.cluster.is_empty() {
        let recorded = Credentials::load_if_there(&state_folder::nats(root))?;
        return Ok(recorded.map_or_else(Vec::new, |recorded| recorded.members().to_vec()));
    }
    check_members(&options.cluster).map_err(|why| Failure::Cluster { why })?;
    Ok(options.cluster.clone())
}

/// The one on this node.
pub fn own<'a>(members: &'a [Member], node: Option<&Name>) -> Option<&'a Member> {
    members.iter().find(|member| node.is_some_and(|node| node.as_str() == member.node))
}

/// Makes the stream, unless it is there, as soon as a majority of the servers is, and waits until one leads; and until the
/// log has come to a commit, when it is being filled.
pub async fn wait_for_majority(log: &JetStreamLog, replicas: usize, archived: u64) {
    let mut said: Option<Instant> = None;
    loop {
        let why = match ready(log, replicas).await {
            Ok(last) if last >= archived => return,
            Ok(last) => {
                format!("the log ends at {last}, and {archived} is archived on the first node: it is being filled")
            }
            Err(error) => error_chain(&error),
        };
        if said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
            said = Some(Instant::now());
            tracing::warn!(why, "waiting for the log on the cluster's servers; two of the three must run");
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// The last commit, once a server leads and what it has can be read.
async fn ready(log: &JetStreamLog, replicas: usize) -> Result<u64, LogError> {
    log.ensure_stream(replicas).await?;
    let last = log.head().await?.last_sequence;
    log.read(last.max(1), 1).await?;
    Ok(last)
}

/// Asks one server for what its own replica has.
fn this_replica(url: String) -> LogOptions {
    LogOptions { only_this_replica: true, ..LogOptions::new(url, NatsRole::Reader) }
}

/// Tells which servers keep the log whenever that changes, for as long as the process lives: with two of three all goes on, and
/// one more that is lost stops the site.
pub async fn watch_over(log: Arc<JetStreamLog>, credentials: Credentials) {
    let (mut told, mut seen): (Option<Vec<String>>, Option<Vec<String>>) = (None, None);
    loop {
        // Without one that leads nobody answers, and writes tell so.
        if let Ok(copies) = log.copies().await {
            let missing: Vec<String> = credentials
                .members()
                .iter()
                .filter(|member| !copies.is_current(&credentials.name_of(member)))
                .map(|member| member.node.clone())
                .collect();
            let current = u8::try_from(credentials.members().len() - missing.len()).unwrap_or(u8::MAX);
            metrics::gauge!("edgestack_log_replicas_current").set(f64::from(current));
            // Under writes a follower lags for moments.
            if seen.as_ref() == Some(&missing) && told.as_ref() != Some(&missing) {
                match missing.is_empty() {
                    true => tracing::info!("the log is on all nodes of the cluster"),
                    false => {
                        tracing::warn!(?missing, "the log is not on all nodes of the cluster, or these lag behind")
                    }
                }
                told = Some(missing.clone());
            }
            seen = Some(missing);
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

/// The replica on this node.
pub struct OwnReplica {
    /// What only this node's server answers, as long as its replica is current.
    pub own: Arc<JetStreamLog>,
    /// The log on whichever server.
    pub live: Arc<JetStreamLog>,
    /// The second copy of the log.
    pub archive: Arc<Archive>,
    /// Stops and starts this node's server.
    pub keeper: StoreKeeper,
    /// The cluster's servers.
    pub credentials: Credentials,
    /// Held while the replica is made anew: who finds it silent and who finds it damaged may be at it at once.
    making_anew: Mutex<()>,
}

/// How a replica is.
enum Health {
    Whole,
    Damaged(String),
    /// It fits together, and is not what is archived from before this commit on.
    Foreign(u64),
    /// It can't be asked now.
    Silent(String),
}

impl OwnReplica {
    /// Of a server of this process.
    ///
    /// # Errors
    /// [`LogError`] when the server does not answer.
    pub async fn of(server: &NatsServer, live: &Arc<JetStreamLog>, archive: &Arc<Archive>) -> Result<Self, LogError> {
        let credentials = server.credentials().clone();
        let own = credentials.members().iter().find(|member| member.client == credentials.address());
        let url =
            own.map_or_else(|| credentials.url(NatsRole::Reader), |own| credentials.url_of(NatsRole::Reader, own));
        let own = Arc::new(JetStreamLog::connect(this_replica(url)).await?);
        let (live, archive, keeper) = (live.clone(), archive.clone(), server.store_keeper());
        Ok(Self { own, live, archive, keeper, credentials, making_anew: Mutex::default() })
    }

    /// The log as this node's replica has it.
    pub fn log(&self) -> Arc<dyn Log> {
        Arc::new(WholeLog::new(self.own.clone(), self.archive.clone()))
    }

    /// For as long as the process lives: a replica that answers nothing, and doesn't grow, is made anew from the others. Such is
    /// one that nats-server has given up ("critical write error"), because what it has doesn't go on where the others do.
    /// Meanwhile the daemon reads from the leading server, and goes on.
    pub async fn watch(self: Arc<Self>, nats: PathBuf) {
        let mut stuck: Option<(Instant, u64)> = None;
        loop {
            tokio::time::sleep(WATCH_EVERY).await;
            let silent = match self.live.head().await {
                Ok(head) => {
                    matches!(self.own.read(head.last_sequence.max(1), 1).await, Err(LogError::Unavailable(_)))
                }
                // Nobody leads, so nothing can be expected.
                Err(_) => false,
            };
            if !silent || self.making_anew.try_lock().is_err() {
                stuck = None;
                continue;
            }
            // While it is being filled its files grow.
            let bytes = match stored_bytes(&nats) {
                Ok(bytes) => bytes,
                // One that has nothing has no folder either.
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                Err(error) => {
                    tracing::warn!(%error, "this node's replica of the log answers nothing, and its files can't be looked at");
                    stuck = None;
                    continue;
                }
            };
            let since = stuck.filter(|(_, before)| *before == bytes).map_or_else(Instant::now, |(since, _)| since);
            stuck = Some((since, bytes));
            if since.elapsed() < STUCK {
                continue;
            }
            tracing::error!("ALARM: this node's replica of the log answers nothing; it is made anew from the others");
            let made = match self.wanted().await {
                Ok(wanted) => self.make_anew(wanted).await,
                Err(why) => Err(why),
            };
            match made {
                Ok(aside) => tracing::warn!(damaged = aside, "this node's replica is whole; the old store is kept"),
                Err(why) => tracing::error!(why, "this node's replica was not made anew; it is tried again"),
            }
            stuck = None;
        }
    }

    fn name(&self) -> String {
        self.credentials.server_name()
    }

    /// What a replica must have: what is archived, as far as the log goes.
    async fn wanted(&self) -> Result<ChainHead, String> {
        let last = self.live.head().await.map_err(|error| error_chain(&error))?.last_sequence;
        let archived = self.archive.head().await;
        if archived.sequence <= last {
            return Ok(archived);
        }
        let read = self.archive.read(last, 1).await.map_err(|error| error_chain(&error))?;
        Ok(read.first().filter(|_| last > 0).map_or(ChainHead::GENESIS, |stored| ChainHead {
            sequence: stored.sequence,
            hash: chain::hash(&stored.payload),
        }))
    }

    async fn health(&self, replica: &JetStreamLog, wanted: ChainHead) -> Health {
        match verify_from(replica, self.archive.released(), Some(wanted.sequence)).await {
            Ok(found) if found.hash == wanted.hash => Health::Whole,
            Ok(found) => Health::Foreign(found.sequence),
            Err(LogError::Damaged(damage)) => Health::Damaged(damage.to_string()),
            Err(error) => Health::Silent(error_chain(&error)),
        }
    }

    /// Which of the other servers have a whole replica, by name. Those that are damaged and come first in the list are waited
    /// for: one after the other, so that a majority is there all the while.
    async fn whole_others(&self, wanted: ChainHead) -> Result<Vec<String>, String> {
        let (mut whole, mut own_seen) = (Vec::new(), false);
        for member in self.credentials.members() {
            if member.client == self.credentials.address() {
                own_seen = true;
                continue;
            }
            let url = self.credentials.url_of(NatsRole::Reader, member);
            let health = match JetStreamLog::connect(this_replica(url)).await {
                Ok(replica) => self.health(&replica, wanted).await,
                Err(error) => Health::Silent(error_chain(&error)),
            };
            match health {
                Health::Whole => whole.push(self.credentials.name_of(member)),
                Health::Damaged(what) if !own_seen => {
                    return Err(format!(
                        "the replica on node {} is damaged, too ({what}), and goes first",
                        member.node
                    ));
                }
                Health::Foreign(_) => tracing::warn!(node = member.node, "another replica is not what is archived"),
                Health::Damaged(what) | Health::Silent(what) => {
                    tracing::warn!(node = member.node, what, "another replica is no help");
                }
            }
        }
        Ok(whole)
    }

    async fn make_anew(&self, wanted: ChainHead) -> Result<String, String> {
        let _alone = self.making_anew.lock().await;
        let whole = self.whole_others(wanted).await?;
        if whole.is_empty() {
            return Err("no other replica is whole: bring one back; or stop all daemons, copy the archive folder of the node that has archived most (\"archived\" in edgestackd --print-join) over those of the others, move nats/jetstream away on each node, and start all: the log is then filled from the archives".to_owned());
        }
        // Looked at again while this server is stopped: the others go on without it by then, so nothing that was acknowledged
        // is here alone.
        let live = self.live.clone();
        let led_by_whole = async move {
            let deadline = Instant::now() + ELECTED_WITHIN;
            loop {
                let why = match live.copies().await {
                    Ok(copies) if copies.leader.as_ref().is_some_and(|leader| whole.contains(leader)) => return Ok(()),
                    Ok(copies) => format!("{} leads", copies.leader.as_deref().unwrap_or("no server")),
                    Err(error) => error_chain(&error),
                };
                if Instant::now() > deadline {
                    return Err(io::Error::other(format!("no server with a whole replica leads the others: {why}")));
                }
                tokio::time::sleep(ASK_AGAIN).await;
            }
        };
        let aside = self.keeper.replace_if(led_by_whole).await.map_err(|error| error_chain(&error))?;
        let deadline = Instant::now() + FILLED_WITHIN;
        loop {
            let current = self.live.copies().await.is_ok_and(|copies| copies.is_current(&self.name()));
            let why = match self.health(&self.own, wanted).await {
                Health::Whole if current => return Ok(aside.display().to_string()),
                Health::Whole => "it is not current".to_owned(),
                Health::Foreign(sequence) => format!("its commit {sequence} is not the archive's"),
                Health::Damaged(what) | Health::Silent(what) => what,
            };
            if Instant::now() > deadline {
                return Err(format!("this node's replica was not filled by the others: {why}"));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
}

#[async_trait]
impl LogStore for OwnReplica {
    async fn replace(&self, _first: u64) -> Result<String, String> {
        let wanted = self.wanted().await?;
        match self.health(&self.own, wanted).await {
            // What is missing at the log's end is appended; the others are filled by that.
            Health::Whole => Ok("none: this node's replica is whole".to_owned()),
            Health::Foreign(sequence) => Err(format!(
                "the cluster's log and the archive of this node are two different logs from before commit {sequence} on; if the log is the right one, move the archive away and start again"
            )),
            Health::Silent(why) => Err(format!("this node's replica can't be read: {why}")),
            Health::Damaged(what) => {
                tracing::error!(
                    what,
                    "ALARM: this node's replica of the log is damaged; it is made anew from the others"
                );
                self.make_anew(wanted).await
            }
        }
    }

    fn is_one_of_several(&self) -> bool {
        true
    }
}
