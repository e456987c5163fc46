//! What a driver says when it could not do what was asked.

/// Tells the pool what to do next, without string matching.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// It may work later: disk full, a program that is missing, a port that is taken.
    #[error("{reason}")]
    Retry {
        /// Why not, in words; the program's own last line where one failed.
        reason: String,
        /// What a person can do.
        fix: Option<String>,
    },
    /// It can never work with this input.
    #[error("{reason}")]
    Never {
        /// Why not, in words.
        reason: String,
        /// What a person can do.
        fix: Option<String>,
    },
    /// The loopback port of the SSH forward is taken by another program.
    #[error("port {0} is taken by another program")]
    PortTaken(u16),
    /// What was to be acted on is not there any more: look again.
    #[error("it is gone")]
    Gone,
}

impl DriverError {
    /// It may work later.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry { reason: reason.into(), fix: None }
    }

    /// It may work later, and a person can help.
    pub fn retry_with_fix(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Retry { reason: reason.into(), fix: Some(fix.into()) }
    }

    /// It can never work with this input.
    pub fn never(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::Never { reason: reason.into(), fix: Some(fix.into()) }
    }

    /// The failed attempt to be reported.
    pub fn failed_attempt(&self, step: &str) -> edgestack_model::waiting::FailedAttempt {
        let fix = match self {
            Self::Retry { fix, .. } | Self::Never { fix, .. } => fix.clone(),
            Self::PortTaken(_) | Self::Gone => None,
        };
        edgestack_model::waiting::FailedAttempt { step: step.to_owned(), reason: self.to_string(), fix }
    }
}
