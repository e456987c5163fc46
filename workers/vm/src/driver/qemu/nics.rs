//! A QEMU's NICs: those of its start, and those that come and go while it runs.

use std::time::Duration;

use edgestack_engine::error_chain;
use edgestack_model::{Id, orphan::VmRecord, vm::Vm};
use edgestack_ovn::chassis::Chassis;
use edgestack_pool::DriverError;
use edgestack_qemu::{
    HostForward, Instance, Nic,
    hotplug::{self, HotplugError},
};

use super::{QemuDriver, qmp_error, retry};
use crate::driver::{StartNic, StartSpec, VmDriver as _, wire};

/// How long a guest may take to let go of a NIC before it is asked again.
const GUEST_LETS_GO: Duration = Duration::from_secs(5);

impl QemuDriver {
    /// Takes out what an earlier process had and this one shall not: a NIC that went while none ran.
    async fn unplug_former(&self, spec: &StartSpec) -> Result<(), DriverError> {
        let Some(up) = self.config.network.as_ref().and_then(|network| network.get()) else { return Ok(()) };
        let former = self.record(spec.id).await?.map(|record| record.nics).unwrap_or_default();
        for number in former.iter().map(|nic| nic.number) {
            if !spec.nics.iter().any(|nic| nic.number == number) {
                wire::unplug_one(up, spec.id, number).await?;
            }
        }
        Ok(())
    }

    fn network_up(&self) -> Result<&Chassis, DriverError> {
        let network = self.config.network.as_ref().ok_or_else(|| {
            DriverError::retry_with_fix(
                "its node has no virtual network",
                "start edgestackd as root with --networks bundled",
            )
        })?;
        network.get().ok_or_else(|| DriverError::retry("the virtual network of its node is not up yet"))
    }

    fn owner_of_devices(&self) -> &str {
        self.config.run_as.as_deref().unwrap_or("root")
    }

    /// Writes down what is known of it, where it was ever started.
    async fn write_record(&self, id: Id<Vm>, record: &VmRecord) -> Result<(), DriverError> {
        let (path, record) = (self.config.folders.vm_record(id), record.clone());
        tokio::task::spawn_blocking(move || match path.exists() {
            true => edgestack_qemu::durable::write_json(&path, &record),
            false => Ok(()),
        })
        .await
        .map_err(|error| DriverError::retry(error.to_string()))?
        .map_err(|error| retry(&error))
    }

    /// Takes its NICs out, if it was ever started with some: what its start wrote down tells.
    pub(super) async fn unplug(&self, id: Id<Vm>) -> Result<(), DriverError> {
        let Some(network) = &self.config.network else { return Ok(()) };
        if self.record(id).await?.is_none_or(|record| record.nics.is_empty()) {
            return Ok(());
        }
        let up = network.get().ok_or_else(|| DriverError::retry("the virtual network of its node is not up yet"))?;
        wire::unplug(up, id).await
    }

    /// Its NICs, those on networks plugged in.
    pub(super) async fn nics(&self, spec: &StartSpec) -> Result<Vec<Nic>, DriverError> {
        self.unplug_former(spec).await?;
        if spec.nics.is_empty() {
            let forwards = vec![HostForward { host_port: spec.ssh_port, guest_port: 22 }];
            return Ok(vec![Nic::UserNat { mac: spec.mac.clone(), forwards }]);
        }
        wire::plug(self.network_up()?, self.owner_of_devices(), spec.id, &spec.nics).await
    }

    pub(super) async fn plug_into(
        &self,
        instance: &Instance,
        id: Id<Vm>,
        nic: &StartNic,
        record: &VmRecord,
    ) -> Result<(), DriverError> {
        let network = self.network_up()?;
        // Before there is a device: what is written down tells whether there may be some.
        self.write_record(id, record).await?;
        let plugged = wire::plug(network, self.owner_of_devices(), id, std::slice::from_ref(nic)).await?;
        let monitor = instance.control().await.map_err(|error| qmp_error(&error))?;
        for nic in &plugged {
            hotplug::plug(&monitor, nic).await.map_err(hotplug_error)?;
        }
        Ok(())
    }

    /// Also where no process runs that would have to let go of it.
    pub(super) async fn unplug_from(
        &self,
        instance: Option<&Instance>,
        id: Id<Vm>,
        number: u32,
        record: &VmRecord,
    ) -> Result<(), DriverError> {
        if let Some(instance) = instance {
            let monitor = instance.control().await.map_err(|error| qmp_error(&error))?;
            hotplug::unplug(&monitor, number, GUEST_LETS_GO).await.map_err(hotplug_error)?;
        }
        if let Some(network) = &self.config.network {
            let up =
                network.get().ok_or_else(|| DriverError::retry("the virtual network of its node is not up yet"))?;
            wire::unplug_one(up, id, number).await?;
        }
        self.write_record(id, record).await
    }
}

fn hotplug_error(error: HotplugError) -> DriverError {
    match &error {
        HotplugError::Qmp(error) => qmp_error(error),
        HotplugError::Held { .. } => DriverError::retry_with_fix(
            error_chain(&error),
            "it is asked again; the guest has to be up for it, and a restart of the VM takes the NIC out",
        ),
        HotplugError::NoPort { .. } | HotplugError::UserNat => {
            DriverError::retry_with_fix(error_chain(&error), "restart the VM: the NIC comes with its next start")
        }
    }
}
