//! What a load balancer must keep to, who its members are, and what its backend can't do.

use std::{collections::BTreeSet, net::IpAddr};

use edgestack_planted::{self as planted, Bug};

use super::{
    HealthCheck, HealthTiming, LoadBalancer, LoadBalancerEvent, LoadBalancerSpec, MemberRequest, Protocol, Rule,
    SessionAffinity, decide::wish,
};
use crate::{
    Event, Id, Kind, Refusal, World,
    address::{self, Taken},
    command::Reference,
    meta::MetaChange,
    network::Network,
    realization::RealizationState,
    vm::{Nic, NicStage, Target, Vm},
};

/// So many members a load balancer has at most.
pub const MEMBERS_MAX: usize = 64;
/// So many ports all rules of a load balancer have at most: each is an entry of its own for OVN.
pub const PORTS_MAX: usize = 256;
/// So often and so long members can be asked, in seconds; and so many answers can be wanted.
const TIMES_MAX: u16 = 3600;

fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Refusal {
    Refusal::Invalid { field: field.into().into(), reason: reason.into() }
}

/// What is being removed takes nothing new.
pub(crate) fn check_stays(balancer: &LoadBalancer, action: &'static str) -> Result<(), Refusal> {
    if balancer.realization.state != RealizationState::Deleting {
        return Ok(());
    }
    Err(Refusal::WrongState {
        kind: Kind::LoadBalancer,
        name: balancer.meta.name.clone(),
        state: balancer.realization.state.as_str().into(),
        action: action.into(),
        fix: "it is being removed and will be gone soon".into(),
    })
}

/// The members of a request, by their addresses on the load balancer's network.
pub(super) fn members(
    world: &World,
    field: &str,
    (network, vip): (&Network, IpAddr),
    named: &[MemberRequest],
) -> Result<BTreeSet<IpAddr>, Refusal> {
    let address = |(at, member): (usize, &MemberRequest)| match member {
        MemberRequest::Address(address) => match member_nic(world, network.id, *address) {
            Some((vm, _)) if vm.target == Target::Deleted => Err(goes(vm)),
            Some((_, nic)) if nic.stage == NicStage::Leaving => {
                Err(invalid(format!("{field}.{at}"), format!("the NIC that has {address} is being detached")))
            }
            Some(_) | None => Ok(*address),
        },
        MemberRequest::Vm(of) => of_vm(world, &format!("{field}.{at}"), (network, vip), of),
    };
    named.iter().enumerate().map(address).collect()
}

fn goes(vm: &Vm) -> Refusal {
    Refusal::WrongState {
        kind: Kind::Vm,
        name: vm.meta.name.clone(),
        state: "deleting".into(),
        action: "balance load to".into(),
        fix: "it is being removed and will be gone soon".into(),
    }
}

/// The address of a VM on a network, of a VIP's family.
fn of_vm(world: &World, field: &str, (network, vip): (&Network, IpAddr), of: &Reference) -> Result<IpAddr, Refusal> {
    let vm = world.vm(of).map_err(|_| Refusal::ReferenceNotFound {
        field: field.to_owned().into(),
        kind: Kind::Vm.as_str().into(),
        name: of.0.clone(),
    })?;
    let (name, of_network) = (&vm.meta.name, &network.meta.name);
    if vm.target == Target::Deleted {
        return Err(goes(vm));
    }
    let nics = vm.nics_staying().filter(|nic| nic.spec.network == network.id);
    let mut addresses = nics.flat_map(|nic| &nic.spec.addresses).filter(|address| address.is_ipv4() == vip.is_ipv4());
    match (addresses.next(), addresses.next()) {
        (Some(address), None) => Ok(*address),
        (None, _) => {
            let family = if vip.is_ipv4() { "IPv4" } else { "IPv6" };
            Err(invalid(
                field,
                format!("vm \"{name}\" has no {family} address on network \"{of_network}\", where the VIP is"),
            ))
        }
        (Some(_), Some(_)) => {
            Err(invalid(field, format!("vm \"{name}\" has several addresses on network \"{of_network}\"; name one")))
        }
    }
}

/// The address wished for, or a free one.
pub(super) fn place(
    world: &World,
    network: &Network,
    taken: &mut Taken,
    wished: Option<IpAddr>,
) -> Result<IpAddr, Refusal> {
    if network.spec.network_type.is_provider() {
        let reason = format!(
            "network \"{}\" is one outside; take one of the site's own, and have a floating IP lead to the load balancer",
            network.meta.name
        );
        return Err(invalid("network", reason));
    }
    address::take_one(world, network, taken, ("vip", "the VIP"), wished)
}

/// How members are asked: by which address, the present one where there is one.
pub(super) fn health_check(
    world: &World,
    network: &Network,
    taken: &mut Taken,
    (vip, present): (IpAddr, Option<HealthCheck>),
    timing: HealthTiming,
) -> Result<HealthCheck, Refusal> {
    let field = "health_check";
    if !vip.is_ipv4() {
        return Err(invalid(field, "OVN checks members of IPv4 only; leave it out for an IPv6 VIP"));
    }
    let HealthTiming { interval_seconds, timeout_seconds, failures, successes } = timing;
    let within = [
        ("interval_seconds", interval_seconds),
        ("timeout_seconds", timeout_seconds),
        ("failures", failures),
        ("successes", successes),
    ];
    if let Some((name, value)) = within.into_iter().find(|(_, value)| !(1..=TIMES_MAX).contains(value)) {
        return Err(invalid(format!("{field}.{name}"), format!("must be 1 to {TIMES_MAX}, got {value}")));
    }
    if timeout_seconds > interval_seconds {
        let reason = format!("{timeout_seconds} s is longer than the interval of {interval_seconds} s");
        return Err(invalid(format!("{field}.timeout_seconds"), reason));
    }
    let source = match present {
        Some(present) => present.source,
        None => address::take_one(world, network, taken, (field, "the health check"), None)?,
    };
    Ok(HealthCheck { timing, source })
}

/// Whether a load balancer can be so.
pub(super) fn check(network: &Network, spec: &LoadBalancerSpec) -> Result<(), Refusal> {
    check_members(network, spec)?;
    check_health(spec)
}

/// Whether these rules go together.
pub(super) fn check_rules(field: &str, rules: &[Rule]) -> Result<BTreeSet<Rule>, Refusal> {
    for (at, rule) in rules.iter().enumerate() {
        if let Some(other) = rules.iter().take(at).find(|other| other.overlaps(rule)) {
            return Err(invalid(format!("{field}.{at}"), format!("{rule} is answered by rule {other} already")));
        }
    }
    let ports: usize = rules.iter().filter_map(|rule| rule.ports).map(super::PortRange::count).sum();
    if ports > PORTS_MAX {
        let reason = format!("they have {ports} ports; OVN takes them one by one, and {PORTS_MAX} is the most");
        return Err(invalid(field, reason));
    }
    Ok(rules.iter().copied().collect())
}

fn check_members(network: &Network, spec: &LoadBalancerSpec) -> Result<(), Refusal> {
    let field = "members";
    if spec.members.len() > MEMBERS_MAX {
        return Err(invalid(field, format!("at most {MEMBERS_MAX}, got {}", spec.members.len())));
    }
    for address in &spec.members {
        let subnet = network.spec.subnets.iter().find(|subnet| subnet.cidr.is_host(*address));
        let is_network = network.spec.subnets.iter().any(|subnet| subnet.gateway_ip == Some(*address));
        let is_own = *address == spec.vip || spec.health_check.is_some_and(|check| check.source == *address);
        let reason = if address.is_ipv4() != spec.vip.is_ipv4() {
            format!("{address} is of another family than the VIP {}", spec.vip)
        } else if subnet.is_none() {
            format!(
                "{address} is no host's on network \"{}\", where the VIP is; members are on it, too",
                network.meta.name
            )
        } else if is_network {
            format!("{address} is the gateway's")
        } else if is_own {
            format!("{address} is the load balancer's own")
        } else {
            continue;
        };
        return Err(invalid(field, reason));
    }
    Ok(())
}

fn check_health(spec: &LoadBalancerSpec) -> Result<(), Refusal> {
    let only_icmp = !spec.rules.is_empty() && spec.rules.iter().all(|rule| rule.protocol == Protocol::Icmp);
    if spec.health_check.is_some() && only_icmp {
        let reason = "OVN checks members by a port, and icmp has none; add a rule for tcp or udp, or leave it out";
        return Err(invalid("health_check", reason));
    }
    Ok(())
}

/// The NIC that has a member's address now, with its VM.
pub fn member_nic(world: &World, network: Id<Network>, address: IpAddr) -> Option<(&Vm, &Nic)> {
    let has = move |nic: &&Nic| nic.spec.network == network && nic.spec.addresses.contains(&address);
    world.vms.values().find_map(|vm| Some((vm.as_ref(), vm.nics.iter().find(has)?)))
}

/// What a VM's removal does to load balancers that it is a member of, or the end of one of its NICs (`only`): it is one no
/// more.
pub(crate) fn freed_with(world: &World, vm: &Vm, only: Option<u32>) -> Vec<Event> {
    if planted::is(Bug::MemberLeftBehind) {
        return vec![];
    }
    let without = |balancer: &LoadBalancer| {
        let goes = |nic: &&Nic| only.is_none_or(|number| nic.spec.number == number);
        let nics = vm.nics.iter().filter(|nic| nic.spec.network == balancer.spec.network).filter(goes);
        let gone: BTreeSet<IpAddr> =
            nics.flat_map(|nic| &nic.spec.addresses).filter(|ip| balancer.spec.members.contains(ip)).copied().collect();
        if gone.is_empty() || balancer.realization.state == RealizationState::Deleting {
            return None;
        }
        let mut spec = balancer.spec.clone();
        spec.members.retain(|address| !gone.contains(address));
        let gone: Vec<String> = gone.iter().map(ToString::to_string).collect();
        let words = vec![format!("without {}, which vm {} had", gone.join(", "), vm.meta.name)];
        let event = LoadBalancerEvent::LoadBalancerUpdated { change: MetaChange::default(), spec: Some(spec), words };
        Some(wish(balancer, event))
    };
    world.load_balancers.values().filter_map(|balancer| without(balancer)).collect()
}

/// What is asked of a load balancer that its backend does otherwise, for people.
pub fn limits(world: &World, spec: &LoadBalancerSpec) -> Vec<String> {
    let mut limits = vec![];
    if spec.rules.iter().any(|rule| rule.protocol == Protocol::Icmp) {
        limits.push(
            "icmp is spread together with each protocol and port that no other rule names: OVN doesn't tell them apart; \
             the members' security groups say what they take"
                .to_owned(),
        );
        if spec.health_check.is_some() {
            limits.push("icmp goes to dead members, too: OVN checks members by their ports".to_owned());
        }
    }
    if spec.health_check.is_some() {
        let strangers: Vec<String> = spec
            .members
            .iter()
            .filter(|address| member_nic(world, spec.network, **address).is_none())
            .map(ToString::to_string)
            .collect();
        if !strangers.is_empty() {
            limits.push(format!("no VM has {}: not checked, and taken to be alive", strangers.join(", ")));
        }
    }
    limits
}

/// What of a load balancer is other than before, for people.
pub(super) fn words(world: &World, before: Option<&LoadBalancerSpec>, spec: &LoadBalancerSpec) -> Vec<String> {
    let listed = |words: Vec<String>| if words.is_empty() { "nobody".to_owned() } else { words.join(", ") };
    let member = |address: &IpAddr| {
        let vm = member_nic(world, spec.network, *address).map(|(vm, _)| format!(" (vm {})", vm.meta.name));
        format!("{address}{}", vm.unwrap_or_default())
    };
    let mut words = vec![];
    if before.is_none() {
        let network =
            world.networks.get(&spec.network).map_or_else(String::new, |one| format!(" on {}", one.meta.name));
        words.push(format!("{}{network}", spec.vip));
    }
    if before.is_none_or(|before| before.rules != spec.rules) {
        let rules: Vec<String> = spec.rules.iter().map(rule_words).collect();
        words.push(format!("answers {}", if rules.is_empty() { "nothing".to_owned() } else { rules.join(", ") }));
    }
    if before.is_none_or(|before| before.members != spec.members) {
        words.push(format!("by {}", listed(spec.members.iter().map(member).collect())));
    }
    if before.map_or(SessionAffinity::None, |before| before.session_affinity) != spec.session_affinity {
        words.push(match spec.session_affinity {
            SessionAffinity::None => "a client's connections to any member".to_owned(),
            SessionAffinity::ClientIp => "a client's connections to one member".to_owned(),
        });
    }
    if before.and_then(|before| before.health_check) != spec.health_check {
        words.push(match spec.health_check {
            Some(HealthCheck { timing, source }) => format!(
                "asks members each {} s from {source}, dead after {} failures, alive after {} answers",
                timing.interval_seconds, timing.failures, timing.successes
            ),
            None => "asks no member".to_owned(),
        });
    }
    words
}

fn rule_words(rule: &Rule) -> String {
    match rule.member_port {
        Some(port) => format!("{rule} (members' port {port})"),
        None => rule.to_string(),
    }
}
