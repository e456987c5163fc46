//! What happens now, rendered once for all who listen.

use std::sync::{Arc, OnceLock};

use edgestack_engine::{Applied, error_chain};
use edgestack_model::{Kind, Labels};
use tokio::sync::broadcast::{self, Receiver, Sender, error::RecvError};
use uuid::Uuid;

use super::rendered::Rendered;
use crate::state::{Site, SiteInfo};

/// Commits that a listener may be behind before it reads them from the log.
const BEHIND_MAX: usize = 8192;

/// The live feed; it begins with its first listener.
#[derive(Default)]
pub(crate) struct Hub {
    feed: OnceLock<Sender<Arc<Rendered>>>,
}

impl Hub {
    /// How many listen.
    pub fn listeners(&self) -> u32 {
        let listeners = self.feed.get().map_or(0, Sender::receiver_count);
        u32::try_from(listeners).unwrap_or(u32::MAX)
    }

    /// Every commit from now on. One that is missing was rendered for nobody, or came too fast: it is in the log.
    pub fn listen(site: &Arc<Site>) -> Receiver<Arc<Rendered>> {
        let sender = site.events.feed.get_or_init(|| {
            let (sender, _) = broadcast::channel(BEHIND_MAX);
            // It holds no site: the last handle to that must be able to go.
            let applied = site.app.replica.subscribe();
            tokio::spawn(render_all(applied, site.app.site.clone(), sender.clone()));
            sender
        });
        sender.subscribe()
    }
}

async fn render_all(mut applied: Receiver<Arc<Applied>>, site: SiteInfo, sender: Sender<Arc<Rendered>>) {
    loop {
        let applied = match applied.recv().await {
            Ok(applied) => applied,
            Err(RecvError::Lagged(_)) => continue,
            Err(RecvError::Closed) => return,
        };
        if sender.receiver_count() == 0 {
            continue;
        }
        match Rendered::of(&applied.commit, &site, |kind, id| labels(&applied, kind, id)) {
            // That nobody listens any more is no error.
            Ok(rendered) => drop(sender.send(Arc::new(rendered))),
            Err(error) => tracing::error!(
                seq = applied.commit.sequence.0,
                error = error_chain(&error),
                "an event cannot be written as JSON; who listens reads the commit from the log and ends there"
            ),
        }
    }
}

fn labels(applied: &Applied, kind: Kind, id: Uuid) -> Labels {
    let change = applied.changes.iter().find(|change| (change.kind, change.id) == (kind, id));
    let resource = change.and_then(|change| change.after.as_ref().or(change.before.as_ref()));
    resource.map(|resource| resource.meta().labels.clone()).unwrap_or_default()
}
