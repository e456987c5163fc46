//! What lies on the node and carries our ids, but is not in the log. It is told,
//! never touched: a log restored from an older backup must not cost a running VM.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use async_trait::async_trait;
use edgestack_engine::Replica;
use edgestack_model::Kind;
use edgestack_pool::DriverError;
use uuid::Uuid;

/// Tells what lies on the node.
#[async_trait]
pub trait Finder: Send + Sync + 'static {
    /// Ids of one kind that have something on the node.
    async fn found(&self) -> Result<(Kind, Vec<Uuid>), DriverError>;
}

/// Looks for ever, each `every`; tells an orphan once as long as it stays.
pub async fn run_drift(replica: Arc<Replica>, finders: Vec<Arc<dyn Finder>>, every: Duration) {
    let mut told: BTreeSet<(Kind, Uuid)> = BTreeSet::new();
    loop {
        let mut orphans: BTreeSet<(Kind, Uuid)> = BTreeSet::new();
        for finder in &finders {
            match finder.found().await {
                Ok((kind, ids)) => {
                    let world = replica.world();
                    orphans.extend(ids.into_iter().filter(|id| world.meta(kind, *id).is_none()).map(|id| (kind, id)));
                }
                Err(error) => tracing::warn!(%error, "cannot look for what the log does not know; it is repeated"),
            }
        }
        for (kind, id) in orphans.difference(&told) {
            tracing::warn!(%kind, %id, "this lies on the node but is not in the log; nothing is done with it");
        }
        told = orphans;
        tokio::time::sleep(every).await;
    }
}
