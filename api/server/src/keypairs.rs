//! Keypairs.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use edgestack_model::{Command, Kind, keypair::KeypairCommand, world::Resource};
use edgestack_views::ViewError;
use edgestack_wire::{
    event::HistoryEvent,
    keypair::{CreateKeypair, KeyType, Keypair},
    list::{List, ListParams, WatchEvent},
    meta::{Meta, UpdateMeta},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    answer::{Success, answer, answer_with},
    change::Change,
    history, list,
    moment::AtParam,
    path::Named,
    problem::{Answer, Failure},
    query::Parameters,
    shown::{Shown, Surroundings},
    ssh_keys::{self, Keys},
    state::Site,
};

/// The routes of this kind.
pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new()
        .routes(routes!(list_keypairs, create_keypair))
        .routes(routes!(show_keypair, update_keypair, remove_keypair))
        .routes(routes!(show_keypair_events))
}

impl Shown for Keypair {
    const KIND: Kind = Kind::Keypair;

    fn states() -> &'static [&'static str] {
        &[]
    }

    fn show(resource: &Resource, _around: &mut Surroundings<'_>) -> Result<Option<Self>, ViewError> {
        match resource {
            Resource::Keypair(resource) => Ok(Some(resource.as_ref().into())),
            _ => Ok(None),
        }
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn state(&self) -> Option<&str> {
        None
    }
}

#[utoipa::path(
    get, path = "/keypairs", tag = "keypairs", operation_id = "list_keypairs",
    summary = "List keypairs, or watch them",
    params(ListParams),
    responses((status = 200, description = "A page in order of name; with watch=true a stream of changes", content(
        (List<Keypair> = "application/json"),
        (WatchEvent<Keypair> = "text/event-stream"),
    )))
)]
async fn list_keypairs(State(site): State<Arc<Site>>, headers: HeaderMap, parameters: Parameters) -> Answer {
    list::list::<Keypair>(&site, &headers, parameters).await
}

#[utoipa::path(
    post, path = "/keypairs", tag = "keypairs", operation_id = "create_keypair",
    summary = "Create a keypair",
    description = "With public_key the given key is registered, without one it is generated. The private key of a generated one is in this answer only and never kept: a repetition with the same Idempotency-Key answers without it (remove the keypair and generate a new one if the first answer was lost), and so does a dry run.",
    request_body = CreateKeypair,
    responses((status = 201, description = "It is made; private_key is there when the key was generated, in this answer only", body = Keypair))
)]
async fn create_keypair(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let create: CreateKeypair = change.parse()?;
    let keys = keys_for(&site, &create).await?;
    let command = KeypairCommand::Create {
        name: edgestack_wire::invalid::name(&create.name)?,
        description: create.description,
        labels: edgestack_wire::invalid::labels("labels", create.labels)?,
        key: keys.public,
    };
    let outcome = change.submit(&site, Command::Keypair(command)).await?;
    answer_with::<Keypair>(&site, outcome, Success::Created, |keypair| {
        keypair.private_key = keys.private_pem;
    })
}

#[utoipa::path(
    get, path = "/keypairs/{name}", tag = "keypairs", operation_id = "show_keypair",
    summary = "Show a keypair",
    params(("name" = String, Path, description = "Name or id"), AtParam),
    responses((status = 200, description = "The keypair", body = Keypair))
)]
async fn show_keypair(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    list::one::<Keypair>(&site, &headers, &reference, parameters).await
}

#[utoipa::path(
    method(patch, put), path = "/keypairs/{name}", tag = "keypairs", operation_id = "update_keypair",
    summary = "Change a keypair",
    description = "Description and labels; the key of a keypair never changes. An absent field leaves what is there, null clears it. PUT and PATCH mean the same.",
    params(("name" = String, Path, description = "Name or id")),
    request_body(content((UpdateMeta = "application/json"), (UpdateMeta = "application/merge-patch+json"))),
    responses((status = 200, description = "The keypair with the change", body = Keypair))
)]
async fn update_keypair(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let update: UpdateMeta = change.parse()?;
    let command = KeypairCommand::Update { keypair: change.reference()?, change: update.try_into()? };
    let outcome = change.submit(&site, Command::Keypair(command)).await?;
    answer::<Keypair>(&site, outcome, Success::Changed)
}

#[utoipa::path(
    delete, path = "/keypairs/{name}", tag = "keypairs", operation_id = "remove_keypair",
    summary = "Remove a keypair",
    description = "VMs made with it keep the key.",
    params(("name" = String, Path, description = "Name or id")),
    responses((status = 204, description = "It is gone"), (status = 200, description = "Dry run: the keypair that would go", body = Keypair))
)]
async fn remove_keypair(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let command = KeypairCommand::Delete { keypair: change.reference()? };
    let outcome = change.submit(&site, Command::Keypair(command)).await?;
    answer::<Keypair>(&site, outcome, Success::Removed)
}

#[utoipa::path(
    get, path = "/keypairs/{name}/events", tag = "keypairs", operation_id = "show_keypair_events",
    summary = "Show the history of a keypair, also of one that is gone",
    params(
        ("name" = String, Path, description = "Name or id; if none lives, the last that had the name"),
        history::EventsParams,
    ),
    responses((status = 200, description = "A page, oldest first; with follow=true a stream", content(
        (List<HistoryEvent> = "application/json"),
        (HistoryEvent = "text/event-stream"),
    )))
)]
async fn show_keypair_events(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    history::events(&site, Kind::Keypair, &reference, &headers, parameters).await
}

/// The given key, checked, or a new one.
async fn keys_for(site: &Site, create: &CreateKeypair) -> Result<Keys, Failure> {
    if let Some(text) = &create.public_key {
        let public = ssh_keys::parse(text, create.key_type)?;
        return Ok(Keys { public, private_pem: None });
    }
    let key_type = create.key_type.unwrap_or(KeyType::Ed25519);
    let permit = match key_type {
        KeyType::Ed25519 => None,
        KeyType::Rsa => {
            Some(site.rsa_generations.acquire().await.map_err(|error| Failure::internal(error.to_string()))?)
        }
    };
    let comment = create.name.clone();
    let generated = tokio::task::spawn_blocking(move || ssh_keys::generate(key_type, &comment))
        .await
        .map_err(|error| Failure::internal(error.to_string()))?;
    drop(permit);
    generated.map_err(|error| Failure::internal(error.to_string()))
}
