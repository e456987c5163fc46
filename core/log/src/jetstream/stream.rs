//! The stream that holds the log, as we make it.

use std::time::Duration;

use serde_json::{Value, json};

use super::api::{self, STREAM_EXISTS, STREAM_NOT_FOUND};
use super::connection::Live;
use crate::{LogError, MAX_COMMIT_BYTES};

/// The stream's name.
pub const STREAM: &str = "MM3";
/// What it stores: `mm3.commit.<kind>.<resource id>`, and [`SHARED_SUBJECT`].
pub const ACCEPTED_SUBJECTS: &str = "mm3.commit.>";
/// The subject of a message that holds several commits, a line each.
pub const SHARED_SUBJECT: &str = "mm3.commit.shared";
/// Where it tells what it has stored, headers only (`Nats-Sequence`), after the write was synced.
pub const STORED_SUBJECTS: &str = "mm3.stored.>";
/// The largest message: JetStream counts the headers with the payload, so a commit of the full size needs room for them.
pub const MAX_MESSAGE_BYTES: usize = MAX_COMMIT_BYTES + 4096;

const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// We need no consumers ourselves; other people's are few and end when nobody uses them.
const CONSUMERS_MAX: u32 = 64;
const CONSUMER_IDLE: Duration = Duration::from_secs(3600);

/// The configuration we create the stream with (nats-server `StreamConfig`; durations in nanoseconds). Its first message
/// gets the number `first`.
pub(super) fn config(replicas: usize, first: u64) -> Value {
    let mut config = json!({
        "name": STREAM,
        "description": "EdgeStack's commits. Never delete or purge: this is the memory of the site.",
        "subjects": [ACCEPTED_SUBJECTS],
        "storage": "file",
        "retention": "limits",
        "discard": "new",
        "max_msgs": -1,
        "max_bytes": -1,
        "max_age": 0,
        "max_msgs_per_subject": -1,
        "max_msg_size": MAX_MESSAGE_BYTES,
        "max_consumers": CONSUMERS_MAX,
        "consumer_limits": { "inactive_threshold": CONSUMER_IDLE.as_nanos() as u64 },
        "num_replicas": replicas,
        "duplicate_window": DUPLICATE_WINDOW.as_nanos() as u64,
        "deny_delete": true,
        "deny_purge": true,
        "allow_direct": true,
        "republish": { "src": ACCEPTED_SUBJECTS, "dest": STORED_SUBJECTS, "headers_only": true },
    });
    if first > 1 {
        config["first_seq"] = first.into();
    }
    config
}

/// The stream's first message by its settings, whether or not it is still there: the first commit of the live log has the
/// same number.
pub(super) fn first_message(config: &Value) -> u64 {
    config.get("first_seq").and_then(Value::as_u64).unwrap_or(1).max(1)
}

/// Creates the stream unless there is one, of whatever settings: creating is never changing.
pub(super) async fn ensure(live: &Live, replicas: usize, first: u64) -> Result<(), LogError> {
    let info = format!("$JS.API.STREAM.INFO.{STREAM}");
    match api::request::<Value>(&live.client, info, None).await? {
        Ok(_) => return Ok(()),
        Err(error) if error.err_code == STREAM_NOT_FOUND => {}
        Err(error) => return Err(error.into()),
    }
    let create = format!("$JS.API.STREAM.CREATE.{STREAM}");
    match api::request::<Value>(&live.client, create, Some(config(replicas, first))).await? {
        Ok(_) => Ok(()),
        // Somebody was faster; what it is worth is for `read_promise` to tell.
        Err(error) if error.err_code == STREAM_EXISTS => Ok(()),
        Err(error) => Err(error.into()),
    }
}
