//! Leases as they travel.

use chrono::{DateTime, Utc};
use edgestack_model::lease;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::meta::Meta;

/// Which process does a piece of the site's work that only one may do. Its name is that of the work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lease {
    /// Identity and bookkeeping.
    #[serde(flatten)]
    pub meta: Meta,
    /// `held`, or `free`: its holder has given it back.
    #[schema(example = "held")]
    pub state: String,
    /// How often it was taken: what is written under an earlier epoch is refused.
    pub epoch: u64,
    /// Who has it.
    pub holder: Option<LeaseHolder>,
}

/// A process that has a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LeaseHolder {
    /// The node that it runs on.
    #[schema(example = "edge-1")]
    pub node: String,
    /// The process: an id made at its start.
    pub process: Uuid,
    /// Since when it has it.
    pub since: DateTime<Utc>,
}

impl From<&lease::Lease> for Lease {
    fn from(lease: &lease::Lease) -> Self {
        Self {
            meta: Meta::of(lease.id.uuid(), &lease.meta),
            state: lease.state().to_owned(),
            epoch: lease.epoch,
            holder: lease.holder.as_ref().map(|holder| LeaseHolder {
                node: holder.node.to_string(),
                process: holder.process,
                since: holder.since,
            }),
        }
    }
}
