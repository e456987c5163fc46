//! The folder in which everything of the bundled OVN is, and who uses it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use tokio::time::Instant;

use super::error::BundledError;
use super::part::Part;

/// A Unix socket's path in bytes, without the final zero; unix(7).
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// The longest name of a socket in the folder: ovn-controller's, with the longest process id there is.
const LONGEST_SOCKET: &str = "ovn-controller.4194304.ctl";

/// How long a lock may be in use, and how often is looked; the lock tells nobody that it is free.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_POLL: Duration = Duration::from_millis(10);

/// The folder, by its absolute path: it is what processes that were left running are known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Folder(PathBuf);

/// Keeps a second daemon out; the kernel lets go of it when we die.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Folder {
    /// Makes the folder if need be, for nobody but us.
    pub(super) fn make(path: &Path) -> Result<Self, BundledError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700))).map_err(folder_error(path))?;
        Self::of(path)
    }

    /// The folder if it is there.
    pub(super) fn existing(path: &Path) -> Result<Option<Self>, BundledError> {
        match Self::of(path) {
            Ok(folder) => Ok(Some(folder)),
            Err(BundledError::Folder { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn of(path: &Path) -> Result<Self, BundledError> {
        let path = path.canonicalize().map_err(folder_error(path))?;
        let text = path.to_str().unwrap_or("\"");
        if text.contains(|c: char| matches!(c, ',' | '"' | '\\') || c.is_whitespace() || c.is_control()) {
            return Err(BundledError::OddPath { path });
        }
        if text.len() + 1 + LONGEST_SOCKET.len() > SOCKET_PATH_BYTES_MAX {
            let limit = SOCKET_PATH_BYTES_MAX - 1 - LONGEST_SOCKET.len();
            return Err(BundledError::PathTooLong { bytes: text.len(), limit, path });
        }
        Ok(Self(path))
    }

    /// Waits a moment for a former holder: its watchers end one after the other, and a child between fork and exec has
    /// the lock too.
    pub(super) async fn lock(&self) -> Result<Lock, BundledError> {
        let path = self.0.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = file.map_err(folder_error(&path))?;
        let until = Instant::now() + LOCK_PATIENCE;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < until => tokio::time::sleep(LOCK_POLL).await,
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(BundledError::InUse { path: self.0.clone() }),
                Err(error) => return Err(BundledError::Folder { path, source: error.into() }),
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn database(&self, part: Part) -> PathBuf {
        self.0.join(format!("{}.db", part.stem()))
    }

    /// Where a database listens.
    pub(super) fn socket(&self, part: Part) -> PathBuf {
        self.0.join(format!("{}.sock", part.stem()))
    }

    pub(super) fn log(&self, part: Part) -> PathBuf {
        self.0.join(format!("{}.log", part.stem()))
    }

    /// What it says before it has a log.
    pub(super) fn words(&self, part: Part) -> PathBuf {
        self.0.join(format!("{}.stderr", part.stem()))
    }

    /// Where it takes ovs-appctl(8)'s orders.
    pub(super) fn control(&self, part: Part, pid: u32) -> PathBuf {
        match part {
            Part::Controller => self.0.join(format!("ovn-controller.{pid}.ctl")),
            _ => self.0.join(format!("{}.ctl", part.stem())),
        }
    }

    /// Removes the control sockets of controllers that were killed; each had its own name.
    pub(super) fn clear_controls(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("ovn-controller.") && name.ends_with(".ctl") {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// The variables by which the programs find files that they take no option for.
    pub(super) fn environment(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        const NAMES: [&str; 8] = [
            "OVS_RUNDIR",
            "OVN_RUNDIR",
            "OVS_DBDIR",
            "OVN_DBDIR",
            "OVS_LOGDIR",
            "OVN_LOGDIR",
            "OVS_SYSCONFDIR",
            "OVN_SYSCONFDIR",
        ];
        NAMES.into_iter().map(|name| (name, self.path()))
    }
}

pub(super) fn folder_error(path: &Path) -> impl FnOnce(io::Error) -> BundledError {
    let path = path.to_owned();
    move |source| BundledError::Folder { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_too_long_for_its_sockets_is_refused_with_the_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = folder.path().canonicalize().expect("a path");
        let of_length = |bytes: usize| base.join("x".repeat(bytes - base.as_os_str().len() - 1));
        assert!(Folder::make(&of_length(80)).is_ok());
        let error = Folder::make(&of_length(81)).expect_err("refused");
        assert!(matches!(error, BundledError::PathTooLong { bytes: 81, limit: 80, .. }), "{error}");
    }

    #[tokio::test]
    async fn a_second_user_is_kept_out_until_the_first_is_gone() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = Folder::make(folder.path()).expect("made");
        let lock = folder.lock().await.expect("free");
        assert!(matches!(folder.lock().await, Err(BundledError::InUse { .. })));
        drop(lock);
        folder.lock().await.expect("free again");
    }

    #[test]
    fn a_path_that_would_need_quotes_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = Folder::make(&folder.path().join("a,b"));
        assert!(matches!(made, Err(BundledError::OddPath { .. })));
    }
}
