//! Keeps one process running: starts it or takes it over, watches it, starts it again.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Plan;
use super::part::Part;
use super::process::Watched;
use super::{databases, devices, logs};

/// First and longest wait before another start.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// None of them gives an event when it is ready, so each is asked.
const READY_POLL: Duration = Duration::from_millis(10);

/// What each process is doing.
pub type States = BTreeMap<Part, ProcessState>;

/// What a process is doing, and how often it had to be started again since we watch it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessState {
    /// What it is doing.
    pub phase: Phase,
    /// How often it was started again.
    pub restarts: u64,
    /// How it last ended.
    pub last_end: Option<End>,
}

/// What a process is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// It isn't started yet; the databases come first.
    Waiting,
    /// It was started or found, and hasn't shown yet that it does its work.
    Starting {
        /// Its process.
        pid: u32,
    },
    /// It does its work.
    Running {
        /// Its process.
        pid: u32,
        /// Since when it is known to.
        since: DateTime<Utc>,
    },
    /// It ended, and will be started again.
    Restarting {
        /// Counts the starts since it last ran for a while, from 1.
        attempt: u32,
        /// When it is started.
        next_at: DateTime<Utc>,
    },
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// When.
    pub at: DateTime<Utc>,
    /// How, with its last words.
    pub why: String,
}

impl ProcessState {
    pub(super) fn waiting() -> Self {
        Self { phase: Phase::Waiting, restarts: 0, last_end: None }
    }

    /// Its process, while there is one.
    pub fn pid(&self) -> Option<u32> {
        match self.phase {
            Phase::Starting { pid } | Phase::Running { pid, .. } => Some(pid),
            Phase::Waiting | Phase::Restarting { .. } => None,
        }
    }
}

/// Tells what one process is doing.
#[derive(Clone)]
pub(super) struct Teller {
    pub(super) part: Part,
    pub(super) states: Arc<watch::Sender<States>>,
}

impl Teller {
    fn tell(&self, change: impl FnOnce(&mut ProcessState)) {
        self.states.send_modify(|states| change(states.entry(self.part).or_insert_with(ProcessState::waiting)));
    }
}

/// Runs until it is dropped; the process is then left running.
pub(super) async fn supervise(plan: Arc<Plan>, teller: Teller, mut adopted: Option<Watched>) {
    let part = teller.part;
    let mut attempt = 0_u32;
    loop {
        let started = match adopted.take() {
            Some(adopted) => Ok(adopted),
            None => take_or_start(part, &plan).await,
        };
        let why = match started {
            Err(error) => format!("can't start it: {}", chain(&*error)),
            Ok(mut process) => {
                let (why, ran) = watch_over(&plan, &mut process, &teller).await;
                // The wait is for one that can't start; one that was killed at work is wanted back at once.
                if ran > LONGEST_WAIT {
                    attempt = 0;
                }
                why
            }
        };
        attempt += 1;
        let wait = (FIRST_WAIT * 2_u32.saturating_pow(attempt - 1)).min(LONGEST_WAIT);
        tracing::warn!(process = %part, why, attempt, wait_ms = wait.as_millis() as u64, "a process of OVN is started again");
        teller.tell(|state| {
            state.restarts += 1;
            state.last_end = Some(End { at: now(), why });
            state.phase = Phase::Restarting { attempt, next_at: now() + wait };
        });
        tokio::time::sleep(wait).await;
    }
}

/// A daemon that was killed just as it started the process may have left one that came up after we looked.
async fn take_or_start(part: Part, plan: &Plan) -> Result<Watched, Box<dyn Error + Send + Sync>> {
    if let Some(running) = Watched::find(part, &plan.folder)? {
        return Ok(running);
    }
    match part {
        Part::SwitchDatabase | Part::NorthboundDatabase | Part::SouthboundDatabase => {
            databases::ensure(part, &plan.folder, &plan.config.programs).await?;
        }
        Part::Switch => devices::clear_the_way(plan).await?,
        Part::Controller => plan.folder.clear_controls()?,
        Part::Northd => {}
    }
    Ok(Watched::start(part, plan)?)
}

/// Tells when the process does its work, and returns when it has ended: how, and how long it had been at work.
async fn watch_over(plan: &Plan, process: &mut Watched, teller: &Teller) -> (String, Duration) {
    let (part, pid) = (teller.part, process.pid);
    let log_from = logs::length(part, &plan.folder);
    teller.tell(|state| state.phase = Phase::Starting { pid });
    let early = tokio::select! {
        how = process.ended() => Some(how),
        () = answers(plan, part, pid) => None,
    };
    let begun = Instant::now();
    let (how, ran) = match early {
        Some(how) => (how, Duration::ZERO),
        None => {
            teller.tell(|state| state.phase = Phase::Running { pid, since: now() });
            tracing::info!(process = %part, pid, "a process of OVN runs");
            let how = tokio::select! {
                how = process.ended() => how,
                never = logs::keep_short(part, &plan.folder, pid) => match never {},
            };
            (how, begun.elapsed())
        }
    };
    match logs::last_words(part, &plan.folder, log_from) {
        Some(words) => (format!("{how}; its last words: {words}"), ran),
        None => (how, ran),
    }
}

async fn answers(plan: &Plan, part: Part, pid: u32) {
    let bridges: Vec<_> = plan.config.bridges().collect();
    while !part.answers(&plan.folder, pid, &bridges).await {
        tokio::time::sleep(READY_POLL).await;
    }
}

fn now() -> DateTime<Utc> {
    SystemTime::now().into()
}

/// An error with its causes, for a state that is text.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
