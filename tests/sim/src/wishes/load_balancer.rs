//! Load balancers that clients wish for.

use edgestack_model::{
    Command, Labels, World,
    command::Reference,
    floating_ip::FloatingIpCommand,
    load_balancer::{
        CreateLoadBalancer, HealthTiming, LoadBalancerCommand, MemberRequest, Rule, SessionAffinity, UpdateLoadBalancer,
    },
    meta::MetaChange,
};

use super::{network, router};
use crate::random::Random;

/// Anything about load balancers.
pub fn a_wish(random: &Random, world: &World) -> Command {
    let load_balancer = || a_name(random).as_str().into();
    match random.below(20) {
        0..6 => Command::LoadBalancer(LoadBalancerCommand::Create(Box::new(some(random, world)))),
        6..10 => Command::LoadBalancer(LoadBalancerCommand::Update(Box::new(an_update(random, world)))),
        10..12 => {
            Command::LoadBalancer(LoadBalancerCommand::AddRule { load_balancer: load_balancer(), rule: a_rule(random) })
        }
        12..14 => Command::LoadBalancer(LoadBalancerCommand::RemoveRule {
            load_balancer: load_balancer(),
            rule: a_rule(random),
        }),
        14..18 => Command::FloatingIp(FloatingIpCommand::AssociateLoadBalancer {
            floating_ip: router::one_of_the_ips(random, world),
            load_balancer: load_balancer(),
        }),
        _ => Command::LoadBalancer(LoadBalancerCommand::Delete { load_balancer: load_balancer() }),
    }
}

fn a_name(random: &Random) -> String {
    format!("balancer-{}", random.below(2))
}

/// Such as cannot be, too: on a network outside, with rules that overlap, for members that are elsewhere.
fn some(random: &Random, world: &World) -> CreateLoadBalancer {
    CreateLoadBalancer {
        name: a_name(random).parse().unwrap(),
        description: String::new(),
        labels: Labels::default(),
        network: a_network(random, world),
        vip: random.per_mille(150).then(|| format!("10.0.{}.6", random.below(4)).parse().unwrap()),
        members: (0..random.below(3)).map(|_| a_member(random, world)).collect(),
        rules: (0..random.below(3)).map(|_| a_rule(random)).collect(),
        session_affinity: if random.per_mille(300) { SessionAffinity::ClientIp } else { SessionAffinity::None },
        health_check: random.per_mille(400).then(HealthTiming::default),
    }
}

fn an_update(random: &Random, world: &World) -> UpdateLoadBalancer {
    let some = |rate| random.per_mille(rate);
    UpdateLoadBalancer {
        load_balancer: a_name(random).as_str().into(),
        change: MetaChange::default(),
        members: some(150).then(|| (0..random.below(3)).map(|_| a_member(random, world)).collect()),
        add: some(400).then(|| a_member(random, world)).into_iter().collect(),
        remove: some(200).then(|| a_member(random, world)).into_iter().collect(),
        rules: some(150).then(|| vec![a_rule(random)]),
        session_affinity: some(200).then_some(SessionAffinity::ClientIp),
        health_check: some(300).then(|| some(500).then(HealthTiming::default)),
    }
}

/// Mostly one that VMs are on.
fn a_network(random: &Random, world: &World) -> Reference {
    let used: Vec<_> = world.vms.values().flat_map(|vm| &vm.nics).map(|nic| nic.spec.network).collect();
    if used.is_empty() || random.per_mille(200) {
        return network::a_name(random).as_str().into();
    }
    Reference::id(*random.one_of(&used))
}

fn a_member(random: &Random, world: &World) -> MemberRequest {
    let addresses: Vec<_> = world.vms.values().flat_map(|vm| &vm.nics).flat_map(|nic| &nic.spec.addresses).collect();
    if addresses.is_empty() || random.per_mille(400) {
        return MemberRequest::Vm(format!("vm-{}", random.below(6)).as_str().into());
    }
    MemberRequest::Address(**random.one_of(&addresses))
}

fn a_rule(random: &Random) -> Rule {
    random.one_of(&["tcp-80", "tcp-443", "tcp-79-81", "udp-53", "icmp"]).parse().unwrap()
}
