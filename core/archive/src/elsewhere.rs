//! What a store that is reached over a network needs besides: what was in it last, for a start while it is away, and a copy of
//! the open segment in it, for the day when this machine is lost.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use bytes::Bytes;
use edgestack_log::ChainHead;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use serde::{Deserialize, Serialize};

use crate::{
    Archive, ArchiveError, Closed, Inner,
    line::{self, Seal},
    open_segment::OpenSegment,
};

/// What was in the store last.
const KNOWN: &str = "known.json";
/// The object with the copy of the open segment: its lines, packed.
const OPEN_COPY: &str = "open/latest.zst";
const LEVEL: i32 = 3;

#[derive(Serialize, Deserialize)]
struct Known {
    segments: Vec<(u64, u64)>,
    last: (u64, String),
    released: (u64, String),
}

/// What an archive finds in its store.
pub(crate) struct Found {
    pub released: ChainHead,
    pub closed: Vec<Closed>,
    /// After the last closed segment.
    pub head: ChainHead,
}

/// Remembers what is in the store.
pub(crate) fn remember(folder: &Path, found: &Found) -> Result<(), ArchiveError> {
    let path = folder.join(KNOWN);
    let failed = |source| ArchiveError::File { path: path.clone(), doing: "writing", source };
    let known = Known {
        segments: found.closed.iter().map(|closed| (closed.first, closed.last)).collect(),
        last: (found.head.sequence, found.head.hash_hex()),
        released: (found.released.sequence, found.released.hash_hex()),
    };
    let text = serde_json::to_vec(&known).map_err(|error| failed(error.into()))?;
    let draft = folder.join(format!("{KNOWN}.draft"));
    let written = File::create(&draft).and_then(|mut file| file.write_all(&text).and_then(|()| file.sync_all()));
    written.and_then(|()| fs::rename(&draft, &path)).map_err(failed)
}

/// What was remembered; `None` where that is nothing that could be used.
pub(crate) fn recall(folder: &Path) -> Option<Found> {
    let known: Known = serde_json::from_slice(&fs::read(folder.join(KNOWN)).ok()?).ok()?;
    let head = |(sequence, hex): &(u64, String)| {
        let mut hash = [0; 32];
        hex::decode_to_slice(hex, &mut hash).ok()?;
        Some(ChainHead { sequence: *sequence, hash })
    };
    let closed = known.segments.iter().map(|(first, last)| Closed { first: *first, last: *last, index: None });
    Some(Found { released: head(&known.released)?, closed: closed.collect(), head: head(&known.last)? })
}

/// Takes over what the copy in the store has beyond the local open segment, as after the loss of a machine.
pub(crate) async fn take_copy(store: &dyn ObjectStore, open: &mut OpenSegment) -> Result<(), ArchiveError> {
    let failed = |source| ArchiveError::Store { doing: format!("reading {OPEN_COPY}"), source };
    let bytes = match store.get(&OPEN_COPY.into()).await {
        Ok(found) => found.bytes().await.map_err(failed)?,
        Err(object_store::Error::NotFound { .. }) => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let Ok(lines) = zstd::stream::decode_all(&bytes[..]) else {
        tracing::error!(
            "the copy of the open segment in the archive's store is damaged; the log is asked for its commits"
        );
        return Ok(());
    };
    let (mut head, mut commits) = (open.head(), vec![]);
    for (_, payload) in line::split(&Bytes::from(lines)).0 {
        if Seal::read(&payload).is_some() {
            continue;
        }
        // Those before are here already; whatever doesn't chain is of an older open segment.
        let Ok(commit) = line::to_commit(payload, head.sequence + 1) else { continue };
        if head.check_next(&commit).is_err() {
            break;
        }
        commits.push(commit);
    }
    if let (Some(first), Some(last)) = (commits.first(), commits.last()) {
        tracing::warn!(
            first = first.sequence,
            last = last.sequence,
            "the archive takes over what the copy of its open segment has beyond the local one"
        );
        open.append(&commits).await?;
    }
    Ok(())
}

impl Archive {
    /// Whether closed segments are in a store that is reached over a network.
    pub fn is_elsewhere(&self) -> bool {
        self.options.elsewhere
    }

    /// Where the store is elsewhere: puts a copy of the open segment into it, in the place of the one before.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub async fn copy_open(&self) -> Result<(), ArchiveError> {
        if !self.options.elsewhere {
            return Ok(());
        }
        let (lines, last) = {
            let inner = self.inner.lock().await;
            (inner.open.read_all()?, inner.open.head().sequence)
        };
        let packed = crate::beside_the_runtime(move || zstd::bulk::compress(&lines, LEVEL)).await;
        let packed = packed.map_err(std::io::Error::other).and_then(|packed| packed);
        let doing = || format!("writing {OPEN_COPY}");
        let packed = packed.map_err(|source| ArchiveError::File {
            path: self.folder.clone(),
            doing: "packing the open segment",
            source,
        })?;
        let put = self.store.put(&OPEN_COPY.into(), PutPayload::from(packed)).await;
        put.map_err(|source| ArchiveError::Store { doing: doing(), source })?;
        stored_elsewhere(last);
        Ok(())
    }

    /// Remembers what is in the store, where that is elsewhere.
    pub(crate) fn remember(&self, inner: &Inner) -> Result<(), ArchiveError> {
        if !self.options.elsewhere {
            return Ok(());
        }
        let found = Found { released: self.released(), closed: inner.closed.clone(), head: inner.open.before() };
        remember(&self.folder, &found)
    }
}

#[allow(clippy::cast_precision_loss)] // A gauge is a float; sequences stay far below 2^52.
pub(crate) fn stored_elsewhere(sequence: u64) {
    metrics::gauge!("edgestack_archive_stored_sequence").set(sequence as f64);
}
