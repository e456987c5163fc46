//! What can go wrong, by what a caller does about it.

use std::{error::Error, fmt, io, sync::Arc, time::Duration};

use serde::Deserialize;

use super::{endpoint::Endpoint, tls::TlsError};

/// Why something could not be done with a database.
///
/// | variant                     | what to do                                                                      |
/// |-----------------------------|---------------------------------------------------------------------------------|
/// | [`Unreachable`], [`Ended`]  | nothing was done; connect (again), with a pause                                  |
/// | [`TimedOut`]                | nothing was done; look at the copy, decide anew                                  |
/// | [`Refused`]                 | nothing was done; sending the same again is of use only if a guard failed        |
/// | [`UnknownOutcome`]          | all or nothing was done, perhaps will be: look at a copy of a *new* connection   |
///
/// [`Unreachable`]: OvsdbError::Unreachable
/// [`Ended`]: OvsdbError::Ended
/// [`TimedOut`]: OvsdbError::TimedOut
/// [`Refused`]: OvsdbError::Refused
/// [`UnknownOutcome`]: OvsdbError::UnknownOutcome
#[derive(Debug, thiserror::Error)]
pub enum OvsdbError {
    /// None of the servers could be used.
    #[error("no server of the database {database} can be used: {}", Attempts(attempts))]
    Unreachable {
        /// The database's name.
        database: String,
        /// What came of trying each server, in the order they were tried.
        attempts: Vec<Attempt>,
    },
    /// There is no connection any more; what was asked for was not sent.
    #[error("the connection to the database ended")]
    Ended(#[source] Ended),
    /// The deadline passed.
    #[error("{awaited}: not within {after:?}")]
    TimedOut {
        /// What was waited for.
        awaited: String,
        /// The deadline given.
        after: Duration,
    },
    /// The server refused, and did nothing.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The transaction was sent, and how it ended is not known.
    #[error("whether the transaction was carried out is not known")]
    UnknownOutcome(#[source] Lost),
}

/// What came of trying one server.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// Where it should listen.
    pub endpoint: Endpoint,
    /// Why it cannot be used.
    pub ended: Ended,
}

struct Attempts<'a>(&'a [Attempt]);

impl fmt::Display for Attempts<'_> {
    // The causes of several attempts are told here: a chain of sources has no room for more than one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Attempt { endpoint, ended }) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{endpoint}: {ended}")?;
            let mut cause = ended.source();
            while let Some(source) = cause {
                write!(f, ": {source}")?;
                cause = source.source();
            }
        }
        Ok(())
    }
}

/// Why there is no connection.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Ended {
    /// It did not come about.
    #[error("cannot connect")]
    Connect(#[source] Arc<io::Error>),
    /// The files for TLS are of no use.
    #[error("TLS cannot be set up")]
    Tls(#[source] Arc<TlsError>),
    /// The server had not sent the first copy when the deadline had passed.
    #[error("no copy of the database came within {0:?}")]
    NoCopy(Duration),
    /// The server refused to tell what the tables have: it has no such database, table or column.
    #[error("the server refused to send a copy")]
    Refused(#[source] Refused),
    /// The server closed it, or its process ended.
    #[error("the server closed the connection")]
    Closed,
    /// Reading or writing failed.
    #[error("reading or writing failed")]
    Io(#[source] Arc<io::Error>),
    /// The server said nothing for so long, though it was asked for a sign of life.
    #[error("the server gave no sign of life for {0:?}")]
    Silent(Duration),
    /// The server broke the protocol.
    #[error("the server broke the protocol: {0}")]
    Violation(String),
    /// The server of a clustered database has no contact with the majority of its cluster: what it has may be old.
    #[error("the server has no contact with its cluster")]
    Outside,
    /// It was ended at this side: every client was dropped, or the runtime is shutting down.
    #[error("the connection was given up at this side")]
    GivenUp,
}

impl Ended {
    pub(super) fn connect(error: io::Error) -> Self {
        Self::Connect(Arc::new(error))
    }
}

/// Why the outcome of a transaction is not known.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Lost {
    /// The connection ended before the answer came.
    #[error("the connection to the database ended")]
    Ended(#[source] Ended),
    /// The answer did not come in time. The server was told to cancel the transaction, which it may or may not do.
    #[error("no answer came within {0:?}")]
    TimedOut(Duration),
    /// The server canceled it, and does not know either (such as at a change of the schema, or when the cluster has no
    /// leader).
    #[error("the server canceled the transaction")]
    Canceled,
    /// The answer is not one to the operations sent.
    #[error("the server's answer makes no sense: {0}")]
    Answer(String),
}

/// What a server says when it refuses (RFC 7047 section 3.1, `<error>`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, thiserror::Error)]
pub struct Refused {
    /// The operation that failed, counted from 0. None if it was all of them together: a constraint, looked at when the
    /// transaction is committed, or something the server could not even begin with.
    #[serde(skip)]
    pub operation: Option<usize>,
    /// The kind of error, such as `constraint violation`, `referential integrity violation`, `unknown column`; an
    /// unknown table is a `syntax error`.
    pub error: String,
    /// What it is about, for people.
    pub details: Option<String>,
    /// The part of the request that the server could not make sense of.
    pub syntax: Option<String>,
}

impl Refused {
    /// Whether a guard ([`super::Operation::wait`]) was what failed: the database is not as it was when the transaction
    /// was planned, so plan anew. `timed out` is what a server calls it (RFC 7047 section 5.2.6).
    #[must_use]
    pub fn guard_failed(&self) -> bool {
        self.error == "timed out"
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the database refused")?;
        if let Some(operation) = self.operation {
            write!(f, " operation {operation}")?;
        }
        write!(f, ": {}", self.error)?;
        if let Some(details) = &self.details {
            write!(f, ": {details}")?;
        }
        if let Some(syntax) = &self.syntax {
            write!(f, " (in {syntax})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attempt_is_told_with_its_cause() {
        let attempts = ["unix:/run/a", "tcp:b:6641"]
            .into_iter()
            .zip([Ended::connect(io::Error::other("no such file")), Ended::Outside])
            .map(|(endpoint, ended)| Attempt { endpoint: endpoint.parse().unwrap(), ended })
            .collect();
        let error = OvsdbError::Unreachable { database: "D".to_owned(), attempts };
        assert_eq!(
            error.to_string(),
            "no server of the database D can be used: unix:/run/a: cannot connect: no such file; \
             tcp:b:6641: the server has no contact with its cluster"
        );
    }
}
