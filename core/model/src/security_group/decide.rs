//! Security group commands to events.

use edgestack_planted::{self as planted, Bug};

use super::{
    CreateSecurityGroup, DEFAULT, SecurityGroup, SecurityGroupCommand, SecurityGroupEvent as Happened, default_group,
    membership,
};
use crate::{
    Decision, Event, Given, Id, Kind, Refusal, World,
    command::Reference,
    decide::{check_description, check_generation, check_name_free, check_precondition},
    event::Fact,
    realization::{RealizationState, Told},
    repair,
    security_group_rule::{self, Remote, SecurityGroupRule, SecurityGroupRuleEvent},
    vm,
};

const KIND: Kind = Kind::SecurityGroup;
/// How many users a refusal names.
const NAMED_MAX: usize = 5;

pub(crate) fn decide(world: &World, given: &Given, command: &SecurityGroupCommand) -> Result<Decision, Refusal> {
    let (id, events) = match command {
        SecurityGroupCommand::Create(create) => return decide_create(world, given, create),
        SecurityGroupCommand::EnsureDefault {} => {
            let (id, _, events) = default_group::ensured(world, given.new_ids[0])?;
            (id, events)
        }
        SecurityGroupCommand::Update { group, change } => {
            let group = world.security_group(group)?;
            check_precondition(given, KIND, &group.meta)?;
            check_stays(group, "change")?;
            change.description.as_deref().map_or(Ok(()), check_description)?;
            let change = change.clone().against(&group.meta);
            let same = change.is_empty();
            (group.id, if same { vec![] } else { vec![wish(group, Happened::SecurityGroupUpdated { change })] })
        }
        SecurityGroupCommand::Delete { group, cascade } => {
            let group = world.security_group(group)?;
            check_precondition(given, KIND, &group.meta)?;
            check_not_default(group, "remove")?;
            if group.realization.state == RealizationState::Deleting {
                return Ok(Decision::of(KIND, group.id.uuid(), vec![]));
            }
            (group.id, delete(world, group, *cascade)?)
        }
        SecurityGroupCommand::Reconcile { group: of } => {
            let group = world.security_group(of)?;
            repair::check_reason(given, KIND, of, "reconcile")?;
            check_precondition(given, KIND, &group.meta)?;
            (group.id, vec![fact(group, Happened::SecurityGroupReconcileRequested {})])
        }
        SecurityGroupCommand::ForceRemove { group: of } => {
            let group = world.security_group(of)?;
            repair::check_force(given, (KIND, "remove-sg"), of, &group.meta, &group.realization)?;
            let rules = world
                .rules_of(group.id)
                .map(|rule| security_group_rule::wish(rule, SecurityGroupRuleEvent::SecurityGroupRuleForceRemoved {}));
            (group.id, rules.chain([wish(group, Happened::SecurityGroupForceRemoved {})]).collect())
        }
        SecurityGroupCommand::Report { group, generation, report } => {
            let group = world.security_group(&Reference::id(*group))?;
            check_generation(KIND, &group.meta, *generation)?;
            let events = match group.realization.told(report, given.time) {
                None => vec![],
                Some(Told::BecameReady) => vec![fact(group, Happened::SecurityGroupBecameReady {})],
                Some(Told::Drifted { what }) => vec![fact(group, Happened::SecurityGroupDrifted { what })],
                Some(Told::AttemptFailed { failure }) => {
                    vec![fact(group, Happened::SecurityGroupAttemptFailed { failure })]
                }
                // Its rules are gone with it, and no rule is without its group.
                Some(Told::Deleted) => {
                    let rules = world.rules_of(group.id).filter(|_| !planted::is(Bug::RulesOutliveGroup)).map(|rule| {
                        security_group_rule::fact(rule, SecurityGroupRuleEvent::SecurityGroupRuleDeleted {})
                    });
                    rules.chain([fact(group, Happened::SecurityGroupDeleted {})]).collect()
                }
            };
            (group.id, events)
        }
    };
    Ok(Decision::of(KIND, id.uuid(), events))
}

fn decide_create(world: &World, given: &Given, create: &CreateSecurityGroup) -> Result<Decision, Refusal> {
    check_description(&create.description)?;
    check_name_free(world, KIND, &create.name)?;
    let [id, _] = given.new_ids;
    let created =
        Happened::SecurityGroupCreated { description: create.description.clone(), labels: create.labels.clone() };
    let open = default_group::all_from();
    let rules = create.rules.as_deref().unwrap_or(&open);
    let events = default_group::with_rules(world, id, &create.name, created, rules)?;
    Ok(Decision::of(KIND, id, events))
}

/// NICs leave it, others' rules that name it go, its own rules go, it goes.
fn delete(world: &World, group: &SecurityGroup, cascade: bool) -> Result<Vec<Event>, Refusal> {
    let (mut naming, mut members) = (naming(world, group.id).collect::<Vec<_>>(), vec![]);
    if cascade {
        members.extend(membership::members(world, group.id));
    } else {
        let vms = membership::members(world, group.id).map(|(vm, _)| format!("vm \"{}\"", vm.meta.name));
        let rules = naming.iter().map(|rule| format!("security_group_rule \"{}\"", rule.meta.name));
        let mut by: Vec<String> = vms.chain(rules).collect();
        by.dedup();
        by.truncate(NAMED_MAX);
        if !by.is_empty() && !planted::is(Bug::GroupInUseRemoved) {
            return Err(Refusal::InUse { kind: KIND, name: group.meta.name.clone(), by });
        }
        naming.clear();
    }
    let left = members.into_iter().filter_map(|(vm, nic)| {
        let stay = membership::groups_of(world, nic).filter(|(id, _)| *id != group.id).collect();
        Some(vm::wish(vm, membership::regrouped(nic, stay)?))
    });
    let own = world.rules_of(group.id).filter(|rule| rule.realization.state != RealizationState::Deleting);
    let rules = naming
        .into_iter()
        .chain(own)
        .map(|rule| security_group_rule::wish(rule, SecurityGroupRuleEvent::SecurityGroupRuleDeleteRequested {}));
    Ok(left.chain(rules).chain([wish(group, Happened::SecurityGroupDeleteRequested {})]).collect())
}

/// Rules of other groups that are about this one, and stay.
fn naming(world: &World, group: Id<SecurityGroup>) -> impl Iterator<Item = &SecurityGroupRule> {
    let rules = world.security_group_rules.values().map(AsRef::as_ref);
    rules.filter(move |rule| {
        rule.spec.group != group
            && rule.spec.remote == Remote::Group { group }
            && rule.realization.state != RealizationState::Deleting
    })
}

fn check_not_default(group: &SecurityGroup, action: &'static str) -> Result<(), Refusal> {
    if group.meta.name.as_str() != DEFAULT {
        return Ok(());
    }
    Err(Refusal::WrongState {
        kind: KIND,
        name: group.meta.name.clone(),
        state: "the group of NICs for which none is named".into(),
        action: action.into(),
        fix: "remove its rules instead (edgectl remove-sgr)".into(),
    })
}

/// What is being removed takes nothing new.
pub(crate) fn check_stays(group: &SecurityGroup, action: &'static str) -> Result<(), Refusal> {
    if group.realization.state != RealizationState::Deleting {
        return Ok(());
    }
    Err(Refusal::WrongState {
        kind: KIND,
        name: group.meta.name.clone(),
        state: group.realization.state.as_str().into(),
        action: action.into(),
        fix: "it is being removed and will be gone soon".into(),
    })
}

/// A person's wish: the generation grows.
fn wish(group: &SecurityGroup, event: Happened) -> Event {
    Event { generation: group.meta.generation.next(), ..fact(group, event) }
}

fn fact(group: &SecurityGroup, event: Happened) -> Event {
    Event {
        resource_id: group.id.uuid(),
        name: group.meta.name.clone(),
        generation: group.meta.generation,
        fact: Fact::SecurityGroup(event),
    }
}
