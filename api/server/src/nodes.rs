//! Nodes: registered and described by their own workers; people label and cordon them.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use edgestack_model::{Command, Kind, node::NodeCommand, world::Resource};
use edgestack_views::ViewError;
use edgestack_wire::{
    event::HistoryEvent,
    image::Image,
    list::{List, ListParams, WatchEvent},
    meta::{Meta, UpdateMeta},
    node::{Node, NodeAction},
    vm::Vm,
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
        .routes(routes!(list_nodes))
        .routes(routes!(show_node, update_node))
        .routes(routes!(act_on_node))
        .routes(routes!(show_node_events))
}

impl Shown for Node {
    const KIND: Kind = Kind::Node;

    fn states() -> &'static [&'static str] {
        &["ready", "not_ready"]
    }

    fn show(resource: &Resource, around: &mut Surroundings<'_>) -> Result<Option<Self>, ViewError> {
        let Resource::Node(node) = resource else {
            return Ok(None);
        };
        let (used, vms) = around.taken(node.id);
        Ok(Some(Self::of(node, used, vms)))
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }

    /// What its VMs take moves without a commit of the node.
    fn tag_tells_all(&self) -> bool {
        false
    }
}

#[utoipa::path(
    get, path = "/nodes", tag = "nodes", operation_id = "list_nodes",
    summary = "List nodes, or watch them",
    params(ListParams),
    responses((status = 200, description = "A page in order of name; with watch=true a stream of changes", content(
        (List<Node> = "application/json"),
        (WatchEvent<Node> = "text/event-stream"),
    )))
)]
async fn list_nodes(State(site): State<Arc<Site>>, headers: HeaderMap, parameters: Parameters) -> Answer {
    list::list::<Node>(&site, &headers, parameters).await
}

#[utoipa::path(
    get, path = "/nodes/{name}", tag = "nodes", operation_id = "show_node",
    summary = "Show a node",
    params(("name" = String, Path, description = "Name or id"), AtParam),
    responses((status = 200, description = "The node", body = Node))
)]
async fn show_node(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    list::one::<Node>(&site, &headers, &reference, parameters).await
}

#[utoipa::path(
    method(patch, put), path = "/nodes/{name}", tag = "nodes", operation_id = "update_node",
    summary = "Change a node",
    description = "Description and labels (which VMs' node selectors ask for). An absent field leaves what is there, null clears it. PUT and PATCH mean the same.",
    params(("name" = String, Path, description = "Name or id")),
    request_body(content((UpdateMeta = "application/json"), (UpdateMeta = "application/merge-patch+json"))),
    responses((status = 200, description = "The node with the change", body = Node))
)]
async fn update_node(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let update: UpdateMeta = change.parse()?;
    let command = NodeCommand::Update { node: change.reference()?, change: update.try_into()? };
    let outcome = change.submit(&site, Command::Node(command)).await?;
    answer::<Node>(&site, outcome, Success::Changed)
}

#[utoipa::path(
    post, path = "/nodes/{name}/action", tag = "nodes", operation_id = "act_on_node",
    summary = "Cordon, uncordon or repair a node, or adopt what is on it",
    params(("name" = String, Path, description = "Name or id")),
    request_body = NodeAction,
    responses(
        (status = 200, description = "The node after it; a dry run's, too", body = Node),
        (status = 201, description = "The VM or the image that was adopted", content(
            (Vm = "application/json"),
            (Image = "application/json"),
        )),
        (status = 202, description = "It is recorded; its workers look", body = Node),
        (status = 204, description = "It is forgotten"),
    )
)]
async fn act_on_node(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let action = change.parse::<NodeAction>()?;
    let success = match &action {
        NodeAction::Cordon {} | NodeAction::Uncordon {} => Success::Changed,
        NodeAction::Reconcile {} => Success::WorkFollows,
        NodeAction::ForceRemove {} => Success::Removed,
        NodeAction::Adopt { .. } => Success::Created,
    };
    let command = action.into_command(change.reference()?)?;
    let outcome = change.submit(&site, Command::Node(command)).await?;
    match outcome.primary().0 {
        Kind::Vm => answer::<Vm>(&site, outcome, success),
        Kind::Image => answer::<Image>(&site, outcome, success),
        Kind::Node
        | Kind::Flavor
        | Kind::Keypair
        | Kind::Volume
        | Kind::Network
        | Kind::SecurityGroup
        | Kind::SecurityGroupRule
        | Kind::Router
        | Kind::FloatingIp
        | Kind::LoadBalancer
        | Kind::Webhook
        | Kind::Lease => answer::<Node>(&site, outcome, success),
    }
}

#[utoipa::path(
    get, path = "/nodes/{name}/events", tag = "nodes", operation_id = "show_node_events",
    summary = "Show the history of a node, also of one that is gone",
    params(
        ("name" = String, Path, description = "Name or id; if none lives, the last that had the name"),
        history::EventsParams,
    ),
    responses((status = 200, description = "A page, oldest first; with follow=true a stream", content(
        (List<HistoryEvent> = "application/json"),
        (HistoryEvent = "text/event-stream"),
    )))
)]
async fn show_node_events(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    history::events(&site, Kind::Node, &reference, &headers, parameters).await
}
