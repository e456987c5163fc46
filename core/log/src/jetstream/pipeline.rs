//! Appending: what is in flight, what waits to share a message, and by what an append is fenced.
//!
//! **Sharing.** The server syncs once a message, one message after the other. So while [`IN_FLIGHT_MAX`] messages are
//! with it, further commits wait here, and go out together as one message when one of those is answered. Each keeps its
//! own place, hash and answer; those of a message are stored all or none (ADR 0022). An idle log sends each commit at
//! once and alone.
//!
//! **Fencing.** The expected last sequence says where, not after what. Let a foreign message take place 7 while our own
//! 7 and 8 are in flight: our 7 is refused, but our 8 expects 7 to be last, finds it so, and would be stored after a
//! commit it wasn't decided after, with a `previous_hash` of nothing. So a message whose predecessor isn't known to be
//! stored also carries `Nats-Expected-Last-Msg-Id`. It can't always do so: the server forgets that id when it restarts
//! later than the two-minute window for duplicates, and would then refuse for ever (ADR 0004).
//!
//! **In a cluster that header is deadly**: the leading server doesn't look at it before the message is replicated, and then
//! each server that finds another id gives the whole stream up ("critical write error", `applyStreamMsgOp` in nats-server
//! 2.15.1). So there a message goes out only when the one before it is known to be stored, and the sequence alone fences.

use std::collections::VecDeque;
use std::error::Error;
use std::time::{Duration, Instant};

use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use super::connection::Live;
use super::places::Place;
use super::stream::SHARED_SUBJECT;
use super::{JetStreamLog, api};
use crate::chain::{check_entry, hash};
use crate::{Append, AppendError, Cause, LogError, MAX_COMMIT_BYTES, PendingAck};

/// Messages with the server before commits begin to share: one that it syncs, one that it can go on with.
const IN_FLIGHT_MAX: usize = 2;
/// The same in a cluster.
const IN_FLIGHT_IN_CLUSTER: usize = 1;

/// What the log knows of its own appends.
#[derive(Default)]
pub(super) struct Pipeline {
    /// The connection that all of this is about.
    generation: u64,
    /// Raised by each failure: what is still in flight from before says nothing of what comes after.
    epoch: u64,
    /// The commit that the next one must chain on; `None`: look.
    tip: Option<Tip>,
    /// The message that the next one follows.
    sent: Sent,
    /// Messages with the server.
    in_flight: usize,
    /// Not sent yet, in order; more than one in a cluster alone.
    waiting: VecDeque<Message>,
    /// When a message was answered last.
    answered: Option<Instant>,
}

struct Tip {
    sequence: u64,
    hash: [u8; 32],
    stored: bool,
}

#[derive(Default)]
struct Sent {
    /// Its sequence in the stream.
    message: u64,
    /// Its id while it isn't known to be stored.
    in_flight: Option<String>,
}

/// Commits on their way in one message.
#[derive(Default)]
struct Message {
    entries: Vec<Entry>,
    bytes: usize,
}

struct Entry {
    append: Append,
    tell: oneshot::Sender<Result<u64, AppendError>>,
}

impl Message {
    fn alone(entry: Entry) -> Self {
        let mut message = Self::default();
        message.push(entry);
        message
    }

    fn has_room_for(&self, payload: &Bytes) -> bool {
        self.entries.is_empty() || self.bytes + payload.len() <= MAX_COMMIT_BYTES
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += entry.append.payload.len() + 1;
        self.entries.push(entry);
    }

    fn payload(&self) -> Bytes {
        if let [only] = &self.entries[..] {
            return only.append.payload.clone();
        }
        let mut lines = BytesMut::with_capacity(self.bytes);
        for (number, entry) in self.entries.iter().enumerate() {
            if number > 0 {
                lines.extend_from_slice(b"\n");
            }
            lines.extend_from_slice(&entry.append.payload);
        }
        lines.freeze()
    }

    fn subject(&self) -> String {
        match &self.entries[..] {
            [only] => only.append.subject.clone(),
            _ => SHARED_SUBJECT.to_owned(),
        }
    }

    /// Tells each commit its outcome.
    fn tell(self, outcome: &Result<(), AppendError>) {
        for entry in self.entries {
            let sequence = entry.append.expected_last_sequence + 1;
            // Who doesn't listen any more has given up the answer, not the commit.
            let _ = entry.tell.send(outcome.clone().map(|()| sequence));
        }
    }
}

impl Pipeline {
    /// Behind a new connection nothing is known any more, and what waited was never sent.
    fn on(&mut self, live: &Live) {
        if self.generation != live.generation {
            self.fail(&AppendError::Unavailable(Cause::new("the connection was lost")));
            *self = Self { generation: live.generation, epoch: self.epoch, ..Self::default() };
        }
    }

    /// All that came after a failure fails, too.
    fn fail(&mut self, error: &AppendError) {
        self.epoch += 1;
        self.tip = None;
        std::mem::take(&mut self.waiting).into_iter().for_each(|message| message.tell(&Err(error.clone())));
    }
}

impl JetStreamLog {
    /// Whether an append is under way, or was answered within the time given.
    pub fn has_appended_within(&self, time: Duration) -> bool {
        // Whoever holds it appends.
        let Ok(pipeline) = self.inner.pipeline.try_lock() else { return true };
        pipeline.in_flight > 0
            || !pipeline.waiting.is_empty()
            || pipeline.answered.is_some_and(|answered| answered.elapsed() < time)
    }

    pub(super) async fn hand_over(&self, append: Append) -> Result<PendingAck, AppendError> {
        let envelope = check_entry(&append)?;
        let expected = append.expected_last_sequence;
        let mut pipeline = self.inner.pipeline.lock().await;
        let live = self.inner.connection.live().map_err(AppendError::Unavailable)?;
        pipeline.on(&live);
        self.check_chain(&mut pipeline, &live, expected, &envelope.previous_hash).await?;
        pipeline.tip = Some(Tip { sequence: expected + 1, hash: hash(&append.payload), stored: false });
        let (tell, told) = oneshot::channel();
        let entry = Entry { append, tell };
        if pipeline.waiting.is_empty() && pipeline.in_flight < in_flight_max(&live) {
            self.send(&mut pipeline, &live, Message::alone(entry)).await?;
        } else {
            match pipeline.waiting.back_mut() {
                Some(last) if last.has_room_for(&entry.append.payload) => last.push(entry),
                Some(_) | None => {
                    let full = if live.in_cluster { None } else { pipeline.waiting.pop_front() };
                    if let Some(full) = full {
                        self.send(&mut pipeline, &live, full).await?;
                    }
                    pipeline.waiting.push_back(Message::alone(entry));
                }
            }
        }
        let lost = || AppendError::UnknownOutcome(Cause::new("the log was closed before it answered"));
        Ok(Box::pin(async move { told.await.unwrap_or_else(|_| Err(lost())) }))
    }

    /// Makes sure that the entry chains on the commit that will be before it.
    async fn check_chain(
        &self,
        pipeline: &mut Pipeline,
        live: &Live,
        expected: u64,
        previous_hash: &str,
    ) -> Result<(), AppendError> {
        let other_chain = AppendError::WrongLastSequence { actual: None };
        if let Some(tip) = pipeline.tip.as_ref().filter(|tip| tip.sequence == expected) {
            if hex::encode(tip.hash) == previous_hash {
                return Ok(());
            }
            if tip.stored {
                return Err(other_chain);
            }
        }
        // The caller goes on from elsewhere, so it has given up what waits.
        pipeline.fail(&other_chain);
        let found = match self.at_the_beginning(live, expected).await {
            Ok(true) => {
                // Nothing before it is here to be compared; who fills a log that begins later reads it back.
                pipeline.sent = Sent { message: expected, in_flight: None };
                return Ok(());
            }
            Ok(false) => self.get_in(live, expected).await,
            Err(error) => Err(error),
        };
        let found = match found {
            Ok(found) => found,
            Err(LogError::Unavailable(cause)) => return Err(AppendError::Unavailable(cause)),
            Err(LogError::Refused(cause)) => return Err(AppendError::Refused(cause)),
            Err(LogError::Damaged(damage)) => {
                return Err(AppendError::Refused(Cause::with_source("the log is damaged", damage)));
            }
        };
        let Some((commit, place, true)) = found else { return Err(other_chain) };
        let hash = hash(&commit.payload);
        pipeline.tip = Some(Tip { sequence: expected, hash, stored: true });
        pipeline.sent = Sent { message: place.message, in_flight: None };
        // What is stored never changes, so the expected sequence alone is the fence from here on.
        if hex::encode(hash) == previous_hash { Ok(()) } else { Err(other_chain) }
    }

    /// Whether what comes after this commit is the live log's first.
    async fn at_the_beginning(&self, live: &Live, expected: u64) -> Result<bool, LogError> {
        Ok(expected + 1 == self.begins(live).await?)
    }

    /// Sends a message, in order; its answer comes by itself.
    async fn send(&self, pipeline: &mut Pipeline, live: &Live, message: Message) -> Result<(), AppendError> {
        let Some(id) = message.entries.last().map(|entry| entry.append.commit_id.clone()) else { return Ok(()) };
        let payload = message.payload();
        let bytes = payload.len();
        let mut publish =
            PublishMessage::build().payload(payload).message_id(&id).expected_last_sequence(pipeline.sent.message);
        if let Some(predecessor) = pipeline.sent.in_flight.as_ref().filter(|_| !live.in_cluster) {
            publish = publish.expected_last_message_id(predecessor);
        }
        // Whoever hands over may give up at the next line: then nothing is known, and the next one looks.
        let tip = pipeline.tip.take();
        match live.context.send_publish(message.subject(), publish).await {
            Ok(ack) => {
                pipeline.tip = tip;
                pipeline.sent = Sent { message: pipeline.sent.message + 1, in_flight: Some(id) };
                pipeline.in_flight += 1;
                let (place, epoch) = (pipeline.sent.message, pipeline.epoch);
                let (log, live) = (self.clone(), live.clone());
                tokio::spawn(log.answered(live, message, place, epoch, bytes, ack));
                Ok(())
            }
            Err(error) => {
                let error = told_by_publish(error, bytes);
                pipeline.fail(&error);
                message.tell(&Err(error.clone()));
                Err(error)
            }
        }
    }

    /// Waits for the answer to a message, lets what waited for it go, and tells its commits.
    fn answered(
        self,
        live: Live,
        message: Message,
        place: u64,
        epoch: u64,
        bytes: usize,
        ack: PublishAckFuture,
    ) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let outcome = match ack.await {
                // A replicated stream looks for the id before the sequence: a commit that comes again is told where it is.
                // At the very place that was wanted it is ours, stored before: a place and its last commit fix the rest.
                Ok(ack) if ack.sequence != place => {
                    let why = format!("the last commit of the message is already stored, in message {}", ack.sequence);
                    Err(AppendError::Refused(Cause::new(why)))
                }
                Ok(_) => Ok(()),
                Err(error) => Err(told_by_publish(error, bytes)),
            };
            let mut pipeline = self.inner.pipeline.lock().await;
            if pipeline.generation == live.generation {
                pipeline.in_flight -= 1;
                pipeline.answered = Some(Instant::now());
                match &outcome {
                    Ok(()) => self.stored(&mut pipeline, &live, &message, place, epoch),
                    // What waits was decided after what has failed; none of it was sent.
                    Err(error) if pipeline.epoch == epoch => pipeline.fail(&match error {
                        AppendError::UnknownOutcome(cause) | AppendError::Unavailable(cause) => {
                            AppendError::Unavailable(cause.clone())
                        }
                        _ => AppendError::WrongLastSequence { actual: None },
                    }),
                    Err(_) => {}
                }
                if pipeline.in_flight < in_flight_max(&live)
                    && let Some(waiting) = pipeline.waiting.pop_front()
                {
                    // A failure has told its commits already.
                    let _ = self.send(&mut pipeline, &live, waiting).await;
                }
            }
            drop(pipeline);
            message.tell(&outcome);
        })
    }

    fn stored(&self, pipeline: &mut Pipeline, live: &Live, message: &Message, place: u64, epoch: u64) {
        let (Some(first), Some(last)) = (message.entries.first(), message.entries.last()) else { return };
        let places = &self.inner.places;
        let first = first.append.expected_last_sequence + 1;
        let behind = last.append.expected_last_sequence + 2;
        places.note(live.generation, Place { commit: first, message: place });
        places.note(live.generation, Place { commit: behind, message: place + 1 });
        if pipeline.epoch != epoch {
            return;
        }
        if pipeline.sent.message == place {
            pipeline.sent.in_flight = None;
        }
        if let Some(tip) = pipeline.tip.as_mut().filter(|tip| tip.sequence + 1 == behind) {
            tip.stored = true;
        }
    }
}

fn in_flight_max(live: &Live) -> usize {
    if live.in_cluster { IN_FLIGHT_IN_CLUSTER } else { IN_FLIGHT_MAX }
}

/// Tells the outcome of a publish by the server's error number (nats-server `server/errors.json`), never by its text.
fn told_by_publish(error: PublishError, bytes: usize) -> AppendError {
    let api = error.source().and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
    let Some(api) = api else {
        return match error.kind() {
            PublishErrorKind::StreamNotFound => {
                AppendError::Unavailable(Cause::new("no server answers for the stream (JetStream is down or starting)"))
            }
            PublishErrorKind::MaxPayloadExceeded => AppendError::TooLarge { bytes, limit: MAX_COMMIT_BYTES },
            // Time-out, lost connection, an answer that isn't understood: it may have been stored.
            _ => AppendError::UnknownOutcome(Cause::with_source("no answer from JetStream", error)),
        };
    };
    let api = api.clone();
    match api.error_code().0 {
        // JSStreamWrongLastSequenceErrF, the same while another message is being replicated, and
        // JSStreamWrongLastMsgIDErrF: the sequence is right but another message stands there. The number the first one
        // tells counts messages, not commits.
        api::WRONG_LAST_SEQUENCE | api::WRONG_LAST_SEQUENCE_CONSTANT | api::WRONG_LAST_MESSAGE_ID => {
            AppendError::WrongLastSequence { actual: None }
        }
        // JSStreamDuplicateMessageConflictErr: an equal message is being replicated now; its outcome is ours.
        api::DUPLICATE_IN_PROCESS => {
            AppendError::UnknownOutcome(Cause::with_source("an equal append is in progress", api))
        }
        api::MESSAGE_TOO_LARGE => AppendError::TooLarge { bytes, limit: MAX_COMMIT_BYTES },
        api::NOT_AVAILABLE | api::NO_RESOURCES | api::NO_STORAGE | api::NOT_ENABLED | api::NOT_ENABLED_FOR_ACCOUNT => {
            AppendError::Unavailable(Cause::with_source("JetStream can't store now", api))
        }
        // The server's fault (a store that failed half-way, for one): it may or may not be there.
        _ if api.code() >= 500 => AppendError::UnknownOutcome(Cause::with_source("JetStream failed", api)),
        _ => AppendError::Refused(Cause::with_source("JetStream refuses it", api)),
    }
}
