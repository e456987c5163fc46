//! A node whose workers are not heard is known as lost before long.

use std::{sync::atomic::Ordering, time::Duration};

use edgestack_model::World;

use crate::outside::Outside;

/// After 10 s of silence it counts as lost, and the overseer looks each 2 s; the rest is for a log that is slow.
const KNOWN_WITHIN: Duration = Duration::from_secs(25);

/// What one life has seen of it.
#[derive(Default)]
pub struct Heard {
    /// Since when commits are possible, so that the engine could have said so.
    writable_since: Option<Duration>,
    /// Under which taking somebody oversees the nodes.
    epoch: Option<u64>,
}

impl Heard {
    /// Asked each second.
    ///
    /// # Errors
    /// What is wrong, for people.
    pub fn check(&mut self, outside: &Outside, world: &World, damaged: bool) -> Result<(), String> {
        let now = outside.clock.passed();
        let log = &outside.log;
        if damaged || log.away.load(Ordering::Relaxed) || log.full.load(Ordering::Relaxed) {
            self.writable_since = None;
            return Ok(());
        }
        // Who takes over counts the silence anew.
        let lease = world.lease(&"overseer".parse().unwrap());
        let epoch = lease.filter(|lease| lease.holder.is_some()).map(|lease| lease.epoch);
        if outside.holders_silent.load(Ordering::Relaxed) || epoch.is_none() || epoch != self.epoch {
            (self.epoch, self.writable_since) = (epoch, None);
            return Ok(());
        }
        let since = *self.writable_since.get_or_insert(now);
        for node in &outside.nodes {
            let Some(cut_off) = *node.cut_off_since.lock().unwrap() else { continue };
            let silent = now.saturating_sub(cut_off.max(since));
            let known = world.node(&node.name.as_str().into()).is_ok_and(|node| node.readiness.ready);
            if known && silent > KNOWN_WITHIN {
                return Err(format!("{} is silent for {silent:?} and counts as ready", node.name));
            }
        }
        Ok(())
    }
}
