//! What compensates changes of security groups, of their rules, and of who is in them.

use std::collections::BTreeMap;

use edgestack_model::{
    Id, Kind, World,
    event::{Fact, SecurityGroupEvent, SecurityGroupRuleEvent, VmEvent},
    realization::RealizationState,
    security_group::{DEFAULT, SecurityGroup},
    security_group_rule::{Remote, SecurityGroupRule},
    vm::Nic,
};
use edgestack_wire::security_group_rule::SecurityGroupRule as Shown;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{again, compensate::Looking};

const FORGOTTEN: &str = "what was left of it is removed; make it again if it is wanted";
/// What a rule is, but for groups.
const FIELDS: [&str; 8] = [
    "direction",
    "ether_type",
    "protocol",
    "port_range_min",
    "port_range_max",
    "icmp_type",
    "icmp_code",
    "remote_ip_prefix",
];

pub(super) fn group(looking: &mut Looking<'_>, fact: &SecurityGroupEvent) {
    match fact {
        SecurityGroupEvent::SecurityGroupCreated { .. } if looking.event.name.as_str() == DEFAULT => {
            looking.cannot("it stays: NICs for which no group is named are in it");
        }
        SecurityGroupEvent::SecurityGroupCreated { .. } => looking.remove(Some("rules that it got since go with it")),
        SecurityGroupEvent::SecurityGroupUpdated { change } => looking.put_back(change, |_| {}),
        SecurityGroupEvent::SecurityGroupDeleteRequested {} => group_again(looking),
        SecurityGroupEvent::SecurityGroupForceRemoved {} => looking.cannot(FORGOTTEN),
        SecurityGroupEvent::SecurityGroupBecameReady {}
        | SecurityGroupEvent::SecurityGroupDrifted { .. }
        | SecurityGroupEvent::SecurityGroupAttemptFailed { .. }
        | SecurityGroupEvent::SecurityGroupDeleted {}
        | SecurityGroupEvent::SecurityGroupReconcileRequested {} => {}
    }
}

pub(super) fn rule(looking: &mut Looking<'_>, fact: &SecurityGroupRuleEvent) {
    // What happens to its group in the same commit tells of its rules as well.
    if group_of(looking).is_some_and(|group| is_changed_too(looking, group)) {
        return;
    }
    match fact {
        SecurityGroupRuleEvent::SecurityGroupRuleCreated { .. } => looking.remove(None),
        SecurityGroupRuleEvent::SecurityGroupRuleUpdated { change } => looking.put_back(change, |_| {}),
        SecurityGroupRuleEvent::SecurityGroupRuleDeleteRequested {} => rule_again(looking),
        SecurityGroupRuleEvent::SecurityGroupRuleForceRemoved {} => looking.cannot(FORGOTTEN),
        SecurityGroupRuleEvent::SecurityGroupRuleBecameReady {}
        | SecurityGroupRuleEvent::SecurityGroupRuleDrifted { .. }
        | SecurityGroupRuleEvent::SecurityGroupRuleAttemptFailed { .. }
        | SecurityGroupRuleEvent::SecurityGroupRuleDeleted {}
        | SecurityGroupRuleEvent::SecurityGroupRuleReconcileRequested {} => {}
    }
}

/// A NIC gets the groups that it was in before.
pub(super) fn nic(looking: &mut Looking<'_>, number: u32) {
    let is_new =
        looking.commit.events.iter().any(|event| {
            event.resource_id == looking.id() && matches!(event.fact, Fact::Vm(VmEvent::VmCreated { .. }))
        });
    if is_new || !looking.lives() {
        return;
    }
    let id = looking.id();
    let groups = [looking.before, looking.after, looking.now].map(|world| groups_of(world, id, number));
    let [Some(before), Some(after), Some(now)] = groups else { return };
    if now == before {
        return looking.already(format!("NIC {number} is in the security groups of before"));
    }
    if now != after {
        return looking
            .changed_since(format!("NIC {number}: its security groups changed since, and are left as they are"));
    }
    let Some(before) = before else {
        let why = "was from a time before there were security groups, and all passed: no command brings that back";
        return looking.cannot(format!("NIC {number} {why}"));
    };
    let names = names_of(looking, &before, &format!("NIC {number} is not put in it again"));
    let line = match names.is_empty() {
        true => format!("edgectl edit-vm-sg {id} --nic {number} --clear"),
        false => format!("edgectl edit-vm-sg {id} --nic {number} --set {}", names.join(",")),
    };
    let body = json!({"action": "edit_security_groups", "nic": number, "security_groups": names});
    let what = format!("put NIC {number} back in its security groups");
    looking.change(&what, "POST", "/action", Some(body), Some(line));
}

/// The groups that a NIC like one that is gone is to be in; `None`: those of NICs for which none is named.
pub(super) fn named_again(looking: &mut Looking<'_>, nic: &Nic) -> Option<Vec<String>> {
    let number = nic.spec.number;
    let Some(groups) = &nic.security_groups else {
        let why =
            "was from a time before there were security groups, and all passed: the new one's is in the default one";
        looking.cannot(format!("NIC {number} {why}"));
        return None;
    };
    Some(names_of(looking, groups, &format!("the new one's NIC {number} is not in it")))
}

/// The names of groups, as far as they are there or this undo makes them again; of the others it is said.
fn names_of(looking: &mut Looking<'_>, groups: &[Id<SecurityGroup>], else_what: &str) -> Vec<String> {
    let mut names = vec![];
    for id in groups {
        let Some(name) = looking.before.security_groups.get(id).map(|group| group.meta.name.to_string()) else {
            continue;
        };
        if is_there(looking.now, *id) || looking.is_made_before(Kind::SecurityGroup, &name) {
            names.push(name);
        } else {
            looking.cannot(format!("security group \"{name}\" is gone: {else_what}"));
        }
    }
    names
}

fn is_there(world: &World, group: Id<SecurityGroup>) -> bool {
    let state = world.security_groups.get(&group).map(|group| group.realization.state);
    state.is_some_and(|state| state != RealizationState::Deleting)
}

fn groups_of(world: &World, vm: Uuid, number: u32) -> Option<Option<Vec<Id<SecurityGroup>>>> {
    let vm = world.vms.get(&Id::new(vm))?;
    vm.nics.iter().find(|nic| nic.spec.number == number).map(|nic| nic.security_groups.clone())
}

/// The group of the rule that is looked at.
fn group_of(looking: &Looking<'_>) -> Option<Id<SecurityGroup>> {
    let id = Id::new(looking.id());
    let rule = |world: &World| world.security_group_rules.get(&id).map(|rule| rule.spec.group);
    rule(looking.before).or_else(|| rule(looking.after))
}

fn is_changed_too(looking: &Looking<'_>, group: Id<SecurityGroup>) -> bool {
    let of_it = |event: &edgestack_model::Event| {
        event.resource_id == group.uuid() && matches!(event.fact, Fact::SecurityGroup(_))
    };
    looking.commit.events.iter().any(of_it)
}

/// A group like it, with its rules.
fn group_again(looking: &mut Looking<'_>) {
    let id = Id::new(looking.id());
    let Some(gone) = looking.before.security_groups.get(&id).cloned() else { return };
    if !looking.name_is_free() {
        return;
    }
    let mut rules = vec![];
    let had = looking.before.rules_of(id).filter(|rule| rule.realization.state != RealizationState::Deleting);
    for rule in had.collect::<Vec<_>>() {
        let Some(mut body) = rule_body(looking, rule) else { continue };
        if looking.now.id_of(Kind::SecurityGroupRule, &rule.meta.name).is_some()
            && let Some(fields) = body.as_object_mut()
        {
            fields.remove("name");
        }
        rules.push(body);
    }
    let body = again::body(&gone.meta, &json!({ "rules": rules }), &["rules"]);
    looking.make("make it again, with its rules", body, None);
    looking.cannot("the new one and its rules have other ids");
}

/// A rule like it, in its group.
fn rule_again(looking: &mut Looking<'_>) {
    let Some(gone) = looking.before.security_group_rules.get(&Id::new(looking.id())).cloned() else { return };
    if !looking.name_is_free() {
        return;
    }
    if !is_there(looking.now, gone.spec.group) {
        return looking.cannot("its security group is gone, and no other has its rules");
    }
    let Some(mut body) = rule_body(looking, &gone) else { return };
    body["security_group"] = json!(gone.spec.group);
    looking.make("make it again", body, None);
    looking.cannot("the new one has another id");
}

/// A rule as a request has it; `None`, and said: the group that it is about is gone.
fn rule_body(looking: &mut Looking<'_>, rule: &SecurityGroupRule) -> Option<Value> {
    let mut body = again::body(&rule.meta, &Shown::of(rule, None, &BTreeMap::new()), &FIELDS);
    if let Remote::Group { group } = rule.spec.remote {
        let of_all = &looking.before.security_groups;
        let name = of_all.get(&group).map(|group| group.meta.name.to_string()).unwrap_or_default();
        // By name also where it is about its own group, which has another id by then.
        body["remote_group"] = if is_there(looking.now, group) {
            json!(group)
        } else if group == rule.spec.group || looking.is_made_before(Kind::SecurityGroup, &name) {
            json!(name)
        } else {
            let rule = &rule.meta.name;
            looking.cannot(format!("rule \"{rule}\" is about security group \"{name}\", which is gone"));
            return None;
        };
    }
    Some(body)
}
