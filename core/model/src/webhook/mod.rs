//! A webhook: an address outside to which events are delivered, signed, at least once, and in order per object.
//!
//! ```text
//! create ──▶ active ◀──▶ failing (tried again by itself)
//!              │ ▲           │
//!              ▼ │ resume    ▼ the target says 410, or failed for days
//!            paused ◀─── disabled
//! ```
//! What was delivered is not in the log: each delivery would be an event to be delivered. The worker keeps it; the log has
//! what people must see, when it begins and when it ends. The log is also the queue: while nothing is delivered, what
//! happens stays where it is, and is delivered from there when the webhook is resumed.

pub mod allow;
mod command;
mod decide;
mod event;
mod evolve;
pub mod filter;
#[cfg(test)]
mod tests;
pub mod url;

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use allow::{AllowList, NotAllowed};
pub use command::{CreateWebhook, UpdateWebhook, WebhookCommand, WebhookReport};
pub(crate) use decide::decide;
pub use event::WebhookEvent;
pub(crate) use evolve::evolve;
pub use filter::{EventFilter, Told};
pub use url::TargetUrl;

use crate::{Id, Kind, Meta, Sequence, Waiting, sealed::SealedText, waiting::Failure};

/// The most webhooks of a site: each has a queue in memory.
pub const WEBHOOKS_MAX: usize = 64;
/// The longest time that the secret before a rotation stays valid.
pub const PREVIOUS_SECRET_SECONDS_MAX: u32 = 7 * 24 * 3600;

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Its id.
    pub id: Id<Webhook>,
    /// Name, labels, generation …
    pub meta: Meta,
    /// What was asked for.
    pub spec: WebhookSpec,
    /// What deliveries are signed with.
    pub secret: SealedText,
    /// What they were signed with before, and are as well for a while.
    pub previous_secret: Option<PreviousSecret>,
    /// Events of commits up to this one are not for it.
    pub begin_after: Sequence,
    /// Everything up to this commit was delivered when the worker last told; a lower bound.
    pub delivered_through: Sequence,
    /// How it goes.
    pub state: WebhookState,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WebhookSpec {
    /// Where to deliver to.
    pub url: TargetUrl,
    /// What to deliver.
    pub filter: EventFilter,
}

/// The secret before the last rotation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreviousSecret {
    /// The secret.
    pub secret: SealedText,
    /// Until when it is signed with.
    pub until: DateTime<Utc>,
}

/// How it goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum WebhookState {
    /// What happens is delivered.
    Active,
    /// At least one event was tried more than once in vain, and is tried again.
    Failing {
        /// Of the attempt that made it so.
        failure: Failure,
    },
    /// A person said so.
    Paused,
    /// The worker gave up.
    Disabled {
        /// Why.
        why: GaveUp,
        /// The same for people.
        reason: String,
        /// Since when.
        since: DateTime<Utc>,
    },
}

impl WebhookState {
    /// The words of all states.
    pub const WORDS: [&'static str; 4] = ["active", "failing", "paused", "disabled"];

    /// As users see it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Failing { .. } => "failing",
            Self::Paused => "paused",
            Self::Disabled { .. } => "disabled",
        }
    }

    /// Whether the worker delivers.
    pub const fn delivers(&self) -> bool {
        match self {
            Self::Active | Self::Failing { .. } => true,
            Self::Paused | Self::Disabled { .. } => false,
        }
    }
}

/// Why the worker delivers no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GaveUp {
    /// The target answered 410 Gone: it wants no more.
    Gone,
    /// An event could not be delivered for days.
    TooLong,
}

impl Webhook {
    /// Whether an event is to be delivered. Events of webhooks are for those alone that ask for them by kind or type; how
    /// a webhook's own deliveries go is never delivered to itself, as that would have no end.
    pub fn wants(&self, event: &Told<'_>) -> bool {
        if event.sequence <= self.begin_after || !self.spec.filter.takes(event) {
            return false;
        }
        let of_webhooks = event.kind == Kind::Webhook;
        let asked = self.spec.filter.kinds.contains(&Kind::Webhook) || !self.spec.filter.types.is_empty();
        let of_itself = event.resource_id == self.id.uuid() && WebhookEvent::is_of_delivery(event.event_type);
        !of_webhooks || asked && !of_itself
    }

    /// What it waits for, as far as the log knows.
    pub fn waiting(&self) -> Option<Waiting> {
        let name = &self.meta.name;
        let resume = format!(
            "edgectl update-webhook {name} --resume delivers what has happened since; --resume --skip begins with what happens from then on"
        );
        match &self.state {
            WebhookState::Active => None,
            WebhookState::Failing { failure } => Some(Waiting {
                owner: "worker.webhook".to_owned(),
                reason: failure.reason.clone(),
                fix: failure
                    .fix
                    .clone()
                    .or_else(|| Some(format!("edgectl update-webhook {name} --resume tries it at once"))),
                next_attempt_at: Some(failure.next_attempt_at),
            }),
            WebhookState::Paused => Some(Waiting {
                owner: "user".to_owned(),
                reason: "it is paused; what happens meanwhile waits in the log".to_owned(),
                fix: Some(resume),
                next_attempt_at: None,
            }),
            WebhookState::Disabled { reason, .. } => Some(Waiting {
                owner: "user".to_owned(),
                reason: format!("it was disabled: {reason}"),
                fix: Some(resume),
                next_attempt_at: None,
            }),
        }
    }
}
