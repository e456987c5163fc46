//! What can be asked of webhooks, and what their worker reports.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{EventFilter, GaveUp, TargetUrl, Webhook, WebhookSpec};
use crate::{Generation, Id, Labels, Name, Sequence, command::Reference, meta::MetaChange, sealed::SealedText};

/// A command on a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum WebhookCommand {
    /// Makes a new one.
    Create(Box<CreateWebhook>),
    /// Changes what people can change.
    Update(Box<UpdateWebhook>),
    /// Gives it another secret.
    RotateSecret {
        /// Which.
        webhook: Reference,
        /// The new secret.
        secret: SealedText,
        /// How long deliveries are signed with the old one as well, seconds; 0: no longer.
        previous_valid_seconds: u32,
    },
    /// Removes it; what was not delivered yet is not delivered.
    Delete {
        /// Which.
        webhook: Reference,
    },
    /// How its deliveries go.
    Report {
        /// Which.
        webhook: Id<Webhook>,
        /// The generation that was acted on.
        generation: Generation,
        /// What is told.
        report: WebhookReport,
    },
}

/// A webhook to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateWebhook {
    /// Its name.
    pub name: Name,
    /// Free text.
    pub description: String,
    /// Its labels.
    pub labels: Labels,
    /// Where to, and what.
    pub spec: WebhookSpec,
    /// What its deliveries are signed with.
    pub secret: SealedText,
    /// Nothing is delivered until it is resumed.
    pub paused: bool,
    /// Begin after this commit; with what happens from now on if absent, or beyond the log's end.
    pub after: Option<Sequence>,
}

/// A change: an absent field leaves what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateWebhook {
    /// Which.
    pub webhook: Reference,
    /// Description and labels.
    pub change: MetaChange,
    /// Where to deliver to.
    pub url: Option<TargetUrl>,
    /// What to deliver.
    pub filter: Option<EventFilter>,
    /// Whether nothing is delivered. `Some(false)` also ends being disabled, and has what fails tried at once.
    pub paused: Option<bool>,
    /// Forget what has happened so far and was not delivered.
    pub skip: bool,
}

/// What the worker tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WebhookReport {
    /// An event was tried more than once in vain.
    Failing {
        /// Attempts at it so far.
        attempt: u32,
        /// What went wrong last.
        reason: String,
        /// What a person can do.
        fix: Option<String>,
        /// When it is tried again.
        next_attempt_at: DateTime<Utc>,
        /// Everything up to here is delivered.
        delivered_through: Sequence,
    },
    /// All that had failed is delivered.
    Recovered {
        /// Everything up to here is delivered.
        delivered_through: Sequence,
    },
    /// Nothing is delivered any more.
    GaveUp {
        /// Why.
        why: GaveUp,
        /// The same for people.
        reason: String,
        /// Everything up to here is delivered.
        delivered_through: Sequence,
    },
}

impl WebhookCommand {
    /// The command's name in the envelope.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create-webhook",
            Self::Update(_) => "update-webhook",
            Self::RotateSecret { .. } => "rotate-webhook-secret",
            Self::Delete { .. } => "remove-webhook",
            Self::Report { report, .. } => match report {
                WebhookReport::Failing { .. } => "report-webhook-failing",
                WebhookReport::Recovered { .. } => "report-webhook-recovered",
                WebhookReport::GaveUp { .. } => "report-webhook-gave-up",
            },
        }
    }
}
