//! The envelope: the events of one command, appended all or none.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Actor, Event, Kind, Sequence,
    event::{EventError, EventRecord, StoredRecord},
};

/// One commit. In the log it is JSON, so that any NATS client can read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// UUIDv7. Each attempt to append has its own, and names one sequence of bytes for ever: by it a commit
    /// whose outcome was unknown is known again in the log.
    pub id: Uuid,
    /// Which site wrote it.
    pub site: String,
    /// Its place in the stream.
    pub sequence: Sequence,
    /// When the engine decided.
    pub time: DateTime<Utc>,
    /// Who asked.
    pub actor: Actor,
    /// The command's name, `create-vm`.
    pub command: String,
    /// Ties together everything that one wish led to.
    pub correlation_id: Uuid,
    /// The commit or command that caused this one; absent for a wish from outside.
    pub causation_id: Option<Uuid>,
    /// W3C trace context of the request, when it had one.
    pub traceparent: Option<String>,
    /// The client's key and the keyed hash of its request.
    pub idempotency: Option<crate::idempotency::IdempotencyClaim>,
    /// Free text given by the caller.
    pub reason: Option<String>,
    /// SHA-256 of the payload of the commit before, 64 hex digits; zeros before the first.
    pub previous_hash: String,
    /// The primary resource.
    pub primary: (Kind, Uuid),
    /// What happened, in order.
    pub events: Vec<Event>,
}

/// Why a payload is not a commit that this version can read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not the envelope's JSON.
    #[error("not a commit")]
    Envelope(#[source] serde_json::Error),
    /// An envelope of a later version.
    #[error("commit has envelope version {0}, newer than this EdgeStack reads; install the version that wrote it")]
    Version(u32),
    /// One of its events cannot be read.
    #[error("commit {sequence}, event {index}")]
    Event {
        /// The commit.
        sequence: Sequence,
        /// Which of its events, from 0.
        index: usize,
        /// Why.
        #[source]
        source: EventError,
    },
}

impl DecodeError {
    /// Whether it was written by a later version of this program, by its own word.
    pub fn is_of_later_version(&self) -> bool {
        match self {
            Self::Version(_) => true,
            Self::Envelope(_) => false,
            Self::Event { source, .. } => match source {
                EventError::UnknownKind(_) | EventError::UnknownVersion { .. } => true,
                EventError::NeverWritten { .. } | EventError::Unreadable { .. } => false,
            },
        }
    }
}

/// The events of one command, all or none: one line of JSON in the log.
// The comments on its fields are what its JSON Schema says of them.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Commit")]
pub(crate) struct Envelope {
    /// The version of this envelope.
    #[schemars(extend("const" = ENVELOPE_VERSION))]
    version: u32,
    /// The commit's own id, a UUIDv7.
    id: Uuid,
    /// Which site wrote it.
    site: String,
    /// Its place in the log: 1 for the first commit, and without a gap.
    sequence: Sequence,
    /// When the engine decided.
    time: DateTime<Utc>,
    /// Who asked.
    actor: Actor,
    /// The command's name, `create-vm`.
    command: String,
    /// Ties together everything that one wish led to.
    correlation_id: Uuid,
    /// The commit or command that caused this one; absent for a wish from outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<Uuid>,
    /// W3C trace context of the request, when it had one.
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
    /// The client's `Idempotency-Key`, when it sent one.
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
    /// A keyed hash of the request that came with the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    request_fingerprint: Option<String>,
    /// Why, in the caller's own words.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// SHA-256 of the bytes of the commit before, in lower-case hex; zeros before the first.
    #[schemars(regex(pattern = "^[0-9a-f]{64}$"))]
    previous_hash: String,
    /// The kind of the primary resource.
    kind: Kind,
    /// The primary resource.
    resource_id: Uuid,
    /// What happened, in order. Each has a schema of its own, by `type` and `version`.
    events: Vec<EventRecord>,
}

/// The same as it lies in a commit's bytes.
#[derive(Deserialize)]
struct StoredEnvelope<'a> {
    version: u32,
    id: Uuid,
    site: String,
    sequence: Sequence,
    time: DateTime<Utc>,
    actor: Actor,
    command: String,
    correlation_id: Uuid,
    #[serde(default)]
    causation_id: Option<Uuid>,
    #[serde(default)]
    traceparent: Option<String>,
    #[serde(default)]
    idempotency_key: Option<String>,
    #[serde(default)]
    request_fingerprint: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    previous_hash: String,
    kind: Kind,
    resource_id: Uuid,
    #[serde(borrow)]
    events: Vec<StoredRecord<'a>>,
}

pub(crate) const ENVELOPE_VERSION: u32 = 1;

impl Commit {
    /// The NATS subject: `mm3.commit.<kind>.<resource id>` of the primary resource.
    pub fn subject(&self) -> String {
        format!("mm3.commit.{}.{}", self.primary.0, self.primary.1)
    }

    /// The payload to append.
    ///
    /// # Errors
    /// Only if serde_json refuses a value, which the event types give no cause for.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        let (idempotency_key, request_fingerprint) =
            self.idempotency.as_ref().map(|claim| (claim.key.clone(), claim.fingerprint.clone())).unzip();
        serde_json::to_vec(&Envelope {
            version: ENVELOPE_VERSION,
            id: self.id,
            site: self.site.clone(),
            sequence: self.sequence,
            time: self.time,
            actor: self.actor.clone(),
            command: self.command.clone(),
            correlation_id: self.correlation_id,
            causation_id: self.causation_id,
            traceparent: self.traceparent.clone(),
            idempotency_key,
            request_fingerprint,
            reason: self.reason.clone(),
            previous_hash: self.previous_hash.clone(),
            kind: self.primary.0,
            resource_id: self.primary.1,
            events: self.events.iter().map(Event::to_record).collect::<Result<_, _>>()?,
        })
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// See [`DecodeError`]; a reader stops there, it never skips.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let envelope: StoredEnvelope<'_> = match std::str::from_utf8(payload) {
            // Looked at once as a whole, and not each string again.
            Ok(text) => serde_json::from_str(text),
            Err(_) => serde_json::from_slice(payload),
        }
        .map_err(DecodeError::Envelope)?;
        if envelope.version != ENVELOPE_VERSION {
            return Err(DecodeError::Version(envelope.version));
        }
        let sequence = envelope.sequence;
        let events = envelope
            .events
            .into_iter()
            .enumerate()
            .map(|(index, record)| {
                Event::from_stored(record).map_err(|source| DecodeError::Event { sequence, index, source })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            id: envelope.id,
            site: envelope.site,
            sequence,
            time: envelope.time,
            actor: envelope.actor,
            command: envelope.command,
            correlation_id: envelope.correlation_id,
            causation_id: envelope.causation_id,
            traceparent: envelope.traceparent,
            idempotency: envelope
                .idempotency_key
                .zip(envelope.request_fingerprint)
                .map(|(key, fingerprint)| crate::idempotency::IdempotencyClaim { key, fingerprint }),
            reason: envelope.reason,
            previous_hash: envelope.previous_hash,
            primary: (envelope.kind, envelope.resource_id),
            events,
        })
    }
}
