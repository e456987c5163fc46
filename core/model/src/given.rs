//! What a decision is given from outside.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Actor, Generation, Sequence, idempotency::IdempotencyClaim, lease::Fence};

/// All that `decide` may know besides the world and the command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Given {
    /// The commit's id, also the command's.
    pub commit_id: Uuid,
    /// Now, as the engine's clock says.
    pub time: DateTime<Utc>,
    /// Fresh ids for resources that the command may make.
    pub new_ids: [Uuid; 2],
    /// Who asks.
    pub actor: Actor,
    /// Ties together everything that one wish leads to.
    pub correlation_id: Uuid,
    /// The client's claim to have sent this command before, if it made one.
    pub idempotency: Option<IdempotencyClaim>,
    /// `If-Match`: the state that the client has seen.
    pub precondition: Option<Precondition>,
    /// Why, in the caller's words.
    #[serde(default)]
    pub reason: Option<String>,
    /// The lease under which it is sent, by work that only one process may do.
    #[serde(default)]
    pub fence: Option<Fence>,
}

/// What the client believes of the primary resource; a command on another state is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Precondition {
    /// The generation in the entity tag.
    pub generation: Generation,
    /// The revision in the entity tag; kept for the refusal's text, not compared (ADR 0006).
    pub revision: Sequence,
}
