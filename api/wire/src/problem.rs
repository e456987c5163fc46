//! RFC 9457 problem details: the body of every error.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An error. `application/problem+json`, RFC 9457.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "type": "/problems/reference-not-found",
    "title": "Reference not found",
    "status": 409,
    "detail": "flavor: flavor \"small\" does not exist; create it first or name another",
    "code": "reference-not-found",
    "field": "flavor",
    "instance": "/edgetron/resources/kubevirt/vms",
    "correlation_id": "0197a5a0-0000-7000-8000-000000000001"
}))]
pub struct Problem {
    /// A reference to the problem's page; its last segment is the code.
    #[serde(rename = "type")]
    pub problem_type: String,
    /// The code in words; the same for every problem of this type.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This case, in one line, with the fix.
    pub detail: String,
    /// Stable and kebab-case, for programs.
    pub code: String,
    /// The request's field at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The path that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Finds the same request in the logs and the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
}

impl Problem {
    /// A problem of a code, with its status and this case's line.
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        let mut title = code.replace('-', " ");
        if let Some(first) = title.get_mut(0..1) {
            first.make_ascii_uppercase();
        }
        Self {
            problem_type: format!("/problems/{code}"),
            title,
            status,
            detail: detail.into(),
            code: code.to_owned(),
            field: None,
            instance: None,
            correlation_id: None,
        }
    }

    /// Names the field at fault.
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }
}
