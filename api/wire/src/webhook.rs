//! Webhooks as they travel.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use edgestack_model::{
    Kind, Sequence,
    command::Reference,
    sealed::SealedText,
    webhook::{self, EventFilter, TargetUrl, WebhookCommand, WebhookSpec},
};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::{
    Invalid, invalid,
    meta::{Meta, Waiting, change, object, optional_object, present},
};

/// How long the secret before a rotation stays valid if nothing is said, seconds.
const PREVIOUS_VALID_SECONDS: u32 = 24 * 3600;

/// A webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Webhook {
    /// Identity and bookkeeping.
    #[serde(flatten)]
    pub meta: Meta,
    /// `active`, `failing`, `paused`, `disabled`.
    pub state: String,
    /// Where events are delivered to.
    #[schema(example = "https://hooks.example.com/edge")]
    pub url: String,
    /// Which events are.
    pub filter: WebhookFilter,
    /// Events of commits up to this one are not for it.
    pub begin_after: u64,
    /// What its deliveries are signed with: only in the answer that generated it, and never shown again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Until when they are signed with the secret before as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_secret_until: Option<DateTime<Utc>>,
    /// How its deliveries go now; absent where the past is shown, and before its worker has seen it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Delivery>,
    /// What it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
}

/// Which events: all that is given must hold, of several words one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"kinds": ["vm"], "types": ["VmStarted", "VmStopped"], "labels": {"team": "core"}}))]
pub struct WebhookFilter {
    /// Of these kinds. Events of webhooks come only where `webhook` is among them, or their type is named.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub kinds: BTreeSet<String>,
    /// Of objects of these names or ids.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub names: BTreeSet<String>,
    /// Of objects that have all these labels then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Of these types.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub types: BTreeSet<String>,
    /// Done by these.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub actors: BTreeSet<String>,
}

/// How the deliveries of a webhook go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// Every event up to this commit is delivered, or not for it.
    pub delivered_through: u64,
    /// Commits of the log that it has not looked at yet.
    pub behind_commits: u64,
    /// Events that were looked at, are for it, and are not delivered yet.
    pub waiting_events: u64,
    /// The oldest of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "17.0")]
    pub oldest_waiting: Option<String>,
    /// Attempts at the event that was tried most, all in vain; 0 when nothing fails.
    pub attempts: u32,
    /// When the next attempt is made, while something fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// What came of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_attempt: Option<LastAttempt>,
    /// When an event arrived last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_delivered_at: Option<DateTime<Utc>>,
    /// Events delivered so far.
    pub delivered_events: u64,
}

/// What came of an attempt to deliver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LastAttempt {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// Of which event.
    #[schema(example = "17.0")]
    pub event: String,
    /// Whether it arrived.
    pub delivered: bool,
    /// What the target answered, or why there was no answer.
    #[schema(example = "204 No Content")]
    pub answer: String,
}

/// A webhook to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"name": "ops", "url": "https://hooks.example.com/edge", "filter": {"kinds": ["vm"]}}))]
pub struct CreateWebhook {
    /// Its name.
    #[schema(pattern = "^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$")]
    pub name: String,
    /// Free text of at most 1,024 characters.
    #[serde(default)]
    #[schema(max_length = 1024)]
    pub description: String,
    /// Its labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Where to deliver to: a target that the operator allows.
    #[schema(
        max_length = 2048,
        pattern = "^https?://[a-z]([a-z0-9-]{0,30}[a-z0-9])?(\\.[a-z]([a-z0-9-]{0,30}[a-z0-9])?){0,5}(:[1-9][0-9]{0,3})?(/[A-Za-z0-9._~/-]{0,500})?$"
    )]
    pub url: String,
    /// Which events; all but those of webhooks if absent.
    #[serde(default, deserialize_with = "object")]
    pub filter: WebhookFilter,
    /// `whsec_` and the base64 of 24 to 64 random bytes. One is made, and told in the answer, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        max_length = 128,
        pattern = "^whsec_(([A-Za-z0-9+/]{4}){8,20}([A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)?|([A-Za-z0-9+/]{4}){21}([A-Za-z0-9+/][AQgw]==)?)$"
    )]
    pub secret: Option<String>,
    /// Nothing is delivered until it is resumed.
    #[serde(default)]
    pub paused: bool,
    /// Begin after this commit, 0 for all; with what happens from now on if absent, or beyond the log's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// A change of a webhook: an absent field leaves what is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"paused": false}))]
pub struct UpdateWebhook {
    /// Free text of at most 1,024 characters; `null` clears it.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, max_length = 1024)]
    pub description: Option<Option<String>>,
    /// All labels, in place of the present ones; `null` clears them.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    pub labels: Option<Option<BTreeMap<String, String>>>,
    /// Where to deliver to: a target that the operator allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(
        max_length = 2048,
        pattern = "^https?://[a-z]([a-z0-9-]{0,30}[a-z0-9])?(\\.[a-z]([a-z0-9-]{0,30}[a-z0-9])?){0,5}(:[1-9][0-9]{0,3})?(/[A-Za-z0-9._~/-]{0,500})?$"
    )]
    pub url: Option<String>,
    /// Which events, in place of the present filter; `null` means all but those of webhooks. What was chosen before and is
    /// not delivered yet still is.
    #[serde(default, deserialize_with = "present_object", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<WebhookFilter>)]
    pub filter: Option<Option<WebhookFilter>>,
    /// `true`: nothing is delivered, and what happens waits in the log. `false`: it goes on, also after it was disabled, and
    /// what fails is tried at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<bool>,
    /// `true`: what happened so far and was not delivered never is.
    #[serde(default)]
    pub skip: bool,
}

/// What to do with a webhook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "action", rename_all = "snake_case", deny_unknown_fields)]
#[schema(example = json!({"action": "rotate_secret"}))]
pub enum WebhookAction {
    /// Gives it another secret.
    RotateSecret {
        /// The new secret. One is made, and told in the answer, if absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(
            max_length = 128,
            pattern = "^whsec_(([A-Za-z0-9+/]{4}){8,20}([A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)?|([A-Za-z0-9+/]{4}){21}([A-Za-z0-9+/][AQgw]==)?)$"
        )]
        secret: Option<String>,
        /// How long deliveries are signed with the old one as well, seconds; a day if absent.
        #[serde(default = "previous_valid_seconds")]
        #[schema(maximum = 604800)]
        previous_valid_seconds: u32,
    },
}

const fn previous_valid_seconds() -> u32 {
    PREVIOUS_VALID_SECONDS
}

fn present_object<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<WebhookFilter>>, D::Error> {
    optional_object(deserializer).map(Some)
}

impl CreateWebhook {
    /// The command that this request is; `sealed` is its secret, sealed.
    ///
    /// # Errors
    /// [`Invalid`] names the field.
    pub fn into_command(self, sealed: SealedText) -> Result<WebhookCommand, Invalid> {
        Ok(WebhookCommand::Create(Box::new(webhook::CreateWebhook {
            name: invalid::name(&self.name)?,
            description: self.description,
            labels: invalid::labels("labels", self.labels)?,
            spec: WebhookSpec { url: target(&self.url)?, filter: self.filter.try_into()? },
            secret: sealed,
            paused: self.paused,
            after: self.after.map(Sequence),
        })))
    }
}

impl UpdateWebhook {
    /// The command that this change of a webhook is.
    ///
    /// # Errors
    /// [`Invalid`] names the field.
    pub fn into_command(self, webhook: Reference) -> Result<WebhookCommand, Invalid> {
        Ok(WebhookCommand::Update(Box::new(webhook::UpdateWebhook {
            webhook,
            change: change(self.description, self.labels)?,
            url: self.url.as_deref().map(target).transpose()?,
            filter: self.filter.map(Option::unwrap_or_default).map(TryInto::try_into).transpose()?,
            paused: self.paused,
            skip: self.skip,
        })))
    }
}

fn target(url: &str) -> Result<TargetUrl, Invalid> {
    invalid::parse("url", url)
}

impl TryFrom<WebhookFilter> for EventFilter {
    type Error = Invalid;
    fn try_from(filter: WebhookFilter) -> Result<Self, Invalid> {
        let kind = |word: &String| {
            Kind::ALL.into_iter().find(|kind| kind.as_str() == word || kind.plural() == word).ok_or_else(|| {
                let kinds: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
                Invalid::new("filter.kinds", format_args!("each must be one of {}", kinds.join(", ")))
            })
        };
        Ok(Self {
            kinds: filter.kinds.iter().map(kind).collect::<Result<_, _>>()?,
            names: filter.names,
            labels: invalid::labels("filter.labels", filter.labels)?,
            types: filter.types,
            actors: filter.actors,
        })
    }
}

impl From<&EventFilter> for WebhookFilter {
    fn from(filter: &EventFilter) -> Self {
        Self {
            kinds: filter.kinds.iter().map(ToString::to_string).collect(),
            names: filter.names.clone(),
            labels: filter.labels.clone().into(),
            types: filter.types.clone(),
            actors: filter.actors.clone(),
        }
    }
}

impl Webhook {
    /// A webhook, and how its deliveries go where that is known.
    pub fn of(webhook: &webhook::Webhook, delivery: Option<Delivery>) -> Self {
        Self {
            meta: Meta::of(webhook.id.uuid(), &webhook.meta),
            state: webhook.state.as_str().to_owned(),
            url: webhook.spec.url.to_string(),
            filter: (&webhook.spec.filter).into(),
            begin_after: webhook.begin_after.0,
            secret: None,
            previous_secret_until: webhook.previous_secret.as_ref().map(|previous| previous.until),
            waiting: waiting(webhook, delivery.as_ref()),
            delivery,
        }
    }
}

/// What the log knows, made complete by what is so now.
fn waiting(webhook: &webhook::Webhook, delivery: Option<&Delivery>) -> Option<Waiting> {
    use webhook::WebhookState;
    let attempts = match &webhook.state {
        WebhookState::Failing { failure } => failure.attempt,
        WebhookState::Active | WebhookState::Paused | WebhookState::Disabled { .. } => 0,
    };
    let known = webhook.waiting().map(|waiting| Waiting::of(waiting, attempts));
    let Some(delivery) = delivery else { return known };
    let (events, commits) = (delivery.waiting_events, delivery.behind_commits);
    let counted = |count: u64, what: &str| if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") };
    let verb = if events + commits == 1 { "waits" } else { "wait" };
    let behind = match (events, commits) {
        (0, 0) => "nothing waits".to_owned(),
        (events, 0) => format!("{} {verb}", counted(events, "event")),
        (0, commits) => format!("{} of the log {verb}", counted(commits, "commit")),
        (events, commits) => {
            format!("{} and {} more of the log {verb}", counted(events, "event"), counted(commits, "commit"))
        }
    };
    let answer = delivery.last_attempt.as_ref().filter(|last| !last.delivered);
    let answer = answer.map(|last| format!("; last attempt ({}): {}", last.event, last.answer)).unwrap_or_default();
    match (&webhook.state, known) {
        (WebhookState::Failing { .. }, Some(known)) => Some(Waiting {
            reason: if answer.is_empty() { format!("{behind}; {}", known.reason) } else { format!("{behind}{answer}") },
            next_attempt_at: delivery.next_attempt_at.or(known.next_attempt_at),
            attempts: attempts.max(delivery.attempts),
            ..known
        }),
        (_, Some(known)) => Some(Waiting { reason: format!("{}; {behind}", known.reason), ..known }),
        (_, None) if events + commits == 0 => None,
        (_, None) => Some(Waiting {
            owner: "worker.webhook".to_owned(),
            reason: format!("{behind}{answer}"),
            fix: None,
            next_attempt_at: delivery.next_attempt_at,
            attempts: delivery.attempts,
        }),
    }
}
