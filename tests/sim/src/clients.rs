//! Clients: they wish at random on a small name space, and try again with the same key until they have an answer.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use edgestack_engine::{Origin, Outcome, Submission, SubmitError};
use edgestack_log::Log as _;
use edgestack_model::{
    Actor, Command, Generation, Refusal, Sequence, given::Precondition, idempotency::IdempotencyClaim,
    node::NodeCommand, vm::VmCommand,
};
use futures::FutureExt as _;
use uuid::Uuid;

use crate::{control_plane::ControlPlane, outside::Outside, wishes};

/// How many clients there are.
pub const CLIENTS: usize = 4;

/// What clients remember, whatever becomes of the control plane.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Pages>>);

#[derive(Default)]
struct Pages {
    /// What each client waits for.
    open: BTreeMap<usize, Submission>,
    /// What was acknowledged: commit and sequence.
    acknowledged: Vec<(Uuid, u64)>,
    /// Which commit each key led to, as far as a client was told.
    by_key: BTreeMap<String, u64>,
    /// What each wish was told, by its correlation id.
    told: BTreeMap<Uuid, Told>,
    /// The last key of each client that took effect.
    used_keys: BTreeMap<usize, String>,
    answers: BTreeMap<&'static str, usize>,
}

/// What a client has heard of one wish.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// It was to be tried only.
    pub dry_run: bool,
    /// It took effect, now or before.
    pub done: bool,
    /// It has no effect: it was refused, or all was as wished.
    pub without_effect: bool,
    /// It was last answered by a word that leaves open whether it took effect, and the client has given up.
    pub open: bool,
}

impl Ledger {
    pub fn told(&self) -> BTreeMap<Uuid, Told> {
        self.0.lock().unwrap().told.clone()
    }

    /// The process died before it answered. Without a key there is no way to know, and the client lets it be.
    fn give_up_without_key(&self, number: usize) {
        let mut pages = self.0.lock().unwrap();
        if pages.open.get(&number).is_some_and(|open| open.origin.idempotency.is_none())
            && let Some(open) = pages.open.remove(&number)
        {
            let told = pages.told.entry(open.origin.correlation_id).or_default();
            (told.open, told.dry_run) = (true, open.origin.dry_run);
        }
    }

    pub fn acknowledged(&self) -> Vec<(Uuid, u64)> {
        self.0.lock().unwrap().acknowledged.clone()
    }

    /// The last commit that any client was told.
    fn told_up_to(&self) -> u64 {
        self.0.lock().unwrap().acknowledged.iter().map(|(_, sequence)| *sequence).max().unwrap_or(0)
    }

    pub fn by_key(&self) -> BTreeMap<String, u64> {
        self.0.lock().unwrap().by_key.clone()
    }

    /// How often each kind of answer came.
    pub fn answers(&self) -> BTreeMap<&'static str, usize> {
        self.0.lock().unwrap().answers.clone()
    }
}

/// One client, as long as this control plane lives.
pub async fn run_client(number: usize, outside: Arc<Outside>, plane: ControlPlane) {
    let random = &outside.random;
    outside.ledger.give_up_without_key(number);
    loop {
        let open = outside.ledger.0.lock().unwrap().open.get(&number).cloned();
        let submission = match open {
            Some(open) => open,
            None => {
                let mut pause = random.millis(20, 2500);
                if random.per_mille(300) {
                    // Many come at the same moment, to both engines.
                    let beat = u64::try_from(outside.clock.passed().as_millis()).unwrap() % 1000;
                    pause = Duration::from_millis(1000 - beat);
                }
                tokio::time::sleep(pause).await;
                let chosen = a_submission(number, &outside, &plane);
                outside.ledger.0.lock().unwrap().open.insert(number, chosen.clone());
                chosen
            }
        };
        let told_before = outside.ledger.told_up_to();
        // An impatient client does not wait for its first answer.
        let outcome = if submission.origin.idempotency.is_some() && random.per_mille(150) {
            let twice = (plane.port.submit(submission.clone()), plane.port.submit(submission.clone()));
            let (outcome, second) = futures::join!(twice.0, twice.1);
            outside.crash.or_never().await;
            take_answer(number, &outside, &plane, &submission, second);
            outcome
        } else {
            plane.port.submit(submission.clone()).await
        };
        // What the process has not said when it dies, nobody hears.
        outside.crash.or_never().await;
        check_world(&outside, &plane, &submission, &outcome, told_before);
        if take_answer(number, &outside, &plane, &submission, outcome) {
            outside.ledger.0.lock().unwrap().open.remove(&number);
        } else {
            tokio::time::sleep(random.millis(100, 3000)).await;
        }
    }
}

/// Whoever says that nothing is to be done, or can be, knows all that clients were told before they asked.
fn check_world(
    outside: &Outside,
    plane: &ControlPlane,
    submission: &Submission,
    outcome: &Result<Outcome, SubmitError>,
    told_before: u64,
) {
    let knows = plane.replica.head().sequence;
    // A log that has lost its end doesn't say so, until it is noticed and repaired.
    let whole = outside.log.inner.head().now_or_never();
    let whole = whole.is_some_and(|head| head.is_ok_and(|head| head.last_sequence >= told_before));
    if matches!(outcome, Ok(Outcome::Unchanged { .. }) | Err(SubmitError::Refused(_))) && knows < told_before && whole {
        outside.violations.add(format!(
            "{} was answered {outcome:?} by one who knows {knows} commits, after {told_before} were acknowledged",
            submission.command.name()
        ));
    }
}

/// Notes an answer; false: it says nothing for good, and the client tries again.
fn take_answer(
    number: usize,
    outside: &Outside,
    plane: &ControlPlane,
    submission: &Submission,
    outcome: Result<Outcome, SubmitError>,
) -> bool {
    let origin = &submission.origin;
    let key = origin.idempotency.as_ref().map(|claim| claim.key.as_str());
    let what = || format!("{} under {key:?}", submission.command.name());
    // Read before anything is noted: who reads may have to write the views, and be killed at it.
    let folded = Sequence(plane.replica.head().sequence);
    let shown = plane.views.as_ref().map_or(folded, |views| views.sequence().unwrap()).min(folded);
    let mut pages = outside.ledger.0.lock().unwrap();
    let pages = &mut *pages;
    *pages.answers.entry(kind_of(&outcome)).or_default() += 1;
    let told = pages.told.entry(origin.correlation_id).or_default();
    told.dry_run = origin.dry_run;
    if is_another_request(origin) && !origin.dry_run && outcome.is_ok() {
        outside.violations.add(format!("{}: the key was another request's, and it was answered {outcome:?}", what()));
    }
    let sequence = match outcome {
        Ok(Outcome::Committed { commit }) => {
            told.done = true;
            pages.acknowledged.push((commit.id, commit.sequence.0));
            let sequence = commit.sequence;
            if shown < sequence {
                outside.violations.add(format!("{}: acknowledged at {sequence}, but reads show {shown}", what()));
            }
            if let Some(seen) = origin.precondition
                && commit.events.first().is_some_and(|event| event.generation != seen.generation.next())
            {
                let seen = seen.generation;
                outside.violations.add(format!("{}: If-Match {seen} was taken at {:?}", what(), commit.events));
            }
            Some(sequence.0)
        }
        Ok(Outcome::Before { sequence, .. }) => {
            told.done = true;
            Some(sequence.0)
        }
        Ok(Outcome::Unchanged { .. } | Outcome::DryRun { .. }) | Err(SubmitError::Refused(_)) => {
            told.without_effect = true;
            None
        }
        Err(SubmitError::Busy { .. } | SubmitError::Unavailable { .. }) => return false,
        // While the log is damaged: what was sent may be among what a repair brings back.
        Err(SubmitError::OutcomeUnknown { .. } | SubmitError::Damaged { .. }) if key.is_some() => return false,
        // Without a key there is no way to know, and the client lets it be.
        Err(SubmitError::OutcomeUnknown { .. } | SubmitError::Damaged { .. }) => {
            told.open = true;
            None
        }
        Err(error @ (SubmitError::TooLarge { .. } | SubmitError::Internal(_))) => {
            outside.violations.add(format!("{} was answered: {error}", what()));
            None
        }
    };
    if let (Some(key), Some(sequence)) = (key, sequence) {
        let before = pages.by_key.insert(key.to_owned(), sequence);
        if before.is_some_and(|before| before != sequence) {
            outside.violations.add(format!("{} was told commit {before:?} and {sequence}", what()));
        }
        pages.used_keys.insert(number, key.to_owned());
    }
    true
}

/// Whether the request comes under a key that another one had.
fn is_another_request(origin: &Origin) -> bool {
    origin.idempotency.as_ref().is_some_and(|claim| claim.fingerprint != FINGERPRINT)
}

fn kind_of(outcome: &Result<Outcome, SubmitError>) -> &'static str {
    match outcome {
        Ok(Outcome::Committed { .. }) => "committed",
        Ok(Outcome::Unchanged { .. }) => "unchanged",
        Ok(Outcome::Before { .. }) => "before",
        Ok(Outcome::DryRun { .. }) => "dry run",
        Err(SubmitError::Refused(Refusal::AddressesExhausted { .. })) => "no address left",
        Err(SubmitError::Refused(Refusal::AddressInUse { .. })) => "address in use",
        Err(SubmitError::Refused(Refusal::RuleExists { .. })) => "rule exists",
        Err(SubmitError::Refused(Refusal::InUse { .. })) => "in use",
        Err(SubmitError::Refused(_)) => "refused",
        Err(SubmitError::Busy { .. }) => "busy",
        Err(SubmitError::Unavailable { .. }) => "unavailable",
        Err(SubmitError::OutcomeUnknown { .. }) => "unknown",
        Err(SubmitError::Damaged { .. } | SubmitError::TooLarge { .. } | SubmitError::Internal(_)) => "wrong",
    }
}

/// Of every request but those that come under another's key.
const FINGERPRINT: &str = "f";

fn a_submission(number: usize, outside: &Outside, plane: &ControlPlane) -> Submission {
    let random = &outside.random;
    let name = format!("client-{number}");
    let actor = Actor { name, credential: "simulated".into(), from: "simulated".into() };
    let correlation_id = Uuid::from_u128(u128::from(random.below(u64::MAX)));
    let mut origin = Origin::of(actor, correlation_id, None);
    if random.per_mille(700) {
        origin.idempotency = Some(IdempotencyClaim { key: outside.key(), fingerprint: FINGERPRINT.into() });
        let used = outside.ledger.0.lock().unwrap().used_keys.get(&number).cloned();
        if let Some(key) = used.filter(|_| random.per_mille(30)) {
            origin.idempotency = Some(IdempotencyClaim { key, fingerprint: "another".into() });
        }
    }
    origin.dry_run = random.per_mille(30);
    let command = wishes::a_command(random, &plane.replica.world());
    if let Command::Vm(
        VmCommand::Start { vm }
        | VmCommand::Stop { vm, .. }
        | VmCommand::Restart { vm }
        | VmCommand::EditSecurityGroups { vm, .. }
        | VmCommand::EditNics { vm, .. }
        | VmCommand::AttachNic { vm, .. }
        | VmCommand::DetachNic { vm, .. },
    ) = &command
        && random.per_mille(300)
    {
        // Some have looked long ago.
        let world = plane.replica.world();
        let stale = random.per_mille(300);
        origin.precondition = world.vm(vm).ok().map(|vm| {
            let generation = Generation(vm.meta.generation.0.saturating_sub(u64::from(stale)));
            Precondition { generation, revision: vm.meta.revision }
        });
    }
    Submission { command, origin }
}

/// Every node takes VMs again.
pub async fn uncordon_all(outside: &Outside, plane: &ControlPlane) -> Result<(), String> {
    for node in &outside.nodes {
        // A node that never reached the engine is not known, and takes none.
        if plane.replica.world().node(&node.name.as_str().into()).is_ok() {
            wish(plane, Command::Node(NodeCommand::Uncordon { node: node.name.as_str().into() })).await?;
        }
    }
    Ok(())
}

/// Sends a command until it is taken.
pub async fn wish(plane: &ControlPlane, command: Command) -> Result<Outcome, String> {
    let actor = Actor { name: "admin".into(), credential: "simulated".into(), from: "simulated".into() };
    let submission = Submission { command, origin: Origin::of(actor, Uuid::nil(), None) };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(600);
    loop {
        match plane.port.submit(submission.clone()).await {
            Ok(outcome) => return Ok(outcome),
            Err(error) if tokio::time::Instant::now() > deadline => {
                return Err(format!("a wish is not taken: {error}"));
            }
            Err(_) => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}
