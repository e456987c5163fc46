//! Looks after the files of our nats-server while it has them open: it would go on from its memory. (Servers of a cluster change
//! their files among themselves; there each replica is read whole on a timer.)

use std::{path::PathBuf, sync::Arc, time::Duration};

use edgestack_engine::{Replica, error_chain};
use edgestack_log::{
    Damage,
    jetstream::{ServerState, StoreGuard},
};
use tokio::{sync::watch, time::Instant};

/// The least rest between two looks: writes have stopped a second after the damage.
const EVERY: Duration = Duration::from_millis(250);
/// Looks at thousands of blocks take a twentieth of a core at most.
const REST: u32 = 20;

/// Raises the alarm when somebody else changes the log's files, for ever. The repair comes from whoever hears it.
pub async fn watch_over(server: watch::Receiver<ServerState>, folder: PathBuf, replica: Arc<Replica>) {
    let (mut guard, mut started) = (StoreGuard::new(server.clone()), server);
    let mut rest = EVERY;
    loop {
        // What is changed is compared with what a server found when it was started.
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            changed = started.changed() => if changed.is_err() { return },
        }
        replica.wait_until_whole().await;
        let (begun, folder) = (Instant::now(), folder.clone());
        let looked = tokio::task::spawn_blocking(move || {
            let found = guard.look(&folder);
            (guard, found)
        });
        let found = match looked.await {
            Ok((same, found)) => {
                guard = same;
                found
            }
            Err(error) => {
                tracing::error!(%error, "nobody looks after nats-server's files any more; restart edgestackd");
                return;
            }
        };
        rest = EVERY.max(begun.elapsed() * REST);
        tell(guard.bytes());
        match found {
            Ok(None) => {}
            Ok(Some(what)) => replica.fail(Damage::Touched { what }.into()),
            Err(error) => tracing::warn!(error = error_chain(&error), "nats-server's files can't be looked at"),
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float; files stay far below 2^52 bytes")]
fn tell(bytes: u64) {
    metrics::gauge!("edgestack_log_file_bytes").set(bytes as f64);
}
