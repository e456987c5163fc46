//! The HTTP side: requests to one site, problems as errors, changes repeated
//! with the same idempotency key while the server is too busy for them.

mod error;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use edgestack_wire::Problem;
use futures::TryStreamExt;
use reqwest::{
    Body, Method, Request, Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER},
    redirect,
};
use tokio::io::AsyncReadExt;
use uuid::Uuid;

use crate::{
    cli::ChangeArgs,
    config::{ConfigError, Effective, Setting},
    failure::Failure,
    output,
    recording::Recorder,
    trust::{self, Untrusted},
};

pub use error::{ClientError, broken};

use error::shown;

/// Where the objects live.
pub const PREFIX: &str = "edgetron/resources/kubevirt";

/// Longest wait for an answer, or for the head of a stream.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

const ATTEMPTS_MAX: u32 = 6;
const RETRIES_DEADLINE: Duration = Duration::from_secs(60);

/// What a change carries.
pub enum Payload {
    /// Nothing.
    Empty,
    /// A JSON document.
    Json(String),
    /// A file's bytes, opened anew for each attempt.
    File(FilePart),
}

/// Told of each chunk's length; `None` when an attempt begins.
pub type Sent = Arc<dyn Fn(Option<usize>) + Send + Sync>;

/// A file to be sent.
pub struct FilePart {
    /// Which.
    pub path: PathBuf,
    /// Its length, bytes; no more is sent should it grow meanwhile.
    pub length: u64,
    /// Who is told how far it is.
    pub progress: Sent,
}

impl Payload {
    /// The JSON document of a wire type.
    ///
    /// # Errors
    /// Only if serde_json refuses it, which the wire types give no cause for.
    pub fn json(value: &impl serde::Serialize) -> Result<Self, Failure> {
        Ok(Self::Json(serde_json::to_string(value)?))
    }
}

/// The answer to a change.
#[derive(Debug)]
pub struct Reply {
    /// 200, 201, 202, 204.
    pub status: StatusCode,
    /// The resource, or empty.
    pub body: String,
}

/// One site.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    authorization: HeaderValue,
    token_from: String,
    ca_file: Option<Setting>,
    /// Where changes are kept instead of being sent.
    recorder: Option<Recorder>,
}

impl Client {
    /// For the site that the configuration names.
    ///
    /// # Errors
    /// The configuration names none.
    pub fn new(config: &Effective) -> Result<Self, Failure> {
        let (url, token) = config.site()?;
        let bad_url = || ConfigError::Url { url: url.value.clone(), from: url.from.clone() };
        let base = Url::parse(&url.value).map_err(|_| bad_url())?;
        if !matches!(base.scheme(), "http" | "https") || base.host().is_none() {
            return Err(bad_url().into());
        }
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", token.value))
            .map_err(|_| ClientError::Header { what: "the token" })?;
        authorization.set_sensitive(true);
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("edgectl/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none());
        if is_loopback(&base) {
            // A proxy's loopback is not ours.
            builder = builder.no_proxy();
        }
        if let Some(ca_file) = config.ca_file.as_ref().filter(|_| base.scheme() == "https") {
            builder = trust::only(builder, ca_file)?;
        }
        let http = builder.build().map_err(|source| ClientError::Unreachable { url: url.value.clone(), source })?;
        let (token_from, ca_file) = (token.from.clone(), config.ca_file.clone());
        Ok(Self { http, base, authorization, token_from, ca_file, recorder: None })
    }

    /// A client that reads as this one does, and keeps each change instead of sending it.
    pub fn recording_in(&self, recorder: Recorder) -> Self {
        Self { recorder: Some(recorder), ..self.clone() }
    }

    /// Whether changes are kept instead of being sent.
    pub fn records(&self) -> bool {
        self.recorder.is_some()
    }

    /// The URL of path segments under the API's prefix, each a name or id as the user typed it.
    pub fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.path(PREFIX);
        if let Ok(mut path) = url.path_segments_mut() {
            path.extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// The URL of a path from the server's root, which may have a query.
    pub fn path(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let (path, query) = match path.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (path, None),
        };
        let before = self.base.path().trim_end_matches('/');
        url.set_path(&format!("{before}/{}", path.trim_start_matches('/')));
        url.set_query(query);
        url
    }

    /// Reads a document.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get(&self, url: Url) -> Result<String, ClientError> {
        self.get_as(url, "application/json").await
    }

    /// Reads a document in one of the forms that the server has it in.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get_as(&self, url: Url, accept: &'static str) -> Result<String, ClientError> {
        Ok(self.get_at(url, accept).await?.0)
    }

    /// Reads a document, and which past moment it shows, in words, if the URL asks for one.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get_at(&self, url: Url, accept: &'static str) -> Result<(String, Option<String>), ClientError> {
        let mut request = self.request(Method::GET, url.clone());
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static(accept));
        *request.timeout_mut() = Some(REQUEST_TIMEOUT);
        let response = self.send(request).await?;
        let moment = moment(response.headers());
        Ok((body(&url, response).await?, moment))
    }

    /// Opens a stream: the head is awaited for [`REQUEST_TIMEOUT`], the rest for ever.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn open(
        &self,
        url: Url,
        accept: &'static str,
        last_event_id: Option<&str>,
    ) -> Result<Response, ClientError> {
        let mut request = self.request(Method::GET, url.clone());
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static(accept));
        if let Some(id) = last_event_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert("Last-Event-ID", id);
        }
        match tokio::time::timeout(REQUEST_TIMEOUT, self.send(request)).await {
            Ok(response) => response,
            Err(_) => Err(ClientError::Slow { url: shown(&url) }),
        }
    }

    /// Asks for a change, again with the same key while the server says "later"
    /// or the outcome is unknown, within a minute.
    ///
    /// # Errors
    /// See [`ClientError`]; the last one when none of the attempts came through.
    pub async fn change(
        &self,
        method: Method,
        segments: &[&str],
        payload: &Payload,
        args: &ChangeArgs,
    ) -> Result<Reply, ClientError> {
        self.change_by(method, (segments, &[]), payload, args).await
    }

    /// The same with a query.
    ///
    /// # Errors
    /// As [`Self::change`].
    pub async fn change_by(
        &self,
        method: Method,
        (segments, query): (&[&str], &[(&str, &str)]),
        payload: &Payload,
        args: &ChangeArgs,
    ) -> Result<Reply, ClientError> {
        let url = self.url(segments, query);
        if let Some(recorder) = &self.recorder {
            let before = self.base.path().trim_end_matches('/');
            let path = url.path().strip_prefix(before).unwrap_or(url.path());
            let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
            recorder.keep(&method, &format!("{path}{query}"), payload, args);
            return Err(ClientError::Recorded);
        }
        self.change_at(method, url, payload, args).await
    }

    /// The same at any address of the server.
    ///
    /// # Errors
    /// As [`Self::change`].
    pub async fn change_at(
        &self,
        method: Method,
        mut url: Url,
        payload: &Payload,
        args: &ChangeArgs,
    ) -> Result<Reply, ClientError> {
        if args.dry_run {
            url.query_pairs_mut().append_pair("dry_run", "true");
        }
        let key = Uuid::new_v4().to_string();
        let started = Instant::now();
        let mut attempt = 1;
        loop {
            let outcome = self.change_once(method.clone(), &url, payload, args, &key).await;
            let error = match outcome {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            let pause = match error.retry_after() {
                Some(pause) if attempt < ATTEMPTS_MAX && started.elapsed() + pause < RETRIES_DEADLINE => pause,
                Some(_) | None => return Err(error),
            };
            attempt += 1;
            output::note(&format!(
                "edgectl: {}; trying again in {} s ({attempt} of {ATTEMPTS_MAX})",
                crate::failure::line(&error),
                pause.as_secs()
            ));
            tokio::time::sleep(pause).await;
        }
    }

    /// Asks something of the site as a whole, with a JSON document.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn ask(&self, url: Url, document: String) -> Result<String, ClientError> {
        let mut request = self.request(Method::POST, url.clone());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        *request.body_mut() = Some(Body::from(document));
        *request.timeout_mut() = Some(REQUEST_TIMEOUT);
        let response = self.send(request).await?;
        body(&url, response).await
    }

    async fn change_once(
        &self,
        method: Method,
        url: &Url,
        payload: &Payload,
        args: &ChangeArgs,
        key: &str,
    ) -> Result<Reply, ClientError> {
        let mut request = self.request(method, url.clone());
        let headers = request.headers_mut();
        if let Ok(key) = HeaderValue::from_str(key) {
            headers.insert("Idempotency-Key", key);
        }
        if let Some(reason) = &args.reason {
            headers.insert("EdgeStack-Reason", reason_header(reason)?);
        }
        match payload {
            Payload::Empty => *request.timeout_mut() = Some(REQUEST_TIMEOUT),
            Payload::Json(text) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                *request.body_mut() = Some(Body::from(text.clone()));
                *request.timeout_mut() = Some(REQUEST_TIMEOUT);
            }
            Payload::File(part) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
                headers.insert(CONTENT_LENGTH, HeaderValue::from(part.length));
                *request.body_mut() = Some(file_body(part).await?);
            }
        }
        let response = self.send(request).await?;
        let status = response.status();
        Ok(Reply { status, body: body(url, response).await? })
    }

    /// A bare request with the token, for whoever sets the rest.
    pub fn request(&self, method: Method, url: Url) -> Request {
        let mut request = Request::new(method, url);
        request.headers_mut().insert(AUTHORIZATION, self.authorization.clone());
        request
    }

    /// Sends a request whatever the status of its answer.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn send_raw(&self, request: Request) -> Result<Response, ClientError> {
        let url = request.url().clone();
        self.http.execute(request).await.map_err(|error| self.transport(&url, error))
    }

    async fn send(&self, request: Request) -> Result<Response, ClientError> {
        let url = request.url().clone();
        let response = self.send_raw(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(&url, response).await)
    }

    fn transport(&self, url: &Url, error: reqwest::Error) -> ClientError {
        let site = || self.base.as_str().trim_end_matches('/').to_owned();
        if let Some(why) = trust::why_not(&error) {
            return Untrusted::new(site(), why, self.ca_file.as_ref()).into();
        }
        if error.is_connect() {
            return ClientError::Unreachable { url: site(), source: error };
        }
        broken(url, error)
    }

    async fn refusal(&self, url: &Url, response: Response) -> ClientError {
        let status = response.status();
        let retry_after = retry_after(response.headers());
        let body = match body(url, response).await {
            Ok(body) => body,
            Err(error) => return error,
        };
        self.refusal_of(url, status, retry_after, &body)
    }

    /// An error status and its body as an error.
    pub fn refusal_of(&self, url: &Url, status: StatusCode, retry_after: Option<Duration>, body: &str) -> ClientError {
        let retry_after =
            retry_after.filter(|_| matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE));
        let token_hint = match status {
            StatusCode::UNAUTHORIZED => format!(" (the token came from {})", self.token_from),
            _ => String::new(),
        };
        match serde_json::from_str::<Problem>(body) {
            Ok(problem) => {
                let hint = match &problem.correlation_id {
                    Some(id) if status.is_server_error() => format!(" (correlation id {id})"),
                    Some(_) | None => token_hint,
                };
                ClientError::Refused { problem: Box::new(problem), hint, retry_after }
            }
            Err(_) => ClientError::NotOurs { url: shown(url), status, hint: token_hint, retry_after },
        }
    }
}

/// What the header asks for; HTTP dates count as one second, the busy server of ours sends numbers.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    Some(Duration::from_secs(text.trim().parse().unwrap_or(1)))
}

/// The moment that a read of the past shows.
fn moment(headers: &HeaderMap) -> Option<String> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    Some(format!("after commit {} ({})", text("edgestack-sequence")?, text("edgestack-time")?))
}

async fn body(url: &Url, response: Response) -> Result<String, ClientError> {
    let bytes: Bytes = response.bytes().await.map_err(|error| broken(url, error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Free text in a header. Source: RFC 9110, 5.5: a field value is visible ASCII, blanks and
/// obs-text, which is how UTF-8 travels; line breaks cannot, so they become blanks.
fn reason_header(reason: &str) -> Result<HeaderValue, ClientError> {
    HeaderValue::from_bytes(reason.replace(['\n', '\r', '\t'], " ").as_bytes())
        .map_err(|_| ClientError::Header { what: "--reason" })
}

async fn file_body(part: &FilePart) -> Result<Body, ClientError> {
    let file = tokio::fs::File::open(&part.path)
        .await
        .map_err(|source| ClientError::File { path: part.path.clone(), source })?;
    (part.progress)(None);
    let progress = Arc::clone(&part.progress);
    let chunks = tokio_util::io::ReaderStream::with_capacity(file.take(part.length), 256 << 10)
        .inspect_ok(move |chunk| progress(Some(chunk.len())));
    Ok(Body::wrap_stream(chunks))
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback()),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Setting;

    fn client(url: &str) -> Client {
        let setting = |value: &str| Some(Setting { value: value.to_owned(), from: "a test".to_owned() });
        Client::new(&Effective { url: setting(url), token: setting("secret"), ..Effective::default() }).unwrap()
    }

    #[test]
    fn urls_keep_the_base_path_and_escape_names() {
        let root = client("http://127.0.0.1:9080/");
        assert_eq!(
            root.url(&["vms", "a/b c"], &[("label", "x=1,y=2")]).as_str(),
            "http://127.0.0.1:9080/edgetron/resources/kubevirt/vms/a%2Fb%20c?label=x%3D1%2Cy%3D2"
        );
        assert_eq!(client("https://edge/site-1").path("/healthz?x=1").as_str(), "https://edge/site-1/healthz?x=1");
    }

    #[test]
    fn only_http_urls_name_a_site() {
        let config = |url: &str| Effective {
            url: Some(Setting { value: url.to_owned(), from: "--url".to_owned() }),
            token: Some(Setting { value: "t".to_owned(), from: "--token".to_owned() }),
            ..Effective::default()
        };
        for bad in ["127.0.0.1:9080", "nats://x", "", "http://"] {
            let error = Client::new(&config(bad)).err().unwrap();
            assert_eq!(error.exit_code(), 2, "{bad}: {error}");
        }
    }

    #[test]
    fn a_problem_is_told_in_its_own_line() {
        let client = client("http://[::1]:1");
        let url = client.url(&["vms"], &[]);
        let problem = Problem::new(401, "unauthorized", "the token is not known; get a new one");
        let body = serde_json::to_string(&problem).unwrap();
        let error = client.refusal_of(&url, StatusCode::UNAUTHORIZED, None, &body);
        assert_eq!(error.to_string(), "the token is not known; get a new one (the token came from a test)");
        let error = client.refusal_of(&url, StatusCode::BAD_GATEWAY, None, "<html>");
        assert!(error.to_string().contains("502"), "{error}");
    }
}
