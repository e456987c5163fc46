//! What happens to security group rules.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::RuleSpec;
use crate::{Labels, Name, meta::MetaChange, waiting::Failure};

/// An event of a security group rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, strum::IntoStaticStr, JsonSchema)]
#[serde(tag = "type", content = "data")]
pub enum SecurityGroupRuleEvent {
    /// It is asked for.
    SecurityGroupRuleCreated {
        /// Free text.
        description: String,
        /// Its labels.
        labels: Labels,
        /// What it is.
        spec: RuleSpec,
        /// Its group's name, for people.
        group_name: Name,
        /// The name of the group that it is about, if it is about one, for people.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        remote_group_name: Option<Name>,
    },
    /// Its description or labels are others.
    SecurityGroupRuleUpdated {
        /// Description and labels.
        change: MetaChange,
    },
    /// The nodes work by it.
    SecurityGroupRuleBecameReady {},
    /// Others changed or removed something of it; it is mended.
    SecurityGroupRuleDrifted {
        /// What, one a row.
        what: Vec<String>,
    },
    /// An attempt failed and will be repeated.
    SecurityGroupRuleAttemptFailed {
        /// What, why, when again.
        failure: Failure,
    },
    /// It shall go.
    SecurityGroupRuleDeleteRequested {},
    /// It is gone.
    SecurityGroupRuleDeleted {},
    /// It is to be looked at now, whatever it waited for.
    SecurityGroupRuleReconcileRequested {},
    /// It is forgotten, whatever is left of it in the virtual network.
    SecurityGroupRuleForceRemoved {},
}
