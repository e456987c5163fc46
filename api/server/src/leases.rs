//! Leases: taken and given back by the site's own processes; people look at them.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use edgestack_model::{Kind, world::Resource};
use edgestack_views::ViewError;
use edgestack_wire::{
    event::HistoryEvent,
    lease::Lease,
    list::{List, ListParams, WatchEvent},
    meta::Meta,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
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
    OpenApiRouter::new().routes(routes!(list_leases)).routes(routes!(show_lease)).routes(routes!(show_lease_events))
}

impl Shown for Lease {
    const KIND: Kind = Kind::Lease;

    fn states() -> &'static [&'static str] {
        &["held", "free"]
    }

    fn show(resource: &Resource, _around: &mut Surroundings<'_>) -> Result<Option<Self>, ViewError> {
        let Resource::Lease(lease) = resource else {
            return Ok(None);
        };
        Ok(Some(Self::from(&**lease)))
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }
}

#[utoipa::path(
    get, path = "/leases", tag = "leases", operation_id = "list_leases",
    summary = "List leases, or watch them",
    params(ListParams),
    responses((status = 200, description = "A page in order of name; with watch=true a stream of changes", content(
        (List<Lease> = "application/json"),
        (WatchEvent<Lease> = "text/event-stream"),
    )))
)]
async fn list_leases(State(site): State<Arc<Site>>, headers: HeaderMap, parameters: Parameters) -> Answer {
    list::list::<Lease>(&site, &headers, parameters).await
}

#[utoipa::path(
    get, path = "/leases/{name}", tag = "leases", operation_id = "show_lease",
    summary = "Show a lease",
    params(("name" = String, Path, description = "Name or id"), AtParam),
    responses((status = 200, description = "The lease", body = Lease))
)]
async fn show_lease(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    list::one::<Lease>(&site, &headers, &reference, parameters).await
}

#[utoipa::path(
    get, path = "/leases/{name}/events", tag = "leases", operation_id = "show_lease_events",
    summary = "Show the history of a lease: who had it when",
    params(
        ("name" = String, Path, description = "Name or id"),
        history::EventsParams,
    ),
    responses((status = 200, description = "A page, oldest first; with follow=true a stream", content(
        (List<HistoryEvent> = "application/json"),
        (HistoryEvent = "text/event-stream"),
    )))
)]
async fn show_lease_events(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    history::events(&site, Kind::Lease, &reference, &headers, parameters).await
}
