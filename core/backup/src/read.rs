//! Reading a backup, believing none of it.

use std::io::{self, BufRead, BufReader, Read};

use edgestack_model::{Commit, DecodeError};
use sha2::{Digest as _, Sha256};

use crate::{End, FORMAT, Manifest, PublicKey, signed};

/// The longest line that is read, bytes; a commit has 256 KiB at most.
const LINE_BYTES_MAX: u64 = 1 << 20;
const GENESIS: [u8; 32] = [0; 32];

/// Why a file is no backup that can be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file can't be read, or is not packed as it should be.
    #[error("the backup can't be read on after commit {after}; it is damaged or cut off there")]
    Unreadable {
        /// The last commit that was read.
        after: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its first line is none of ours.
    #[error("it is no backup of EdgeStack: its first line is no manifest")]
    NoManifest,
    /// It is of a later version.
    #[error("it is a backup of form {0}, and this EdgeStack reads form {FORMAT}; install the version that made it")]
    OtherForm(u32),
    /// It ends before its end.
    #[error("the backup is cut off after commit {after} of {of}; take a whole one")]
    CutOff {
        /// The last commit in it.
        after: u64,
        /// The last that its manifest tells.
        of: u64,
    },
    /// A commit is not the next one.
    #[error("in the place of commit {expected} stands {found}")]
    Gap {
        /// The next one.
        expected: u64,
        /// What is there.
        found: String,
    },
    /// A commit doesn't follow from the one before.
    #[error("commit {sequence} does not chain on the one before: one of the two was changed")]
    Unchained {
        /// Which.
        sequence: u64,
    },
    /// A commit can't be understood.
    #[error("commit {sequence} can't be read")]
    Undecodable {
        /// Which.
        sequence: u64,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// It doesn't end as its manifest tells.
    #[error("the backup ends at commit {last}, and another one than its manifest tells")]
    OtherHead {
        /// Where it ends.
        last: u64,
    },
    /// The lines are not those that were summed up.
    #[error("the backup was changed after it was made: its checksum differs")]
    Checksum,
    /// The signature is none of the manifest's key.
    #[error("the backup's signature is not of the key that it names")]
    Signature,
    /// It was signed by another key than was asked for.
    #[error("the backup is signed by {found}, not by the key that was asked for")]
    OtherKey {
        /// By which.
        found: PublicKey,
    },
    /// Something follows the end.
    #[error("something follows the end of the backup")]
    Trailing,
}

/// A backup that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// What it holds.
    pub manifest: Manifest,
    /// How many commits.
    pub commits: u64,
}

/// Reads a backup, one commit after the other.
pub struct Reader<R: Read> {
    lines: BufReader<zstd::Decoder<'static, BufReader<R>>>,
    manifest: Manifest,
    hasher: Sha256,
    commits: u64,
    head: [u8; 32],
    end: Option<End>,
}

impl<R: Read> Reader<R> {
    /// Reads the manifest. With `key`, only a backup that it signed is taken.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn open(file: R, key: Option<PublicKey>) -> Result<Self, BackupError> {
        let unpacker =
            zstd::Decoder::new(file).map_err(|source| BackupError::Unreadable { after: 0, source })?.single_frame();
        let mut lines = BufReader::new(unpacker);
        let line = read_line(&mut lines, 0)?.ok_or(BackupError::NoManifest)?;
        #[derive(serde::Deserialize)]
        struct Form {
            edgestack_backup: u32,
        }
        let form: Form = serde_json::from_slice(&line).map_err(|_| BackupError::NoManifest)?;
        if form.edgestack_backup != FORMAT {
            return Err(BackupError::OtherForm(form.edgestack_backup));
        }
        let manifest: Manifest = serde_json::from_slice(&line).map_err(|_| BackupError::NoManifest)?;
        if let Some(found) = key.and_then(|key| (key != manifest.public_key).then_some(manifest.public_key)) {
            return Err(BackupError::OtherKey { found });
        }
        let mut hasher = Sha256::new();
        hasher.update(&line);
        hasher.update(b"\n");
        Ok(Self { lines, manifest, hasher, commits: 0, head: GENESIS, end: None })
    }

    /// What it is to hold; believed only once all is read.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The next commit, checked as far as it can be by then; `None` at the end.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn next_commit(&mut self) -> Result<Option<(u64, Vec<u8>)>, BackupError> {
        if self.end.is_some() {
            return Ok(None);
        }
        let cut_off = BackupError::CutOff { after: self.commits, of: self.manifest.last };
        let line = read_line(&mut self.lines, self.commits)?.ok_or(cut_off)?;
        if line.starts_with(br#"{"end":"#)
            && let Ok(end) = serde_json::from_slice::<End>(&line)
        {
            self.end = Some(end);
            return Ok(None);
        }
        let sequence = self.commits + 1;
        let commit = Commit::decode(&line).map_err(|source| BackupError::Undecodable { sequence, source })?;
        if commit.sequence.0 != sequence {
            let found = format!("commit {}", commit.sequence);
            return Err(BackupError::Gap { expected: sequence, found });
        }
        if commit.previous_hash != hex::encode(self.head) {
            return Err(BackupError::Unchained { sequence });
        }
        self.head = Sha256::digest(&line).into();
        self.hasher.update(&line);
        self.hasher.update(b"\n");
        self.commits = sequence;
        Ok(Some((sequence, line)))
    }

    /// Reads what is left, and tells whether all of it was whole.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn verify(mut self) -> Result<Verified, BackupError> {
        while self.next_commit()?.is_some() {}
        let Self { mut lines, manifest, hasher, commits, head, end } = self;
        let cut_off = BackupError::CutOff { after: commits, of: manifest.last };
        let end = end.ok_or(cut_off)?;
        if (end.end, manifest.last) != (commits, commits) || manifest.head_hash != hex::encode(head) {
            return Err(BackupError::OtherHead { last: commits });
        }
        let sha256: [u8; 32] = hasher.finalize().into();
        if end.sha256 != hex::encode(sha256) {
            return Err(BackupError::Checksum);
        }
        if !manifest.public_key.verifies(&signed(&sha256), &end.signature) {
            return Err(BackupError::Signature);
        }
        if read_line(&mut lines, commits)?.is_some() {
            return Err(BackupError::Trailing);
        }
        let mut file = lines.into_inner().finish();
        let rest = file.fill_buf().map_err(|source| BackupError::Unreadable { after: commits, source })?;
        if rest.is_empty() { Ok(Verified { manifest, commits }) } else { Err(BackupError::Trailing) }
    }
}

/// A line without its end; `None` at the end of the file.
fn read_line(lines: &mut impl BufRead, after: u64) -> Result<Option<Vec<u8>>, BackupError> {
    let mut line = Vec::new();
    let read = lines.take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
    read.map_err(|source| BackupError::Unreadable { after, source })?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) => {
            let source = io::Error::new(io::ErrorKind::UnexpectedEof, "a line has no end");
            Err(BackupError::Unreadable { after, source })
        }
    }
}
