//! What is noted of a request, in case that it is refused.

use std::sync::OnceLock;

use axum::http::{Method, Request};
use bytes::Bytes;
use edgestack_wire::{Problem, event::Actor, history::Refused};
use serde::Deserialize;
use uuid::Uuid;

use crate::{
    change::{REASON, REASON_LENGTH_MAX},
    observe::Seen,
    path::kind_of,
    query::shortened,
};

/// A request that may be refused.
pub(crate) struct Asked {
    method: Method,
    dry_run: bool,
    reason: Option<String>,
    /// Set once it is known who asks.
    pub seen: OnceLock<Seen>,
    /// Set once it is read: what is to be made has its name there.
    pub body: OnceLock<Bytes>,
}

impl Asked {
    /// Begins with what the head of a request tells.
    pub fn begin<B>(request: &Request<B>) -> Self {
        let reason = request.headers().get(&REASON).and_then(|reason| std::str::from_utf8(reason.as_bytes()).ok());
        Self {
            method: request.method().clone(),
            dry_run: request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair == "dry_run=true")),
            reason: reason.map(|reason| reason.chars().take(REASON_LENGTH_MAX).collect()),
            seen: OnceLock::new(),
            body: OnceLock::new(),
        }
    }

    /// The refusal of it; `None` where nothing was to be changed, nobody is known to have asked, or it is only to come again
    /// later.
    pub fn refused(&self, problem: &Problem) -> Option<Refused> {
        let reads = [Method::GET, Method::HEAD, Method::OPTIONS].contains(&self.method);
        let seen = self.seen.get().filter(|_| !reads && !self.dry_run && problem.status != 429)?;
        // What is asked of the log changes nothing.
        if seen.path.starts_with("/edgetron/") {
            return None;
        }
        let actor = seen.actor.clone()?;
        let mut segments = seen.path.split('/').skip(1);
        let kind = segments.next().and_then(kind_of);
        let name = segments.next().filter(|name| !name.is_empty()).map(decoded);
        let name = name.or_else(|| name_in(self.body.get()?));
        Some(Refused {
            id: Uuid::now_v7(),
            time: chrono::Utc::now(),
            actor: Actor { name: actor.name, credential: actor.credential, from: actor.from },
            method: self.method.to_string(),
            path: shortened(&seen.path),
            kind: kind.map(|kind| kind.as_str().to_owned()),
            name: name.map(|name| shortened(&name)),
            status: problem.status,
            code: problem.code.clone(),
            message: problem.detail.clone(),
            field: problem.field.clone(),
            correlation_id: seen.correlation_id,
            reason: self.reason.clone().filter(|reason| !reason.is_empty()),
        })
    }
}

fn decoded(segment: &str) -> String {
    percent_encoding::percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

/// The name in a body, whatever else is wrong with it.
fn name_in(body: &Bytes) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    serde_json::from_slice::<Named>(body).ok().map(|named| named.name)
}
