//! Volumes: each the root disk of a VM, made and removed with it.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use edgestack_model::{Command, Kind, world::Resource};
use edgestack_views::ViewError;
use edgestack_wire::{
    event::HistoryEvent,
    list::{List, ListParams, WatchEvent},
    meta::Meta,
    volume::{Volume, VolumeAction},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    answer::{Success, answer},
    change::Change,
    history, list,
    moment::AtParam,
    path::Named,
    problem::Answer,
    query::Parameters,
    shown::{Shown, Surroundings},
    state::Site,
};

/// The routes of this kind.
pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new()
        .routes(routes!(list_volumes))
        .routes(routes!(show_volume))
        .routes(routes!(act_on_volume))
        .routes(routes!(show_volume_events))
}

impl Shown for Volume {
    const KIND: Kind = Kind::Volume;

    fn states() -> &'static [&'static str] {
        &["creating", "available", "deleting"]
    }

    fn show(resource: &Resource, _around: &mut Surroundings<'_>) -> Result<Option<Self>, ViewError> {
        match resource {
            Resource::Volume(resource) => Ok(Some(resource.as_ref().into())),
            _ => Ok(None),
        }
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }
}

#[utoipa::path(
    get, path = "/volumes", tag = "volumes", operation_id = "list_volumes",
    summary = "List volumes, or watch them",
    params(ListParams),
    responses((status = 200, description = "A page in order of name; with watch=true a stream of changes", content(
        (List<Volume> = "application/json"),
        (WatchEvent<Volume> = "text/event-stream"),
    )))
)]
async fn list_volumes(State(site): State<Arc<Site>>, headers: HeaderMap, parameters: Parameters) -> Answer {
    list::list::<Volume>(&site, &headers, parameters).await
}

#[utoipa::path(
    get, path = "/volumes/{name}", tag = "volumes", operation_id = "show_volume",
    summary = "Show a volume",
    params(("name" = String, Path, description = "Name or id"), AtParam),
    responses((status = 200, description = "The volume", body = Volume))
)]
async fn show_volume(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    list::one::<Volume>(&site, &headers, &reference, parameters).await
}

#[utoipa::path(
    post, path = "/volumes/{name}/action", tag = "volumes", operation_id = "act_on_volume",
    summary = "Have a volume looked at again now",
    params(("name" = String, Path, description = "Name or id")),
    request_body = VolumeAction,
    responses((status = 202, description = "It is recorded; its worker looks", body = Volume))
)]
async fn act_on_volume(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let command = change.parse::<VolumeAction>()?.into_command(change.reference()?);
    let outcome = change.submit(&site, Command::Volume(command)).await?;
    answer::<Volume>(&site, outcome, Success::WorkFollows)
}

#[utoipa::path(
    get, path = "/volumes/{name}/events", tag = "volumes", operation_id = "show_volume_events",
    summary = "Show the history of a volume, also of one that is gone",
    params(
        ("name" = String, Path, description = "Name or id; if none lives, the last that had the name"),
        history::EventsParams,
    ),
    responses((status = 200, description = "A page, oldest first; with follow=true a stream", content(
        (List<HistoryEvent> = "application/json"),
        (HistoryEvent = "text/event-stream"),
    )))
)]
async fn show_volume_events(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    history::events(&site, Kind::Volume, &reference, &headers, parameters).await
}
