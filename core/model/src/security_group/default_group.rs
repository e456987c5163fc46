//! The group of NICs for which none is named. Source of its rules: OpenStack Networking's default group.

use uuid::Uuid;

use super::{SecurityGroup, SecurityGroupEvent};
use crate::{
    Event, Generation, Id, Kind, Labels, Name, Refusal, World,
    command::Reference,
    event::Fact,
    security_group_rule::{Direction, EtherType, NewRules, Protocol, RemoteRequest, RuleRequest},
};

/// Its name.
pub const DEFAULT: &str = "default";

/// The default group, and what makes it where it isn't there yet, under an id that follows from `seed`.
pub(crate) fn ensured(world: &World, seed: Uuid) -> Result<(Id<SecurityGroup>, Name, Vec<Event>), Refusal> {
    if let Ok(group) = world.security_group(&DEFAULT.into()) {
        return Ok((group.id, group.meta.name.clone(), vec![]));
    }
    let name: Name = DEFAULT.parse().map_err(|error: crate::name::NameError| Refusal::Invalid {
        field: "security_groups".into(),
        reason: error.to_string(),
    })?;
    let id = Uuid::new_v5(&seed, b"the default security group");
    let description = "NICs for which no group is named: all from them, and to them from each other".to_owned();
    let created = SecurityGroupEvent::SecurityGroupCreated { description, labels: Labels::default() };
    let from_each_other = |ether_type| RuleRequest {
        remote: RemoteRequest::Group(DEFAULT.into()),
        ..a_rule(Direction::Ingress, ether_type)
    };
    let rules = all_from().into_iter().chain([EtherType::Ipv4, EtherType::Ipv6].map(from_each_other));
    let events = with_rules(world, id, &name, created, &rules.collect::<Vec<_>>())?;
    Ok((Id::new(id), name, events))
}

/// A new group, and its first rules.
pub(super) fn with_rules(
    world: &World,
    id: Uuid,
    name: &Name,
    created: SecurityGroupEvent,
    rules: &[RuleRequest],
) -> Result<Vec<Event>, Refusal> {
    let mut new = NewRules::of(world, Id::new(id), name);
    for (at, rule) in rules.iter().enumerate() {
        new.add(&format!("rules.{at}."), rule_id(id, at), rule)?;
    }
    let fact = Fact::SecurityGroup(created);
    let group = Event { resource_id: id, name: name.clone(), generation: Generation::FIRST, fact };
    Ok([group].into_iter().chain(new.events).collect())
}

/// The id of a new group's rule, as one command makes more than it is given ids for. It sorts by the group's age and the
/// rule's place, as all ids do: the first half is the group's, with its time.
fn rule_id(group: Uuid, at: usize) -> Uuid {
    let mut bytes = Uuid::new_v5(&group, format!("rule {at}").as_bytes()).into_bytes();
    bytes[..8].copy_from_slice(&group.as_bytes()[..8]);
    // The variant's two bits, and the place. RFC 9562, section 4.1.
    let place = u16::try_from(at).unwrap_or(u16::MAX) & 0x3fff;
    bytes[8..10].copy_from_slice(&(0x8000 | place).to_be_bytes());
    Uuid::from_bytes(bytes)
}

/// All traffic from the group's NICs.
pub(super) fn all_from() -> [RuleRequest; 2] {
    [EtherType::Ipv4, EtherType::Ipv6].map(|ether_type| a_rule(Direction::Egress, ether_type))
}

fn a_rule(direction: Direction, ether_type: EtherType) -> RuleRequest {
    RuleRequest {
        name: None,
        description: String::new(),
        labels: Labels::default(),
        direction,
        ether_type,
        protocol: Protocol::Any,
        remote: RemoteRequest::Any,
    }
}

/// Whether a reference names the default group, also while there is none.
pub(super) fn is_named(world: &World, of: &Reference) -> bool {
    of.0 == DEFAULT && world.resolve(Kind::SecurityGroup, of).is_none()
}
