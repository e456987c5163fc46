//! The objects that this pool makes real, of whichever kind: NICs left out, which are a VM's.

use edgestack_engine::Change as Changed;
use edgestack_model::{
    Command, Generation, Id, Kind, Meta, World,
    floating_ip::{Association, FloatingIpCommand, FloatingIpSpec},
    load_balancer::{LoadBalancer, LoadBalancerCommand, LoadBalancerSpec},
    network::{NetworkCommand, NetworkSpec},
    node::NetworkFacts,
    realization::{Realization, RealizationReport, RealizationState},
    router::{RouterCommand, RouterSpec},
    security_group::SecurityGroupCommand,
    security_group_rule::{RuleSpec, SecurityGroupRuleCommand},
    world::Resource,
};
use uuid::Uuid;

use crate::rows::Owner;

/// One of them.
pub(crate) struct Object {
    /// Whose its rows are.
    pub owner: Owner,
    /// Name, generation …
    pub meta: Meta,
    /// Where it is on its way.
    pub realization: Realization,
    id: Uuid,
    report: fn(Uuid, Generation, RealizationReport) -> Command,
}

impl Object {
    /// What this pool has to say of it.
    pub fn told(&self, report: RealizationReport) -> (Meta, Command) {
        (self.meta.clone(), (self.report)(self.id, self.meta.generation, report))
    }
}

/// All of them. What goes with another object is told with that one.
pub(crate) fn objects(world: &World) -> impl Iterator<Item = Object> {
    // One that goes is this pool's turn once nothing is on it any more; until then it is kept as it is.
    let networks = world.networks.values().filter(|network| !network.is_held(world)).map(|network| Object {
        owner: Owner::Network(network.id),
        meta: network.meta.clone(),
        realization: network.realization.clone(),
        id: network.id.uuid(),
        report: |id, generation, report| {
            Command::Network(NetworkCommand::Report { network: Id::new(id), generation, report })
        },
    });
    let groups = world.security_groups.values().map(|group| Object {
        owner: Owner::SecurityGroup(group.id),
        meta: group.meta.clone(),
        realization: group.realization.clone(),
        id: group.id.uuid(),
        report: |id, generation, report| {
            Command::SecurityGroup(SecurityGroupCommand::Report { group: Id::new(id), generation, report })
        },
    });
    let stays = |group| {
        let group = world.security_groups.get(group);
        group.is_some_and(|group| group.realization.state != RealizationState::Deleting)
    };
    let rules = world.security_group_rules.values().filter(move |rule| stays(&rule.spec.group));
    let rules = rules.map(|rule| Object {
        owner: Owner::SecurityGroupRule(rule.id),
        meta: rule.meta.clone(),
        realization: rule.realization.clone(),
        id: rule.id.uuid(),
        report: |id, generation, report| {
            Command::SecurityGroupRule(SecurityGroupRuleCommand::Report { rule: Id::new(id), generation, report })
        },
    });
    let routers = world.routers.values().map(|router| Object {
        owner: Owner::Router(router.id),
        meta: router.meta.clone(),
        realization: router.realization.clone(),
        id: router.id.uuid(),
        report: |id, generation, report| {
            Command::Router(RouterCommand::Report { router: Id::new(id), generation, report })
        },
    });
    let ips = world.floating_ips.values().map(|ip| Object {
        owner: Owner::FloatingIp(ip.id),
        meta: ip.meta.clone(),
        realization: ip.realization.clone(),
        id: ip.id.uuid(),
        report: |id, generation, report| {
            Command::FloatingIp(FloatingIpCommand::Report { floating_ip: Id::new(id), generation, report })
        },
    });
    let balancers = world.load_balancers.values().map(|balancer| Object {
        owner: Owner::LoadBalancer(balancer.id),
        meta: balancer.meta.clone(),
        realization: balancer.realization.clone(),
        id: balancer.id.uuid(),
        report: |id, generation, report| {
            Command::LoadBalancer(LoadBalancerCommand::Report { load_balancer: Id::new(id), generation, report })
        },
    });
    networks.chain(groups).chain(rules).chain(routers).chain(ips).chain(balancers)
}

/// A node's way into the virtual network, if it is one that is there.
fn way_of(resource: Option<&Resource>) -> Option<Option<&NetworkFacts>> {
    match resource {
        Some(Resource::Node(node)) => Some(node.facts.network.as_ref()),
        Some(_) | None => None,
    }
}

/// What of an object the pool works by.
#[derive(PartialEq)]
enum Wish<'r> {
    Network(&'r NetworkSpec),
    SecurityGroup,
    SecurityGroupRule(&'r RuleSpec),
    Router(&'r RouterSpec),
    FloatingIp(&'r FloatingIpSpec, Option<&'r Association>, Option<Id<LoadBalancer>>),
    LoadBalancer(&'r LoadBalancerSpec),
}

fn wish(resource: &Resource) -> Option<(Wish<'_>, &Realization)> {
    match resource {
        Resource::Network(network) => Some((Wish::Network(&network.spec), &network.realization)),
        Resource::SecurityGroup(group) => Some((Wish::SecurityGroup, &group.realization)),
        Resource::SecurityGroupRule(rule) => Some((Wish::SecurityGroupRule(&rule.spec), &rule.realization)),
        Resource::Router(router) => Some((Wish::Router(&router.spec), &router.realization)),
        Resource::FloatingIp(ip) => {
            Some((Wish::FloatingIp(&ip.spec, ip.association.as_ref(), ip.load_balancer), &ip.realization))
        }
        Resource::LoadBalancer(balancer) => Some((Wish::LoadBalancer(&balancer.spec), &balancer.realization)),
        Resource::Vm(_)
        | Resource::Image(_)
        | Resource::Flavor(_)
        | Resource::Keypair(_)
        | Resource::Node(_)
        | Resource::Volume(_)
        | Resource::Webhook(_)
        | Resource::Lease(_) => None,
    }
}

/// Whether the virtual network is to be looked at for what happened to an object.
pub(crate) fn concerns(change: &Changed) -> bool {
    let (before, after) = (change.before.as_ref(), change.after.as_ref());
    // Where routers' traffic may go outside.
    if change.kind == Kind::Node && way_of(before) != way_of(after) {
        return true;
    }
    let wishes = [before, after].map(|resource| resource.and_then(wish));
    let [wished_before, wished_after] = &wishes;
    let work = |wished: &Option<(Wish<'_>, &Realization)>| wished.as_ref().map(|(_, realization)| realization.state);
    let fails = |wished: &Option<(Wish<'_>, &Realization)>| {
        wished.as_ref().is_some_and(|(_, realization)| realization.failure.is_some())
    };
    let same_wish = wished_before.as_ref().map(|(wish, _)| wish) == wished_after.as_ref().map(|(wish, _)| wish);
    // A failure is what this pool reported itself, and has its pause; one that is forgotten ends the pause.
    !same_wish
        || work(wished_before) != work(wished_after)
        || (fails(wished_before) && !fails(wished_after))
        || asked_again(before, after)
}

/// Whether somebody asked for another look at an object that has no failure to forget. Nothing shows it but who touched it
/// last: other words are a new generation, and all that this pool reports changes the realization.
fn asked_again(before: Option<&Resource>, after: Option<&Resource>) -> bool {
    let (Some(before), Some(after)) = (before, after) else { return false };
    let (Some((_, realization_before)), Some((_, realization_after))) = (wish(before), wish(after)) else {
        return false;
    };
    before.meta().revision != after.meta().revision
        && before.meta().generation == after.meta().generation
        && realization_before == realization_after
}
