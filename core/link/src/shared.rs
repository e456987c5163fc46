//! Where several engines serve one site, and each may append: when they get in each other's way, all but one hand their
//! commands to that one.
//!
//! Two engines that append at once undo each other's work: of two that were decided after the same commit one is refused, its
//! engine reads what the other has stored, and decides all it has in hand anew (ADR 0036 has the figures). So an engine whose
//! append was refused for that reason sends its commands to the holder of the lease [`FIRST`] for a while. That is a courtesy
//! and no right: the log's fence decides now as before, and a command is decided here when the holder is not heard, when nobody
//! listens there, and whenever engines have not met lately.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::{HeaderMap, Request};
use async_trait::async_trait;
use edgestack_engine::{
    BEAT_EVERY, CommandPort, Engine, Heartbeats, Outcome, Replica, Submission, SubmitError, Unserved,
    holder_heard_within,
};
use edgestack_log::jetstream::JetStreamLog;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    ENGINE, FROM_ENGINE,
    port::{ANSWER_DEADLINE, RETRY_AFTER, asked, told, written},
};

/// The lease whose holder goes first: every engine of a site wants it.
const FIRST: &str = "scheduler";
/// Who was not heard for two beats and a half is asked nothing, and waited for no longer.
const HEARD_WITHIN: Duration = Duration::from_secs(5);
/// For how long commands are handed over after engines have met; doubled when they meet again soon after.
const AT_FIRST: Duration = Duration::from_secs(1);
const AT_MOST: Duration = Duration::from_secs(16);
/// For how long one who gave no answer is asked nothing.
const LEFT_ALONE: Duration = Duration::from_secs(10);

/// Takes commands to the engine of this process or, after it met another one in the log, to the first among them.
pub struct SharedPort {
    own: Engine,
    process: Uuid,
    log: Arc<JetStreamLog>,
    replica: Arc<Replica>,
    heartbeats: Heartbeats,
    turns: Mutex<Turns>,
}

/// When to hand over.
#[derive(Default)]
struct Turns {
    /// The last meeting that is reckoned in.
    met: Option<Instant>,
    /// For how long it is, and until when.
    length: Duration,
    until: Option<Instant>,
    /// Who gave no answer, and until when it is asked nothing.
    left_alone: Option<(Uuid, Instant)>,
}

impl Turns {
    /// Whether commands are handed over now, given when this engine was beaten last.
    fn hand_over(&mut self, met: Option<Instant>, now: Instant) -> bool {
        if self.until.is_some_and(|until| now < until) {
            // Stragglers of the same meeting.
            self.met = met;
        } else if met != self.met {
            self.met = met;
            let again = self.until.is_some_and(|until| now.saturating_duration_since(until) < self.length);
            self.length = if again { (self.length * 2).min(AT_MOST) } else { AT_FIRST };
            self.until = Some(now + self.length);
        }
        self.until.is_some_and(|until| now < until)
    }

    fn may_ask(&self, process: Uuid, now: Instant) -> bool {
        self.left_alone.is_none_or(|(who, until)| who != process || until <= now)
    }
}

impl SharedPort {
    /// A port of an engine and its process; what others carry out counts once this replica has folded it.
    pub fn new(
        own: Engine,
        process: Uuid,
        log: Arc<JetStreamLog>,
        replica: Arc<Replica>,
        heartbeats: Heartbeats,
    ) -> Self {
        Self { own, process, log, replica, heartbeats, turns: Mutex::default() }
    }

    /// Whether commands are handed over now.
    fn gives_way(&self) -> bool {
        let met = self.own.last_collision();
        met.is_some() && self.turns().hand_over(met, Instant::now())
    }

    /// Who goes first, if that is another process, and it can be asked.
    fn first(&self) -> Option<Uuid> {
        let holder = self.heard().filter(|holder| *holder != self.process)?;
        self.turns().may_ask(holder, Instant::now()).then_some(holder)
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn heard(&self) -> Option<Uuid> {
        holder_heard_within(&self.replica.world(), &self.heartbeats, FIRST, HEARD_WITHIN)
    }

    fn leave_alone(&self, process: Uuid) {
        let until = Instant::now() + LEFT_ALONE;
        self.turns().left_alone = Some((process, until));
    }

    /// Has a command carried out there, or here when nobody is there.
    async fn hand(&self, process: Uuid, submission: Submission) -> Result<Outcome, SubmitError> {
        metrics::counter!("edgestack_commands_handed_over_total").increment(1);
        let mut headers = HeaderMap::new();
        headers.insert(FROM_ENGINE, self.process.to_string());
        let request = Request::new().headers(headers).payload(written(&submission)?);
        let asked = asked(&self.log, format!("{ENGINE}.{process}"), request);
        tokio::pin!(asked);
        let begun = Instant::now();
        loop {
            match tokio::time::timeout(BEAT_EVERY, &mut asked).await {
                Ok(Ok(Some(answer))) => return told(&self.log, &self.replica, answer).await,
                Ok(Ok(None)) => {
                    self.leave_alone(process);
                    return self.own.submit(submission).await;
                }
                Ok(Err(error)) => return Err(error),
                Err(_) if begun.elapsed() < ANSWER_DEADLINE && self.heard() == Some(process) => {}
                // It may have been stored, or be stored yet: deciding it here could do it twice.
                Err(_) => {
                    self.leave_alone(process);
                    return Err(SubmitError::OutcomeUnknown { retry_after: RETRY_AFTER });
                }
            }
        }
    }
}

#[async_trait]
impl CommandPort for SharedPort {
    async fn submit(&self, submission: Submission) -> Result<Outcome, SubmitError> {
        let Some(process) = self.first().filter(|_| !submission.origin.dry_run) else {
            return self.own.submit(submission).await;
        };
        // Whose world stands still takes no writes, and what depends on a doubt is answered where the doubt is.
        if self.replica.failure().is_some() || self.own.is_in_doubt() {
            return self.own.submit(submission).await;
        }
        if self.gives_way() {
            return self.hand(process, submission).await;
        }
        match self.own.submit_or_hand_back(submission).await {
            Ok(outcome) => Ok(outcome),
            Err(Unserved::Failed(error)) => Err(error),
            Err(Unserved::Overtaken(submission)) => self.hand(process, *submission).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_handed_over_for_longer_the_sooner_engines_meet_again() {
        let begun = Instant::now();
        let at = |seconds: f64| begun + Duration::from_secs_f64(seconds);
        let mut turns = Turns::default();
        assert!(!turns.hand_over(None, at(0.0)), "they have never met");
        let first = Some(at(1.0));
        assert!(turns.hand_over(first, at(1.0)) && turns.hand_over(first, at(1.9)));
        assert!(!turns.hand_over(first, at(2.1)), "for a second");
        let second = Some(at(2.2));
        assert!(turns.hand_over(second, at(2.2)) && turns.hand_over(second, at(4.1)), "for two, soon after");
        assert!(!turns.hand_over(second, at(4.3)));
        let late = Some(at(60.0));
        assert!(turns.hand_over(late, at(60.0)) && !turns.hand_over(late, at(61.1)), "for one, after a while");
        let (mut met, mut now) = (late, 61.1);
        for _ in 0..9 {
            met = Some(at(now));
            assert!(turns.hand_over(met, at(now)));
            now += turns.length.as_secs_f64() + 0.1;
        }
        assert_eq!(turns.length, AT_MOST);
        assert!(!turns.hand_over(met, at(now)));
    }

    #[test]
    fn who_gave_no_answer_is_left_alone_for_a_while() {
        let now = Instant::now();
        let (silent, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let turns = Turns { left_alone: Some((silent, now + LEFT_ALONE)), ..Turns::default() };
        assert!(!turns.may_ask(silent, now) && turns.may_ask(other, now));
        assert!(turns.may_ask(silent, now + LEFT_ALONE));
    }
}
