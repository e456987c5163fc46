//! What can be asked of routers, and what the gateway pool reports.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{PeerRouter, Route, Router};
use crate::{Generation, Id, Labels, Name, command::Reference, meta::MetaChange, realization::RealizationReport};

/// A command on a router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum RouterCommand {
    /// Makes a new one.
    Create(Box<CreateRouter>),
    /// Changes what can be changed.
    Update(Box<UpdateRouter>),
    /// Removes it: its networks are apart again.
    Delete {
        /// Which.
        router: Reference,
        /// Whether its floating IPs go first; refused where there are any otherwise.
        cascade: bool,
    },
    /// Looks at it again now, whatever it waits for; see [`crate::repair`].
    Reconcile {
        /// Which.
        router: Reference,
    },
    /// Forgets it, whatever is left of it in the virtual network; see [`crate::repair`].
    ForceRemove {
        /// Which.
        router: Reference,
    },
    /// From the gateway pool.
    Report {
        /// Which.
        router: Id<Router>,
        /// The generation it acted on.
        generation: Generation,
        /// What it did or saw.
        report: RealizationReport,
    },
}

/// What a router is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRouter {
    /// Its name.
    pub name: Name,
    /// Free text.
    pub description: String,
    /// Its labels.
    pub labels: Labels,
    /// Whether what leaves by it has its own address outside.
    pub enable_snat: bool,
    /// The networks that it is to join.
    pub internal: Vec<Reference>,
    /// Its way outside.
    pub external: Option<ExternalRequest>,
    /// The next hop outside, if it is not to be the external network's gateway.
    pub peer: Option<PeerRouter>,
    /// Further routes.
    pub routes: Vec<Route>,
}

/// A way outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExternalRequest {
    /// The network outside.
    pub network: Reference,
    /// The address wished for there.
    pub fixed_ip: Option<IpAddr>,
}

/// A change of a router; an absent field leaves what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateRouter {
    /// Which.
    pub router: Reference,
    /// Description and labels.
    pub change: MetaChange,
    /// Whether what leaves by it has its own address outside.
    pub enable_snat: Option<bool>,
    /// The networks that it is to join, all of them.
    pub internal: Option<Vec<Reference>>,
    /// Also these.
    pub attach: Vec<Reference>,
    /// Not these.
    pub detach: Vec<Reference>,
    /// Its way outside, or none.
    pub external: Option<Option<ExternalRequest>>,
    /// The next hop outside, or none but the external network's gateway.
    pub peer: Option<Option<PeerRouter>>,
    /// Further routes, all of them.
    pub routes: Option<Vec<Route>>,
}

impl RouterCommand {
    /// The command's name in the envelope.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create-router",
            Self::Update(_) => "update-router",
            Self::Delete { .. } => "remove-router",
            Self::Reconcile { .. } => "reconcile-router",
            Self::ForceRemove { .. } => "force-remove-router",
            Self::Report { report, .. } => match report {
                RealizationReport::Realized => "report-router-realized",
                RealizationReport::Drifted { .. } => "report-router-drifted",
                RealizationReport::AttemptFailed(_) => "report-router-attempt-failed",
                RealizationReport::Removed => "report-router-removed",
            },
        }
    }
}
