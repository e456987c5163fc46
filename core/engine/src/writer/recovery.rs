//! After an append that failed or whose outcome is unknown: read the log, answer what turns out to be stored, and decide the
//! rest again, here or elsewhere (law 5; see the words of [`super`]).

use std::{collections::BTreeMap, sync::Arc};

use edgestack_log::{AppendError, Log, LogError};
use edgestack_model::{Commit, Sequence};
use edgestack_planted::{self as planted, Bug};
use tokio::time::Instant;

use super::{InFlight, RETRY_AFTER, Waiting, Writer, doubted_key};
use crate::{Outcome, SubmitError, error_chain, follower::catch_up, reconnect::Pause};

impl Writer {
    /// Law 5. See the module's words.
    pub(super) async fn recover(&mut self, mut oldest: InFlight, error: AppendError) {
        let (seq, in_flight, why) = (oldest.commit.sequence.0, self.in_flight.len() + 1, error_chain(&error));
        if matches!(error, AppendError::WrongLastSequence { .. }) {
            tracing::debug!(seq, in_flight, why, "another engine was faster; taking over what it has appended");
            self.collided.send_replace(Some(Instant::now()));
        } else {
            tracing::warn!(seq, in_flight, why, "an append failed; reading the log to learn what is stored");
        }
        metrics::counter!("edgestack_append_failures_total").increment(1);
        let nothing_was_sent = matches!(error, AppendError::Unavailable(_));
        let taken_for_stored = match &error {
            AppendError::UnknownOutcome(_) => planted::is(Bug::OutcomeGuessed),
            AppendError::WrongLastSequence { .. } => planted::is(Bug::ConflictAcknowledged),
            AppendError::TooLarge { .. } | AppendError::Unavailable(_) | AppendError::Refused(_) => false,
        };
        let overtaken = matches!(error, AppendError::WrongLastSequence { .. });
        let mut open: Vec<(Waiting, AppendError)> = Vec::new();
        let doubt = |in_doubt: &mut BTreeMap<String, (u64, Instant)>, one: &mut InFlight, error: &AppendError| {
            if !matches!(error, AppendError::UnknownOutcome(_)) {
                return;
            }
            let place = one.commit.sequence.0;
            // What a later attempt comes to says nothing of this one.
            one.waiting.in_doubt = one.waiting.in_doubt.max(Some(place));
            if let Some(key) = doubted_key(&one.waiting) {
                in_doubt.insert(key, (place, Instant::now()));
            }
        };
        doubt(&mut self.in_doubt, &mut oldest, &error);
        if taken_for_stored {
            oldest.waiting.answer(Ok(Outcome::Committed { commit: oldest.commit }));
        } else {
            open.push((oldest.waiting, error));
        }
        // The ground has changed under what was decided behind it: decided again, in the old order.
        let decide_again = |then: Vec<(Waiting, Option<Result<Outcome, SubmitError>>)>| {
            then.into_iter().map(|(waiting, _)| (waiting, AppendError::WrongLastSequence { actual: None }))
        };
        open.extend(decide_again(oldest.then));
        while let Some(mut one) = self.in_flight.pop_front() {
            // Those behind a failed append fail as well, by the log's promise; what they say decides how they are answered.
            let error = match (&mut one.ack).await {
                Ok(_) => AppendError::WrongLastSequence { actual: None },
                Err(error) => error,
            };
            doubt(&mut self.in_doubt, &mut one, &error);
            open.push((one.waiting, error));
            open.extend(decide_again(one.then));
        }
        self.doubts.send_replace(!self.in_doubt.is_empty());
        let mut pause = Pause::new();
        loop {
            match catch_up(&*self.log, &self.replica).await {
                Ok(()) => break,
                Err(LogError::Damaged(_)) => break,
                Err(error) => {
                    open = self.turn_away_late(open, &error);
                    self.turn_away_queued(&error);
                    pause.wait().await;
                }
            }
        }
        if let Some(error) = self.replica.failure() {
            let why = error_chain(&error);
            for (waiting, error) in open {
                waiting.answer(Err(match error {
                    // It may be stored, and be among what a repair brings back.
                    AppendError::UnknownOutcome(_) => SubmitError::OutcomeUnknown { retry_after: RETRY_AFTER },
                    _ => SubmitError::Damaged { why: why.clone() },
                }));
            }
            return;
        }
        for (waiting, error) in open {
            match (self.stored_of(&waiting), error) {
                (Some(sequence), _) => {
                    let outcome = read_back(&*self.log, sequence).await;
                    waiting.answer(outcome);
                }
                (None, AppendError::TooLarge { bytes, limit }) => {
                    waiting.answer(Err(SubmitError::TooLarge { bytes, limit }));
                }
                (None, error @ AppendError::Refused(_)) => {
                    waiting.answer(Err(SubmitError::Internal(error_chain(&error))));
                }
                (
                    None,
                    AppendError::WrongLastSequence { .. }
                    | AppendError::UnknownOutcome(_)
                    | AppendError::Unavailable(_),
                ) => self.again.push_back(waiting),
            }
        }
        if planted::is(Bug::RewindForgotten) {
            self.head = self.replica.head();
        } else {
            self.rewind();
        }
        if overtaken {
            self.hand_back();
        }
        let (_, mut pause) = self.trouble.take().unwrap_or((String::new(), Pause::new()));
        if nothing_was_sent {
            // The log answers but takes nothing (its disk is full, say): not again at once.
            pause.wait().await;
        }
        self.trouble = Some((why, pause));
    }

    /// The commit of one of a command's attempts, if the replica has folded one.
    pub(super) fn stored_of(&self, waiting: &Waiting) -> Option<Sequence> {
        if planted::is(Bug::BlindRetry) {
            return None;
        }
        self.replica.find_recent(&waiting.attempts)
    }

    /// Those who wish it have back what would be decided again. What was ever in doubt stays here: elsewhere nobody knows its
    /// attempts again, should one of them be stored yet.
    fn hand_back(&mut self) {
        for mut waiting in std::mem::take(&mut self.again) {
            let may = waiting.in_doubt.is_none() && !self.may_still_come(&waiting);
            match waiting.hand_back.take_if(|_| may) {
                // Who has gone meanwhile wants no answer.
                Some(hand_back) => drop(hand_back.send(waiting.submission)),
                None => self.again.push_back(waiting),
            }
        }
    }

    /// While the log is away: those in flight that are past their deadline get the honest answer.
    fn turn_away_late(&self, open: Vec<(Waiting, AppendError)>, why: &LogError) -> Vec<(Waiting, AppendError)> {
        let (late, open): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|(waiting, _)| waiting.since.elapsed() > self.config.deadline);
        for (waiting, error) in late {
            let retry_after = RETRY_AFTER;
            // An append that could not be made was not sent, but an earlier attempt may have been.
            let sent = waiting.attempts.len() - usize::from(matches!(error, AppendError::Unavailable(_)));
            let answer = match sent {
                0 => SubmitError::Unavailable { why: error_chain(why), retry_after },
                _ => SubmitError::OutcomeUnknown { retry_after },
            };
            waiting.answer(Err(answer));
        }
        open
    }

    /// While the log is away: those in the queue are told at once, nothing of theirs was sent.
    fn turn_away_queued(&mut self, why: &LogError) {
        while let Some(waiting) = self.queues.try_next() {
            let retry_after = RETRY_AFTER;
            waiting.answer(Err(SubmitError::Unavailable { why: error_chain(why), retry_after }));
        }
    }
}

/// A commit of ours that turned out to be stored.
pub(super) async fn read_back(log: &dyn Log, sequence: Sequence) -> Result<Outcome, SubmitError> {
    let unknown = SubmitError::OutcomeUnknown { retry_after: RETRY_AFTER };
    let Ok(Some(stored)) = log.get(sequence.0).await else { return Err(unknown) };
    let commit = Commit::decode(&stored.payload).map_err(|error| SubmitError::Internal(error_chain(&error)))?;
    Ok(Outcome::Committed { commit: Arc::new(commit) })
}
