//! What can be asked of security groups, and what the gateway pool reports.

use serde::{Deserialize, Serialize};

use super::SecurityGroup;
use crate::{
    Generation, Id, Labels, Name, command::Reference, meta::MetaChange, realization::RealizationReport,
    security_group_rule::RuleRequest,
};

/// A command on a security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum SecurityGroupCommand {
    /// Makes a new one.
    Create(Box<CreateSecurityGroup>),
    /// Makes the default one, if there is none.
    EnsureDefault {},
    /// Changes description and labels.
    Update {
        /// Which.
        group: Reference,
        /// Description and labels.
        change: MetaChange,
    },
    /// Removes it with its rules.
    Delete {
        /// Which.
        group: Reference,
        /// Whether NICs leave it and rules of others that name it go first; refused where there are any otherwise.
        cascade: bool,
    },
    /// Looks at it again now, whatever it waits for; see [`crate::repair`].
    Reconcile {
        /// Which.
        group: Reference,
    },
    /// Forgets it with its rules, whatever is left of it in the virtual network; see [`crate::repair`].
    ForceRemove {
        /// Which.
        group: Reference,
    },
    /// From the gateway pool.
    Report {
        /// Which.
        group: Id<SecurityGroup>,
        /// The generation it acted on.
        generation: Generation,
        /// What it did or saw.
        report: RealizationReport,
    },
}

/// What a group is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateSecurityGroup {
    /// Its name.
    pub name: Name,
    /// Free text.
    pub description: String,
    /// Its labels.
    pub labels: Labels,
    /// Its first rules; all from its NICs, if none are given.
    pub rules: Option<Vec<RuleRequest>>,
}

impl SecurityGroupCommand {
    /// The command's name in the envelope.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create-sg",
            Self::EnsureDefault {} => "ensure-default-sg",
            Self::Update { .. } => "update-sg",
            Self::Delete { .. } => "remove-sg",
            Self::Reconcile { .. } => "reconcile-sg",
            Self::ForceRemove { .. } => "force-remove-sg",
            Self::Report { report, .. } => match report {
                RealizationReport::Realized => "report-sg-realized",
                RealizationReport::Drifted { .. } => "report-sg-drifted",
                RealizationReport::AttemptFailed(_) => "report-sg-attempt-failed",
                RealizationReport::Removed => "report-sg-removed",
            },
        }
    }
}
