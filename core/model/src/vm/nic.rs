//! A VM's NICs: which networks it is on, and as whom.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{CreateVm, VmReport};
use crate::{
    Event, Id, Kind, Refusal, World,
    address::{self, Mac, Taken},
    command::Reference,
    network::{self, Network},
    security_group::{SecurityGroup, membership},
    vm::{Vm, VmEvent},
};

/// So many NICs a VM may have: what a guest without further PCI bridges has slots for beside its disks.
pub const NICS_MAX: usize = 8;

/// A NIC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// What it is.
    pub spec: NicSpec,
    /// Whether the nodes work by it.
    pub ready: bool,
    /// The security groups that it is in; none of them: nothing passes. Absent where it is from a time before there were
    /// any: everything passes.
    pub security_groups: Option<Vec<Id<SecurityGroup>>>,
}

impl Nic {
    pub(super) fn new(spec: NicSpec) -> Self {
        Self { spec, ready: false, security_groups: None }
    }
}

/// What a NIC is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NicSpec {
    /// Which of the VM's, from 0; never used again by another one of it.
    pub number: u32,
    /// The network that it is on.
    pub network: Id<Network>,
    /// Its address there.
    pub mac: Mac,
    /// Its IP addresses there, one a prefix of the network.
    #[schemars(with = "Vec<address::Ip>")]
    pub addresses: Vec<IpAddr>,
}

/// The id of a NIC: what is made of it in the virtual network and on its node carries it.
pub fn port_name(vm: Id<Vm>, number: u32) -> String {
    format!("{vm}-{number}")
}

/// A NIC to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicRequest {
    /// The network to be on.
    pub network: Reference,
    /// The IP address wished for.
    pub fixed_ip: Option<IpAddr>,
    /// The MAC address wished for.
    pub mac: Option<Mac>,
    /// The security groups to be in; the default one if absent.
    #[serde(default)]
    pub security_groups: Option<Vec<Reference>>,
}

/// The events of a new VM's NICs.
pub(super) fn attached(
    world: &World,
    create: &CreateVm,
    id: uuid::Uuid,
    event: impl Fn(VmEvent) -> Event,
) -> Result<Vec<Event>, Refusal> {
    if create.networks.len() > NICS_MAX {
        return Err(Refusal::Invalid {
            field: "networks".into(),
            reason: format!("a VM has at most {NICS_MAX} NICs, got {}", create.networks.len()),
        });
    }
    let (mut taken, mut events, mut made) = (Taken::default(), Vec::new(), Vec::new());
    for (number, request) in (0..).zip(&create.networks) {
        let field = format!("networks.{number}");
        let network = world.network(&request.network).map_err(|_| Refusal::ReferenceNotFound {
            field: format!("{field}.network").into(),
            kind: Kind::Network.as_str().into(),
            name: request.network.0.clone(),
        })?;
        network::check_stays(network, "put a NIC on")?;
        let mac = address::take_mac(world, &mut taken, &field, id, request.mac)?;
        let by = format!("NIC {number} of this VM");
        let addresses = address::take(world, network, &mut taken, (&field, &by), (mac, request.fixed_ip))?;
        let nic = NicSpec { number, network: network.id, mac, addresses };
        events.push(event(VmEvent::VmNicAttached { nic, network_name: network.meta.name.clone() }));
        let chosen =
            membership::choose(world, &format!("{field}.security_groups"), request.security_groups.as_deref(), id)?;
        // It is made once, before the first that is in it.
        if made.is_empty() {
            made = chosen.made;
        }
        let (security_groups, group_names) = chosen.groups.into_iter().unzip();
        events.push(event(VmEvent::VmNicSecurityGroupsChanged { number, security_groups, group_names }));
    }
    made.extend(events);
    let events = made;
    Ok(events)
}

/// What the gateway pool's word on a VM's NICs leads to.
pub(super) fn told(vm: &Vm, report: &VmReport) -> Vec<VmEvent> {
    match report {
        VmReport::NicsReady { numbers } => {
            let news = vm.nics.iter().filter(|nic| !nic.ready && numbers.contains(&nic.spec.number));
            news.map(|nic| VmEvent::VmNicBecameReady { number: nic.spec.number }).collect()
        }
        VmReport::NicDrifted { number, what } => {
            let known = vm.nics.iter().any(|nic| nic.ready && nic.spec.number == *number);
            known.then(|| VmEvent::VmNicDrifted { number: *number, what: what.clone() }).into_iter().collect()
        }
        _ => vec![],
    }
}
