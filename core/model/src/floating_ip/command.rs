//! What can be asked of floating IPs, and what the gateway pool reports.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::FloatingIp;
use crate::{Generation, Id, Labels, Name, command::Reference, meta::MetaChange, realization::RealizationReport};

/// A command on a floating IP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum FloatingIpCommand {
    /// Takes an address.
    Create(Box<CreateFloatingIp>),
    /// Changes description and labels.
    Update {
        /// Which.
        floating_ip: Reference,
        /// Description and labels.
        change: MetaChange,
    },
    /// Has it lead to a VM, in place of where it led before.
    Associate {
        /// Which.
        floating_ip: Reference,
        /// Where to.
        to: AssociationRequest,
    },
    /// Has it lead to a load balancer, in place of where it led before.
    AssociateLoadBalancer {
        /// Which.
        floating_ip: Reference,
        /// Where to.
        load_balancer: Reference,
    },
    /// Has it lead nowhere. It stays held.
    Disassociate {
        /// Which.
        floating_ip: Reference,
    },
    /// Gives the address back.
    Delete {
        /// Which.
        floating_ip: Reference,
    },
    /// Looks at it again now, whatever it waits for; see [`crate::repair`].
    Reconcile {
        /// Which.
        floating_ip: Reference,
    },
    /// Forgets it, whatever is left of it in the virtual network; see [`crate::repair`].
    ForceRemove {
        /// Which.
        floating_ip: Reference,
    },
    /// From the gateway pool.
    Report {
        /// Which.
        floating_ip: Id<FloatingIp>,
        /// The generation it acted on.
        generation: Generation,
        /// What it did or saw.
        report: RealizationReport,
    },
}

/// What a floating IP is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateFloatingIp {
    /// Its name; its address if absent.
    pub name: Option<Name>,
    /// Free text.
    pub description: String,
    /// Its labels.
    pub labels: Labels,
    /// The router through which it is to lead; the only one with a way outside if absent.
    pub router: Option<Reference>,
    /// The address wished for; a free one of the external network's pool if absent.
    pub address: Option<IpAddr>,
    /// The VM that it leads to from the first.
    pub to: Option<AssociationRequest>,
    /// The load balancer that it leads to from the first, where to no VM.
    pub load_balancer: Option<Reference>,
}

/// Where a floating IP is to lead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssociationRequest {
    /// The VM.
    pub vm: Reference,
    /// Which of its addresses; the only one that the router leads to if absent.
    pub fixed_ip: Option<IpAddr>,
}

impl FloatingIpCommand {
    /// The command's name in the envelope.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create-fip",
            Self::Update { .. } => "update-fip",
            Self::Associate { .. } | Self::AssociateLoadBalancer { .. } => "associate-fip",
            Self::Disassociate { .. } => "disassociate-fip",
            Self::Delete { .. } => "remove-fip",
            Self::Reconcile { .. } => "reconcile-fip",
            Self::ForceRemove { .. } => "force-remove-fip",
            Self::Report { report, .. } => match report {
                RealizationReport::Realized => "report-fip-realized",
                RealizationReport::Drifted { .. } => "report-fip-drifted",
                RealizationReport::AttemptFailed(_) => "report-fip-attempt-failed",
                RealizationReport::Removed => "report-fip-removed",
            },
        }
    }
}
