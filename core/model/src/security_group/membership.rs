//! Which NICs are in which groups: a join of VMs and security groups.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{SecurityGroup, check_stays, default_group};
use crate::{
    Event, Id, Kind, Name, Refusal, World,
    command::Reference,
    vm::{Nic, Vm, VmEvent, check_has_nic},
};

/// So many groups a NIC may be in.
pub const GROUPS_MAX: usize = 16;

/// A change of the groups that a NIC is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupsChange {
    /// All of them, in place of the present ones.
    pub set: Option<Vec<Reference>>,
    /// Also these.
    pub add: Vec<Reference>,
    /// Not these.
    pub remove: Vec<Reference>,
}

/// The groups that a new NIC is to be in.
pub(crate) struct Chosen {
    /// What makes the default group, if that is needed and isn't there.
    pub made: Vec<Event>,
    /// The groups, by name as well.
    pub groups: Vec<(Id<SecurityGroup>, Name)>,
}

/// The groups of a new NIC: those that are named, or the default one. `seed` is an id of the command's own.
pub(crate) fn choose(world: &World, field: &str, named: Option<&[Reference]>, seed: Uuid) -> Result<Chosen, Refusal> {
    let wants_default = named.is_none_or(|named| named.iter().any(|of| default_group::is_named(world, of)));
    let (made, default) = if wants_default {
        let (id, name, made) = default_group::ensured(world, seed)?;
        (made, Some((id, name)))
    } else {
        (vec![], None)
    };
    let Some(named) = named else { return Ok(Chosen { made, groups: default.into_iter().collect() }) };
    let mut groups: Vec<(Id<SecurityGroup>, Name)> = vec![];
    for (at, of) in named.iter().enumerate() {
        let group = match &default {
            Some(default) if default_group::is_named(world, of) => default.clone(),
            Some(_) | None => find(world, &format!("{field}.{at}"), of)?,
        };
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    check_count(field, groups.len())?;
    Ok(Chosen { made, groups })
}

/// What a change of a VM's NICs' groups leads to; `only`: of which NIC, all of them if absent.
pub(crate) fn changed(
    world: &World,
    vm: &Vm,
    only: Option<u32>,
    change: &GroupsChange,
) -> Result<Vec<VmEvent>, Refusal> {
    let invalid = |field: &str, reason: String| Refusal::Invalid { field: field.to_owned().into(), reason };
    check_has_nic(vm, only, "change the security groups of")?;
    let found = |field: &str, named: &[Reference]| -> Result<Vec<(Id<SecurityGroup>, Name)>, Refusal> {
        named.iter().enumerate().map(|(at, of)| find(world, &format!("{field}.{at}"), of)).collect()
    };
    let set = change.set.as_deref().map(|named| found("security_groups", named)).transpose()?;
    let add = found("add", &change.add)?;
    let remove: BTreeSet<Id<SecurityGroup>> = found("remove", &change.remove)?.into_iter().map(|(id, _)| id).collect();
    if let Some((_, name)) = add.iter().find(|(id, _)| remove.contains(id)) {
        return Err(invalid("remove", format!("\"{name}\" is to be added, too")));
    }
    let mut events = vec![];
    for nic in vm.nics.iter().filter(|nic| only.is_none_or(|number| nic.spec.number == number)) {
        let mut groups = set.clone().unwrap_or_else(|| groups_of(world, nic).collect());
        groups.extend(add.iter().cloned());
        let mut seen = BTreeSet::new();
        groups.retain(|(id, _)| !remove.contains(id) && seen.insert(*id));
        check_count("security_groups", groups.len())?;
        events.extend(regrouped(nic, groups));
    }
    Ok(events)
}

/// A NIC's groups as they are from now on; `None`: they are so.
pub(crate) fn regrouped(nic: &Nic, groups: Vec<(Id<SecurityGroup>, Name)>) -> Option<VmEvent> {
    let (security_groups, group_names): (Vec<_>, Vec<_>) = groups.into_iter().unzip();
    let is_so = nic.security_groups.as_ref() == Some(&security_groups);
    let number = nic.spec.number;
    (!is_so).then_some(VmEvent::VmNicSecurityGroupsChanged { number, security_groups, group_names })
}

/// The NICs that are in a group, with their VMs.
pub fn members(world: &World, group: Id<SecurityGroup>) -> impl Iterator<Item = (&Vm, &Nic)> {
    world.vms.values().flat_map(move |vm| {
        let is_in = move |nic: &&Nic| nic.security_groups.iter().flatten().any(|other| *other == group);
        vm.nics.iter().filter(is_in).map(move |nic| (vm.as_ref(), nic))
    })
}

/// The groups that a NIC is in, by name as well.
pub(crate) fn groups_of<'w>(world: &'w World, nic: &'w Nic) -> impl Iterator<Item = (Id<SecurityGroup>, Name)> + 'w {
    let groups = nic.security_groups.iter().flatten().filter_map(|id| world.security_groups.get(id));
    groups.map(|group| (group.id, group.meta.name.clone()))
}

fn find(world: &World, field: &str, of: &Reference) -> Result<(Id<SecurityGroup>, Name), Refusal> {
    let group = world.security_group(of).map_err(|_| Refusal::ReferenceNotFound {
        field: field.to_owned().into(),
        kind: Kind::SecurityGroup.as_str().into(),
        name: of.0.clone(),
    })?;
    check_stays(group, "put a NIC in")?;
    Ok((group.id, group.meta.name.clone()))
}

fn check_count(field: &str, count: usize) -> Result<(), Refusal> {
    if count <= GROUPS_MAX {
        return Ok(());
    }
    let reason = format!("a NIC is in at most {GROUPS_MAX} groups, got {count}");
    Err(Refusal::Invalid { field: field.to_owned().into(), reason })
}
