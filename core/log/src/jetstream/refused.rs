//! The stream of refused commands: bounded, apart from the log, the oldest goes first.

use async_trait::async_trait;
use bytes::Bytes;
use serde_json::{Value, json};

use super::JetStreamLog;
use super::api::{self, ApiError, STREAM_EXISTS, STREAM_NOT_FOUND};
use crate::LogError;
use crate::side::{SIDE_BYTES_MAX, SIDE_MESSAGE_BYTES_MAX, SideLog};

/// The stream's name.
pub const REFUSED_STREAM: &str = "MM3_REFUSED";
/// Its subject; a message is some refusals, a line each.
pub const REFUSED_SUBJECT: &str = "mm3.refused";
/// Messages read at once.
const BATCH: usize = 512;

/// Refused commands in JetStream; on the connection of the log, in a stream of their own.
#[derive(Clone)]
pub struct RefusedStream {
    log: JetStreamLog,
}

impl JetStreamLog {
    /// The stream of refused commands.
    pub fn refused(&self) -> RefusedStream {
        RefusedStream { log: self.clone() }
    }
}

impl RefusedStream {
    /// Creates the stream when there is none.
    ///
    /// # Errors
    /// [`LogError::Unavailable`], or [`LogError::Refused`] with the server's reason.
    pub async fn ensure(&self, replicas: usize) -> Result<(), LogError> {
        let live = self.log.live()?;
        match api::request::<Value>(&live.client, format!("$JS.API.STREAM.INFO.{REFUSED_STREAM}"), None).await? {
            Ok(_) => return Ok(()),
            Err(error) if error.err_code == STREAM_NOT_FOUND => {}
            Err(error) => return Err(error.into()),
        }
        let config = json!({
            "name": REFUSED_STREAM,
            "description": "EdgeStack's refused commands, the newest ones. No decision rests on it.",
            "subjects": [REFUSED_SUBJECT],
            "storage": "file",
            "retention": "limits",
            "discard": "old",
            "max_msgs": -1,
            "max_bytes": SIDE_BYTES_MAX,
            "max_msg_size": SIDE_MESSAGE_BYTES_MAX,
            "num_replicas": replicas,
            "allow_direct": true,
        });
        let create = format!("$JS.API.STREAM.CREATE.{REFUSED_STREAM}");
        match api::request::<Value>(&live.client, create, Some(config)).await? {
            Ok(_) => Ok(()),
            // Somebody was faster.
            Err(error) if error.err_code == STREAM_EXISTS => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[async_trait]
impl SideLog for RefusedStream {
    async fn append(&self, payload: Bytes) -> Result<(), LogError> {
        #[derive(serde::Deserialize)]
        struct Ack {
            error: Option<ApiError>,
        }
        let live = self.log.live()?;
        let answer = live.client.request(REFUSED_SUBJECT, payload).await.map_err(api::told_by_request)?;
        let ack: Ack = serde_json::from_slice(&answer.payload).map_err(api::not_understood)?;
        ack.error.map_or(Ok(()), |error| Err(error.into()))
    }

    async fn read_all(&self) -> Result<Vec<Bytes>, LogError> {
        let live = self.log.live()?;
        let state = api::stream_info(&live, REFUSED_STREAM).await?.state;
        let mut from = state.first_seq.max(1);
        let mut all = Vec::new();
        while from <= state.last_seq {
            let timeout = self.log.inner.options.request_timeout;
            let batch = api::direct_get(&live, REFUSED_STREAM, from, BATCH, timeout).await?.ok_or_else(api::silent)?;
            let Some(last) = batch.last() else { break };
            from = last.sequence + 1;
            all.extend(batch.into_iter().map(|message| message.payload));
        }
        Ok(all)
    }
}
