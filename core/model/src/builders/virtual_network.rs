//! Requests on the virtual network's kinds.

use super::{a_nic, name};
use crate::{
    Labels,
    floating_ip::CreateFloatingIp,
    load_balancer::{CreateLoadBalancer, MemberRequest, SessionAffinity, UpdateLoadBalancer},
    meta::MetaChange,
    network::{CreateNetwork, NetworkType, SubnetRequest, UpdateNetwork},
    router::{CreateRouter, ExternalRequest, UpdateRouter},
    security_group::CreateSecurityGroup,
    security_group_rule::{CreateRule, Direction, EtherType, Protocol, RemoteRequest, RuleRequest},
    vm::NicRequest,
};

/// A GENEVE network of this prefix.
pub(crate) fn a_network(network: &str, cidr: &str) -> CreateNetwork {
    CreateNetwork {
        name: name(network),
        description: String::new(),
        labels: Labels::default(),
        network_type: NetworkType::Geneve,
        segment_id: None,
        physical_network: None,
        mtu: None,
        subnets: vec![a_subnet(cidr)],
        dns_servers: vec![],
        host_routes: vec![],
        dhcp: true,
        port_security: true,
    }
}

pub(crate) fn a_subnet(cidr: &str) -> SubnetRequest {
    SubnetRequest { cidr: cidr.parse().unwrap(), gateway_ip: None, pools: vec![], ipv6_mode: None }
}

/// A security group with the rules that one has from the first.
pub(crate) fn a_group(group: &str) -> CreateSecurityGroup {
    CreateSecurityGroup { name: name(group), description: String::new(), labels: Labels::default(), rules: None }
}

/// What lets all IPv4 traffic to NICs through.
pub(crate) fn a_rule() -> RuleRequest {
    RuleRequest {
        name: None,
        description: String::new(),
        labels: Labels::default(),
        direction: Direction::Ingress,
        ether_type: EtherType::Ipv4,
        protocol: Protocol::Any,
        remote: RemoteRequest::Any,
    }
}

/// The same as a rule of a group that is there.
pub(crate) fn a_rule_of(group: &str, rule: RuleRequest) -> CreateRule {
    CreateRule { group: group.into(), rule }
}

/// A NIC in these groups.
pub(crate) fn a_nic_in(network: &str, groups: &[&str]) -> NicRequest {
    NicRequest { security_groups: Some(groups.iter().map(|group| (*group).into()).collect()), ..a_nic(network) }
}

/// A network outside.
pub(crate) fn an_outside(network: &str, cidr: &str) -> CreateNetwork {
    let physical_network = Some(name("outside"));
    CreateNetwork { network_type: NetworkType::Flat, physical_network, ..a_network(network, cidr) }
}

/// A router with SNAT, alone.
pub(crate) fn a_router(router: &str) -> CreateRouter {
    CreateRouter {
        name: name(router),
        description: String::new(),
        labels: Labels::default(),
        enable_snat: true,
        internal: vec![],
        external: None,
        peer: None,
        routes: vec![],
    }
}

/// The same on these networks, and on one outside.
pub(crate) fn a_router_with(router: &str, internal: &[&str], external: Option<&str>) -> CreateRouter {
    let external = external.map(|network| ExternalRequest { network: network.into(), fixed_ip: None });
    CreateRouter { internal: internal.iter().map(|one| (*one).into()).collect(), external, ..a_router(router) }
}

/// An update of a router that changes nothing.
pub(crate) fn an_update(router: &str) -> UpdateRouter {
    UpdateRouter {
        router: router.into(),
        change: MetaChange::default(),
        enable_snat: None,
        internal: None,
        attach: vec![],
        detach: vec![],
        external: None,
        peer: None,
        routes: None,
    }
}

/// Any address of the only router with a way outside.
pub(crate) fn a_floating_ip() -> CreateFloatingIp {
    CreateFloatingIp {
        name: None,
        description: String::new(),
        labels: Labels::default(),
        router: None,
        address: None,
        to: None,
        load_balancer: None,
    }
}

/// A load balancer on a network, for TCP port 80, with these members: addresses or VMs.
pub(crate) fn a_balancer(name_of: &str, network: &str, members: &[&str]) -> CreateLoadBalancer {
    CreateLoadBalancer {
        name: name(name_of),
        description: String::new(),
        labels: Labels::default(),
        network: network.into(),
        vip: None,
        members: members.iter().map(|member| a_member(member)).collect(),
        rules: vec!["tcp-80".parse().unwrap()],
        session_affinity: SessionAffinity::None,
        health_check: None,
    }
}

/// An address, or a VM by name.
pub(crate) fn a_member(text: &str) -> MemberRequest {
    text.parse().map_or_else(|_| MemberRequest::Vm(text.into()), MemberRequest::Address)
}

/// An update of a load balancer that changes nothing.
pub(crate) fn a_balancer_update(balancer: &str) -> UpdateLoadBalancer {
    UpdateLoadBalancer {
        load_balancer: balancer.into(),
        change: MetaChange::default(),
        members: None,
        add: vec![],
        remove: vec![],
        rules: None,
        session_affinity: None,
        health_check: None,
    }
}

/// An update of a network that changes nothing.
pub(crate) fn a_network_update(network: &str) -> UpdateNetwork {
    UpdateNetwork {
        network: network.into(),
        change: MetaChange::default(),
        mtu: None,
        dns_servers: None,
        host_routes: None,
        dhcp: None,
        pools: None,
        port_security: None,
    }
}
