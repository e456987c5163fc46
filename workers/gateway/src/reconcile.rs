//! Looks at all, plans, tells what others changed, writes, awaits the nodes, reports.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use edgestack_engine::{Change as Changed, Clock, Replica};
use edgestack_model::{
    Command, Id, Meta, World,
    realization::{RealizationReport, RealizationState},
    security_group::{DEFAULT, SecurityGroupCommand},
    vm::{Nic, NicStage, Vm, VmCommand, VmReport},
    waiting::Failure,
    world::Resource,
};
use edgestack_planted::{self as planted, Bug};
use edgestack_pool::{DriverError, Next, Pool, PoolConfig, Reconciler, Reported, Reporter, crash_point};
use futures::{StreamExt as _, stream};
use tokio::sync::Mutex;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    desired::desired,
    driver::NorthboundDriver,
    objects::{self, Object, objects},
    plan::{Plan, as_found, plan as plan_of},
    probe::{Probes, Served},
    rows::{Desired, Owner, Seen},
};

/// The one thing that this pool looks at: the site's virtual network, as a whole.
const ALL: Uuid = Uuid::nil();
/// How long the nodes may take to confirm what is written before that counts as a failed attempt.
const CONFIRM_WITHIN: Duration = Duration::from_secs(10);
/// The pause after a look that failed, at first and at most.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
const LOOK_AGAIN_MAX: Duration = Duration::from_secs(30);
/// The pause after a report that the engine could not take.
const REPORT_AGAIN: Duration = Duration::from_secs(1);
/// How many reports are under way at once: they share messages of the log.
const REPORTS_AT_ONCE: usize = 64;

/// What a gateway pool is made of.
pub struct GatewayPoolParts {
    /// The folded world.
    pub replica: Arc<Replica>,
    /// Where reports go.
    pub reporter: Reporter,
    /// The virtual network.
    pub driver: Arc<dyn NorthboundDriver>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// How often all is looked at.
    pub beat: Duration,
    /// The hosts of our own that are in it for tests.
    pub probes: Probes,
}

/// The running gateway pool of a site.
pub struct GatewayPool {
    parts: GatewayPoolParts,
    /// What this process wrote last, or found so: what differs from it is others' doing.
    written: Mutex<Option<Desired>>,
    failures: AtomicI64,
    /// Probes are put as long as this pool is.
    served: OnceLock<Served>,
}

impl GatewayPool {
    /// Starts the pool. It runs as long as the runtime does; [`Pool::until_dropped`] ends it before.
    pub fn start(parts: GatewayPoolParts) -> Pool {
        let (replica, driver, probes) = (parts.replica.clone(), parts.driver.clone(), parts.probes.clone());
        let config = PoolConfig { tasks_max: 1, beat: parts.beat };
        let (written, failures, served) = (Mutex::new(None), AtomicI64::new(0), OnceLock::new());
        let pool = Arc::new(Self { parts, written, failures, served });
        let running = Pool::start(pool.clone(), replica, config);
        let wake = running.waker();
        let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(move || wake(ALL));
        driver.watch(wake.clone());
        pool.served.get_or_init(|| probes.served_by(wake));
        running
    }

    async fn look(&self) -> Next {
        let driver = &self.parts.driver;
        self.ensure_default_group().await;
        let looked = driver.rows().await;
        // A look may take its time, and what is wished is to be of the same moment.
        let (wished, probing, waiting, nodes) = {
            let world = self.parts.replica.world();
            let mut wished = desired(&world);
            let probing = self.parts.probes.rows(&world, &mut wished);
            (wished, probing, Waiting::in_world(&world), chassis(&world))
        };
        let seen = match looked {
            Ok(seen) => seen,
            Err(error) => return self.failed(&waiting, "look", &error).await,
        };
        let plan = plan_of(&wished, &seen);
        let mut written = self.written.lock().await;
        let strange = drifted(&plan, &wished, &seen, written.as_ref(), &waiting);
        if !strange.is_empty() {
            // Law 9: every difference becomes an event before it is mended.
            tracing::warn!(count = strange.len(), "others changed the virtual network; it is mended");
            crash_point::pass("gateway.drift.before");
            match self.report_all(strange).await {
                Reported::Taken => {}
                Reported::Stale | Reported::NotNow if planted::is(Bug::DriftMendedUntold) => {}
                // One of them was wished otherwise meanwhile, or this process's turn is over: nothing is mended on that.
                Reported::Stale | Reported::NotNow => return Next::After(REPORT_AGAIN),
            }
        }
        if plan.changes.is_empty() {
            let now = self.parts.clock.now();
            // Each write asks the nodes anew, so what they have confirmed is all of it; perhaps only now, long after an
            // attempt was given up.
            let somebody_waits = !waiting.is_empty() || !probing.is_empty();
            let confirmed = somebody_waits && driver.realized(&nodes, Duration::ZERO).await.is_ok();
            if confirmed || waiting.is_nothing_due(now) {
                *written = Some(wished);
                drop(written);
                self.failures.store(0, Ordering::Relaxed);
                return if confirmed { self.tell_realized(&waiting, &probing).await } else { waiting.next(now) };
            }
        }
        self.tell_too_early(&waiting).await;
        crash_point::pass("gateway.write.before");
        let begun = std::time::Instant::now();
        let span = tracing::info_span!("ensure", driver = if driver.is_simulated() { "simulated" } else { "ovn" });
        let wrote = driver.write(&seen, &plan.changes).instrument(span).await;
        crash_point::pass("gateway.write.after");
        if let Err(error) = wrote {
            // What was written is not known.
            *written = planted::is(Bug::FailedWriteBelieved).then_some(wished);
            drop(written);
            return self.failed(&waiting, "write", &error).await;
        }
        *written = Some(wished);
        drop(written);
        if let Err(error) = driver.realized(&nodes, CONFIRM_WITHIN).await
            && !planted::is(Bug::RealizedUnconfirmed)
        {
            return self.failed(&waiting, "realize", &error).await;
        }
        crash_point::pass("gateway.realized");
        self.failures.store(0, Ordering::Relaxed);
        if !plan.changes.is_empty() {
            let elapsed_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
            tracing::info!(rows = plan.changes.len(), elapsed_ms, "the virtual network is as wished");
        }
        metrics::histogram!("edgestack_gateway_realize_seconds").record(begun.elapsed().as_secs_f64());
        self.tell_realized(&waiting, &probing).await
    }

    /// People find the group that NICs are in by default before there is one. Where this fails, the next look does it.
    async fn ensure_default_group(&self) {
        let is_there = self.parts.replica.world().security_group(&DEFAULT.into()).is_ok();
        if !is_there {
            let command = Command::SecurityGroup(SecurityGroupCommand::EnsureDefault {});
            self.parts.reporter.report_unasked(self.parts.clock.new_id(), command).await;
        }
    }

    async fn tell_realized(&self, waiting: &Waiting, probing: &[Uuid]) -> Next {
        self.parts.probes.tell_realized(probing);
        match self.report_all(waiting.realized()).await {
            // A VM's wish changes without a change of the network, so nothing would wake this.
            Reported::Stale | Reported::NotNow => Next::After(REPORT_AGAIN),
            Reported::Taken => Next::Beat,
        }
    }

    /// Nothing, unless a bug is planted.
    async fn tell_too_early(&self, waiting: &Waiting) {
        if !planted::is(Bug::RealizedBeforeWritten) && !planted::is(Bug::RemovedBeforeGone) {
            return;
        }
        let early = if planted::is(Bug::RemovedBeforeGone) { waiting.removed() } else { waiting.ready() };
        self.report_all(early).await;
    }

    /// Tells all who wait why they wait on; each has its own next attempt.
    async fn failed(&self, waiting: &Waiting, step: &str, error: &DriverError) -> Next {
        let count = self.failures.fetch_add(1, Ordering::Relaxed).clamp(0, 16);
        tracing::warn!(step, %error, attempt = count + 1, "the virtual network is not as wished; trying again");
        let reports = waiting.failed(self.parts.clock.now(), step, error);
        self.report_all(reports).await;
        let pause = LOOK_AGAIN.saturating_mul(1 << u32::try_from(count).unwrap_or(16)).min(LOOK_AGAIN_MAX);
        // What people are told of the next attempt holds.
        let told = Waiting::in_world(&self.parts.replica.world()).next(self.parts.clock.now());
        Next::After(if let Next::After(told) = told { told.min(pause) } else { pause })
    }

    /// Sends reports, many at once: `NotNow` if one could not be taken, else `Stale` if one came too late.
    async fn report_all(&self, reports: Vec<(Meta, Command)>) -> Reported {
        let sent = stream::iter(reports)
            .map(|(meta, command)| async move { self.parts.reporter.report(&meta, command).await })
            .buffer_unordered(REPORTS_AT_ONCE);
        sent.fold(Reported::Taken, |all, one| async move {
            match (all, one) {
                (Reported::NotNow, _) | (_, Reported::NotNow) => Reported::NotNow,
                (Reported::Stale, _) | (_, Reported::Stale) => Reported::Stale,
                (Reported::Taken, Reported::Taken) => Reported::Taken,
            }
        })
        .await
    }
}

/// Who waits for the virtual network.
struct Waiting {
    objects: Vec<Object>,
    vms: Vec<Arc<Vm>>,
    /// The rest, which is ready: what may drift.
    ready_objects: BTreeMap<Owner, Object>,
    ready_nics: BTreeMap<(Id<Vm>, u32), Arc<Vm>>,
}

impl Waiting {
    fn in_world(world: &World) -> Self {
        let is_active = |object: &Object| object.realization.state == RealizationState::Active;
        let (ready, waiting): (Vec<_>, Vec<_>) = objects(world).partition(is_active);
        let vms = world.vms.values().filter(|vm| vm.nics.iter().any(|nic| !nic.ready));
        let nics = world.vms.values().flat_map(|vm| {
            let ready = vm.nics.iter().filter(|nic| nic.ready);
            ready.map(move |nic| ((vm.id, nic.spec.number), vm.clone()))
        });
        Self {
            objects: waiting,
            vms: vms.cloned().collect(),
            ready_objects: ready.into_iter().map(|object| (object.owner, object)).collect(),
            ready_nics: nics.collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.vms.is_empty()
    }

    /// Whether nobody waits whose next attempt has come.
    fn is_nothing_due(&self, now: DateTime<Utc>) -> bool {
        self.vms.is_empty() && !self.objects.iter().any(|object| is_due(object.realization.failure.as_ref(), now))
    }

    /// When the next attempt of somebody who waits comes.
    fn next(&self, now: DateTime<Utc>) -> Next {
        let failures = self.objects.iter().filter_map(|object| object.realization.failure.as_ref());
        let next = failures.filter_map(|failure| failure.still_to_come(now)).min();
        next.map_or(Next::Beat, |at| Next::After((at - now).to_std().unwrap_or_default()))
    }

    /// The nodes work by what is written: what that makes of those who wait.
    fn realized(&self) -> Vec<(Meta, Command)> {
        self.ready().into_iter().chain(self.removed()).collect()
    }

    fn ready(&self) -> Vec<(Meta, Command)> {
        let stays = self.objects.iter().filter(|object| object.realization.state != RealizationState::Deleting);
        let vms = self.vms.iter().map(|vm| {
            let numbers = vm.nics.iter().filter(|nic| !nic.ready).map(|nic: &Nic| nic.spec.number).collect();
            (vm.meta.clone(), of_vm(vm, VmReport::NicsReady { numbers }))
        });
        stays.map(|object| object.told(RealizationReport::Realized)).chain(vms).collect()
    }

    fn removed(&self) -> Vec<(Meta, Command)> {
        let goes = self.objects.iter().filter(|object| object.realization.state == RealizationState::Deleting);
        goes.map(|object| object.told(RealizationReport::Removed)).collect()
    }

    /// It was tried in vain. NICs wait on with their VM, which runs without them meanwhile.
    fn failed(&self, now: DateTime<Utc>, step: &str, error: &DriverError) -> Vec<(Meta, Command)> {
        let due = self.objects.iter().filter(|object| is_due(object.realization.failure.as_ref(), now));
        due.map(|object| object.told(RealizationReport::AttemptFailed(error.failed_attempt(step)))).collect()
    }
}

/// The chassis of the nodes that are heard: whoever is not works by what is written once it is back.
fn chassis(world: &World) -> BTreeSet<String> {
    let ready = world.nodes.values().filter(|node| node.readiness.ready);
    ready.filter_map(|node| Some(node.facts.network.as_ref()?.chassis.clone())).collect()
}

fn is_due(failure: Option<&Failure>, now: DateTime<Utc>) -> bool {
    failure.is_none_or(|failure| failure.still_to_come(now).is_none())
}

/// What others changed of what was ready, as reports. Nothing of it where there is not one row: that is a database made
/// anew, which is filled again.
fn drifted(
    plan: &Plan,
    wished: &Desired,
    seen: &Seen,
    written: Option<&Desired>,
    ready: &Waiting,
) -> Vec<(Meta, Command)> {
    if plan.differences.is_empty() || seen.rows.is_empty() || planted::is(Bug::DriftNotTold) {
        return vec![];
    }
    // The wish for a row may have changed since, so it is what was written that tells what others did to it.
    let others_doing = match written {
        Some(written) => plan_of(written, seen).differences,
        None => plan_of(&as_found(wished, seen), seen).differences,
    };
    let mut by_owner: BTreeMap<Owner, Vec<String>> = BTreeMap::new();
    for key in plan.differences.keys() {
        if let (Some(wanted), Some(what)) = (wished.get(key), others_doing.get(key)) {
            by_owner.entry(wanted.owner).or_default().push(what.clone());
        }
    }
    let report = |(owner, what): (Owner, Vec<String>)| match owner {
        Owner::Network(_)
        | Owner::SecurityGroup(_)
        | Owner::SecurityGroupRule(_)
        | Owner::Router(_)
        | Owner::FloatingIp(_)
        | Owner::LoadBalancer(_) => Some(ready.ready_objects.get(&owner)?.told(RealizationReport::Drifted { what })),
        Owner::Nic(id, number) => {
            let vm = ready.ready_nics.get(&(id, number))?;
            Some((vm.meta.clone(), of_vm(vm, VmReport::NicDrifted { number, what })))
        }
        Owner::Probe(_) => None,
    };
    by_owner.into_iter().filter_map(report).collect()
}

fn of_vm(vm: &Vm, report: VmReport) -> Command {
    Command::Vm(VmCommand::Report { vm: vm.id, generation: vm.meta.generation, report })
}

/// A VM's NICs, but for whether they are in its process: rows don't follow from that.
fn nics(resource: Option<&Resource>) -> Vec<Nic> {
    match resource {
        Some(Resource::Vm(vm)) => {
            let of_rows = |nic: &Nic| Nic { stage: NicStage::Staying, failure: None, ..nic.clone() };
            vm.nics.iter().map(of_rows).collect()
        }
        Some(_) | None => vec![],
    }
}

/// Whether the virtual network is to be looked at for it.
fn concerns(change: &Changed) -> bool {
    objects::concerns(change) || nics(change.before.as_ref()) != nics(change.after.as_ref())
}

#[async_trait]
impl Reconciler for GatewayPool {
    fn pool(&self) -> &'static str {
        "gateway"
    }

    fn all(&self, _world: &World) -> Vec<Uuid> {
        vec![ALL]
    }

    fn woken_by(&self, change: &Changed) -> Vec<Uuid> {
        if concerns(change) { vec![ALL] } else { vec![] }
    }

    async fn reconcile(&self, _id: Uuid) -> Next {
        self.look().instrument(tracing::info_span!("reconcile", kind = "northbound")).await
    }
}

#[cfg(test)]
mod tests;
