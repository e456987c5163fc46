//! Checking the whole archive, and making what is damaged anew from the log.

use edgestack_engine::error_chain;
use edgestack_log::{ChainHead, Damage, Log};

use crate::{Archive, ArchiveError, Closed, keeper::KeepError, line, put_aside, segment, segment_error};

/// Commits read from the log at once.
const BATCH: usize = 1024;

impl Archive {
    /// Reads and checks everything: each segment against its index and checksum, and the chain through all of them.
    /// `told` hears of each checked commit's sequence, in steps.
    ///
    /// # Errors
    /// The first thing wrong.
    pub async fn verify(&self, mut told: impl FnMut(u64)) -> Result<ChainHead, ArchiveError> {
        let (closed, mut before) = (self.closed().await, None);
        for one in &closed {
            before = Some(self.check_closed(one, before).await?);
            told(one.last);
        }
        let inner = self.inner.lock().await;
        if before.is_some_and(|before| before != inner.open.before()) && closed.len() == inner.closed.len() {
            return Err(
                Damage::Gap { expected: inner.open.before().sequence, found: inner.open.first_sequence() }.into()
            );
        }
        if !inner.open.is_whole()? {
            let (sequence, last) = (inner.open.head().sequence, inner.open.before().sequence);
            return Err(Damage::CutTail { acknowledged: sequence, last }.into());
        }
        told(inner.open.head().sequence);
        Ok(inner.open.head())
    }

    /// Checks everything as [`Self::verify`] does, and makes damaged segments anew from the log; returns which ones.
    ///
    /// What is put in their place chains on both sides, so a log that is damaged in the same place is no help and is
    /// told so. The end of a damaged open segment is left to [`keep`].
    ///
    /// # Errors
    /// [`KeepError`].
    pub async fn mend(&self, log: &dyn Log) -> Result<Vec<(u64, u64)>, KeepError> {
        let mut mended = Vec::new();
        let (closed, mut before, mut failed) = (self.closed().await, None, None);
        for (at, one) in closed.iter().enumerate() {
            let why = match self.check_closed(one, before).await {
                Ok(after) => {
                    before = Some(after);
                    continue;
                }
                // A store that can't be asked now says nothing of what is in it.
                Err(error) if is_away(&error) => return Err(error.into()),
                Err(why) => why,
            };
            if one.first <= self.released().sequence {
                // The only copy of what has left the log: nothing is touched. What comes after can be mended all the same.
                tracing::error!(
                    first = one.first,
                    last = one.last,
                    error = error_chain(&why),
                    "ALARM: a segment of the archive is damaged whose commits have left the log; bring the object back from a copy"
                );
                before = None;
                failed.get_or_insert(KeepError::from(why));
                continue;
            }
            tracing::error!(
                first = one.first,
                last = one.last,
                error = error_chain(&why),
                "ALARM: a segment of the archive is damaged; it is made anew from the log"
            );
            let next = match closed.get(at + 1) {
                Some(next) => {
                    segment::read_index(&*self.store, next.first, next.last).await.and_then(|index| index.before()).ok()
                }
                None => Some(self.inner.lock().await.open.before()),
            };
            let after = self.make_anew(log, one, before, next.filter(|next| next.sequence == one.last)).await?;
            before = Some(after);
            mended.push((one.first, one.last));
        }
        let mut inner = self.inner.lock().await;
        if inner.open.is_whole()? {
            inner.open.take_as_left()?;
        } else {
            let before = inner.open.head().sequence;
            inner.open.recover()?;
            mended.push((inner.open.head().sequence.min(before.saturating_sub(1)) + 1, before));
            self.heads.send_replace(inner.open.head().sequence);
        }
        failed.map_or(Ok(mended), Err)
    }

    async fn closed(&self) -> Vec<Closed> {
        self.inner.lock().await.closed.clone()
    }

    /// One closed segment against its index, and against what comes before it; the head after it.
    async fn check_closed(&self, one: &Closed, before: Option<ChainHead>) -> Result<ChainHead, ArchiveError> {
        // Read anew: what is checked is the store, not what we remember of it.
        let index = segment::read_index(&*self.store, one.first, one.last).await?;
        let commits = segment::read(&*self.store, &index, one.first, usize::MAX).await?;
        let after = segment::check(&index, &commits)?;
        let begins = index.before()?;
        if before.unwrap_or(if one.first == 1 { ChainHead::GENESIS } else { begins }) != begins {
            return Err(segment_error(one.first, one.last, "it does not chain on the one before".to_owned()));
        }
        Ok(after)
    }

    async fn make_anew(
        &self,
        log: &dyn Log,
        one: &Closed,
        before: Option<ChainHead>,
        next: Option<ChainHead>,
    ) -> Result<ChainHead, KeepError> {
        let before = match before {
            Some(before) => before,
            None if one.first == 1 => ChainHead::GENESIS,
            None => match log.read(one.first, 1).await?.first().map(edgestack_log::chain::before) {
                Some(before) => before?,
                None => return Err(Damage::Gap { expected: one.first, found: one.last }.into()),
            },
        };
        let (mut head, mut lines) = (before, Vec::new());
        while head.sequence < one.last {
            let wanted = usize::try_from(one.last - head.sequence).unwrap_or(BATCH).min(BATCH);
            let batch = log.read(head.sequence + 1, wanted).await?;
            if batch.is_empty() {
                return Err(Damage::CutTail { acknowledged: one.last, last: head.sequence }.into());
            }
            for commit in &batch {
                head.check_next(commit).map_err(ArchiveError::from)?;
                line::write(commit, &mut lines).map_err(ArchiveError::from)?;
            }
        }
        if next.is_some_and(|next| next != head) {
            let why = "what the log has in its place does not lead to the segment after it".to_owned();
            return Err(segment_error(one.first, one.last, why).into());
        }
        put_aside(&*self.store, one.first, one.last).await?;
        let index = self.store_segment(lines.into(), before, head).await?;
        if let Some(known) = self.inner.lock().await.closed.iter_mut().find(|known| known.first == one.first) {
            known.index = Some(index);
        }
        Ok(head)
    }
}

fn is_away(error: &ArchiveError) -> bool {
    match error {
        ArchiveError::Store { source, .. } => !matches!(source, object_store::Error::NotFound { .. }),
        _ => false,
    }
}
