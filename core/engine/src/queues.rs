//! The commands that wait for the writer, in order of who sent them.

use tokio::sync::mpsc;

use crate::writer::Waiting;

/// What people ask outranks what workers report; but reports are what makes
/// wishes true, so they get their share also while people ask without end.
pub(crate) struct Queues {
    people: mpsc::Receiver<Waiting>,
    workers: mpsc::Receiver<Waiting>,
    /// People's commands taken in a row.
    in_a_row: u32,
}

/// One report is taken after so many commands of people, at least.
const PEOPLE_IN_A_ROW_MAX: u32 = 8;

impl Queues {
    pub(crate) const fn new(people: mpsc::Receiver<Waiting>, workers: mpsc::Receiver<Waiting>) -> Self {
        Self { people, workers, in_a_row: 0 }
    }

    /// The next command; `None` when all handles are gone.
    pub(crate) async fn next(&mut self) -> Option<Waiting> {
        if self.in_a_row >= PEOPLE_IN_A_ROW_MAX {
            self.in_a_row = 0;
            if let Ok(waiting) = self.workers.try_recv() {
                return Some(waiting);
            }
        }
        tokio::select! {
            biased;
            Some(waiting) = self.people.recv() => {
                self.in_a_row += 1;
                Some(waiting)
            }
            Some(waiting) = self.workers.recv() => {
                self.in_a_row = 0;
                Some(waiting)
            }
            else => None,
        }
    }

    pub(crate) fn try_next(&mut self) -> Option<Waiting> {
        self.people.try_recv().or_else(|_| self.workers.try_recv()).ok()
    }
}
