//! Following the log: read from our own position, wait for a notice or the watchdog, read again.

use std::collections::VecDeque;

use async_nats::Subscriber;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};

use super::JetStreamLog;
use super::connection::Watch;
use super::stream::STORED_SUBJECTS;
use crate::{Damage, Log, LogError, StoredCommit};

const READ_AT_ONCE: usize = 1024;

pub(super) fn follow(log: JetStreamLog, from: u64) -> BoxStream<'static, Result<StoredCommit, LogError>> {
    let watch = log.inner.connection.watch();
    let feed = Feed { log, watch, next: from, ready: VecDeque::new(), notices: None, look: true, ended: false };
    Box::pin(stream::unfold(feed, |mut feed| async move {
        let item = feed.next().await?;
        Some((item, feed))
    }))
}

struct Feed {
    log: JetStreamLog,
    watch: Watch,
    /// The sequence to be read next.
    next: u64,
    /// Read but not yet given out.
    ready: VecDeque<StoredCommit>,
    notices: Option<Subscriber>,
    /// Whether there may be something that wasn't read yet.
    look: bool,
    ended: bool,
}

impl Feed {
    async fn next(&mut self) -> Option<Result<StoredCommit, LogError>> {
        if self.ended {
            return None;
        }
        loop {
            if let Some(commit) = self.ready.pop_front() {
                return Some(Ok(commit));
            }
            match self.fill().await? {
                Ok(()) => {}
                // It comes back by itself; the keeper of the connection has the news.
                Err(LogError::Unavailable(_)) => {
                    self.notices = None;
                    self.look = true;
                    let pause = self.log.inner.options.watchdog.min(super::connection::RETRY_READ);
                    tokio::select! {
                        () = self.watch.changed() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                }
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            }
        }
    }

    /// One step: listen, or read, or wait. `None` when the log is gone.
    async fn fill(&mut self) -> Option<Result<(), LogError>> {
        if self.notices.is_none() {
            let live = self.watch.live().await?;
            // Listening comes before reading, on one connection, so that nothing falls in between.
            match live.client.subscribe(STORED_SUBJECTS).await {
                Ok(notices) => self.notices = Some(notices),
                Err(error) => {
                    let cause = crate::Cause::with_source("can't listen for notices", error);
                    return Some(Err(LogError::Unavailable(cause)));
                }
            }
            self.look = true;
        }
        Some(if self.look { self.read().await } else { self.wait().await })
    }

    async fn read(&mut self) -> Result<(), LogError> {
        let batch = self.log.read(self.next, READ_AT_ONCE).await?;
        if let Some(last) = batch.last() {
            self.next = last.sequence + 1;
            self.ready.extend(batch);
            return Ok(());
        }
        // The stream's own word on where it ends: what we have given out must still be there.
        let last = self.log.head().await?.last_sequence;
        if last + 1 < self.next {
            return Err(Damage::CutTail { acknowledged: self.next - 1, last }.into());
        }
        self.look = last >= self.next;
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), LogError> {
        let Some(notices) = &mut self.notices else {
            return Ok(());
        };
        let mut notice = tokio::select! {
            notice = notices.next() => notice,
            () = tokio::time::sleep(self.log.inner.options.watchdog) => {
                self.look = true;
                return Ok(());
            }
        };
        // Many notices are one reason to read.
        loop {
            let Some(message) = notice else {
                return Err(LogError::Unavailable(self.watch.why_down()));
            };
            // A notice without a number, or with a new one, is a reason to look; one of what was read already is none.
            let told = message.headers.as_ref().and_then(|headers| headers.get("Nats-Sequence"));
            let told = told.and_then(|value| value.as_str().parse::<u64>().ok());
            self.look |= told.is_none_or(|message| !self.log.has_read_past(message, self.next));
            match notices.next().now_or_never() {
                Some(more) => notice = more,
                None => return Ok(()),
            }
        }
    }
}
