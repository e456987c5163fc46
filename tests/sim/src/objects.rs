//! The objects of the virtual network, of whichever kind, as this simulation knows them: a new kind has its lines here, and
//! nowhere else but among what clients wish.

use edgestack_model::{
    Command, Generation, Meta, World,
    event::{Event, Fact},
    floating_ip::{FloatingIpCommand, FloatingIpEvent},
    load_balancer::{LoadBalancerCommand, LoadBalancerEvent},
    network::{NetworkCommand, NetworkEvent},
    realization::{Realization, RealizationReport, RealizationState},
    router::{RouterCommand, RouterEvent},
    security_group::{SecurityGroupCommand, SecurityGroupEvent},
    security_group_rule::{SecurityGroupRuleCommand, SecurityGroupRuleEvent},
    vm::{VmCommand, VmEvent, VmReport},
    world::Resource,
};
use edgestack_worker_gateway::rows::{Key, Owner, Table};
use uuid::Uuid;

/// Whose a row is, or what is told: the id is the log's own choice, so that no two kinds share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Whose {
    pub id: Uuid,
    /// Of a VM's, which NIC's.
    pub nic: Option<u32>,
}

impl Whose {
    pub const fn object(id: Uuid) -> Self {
        Self { id, nic: None }
    }

    pub const fn nic(vm: Uuid, number: u32) -> Self {
        Self { id: vm, nic: Some(number) }
    }

    /// Whose a row is, by its name alone.
    pub fn is_named(key: &Key) -> Option<Self> {
        let (id, rest) = key.id.split_at_checked(36)?;
        let number = rest.strip_prefix('-').and_then(|number| number.parse().ok());
        Some(Self { id: id.parse().ok()?, nic: number.filter(|_| key.table == Table::LogicalSwitchPort) })
    }
}

impl From<Owner> for Whose {
    fn from(owner: Owner) -> Self {
        match owner {
            Owner::Network(id) => Self::object(id.uuid()),
            Owner::SecurityGroup(id) => Self::object(id.uuid()),
            Owner::SecurityGroupRule(id) => Self::object(id.uuid()),
            Owner::Router(id) => Self::object(id.uuid()),
            Owner::FloatingIp(id) => Self::object(id.uuid()),
            Owner::LoadBalancer(id) => Self::object(id.uuid()),
            Owner::Probe(id) => Self::object(id),
            Owner::Nic(vm, number) => Self::nic(vm.uuid(), number),
        }
    }
}

/// One object, NICs left out: those are a VM's.
pub struct Object {
    pub resource: Resource,
    pub realization: Realization,
}

impl Object {
    /// Whether it is a network that goes, and VMs have NICs on it. Whether they still may, on a node that is lost, say, is
    /// judged where VMs are.
    pub fn waits_for_nics(&self, world: &World) -> bool {
        let Resource::Network(network) = &self.resource else { return false };
        let has_nics = || world.vms.values().any(|vm| vm.nics.iter().any(|nic| nic.spec.network == network.id));
        self.realization.state == RealizationState::Deleting && has_nics()
    }

    pub fn meta(&self) -> &Meta {
        self.resource.meta()
    }

    /// Its kind and its name.
    pub fn title(&self) -> String {
        format!("{} {}", self.resource.kind().as_str(), self.meta().name)
    }
}

pub fn objects(world: &World) -> impl Iterator<Item = Object> {
    world.resources().filter_map(|resource| {
        let realization = match &resource {
            Resource::Network(network) => network.realization.clone(),
            Resource::SecurityGroup(group) => group.realization.clone(),
            Resource::SecurityGroupRule(rule) => rule.realization.clone(),
            Resource::Router(router) => router.realization.clone(),
            Resource::FloatingIp(ip) => ip.realization.clone(),
            Resource::LoadBalancer(balancer) => balancer.realization.clone(),
            Resource::Vm(_)
            | Resource::Image(_)
            | Resource::Flavor(_)
            | Resource::Keypair(_)
            | Resource::Node(_)
            | Resource::Volume(_)
            | Resource::Webhook(_)
            | Resource::Lease(_) => return None,
        };
        Some(Object { resource, realization })
    })
}

/// What goes with an object and is not told by itself: a group's rules.
pub fn goes_with(world: &World, id: Uuid) -> Vec<Whose> {
    world
        .security_group_rules
        .values()
        .filter(|rule| rule.spec.group.uuid() == id)
        .map(|rule| Whose::object(rule.id.uuid()))
        .collect()
}

/// Whether the nodes work by it, as far as a world knows.
pub fn is_ready(world: &World, whose: Whose) -> bool {
    match whose.nic {
        None => objects(world)
            .any(|object| object.resource.id() == whose.id && object.realization.state == RealizationState::Active),
        Some(number) => {
            let vm = world.vms.values().find(|vm| vm.id.uuid() == whose.id);
            vm.is_some_and(|vm| vm.nics.iter().any(|nic| nic.spec.number == number && nic.ready))
        }
    }
}

/// What the gateway pool tells of an object or a VM, on which of its generations.
pub struct Told<'c> {
    pub id: Uuid,
    pub generation: Generation,
    pub what: Said<'c>,
}

/// What it says.
pub enum Said<'c> {
    OfObject(&'c RealizationReport),
    /// The nodes work by these NICs of a VM.
    NicsReady(&'c [u32]),
}

/// What the gateway pool tells by a command, if it is one of its own. That a NIC drifted is left out.
pub fn told(command: &Command) -> Option<Told<'_>> {
    let (id, generation, report) = match command {
        Command::Network(NetworkCommand::Report { network, generation, report }) => {
            (network.uuid(), generation, report)
        }
        Command::SecurityGroup(SecurityGroupCommand::Report { group, generation, report }) => {
            (group.uuid(), generation, report)
        }
        Command::SecurityGroupRule(SecurityGroupRuleCommand::Report { rule, generation, report }) => {
            (rule.uuid(), generation, report)
        }
        Command::Router(RouterCommand::Report { router, generation, report }) => (router.uuid(), generation, report),
        Command::FloatingIp(FloatingIpCommand::Report { floating_ip, generation, report }) => {
            (floating_ip.uuid(), generation, report)
        }
        Command::LoadBalancer(LoadBalancerCommand::Report { load_balancer, generation, report }) => {
            (load_balancer.uuid(), generation, report)
        }
        Command::Vm(VmCommand::Report { vm, generation, report: VmReport::NicsReady { numbers } }) => {
            let what = Said::NicsReady(numbers);
            return Some(Told { id: vm.uuid(), generation: *generation, what });
        }
        Command::Network(_)
        | Command::SecurityGroup(_)
        | Command::SecurityGroupRule(_)
        | Command::Router(_)
        | Command::FloatingIp(_)
        | Command::LoadBalancer(_)
        | Command::Vm(_)
        | Command::Image(_)
        | Command::Flavor(_)
        | Command::Keypair(_)
        | Command::Node(_)
        | Command::Volume(_)
        | Command::Webhook(_)
        | Command::Lease(_) => return None,
    };
    Some(Told { id, generation: *generation, what: Said::OfObject(report) })
}

/// Of whose rows others changed what, if an event says so.
pub fn drift(event: &Event) -> Option<(Whose, &[String])> {
    let (nic, what) = match &event.fact {
        Fact::Network(NetworkEvent::NetworkDrifted { what })
        | Fact::SecurityGroup(SecurityGroupEvent::SecurityGroupDrifted { what })
        | Fact::SecurityGroupRule(SecurityGroupRuleEvent::SecurityGroupRuleDrifted { what })
        | Fact::Router(RouterEvent::RouterDrifted { what })
        | Fact::FloatingIp(FloatingIpEvent::FloatingIpDrifted { what })
        | Fact::LoadBalancer(LoadBalancerEvent::LoadBalancerDrifted { what }) => (None, what),
        Fact::Vm(VmEvent::VmNicDrifted { number, what }) => (Some(*number), what),
        Fact::Network(_)
        | Fact::SecurityGroup(_)
        | Fact::SecurityGroupRule(_)
        | Fact::Router(_)
        | Fact::FloatingIp(_)
        | Fact::LoadBalancer(_)
        | Fact::Vm(_)
        | Fact::Image(_)
        | Fact::Flavor(_)
        | Fact::Keypair(_)
        | Fact::Node(_)
        | Fact::Volume(_)
        | Fact::Webhook(_)
        | Fact::Lease(_) => return None,
    };
    Some((Whose { id: event.resource_id, nic }, what))
}
