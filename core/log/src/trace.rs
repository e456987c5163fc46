//! What a file system tells of a file, which changes with whatever is done to it: by that those who own files see that somebody
//! else was there.

use std::{fs, io, os::unix::fs::MetadataExt as _, path::Path};

/// A file as it was at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    /// Which file it is, whatever its name.
    pub inode: u64,
    /// Its length.
    pub bytes: u64,
    /// When it was written to last, in seconds and nanoseconds.
    pub modified: (i64, i64),
}

impl Trace {
    /// By what the file system tells.
    pub fn of(metadata: &fs::Metadata) -> Self {
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        Self { inode: metadata.ino(), bytes: metadata.len(), modified }
    }

    /// Of what lies at a path; none when nothing does.
    ///
    /// # Errors
    /// When it can't be told.
    pub fn at(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}
