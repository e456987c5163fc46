//! Routers and floating IPs that clients wish for.

use edgestack_model::{
    Command, Labels, World,
    command::Reference,
    floating_ip::{AssociationRequest, CreateFloatingIp, FloatingIpCommand},
    meta::MetaChange,
    router::{CreateRouter, ExternalRequest, PeerRouter, Route, RouterCommand, UpdateRouter},
};

use super::network;
use crate::random::Random;

/// Anything about routers and floating IPs.
pub fn a_wish(random: &Random, world: &World) -> Command {
    match random.below(24) {
        0..5 => Command::Router(RouterCommand::Create(Box::new(some_router(random, world)))),
        5..10 => Command::Router(RouterCommand::Update(Box::new(an_update(random, world)))),
        10..12 => {
            let cascade = random.per_mille(500);
            Command::Router(RouterCommand::Delete { router: a_router(random).into(), cascade })
        }
        12..16 => Command::FloatingIp(FloatingIpCommand::Create(Box::new(some_ip(random, world)))),
        16..20 => {
            let floating_ip = one_of_the_ips(random, world);
            Command::FloatingIp(FloatingIpCommand::Associate { floating_ip, to: somewhere(random, world) })
        }
        20..22 => Command::FloatingIp(FloatingIpCommand::Disassociate { floating_ip: one_of_the_ips(random, world) }),
        _ => Command::FloatingIp(FloatingIpCommand::Delete { floating_ip: one_of_the_ips(random, world) }),
    }
}

fn a_router(random: &Random) -> String {
    format!("router-{}", random.below(2))
}

/// Such as cannot be, too: no network outside, an address that is another's.
fn some_router(random: &Random, world: &World) -> CreateRouter {
    CreateRouter {
        name: a_router(random).parse().unwrap(),
        description: String::new(),
        labels: Labels::default(),
        enable_snat: random.per_mille(700),
        internal: (0..random.below(3)).map(|_| a_network(random, world, false)).collect(),
        external: random.per_mille(700).then(|| outside(random, world)),
        peer: a_peer(random, 200),
        routes: routes(random),
    }
}

fn an_update(random: &Random, world: &World) -> UpdateRouter {
    let some = |rate| random.per_mille(rate);
    UpdateRouter {
        router: a_router(random).as_str().into(),
        change: MetaChange::default(),
        enable_snat: some(300).then(|| some(500)),
        internal: some(150).then(|| (0..random.below(3)).map(|_| a_network(random, world, false)).collect()),
        attach: some(400).then(|| a_network(random, world, false)).into_iter().collect(),
        detach: some(200).then(|| a_network(random, world, false)).into_iter().collect(),
        external: some(250).then(|| some(700).then(|| outside(random, world))),
        peer: some(200).then(|| a_peer(random, 600)),
        routes: some(150).then(|| routes(random)),
    }
}

/// Mostly one that is there, and of the sort that fits.
fn a_network(random: &Random, world: &World, is_outside: bool) -> Reference {
    let fits = world.networks.values().filter(|network| network.spec.network_type.is_provider() == is_outside);
    let fits: Vec<_> = fits.collect();
    if fits.is_empty() || random.per_mille(150) {
        return network::a_name(random).as_str().into();
    }
    Reference::id(random.one_of(&fits).id)
}

fn outside(random: &Random, world: &World) -> ExternalRequest {
    let fixed_ip = random.per_mille(150).then(|| "10.0.0.3".parse().unwrap());
    ExternalRequest { network: a_network(random, world, true), fixed_ip }
}

fn a_peer(random: &Random, rate: u64) -> Option<PeerRouter> {
    random.per_mille(rate).then(|| PeerRouter {
        ip_address: format!("10.0.{}.5", random.below(4)).parse().unwrap(),
        mac_address: "02:00:00:00:00:05".parse().unwrap(),
    })
}

fn routes(random: &Random) -> Vec<Route> {
    let next_hop = || format!("10.0.{}.4", random.below(4)).parse().unwrap();
    let route = || Route { destination: "198.51.100.0/24".parse().unwrap(), next_hop: next_hop() };
    random.per_mille(200).then(route).into_iter().collect()
}

fn some_ip(random: &Random, world: &World) -> CreateFloatingIp {
    CreateFloatingIp {
        name: random.per_mille(300).then(|| format!("ip-{}", random.below(3)).parse().unwrap()),
        description: String::new(),
        labels: Labels::default(),
        router: random.per_mille(700).then(|| a_router(random).as_str().into()),
        address: random
            .per_mille(250)
            .then(|| format!("10.0.{}.{}", random.below(4), random.below(8)).parse().unwrap()),
        to: random.per_mille(400).then(|| somewhere(random, world)),
        load_balancer: None,
    }
}

/// Mostly to a VM that has NICs.
fn somewhere(random: &Random, world: &World) -> AssociationRequest {
    let with_nics: Vec<_> = world.vms.values().filter(|vm| !vm.nics.is_empty()).collect();
    let vm = match with_nics.is_empty() || random.per_mille(100) {
        true => format!("vm-{}", random.below(6)).as_str().into(),
        false => Reference::id(random.one_of(&with_nics).id),
    };
    AssociationRequest { vm, fixed_ip: None }
}

/// Most are named by their address, so one is chosen by what there is.
pub fn one_of_the_ips(random: &Random, world: &World) -> Reference {
    let ips: Vec<_> = world.floating_ips.keys().collect();
    if ips.is_empty() { "ip-0".into() } else { Reference::id(**random.one_of(&ips)) }
}
