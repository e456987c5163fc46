//! A load balancer: one address on a network (the VIP), behind which members of that network answer.
//!
//! A member is an address. While a VM has it, the member is that VM, and goes with it; an address that no VM has is taken
//! as it is.
//!
//! Its states: [`crate::realization`].

mod check;
mod command;
mod decide;
mod event;
mod evolve;
mod rule;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, net::IpAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use check::{MEMBERS_MAX, PORTS_MAX, limits, member_nic};
pub use command::{CreateLoadBalancer, LoadBalancerCommand, MemberRequest, UpdateLoadBalancer};
pub use event::LoadBalancerEvent;
pub use rule::{PortRange, Protocol, Rule, RuleError};

pub(crate) use check::{check_stays, freed_with};
pub(crate) use decide::{decide, on_network, removed_with_network};
pub(crate) use evolve::evolve;

use crate::{
    Id, Meta,
    address::{Ip, Mac},
    network::Network,
    realization::Realization,
};

/// A load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// Its id; what is made of it carries it.
    pub id: Id<LoadBalancer>,
    /// Name, labels, generation …
    pub meta: Meta,
    /// What it is to be.
    pub spec: LoadBalancerSpec,
    /// Where it is on its way.
    pub realization: Realization,
}

/// What a load balancer is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LoadBalancerSpec {
    /// The network that it and its members are on.
    pub network: Id<Network>,
    /// Its address there.
    #[schemars(with = "Ip")]
    pub vip: IpAddr,
    /// Who answers.
    #[schemars(with = "BTreeSet<Ip>")]
    pub members: BTreeSet<IpAddr>,
    /// What is answered.
    pub rules: BTreeSet<Rule>,
    /// Whether a client comes to the same member each time.
    pub session_affinity: SessionAffinity,
    /// How members are found dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

/// Whether a client comes to the same member each time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionAffinity {
    /// Each connection comes to a member by its addresses and ports.
    #[default]
    None,
    /// All connections of a client come to one member, by the client's address.
    ClientIp,
}

impl SessionAffinity {
    /// As users see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientIp => "client_ip",
        }
    }
}

/// How members are found dead, and alive again: by connecting to them (TCP), or by what they say to a packet (UDP).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthCheck {
    /// How often each is asked.
    pub timing: HealthTiming,
    /// The address on the network that asks.
    #[schemars(with = "Ip")]
    pub source: IpAddr,
}

/// How often members are asked, and what is taken for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthTiming {
    /// Seconds from one question to the next.
    pub interval_seconds: u16,
    /// Seconds until a question counts as not answered.
    pub timeout_seconds: u16,
    /// So many failures in a row take a member out.
    pub failures: u16,
    /// So many answers in a row take it back in.
    pub successes: u16,
}

impl Default for HealthTiming {
    fn default() -> Self {
        Self { interval_seconds: 5, timeout_seconds: 3, failures: 3, successes: 2 }
    }
}

/// The MAC address under which a VIP is found: the same whichever load balancer has it, as others on the network remember it
/// for a while, and nobody tells them.
pub fn vip_mac(vip: IpAddr) -> Mac {
    Mac::of_address(vip)
}
