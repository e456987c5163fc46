//! Damage to what is stored: to the log or to its archive, one at a time. What both have lost is lost, so the next damage
//! waits until the one before it is mended.

use std::sync::Weak;

use edgestack_log::{ChainHead, Log as _, LogError, StoredCommit, chain, memory::MemoryLog};
use futures::{FutureExt as _, TryStreamExt as _};
use object_store::{ObjectStore as _, ObjectStoreExt as _};

use crate::{fault::Fault, outside::Outside};

/// Everything in the log, and the head of its chain; `None` while it is damaged.
pub fn whole(log: &MemoryLog) -> Option<(Vec<StoredCommit>, ChainHead)> {
    edgestack_planted::without(|| {
        let (mut stored, mut head) = (Vec::<StoredCommit>::new(), ChainHead::GENESIS);
        loop {
            match log.read(stored.len() as u64 + 1, 1000).now_or_never()? {
                Ok(batch) if batch.is_empty() => break,
                Ok(batch) => stored.extend(batch),
                // It is so for a number of calls.
                Err(LogError::Unavailable(_)) => {}
                Err(_) => return None,
            }
        }
        stored.iter().try_for_each(|commit| head.check_next(commit)).ok()?;
        Some((stored, head))
    })
}

impl Outside {
    /// Where log and archive end, when both are whole and nothing that they had is lost.
    fn both_whole(&self) -> Option<(u64, u64)> {
        let archive = self.archive.lock().unwrap().clone()?;
        let (stored, head) = whole(&self.log.inner)?;
        let archived = edgestack_planted::without(|| archive.verify(|_| ()).now_or_never())?.ok()?;
        let at = usize::try_from(archived.sequence).unwrap();
        let same = at == 0 || stored.get(at - 1).is_some_and(|commit| chain::hash(&commit.payload) == archived.hash);
        let mut longest = self.longest.lock().unwrap();
        let all = same && head.sequence >= *longest;
        *longest = head.sequence.max(*longest);
        all.then_some((head.sequence, archived.sequence))
    }

    /// Damages the log, unless something is damaged already. True if it did.
    pub fn damage_log(&self) -> bool {
        let Some((last, archived)) = self.both_whole().filter(|(_, archived)| *archived > 3) else { return false };
        let (log, one_of_them) = (&self.log.inner, 1 + self.random.below(archived - 1));
        // What only the log has must stay there.
        let kinds = if archived == last { 0 } else { 5 };
        let fault = match kinds + self.random.below(10 - kinds) {
            0..4 => {
                let count = (1 + self.random.below(10)).min(last - 1);
                // An engine that has not folded so far yet, or a commit that was given up and is on its way, would be given
                // a place of what is lost, and nobody could tell (ADR 0027).
                if self.anybody_stands_before(last - count) || self.log.on_their_way.any_past(last - count) {
                    return false;
                }
                log.cut_tail(count);
                Fault::LogRolledBack
            }
            4 => {
                if self.anybody_stands_before(0) || self.log.on_their_way.any_past(0) {
                    return false;
                }
                log.cut_tail(last);
                Fault::LogStoreGone
            }
            5..7 => {
                log.drop_message(one_of_them);
                Fault::LogSkips
            }
            _ => {
                let bytes = log.get(one_of_them).now_or_never().and_then(Result::ok).flatten();
                let bits = bytes.map_or(1, |commit| commit.payload.len() as u64 * 8);
                log.flip_bit(one_of_them, usize::try_from(self.random.below(bits)).unwrap());
                Fault::LogBitFlipped
            }
        };
        let left = log.head().now_or_never().and_then(Result::ok).map(|head| head.last_sequence);
        tracing::debug!(?fault, last, archived, one_of_them, left, "the log is damaged");
        self.faults.fired(fault);
        true
    }

    /// Whether an engine that lives has folded no further than this.
    fn anybody_stands_before(&self, sequence: u64) -> bool {
        let mut standing = self.standing.lock().unwrap();
        standing.retain(|replica| replica.strong_count() > 0);
        standing.iter().filter_map(Weak::upgrade).any(|replica| replica.head().sequence <= sequence)
    }

    /// Damages a closed segment of the archive, unless something is damaged already.
    pub fn damage_archive(&self) {
        if self.both_whole().is_none_or(|(last, archived)| last != archived) {
            return;
        }
        let prefix = object_store::path::Path::from("segments");
        let listed = self.segments.list(Some(&prefix)).try_collect::<Vec<_>>().now_or_never();
        let mut names: Vec<_> = listed.unwrap().unwrap().into_iter().map(|object| object.location).collect();
        names.retain(|name| name.as_ref().ends_with(".zst"));
        names.sort();
        if names.is_empty() {
            return;
        }
        let name = self.random.one_of(&names);
        if self.random.per_mille(300) {
            self.segments.delete(name).now_or_never().unwrap().unwrap();
            self.faults.fired(Fault::ArchiveSegmentGone);
            return;
        }
        let found = self.segments.get(name).now_or_never().unwrap().unwrap();
        let mut bytes = found.bytes().now_or_never().unwrap().unwrap().to_vec();
        let bit = self.random.below(bytes.len() as u64 * 8);
        bytes[usize::try_from(bit / 8).unwrap()] ^= 1 << (bit % 8);
        self.segments.put(name, bytes.into()).now_or_never().unwrap().unwrap();
        self.faults.fired(Fault::ArchiveBitFlipped);
    }

    /// Notes how much of the archive's open segment is synced, as a disk knows it.
    pub fn note_synced(&self) {
        let mut synced = self.synced.lock().unwrap();
        for (path, length) in self.open_segments() {
            synced.insert(path, length);
        }
    }

    /// The power fails: of what was not synced, nothing is there any more, or a part.
    pub fn cut_power(&self) {
        let synced = self.synced.lock().unwrap().clone();
        for (path, length) in self.open_segments() {
            let safe = synced.get(&path).copied().unwrap_or(0).min(length);
            if safe == length {
                continue;
            }
            let torn = self.random.per_mille(500);
            let left = if torn { safe + self.random.below(length - safe) } else { safe };
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(left).unwrap();
            self.faults.fired(if torn { Fault::ArchiveWriteTorn } else { Fault::ArchiveWriteLost });
        }
    }

    fn open_segments(&self) -> Vec<(std::path::PathBuf, u64)> {
        let Ok(entries) = std::fs::read_dir(self.folder.join("archive/open")) else { return vec![] };
        let mut found: Vec<_> = entries
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "ndjson"))
            .map(|entry| (entry.path(), entry.metadata().unwrap().len()))
            .collect();
        found.sort();
        found
    }

    /// Between two lives: the views' folder is lost, or is as it was a life ago.
    pub fn damage_views(&self) {
        let (folder, older) = (self.folder.join("views"), self.folder.join("views-older"));
        if !folder.exists() {
            return;
        }
        match self.random.below(100) {
            0..6 => {
                std::fs::remove_dir_all(&folder).unwrap();
                self.faults.fired(Fault::ViewsLost);
            }
            6..26 if older.exists() => {
                std::fs::remove_dir_all(&folder).unwrap();
                std::fs::rename(&older, &folder).unwrap();
                self.faults.fired(Fault::ViewsSetBack);
            }
            26..60 => copy_folder(&folder, &older),
            _ => {}
        }
    }
}

fn copy_folder(from: &std::path::Path, to: &std::path::Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).unwrap();
    }
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
