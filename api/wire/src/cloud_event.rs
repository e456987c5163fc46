//! An event as others get it. Source: CloudEvents 1.0.2, JSON event format; extension attributes `sequence` and
//! `traceparent` as its documented extensions have them.

use chrono::{DateTime, Utc};
use edgestack_model::{Commit, Event};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::event::HistoryEvent;

/// One event of the site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CloudEvent {
    /// `1.0`.
    #[schema(example = "1.0")]
    pub specversion: String,
    /// `<sequence>.<index in its commit>`: unique within the source, and ascending. Give it back as `Last-Event-ID` to go on.
    #[schema(example = "17.0")]
    pub id: String,
    /// The site.
    #[schema(example = "/edgetron/sites/edge")]
    pub source: String,
    /// `edgestack.<event type>.v<version>`.
    #[serde(rename = "type")]
    #[schema(example = "edgestack.VmStarted.v1")]
    pub event_type: String,
    /// The object: kind and name.
    #[schema(example = "vm/hello")]
    pub subject: String,
    /// When it was decided.
    pub time: DateTime<Utc>,
    /// `application/json`.
    pub datacontenttype: String,
    /// Where the JSON Schema of `data` is; absent where the API's address is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "http://127.0.0.1:9080/schemas/VmStarted/1")]
    pub dataschema: Option<String>,
    /// The commit's sequence, in decimal.
    #[schema(example = "17")]
    pub sequence: String,
    /// What ties it to the wish that it follows from.
    pub correlationid: Uuid,
    /// The W3C trace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// The event, as the history of its object has it.
    pub data: HistoryEvent,
}

impl CloudEvent {
    /// An event of a commit of a site; `index` is which of the commit's it is.
    ///
    /// # Errors
    /// Only if serde_json refuses a value, which the event types give no cause for.
    pub fn of(commit: &Commit, index: u32, event: &Event, site: &str) -> Result<Self, serde_json::Error> {
        let data = HistoryEvent::of(commit, event)?;
        Ok(Self {
            specversion: "1.0".to_owned(),
            id: format!("{}.{index}", commit.sequence),
            source: format!("/edgetron/sites/{site}"),
            event_type: format!("edgestack.{}.v{}", data.event_type, data.version),
            subject: format!("{}/{}", event.fact.kind(), event.name),
            time: commit.time,
            datacontenttype: "application/json".to_owned(),
            dataschema: None,
            sequence: commit.sequence.to_string(),
            correlationid: commit.correlation_id,
            traceparent: commit.traceparent.clone(),
            data,
        })
    }
}

/// A sign of life, and the place up to which all that matches was told: the event's `id` is a place to go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Heartbeat {
    /// The last commit that was looked at.
    pub sequence: u64,
}

/// The last event of a stream whose reader was too slow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Dropped {
    /// Why.
    pub reason: String,
    /// The last commit that was told: give it as `Last-Event-ID` to go on.
    pub sequence: u64,
}
