//! A security group rule: traffic that a group lets through to or from its NICs. What no rule lets through is dropped.
//!
//! A rule never changes: another one takes its place. It goes with its group. Its states: [`crate::realization`].

mod command;
mod decide;
mod event;
mod evolve;
#[cfg(test)]
mod tests;
mod traffic;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use command::{CreateRule, RemoteRequest, RuleRequest, SecurityGroupRuleCommand};
pub use event::SecurityGroupRuleEvent;
pub use traffic::{Direction, EtherType, Ports, PortsError, Protocol, Remote};

pub(crate) use decide::{NewRules, decide, fact, wish};
pub(crate) use evolve::evolve;

use crate::{Id, Meta, realization::Realization, security_group::SecurityGroup};

/// So many rules a group may have: with all of them written in one commit it stays far below the log's 256 KiB.
pub const RULES_MAX: usize = 200;

/// A security group rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroupRule {
    /// Its id; what is made of it carries it.
    pub id: Id<SecurityGroupRule>,
    /// Name, labels, generation …
    pub meta: Meta,
    /// What it is.
    pub spec: RuleSpec,
    /// Where it is on its way.
    pub realization: Realization,
}

/// What a rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuleSpec {
    /// Whose it is.
    pub group: Id<SecurityGroup>,
    /// In which direction.
    pub direction: Direction,
    /// Of which family.
    pub ether_type: EtherType,
    /// Of which protocol.
    pub protocol: Protocol,
    /// From where, or to where.
    pub remote: Remote,
}
