//! Opening the store, guarded: whatever is wrong with it, it is set aside and built anew.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use edgestack_log::ChainHead;
use edgestack_model::World;

use crate::{ViewError, Views, history::History, state::State};

/// Bytes of pages that sled may keep in memory; the whole working set of a small site.
const CACHE_BYTES: u64 = 16 << 20;

/// The views, and what they knew.
pub struct Opened {
    /// The views.
    pub views: Views,
    /// Where the replica goes on from; `None`: from the first commit.
    pub restored: Option<Restored>,
}

/// A world as the state view held it.
pub struct Restored {
    /// The world.
    pub world: World,
    /// The chain's head there.
    pub head: ChainHead,
}

/// Views in a form that is no longer written; the new ones are built from the log.
const OLD_TREES: [&str; 2] = ["history", "history-2"];

/// How long a store may stay held by a process that is just ending.
const HELD_AT_MOST: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Opens the views in a folder of their own, making it if needed. Waits a moment for a process that is just ending.
///
/// # Errors
/// An I/O error when not even a new store can be made (the disk is full or not writable), or when another process
/// has the store open: moving it aside would take it away from that one.
pub fn open(folder: &Path) -> io::Result<Opened> {
    let begun = Instant::now();
    loop {
        match guarded(folder) {
            Ok(opened) => return Ok(opened),
            Err(why) if is_held(&why) && begun.elapsed() < HELD_AT_MOST => std::thread::sleep(LOOK_AGAIN),
            Err(why) if is_held(&why) => {
                let text =
                    format!("another process has the views in {} open; stop it first: deploy/down", folder.display());
                return Err(io::Error::new(io::ErrorKind::WouldBlock, text));
            }
            Err(why) => {
                let aside = set_aside(folder)?;
                tracing::warn!(why, aside = %aside.display(), "the views could not be opened; they are set aside and rebuilt from the log");
                return guarded(folder).map_err(io::Error::other);
            }
        }
    }
}

/// sled 0.34 has no kind of error for it, only these words (`src/config.rs`, `try_lock`).
fn is_held(why: &str) -> bool {
    why.contains("could not acquire lock")
}

fn guarded(folder: &Path) -> Result<Opened, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| read(folder)));
    match outcome {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(error)) => Err(edgestack_engine::error_chain(&error)),
        Err(_) => Err("the store panicked".to_owned()),
    }
}

fn read(folder: &Path) -> Result<Opened, ViewError> {
    let db = sled::Config::new()
        .path(folder)
        .cache_capacity(CACHE_BYTES)
        .mode(sled::Mode::LowSpace)
        .flush_every_ms(Some(1000))
        .open()?;
    for old in db.tree_names().iter().filter(|name| OLD_TREES.iter().any(|old| old.as_bytes() == &name[..])) {
        db.drop_tree(old)?;
    }
    let state = State::new(db.open_tree("state")?);
    let history = History::open(db.open_tree("history-3")?)?;
    let restored = match state.restore()? {
        // The history must not lack what the state has: commits are not read again from before the state's place.
        Some((world, head)) if history.position() >= head.sequence => Some(Restored { world, head }),
        Some(_) | None => {
            state.clear()?;
            history.clear()?;
            None
        }
    };
    Ok(Opened { views: Views { state, history, pending: Arc::default() }, restored })
}

/// Moves a broken store out of the way; one such folder is kept, for whoever wants to look.
fn set_aside(folder: &Path) -> io::Result<PathBuf> {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".broken");
    let aside = folder.with_file_name(name);
    let is_folder = std::fs::symlink_metadata(&aside).is_ok_and(|found| found.is_dir());
    match if is_folder { std::fs::remove_dir_all(&aside) } else { std::fs::remove_file(&aside) } {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    match std::fs::rename(folder, &aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(aside),
        Err(error) => Err(error),
        Ok(()) => Ok(aside),
    }
}
