//! What happens to webhooks.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{EventFilter, GaveUp, TargetUrl, WebhookSpec};
use crate::{Labels, Sequence, meta::MetaChange, sealed::SealedText, waiting::Failure};

/// An event of a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, strum::IntoStaticStr)]
#[serde(tag = "type", content = "data")]
pub enum WebhookEvent {
    /// It is there.
    WebhookCreated {
        /// Free text.
        description: String,
        /// Its labels.
        labels: Labels,
        /// Where to, and what.
        spec: WebhookSpec,
        /// What its deliveries are signed with.
        secret: SealedText,
        /// Nothing is delivered until it is resumed.
        paused: bool,
        /// Events of commits up to this one are not for it.
        begin_after: Sequence,
    },
    /// Something about it changed.
    WebhookUpdated {
        /// Description and labels.
        change: MetaChange,
        /// Where to deliver to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<TargetUrl>,
        /// What to deliver.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        filter: Option<EventFilter>,
        /// Paused, or resumed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        paused: Option<bool>,
        /// Events of commits up to this one are no longer for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        begin_after: Option<Sequence>,
    },
    /// Its deliveries are signed with another secret.
    WebhookSecretRotated {
        /// The new one.
        secret: SealedText,
        /// Until when they are signed with the old one as well.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous_until: Option<DateTime<Utc>>,
    },
    /// An event was tried more than once in vain, and is tried again.
    WebhookFailing {
        /// What went wrong, and when it is tried next.
        failure: Failure,
        /// Everything up to here is delivered.
        delivered_through: Sequence,
    },
    /// All that had failed is delivered.
    WebhookRecovered {
        /// Since when something had failed.
        failing_since: DateTime<Utc>,
        /// Everything up to here is delivered.
        delivered_through: Sequence,
    },
    /// The worker gave up; a person can resume it.
    WebhookDisabled {
        /// Why.
        why: GaveUp,
        /// The same for people.
        reason: String,
        /// Everything up to here is delivered.
        delivered_through: Sequence,
    },
    /// It is gone.
    WebhookDeleted {},
}

impl WebhookEvent {
    /// Whether events of this type tell how deliveries go.
    pub(super) fn is_of_delivery(event_type: &str) -> bool {
        matches!(event_type, "WebhookFailing" | "WebhookRecovered" | "WebhookDisabled")
    }
}
