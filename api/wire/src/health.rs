//! Whether a daemon lives and can be used, and what its problems mean.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `GET /healthz`: the process answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Alive {
    /// Always `ok`.
    #[schema(example = "ok")]
    pub status: String,
}

/// `GET /readyz`: the site takes commands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ready {
    /// The site's name.
    #[schema(example = "edge-1")]
    pub site: String,
    /// EdgeStack's version.
    #[schema(example = "0.1.0")]
    pub version: String,
    /// The last log sequence that this process has folded.
    pub sequence: u64,
    /// The log behind it.
    pub log: LogInfo,
}

/// The log of a site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogInfo {
    /// What keeps it: `NATS JetStream 2.15.1`, or `memory (simulated)`.
    pub backend: String,
}

/// `GET /problems/{code}`: what a problem's code means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProblemMeaning {
    /// The code, stable and never reused.
    #[schema(example = "name-taken")]
    pub code: String,
    /// The code in words.
    #[schema(example = "Name taken")]
    pub title: String,
    /// The HTTP status that it comes with.
    #[schema(example = 409)]
    pub status: u16,
    /// When it is answered.
    pub meaning: String,
    /// What to do.
    pub fix: String,
}
