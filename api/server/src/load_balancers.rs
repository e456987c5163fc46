//! Load balancers, and their rules.

use std::sync::Arc;

use axum::{Json, extract::State, http::HeaderMap, response::IntoResponse};
use edgestack_model::{
    Command, Id, Kind,
    load_balancer::{LoadBalancerCommand, limits, member_nic},
    realization::RealizationState,
    world::Resource,
};
use edgestack_views::ViewError;
use edgestack_wire::{
    event::HistoryEvent,
    lb_health::LbHealth,
    list::{List, ListParams, WatchEvent},
    load_balancer::{
        Around, CreateLbRule, CreateLoadBalancer, LbRule, LoadBalancer, LoadBalancerAction, MemberVm,
        UpdateLoadBalancer, remove_rule,
    },
    meta::Meta,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    answer::{Success, answer},
    change::Change,
    history, list,
    moment::{AtParam, Reading},
    path::{Named, Part},
    problem::{Answer, Failure},
    query::Parameters,
    shown::{Shown, Surroundings},
    state::Site,
};

/// The routes of this kind.
pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new()
        .routes(routes!(list_lbs, create_lb))
        .routes(routes!(show_lb, update_lb, remove_lb))
        .routes(routes!(act_on_lb))
        .routes(routes!(list_lb_rules, create_lb_rule))
        .routes(routes!(remove_lb_rule))
        .routes(routes!(show_lb_health))
        .routes(routes!(show_lb_events))
}

impl Shown for LoadBalancer {
    const KIND: Kind = Kind::LoadBalancer;

    fn states() -> &'static [&'static str] {
        &RealizationState::WORDS
    }

    fn show(resource: &Resource, around: &mut Surroundings<'_>) -> Result<Option<Self>, ViewError> {
        let Resource::LoadBalancer(balancer) = resource else { return Ok(None) };
        let spec = &balancer.spec;
        let network = around.find(Kind::Network, spec.network.uuid())?;
        let (waiting, shown) = around.in_world(|world| {
            let vms = spec.members.iter().filter_map(|address| {
                let (vm, nic) = member_nic(world, spec.network, *address)?;
                let (address, nic) = (address.to_string(), nic.spec.number);
                Some(MemberVm { address, vm: vm.meta.name.to_string(), vm_id: vm.id.uuid(), nic })
            });
            let ips = world.floating_ips.values().filter(|ip| ip.load_balancer == Some(balancer.id));
            let shown = Around {
                network: network.map(|network| network.meta().name.clone()),
                member_vms: vms.collect(),
                floating_ips: ips.map(|ip| ip.spec.address).collect(),
                limits: limits(world, spec),
            };
            (balancer.realization.waiting(world), shown)
        });
        Ok(Some(Self::of(balancer, waiting, shown)))
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }

    // Its floating IPs and its members' VMs come and go by commits of their own.
    fn tag_tells_all(&self) -> bool {
        false
    }
}

#[utoipa::path(
    get, path = "/lbs", tag = "lbs", operation_id = "list_lbs",
    summary = "List load balancers, or watch them",
    params(ListParams),
    responses((status = 200, description = "A page in order of name; with watch=true a stream of changes", content(
        (List<LoadBalancer> = "application/json"),
        (WatchEvent<LoadBalancer> = "text/event-stream"),
    )))
)]
async fn list_lbs(State(site): State<Arc<Site>>, headers: HeaderMap, parameters: Parameters) -> Answer {
    list::list::<LoadBalancer>(&site, &headers, parameters).await
}

#[utoipa::path(
    post, path = "/lbs", tag = "lbs", operation_id = "create_lb",
    summary = "Create a load balancer",
    description = "An address (the VIP) on a network, behind which members of that network answer. What the virtual network does otherwise than asked for is told in limits.",
    request_body = CreateLoadBalancer,
    responses((status = 202, description = "It is on its way; Location and ETag tell where and as what", body = LoadBalancer))
)]
async fn create_lb(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let command = change.parse::<CreateLoadBalancer>()?.try_into()?;
    let outcome = change.submit(&site, Command::LoadBalancer(command)).await?;
    answer::<LoadBalancer>(&site, outcome, Success::CreatedAndWorkFollows)
}

#[utoipa::path(
    get, path = "/lbs/{name}", tag = "lbs", operation_id = "show_lb",
    summary = "Show a load balancer",
    params(("name" = String, Path, description = "Name or id"), AtParam),
    responses((status = 200, description = "The load balancer", body = LoadBalancer))
)]
async fn show_lb(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    list::one::<LoadBalancer>(&site, &headers, &reference, parameters).await
}

#[utoipa::path(
    method(patch, put), path = "/lbs/{name}", tag = "lbs", operation_id = "update_lb",
    summary = "Change a load balancer",
    description = "members names all of them; add and remove say who comes and goes. Its network and VIP stay. An absent field leaves what is there, null clears it. PUT and PATCH mean the same.",
    params(("name" = String, Path, description = "Name or id")),
    request_body(content((UpdateLoadBalancer = "application/json"), (UpdateLoadBalancer = "application/merge-patch+json"))),
    responses((status = 200, description = "The load balancer with the change", body = LoadBalancer))
)]
async fn update_lb(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let update: UpdateLoadBalancer = change.parse()?;
    let command = update.into_command(change.reference()?)?;
    let outcome = change.submit(&site, Command::LoadBalancer(command)).await?;
    answer::<LoadBalancer>(&site, outcome, Success::Changed)
}

#[utoipa::path(
    delete, path = "/lbs/{name}", tag = "lbs", operation_id = "remove_lb",
    summary = "Remove a load balancer",
    description = "Its address is free again. Floating IPs that led to it lead nowhere, and stay held.",
    params(("name" = String, Path, description = "Name or id")),
    responses(
        (status = 202, description = "It is being removed", body = LoadBalancer),
        (status = 204, description = "It is gone"),
        (status = 200, description = "Dry run: the load balancer as it would be then", body = LoadBalancer),
    )
)]
async fn remove_lb(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let command = LoadBalancerCommand::Delete { load_balancer: change.reference()? };
    let outcome = change.submit(&site, Command::LoadBalancer(command)).await?;
    answer::<LoadBalancer>(&site, outcome, Success::Removed)
}

#[utoipa::path(
    post, path = "/lbs/{name}/action", tag = "lbs", operation_id = "act_on_lb",
    summary = "Have a load balancer looked at again now, or force its removal",
    params(("name" = String, Path, description = "Name or id")),
    request_body = LoadBalancerAction,
    responses(
        (status = 202, description = "It is recorded; the gateway worker looks", body = LoadBalancer),
        (status = 204, description = "It is forgotten"),
        (status = 200, description = "Dry run: the load balancer as it would be", body = LoadBalancer),
    )
)]
async fn act_on_lb(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let action = change.parse::<LoadBalancerAction>()?;
    let success = match action {
        LoadBalancerAction::Reconcile {} => Success::WorkFollows,
        LoadBalancerAction::ForceRemove {} => Success::Removed,
    };
    let command = action.into_command(change.reference()?);
    let outcome = change.submit(&site, Command::LoadBalancer(command)).await?;
    answer::<LoadBalancer>(&site, outcome, success)
}

#[utoipa::path(
    get, path = "/lbs/{name}/health", tag = "lbs", operation_id = "show_lb_health",
    summary = "Show which members of a load balancer live",
    description = "What OVN's health check has found by now; it is not in the log.",
    params(("name" = String, Path, description = "Name or id of the load balancer")),
    responses((status = 200, description = "A member's port each", body = LbHealth))
)]
async fn show_lb_health(State(site): State<Arc<Site>>, Named(reference): Named, parameters: Parameters) -> Answer {
    parameters.finish()?;
    let balancer = list::find(&site, Kind::LoadBalancer, &reference)?.id();
    Ok(Json(site.app.network.health(Id::new(balancer)).await?).into_response())
}

#[utoipa::path(
    get, path = "/lbs/{name}/rules", tag = "lbs", operation_id = "list_lb_rules",
    summary = "List what a load balancer answers",
    params(("name" = String, Path, description = "Name or id of the load balancer"), AtParam),
    responses((status = 200, description = "Its rules, all of them", body = Vec<LbRule>))
)]
async fn list_lb_rules(State(site): State<Arc<Site>>, Named(reference): Named, mut parameters: Parameters) -> Answer {
    let reading = Reading::take(&site, &mut parameters).await?;
    parameters.finish()?;
    let shown = LoadBalancer::show(&reading.find(Kind::LoadBalancer, &reference)?, &mut reading.surroundings())?
        .ok_or_else(|| Failure::internal("a view's row is of another kind than its key"))?;
    Ok(reading.mark(Json(shown.rules).into_response()))
}

#[utoipa::path(
    post, path = "/lbs/{name}/rules", tag = "lbs", operation_id = "create_lb_rule",
    summary = "Have a load balancer answer something more",
    params(("name" = String, Path, description = "Name or id of the load balancer")),
    request_body = CreateLbRule,
    responses((status = 200, description = "The load balancer with it", body = LoadBalancer))
)]
async fn create_lb_rule(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let rule: CreateLbRule = change.parse()?;
    let command = rule.into_command(change.reference()?)?;
    let outcome = change.submit(&site, Command::LoadBalancer(command)).await?;
    answer::<LoadBalancer>(&site, outcome, Success::Changed)
}

#[utoipa::path(
    delete, path = "/lbs/{name}/rules/{rule}", tag = "lbs", operation_id = "remove_lb_rule",
    summary = "Have a load balancer answer something no more",
    params(
        ("name" = String, Path, description = "Name or id of the load balancer"),
        ("rule" = String, Path, pattern = r"^(icmp|(tcp|udp)-[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?)$", description = "The rule's id: its protocol and ports, as tcp-80, udp-5000-5010 or icmp"),
    ),
    responses((status = 200, description = "The load balancer without it", body = LoadBalancer))
)]
async fn remove_lb_rule(State(site): State<Arc<Site>>, Part(rule): Part, change: Change) -> Answer {
    let command = remove_rule(change.reference()?, &rule)?;
    let outcome = change.submit(&site, Command::LoadBalancer(command)).await?;
    answer::<LoadBalancer>(&site, outcome, Success::Changed)
}

#[utoipa::path(
    get, path = "/lbs/{name}/events", tag = "lbs", operation_id = "show_lb_events",
    summary = "Show the history of a load balancer, also of one that is gone",
    params(
        ("name" = String, Path, description = "Name or id; if none lives, the last that had the name"),
        history::EventsParams,
    ),
    responses((status = 200, description = "A page, oldest first; with follow=true a stream", content(
        (List<HistoryEvent> = "application/json"),
        (HistoryEvent = "text/event-stream"),
    )))
)]
async fn show_lb_events(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    history::events(&site, Kind::LoadBalancer, &reference, &headers, parameters).await
}
