//! One process a role and node: two must never act on one resource at once. What
//! the roles of today touch is local to the node, so a lock of its kernel is the
//! plain lease: it is held by the process and gone with it, at `kill -9` too.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

/// How long a lock may outlive its process: a child that was being started when the process was killed has its open
/// files until it becomes the other program.
const AFTERLIFE: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Held as long as a process has this role on this node.
#[derive(Debug)]
pub struct NodeLock {
    _file: File,
}

/// Why the lock was not to be had.
#[derive(Debug, thiserror::Error)]
pub enum NodeLockError {
    /// Another process holds it.
    #[error("another edgestackd has the role {role} with this state folder ({path}); stop it first: deploy/down")]
    Held {
        /// Which role.
        role: String,
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
    /// Takes the lock of a role in a state folder; waits a moment for a process that was just killed.
    ///
    /// # Errors
    /// [`NodeLockError`].
    pub async fn take(root: &Path, role: &str) -> Result<Self, NodeLockError> {
        let begun = Instant::now();
        loop {
            match Self::try_take(root, role) {
                Err(NodeLockError::Held { .. }) if begun.elapsed() < AFTERLIFE => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                outcome => return outcome,
            }
        }
    }

    fn try_take(root: &Path, role: &str) -> Result<Self, NodeLockError> {
        let path = root.join(format!("{role}.lock"));
        let failed = |source| NodeLockError::Io { path: path.clone(), source };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(NodeLockError::Held { role: role.to_owned(), path }),
            Err(error) => Err(failed(error.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_second_process_is_turned_away_until_the_first_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let first = NodeLock::take(folder.path(), "worker.vm").await.unwrap();
        assert!(matches!(NodeLock::take(folder.path(), "worker.vm").await, Err(NodeLockError::Held { .. })));
        assert!(NodeLock::take(folder.path(), "worker.storage").await.is_ok());
        // One that goes while the second waits.
        let second = tokio::spawn({
            let root = folder.path().to_owned();
            async move { NodeLock::take(&root, "worker.vm").await }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(second.await.unwrap().is_ok());
    }
}
