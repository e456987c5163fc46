//! `--restore FILE`: the log of a backup becomes that of a state folder without one.
//!
//! What is restored is the archive. At the next start the log is filled from it, as after the loss of its store: through
//! the ordinary way of appending, with its fences, and read back and checked before anything is served. So there is one
//! way back, which is walked in tests after every kind of damage.
//!
//! The archive is made beside its place and moved there once it is whole and synced: a kill before that leaves a folder
//! that the next restore removes, a kill after that leaves a restored site.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use edgestack_archive::{Archive, Options as ArchiveOptions};
use edgestack_backup::{PublicKey, Reader};
use edgestack_log::StoredCommit;

use crate::{failure::Failure, state_folder};

/// Commits archived at once.
const BATCH: usize = 4096;
/// Progress is told each so many commits.
const TELL_EACH: u64 = 100_000;
/// The archive while it is being made.
const DRAFT: &str = "archive.restoring";

/// Restores a backup into a state folder.
///
/// # Errors
/// [`Failure::Restore`] when the file is no whole backup, or the folder holds a log already; nothing is changed then.
pub async fn run(root: &Path, file: &Path, key: Option<PublicKey>) -> Result<(), Failure> {
    let path = |path: &Path| {
        let path = path.to_owned();
        move |source| Failure::Folder { path, source }
    };
    let backup = File::open(file).map_err(path(file))?;
    // All of it is looked through first: what is not whole changes nothing here.
    let looked = tokio::task::spawn_blocking(move || Reader::open(backup, key)?.verify());
    let verified = looked.await.map_err(lost)?.map_err(|source| Failure::Backup { path: file.to_owned(), source })?;
    let (archive, jetstream) = (state_folder::archive(root), state_folder::nats(root).join("jetstream"));
    if holds_files(&archive).map_err(path(&archive))? || holds_files(&jetstream).map_err(path(&jetstream))? {
        return Err(Failure::Restore {
            why: format!(
                "{} holds a log already; restore into another folder, or move nats and archive away first",
                root.display()
            ),
        });
    }
    let draft = root.join(DRAFT);
    remove(&draft).map_err(path(&draft))?;
    fill(&draft, file, key, verified.commits).await?;
    // What is derived from another log, if anything, is of no use.
    for derived in [state_folder::views(root), state_folder::snapshots(root)] {
        remove(&derived).map_err(path(&derived))?;
    }
    remove(&archive).map_err(path(&archive))?;
    fs::rename(&draft, &archive).map_err(path(&archive))?;
    File::open(root).and_then(|root| root.sync_all()).map_err(path(root))?;
    let (commits, site) = (verified.commits, &verified.manifest.site);
    println!(
        "restored {commits} commits of site \"{site}\" into {}; start it now: the log is filled from the archive and checked, then the site serves, and what still runs is taken over",
        root.display()
    );
    if !state_folder::secrets(root).join("sealing.key").exists() {
        println!(
            "the folder secrets is not here: bring it back from where you keep it, or sealed user data stays sealed"
        );
    }
    Ok(())
}

async fn fill(draft: &Path, file: &Path, key: Option<PublicKey>, commits: u64) -> Result<(), Failure> {
    let archive = Archive::open_local(draft, ArchiveOptions::default()).await?;
    let backup = File::open(file).map_err(|source| Failure::Folder { path: file.to_owned(), source })?;
    let wrong = |source| Failure::Backup { path: file.to_owned(), source };
    let mut reader = Reader::open(backup, key).map_err(wrong)?;
    let mut batch = Vec::with_capacity(BATCH);
    let mut told = 0;
    loop {
        let next = reader.next_commit().map_err(wrong)?;
        let ended = next.is_none();
        batch.extend(next.map(|(sequence, payload)| StoredCommit { sequence, payload: payload.into() }));
        if batch.len() == BATCH || (ended && !batch.is_empty()) {
            archive.append(&batch).await?;
            batch.clear();
        }
        let archived = archive.head().await.sequence;
        if archived >= told + TELL_EACH {
            told = archived;
            println!("{archived} of {commits} commits");
        }
        if ended {
            break;
        }
    }
    // The file may have been changed between the two readings.
    reader.verify().map_err(wrong)?;
    drop(archive);
    Ok(())
}

/// Whether there is any file in a folder, however deep; locks don't count.
fn holds_files(folder: &Path) -> io::Result<bool> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let holds = if entry.file_type()?.is_dir() {
            holds_files(&entry.path())?
        } else {
            entry.file_name() != "lock" && entry.metadata()?.len() > 0
        };
        if holds {
            return Ok(true);
        }
    }
    Ok(false)
}

fn remove(folder: &PathBuf) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn lost(error: tokio::task::JoinError) -> Failure {
    Failure::System { what: "a thread to read the backup", source: io::Error::other(error) }
}
