//! Making the views anew: the history is written by a thread of its own while the fold goes on, the state once at the end.

use std::{
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use edgestack_engine::Applied;

use crate::{ViewError, history::History};

/// Commits that are written at once: a block of the index, which is written whole then; the more, the more of them are in memory.
const BATCH: u64 = 4096;
/// Batches that wait for the thread; then the fold waits.
const WAITING_MAX: usize = 1;

/// The making anew, from its beginning to its end.
pub(crate) struct Anew {
    queue: Vec<Arc<Applied>>,
    batches: SyncSender<Vec<Arc<Applied>>>,
    writer: JoinHandle<Result<(), ViewError>>,
}

impl Anew {
    /// Begins with nothing written.
    pub fn begin(history: History) -> std::io::Result<Self> {
        let (batches, waiting) = sync_channel::<Vec<Arc<Applied>>>(WAITING_MAX);
        let write = move || waiting.iter().try_for_each(|applied| write(&history, &applied));
        let writer = std::thread::Builder::new().name("views anew".to_owned()).spawn(write)?;
        Ok(Self { queue: Vec::new(), batches, writer })
    }

    /// Takes over folded commits.
    pub fn add(&mut self, batch: &[Arc<Applied>]) {
        for one in batch {
            self.queue.push(one.clone());
            if one.commit.sequence.0.is_multiple_of(BATCH) {
                self.send();
            }
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
        let _ = self.batches.send(std::mem::take(&mut self.queue));
    }
}

fn write(history: &History, applied: &[Arc<Applied>]) -> Result<(), ViewError> {
    applied.last().map_or(Ok(()), |last| history.project(applied, last.commit.sequence.0))
}
