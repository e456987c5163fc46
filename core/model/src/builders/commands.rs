//! Each kind's commands, and requests that are one, as commands: so that a test names what it asks for alone.

use crate::{
    Command,
    flavor::FlavorCommand,
    floating_ip::{CreateFloatingIp, FloatingIpCommand},
    image::ImageCommand,
    keypair::KeypairCommand,
    lease::LeaseCommand,
    load_balancer::{CreateLoadBalancer, LoadBalancerCommand, UpdateLoadBalancer},
    network::{CreateNetwork, NetworkCommand, UpdateNetwork},
    node::NodeCommand,
    router::{CreateRouter, RouterCommand, UpdateRouter},
    security_group::{CreateSecurityGroup, SecurityGroupCommand},
    security_group_rule::{CreateRule, SecurityGroupRuleCommand},
    vm::{CreateVm, VmCommand},
    volume::VolumeCommand,
    webhook::{CreateWebhook, UpdateWebhook, WebhookCommand},
};

impl From<VmCommand> for Command {
    fn from(command: VmCommand) -> Self {
        Self::Vm(command)
    }
}

impl From<ImageCommand> for Command {
    fn from(command: ImageCommand) -> Self {
        Self::Image(command)
    }
}

impl From<FlavorCommand> for Command {
    fn from(command: FlavorCommand) -> Self {
        Self::Flavor(command)
    }
}

impl From<KeypairCommand> for Command {
    fn from(command: KeypairCommand) -> Self {
        Self::Keypair(command)
    }
}

impl From<NodeCommand> for Command {
    fn from(command: NodeCommand) -> Self {
        Self::Node(command)
    }
}

impl From<VolumeCommand> for Command {
    fn from(command: VolumeCommand) -> Self {
        Self::Volume(command)
    }
}

impl From<NetworkCommand> for Command {
    fn from(command: NetworkCommand) -> Self {
        Self::Network(command)
    }
}

impl From<CreateNetwork> for Command {
    fn from(create: CreateNetwork) -> Self {
        Self::Network(NetworkCommand::Create(Box::new(create)))
    }
}

impl From<UpdateNetwork> for Command {
    fn from(update: UpdateNetwork) -> Self {
        Self::Network(NetworkCommand::Update(Box::new(update)))
    }
}

impl From<SecurityGroupCommand> for Command {
    fn from(command: SecurityGroupCommand) -> Self {
        Self::SecurityGroup(command)
    }
}

impl From<CreateSecurityGroup> for Command {
    fn from(create: CreateSecurityGroup) -> Self {
        Self::SecurityGroup(SecurityGroupCommand::Create(Box::new(create)))
    }
}

impl From<SecurityGroupRuleCommand> for Command {
    fn from(command: SecurityGroupRuleCommand) -> Self {
        Self::SecurityGroupRule(command)
    }
}

impl From<CreateRule> for Command {
    fn from(create: CreateRule) -> Self {
        Self::SecurityGroupRule(SecurityGroupRuleCommand::Create(Box::new(create)))
    }
}

impl From<RouterCommand> for Command {
    fn from(command: RouterCommand) -> Self {
        Self::Router(command)
    }
}

impl From<CreateRouter> for Command {
    fn from(create: CreateRouter) -> Self {
        Self::Router(RouterCommand::Create(Box::new(create)))
    }
}

impl From<UpdateRouter> for Command {
    fn from(update: UpdateRouter) -> Self {
        Self::Router(RouterCommand::Update(Box::new(update)))
    }
}

impl From<FloatingIpCommand> for Command {
    fn from(command: FloatingIpCommand) -> Self {
        Self::FloatingIp(command)
    }
}

impl From<CreateFloatingIp> for Command {
    fn from(create: CreateFloatingIp) -> Self {
        Self::FloatingIp(FloatingIpCommand::Create(Box::new(create)))
    }
}

impl From<LoadBalancerCommand> for Command {
    fn from(command: LoadBalancerCommand) -> Self {
        Self::LoadBalancer(command)
    }
}

impl From<CreateLoadBalancer> for Command {
    fn from(create: CreateLoadBalancer) -> Self {
        Self::LoadBalancer(LoadBalancerCommand::Create(Box::new(create)))
    }
}

impl From<UpdateLoadBalancer> for Command {
    fn from(update: UpdateLoadBalancer) -> Self {
        Self::LoadBalancer(LoadBalancerCommand::Update(Box::new(update)))
    }
}

impl From<WebhookCommand> for Command {
    fn from(command: WebhookCommand) -> Self {
        Self::Webhook(command)
    }
}

impl From<LeaseCommand> for Command {
    fn from(command: LeaseCommand) -> Self {
        Self::Lease(command)
    }
}

impl From<CreateWebhook> for Command {
    fn from(create: CreateWebhook) -> Self {
        Self::Webhook(WebhookCommand::Create(Box::new(create)))
    }
}

impl From<UpdateWebhook> for Command {
    fn from(update: UpdateWebhook) -> Self {
        Self::Webhook(WebhookCommand::Update(Box::new(update)))
    }
}

impl From<CreateVm> for Command {
    fn from(create: CreateVm) -> Self {
        Self::Vm(VmCommand::Create(Box::new(create)))
    }
}
