//! The server's way into guests: the vm driver's, in wire types.

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use edgestack_model::{Id, vm::Vm};
use edgestack_pool::DriverError;
use edgestack_server::{GuestAccess, GuestError};
use edgestack_wire::vm::{GuestInfo, GuestInterface, LoginUser};
use edgestack_worker_vm::driver::{Observed, VmDriver};
use futures::stream::BoxStream;

/// How long a guest's agent may take.
const AGENT_DEADLINE: Duration = Duration::from_secs(5);

/// Reaches guests through the driver of this node.
pub struct DriverGuests(pub Arc<dyn VmDriver>);

impl DriverGuests {
    async fn check_running(&self, vm: Id<Vm>) -> Result<(), GuestError> {
        match self.0.observe(vm).await {
            Ok(Observed::Running(_)) => Ok(()),
            Ok(Observed::Paused(_)) => Err(GuestError::AgentNotAnswering { why: "the VM is paused".to_owned() }),
            Ok(Observed::Absent { .. } | Observed::Over { .. }) => Err(GuestError::NotRunning),
            Err(error) => Err(GuestError::Failed { why: error.to_string() }),
        }
    }
}

#[async_trait]
impl GuestAccess for DriverGuests {
    async fn console(
        &self,
        vm: Id<Vm>,
        tail_bytes: Option<u64>,
        follow: bool,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, GuestError> {
        match self.0.console(vm, tail_bytes.unwrap_or(u64::MAX), follow).await {
            Ok(stream) => Ok(stream),
            Err(DriverError::Gone) => Err(GuestError::NotRunning),
            Err(error) => Err(GuestError::Failed { why: error.to_string() }),
        }
    }

    async fn guest_info(&self, vm: Id<Vm>) -> Result<GuestInfo, GuestError> {
        self.check_running(vm).await?;
        let facts = self.0.guest_facts(vm, AGENT_DEADLINE).await.map_err(silent)?;
        Ok(GuestInfo {
            hostname: facts.hostname,
            operating_system: facts.operating_system,
            kernel: facts.kernel,
            architecture: facts.architecture,
            agent_version: facts.agent_version,
            interfaces: facts
                .interfaces
                .into_iter()
                .map(|(name, mac, addresses)| GuestInterface { name, mac, addresses })
                .collect(),
        })
    }

    async fn login_users(&self, vm: Id<Vm>) -> Result<Vec<LoginUser>, GuestError> {
        self.check_running(vm).await?;
        let logins = self.0.guest_logins(vm).await.map_err(silent)?;
        Ok(logins
            .into_iter()
            .map(|login| LoginUser { user: login.user, domain: login.domain, login_time: login.since })
            .collect())
    }
}

fn silent(error: DriverError) -> GuestError {
    match error {
        DriverError::Gone => GuestError::NotRunning,
        DriverError::Retry { .. } | DriverError::Never { .. } | DriverError::PortTaken(_) => {
            GuestError::AgentNotAnswering { why: error.to_string() }
        }
    }
}
