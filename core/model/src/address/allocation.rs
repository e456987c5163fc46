//! Which address is given next.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use edgestack_planted::{self as planted, Bug};
use uuid::Uuid;

use super::{Mac, holders};
use crate::{
    Refusal, World,
    network::{Ipv6Mode, Network, Subnet},
};

/// How many holders a refusal names.
const NAMED_MAX: usize = 8;

/// What a command that asks for several addresses was given so far: the world doesn't show it yet.
#[derive(Default)]
pub(crate) struct Taken {
    addresses: BTreeMap<(Uuid, IpAddr), String>,
    macs: BTreeSet<Mac>,
}

impl Taken {
    /// Who holds which address of a network, with what the command was given so far.
    fn with_holders(&self, world: &World, network: &Network) -> BTreeMap<IpAddr, String> {
        let nobody = planted::is(Bug::AddressGivenTwice);
        let mut held = if nobody { BTreeMap::new() } else { holders(world, network) };
        let of_network = |((of, address), by): (&(Uuid, IpAddr), &String)| {
            (*of == network.id.uuid()).then(|| (*address, by.clone()))
        };
        held.extend(self.addresses.iter().filter_map(of_network));
        held
    }
}

/// The addresses of one more NIC on a network, one a subnet: the one wished for, else the first free one of the pools,
/// or what the host makes of its MAC address where the subnet is of that kind.
///
/// `field` stands before the names of the request's fields in refusals; `by` tells later refusals of the same command who has them.
pub(crate) fn take(
    world: &World,
    network: &Network,
    taken: &mut Taken,
    (field, by): (&str, &str),
    (mac, wished): (Mac, Option<IpAddr>),
) -> Result<Vec<IpAddr>, Refusal> {
    let held = taken.with_holders(world, network);
    if let Some(address) = wished {
        check_wished(network, &format!("{field}fixed_ip"), address, &held, "wish for a mac instead")?;
    }
    let mut given = Vec::new();
    for subnet in &network.spec.subnets {
        let address = match wished.filter(|address| subnet.cidr.contains(*address)) {
            Some(address) => address,
            None if subnet.ipv6_mode == Some(Ipv6Mode::Slaac) => {
                let address = mac.slaac(subnet.cidr);
                if let Some(by) = held.get(&address) {
                    let (field, address) =
                        (format!("{field}mac").into(), format!("{address}, which follows from {mac},"));
                    return Err(Refusal::AddressInUse { field, address, by: by.clone() });
                }
                address
            }
            None => first_free(network, subnet, &format!("{field}network"), &held)?,
        };
        given.push(address);
    }
    for address in &given {
        taken.addresses.insert((network.id.uuid(), *address), by.to_owned());
    }
    Ok(given)
}

/// One address: the one wished for, else the first free one of the network's first pools.
///
/// `field` is the request's, for refusals; `by` tells later refusals of the same command who has it.
pub(crate) fn take_one(
    world: &World,
    network: &Network,
    taken: &mut Taken,
    (field, by): (&str, &str),
    wished: Option<IpAddr>,
) -> Result<IpAddr, Refusal> {
    let held = taken.with_holders(world, network);
    let address = match (wished, network.spec.subnets.first()) {
        (Some(address), _) => {
            // It is no NIC's, so there is no MAC address to wish for.
            check_wished(network, field, address, &held, "of address_mode dhcpv6_stateful one can be wished for")?;
            address
        }
        (None, Some(subnet)) => first_free(network, subnet, field, &held)?,
        (None, None) => {
            let reason = format!("network \"{}\" has no prefix", network.meta.name);
            return Err(Refusal::Invalid { field: field.to_owned().into(), reason });
        }
    };
    taken.addresses.insert((network.id.uuid(), address), by.to_owned());
    Ok(address)
}

fn check_wished(
    network: &Network,
    field: &str,
    address: IpAddr,
    held: &BTreeMap<IpAddr, String>,
    instead: &str,
) -> Result<(), Refusal> {
    let invalid = |reason| Err(Refusal::Invalid { field: field.to_owned().into(), reason });
    let Some(subnet) = network.spec.subnets.iter().find(|subnet| subnet.cidr.contains(address)) else {
        let cidrs: Vec<String> = network.spec.subnets.iter().map(|subnet| subnet.cidr.to_string()).collect();
        return invalid(format!("{address} is not in {} of network \"{}\"", cidrs.join(" or "), network.meta.name));
    };
    if !subnet.cidr.is_host(address) {
        return invalid(format!("{address} is the network's own or its broadcast address; no host can have it"));
    }
    if subnet.ipv6_mode == Some(Ipv6Mode::Slaac) {
        return invalid(format!("{} gives addresses by MAC address (slaac); {instead}", subnet.cidr));
    }
    match held.get(&address) {
        None => Ok(()),
        Some(by) => {
            Err(Refusal::AddressInUse { field: field.to_owned().into(), address: address.to_string(), by: by.clone() })
        }
    }
}

fn first_free(
    network: &Network,
    subnet: &Subnet,
    field: &str,
    held: &BTreeMap<IpAddr, String>,
) -> Result<IpAddr, Refusal> {
    let free = subnet.pools.iter().find_map(|pool| pool.first_free(|address| held.contains_key(address)));
    free.ok_or_else(|| {
        let of_pools = held.iter().filter(|(address, _)| subnet.pools.iter().any(|pool| pool.contains(**address)));
        let holders: Vec<String> = of_pools.map(|(address, by)| format!("{address} by {by}")).collect();
        let unnamed = holders.len().saturating_sub(NAMED_MAX);
        let mut by: Vec<String> = holders.into_iter().take(NAMED_MAX).collect();
        if unnamed > 0 {
            by.push(format!("{unnamed} more"));
        }
        let pools: Vec<String> = subnet.pools.iter().map(ToString::to_string).collect();
        Refusal::AddressesExhausted {
            field: field.to_owned().into(),
            network: network.meta.name.clone(),
            pool: pools.join(", "),
            by,
        }
    })
}

/// The MAC address of one more NIC: the one wished for, or a free one by the id of its VM.
pub(crate) fn take_mac(
    world: &World,
    taken: &mut Taken,
    field: &str,
    vm: Uuid,
    wished: Option<Mac>,
) -> Result<Mac, Refusal> {
    let in_use = |mac: Mac| world.vms.values().find(|vm| vm.nics.iter().any(|nic| nic.spec.mac == mac));
    let mac = match wished {
        Some(mac) if planted::is(Bug::MacGivenTwice) => mac,
        Some(mac) => {
            let by = in_use(mac).map(|vm| format!("vm \"{}\"", vm.meta.name));
            let by = by.or_else(|| taken.macs.contains(&mac).then(|| "another NIC of this VM".to_owned()));
            if let Some(by) = by {
                let (field, address) = (format!("{field}mac").into(), mac.to_string());
                return Err(Refusal::AddressInUse { field, address, by });
            }
            mac
        }
        None => {
            let used: BTreeSet<Mac> =
                world.vms.values().flat_map(|vm| vm.nics.iter().map(|nic| nic.spec.mac)).collect();
            let bytes = vm.as_bytes();
            let start = u32::from_be_bytes([0, bytes[13], bytes[14], bytes[15]]);
            let numbers = (0..1 << 24).map(|offset| start.wrapping_add(offset) & 0x00ff_ffff);
            // A site has far fewer NICs than there are numbers.
            let free = numbers.map(Mac::in_range).find(|mac| !used.contains(mac) && !taken.macs.contains(mac));
            free.unwrap_or_else(|| Mac::in_range(start))
        }
    };
    taken.macs.insert(mac);
    Ok(mac)
}
