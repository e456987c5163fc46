//! Looks at all, plans, tells what others changed, writes, awaits the nodes, reports.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use edgestack_engine::{Change as Changed, Clock, Replica};
use edgestack_model::{
    Command, Generation, Id, Meta, World,
    network::{Network, NetworkCommand, NetworkSpec},
    realization::{RealizationReport, RealizationState},
    vm::{Nic, Vm, VmCommand, VmReport},
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
    plan::{Plan, plan as plan_of},
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
}

/// The running gateway pool of a site.
pub struct GatewayPool {
    parts: GatewayPoolParts,
    /// What this process wrote last, or found so: what differs from it is others' doing.
    written: Mutex<Option<Desired>>,
    failures: AtomicI64,
}

impl GatewayPool {
    /// Starts the pool. It runs as long as the runtime does; [`Pool::until_dropped`] ends it before.
    pub fn start(parts: GatewayPoolParts) -> Pool {
        let (replica, driver) = (parts.replica.clone(), parts.driver.clone());
        let config = PoolConfig { tasks_max: 1, beat: parts.beat };
        let pool = Arc::new(Self { parts, written: Mutex::new(None), failures: AtomicI64::new(0) });
        let running = Pool::start(pool, replica, config);
        let wake = running.waker();
        driver.watch(Arc::new(move || wake(ALL)));
        running
    }

    async fn look(&self) -> Next {
        let driver = &self.parts.driver;
        let looked = driver.rows().await;
        // A look may take its time, and what is wished is to be of the same moment.
        let (wished, waiting) = {
            let world = self.parts.replica.world();
            (desired(&world), Waiting::in_world(&world))
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
            let confirmed = !waiting.is_empty() && driver.realized(Duration::ZERO).await.is_ok();
            if confirmed || waiting.is_nothing_due(now) {
                *written = Some(wished);
                drop(written);
                self.failures.store(0, Ordering::Relaxed);
                return if confirmed { self.tell_realized(&waiting).await } else { waiting.next(now) };
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
        if let Err(error) = driver.realized(CONFIRM_WITHIN).await
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
        self.tell_realized(&waiting).await
    }

    async fn tell_realized(&self, waiting: &Waiting) -> Next {
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
        let removed = |command: &Command| {
            matches!(command, Command::Network(NetworkCommand::Report { report: RealizationReport::Removed, .. }))
        };
        let (gone, ready): (Vec<_>, Vec<_>) = waiting.realized().into_iter().partition(|(_, command)| removed(command));
        self.report_all(if planted::is(Bug::RemovedBeforeGone) { gone } else { ready }).await;
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
    networks: Vec<Arc<Network>>,
    vms: Vec<Arc<Vm>>,
    /// The rest, which is ready: what may drift.
    ready_networks: BTreeMap<Id<Network>, Arc<Network>>,
    ready_nics: BTreeMap<(Id<Vm>, u32), Arc<Vm>>,
}

impl Waiting {
    fn in_world(world: &World) -> Self {
        let is_active = |network: &Network| network.realization.state == RealizationState::Active;
        let networks = world.networks.values();
        let (ready, waiting): (Vec<_>, Vec<_>) = networks.cloned().partition(|network| is_active(network));
        let vms = world.vms.values().filter(|vm| vm.nics.iter().any(|nic| !nic.ready));
        let nics = world.vms.values().flat_map(|vm| {
            let ready = vm.nics.iter().filter(|nic| nic.ready);
            ready.map(move |nic| ((vm.id, nic.spec.number), vm.clone()))
        });
        Self {
            networks: waiting,
            vms: vms.cloned().collect(),
            ready_networks: ready.into_iter().map(|network| (network.id, network)).collect(),
            ready_nics: nics.collect(),
        }
    }

    fn is_empty(&self) -> bool {
        self.networks.is_empty() && self.vms.is_empty()
    }

    /// Whether nobody waits whose next attempt has come.
    fn is_nothing_due(&self, now: DateTime<Utc>) -> bool {
        self.vms.is_empty() && !self.networks.iter().any(|network| is_due(network.realization.failure.as_ref(), now))
    }

    /// When the next attempt of somebody who waits comes.
    fn next(&self, now: DateTime<Utc>) -> Next {
        let failures = self.networks.iter().filter_map(|network| network.realization.failure.as_ref());
        let next = failures.filter_map(|failure| failure.still_to_come(now)).min();
        next.map_or(Next::Beat, |at| Next::After((at - now).to_std().unwrap_or_default()))
    }

    /// The nodes work by what is written.
    fn realized(&self) -> Vec<(Meta, Command)> {
        let networks = self.networks.iter().map(|network| {
            let report = match network.realization.state {
                RealizationState::Deleting => RealizationReport::Removed,
                RealizationState::Creating | RealizationState::Updating | RealizationState::Active => {
                    RealizationReport::Realized
                }
            };
            (network.meta.clone(), of_network(network, report))
        });
        let vms = self.vms.iter().map(|vm| {
            let numbers = vm.nics.iter().filter(|nic| !nic.ready).map(|nic: &Nic| nic.spec.number).collect();
            (vm.meta.clone(), of_vm(vm, VmReport::NicsReady { numbers }))
        });
        networks.chain(vms).collect()
    }

    /// It was tried in vain. NICs wait on with their VM, which runs without them meanwhile.
    fn failed(&self, now: DateTime<Utc>, step: &str, error: &DriverError) -> Vec<(Meta, Command)> {
        let due = self.networks.iter().filter(|network| is_due(network.realization.failure.as_ref(), now));
        due.map(|network| {
            let report = RealizationReport::AttemptFailed(error.failed_attempt(step));
            (network.meta.clone(), of_network(network, report))
        })
        .collect()
    }
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
    let since_written = written.map(|written| plan_of(written, seen).differences);
    let mut by_owner: BTreeMap<Owner, Vec<String>> = BTreeMap::new();
    for (key, what) in &plan.differences {
        let Some(wanted) = wished.get(key) else { continue };
        let others_doing = match &since_written {
            Some(differences) => differences.get(key),
            None => (!wanted.is_derived || planted::is(Bug::NamesTakenForDrift)).then_some(what),
        };
        if let Some(what) = others_doing {
            by_owner.entry(wanted.owner).or_default().push(what.clone());
        }
    }
    let report = |(owner, what): (Owner, Vec<String>)| match owner {
        Owner::Network(id) => {
            let network = ready.ready_networks.get(&id)?;
            Some((network.meta.clone(), of_network(network, RealizationReport::Drifted { what })))
        }
        Owner::Nic(id, number) => {
            let vm = ready.ready_nics.get(&(id, number))?;
            Some((vm.meta.clone(), of_vm(vm, VmReport::NicDrifted { number, what })))
        }
    };
    by_owner.into_iter().filter_map(report).collect()
}

fn of_network(network: &Network, report: RealizationReport) -> Command {
    let generation: Generation = network.meta.generation;
    Command::Network(NetworkCommand::Report { network: network.id, generation, report })
}

fn of_vm(vm: &Vm, report: VmReport) -> Command {
    Command::Vm(VmCommand::Report { vm: vm.id, generation: vm.meta.generation, report })
}

/// What of a network the pool works by.
fn wish(resource: Option<&Resource>) -> Option<(&NetworkSpec, RealizationState)> {
    match resource {
        Some(Resource::Network(network)) => Some((&network.spec, network.realization.state)),
        Some(_) | None => None,
    }
}

fn fails(resource: Option<&Resource>) -> bool {
    matches!(resource, Some(Resource::Network(network)) if network.realization.failure.is_some())
}

fn nics(resource: Option<&Resource>) -> &[Nic] {
    match resource {
        Some(Resource::Vm(vm)) => &vm.nics,
        Some(_) | None => &[],
    }
}

/// Whether somebody asked for another look at a network that has no failure to forget. Nothing shows it but who touched
/// it last: other words are a new generation, and all that this pool reports changes the realization.
fn asked_again(before: Option<&Resource>, after: Option<&Resource>) -> bool {
    let (Some(Resource::Network(before)), Some(Resource::Network(after))) = (before, after) else { return false };
    before.meta.revision != after.meta.revision
        && before.meta.generation == after.meta.generation
        && before.realization == after.realization
}

/// Whether the virtual network is to be looked at for it.
fn concerns(change: &Changed) -> bool {
    let (before, after) = (change.before.as_ref(), change.after.as_ref());
    // A failure is what this pool reported itself, and has its pause; one that is forgotten ends the pause.
    wish(before) != wish(after)
        || (fails(before) && !fails(after))
        || asked_again(before, after)
        || nics(before) != nics(after)
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
