//! The outermost layer: each request's correlation id, span and count; who calls;
//! the outer limits; and the body of every problem.

use std::{
    net::{IpAddr, SocketAddr},
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri},
    middleware::Next,
    response::{IntoResponse, Response},
};
use edgestack_model::Actor;
use futures::FutureExt;
use tracing::Instrument;
use uuid::Uuid;

use crate::{
    codes,
    problem::Failure,
    refusals::Asked,
    router::{self, PREFIXES},
    state::Site,
};

pub(crate) const CORRELATION_ID: HeaderName = HeaderName::from_static("edgestack-correlation-id");

/// The longest path with query, bytes.
const URI_BYTES_MAX: usize = 8 << 10;
/// How long an answer may take to begin. The engine gives up after 10 s; uploads have their own pace.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// What is known of a request before its handler runs.
#[derive(Clone)]
pub(crate) struct Seen {
    pub correlation_id: Uuid,
    /// Who calls; `None` only on open paths.
    pub actor: Option<Actor>,
    /// The path without the prefix, so that both spellings are one request.
    pub path: Arc<str>,
}

pub(crate) async fn observe(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let correlation_id = Uuid::now_v7();
    let method = request.method().clone();
    let uri = request.uri().clone();
    let route = route_of(&request);
    let asked = Arc::new(Asked::begin(&request));
    let span = tracing::info_span!(
        "http",
        %method,
        path = uri.path(),
        %correlation_id,
        actor = tracing::field::Empty,
        status = tracing::field::Empty,
        elapsed_ms = tracing::field::Empty,
    );
    let answered = AssertUnwindSafe(admit(&site, request, next, correlation_id, &asked))
        .catch_unwind()
        .instrument(span.clone())
        .await;
    let mut response = answered.unwrap_or_else(|_panic| {
        Failure::internal("a handler panicked; its message stands above in the log").into_response()
    });
    let _entered = span.enter();
    let failure = response.extensions_mut().remove::<Failure>();
    let mut cause = None;
    if let Some(failure) = failure {
        cause = failure.cause().map(str::to_owned);
        if let Some(refused) = asked.refused(failure.problem()) {
            site.app.refusals.add(refused);
        }
        let allow = response.headers_mut().remove(axum::http::header::ALLOW);
        response = failure.document(uri.path(), correlation_id);
        if let Some(allow) = allow {
            response.headers_mut().insert(axum::http::header::ALLOW, allow);
        }
    }
    if let Ok(id) = HeaderValue::try_from(correlation_id.to_string()) {
        response.headers_mut().insert(CORRELATION_ID, id);
    }
    let status = response.status();
    let elapsed = begun.elapsed();
    span.record("status", status.as_u16());
    span.record("elapsed_ms", elapsed.as_secs_f64() * 1000.0);
    tell(&method, status, cause.as_deref());
    metrics::counter!(
        "edgestack_http_requests_total",
        "method" => method_label(&method), "route" => route.clone(), "status" => status.as_str().to_owned()
    )
    .increment(1);
    metrics::histogram!("edgestack_http_request_seconds", "method" => method_label(&method), "route" => route)
        .record(elapsed.as_secs_f64());
    response
}

fn tell(method: &Method, status: StatusCode, cause: Option<&str>) {
    if status == StatusCode::INTERNAL_SERVER_ERROR {
        tracing::error!(cause, "a request met a fault of our own; report it with this line");
    } else if status.is_server_error() {
        tracing::warn!(cause, "a request could not be served now");
    } else if method == Method::GET || method == Method::HEAD {
        tracing::debug!("answered");
    } else {
        tracing::info!("answered");
    }
}

async fn admit(site: &Site, mut request: Request, next: Next, correlation_id: Uuid, asked: &Arc<Asked>) -> Response {
    match check(site, &request, correlation_id) {
        Ok(seen) => {
            if let Some(actor) = &seen.actor {
                tracing::Span::current().record("actor", actor.name.as_str());
            }
            let unhurried = seen.path.ends_with("/file");
            // It is set here alone.
            let _ = asked.seen.set(seen.clone());
            request.extensions_mut().insert(seen);
            request.extensions_mut().insert(asked.clone());
            let answer = next.run(request);
            if unhurried {
                return answer.await;
            }
            match tokio::time::timeout(ANSWER_TIME_MAX, answer).await {
                Ok(response) => response,
                Err(_elapsed) => Failure::new(
                    &codes::REQUEST_TIMED_OUT,
                    "no answer in 30 s: a change may or may not take effect; send it again with the same Idempotency-Key",
                )
                .retry_after(Duration::from_secs(5))
                .into_response(),
            }
        }
        Err(failure) => failure.into_response(),
    }
}

fn check(site: &Site, request: &Request, correlation_id: Uuid) -> Result<Seen, Failure> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip());
    let path = request.uri().path();
    let mut actor = None;
    if needs_token(path, peer) {
        let caller = site.app.tokens.caller(request.headers())?;
        actor = Some(Actor {
            name: caller.name,
            credential: caller.credential,
            from: peer.map_or_else(|| "unknown".to_owned(), |ip| ip.to_string()),
        });
    }
    check_uri(request.uri())?;
    Ok(Seen { correlation_id, actor, path: router::without_prefix(path).into() })
}

/// `/metrics` is open on loopback, as scrapers on the same host are set up without
/// secrets and it tells numbers only; from elsewhere it needs the token like the API.
fn needs_token(path: &str, peer: Option<IpAddr>) -> bool {
    if path == "/metrics" {
        return !peer.is_some_and(|ip| ip.to_canonical().is_loopback());
    }
    path == "/edgetron" || path.starts_with("/edgetron/")
}

fn check_uri(uri: &Uri) -> Result<(), Failure> {
    let text = uri.path_and_query().map_or("", |both| both.as_str());
    if text.len() > URI_BYTES_MAX {
        return Err(Failure::new(
            &codes::URI_TOO_LONG,
            format!("the path with its query has {} bytes, {URI_BYTES_MAX} are the most", text.len()),
        ));
    }
    if !is_well_encoded(uri.path()) {
        return Err(Failure::new(
            &codes::INVALID_PATH,
            "the path has a % that two hex digits must follow, or is not UTF-8 when decoded",
        ));
    }
    Ok(())
}

/// Each `%` is followed by two hex digits, and what comes out is UTF-8.
pub(crate) fn is_well_encoded(text: &str) -> bool {
    let bytes = text.as_bytes();
    let whole = bytes.iter().enumerate().all(|(at, byte)| {
        *byte != b'%' || bytes.get(at + 1..at + 3).is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    });
    whole && percent_encoding::percent_decode_str(text).decode_utf8().is_ok()
}

/// The route's pattern without the prefix: few values, as a metric's label must have.
fn route_of(request: &Request) -> String {
    let Some(matched) = request.extensions().get::<MatchedPath>() else {
        return "none".to_owned();
    };
    let pattern = matched.as_str();
    PREFIXES.iter().find_map(|prefix| pattern.strip_prefix(prefix)).unwrap_or(pattern).to_owned()
}

fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        // Clients can make methods up; labels must stay few.
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_percent_codes_of_utf8_pass() {
        for good in ["/vms/a", "/vms/%61", "/vms/%C3%A4", "/"] {
            assert!(is_well_encoded(good), "{good}");
        }
        for bad in ["/vms/%", "/vms/%6", "/vms/%zz", "/vms/%ff", "/vms/%C3"] {
            assert!(!is_well_encoded(bad), "{bad}");
        }
    }

    #[test]
    fn metrics_are_open_on_loopback_only() {
        let ip = |text: &str| Some(text.parse().unwrap());
        assert!(!needs_token("/metrics", ip("127.0.0.1")));
        assert!(!needs_token("/metrics", ip("::ffff:127.0.0.1")));
        assert!(needs_token("/metrics", ip("192.0.2.1")));
        assert!(needs_token("/metrics", None));
        assert!(needs_token("/edgetron", ip("127.0.0.1")));
        assert!(needs_token("/edgetron/anything", ip("127.0.0.1")));
        assert!(!needs_token("/healthz", None));
    }
}
