//! Networks that clients wish for.

use edgestack_model::{
    Command, Labels,
    address::IpRange,
    meta::MetaChange,
    network::{CreateNetwork, Ipv6Mode, NetworkCommand, NetworkType, SubnetRequest, UpdateNetwork},
};

use crate::random::Random;

/// How many they know.
const NETWORKS: u64 = 4;

/// The name of one of them.
pub fn a_name(random: &Random) -> String {
    format!("net-{}", random.below(NETWORKS))
}

/// Anything about networks.
pub fn a_wish(random: &Random) -> Command {
    match random.below(12) {
        0..6 => some_network(random),
        6..10 => a_change(random),
        _ => {
            let cascade = random.per_mille(400);
            Command::Network(NetworkCommand::Delete { network: a_name(random).into(), cascade })
        }
    }
}

/// A network of few addresses between the nodes.
pub fn a_network(name: &str, cidr: &str) -> CreateNetwork {
    CreateNetwork {
        name: name.parse().unwrap(),
        description: String::new(),
        labels: Labels::default(),
        network_type: NetworkType::Geneve,
        segment_id: None,
        physical_network: None,
        mtu: None,
        subnets: vec![a_prefix(cidr, None)],
        dns_servers: vec![],
        host_routes: vec![],
        dhcp: true,
        port_security: true,
    }
}

fn a_prefix(cidr: &str, ipv6_mode: Option<Ipv6Mode>) -> SubnetRequest {
    SubnetRequest { cidr: cidr.parse().unwrap(), gateway_ip: None, pools: vec![], ipv6_mode }
}

/// A network of any sort.
fn some_network(random: &Random) -> Command {
    let number = random.below(NETWORKS);
    let mut create = a_network(&format!("net-{number}"), &format!("10.0.{number}.0/29"));
    create.network_type = *random.one_of(&NetworkType::ALL);
    create.physical_network = create.network_type.is_provider().then(|| "outside".parse().unwrap());
    let must_be_wished = create.network_type == NetworkType::Vlan;
    if must_be_wished || create.network_type != NetworkType::Flat && random.per_mille(500) {
        create.segment_id = Some(1 + u32::try_from(random.below(4)).unwrap());
    }
    create.subnets[0].pools = vec![a_pool(number, 4)];
    if random.per_mille(200) {
        create.subnets[0].gateway_ip = Some(None);
    }
    if random.per_mille(300) {
        let mode = *random.one_of(&[Ipv6Mode::Slaac, Ipv6Mode::Dhcpv6Stateful]);
        create.subnets.push(a_prefix("fd00:9::/64", Some(mode)));
    }
    create.dhcp = random.per_mille(800);
    Command::Network(NetworkCommand::Create(Box::new(create)))
}

/// The addresses from the second to one of the next.
fn a_pool(number: u64, last: u64) -> IpRange {
    let address = |last: u64| format!("10.0.{number}.{last}").parse().unwrap();
    IpRange::new(address(2), address(last)).unwrap()
}

fn a_change(random: &Random) -> Command {
    let number = random.below(NETWORKS);
    let mut update = UpdateNetwork {
        network: format!("net-{number}").as_str().into(),
        change: MetaChange { description: None, labels: None },
        mtu: None,
        dns_servers: None,
        host_routes: None,
        dhcp: None,
        pools: None,
        port_security: None,
    };
    match random.below(6) {
        0 => update.change.description = Some(random.below(9).to_string()),
        1 => update.mtu = Some(1300 + u32::try_from(random.below(100)).unwrap()),
        2 => update.dns_servers = Some(vec![random.one_of(&["192.0.2.53", "192.0.2.54"]).parse().unwrap()]),
        3 => update.pools = Some(vec![a_pool(number, 2 + random.below(4))]),
        4 => update.port_security = Some(random.per_mille(500)),
        _ => update.dhcp = Some(random.per_mille(500)),
    }
    Command::Network(NetworkCommand::Update(Box::new(update)))
}
