//! Whether the members of a load balancer live.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the health check of a load balancer has found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LbHealth {
    /// Whether members are asked at all: without a health check all of them are taken to live.
    pub checked: bool,
    /// A member's port each, in order.
    pub items: Vec<MemberHealth>,
}

/// What is known of a member's port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberHealth {
    /// The member's address.
    #[schema(example = "10.0.0.2")]
    pub address: String,
    /// The VM that has it.
    pub vm: Option<String>,
    /// `tcp` or `udp`.
    #[schema(example = "tcp")]
    pub protocol: String,
    /// The member's port.
    #[schema(example = 8080)]
    pub port: u16,
    /// Whether it is given connections.
    pub health: Health,
}

/// Whether a member is given connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It answers.
    Online,
    /// It does not answer, and is given none.
    Offline,
    /// It says that nobody is there, and is given none.
    Error,
    /// It was not asked yet, or not often enough.
    Unknown,
}

impl Health {
    /// As users see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Error => "error",
            Self::Unknown => "unknown",
        }
    }
}
