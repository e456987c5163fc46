//! Looks, plans, does one step, reports, and looks again.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use edgestack_engine::{Change, Clock, Replica};
use edgestack_model::{
    Command, Id, Kind, World,
    image::Image,
    node::Node,
    orphan::VmRecord,
    vm::{Power, StoppedHow, Target, Vm, VmCommand, VmReport},
    volume::VolumeState,
    world::Resource,
};
use edgestack_planted::{self as planted, Bug};
use edgestack_pool::{DriverError, Next, Pool, PoolConfig, Reconciler, Reported, Reporter, crash_point};
use edgestack_seal::SealingKey;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    driver::{Observed, StartSpec, VmDriver},
    plan::{Circumstances, Step, instance, plan},
};

mod nics;

/// The pause after a report that the engine could not take.
const REPORT_AGAIN: Duration = Duration::from_secs(1);
/// The pause after a look that failed: nothing is known then, so nothing is reported.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Steps in one go; a VM that needs more is queued again, behind the others.
const STEPS_MAX: usize = 16;
/// How long to wait for a guest's agent to answer before looking again.
const AGENT_DEADLINE: Duration = Duration::from_millis(500);
/// How often to look whether a guest's agent answers, where no event told so.
const AGENT_AGAIN: Duration = Duration::from_secs(5);

/// What a vm pool is made of.
pub struct VmPoolParts {
    /// The node's name; its VMs are the pool's.
    pub node: String,
    /// The folded world.
    pub replica: Arc<Replica>,
    /// Where reports go.
    pub reporter: Reporter,
    /// What runs the VMs.
    pub driver: Arc<dyn VmDriver>,
    /// Opens user data.
    pub seal: SealingKey,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How the pool works.
    pub config: PoolConfig,
}

/// The running vm pool of a node.
pub struct VmPool {
    parts: VmPoolParts,
    since: DateTime<Utc>,
    wake: std::sync::OnceLock<Arc<dyn Fn(Id<Vm>) + Send + Sync>>,
}

impl VmPool {
    /// Starts the pool.
    pub fn start(parts: VmPoolParts) -> Arc<Self> {
        let (replica, config, since) = (parts.replica.clone(), parts.config, parts.clock.now());
        let pool = Arc::new(Self { parts, since, wake: std::sync::OnceLock::new() });
        let running = Pool::start(pool.clone(), replica, config);
        let waker = running.waker();
        // Set once, here, before anything could ask for it.
        let _ = pool.wake.set(Arc::new(move |id: Id<Vm>| waker(id.uuid())));
        pool
    }

    /// The driver, for those who look into guests.
    pub fn driver(&self) -> &Arc<dyn VmDriver> {
        &self.parts.driver
    }

    fn is_here(&self, world: &World, vm: &Vm) -> bool {
        vm.placement.as_ref().is_some_and(|placement| self.is_this_node(world, placement.node))
    }

    fn is_this_node(&self, world: &World, node: Id<Node>) -> bool {
        world.nodes.get(&node).is_some_and(|node| node.meta.name.as_str() == self.parts.node)
    }

    /// The VM and whether its disk can be used; `None` when it is not ours or gone.
    fn look(&self, id: Id<Vm>) -> Option<(Arc<Vm>, bool)> {
        let world = self.parts.replica.world();
        let vm = world.vms.get(&id)?.clone();
        if !self.is_here(&world, &vm) {
            return None;
        }
        let disk_available = vm
            .placement
            .as_ref()
            .and_then(|placement| world.volumes.get(&placement.root_volume))
            .is_some_and(|volume| volume.state == VolumeState::Available);
        Some((vm, disk_available))
    }

    async fn step(&self, id: Id<Vm>) -> Option<Next> {
        let Some((vm, disk_available)) = self.look(id) else {
            return Some(Next::Beat);
        };
        let driver = &self.parts.driver;
        let observed = match driver.observe(id).await {
            Ok(observed) => observed,
            Err(_) if planted::is(Bug::UnseenTakenForGone) => {
                let host_boot = vm.power.instance().map(|known| known.host_boot.clone()).unwrap_or_default();
                Observed::Absent { host_boot, last_words: None }
            }
            Err(error) => {
                tracing::warn!(%id, name = %vm.meta.name, %error, "cannot see whether the VM runs; nothing is done until that is known");
                return Some(Next::After(LOOK_AGAIN));
            }
        };
        if let (Some(wake), Observed::Running(_) | Observed::Paused(_) | Observed::Over { .. }) =
            (self.wake.get(), &observed)
        {
            driver.watch(id, wake.clone());
        }
        let around = Circumstances { now: self.parts.clock.now(), worker_since: self.since, disk_available };
        let step = plan(&vm, &observed, around);
        tracing::debug!(%id, name = %vm.meta.name, generation = vm.meta.generation.0, ?step, "planned");
        self.do_step(&vm, step).await
    }

    /// Does a step; `None`: look again at once.
    async fn do_step(&self, vm: &Vm, step: Step) -> Option<Next> {
        let driver = &self.parts.driver;
        match step {
            Step::Rest if planted::is(Bug::BusyAtRest) => Some(Next::After(Duration::from_millis(10))),
            Step::Rest => Some(self.sooner(self.rest(vm).await, vm)),
            Step::AwaitDisk => Some(Next::Beat),
            Step::WaitUntil(at) => Some(Next::After(self.until(at))),
            Step::Report(report) => self.report(vm, report).await,
            Step::Start => self.start_vm(vm).await,
            Step::PlugNic(number) => self.plug_nic(vm, number).await,
            Step::UnplugNic(number) => self.unplug_nic(vm, number).await,
            Step::Pause => self.report_done(vm, "pause", driver.pause(vm.id).await, VmReport::Paused).await,
            Step::Resume if matches!(vm.power, Power::Paused(_)) => {
                self.report_done(vm, "unpause", driver.resume(vm.id).await, VmReport::Unpaused).await
            }
            Step::Resume => self.done(vm, "unpause", driver.resume(vm.id).await).await,
            Step::PressPowerButton(look_at) => match driver.press_power_button(vm.id).await {
                Ok(()) => Some(Next::After(self.until(look_at))),
                Err(error) => self.done(vm, "stop", Err(error)).await,
            },
            Step::EndForced => {
                let detail = match vm.target {
                    Target::Stopped { grace_seconds: 0 } => "cut off, as asked".to_owned(),
                    Target::Stopped { grace_seconds } => {
                        format!("the guest did not shut down within {grace_seconds} s and was cut off")
                    }
                    Target::Running | Target::Paused | Target::Deleted => {
                        "the guest did not shut down in time for the restart and was cut off".to_owned()
                    }
                };
                crash_point::pass("vm.stop.before");
                let ended = driver.end(vm.id).await;
                crash_point::pass("vm.stop.after");
                self.report_done(vm, "stop", ended, VmReport::Stopped { how: StoppedHow::Forced, detail }).await
            }
            Step::EndOver => self.done(vm, "stop", driver.end(vm.id).await).await,
            Step::Release => {
                crash_point::pass("vm.release.before");
                let released = driver.release(vm.id).await;
                crash_point::pass("vm.release.after");
                self.report_done(vm, "remove", released, VmReport::Released).await
            }
        }
    }

    /// All is as wished: upkeep, and a look for the guest's agent.
    async fn rest(&self, vm: &Vm) -> Next {
        let Power::Running(_) = vm.power else {
            return Next::Beat;
        };
        if let Err(error) = self.parts.driver.upkeep(vm.id).await {
            tracing::warn!(id = %vm.id, name = %vm.meta.name, %error, "upkeep of the console log failed; it is repeated on the next beat");
        }
        if vm.guest_agent.is_some() {
            return Next::Beat;
        }
        match self.parts.driver.guest_facts(vm.id, AGENT_DEADLINE).await {
            Ok(facts) => {
                let (hostname, operating_system) = (facts.hostname, facts.operating_system);
                let report = VmReport::GuestAgentConnected { hostname, operating_system };
                self.report(vm, report).await.unwrap_or(Next::Beat)
            }
            // It may never have one; an event of its port wakes us too.
            Err(_) => Next::After(AGENT_AGAIN),
        }
    }

    async fn start_vm(&self, vm: &Vm) -> Option<Next> {
        let spec = match self.start_spec(vm) {
            Ok(spec) => spec,
            Err(error) => return self.done(vm, "start", Err(error)).await,
        };
        crash_point::pass("vm.start.before");
        let begun = std::time::Instant::now();
        let started = self.parts.driver.start(&spec).instrument(tracing::info_span!("ensure", driver = "vm")).await;
        crash_point::pass("vm.start.after");
        match started {
            Ok(process) => {
                tracing::info!(
                    id = %vm.id, name = %vm.meta.name, pid = process.pid,
                    elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX), "VM started"
                );
                self.report(vm, VmReport::Started(instance(vm, &process, self.parts.clock.now()))).await
            }
            Err(DriverError::PortTaken(port)) => self.report(vm, VmReport::SshPortTaken { port }).await,
            Err(error) => self.done(vm, "start", Err(error)).await,
        }
    }

    fn start_spec(&self, vm: &Vm) -> Result<StartSpec, DriverError> {
        let (Some(placement), Some(record)) = (vm.placement.as_ref(), VmRecord::of(vm)) else {
            return Err(DriverError::Gone);
        };
        let image_format = self.image(vm.spec.image)?.spec.format;
        let user_data = vm
            .spec
            .user_data
            .as_ref()
            .map(|sealed| self.parts.seal.open(sealed))
            .transpose()
            .map_err(|error| DriverError::retry(format!("its user data cannot be opened: {error}")))?;
        Ok(StartSpec {
            id: vm.id,
            name: vm.meta.name.to_string(),
            vcpus: vm.spec.shape.vcpus,
            memory_mib: vm.spec.shape.memory_mib,
            root_volume: placement.root_volume,
            image: vm.spec.image,
            image_format,
            mac: placement.mac.clone(),
            ssh_port: placement.ssh_port,
            nics: self.start_nics(vm)?,
            public_keys: vm.spec.keypair.iter().map(|keypair| keypair.key.openssh.clone()).collect(),
            user_data,
            record,
        })
    }

    fn image(&self, id: Id<Image>) -> Result<Arc<Image>, DriverError> {
        self.parts
            .replica
            .world()
            .images
            .get(&id)
            .cloned()
            .ok_or_else(|| DriverError::retry("its image is not in the log"))
    }

    async fn report_done(&self, vm: &Vm, step: &str, done: Result<(), DriverError>, report: VmReport) -> Option<Next> {
        match done {
            Ok(()) => self.report(vm, report).await,
            Err(error) => self.done(vm, step, Err(error)).await,
        }
    }

    /// After an action: look again, or report why it failed.
    async fn done(&self, vm: &Vm, step: &str, done: Result<(), DriverError>) -> Option<Next> {
        match done {
            Ok(()) | Err(DriverError::Gone) => None,
            Err(error @ (DriverError::Retry { .. } | DriverError::Never { .. } | DriverError::PortTaken(_))) => {
                tracing::warn!(id = %vm.id, name = %vm.meta.name, step, %error, "attempt failed");
                self.report(vm, VmReport::AttemptFailed(error.failed_attempt(step))).await
            }
        }
    }

    async fn report(&self, vm: &Vm, report: VmReport) -> Option<Next> {
        let command = Command::Vm(VmCommand::Report { vm: vm.id, generation: vm.meta.generation, report });
        match self.parts.reporter.report(&vm.meta, command).await {
            Reported::Taken | Reported::Stale => None,
            Reported::NotNow => Some(Next::After(REPORT_AGAIN)),
        }
    }

    fn until(&self, at: DateTime<Utc>) -> Duration {
        (at - self.parts.clock.now()).to_std().unwrap_or_default().max(Duration::from_millis(10))
    }
}

#[async_trait]
impl Reconciler for VmPool {
    fn pool(&self) -> &'static str {
        "vm"
    }

    fn all(&self, world: &World) -> Vec<Uuid> {
        let forgotten = |vm: &Vm| vm.target == Target::Deleted && planted::is(Bug::DeletionForgottenAtRestart);
        let here = world.vms.values().filter(|vm| self.is_here(world, vm) && !forgotten(vm));
        here.map(|vm| vm.id.uuid()).collect()
    }

    fn woken_by(&self, change: &Change) -> Vec<Uuid> {
        match change.after.as_ref().or(change.before.as_ref()) {
            _ if planted::is(Bug::WakeLost) => vec![],
            Some(Resource::Vm(vm)) if vm.placement.is_some() => vec![vm.id.uuid()],
            Some(Resource::Volume(volume)) => vec![volume.spec.vm.uuid()],
            Some(
                Resource::Vm(_)
                | Resource::Image(_)
                | Resource::Flavor(_)
                | Resource::Keypair(_)
                | Resource::Node(_)
                | Resource::Network(_)
                | Resource::SecurityGroup(_)
                | Resource::SecurityGroupRule(_)
                | Resource::Router(_)
                | Resource::FloatingIp(_)
                | Resource::LoadBalancer(_)
                | Resource::Webhook(_)
                | Resource::Lease(_),
            )
            | None => vec![],
        }
    }

    async fn reconcile(&self, id: Uuid) -> Next {
        let id = Id::new(id);
        let Some((vm, _)) = self.look(id) else {
            return Next::Beat;
        };
        let span = tracing::info_span!(
            "reconcile", kind = %Kind::Vm, %id, name = %vm.meta.name, correlation_id = %vm.meta.correlation_id
        );
        async {
            for _ in 0..STEPS_MAX {
                if let Some(next) = self.step(id).await {
                    return next;
                }
            }
            Next::After(Duration::from_millis(100))
        }
        .instrument(span)
        .await
    }
}
