//! Every wish: MM3 requests, workers' reports, operators' actions.

use serde::{Deserialize, Serialize};

pub use crate::{
    flavor::FlavorCommand, floating_ip::FloatingIpCommand, image::ImageCommand, keypair::KeypairCommand,
    lease::LeaseCommand, load_balancer::LoadBalancerCommand, network::NetworkCommand, node::NodeCommand,
    router::RouterCommand, security_group::SecurityGroupCommand, security_group_rule::SecurityGroupRuleCommand,
    vm::VmCommand, volume::VolumeCommand, webhook::WebhookCommand,
};

/// A command; the kind's own module documents each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "command", rename_all = "snake_case")]
pub enum Command {
    /// On a VM.
    Vm(VmCommand),
    /// On an image.
    Image(ImageCommand),
    /// On a flavor.
    Flavor(FlavorCommand),
    /// On a keypair.
    Keypair(KeypairCommand),
    /// On a node.
    Node(NodeCommand),
    /// On a volume.
    Volume(VolumeCommand),
    /// On a network.
    Network(NetworkCommand),
    /// On a security group.
    SecurityGroup(SecurityGroupCommand),
    /// On a security group rule.
    SecurityGroupRule(SecurityGroupRuleCommand),
    /// On a router.
    Router(RouterCommand),
    /// On a floating IP.
    FloatingIp(FloatingIpCommand),
    /// On load balancers.
    LoadBalancer(LoadBalancerCommand),
    /// On a webhook.
    Webhook(WebhookCommand),
    /// On a lease.
    Lease(LeaseCommand),
}

/// How a command names the resource it is about: a path segment is a name or an id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reference(pub String);

impl Reference {
    /// The reference by id, as workers use it.
    pub fn id<K>(id: crate::Id<K>) -> Self {
        Self(id.to_string())
    }
}

impl<T: Into<String>> From<T> for Reference {
    fn from(text: T) -> Self {
        Self(text.into())
    }
}

impl Command {
    /// The command's name in the envelope, as `create-vm`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Vm(command) => command.name(),
            Self::Image(command) => command.name(),
            Self::Flavor(command) => command.name(),
            Self::Keypair(command) => command.name(),
            Self::Node(command) => command.name(),
            Self::Volume(command) => command.name(),
            Self::Network(command) => command.name(),
            Self::SecurityGroup(command) => command.name(),
            Self::SecurityGroupRule(command) => command.name(),
            Self::Router(command) => command.name(),
            Self::FloatingIp(command) => command.name(),
            Self::LoadBalancer(command) => command.name(),
            Self::Webhook(command) => command.name(),
            Self::Lease(command) => command.name(),
        }
    }
}
