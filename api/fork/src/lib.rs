//! Forks of a site: a whole small control plane in memory, with the real engine, scheduler and pools, simulated drivers
//! and simulated time. What would happen is found out by letting it happen there
//! ([ADR 0028](../../../ADR/0028-what-if-is-the-real-engine-on-a-fork.md)).
//!
//! A fork has a thread and a runtime of its own. On that thread nothing counts for the process: no metric, no line of
//! its log, no crash point.

mod clock;
mod control_plane;
mod nodes;

use std::io;

use edgestack_engine::crash_point;
use edgestack_server::fork::{ForkSeed, Forks, Play};

/// Makes forks with simulated drivers.
#[derive(Clone, Copy, Debug, Default)]
pub struct SimulatedForks;

impl Forks for SimulatedForks {
    fn begin(&self, seed: ForkSeed, play: Play) -> io::Result<()> {
        // tokio calls it pausing: time stands still while there is work, and jumps to the next timer when there is none.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        let run = move || {
            crash_point::none_on_this_thread();
            let _unheard = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
            let uncounted = metrics::NoopRecorder;
            metrics::with_local_recorder(&uncounted, || {
                runtime.block_on(async {
                    let fork = control_plane::start(seed);
                    play(fork).await;
                });
                // The pools are dropped with it, wherever they are.
                drop(runtime);
            });
        };
        std::thread::Builder::new().name("fork".to_owned()).spawn(run).map(drop)
    }
}

#[cfg(test)]
mod tests;
