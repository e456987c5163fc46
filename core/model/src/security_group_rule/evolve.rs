//! Security group rule events to the world.

use std::sync::Arc;

use super::{SecurityGroupRule, SecurityGroupRuleEvent as Happened};
use crate::{
    Id, Kind, World,
    realization::Realization,
    world::{At, Impossible},
};

pub(crate) fn evolve(world: &mut World, at: &At<'_>, event: &Happened) -> Result<(), Impossible> {
    let id = Id::new(at.resource_id);
    match event {
        Happened::SecurityGroupRuleCreated { description, labels, spec, .. } => {
            world.claim_name(Kind::SecurityGroupRule, at)?;
            let meta = at.new_meta(description, labels);
            let rule = SecurityGroupRule { id, meta, spec: *spec, realization: Realization::new() };
            world.security_group_rules.insert(id, Arc::new(rule));
            return Ok(());
        }
        Happened::SecurityGroupRuleDeleted {} | Happened::SecurityGroupRuleForceRemoved {} => {
            let rule = world.security_group_rules.remove(&id).ok_or_else(|| at.impossible("no such rule"))?;
            world.release_name(Kind::SecurityGroupRule, &rule.meta.name);
            return Ok(());
        }
        Happened::SecurityGroupRuleUpdated { .. }
        | Happened::SecurityGroupRuleBecameReady {}
        | Happened::SecurityGroupRuleDrifted { .. }
        | Happened::SecurityGroupRuleAttemptFailed { .. }
        | Happened::SecurityGroupRuleDeleteRequested {}
        | Happened::SecurityGroupRuleReconcileRequested {} => {}
    }
    let rule = world.security_group_rules.get_mut(&id).ok_or_else(|| at.impossible("no such rule"))?;
    let SecurityGroupRule { meta, realization, .. } = Arc::make_mut(rule);
    at.touch(meta);
    match event {
        Happened::SecurityGroupRuleCreated { .. }
        | Happened::SecurityGroupRuleDeleted {}
        | Happened::SecurityGroupRuleForceRemoved {} => {}
        Happened::SecurityGroupRuleUpdated { change } => change.apply(meta),
        Happened::SecurityGroupRuleBecameReady {} => realization.became_ready(),
        Happened::SecurityGroupRuleDrifted { .. } => realization.begin_update(),
        Happened::SecurityGroupRuleAttemptFailed { failure } => realization.failure = Some(failure.clone()),
        Happened::SecurityGroupRuleDeleteRequested {} => realization.begin_removal(),
        Happened::SecurityGroupRuleReconcileRequested {} => realization.failure = None,
    }
    Ok(())
}
