//! Routers, and the next hop outside that one may have.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State, http::HeaderMap, response::IntoResponse};
use edgestack_model::{Command, Kind, realization::RealizationState, router::RouterCommand, world::Resource};
use edgestack_views::ViewError;
use edgestack_wire::{
    event::HistoryEvent,
    list::{List, ListParams, WatchEvent},
    meta::Meta,
    router::{CreateRouter, PeerRouter, Router, RouterAction, UpdateRouter, peer_command},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    answer::{Success, answer},
    change::{Change, Removal},
    codes, history, list,
    moment::{AtParam, Reading},
    path::Named,
    problem::{Answer, Failure},
    query::Parameters,
    shown::{Shown, Surroundings},
    state::Site,
};

/// The routes of this kind.
pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new()
        .routes(routes!(list_routers, create_router))
        .routes(routes!(show_router, update_router, remove_router))
        .routes(routes!(act_on_router))
        .routes(routes!(show_peer_router, set_peer_router, remove_peer_router))
        .routes(routes!(show_router_events))
}

impl Shown for Router {
    const KIND: Kind = Kind::Router;

    fn states() -> &'static [&'static str] {
        &RealizationState::WORDS
    }

    fn show(resource: &Resource, around: &mut Surroundings<'_>) -> Result<Option<Self>, ViewError> {
        let Resource::Router(router) = resource else { return Ok(None) };
        let (waiting, floating_ips) = around.in_world(|world| {
            let ips = world.floating_ips.values().filter(|ip| ip.spec.router == router.id);
            (router.realization.waiting(world), ips.map(|ip| ip.spec.address).collect::<Vec<_>>())
        });
        let mut names = BTreeMap::new();
        let outside = router.spec.external.as_ref().map(|outside| outside.network);
        for id in router.spec.internal.iter().copied().chain(outside) {
            if let Some(Resource::Network(network)) = around.find(Kind::Network, id.uuid())? {
                names.insert(id, network.meta.name.clone());
            }
        }
        Ok(Some(Self::of(router, waiting, &names, &floating_ips)))
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }

    // Its floating IPs come and go by commits of their own.
    fn tag_tells_all(&self) -> bool {
        false
    }
}

#[utoipa::path(
    get, path = "/routers", tag = "routers", operation_id = "list_routers",
    summary = "List routers, or watch them",
    params(ListParams),
    responses((status = 200, description = "A page in order of name; with watch=true a stream of changes", content(
        (List<Router> = "application/json"),
        (WatchEvent<Router> = "text/event-stream"),
    )))
)]
async fn list_routers(State(site): State<Arc<Site>>, headers: HeaderMap, parameters: Parameters) -> Answer {
    list::list::<Router>(&site, &headers, parameters).await
}

#[utoipa::path(
    post, path = "/routers", tag = "routers", operation_id = "create_router",
    summary = "Create a router",
    description = "It joins networks, each of which it is found on under the gateway_ip, and leads to one outside. A network is on one router.",
    request_body = CreateRouter,
    responses((status = 202, description = "It is on its way; Location and ETag tell where and as what", body = Router))
)]
async fn create_router(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let command = change.parse::<CreateRouter>()?.try_into()?;
    let outcome = change.submit(&site, Command::Router(command)).await?;
    answer::<Router>(&site, outcome, Success::CreatedAndWorkFollows)
}

#[utoipa::path(
    get, path = "/routers/{name}", tag = "routers", operation_id = "show_router",
    summary = "Show a router",
    params(("name" = String, Path, description = "Name or id"), AtParam),
    responses((status = 200, description = "The router", body = Router))
)]
async fn show_router(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    list::one::<Router>(&site, &headers, &reference, parameters).await
}

#[utoipa::path(
    method(patch, put), path = "/routers/{name}", tag = "routers", operation_id = "update_router",
    summary = "Change a router",
    description = "internal_networks names all networks that it joins; attach and detach say what comes and goes. An absent field leaves what is there, null clears it. PUT and PATCH mean the same.",
    params(("name" = String, Path, description = "Name or id")),
    request_body(content((UpdateRouter = "application/json"), (UpdateRouter = "application/merge-patch+json"))),
    responses((status = 200, description = "The router with the change", body = Router))
)]
async fn update_router(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let update: UpdateRouter = change.parse()?;
    let command = update.into_command(change.reference()?)?;
    let outcome = change.submit(&site, Command::Router(command)).await?;
    answer::<Router>(&site, outcome, Success::Changed)
}

#[utoipa::path(
    delete, path = "/routers/{name}", tag = "routers", operation_id = "remove_router",
    summary = "Remove a router",
    description = "Its networks are apart again. Refused while it has floating IPs, unless these are to go first.",
    params(
        ("name" = String, Path, description = "Name or id"),
        ("cascade" = Option<bool>, Query, description = "true: its floating IPs go, too"),
    ),
    responses(
        (status = 202, description = "It is being removed", body = Router),
        (status = 204, description = "It is gone"),
        (status = 200, description = "Dry run: the router as it would be then", body = Router),
    )
)]
async fn remove_router(State(site): State<Arc<Site>>, removal: Removal) -> Answer {
    let Removal { change, cascade } = removal;
    let command = RouterCommand::Delete { router: change.reference()?, cascade };
    let outcome = change.submit(&site, Command::Router(command)).await?;
    answer::<Router>(&site, outcome, Success::Removed)
}

#[utoipa::path(
    post, path = "/routers/{name}/action", tag = "routers", operation_id = "act_on_router",
    summary = "Have a router looked at again now, or force its removal",
    params(("name" = String, Path, description = "Name or id")),
    request_body = RouterAction,
    responses(
        (status = 202, description = "It is recorded; the gateway worker looks", body = Router),
        (status = 204, description = "It is forgotten"),
        (status = 200, description = "Dry run: the router as it would be", body = Router),
    )
)]
async fn act_on_router(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let action = change.parse::<RouterAction>()?;
    let success = match action {
        RouterAction::Reconcile {} => Success::WorkFollows,
        RouterAction::ForceRemove {} => Success::Removed,
    };
    let command = action.into_command(change.reference()?);
    let outcome = change.submit(&site, Command::Router(command)).await?;
    answer::<Router>(&site, outcome, success)
}

#[utoipa::path(
    get, path = "/routers/{name}/peer_router", tag = "routers", operation_id = "show_peer_router",
    summary = "Show the next hop outside that a router was given",
    description = "404 where it was given none: its next hop is the external network's gateway then.",
    params(("name" = String, Path, description = "Name or id"), AtParam),
    responses((status = 200, description = "The next hop", body = PeerRouter))
)]
async fn show_peer_router(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    mut parameters: Parameters,
) -> Answer {
    let reading = Reading::take(&site, &mut parameters).await?;
    parameters.finish()?;
    let shown = Router::show(&reading.find(Kind::Router, &reference)?, &mut reading.surroundings())?
        .ok_or_else(|| Failure::internal("a view's row is of another kind than its key"))?;
    let Some(peer) = shown.peer_router else {
        let name = shown.meta.name;
        let fix = format!("give it one: edgectl create-peer-router {name} --ip ADDRESS --mac MAC");
        return Err(Failure::new(&codes::NOT_FOUND, format!("router \"{name}\" has no peer router; {fix}")));
    };
    Ok(reading.mark(Json(peer).into_response()))
}

#[utoipa::path(
    put, path = "/routers/{name}/peer_router", tag = "routers", operation_id = "set_peer_router",
    summary = "Give a router a next hop outside, in place of the one that it has",
    description = "The router's external traffic goes to it, and nobody asks for its MAC address. It is on the external network.",
    params(("name" = String, Path, description = "Name or id of the router")),
    request_body = PeerRouter,
    responses((status = 200, description = "The router with it", body = Router))
)]
async fn set_peer_router(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let peer: PeerRouter = change.parse()?;
    let command = peer_command(change.reference()?, Some(&peer))?;
    let outcome = change.submit(&site, Command::Router(command)).await;
    let outcome = outcome.map_err(|failure| failure.of_part("peer_router."))?;
    answer::<Router>(&site, outcome, Success::Changed)
}

#[utoipa::path(
    delete, path = "/routers/{name}/peer_router", tag = "routers", operation_id = "remove_peer_router",
    summary = "Take a router's next hop outside: it is the external network's gateway again",
    params(("name" = String, Path, description = "Name or id of the router")),
    responses((status = 200, description = "The router without it", body = Router))
)]
async fn remove_peer_router(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let command = peer_command(change.reference()?, None)?;
    let outcome = change.submit(&site, Command::Router(command)).await?;
    answer::<Router>(&site, outcome, Success::Changed)
}

#[utoipa::path(
    get, path = "/routers/{name}/events", tag = "routers", operation_id = "show_router_events",
    summary = "Show the history of a router, also of one that is gone",
    params(
        ("name" = String, Path, description = "Name or id; if none lives, the last that had the name"),
        history::EventsParams,
    ),
    responses((status = 200, description = "A page, oldest first; with follow=true a stream", content(
        (List<HistoryEvent> = "application/json"),
        (HistoryEvent = "text/event-stream"),
    )))
)]
async fn show_router_events(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    history::events(&site, Kind::Router, &reference, &headers, parameters).await
}
