//! Waiting until a resource is where a change sends it, on the server's watch
//! stream: no polling, and nothing missed over a broken connection.

use std::{cell::RefCell, time::Duration};

use edgestack_model::Kind;
use edgestack_wire::{
    command_word,
    list::WatchChange,
    meta::{Meta, Waiting},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::{
    client::Client,
    clock,
    failure::Failure,
    progress::Progress,
    watch::{self, Incoming, Stream},
};

/// What a resource's present form says to somebody who waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is there.
    Reached,
    /// It is on its way.
    NotYet {
        /// Its state.
        state: String,
        /// What it waits for.
        waiting: Option<Waiting>,
    },
    /// It will not get there; why.
    Never(String),
}

/// How waiting ended well.
#[derive(Debug)]
pub enum End {
    /// It is where it should be; the resource as it is then.
    Reached(Box<RawValue>),
    /// It is gone.
    Gone,
}

/// Whom to wait for.
pub struct Subject<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its name and id; older commits than `revision` are before the change.
    pub meta: &'a Meta,
    /// How long at most.
    pub timeout: Duration,
}

#[derive(Deserialize)]
struct Identity {
    id: Uuid,
    revision: u64,
}

/// Waits until `judge` says that it is reached, or it is gone.
///
/// # Errors
/// [`Failure::TimedOut`] with the last thing heard, [`Failure::Failed`] when it will never be.
pub async fn wait(
    client: &Client,
    subject: &Subject<'_>,
    judge: impl Fn(&RawValue) -> Result<Verdict, Failure>,
) -> Result<End, Failure> {
    let last = RefCell::new(None);
    let waiting = follow(client, subject, judge, &last);
    match tokio::time::timeout(subject.timeout, waiting).await {
        Ok(end) => end,
        Err(_) => {
            let Subject { kind, meta, .. } = subject;
            let seconds = subject.timeout.as_secs();
            let heard = last.take().map_or_else(String::new, |heard| format!("; {heard}"));
            Err(Failure::TimedOut(format!(
                "gave up waiting for {kind} \"{}\" after {seconds} s{heard}; it goes on by itself: edgectl show-{} {}",
                meta.name,
                command_word::of(*kind),
                meta.name
            )))
        }
    }
}

async fn follow(
    client: &Client,
    subject: &Subject<'_>,
    judge: impl Fn(&RawValue) -> Result<Verdict, Failure>,
    last: &RefCell<Option<String>>,
) -> Result<End, Failure> {
    let plural = subject.kind.plural();
    let id = subject.meta.id.to_string();
    let query = [("watch", "true"), ("name", subject.meta.name.as_str())];
    let mut stream = Stream::new(client, client.url(&[plural], &query), None);
    let mut progress = Progress::new();
    loop {
        let object = match stream.next().await? {
            // What happened before the stream stood is in the resource itself,
            // and a resource that is gone sends no event any more.
            Incoming::Connected => match client.get(client.url(&[plural, &id], &[])).await {
                Ok(raw) => RawValue::from_string(raw)?,
                Err(error) if error.is_missing() => return Ok(End::Gone),
                // A hiccup; the stream itself will tell.
                Err(error) if error.retry_after().is_some() => continue,
                Err(error) => return Err(error.into()),
            },
            Incoming::Event(event) => {
                let change = watch::change(&event)?;
                let Some(object) = change.object else {
                    continue;
                };
                match change.change {
                    WatchChange::Bookmark => continue,
                    WatchChange::Added | WatchChange::Modified => object,
                    WatchChange::Deleted => {
                        let gone: Identity = serde_json::from_str(object.get())?;
                        if gone.id == subject.meta.id {
                            return Ok(End::Gone);
                        }
                        continue;
                    }
                }
            }
        };
        let identity: Identity = serde_json::from_str(object.get())?;
        if identity.id != subject.meta.id || identity.revision < subject.meta.revision {
            continue;
        }
        match judge(&object)? {
            Verdict::Reached => return Ok(End::Reached(object)),
            Verdict::Never(why) => return Err(Failure::Failed(why)),
            Verdict::NotYet { state, waiting } => {
                let text = heard(subject.kind, &subject.meta.name, &state, waiting.as_ref());
                let failed = waiting.as_ref().is_some_and(|waiting| waiting.attempts > 0);
                let reason = waiting.map_or_else(String::new, |waiting| waiting.reason);
                progress.say(&format!("{state} {reason}"), &text, failed);
                *last.borrow_mut() = Some(text);
            }
        }
    }
}

/// One line on where it is and what it waits for.
pub fn heard(kind: Kind, name: &str, state: &str, waiting: Option<&Waiting>) -> String {
    let mut text = format!("{kind} \"{name}\" is {state}");
    if let Some(waiting) = waiting {
        text.push_str(&format!(": {} ({})", waiting.reason, waiting.owner));
        if waiting.attempts > 0 {
            text.push_str(&format!(", attempt {} failed", waiting.attempts));
        }
        if let Some(next) = waiting.next_attempt_at {
            text.push_str(&format!(", next at {}", clock::local_of_day(next)));
        }
        if let Some(fix) = &waiting.fix {
            text.push_str(&format!("; fix: {fix}"));
        }
    }
    text
}
