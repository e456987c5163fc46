//! How a command reaches a writer.

use async_trait::async_trait;

use crate::{Outcome, Submission, SubmitError};

/// Takes commands to a writer, in this process ([`crate::Engine`]) or in another
/// one (over NATS). An `Ok` means: durable, and this process's replica shows it.
#[async_trait]
pub trait CommandPort: Send + Sync + 'static {
    /// Submits a command and waits for its outcome.
    ///
    /// # Errors
    /// See [`SubmitError`]; each says whether something may have changed.
    async fn submit(&self, submission: Submission) -> Result<Outcome, SubmitError>;
}
