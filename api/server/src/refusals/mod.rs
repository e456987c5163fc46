//! The commands that were refused: told in histories and explanations beside what happened.
//!
//! They are kept in memory and in a bounded stream of their own ([`SideLog`]), so that a restart forgets none. Nothing waits
//! for that: a flood of refusals costs one small write a tenth of a second, and what comes faster than it can be written is
//! counted and let go.

mod note;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::{BufMut as _, Bytes, BytesMut};
use edgestack_engine::error_chain;
use edgestack_log::side::{SIDE_MESSAGE_BYTES_MAX, SideLog};
use edgestack_wire::history::Refused;
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    time::{Instant, sleep, sleep_until},
};

pub(crate) use note::Asked;

/// Refusals in memory, the newest ones: some 3 MB.
const KEPT_MAX: usize = 4096;
/// Those that wait to be written.
const WAITING_MAX: usize = 1024;
/// The least time between two writes.
const BETWEEN_WRITES: Duration = Duration::from_millis(100);
/// How soon those of before the start are asked for again.
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The refused commands of a site. Clones share them.
#[derive(Clone)]
pub struct Refusals {
    inner: Arc<Inner>,
}

struct Inner {
    /// In order of id, which is that of time.
    kept: Mutex<VecDeque<Arc<Refused>>>,
    waiting: Sender<Arc<Refused>>,
}

impl Refusals {
    /// Refusals that are kept in `side`; those of before come from there, as soon as it can be read.
    pub fn keep_in(side: Arc<dyn SideLog>) -> Self {
        let (waiting, queue) = mpsc::channel(WAITING_MAX);
        let refusals = Self { inner: Arc::new(Inner { kept: Mutex::default(), waiting }) };
        tokio::spawn(keep(side, queue, Arc::downgrade(&refusals.inner)));
        refusals
    }

    /// Keeps one.
    pub(crate) fn add(&self, refused: Refused) {
        let refused = Arc::new(refused);
        insert(&mut self.inner.kept(), [refused.clone()]);
        if self.inner.waiting.try_send(refused).is_err() {
            metrics::counter!("edgestack_refusals_not_kept_total").increment(1);
        }
    }

    /// The newest first, as they are now.
    pub(crate) fn newest_first(&self) -> Vec<Arc<Refused>> {
        self.inner.kept().iter().rev().cloned().collect()
    }
}

impl Inner {
    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<Refused>>> {
        // Nothing panics while it holds the lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert(kept: &mut VecDeque<Arc<Refused>>, refused: impl IntoIterator<Item = Arc<Refused>>) {
    for one in refused {
        let place = kept.partition_point(|other| other.id < one.id);
        if kept.get(place).is_none_or(|other| other.id != one.id) {
            kept.insert(place, one);
        }
        if kept.len() > KEPT_MAX {
            kept.pop_front();
        }
    }
}

/// Reads what was kept before, and then writes what comes, until nobody refuses any more.
async fn keep(side: Arc<dyn SideLog>, mut queue: Receiver<Arc<Refused>>, inner: std::sync::Weak<Inner>) {
    loop {
        let Some(inner) = inner.upgrade() else { return };
        match side.read_all().await {
            Ok(messages) => {
                let lines = messages.iter().flat_map(|message| message.split(|byte| *byte == b'\n'));
                // One that another version wrote, and that this one does not understand, is no loss that anybody waits for.
                let known = lines.filter_map(|line| serde_json::from_slice(line).ok()).map(Arc::new);
                insert(&mut inner.kept(), known);
                break;
            }
            Err(error) => {
                tracing::debug!(error = error_chain(&error), "the refused commands of before cannot be read yet");
                drop(inner);
                sleep(TRY_AGAIN).await;
            }
        }
    }
    let mut batch = Vec::new();
    while queue.recv_many(&mut batch, WAITING_MAX).await > 0 {
        let next = Instant::now() + BETWEEN_WRITES;
        for message in messages(batch.drain(..)) {
            if let Err(error) = side.append(message).await {
                metrics::counter!("edgestack_refusals_not_kept_total").increment(1);
                tracing::warn!(
                    error = error_chain(&error),
                    "refused commands could not be kept; they are told until edgestackd is restarted"
                );
            }
        }
        sleep_until(next).await;
    }
}

/// As lines, as few messages as their size allows.
fn messages(batch: impl Iterator<Item = Arc<Refused>>) -> Vec<Bytes> {
    let mut messages = vec![BytesMut::new()];
    for refused in batch {
        // Texts, numbers and ids: nothing that JSON could refuse.
        let line = serde_json::to_vec(&*refused).unwrap_or_default();
        if messages.last().is_some_and(|last| !last.is_empty() && last.len() + line.len() >= SIDE_MESSAGE_BYTES_MAX) {
            messages.push(BytesMut::new());
        }
        if let Some(last) = messages.last_mut().filter(|_| line.len() < SIDE_MESSAGE_BYTES_MAX) {
            last.extend_from_slice(&line);
            last.put_u8(b'\n');
        }
    }
    messages.into_iter().filter(|message| !message.is_empty()).map(BytesMut::freeze).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgestack_log::side::MemorySideLog;
    use edgestack_wire::event::Actor;
    use uuid::Uuid;

    fn refused(number: u128, message: &str) -> Refused {
        Refused {
            id: Uuid::from_u128(number),
            time: chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
            actor: Actor { name: "admin".into(), credential: "token:0".into(), from: "here".into() },
            method: "POST".into(),
            path: "/vms".into(),
            kind: Some("vm".into()),
            name: None,
            status: 409,
            code: "name-taken".into(),
            message: message.into(),
            field: None,
            correlation_id: Uuid::nil(),
            reason: None,
        }
    }

    async fn until(holds: impl Fn() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < Duration::from_secs(20));
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_restart_forgets_none_and_a_flood_is_few_writes() {
        let side = Arc::new(MemorySideLog::default());
        let first = Refusals::keep_in(side.clone());
        for number in 1..=500 {
            first.add(refused(number, &"x".repeat(600)));
        }
        let ids = |refusals: &Refusals| refusals.newest_first().iter().map(|one| one.id.as_u128()).collect::<Vec<_>>();
        assert_eq!(ids(&first), (1..=500).rev().collect::<Vec<_>>());
        let lines = || {
            let messages = futures::executor::block_on(side.read_all()).unwrap();
            messages.iter().map(|message| message.iter().filter(|byte| **byte == b'\n').count()).collect::<Vec<_>>()
        };
        until(|| lines().iter().sum::<usize>() == 500).await;
        assert!(lines().len() < 20, "{:?}", lines());
        let second = Refusals::keep_in(side.clone());
        second.add(refused(501, "new"));
        until(|| ids(&second).len() == 501).await;
        assert_eq!(ids(&second), (1..=501).rev().collect::<Vec<_>>());
    }

    #[test]
    fn the_oldest_go_first() {
        let mut kept = VecDeque::new();
        insert(&mut kept, (1..=KEPT_MAX as u128 + 5).rev().map(|number| Arc::new(refused(number, ""))));
        assert_eq!(kept.len(), KEPT_MAX);
        assert_eq!(kept.front().map(|one| one.id.as_u128()), Some(6));
    }
}
