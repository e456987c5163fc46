//! The log: our nats-server, the connection, the promise of law 3, and the replica on it.

use std::{path::Path, sync::Arc, time::Duration};

use edgestack_archive::{Archive, Repairer, Unfit, WholeLog};
use edgestack_backup::SigningKey;
use edgestack_engine::{Replica, catch_up, error_chain, follow, follow_behind, mend_when_repaired, verify_on_a_timer};
use edgestack_log::{
    ChainHead, Log, LogError,
    jetstream::{
        Credentials, JetStreamLog, Member, NatsServer, NatsServerOptions, Options as LogOptions, Role as NatsRole,
        read_promise,
    },
};
use edgestack_model::World;
use edgestack_views::Views;

use crate::{
    archiving::{self, JetStreamStore},
    cluster::{self, OwnReplica},
    failure::Failure,
    options::{Options, Role},
    permit::Permit,
    release, signed_head, state_folder, store_guard,
};

/// The least rest between two readings of the whole log.
const VERIFY_EVERY: Duration = Duration::from_secs(60);
/// How often a process that cannot repair the log looks whether another has.
const LOOK_FOR_REPAIR: Duration = Duration::from_secs(2);
/// How far behind its own writer an engine's process reads the log back.
const FOLLOW_BEHIND: Duration = Duration::from_millis(250);
/// How often views are written that nobody reads.
const SETTLE_EVERY: Duration = Duration::from_millis(200);

/// What a process has of the log.
pub struct LogStore {
    /// Our nats-server, if this process runs it.
    pub server: Option<NatsServer>,
    /// Passwords and address.
    pub credentials: Credentials,
    /// The connection.
    pub log: Arc<JetStreamLog>,
    /// The log with what has left it, where this process can read that.
    pub whole: Arc<dyn Log>,
    /// The same, for who holds appends back.
    pub held: Option<WholeLog>,
    /// The second copy of the log, if this process keeps it.
    pub archive: Option<Arc<Archive>>,
    /// The views, if this process keeps some.
    pub views: Option<Views>,
    /// The folded world.
    pub replica: Arc<Replica>,
}

/// Opens the log and folds it up to its end.
///
/// # Errors
/// [`Failure`]; above all when the promise of law 3 is not kept.
///
/// `members` are the servers of the cluster; nothing is written before the log has come to the commit
/// `archived`.
pub async fn open(
    options: &Options,
    root: &Path,
    signing: &SigningKey,
    members: &[Member],
    archived: u64,
) -> Result<LogStore, Failure> {
    let folder = state_folder::nats(root);
    // sled reads its file while nats-server starts.
    let views = options.has(Role::Api).then(|| {
        let folder = state_folder::views(root);
        tokio::task::spawn_blocking(move || edgestack_views::open(&folder).map_err(|error| (folder, error)))
    });
    let server = if options.has(Role::Nats) {
        release::settle(&folder).await?;
        let mut wanted = NatsServerOptions::new(options.nats_server(), &folder);
        wanted.port = options.nats_port.unwrap_or(0);
        if !members.is_empty() {
            let node = options.node_name();
            let own = cluster::own(members, node.as_ref()).ok_or_else(|| Failure::Cluster {
                why: format!(
                    "node {} is none of them; see --node",
                    node.map_or_else(String::new, |node| node.to_string())
                ),
            })?;
            (wanted.host, wanted.port, wanted.cluster) = (own.client.ip(), own.client.port(), members.to_vec());
        }
        Some(NatsServer::start(wanted).await?)
    } else {
        None
    };
    let credentials = match &server {
        Some(server) => server.credentials().clone(),
        None => Credentials::load(&folder)?,
    };
    let replicas = credentials.replicas();
    let role = if options.has(Role::Engine) { NatsRole::Engine } else { NatsRole::Reader };
    let mut reach = LogOptions::new(credentials.url(role), role);
    if replicas > 1 {
        reach.ack_timeout = cluster::ACK_TIMEOUT;
    }
    let log = JetStreamLog::connect(reach).await?;
    if options.has(Role::Engine) {
        if replicas > 1 {
            cluster::wait_for_majority(&log, replicas, archived).await;
        } else {
            log.ensure_stream(replicas).await?;
        }
        // Good to have, and no reason not to serve.
        if let Err(error) = log.refused().ensure(replicas).await {
            tracing::warn!(
                error = error_chain(&error),
                "refused commands are not kept over a restart: their stream can't be made"
            );
        }
        let broken = read_promise(&log, &credentials.url(NatsRole::Monitor), replicas).await?;
        if !broken.is_empty() {
            return Err(Failure::BrokenPromise { broken });
        }
    }
    let log = Arc::new(log);
    let (mut unrepaired, mut held, mut permits, mut own_replica) = (None, None, None, None);
    let repairer = if options.has(Role::Engine) {
        let archive = archiving::open(&state_folder::archive(root), options).await?;
        let store: Option<Arc<dyn edgestack_archive::LogStore>> = match &server {
            Some(server) if replicas > 1 => {
                let replica = Arc::new(OwnReplica::of(server, &log, &archive).await?);
                own_replica = Some(replica.log());
                tokio::spawn(replica.clone().watch(folder.clone()));
                Some(replica)
            }
            Some(server) => Some(Arc::new(JetStreamStore { log: log.clone(), keeper: server.store_keeper() })),
            None => None,
        };
        signed_head::check_owner(&archive, signing).await?;
        signed_head::check_release(&archive, signing).await?;
        if server.is_none() {
            let permit = Permit {
                live: log.clone(),
                archive: archive.clone(),
                site: options.site.to_string(),
                signing: signing.clone(),
            };
            permit.at_start().await?;
            permits = Some(permit);
        }
        let whole = WholeLog::new(log.clone(), archive.clone());
        held = Some(whole.clone());
        let repairer = Repairer { archive, log: Arc::new(whole), store };
        unrepaired = repairer.check_at_start().await.map_err(|unfit| match unfit {
            Unfit::Incomparable(error) => Failure::Incomparable(error),
            Unfit::ForeignLog { sequence } => {
                Failure::ForeignLog { sequence, folder: repairer.archive.folder().to_owned() }
            }
        })?;
        if unrepaired.is_none() {
            signed_head::check(&repairer.archive, &*repairer.log, signing).await?;
            tokio::spawn(signed_head::keep(repairer.archive.clone(), options.site.to_string(), signing.clone()));
        }
        Some(repairer)
    } else {
        None
    };
    let shared: Arc<dyn Log> = match &held {
        Some(whole) => Arc::new(whole.clone()),
        None => log.clone(),
    };
    let (views, restored) = match views {
        Some(opening) => match opening.await {
            Ok(Ok(opened)) => (Some(opened.views), opened.restored),
            Ok(Err((path, source))) => return Err(Failure::Folder { path, source }),
            Err(error) => {
                return Err(Failure::System {
                    what: "a thread to open the views",
                    source: std::io::Error::other(error),
                });
            }
        },
        None => (None, None),
    };
    let (world, head) = match restored {
        Some(restored) => (restored.world, restored.head),
        None => (World::default(), ChainHead::GENESIS),
    };
    let from = head.sequence;
    if let Some(views) = views.as_ref().filter(|_| from == 0) {
        views.begin_anew().map_err(|source| Failure::System { what: "a thread to make the views anew", source })?;
    }
    let replica = Replica::new(world, head, views.as_ref().map(Views::projection));
    match catch_up(&*shared, &replica).await {
        Ok(()) => {}
        // Law 4: the alarm is raised. Where it can't be repaired writes are refused, and what was folded before is still
        // to be read.
        Err(LogError::Damaged(_)) => {
            if let Some(repairer) = &repairer {
                repairer.try_to_mend(&replica).await;
            }
        }
        Err(error) => return Err(error.into()),
    }
    if let Some(views) = &views {
        let (world, head) = replica.snapshot();
        // Reads tell that they fail, and a restart makes them anew once more.
        if let Err(error) = views.complete(&world, &head) {
            tracing::error!(error = error_chain(&error), "the views could not be made anew; restart edgestackd");
        }
    }
    // Another process's server: nobody here can repair, and what is missing lies beyond what is folded.
    let for_a_person = unrepaired.is_some();
    if let Some(damage) = unrepaired {
        replica.fail(damage.into());
    }
    tracing::info!(from, seq = replica.head().sequence, "folded the log");
    if let Some(views) = views.clone() {
        tokio::spawn(settle_on_a_beat(views));
    }
    if options.has(Role::Engine) {
        tokio::spawn(follow_behind(shared.clone(), replica.clone(), FOLLOW_BEHIND));
    } else {
        tokio::spawn(follow(shared.clone(), replica.clone()));
    }
    match &repairer {
        Some(repairer) if repairer.store.is_some() => repairer.start(&replica),
        Some(repairer) if for_a_person => repairer.start(&replica),
        Some(repairer) => {
            repairer.start(&replica);
            tokio::spawn(mend_when_repaired(shared.clone(), replica.clone(), LOOK_FOR_REPAIR));
        }
        None => drop(tokio::spawn(mend_when_repaired(shared.clone(), replica.clone(), LOOK_FOR_REPAIR))),
    }
    if let Some(server) = server.as_ref().filter(|_| replicas == 1 && repairer.is_some()) {
        tokio::spawn(store_guard::watch_over(server.state(), folder, replica.clone()));
    }
    if replicas > 1 {
        tokio::spawn(cluster::watch_over(log.clone(), credentials.clone()));
    }
    // Each server's replica is read by the process that can make it anew.
    tokio::spawn(verify_on_a_timer(own_replica.unwrap_or_else(|| shared.clone()), replica.clone(), VERIFY_EVERY));
    if let Some(permit) = permits {
        tokio::spawn(permit.run(replica.clone()));
    }
    let archive = repairer.map(|repairer| repairer.archive);
    Ok(LogStore { server, credentials, log, whole: shared, held, archive, views, replica })
}

/// Views are written when they are read; this keeps them near the log's end where nobody reads.
async fn settle_on_a_beat(views: Views) {
    let mut beat = tokio::time::interval(SETTLE_EVERY);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        let views = views.clone();
        if let Err(error) = tokio::task::spawn_blocking(move || views.settle()).await {
            tracing::error!(%error, "writing the views panicked; it is repeated");
        }
    }
}
