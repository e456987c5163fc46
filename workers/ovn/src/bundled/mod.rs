//! The processes of an OVN of our own on one node.
//!
//! Six processes, their databases, sockets and logs are in one folder, apart from those that the distribution's services
//! would use. They outlive us: when this process is killed (or [`Bundled`] dropped) the network goes on, and the next
//! [`Bundled::start`] on the same folder takes the processes over. Only [`Bundled::stop`] and [`Bundled::end`] end them.
//!
//! A process that was left running is known by its command line, which names the folder; it is taken over as it is, also
//! when its program's file was replaced by an upgrade: the new one is what it is started with the next time.
//!
//! What goes on when a process is away: packets pass without all but the switch and, on [`Datapath::Userspace`], the
//! switch's database. Such a switch reads no packet while it has no connection to its database, which it tries to get back
//! a second after it was lost; packets wait that long, as far as the devices' queues reach. The kernel's datapath forwards
//! what it has flows for without either.

mod config;
mod control;
mod databases;
mod datapath;
mod devices;
mod end;
mod error;
mod folder;
mod logs;
mod part;
mod process;
mod programs;
mod settings;
mod supervisor;
mod tool;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

pub use config::BundledConfig;
pub use datapath::{Datapath, Probed};
pub use error::BundledError;
pub use part::Part;
pub use programs::Programs;
pub use supervisor::{End, Phase, ProcessState, States};
pub use tool::ToolError;

pub(crate) use config::device_name_problem;
pub(crate) use devices::{links, remove};
pub(crate) use programs::find;
pub(crate) use tool::{attempt, in_namespace, ip, quoted, run};

use crate::chassis::Chassis;
use folder::{Folder, Lock};
use process::{Watched, other_switch};
use supervisor::{ProcessState as State, Teller, supervise};

/// How long all six may take to do their work.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// A process that ended this often in a row won't come up by trying again.
const HOPELESS_ATTEMPT: u32 = 4;

/// What is run, and in which folder.
#[derive(Debug)]
struct Plan {
    config: BundledConfig,
    folder: Folder,
    /// Let go of when the last watcher has ended, so that none starts what the next daemon looks for.
    _lock: Lock,
}

impl Plan {
    fn socket(&self, part: Part) -> String {
        format!("unix:{}", self.folder.socket(part).display())
    }
}

/// A watched OVN: the six processes of [`Part`].
#[derive(Debug)]
pub struct Bundled {
    plan: Arc<Plan>,
    state: watch::Receiver<States>,
    /// Those who watch; they end with this value, the processes don't.
    watchers: JoinSet<()>,
}

impl Bundled {
    /// Starts what doesn't run, adopts what does, and watches all: whichever ends is started again (after 50 ms, doubling
    /// to 5 s while it doesn't stay up). Writes the settings into the switch's database first, on an adopted one too.
    ///
    /// Returns when all six do their work: the databases answer, the switch has its bridges, ovn-northd and
    /// ovn-controller are connected.
    ///
    /// # Errors
    /// Each tells what to do. What runs by then goes on, unwatched, and is adopted by the next start: a network that works
    /// in part isn't torn down. [`Bundled::end`] ends it.
    pub async fn start(config: BundledConfig) -> Result<Self, BundledError> {
        config.check()?;
        let folder = Folder::make(&config.folder)?;
        let lock = folder.lock().await?;
        let plan = Arc::new(Plan { config, folder, _lock: lock });
        let mut adopted = BTreeMap::new();
        for part in Part::ALL {
            let found = Watched::find(part, &plan.folder).map_err(BundledError::Look)?;
            adopted.extend(found.map(|process| (part, process)));
        }
        if !adopted.contains_key(&Part::Switch) {
            refuse_beside_another(&plan).await?;
        }
        if !adopted.is_empty() {
            let pids: Vec<_> = adopted.iter().map(|(part, process)| format!("{part} {}", process.pid)).collect();
            tracing::info!(processes = pids.join(", "), "adopting the OVN that was left running");
        }

        let waiting = Part::ALL.map(|part| (part, State::waiting()));
        let (states, state) = watch::channel(States::from(waiting));
        let states = Arc::new(states);
        let mut bundled = Self { plan, state, watchers: JoinSet::new() };
        let until = Instant::now() + READY_PATIENCE;
        bundled.watch(&Part::DATABASES, &states, &mut adopted, until).await?;
        settings::write(&bundled.plan).await.map_err(BundledError::Settings)?;
        // Before those that work for it: they would try it in vain, and again only after a second.
        bundled.watch(&[Part::Switch], &states, &mut adopted, until).await?;
        bundled.watch(&[Part::Northd, Part::Controller], &states, &mut adopted, until).await?;
        Ok(bundled)
    }

    /// Begins to watch over these, and waits until they do their work.
    async fn watch(
        &mut self,
        parts: &[Part],
        states: &Arc<watch::Sender<States>>,
        adopted: &mut BTreeMap<Part, Watched>,
        until: Instant,
    ) -> Result<(), BundledError> {
        for part in parts {
            let teller = Teller { part: *part, states: states.clone() };
            self.watchers.spawn(supervise(self.plan.clone(), teller, adopted.remove(part)));
        }
        self.until_running(parts, until).await
    }

    async fn until_running(&self, parts: &[Part], until: Instant) -> Result<(), BundledError> {
        let mut state = self.state.clone();
        let is_running = |state: &State| matches!(state.phase, Phase::Running { .. });
        let is_hopeless =
            |state: &State| matches!(state.phase, Phase::Restarting { attempt, .. } if attempt >= HOPELESS_ATTEMPT);
        let settled = state.wait_for(|states| {
            let mut states = parts.iter().filter_map(|part| states.get(part));
            states.clone().all(is_running) || states.any(is_hopeless)
        });
        // A watcher that is gone has told all it can; what stands there is judged below.
        let _ = timeout_at(until, settled).await.map(|settled| settled.map(drop));
        let states = state.borrow();
        for part in parts {
            let Some(state) = states.get(part).filter(|state| !is_running(state)) else {
                continue;
            };
            if is_hopeless(state) || states.values().all(|state| !is_hopeless(state)) {
                let words = state.last_end.as_ref().map(|end| end.why.clone());
                return Err(match words {
                    Some(why) if is_hopeless(state) => BundledError::Failed { part: *part, why },
                    ended => {
                        let words = ended.or_else(|| logs::last_words(*part, &self.plan.folder, 0));
                        BundledError::Slow { part: *part, waited: READY_PATIENCE, words }
                    }
                });
            }
        }
        Ok(())
    }

    /// What each process is doing, now and whenever it changes.
    pub fn state(&self) -> watch::Receiver<States> {
        self.state.clone()
    }

    /// The processes that there are.
    pub fn pids(&self) -> BTreeMap<Part, u32> {
        self.state.borrow().iter().filter_map(|(part, state)| Some((*part, state.pid()?))).collect()
    }

    /// Where the northbound database listens: `unix:/…/nb.sock`.
    pub fn northbound(&self) -> String {
        self.plan.socket(Part::NorthboundDatabase)
    }

    /// Where the southbound database listens: `unix:/…/sb.sock`.
    pub fn southbound(&self) -> String {
        self.plan.socket(Part::SouthboundDatabase)
    }

    /// Where the switch's database listens: `unix:/…/switch.sock`.
    pub fn switch(&self) -> String {
        self.plan.socket(Part::SwitchDatabase)
    }

    /// What plugs VMs into this node's integration bridge.
    pub fn chassis(&self) -> Chassis {
        let config = &self.plan.config;
        Chassis {
            switch: self.switch(),
            bridge: config.integration_bridge.clone(),
            datapath: config.datapath,
            netns: config.netns.clone(),
            ovs_vsctl: config.programs.ovs_vsctl.clone(),
            ip: config.programs.ip.clone(),
        }
    }

    /// Ends all six, and removes the devices of the switch and of the VMs' ports. The databases stay. It is for a site
    /// that is taken down; a daemon that stops only drops this value, and the network goes on.
    ///
    /// # Errors
    /// [`BundledError::Look`], [`BundledError::Process`], [`BundledError::Stuck`], [`BundledError::Devices`]: then
    /// [`Bundled::end`] tries again.
    pub async fn stop(mut self) -> Result<(), BundledError> {
        self.watchers.shutdown().await;
        end::end_all(&self.plan).await
    }

    /// The same for an OVN that was left running, if it was.
    ///
    /// # Errors
    /// As [`Bundled::stop`]; [`BundledError::InUse`] if somebody watches it.
    pub async fn end(config: BundledConfig) -> Result<(), BundledError> {
        config.check()?;
        let Some(folder) = Folder::existing(&config.folder)? else {
            return Ok(());
        };
        let lock = folder.lock().await?;
        end::end_all(&Plan { config, folder, _lock: lock }).await
    }
}

/// One network namespace has one datapath of a kind, and one switch that may own it.
async fn refuse_beside_another(plan: &Plan) -> Result<(), BundledError> {
    let Some(pid) = other_switch(plan).map_err(BundledError::Look)? else {
        return Ok(());
    };
    let is_in_the_way = match plan.config.datapath {
        Datapath::Kernel => true,
        Datapath::Userspace => devices::userspace_datapath_is_there(plan).await.map_err(BundledError::Settings)?,
    };
    if is_in_the_way { Err(BundledError::OtherSwitch { pid }) } else { Ok(()) }
}
