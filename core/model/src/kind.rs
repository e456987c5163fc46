//! The kinds of resources. Adding one here makes the compiler lead you on:
//! matches over `Kind`, `Command` and `Event` have no `_` arm.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a resource is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A virtual machine.
    Vm,
    /// A disk image that VMs are made from.
    Image,
    /// A size of VMs.
    Flavor,
    /// An SSH public key.
    Keypair,
    /// A host that runs VMs.
    Node,
    /// A disk; today the root disk of a VM.
    Volume,
    /// An address outside to which events are delivered.
    Webhook,
    /// Who does a piece of work that only one process of the site may do.
    Lease,
    /// A layer-2 segment with its addresses, on which VMs have NICs.
    Network,
    /// What may reach NICs and be reached by them.
    SecurityGroup,
    /// Traffic that a security group lets through.
    SecurityGroupRule,
    /// What joins networks, and leads to one outside.
    Router,
    /// An address outside that leads to a VM or a load balancer.
    FloatingIp,
    /// An address on a network, behind which members answer.
    LoadBalancer,
}

impl Kind {
    /// All kinds, in the order in which a site is rebuilt.
    pub const ALL: [Self; 14] = [
        Self::Node,
        Self::Flavor,
        Self::Keypair,
        Self::Image,
        Self::Network,
        Self::Router,
        Self::SecurityGroup,
        Self::SecurityGroupRule,
        Self::Volume,
        Self::Vm,
        Self::LoadBalancer,
        Self::FloatingIp,
        Self::Webhook,
        Self::Lease,
    ];

    /// The singular word, as in subjects, events and file names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vm => "vm",
            Self::Image => "image",
            Self::Flavor => "flavor",
            Self::Keypair => "keypair",
            Self::Node => "node",
            Self::Volume => "volume",
            Self::Webhook => "webhook",
            Self::Lease => "lease",
            Self::Network => "network",
            Self::SecurityGroup => "security_group",
            Self::SecurityGroupRule => "security_group_rule",
            Self::Router => "router",
            Self::FloatingIp => "floating_ip",
            Self::LoadBalancer => "load_balancer",
        }
    }

    /// The plural, as in MM3 paths.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Vm => "vms",
            Self::Image => "images",
            Self::Flavor => "flavors",
            Self::Keypair => "keypairs",
            Self::Node => "nodes",
            Self::Volume => "volumes",
            Self::Webhook => "webhooks",
            Self::Lease => "leases",
            Self::Network => "networks",
            Self::SecurityGroup => "security_groups",
            Self::SecurityGroupRule => "security_group_rules",
            Self::Router => "routers",
            Self::FloatingIp => "floating_ips",
            Self::LoadBalancer => "lbs",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

/// The text names no kind that this version knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind {0:?}")]
pub struct UnknownKind(pub String);
