//! How far commits may have left the live log: all up to one of them are archived, which was proven before this was written.
//!
//! The record permits, and demands nothing: a live log that begins earlier is whole, one that begins later has lost its
//! beginning. So a kill between the record and the live log's change leaves nothing to be taken back.

use std::sync::PoisonError;

use edgestack_log::ChainHead;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use serde::Deserialize;

use crate::{Archive, ArchiveError};

/// The object with the record.
const RELEASED: &str = "released.json";

/// What this crate reads of the record; the rest is for who signed it.
#[derive(Deserialize)]
struct Record {
    sequence: u64,
    hash: String,
}

/// The record as it was put, with the commit that it names.
pub(crate) async fn read(store: &dyn ObjectStore) -> Result<ChainHead, ArchiveError> {
    let failed = |source| ArchiveError::Store { doing: format!("reading {RELEASED}"), source };
    let bytes = match store.get(&RELEASED.into()).await {
        Ok(found) => found.bytes().await.map_err(failed)?,
        Err(object_store::Error::NotFound { .. }) => return Ok(ChainHead::GENESIS),
        Err(error) => return Err(failed(error)),
    };
    Ok(parse(&bytes).unwrap_or_else(|why| {
        tracing::error!(
            why,
            "ALARM: the archive's {RELEASED} can't be read; the live log is filled from the first commit on"
        );
        ChainHead::GENESIS
    }))
}

fn parse(bytes: &[u8]) -> Result<ChainHead, String> {
    let record: Record = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let mut hash = [0; 32];
    hex::decode_to_slice(&record.hash, &mut hash).map_err(|error| error.to_string())?;
    Ok(ChainHead { sequence: record.sequence, hash })
}

impl Archive {
    /// The last commit that may have left the live log; [`ChainHead::GENESIS`] where none may.
    pub fn released(&self) -> ChainHead {
        *self.released.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record as it was put, to check who signed it.
    ///
    /// # Errors
    /// [`ArchiveError::Store`].
    pub async fn release_record(&self) -> Result<Option<bytes::Bytes>, ArchiveError> {
        let failed = |source| ArchiveError::Store { doing: format!("reading {RELEASED}"), source };
        match self.store.get(&RELEASED.into()).await {
            Ok(found) => found.bytes().await.map(Some).map_err(failed),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    /// From now on the record counts for nothing: the live log must hold all commits.
    pub fn distrust_release(&self) {
        *self.released.lock().unwrap_or_else(PoisonError::into_inner) = ChainHead::GENESIS;
    }

    /// Reads the whole archive, and puts all up to `through` into closed segments: what leaves the live log then is in
    /// objects that are read back and never change.
    ///
    /// # Errors
    /// [`ArchiveError`]; also when the archive has another commit there.
    pub async fn prove(&self, through: ChainHead, told: impl FnMut(u64)) -> Result<(), ArchiveError> {
        if self.inner.lock().await.open.first_sequence() <= through.sequence {
            self.close_open_segment().await?;
        }
        self.verify(told).await?;
        let archived = self.read(through.sequence, 1).await?;
        let same = archived.first().is_some_and(|commit| edgestack_log::chain::hash(&commit.payload) == through.hash);
        if same { Ok(()) } else { Err(ArchiveError::OtherCommit { sequence: through.sequence }) }
    }

    /// Records that all up to `through` may leave the live log, after [`Self::prove`]. `record` is JSON with at least its
    /// `sequence` and `hash` (hex).
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub async fn release(&self, through: ChainHead, record: Vec<u8>) -> Result<(), ArchiveError> {
        if parse(&record) != Ok(through) {
            return Err(ArchiveError::OtherCommit { sequence: through.sequence });
        }
        let put = self.store.put(&RELEASED.into(), PutPayload::from(record)).await;
        put.map_err(|source| ArchiveError::Store { doing: format!("writing {RELEASED}"), source })?;
        *self.released.lock().unwrap_or_else(PoisonError::into_inner) = through;
        self.remember(&*self.inner.lock().await)
    }
}
