//! What goes wrong outside the control plane while it runs.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use edgestack_worker_vm::driver::VmDriver as _;

use crate::outside::Outside;

/// Lets things go wrong, one after the other, as long as this control plane lives.
pub async fn run_faults(outside: Arc<Outside>) {
    let random = &outside.random;
    loop {
        tokio::time::sleep(random.millis(300, 6000)).await;
        let node = random.one_of(&outside.nodes);
        match random.below(12) {
            // A guest dies, or shuts itself down.
            0..6 => {
                let machines = node.machines.list();
                if machines.is_empty() {
                    continue;
                }
                let id = *random.one_of(&machines);
                if random.per_mille(500) {
                    node.machines.crash(id);
                } else if node.machines.guest_logins(id).await.is_ok() {
                    node.machines.power_off_from_inside(id);
                }
            }
            // A node is cut off, or reached again.
            6..8 => drop(node.cut_off.fetch_xor(true, Ordering::Relaxed)),
            // The whole node goes down with all that runs on it.
            8 => {
                for id in node.machines.list() {
                    node.machines.crash(id);
                }
            }
            // Something is left there that no log knows, or is cleared away.
            9 => outside.plant(node).await,
            10 => outside.clear_away(node).await,
            // The log is away for a while.
            _ => {
                outside.log.away.store(true, Ordering::Relaxed);
                let long = random.per_mille(300);
                let pause = if long { Duration::from_secs(15) } else { random.millis(50, 4000) };
                tokio::time::sleep(pause).await;
                outside.log.away.store(false, Ordering::Relaxed);
            }
        }
    }
}
