//! Images and volumes as local files, made with qemu-img.
//!
//! An image is copied into the node's store before it is looked at, so that
//! nobody can change it between the check and its use. Its format is the one
//! that was declared, and the content must agree: a "raw" image that begins with
//! a qcow2 header is refused, since it could name files of the host.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use edgestack_engine::error_chain;
use edgestack_model::{
    Id,
    image::{DiskFormat, Image, ImageContent, ImageSource},
    orphan::{Artifact, ImageRecord, upload_named},
    volume::Volume,
};
use edgestack_pool::{DriverError, NodeFolders};
use edgestack_qemu::disk_image::{ImageError, Overlay, QemuImg};
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use super::{RootDisk, StorageDriver};

const COPY_BUFFER: usize = 1 << 20;
const GIB: u64 = 1 << 30;

/// Keeps images and volumes in a node's folders.
pub struct LocalDriver {
    folders: NodeFolders,
    qemu_img: QemuImg,
    /// Held while an empty overlay is made: volumes share them, and the pool makes several volumes at once.
    making_blank: tokio::sync::Mutex<()>,
}

impl LocalDriver {
    /// A driver on these folders, with this qemu-img program.
    pub fn new(folders: NodeFolders, qemu_img: &Path) -> Self {
        Self { folders, qemu_img: QemuImg::new(qemu_img), making_blank: tokio::sync::Mutex::default() }
    }

    /// Copies the content into the store under a name of its own; `None` when the store has it already.
    async fn fetch(&self, id: Id<Image>, source: &ImageSource) -> Result<Fetched, DriverError> {
        let stored = self.folders.image(id);
        let from = match source {
            ImageSource::Path { path } => PathBuf::from(path),
            ImageSource::Upload => self.folders.upload(id),
        };
        let draft = draft_of(&stored);
        let root = self.folders.root().to_owned();
        let given_path = matches!(source, ImageSource::Path { .. });
        blocking(move || {
            // What lies in the state folder are secrets and other users' disks; links do not lead around this.
            if given_path && fs::canonicalize(&from).is_ok_and(|real| real.starts_with(&root)) {
                let reason = format!("{} lies in the state folder of edgestackd", from.display());
                return Err(DriverError::never(reason, "give a file from elsewhere"));
            }
            if stored.exists() {
                let (size_bytes, sha256) = hash_file(&stored).map_err(|error| cannot("read", &stored, &error))?;
                return Ok(Fetched { at: stored, size_bytes, sha256 });
            }
            copy_and_hash(&from, &draft).inspect_err(|_| remove_quietly(&draft))
        })
        .await
    }
}

impl LocalDriver {
    async fn create_overlay(&self, base: PathBuf, disk: RootDisk, path: PathBuf) -> Result<(), DriverError> {
        let overlay = Overlay {
            base,
            base_format: match disk.image_format {
                DiskFormat::Qcow2 => edgestack_qemu::DiskFormat::Qcow2,
                DiskFormat::Raw => edgestack_qemu::DiskFormat::Raw,
            },
            path,
            size_bytes: disk.size_gib * GIB,
        };
        self.qemu_img.create_overlay(&overlay).await.map_err(|error| image_error(&error))
    }
}

struct Fetched {
    at: PathBuf,
    size_bytes: u64,
    sha256: String,
}

#[async_trait]
impl StorageDriver for LocalDriver {
    fn is_simulated(&self) -> bool {
        false
    }

    async fn import_image(
        &self,
        id: Id<Image>,
        format: DiskFormat,
        source: &ImageSource,
    ) -> Result<ImageContent, DriverError> {
        let fetched = self.fetch(id, source).await?;
        let stored = self.folders.image(id);
        let checked = self.qemu_img.info(&fetched.at).await.map_err(|error| image_error(&error)).and_then(|info| {
            if info.format.as_str() == format.as_str() {
                Ok(info)
            } else {
                Err(DriverError::never(
                    format!("its content is {}, not {} as declared", info.format.as_str(), format.as_str()),
                    format!("remove it and create it with format {}", info.format.as_str()),
                ))
            }
        });
        let upload = self.folders.upload(id);
        blocking(move || {
            let info = match checked {
                Ok(info) => info,
                Err(error) => {
                    if fetched.at != stored {
                        remove_quietly(&fetched.at);
                    }
                    return Err(error);
                }
            };
            if fetched.at != stored {
                fs::rename(&fetched.at, &stored).map_err(|error| cannot("store", &stored, &error))?;
                sync_folder_of(&stored)?;
            }
            remove_if_there(&upload)?;
            Ok(ImageContent {
                size_bytes: fetched.size_bytes,
                virtual_size_bytes: info.virtual_size_bytes,
                sha256: fetched.sha256,
            })
        })
        .await
    }

    async fn remove_image(&self, id: Id<Image>) -> Result<(), DriverError> {
        let (stored, upload) = (self.folders.image(id), self.folders.upload(id));
        let record = self.folders.image_record(id);
        blocking(move || {
            remove_if_there(&record)?;
            remove_if_there(&draft_of(&stored))?;
            remove_if_there(&upload)?;
            remove_blank_overlays(&stored)?;
            remove_if_there(&stored)
        })
        .await
    }

    async fn create_root_disk(&self, disk: RootDisk) -> Result<(), DriverError> {
        let base = self.folders.image(disk.image);
        if !base.exists() {
            return Err(DriverError::retry_with_fix(
                format!("the file of its image is missing on disk: {}", base.display()),
                "put the file back, or remove the VM and the image and create both anew",
            ));
        }
        let path = self.folders.volume(disk.volume);
        if path.exists() {
            // Kept if it is the right one; qemu-img looks at it and touches nothing.
            return self.create_overlay(base, disk, path).await;
        }
        // An empty overlay depends on image and size alone, so qemu-img makes one for each such pair and every
        // VM gets a copy: that saves starting a program for each VM.
        let blank = blank_overlay(&base, disk.size_gib);
        if !blank.exists() {
            let _alone = self.making_blank.lock().await;
            // Another volume may have made it meanwhile.
            if !blank.exists() {
                self.create_overlay(base, disk, blank.clone()).await?;
            }
        }
        blocking(move || {
            let draft = draft_of(&path);
            let copied = copy_and_hash(&blank, &draft).and_then(|_| {
                fs::rename(&draft, &path).map_err(|error| cannot("make", &path, &error))?;
                sync_folder_of(&path)
            });
            copied.inspect_err(|_| remove_quietly(&draft))
        })
        .await
    }

    async fn remove_volume(&self, id: Id<Volume>) -> Result<(), DriverError> {
        let path = self.folders.volume(id);
        blocking(move || {
            remove_if_there(&draft_of(&path))?;
            remove_if_there(&path)
        })
        .await
    }

    async fn keep_record(&self, id: Id<Image>, record: &ImageRecord) -> Result<(), DriverError> {
        let (path, record) = (self.folders.image_record(id), record.clone());
        blocking(move || {
            edgestack_qemu::durable::write_json(&path, &record).map_err(|error| cannot("write", &path, &error))
        })
        .await
    }

    async fn record(&self, id: Id<Image>) -> Result<Option<ImageRecord>, DriverError> {
        let path = self.folders.image_record(id);
        blocking(move || edgestack_qemu::durable::read_json(&path).map_err(|error| cannot("read", &path, &error))).await
    }

    async fn artifacts(&self) -> Result<Vec<Artifact>, DriverError> {
        let folders = self.folders.clone();
        blocking(move || {
            let names =
                |folder: PathBuf| NodeFolders::names_in(&folder).map_err(|error| cannot("look into", &folder, &error));
            let mut found = super::named::Found::default();
            names(folders.volumes())?.iter().for_each(|name| found.add(super::named::volume(name)));
            names(folders.images())?.iter().for_each(|name| found.add(super::named::image(name)));
            let uploads = names(folders.uploads())?;
            let free = uploads.iter().filter(|name| !is_being_written(&folders.uploads().join(name)));
            free.for_each(|name| found.add(upload_named(name)));
            Ok(found.artifacts())
        })
        .await
    }
}

/// Whether an upload has this file: it is locked then. One that went meanwhile, or is no plain file, has nobody.
fn is_being_written(upload: &Path) -> bool {
    let plain = fs::symlink_metadata(upload).is_ok_and(|metadata| metadata.is_file());
    plain && File::open(upload).is_ok_and(|file| matches!(file.try_lock_shared(), Err(fs::TryLockError::WouldBlock)))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(DriverError::retry(error.to_string())))
}

/// The empty overlay of an image and a size, beside the image: `<image id>.blank-<GiB>`.
fn blank_overlay(image: &Path, size_gib: u64) -> PathBuf {
    image.with_extension(format!("blank-{size_gib}"))
}

fn remove_blank_overlays(image: &Path) -> Result<(), DriverError> {
    let folder = image.parent().unwrap_or(Path::new("/"));
    let Some(stem) = image.file_name().map(|name| format!("{}.blank-", name.to_string_lossy())) else { return Ok(()) };
    for entry in fs::read_dir(folder).map_err(|error| cannot("look into", folder, &error))? {
        let entry = entry.map_err(|error| cannot("look into", folder, &error))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // One that was being made when the process was killed has a dot before its name.
        if name.strip_prefix('.').unwrap_or(&name).starts_with(&stem) {
            remove_if_there(&entry.path())?;
        }
    }
    Ok(())
}

fn draft_of(stored: &Path) -> PathBuf {
    stored.with_extension("draft")
}

fn copy_and_hash(from: &Path, draft: &Path) -> Result<Fetched, DriverError> {
    // Without O_NONBLOCK, opening a named pipe would wait for a writer for ever.
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or(0);
    let mut source = OpenOptions::new()
        .read(true)
        .custom_flags(nonblocking)
        .open(from)
        .map_err(|error| cannot("read", from, &error))?;
    let metadata = source.metadata().map_err(|error| cannot("read", from, &error))?;
    if !metadata.is_file() {
        let reason = format!("{} is not a plain file", from.display());
        return Err(DriverError::never(reason, "give the path of a qcow2 or raw file"));
    }
    let mut copy = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .open(draft)
        .map_err(|error| cannot("write", draft, &error))?;
    let mut hasher = Sha256::new();
    let mut size_bytes = 0_u64;
    let mut buffer = vec![0_u8; COPY_BUFFER];
    loop {
        let read = source.read(&mut buffer).map_err(|error| cannot("read", from, &error))?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
        hasher.update(piece);
        copy.write_all(piece).map_err(|error| cannot("write", draft, &error))?;
        size_bytes += read as u64;
    }
    copy.sync_all().map_err(|error| cannot("write", draft, &error))?;
    Ok(Fetched { at: draft.to_owned(), size_bytes, sha256: hex::encode(hasher.finalize()) })
}

fn hash_file(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let size_bytes = io::copy(&mut file, &mut hasher)?;
    Ok((size_bytes, hex::encode(hasher.finalize())))
}

fn remove_if_there(path: &Path) -> Result<(), DriverError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot("remove", path, &error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// For what the error that is being reported left behind: the next attempt or the removal meets it again.
fn remove_quietly(path: &Path) {
    if let Err(error) = remove_if_there(path) {
        tracing::warn!(path = %path.display(), %error, "a draft stays behind until the next attempt");
    }
}

fn sync_folder_of(path: &Path) -> Result<(), DriverError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| cannot("sync", folder, &error))
}

fn cannot(doing: &str, path: &Path, error: &io::Error) -> DriverError {
    let reason = format!("cannot {doing} {}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            DriverError::retry_with_fix(reason, "free space on that file system (df); it is tried again by itself")
        }
        io::ErrorKind::NotFound => {
            DriverError::retry_with_fix(reason, "put the file there; it is tried again by itself")
        }
        io::ErrorKind::PermissionDenied => {
            DriverError::retry_with_fix(reason, "let edgestackd read and write there; it is tried again by itself")
        }
        _ => DriverError::retry(reason),
    }
}

fn image_error(error: &ImageError) -> DriverError {
    let reason = error_chain(error);
    match error {
        ImageError::DiskFull { .. } => {
            DriverError::retry_with_fix(reason, "free space on that file system (df); it is tried again by itself")
        }
        ImageError::BackingFile { .. }
        | ImageError::DataFile { .. }
        | ImageError::Encrypted { .. }
        | ImageError::Format { .. }
        | ImageError::Damaged { .. }
        | ImageError::Shrink { .. } => DriverError::Never { reason, fix: None },
        ImageError::Io { .. }
        | ImageError::InUse { .. }
        | ImageError::Other { .. }
        | ImageError::TimedOut { .. }
        | ImageError::Failed { .. } => DriverError::retry(reason),
    }
}
