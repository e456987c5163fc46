//! Security groups.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, http::HeaderMap};
use edgestack_model::{
    Command, Kind,
    realization::RealizationState,
    security_group::{SecurityGroupCommand, membership},
    security_group_rule as model,
    vm::{Nic, Vm},
    world::Resource,
};
use edgestack_views::ViewError;
use edgestack_wire::{
    event::HistoryEvent,
    list::{List, ListParams, WatchEvent},
    meta::{Meta, UpdateMeta},
    security_group::{CreateSecurityGroup, Member, SecurityGroup, SecurityGroupAction},
    security_group_rule::SecurityGroupRule,
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
    security_group_rules::names_around,
    shown::{Shown, Surroundings},
    state::Site,
};

/// The routes of this kind.
pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new()
        .routes(routes!(list_security_groups, create_security_group))
        .routes(routes!(show_security_group, update_security_group, remove_security_group))
        .routes(routes!(act_on_security_group))
        .routes(routes!(show_security_group_events))
}

impl Shown for SecurityGroup {
    const KIND: Kind = Kind::SecurityGroup;

    fn states() -> &'static [&'static str] {
        &RealizationState::WORDS
    }

    fn show(resource: &Resource, around: &mut Surroundings<'_>) -> Result<Option<Self>, ViewError> {
        let Resource::SecurityGroup(group) = resource else { return Ok(None) };
        let (waiting, rules, members) = around.in_world(|world| {
            let with_waiting = |rule: &model::SecurityGroupRule| (rule.clone(), rule.realization.waiting(world));
            let mut rules: Vec<_> = world.rules_of(group.id).map(with_waiting).collect();
            // Ids of rules that were made with their group tell no time.
            rules.sort_by_key(|(rule, _)| rule.meta.created_at);
            let member = |(vm, nic): (&Vm, &Nic)| Member {
                vm: vm.meta.name.to_string(),
                vm_id: vm.id.uuid(),
                nic: nic.spec.number,
            };
            let members: Vec<Member> = membership::members(world, group.id).map(member).collect();
            (group.realization.waiting(world), rules, members)
        });
        let mut names = BTreeMap::from([(group.id, group.meta.name.clone())]);
        for (rule, _) in &rules {
            names_around(rule, around, &mut names)?;
        }
        let rules = rules.into_iter().map(|(rule, waiting)| SecurityGroupRule::of(&rule, waiting, &names)).collect();
        Ok(Some(Self::of(group, waiting, rules, members)))
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }

    // Who is in it is told by commits of VMs.
    fn tag_tells_all(&self) -> bool {
        false
    }
}

#[utoipa::path(
    get, path = "/security_groups", tag = "security_groups", operation_id = "list_security_groups",
    summary = "List security groups, or watch them",
    params(ListParams),
    responses((status = 200, description = "A page in order of name; with watch=true a stream of changes", content(
        (List<SecurityGroup> = "application/json"),
        (WatchEvent<SecurityGroup> = "text/event-stream"),
    )))
)]
async fn list_security_groups(State(site): State<Arc<Site>>, headers: HeaderMap, parameters: Parameters) -> Answer {
    list::list::<SecurityGroup>(&site, &headers, parameters).await
}

#[utoipa::path(
    post, path = "/security_groups", tag = "security_groups", operation_id = "create_security_group",
    summary = "Create a security group, with its first rules",
    description = "Without rules of its own it lets through all that its NICs send, and the answers to it.",
    request_body = CreateSecurityGroup,
    responses((status = 202, description = "It is on its way; Location and ETag tell where and as what", body = SecurityGroup))
)]
async fn create_security_group(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let command = change.parse::<CreateSecurityGroup>()?.try_into()?;
    let outcome = change.submit(&site, Command::SecurityGroup(command)).await?;
    answer::<SecurityGroup>(&site, outcome, Success::CreatedAndWorkFollows)
}

#[utoipa::path(
    get, path = "/security_groups/{name}", tag = "security_groups", operation_id = "show_security_group",
    summary = "Show a security group, its rules, and the NICs that are in it",
    params(("name" = String, Path, description = "Name or id"), AtParam),
    responses((status = 200, description = "The security group", body = SecurityGroup))
)]
async fn show_security_group(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    list::one::<SecurityGroup>(&site, &headers, &reference, parameters).await
}

#[utoipa::path(
    method(patch, put), path = "/security_groups/{name}", tag = "security_groups", operation_id = "update_security_group",
    summary = "Change a security group",
    description = "Description and labels; its rules are resources of their own. An absent field leaves what is there, null clears it. PUT and PATCH mean the same.",
    params(("name" = String, Path, description = "Name or id")),
    request_body(content((UpdateMeta = "application/json"), (UpdateMeta = "application/merge-patch+json"))),
    responses((status = 200, description = "The security group with the change", body = SecurityGroup))
)]
async fn update_security_group(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let update: UpdateMeta = change.parse()?;
    let command = SecurityGroupCommand::Update { group: change.reference()?, change: update.try_into()? };
    let outcome = change.submit(&site, Command::SecurityGroup(command)).await?;
    answer::<SecurityGroup>(&site, outcome, Success::Changed)
}

#[utoipa::path(
    delete, path = "/security_groups/{name}", tag = "security_groups", operation_id = "remove_security_group",
    summary = "Remove a security group with its rules",
    description = "Refused while NICs are in it or rules of other groups name it, unless these are to go first. The group default stays.",
    params(
        ("name" = String, Path, description = "Name or id"),
        ("cascade" = Option<bool>, Query, description = "true: NICs leave it, and rules of other groups that name it go, too"),
    ),
    responses(
        (status = 202, description = "It is being removed", body = SecurityGroup),
        (status = 204, description = "It is gone"),
        (status = 200, description = "Dry run: the security group as it would be then", body = SecurityGroup),
    )
)]
async fn remove_security_group(State(site): State<Arc<Site>>, removal: Removal) -> Answer {
    let Removal { change, cascade } = removal;
    let command = SecurityGroupCommand::Delete { group: change.reference()?, cascade };
    let outcome = change.submit(&site, Command::SecurityGroup(command)).await?;
    answer::<SecurityGroup>(&site, outcome, Success::Removed)
}

#[utoipa::path(
    post, path = "/security_groups/{name}/action", tag = "security_groups", operation_id = "act_on_security_group",
    summary = "Have a security group looked at again now, or force its removal",
    params(("name" = String, Path, description = "Name or id")),
    request_body = SecurityGroupAction,
    responses(
        (status = 202, description = "It is recorded; the gateway worker looks", body = SecurityGroup),
        (status = 204, description = "It is forgotten"),
        (status = 200, description = "Dry run: the security group as it would be", body = SecurityGroup),
    )
)]
async fn act_on_security_group(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let action = change.parse::<SecurityGroupAction>()?;
    let success = match action {
        SecurityGroupAction::Reconcile {} => Success::WorkFollows,
        SecurityGroupAction::ForceRemove {} => Success::Removed,
    };
    let command = action.into_command(change.reference()?);
    let outcome = change.submit(&site, Command::SecurityGroup(command)).await?;
    answer::<SecurityGroup>(&site, outcome, success)
}

#[utoipa::path(
    get, path = "/security_groups/{name}/events", tag = "security_groups", operation_id = "show_security_group_events",
    summary = "Show the history of a security group, also of one that is gone",
    params(
        ("name" = String, Path, description = "Name or id; if none lives, the last that had the name"),
        history::EventsParams,
    ),
    responses((status = 200, description = "A page, oldest first; with follow=true a stream", content(
        (List<HistoryEvent> = "application/json"),
        (HistoryEvent = "text/event-stream"),
    )))
)]
async fn show_security_group_events(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    history::events(&site, Kind::SecurityGroup, &reference, &headers, parameters).await
}
