//! A bounded log beside the log, for what is good to know and may be lost: the commands that were refused. The oldest goes
//! when it is full; it holds nothing that any decision rests on, and nothing waits for it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::LogError;

/// The most that is kept, bytes; some 10,000 refusals.
pub const SIDE_BYTES_MAX: u64 = 8 << 20;
/// The largest message, bytes.
pub const SIDE_MESSAGE_BYTES_MAX: usize = 128 << 10;

/// A bounded log beside the log.
///
/// **Guarantees.** What was appended is read in order, as long as it is among the newest [`SIDE_BYTES_MAX`].
///
/// **Caveats.** It is no truth: what is missing in it did not leave a gap to be seen.
#[async_trait]
pub trait SideLog: Send + Sync + 'static {
    /// Adds a message of at most [`SIDE_MESSAGE_BYTES_MAX`].
    ///
    /// # Errors
    /// [`LogError::Unavailable`] or [`LogError::Refused`]; the message may be there all the same.
    async fn append(&self, payload: Bytes) -> Result<(), LogError>;

    /// All that is kept, the oldest first.
    ///
    /// # Errors
    /// [`LogError::Unavailable`] or [`LogError::Refused`].
    async fn read_all(&self) -> Result<Vec<Bytes>, LogError>;
}

/// A side log in memory, simulated.
#[derive(Debug, Default)]
pub struct MemorySideLog {
    messages: Mutex<VecDeque<Bytes>>,
}

#[async_trait]
impl SideLog for MemorySideLog {
    async fn append(&self, payload: Bytes) -> Result<(), LogError> {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.push_back(payload);
        let mut bytes: u64 = messages.iter().map(|message| message.len() as u64).sum();
        while bytes > SIDE_BYTES_MAX {
            bytes -= messages.pop_front().map_or(bytes, |oldest| oldest.len() as u64);
        }
        Ok(())
    }

    async fn read_all(&self) -> Result<Vec<Bytes>, LogError> {
        Ok(self.messages.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect())
    }
}
