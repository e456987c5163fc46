//! The few JetStream requests we make, in their own words (NATS JetStream API, JSON over request and reply; "direct get"
//! in ADR-31). Raw, because the settings must be read as the server tells them, also those a client library lacks.

use std::error::Error as _;
use std::time::{Duration, Instant};

use async_nats::{Client, Message, RequestError, RequestErrorKind};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::connection::Live;
use super::stream::STREAM;
use crate::{Cause, LogError};

// Error numbers of nats-server (`server/errors.json`); numbers are stable, texts are not.
/// JSClusterNotAvailErr: no leader now.
pub(super) const NOT_AVAILABLE: u64 = 10008;
/// JSInsufficientResourcesErr.
pub(super) const NO_RESOURCES: u64 = 10023;
/// JSNoMessageFoundErr.
const NO_MESSAGE: u64 = 10037;
/// JSNotEnabledForAccountErr.
pub(super) const NOT_ENABLED_FOR_ACCOUNT: u64 = 10039;
/// JSStorageResourcesExceededErr: the disk is full.
pub(super) const NO_STORAGE: u64 = 10047;
/// JSStreamMessageExceedsMaximumErr.
pub(super) const MESSAGE_TOO_LARGE: u64 = 10054;
/// JSStreamNameExistErr: there is one with other settings.
pub(super) const STREAM_EXISTS: u64 = 10058;
/// JSStreamNotFoundErr.
pub(super) const STREAM_NOT_FOUND: u64 = 10059;
/// JSStreamWrongLastMsgIDErrF.
pub(super) const WRONG_LAST_MESSAGE_ID: u64 = 10070;
/// JSStreamWrongLastSequenceErrF.
pub(super) const WRONG_LAST_SEQUENCE: u64 = 10071;
/// JSNotEnabledErr.
pub(super) const NOT_ENABLED: u64 = 10076;
/// JSStreamDuplicateMessageConflictErr.
pub(super) const DUPLICATE_IN_PROCESS: u64 = 10158;
/// JSStreamWrongLastSequenceConstantErr.
pub(super) const WRONG_LAST_SEQUENCE_CONSTANT: u64 = 10164;

/// An answer is bounded, so that it neither fills the server's buffer for a connection nor our own memory.
const READ_BYTES_MAX: usize = 8 * 1024 * 1024;
const READ_MESSAGES_MAX: usize = 4096;

/// How soon the stream's leading server is asked again after another has answered: an election gives no event.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// The error object of a JetStream answer.
#[derive(Debug, Clone, Deserialize, thiserror::Error)]
#[error("{description} (code {code}, error {err_code})")]
pub(super) struct ApiError {
    pub(super) code: u64,
    #[serde(default)]
    pub(super) err_code: u64,
    #[serde(default)]
    pub(super) description: String,
}

impl From<ApiError> for LogError {
    fn from(error: ApiError) -> Self {
        let cause = Cause::with_source("JetStream answered", error.clone());
        if error.code >= 500 { Self::Unavailable(cause) } else { Self::Refused(cause) }
    }
}

impl ApiError {
    /// Whether an error is the server's word that it has no such stream.
    pub(super) fn is_no_stream(error: &LogError) -> bool {
        let cause = match error {
            LogError::Refused(cause) | LogError::Unavailable(cause) => cause,
            LogError::Damaged(_) => return false,
        };
        let told = cause.source().and_then(|source| source.downcast_ref::<Self>());
        told.is_some_and(|told| told.err_code == STREAM_NOT_FOUND)
    }
}

/// `$JS.API.STREAM.INFO.<stream>`.
#[derive(Debug, Deserialize)]
pub(super) struct StreamInfo {
    pub(super) state: StreamState,
    /// As the server tells it.
    pub(super) config: Value,
    #[serde(default)]
    pub(super) cluster: Option<StreamCluster>,
}

impl StreamInfo {
    /// Whether the server that told it leads the stream: it lists the replicas but its own.
    fn is_the_leaders(&self) -> bool {
        let replicas = self.config.get("num_replicas").and_then(Value::as_u64).unwrap_or(1);
        if replicas <= 1 {
            return true;
        }
        let Some(cluster) = &self.cluster else { return false };
        let leader = cluster.leader.as_deref().unwrap_or_default();
        !leader.is_empty()
            && cluster.replicas.len() as u64 + 1 >= replicas
            && cluster.replicas.iter().all(|replica| replica.name != leader)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct StreamState {
    pub(super) messages: u64,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
}

/// Which servers hold the stream.
#[derive(Debug, Deserialize)]
pub(super) struct StreamCluster {
    #[serde(default)]
    pub(super) leader: Option<String>,
    #[serde(default)]
    pub(super) replicas: Vec<StreamReplica>,
}

/// A follower, as the leader sees it.
#[derive(Debug, Deserialize)]
pub(super) struct StreamReplica {
    pub(super) name: String,
    #[serde(default)]
    pub(super) current: bool,
    #[serde(default)]
    pub(super) offline: bool,
    /// Entries that it has not applied yet.
    #[serde(default)]
    pub(super) lag: u64,
}

/// One message as the stream holds it; what is in it, [`lines`](super::lines) tells.
#[derive(Debug)]
pub(super) struct StoredMessage {
    /// The stream's sequence.
    pub(super) sequence: u64,
    pub(super) payload: Bytes,
}

pub(super) fn told_by_request(error: RequestError) -> LogError {
    match error.kind() {
        RequestErrorKind::NoResponders => silent(),
        RequestErrorKind::InvalidSubject | RequestErrorKind::MaxPayloadExceeded => {
            LogError::Refused(Cause::with_source("the request can't be sent", error))
        }
        _ => LogError::Unavailable(Cause::with_source("NATS gave no answer", error)),
    }
}

pub(super) fn not_understood(error: serde_json::Error) -> LogError {
    LogError::Refused(Cause::with_source("the answer of JetStream isn't understood", error))
}

/// One request of the JSON API; the outer error is the connection's, the inner one the server's.
pub(super) async fn request<T: DeserializeOwned>(
    client: &Client,
    subject: String,
    body: Option<Value>,
) -> Result<Result<T, ApiError>, LogError> {
    let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
    let answer = client.request(subject, body).await.map_err(told_by_request)?;
    let mut answer: Value = serde_json::from_slice(&answer.payload).map_err(not_understood)?;
    if let Some(error) = answer.get_mut("error") {
        return Ok(Err(serde_json::from_value(error.take()).map_err(not_understood)?));
    }
    serde_json::from_value(answer).map(Ok).map_err(not_understood)
}

/// What the leading server tells of a stream.
///
/// In a cluster others answer, too, with what they have, which may be nothing: any while none leads, and for 10 s after its
/// start the one that was to lead when the stream was made (nats-server 2.15, `jsStreamInfoRequest`). Of two answers the first
/// alone comes through. So one that isn't the leading server's counts for nothing, and is asked for again.
pub(super) async fn stream_info(live: &Live, stream: &str) -> Result<StreamInfo, LogError> {
    let asked = Instant::now();
    loop {
        let info: StreamInfo = request(&live.client, format!("$JS.API.STREAM.INFO.{stream}"), None).await??;
        if info.is_the_leaders() {
            return Ok(info);
        }
        if asked.elapsed() >= live.request_timeout {
            let why = "the stream's leading server doesn't answer, or there is none";
            return Err(LogError::Unavailable(Cause::new(why)));
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Nobody answers.
pub(super) fn silent() -> LogError {
    LogError::Unavailable(Cause::new("no server answers (JetStream is down or starting, or the right is missing)"))
}

/// `$JS.API.STREAM.MSG.GET.<stream>`: answered by the stream's leader only, so what it doesn't know isn't acknowledged.
pub(super) async fn message_get(live: &Live, sequence: u64) -> Result<Option<StoredMessage>, LogError> {
    #[derive(Deserialize)]
    struct Answer {
        message: Stored,
    }
    #[derive(Deserialize)]
    struct Stored {
        seq: u64,
        #[serde(default)]
        data: String,
    }
    let subject = format!("$JS.API.STREAM.MSG.GET.{STREAM}");
    match request::<Answer>(&live.client, subject, Some(json!({ "seq": sequence }))).await? {
        Ok(Answer { message }) => {
            let payload = BASE64.decode(message.data).map_err(|error| {
                LogError::Refused(Cause::with_source("the answer of JetStream isn't base64", error))
            })?;
            Ok(Some(StoredMessage { sequence: message.seq, payload: payload.into() }))
        }
        Err(error) if error.err_code == NO_MESSAGE => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// `$JS.API.DIRECT.GET.<stream>` with `batch`: the messages from `from` on as plain messages, then a status 204. The
/// server steps over what is missing, so the caller checks for gaps; from a replica it may end early. `None`: nobody
/// answers, as a server whose replica is not current does.
pub(super) async fn direct_get(
    live: &Live,
    stream: &str,
    from: u64,
    max_messages: usize,
    timeout: Duration,
) -> Result<Option<Vec<StoredMessage>>, LogError> {
    let batch = max_messages.min(READ_MESSAGES_MAX);
    let body = json!({ "seq": from, "batch": batch, "max_bytes": READ_BYTES_MAX }).to_string();
    let unavailable = |error| LogError::Unavailable(Cause::with_source("NATS gave no answer", error));
    let inbox = live.client.new_inbox();
    let mut answers = live
        .client
        .subscribe(inbox.clone())
        .await
        .map_err(|error| LogError::Unavailable(Cause::with_source("can't listen for the answer", error)))?;
    live.client
        .publish_with_reply(format!("$JS.API.DIRECT.GET.{stream}"), inbox, body.into())
        .await
        .map_err(|error| LogError::Unavailable(Cause::with_source("can't send the request", error)))?;
    let mut found = Vec::new();
    loop {
        let answer = match answers.next().now_or_never() {
            Some(ready) => ready,
            // A timer for each of thousands of messages costs more than the messages.
            None => tokio::time::timeout(timeout, answers.next()).await.map_err(unavailable)?,
        };
        let Some(answer) = answer else {
            return Err(LogError::Unavailable(Cause::new("the connection was lost")));
        };
        match answer.status.map(|status| status.as_u16()) {
            None => found.push(stored(answer)?),
            // End of the batch, or nothing there at all.
            Some(204 | 404) => return Ok(Some(found)),
            Some(503) => return Ok(None),
            Some(status) => {
                let description = answer.description.unwrap_or_default();
                let why = format!("JetStream refuses a direct get: {description} (status {status})");
                return Err(LogError::Refused(Cause::new(why)));
            }
        }
    }
}

fn stored(answer: Message) -> Result<StoredMessage, LogError> {
    let header = |name| answer.headers.as_ref().and_then(|headers| headers.get(name)).map(|value| value.as_str());
    let sequence = header("Nats-Sequence").and_then(|value| value.parse().ok());
    let Some(sequence) = sequence else {
        return Err(LogError::Refused(Cause::new("an answer to a direct get has no sequence")));
    };
    Ok(StoredMessage { sequence, payload: answer.payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_leading_server_tells_counts() {
        let told = |replicas: u64, cluster: Value| -> bool {
            let info = json!({
                "state": {"messages": 0, "first_seq": 0, "last_seq": 0},
                "config": {"num_replicas": replicas},
                "cluster": cluster,
            });
            serde_json::from_value::<StreamInfo>(info).unwrap().is_the_leaders()
        };
        let names = |names: &[&str]| names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>();
        assert!(told(1, Value::Null), "a server alone");
        assert!(told(3, json!({"leader": "a", "replicas": names(&["b", "c"])})));
        for (what, cluster) in [
            ("by b, which a leads", json!({"leader": "a", "replicas": names(&["a", "c"])})),
            ("while none leads", json!({"leader": "", "replicas": names(&["a", "b", "c"])})),
            ("by one that knows of no group yet", json!({"leader": "b"})),
            ("by one that is not in the cluster", Value::Null),
        ] {
            assert!(!told(3, cluster), "{what}");
        }
    }
}
