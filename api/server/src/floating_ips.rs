//! Floating IPs.

use std::sync::Arc;

use axum::{extract::State, http::HeaderMap};
use edgestack_model::{Command, Kind, floating_ip::FloatingIpCommand, realization::RealizationState, world::Resource};
use edgestack_views::ViewError;
use edgestack_wire::{
    event::HistoryEvent,
    floating_ip::{CreateFloatingIp, FloatingIp, FloatingIpAction, Names},
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
        .routes(routes!(list_floating_ips, create_floating_ip))
        .routes(routes!(show_floating_ip, update_floating_ip, remove_floating_ip))
        .routes(routes!(act_on_floating_ip))
        .routes(routes!(show_floating_ip_events))
}

impl Shown for FloatingIp {
    const KIND: Kind = Kind::FloatingIp;

    fn states() -> &'static [&'static str] {
        &RealizationState::WORDS
    }

    fn show(resource: &Resource, around: &mut Surroundings<'_>) -> Result<Option<Self>, ViewError> {
        let Resource::FloatingIp(ip) = resource else { return Ok(None) };
        let waiting = around.in_world(|world| ip.realization.waiting(world));
        let mut name = |kind, id| -> Result<_, ViewError> {
            Ok(around.find(kind, id)?.map(|resource| resource.meta().name.clone()))
        };
        let names = Names {
            router: name(Kind::Router, ip.spec.router.uuid())?,
            network: name(Kind::Network, ip.spec.network.uuid())?,
            vm: match &ip.association {
                Some(to) => name(Kind::Vm, to.vm.uuid())?,
                None => None,
            },
            load_balancer: match ip.load_balancer {
                Some(to) => name(Kind::LoadBalancer, to.uuid())?,
                None => None,
            },
        };
        Ok(Some(Self::of(ip, waiting, names)))
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }

    // Who works on the virtual network is told by a lease's commits.
    fn tag_tells_all(&self) -> bool {
        self.waiting.is_none()
    }
}

#[utoipa::path(
    get, path = "/floating_ips", tag = "floating_ips", operation_id = "list_floating_ips",
    summary = "List floating IPs, or watch them",
    params(ListParams),
    responses((status = 200, description = "A page in order of name; with watch=true a stream of changes", content(
        (List<FloatingIp> = "application/json"),
        (WatchEvent<FloatingIp> = "text/event-stream"),
    )))
)]
async fn list_floating_ips(State(site): State<Arc<Site>>, headers: HeaderMap, parameters: Parameters) -> Answer {
    list::list::<FloatingIp>(&site, &headers, parameters).await
}

#[utoipa::path(
    post, path = "/floating_ips", tag = "floating_ips", operation_id = "create_floating_ip",
    summary = "Take a floating IP",
    description = "It is held until it is removed, whether it leads anywhere or not.",
    request_body = CreateFloatingIp,
    responses((status = 202, description = "It is on its way; Location and ETag tell where and as what", body = FloatingIp))
)]
async fn create_floating_ip(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let command = change.parse::<CreateFloatingIp>()?.try_into()?;
    let outcome = change.submit(&site, Command::FloatingIp(command)).await?;
    answer::<FloatingIp>(&site, outcome, Success::CreatedAndWorkFollows)
}

#[utoipa::path(
    get, path = "/floating_ips/{name}", tag = "floating_ips", operation_id = "show_floating_ip",
    summary = "Show a floating IP, and where it leads",
    params(("name" = String, Path, description = "Name or id"), AtParam),
    responses((status = 200, description = "The floating IP", body = FloatingIp))
)]
async fn show_floating_ip(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    list::one::<FloatingIp>(&site, &headers, &reference, parameters).await
}

#[utoipa::path(
    method(patch, put), path = "/floating_ips/{name}", tag = "floating_ips", operation_id = "update_floating_ip",
    summary = "Change a floating IP",
    description = "Description and labels; where it leads is changed by actions. An absent field leaves what is there, null clears it. PUT and PATCH mean the same.",
    params(("name" = String, Path, description = "Name or id")),
    request_body(content((UpdateMeta = "application/json"), (UpdateMeta = "application/merge-patch+json"))),
    responses((status = 200, description = "The floating IP with the change", body = FloatingIp))
)]
async fn update_floating_ip(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let update: UpdateMeta = change.parse()?;
    let command = FloatingIpCommand::Update { floating_ip: change.reference()?, change: update.try_into()? };
    let outcome = change.submit(&site, Command::FloatingIp(command)).await?;
    answer::<FloatingIp>(&site, outcome, Success::Changed)
}

#[utoipa::path(
    delete, path = "/floating_ips/{name}", tag = "floating_ips", operation_id = "remove_floating_ip",
    summary = "Remove a floating IP: its address is free again",
    params(("name" = String, Path, description = "Name or id")),
    responses(
        (status = 202, description = "It is being removed", body = FloatingIp),
        (status = 204, description = "It is gone"),
        (status = 200, description = "Dry run: the floating IP as it would be then", body = FloatingIp),
    )
)]
async fn remove_floating_ip(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let command = FloatingIpCommand::Delete { floating_ip: change.reference()? };
    let outcome = change.submit(&site, Command::FloatingIp(command)).await?;
    answer::<FloatingIp>(&site, outcome, Success::Removed)
}

#[utoipa::path(
    post, path = "/floating_ips/{name}/action", tag = "floating_ips", operation_id = "act_on_floating_ip",
    summary = "Have a floating IP lead to a VM, to a load balancer or nowhere, or repair it",
    params(("name" = String, Path, description = "Name or id")),
    request_body = FloatingIpAction,
    responses(
        (status = 202, description = "It is recorded; the gateway worker acts", body = FloatingIp),
        (status = 204, description = "It is forgotten"),
        (status = 200, description = "Dry run: the floating IP as it would be", body = FloatingIp),
    )
)]
async fn act_on_floating_ip(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let action = change.parse::<FloatingIpAction>()?;
    let success = match action {
        FloatingIpAction::Associate { .. } | FloatingIpAction::Disassociate {} | FloatingIpAction::Reconcile {} => {
            Success::WorkFollows
        }
        FloatingIpAction::ForceRemove {} => Success::Removed,
    };
    let command = action.into_command(change.reference()?)?;
    let outcome = change.submit(&site, Command::FloatingIp(command)).await?;
    answer::<FloatingIp>(&site, outcome, success)
}

#[utoipa::path(
    get, path = "/floating_ips/{name}/events", tag = "floating_ips", operation_id = "show_floating_ip_events",
    summary = "Show the history of a floating IP, also of one that is gone",
    params(
        ("name" = String, Path, description = "Name or id; if none lives, the last that had the name"),
        history::EventsParams,
    ),
    responses((status = 200, description = "A page, oldest first; with follow=true a stream", content(
        (List<HistoryEvent> = "application/json"),
        (HistoryEvent = "text/event-stream"),
    )))
)]
async fn show_floating_ip_events(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    history::events(&site, Kind::FloatingIp, &reference, &headers, parameters).await
}
