//! An event as others get it. Source: CloudEvents 1.0.2, JSON event format; extension attributes `sequence` and
//! `traceparent` as its documented extensions have them.

use chrono::{DateTime, Utc};
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
    /// Where the JSON Schema of `data` is.
    #[schema(example = "http://127.0.0.1:9080/schemas/VmStarted/1")]
    pub dataschema: String,
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
