//! The log of commits: every change of EdgeStack is one commit in it, appended by one writer at a time.
//!
//! This crate knows nothing of the model. A commit is one line of opaque JSON, of which only three fields are read:
//! `id` (the commit's uuid), `sequence` (its place in the log) and `previous_hash` (64 hex digits, the SHA-256 of the payload
//! before it). What is promised, and where it lives:
//!
//! - **Fenced** ([`Log::append`]): an entry names the last sequence it expects; the log stores it exactly there or not
//!   at all.
//! - **Acknowledged means durable** ([`jetstream::read_promise`]): an acknowledgement follows a synced write; the
//!   settings of server and stream that this rests on are read back, not assumed.
//! - **Checked, not believed** ([`chain`], [`verify`]): sequences without a gap, the hash chain and the count of
//!   messages; a difference is a typed [`Damage`].
//! - **Resolved, not guessed** ([`resolve()`]): an unknown outcome is settled by reading what is at the wanted sequence.
//!
//! Two logs implement [`Log`]: [`jetstream::JetStreamLog`] and [`memory::MemoryLog`], which is simulated and says so.
//! Both pass [`conformance`].

pub mod chain;
pub mod conformance;
mod error;
pub mod jetstream;
pub mod memory;
mod resolve;
pub mod side;
mod trace;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

pub use chain::{ChainHead, Damage, verify, verify_from};
pub use error::{AppendError, Cause, LogError};
pub use resolve::{Resolution, resolve};
pub use trace::Trace;

/// The largest payload of one commit, in bytes (256 KiB). A larger one is refused before anything is sent.
pub const MAX_COMMIT_BYTES: usize = 256 * 1024;

/// One commit on its way into the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// The sequence that must be the log's last one; the commit then gets the next. 0 for the first commit.
    pub expected_last_sequence: u64,
    /// The commit's id as in the payload's `id`; it is also the message id by which JetStream knows a duplicate.
    pub commit_id: String,
    /// `mm3.commit.<kind>.<resource id>` of the primary resource.
    pub subject: String,
    /// The commit as JSON in one line, at most [`MAX_COMMIT_BYTES`].
    pub payload: Bytes,
}

/// One commit as the log holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCommit {
    /// Its place in the log: 1 for the first, without gaps.
    pub sequence: u64,
    /// The bytes as appended.
    pub payload: Bytes,
}

/// What the log says of its own extent. It is a claim, to be compared with what can be read ([`verify`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogHead {
    /// Sequence of the oldest commit; 0 or 1 while the log is empty.
    pub first_sequence: u64,
    /// Sequence of the newest commit; 0 while the log is empty.
    pub last_sequence: u64,
    /// How many commits the log says it holds.
    pub messages: u64,
}

/// Resolves to the commit's sequence once it is durable (synced), or to why it isn't or may not be.
///
/// Dropping it does not take the append back: the entry was handed over already.
pub type PendingAck = BoxFuture<'static, Result<u64, AppendError>>;

/// The log of commits.
///
/// **Guarantees.** An acknowledged entry is durable, at sequence `expected_last_sequence + 1`, nobody else's entry is
/// there, and the commit before it is the one whose hash it carries. The last is more than the sequence alone gives: when
/// a foreign commit takes the place of one in flight, the next one in flight would find "its" sequence right. Entries reach the log in the order of the calls to [`append`](Log::append). Readers see whole commits in
/// ascending order, without a gap: a gap is an error, never skipped.
///
/// **Assumptions.** The caller keeps its own count of sequences and, while pipelining, expects the sequence that its
/// entry before it will get. After one failure all later entries in flight fail as well. A commit id names one sequence of
/// bytes for ever: an entry is only repeated as it was.
///
/// **Caveats.** [`AppendError::UnknownOutcome`] means what it says; see [`resolve()`].
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Hands the entry to the log, in call order (pipelined: many may be in flight; a full pipeline makes this call
    /// wait), and returns what resolves when the entry is durable.
    ///
    /// # Errors
    /// [`AppendError::TooLarge`], [`AppendError::Unavailable`] (not connected, nothing was sent),
    /// [`AppendError::Refused`] (also when the payload is no commit with this id and sequence) or
    /// [`AppendError::WrongLastSequence`] at once; the same and [`AppendError::UnknownOutcome`] through the returned
    /// future.
    async fn append(&self, entry: Append) -> Result<PendingAck, AppendError>;

    /// Up to `max_messages` commits from `from_sequence` on, ascending and dense. It may return fewer than there are
    /// (answers are bounded in bytes), but returns none only at the end of the log.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the log can't be reached, [`LogError::Damaged`] when a commit is missing.
    async fn read(&self, from_sequence: u64, max_messages: usize) -> Result<Vec<StoredCommit>, LogError>;

    /// The commit at `sequence`, from the one server whose word decides; `None` when there is none.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the log can't be reached.
    async fn get(&self, sequence: u64) -> Result<Option<StoredCommit>, LogError>;

    /// What the log says of its extent.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] when the log can't be reached.
    async fn head(&self) -> Result<LogHead, LogError>;

    /// All commits from `from_sequence` on, and then each new one. Heals lost connections by itself, from its own
    /// position, and skips nothing; ends only after an error ([`LogError::Damaged`]).
    ///
    /// # Errors
    /// [`LogError::Refused`] when following isn't allowed.
    async fn follow(&self, from_sequence: u64) -> Result<BoxStream<'static, Result<StoredCommit, LogError>>, LogError>;

    /// What the live log alone says of its extent, where some commits are elsewhere.
    ///
    /// # Errors
    /// As [`Self::head`].
    async fn live_head(&self) -> Result<LogHead, LogError> {
        self.head().await
    }

    /// The last commit that has left the live log and is read from elsewhere; [`ChainHead::GENESIS`] while all are in it.
    fn released(&self) -> ChainHead {
        ChainHead::GENESIS
    }

    /// What this log is: `"jetstream"` or `"memory (simulated)"`, for everything that shows it.
    fn backend(&self) -> &'static str;
}
