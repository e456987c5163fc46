//! The store of our own nats-server, for the repair of the log ([`edgestack_archive::Repairer`]).

use std::{path::Path, sync::Arc, time::Duration};

use async_trait::async_trait;
use edgestack_archive::{Archive, LogStore, Options as ArchiveOptions, s3, settings_of};
use edgestack_engine::error_chain;
use edgestack_log::{
    Log as _, LogError,
    jetstream::{JetStreamLog, StoreKeeper},
};

use crate::{failure::Failure, options::Options};

/// How long a nats-server with a new store may take until its stream can be made.
const STREAM_PATIENCE: Duration = Duration::from_secs(30);

/// Opens the archive: the open segment in its folder, closed ones there or in the store that the command line names.
///
/// # Errors
/// [`Failure::Archive`], [`Failure::ArchiveStore`].
pub async fn open(folder: &Path, options: &Options) -> Result<Arc<Archive>, Failure> {
    let Some(address) = &options.archive else {
        return Ok(Arc::new(Archive::open_local(folder, ArchiveOptions::default()).await?));
    };
    let settings = options.archive_settings.as_deref().map(settings_of).transpose()?.unwrap_or_default();
    let store = s3(address, &settings)?;
    let options = ArchiveOptions { elsewhere: true, ..ArchiveOptions::default() };
    Ok(Arc::new(Archive::open(folder, store, options).await?))
}

/// The JetStream folder of a nats-server that this process runs, alone.
pub struct JetStreamStore {
    /// The log in it.
    pub log: Arc<JetStreamLog>,
    /// Who can put the folder aside.
    pub keeper: StoreKeeper,
}

#[async_trait]
impl LogStore for JetStreamStore {
    async fn replace(&self, first: u64) -> Result<String, String> {
        let aside = self.keeper.replace().await.map_err(|error| error_chain(&error))?;
        self.make_stream(first).await.map_err(|error| error_chain(&error))?;
        Ok(aside.display().to_string())
    }
}

impl JetStreamStore {
    /// The connection comes back by itself once the server answers.
    async fn make_stream(&self, first: u64) -> Result<(), LogError> {
        let deadline = tokio::time::Instant::now() + STREAM_PATIENCE;
        loop {
            match self.log.ensure_stream_from(1, first).await {
                Ok(()) => break,
                Err(LogError::Unavailable(_)) if tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => return Err(error),
            }
        }
        // It was in the store that is put aside; without it only refusals are forgotten over a restart.
        if let Err(error) = self.log.refused().ensure(1).await {
            tracing::warn!(error = error_chain(&error), "the stream of refused commands can't be made anew");
        }
        self.log.head().await.map(|_| ())
    }
}
