//! Where an object of the virtual network is on its way: what the kinds that the gateway pool makes real have in common.
//!
//! ```text
//! creating ──▶ active ⇄ updating
//!     └──────────┴──────────┴────▶ deleting ──▶ (gone)
//! ```
//!
//! It is `active` once the nodes have said that they work by it, not once it is written down for them.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{
    Name, Waiting, World,
    waiting::{FailedAttempt, Failure},
};

/// The lease under which one process of the site writes the virtual network.
pub const GATEWAY_LEASE: &str = "gateway";

/// Where it is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RealizationState {
    /// The gateway pool makes it.
    Creating,
    /// The nodes work by it.
    Active,
    /// The gateway pool changes it, or mends what was changed outside.
    Updating,
    /// The gateway pool removes it.
    Deleting,
}

impl RealizationState {
    /// All, as users see them.
    pub const WORDS: [&'static str; 4] = ["creating", "active", "updating", "deleting"];

    /// As users see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Active => "active",
            Self::Updating => "updating",
            Self::Deleting => "deleting",
        }
    }
}

/// Where it is on its way, and what went wrong last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Realization {
    /// Where.
    pub state: RealizationState,
    /// The last failed attempt, until the next success or wish.
    pub failure: Option<Failure>,
}

/// What the gateway pool reports of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "kebab-case")]
pub enum RealizationReport {
    /// The nodes work by it.
    Realized,
    /// Something of it was changed or removed by others; it is mended next.
    Drifted {
        /// What, one a row.
        what: Vec<String>,
    },
    /// Tried in vain; it is tried again.
    AttemptFailed(FailedAttempt),
    /// Nothing of it is left.
    Removed,
}

/// What a report leads to; each kind has its event for it.
pub(crate) enum Told {
    BecameReady,
    Drifted { what: Vec<String> },
    AttemptFailed { failure: Failure },
    Deleted,
}

impl Realization {
    /// Of what is to be made.
    pub(crate) fn new() -> Self {
        Self { state: RealizationState::Creating, failure: None }
    }

    /// What a report leads to; `None`: it was told already, or is about a step that is past.
    pub(crate) fn told(&self, report: &RealizationReport, now: DateTime<Utc>) -> Option<Told> {
        use RealizationState::{Active, Creating, Deleting, Updating};
        match (report, self.state) {
            (RealizationReport::Realized, Creating | Updating) => Some(Told::BecameReady),
            (RealizationReport::Drifted { what }, Active) => Some(Told::Drifted { what: what.clone() }),
            (RealizationReport::AttemptFailed(failed), Creating | Updating | Deleting) => {
                Some(Told::AttemptFailed { failure: failed.clone().after(self.failure.as_ref(), now) })
            }
            (RealizationReport::Removed, Deleting) => Some(Told::Deleted),
            (
                RealizationReport::Realized
                | RealizationReport::Drifted { .. }
                | RealizationReport::AttemptFailed(_)
                | RealizationReport::Removed,
                Creating | Active | Updating | Deleting,
            ) => None,
        }
    }

    /// The nodes work by it.
    pub(crate) fn became_ready(&mut self) {
        *self = Self { state: RealizationState::Active, failure: None };
    }

    /// It is to be made as it is wished now.
    pub(crate) fn begin_update(&mut self) {
        if self.state == RealizationState::Active {
            self.state = RealizationState::Updating;
        }
        self.failure = None;
    }

    /// It is to go.
    pub(crate) fn begin_removal(&mut self) {
        *self = Self { state: RealizationState::Deleting, failure: None };
    }

    /// Law 8: what it waits for, while it is not where it should be.
    pub fn waiting(&self, world: &World) -> Option<Waiting> {
        let doing = match self.state {
            RealizationState::Active => return None,
            RealizationState::Creating => "it is being made in the virtual network",
            RealizationState::Updating => "it is being changed in the virtual network",
            RealizationState::Deleting => "it is being removed from the virtual network",
        };
        let holder = GATEWAY_LEASE.parse::<Name>().ok().and_then(|name| world.lease(&name)?.holder.clone());
        let owner = holder
            .as_ref()
            .map_or_else(|| "worker.gateway".to_owned(), |holder| format!("worker.gateway@{}", holder.node));
        let node = holder.as_ref().and_then(|holder| world.node(&holder.node.as_str().into()).ok());
        let lost = node.filter(|node| !node.readiness.ready);
        let (reason, fix) = match (lost, &self.failure, &holder) {
            (Some(node), _, _) => (
                format!(
                    "node \"{}\", which works on the virtual network, is not ready: {}",
                    node.meta.name,
                    node.readiness.reason.as_deref().unwrap_or("its workers are not heard")
                ),
                Some(format!("start edgestackd on node {}", node.meta.name)),
            ),
            (None, Some(failure), _) => (failure.reason.clone(), failure.fix.clone()),
            (None, None, Some(_)) => (doing.to_owned(), None),
            (None, None, None) => (
                "no process of this site works on its virtual network".to_owned(),
                Some("start edgestackd as root with --networks bundled (deploy/quickstart does, as root)".to_owned()),
            ),
        };
        let next_attempt_at = self.failure.as_ref().map(|failure| failure.next_attempt_at);
        Some(Waiting { owner, reason, fix, next_attempt_at })
    }
}

#[cfg(test)]
mod tests;
