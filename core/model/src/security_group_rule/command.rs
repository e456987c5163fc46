//! What can be asked of security group rules, and what the gateway pool reports.

use serde::{Deserialize, Serialize};

use super::{Direction, EtherType, Protocol, SecurityGroupRule};
use crate::{
    Generation, Id, Labels, Name, address::Cidr, command::Reference, meta::MetaChange, realization::RealizationReport,
};

/// A command on a security group rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum SecurityGroupRuleCommand {
    /// Makes a new one.
    Create(Box<CreateRule>),
    /// Changes description and labels. What it lets through never changes.
    Update {
        /// Which.
        rule: Reference,
        /// Description and labels.
        change: MetaChange,
    },
    /// Removes it: what it let through is dropped, also of connections that are open.
    Delete {
        /// Which.
        rule: Reference,
    },
    /// Looks at it again now, whatever it waits for; see [`crate::repair`].
    Reconcile {
        /// Which.
        rule: Reference,
    },
    /// Forgets it, whatever is left of it in the virtual network; see [`crate::repair`].
    ForceRemove {
        /// Which.
        rule: Reference,
    },
    /// From the gateway pool.
    Report {
        /// Which.
        rule: Id<SecurityGroupRule>,
        /// The generation it acted on.
        generation: Generation,
        /// What it did or saw.
        report: RealizationReport,
    },
}

/// A rule for a group that there is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateRule {
    /// The group.
    pub group: Reference,
    /// The rule.
    pub rule: RuleRequest,
}

/// What a rule is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRequest {
    /// Its name, if it is not to be made of what it is.
    pub name: Option<Name>,
    /// Free text.
    pub description: String,
    /// Its labels.
    pub labels: Labels,
    /// In which direction.
    pub direction: Direction,
    /// Of which family.
    pub ether_type: EtherType,
    /// Of which protocol.
    pub protocol: Protocol,
    /// From where, or to where.
    pub remote: RemoteRequest,
}

/// From where, or to where, as the user named it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", content = "of", rename_all = "snake_case")]
pub enum RemoteRequest {
    /// Anybody.
    Any,
    /// Who has an address of this prefix.
    Prefix(Cidr),
    /// The NICs of this group.
    Group(Reference),
}

impl SecurityGroupRuleCommand {
    /// The command's name in the envelope.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create-sgr",
            Self::Update { .. } => "update-sgr",
            Self::Delete { .. } => "remove-sgr",
            Self::Reconcile { .. } => "reconcile-sgr",
            Self::ForceRemove { .. } => "force-remove-sgr",
            Self::Report { report, .. } => match report {
                RealizationReport::Realized => "report-sgr-realized",
                RealizationReport::Drifted { .. } => "report-sgr-drifted",
                RealizationReport::AttemptFailed(_) => "report-sgr-attempt-failed",
                RealizationReport::Removed => "report-sgr-removed",
            },
        }
    }
}
