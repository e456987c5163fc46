//! What the worker touches the outside with.

mod answer;
mod connection;
mod http;
mod sim;

use std::{io, net::SocketAddr};

use async_trait::async_trait;
use bytes::Bytes;
use edgestack_model::webhook::{NotAllowed, TargetUrl};

pub(crate) use answer::Meaning;
pub use answer::{Answer, RetryAfter};
pub use http::{HttpDriver, Resolver, SystemResolver};
pub use sim::{SimAnswer, SimDriver, SimReceived};

/// The headers of a delivery.
pub type Headers = [(&'static str, String)];

/// Posts to targets.
///
/// **Guarantees.** One call asks one target at most twice (when a kept connection turns out to be closed). Nothing is
/// connected to but what the operator allows for this target at this moment. Nothing of an answer comes back but what
/// [`Answer`] holds.
///
/// **Assumptions.** The caller bounds the time: dropping the future ends the attempt.
///
/// **Caveats.** After an error, and after a drop, the target may have the request all the same.
#[async_trait]
pub trait WebhookDriver: Send + Sync + 'static {
    /// Posts a body.
    ///
    /// # Errors
    /// [`PostError`]: there was no answer.
    async fn post(&self, url: &TargetUrl, headers: &Headers, body: &Bytes) -> Result<Answer, PostError>;
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The operator doesn't allow it.
    #[error(transparent)]
    NotAllowed(#[from] NotAllowed),
    /// The name leads nowhere.
    #[error("the name of the target cannot be resolved")]
    Unresolved(#[source] io::Error),
    /// Nobody listens there, or the way is blocked.
    #[error("no connection to {address}")]
    NoConnection {
        /// The address that was tried last.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection was lost, or what came over it is no HTTP.
    #[error("the connection broke before there was an answer")]
    Broken(#[source] hyper::Error),
    /// The request can't be made.
    #[error("the request cannot be made")]
    Unsendable(#[source] hyper::http::Error),
    /// A simulated target said so.
    #[error("the simulated target is silent")]
    Simulated,
}
