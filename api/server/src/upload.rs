//! `PUT images/{name}/file`: an image's content, streamed to the upload folder.
//!
//! The bytes go to `<image id>.part`; once whole they are synced and renamed to
//! `<image id>`, and only then the command says so. Killed at any line this
//! leaves at most a `.part` (swept at the next start, see `upload_folder.rs`) or a
//! whole file of a queued image (the next upload replaces it).

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, header},
};
use chrono::Utc;
use edgestack_engine::{Outcome, Submission, SubmitError};
use edgestack_model::{
    Command, Kind, Refusal,
    idempotency::IdempotencyClaim,
    image::{Image, ImageCommand, ImageState},
    world::Resource,
};
use edgestack_wire as wire;
use sha2::{Digest, Sha256};
use tokio::{fs, io::AsyncWriteExt};

use crate::{
    answer::{Success, answer},
    body::{announced_length, media_type, next_piece},
    change::Change,
    codes, list,
    problem::{Answer, Failure},
    state::Site,
    upload_folder,
};

/// Bytes gathered before they are written: few system calls, little memory.
const WRITE_BYTES: usize = 1 << 20;

#[utoipa::path(
    put, path = "/images/{name}/file", tag = "images", operation_id = "upload_image",
    summary = "Upload an image's content",
    description = "The bytes as they are, for an image whose source is an upload and which is still queued. One upload at a time. An Idempotency-Key stands for the image here, not for the bytes: an image takes one content, once.",
    params(("name" = String, Path, description = "Name or id")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 202, description = "It has arrived whole; the storage worker checks and stores it", body = wire::image::Image))
)]
pub(crate) async fn upload_image(State(site): State<Arc<Site>>, request: Request) -> Answer {
    let (mut parts, body) = request.into_parts();
    let mut change = Change::from_parts(&mut parts, &site).await?;
    match media_type(&parts.headers).as_deref() {
        None | Some("application/octet-stream") => {}
        Some(_) => {
            return Err(Failure::new(&codes::UNSUPPORTED_MEDIA_TYPE, "Content-Type: must be application/octet-stream")
                .field("Content-Type"));
        }
    }
    change.claim(&site, &parts, b"");
    if let Some(outcome) = came_before(&site, &change)? {
        return answer::<wire::image::Image>(&site, outcome, Success::WorkFollows);
    }
    site.app.has_workers_here()?;
    let Resource::Image(image) = list::find(&site, Kind::Image, &change.reference()?)? else {
        return Err(Failure::internal("a view's row is of another kind than its key"));
    };
    check_may_upload(&change, &image)?;
    let length = announced_length(&parts.headers);
    if length == Some(0) {
        return Err(empty());
    }
    let limit = site.app.upload_bytes_max;
    if length.is_some_and(|length| length > limit) {
        return Err(too_large(limit));
    }
    let finish = |size_bytes, sha256: String| ImageCommand::FinishUpload {
        image: image.id.to_string().into(),
        size_bytes,
        sha256,
    };
    if change.origin.dry_run {
        // Decided on what is announced; the bytes are not read.
        let command = finish(length.unwrap_or_default(), "0".repeat(64));
        let outcome = change.submit(&site, Command::Image(command)).await?;
        return answer::<wire::image::Image>(&site, outcome, Success::WorkFollows);
    }
    let _turn = site.app.running_uploads.begin(image.id.uuid()).ok_or_else(|| {
        Failure::new(
            &codes::UPLOAD_IN_PROGRESS,
            format!("another upload to image \"{}\" is under way; wait for its end", image.meta.name),
        )
        .header(header::CONNECTION, HeaderValue::from_static("close"))
    })?;
    // The one before us may have finished between the check and our turn.
    check_still_queued(&site, &image)?;
    let target = site.app.uploads.join(image.id.to_string());
    let Stored { size_bytes, sha256, _file } = store(&target, body, limit).await?;
    let submission = Submission { command: Command::Image(finish(size_bytes, sha256)), origin: change.origin };
    match site.app.port.submit(submission).await {
        Ok(outcome) => answer::<wire::image::Image>(&site, outcome, Success::WorkFollows),
        Err(error) => {
            // Deleted meanwhile: nobody comes for the file. In all other cases the
            // command may have, or may yet take, effect, so the file stays.
            if let SubmitError::Refused(Refusal::NotFound { .. }) = &error {
                remove(&target).await;
            }
            Err(error.into())
        }
    }
}

/// A repetition of an upload that took effect is answered without reading it again.
fn came_before(site: &Site, change: &Change) -> Result<Option<Outcome>, Failure> {
    let Some(IdempotencyClaim { key, fingerprint }) = &change.origin.idempotency else {
        return Ok(None);
    };
    let world = site.app.replica.world();
    match world.idempotency.get(&change.origin.actor.name, key, Utc::now()) {
        None => Ok(None),
        Some(first) if first.fingerprint == *fingerprint => {
            Ok(Some(Outcome::Before { sequence: first.sequence, primary: (first.kind, first.resource_id) }))
        }
        Some(first) => Err(Refusal::IdempotencyKeyReused { first: first.sequence }.into()),
    }
}

/// The model's own rules, asked before gigabytes travel.
fn check_may_upload(change: &Change, image: &Image) -> Result<(), Failure> {
    if let Some(seen) = change.origin.precondition
        && seen.generation != image.meta.generation
    {
        return Err(Refusal::PreconditionFailed {
            kind: Kind::Image,
            name: image.meta.name.clone(),
            expected: seen.generation,
            actual: image.meta.generation,
        }
        .into());
    }
    check_state(image)
}

fn check_state(image: &Image) -> Result<(), Failure> {
    if image.state == ImageState::Queued {
        return Ok(());
    }
    let refusal = Refusal::WrongState {
        kind: Kind::Image,
        name: image.meta.name.clone(),
        state: image.state.as_str().into(),
        action: "upload to".into(),
        fix: "only a queued image takes an upload; create a new image for new content".into(),
    };
    // The body is not read, so the connection cannot go on.
    Err(Failure::from(refusal).header(header::CONNECTION, HeaderValue::from_static("close")))
}

fn check_still_queued(site: &Site, image: &Image) -> Result<(), Failure> {
    let world = site.app.replica.world();
    match world.images.get(&image.id) {
        Some(now) => check_state(now),
        None => Err(list::not_found(Kind::Image, &image.meta.name.to_string().into())),
    }
}

/// A file that goes when the upload breaks off, also when its client just vanishes.
struct Part {
    path: PathBuf,
    whole: bool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.whole {
            // There may be none yet; one that stays is swept.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// What was stored.
struct Stored {
    size_bytes: u64,
    sha256: String,
    /// Locked, so that nobody takes it for an orphan before the log has heard of it.
    _file: fs::File,
}

/// Writes the body to `target`, whole and synced or not at all.
async fn store(target: &Path, mut body: Body, limit: u64) -> Result<Stored, Failure> {
    let folder = target.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).await.map_err(not_stored)?;
    let mut part = Part { path: target.with_extension("part"), whole: false };
    let mut file = upload_folder::create_locked(&part.path).await.map_err(not_stored)?;
    file.set_max_buf_size(WRITE_BYTES);
    let mut hasher = Sha256::new();
    let mut size_bytes = 0_u64;
    let mut gathered = Vec::with_capacity(WRITE_BYTES);
    while let Some(piece) = next_piece(&mut body).await? {
        size_bytes += piece.len() as u64;
        if size_bytes > limit {
            return Err(too_large(limit));
        }
        hasher.update(&piece);
        gathered.extend_from_slice(&piece);
        if gathered.len() >= WRITE_BYTES {
            file.write_all(&gathered).await.map_err(not_stored)?;
            gathered.clear();
        }
    }
    if size_bytes == 0 {
        return Err(empty());
    }
    file.write_all(&gathered).await.map_err(not_stored)?;
    file.flush().await.map_err(not_stored)?;
    file.sync_all().await.map_err(not_stored)?;
    fs::rename(&part.path, target).await.map_err(not_stored)?;
    part.whole = true;
    let folder = fs::File::open(folder).await.map_err(not_stored)?;
    folder.sync_all().await.map_err(not_stored)?;
    Ok(Stored { size_bytes, sha256: hex::encode(hasher.finalize()), _file: file })
}

async fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path).await
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "the upload of a removed image stays behind; the sweep tries again");
    }
}

fn empty() -> Failure {
    Failure::new(&codes::INVALID_BODY, "the upload has no bytes; send the image's content as the body")
}

fn too_large(limit: u64) -> Failure {
    Failure::new(&codes::BODY_TOO_LARGE, format!("an upload may have at most {limit} bytes on this site"))
        .header(header::CONNECTION, HeaderValue::from_static("close"))
}

fn not_stored(error: io::Error) -> Failure {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let failure = if full {
        Failure::new(
            &codes::STORAGE_FULL,
            "the disk of the upload folder is full, nothing was kept; remove unused images or free space on the node, then upload again",
        )
    } else {
        Failure::new(
            &codes::UPLOAD_NOT_STORED,
            "the upload could not be written on the node, nothing was kept; edgestackd's log tells more under the correlation id",
        )
        .retry_after(Duration::from_secs(10))
    };
    failure.because(error.to_string()).header(header::CONNECTION, HeaderValue::from_static("close"))
}
