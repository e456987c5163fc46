//! Why there is no good answer, and what of it makes sense to try again.

use std::{path::PathBuf, time::Duration};

use edgestack_wire::Problem;
use reqwest::{StatusCode, Url};

use super::REQUEST_TIMEOUT;
use crate::trust::Untrusted;

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server said no, and why.
    #[error("{}{hint}", problem.detail)]
    Refused {
        /// What it said.
        problem: Box<Problem>,
        /// What edgectl knows about it that the server does not.
        hint: String,
        /// After how long the same request may be sent again.
        retry_after: Option<Duration>,
    },
    /// No connection.
    #[error("cannot reach {url} (is the site up? deploy/quickstart starts it)")]
    Unreachable {
        /// The site.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// There is a connection, and the site behind it cannot be trusted.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// No answer in time.
    #[error("{url} did not answer within {} s; see what the server is doing: its log, or GET /readyz", REQUEST_TIMEOUT.as_secs())]
    Slow {
        /// What was asked.
        url: String,
    },
    /// The connection broke while the request was under way.
    #[error("the connection to {url} broke")]
    Broken {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// What came back is no HTTP.
    #[error("what answers at {url} does not speak HTTP; if the site has a certificate, its URL begins with https://")]
    NotHttp {
        /// What was asked.
        url: String,
    },
    /// An error without a problem document.
    #[error("{url} answered {status} and no problem document; is this EdgeStack's API?{hint}")]
    NotOurs {
        /// What was asked.
        url: String,
        /// The answer.
        status: StatusCode,
        /// What edgectl knows.
        hint: String,
        /// After how long the same request may be sent again.
        retry_after: Option<Duration>,
    },
    /// The file to send cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The change was recorded and not sent: the client is a recorder. No failure, but there is no answer either.
    #[error("recorded, not sent")]
    Recorded,
    /// A header that HTTP has no room for.
    #[error("{what} holds characters that an HTTP header cannot carry; use printable ASCII")]
    Header {
        /// Which.
        what: &'static str,
    },
}

impl ClientError {
    /// True when the resource is not there.
    pub fn is_missing(&self) -> bool {
        self.status() == Some(404)
    }

    /// The HTTP status, when the server answered.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { problem, .. } => Some(problem.status),
            Self::NotOurs { status, .. } => Some(status.as_u16()),
            Self::Unreachable { .. }
            | Self::Untrusted(_)
            | Self::NotHttp { .. }
            | Self::Slow { .. }
            | Self::Broken { .. }
            | Self::File { .. }
            | Self::Recorded
            | Self::Header { .. } => None,
        }
    }

    /// After how long the same request may be sent again, if that makes sense at
    /// all: the server asked for it, or the outcome is unknown (the idempotency
    /// key makes a second try safe).
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } | Self::NotOurs { retry_after, .. } => *retry_after,
            Self::Slow { .. } | Self::Broken { .. } => Some(Duration::from_secs(1)),
            Self::Unreachable { .. }
            | Self::Untrusted(_)
            | Self::NotHttp { .. }
            | Self::File { .. }
            | Self::Recorded
            | Self::Header { .. } => None,
        }
    }
}

/// A stream's or body's failure.
pub fn broken(url: &Url, error: reqwest::Error) -> ClientError {
    let url = shown(url);
    if error.is_timeout() {
        ClientError::Slow { url }
    } else if is_no_http(&error) {
        ClientError::NotHttp { url }
    } else {
        ClientError::Broken { url, source: error }
    }
}

/// Whether the answer could not be parsed, as when TLS answers what is not TLS.
fn is_no_http(error: &reqwest::Error) -> bool {
    std::iter::successors(std::error::Error::source(error), |cause| cause.source())
        .filter_map(|cause| cause.downcast_ref::<hyper::Error>())
        .any(hyper::Error::is_parse)
}

/// A URL without its query, for messages.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}
