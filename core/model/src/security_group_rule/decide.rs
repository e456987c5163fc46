//! Security group rule commands to events.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{
    CreateRule, EtherType, Protocol, RULES_MAX, Remote, RemoteRequest, RuleRequest, RuleSpec, SecurityGroupRule,
    SecurityGroupRuleCommand, SecurityGroupRuleEvent as Happened,
};
use crate::{
    Decision, Event, Generation, Given, Id, Kind, Name, Refusal, World,
    command::Reference,
    decide::{check_description, check_generation, check_name_free, check_precondition},
    event::Fact,
    realization::{RealizationState, Told},
    repair,
    security_group::{self, SecurityGroup},
};

const KIND: Kind = Kind::SecurityGroupRule;
/// What of a group's name a rule's made-up name has, so that it stays a name.
const GROUP_PART_MAX: usize = 16;

pub(crate) fn decide(world: &World, given: &Given, command: &SecurityGroupRuleCommand) -> Result<Decision, Refusal> {
    let (id, events) = match command {
        SecurityGroupRuleCommand::Create(create) => return decide_create(world, given, create),
        SecurityGroupRuleCommand::Update { rule, change } => {
            let rule = world.security_group_rule(rule)?;
            check_precondition(given, KIND, &rule.meta)?;
            check_stays(rule)?;
            change.description.as_deref().map_or(Ok(()), check_description)?;
            let change = change.clone().against(&rule.meta);
            let same = change.is_empty();
            let event = Happened::SecurityGroupRuleUpdated { change };
            (rule.id, if same { vec![] } else { vec![wish(rule, event)] })
        }
        SecurityGroupRuleCommand::Delete { rule } => {
            let rule = world.security_group_rule(rule)?;
            check_precondition(given, KIND, &rule.meta)?;
            let wanted = rule.realization.state != RealizationState::Deleting;
            let event = wanted.then(|| wish(rule, Happened::SecurityGroupRuleDeleteRequested {}));
            (rule.id, event.into_iter().collect())
        }
        SecurityGroupRuleCommand::Reconcile { rule: of } => {
            let rule = world.security_group_rule(of)?;
            repair::check_reason(given, KIND, of, "reconcile")?;
            check_precondition(given, KIND, &rule.meta)?;
            (rule.id, vec![fact(rule, Happened::SecurityGroupRuleReconcileRequested {})])
        }
        SecurityGroupRuleCommand::ForceRemove { rule: of } => {
            let rule = world.security_group_rule(of)?;
            repair::check_force(given, (KIND, "remove-sgr"), of, &rule.meta, &rule.realization)?;
            (rule.id, vec![wish(rule, Happened::SecurityGroupRuleForceRemoved {})])
        }
        SecurityGroupRuleCommand::Report { rule, generation, report } => {
            let rule = world.security_group_rule(&Reference::id(*rule))?;
            check_generation(KIND, &rule.meta, *generation)?;
            let event = rule.realization.told(report, given.time).map(|told| match told {
                Told::BecameReady => Happened::SecurityGroupRuleBecameReady {},
                Told::Drifted { what } => Happened::SecurityGroupRuleDrifted { what },
                Told::AttemptFailed { failure } => Happened::SecurityGroupRuleAttemptFailed { failure },
                Told::Deleted => Happened::SecurityGroupRuleDeleted {},
            });
            (rule.id, event.map(|event| fact(rule, event)).into_iter().collect())
        }
    };
    Ok(Decision::of(KIND, id.uuid(), events))
}

fn decide_create(world: &World, given: &Given, create: &CreateRule) -> Result<Decision, Refusal> {
    let group = world.security_group(&create.group).map_err(|_| Refusal::ReferenceNotFound {
        field: "security_group".into(),
        kind: Kind::SecurityGroup.as_str().into(),
        name: create.group.0.clone(),
    })?;
    security_group::check_stays(group, "add a rule to")?;
    let [id, _] = given.new_ids;
    let mut rules = NewRules::of(world, group.id, &group.meta.name);
    rules.add("", id, &create.rule)?;
    Ok(Decision::of(KIND, id, rules.events))
}

/// Rules that one command makes, of one group, which may be new as well.
pub(crate) struct NewRules<'w> {
    world: &'w World,
    group: Id<SecurityGroup>,
    group_name: &'w Name,
    /// What the group has, and what it is given by this command.
    have: Vec<(Name, RuleSpec)>,
    pub events: Vec<Event>,
}

impl<'w> NewRules<'w> {
    pub fn of(world: &'w World, group: Id<SecurityGroup>, group_name: &'w Name) -> Self {
        let stays = |rule: &&SecurityGroupRule| rule.realization.state != RealizationState::Deleting;
        let have = world.rules_of(group).filter(stays).map(|rule| (rule.meta.name.clone(), rule.spec)).collect();
        Self { world, group, group_name, have, events: vec![] }
    }

    /// Another rule, under this id. `at` is where it stands in the request, `rules.0.` with its dot.
    pub fn add(&mut self, at: &str, id: Uuid, request: &RuleRequest) -> Result<(), Refusal> {
        check_description(&request.description).map_err(|refusal| match refusal {
            Refusal::Invalid { field, reason } => Refusal::Invalid { field: format!("{at}{field}").into(), reason },
            other => other,
        })?;
        let spec = self.settle(at, request)?;
        if let Some((name, _)) = self.have.iter().find(|(_, other)| *other == spec) {
            return Err(Refusal::RuleExists { rule: name.clone(), group: self.group_name.clone() });
        }
        if self.have.len() >= RULES_MAX {
            let most = u64::try_from(RULES_MAX).unwrap_or(u64::MAX);
            return Err(Refusal::GroupFull { group: self.group_name.clone(), most });
        }
        let name = match &request.name {
            Some(name) => {
                check_name_free(self.world, KIND, name)?;
                if self.have.iter().any(|(other, _)| other == name) {
                    return Err(Refusal::NameTaken { kind: KIND, name: name.clone() });
                }
                name.clone()
            }
            None => self.made_up_name(id, &spec)?,
        };
        let remote_group_name = match spec.remote {
            Remote::Group { group } if group == self.group => Some(self.group_name.clone()),
            Remote::Group { group } => self.world.security_groups.get(&group).map(|group| group.meta.name.clone()),
            Remote::Any | Remote::Prefix { .. } => None,
        };
        let created = Happened::SecurityGroupRuleCreated {
            description: request.description.clone(),
            labels: request.labels.clone(),
            spec,
            group_name: self.group_name.clone(),
            remote_group_name,
        };
        let fact = Fact::SecurityGroupRule(created);
        self.events.push(Event { resource_id: id, name: name.clone(), generation: Generation::FIRST, fact });
        self.have.push((name, spec));
        Ok(())
    }

    fn settle(&self, at: &str, request: &RuleRequest) -> Result<RuleSpec, Refusal> {
        let invalid = |field: &str, reason| Err(Refusal::Invalid { field: format!("{at}{field}").into(), reason });
        let RuleRequest { direction, ether_type, protocol, .. } = *request;
        let protocol = match protocol {
            Protocol::Number { number } => Protocol::of_number(number, ether_type),
            Protocol::Icmp { icmp_type: None, icmp_code: Some(_) } => {
                return invalid("icmp_code", "a code is one of a type; give icmp_type, too".to_owned());
            }
            Protocol::Any
            | Protocol::Icmp { .. }
            | Protocol::Tcp { .. }
            | Protocol::Udp { .. }
            | Protocol::Sctp { .. } => protocol,
        };
        let remote = match &request.remote {
            RemoteRequest::Any => Remote::Any,
            RemoteRequest::Prefix(prefix) if EtherType::of(*prefix) != ether_type => {
                let reason = format!("{prefix} is not of {}; give ether_type, too", ether_type.as_str());
                return invalid("remote_ip_prefix", reason);
            }
            // All addresses are anybody's, whichever way that is said.
            RemoteRequest::Prefix(prefix) if prefix.prefix_length() == 0 => Remote::Any,
            RemoteRequest::Prefix(prefix) => Remote::Prefix { prefix: *prefix },
            RemoteRequest::Group(of) => Remote::Group { group: self.remote_group(at, of)? },
        };
        Ok(RuleSpec { group: self.group, direction, ether_type, protocol, remote })
    }

    fn remote_group(&self, at: &str, of: &Reference) -> Result<Id<SecurityGroup>, Refusal> {
        // A new group is not in the world yet, and may name itself.
        if of.0 == self.group_name.as_str() {
            return Ok(self.group);
        }
        let group = self.world.security_group(of).map_err(|_| Refusal::ReferenceNotFound {
            field: format!("{at}remote_group").into(),
            kind: Kind::SecurityGroup.as_str().into(),
            name: of.0.clone(),
        })?;
        security_group::check_stays(group, "name in a rule")?;
        Ok(group.id)
    }

    /// What it is, in a name: `web-ingress-ipv4-tcp-22`. Where that is taken, its id tells it from the other.
    fn made_up_name(&self, id: Uuid, spec: &RuleSpec) -> Result<Name, Refusal> {
        let group: String = self.group_name.as_str().chars().take(GROUP_PART_MAX).collect();
        let group = group.trim_end_matches(['-', '.', '_']);
        let ether_type = spec.ether_type.as_str().to_lowercase();
        let mut text = format!("{group}-{}-{ether_type}", spec.direction.as_str());
        if spec.protocol != Protocol::Any {
            text = format!("{text}-{}", spec.protocol.to_string().replace(' ', "-"));
        }
        let taken: BTreeSet<&str> = self.have.iter().map(|(name, _)| name.as_str()).collect();
        let is_free = |name: &Name| self.world.id_of(KIND, name).is_none() && !taken.contains(name.as_str());
        // The last digits of an id are random; the first ones tell its time.
        let digits = id.simple().to_string();
        let candidates = [text.clone(), format!("{text}-{}", &digits[24..]), format!("rule-{}", &digits[12..])];
        let name = candidates.iter().filter_map(|text| text.parse().ok()).find(is_free);
        // Ids are not used twice.
        name.ok_or_else(|| Refusal::Invalid {
            field: "name".into(),
            reason: "no name could be made for it; give one".to_owned(),
        })
    }
}

fn check_stays(rule: &SecurityGroupRule) -> Result<(), Refusal> {
    match rule.realization.state {
        RealizationState::Deleting => Err(Refusal::WrongState {
            kind: KIND,
            name: rule.meta.name.clone(),
            state: rule.realization.state.as_str().into(),
            action: "change".into(),
            fix: "it is being removed and will be gone soon".into(),
        }),
        RealizationState::Creating | RealizationState::Active | RealizationState::Updating => Ok(()),
    }
}

/// A person's wish: the generation grows.
pub(crate) fn wish(rule: &SecurityGroupRule, event: Happened) -> Event {
    Event { generation: rule.meta.generation.next(), ..fact(rule, event) }
}

pub(crate) fn fact(rule: &SecurityGroupRule, event: Happened) -> Event {
    Event {
        resource_id: rule.id.uuid(),
        name: rule.meta.name.clone(),
        generation: rule.meta.generation,
        fact: Fact::SecurityGroupRule(event),
    }
}
