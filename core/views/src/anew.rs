//! Making the views anew: the history is written by a thread of its own while the fold goes on, the state once at the end.

use std::{
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use edgestack_engine::Applied;
use edgestack_log::ChainHead;

use crate::{ViewError, history::History};

/// Commits that are written at once: the more, the fewer rows are written twice, and the more of them are in memory.
const BATCH: usize = 4096;
/// Batches that wait for the thread; then the fold waits.
const WAITING_MAX: usize = 1;

/// The making anew, from its beginning to its end.
pub(crate) struct Anew {
    queue: Vec<Arc<Applied>>,
    head: ChainHead,
    batches: SyncSender<(Vec<Arc<Applied>>, ChainHead)>,
    writer: JoinHandle<Result<(), ViewError>>,
}

impl Anew {
    /// Begins with nothing written.
    pub fn begin(history: History) -> std::io::Result<Self> {
        let (batches, waiting) = sync_channel::<(Vec<Arc<Applied>>, ChainHead)>(WAITING_MAX);
        let write = move || waiting.iter().try_for_each(|(applied, head)| history.project(&applied, &head));
        let writer = std::thread::Builder::new().name("views anew".to_owned()).spawn(write)?;
        Ok(Self { queue: Vec::new(), head: ChainHead::GENESIS, batches, writer })
    }

    /// Takes over folded commits.
    pub fn add(&mut self, batch: &[Arc<Applied>], head: &ChainHead) {
        self.queue.extend_from_slice(batch);
        self.head = *head;
        if self.queue.len() >= BATCH {
            self.send();
        }
    }

    /// Waits until all is written.
    pub fn end(mut self) -> Result<(), ViewError> {
        self.send();
        drop(self.batches);
        self.writer.join().unwrap_or(Err(ViewError::WriterLost))
    }

    fn send(&mut self) {
        // That the thread has ended, and why, is told at the end.
        let _ = self.batches.send((std::mem::take(&mut self.queue), self.head));
    }
}
