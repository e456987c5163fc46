//! A simulated driver, which says so: VMs are entries in a table. For the
//! simulation, for benchmarks, and for trying EdgeStack where no QEMU is.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use edgestack_model::{
    Id,
    orphan::{Artifact, ArtifactKind, VmRecord},
    vm::Vm,
};
use edgestack_pool::DriverError;
use futures::{StreamExt as _, stream::BoxStream};

use super::{GuestFacts, GuestLogin, GuestPing, GuestPinged, Observed, Process, StartNic, StartSpec, VmDriver};

type Wake = Arc<dyn Fn(Id<Vm>) + Send + Sync>;

/// The table of simulated VMs. Clones share it.
#[derive(Clone)]
pub struct SimDriver {
    machines: Arc<Mutex<BTreeMap<Id<Vm>, Machine>>>,
    next_pid: Arc<AtomicU32>,
    host_boot: Arc<Mutex<String>>,
    /// Whose guests let go of no NIC.
    holding: Arc<Mutex<BTreeSet<Id<Vm>>>>,
}

/// A VM that runs from the first.
#[derive(Clone, Debug)]
pub struct Runs {
    /// Which.
    pub id: Id<Vm>,
    /// What is written down of it; its name is also the guest's host name.
    pub record: VmRecord,
    /// Its process.
    pub process: Process,
    /// Whether its vCPUs stand still.
    pub paused: bool,
    /// Whether its guest has an agent.
    pub agent: bool,
}

#[derive(Clone)]
struct Machine {
    state: State,
    process: Process,
    name: String,
    record: VmRecord,
    agent: bool,
    wake: Option<Wake>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Paused,
    Over,
    Ended,
}

impl Default for SimDriver {
    fn default() -> Self {
        Self::running("simulated", [])
    }
}

impl SimDriver {
    /// A node without VMs.
    pub fn new() -> Self {
        Self::default()
    }

    /// A node in a boot of its own, on which VMs run already: those of a real one, taken over into a simulation.
    pub fn running(host_boot: &str, running: impl IntoIterator<Item = Runs>) -> Self {
        let machines: BTreeMap<_, _> = running
            .into_iter()
            .map(|Runs { id, record, process, paused, agent }| {
                let state = if paused { State::Paused } else { State::Running };
                let name = record.name.to_string();
                (id, Machine { state, process, name, record, agent, wake: None })
            })
            .collect();
        let last_pid = machines.values().map(|machine| machine.process.pid).max().unwrap_or(0);
        Self {
            machines: Arc::new(Mutex::new(machines)),
            next_pid: Arc::new(AtomicU32::new(last_pid)),
            host_boot: Arc::new(Mutex::new(host_boot.to_owned())),
            holding: Arc::default(),
        }
    }

    /// The node's power fails: every process ends, and what runs next runs in another boot.
    pub fn cut_power(&self, next_boot: &str) {
        next_boot.clone_into(&mut self.host_boot.lock().unwrap_or_else(PoisonError::into_inner));
        let mut wakes = Vec::new();
        for (id, machine) in self.lock().iter_mut() {
            machine.state = State::Ended;
            wakes.extend(machine.wake.clone().map(|wake| (*id, wake)));
        }
        wakes.into_iter().for_each(|(id, wake)| wake(id));
    }

    fn host_boot(&self) -> String {
        self.host_boot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The VMs that have something on this node.
    pub fn list(&self) -> Vec<Id<Vm>> {
        self.lock().keys().copied().collect()
    }

    /// The process dies, as after `kill -9`. False: none runs.
    pub fn crash(&self, id: Id<Vm>) -> bool {
        let runs = |machine: &Machine| matches!(machine.state, State::Running | State::Paused);
        let ran = self.lock().get(&id).is_some_and(runs);
        self.change(id, State::Ended);
        ran
    }

    /// As [`Self::crash`], and nobody who watches is told.
    pub fn crash_unseen(&self, id: Id<Vm>) {
        if let Some(machine) = self.lock().get_mut(&id) {
            machine.state = State::Ended;
        }
    }

    /// The guest powers itself off.
    pub fn power_off_from_inside(&self, id: Id<Vm>) {
        self.change(id, State::Over);
    }

    /// The guest lets go of no NIC from now on, as one without an operating system; or it does so again.
    pub fn hold_on(&self, id: Id<Vm>, holds_on: bool) {
        let mut holding = self.holding.lock().unwrap_or_else(PoisonError::into_inner);
        if holds_on {
            holding.insert(id);
        } else {
            holding.remove(&id);
        }
    }

    /// A NIC is taken out of what runs behind everybody's back.
    pub fn lose_nic(&self, id: Id<Vm>, number: u32) {
        if let Some(nics) = self.lock().get_mut(&id).and_then(|machine| machine.process.nics.as_mut()) {
            nics.retain(|other| *other != number);
        }
    }

    fn change(&self, id: Id<Vm>, state: State) {
        let wake = self.lock().get_mut(&id).and_then(|machine| {
            machine.state = state;
            machine.wake.clone()
        });
        if let Some(wake) = wake {
            wake(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Id<Vm>, Machine>> {
        self.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, id: Id<Vm>, from: State, to: State) -> Result<(), DriverError> {
        match self.lock().get_mut(&id) {
            Some(machine) if machine.state == from || machine.state == to => {
                machine.state = to;
                Ok(())
            }
            Some(_) | None => Err(DriverError::Gone),
        }
    }
}

#[async_trait]
impl VmDriver for SimDriver {
    fn is_simulated(&self) -> bool {
        true
    }

    async fn observe(&self, id: Id<Vm>) -> Result<Observed, DriverError> {
        let absent = Observed::Absent { host_boot: self.host_boot(), last_words: None };
        Ok(match self.lock().get(&id) {
            None => absent,
            Some(machine) => match machine.state {
                State::Ended => absent,
                State::Running => Observed::Running(machine.process.clone()),
                State::Paused => Observed::Paused(machine.process.clone()),
                State::Over => Observed::Over {
                    process: machine.process.clone(),
                    detail: "the guest shut down".to_owned(),
                    clean: true,
                },
            },
        })
    }

    async fn start(&self, spec: &StartSpec) -> Result<Process, DriverError> {
        let mut machines = self.lock();
        if let Some(machine) = machines.get(&spec.id) {
            match machine.state {
                State::Running | State::Paused => return Ok(machine.process.clone()),
                State::Over => {
                    return Err(DriverError::retry("the process of an earlier run is still there"));
                }
                State::Ended => {}
            }
        }
        let pid = 1 + self.next_pid.fetch_add(1, Ordering::Relaxed);
        let process = Process {
            pid,
            start_time_ticks: u64::from(pid),
            host_boot: self.host_boot(),
            accelerator: "none".to_owned(),
            hypervisor: "simulated".to_owned(),
            nics: Some(spec.nics.iter().map(|nic| nic.number).collect()),
        };
        let machine = Machine {
            state: State::Running,
            process: process.clone(),
            name: spec.name.clone(),
            record: spec.record.clone(),
            agent: true,
            wake: None,
        };
        machines.insert(spec.id, machine);
        Ok(process)
    }

    async fn pause(&self, id: Id<Vm>) -> Result<(), DriverError> {
        self.set(id, State::Running, State::Paused)
    }

    async fn resume(&self, id: Id<Vm>) -> Result<(), DriverError> {
        self.set(id, State::Paused, State::Running)
    }

    async fn press_power_button(&self, id: Id<Vm>) -> Result<(), DriverError> {
        self.set(id, State::Running, State::Over)?;
        self.change(id, State::Over);
        Ok(())
    }

    async fn plug_nic(&self, id: Id<Vm>, nic: &StartNic, record: &VmRecord) -> Result<(), DriverError> {
        let mut machines = self.lock();
        let machine = machines.get_mut(&id).filter(|machine| matches!(machine.state, State::Running | State::Paused));
        let machine = machine.ok_or(DriverError::Gone)?;
        let Some(nics) = &mut machine.process.nics else {
            return Err(DriverError::retry("NICs can't come and go while it runs"));
        };
        if !nics.contains(&nic.number) {
            nics.push(nic.number);
        }
        machine.record = record.clone();
        Ok(())
    }

    async fn unplug_nic(&self, id: Id<Vm>, number: u32, record: &VmRecord) -> Result<(), DriverError> {
        let held = self.holding.lock().unwrap_or_else(PoisonError::into_inner).contains(&id);
        let mut machines = self.lock();
        let Some(machine) = machines.get_mut(&id) else { return Ok(()) };
        let runs = matches!(machine.state, State::Running | State::Paused);
        let holds_on = held || machine.state == State::Paused;
        if let Some(nics) = machine.process.nics.as_mut().filter(|nics| runs && nics.contains(&number)) {
            if holds_on {
                return Err(DriverError::retry(format!("the guest has not let go of NIC {number}")));
            }
            nics.retain(|other| *other != number);
        }
        machine.record = record.clone();
        Ok(())
    }

    async fn end(&self, id: Id<Vm>) -> Result<(), DriverError> {
        if let Some(machine) = self.lock().get_mut(&id) {
            machine.state = State::Ended;
        }
        Ok(())
    }

    async fn release(&self, id: Id<Vm>) -> Result<(), DriverError> {
        self.lock().remove(&id);
        Ok(())
    }

    fn watch(&self, id: Id<Vm>, wake: Wake) {
        if let Some(machine) = self.lock().get_mut(&id) {
            machine.wake = Some(wake);
        }
    }

    async fn artifacts(&self) -> Result<Vec<Artifact>, DriverError> {
        let mut artifacts = Vec::new();
        for (id, machine) in &*self.lock() {
            let of = |kind, place| Artifact { kind, id: id.uuid(), place };
            artifacts.push(of(ArtifactKind::VmFolder, format!("vms/{id}")));
            if machine.state != State::Ended {
                artifacts.push(of(ArtifactKind::VmProcess, format!("pid {}", machine.process.pid)));
            }
        }
        Ok(artifacts)
    }

    async fn record(&self, id: Id<Vm>) -> Result<Option<VmRecord>, DriverError> {
        Ok(self.lock().get(&id).map(|machine| machine.record.clone()))
    }

    async fn guest_facts(&self, id: Id<Vm>, _deadline: Duration) -> Result<GuestFacts, DriverError> {
        match self.lock().get(&id) {
            Some(machine) if machine.state == State::Running && machine.agent => Ok(GuestFacts {
                hostname: machine.name.clone(),
                operating_system: "simulated guest".to_owned(),
                kernel: "simulated".to_owned(),
                architecture: "simulated".to_owned(),
                agent_version: "simulated".to_owned(),
                interfaces: vec![],
            }),
            Some(_) | None => Err(DriverError::Gone),
        }
    }

    async fn guest_logins(&self, id: Id<Vm>) -> Result<Vec<GuestLogin>, DriverError> {
        match self.lock().get(&id) {
            Some(machine) if machine.state == State::Running => Ok(vec![]),
            Some(_) | None => Err(DriverError::Gone),
        }
    }

    async fn guest_ping(&self, _id: Id<Vm>, _ping: &GuestPing) -> Result<GuestPinged, DriverError> {
        let reason = "the VM is simulated: there is no guest that could send a packet";
        Err(DriverError::never(reason, "ask from its network"))
    }

    async fn console(
        &self,
        id: Id<Vm>,
        _tail_bytes: u64,
        _follow: bool,
    ) -> Result<BoxStream<'static, std::io::Result<Bytes>>, DriverError> {
        if !self.lock().contains_key(&id) {
            return Err(DriverError::Gone);
        }
        let line = Bytes::from_static(b"this VM is simulated: it has no console\n");
        Ok(futures::stream::once(async { Ok(line) }).boxed())
    }

    async fn upkeep(&self, _id: Id<Vm>) -> Result<(), DriverError> {
        Ok(())
    }
}
