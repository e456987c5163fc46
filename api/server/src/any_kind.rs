//! What is said of an object whichever kind it is of.

use edgestack_model::world::Resource;
use edgestack_views::ViewError;
use edgestack_wire::{
    flavor::Flavor, floating_ip::FloatingIp, image::Image, keypair::Keypair, lease::Lease, load_balancer::LoadBalancer,
    network::Network, node::Node, router::Router, security_group::SecurityGroup,
    security_group_rule::SecurityGroupRule, vm::Vm, volume::Volume, webhook::Webhook,
};
use serde_json::Value;

use crate::{
    problem::Failure,
    shown::{Shown, Surroundings},
};

/// The object as the API shows it.
pub(crate) fn show(resource: &Resource, around: &mut Surroundings<'_>) -> Result<Option<Value>, Failure> {
    match resource {
        Resource::Vm(_) => json(Vm::show(resource, around)),
        Resource::Image(_) => json(Image::show(resource, around)),
        Resource::Flavor(_) => json(Flavor::show(resource, around)),
        Resource::Keypair(_) => json(Keypair::show(resource, around)),
        Resource::Node(_) => json(Node::show(resource, around)),
        Resource::Volume(_) => json(Volume::show(resource, around)),
        Resource::Network(_) => json(Network::show(resource, around)),
        Resource::SecurityGroup(_) => json(SecurityGroup::show(resource, around)),
        Resource::SecurityGroupRule(_) => json(SecurityGroupRule::show(resource, around)),
        Resource::Router(_) => json(Router::show(resource, around)),
        Resource::FloatingIp(_) => json(FloatingIp::show(resource, around)),
        Resource::LoadBalancer(_) => json(LoadBalancer::show(resource, around)),
        Resource::Webhook(_) => json(Webhook::show(resource, around)),
        Resource::Lease(_) => json(Lease::show(resource, around)),
    }
}

fn json<T: Shown>(shown: Result<Option<T>, ViewError>) -> Result<Option<Value>, Failure> {
    let value = shown?.map(serde_json::to_value).transpose();
    value.map_err(|error| Failure::internal(format!("an object can't be written as JSON: {error}")))
}
