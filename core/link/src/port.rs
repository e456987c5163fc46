//! The other side: commands to an engine in another process.

use std::{sync::Arc, time::Duration};

use async_nats::{Request, RequestErrorKind};
use async_trait::async_trait;
use bytes::Bytes;
use edgestack_engine::{Clock, CommandPort, Outcome, Replica, Submission, SubmitError, catch_up, error_chain};
use edgestack_log::{Log as _, jetstream::JetStreamLog};
use edgestack_model::{Commit, Decision, Given, Sequence, decide};

use crate::{Answer, SUBMIT};

/// Longer than the engine's own deadline, so that its answer, whatever it is, arrives.
pub(crate) const ANSWER_DEADLINE: Duration = Duration::from_secs(15);
/// How long this process's replica may take to fold what the engine committed.
const FOLD_DEADLINE: Duration = Duration::from_secs(10);
pub(crate) const RETRY_AFTER: Duration = Duration::from_secs(2);

/// Sends commands over NATS. Dry runs are decided here: a decision is pure, and the folded world is at hand.
pub struct RemotePort {
    log: Arc<JetStreamLog>,
    replica: Arc<Replica>,
    clock: Arc<dyn Clock>,
}

impl RemotePort {
    /// A port over the log's connection; its answers count once this replica has folded them.
    pub fn new(log: Arc<JetStreamLog>, replica: Arc<Replica>, clock: Arc<dyn Clock>) -> Self {
        Self { log, replica, clock }
    }

    fn dry_run(&self, submission: &Submission) -> Result<Outcome, SubmitError> {
        let origin = &submission.origin;
        let given = Given {
            commit_id: self.clock.new_id(),
            time: self.clock.now(),
            new_ids: [self.clock.new_id(), self.clock.new_id()],
            actor: origin.actor.clone(),
            correlation_id: origin.correlation_id,
            idempotency: None,
            precondition: origin.precondition,
            reason: origin.reason.clone(),
            fence: origin.fence.clone(),
        };
        let mut world = self.replica.world().clone();
        let (primary, events) = match decide(&world, &given, &submission.command)? {
            Decision::Commit { primary, events } => (primary, events),
            Decision::Nothing { primary } => return Ok(Outcome::DryRun { primary, world: Arc::new(world) }),
            Decision::Before(first) => {
                return Ok(Outcome::Before { sequence: first.sequence, primary: first.primary });
            }
        };
        let commit = Commit {
            id: given.commit_id,
            site: String::new(),
            sequence: world.sequence.next(),
            time: given.time,
            actor: given.actor,
            command: submission.command.name().to_owned(),
            correlation_id: given.correlation_id,
            causation_id: None,
            traceparent: None,
            idempotency: None,
            reason: origin.reason.clone(),
            previous_hash: String::new(),
            primary,
            events,
        };
        world.evolve(&commit).map_err(|error| SubmitError::Internal(error.to_string()))?;
        Ok(Outcome::DryRun { primary, world: Arc::new(world) })
    }
}

#[async_trait]
impl CommandPort for RemotePort {
    async fn submit(&self, submission: Submission) -> Result<Outcome, SubmitError> {
        if submission.origin.dry_run {
            return self.dry_run(&submission);
        }
        let request = Request::new().payload(written(&submission)?);
        let asked = asked(&self.log, SUBMIT.to_owned(), request);
        let answer = match tokio::time::timeout(ANSWER_DEADLINE, asked).await {
            Ok(answer) => answer?,
            Err(_) => return Err(SubmitError::OutcomeUnknown { retry_after: RETRY_AFTER }),
        };
        let Some(answer) = answer else {
            let why = "no process of this site runs an engine".to_owned();
            return Err(SubmitError::Unavailable { why, retry_after: RETRY_AFTER });
        };
        told(&self.log, &self.replica, answer).await
    }
}

/// A command as it travels.
pub(crate) fn written(submission: &Submission) -> Result<Bytes, SubmitError> {
    let payload = serde_json::to_vec(submission).map_err(|error| SubmitError::Internal(error.to_string()))?;
    Ok(payload.into())
}

/// What an engine in another process answers, whenever that is; `None`: there is none, and nothing was sent.
pub(crate) async fn asked(
    log: &JetStreamLog,
    subject: String,
    request: Request,
) -> Result<Option<Answer>, SubmitError> {
    let client = log
        .client()
        .map_err(|error| SubmitError::Unavailable { why: error_chain(&error), retry_after: RETRY_AFTER })?;
    let message = match client.send_request(subject, request.timeout(None)).await {
        Ok(message) => message,
        Err(error) if error.kind() == RequestErrorKind::NoResponders => return Ok(None),
        Err(_) => return Err(SubmitError::OutcomeUnknown { retry_after: RETRY_AFTER }),
    };
    serde_json::from_slice(&message.payload).map(Some).map_err(|error| SubmitError::Internal(error.to_string()))
}

/// The outcome that an answer tells, once this process's replica shows it.
pub(crate) async fn told(log: &JetStreamLog, replica: &Replica, answer: Answer) -> Result<Outcome, SubmitError> {
    match answer {
        Answer::Committed { sequence } => committed(log, replica, sequence).await,
        Answer::Unchanged { kind, id } => {
            // It was decided on a world that this process may not have folded yet, and is answered from this one's.
            catch_up(log, replica)
                .await
                .map_err(|error| SubmitError::Unavailable { why: error_chain(&error), retry_after: RETRY_AFTER })?;
            Ok(Outcome::Unchanged { primary: (kind, id) })
        }
        Answer::Before { sequence, kind, id } => {
            folded(replica, sequence).await?;
            Ok(Outcome::Before { sequence: Sequence(sequence), primary: (kind, id) })
        }
        Answer::Refused { refusal } => Err(SubmitError::Refused(refusal)),
        Answer::Busy { retry_after_ms } => {
            Err(SubmitError::Busy { retry_after: Duration::from_millis(retry_after_ms) })
        }
        Answer::Unavailable { why, retry_after_ms } => {
            Err(SubmitError::Unavailable { why, retry_after: Duration::from_millis(retry_after_ms) })
        }
        Answer::OutcomeUnknown { retry_after_ms } => {
            Err(SubmitError::OutcomeUnknown { retry_after: Duration::from_millis(retry_after_ms) })
        }
        Answer::Damaged { why } => Err(SubmitError::Damaged { why }),
        Answer::TooLarge { bytes, limit } => Err(SubmitError::TooLarge { bytes, limit }),
        Answer::Internal { why } => Err(SubmitError::Internal(why)),
    }
}

async fn folded(replica: &Replica, sequence: u64) -> Result<(), SubmitError> {
    let waited = tokio::time::timeout(FOLD_DEADLINE, replica.wait_for(Sequence(sequence))).await;
    waited.map_err(|_| SubmitError::Internal(format!("commit {sequence} is durable, but this process lags behind it")))
}

async fn committed(log: &JetStreamLog, replica: &Replica, sequence: u64) -> Result<Outcome, SubmitError> {
    folded(replica, sequence).await?;
    if let Some(commit) = replica.latest(Sequence(sequence)) {
        return Ok(Outcome::Committed { commit });
    }
    let unreadable = |why: String| SubmitError::Internal(format!("commit {sequence} is durable, but {why}"));
    let stored = log.get(sequence).await.map_err(|error| unreadable(error_chain(&error)))?;
    let stored = stored.ok_or_else(|| unreadable("it cannot be read back".to_owned()))?;
    let commit = Commit::decode(&stored.payload).map_err(|error| unreadable(error_chain(&error)))?;
    Ok(Outcome::Committed { commit: Arc::new(commit) })
}
