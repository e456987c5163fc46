//! Law 9: what ended is noticed, also when nothing told of it.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use edgestack_model::{
    Id, World,
    vm::{Power, Vm},
};
use edgestack_worker_vm::driver::{Observed, VmDriver as _};
use futures::FutureExt as _;

use crate::{
    control_plane::ControlPlane,
    fault::Fault,
    outside::{Node, Outside},
};

/// The pools look at everything each 10 s; a report takes as long as the log needs, is refused while the worker's own process
/// doesn't know the latest wish (it hears of it after up to 10 s), and a driver that can't see it is asked after a back-off.
const NOTICED_WITHIN: Duration = Duration::from_secs(60);

/// A running VM dies while all is at rest and no watch tells of it: only the beat can see that.
///
/// # Errors
/// That nobody noticed.
pub async fn check_at_rest(outside: &Outside, plane: &ControlPlane) -> Result<(), String> {
    let world = plane.replica.world().clone();
    let running = |node: &&Node, id: &Id<Vm>| {
        let vm = world.vms.get(id);
        vm.is_some_and(|vm| {
            matches!(vm.power, Power::Running(_))
                && vm.placement.as_ref().is_some_and(|place| {
                    world.nodes.get(&place.node).is_some_and(|place| place.meta.name.as_str() == node.name)
                })
        })
    };
    let candidates: Vec<_> = outside
        .living()
        .flat_map(|node| node.machines.list().into_iter().map(move |id| (node, id)))
        .filter(|(node, id)| running(node, id))
        .collect();
    if candidates.is_empty() {
        return Ok(());
    }
    let (node, id) = outside.random.one_of(&candidates);
    let before = world.vms.get(id).map(|vm| vm.power.clone());
    outside.faults.fired(Fault::DiedUnseen);
    node.machines.crash_unseen(*id);
    let died = tokio::time::Instant::now();
    while plane.replica.world().vms.get(id).map(|vm| vm.power.clone()) == before {
        if died.elapsed() > NOTICED_WITHIN {
            return Err(format!("VM {id} has died at rest on {}, and nobody noticed", node.name));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// What one life has seen of it: since when the log has a VM as running that has no process.
#[derive(Default)]
pub struct Noticed(BTreeMap<Id<Vm>, Duration>);

impl Noticed {
    /// Asked each second.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn check(&mut self, outside: &Outside, world: &World, damaged: bool) -> Result<(), String> {
        let (now, log) = (outside.clock.passed(), &outside.log);
        let away = [&log.away, &log.full, &outside.workers_cut].iter().any(|flag| flag.load(Ordering::Relaxed));
        let before = std::mem::take(&mut self.0);
        if damaged || away {
            return Ok(());
        }
        for vm in world.vms.values().filter(|vm| matches!(vm.power, Power::Running(_) | Power::Paused(_))) {
            let place = vm.placement.as_ref().and_then(|place| world.nodes.get(&place.node));
            let node =
                outside.nodes.iter().find(|node| place.is_some_and(|place| place.meta.name.as_str() == node.name));
            let Some(node) = node.filter(|node| !node.cut_off.load(Ordering::Relaxed)) else { continue };
            // A driver may hang at it.
            let busy = node.busy.lock().unwrap().contains_key(&vm.id);
            let there = node.machines.observe(vm.id).now_or_never();
            let over = matches!(there, Some(Ok(Observed::Absent { .. } | Observed::Over { .. })));
            // A failed step is tried again at its time.
            if busy || !over || vm.failure.is_some() {
                continue;
            }
            let since = before.get(&vm.id).copied().unwrap_or(now);
            if now - since > NOTICED_WITHIN {
                return Err(format!(
                    "VM {} has ended {:?} ago on {}, and nobody noticed",
                    vm.id,
                    now - since,
                    node.name
                ));
            }
            self.0.insert(vm.id, since);
        }
        Ok(())
    }
}
