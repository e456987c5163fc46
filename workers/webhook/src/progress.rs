//! What was delivered, kept beside the log: a file for each webhook, written whole or not at all, and synced.
//!
//! In the log each delivery would be a commit, and so an event to be delivered. After a crash, what was delivered since the
//! file was written last is delivered once more: at least once, and with the same `webhook-id`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use crate::queue::Failures;

/// The form of the file.
const VERSION: u32 = 1;

/// How far a webhook has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    version: u32,
    /// The last commit that was looked at.
    pub cursor: u64,
    /// Events of commits up to there that are for it and have not arrived, oldest first.
    pub waiting: Vec<Waiting>,
    /// The target that failed attempts were made at.
    pub url: String,
    /// When the next attempt is made, while something fails.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// What came of the last attempt.
    pub last_attempt: Option<Attempt>,
    /// When an event arrived last.
    pub last_delivered_at: Option<DateTime<Utc>>,
    /// Events that arrived so far; those of the last moment before a crash are not counted, or twice.
    pub delivered: u64,
}

/// An event that has not arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Its commit.
    pub sequence: u64,
    /// Which of the commit's events.
    pub index: u32,
    /// The attempts so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<Failures>,
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// Of which event, `17.0`.
    pub event: String,
    /// Whether it arrived.
    pub delivered: bool,
    /// What the target answered, or why there was no answer.
    pub answer: String,
}

impl Progress {
    /// A webhook that has seen nothing after a commit.
    pub fn after(cursor: u64) -> Self {
        Self { version: VERSION, cursor, ..Self::default() }
    }

    /// The last commit of which, and before which, every event has arrived or is not for it.
    pub fn delivered_through(&self) -> u64 {
        self.waiting.first().map_or(self.cursor, |first| first.sequence.saturating_sub(1).min(self.cursor))
    }
}

/// Where the files are.
#[derive(Clone, Debug)]
pub struct ProgressFolder(PathBuf);

impl ProgressFolder {
    /// The files in this folder, which is made where it isn't there.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// A webhook's progress; `None`: there is none yet.
    ///
    /// # Errors
    /// It can't be read, or is none; it is not ours to guess then.
    pub fn read(&self, webhook: Uuid) -> io::Result<Option<Progress>> {
        let bytes = match fs::read(self.path(webhook)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let progress: Progress = serde_json::from_slice(&bytes)?;
        if progress.version != VERSION {
            let why = format!("it has version {}, this program reads {VERSION}", progress.version);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(Some(progress))
    }

    /// Keeps a webhook's progress: it is on the disk when this returns.
    ///
    /// # Errors
    /// An I/O error; what was kept before still is.
    pub(crate) fn write(&self, webhook: Uuid, progress: &Progress) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        let path = self.path(webhook);
        let draft = path.with_extension("draft");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
        file.write_all(&serde_json::to_vec(progress)?)?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        File::open(&self.0)?.sync_all()
    }

    /// Puts a file that can't be read aside, so that a person can look at it.
    pub(crate) fn set_aside(&self, webhook: Uuid) -> io::Result<PathBuf> {
        let aside = self.path(webhook).with_extension("broken");
        fs::rename(self.path(webhook), &aside)?;
        Ok(aside)
    }

    /// Forgets a webhook that is gone.
    pub(crate) fn remove(&self, webhook: Uuid) -> io::Result<()> {
        for path in [self.path(webhook), self.path(webhook).with_extension("draft")] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Of which webhooks there are files.
    pub(crate) fn all(&self) -> io::Result<Vec<Uuid>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
            Err(error) => return Err(error),
        };
        let id = |name: &Path| (name.extension()? == "json").then(|| name.file_stem()?.to_str()?.parse().ok())?;
        entries.map(|entry| Ok(id(Path::new(&entry?.file_name())))).filter_map(Result::transpose).collect()
    }

    fn path(&self, webhook: Uuid) -> PathBuf {
        self.0.join(format!("{webhook}.json"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_read_again_and_what_is_broken_is_not_guessed() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = ProgressFolder::new(temporary.path().join("webhooks"));
        let id = Uuid::from_u128(1);
        assert_eq!(folder.read(id).unwrap(), None);
        assert!(folder.all().unwrap().is_empty());
        let mut progress = Progress::after(7);
        assert_eq!(progress.delivered_through(), 7);
        progress.waiting = vec![Waiting { sequence: 5, index: 0, failures: None }];
        folder.write(id, &progress).unwrap();
        assert_eq!(folder.read(id).unwrap(), Some(progress.clone()));
        assert_eq!((folder.all().unwrap(), progress.delivered_through()), (vec![id], 4));
        for broken in ["", "{}", "{\"version\":2,\"cursor\":1}"] {
            fs::write(folder.path(id), broken).unwrap();
            assert!(folder.read(id).is_err(), "{broken:?} was taken");
        }
        assert!(folder.set_aside(id).unwrap().exists());
        assert_eq!(folder.read(id).unwrap(), None);
        folder.write(id, &progress).unwrap();
        folder.remove(id).unwrap();
        folder.remove(id).unwrap();
        assert_eq!(folder.read(id).unwrap(), None);
    }
}
