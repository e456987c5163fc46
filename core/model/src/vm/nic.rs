//! A VM's NICs: which networks it is on, and as whom.

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{CreateVm, Power, Target, Vm, VmEvent, VmReport, decide::wish, deletion};
use crate::{
    Event, Given, Id, Kind, Refusal, World,
    address::{self, Mac, Taken},
    command::Reference,
    floating_ip,
    network::{self, Network},
    security_group::{SecurityGroup, membership},
    waiting::Failure,
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
    /// Whether it is held to its own addresses: nothing leaves by it under another's, and what is for an address that nobody
    /// on the network has doesn't come to it. Security groups are in force either way.
    #[serde(default = "yes")]
    pub port_security: bool,
    /// Whether the VM is to have it.
    pub stage: NicStage,
    /// The last failed attempt to put it into the running VM or to take it out, until the next success or wish.
    pub failure: Option<Failure>,
}

/// NICs from before it could be switched off have it.
const fn yes() -> bool {
    true
}

/// Whether a VM is to have a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NicStage {
    /// It is.
    Staying,
    /// It is, from its next start: what runs was started before NICs could come and go while it runs.
    AwaitsStart,
    /// It is not. The NIC keeps its addresses until its node has let go of the device.
    Leaving,
}

/// Where a NIC is, as people see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NicState {
    /// In the VM.
    Attached,
    /// Not in the running VM yet.
    Attaching,
    /// In the VM from its next start.
    AwaitsStart,
    /// On its way out.
    Detaching,
}

impl NicState {
    /// All, as users see them.
    pub const WORDS: [&'static str; 4] = ["attached", "attaching", "awaits_start", "detaching"];

    /// As users see it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Attaching => "attaching",
            Self::AwaitsStart => "awaits_start",
            Self::Detaching => "detaching",
        }
    }
}

impl Nic {
    pub(super) fn new(spec: NicSpec, stage: NicStage) -> Self {
        Self { spec, ready: false, security_groups: None, port_security: true, stage, failure: None }
    }
}

impl Vm {
    /// Where a NIC of it is.
    pub fn nic_state(&self, nic: &Nic) -> NicState {
        match nic.stage {
            NicStage::Leaving => NicState::Detaching,
            NicStage::AwaitsStart => NicState::AwaitsStart,
            NicStage::Staying => match self.power.instance().and_then(|instance| instance.nics.as_ref()) {
                Some(there) if !there.contains(&nic.spec.number) => NicState::Attaching,
                Some(_) | None => NicState::Attached,
            },
        }
    }

    /// The first NIC that is not where it should be.
    pub fn nic_under_way(&self) -> Option<&Nic> {
        self.nics.iter().find(|nic| self.nic_state(nic) != NicState::Attached)
    }

    /// The NICs that it is to have.
    pub fn nics_staying(&self) -> impl Iterator<Item = &Nic> {
        self.nics.iter().filter(|nic| nic.stage != NicStage::Leaving)
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
    /// Whether it is held to its own addresses; as the network has it if absent.
    #[serde(default)]
    pub port_security: Option<bool>,
}

/// Which NIC of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NicChoice {
    /// The one of this number.
    Number(u32),
    /// The only one on this network.
    Network(Reference),
}

/// The events of a new VM's NICs.
pub(super) fn of_new_vm(
    world: &World,
    create: &CreateVm,
    id: Uuid,
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
        let new = New { field: &format!("networks.{number}."), number, vm: id, seed: id };
        let (groups, attached) = new.events(world, &mut taken, request)?;
        events.extend(attached.into_iter().map(&event));
        // It is made once, before the first that is in it.
        if made.is_empty() {
            made = groups;
        }
    }
    made.extend(events);
    Ok(made)
}

/// The events of one more NIC of a VM; `seed` is an id of the command's own.
pub(super) fn attached(world: &World, vm: &Vm, seed: Uuid, request: &NicRequest) -> Result<Vec<Event>, Refusal> {
    if vm.nics.len() >= NICS_MAX {
        return Err(Refusal::WrongState {
            kind: Kind::Vm,
            name: vm.meta.name.clone(),
            state: format!("full with {NICS_MAX} NICs").into(),
            action: "attach a NIC to".into(),
            fix: "detach one first, and wait until it is gone".into(),
        });
    }
    let new = New { field: "", number: vm.next_nic, vm: vm.id.uuid(), seed };
    let (mut events, attached) = new.events(world, &mut Taken::default(), request)?;
    events.extend(attached.into_iter().map(|event| wish(vm, event)));
    Ok(events)
}

/// What tells that a new NIC is not held to its own addresses; those of which nothing is told are.
pub(crate) fn unsecured(number: u32, port_security: bool) -> Option<VmEvent> {
    (!port_security).then_some(VmEvent::VmNicPortSecurityChanged { number, port_security })
}

/// The events of a change of NICs; `only`: which of them, all if absent.
pub(super) fn edited(vm: &Vm, only: Option<u32>, port_security: bool) -> Result<Vec<VmEvent>, Refusal> {
    check_has_nic(vm, only, "change a NIC of")?;
    let other = vm.nics.iter().filter(|nic| nic.port_security != port_security);
    let numbers = other.map(|nic| nic.spec.number).filter(|number| only.is_none_or(|only| only == *number));
    Ok(numbers.map(|number| VmEvent::VmNicPortSecurityChanged { number, port_security }).collect())
}

/// Whether a change of its NICs, or of one, finds what it is about.
pub(crate) fn check_has_nic(vm: &Vm, only: Option<u32>, action: &'static str) -> Result<(), Refusal> {
    if vm.nics.is_empty() {
        return Err(Refusal::WrongState {
            kind: Kind::Vm,
            name: vm.meta.name.clone(),
            state: "on no network".into(),
            action: action.into(),
            fix: "attach a NIC: edgectl attach-nic".into(),
        });
    }
    match only.filter(|number| !vm.nics.iter().any(|nic| nic.spec.number == *number)) {
        None => Ok(()),
        Some(number) => {
            Err(Refusal::ReferenceNotFound { field: "nic".into(), kind: "NIC".into(), name: number.to_string() })
        }
    }
}

/// The events of a NIC's end; none when it is wished already.
pub(super) fn detached(world: &World, vm: &Vm, choice: &NicChoice) -> Result<Vec<Event>, Refusal> {
    let nic = chosen(world, vm, choice)?;
    if nic.stage == NicStage::Leaving {
        return Ok(vec![]);
    }
    let number = nic.spec.number;
    let requested = wish(vm, VmEvent::VmNicDetachRequested { number });
    Ok([requested].into_iter().chain(deletion::freed_with_nic(world, vm, number)).chain(gone(vm, nic)).collect())
}

/// The events of the end of a VM's NICs on a network that goes, as its load balancers do: there is none to take members out
/// of. A VM that goes takes its NICs with it.
pub(crate) fn detached_with_network(world: &World, vm: &Vm, network: Id<Network>) -> Vec<Event> {
    if vm.target == Target::Deleted {
        return vec![];
    }
    let on_it = vm.nics_staying().filter(|nic| nic.spec.network == network);
    let ends = on_it.flat_map(|nic| {
        let number = nic.spec.number;
        let freed = floating_ip::freed_with_nic(world, vm, number);
        let requested = wish(vm, VmEvent::VmNicDetachRequested { number });
        [requested].into_iter().chain(freed).chain(gone(vm, nic))
    });
    ends.collect()
}

/// What tells that a NIC is gone with the wish: no process has it, so there is nobody to let go of it.
fn gone(vm: &Vm, nic: &Nic) -> Option<Event> {
    let is_nowhere = vm.placement.is_none()
        || nic.stage == NicStage::AwaitsStart
        || matches!((vm.target, &vm.power), (Target::Stopped { .. }, Power::Off));
    is_nowhere.then(|| wish(vm, VmEvent::VmNicDetached { number: nic.spec.number }))
}

fn chosen<'v>(world: &World, vm: &'v Vm, choice: &NicChoice) -> Result<&'v Nic, Refusal> {
    let (field, kind, name) = match choice {
        NicChoice::Number(number) => {
            let found = vm.nics.iter().find(|nic| nic.spec.number == *number);
            return found.ok_or_else(|| Refusal::ReferenceNotFound {
                field: "nic".into(),
                kind: "NIC".into(),
                name: number.to_string(),
            });
        }
        NicChoice::Network(network) => ("network", Kind::Network.as_str(), network),
    };
    let network = world.network(name).map_err(|_| Refusal::ReferenceNotFound {
        field: field.into(),
        kind: kind.into(),
        name: name.0.clone(),
    })?;
    let on_it = vm.nics.iter().filter(|nic| nic.spec.network == network.id);
    // One that leaves already counts only where no other is meant.
    let (staying, leaving): (Vec<&Nic>, Vec<&Nic>) = on_it.partition(|nic| nic.stage != NicStage::Leaving);
    match (staying.as_slice(), leaving.as_slice()) {
        ([one], _) | ([], [one, ..]) => Ok(one),
        ([], []) => Err(Refusal::ReferenceNotFound {
            field: field.into(),
            kind: format!("NIC of vm \"{}\" on network", vm.meta.name).into(),
            name: network.meta.name.to_string(),
        }),
        (several, _) => {
            let numbers: Vec<String> = several.iter().map(|nic| nic.spec.number.to_string()).collect();
            Err(Refusal::WrongState {
                kind: Kind::Vm,
                name: vm.meta.name.clone(),
                state: format!("on network \"{}\" with NICs {}", network.meta.name, numbers.join(", ")).into(),
                action: "detach the only NIC on a network of".into(),
                fix: "say which by its number".into(),
            })
        }
    }
}

/// A NIC that is to be made.
struct New<'a> {
    /// What stands before the names of the request's fields.
    field: &'a str,
    number: u32,
    vm: Uuid,
    seed: Uuid,
}

impl New<'_> {
    /// What makes the default group, if that is needed and isn't there; and the NIC's own events.
    fn events(
        &self,
        world: &World,
        taken: &mut Taken,
        request: &NicRequest,
    ) -> Result<(Vec<Event>, Vec<VmEvent>), Refusal> {
        let Self { field, number, vm, seed } = *self;
        let network = world.network(&request.network).map_err(|_| Refusal::ReferenceNotFound {
            field: format!("{field}network").into(),
            kind: Kind::Network.as_str().into(),
            name: request.network.0.clone(),
        })?;
        network::check_stays(network, "put a NIC on")?;
        let mac = address::take_mac(world, taken, field, vm, request.mac)?;
        let by = format!("NIC {number} of this VM");
        let addresses = address::take(world, network, taken, (field, &by), (mac, request.fixed_ip))?;
        let nic = NicSpec { number, network: network.id, mac, addresses };
        let groups = format!("{field}security_groups");
        let chosen = membership::choose(world, &groups, request.security_groups.as_deref(), seed)?;
        let (security_groups, group_names) = chosen.groups.into_iter().unzip();
        let attached = VmEvent::VmNicAttached { nic, network_name: network.meta.name.clone() };
        let regrouped = VmEvent::VmNicSecurityGroupsChanged { number, security_groups, group_names };
        let port_security = request.port_security.unwrap_or(network.spec.port_security);
        let secured = unsecured(number, port_security);
        Ok((chosen.made, [attached, regrouped].into_iter().chain(secured).collect()))
    }
}

/// What the pools' words on a VM's NICs lead to.
pub(super) fn told(given: &Given, vm: &Vm, report: &VmReport) -> Vec<VmEvent> {
    let nic_of = |number: &u32| vm.nics.iter().find(|nic| nic.spec.number == *number);
    let of_pool = match report {
        VmReport::NicsReady { numbers } => {
            let news = vm.nics.iter().filter(|nic| !nic.ready && numbers.contains(&nic.spec.number));
            return news.map(|nic| VmEvent::VmNicBecameReady { number: nic.spec.number }).collect();
        }
        VmReport::NicDrifted { number, what } => {
            let known = nic_of(number).filter(|nic| nic.ready);
            known.map(|_| VmEvent::VmNicDrifted { number: *number, what: what.clone() })
        }
        VmReport::NicPlugged { number } => {
            let is_news = nic_of(number).is_some_and(|nic| vm.nic_state(nic) == NicState::Attaching);
            is_news.then_some(VmEvent::VmNicPlugged { number: *number })
        }
        VmReport::NicUnplugged { number } => {
            let leaves = nic_of(number).is_some_and(|nic| nic.stage == NicStage::Leaving);
            leaves.then_some(VmEvent::VmNicDetached { number: *number })
        }
        VmReport::NicAttemptFailed { number, failed } => {
            nic_of(number).filter(|nic| nic.stage != NicStage::AwaitsStart).map(|nic| {
                let failure = failed.clone().after(nic.failure.as_ref(), given.time);
                VmEvent::VmNicAttemptFailed { number: *number, failure }
            })
        }
        _ => None,
    };
    of_pool.into_iter().collect()
}
