//! Errors to problem details (RFC 9457).

use std::time::Duration;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use edgestack_engine::SubmitError;
use edgestack_model::Refusal;
use edgestack_views::ViewError;
use edgestack_wire::{Invalid, Problem};
use uuid::Uuid;

use crate::{GuestError, codes, codes::Code};

/// A request that failed. It becomes a response without a body; the outermost
/// layer ([`crate::observe`]) knows path and correlation id and writes the document.
#[derive(Clone, Debug)]
pub(crate) struct Failure(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    problem: Problem,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// For the log only.
    cause: Option<String>,
}

/// What handlers answer.
pub(crate) type Answer = Result<Response, Failure>;

impl Failure {
    pub fn new(code: &Code, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            problem: Problem::new(code.status, code.code, detail),
            headers: Vec::new(),
            cause: None,
        }))
    }

    /// Names the field, parameter or header at fault.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.0.problem.field = Some(field.into());
        self
    }

    /// The same for a request whose body is that part of a resource alone which the command's fields begin with.
    pub fn of_part(mut self, part: &str) -> Self {
        let problem = &mut self.0.problem;
        if let Some(field) = problem.field.as_deref().and_then(|field| field.strip_prefix(part)).map(str::to_owned) {
            if let Some(detail) = problem.detail.strip_prefix(part).map(str::to_owned) {
                problem.detail = detail;
            }
            problem.field = Some(field);
        }
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Says when trying again makes sense: whole seconds, at least one.
    pub fn retry_after(self, after: Duration) -> Self {
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)))
    }

    /// Keeps a cause for the log; the client does not see it.
    pub fn because(mut self, cause: impl Into<String>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    pub fn parameter(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::new(&codes::INVALID_PARAMETER, format!("{name}: {reason}")).field(name)
    }

    pub fn bad_header(name: &str, reason: impl std::fmt::Display) -> Self {
        Self::new(&codes::INVALID_HEADER, format!("{name}: {reason}")).field(name)
    }

    /// What the client is told.
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }

    /// The cause that only the log gets.
    pub fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// The response with its body.
    pub fn document(mut self, path: &str, correlation_id: Uuid) -> Response {
        self.0.problem.instance = Some(path.to_owned());
        self.0.problem.correlation_id = Some(correlation_id.to_string());
        // A problem is made of texts and a number: serializing it cannot fail.
        let body = serde_json::to_vec(&self.0.problem).unwrap_or_default();
        let mut response = self.bare();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        *response.body_mut() = body.into();
        response
    }

    fn bare(self) -> Response {
        let status = StatusCode::from_u16(self.0.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        for (name, value) in self.0.headers {
            response.headers_mut().append(name, value);
        }
        response
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let mut response = self.clone().bare();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let failure = Self::new(codes::of_refusal(&refusal), refusal.to_string());
        match refusal.field() {
            Some(field) => failure.field(field),
            None => failure,
        }
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Self::new(&codes::INVALID_VALUE, invalid.to_string()).field(invalid.field)
    }
}

impl From<ViewError> for Failure {
    fn from(error: ViewError) -> Self {
        let cause = edgestack_engine::error_chain(&error);
        Self::new(
            &codes::VIEWS_UNAVAILABLE,
            "the read models cannot be read now; try again, or restart edgestackd: it rebuilds them from the log",
        )
        .retry_after(Duration::from_secs(5))
        .because(cause)
    }
}

impl From<SubmitError> for Failure {
    fn from(error: SubmitError) -> Self {
        let detail = error.to_string();
        match error {
            SubmitError::Refused(refusal) => refusal.into(),
            SubmitError::Busy { retry_after } => Self::new(&codes::TOO_MANY_REQUESTS, detail).retry_after(retry_after),
            SubmitError::Unavailable { retry_after, .. } => {
                Self::new(&codes::LOG_UNAVAILABLE, detail).retry_after(retry_after)
            }
            SubmitError::OutcomeUnknown { retry_after } => {
                Self::new(&codes::OUTCOME_UNKNOWN, detail).retry_after(retry_after)
            }
            // A repair from the archive takes seconds.
            SubmitError::Damaged { .. } => Self::new(&codes::LOG_DAMAGED, detail).retry_after(Duration::from_secs(5)),
            SubmitError::TooLarge { .. } => Self::new(&codes::COMMAND_TOO_LARGE, detail),
            SubmitError::Internal(cause) => Self::internal(cause),
        }
    }
}

impl From<GuestError> for Failure {
    fn from(error: GuestError) -> Self {
        match error {
            GuestError::NotRunning => Self::new(
                &codes::VM_NOT_RUNNING,
                "the VM does not run; start it first: edgectl start-vm NAME",
            ),
            GuestError::AgentNotAnswering { why } => Self::new(
                &codes::GUEST_AGENT_NOT_ANSWERING,
                format!(
                    "the guest's agent does not answer ({why}); wait until the guest has booted, or install qemu-guest-agent in it"
                ),
            )
            .retry_after(Duration::from_secs(5)),
            GuestError::Failed { why } => Self::new(
                &codes::GUEST_UNREACHABLE,
                "the guest could not be reached; try again, edgestackd's log tells more under the correlation id",
            )
            .retry_after(Duration::from_secs(5))
            .because(why),
        }
    }
}

impl Failure {
    /// A fault of our own: the cause goes to the log, not to the client.
    pub fn internal(cause: impl Into<String>) -> Self {
        Self::new(
            &codes::INTERNAL,
            "a fault of EdgeStack's own; report it with the correlation id, under which edgestackd's log tells more",
        )
        .because(cause)
    }
}
