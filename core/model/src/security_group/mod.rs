//! A security group: what its rules let through to and from the NICs that are in it. A NIC in several has what any of
//! them lets through; what none does is dropped. Answers to what was let through come back (it is stateful).
//!
//! A NIC for which no group is named is in the group [`DEFAULT`], which is there as soon as somebody needs it.
//!
//! Its states: [`crate::realization`].

mod command;
mod decide;
mod default_group;
mod event;
mod evolve;
pub mod membership;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use command::{CreateSecurityGroup, SecurityGroupCommand};
pub use default_group::DEFAULT;
pub use event::SecurityGroupEvent;

pub(crate) use decide::{check_stays, decide};
pub(crate) use evolve::evolve;

use crate::{Id, Meta, realization::Realization};

/// A security group. Its rules are resources of their own: [`crate::security_group_rule`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Its id; what is made of it carries it.
    pub id: Id<SecurityGroup>,
    /// Name, labels, generation …
    pub meta: Meta,
    /// Where it is on its way.
    pub realization: Realization,
}
