//! One worker a node: two must never act on one resource at once. What the
//! pools of today touch is local to the node, so a lock of its kernel is the
//! plain lease: it is held by the process and gone with it, at `kill -9` too.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

/// Held as long as the pool of this name runs on this node.
#[derive(Debug)]
pub struct NodeLock {
    _file: File,
}

/// Why the lock was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum NodeLockError {
    /// Another process holds it.
    #[error("another edgestackd runs the {pool} pool with this state folder ({path}); stop it first: deploy/down")]
    Held {
        /// Which pool.
        pool: String,
        /// The lock file.
        path: PathBuf,
    },
    /// The lock file cannot be used.
    #[error("the lock file {path} cannot be used")]
    Io {
        /// The lock file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl NodeLock {
    /// Takes the lock of a pool in a state folder.
    ///
    /// # Errors
    /// [`NodeLockError`].
    pub fn take(root: &Path, pool: &str) -> Result<Self, NodeLockError> {
        let path = root.join(format!("{pool}.lock"));
        let failed = |source| NodeLockError::Io { path: path.clone(), source };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(NodeLockError::Held { pool: pool.to_owned(), path }),
            Err(error) => Err(failed(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_worker_is_turned_away_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = NodeLock::take(folder.path(), "vm").unwrap();
        assert!(matches!(NodeLock::take(folder.path(), "vm"), Err(NodeLockError::Held { .. })));
        assert!(NodeLock::take(folder.path(), "storage").is_ok());
        drop(first);
        assert!(NodeLock::take(folder.path(), "vm").is_ok());
    }
}
