//! Webhooks.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use edgestack_model::{
    Command, Kind,
    sealed::SealedText,
    webhook::{TargetUrl, WebhookCommand, WebhookState},
    world::Resource,
};
use edgestack_seal::webhook_secret;
use edgestack_views::ViewError;
use edgestack_wire::{
    event::HistoryEvent,
    list::{List, ListParams, WatchEvent},
    meta::Meta,
    webhook::{CreateWebhook, UpdateWebhook, Webhook, WebhookAction},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    answer::{Success, answer, answer_with},
    change::Change,
    codes, history, list,
    moment::AtParam,
    path::Named,
    problem::{Answer, Failure},
    query::Parameters,
    shown::{Shown, Surroundings},
    state::Site,
};

/// The routes of this kind.
pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new()
        .routes(routes!(list_webhooks, create_webhook))
        .routes(routes!(show_webhook, update_webhook, remove_webhook))
        .routes(routes!(act_on_webhook))
        .routes(routes!(show_webhook_events))
}

impl Shown for Webhook {
    const KIND: Kind = Kind::Webhook;

    fn states() -> &'static [&'static str] {
        &WebhookState::WORDS
    }

    fn show(resource: &Resource, around: &mut Surroundings<'_>) -> Result<Option<Self>, ViewError> {
        match resource {
            Resource::Webhook(resource) => Ok(Some(Self::of(resource, around.delivery(resource.id)))),
            _ => Ok(None),
        }
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }

    /// Deliveries go on without a commit of the webhook.
    fn tag_tells_all(&self) -> bool {
        self.delivery.is_none()
    }
}

#[utoipa::path(
    get, path = "/webhooks", tag = "webhooks", operation_id = "list_webhooks",
    summary = "List webhooks, or watch them",
    params(ListParams),
    responses((status = 200, description = "A page in order of name; with watch=true a stream of changes", content(
        (List<Webhook> = "application/json"),
        (WatchEvent<Webhook> = "text/event-stream"),
    )))
)]
async fn list_webhooks(State(site): State<Arc<Site>>, headers: HeaderMap, parameters: Parameters) -> Answer {
    list::list::<Webhook>(&site, &headers, parameters).await
}

#[utoipa::path(
    post, path = "/webhooks", tag = "webhooks", operation_id = "create_webhook",
    summary = "Create a webhook",
    description = "Events are delivered as CloudEvents 1.0, signed as Standard Webhooks 1.0.0 has it, at least once and in order for each object. The target must be one that the operator allows. Without a secret one is made; it is in this answer only: a repetition with the same Idempotency-Key answers without it (rotate the secret if the first answer was lost), and so does a dry run.",
    request_body = CreateWebhook,
    responses((status = 201, description = "It is made; secret is there when it was made too, in this answer only", body = Webhook))
)]
async fn create_webhook(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let create: CreateWebhook = change.parse()?;
    let secret = Secret::given_or_made(create.secret.as_deref())?;
    let command = create.into_command(secret.seal(&site)?)?;
    if let WebhookCommand::Create(create) = &command {
        check_target(&site, &create.spec.url)?;
    }
    let outcome = change.submit(&site, Command::Webhook(command)).await?;
    answer_with::<Webhook>(&site, outcome, Success::Created, |webhook| webhook.secret = secret.made())
}

#[utoipa::path(
    get, path = "/webhooks/{name}", tag = "webhooks", operation_id = "show_webhook",
    summary = "Show a webhook, and how its deliveries go",
    params(("name" = String, Path, description = "Name or id"), AtParam),
    responses((status = 200, description = "The webhook", body = Webhook))
)]
async fn show_webhook(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    list::one::<Webhook>(&site, &headers, &reference, parameters).await
}

#[utoipa::path(
    method(patch, put), path = "/webhooks/{name}", tag = "webhooks", operation_id = "update_webhook",
    summary = "Change, pause or resume a webhook",
    description = "An absent field leaves what is there, null clears it. PUT and PATCH mean the same. paused=false resumes it, also after it was disabled, and delivers what has happened meanwhile; with skip=true it begins with what happens from then on.",
    params(("name" = String, Path, description = "Name or id")),
    request_body(content((UpdateWebhook = "application/json"), (UpdateWebhook = "application/merge-patch+json"))),
    responses((status = 200, description = "The webhook with the change", body = Webhook))
)]
async fn update_webhook(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let update: UpdateWebhook = change.parse()?;
    let command = update.into_command(change.reference()?)?;
    if let WebhookCommand::Update(update) = &command
        && let Some(url) = &update.url
    {
        check_target(&site, url)?;
    }
    let outcome = change.submit(&site, Command::Webhook(command)).await?;
    answer::<Webhook>(&site, outcome, Success::Changed)
}

#[utoipa::path(
    delete, path = "/webhooks/{name}", tag = "webhooks", operation_id = "remove_webhook",
    summary = "Remove a webhook",
    description = "What was not delivered yet is not delivered; what is on its way may arrive.",
    params(("name" = String, Path, description = "Name or id")),
    responses((status = 204, description = "It is gone"), (status = 200, description = "Dry run: the webhook that would go", body = Webhook))
)]
async fn remove_webhook(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let command = WebhookCommand::Delete { webhook: change.reference()? };
    let outcome = change.submit(&site, Command::Webhook(command)).await?;
    answer::<Webhook>(&site, outcome, Success::Removed)
}

#[utoipa::path(
    post, path = "/webhooks/{name}/action", tag = "webhooks", operation_id = "act_on_webhook",
    summary = "Give a webhook another secret",
    description = "For previous_valid_seconds deliveries are signed with both secrets, so that the receiver can change over without losing any. A secret that is made is in this answer only.",
    params(("name" = String, Path, description = "Name or id")),
    request_body = WebhookAction,
    responses((status = 200, description = "The webhook; secret is there when it was made", body = Webhook))
)]
async fn act_on_webhook(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let WebhookAction::RotateSecret { secret, previous_valid_seconds } = change.parse()?;
    let secret = Secret::given_or_made(secret.as_deref())?;
    let webhook = change.reference()?;
    let command = WebhookCommand::RotateSecret { webhook, secret: secret.seal(&site)?, previous_valid_seconds };
    let outcome = change.submit(&site, Command::Webhook(command)).await?;
    answer_with::<Webhook>(&site, outcome, Success::Changed, |webhook| webhook.secret = secret.made())
}

#[utoipa::path(
    get, path = "/webhooks/{name}/events", tag = "webhooks", operation_id = "show_webhook_events",
    summary = "Show the history of a webhook, also of one that is gone",
    params(
        ("name" = String, Path, description = "Name or id; if none lives, the last that had the name"),
        history::EventsParams,
    ),
    responses((status = 200, description = "A page, oldest first; with follow=true a stream", content(
        (List<HistoryEvent> = "application/json"),
        (HistoryEvent = "text/event-stream"),
    )))
)]
async fn show_webhook_events(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    history::events(&site, Kind::Webhook, &reference, &headers, parameters).await
}

/// A look ahead, so that who registers a target learns at once that nothing would ever arrive there.
fn check_target(site: &Site, url: &TargetUrl) -> Result<(), Failure> {
    site.app
        .webhooks
        .check(url)
        .map_err(|why| Failure::new(&codes::WEBHOOK_TARGET_NOT_ALLOWED, format!("url: {why}")).field("url"))
}

/// A webhook's secret on its way into the log, where it is sealed.
enum Secret {
    Given(String),
    Made(String),
}

impl Secret {
    fn given_or_made(given: Option<&str>) -> Result<Self, Failure> {
        let Some(given) = given else {
            return webhook_secret::generate().map(Self::Made).map_err(|error| Failure::internal(error.to_string()));
        };
        match webhook_secret::key(given) {
            Ok(_) => Ok(Self::Given(given.to_owned())),
            Err(bad) => Err(edgestack_wire::Invalid::new("secret", bad).into()),
        }
    }

    fn seal(&self, site: &Site) -> Result<SealedText, Failure> {
        let (Self::Given(text) | Self::Made(text)) = self;
        let sealed = site.app.seal.seal(text);
        sealed.map_err(|error| Failure::internal(edgestack_engine::error_chain(&error)))
    }

    /// What the caller does not know yet.
    fn made(self) -> Option<String> {
        match self {
            Self::Given(_) => None,
            Self::Made(text) => Some(text),
        }
    }
}
