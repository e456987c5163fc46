//! The open segment: a file of lines that grows, each synced before it is confirmed.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use edgestack_engine::crash_point;
use edgestack_log::{ChainHead, Damage, StoredCommit, Trace};
use edgestack_planted::{self as planted, Bug};

use crate::{
    ArchiveError, beside_the_runtime,
    line::{self, Seal},
};

/// The folder of the open segment, below the archive's.
pub(crate) const OPEN: &str = "open";
/// Bytes of lines that one read unpacks at most.
const READ_BYTES_MAX: usize = 8 << 20;

/// The open segment. Its file is named by its first sequence, so a crash between two segments is seen.
pub(crate) struct OpenSegment {
    folder: PathBuf,
    path: PathBuf,
    file: Arc<File>,
    before: ChainHead,
    head: ChainHead,
    /// Where each commit's line begins.
    starts: Vec<u64>,
    /// Where the next write goes: behind the last seal.
    end: u64,
    /// The file as the last write of ours left it; none when somebody else was seen to have been there before it.
    left: Option<Trace>,
}

/// What a file holds, up to its last good seal.
struct Scan {
    head: ChainHead,
    starts: Vec<u64>,
    end: u64,
    damage: Option<Damage>,
}

fn scan(text: &Bytes, before: ChainHead) -> Scan {
    let mut sealed = Scan { head: before, starts: vec![], end: 0, damage: None };
    let (mut head, mut starts) = (before, vec![]);
    for (at, line) in line::split(text).0 {
        let (begin, end) = (at as u64, (at + line.len() + 1) as u64);
        let Some(seal) = Seal::read(&line) else {
            let chained = line::to_commit(line, head.sequence + 1).and_then(|commit| head.check_next(&commit));
            if let Err(damage) = chained {
                sealed.damage = Some(damage);
                return sealed;
            }
            starts.push(begin);
            continue;
        };
        if !seal.is_of(&head) {
            let (sequence, is) = (head.sequence, head.hash_hex());
            sealed.damage = Some(Damage::BrokenHash { sequence, says: "its seal's".to_owned(), is });
            return sealed;
        }
        sealed.starts.append(&mut starts);
        (sealed.head, sealed.end) = (head, end);
    }
    sealed
}

impl OpenSegment {
    /// Opens the segment that follows the closed ones, or begins it.
    pub fn open(folder: &Path, before: ChainHead) -> Result<Self, ArchiveError> {
        fs::create_dir_all(folder).map_err(failed(folder, "making the folder"))?;
        for (first, path) in files(folder)? {
            if first <= before.sequence {
                // It was packed, and the crash came before it went.
                fs::remove_file(&path).map_err(failed(&path, "removing what is packed"))?;
            } else if first > before.sequence + 1 {
                // It hangs in the air: the segments before it are lost, and it comes again from the log with them.
                tracing::error!(path = %path.display(), expected = before.sequence + 1, "the archive lacks what comes before its open segment; the segment is put aside and comes again from the log");
                put_aside(&path)?;
            }
        }
        let mut segment = Self::begin(folder, before)?;
        segment.recover()?;
        Ok(segment)
    }

    fn begin(folder: &Path, before: ChainHead) -> Result<Self, ArchiveError> {
        let path = folder.join(format!("{:020}.ndjson", before.sequence + 1));
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(failed(&path, "opening"))?;
        // The name must be as durable as what will be written under it.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed(folder, "syncing the folder"))?;
        let left = Some(Trace::of(&file.metadata().map_err(failed(&path, "reading"))?));
        let (folder, file) = (folder.to_owned(), Arc::new(file));
        Ok(Self { folder, path, file, before, head: before, starts: vec![], end: 0, left })
    }

    /// Reads what is there, from the file, up to its last good seal. What comes after that was torn by a crash and never
    /// confirmed; or it is damaged, and then a copy of the file is put aside. Either comes again from the log.
    pub fn recover(&mut self) -> Result<(), ArchiveError> {
        if !self.is_at_its_path()? {
            self.bring_back()?;
        }
        let text = self.read_file()?;
        let scan = scan(&text, self.before);
        (self.head, self.starts, self.end) = (scan.head, scan.starts, scan.end);
        let path = self.path.display();
        if let Some(damage) = &scan.damage {
            tracing::error!(%path, %damage, "ALARM: the archive's open segment is damaged; a copy is put aside, and from the damage on it comes again from the log");
            let aside = aside(&self.path);
            fs::copy(&self.path, &aside).map_err(failed(&aside, "putting a damaged segment aside"))?;
        } else if scan.end < text.len() as u64 {
            tracing::warn!(%path, bytes = text.len() as u64 - scan.end, "the archive's last write was torn by a crash and is dropped");
        }
        if scan.end < text.len() as u64 {
            self.file.set_len(scan.end).map_err(failed(&self.path, "cutting off what is no commit"))?;
            self.file.sync_all().map_err(failed(&self.path, "syncing"))?;
        }
        self.take_as_left()
    }

    /// What lies there now is what was written.
    pub fn take_as_left(&mut self) -> Result<(), ArchiveError> {
        self.left = Some(self.trace()?);
        Ok(())
    }

    /// The file has no name any more, or another has it: what we hold open is written anew under its name.
    fn bring_back(&mut self) -> Result<(), ArchiveError> {
        let path = self.path.display();
        tracing::error!(%path, "ALARM: the archive's open segment was removed or replaced; it is written anew from what is held open");
        fs::create_dir_all(&self.folder).map_err(failed(&self.folder, "making the folder"))?;
        if Trace::at(&self.path).map_err(failed(&self.path, "reading"))?.is_some() {
            put_aside(&self.path)?;
        }
        let text = self.read_file()?;
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(&self.path);
        let file = file.map_err(failed(&self.path, "opening"))?;
        file.write_all_at(&text, 0).and_then(|()| file.sync_all()).map_err(failed(&self.path, "writing"))?;
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed(&self.folder, "syncing the folder"))?;
        self.file = Arc::new(file);
        Ok(())
    }

    fn trace(&self) -> Result<Trace, ArchiveError> {
        Ok(Trace::of(&self.file.metadata().map_err(failed(&self.path, "reading"))?))
    }

    /// Whether the file that is open here is the one that its name leads to.
    fn is_at_its_path(&self) -> Result<bool, ArchiveError> {
        let found = Trace::at(&self.path).map_err(failed(&self.path, "reading"))?;
        let own = self.trace()?;
        Ok(found.is_some_and(|found| found.inode == own.inode))
    }

    /// Whether what the file system tells of it is what it told after our own last write.
    pub fn is_as_left(&self) -> io::Result<bool> {
        Ok(self.left.is_some() && Trace::at(&self.path)? == self.left)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Compares the file with what was written: whether all is still there, under its name.
    pub fn is_whole(&self) -> Result<bool, ArchiveError> {
        if !self.is_at_its_path()? {
            return Ok(false);
        }
        let text = self.read_file()?;
        let scan = scan(&text, self.before);
        Ok(scan.damage.is_none() && scan.head == self.head && scan.end == text.len() as u64)
    }

    pub fn head(&self) -> ChainHead {
        self.head
    }

    /// The head before the first line.
    pub fn before(&self) -> ChainHead {
        self.before
    }

    pub fn first_sequence(&self) -> u64 {
        self.before.sequence + 1
    }

    pub fn is_empty(&self) -> bool {
        self.head.sequence == self.before.sequence
    }

    pub fn bytes(&self) -> u64 {
        self.end
    }

    /// Writes commits and syncs them. What could not be written whole is cut off again.
    pub async fn append(&mut self, commits: &[StoredCommit]) -> Result<(), ArchiveError> {
        let (mut head, mut lines, mut starts) = (self.head, Vec::new(), Vec::with_capacity(commits.len()));
        let begin = self.end;
        let is_as_left = self.is_as_left().map_err(failed(&self.path, "reading"))?;
        for commit in commits {
            head.check_next(commit)?;
            starts.push(begin + lines.len() as u64);
            line::write(commit, &mut lines)?;
        }
        Seal::write(&head, &mut lines);
        let end = begin + lines.len() as u64;
        let file = self.file.clone();
        let synced = !planted::is(Bug::ArchiveSyncSkipped);
        let written = beside_the_runtime(move || {
            file.write_all_at(&lines, begin)?;
            // At once: what somebody does to it from here on is not ours.
            let trace = Trace::of(&file.metadata()?);
            if synced {
                crash_point::pass("archive.written");
                file.sync_data()?;
                crash_point::pass("archive.synced");
            }
            Ok(trace)
        })
        .await
        .map_err(io::Error::other)
        .and_then(|written| written);
        let trace = match written {
            Ok(trace) => trace,
            Err(source) => {
                // Half a line may stand there; if this fails too, the next opening cuts it off.
                if let Err(error) = self.file.set_len(begin) {
                    tracing::warn!(path = %self.path.display(), %error, "half a line is left at the archive's end");
                }
                self.left = None;
                return Err(failed(&self.path, "writing")(source));
            }
        };
        self.left = (is_as_left && trace.bytes == end).then_some(trace);
        (self.head, self.end) = (head, end);
        self.starts.extend(starts);
        Ok(())
    }

    /// All lines, seals included.
    pub fn read_all(&self) -> Result<Bytes, ArchiveError> {
        let text = self.read_file()?;
        let end = usize::try_from(self.bytes()).unwrap_or(usize::MAX);
        if text.len() < end {
            return Err(Damage::CutTail { acknowledged: self.head.sequence, last: self.before.sequence }.into());
        }
        Ok(text.slice(..end))
    }

    /// Commits from `from` on.
    pub fn read(&self, from: u64, max: usize) -> Result<Vec<StoredCommit>, ArchiveError> {
        let Some(skip) = from.checked_sub(self.first_sequence()).and_then(|skip| usize::try_from(skip).ok()) else {
            return Ok(vec![]);
        };
        let starts = self.starts.get(skip..).unwrap_or_default();
        let Some(begin) = starts.first().copied() else { return Ok(vec![]) };
        let most = begin.saturating_add(READ_BYTES_MAX as u64);
        let ends = starts.iter().skip(1).copied().chain([self.end]).take(max);
        // One line in any case, however long.
        let end = ends.clone().take_while(|end| *end <= most).last().or(ends.clone().next()).unwrap_or(begin);
        let mut text = vec![0; usize::try_from(end - begin).unwrap_or_default()];
        self.file.read_exact_at(&mut text, begin).map_err(failed(&self.path, "reading"))?;
        let (lines, _) = line::split(&Bytes::from(text));
        let commits = lines.into_iter().filter(|(_, line)| Seal::read(line).is_none());
        (from..).zip(commits).map(|(sequence, (_, payload))| Ok(line::to_commit(payload, sequence)?)).collect()
    }

    /// After this one was packed: begins the next, then lets this one's file go.
    pub async fn begin_next(&mut self) -> Result<(), ArchiveError> {
        let next = Self::begin(&self.folder, self.head)?;
        let old = std::mem::replace(self, next);
        fs::remove_file(&old.path).map_err(failed(&old.path, "removing what is packed"))
    }

    fn read_file(&self) -> Result<Bytes, ArchiveError> {
        let mut text = Vec::new();
        let mut file = &*self.file;
        file.seek(SeekFrom::Start(0))
            .and_then(|_| file.read_to_end(&mut text))
            .map_err(failed(&self.path, "reading"))?;
        Ok(text.into())
    }
}

fn failed(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> ArchiveError + use<> {
    let path = path.to_owned();
    move |source| ArchiveError::File { path, doing, source }
}

fn aside(path: &Path) -> PathBuf {
    path.with_extension("ndjson.damaged")
}

fn put_aside(path: &Path) -> Result<(), ArchiveError> {
    fs::rename(path, aside(path)).map_err(failed(path, "putting it aside"))
}

/// Open segments in a folder, by first sequence.
/// How far the archive in a folder goes, as its open segment tells, without taking it from who has it open: for another process
/// to know what the log must come to. 0 where there is no archive.
///
/// # Errors
/// [`ArchiveError::File`].
pub fn archived_through(folder: &Path) -> Result<u64, ArchiveError> {
    let folder = folder.join(OPEN);
    if !folder.exists() {
        return Ok(0);
    }
    let Some((first, path)) = files(&folder)?.pop() else { return Ok(0) };
    let text = fs::read(&path).map_err(failed(&path, "reading"))?.into();
    let (mut through, mut sealed) = (first.saturating_sub(1), first.saturating_sub(1));
    for (_, line) in line::split(&text).0 {
        match Seal::read(&line) {
            Some(_) => sealed = through,
            None => through += 1,
        }
    }
    Ok(sealed)
}

fn files(folder: &Path) -> Result<Vec<(u64, PathBuf)>, ArchiveError> {
    let reading = || failed(folder, "listing");
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(reading())? {
        let path = entry.map_err(reading())?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".ndjson"));
        if let Some(first) = name.and_then(|name| name.parse().ok()) {
            found.push((first, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}
