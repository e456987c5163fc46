//! What disks, people and other programs do to files that are ours.

use std::{
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

/// JetStream's files of messages of the log, of a site or node with this state folder.
///
/// # Panics
/// When there are none.
pub fn blocks(state: &Path) -> Vec<PathBuf> {
    let folder = state.join("nats/jetstream/jetstream/EDGESTACK/streams/MM3/msgs");
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "blk")).collect();
    found.sort();
    assert!(!found.is_empty(), "JetStream has no block files");
    found
}

/// The file that the archive grows by, of a site or node with this state folder.
///
/// # Panics
/// When there is none.
pub fn open_segment(state: &Path) -> PathBuf {
    let folder = fs::read_dir(state.join("archive/open")).unwrap();
    let mut files = folder.map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|end| end == "ndjson")).unwrap()
}

/// Flips a bit in the middle of a file.
///
/// # Panics
/// When it can't be read or written.
pub fn flip_in_the_middle(path: &Path) {
    flip_at(path, 0.5);
}

/// Flips a bit so far into a file, 0 to 1.
///
/// # Panics
/// When it can't be read or written.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place in a file of some megabytes"
)]
pub fn flip_at(path: &Path, part: f64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let at = (file.metadata().unwrap().len() as f64 * part) as u64;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 4], at).unwrap();
}

/// Cuts a file in half.
///
/// # Panics
/// When it can't be cut.
pub fn cut_in_half(path: &Path) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}
