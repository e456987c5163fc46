//! What happened on the site, whatever it happened to, and what was refused.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::event::{Actor, HistoryEvent};

/// One line of the site's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum HistoryItem {
    /// Something happened.
    Event(HistoryEvent),
    /// Something was asked for and did not happen.
    Refused(Refused),
}

/// A request to change something that was refused, or failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refused {
    /// Its own id, in order of time.
    pub id: Uuid,
    /// When it was answered.
    pub time: DateTime<Utc>,
    /// Who asked.
    pub actor: Actor,
    /// The method of the request.
    #[schema(example = "POST")]
    pub method: String,
    /// Its path, without the prefix.
    #[schema(example = "/vms")]
    pub path: String,
    /// Of which kind of resource it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "vm")]
    pub kind: Option<String>,
    /// The name or id that it gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The status of the answer.
    #[schema(example = 409)]
    pub status: u16,
    /// The problem's code.
    #[schema(example = "name-taken")]
    pub code: String,
    /// What was wrong, and what helps.
    pub message: String,
    /// The field, parameter or header at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The request's correlation id, under which the daemon's log tells more.
    pub correlation_id: Uuid,
    /// The reason that the caller gave.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
