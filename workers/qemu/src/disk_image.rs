//! Disk images, by qemu-img: look at one, make an overlay of one, convert, check and grow.
//!
//! An image that a user gave may be hostile: a qcow2 header can name files of this host as its backing or data file. So
//! the format is never guessed by QEMU, the header is read by ourselves before any tool opens the image, and the tool
//! runs with bounded time and memory. Image locks are respected: an image in use is [`ImageError::InUse`].
//!
//! What is made appears whole or not at all: under a temporary name, synced, renamed.

mod header;
mod tool;

pub use header::detect_format;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::durable::{part_path, publish, remove_if_there};
use crate::machine::DiskFormat;
use header::{Header, Qcow2Header, free_bytes, read_header};
use tool::Target;

/// How long looking at an image's metadata may take.
const LOOK_DEADLINE: Duration = Duration::from_secs(30);
/// What an empty overlay takes on disk at most.
const OVERLAY_BYTES: u64 = 1 << 20;
/// What a file system needs for the bookkeeping of a file of its own.
const SLACK_BYTES: u64 = 64 << 10;

/// Why an image can't be used or made.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The image, or the folder for it, can't be reached.
    #[error("can't {doing} {}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It names an image below it.
    #[error("{} is an overlay of {backing:?}; give an image that stands alone: qemu-img convert -O qcow2", path.display())]
    BackingFile {
        /// The image.
        path: PathBuf,
        /// The name in its header.
        backing: String,
    },
    /// Its data lies in another file.
    #[error("{} keeps its data in another file; give an image that stands alone: qemu-img convert -O qcow2", path.display())]
    DataFile {
        /// The image.
        path: PathBuf,
    },
    /// It can't be read without a key.
    #[error("{} is encrypted; give one that isn't", path.display())]
    Encrypted {
        /// The image.
        path: PathBuf,
    },
    /// It is of a format that isn't taken.
    #[error("{} is {format}; give qcow2 or raw: qemu-img convert -O qcow2", path.display())]
    Format {
        /// The image.
        path: PathBuf,
        /// What it is.
        format: String,
    },
    /// It is damaged.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The image.
        path: PathBuf,
        /// In what way.
        what: String,
    },
    /// Another process uses it.
    #[error("{} is in use by another process", path.display())]
    InUse {
        /// The image.
        path: PathBuf,
    },
    /// The disk is full. Nothing half made stays behind.
    #[error("no room for {}: up to {needed_bytes} bytes are needed, {free_bytes} are free", path.display())]
    DiskFull {
        /// What was to be written.
        path: PathBuf,
        /// Free bytes of its file system.
        free_bytes: u64,
        /// Bytes needed at most.
        needed_bytes: u64,
    },
    /// An image is smaller than it must be, or would become so.
    #[error("{} has {has_bytes} bytes and can't become {wanted_bytes} bytes; disks only grow", path.display())]
    Shrink {
        /// The image.
        path: PathBuf,
        /// Its virtual size.
        has_bytes: u64,
        /// The size asked for.
        wanted_bytes: u64,
    },
    /// There already is another file of this name.
    #[error("{} exists and is not the overlay asked for: {what}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// How it differs.
        what: String,
    },
    /// The tool didn't come to its end in time and was killed.
    #[error("qemu-img {what} of {} did not end within {} s", path.display(), after.as_secs())]
    TimedOut {
        /// The subcommand.
        what: String,
        /// The image.
        path: PathBuf,
        /// The deadline.
        after: Duration,
    },
    /// The tool failed; the words are its own.
    #[error("qemu-img {what} of {} failed: {words}", path.display())]
    Failed {
        /// The subcommand.
        what: String,
        /// The image.
        path: PathBuf,
        /// Its last line.
        words: String,
    },
}

/// What an image is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Its format.
    pub format: DiskFormat,
    /// The size of the disk the guest sees, bytes.
    pub virtual_size_bytes: u64,
    /// What it takes on disk, bytes.
    pub actual_size_bytes: u64,
}

/// An overlay to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// The image below, absolute. It must stand alone and must not change any more.
    pub base: PathBuf,
    /// Its format.
    pub base_format: DiskFormat,
    /// Where the overlay is to be.
    pub path: PathBuf,
    /// The size of the disk the guest sees, bytes; at least the base's.
    pub size_bytes: u64,
}

/// What `qemu-img check` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct CheckReport {
    /// Broken references: data is lost or will be.
    pub corruptions: u64,
    /// Clusters that nothing uses: only room is lost.
    pub leaks: u64,
}

/// The qemu-img program.
#[derive(Debug, Clone)]
pub struct QemuImg {
    program: PathBuf,
}

impl QemuImg {
    /// Of this path, for example `/usr/bin/qemu-img`.
    pub fn new(program: &Path) -> Self {
        Self { program: program.to_owned() }
    }

    /// What an image is, if it may be used: it stands alone, isn't encrypted and has a format we take.
    pub async fn info(&self, path: &Path) -> Result<ImageInfo, ImageError> {
        let format = match read_header(path)? {
            Header::Raw => DiskFormat::Raw,
            Header::Qcow2(header) => {
                header.refuse_unsafe(path)?;
                DiskFormat::Qcow2
            }
        };
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Info {
            virtual_size: u64,
            actual_size: u64,
        }
        let arguments =
            ["info".as_ref(), "--output=json".as_ref(), "-f".as_ref(), format.as_str().as_ref(), path.as_os_str()];
        let output = self.run(Target { path, needed_bytes: 0 }, LOOK_DEADLINE, &[], &arguments).await?;
        let info: Info = parse("info", path, &output.stdout)?;
        Ok(ImageInfo { format, virtual_size_bytes: info.virtual_size, actual_size_bytes: info.actual_size })
    }

    /// Makes a qcow2 overlay. One that is already there and right is kept (it may hold a guest's data; it may have grown
    /// since), another file of that name is never overwritten.
    pub async fn create_overlay(&self, overlay: &Overlay) -> Result<(), ImageError> {
        let Overlay { base, base_format, path, size_bytes } = overlay;
        match fs::symlink_metadata(path) {
            Ok(_) => return is_overlay(overlay),
            Err(error) if error.kind() == io::ErrorKind::NotFound => (),
            Err(source) => {
                return Err(ImageError::Io { doing: "look at", path: path.clone(), source });
            }
        }
        let has_bytes = base_size(base, *base_format)?;
        if has_bytes > *size_bytes {
            return Err(ImageError::Shrink { path: base.clone(), has_bytes, wanted_bytes: *size_bytes });
        }
        let size = size_bytes.to_string();
        // The base's header was checked by us; `-u` keeps qemu-img from opening it again.
        let arguments: Vec<&OsStr> = vec![
            "create".as_ref(),
            "-q".as_ref(),
            "-u".as_ref(),
            "-f".as_ref(),
            "qcow2".as_ref(),
            "-b".as_ref(),
            base.as_os_str(),
            "-F".as_ref(),
            base_format.as_str().as_ref(),
        ];
        self.make(path, OVERLAY_BYTES, LOOK_DEADLINE, arguments, &[size.as_ref()]).await
    }

    /// Makes an empty disk. One that is already there is an error.
    pub async fn create(&self, path: &Path, format: DiskFormat, size_bytes: u64) -> Result<(), ImageError> {
        if path.exists() {
            return Err(ImageError::Other { path: path.to_owned(), what: "a disk is already there".to_owned() });
        }
        let size = size_bytes.to_string();
        let arguments = vec!["create".as_ref(), "-q".as_ref(), "-f".as_ref(), format.as_str().as_ref()];
        self.make(path, OVERLAY_BYTES, LOOK_DEADLINE, arguments, &[size.as_ref()]).await
    }

    /// Writes `source`, an image that may be used ([`Self::info`]), to `path` in another format; a file of that name is
    /// replaced.
    pub async fn convert(
        &self,
        source: &Path,
        path: &Path,
        format: DiskFormat,
        deadline: Duration,
    ) -> Result<(), ImageError> {
        let info = self.info(source).await?;
        let needed_bytes = info.actual_size_bytes + OVERLAY_BYTES;
        let arguments: Vec<&OsStr> = vec![
            "convert".as_ref(),
            "-f".as_ref(),
            info.format.as_str().as_ref(),
            "-O".as_ref(),
            format.as_str().as_ref(),
            source.as_os_str(),
        ];
        self.make(path, needed_bytes, deadline, arguments, &[]).await
    }

    /// Checks an image's structure. Raw images have none.
    pub async fn check(&self, path: &Path, deadline: Duration) -> Result<CheckReport, ImageError> {
        let Header::Qcow2(header) = read_header(path)? else {
            return Ok(CheckReport::default());
        };
        header.refuse_foreign(path)?;
        let arguments = ["check".as_ref(), "--output=json".as_ref(), "-f".as_ref(), "qcow2".as_ref(), path.as_os_str()];
        // 2: corrupt, 3: leaks; qemu-img(1). Both are an answer.
        let output = self.run(Target { path, needed_bytes: 0 }, deadline, &[2, 3], &arguments).await?;
        parse("check", path, &output.stdout)
    }

    /// Grows an image; one that already has the size is left alone, a shrink is refused. Not for one in use: that is
    /// `block_resize`'s work.
    pub async fn resize(&self, path: &Path, size_bytes: u64) -> Result<(), ImageError> {
        let (format, has_bytes) = match read_header(path)? {
            Header::Raw => (DiskFormat::Raw, file_size(path)?),
            Header::Qcow2(header) => {
                header.refuse_foreign(path)?;
                (DiskFormat::Qcow2, header.virtual_size_bytes)
            }
        };
        if has_bytes == size_bytes {
            return Ok(());
        }
        if has_bytes > size_bytes {
            return Err(ImageError::Shrink { path: path.to_owned(), has_bytes, wanted_bytes: size_bytes });
        }
        let size = size_bytes.to_string();
        let arguments = [
            "resize".as_ref(),
            "-q".as_ref(),
            "-f".as_ref(),
            format.as_str().as_ref(),
            path.as_os_str(),
            size.as_ref(),
        ];
        self.run(Target { path, needed_bytes: SLACK_BYTES }, LOOK_DEADLINE, &[], &arguments).await?;
        sync(path)
    }

    /// Runs a command that makes an image, its name put between `before` and `after`, and publishes it as `path`.
    async fn make(
        &self,
        path: &Path,
        needed_bytes: u64,
        deadline: Duration,
        mut before: Vec<&OsStr>,
        after: &[&OsStr],
    ) -> Result<(), ImageError> {
        let part = part_path(path);
        remove_if_there(&part).map_err(io_error("remove", &part))?;
        before.push(part.as_os_str());
        before.extend(after);
        let made = match self.run(Target { path, needed_bytes }, deadline, &[], &before).await {
            Ok(_) => sync(&part).and_then(|()| publish(&part, path).map_err(io_error("rename", path))),
            Err(error) => Err(error),
        };
        made.map_err(|error| {
            // The part takes room on a disk that may be full.
            if let Err(remove_error) = remove_if_there(&part) {
                tracing::warn!(path = %part.display(), error = %remove_error, "a part of an image stays behind");
            }
            if_full(error, path, needed_bytes)
        })
    }
}

/// Whether the file at the overlay's path is that overlay.
fn is_overlay(overlay: &Overlay) -> Result<(), ImageError> {
    let other = |what: String| Err(ImageError::Other { path: overlay.path.clone(), what });
    let Header::Qcow2(Qcow2Header { backing, virtual_size_bytes, .. }) = read_header(&overlay.path)? else {
        return other("it is not qcow2".to_owned());
    };
    if backing.as_deref() != overlay.base.to_str() {
        return other(format!("its base is {}", backing.as_deref().unwrap_or("none")));
    }
    if virtual_size_bytes < overlay.size_bytes {
        return other(format!("it has {virtual_size_bytes} bytes, not {}", overlay.size_bytes));
    }
    Ok(())
}

fn base_size(base: &Path, format: DiskFormat) -> Result<u64, ImageError> {
    match (read_header(base)?, format) {
        // A raw image may begin with any bytes, a header of another format too.
        (_, DiskFormat::Raw) => file_size(base),
        (Header::Qcow2(header), DiskFormat::Qcow2) => {
            header.refuse_unsafe(base)?;
            Ok(header.virtual_size_bytes)
        }
        (Header::Raw, DiskFormat::Qcow2) => {
            Err(ImageError::Damaged { path: base.to_owned(), what: "it is not qcow2".to_owned() })
        }
    }
}

fn file_size(path: &Path) -> Result<u64, ImageError> {
    Ok(fs::metadata(path).map_err(io_error("look at", path))?.size())
}

fn sync(path: &Path) -> Result<(), ImageError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(io_error("sync", path))
}

/// Delayed allocation can find the disk full only when syncing.
fn if_full(error: ImageError, path: &Path, needed_bytes: u64) -> ImageError {
    match error {
        ImageError::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
        {
            let free_bytes = free_bytes(path).unwrap_or(0);
            ImageError::DiskFull { path: path.to_owned(), free_bytes, needed_bytes }
        }
        other => other,
    }
}

fn parse<T: for<'de> Deserialize<'de>>(what: &str, path: &Path, stdout: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(stdout).map_err(|error| ImageError::Failed {
        what: what.to_owned(),
        path: path.to_owned(),
        words: format!("its answer is not understood: {error}"),
    })
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ImageError + use<> {
    let path = path.to_owned();
    move |source| ImageError::Io { doing, path, source }
}
