//! What can go wrong at the log, told apart by what the caller does next.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::chain::Damage;

/// Why something failed, in a sentence, with the error below it if there is one.
#[derive(Debug, Clone)]
pub struct Cause {
    why: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl Cause {
    /// A cause without an error below it.
    pub fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), source: None }
    }

    /// A cause with the error below it.
    pub fn with_source(why: impl Into<String>, source: impl Error + Send + Sync + 'static) -> Self {
        Self { why: why.into(), source: Some(Arc::new(source)) }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

/// Why an entry was not, or perhaps not, appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Another entry came first (or an entry before this one in the pipeline failed): nothing was stored. Fold what
    /// was missed and decide again. It is also the answer to the repetition of an entry that *was* stored, so after an
    /// unknown outcome ask [`resolve`](crate::resolve()) first.
    #[error("the log's last sequence is {}, not the expected one", actual.map_or("another".to_owned(), |a| a.to_string()))]
    WrongLastSequence {
        /// The log's last sequence, if the answer told it.
        actual: Option<u64>,
    },
    /// The entry may be stored, now or a little later, or not at all: find out with [`resolve`](crate::resolve()).
    #[error("it is not known whether the commit was stored")]
    UnknownOutcome(#[source] Cause),
    /// The payload is over [`MAX_COMMIT_BYTES`](crate::MAX_COMMIT_BYTES) or the stream's own limit; nothing was stored.
    #[error("a commit of {bytes} bytes is too large; at most {limit} are allowed: split the command")]
    TooLarge {
        /// Size of the payload.
        bytes: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// The log can't be reached now and nothing was stored: try again later.
    #[error("the log can't be reached now; nothing was stored")]
    Unavailable(#[source] Cause),
    /// The log refuses this entry and always will; nothing was stored.
    #[error("the log refused the commit")]
    Refused(#[source] Cause),
}

/// Why the log couldn't be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// It can't be reached now: try again later.
    #[error("the log can't be reached now")]
    Unavailable(#[source] Cause),
    /// What is stored is not what was acknowledged: writes must stop, and a person must look.
    #[error("the log is damaged")]
    Damaged(
        #[source]
        #[from]
        Damage,
    ),
    /// The log refuses the request (no rights, no such stream) or answers what isn't understood.
    #[error("the log refused the request")]
    Refused(#[source] Cause),
}
