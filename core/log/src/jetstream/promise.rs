//! Law 3: acknowledged means durable. What that rests on is read from the running server and the stream that is there,
//! never taken from what we once configured.

use std::collections::BTreeMap;
use std::time::Duration;

use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use serde_json::Value;

use super::api::{self, StreamInfo};
use super::connection::split_url;
use super::stream::{ACCEPTED_SUBJECTS, STREAM};
use super::{JetStreamLog, Role};
use crate::{Cause, LogError};

/// JetStream before this version loses streams or lacks checks we rest on.
const OLDEST_VERSION: (u64, u64) = (2, 15);
/// How long servers have to answer; all of a cluster are asked at once.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// One thing that breaks the promise, with its fix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokenPromise {
    /// The server is too old.
    #[error("nats-server {server} is {version}; 2.15 or newer is needed: install a newer nats-server and restart it")]
    ServerTooOld {
        /// Name of the server.
        server: String,
        /// Its version.
        version: String,
    },
    /// An acknowledged write may be lost at a power cut.
    #[error(
        "nats-server {server} syncs only every {sync_interval_s} s, so an acknowledged commit could be lost at a power \
         cut: set `sync_interval: always` in its jetstream block and restart it"
    )]
    SyncNotAlways {
        /// Name of the server.
        server: String,
        /// Its interval, in seconds.
        sync_interval_s: u64,
    },
    /// The server's settings can't be read.
    #[error("nats-server {server} holds the stream but doesn't tell its settings: look whether it runs")]
    ServerSilent {
        /// Name of the server.
        server: String,
    },
    /// The stream acknowledges before it writes.
    #[error("stream MM3 has persist_mode {mode:?}, which acknowledges before writing: {REMAKE}")]
    AsyncPersist {
        /// The mode.
        mode: String,
    },
    /// The stream throws old commits away.
    #[error(
        "stream MM3 has {setting} = {value}, which evicts commits: run `nats stream edit MM3` and set it to unlimited"
    )]
    Evicts {
        /// The setting's name in the stream's configuration.
        setting: &'static str,
        /// Its value (durations in nanoseconds).
        value: i64,
    },
    /// A full stream would delete old commits instead of refusing new ones.
    #[error("stream MM3 has discard {policy:?}, which deletes old commits: run `nats stream edit MM3 --discard=new`")]
    DiscardNotNew {
        /// The policy.
        policy: String,
    },
    /// Single commits can be deleted.
    #[error("stream MM3 allows deleting commits: {REMAKE}")]
    DeleteAllowed,
    /// The stream can be purged.
    #[error("stream MM3 allows purging: {REMAKE}")]
    PurgeAllowed,
    /// A message can purge all before it.
    #[error("stream MM3 allows roll-up headers, by which one message purges others: {REMAKE}")]
    RollupAllowed,
    /// A message can say when it is to vanish.
    #[error("stream MM3 allows messages with a time to live: {REMAKE}")]
    MessageTtlAllowed,
    /// The stream isn't on disk.
    #[error("stream MM3 has storage {storage:?}, which doesn't outlive the server: {REMAKE}")]
    NotOnDisk {
        /// The kind of storage.
        storage: String,
    },
    /// Commits vanish once they are consumed.
    #[error("stream MM3 has retention {retention:?}, which removes what was consumed: {REMAKE}")]
    RetentionNotLimits {
        /// The policy.
        retention: String,
    },
    /// The stream doesn't acknowledge.
    #[error("stream MM3 has no_ack set, so nothing is ever known to be stored: run `nats stream edit MM3 --ack`")]
    NoAcknowledgements,
    /// Others than the writer fill the stream.
    #[error("stream MM3 takes messages from elsewhere ({setting}), past the writer's fence: {REMAKE}")]
    ForeignSource {
        /// The setting's name in the stream's configuration.
        setting: &'static str,
    },
    /// The stream doesn't store our subjects, or stores more.
    #[error(
        "stream MM3 stores {subjects:?} instead of mm3.commit.>: run `nats stream edit MM3 --subjects=mm3.commit.>`"
    )]
    WrongSubjects {
        /// What it stores.
        subjects: Vec<String>,
    },
    /// Fewer copies than the site is configured for.
    #[error("stream MM3 has {actual} replicas instead of {wanted}: run `nats stream edit MM3 --replicas={wanted}`")]
    TooFewReplicas {
        /// Configured for the site.
        wanted: usize,
        /// Of the stream.
        actual: usize,
    },
}

const REMAKE: &str = "this can't be mended in place; copy the log (`nats stream backup`), make the stream anew by starting \
                      the daemon on an empty store, and restore it";

/// Why the promise couldn't be read.
#[derive(Debug, thiserror::Error)]
pub enum PromiseError {
    /// The stream's settings didn't come.
    #[error("can't read the settings of the stream MM3")]
    Stream(#[source] LogError),
    /// The server's settings didn't come.
    #[error("can't read the settings of nats-server with the user {}", Role::Monitor)]
    Server(#[source] Cause),
}

/// Reads the real settings of every server that holds the stream, and of the stream, and returns what breaks the
/// promise of law 3: nothing when all is well. The daemon must not serve writes otherwise.
///
/// `monitor_url` is a URL of a user of the system account who may ask `$SYS.REQ.SERVER.PING.VARZ`
/// ([`Role::Monitor`]); `replicas` is what the site is configured for.
///
/// Servers of a cluster that don't answer are no reason as long as those that do are a majority.
///
/// # Errors
/// When the settings can't be read, which is no better than a broken promise.
pub async fn read_promise(
    log: &JetStreamLog,
    monitor_url: &str,
    replicas: usize,
) -> Result<Vec<BrokenPromise>, PromiseError> {
    let live = log.live().map_err(PromiseError::Stream)?;
    let info = api::stream_info(&live, STREAM).await.map_err(PromiseError::Stream)?;
    let holders = holders(&info, &live.client.server_info().server_name);
    let mut servers = read_servers(monitor_url, &holders).await?;
    let (mut broken, mut silent, count) = (Vec::new(), Vec::new(), holders.len());
    for holder in holders {
        match servers.remove(&holder) {
            Some(server) => broken.extend(broken_by_server(&server)),
            None => silent.push(holder),
        }
    }
    // A majority acknowledges, so a minority may be down: what it did before, its own start has looked at.
    if silent.len() > (count - 1) / 2 {
        broken.extend(silent.into_iter().map(|server| BrokenPromise::ServerSilent { server }));
    } else if !silent.is_empty() {
        tracing::warn!(?silent, "some servers of the cluster don't answer; the others are a majority, and go on");
    }
    broken.extend(broken_by_stream(&info.config, replicas));
    Ok(broken)
}

fn holders(info: &StreamInfo, connected_to: &str) -> Vec<String> {
    // A server alone may leave out the cluster, or name itself as its leader.
    let Some(cluster) = &info.cluster else {
        return vec![connected_to.to_owned()];
    };
    let mut names: Vec<_> = cluster.leader.iter().cloned().collect();
    names.extend(cluster.replicas.iter().map(|replica| replica.name.clone()));
    if names.is_empty() { vec![connected_to.to_owned()] } else { names }
}

/// What `VARZ` says (nats-server `server/monitor.go`, `Varz`), as much as we need.
#[derive(Debug, Deserialize)]
struct Varz {
    server_name: String,
    version: String,
    #[serde(default)]
    jetstream: JetStreamVarz,
}

#[derive(Debug, Default, Deserialize)]
struct JetStreamVarz {
    #[serde(default)]
    config: Option<JetStreamConfig>,
}

#[derive(Debug, Deserialize)]
struct JetStreamConfig {
    /// Nanoseconds.
    #[serde(default)]
    sync_interval: u64,
    #[serde(default)]
    sync_always: bool,
}

async fn read_servers(monitor_url: &str, holders: &[String]) -> Result<BTreeMap<String, Varz>, PromiseError> {
    let (address, user, password) = split_url(monitor_url).map_err(PromiseError::Server)?;
    let client = ConnectOptions::new()
        .user_and_password(user.unwrap_or_default(), password.unwrap_or_default())
        .name(format!("edgestack {}", Role::Monitor))
        .custom_inbox_prefix(Role::Monitor.inbox())
        .connect(address.split(',').collect::<Vec<_>>())
        .await
        .map_err(|error| PromiseError::Server(Cause::with_source("can't connect to NATS", error)))?;
    let mut servers = BTreeMap::new();
    let told = tokio::time::timeout(ANSWER_TIMEOUT, ask_servers(&client, holders, &mut servers)).await;
    // Servers that stayed silent are told by name.
    if let Ok(told) = told {
        told?;
    }
    Ok(servers)
}

async fn ask_servers(
    client: &Client,
    holders: &[String],
    servers: &mut BTreeMap<String, Varz>,
) -> Result<(), PromiseError> {
    #[derive(Deserialize)]
    struct Answer {
        data: Varz,
    }
    let fail = |why: &str, error| PromiseError::Server(Cause::with_source(why, error));
    let inbox = client.new_inbox();
    let mut answers = client
        .subscribe(inbox.clone())
        .await
        .map_err(|error| PromiseError::Server(Cause::with_source("can't listen for the answer", error)))?;
    client
        .publish_with_reply("$SYS.REQ.SERVER.PING.VARZ", inbox, Bytes::new())
        .await
        .map_err(|error| PromiseError::Server(Cause::with_source("can't ask", error)))?;
    while !holders.iter().all(|holder| servers.contains_key(holder)) {
        let Some(answer) = answers.next().await else {
            return Ok(());
        };
        if answer.status.is_some() {
            let why = "no server answers; is it a user of the system account?";
            return Err(PromiseError::Server(Cause::new(why)));
        }
        let answer: Answer =
            serde_json::from_slice(&answer.payload).map_err(|error| fail("an answer isn't understood", error))?;
        servers.insert(answer.data.server_name.clone(), answer.data);
    }
    Ok(())
}

fn broken_by_server(varz: &Varz) -> Vec<BrokenPromise> {
    let server = || varz.server_name.clone();
    let mut broken = Vec::new();
    if version(&varz.version).is_none_or(|version| version < OLDEST_VERSION) {
        broken.push(BrokenPromise::ServerTooOld { server: server(), version: varz.version.clone() });
    }
    match &varz.jetstream.config {
        Some(config) if config.sync_always => {}
        Some(config) => {
            let sync_interval_s = config.sync_interval / 1_000_000_000;
            broken.push(BrokenPromise::SyncNotAlways { server: server(), sync_interval_s });
        }
        None => broken.push(BrokenPromise::ServerSilent { server: server() }),
    }
    broken
}

fn version(text: &str) -> Option<(u64, u64)> {
    let mut parts = text.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn broken_by_stream(config: &Value, replicas: usize) -> Vec<BrokenPromise> {
    let text = |key: &str| config.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let set = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
    let mut broken = Vec::new();
    let mode = text("persist_mode");
    if !mode.is_empty() && mode != "default" {
        broken.push(BrokenPromise::AsyncPersist { mode });
    }
    for setting in ["max_msgs", "max_bytes", "max_age", "max_msgs_per_subject"] {
        let value = config.get(setting).and_then(Value::as_i64).unwrap_or(0);
        if value > 0 {
            broken.push(BrokenPromise::Evicts { setting, value });
        }
    }
    if text("discard") != "new" {
        broken.push(BrokenPromise::DiscardNotNew { policy: text("discard") });
    }
    if text("storage") != "file" {
        broken.push(BrokenPromise::NotOnDisk { storage: text("storage") });
    }
    if text("retention") != "limits" {
        broken.push(BrokenPromise::RetentionNotLimits { retention: text("retention") });
    }
    let flags = [
        (!set("deny_delete"), BrokenPromise::DeleteAllowed),
        (!set("deny_purge"), BrokenPromise::PurgeAllowed),
        (set("allow_rollup_hdrs"), BrokenPromise::RollupAllowed),
        (set("allow_msg_ttl"), BrokenPromise::MessageTtlAllowed),
        (set("no_ack"), BrokenPromise::NoAcknowledgements),
    ];
    broken.extend(flags.into_iter().filter(|(is_broken, _)| *is_broken).map(|(_, promise)| promise));
    for setting in ["mirror", "sources", "subject_transform"] {
        if config.get(setting).is_some_and(|value| !value.is_null()) {
            broken.push(BrokenPromise::ForeignSource { setting });
        }
    }
    let subjects = config.get("subjects").and_then(Value::as_array).cloned().unwrap_or_default();
    let subjects: Vec<_> = subjects.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    if subjects != [ACCEPTED_SUBJECTS] {
        broken.push(BrokenPromise::WrongSubjects { subjects });
    }
    let actual = config.get("num_replicas").and_then(Value::as_u64).unwrap_or(0) as usize;
    if actual < replicas {
        broken.push(BrokenPromise::TooFewReplicas { wanted: replicas, actual });
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_settings_keep_the_promise() {
        assert_eq!(broken_by_stream(&super::super::stream::config(1, 1), 1), vec![]);
        assert_eq!(super::super::STREAM, "MM3", "the sentences name the stream");
    }

    #[test]
    fn old_servers_and_odd_versions_are_refused() {
        for (text, old) in [("2.14.9", true), ("2.15.0-dev", false), ("2.15.1", false), ("3.0.0", false), ("x", true)] {
            let config = Some(JetStreamConfig { sync_interval: 0, sync_always: true });
            let varz = Varz { server_name: "n".into(), version: text.into(), jetstream: JetStreamVarz { config } };
            assert_eq!(!broken_by_server(&varz).is_empty(), old, "{text}");
        }
    }
}
