//! The simulated vm driver, with time, failures, crashes, and a watch over its callers.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use edgestack_model::{
    Id,
    orphan::{Artifact, ArtifactKind, Record, VmRecord},
    vm::Vm,
};
use edgestack_pool::DriverError;
use edgestack_worker_monitoring::Finder;
use edgestack_worker_vm::driver::{
    GuestFacts, GuestLogin, GuestPing, GuestPinged, Observed, Process, StartNic, StartSpec, VmDriver,
};
use futures::stream::BoxStream;

use crate::{
    fault::Fault,
    outside::{Node, Outside},
};

/// A node's driver as one control plane sees it.
pub struct SlowVmDriver {
    pub node: Node,
    pub outside: Arc<Outside>,
}

/// A call that changes something: one at a time for each VM (law 7).
struct Busy<'a> {
    driver: &'a SlowVmDriver,
    id: Id<Vm>,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        // Dropped at a crash as well: the process that was doing it is gone.
        self.driver.node.busy.lock().unwrap().remove(&self.id);
    }
}

impl SlowVmDriver {
    async fn begin(&self, id: Id<Vm>, doing: &'static str) -> Result<Busy<'_>, DriverError> {
        self.outside.crash.pass().await;
        if let Some(other) = self.node.busy.lock().unwrap().insert(id, doing) {
            self.outside.violations.add(format!("two workers at VM {id} at once: {other} and {doing}"));
        }
        let busy = Busy { driver: self, id };
        let stuck = self.outside.goes_wrong(Fault::DriverStuck, 4);
        let pause = if stuck { self.outside.random.millis(20_000, 90_000) } else { self.outside.random.millis(1, 80) };
        tokio::time::sleep(pause).await;
        self.outside.crash.pass().await;
        if self.outside.goes_wrong(Fault::DriverFailed, 60) {
            return Err(DriverError::retry_with_fix(format!("simulated: {doing} failed"), "wait"));
        }
        Ok(busy)
    }

    /// After what was done, before the caller learns of it.
    async fn done<T>(&self, busy: Busy<'_>, outcome: Result<T, DriverError>) -> Result<T, DriverError> {
        self.outside.crash.pass().await;
        drop(busy);
        if outcome.is_ok() && self.outside.goes_wrong(Fault::DidButSaidError, 15) {
            return Err(DriverError::retry("simulated: no answer came in time"));
        }
        outcome
    }

    /// Says that it is done, and nothing is.
    fn lies(&self) -> bool {
        self.outside.goes_wrong(Fault::SaidDoneButDidNot, 12)
    }

    /// Never two processes for one VM, wherever they are.
    async fn check_alone(&self, id: Id<Vm>) {
        for other in self.outside.nodes.iter().filter(|other| other.name != self.node.name) {
            if !matches!(other.machines.observe(id).await, Ok(Observed::Absent { .. })) {
                let (here, there) = (&self.node.name, &other.name);
                self.outside.violations.add(format!("VM {id} runs on {here} and on {there}"));
            }
        }
    }
}

#[async_trait]
impl VmDriver for SlowVmDriver {
    fn is_simulated(&self) -> bool {
        true
    }

    async fn observe(&self, id: Id<Vm>) -> Result<Observed, DriverError> {
        self.outside.looks.fetch_add(1, Ordering::Relaxed);
        if self.outside.goes_wrong(Fault::Unseen, 10) {
            return Err(DriverError::retry("simulated: it cannot be seen"));
        }
        self.node.machines.observe(id).await
    }

    async fn start(&self, spec: &StartSpec) -> Result<Process, DriverError> {
        let busy = self.begin(spec.id, "start").await?;
        if !self.node.volumes.lock().unwrap().contains(&spec.root_volume) {
            self.outside.violations.add(format!("VM {} was started without its disk", spec.id));
        }
        if self.outside.goes_wrong(Fault::PortTaken, 20) {
            return Err(DriverError::PortTaken(spec.ssh_port));
        }
        if self.lies() {
            let (host_boot, said) = ("simulated".to_owned(), "nothing".to_owned());
            let (accelerator, hypervisor) = (said.clone(), said);
            let nics = Some(vec![]);
            return Ok(Process { pid: u32::MAX, start_time_ticks: 0, host_boot, accelerator, hypervisor, nics });
        }
        let before = self.node.machines.observe(spec.id).await?;
        let started = self.node.machines.start(spec).await;
        if let (Observed::Running(process) | Observed::Paused(process), Ok(started)) = (&before, &started)
            && process != started
        {
            self.outside.violations.add(format!("VM {} was started beside its process {}", spec.id, process.pid));
        }
        self.check_alone(spec.id).await;
        self.done(busy, started).await
    }

    async fn pause(&self, id: Id<Vm>) -> Result<(), DriverError> {
        let busy = self.begin(id, "pause").await?;
        let outcome = if self.lies() { Ok(()) } else { self.node.machines.pause(id).await };
        self.done(busy, outcome).await
    }

    async fn resume(&self, id: Id<Vm>) -> Result<(), DriverError> {
        let busy = self.begin(id, "resume").await?;
        let outcome = if self.lies() { Ok(()) } else { self.node.machines.resume(id).await };
        self.done(busy, outcome).await
    }

    async fn press_power_button(&self, id: Id<Vm>) -> Result<(), DriverError> {
        let busy = self.begin(id, "press").await?;
        // Some guests are deaf to it, for good or this time.
        let deaf = self.outside.goes_wrong(Fault::GuestDeaf, 400);
        let outcome = if deaf { Ok(()) } else { self.node.machines.press_power_button(id).await };
        self.done(busy, outcome).await
    }

    async fn plug_nic(&self, id: Id<Vm>, nic: &StartNic, record: &VmRecord) -> Result<(), DriverError> {
        let busy = self.begin(id, "plug").await?;
        let outcome = if self.lies() { Ok(()) } else { self.node.machines.plug_nic(id, nic, record).await };
        self.done(busy, outcome).await
    }

    async fn unplug_nic(&self, id: Id<Vm>, number: u32, record: &VmRecord) -> Result<(), DriverError> {
        let busy = self.begin(id, "unplug").await?;
        // Some guests hold on to what they have, for good or this time.
        self.node.machines.hold_on(id, self.outside.goes_wrong(Fault::GuestDeaf, 300));
        let outcome = if self.lies() { Ok(()) } else { self.node.machines.unplug_nic(id, number, record).await };
        self.done(busy, outcome).await
    }

    async fn end(&self, id: Id<Vm>) -> Result<(), DriverError> {
        let busy = self.begin(id, "end").await?;
        let outcome = if self.lies() { Ok(()) } else { self.node.machines.end(id).await };
        self.done(busy, outcome).await
    }

    async fn release(&self, id: Id<Vm>) -> Result<(), DriverError> {
        let busy = self.begin(id, "release").await?;
        let outcome = if self.lies() {
            // Whatever is left is of no log from now on.
            self.outside.planted.lock().unwrap().insert(id.uuid());
            Ok(())
        } else {
            self.node.machines.release(id).await
        };
        self.done(busy, outcome).await
    }

    fn watch(&self, id: Id<Vm>, wake: Arc<dyn Fn(Id<Vm>) + Send + Sync>) {
        // Now and then the watch is missed, and the beat has to see it.
        if !self.outside.goes_wrong(Fault::WatchMissed, 200) {
            self.node.machines.watch(id, wake);
        }
    }

    async fn artifacts(&self) -> Result<Vec<Artifact>, DriverError> {
        self.outside.crash.pass().await;
        if self.outside.goes_wrong(Fault::Unseen, 50) {
            return Err(DriverError::retry("simulated: the processes cannot be listed"));
        }
        let artifacts = self.node.machines.artifacts().await;
        // What was listed is old by the time it is looked at.
        tokio::time::sleep(self.outside.random.millis(1, 400)).await;
        artifacts
    }

    async fn record(&self, id: Id<Vm>) -> Result<Option<VmRecord>, DriverError> {
        self.outside.crash.pass().await;
        self.node.machines.record(id).await
    }

    async fn guest_facts(&self, id: Id<Vm>, deadline: Duration) -> Result<GuestFacts, DriverError> {
        if self.outside.random.per_mille(500) {
            tokio::time::sleep(deadline).await;
            return Err(DriverError::retry("simulated: the agent does not answer"));
        }
        self.node.machines.guest_facts(id, deadline).await
    }

    async fn guest_logins(&self, id: Id<Vm>) -> Result<Vec<GuestLogin>, DriverError> {
        self.node.machines.guest_logins(id).await
    }

    async fn guest_ping(&self, id: Id<Vm>, ping: &GuestPing) -> Result<GuestPinged, DriverError> {
        self.node.machines.guest_ping(id, ping).await
    }

    async fn console(
        &self,
        id: Id<Vm>,
        tail_bytes: u64,
        follow: bool,
    ) -> Result<BoxStream<'static, std::io::Result<Bytes>>, DriverError> {
        self.node.machines.console(id, tail_bytes, follow).await
    }

    async fn upkeep(&self, id: Id<Vm>) -> Result<(), DriverError> {
        self.node.machines.upkeep(id).await
    }
}

#[async_trait]
impl Finder for SlowVmDriver {
    fn looks_for(&self) -> &'static [ArtifactKind] {
        &[ArtifactKind::VmFolder, ArtifactKind::VmProcess]
    }

    async fn found(&self) -> Result<Vec<Artifact>, DriverError> {
        self.artifacts().await
    }

    async fn record(&self, artifact: &Artifact) -> Result<Option<Record>, DriverError> {
        match artifact.kind {
            ArtifactKind::VmFolder => {
                Ok(VmDriver::record(self, Id::new(artifact.id)).await?.map(Box::new).map(Record::Vm))
            }
            _ => Ok(None),
        }
    }
}
