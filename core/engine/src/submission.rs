//! A command on its way to the writer, and what comes back.

use std::{sync::Arc, time::Duration};

use edgestack_model::{
    Actor, Command, Commit, Kind, Refusal, Sequence, World, given::Precondition, idempotency::IdempotencyClaim,
    lease::Fence,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Who sends a command, why, and on what conditions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Origin {
    /// Who.
    pub actor: Actor,
    /// Ties together everything that one wish leads to; a worker passes its resource's on.
    pub correlation_id: Uuid,
    /// The commit that made a worker act.
    pub causation_id: Option<Uuid>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// Free text.
    pub reason: Option<String>,
    /// "I may have sent this before."
    pub idempotency: Option<IdempotencyClaim>,
    /// `If-Match`.
    pub precondition: Option<Precondition>,
    /// Decide, but append nothing.
    pub dry_run: bool,
    /// The lease under which it is sent, by work that only one process may do.
    #[serde(default)]
    pub fence: Option<Fence>,
}

impl Origin {
    /// A plain origin: an actor, and what its command belongs to.
    pub fn of(actor: Actor, correlation_id: Uuid, causation_id: Option<Uuid>) -> Self {
        Self {
            actor,
            correlation_id,
            causation_id,
            traceparent: None,
            reason: None,
            idempotency: None,
            precondition: None,
            dry_run: false,
            fence: None,
        }
    }

    /// The same, of work that is done under a lease.
    pub fn under(self, fence: Option<Fence>) -> Self {
        Self { fence, ..self }
    }
}

/// A command and where it comes from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Submission {
    /// The wish.
    pub command: Command,
    /// Whose, and why.
    pub origin: Origin,
}

/// What a command led to.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It is in the log, synced, and this process's replica has folded it.
    Committed {
        /// The commit.
        commit: Arc<Commit>,
    },
    /// Everything was as wished already.
    Unchanged {
        /// What the command was about.
        primary: (Kind, Uuid),
    },
    /// The same request came before and led to that commit.
    Before {
        /// The commit.
        sequence: Sequence,
        /// What the command was about.
        primary: (Kind, Uuid),
    },
    /// It would be accepted; this is the world as it would be then.
    DryRun {
        /// What the command is about.
        primary: (Kind, Uuid),
        /// The world with it.
        world: Arc<World>,
    },
}

impl Outcome {
    /// What the command was about.
    pub fn primary(&self) -> (Kind, Uuid) {
        match self {
            Self::Committed { commit } => commit.primary,
            Self::Unchanged { primary } | Self::Before { primary, .. } | Self::DryRun { primary, .. } => *primary,
        }
    }
}

/// Why a command led to nothing, as far as is known.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SubmitError {
    /// The model refused it; nothing changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The queue is full; nothing changed.
    #[error("too many commands are waiting; try again in {} s", retry_after.as_secs().max(1))]
    Busy {
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// The log cannot be written now; nothing changed.
    #[error("the log cannot be written now ({why}); reads go on, try again in {} s", retry_after.as_secs().max(1))]
    Unavailable {
        /// Why not.
        why: String,
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// It was sent to the log and no answer came in time. Sent again with the
    /// same idempotency key it takes effect once.
    #[error(
        "no answer from the log in time: the command may or may not take effect; send it again with the same Idempotency-Key"
    )]
    OutcomeUnknown {
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// The log is damaged: writes have stopped (law 4).
    #[error("the log is damaged and takes no writes ({why}); reads go on; see edgestackd's log for the alarm")]
    Damaged {
        /// What is wrong with it.
        why: String,
    },
    /// Its events do not fit into one commit.
    #[error("the command is too large for one commit ({bytes} of {limit} bytes); shorten its texts")]
    TooLarge {
        /// What it would take.
        bytes: usize,
        /// What a commit may have.
        limit: usize,
    },
    /// EdgeStack's own fault; the log of the process tells more under the correlation id.
    #[error("internal error: {0}")]
    Internal(String),
}
