//! What can be asked of load balancers, and what the gateway pool reports.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{HealthTiming, LoadBalancer, Rule, SessionAffinity};
use crate::{Generation, Id, Labels, Name, command::Reference, meta::MetaChange, realization::RealizationReport};

/// A command on a load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case")]
pub enum LoadBalancerCommand {
    /// Makes a new one.
    Create(Box<CreateLoadBalancer>),
    /// Changes what can be changed.
    Update(Box<UpdateLoadBalancer>),
    /// Has it answer something more.
    AddRule {
        /// Which.
        load_balancer: Reference,
        /// What.
        rule: Rule,
    },
    /// Has it answer something no more.
    RemoveRule {
        /// Which.
        load_balancer: Reference,
        /// What; its member port counts for nothing.
        rule: Rule,
    },
    /// Removes it: its address is free again.
    Delete {
        /// Which.
        load_balancer: Reference,
    },
    /// Looks at it again now, whatever it waits for; see [`crate::repair`].
    Reconcile {
        /// Which.
        load_balancer: Reference,
    },
    /// Forgets it, whatever is left of it in the virtual network; see [`crate::repair`].
    ForceRemove {
        /// Which.
        load_balancer: Reference,
    },
    /// From the gateway pool.
    Report {
        /// Which.
        load_balancer: Id<LoadBalancer>,
        /// The generation it acted on.
        generation: Generation,
        /// What it did or saw.
        report: RealizationReport,
    },
}

/// What a load balancer is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateLoadBalancer {
    /// Its name.
    pub name: Name,
    /// Free text.
    pub description: String,
    /// Its labels.
    pub labels: Labels,
    /// The network that it and its members are on.
    pub network: Reference,
    /// The address wished for; a free one of the network's pool if absent.
    pub vip: Option<IpAddr>,
    /// Who answers.
    pub members: Vec<MemberRequest>,
    /// What is answered.
    pub rules: Vec<Rule>,
    /// Whether a client comes to the same member each time.
    pub session_affinity: SessionAffinity,
    /// How members are found dead; not at all if absent.
    pub health_check: Option<HealthTiming>,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberRequest {
    /// An address on the load balancer's network.
    Address(IpAddr),
    /// A VM, by its address there.
    Vm(Reference),
}

/// A change of a load balancer; an absent field leaves what is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateLoadBalancer {
    /// Which.
    pub load_balancer: Reference,
    /// Description and labels.
    pub change: MetaChange,
    /// Who answers, all of them.
    pub members: Option<Vec<MemberRequest>>,
    /// Also these.
    pub add: Vec<MemberRequest>,
    /// Not these.
    pub remove: Vec<MemberRequest>,
    /// What is answered, all of it.
    pub rules: Option<Vec<Rule>>,
    /// Whether a client comes to the same member each time.
    pub session_affinity: Option<SessionAffinity>,
    /// How members are found dead, or not at all.
    pub health_check: Option<Option<HealthTiming>>,
}

impl LoadBalancerCommand {
    /// The command's name in the envelope.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create-lb",
            Self::Update(_) => "update-lb",
            Self::AddRule { .. } => "create-lbr",
            Self::RemoveRule { .. } => "remove-lbr",
            Self::Delete { .. } => "remove-lb",
            Self::Reconcile { .. } => "reconcile-lb",
            Self::ForceRemove { .. } => "force-remove-lb",
            Self::Report { report, .. } => match report {
                RealizationReport::Realized => "report-lb-realized",
                RealizationReport::Drifted { .. } => "report-lb-drifted",
                RealizationReport::AttemptFailed(_) => "report-lb-attempt-failed",
                RealizationReport::Removed => "report-lb-removed",
            },
        }
    }
}
