//! How the server reaches into guests. The vm pool implements it; the server
//! knows nothing of QEMU.

use std::io;

use async_trait::async_trait;
use bytes::Bytes;
use edgestack_model::{Id, vm::Vm};
use edgestack_wire::vm::{GuestInfo, LoginUser};
use futures::stream::BoxStream;

/// Access to the guests of this site.
#[async_trait]
pub trait GuestAccess: Send + Sync {
    /// The serial console's log, from its beginning or its last `tail_bytes`. With
    /// `follow` the stream goes on with what the guest writes, until it is dropped.
    /// A stopped VM has the log of its last run.
    ///
    /// # Errors
    /// [`GuestError`].
    async fn console(
        &self,
        vm: Id<Vm>,
        tail_bytes: Option<u64>,
        follow: bool,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, GuestError>;

    /// What the guest's agent says of the guest now.
    ///
    /// # Errors
    /// [`GuestError`].
    async fn guest_info(&self, vm: Id<Vm>) -> Result<GuestInfo, GuestError>;

    /// Who is logged in in the guest now.
    ///
    /// # Errors
    /// [`GuestError`].
    async fn login_users(&self, vm: Id<Vm>) -> Result<Vec<LoginUser>, GuestError>;
}

/// Why a guest did not answer.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    /// The VM does not run.
    #[error("the VM does not run")]
    NotRunning,
    /// The VM runs, but nothing answers in it.
    #[error("the guest's agent does not answer ({why})")]
    AgentNotAnswering {
        /// What was tried, and what came.
        why: String,
    },
    /// Something on the node failed.
    #[error("the guest could not be reached ({why})")]
    Failed {
        /// What, in words.
        why: String,
    },
}
