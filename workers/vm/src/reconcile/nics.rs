//! NICs that come and go while their VM lives.

use edgestack_model::{
    orphan::VmRecord,
    vm::{Nic, NicStage, Vm, VmReport, port_name},
};
use edgestack_pool::{DriverError, Next, crash_point};

use super::{LOOK_AGAIN, VmPool};
use crate::{
    driver::{StartAddress, StartNic},
    plan,
};

impl VmPool {
    /// The NICs that a VM is to be started with.
    pub(super) fn start_nics(&self, vm: &Vm) -> Result<Vec<StartNic>, DriverError> {
        vm.nics_staying().map(|nic| self.start_nic(vm, nic)).collect()
    }

    fn start_nic(&self, vm: &Vm, nic: &Nic) -> Result<StartNic, DriverError> {
        let world = self.parts.replica.world();
        let spec = &nic.spec;
        let network = world.networks.get(&spec.network);
        let network = network.ok_or_else(|| DriverError::retry("a network of it is not in the log"))?;
        let addresses = network.spec.subnets.iter().zip(&spec.addresses);
        Ok(StartNic {
            number: spec.number,
            port: port_name(vm.id, spec.number),
            mac: spec.mac.to_string(),
            mtu: u16::try_from(network.spec.mtu).unwrap_or(u16::MAX),
            dhcp: network.spec.dhcp,
            addresses: addresses
                .map(|(subnet, ip)| StartAddress {
                    ip: *ip,
                    prefix_length: subnet.cidr.prefix_length(),
                    gateway: subnet.gateway_ip,
                })
                .collect(),
            name_servers: if network.spec.dhcp { vec![] } else { network.spec.dns_servers.clone() },
        })
    }

    pub(super) async fn plug_nic(&self, vm: &Vm, number: u32) -> Option<Next> {
        let nic = vm.nics.iter().find(|nic| nic.spec.number == number)?;
        let record = VmRecord::of(vm)?;
        crash_point::pass("vm.plug.before");
        let plugged = match self.start_nic(vm, nic) {
            Ok(nic) => self.parts.driver.plug_nic(vm.id, &nic, &record).await,
            Err(error) => Err(error),
        };
        crash_point::pass("vm.plug.after");
        match plugged {
            Ok(()) => self.report(vm, VmReport::NicPlugged { number }).await,
            Err(error) => self.nic_failed(vm, number, "plug", error).await,
        }
    }

    pub(super) async fn unplug_nic(&self, vm: &Vm, number: u32) -> Option<Next> {
        let record = VmRecord::of(vm)?;
        let leaves = vm.nics.iter().any(|nic| nic.spec.number == number && nic.stage == NicStage::Leaving);
        crash_point::pass("vm.unplug.before");
        let unplugged = self.parts.driver.unplug_nic(vm.id, number, &record).await;
        crash_point::pass("vm.unplug.after");
        match unplugged {
            Ok(()) if leaves => self.report(vm, VmReport::NicUnplugged { number }).await,
            // The log knows no such NIC any more.
            Ok(()) => None,
            Err(error) if !leaves => {
                tracing::warn!(id = %vm.id, name = %vm.meta.name, number, %error, "a NIC that nobody wished for stays in the VM; it is tried again");
                Some(Next::After(LOOK_AGAIN))
            }
            Err(error) => self.nic_failed(vm, number, "unplug", error).await,
        }
    }

    async fn nic_failed(&self, vm: &Vm, number: u32, step: &str, error: DriverError) -> Option<Next> {
        if matches!(error, DriverError::Gone) {
            return None;
        }
        tracing::warn!(id = %vm.id, name = %vm.meta.name, number, step, %error, "attempt failed");
        self.report(vm, VmReport::NicAttemptFailed { number, failed: error.failed_attempt(step) }).await
    }

    /// What comes next, or a NIC's next attempt if that comes before.
    pub(super) fn sooner(&self, next: Next, vm: &Vm) -> Next {
        let Some(at) = plan::next_attempt(vm, self.parts.clock.now()) else { return next };
        match next {
            Next::After(pause) => Next::After(pause.min(self.until(at))),
            Next::Beat => Next::After(self.until(at)),
        }
    }
}
