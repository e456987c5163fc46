//! `GET /edgetron/log/backup`: the whole log as one file, signed; `GET /edgetron/log/head`: its last commit, signed.

use std::{io, sync::Arc};

use axum::{
    Json,
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use chrono::Utc;
use edgestack_backup::{FORMAT, Manifest, SignedHead, Writer};
use edgestack_engine::error_chain;
use edgestack_log::{ChainHead, StoredCommit};
use edgestack_model::Sequence;
use edgestack_timeline::TimelineError;
use tokio::sync::OwnedSemaphorePermit;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    answer::SEQUENCE,
    codes,
    problem::{Answer, Failure},
    query::Parameters,
    state::Site,
};

/// Commits read at once.
const BATCH: usize = 1024;
/// How soon another try may find a place.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(10);

pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new().routes(routes!(backup_log)).routes(routes!(show_head))
}

#[utoipa::path(
    get, path = "/edgetron/log/head", tag = "log", operation_id = "show_head",
    summary = "Show the last commit of the log, signed",
    description = "Kept elsewhere it proves later that the log was not set back or written anew: the commit of this sequence must still have this hash.",
    responses((status = 200, description = "The head; `signature` is Ed25519 over the lines `edgestack head 1`, site, sequence, hash and signed_at (as they stand here), each ended by a line feed"))
)]
async fn show_head(State(site): State<Arc<Site>>, parameters: Parameters) -> Answer {
    parameters.finish()?;
    let head = site.app.replica.head();
    let (name, hash) = (site.app.site.name.clone(), head.hash_hex());
    let signed = SignedHead::sign(&site.app.signing, name, head.sequence, hash, Utc::now());
    Ok(Json(signed).into_response())
}

#[utoipa::path(
    get, path = "/edgetron/log/backup", tag = "log", operation_id = "backup_log",
    summary = "Back the log up, as one file",
    description = "The whole log up to now, packed, with checksum and signature: `zstd -dc | jq` reads it. Disks, images and keys are not in it. A file that ends without its last line is none: check it with `edgectl verify-backup`.",
    responses((status = 200, description = "The backup", content_type = "application/zstd"))
)]
async fn backup_log(State(site): State<Arc<Site>>, parameters: Parameters) -> Answer {
    parameters.finish()?;
    let place = site.backups.clone().try_acquire_owned().map_err(|_| {
        Failure::new(&codes::TOO_MANY_REQUESTS, "backups are being made already; try again when one has ended")
            .retry_after(RETRY_AFTER)
    })?;
    // What is folded was acknowledged.
    let head = site.app.replica.head();
    let manifest = Manifest {
        edgestack_backup: FORMAT,
        site: site.app.site.name.clone(),
        last: head.sequence,
        head_hash: head.hash_hex(),
        time: site.app.views.time_of(Sequence(head.sequence))?,
        made_at: Utc::now(),
        version: site.app.site.version.clone(),
        public_key: site.app.signing.public(),
    };
    let name = format!("{}-{}.edgestack-backup", site.app.site.name, head.sequence);
    let writer = Writer::begin(&manifest, site.app.signing.clone());
    let writer = writer.map_err(|error| Failure::internal(format!("a backup can't be packed: {error}")))?;
    let making = Making { site, writer: Some(writer), upto: head, done: ChainHead::GENESIS, _place: place };
    let pieces = futures::stream::try_unfold(making, async |mut making| {
        let piece = making.next().await.inspect_err(|error| {
            tracing::error!(
                error = error_chain(error),
                "a backup broke off: the log can't be read on; whoever takes it is told by its missing end"
            );
        })?;
        Ok::<_, TimelineError>(piece.map(|piece| (piece, making)))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zstd"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(SEQUENCE, HeaderValue::from(head.sequence));
    if let Ok(attachment) = HeaderValue::try_from(format!("attachment; filename=\"{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, attachment);
    }
    Ok(response)
}

struct Making {
    site: Arc<Site>,
    /// `None` once it is ended.
    writer: Option<Writer>,
    upto: ChainHead,
    done: ChainHead,
    _place: OwnedSemaphorePermit,
}

impl Making {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, TimelineError> {
        loop {
            let Some(writer) = self.writer.take() else { return Ok(None) };
            let left = usize::try_from(self.upto.sequence - self.done.sequence).unwrap_or(usize::MAX);
            if left == 0 {
                return blocking(move || writer.finish()).await.map(|rest| Some(rest.into()));
            }
            let batch = self.site.app.timeline.stored(self.done.sequence + 1, left.min(BATCH)).await?;
            let done = self.done;
            let (writer, done, piece) = blocking(move || add(writer, done, &batch)).await?;
            if done == self.done {
                return Err(TimelineError::Beyond { last: done.sequence });
            }
            self.done = done;
            self.writer = Some(writer);
            if !piece.is_empty() {
                return Ok(Some(piece.into()));
            }
        }
    }
}

/// Only what chains is backed up: a damaged log must not make a backup that looks well.
fn add(mut writer: Writer, mut done: ChainHead, batch: &[StoredCommit]) -> io::Result<(Writer, ChainHead, Vec<u8>)> {
    for stored in batch {
        done.check_next(stored).map_err(io::Error::other)?;
        writer.commit(&stored.payload)?;
    }
    let piece = writer.take();
    Ok((writer, done, piece))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, TimelineError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|error| TimelineError::BrokeOff(error.to_string()))??)
}
