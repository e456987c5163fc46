//! The archive's head, signed: beside the segments, at least each minute while commits come in.
//!
//! A chain of hashes proves that a log fits together, not that it is all of it: two copies that are both cut back to an
//! earlier commit, or both replaced by an older backup, are whole. What was signed later tells.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::Utc;
use edgestack_archive::{Archive, ArchiveError};
use edgestack_backup::{SignedHead, SigningKey};
use edgestack_engine::error_chain;
use edgestack_log::{ChainHead, Log, LogError, StoredCommit, chain};
use tokio::time::{Instant, sleep, sleep_until};

use crate::failure::Failure;

/// How often it is signed.
const EVERY: Duration = Duration::from_secs(60);
/// How soon the archive is asked again whether anything has come.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Before anything is served, and after log and archive were compared: does the log hold what was signed last?
///
/// # Errors
/// [`Failure::SetBack`] when it doesn't.
pub async fn check(archive: &Archive, log: &dyn Log, key: &SigningKey) -> Result<(), Failure> {
    let Some(bytes) = there(archive.signed_head().await, archive)? else { return Ok(()) };
    let head: SignedHead = match serde_json::from_slice(&bytes) {
        Ok(head) => head,
        Err(error) => {
            tracing::error!(%error, "the archive's signed head can't be read; it is signed anew");
            return Ok(());
        }
    };
    if !head.verifies() || head.public_key != key.public() {
        tracing::error!(
            seq = head.sequence,
            public_key = %head.public_key,
            "the archive's signed head is not signed by this site's key, so it proves nothing; it is signed anew"
        );
        return Ok(());
    }
    let last = log.head().await?.last_sequence;
    let signed = |stored: &StoredCommit| {
        ChainHead { sequence: stored.sequence, hash: chain::hash(&stored.payload) }.hash_hex() == head.hash
    };
    let in_log = match log.get(head.sequence).await {
        Ok(stored) => stored.as_ref().map_or(head.sequence == 0, signed),
        Err(LogError::Damaged(_)) => false,
        Err(error) => return Err(error.into()),
    };
    // A log that is damaged at this very commit is repaired from the archive. Set back are both.
    if in_log || archive.read(head.sequence, 1).await.is_ok_and(|archived| archived.first().is_some_and(signed)) {
        return Ok(());
    }
    Err(Failure::SetBack {
        sequence: head.sequence,
        signed_at: head.signed_at,
        last,
        folder: archive.folder().to_owned(),
    })
}

/// What is in the archive's store. One that is reached over a network may be away at a start, and no start waits for it: what
/// this machine remembers of it counts until it is back.
fn there(found: Result<Option<Bytes>, ArchiveError>, archive: &Archive) -> Result<Option<Bytes>, Failure> {
    match found {
        Err(error @ ArchiveError::Store { .. }) if archive.is_elsewhere() => {
            tracing::warn!(
                error = error_chain(&error),
                "what was signed can't be compared with the archive's store now"
            );
            Ok(None)
        }
        found => Ok(found?),
    }
}

/// Before anything is taken from a store that others can reach, too: is it this site's?
///
/// # Errors
/// [`Failure::ForeignArchive`].
pub async fn check_owner(archive: &Archive, key: &SigningKey) -> Result<(), Failure> {
    if !archive.is_elsewhere() {
        return Ok(());
    }
    let Some(bytes) = there(archive.signed_head().await, archive)? else { return Ok(()) };
    match serde_json::from_slice::<SignedHead>(&bytes) {
        Ok(head) if head.verifies() && head.public_key != key.public() => {
            Err(Failure::ForeignArchive { site: head.site, public_key: head.public_key.to_string() })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Before anything is read: whether this site has said that commits may leave the live log. A record that it has not signed
/// counts for nothing: then the live log must hold them all, and is filled from the archive if it doesn't.
///
/// # Errors
/// [`Failure::Archive`].
pub async fn check_release(archive: &Archive, key: &SigningKey) -> Result<(), Failure> {
    let Some(bytes) = there(archive.release_record().await, archive)? else { return Ok(()) };
    let signed = serde_json::from_slice::<SignedHead>(&bytes);
    if !signed.is_ok_and(|signed| signed.verifies() && signed.public_key == key.public()) {
        tracing::error!(
            "ALARM: the archive's released.json is not signed by this site's key; the live log is filled with all commits"
        );
        archive.distrust_release();
    }
    Ok(())
}

/// Signs the archive's head for as long as the process lives.
pub async fn keep(archive: Arc<Archive>, site: String, key: SigningKey) {
    let mut signed = None;
    loop {
        let begun = Instant::now();
        let head = archive.head().await;
        if signed == Some(head) || head.sequence == 0 {
            sleep(LOOK_AGAIN).await;
            continue;
        }
        let head_signed = SignedHead::sign(&key, site.clone(), head.sequence, head.hash_hex(), Utc::now());
        // Texts and a number: nothing that JSON could refuse.
        let text = serde_json::to_vec(&head_signed).unwrap_or_default();
        // Where the store is elsewhere, what is signed there is there as well.
        let put = match archive.copy_open().await {
            Ok(()) => archive.put_signed_head(text).await,
            Err(error) => Err(error),
        };
        match put {
            Ok(()) => signed = Some(head),
            Err(error) => tracing::warn!(
                error = error_chain(&error),
                "the archive's head could not be signed; it is tried again in a minute"
            ),
        }
        sleep_until(begun + EVERY).await;
    }
}
