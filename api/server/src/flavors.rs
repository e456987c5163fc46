//! Flavors.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use edgestack_model::{Command, Kind, flavor::FlavorCommand, world::Resource};
use edgestack_views::ViewError;
use edgestack_wire::{
    event::HistoryEvent,
    flavor::{CreateFlavor, Flavor},
    list::{List, ListParams, WatchEvent},
    meta::{Meta, UpdateMeta},
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
        .routes(routes!(list_flavors, create_flavor))
        .routes(routes!(show_flavor, update_flavor, remove_flavor))
        .routes(routes!(show_flavor_events))
}

impl Shown for Flavor {
    const KIND: Kind = Kind::Flavor;

    fn states() -> &'static [&'static str] {
        &[]
    }

    fn show(resource: &Resource, _around: &mut Surroundings<'_>) -> Result<Option<Self>, ViewError> {
        match resource {
            Resource::Flavor(resource) => Ok(Some(resource.as_ref().into())),
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
    get, path = "/flavors", tag = "flavors", operation_id = "list_flavors",
    summary = "List flavors, or watch them",
    params(ListParams),
    responses((status = 200, description = "A page in order of name; with watch=true a stream of changes", content(
        (List<Flavor> = "application/json"),
        (WatchEvent<Flavor> = "text/event-stream"),
    )))
)]
async fn list_flavors(State(site): State<Arc<Site>>, headers: HeaderMap, parameters: Parameters) -> Answer {
    list::list::<Flavor>(&site, &headers, parameters).await
}

#[utoipa::path(
    post, path = "/flavors", tag = "flavors", operation_id = "create_flavor",
    summary = "Create a flavor",
    request_body = CreateFlavor,
    responses((status = 201, description = "It is made; Location and ETag tell where and as what", body = Flavor))
)]
async fn create_flavor(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let command = change.parse::<CreateFlavor>()?.try_into()?;
    let outcome = change.submit(&site, Command::Flavor(command)).await?;
    answer::<Flavor>(&site, outcome, Success::Created)
}

#[utoipa::path(
    get, path = "/flavors/{name}", tag = "flavors", operation_id = "show_flavor",
    summary = "Show a flavor",
    params(("name" = String, Path, description = "Name or id"), AtParam),
    responses((status = 200, description = "The flavor", body = Flavor))
)]
async fn show_flavor(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    list::one::<Flavor>(&site, &headers, &reference, parameters).await
}

#[utoipa::path(
    method(patch, put), path = "/flavors/{name}", tag = "flavors", operation_id = "update_flavor",
    summary = "Change a flavor",
    description = "Description and labels; the size of a flavor never changes. An absent field leaves what is there, null clears it. PUT and PATCH mean the same.",
    params(("name" = String, Path, description = "Name or id")),
    request_body(content((UpdateMeta = "application/json"), (UpdateMeta = "application/merge-patch+json"))),
    responses((status = 200, description = "The flavor with the change", body = Flavor))
)]
async fn update_flavor(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let update: UpdateMeta = change.parse()?;
    let command = FlavorCommand::Update { flavor: change.reference()?, change: update.try_into()? };
    let outcome = change.submit(&site, Command::Flavor(command)).await?;
    answer::<Flavor>(&site, outcome, Success::Changed)
}

#[utoipa::path(
    delete, path = "/flavors/{name}", tag = "flavors", operation_id = "remove_flavor",
    summary = "Remove a flavor",
    description = "Refused while VMs use it.",
    params(("name" = String, Path, description = "Name or id")),
    responses((status = 204, description = "It is gone"), (status = 200, description = "Dry run: the flavor that would go", body = Flavor))
)]
async fn remove_flavor(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let command = FlavorCommand::Delete { flavor: change.reference()? };
    let outcome = change.submit(&site, Command::Flavor(command)).await?;
    answer::<Flavor>(&site, outcome, Success::Removed)
}

#[utoipa::path(
    get, path = "/flavors/{name}/events", tag = "flavors", operation_id = "show_flavor_events",
    summary = "Show the history of a flavor, also of one that is gone",
    params(
        ("name" = String, Path, description = "Name or id; if none lives, the last that had the name"),
        history::EventsParams,
    ),
    responses((status = 200, description = "A page, oldest first; with follow=true a stream", content(
        (List<HistoryEvent> = "application/json"),
        (HistoryEvent = "text/event-stream"),
    )))
)]
async fn show_flavor_events(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    history::events(&site, Kind::Flavor, &reference, &headers, parameters).await
}
