//! Why a command did not do what it was asked, and the one line that says so.

use std::{error::Error, io, path::PathBuf};

use crate::{client::ClientError, config::ConfigError};

/// What ends a command early.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Options that clap takes but that make no sense together.
    #[error("{0}")]
    Usage(String),
    /// No way to the site is known.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server refused, or could not be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It did not come to what was asked for.
    #[error("{0}")]
    Failed(String),
    /// Some of several names failed; each was told of already.
    #[error("{failed} of {all} failed")]
    Some {
        /// How many failed.
        failed: usize,
        /// How many there were.
        all: usize,
    },
    /// A local file that cannot be read or written.
    #[error("cannot {doing} {path}")]
    File {
        /// `read`, `write` …
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The time that the user gave is over.
    #[error("{0}")]
    TimedOut(String),
    /// An answer that this edgectl cannot read.
    #[error("the server's answer is not understood; is edgectl older than the server? -o json shows it as it is")]
    Unreadable(#[from] serde_json::Error),
    /// Standard output is gone or full.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
}

impl Failure {
    /// What the process exits with: 1 refused or failed, 2 wrong usage, 3 timed
    /// out while waiting. A reader that has gone away (`| head`) is no failure.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            Self::Usage(_) | Self::Config(_) => 2,
            Self::TimedOut(_) => 3,
            Self::Client(_)
            | Self::Failed(_)
            | Self::Some { .. }
            | Self::File { .. }
            | Self::Unreadable(_)
            | Self::Output(_) => 1,
        }
    }
}

/// The error in one line: what this layer says, then the deepest cause. The
/// layers between (HTTP libraries wrap three deep) say nothing that helps.
pub fn line(error: &dyn Error) -> String {
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(Error::source) {
        cause = Some(deeper);
    }
    let text = error.to_string();
    match cause.map(ToString::to_string) {
        Some(cause) if !text.contains(&cause) => one_line(&format!("{text}: {cause}")),
        Some(_) | None => one_line(&text),
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_has_the_exit_code_of_the_contract() {
        let pipe = |kind| Failure::Output(io::Error::from(kind)).exit_code();
        assert_eq!(pipe(io::ErrorKind::BrokenPipe), 0);
        assert_eq!(pipe(io::ErrorKind::StorageFull), 1);
        assert_eq!(Failure::Failed(String::new()).exit_code(), 1);
        assert_eq!(Failure::Usage(String::new()).exit_code(), 2);
        assert_eq!(Failure::TimedOut(String::new()).exit_code(), 3);
    }

    #[test]
    fn the_deepest_cause_is_told_once_and_on_one_line() {
        let failure =
            Failure::File { doing: "read", path: "/nowhere".into(), source: io::Error::other("no such\n  thing") };
        assert_eq!(line(&failure), "cannot read /nowhere: no such thing");
    }
}
