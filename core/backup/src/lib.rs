//! A backup of the log: one file, readable without EdgeStack (`zstd -dc FILE | jq`), that proves itself whole.
//!
//! Lines of JSON, packed with zstd (RFC 8878): a [`Manifest`]; each commit as the log has it, byte for byte; and an
//! [`End`] with the SHA-256 of all lines before it and the site's Ed25519 signature (RFC 8032) of that. What is checked on
//! reading, in this order, so that the first wrong place is named: each commit's place, the chain of hashes, that it can
//! be decoded, the head that the manifest told, the checksum, the signature.
//!
//! It holds the log and nothing else: no disks, no images, and none of the keys in the secrets folder, without which sealed
//! user data stays sealed.

mod head;
mod key;
mod read;
mod write;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use head::SignedHead;
pub use key::{PublicKey, SigningKey};
pub use read::{BackupError, Reader, Verified};
pub use write::Writer;

/// How a backup is written; raised whenever a reader of before would not understand it.
pub const FORMAT: u32 = 1;

/// The first line: what the file is to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT`].
    pub edgestack_backup: u32,
    /// Of which site.
    pub site: String,
    /// The last commit in it; the first is 1.
    pub last: u64,
    /// SHA-256 of the last commit, 64 hex digits; zeros if there is none.
    pub head_hash: String,
    /// When the last commit was decided.
    pub time: Option<DateTime<Utc>>,
    /// When the backup was made.
    pub made_at: DateTime<Utc>,
    /// The version of EdgeStack that made it.
    pub version: String,
    /// Whose signature stands at the end, 64 hex digits.
    pub public_key: PublicKey,
}

/// The last line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    /// Commits in the file.
    end: u64,
    /// SHA-256 of all lines before this one, 64 hex digits.
    sha256: String,
    /// Ed25519 over [`signed`], 128 hex digits.
    signature: String,
}

/// What is signed: the checksum behind words that say what it is of.
fn signed(sha256: &[u8; 32]) -> Vec<u8> {
    [b"edgestack backup 1\0".as_slice(), sha256].concat()
}
