//! The folder of snapshots: `<sequence>.snapshot`, each written whole or not at all.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::snapshot::{self, Placed, Unreadable};

/// How folders begin that are for a time only.
pub(crate) const BESIDE: &str = "replay-";
/// Where snapshots lie this close to the end, all are kept.
const DENSE_COMMITS: u64 = 1_000_000;
/// Further back, one in so many commits is kept.
const SPARSE_COMMITS: u64 = 65_536;

/// The snapshots of one process.
pub(crate) struct Store {
    folder: PathBuf,
    sequences: Mutex<BTreeSet<u64>>,
}

impl Store {
    /// Opens the folder, making it if needed; what a crash left half written goes.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let mut sequences = BTreeSet::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match name.strip_suffix(".snapshot").and_then(|text| text.parse().ok()) {
                Some(sequence) => drop(sequences.insert(sequence)),
                None if name.ends_with(".draft") => fs::remove_file(&path)?,
                None if name.starts_with(BESIDE) => fs::remove_dir_all(&path)?,
                None => {}
            }
        }
        Ok(Self { folder: folder.to_owned(), sequences: Mutex::new(sequences) })
    }

    /// Where they lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The nearest snapshot at or before a commit.
    pub fn nearest(&self, sequence: u64) -> Option<u64> {
        self.sequences().range(..=sequence).next_back().copied()
    }

    /// The first place from which more than `every` commits lie without a snapshot, up to `end`.
    pub fn first_gap(&self, every: u64, end: u64) -> Option<u64> {
        let sequences = self.sequences();
        let dense_from = end.saturating_sub(DENSE_COMMITS);
        let mut last = sequences.range(..=dense_from).next_back().copied().unwrap_or(0);
        for next in sequences.range(dense_from + 1..).copied().chain([end]) {
            // What comes late after its turn is no gap: the maker rests in between.
            if next > last + 2 * every {
                return Some(last);
            }
            last = next;
        }
        None
    }

    /// Reads one. One that is not ours goes, so that a later one can take its place.
    pub fn read(&self, sequence: u64) -> io::Result<Result<Placed, Unreadable>> {
        let packed = fs::read(self.path(sequence))?;
        Ok(snapshot::unpack(&packed, sequence))
    }

    /// Removes one.
    pub fn remove(&self, sequence: u64) -> io::Result<()> {
        self.sequences().remove(&sequence);
        match fs::remove_file(self.path(sequence)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }

    /// Writes one, synced, and thins out what lies far behind it.
    pub fn write(&self, placed: &Placed) -> io::Result<()> {
        let sequence = placed.head.sequence;
        let packed = snapshot::pack(placed)?;
        let draft = self.folder.join(format!("{sequence:020}.draft"));
        let mut file = File::create(&draft)?;
        file.write_all(&packed)?;
        file.sync_all()?;
        fs::rename(&draft, self.path(sequence))?;
        File::open(&self.folder)?.sync_all()?;
        self.sequences().insert(sequence);
        for old in self.too_dense() {
            self.remove(old)?;
        }
        Ok(())
    }

    fn too_dense(&self) -> Vec<u64> {
        let sequences = self.sequences();
        let dense_from = sequences.last().copied().unwrap_or(0).saturating_sub(DENSE_COMMITS);
        let mut kept = 0;
        let mut old = Vec::new();
        for sequence in sequences.range(..dense_from).copied() {
            if sequence < kept + SPARSE_COMMITS && kept > 0 { old.push(sequence) } else { kept = sequence }
        }
        old
    }

    fn path(&self, sequence: u64) -> PathBuf {
        self.folder.join(format!("{sequence:020}.snapshot"))
    }

    fn sequences(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        // Nothing panics while it holds the lock.
        self.sequences.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
