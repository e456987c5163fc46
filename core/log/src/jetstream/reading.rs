//! Reading commits out of messages: find the message that holds a commit, read from there, count on.

use super::api::{self, StoredMessage};
use super::connection::Live;
use super::places::Place;
use super::stream::STREAM;
use super::{JetStreamLog, lines, stream};
use crate::{Damage, LogError, LogHead, StoredCommit};

/// Looks by estimate before only halving is trusted: where messages hold about equally many, the first ones hit.
const ESTIMATES: u32 = 4;

/// Messages that are asked of the leading server at once, one by one.
const FROM_LEADER: usize = 64;

impl JetStreamLog {
    /// Commits from `from` on, dense, as far as one answer of the server reaches. An empty answer proves nothing.
    pub(super) async fn read_once(&self, from: u64, max_commits: usize) -> Result<Vec<StoredCommit>, LogError> {
        let live = self.live()?;
        let start = self.locate(&live, from).await?;
        let per_message = self.inner.commits_per_message.load(std::sync::atomic::Ordering::Relaxed).max(1);
        let wanted = max_commits.div_ceil(per_message);
        let messages = self.messages(&live, start.message, wanted).await?;
        if let Some(first) = messages.first()
            && first.sequence > start.message
        {
            // The server steps over what it can't read.
            let found = lines::first_sequence(&first.payload).unwrap_or(from + 1).max(from + 1);
            return Err(Damage::Gap { expected: from, found }.into());
        }
        let (commits, read) = self.open(&live, start, messages, from, max_commits);
        if let Some(per_message) = commits.len().checked_div(read) {
            self.inner.commits_per_message.store(per_message, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(commits)
    }

    /// Messages from a sequence on, of the server's own replica; while that answers nothing, of the leading server.
    async fn messages(&self, live: &Live, from: u64, wanted: usize) -> Result<Vec<StoredMessage>, LogError> {
        let options = &self.inner.options;
        if let Some(found) = api::direct_get(live, STREAM, from, wanted, options.request_timeout).await? {
            return Ok(found);
        }
        if options.only_this_replica {
            return Err(api::silent());
        }
        let mut found = Vec::new();
        for sequence in (from..).take(wanted.min(FROM_LEADER)) {
            match api::message_get(live, sequence).await? {
                Some(message) => found.push(message),
                None => break,
            }
        }
        Ok(found)
    }

    /// The commits of `messages`, which begin at `start`, counted from there on: those from `from` on, no more than
    /// asked for, up to the first gap. Also how many messages they came in.
    fn open(
        &self,
        live: &Live,
        start: Place,
        messages: Vec<StoredMessage>,
        from: u64,
        max_commits: usize,
    ) -> (Vec<StoredCommit>, usize) {
        let mut commits = Vec::with_capacity(messages.len());
        let (mut here, mut read) = (start, 0);
        for message in messages {
            if message.sequence != here.message {
                break;
            }
            let mut sequence = here.commit;
            for payload in lines::split(&message.payload) {
                if sequence >= from && commits.len() < max_commits {
                    commits.push(StoredCommit { sequence, payload });
                }
                sequence += 1;
            }
            read += 1;
            let behind = Place { commit: sequence, message: message.sequence + 1 };
            if commits.len() == max_commits && commits.last().is_some_and(|last| last.sequence + 1 < sequence) {
                // The next read goes on in this very message.
                break;
            }
            here = behind;
        }
        self.inner.places.note(live.generation, here);
        (commits, read)
    }

    /// Whether a message (by the sequence that a notice tells) is known to be before that of the commit `next`.
    pub fn has_read_past(&self, message: u64, next: u64) -> bool {
        let Ok(live) = self.live() else { return false };
        let (place, _) = self.inner.places.around(live.generation, next);
        place.commit == next && message < place.message
    }

    /// The commit at `sequence` by the word of the stream's leader, and whether it is the last one in its message.
    pub(super) async fn get_in(
        &self,
        live: &Live,
        sequence: u64,
    ) -> Result<Option<(StoredCommit, Place, bool)>, LogError> {
        if sequence < self.begins(live).await? {
            return Ok(None);
        }
        let place = self.locate(live, sequence).await?;
        let Some(message) = api::message_get(live, place.message).await? else { return Ok(None) };
        let count = lines::count(&message.payload);
        let Ok(index) = usize::try_from(sequence - place.commit) else { return Ok(None) };
        let Some(payload) = lines::split(&message.payload).nth(index) else { return Ok(None) };
        let is_last = index as u64 + 1 == count;
        Ok(Some((StoredCommit { sequence, payload }, place, is_last)))
    }

    /// The extent of the log, in commits.
    pub(super) async fn extent(&self) -> Result<LogHead, LogError> {
        let live = self.live()?;
        let state = match api::stream_info(&live, STREAM).await {
            Ok(info) => info.state,
            // It is made before anything is asked of it, so its files went, and the server was started without them.
            Err(error) if self.is_alone() && api::ApiError::is_no_stream(&error) => {
                return Ok(LogHead { first_sequence: 1, last_sequence: 0, messages: 0 });
            }
            Err(error) => return Err(error),
        };
        let begins = self.begins(&live).await?;
        if state.last_seq < begins {
            let first_sequence = if begins == 1 { state.first_seq } else { begins };
            return Ok(LogHead { first_sequence, last_sequence: begins - 1, messages: state.messages });
        }
        let behind_last = match self.inner.places.first_of(live.generation, state.last_seq + 1) {
            Some(behind) => behind,
            None => self.behind(&live, state.last_seq).await?,
        };
        let first_sequence = match state.first_seq {
            0 | 1 => 1,
            // The front is gone, or is elsewhere: who knows how far it may be compares.
            later => match api::message_get(&live, later).await? {
                Some(message) => lines::first_sequence(&message.payload).unwrap_or(later),
                None => later,
            },
        };
        // Each message that the stream misses is at least one commit missed.
        let spanned = (state.last_seq + 1).saturating_sub(state.first_seq.max(1));
        let messages =
            behind_last.saturating_sub(first_sequence).saturating_add(state.messages).saturating_sub(spanned);
        Ok(LogHead { first_sequence, last_sequence: behind_last - 1, messages })
    }

    /// The first commit of the live log by the stream's settings. Without a stream it is the first of all: what is done next
    /// tells that there is none.
    pub(super) async fn begins(&self, live: &Live) -> Result<u64, LogError> {
        if let Some(first) = self.inner.places.begins(live.generation) {
            return Ok(first);
        }
        let first = match api::stream_info(live, STREAM).await {
            Ok(info) => stream::first_message(&info.config),
            Err(LogError::Refused(_)) => return Ok(1),
            Err(error) => return Err(error),
        };
        self.inner.places.begin(live.generation, first);
        Ok(first)
    }

    /// The sequence after the last commit in a message.
    async fn behind(&self, live: &Live, message: u64) -> Result<u64, LogError> {
        let found = api::message_get(live, message).await?;
        let counted = found.and_then(|found| {
            let first = lines::first_sequence(&found.payload)?;
            Some((first, first.checked_add(lines::count(&found.payload))?))
        });
        let generation = live.generation;
        let (known, _) = self.inner.places.around(generation, u64::MAX - 1);
        // What claims a place that cannot be is no commit of ours: each message holds one commit at least.
        let can_be = |first: u64| first.saturating_sub(known.commit) >= message.saturating_sub(known.message);
        if let Some((first, behind)) = counted.filter(|(first, _)| can_be(*first)) {
            self.inner.places.note(generation, Place { commit: first, message });
            self.inner.places.note(generation, Place { commit: behind, message: message + 1 });
            return Ok(behind);
        }
        // It can't be read, which reading will tell. Until then: at least one commit a message.
        Ok(known.commit + (message + 1).saturating_sub(known.message))
    }

    /// The message that holds a commit, if any does: what is known of the places around, then a search between them.
    pub(super) async fn locate(&self, live: &Live, commit: u64) -> Result<Place, LogError> {
        let begins = self.begins(live).await?;
        if commit < begins {
            return Err(Damage::Gap { expected: commit, found: begins }.into());
        }
        let (mut low, high) = self.inner.places.around(live.generation, commit);
        if low.commit == commit {
            return Ok(low);
        }
        let mut high = match high {
            Some(high) => high,
            None => {
                let last = api::stream_info(live, STREAM).await?.state.last_seq;
                if last <= low.message {
                    return Ok(low);
                }
                let behind = self.behind(live, last).await?;
                if behind <= commit {
                    // The last message, or the end of the log.
                    return Ok(self.inner.places.around(live.generation, commit).0);
                }
                Place { commit: behind, message: last + 1 }
            }
        };
        for look in 0.. {
            let messages = high.message.saturating_sub(low.message);
            if messages <= 1 {
                break;
            }
            if high.commit - low.commit == messages {
                return Ok(Place { commit, message: low.message + (commit - low.commit) });
            }
            let step = if look < ESTIMATES {
                let share =
                    u128::from(commit - low.commit) * u128::from(messages) / u128::from(high.commit - low.commit);
                u64::try_from(share).unwrap_or(1)
            } else {
                messages / 2
            };
            let middle = low.message + step.clamp(1, messages - 1);
            match self.next_message(live, middle).await? {
                Some(found) if found.sequence < high.message => {
                    let says = lines::first_sequence(&found.payload);
                    let Some(first) = says.filter(|says| (low.commit + 1..high.commit).contains(says)) else {
                        let sequence = low.commit + (found.sequence - low.message);
                        return Err(match says {
                            Some(says) => Damage::Reordered { sequence, says },
                            None => Damage::Undecodable { sequence, why: "it is no commit".to_owned() },
                        }
                        .into());
                    };
                    let place = Place { commit: first, message: found.sequence };
                    self.inner.places.note(live.generation, place);
                    if first <= commit { low = place } else { high = place }
                }
                // From the middle on up to `high` nothing can be read.
                _ => high.message = middle,
            }
        }
        Ok(low)
    }

    /// The message at a sequence or, when it can't be read, the next one that can.
    async fn next_message(&self, live: &Live, sequence: u64) -> Result<Option<StoredMessage>, LogError> {
        Ok(self.messages(live, sequence, 1).await?.into_iter().next())
    }
}
