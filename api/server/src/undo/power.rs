//! What compensates that a VM was started, stopped, paused or unpaused.

use edgestack_model::{
    Id, World,
    vm::{RunStrategy, Target},
};
use serde_json::json;

use super::compensate::Looking;

/// The grace of a stop that takes a start back, seconds; as edgectl's own.
const GRACE_SECONDS: u32 = 60;

impl Looking<'_> {
    fn target(&self, world: &World) -> Option<Target> {
        world.vms.get(&Id::new(self.id())).map(|vm| vm.target)
    }

    /// Whether the VM is still where the change sent it; where it is now is said if not.
    fn is_still(&mut self, sent: fn(Target) -> bool) -> bool {
        if !self.lives() {
            return false;
        }
        match self.target(self.now) {
            Some(now) if sent(now) => true,
            Some(now) if self.target(self.before).is_some_and(|before| word(before) == word(now)) => {
                self.already(format!("it shall be {}, as before", word(now)));
                false
            }
            Some(now) => {
                self.changed_since(format!("it shall be {} by now, and that is left so", word(now)));
                false
            }
            None => false,
        }
    }

    fn act(&mut self, what: &str, action: serde_json::Value, line: &str) {
        let line = line.replace("VM", &self.id().to_string());
        self.change(what, "POST", "/action", Some(action), Some(line));
    }
}

/// Started: it is stopped again, and halted if that was its strategy.
pub(super) fn started(looking: &mut Looking<'_>) {
    if !looking.is_still(|target| target == Target::Running) {
        return;
    }
    let stop = json!({"action": "stop", "grace_seconds": GRACE_SECONDS});
    looking.act("stop it", stop, &format!("edgectl stop-vm VM --grace-seconds {GRACE_SECONDS}"));
    let strategy = |world: &World| world.vms.get(&Id::new(looking.id())).map(|vm| vm.spec.run_strategy);
    let [before, after, now] = [looking.before, looking.after, looking.now].map(strategy);
    if before == Some(RunStrategy::Halted) && after != before && now == after {
        let halted = json!({"run_strategy": "halted"});
        let line = format!("edgectl update-vm {} --run-strategy halted", looking.id());
        looking.change("put back run_strategy", "PATCH", "", Some(halted), Some(line));
    }
    looking.cannot("what its guest did while it ran is done");
}

/// Stopped: it is started again.
pub(super) fn stopped(looking: &mut Looking<'_>) {
    if !looking.is_still(|target| matches!(target, Target::Stopped { .. })) {
        return;
    }
    match looking.target(looking.before) {
        Some(Target::Stopped { .. }) => {
            return looking.already("it was to stop before, too; this change only hurried it");
        }
        Some(Target::Paused) => {
            looking.cannot("it was paused, and its memory is gone: it boots anew, and is not paused")
        }
        Some(Target::Running | Target::Deleted) | None => {
            looking.cannot("what ran in its guest was ended: it boots anew");
        }
    }
    looking.act("start it", json!({"action": "start"}), "edgectl start-vm VM");
}

/// Paused: it goes on.
pub(super) fn paused(looking: &mut Looking<'_>) {
    if looking.is_still(|target| target == Target::Paused) {
        looking.act("unpause it", json!({"action": "unpause"}), "edgectl unpause-vm VM");
    }
}

/// Unpaused: it is paused again.
pub(super) fn unpaused(looking: &mut Looking<'_>) {
    if looking.is_still(|target| target == Target::Running) {
        looking.act("pause it", json!({"action": "pause"}), "edgectl pause-vm VM");
        looking.cannot("what its guest did since is done");
    }
}

fn word(target: Target) -> &'static str {
    match target {
        Target::Running => "running",
        Target::Paused => "paused",
        Target::Stopped { .. } => "stopped",
        Target::Deleted => "gone",
    }
}
