//! Networks.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use edgestack_model::{
    Command, Kind, address::holders, network::NetworkCommand, node::Node, realization::RealizationState,
    world::Resource,
};
use edgestack_views::ViewError;
use edgestack_wire::{
    event::HistoryEvent,
    list::{List, ListParams, WatchEvent},
    meta::Meta,
    network::{CreateNetwork, Network, NetworkAction, UpdateNetwork},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    answer::{Success, answer},
    change::{Change, Removal},
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
        .routes(routes!(list_networks, create_network))
        .routes(routes!(show_network, update_network, remove_network))
        .routes(routes!(act_on_network))
        .routes(routes!(show_network_events))
}

impl Shown for Network {
    const KIND: Kind = Kind::Network;

    fn states() -> &'static [&'static str] {
        &RealizationState::WORDS
    }

    fn show(resource: &Resource, around: &mut Surroundings<'_>) -> Result<Option<Self>, ViewError> {
        match resource {
            Resource::Network(network) => {
                let (waiting, held, reached_by) = around.in_world(|world| {
                    let leads = |node: &&Arc<Node>| {
                        let outside = network.spec.physical_network.as_ref();
                        outside.and_then(|outside| node.facts.leads_to(outside.as_str())) == Some(true)
                    };
                    let mut nodes: Vec<String> =
                        world.nodes.values().filter(leads).map(|node| node.meta.name.to_string()).collect();
                    nodes.sort();
                    (network.waiting(world), holders(world, network), nodes)
                });
                Ok(Some(Self { reached_by, ..Self::of(network, waiting, held) }))
            }
            _ => Ok(None),
        }
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }

    // Who holds its addresses is told by others' commits.
    fn tag_tells_all(&self) -> bool {
        false
    }
}

#[utoipa::path(
    get, path = "/networks", tag = "networks", operation_id = "list_networks",
    summary = "List networks, or watch them",
    params(ListParams),
    responses((status = 200, description = "A page in order of name; with watch=true a stream of changes", content(
        (List<Network> = "application/json"),
        (WatchEvent<Network> = "text/event-stream"),
    )))
)]
async fn list_networks(State(site): State<Arc<Site>>, headers: HeaderMap, parameters: Parameters) -> Answer {
    list::list::<Network>(&site, &headers, parameters).await
}

#[utoipa::path(
    post, path = "/networks", tag = "networks", operation_id = "create_network",
    summary = "Create a network",
    request_body = CreateNetwork,
    responses((status = 202, description = "It is on its way; Location and ETag tell where and as what", body = Network))
)]
async fn create_network(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let command = change.parse::<CreateNetwork>()?.try_into()?;
    let outcome = change.submit(&site, Command::Network(command)).await?;
    answer::<Network>(&site, outcome, Success::CreatedAndWorkFollows)
}

#[utoipa::path(
    get, path = "/networks/{name}", tag = "networks", operation_id = "show_network",
    summary = "Show a network",
    params(("name" = String, Path, description = "Name or id"), AtParam),
    responses((status = 200, description = "The network", body = Network))
)]
async fn show_network(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    list::one::<Network>(&site, &headers, &reference, parameters).await
}

#[utoipa::path(
    method(patch, put), path = "/networks/{name}", tag = "networks", operation_id = "update_network",
    summary = "Change a network",
    description = "Its prefixes, type and segment never change. An absent field leaves what is there, null clears it. PUT and PATCH mean the same.",
    params(("name" = String, Path, description = "Name or id")),
    request_body(content((UpdateNetwork = "application/json"), (UpdateNetwork = "application/merge-patch+json"))),
    responses((status = 200, description = "The network with the change", body = Network))
)]
async fn update_network(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let update: UpdateNetwork = change.parse()?;
    let command = update.into_command(change.reference()?)?;
    let outcome = change.submit(&site, Command::Network(command)).await?;
    answer::<Network>(&site, outcome, Success::Changed)
}

#[utoipa::path(
    delete, path = "/networks/{name}", tag = "networks", operation_id = "remove_network",
    summary = "Remove a network",
    description = "Refused while something is on it, unless that is to go first. It is gone when the nodes have let go of its \
                   NICs.",
    params(
        ("name" = String, Path, description = "Name or id"),
        ("cascade" = Option<bool>, Query, description = "true: NICs are detached from it, its load balancers and floating IPs \
                                                         go, routers leave it"),
    ),
    responses(
        (status = 202, description = "It is being removed", body = Network),
        (status = 204, description = "It is gone"),
        (status = 200, description = "Dry run: the network as it would be then", body = Network),
    )
)]
async fn remove_network(State(site): State<Arc<Site>>, removal: Removal) -> Answer {
    let Removal { change, cascade } = removal;
    let command = NetworkCommand::Delete { network: change.reference()?, cascade };
    let outcome = change.submit(&site, Command::Network(command)).await?;
    answer::<Network>(&site, outcome, Success::Removed)
}

#[utoipa::path(
    post, path = "/networks/{name}/action", tag = "networks", operation_id = "act_on_network",
    summary = "Have a network looked at again now, or force its removal",
    params(("name" = String, Path, description = "Name or id")),
    request_body = NetworkAction,
    responses(
        (status = 202, description = "It is recorded; the gateway worker looks", body = Network),
        (status = 204, description = "It is forgotten"),
        (status = 200, description = "Dry run: the network as it would be", body = Network),
    )
)]
async fn act_on_network(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let action = change.parse::<NetworkAction>()?;
    let success = match action {
        NetworkAction::Reconcile {} => Success::WorkFollows,
        NetworkAction::ForceRemove {} => Success::Removed,
    };
    let command = action.into_command(change.reference()?);
    let outcome = change.submit(&site, Command::Network(command)).await?;
    answer::<Network>(&site, outcome, success)
}

#[utoipa::path(
    get, path = "/networks/{name}/events", tag = "networks", operation_id = "show_network_events",
    summary = "Show the history of a network, also of one that is gone",
    params(
        ("name" = String, Path, description = "Name or id; if none lives, the last that had the name"),
        history::EventsParams,
    ),
    responses((status = 200, description = "A page, oldest first; with follow=true a stream", content(
        (List<HistoryEvent> = "application/json"),
        (HistoryEvent = "text/event-stream"),
    )))
)]
async fn show_network_events(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    history::events(&site, Kind::Network, &reference, &headers, parameters).await
}
