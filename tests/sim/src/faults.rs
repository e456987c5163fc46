//! What goes wrong outside the control plane while it runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use edgestack_worker_vm::driver::VmDriver as _;

use crate::{
    fault::Fault,
    outside::{Node, Outside},
};

/// Lets things go wrong, one after the other, as long as this control plane lives.
pub async fn run_faults(outside: Arc<Outside>) {
    let random = &outside.random;
    loop {
        tokio::time::sleep(random.millis(300, 6000)).await;
        outside.crash.or_never().await;
        let node = random.one_of(&outside.nodes);
        match random.below(25) {
            0..6 => a_guest_ends(&outside, node).await,
            6..8 => cut_off_or_connect(&outside, node),
            8 => the_node_goes_down(&outside, node),
            9 => outside.plant(node).await,
            10 => outside.clear_away(node).await,
            11 => {
                outside.faults.fired(Fault::LogAway);
                for_a_while(&outside, &outside.log.away).await;
            }
            12 => for_a_while(&outside, &outside.log.full).await,
            13 => for_a_while(&outside, &node.full).await,
            14 => {
                outside.faults.fired(Fault::WorkersCutFromLog);
                for_a_while(&outside, &outside.workers_cut).await;
            }
            15 => the_clock_jumps(&outside),
            16..18 => damage_the_log(&outside),
            18 => outside.damage_archive(),
            19..24 => {
                if outside.others_write().is_some() {
                    outside.tell_of_changes();
                }
            }
            _ => holders_fall_silent(&outside).await,
        }
    }
}

/// Long enough for another to take over.
async fn holders_fall_silent(outside: &Outside) {
    outside.faults.fired(Fault::HolderSilent);
    outside.holders_silent.store(true, Ordering::Relaxed);
    let cut_off = outside.random.per_mille(400);
    if cut_off {
        // Nor do they hear that another has taken over.
        outside.faults.fired(Fault::WorkersCutFromLog);
        outside.workers_cut.store(true, Ordering::Relaxed);
    }
    tokio::time::sleep(outside.random.millis(8_000, 20_000)).await;
    outside.holders_silent.store(false, Ordering::Relaxed);
    if cut_off {
        outside.workers_cut.store(false, Ordering::Relaxed);
    }
}

/// Who loses the end of his log may lose power with it.
fn damage_the_log(outside: &Outside) {
    if outside.damage_log() && outside.random.per_mille(300) {
        outside.crash.arm(1);
    }
}

/// A guest dies, or shuts itself down.
async fn a_guest_ends(outside: &Outside, node: &Node) {
    let machines = node.machines.list();
    if machines.is_empty() {
        return;
    }
    let id = *outside.random.one_of(&machines);
    if outside.random.per_mille(500) {
        outside.faults.fired(Fault::GuestCrashed);
        node.machines.crash(id);
    } else if node.machines.guest_logins(id).await.is_ok() {
        outside.faults.fired(Fault::GuestShutDown);
        node.machines.power_off_from_inside(id);
    }
}

fn cut_off_or_connect(outside: &Outside, node: &Node) {
    if node.cut_off.load(Ordering::Relaxed) {
        node.connect();
    } else {
        outside.faults.fired(Fault::NodeCutOff);
        node.cut_off(outside.clock.passed());
    }
}

/// The whole node goes down with all that runs on it.
fn the_node_goes_down(outside: &Outside, node: &Node) {
    outside.faults.fired(Fault::NodeDown);
    for id in node.machines.list() {
        node.machines.crash(id);
    }
}

/// Something is away or full, and comes back.
async fn for_a_while(outside: &Outside, what: &AtomicBool) {
    what.store(true, Ordering::Relaxed);
    let long = outside.random.per_mille(300);
    let pause = if long { Duration::from_secs(15) } else { outside.random.millis(50, 4000) };
    tokio::time::sleep(pause).await;
    what.store(false, Ordering::Relaxed);
}

fn the_clock_jumps(outside: &Outside) {
    let seconds = i64::try_from(1 + outside.random.below(3600)).unwrap();
    if outside.random.per_mille(500) {
        outside.faults.fired(Fault::ClockForward);
        outside.clock.jump(seconds);
    } else {
        outside.faults.fired(Fault::ClockBack);
        outside.clock.jump(-seconds);
    }
}
