//! The events of the virtual network's kinds.

use super::*;
use edgestack_model::{
    address::IpRange,
    event::{
        FloatingIpEvent, LoadBalancerEvent, NetworkEvent, RouterEvent, SecurityGroupEvent, SecurityGroupRuleEvent,
    },
    floating_ip::{Association, FloatingIpSpec},
    load_balancer::{HealthCheck, HealthTiming, LoadBalancerSpec, SessionAffinity},
    network::{HostRoute, Ipv6Mode, NetworkSpec, NetworkType, Subnet},
    router::{External, PeerRouter, Route, RouterSpec},
    security_group_rule::{Direction, EtherType, Ports, Protocol, Remote, RuleSpec},
};
use std::net::IpAddr;

pub(super) fn networks() -> Vec<(&'static str, Fact)> {
    let address = |text: &str| text.parse().unwrap();
    let range = |start, end| IpRange::new(address(start), address(end)).unwrap();
    let subnet = |cidr: &str, gateway_ip, pool, ipv6_mode| Subnet {
        cidr: cidr.parse().unwrap(),
        gateway_ip: Some(address(gateway_ip)),
        pools: vec![pool],
        ipv6_mode,
    };
    let v4 = subnet("10.0.0.0/24", "10.0.0.1", range("10.0.0.1", "10.0.0.254"), None);
    let v6 = |mode| subnet("fd00::/64", "fd00::1", range("fd00::2", "fd00::ff"), Some(mode));
    let route = HostRoute { destination: "10.9.0.0/16".parse().unwrap(), next_hop: address("10.0.0.254") };
    let full = NetworkSpec {
        network_type: NetworkType::Vlan,
        segment_id: Some(7),
        physical_network: Some(name("physnet1")),
        mtu: 1400,
        subnets: vec![v4.clone(), v6(Ipv6Mode::Slaac)],
        dns_servers: vec![address("192.0.2.53")],
        host_routes: vec![route],
        dhcp: true,
        port_security: true,
    };
    let plain = |network_type, segment_id| NetworkSpec {
        network_type,
        segment_id,
        physical_network: None,
        subnets: vec![v4.clone()],
        dns_servers: vec![],
        host_routes: vec![],
        ..full.clone()
    };
    let stateful = NetworkSpec { subnets: vec![v6(Ipv6Mode::Dhcpv6Stateful)], ..plain(NetworkType::Geneve, Some(3)) };
    let created = |spec| NetworkEvent::NetworkCreated { description: "the blue one".into(), labels: labels(), spec };
    let events = [
        ("", created(full.clone())),
        ("vxlan", created(plain(NetworkType::Vxlan, Some(1)))),
        ("gre", created(plain(NetworkType::Gre, Some(2)))),
        ("geneve-stateful", created(stateful)),
        ("unsecured", created(NetworkSpec { port_security: false, ..plain(NetworkType::Geneve, Some(4)) })),
        ("flat", created(plain(NetworkType::Flat, None))),
        (
            "",
            NetworkEvent::NetworkUpdated {
                change: change(),
                mtu: Some(1300),
                dns_servers: Some(vec![]),
                host_routes: Some(vec![route]),
                dhcp: Some(false),
                pools: Some(vec![range("10.0.0.10", "10.0.0.19")]),
                port_security: None,
            },
        ),
        (
            "unsecured",
            NetworkEvent::NetworkUpdated {
                change: MetaChange::default(),
                mtu: None,
                dns_servers: None,
                host_routes: None,
                dhcp: None,
                pools: None,
                port_security: Some(false),
            },
        ),
        ("", NetworkEvent::NetworkBecameReady {}),
        ("", NetworkEvent::NetworkDrifted { what: vec!["its switch is gone".into()] }),
        ("", NetworkEvent::NetworkAttemptFailed { failure: failure() }),
        ("", NetworkEvent::NetworkDeleteRequested {}),
        ("", NetworkEvent::NetworkDeleted {}),
        ("", NetworkEvent::NetworkReconcileRequested {}),
        ("", NetworkEvent::NetworkForceRemoved {}),
    ];
    events.map(|(case, event)| (case, Fact::Network(event))).into()
}

pub(super) fn security_groups() -> Vec<(&'static str, Fact)> {
    let events = [
        SecurityGroupEvent::SecurityGroupCreated { description: "for the web".into(), labels: labels() },
        SecurityGroupEvent::SecurityGroupUpdated { change: change() },
        SecurityGroupEvent::SecurityGroupBecameReady {},
        SecurityGroupEvent::SecurityGroupDrifted { what: vec!["its port group is gone".into()] },
        SecurityGroupEvent::SecurityGroupAttemptFailed { failure: failure() },
        SecurityGroupEvent::SecurityGroupDeleteRequested {},
        SecurityGroupEvent::SecurityGroupDeleted {},
        SecurityGroupEvent::SecurityGroupReconcileRequested {},
        SecurityGroupEvent::SecurityGroupForceRemoved {},
    ];
    events.map(|event| ("", Fact::SecurityGroup(event))).into()
}

pub(super) fn security_group_rules() -> Vec<(&'static str, Fact)> {
    let created = |direction, ether_type, protocol, remote| SecurityGroupRuleEvent::SecurityGroupRuleCreated {
        description: "the web's".into(),
        labels: labels(),
        spec: RuleSpec { group: Id::new(id(8)), direction, ether_type, protocol, remote },
        group_name: name("web"),
        remote_group_name: matches!(remote, Remote::Group { .. }).then(|| name("db")),
    };
    let ports = |min, max| Some(Ports::new(min, max).unwrap());
    let (prefix, prefix_6) = ("192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap());
    let (ingress, egress) = (Direction::Ingress, Direction::Egress);
    let (v4, v6) = (EtherType::Ipv4, EtherType::Ipv6);
    let icmp = |icmp_type, icmp_code| Protocol::Icmp { icmp_type, icmp_code };
    let events = [
        ("", created(ingress, v4, Protocol::Tcp { ports: ports(8000, 8100) }, Remote::Group { group: Id::new(id(9)) })),
        ("any", created(egress, v6, Protocol::Any, Remote::Any)),
        ("icmp", created(ingress, v4, icmp(Some(3), Some(4)), Remote::Prefix { prefix })),
        ("icmp-all", created(ingress, v6, icmp(None, None), Remote::Prefix { prefix: prefix_6 })),
        ("udp", created(ingress, v4, Protocol::Udp { ports: None }, Remote::Any)),
        ("sctp", created(ingress, v4, Protocol::Sctp { ports: ports(9, 9) }, Remote::Any)),
        ("number", created(ingress, v4, Protocol::Number { number: 47 }, Remote::Any)),
        ("", SecurityGroupRuleEvent::SecurityGroupRuleUpdated { change: change() }),
        ("", SecurityGroupRuleEvent::SecurityGroupRuleBecameReady {}),
        ("", SecurityGroupRuleEvent::SecurityGroupRuleDrifted { what: vec!["its ACL is gone".into()] }),
        ("", SecurityGroupRuleEvent::SecurityGroupRuleAttemptFailed { failure: failure() }),
        ("", SecurityGroupRuleEvent::SecurityGroupRuleDeleteRequested {}),
        ("", SecurityGroupRuleEvent::SecurityGroupRuleDeleted {}),
        ("", SecurityGroupRuleEvent::SecurityGroupRuleReconcileRequested {}),
        ("", SecurityGroupRuleEvent::SecurityGroupRuleForceRemoved {}),
    ];
    events.map(|(case, event)| (case, Fact::SecurityGroupRule(event))).into()
}

pub(super) fn routers() -> Vec<(&'static str, Fact)> {
    let address = |text: &str| text.parse().unwrap();
    let full = RouterSpec {
        enable_snat: true,
        internal: [Id::new(id(7)), Id::new(id(8))].into(),
        external: Some(External { network: Id::new(id(9)), addresses: vec![address("192.0.2.5")] }),
        peer: Some(PeerRouter { ip_address: address("192.0.2.1"), mac_address: "02:00:00:00:00:01".parse().unwrap() }),
        routes: vec![Route { destination: "10.9.0.0/16".parse().unwrap(), next_hop: address("10.0.0.254") }],
    };
    let alone = RouterSpec { enable_snat: false, internal: [].into(), external: None, peer: None, routes: vec![] };
    let created = |spec| RouterEvent::RouterCreated {
        description: "the way out".into(),
        labels: labels(),
        spec,
        words: vec!["SNAT on".into()],
    };
    let words = vec!["SNAT on".into()];
    let events = [
        ("", created(full.clone())),
        ("alone", created(alone)),
        ("", RouterEvent::RouterUpdated { change: change(), spec: Some(full), words }),
        ("words-only", RouterEvent::RouterUpdated { change: change(), spec: None, words: vec![] }),
        ("", RouterEvent::RouterBecameReady {}),
        ("", RouterEvent::RouterDrifted { what: vec!["its logical router is gone".into()] }),
        ("", RouterEvent::RouterAttemptFailed { failure: failure() }),
        ("", RouterEvent::RouterDeleteRequested {}),
        ("", RouterEvent::RouterDeleted {}),
        ("", RouterEvent::RouterReconcileRequested {}),
        ("", RouterEvent::RouterForceRemoved {}),
    ];
    events.map(|(case, event)| (case, Fact::Router(event))).into()
}

pub(super) fn floating_ips() -> Vec<(&'static str, Fact)> {
    let address = |text: &str| text.parse().unwrap();
    let spec = FloatingIpSpec { router: Id::new(id(7)), network: Id::new(id(9)), address: address("192.0.2.10") };
    let association = Association { vm: Id::new(id(2)), nic: 1, fixed_ip: address("10.0.0.2") };
    let events = [
        FloatingIpEvent::FloatingIpCreated {
            description: "the web's".into(),
            labels: labels(),
            spec,
            router_name: name("edge"),
        },
        FloatingIpEvent::FloatingIpUpdated { change: change() },
        FloatingIpEvent::FloatingIpAssociated { association, vm_name: name("web-1") },
        FloatingIpEvent::FloatingIpDisassociated { vm_name: name("web-1") },
        FloatingIpEvent::FloatingIpAssociatedWithLoadBalancer {
            load_balancer: Id::new(id(8)),
            load_balancer_name: name("shop"),
        },
        FloatingIpEvent::FloatingIpDisassociatedFromLoadBalancer { load_balancer_name: name("shop") },
        FloatingIpEvent::FloatingIpBecameReady {},
        FloatingIpEvent::FloatingIpDrifted { what: vec!["its NAT entry is gone".into()] },
        FloatingIpEvent::FloatingIpAttemptFailed { failure: failure() },
        FloatingIpEvent::FloatingIpDeleteRequested {},
        FloatingIpEvent::FloatingIpDeleted {},
        FloatingIpEvent::FloatingIpReconcileRequested {},
        FloatingIpEvent::FloatingIpForceRemoved {},
    ];
    events.map(|event| ("", Fact::FloatingIp(event))).into()
}

pub(super) fn load_balancers() -> Vec<(&'static str, Fact)> {
    let address = |text: &str| -> IpAddr { text.parse().unwrap() };
    let plain = LoadBalancerSpec {
        network: Id::new(id(9)),
        vip: address("10.0.0.50"),
        members: ["10.0.0.2", "10.0.0.3"].map(address).into(),
        rules: ["tcp-80", "udp-5000-5010", "icmp"].map(|rule| rule.parse().unwrap()).into(),
        session_affinity: SessionAffinity::None,
        health_check: None,
    };
    let checked = LoadBalancerSpec {
        session_affinity: SessionAffinity::ClientIp,
        health_check: Some(HealthCheck { timing: HealthTiming::default(), source: address("10.0.0.51") }),
        ..plain.clone()
    };
    let words = vec!["10.0.0.50 on blue".to_owned(), "answers tcp-80".to_owned()];
    let created = LoadBalancerEvent::LoadBalancerCreated {
        description: "what the shop is found by".into(),
        labels: labels(),
        spec: checked,
        words: words.clone(),
    };
    let updated = LoadBalancerEvent::LoadBalancerUpdated { change: change(), spec: Some(plain), words };
    let only_words = LoadBalancerEvent::LoadBalancerUpdated { change: change(), spec: None, words: vec![] };
    let events = [
        ("", created),
        ("", updated),
        ("words-only", only_words),
        ("", LoadBalancerEvent::LoadBalancerBecameReady {}),
        ("", LoadBalancerEvent::LoadBalancerDrifted { what: vec!["its load balancer entry is gone".into()] }),
        ("", LoadBalancerEvent::LoadBalancerAttemptFailed { failure: failure() }),
        ("", LoadBalancerEvent::LoadBalancerDeleteRequested {}),
        ("", LoadBalancerEvent::LoadBalancerDeleted {}),
        ("", LoadBalancerEvent::LoadBalancerReconcileRequested {}),
        ("", LoadBalancerEvent::LoadBalancerForceRemoved {}),
    ];
    events.map(|(variant, event)| (variant, Fact::LoadBalancer(event))).into()
}
