//! A request that changes something: its conditions from the headers, its
//! body, and its way to the engine.

use std::sync::Arc;

use axum::{
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, HeaderName, Method, request::Parts},
};
use bytes::Bytes;
use edgestack_engine::{Origin, Outcome, Submission};
use edgestack_model::{Command, command::Reference, idempotency::IdempotencyClaim};
use serde::de::DeserializeOwned;

use crate::{
    body,
    observe::Seen,
    path::Named,
    precondition::{if_match, single},
    problem::Failure,
    query::Parameters,
    refusals::Asked,
    state::Site,
};

/// The longest reason, characters.
pub(crate) const REASON_LENGTH_MAX: usize = 1024;
/// The longest idempotency key, bytes.
const KEY_LENGTH_MAX: usize = 255;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
pub(crate) const REASON: HeaderName = HeaderName::from_static("edgestack-reason");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A change as it was asked for.
pub(crate) struct Change {
    pub origin: Origin,
    body: Bytes,
    reference: Option<Reference>,
    idempotency_key: Option<String>,
}

impl FromRequest<Arc<Site>> for Change {
    type Rejection = Failure;

    async fn from_request(request: Request, site: &Arc<Site>) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        let parameters = Parameters::from_request_parts(&mut parts, site).await?;
        let mut change = Self::with_parameters(parameters, &mut parts, site).await?;
        if parts.method != Method::DELETE {
            change.body = body::read_json(&parts.method, &parts.headers, body).await?;
            if let Some(asked) = parts.extensions.get::<Arc<Asked>>() {
                // It is read once.
                let _ = asked.body.set(change.body.clone());
            }
        }
        let body = change.body.clone();
        change.claim(site, &parts, &body);
        Ok(change)
    }
}

/// A removal that may take with it what depends on it.
pub(crate) struct Removal {
    pub change: Change,
    pub cascade: bool,
}

impl FromRequest<Arc<Site>> for Removal {
    type Rejection = Failure;

    async fn from_request(request: Request, site: &Arc<Site>) -> Result<Self, Failure> {
        let (mut parts, _) = request.into_parts();
        let mut parameters = Parameters::from_request_parts(&mut parts, site).await?;
        let cascade = parameters.flag("cascade")?;
        let mut change = Change::with_parameters(parameters, &mut parts, site).await?;
        // Under one key it is either of the two, and it has no body to tell them apart by.
        change.claim(site, &parts, if cascade { b"cascade" } else { b"" });
        Ok(Self { change, cascade })
    }
}

impl Change {
    /// Everything but the body.
    pub async fn from_parts(parts: &mut Parts, site: &Arc<Site>) -> Result<Self, Failure> {
        let parameters = Parameters::from_request_parts(parts, site).await?;
        Self::with_parameters(parameters, parts, site).await
    }

    /// The same, once the operation has taken the parameters of its own.
    async fn with_parameters(mut parameters: Parameters, parts: &mut Parts, site: &Arc<Site>) -> Result<Self, Failure> {
        let dry_run = parameters.flag("dry_run")?;
        parameters.finish()?;
        let reference = match parts.uri.path().split('/').count() {
            // `/vms` has no name in it.
            0..=2 => None,
            _ if parts.uri.path().starts_with("/edgetron/log/") => None,
            _ => Some(Named::from_request_parts(parts, site).await?.0),
        };
        let seen = parts
            .extensions
            .get::<Seen>()
            .ok_or_else(|| Failure::internal("a handler ran outside the observing layer"))?;
        let actor = seen.actor.clone().ok_or_else(|| Failure::internal("a change on an open path"))?;
        let precondition = if_match(&parts.headers)?;
        if precondition.is_some() && reference.is_none() {
            return Err(Failure::bad_header("If-Match", "what is to be created has no tag yet; leave the header out"));
        }
        Ok(Self {
            origin: Origin {
                actor,
                correlation_id: seen.correlation_id,
                causation_id: None,
                traceparent: traceparent(&parts.headers),
                reason: reason(&parts.headers)?,
                idempotency: None,
                precondition,
                dry_run,
                fence: None,
            },
            body: Bytes::new(),
            reference,
            idempotency_key: idempotency_key(&parts.headers)?,
        })
    }

    /// Makes the claim of the idempotency key, if there is one: the fingerprint is
    /// of method, path and body, so that a key used for two requests is noticed.
    pub fn claim(&mut self, site: &Site, parts: &Parts, body: &[u8]) {
        let Some(key) = self.idempotency_key.take() else {
            return;
        };
        let path = parts.extensions.get::<Seen>().map(|seen| seen.path.clone());
        let fingerprint = site.app.seal.fingerprint(&[
            parts.method.as_str().as_bytes(),
            path.as_deref().unwrap_or_default().as_bytes(),
            body,
        ]);
        self.origin.idempotency = Some(IdempotencyClaim { key, fingerprint });
    }

    /// The body.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        body::parse(&self.body)
    }

    /// The resource in the path.
    pub fn reference(&self) -> Result<Reference, Failure> {
        self.reference.clone().ok_or_else(|| Failure::internal("a route without a name"))
    }

    /// Sends the command, and waits until it is durable.
    pub async fn submit(self, site: &Site, command: Command) -> Result<Outcome, Failure> {
        let submission = Submission { command, origin: self.origin };
        Ok(site.app.port.submit(submission).await?)
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(key) = single(headers, &IDEMPOTENCY_KEY)? else {
        return Ok(None);
    };
    let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
    if key.is_empty() || key.len() > KEY_LENGTH_MAX || !visible {
        return Err(Failure::bad_header(
            "Idempotency-Key",
            format_args!("must be 1 to {KEY_LENGTH_MAX} visible ASCII characters without blanks"),
        ));
    }
    Ok(Some(key.to_owned()))
}

fn reason(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let Some(reason) = single(headers, &REASON)? else {
        return Ok(None);
    };
    let length = reason.chars().count();
    if length > REASON_LENGTH_MAX {
        return Err(Failure::bad_header(
            "EdgeStack-Reason",
            format_args!("must have at most {REASON_LENGTH_MAX} characters, has {length}"),
        ));
    }
    Ok((!reason.is_empty()).then(|| reason.to_owned()))
}

/// W3C Trace Context, 3.2: a header that is not valid is not to be used, and is no error.
fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = single(headers, &TRACEPARENT).ok()??;
    let mut parts = text.split('-');
    let mut hex = |length: usize| {
        let part = parts.next()?;
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (part.len() == length && part.bytes().all(lower_hex)).then_some(part)
    };
    let (version, trace, span, _flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    let set = |part: &str| part.bytes().any(|byte| byte != b'0');
    let whole = version != "00" || text.len() == 55;
    (version != "ff" && set(trace) && set(span) && whole).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, value: &[u8]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, axum::http::HeaderValue::from_bytes(value).unwrap());
        headers
    }

    #[test]
    fn idempotency_keys_are_visible_ascii() {
        let key = |value: &[u8]| idempotency_key(&headers(&IDEMPOTENCY_KEY, value));
        assert_eq!(key(b"a-1").unwrap().as_deref(), Some("a-1"));
        assert!(key(&[b'k'; 255]).is_ok());
        for bad in [&b""[..], b"a b", "ä".as_bytes(), &[b'k'; 256]] {
            assert!(key(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn reasons_are_utf8_and_bounded() {
        let given = |value: &[u8]| reason(&headers(&REASON, value));
        assert_eq!(given("größer".as_bytes()).unwrap().as_deref(), Some("größer"));
        assert!(given("ä".repeat(1024).as_bytes()).is_ok());
        assert!(given("ä".repeat(1025).as_bytes()).is_err());
        assert!(given(b"\xff").is_err());
    }

    #[test]
    fn a_traceparent_is_passed_on_only_when_valid() {
        let given = |text: &str| traceparent(&headers(&TRACEPARENT, text.as_bytes()));
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(given(good).as_deref(), Some(good));
        for bad in [
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "nonsense",
        ] {
            assert_eq!(given(bad), None, "{bad}");
        }
    }
}
