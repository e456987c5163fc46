//! The history of a resource as it travels.

use chrono::{DateTime, Utc};
use edgestack_model::{Commit, Event};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

/// One event of a resource's history, with who and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEvent {
    /// The commit's place in the log.
    pub sequence: u64,
    /// When it was decided.
    pub time: DateTime<Utc>,
    /// The event's type.
    #[serde(rename = "type")]
    #[schema(example = "VmStarted")]
    pub event_type: String,
    /// The version of the type's data.
    #[schema(example = 1)]
    pub version: u32,
    /// Of which kind of resource.
    #[schema(example = "vm")]
    pub kind: String,
    /// Of which resource.
    pub resource_id: Uuid,
    /// Its name at that time.
    pub name: String,
    /// The resource's generation after it.
    pub generation: u64,
    /// What happened, in words.
    pub message: String,
    /// Who caused it.
    pub actor: Actor,
    /// The command: a person's, or the report of a worker.
    #[schema(example = "report-vm-started")]
    pub command: String,
    /// The commit.
    pub commit_id: Uuid,
    /// What ties it to the wish that it follows from.
    pub correlation_id: Uuid,
    /// The commit or command that caused it; absent for a wish from outside.
    pub causation_id: Option<Uuid>,
    /// The reason that the caller gave.
    pub reason: Option<String>,
    /// The event's own fields.
    pub data: Value,
}

impl HistoryEvent {
    /// An event of a commit.
    ///
    /// # Errors
    /// Only if serde_json refuses a value, which the event types give no cause for.
    pub fn of(commit: &Commit, event: &Event) -> Result<Self, serde_json::Error> {
        let record = event.to_record()?;
        let actor = commit.actor.clone();
        Ok(Self {
            sequence: commit.sequence.0,
            time: commit.time,
            event_type: record.event_type,
            version: record.version,
            kind: record.kind,
            resource_id: record.resource_id,
            name: record.name.to_string(),
            generation: record.generation.0,
            message: event.describe(),
            actor: Actor { name: actor.name, credential: actor.credential, from: actor.from },
            command: commit.command.clone(),
            commit_id: commit.id,
            correlation_id: commit.correlation_id,
            causation_id: commit.causation_id,
            reason: commit.reason.clone(),
            data: record.data,
        })
    }
}

/// Who caused a commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Actor {
    /// A user or worker.
    #[schema(example = "admin")]
    pub name: String,
    /// By which credential.
    #[schema(example = "token:3f9ac2d1")]
    pub credential: String,
    /// From where.
    #[schema(example = "127.0.0.1")]
    pub from: String,
}
