//! Security group rules.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, http::HeaderMap};
use edgestack_model::{
    Command, Id, Kind, Name,
    realization::RealizationState,
    security_group::SecurityGroup,
    security_group_rule::{self as model, Remote, SecurityGroupRuleCommand},
    world::Resource,
};
use edgestack_views::ViewError;
use edgestack_wire::{
    event::HistoryEvent,
    list::{List, ListParams, WatchEvent},
    meta::{Meta, UpdateMeta},
    security_group_rule::{CreateSecurityGroupRule, SecurityGroupRule, SecurityGroupRuleAction},
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
        .routes(routes!(list_security_group_rules, create_security_group_rule))
        .routes(routes!(show_security_group_rule, update_security_group_rule, remove_security_group_rule))
        .routes(routes!(act_on_security_group_rule))
        .routes(routes!(show_security_group_rule_events))
}

impl Shown for SecurityGroupRule {
    const KIND: Kind = Kind::SecurityGroupRule;

    fn states() -> &'static [&'static str] {
        &RealizationState::WORDS
    }

    fn show(resource: &Resource, around: &mut Surroundings<'_>) -> Result<Option<Self>, ViewError> {
        let Resource::SecurityGroupRule(rule) = resource else { return Ok(None) };
        let waiting = around.in_world(|world| rule.realization.waiting(world));
        let mut names = BTreeMap::new();
        names_around(rule, around, &mut names)?;
        Ok(Some(Self::of(rule, waiting, &names)))
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

/// Looks up the names of a rule's group and of the one that it is about, if they are not known yet.
pub(crate) fn names_around(
    rule: &model::SecurityGroupRule,
    around: &mut Surroundings<'_>,
    names: &mut BTreeMap<Id<SecurityGroup>, Name>,
) -> Result<(), ViewError> {
    let remote = match rule.spec.remote {
        Remote::Group { group } => Some(group),
        Remote::Any | Remote::Prefix { .. } => None,
    };
    for id in [rule.spec.group].into_iter().chain(remote) {
        if !names.contains_key(&id)
            && let Some(Resource::SecurityGroup(group)) = around.find(Kind::SecurityGroup, id.uuid())?
        {
            names.insert(id, group.meta.name.clone());
        }
    }
    Ok(())
}

#[utoipa::path(
    get, path = "/security_group_rules", tag = "security_group_rules", operation_id = "list_security_group_rules",
    summary = "List security group rules, or watch them",
    params(ListParams),
    responses((status = 200, description = "A page in order of name; with watch=true a stream of changes", content(
        (List<SecurityGroupRule> = "application/json"),
        (WatchEvent<SecurityGroupRule> = "text/event-stream"),
    )))
)]
async fn list_security_group_rules(
    State(site): State<Arc<Site>>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    list::list::<SecurityGroupRule>(&site, &headers, parameters).await
}

#[utoipa::path(
    post, path = "/security_group_rules", tag = "security_group_rules", operation_id = "create_security_group_rule",
    summary = "Add a rule to a security group",
    request_body = CreateSecurityGroupRule,
    responses((status = 202, description = "It is on its way; Location and ETag tell where and as what", body = SecurityGroupRule))
)]
async fn create_security_group_rule(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let command = change.parse::<CreateSecurityGroupRule>()?.try_into()?;
    let outcome = change.submit(&site, Command::SecurityGroupRule(command)).await?;
    answer::<SecurityGroupRule>(&site, outcome, Success::CreatedAndWorkFollows)
}

#[utoipa::path(
    get, path = "/security_group_rules/{name}", tag = "security_group_rules", operation_id = "show_security_group_rule",
    summary = "Show a security group rule",
    params(("name" = String, Path, description = "Name or id"), AtParam),
    responses((status = 200, description = "The rule", body = SecurityGroupRule))
)]
async fn show_security_group_rule(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    list::one::<SecurityGroupRule>(&site, &headers, &reference, parameters).await
}

#[utoipa::path(
    method(patch, put), path = "/security_group_rules/{name}", tag = "security_group_rules", operation_id = "update_security_group_rule",
    summary = "Change a security group rule",
    description = "Description and labels. What it lets through never changes: add another rule, then remove this one. An absent field leaves what is there, null clears it. PUT and PATCH mean the same.",
    params(("name" = String, Path, description = "Name or id")),
    request_body(content((UpdateMeta = "application/json"), (UpdateMeta = "application/merge-patch+json"))),
    responses((status = 200, description = "The rule with the change", body = SecurityGroupRule))
)]
async fn update_security_group_rule(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let update: UpdateMeta = change.parse()?;
    let command = SecurityGroupRuleCommand::Update { rule: change.reference()?, change: update.try_into()? };
    let outcome = change.submit(&site, Command::SecurityGroupRule(command)).await?;
    answer::<SecurityGroupRule>(&site, outcome, Success::Changed)
}

#[utoipa::path(
    delete, path = "/security_group_rules/{name}", tag = "security_group_rules", operation_id = "remove_security_group_rule",
    summary = "Remove a security group rule",
    description = "What it let through is dropped, also of connections that are open.",
    params(("name" = String, Path, description = "Name or id")),
    responses(
        (status = 202, description = "It is being removed", body = SecurityGroupRule),
        (status = 204, description = "It is gone"),
        (status = 200, description = "Dry run: the rule as it would be then", body = SecurityGroupRule),
    )
)]
async fn remove_security_group_rule(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let command = SecurityGroupRuleCommand::Delete { rule: change.reference()? };
    let outcome = change.submit(&site, Command::SecurityGroupRule(command)).await?;
    answer::<SecurityGroupRule>(&site, outcome, Success::Removed)
}

#[utoipa::path(
    post, path = "/security_group_rules/{name}/action", tag = "security_group_rules", operation_id = "act_on_security_group_rule",
    summary = "Have a security group rule looked at again now, or force its removal",
    params(("name" = String, Path, description = "Name or id")),
    request_body = SecurityGroupRuleAction,
    responses(
        (status = 202, description = "It is recorded; the gateway worker looks", body = SecurityGroupRule),
        (status = 204, description = "It is forgotten"),
        (status = 200, description = "Dry run: the rule as it would be", body = SecurityGroupRule),
    )
)]
async fn act_on_security_group_rule(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let action = change.parse::<SecurityGroupRuleAction>()?;
    let success = match action {
        SecurityGroupRuleAction::Reconcile {} => Success::WorkFollows,
        SecurityGroupRuleAction::ForceRemove {} => Success::Removed,
    };
    let command = action.into_command(change.reference()?);
    let outcome = change.submit(&site, Command::SecurityGroupRule(command)).await?;
    answer::<SecurityGroupRule>(&site, outcome, success)
}

#[utoipa::path(
    get, path = "/security_group_rules/{name}/events", tag = "security_group_rules", operation_id = "show_security_group_rule_events",
    summary = "Show the history of a security group rule, also of one that is gone",
    params(
        ("name" = String, Path, description = "Name or id; if none lives, the last that had the name"),
        history::EventsParams,
    ),
    responses((status = 200, description = "A page, oldest first; with follow=true a stream", content(
        (List<HistoryEvent> = "application/json"),
        (HistoryEvent = "text/event-stream"),
    )))
)]
async fn show_security_group_rule_events(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    history::events(&site, Kind::SecurityGroupRule, &reference, &headers, parameters).await
}
