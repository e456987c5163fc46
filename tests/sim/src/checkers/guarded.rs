//! Where security groups have their NICs and rules, read from the rows by their names, and not by the pool's own idea of
//! them: a NIC's port is in the port groups of its groups and of its network and in no other, a rule's ACL in its group's.
//! A NIC in no group is in its network's alone, where nothing passes.

use std::{collections::BTreeSet, fmt};

use edgestack_model::{
    Id, World,
    realization::RealizationState,
    security_group::DEFAULT,
    security_group_rule::SecurityGroupRule,
    vm::{Nic, port_name},
};
use edgestack_worker_gateway::rows::{Key, Seen, SeenRow, Table};
use uuid::Uuid;

use crate::{
    objects::{Object, Whose, objects},
    outside::Outside,
};

/// While the site lives: what counts as ready is where it shall be.
///
/// # Errors
/// What is wrong, for people.
pub fn check_ready(outside: &Outside) -> Result<(), String> {
    let Some(world) = outside.northbound.newest() else { return Ok(()) };
    let seen = outside.northbound.seen();
    let is_active = |object: &Object| object.realization.state == RealizationState::Active;
    let active = objects(&world).filter(is_active).map(|object| Whose::object(object.resource.id()));
    let ready = active.chain(nics(&world).filter(|(_, nic)| nic.ready).map(|(whose, _)| whose));
    for whose in ready.filter(|whose| !outside.northbound.is_loose(*whose)) {
        if let Some(what) = unguarded(outside, &seen, &world, whose) {
            return Err(format!("{whose:?} counts as ready, and {what}"));
        }
    }
    Ok(())
}

/// At rest: everything is.
///
/// # Errors
/// What is wrong, for people.
pub fn check(outside: &Outside, world: &World) -> Result<(), String> {
    if world.security_group(&DEFAULT.into()).is_err() {
        return Err(format!("nobody has made the group {DEFAULT}"));
    }
    let seen = outside.northbound.seen();
    let rules = world.security_group_rules.keys().map(|rule| Whose::object(rule.uuid()));
    let mut all = rules.chain(nics(world).map(|(whose, _)| whose));
    let wrong = all.find_map(|whose| misplaced(&seen, world, whose));
    wrong.map_or(Ok(()), |wrong| Err(wrong.to_string()))
}

/// What is wrong with a NIC or a rule, if nobody may have changed that since.
pub fn unguarded(outside: &Outside, seen: &Seen, world: &World, whose: Whose) -> Option<String> {
    let wrong = misplaced(seen, world, whose)?;
    let mut groups = wrong.shall.union(&wrong.is);
    let is_loose = groups.any(|group| outside.northbound.is_loose(Whose::object(*group)));
    (!is_loose).then(|| wrong.to_string())
}

fn nics(world: &World) -> impl Iterator<Item = (Whose, &Nic)> {
    world.vms.values().flat_map(|vm| vm.nics.iter().map(|nic| (Whose::nic(vm.id.uuid(), nic.spec.number), nic)))
}

/// A row that is in the port groups of others than it shall be.
struct Misplaced {
    key: Key,
    is: BTreeSet<Uuid>,
    shall: BTreeSet<Uuid>,
}

impl fmt::Display for Misplaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, is, shall } = self;
        write!(f, "the {key} is in the port groups {is:?}, and shall be in {shall:?}")
    }
}

fn misplaced(seen: &Seen, world: &World, whose: Whose) -> Option<Misplaced> {
    let (column, key, shall) = match whose.nic {
        Some(number) => {
            let vm = world.vms.get(&Id::new(whose.id))?;
            let nic = vm.nics.iter().find(|nic| nic.spec.number == number)?;
            ("ports", Key::new(Table::LogicalSwitchPort, port_name(vm.id, number)), groups_of_nic(nic))
        }
        None => {
            let rule = world.security_group_rules.get(&Id::new(whose.id)).filter(|rule| stays(world, rule))?;
            ("acls", Key::new(Table::Acl, rule.id.to_string()), [rule.spec.group.uuid()].into())
        }
    };
    let refers = |row: &SeenRow| row.references.get(column).is_some_and(|refers| refers.contains_key(&key));
    let groups = seen.rows.iter().filter(|(of, row)| of.table == Table::PortGroup && refers(row));
    let is: BTreeSet<Uuid> = groups.filter_map(|(of, _)| of.id.parse().ok()).collect();
    (is != shall).then_some(Misplaced { key, is, shall })
}

/// Those that it is in by wish, and its network's guard. One of before there were groups is in none.
fn groups_of_nic(nic: &Nic) -> BTreeSet<Uuid> {
    let of_groups = |groups: &Vec<_>| groups.iter().map(|group: &Id<_>| group.uuid()).collect();
    let Some(mut all): Option<BTreeSet<Uuid>> = nic.security_groups.as_ref().map(of_groups) else {
        return BTreeSet::new();
    };
    all.insert(nic.spec.network.uuid());
    all
}

/// A rule goes with its group.
fn stays(world: &World, rule: &SecurityGroupRule) -> bool {
    let group = world.security_groups.get(&rule.spec.group).map(|group| group.realization.state);
    [Some(rule.realization.state), group]
        .iter()
        .all(|state| state.is_some_and(|state| state != RealizationState::Deleting))
}
