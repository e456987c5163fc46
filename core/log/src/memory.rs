//! The simulated log: in memory, deterministic, with faults on demand or by seed. It has no threads, no clock and no
//! sleeping; the order of the calls decides everything.
//!
//! It answers as the real log with one replica does: the expected sequence is checked first, then that the commit
//! chains on the one before it, then the commit id.
//! Damage is told by nothing but the messages themselves: [`Log::head`] goes on claiming that all is well, as the real
//! one does.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use edgestack_planted::{self as planted, Bug};
use futures::stream::BoxStream;
use tokio::sync::watch;

use crate::chain::{check_entry, dense_part, hash};
use crate::{Append, AppendError, Cause, ChainHead, Damage, Log, LogError, LogHead, PendingAck, StoredCommit};

/// What goes wrong with the next append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is stored, but the answer is lost: [`AppendError::UnknownOutcome`].
    AnswerLost,
    /// It is lost before it is stored: [`AppendError::UnknownOutcome`] as well.
    LostBeforeStoring,
    /// A foreign writer's entry is appended just before it: [`AppendError::WrongLastSequence`]. Nothing happens to ours
    /// when the foreign entry itself comes too late.
    ForeignFirst(Append),
    /// This call and as many more calls of any kind answer that the log is unavailable.
    Unavailable {
        /// How many calls fail, this one included.
        calls: u32,
    },
}

/// How often faults come by themselves, each in per mille of the appends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultRates {
    /// [`Fault::AnswerLost`].
    pub answer_lost: u16,
    /// [`Fault::LostBeforeStoring`].
    pub lost_before_storing: u16,
    /// [`Fault::Unavailable`] for one to four calls.
    pub unavailable: u16,
}

/// The simulated log. A clone is another handle to the same log.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    state: Arc<Mutex<State>>,
    last: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    commits: BTreeMap<u64, StoredCommit>,
    ids: HashSet<String>,
    /// What it goes on from; the first commit chains on it.
    begins_after: ChainHead,
    /// What the log claims, whatever [`State::commits`] holds.
    last_sequence: u64,
    messages: u64,
    next_faults: VecDeque<Fault>,
    rates: FaultRates,
    random: u64,
    unavailable_calls: u32,
}

impl Default for MemoryLog {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryLog {
    /// An empty log without faults.
    pub fn new() -> Self {
        Self::seeded(0, FaultRates::default())
    }

    /// An empty log whose faults follow from `seed`: the same seed and the same calls give the same answers.
    pub fn seeded(seed: u64, rates: FaultRates) -> Self {
        let state = State { random: seed, rates, ..State::default() };
        Self::of(state)
    }

    /// A log without faults that goes on where another one stands: it holds nothing from before, and the first commit
    /// that it takes is the next one there. For a copy of a site, which lives apart from it.
    pub fn going_on_from(head: ChainHead) -> Self {
        Self::of(State { begins_after: head, last_sequence: head.sequence, ..State::default() })
    }

    fn of(state: State) -> Self {
        let last = watch::Sender::new(state.last_sequence);
        Self { state: Arc::new(Mutex::new(state)), last }
    }

    /// Makes `fault` happen at the next append that has none before it in line.
    pub fn inject(&self, fault: Fault) {
        self.state().next_faults.push_back(fault);
    }

    /// The next so many calls of any kind answer that the log is unavailable.
    pub fn be_away(&self, calls: u32) {
        self.state().unavailable_calls = calls;
    }

    /// Appends as another writer would, without faults.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_foreign(&self, entry: Append) -> Result<u64, AppendError> {
        let mut state = self.state();
        let stored = state.store(entry)?;
        self.last.send_replace(stored);
        Ok(stored)
    }

    /// Damage: the commit at `sequence` is gone; the log's head doesn't show it. False when there is none.
    pub fn drop_message(&self, sequence: u64) -> bool {
        self.state().commits.remove(&sequence).is_some()
    }

    /// Damage: one bit of the payload at `sequence` is flipped. False when there is no such commit or bit.
    pub fn flip_bit(&self, sequence: u64, bit: usize) -> bool {
        let mut state = self.state();
        let Some(commit) = state.commits.get_mut(&sequence) else {
            return false;
        };
        let mut payload = commit.payload.to_vec();
        let Some(byte) = payload.get_mut(bit / 8) else {
            return false;
        };
        *byte ^= 1 << (bit % 8);
        commit.payload = payload.into();
        true
    }

    /// Damage: two commits stand in each other's place. False when one of them isn't there.
    pub fn swap_messages(&self, one: u64, other: u64) -> bool {
        let mut state = self.state();
        let (Some(first), Some(second)) = (state.commits.get(&one).cloned(), state.commits.get(&other).cloned()) else {
            return false;
        };
        state.commits.insert(one, StoredCommit { sequence: one, ..second });
        state.commits.insert(other, StoredCommit { sequence: other, ..first });
        true
    }

    /// Damage: the last `count` commits are gone, and the log has forgotten that they were ever there.
    pub fn cut_tail(&self, count: u64) {
        let mut state = self.state();
        let last = state.last_sequence.saturating_sub(count);
        state.messages -= state.last_sequence - last;
        state.last_sequence = last;
        state.commits.split_off(&(last + 1));
    }

    /// Puts everything aside and begins an empty log in its place, as a repair does.
    pub fn put_aside(&self) {
        let mut state = self.state();
        (state.commits, state.ids) = (BTreeMap::new(), HashSet::new());
        (state.last_sequence, state.messages) = (0, 0);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock, so a poisoned state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// SplitMix64: tiny, and the same numbers in every release of every library.
    fn roll(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn next_fault(&mut self) -> Option<Fault> {
        if let Some(fault) = self.next_faults.pop_front() {
            return Some(fault);
        }
        let FaultRates { answer_lost, lost_before_storing, unavailable } = self.rates;
        let mut roll = self.roll(1000);
        for (rate, fault) in [(answer_lost, Fault::AnswerLost), (lost_before_storing, Fault::LostBeforeStoring)] {
            if roll < u64::from(rate) {
                return Some(fault);
            }
            roll -= u64::from(rate);
        }
        (roll < u64::from(unavailable)).then(|| Fault::Unavailable { calls: 1 + self.roll(4) as u32 })
    }

    fn check_available(&mut self) -> Result<(), Cause> {
        if self.unavailable_calls == 0 {
            return Ok(());
        }
        self.unavailable_calls -= 1;
        Err(Cause::new("simulated: the log is out of reach"))
    }

    fn store(&mut self, entry: Append) -> Result<u64, AppendError> {
        if entry.expected_last_sequence != self.last_sequence && !planted::is(Bug::LogWithoutFence) {
            return Err(AppendError::WrongLastSequence { actual: Some(self.last_sequence) });
        }
        let chains_on = check_entry(&entry)?.previous_hash;
        let previous = match self.commits.get(&self.last_sequence) {
            Some(previous) => Some(hash(&previous.payload)),
            None if self.last_sequence == self.begins_after.sequence => Some(self.begins_after.hash),
            // Damage took it away, and with it what there was to chain on.
            None => None,
        };
        let other = previous.is_some_and(|previous| hex::encode(previous) != chains_on);
        if other && !planted::is(Bug::LogWithoutFence) && !planted::is(Bug::FenceBySequenceAlone) {
            return Err(AppendError::WrongLastSequence { actual: None });
        }
        if self.ids.contains(&entry.commit_id) {
            return Err(AppendError::Refused(Cause::new(format!("commit {} is already stored", entry.commit_id))));
        }
        let sequence = self.last_sequence + 1;
        self.ids.insert(entry.commit_id);
        self.commits.insert(sequence, StoredCommit { sequence, payload: entry.payload });
        self.last_sequence = sequence;
        self.messages += 1;
        Ok(sequence)
    }

    fn append(&mut self, entry: Append) -> Result<Result<u64, AppendError>, AppendError> {
        check_entry(&entry)?;
        self.check_available().map_err(AppendError::Unavailable)?;
        let lost = |why: &str| AppendError::UnknownOutcome(Cause::new(format!("simulated: {why}")));
        Ok(match self.next_fault() {
            None => self.store(entry),
            Some(Fault::AnswerLost) => self.store(entry).and(Err(lost("the answer was lost"))),
            Some(Fault::LostBeforeStoring) => Err(lost("the connection was lost")),
            Some(Fault::ForeignFirst(foreign)) => {
                // Whether the foreign entry is stored is the foreign writer's concern.
                let _ = self.store(foreign);
                self.store(entry)
            }
            Some(Fault::Unavailable { calls }) => {
                self.unavailable_calls = calls;
                self.check_available().map_err(AppendError::Unavailable)?;
                self.store(entry)
            }
        })
    }

    fn read(&mut self, from_sequence: u64, max_messages: usize) -> Result<Vec<StoredCommit>, LogError> {
        self.check_available().map_err(LogError::Unavailable)?;
        let batch: Vec<_> =
            self.commits.range(from_sequence.max(1)..).take(max_messages).map(|(_, commit)| commit.clone()).collect();
        let batch = dense_part(from_sequence.max(1), batch)?;
        if batch.is_empty() && max_messages > 0 && from_sequence <= self.last_sequence {
            let sequence = from_sequence.max(1);
            return Err(Damage::Unreadable { sequence, last_sequence: self.last_sequence }.into());
        }
        Ok(batch)
    }
}

#[async_trait]
impl Log for MemoryLog {
    async fn append(&self, entry: Append) -> Result<PendingAck, AppendError> {
        let outcome = {
            let mut state = self.state();
            let outcome = state.append(entry);
            // Told under the lock: a follower that sees the end go back would take it for a cut tail.
            self.last.send_replace(state.last_sequence);
            outcome?
        };
        Ok(Box::pin(async move { outcome }))
    }

    async fn read(&self, from_sequence: u64, max_messages: usize) -> Result<Vec<StoredCommit>, LogError> {
        self.state().read(from_sequence, max_messages)
    }

    async fn get(&self, sequence: u64) -> Result<Option<StoredCommit>, LogError> {
        let mut state = self.state();
        state.check_available().map_err(LogError::Unavailable)?;
        Ok(state.commits.get(&sequence).cloned())
    }

    async fn head(&self) -> Result<LogHead, LogError> {
        let mut state = self.state();
        state.check_available().map_err(LogError::Unavailable)?;
        let begin = state.begins_after.sequence;
        let first_sequence = if state.last_sequence > begin { begin + 1 } else { 0 };
        Ok(LogHead { first_sequence, last_sequence: state.last_sequence, messages: state.messages })
    }

    async fn follow(&self, from_sequence: u64) -> Result<BoxStream<'static, Result<StoredCommit, LogError>>, LogError> {
        let follower =
            Follower { changed: self.last.subscribe(), log: self.clone(), next: from_sequence.max(1), ended: false };
        Ok(Box::pin(futures::stream::unfold(follower, |mut follower| async move {
            let item = follower.next().await?;
            Some((item, follower))
        })))
    }

    fn backend(&self) -> &'static str {
        "memory (simulated)"
    }
}

struct Follower {
    log: MemoryLog,
    changed: watch::Receiver<u64>,
    next: u64,
    ended: bool,
}

impl Follower {
    async fn next(&mut self) -> Option<Result<StoredCommit, LogError>> {
        if self.ended {
            return None;
        }
        loop {
            let last = *self.changed.borrow_and_update();
            if last + 1 < self.next {
                self.ended = true;
                return Some(Err(Damage::CutTail { acknowledged: self.next - 1, last }.into()));
            }
            let found = self.log.state().read(self.next, 1);
            match found {
                Ok(mut batch) => {
                    if let Some(commit) = batch.pop() {
                        self.next += 1;
                        return Some(Ok(commit));
                    }
                }
                // Out of reach for a number of calls, not for a time: asking again is what ends it.
                Err(LogError::Unavailable(_)) => continue,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
            // The sender lives in `self.log`, so this ends only with a change.
            self.changed.changed().await.ok()?;
        }
    }
}
