//! The folder of snapshots: `<sequence>.snapshot`, each written whole or not at all.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{
    snapshot::{self, Placed, Unreadable},
    spacing::Spacing,
};

/// How folders begin that are for a time only.
pub(crate) const BESIDE: &str = "replay-";
/// The snapshots of one process.
pub(crate) struct Store {
    folder: PathBuf,
    sequences: Mutex<BTreeSet<u64>>,
    spacing: Spacing,
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
        Ok(Self { folder: folder.to_owned(), sequences: Mutex::new(sequences), spacing: Spacing::default() })
    }

    /// Where they lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The nearest snapshot at or before a commit.
    pub fn nearest(&self, sequence: u64) -> Option<u64> {
        self.sequences().range(..=sequence).next_back().copied()
    }

    /// The commit of a snapshot that is missing, where one lies each `every` commits up to the `newest`.
    pub fn first_missing(&self, every: u64, newest: u64) -> Option<u64> {
        self.spacing.first_missing(&self.sequences(), every, newest)
    }

    /// How many commits after the snapshot before one is worth its writing here.
    pub fn on_the_way(&self, sequence: u64, every: u64) -> u64 {
        let newest = self.sequences().last().copied().unwrap_or(0);
        self.spacing.on_the_way(sequence, every, newest)
    }

    /// Removes those of commits that a log which ends at `last` does not have.
    pub fn remove_beyond(&self, last: u64) -> io::Result<()> {
        let beyond: Vec<u64> = self.sequences().range(last + 1..).copied().collect();
        beyond.into_iter().try_for_each(|sequence| self.remove(sequence))
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
        if let Err(error) = write_synced(&draft, &packed).and_then(|()| fs::rename(&draft, self.path(sequence))) {
            // A full disk is the likeliest cause, and half a snapshot only makes it fuller.
            let _ = fs::remove_file(&draft);
            return Err(error);
        }
        File::open(&self.folder)?.sync_all()?;
        self.sequences().insert(sequence);
        let too_dense = self.spacing.too_dense(&self.sequences());
        too_dense.into_iter().try_for_each(|old| self.remove(old))
    }

    fn path(&self, sequence: u64) -> PathBuf {
        self.folder.join(format!("{sequence:020}.snapshot"))
    }

    fn sequences(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        // Nothing panics while it holds the lock.
        self.sequences.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
