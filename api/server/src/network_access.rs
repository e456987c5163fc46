//! How the server tests the virtual network. The gateway pool's process implements it; the server knows nothing of OVN.

use async_trait::async_trait;
use edgestack_model::{Id, load_balancer::LoadBalancer};
use edgestack_wire::{
    Invalid,
    lb_health::LbHealth,
    network_test::{AskPing, AskTrace, Counters, Ping, Trace},
};

/// Tests of the site's virtual network.
#[async_trait]
pub trait NetworkAccess: Send + Sync {
    /// Sends echo requests, and tells where they stop if not all are answered.
    ///
    /// # Errors
    /// [`NetworkError`].
    async fn ping(&self, asked: AskPing) -> Result<Ping, NetworkError>;

    /// Tells where a packet would go.
    ///
    /// # Errors
    /// [`NetworkError`].
    async fn trace(&self, asked: AskTrace) -> Result<Trace, NetworkError>;

    /// Tells what went over the NICs of this node.
    ///
    /// # Errors
    /// [`NetworkError`].
    async fn counters(&self) -> Result<Counters, NetworkError>;

    /// Tells which members of a load balancer live.
    ///
    /// # Errors
    /// [`NetworkError`].
    async fn health(&self, balancer: Id<LoadBalancer>) -> Result<LbHealth, NetworkError>;
}

/// Why a test could not be made.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// What it is about is not there.
    #[error("{field}: {why}")]
    NotFound {
        /// The field that names it.
        field: &'static str,
        /// Which, in words.
        why: String,
    },
    /// It can't be asked so.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// There is nothing to test with: no network, or another process has it.
    #[error("{why}")]
    NotHere {
        /// Why, and where to ask.
        why: String,
    },
    /// It can be asked again.
    #[error("{why}")]
    NotNow {
        /// Why.
        why: String,
    },
}
