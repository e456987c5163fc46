//! Steps on a fork: each is taken, and then time passes until nothing new happens.

mod drain;

use std::{
    sync::Arc,
    time::{Duration, Instant as RealInstant},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Method, Request, Uri, header},
};
use edgestack_engine::Applied;
use edgestack_model::{
    Actor, Kind,
    command::Reference,
    event::{Fact, VmEvent},
    vm::Vm,
};
use edgestack_wire::{
    Problem,
    what_if::{Action, Outcome, Step, StepOutcome},
};
use serde_json::Value;
use tokio::{sync::broadcast, time::Instant};
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::{AppState, change, codes, fork::Fork, list, observe::Seen, problem::Failure, router, state::Site};

/// With so long nothing new, all has come to rest: longer than a node's silence until it counts as lost.
const QUIET: Duration = Duration::from_secs(15);
/// A step is followed for so long at most, in the fork's time.
const FOLLOWED_MAX: Duration = Duration::from_secs(600);
/// Time passes in such pieces, after each of which the bounds are looked at.
const PIECE: Duration = Duration::from_secs(10);
/// The most commits of a fork.
const COMMITS_MAX: u64 = 20_000;
/// VMs that are named in a note.
const NAMES_MAX: usize = 20;
/// The most real time of a fork: the answer must be there before its request times out.
const REAL_TIME_MAX: Duration = Duration::from_secs(15);

/// Plays steps on a fork, within bounds.
pub(super) struct Player {
    pub fork: Fork,
    pub steps: Vec<StepOutcome>,
    /// What to know before relying on it.
    pub notes: Vec<String>,
    /// The last commit before the fork.
    pub began_after: u64,
    requests: Router,
    actor: Actor,
    feed: broadcast::Receiver<Arc<Applied>>,
    begun: Instant,
    really_begun: RealInstant,
}

impl Player {
    /// Before the first step; called on the fork's runtime.
    pub fn new(app: AppState, fork: Fork, actor: Actor, began_after: u64) -> Self {
        // Only changes are let in (`Step::action`), and those know port and replica alone: views and timeline stay the
        // site's, and nobody reads them here.
        let app = AppState { port: fork.port.clone(), replica: fork.replica.clone(), ..app };
        let requests = router::resources_alone(Site::new(app, String::new()));
        let feed = fork.replica.subscribe();
        let (begun, really_begun) = (Instant::now(), RealInstant::now());
        Self { fork, steps: Vec::new(), notes: Vec::new(), began_after, requests, actor, feed, begun, really_begun }
    }

    /// Lets what goes on come to rest, then takes each step and lets that come to rest.
    pub async fn play(&mut self, steps: Vec<(Step, Action)>) {
        self.rest().await;
        for (step, action) in steps {
            let outcome = self.step(step, action).await;
            self.steps.push(outcome);
        }
    }

    /// How long it was, in the fork's time.
    pub fn simulated(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Why it must end, if it must.
    pub fn bound(&self) -> Option<String> {
        if let Some(failure) = self.fork.replica.failure() {
            return Some(format!("the fork failed: {}", edgestack_engine::error_chain(&failure)));
        }
        if self.sequence() - self.began_after > COMMITS_MAX {
            return Some(format!("it came to {COMMITS_MAX} commits"));
        }
        let late = self.really_begun.elapsed() > REAL_TIME_MAX;
        late.then(|| format!("it took {} s of real time", REAL_TIME_MAX.as_secs()))
    }

    fn sequence(&self) -> u64 {
        self.fork.replica.head().sequence
    }

    async fn step(&mut self, step: Step, action: Action) -> StepOutcome {
        let (begun, first_sequence) = (Instant::now(), self.sequence() + 1);
        // What was sent may hold secrets, and whoever asked has it.
        let shown = Step { body: None, ..step };
        let told = |outcome, status, problem| StepOutcome {
            step: shown.clone(),
            outcome,
            status,
            problem,
            first_sequence,
            simulated_seconds: 0.0,
            settled: true,
        };
        if self.bound().is_some() {
            return told(Outcome::NotTried, None, None);
        }
        let waits = match action {
            Action::Wait(seconds) => Some(Duration::from_secs(u64::from(seconds))),
            Action::Request { .. }
            | Action::DrainNode(_)
            | Action::LoseNode(_)
            | Action::ReturnNode(_)
            | Action::CrashVm(_) => None,
        };
        let mut outcome = match self.take(action).await {
            Ok(status) => told(Outcome::Taken, status, None),
            Err(problem) => told(Outcome::Refused, Some(problem.status), Some(*problem)),
        };
        outcome.settled = match waits {
            Some(wait) => self.pass(wait).await,
            // A refusal changes nothing.
            None if outcome.outcome == Outcome::Refused => true,
            None => self.rest().await,
        };
        outcome.simulated_seconds = begun.elapsed().as_secs_f64();
        outcome
    }

    /// Takes a step; the status is that of a request's answer.
    async fn take(&mut self, action: Action) -> Result<Option<u16>, Box<Problem>> {
        let refused = |failure: Failure| Box::new(failure.problem().clone());
        match action {
            Action::Wait(_) => Ok(None),
            Action::Request { method, path, body } => self.request(&method, &path, body).await.map(Some),
            Action::DrainNode(node) => self.drain(&node).await.map(|()| None),
            Action::LoseNode(node) => {
                let id = self.id_of(Kind::Node, &node).map_err(refused)?;
                self.note("a lost node is one whose power fails; the control plane itself is taken to go on");
                let running = self.running_on(id);
                match self.fork.outside.lose_node(edgestack_model::Id::new(id)) {
                    true => {
                        if !running.is_empty() {
                            self.note(&format!(
                                "what ran on {node} ends with it, which is seen when it is back: {running}"
                            ));
                        }
                        Ok(None)
                    }
                    false => Err(refused(wrong_state(format!("node \"{node}\" is off already")))),
                }
            }
            Action::ReturnNode(node) => {
                let id = self.id_of(Kind::Node, &node).map_err(refused)?;
                match self.fork.outside.return_node(edgestack_model::Id::new(id)) {
                    true => Ok(None),
                    false => Err(refused(wrong_state(format!("node \"{node}\" is on already")))),
                }
            }
            Action::CrashVm(vm) => {
                let id = self.id_of(Kind::Vm, &vm).map_err(refused)?;
                match self.fork.outside.crash_vm(edgestack_model::Id::new(id)) {
                    true => Ok(None),
                    false => Err(refused(wrong_state(format!("no process of VM \"{vm}\" runs")))),
                }
            }
        }
    }

    /// The VMs that run on a node, in words; empty: none.
    fn running_on(&self, node: Uuid) -> String {
        let world = self.fork.replica.world();
        let on_it = |vm: &&Arc<Vm>| vm.placement.as_ref().is_some_and(|placement| placement.node.uuid() == node);
        let running = world.vms.values().filter(on_it).filter(|vm| vm.power.instance().is_some());
        in_words(running.map(|vm| vm.meta.name.to_string()).collect())
    }

    fn id_of(&self, kind: Kind, name: &str) -> Result<Uuid, Failure> {
        let reference = Reference::from(name);
        self.fork.replica.world().resolve(kind, &reference).ok_or_else(|| list::not_found(kind, &reference))
    }

    /// Sends a request through the real routes.
    async fn request(&self, method: &str, path: &str, body: Option<Value>) -> Result<u16, Box<Problem>> {
        let whole = format!("/{}", path.trim_start_matches('/'));
        let path = router::without_prefix(&whole);
        let correlation_id = Uuid::now_v7();
        let finish = |failure: &Failure| {
            let mut problem = failure.problem().clone();
            problem.instance = Some(path.to_owned());
            Box::new(problem)
        };
        let (Ok(method), Ok(uri)) = (method.parse::<Method>(), path.parse::<Uri>()) else {
            return Err(finish(&Failure::new(&codes::INVALID_PATH, "the path has characters that no path has")));
        };
        let mut request = Request::new(Body::empty());
        (*request.method_mut(), *request.uri_mut()) = (method, uri);
        let seen = Seen { correlation_id, actor: Some(self.actor.clone()), path: path.into() };
        request.extensions_mut().insert(seen);
        // What forces something needs a reason; here that is always the same.
        request.headers_mut().insert(change::REASON, HeaderValue::from_static("what-if"));
        if let Some(body) = body {
            request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            *request.body_mut() = body.to_string().into();
        }
        let mut response = match self.requests.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        match response.extensions_mut().remove::<Failure>() {
            Some(failure) => Err(finish(&failure)),
            None => Ok(response.status().as_u16()),
        }
    }

    /// Lets time pass until nothing new has happened for a while; whether it came to that.
    async fn rest(&mut self) -> bool {
        let (begun, mut quiet_since) = (Instant::now(), Instant::now());
        loop {
            let until = (quiet_since + QUIET).min(begun + FOLLOWED_MAX);
            tokio::select! {
                biased;
                applied = self.feed.recv() => match applied {
                    Ok(applied) => {
                        if is_news(&applied) {
                            quiet_since = Instant::now();
                        }
                    }
                    Err(broadcast::error::RecvError::Lagged(_)) => quiet_since = Instant::now(),
                    Err(broadcast::error::RecvError::Closed) => return false,
                },
                () = tokio::time::sleep_until(until) => return until < begun + FOLLOWED_MAX,
            }
            if self.bound().is_some() {
                return false;
            }
        }
    }

    /// Lets so much time pass; whether all of it did, and nothing new happened at its end.
    async fn pass(&mut self, wait: Duration) -> bool {
        let end = Instant::now() + wait;
        while Instant::now() < end {
            tokio::time::sleep_until((Instant::now() + PIECE).min(end)).await;
            if self.bound().is_some() {
                return false;
            }
        }
        // What came meanwhile is no news for the next step.
        self.feed = self.feed.resubscribe();
        true
    }

    /// Notes something, once.
    fn note(&mut self, text: &str) {
        if !self.notes.iter().any(|note| note == text) {
            self.notes.push(text.to_owned());
        }
    }
}

/// Names in order, as many as a note takes.
fn in_words(mut names: Vec<String>) -> String {
    names.sort_unstable();
    let more = names.len().saturating_sub(NAMES_MAX);
    names.truncate(NAMES_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    names.join(", ") + &more
}

fn wrong_state(detail: String) -> Failure {
    Failure::new(&codes::WRONG_STATE, detail)
}

/// Whether anything but the repetition of a failed attempt happened.
fn is_news(applied: &Applied) -> bool {
    applied.commit.events.iter().any(|event| match &event.fact {
        Fact::Vm(VmEvent::VmUnschedulable { failure, .. } | VmEvent::VmAttemptFailed { failure }) => {
            failure.attempt <= 1
        }
        Fact::Vm(_)
        | Fact::Image(_)
        | Fact::Flavor(_)
        | Fact::Keypair(_)
        | Fact::Node(_)
        | Fact::Volume(_)
        | Fact::Network(_)
        | Fact::SecurityGroup(_)
        | Fact::SecurityGroupRule(_)
        | Fact::Router(_)
        | Fact::FloatingIp(_)
        | Fact::LoadBalancer(_)
        | Fact::Webhook(_)
        | Fact::Lease(_) => true,
    })
}
