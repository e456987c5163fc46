//! Watches over the files of a nats-server that keeps the log alone. What it has in memory it goes on serving when its files
//! are cut, replaced or gone, with a healthy face, and acknowledges what nobody could ever read again. Its files tell: it
//! only ever appends to the last block, and nothing else of ours writes there.
//!
//! A file's owner gets no event of others' writes that leaves out its own, so the files are looked at on a beat. What was cut
//! off may be long filled again by then, with a hole, so the end of the last block as it was is looked at too. A bit that changes
//! before that end, in the last block and between two appends, is not to be told from these; reading the log finds it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::watch;

use super::store::stream_folder;
use super::supervisor::ServerState;
use crate::Trace;

/// A write has its time before it has its length; it is over by then.
const WRITE_TAKES: Duration = Duration::from_millis(20);
/// So much of the last block's end is remembered.
const END_BYTES: u64 = 4096;

/// The blocks of messages, by number, as they lie there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct BlockFiles {
    files: BTreeMap<u64, Trace>,
    /// The last one's last bytes.
    end: Vec<u8>,
}

impl BlockFiles {
    /// Those below the folder of a nats-server; none when there is no such folder.
    fn read(dir: &Path) -> io::Result<Self> {
        let mut files = BTreeMap::new();
        let entries = match fs::read_dir(stream_folder(dir).join("msgs")) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let Some(number) = name.to_str().and_then(|name| name.strip_suffix(".blk")?.parse().ok()) else { continue };
            // What went just now is missing, and told by whoever compares.
            if let Some(trace) = Trace::at(&entry.path())? {
                files.insert(number, trace);
            }
        }
        let mut found = Self { files, end: vec![] };
        found.end = found.read_end(dir)?;
        Ok(found)
    }

    /// What stands where the last block's end was.
    fn read_end(&self, dir: &Path) -> io::Result<Vec<u8>> {
        let Some((number, seen)) = self.files.last_key_value() else { return Ok(vec![]) };
        let mut end = vec![0; usize::try_from(seen.bytes.min(END_BYTES)).unwrap_or_default()];
        let read = File::open(stream_folder(dir).join("msgs").join(format!("{number}.blk")))
            .and_then(|file| file.read_exact_at(&mut end, seen.bytes.saturating_sub(END_BYTES)));
        match read {
            Ok(()) => Ok(end),
            // It is shorter now, or gone.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => Ok(vec![]),
            Err(error) => Err(error),
        }
    }

    /// What about these, which were there, the server has not done itself, if anything. `end` is what stands now where their
    /// last one's end was.
    fn touched(&self, now: &Self, end: &[u8]) -> Option<String> {
        let last = self.files.keys().next_back();
        for (number, before) in &self.files {
            let is_last = Some(number) == last;
            let Some(after) = now.files.get(number) else { return Some(format!("block {number} is gone")) };
            if after.inode != before.inode {
                return Some(format!("block {number} is another file"));
            }
            if after.bytes < before.bytes {
                return Some(format!("block {number} has {} bytes, it had {}", after.bytes, before.bytes));
            }
            if after.bytes > before.bytes && !is_last {
                return Some(format!("block {number} has {} bytes more", after.bytes - before.bytes));
            }
            if after.bytes == before.bytes && after.modified != before.modified {
                return Some(format!("block {number} was written to"));
            }
        }
        let number = last.filter(|_| self.end != end)?;
        Some(format!("block {number} has other bytes than it had"))
    }
}

/// Looks again and again, and remembers.
#[derive(Debug)]
pub struct StoreGuard {
    server: watch::Receiver<ServerState>,
    known: Option<((u32, DateTime<Utc>), BlockFiles)>,
}

impl StoreGuard {
    /// Over a server.
    pub fn new(server: watch::Receiver<ServerState>) -> Self {
        Self { server, known: None }
    }

    /// Looks at the files below the server's folder; what somebody else did to them since the last look, if anything. A
    /// server that was started since has read them anew. It blocks, for a moment also where it has to look twice.
    ///
    /// # Errors
    /// When they can't be read.
    pub fn look(&mut self, dir: &Path) -> io::Result<Option<String>> {
        let Some(run) = self.run() else { return Ok(None) };
        let now = BlockFiles::read(dir)?;
        let Some((_, before)) = self.known.clone().filter(|(known, _)| *known == run) else {
            self.known = Some((run, now));
            return Ok(None);
        };
        let (mut touched, mut now) = (before.touched(&now, &before.read_end(dir)?), now);
        if touched.is_some() {
            std::thread::sleep(WRITE_TAKES);
            now = BlockFiles::read(dir)?;
            touched = before.touched(&now, &before.read_end(dir)?);
        }
        // It may have ended meanwhile.
        if self.run() != Some(run) {
            return Ok(None);
        }
        self.known = Some((run, now));
        Ok(touched)
    }

    /// Bytes of all blocks at the last look.
    pub fn bytes(&self) -> u64 {
        self.known.as_ref().map_or(0, |(_, files)| files.files.values().map(|seen| seen.bytes).sum())
    }

    /// Which run of the server this is, while it answers.
    fn run(&self) -> Option<(u32, DateTime<Utc>)> {
        match *self.server.borrow() {
            ServerState::Running { pid, since, .. } => Some((pid, since)),
            ServerState::Starting { .. } | ServerState::Restarting { .. } | ServerState::Stopped => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(files: &[(u64, u64, u64, i64)]) -> BlockFiles {
        let seen = |(number, inode, bytes, modified): &(u64, u64, u64, i64)| {
            (*number, Trace { inode: *inode, bytes: *bytes, modified: (*modified, 0) })
        };
        BlockFiles { files: files.iter().map(seen).collect(), end: b"end".to_vec() }
    }

    #[test]
    fn what_the_server_does_itself_is_no_news() {
        let before = blocks(&[(1, 10, 800, 1), (2, 20, 300, 2)]);
        for now in [
            before.clone(),
            blocks(&[(1, 10, 800, 1), (2, 20, 400, 3)]),
            // The last one was filled, and others begun.
            blocks(&[(1, 10, 800, 1), (2, 20, 800, 3), (3, 30, 800, 4), (4, 40, 1, 5)]),
        ] {
            assert_eq!(before.touched(&now, b"end"), None, "{now:?}");
        }
    }

    #[test]
    fn what_somebody_else_does_is_told() {
        let before = blocks(&[(1, 10, 800, 1), (2, 20, 300, 2)]);
        for (now, told) in [
            (blocks(&[]), "block 1 is gone"),
            (blocks(&[(1, 10, 800, 1)]), "block 2 is gone"),
            (blocks(&[(1, 11, 800, 1), (2, 20, 300, 2)]), "block 1 is another file"),
            (blocks(&[(1, 10, 800, 1), (2, 20, 150, 3)]), "block 2 has 150 bytes, it had 300"),
            (blocks(&[(1, 10, 801, 2), (2, 20, 300, 2)]), "block 1 has 1 bytes more"),
            (blocks(&[(1, 10, 800, 2), (2, 20, 300, 2)]), "block 1 was written to"),
            (blocks(&[(1, 10, 800, 1), (2, 20, 300, 3)]), "block 2 was written to"),
        ] {
            assert_eq!(before.touched(&now, b"end").as_deref(), Some(told));
        }
        let grown = blocks(&[(1, 10, 800, 1), (2, 20, 900, 3)]);
        assert_eq!(before.touched(&grown, b"\0\0\0").as_deref(), Some("block 2 has other bytes than it had"));
    }
}
