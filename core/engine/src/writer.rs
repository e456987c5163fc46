//! The writer: decides commands on its speculative world, which runs ahead of
//! the replica by the commits in flight, and appends them in a pipeline.
//!
//! When an append fails or its outcome is unknown, the writer waits for all
//! that is in flight, reads the log (law 5), answers those whose commit turns
//! out to be stored, rewinds its world to the replica's, and decides the others
//! again, in their old order and under new commit ids: an id names one
//! sequence of bytes for ever, and of the attempts at one place the first that
//! is stored fences the others off, because all expected the same last sequence.
//! A command that was sent once and is not appended again may still take
//! effect, and is answered so (ADR 0002). Who would rather have a command back
//! than have it decided again after another engine was faster says so
//! ([`Engine::submit_or_hand_back`], ADR 0036).

mod recovery;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use edgestack_log::{Append, AppendError, ChainHead, Log, LogError, PendingAck, StoredCommit};
use edgestack_model::{Commit, Decision, Given, Sequence, World, decide, idempotency::IdempotencyKeys};
use edgestack_planted::{self as planted, Bug};
use futures::FutureExt;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    Clock, CommandPort, Outcome, Replica, Submission, SubmitError, crash_point, error_chain, follower::catch_up,
    queues::Queues, reconnect::Pause,
};

/// How a writer works.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The site's name, in every commit.
    pub site: String,
    /// How many commands may wait, people's and workers' each; one more is refused as busy.
    pub queue_max: usize,
    /// How many appends may be in flight.
    pub in_flight_max: usize,
    /// How long a command may take in all before its client is told to try again.
    pub deadline: Duration,
}

impl EngineConfig {
    /// The usual limits for a site of this name.
    pub fn for_site(site: impl Into<String>) -> Self {
        Self { site: site.into(), queue_max: 256, in_flight_max: 64, deadline: Duration::from_secs(10) }
    }
}

/// When trying again makes sense after a failure: nats-server is restarted within that time.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// What was sent and given up comes within this time or never: no server and no socket holds it longer.
const COMES_WITHIN: Duration = Duration::from_secs(30);

/// The handle of a running writer. Clones share it.
#[derive(Clone)]
pub struct Engine {
    people: mpsc::Sender<Waiting>,
    workers: mpsc::Sender<Waiting>,
    collided: watch::Receiver<Option<Instant>>,
    doubts: watch::Receiver<bool>,
}

/// A command that waits for its turn or for its append.
pub(crate) struct Waiting {
    submission: Submission,
    reply: oneshot::Sender<Result<Outcome, SubmitError>>,
    since: Instant,
    span: tracing::Span,
    /// The commit ids under which it was sent so far.
    attempts: Vec<Uuid>,
    /// The last place for which it was sent and of which nobody knows whether it came there.
    in_doubt: Option<u64>,
    /// Where it goes instead of being decided again, when another engine was faster.
    hand_back: Option<oneshot::Sender<Submission>>,
}

/// Why this engine has not carried out a command.
#[derive(Debug)]
pub enum Unserved {
    /// Another engine of the site was faster: nothing of it is stored, or can be any more. Here is the command.
    Overtaken(Box<Submission>),
    /// As [`CommandPort::submit`].
    Failed(SubmitError),
}

impl Waiting {
    fn answer(self, outcome: Result<Outcome, SubmitError>) {
        if let Err(SubmitError::Refused(refusal)) = &outcome {
            metrics::counter!("edgestack_commands_refused_total", "code" => refusal.code()).increment(1);
        }
        // The client may be gone; what was decided stands all the same.
        let _ = self.reply.send(outcome);
    }
}

struct InFlight {
    waiting: Waiting,
    commit: Arc<Commit>,
    payload: Bytes,
    sent: Instant,
    ack: PendingAck,
    /// Answers that led to no commit, decided on a world with this one: they hold once it is durable. `None`: to be decided
    /// again then.
    then: Vec<(Waiting, Option<Result<Outcome, SubmitError>>)>,
}

/// What other engines of the site have appended.
enum Others {
    /// Nothing that isn't known here.
    Silent,
    /// Something, and it is known now.
    TakenOver,
    /// Something behind what is in flight, which has to be answered first.
    BehindFlight,
}

struct Writer {
    config: EngineConfig,
    log: Arc<dyn Log>,
    replica: Arc<Replica>,
    clock: Arc<dyn Clock>,
    /// The replica's world with all commits in flight.
    world: World,
    /// The chain's head with all commits in flight.
    head: ChainHead,
    in_flight: VecDeque<InFlight>,
    /// Commands to be decided before those in the queues.
    again: VecDeque<Waiting>,
    /// Why the last append failed, until one succeeds; and the pause before the next try.
    trouble: Option<(String, Pause)>,
    /// Requests that were given up while nobody knew whether they were stored, by key, and the place that they may still
    /// come to as long as nothing else is there.
    in_doubt: BTreeMap<String, (u64, Instant)>,
    queues: Queues,
    /// When another engine was faster, last.
    collided: watch::Sender<Option<Instant>>,
    /// Whether [`Self::in_doubt`] holds any.
    doubts: watch::Sender<bool>,
}

impl Engine {
    /// Starts a writer on a log and the replica that follows it. It runs until all handles are dropped.
    pub fn start(config: EngineConfig, log: Arc<dyn Log>, replica: Arc<Replica>, clock: Arc<dyn Clock>) -> Self {
        let (people, people_queue) = mpsc::channel(config.queue_max);
        let (workers, workers_queue) = mpsc::channel(config.queue_max);
        let queues = Queues::new(people_queue, workers_queue);
        let (world, head) = replica.snapshot();
        let (tell_collided, collided) = watch::channel(None);
        let (tell_doubts, doubts) = watch::channel(false);
        let writer = Writer {
            config,
            log,
            replica,
            clock,
            world,
            head,
            in_flight: VecDeque::new(),
            again: VecDeque::new(),
            trouble: None,
            in_doubt: BTreeMap::new(),
            queues,
            collided: tell_collided,
            doubts: tell_doubts,
        };
        tokio::spawn(writer.run());
        Self { people, workers, collided, doubts }
    }

    /// Whether requests were given up here that may be stored yet: what depends on them is this engine's to answer.
    pub fn is_in_doubt(&self) -> bool {
        *self.doubts.borrow()
    }

    /// When an append of this engine was refused last because another engine of the site was faster.
    pub fn last_collision(&self) -> Option<Instant> {
        *self.collided.borrow()
    }
}

impl Engine {
    /// As [`CommandPort::submit`], but a command that was overtaken by another engine's is handed back instead of being decided
    /// again: to decide again at once what collided is to collide again, for as long as the other is busy.
    ///
    /// # Errors
    /// [`Unserved`].
    pub async fn submit_or_hand_back(&self, submission: Submission) -> Result<Outcome, Unserved> {
        let (hand_back, mut handed_back) = oneshot::channel();
        match self.wait_for(submission, Some(hand_back)).await {
            // The one sender is gone: either it was used, or it fell with the command.
            Err(error) => match handed_back.try_recv() {
                Ok(submission) => Err(Unserved::Overtaken(Box::new(submission))),
                Err(_) => Err(Unserved::Failed(error)),
            },
            Ok(outcome) => Ok(outcome),
        }
    }

    async fn wait_for(
        &self,
        submission: Submission,
        hand_back: Option<oneshot::Sender<Submission>>,
    ) -> Result<Outcome, SubmitError> {
        let (reply, answer) = oneshot::channel();
        let span = tracing::Span::current();
        let waiting =
            Waiting { submission, reply, since: Instant::now(), span, attempts: vec![], in_doubt: None, hand_back };
        let queue = if waiting.submission.origin.actor.is_worker() { &self.workers } else { &self.people };
        queue.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                metrics::counter!("edgestack_commands_turned_away_total").increment(1);
                SubmitError::Busy { retry_after: Duration::from_secs(1) }
            }
            mpsc::error::TrySendError::Closed(_) => stopped(),
        })?;
        // Whether it was sent by then, nobody can say any more.
        answer.await.unwrap_or(Err(SubmitError::OutcomeUnknown { retry_after: RETRY_AFTER }))
    }
}

#[async_trait]
impl CommandPort for Engine {
    async fn submit(&self, submission: Submission) -> Result<Outcome, SubmitError> {
        self.wait_for(submission, None).await
    }
}

fn stopped() -> SubmitError {
    SubmitError::Unavailable { why: "the engine is stopping".to_owned(), retry_after: Duration::from_secs(2) }
}

impl Writer {
    async fn run(mut self) {
        loop {
            if let Some(waiting) = self.again.pop_front() {
                self.take(waiting).await;
                continue;
            }
            let room = self.in_flight.len() < self.config.in_flight_max;
            tokio::select! {
                biased;
                ack = next_ack(&mut self.in_flight) => self.settle(ack).await,
                waiting = self.queues.next(), if room => match waiting {
                    Some(waiting) => self.take(waiting).await,
                    None => return,
                },
            }
        }
    }

    /// Decides one command and hands its commit to the log.
    async fn take(&mut self, waiting: Waiting) {
        if waiting.since.elapsed() > self.config.deadline {
            let late = self.too_late(&waiting);
            waiting.answer(Err(late));
            return;
        }
        if let Some(error) = self.replica.failure() {
            waiting.answer(Err(SubmitError::Damaged { why: error_chain(&error) }));
            return;
        }
        if self.in_flight.is_empty() && self.head != self.replica.head() {
            // Another writer was at work, and the follower has told the replica.
            self.rewind();
        }
        if let Some(sequence) = self.stored_of(&waiting) {
            // What was sent before and given up has come meanwhile; decided again it would be refused, or done twice.
            return waiting.answer(recovery::read_back(&*self.log, sequence).await);
        }
        let folded = self.replica.head().sequence;
        self.in_doubt.retain(|_, (place, since)| folded < *place && since.elapsed() < COMES_WITHIN);
        self.doubts.send_replace(!self.in_doubt.is_empty());
        let span = tracing::info_span!(
            parent: &waiting.span, "decide", command = waiting.submission.command.name(),
            correlation_id = %waiting.submission.origin.correlation_id
        );
        self.decide_and_append(waiting).instrument(span).await;
    }

    /// The honest answer to a command that took too long: what was sent once may still take effect.
    fn too_late(&self, waiting: &Waiting) -> SubmitError {
        match &self.trouble {
            _ if !waiting.attempts.is_empty() => SubmitError::OutcomeUnknown { retry_after: RETRY_AFTER },
            Some((why, _)) => SubmitError::Unavailable { why: why.clone(), retry_after: RETRY_AFTER },
            None => SubmitError::Busy { retry_after: RETRY_AFTER },
        }
    }

    async fn decide_and_append(&mut self, mut waiting: Waiting) {
        let origin = &waiting.submission.origin;
        let given = Given {
            commit_id: self.clock.new_id(),
            time: self.clock.now(),
            new_ids: [self.clock.new_id(), self.clock.new_id()],
            actor: origin.actor.clone(),
            correlation_id: origin.correlation_id,
            idempotency: origin.idempotency.clone().filter(|_| !origin.dry_run),
            precondition: origin.precondition,
            reason: origin.reason.clone(),
            fence: origin.fence.clone(),
        };
        let mut decided = decide(&self.world, &given, &waiting.submission.command);
        // Appends prove that nobody else has written meanwhile. What leads to none has to look.
        while matches!(decided, Ok(Decision::Nothing { .. }) | Err(_)) {
            match self.take_over_from_others().await {
                Ok(Others::Silent) => break,
                Ok(Others::TakenOver) => {
                    if let Some(sequence) = self.stored_of(&waiting) {
                        return waiting.answer(recovery::read_back(&*self.log, sequence).await);
                    }
                    decided = decide(&self.world, &given, &waiting.submission.command);
                }
                Ok(Others::BehindFlight) => {
                    if let Some(last) = self.in_flight.back_mut() {
                        last.then.push((waiting, None));
                    }
                    return;
                }
                Err(error) => {
                    let why = error_chain(&error);
                    return waiting.answer(Err(match self.replica.failure() {
                        Some(_) => SubmitError::Damaged { why },
                        None => SubmitError::Unavailable { why, retry_after: RETRY_AFTER },
                    }));
                }
            }
        }
        let (primary, events) = match decided {
            Ok(Decision::Commit { primary, events }) => (primary, events),
            Ok(Decision::Nothing { primary }) if origin.dry_run => {
                let world = Arc::new(self.world.clone());
                return waiting.answer(Ok(Outcome::DryRun { primary, world }));
            }
            Ok(Decision::Nothing { .. }) | Err(_) if self.may_still_come(&waiting) => {
                return waiting.answer(Err(SubmitError::OutcomeUnknown { retry_after: RETRY_AFTER }));
            }
            Ok(Decision::Nothing { primary }) => {
                return self.answer_when_durable(waiting, Ok(Outcome::Unchanged { primary }));
            }
            Ok(Decision::Before(first)) => {
                let outcome = Outcome::Before { sequence: first.sequence, primary: first.primary };
                return self.answer_when_durable(waiting, Ok(outcome));
            }
            Err(_) if planted::is(Bug::RefusalAcknowledged) => {
                let primary = (edgestack_model::Kind::Vm, given.new_ids[0]);
                return waiting.answer(Ok(Outcome::Before { sequence: Sequence(self.head.sequence), primary }));
            }
            Err(refusal) => return self.answer_when_durable(waiting, Err(refusal.into())),
        };
        let commit = Commit {
            id: given.commit_id,
            site: self.config.site.clone(),
            sequence: Sequence(self.head.sequence + 1),
            time: given.time,
            actor: given.actor,
            command: waiting.submission.command.name().to_owned(),
            correlation_id: origin.correlation_id,
            causation_id: origin.causation_id,
            traceparent: origin.traceparent.clone(),
            idempotency: given.idempotency,
            reason: given.reason,
            previous_hash: hex::encode(self.head.hash),
            primary,
            events,
        };
        if origin.dry_run && !planted::is(Bug::DryRunStored) {
            let mut world = self.world.clone();
            let outcome = match world.evolve(&commit) {
                Ok(_) => Ok(Outcome::DryRun { primary, world: Arc::new(world) }),
                Err(error) => Err(SubmitError::Internal(error.to_string())),
            };
            return waiting.answer(outcome);
        }
        let payload: Bytes = match commit.encode() {
            Ok(payload) => payload.into(),
            Err(error) => return waiting.answer(Err(SubmitError::Internal(error.to_string()))),
        };
        // The world goes ahead of the answer; a failure rewinds it. It goes first: a commit that cannot be folded
        // must never get into the log.
        if let Err(error) = self.world.evolve(&commit) {
            tracing::error!(error = %error, "decide and evolve disagree; the command is not carried out");
            self.rewind_behind_in_flight();
            return waiting.answer(Err(SubmitError::Internal(error.to_string())));
        }
        waiting.attempts.push(commit.id);
        let entry = Append {
            expected_last_sequence: self.head.sequence,
            commit_id: commit.id.to_string(),
            subject: commit.subject(),
            payload: payload.clone(),
        };
        crash_point::pass("append.before");
        let sent = Instant::now();
        let ack = match self.log.append(entry).await {
            Ok(ack) => ack,
            Err(error) => futures::future::ready(Err(error)).boxed(),
        };
        let ack = match planted::is(Bug::AcknowledgedBeforeStored) {
            true => futures::future::ready(Ok(commit.sequence.0)).boxed(),
            false => ack,
        };
        crash_point::pass("append.sent");
        self.head = ChainHead { sequence: commit.sequence.0, hash: edgestack_log::chain::hash(&payload) };
        let commit = Arc::new(commit);
        self.in_flight.push_back(InFlight { waiting, commit, payload, sent, ack, then: vec![] });
    }

    /// Asks the log whether other engines of the site have appended, and takes that over. What is in flight doesn't say:
    /// it may be stored long ago, and others have written behind it since.
    async fn take_over_from_others(&mut self) -> Result<Others, LogError> {
        if planted::is(Bug::RefusedOnOldWorld) || self.log.head().await?.last_sequence <= self.head.sequence {
            return Ok(Others::Silent);
        }
        if !self.in_flight.is_empty() {
            return Ok(Others::BehindFlight);
        }
        catch_up(&*self.log, &self.replica).await?;
        let before = self.head;
        self.rewind();
        Ok(if self.head == before { Others::Silent } else { Others::TakenOver })
    }

    /// Whether an earlier attempt of this request may still be stored: it was sent, nobody knows where it is, and its place
    /// is free. No other answer than that is true then, whatever would be decided now.
    fn may_still_come(&self, waiting: &Waiting) -> bool {
        let earlier = doubted_key(waiting).and_then(|key| self.in_doubt.get(&key)).map(|(place, _)| *place);
        let free = |place: u64| self.head.sequence < place;
        waiting.in_doubt.max(earlier).is_some_and(free)
    }

    /// What was decided against commits in flight holds only once they are durable; it waits for the last of them.
    fn answer_when_durable(&mut self, waiting: Waiting, outcome: Result<Outcome, SubmitError>) {
        match self.in_flight.back_mut() {
            Some(last) if !planted::is(Bug::AnsweredAheadOfFlight) => last.then.push((waiting, Some(outcome))),
            Some(_) | None => waiting.answer(outcome),
        }
    }

    /// The oldest append has an answer; takes along those behind it that have theirs already.
    async fn settle(&mut self, first: Result<u64, AppendError>) {
        let mut acked = Vec::new();
        let mut answer = first;
        let failure = loop {
            let Some(oldest) = self.in_flight.pop_front() else {
                break None;
            };
            match answer {
                Ok(sequence) if sequence == oldest.commit.sequence.0 => {
                    crash_point::pass("append.after");
                    metrics::histogram!("edgestack_append_seconds").record(oldest.sent.elapsed().as_secs_f64());
                    acked.push(oldest);
                }
                Ok(sequence) => {
                    let error = AppendError::WrongLastSequence { actual: Some(sequence) };
                    break Some((oldest, error));
                }
                Err(error) => break Some((oldest, error)),
            }
            match next_ack(&mut self.in_flight).now_or_never() {
                Some(next) => answer = next,
                None => break None,
            }
        };
        if !acked.is_empty() {
            self.trouble = None;
        }
        self.fold_and_answer(acked);
        if let Some((oldest, error)) = failure {
            self.recover(oldest, error).await;
        }
    }

    fn fold_and_answer(&mut self, acked: Vec<InFlight>) {
        if acked.is_empty() {
            return;
        }
        let batch = acked
            .iter()
            .map(|one| {
                let stored = StoredCommit { sequence: one.commit.sequence.0, payload: one.payload.clone() };
                (stored, Some(one.commit.clone()))
            })
            .collect();
        let folded = match planted::is(Bug::FoldLeftToFollower) {
            true => Ok(()),
            false => self.replica.apply(batch),
        };
        for one in acked {
            metrics::counter!("edgestack_commits_total", "command" => one.waiting.submission.command.name())
                .increment(1);
            let outcome = match &folded {
                Ok(()) => Ok(Outcome::Committed { commit: one.commit }),
                Err(error) => Err(SubmitError::Damaged { why: error_chain(error) }),
            };
            one.waiting.answer(outcome);
            for (waiting, outcome) in one.then {
                match (&folded, outcome) {
                    (Ok(()), Some(outcome)) => waiting.answer(outcome),
                    (Ok(()), None) => self.again.push_back(waiting),
                    (Err(error), _) => waiting.answer(Err(SubmitError::Damaged { why: error_chain(error) })),
                }
            }
        }
    }

    /// The speculative world anew: the replica's, with the commits in flight.
    fn rewind_behind_in_flight(&mut self) {
        self.world = self.replica.world().clone();
        let folded = self.world.sequence;
        for one in self.in_flight.iter().filter(|one| one.commit.sequence > folded) {
            if let Err(error) = self.world.evolve(&one.commit) {
                tracing::error!(error = %error, "a commit in flight does not fold");
            }
        }
    }

    fn rewind(&mut self) {
        (self.world, self.head) = self.replica.snapshot();
    }
}

/// The key under which a request that was given up may come again.
fn doubted_key(waiting: &Waiting) -> Option<String> {
    let origin = &waiting.submission.origin;
    origin.idempotency.as_ref().map(|claim| IdempotencyKeys::scoped(&origin.actor.name, &claim.key))
}

/// The answer to the oldest append; never, while none is in flight.
async fn next_ack(in_flight: &mut VecDeque<InFlight>) -> Result<u64, AppendError> {
    match in_flight.front_mut() {
        Some(oldest) => (&mut oldest.ack).await,
        None => futures::future::pending().await,
    }
}
