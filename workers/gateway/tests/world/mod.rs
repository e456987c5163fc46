//! Commands, and a world that they are decided on.

#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]
#![allow(dead_code, reason = "each test takes of it what it needs")]

use edgestack_model::{
    Actor, Command, Commit, Decision, Given, Labels, Name, World,
    command::Reference,
    decide,
    flavor::{FlavorCommand, Shape},
    floating_ip::{AssociationRequest, CreateFloatingIp, FloatingIpCommand},
    image::{DiskFormat, ImageCommand, ImageContent, ImageReport, ImageSource, ImageSpec, Visibility},
    load_balancer::{CreateLoadBalancer, LoadBalancerCommand, MemberRequest, SessionAffinity},
    meta::MetaChange,
    network::{CreateNetwork, HostRoute, Ipv6Mode, Network, NetworkCommand, NetworkType, SubnetRequest, UpdateNetwork},
    node::{Capacity, Hypervisor, NetworkFacts, NodeCommand, NodeFacts, NodeReport, PortRange},
    realization::RealizationReport,
    router::{CreateRouter, ExternalRequest, Route, Router, RouterCommand, UpdateRouter},
    security_group::{CreateSecurityGroup, SecurityGroupCommand},
    security_group_rule::{Direction, EtherType, Protocol, RemoteRequest, RuleRequest},
    vm::{CreateVm, NicRequest, RunStrategy, Vm, VmCommand, VmReport},
};
use uuid::Uuid;

/// A world, and the ids that its next command is given.
#[derive(Clone)]
pub struct Site {
    pub world: World,
    next_id: u128,
}

impl Site {
    /// A world with what a VM needs.
    pub fn new() -> Self {
        let mut site = Self { world: World::default(), next_id: 0x0190_0000_0000_7000_8000_0000_0000_0000 };
        for command in what_a_vm_needs() {
            site.has(command);
        }
        site.has(imported(&site.world));
        site
    }

    /// Decides and folds what must not be refused.
    pub fn has(&mut self, command: impl Into<Command>) {
        let command = command.into();
        let id = |offset| Uuid::from_u128(self.next_id + offset);
        let given = Given {
            commit_id: id(0),
            time: chrono::DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
            new_ids: [id(1), id(2)],
            actor: Actor { name: "admin".into(), credential: "token:0".into(), from: "127.0.0.1".into() },
            correlation_id: id(3),
            idempotency: None,
            precondition: None,
            reason: Some("a test".into()),
            fence: None,
        };
        self.next_id += 4;
        let decision = decide(&self.world, &given, &command).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
        let Decision::Commit { primary, events } = decision else { panic!("it leads to nothing: {command:?}") };
        let commit = Commit {
            id: given.commit_id,
            site: "test".into(),
            sequence: self.world.sequence.next(),
            time: given.time,
            actor: given.actor,
            command: command.name().into(),
            correlation_id: given.correlation_id,
            causation_id: None,
            traceparent: None,
            idempotency: None,
            reason: None,
            previous_hash: "0".repeat(64),
            primary,
            events,
        };
        self.world.evolve(&commit).unwrap();
    }

    pub fn network(&self, name: &str) -> &Network {
        self.world.network(&name.into()).unwrap()
    }

    pub fn router(&self, name: &str) -> &Router {
        self.world.router(&name.into()).unwrap()
    }

    pub fn vm(&self, name: &str) -> &Vm {
        self.world.vm(&name.into()).unwrap()
    }

    /// The nodes work by its NICs.
    pub fn nics_ready(&mut self, vm: &str) {
        let vm = self.vm(vm);
        let numbers = vm.nics.iter().map(|nic| nic.spec.number).collect();
        let (vm, generation, report) = (vm.id, vm.meta.generation, VmReport::NicsReady { numbers });
        self.has(Command::Vm(VmCommand::Report { vm, generation, report }));
    }

    /// The nodes work by it.
    pub fn realized(&mut self, name: &str) {
        let network = self.network(name);
        let (network, generation) = (network.id, network.meta.generation);
        let report = RealizationReport::Realized;
        self.has(Command::Network(NetworkCommand::Report { network, generation, report }));
    }
}

/// These many networks with these many VMs each, `n0` …, `n0-v0` …
pub fn many(networks: u32, vms: u32) -> Site {
    let mut site = Site::new();
    for number in 0..networks {
        let name = format!("n{number}");
        site.has(create(a_network(&name, &format!("10.{}.{}.0/24", number / 256, number % 256))));
        for vm in 0..vms {
            site.has(create_vm(&format!("{name}-v{vm}"), &[a_nic(&name)]));
        }
    }
    site
}

/// An image and a flavor.
pub fn what_a_vm_needs() -> [Command; 2] {
    let shape =
        Shape { vcpus: 1, memory_mib: 512, disk_gib: 5, dedicated_cpus: false, huge_pages: None, numa_nodes: None };
    let spec = ImageSpec {
        format: DiskFormat::Qcow2,
        source: ImageSource::Path { path: "/images/debian.qcow2".into() },
        architecture: "x86_64".into(),
        min_disk_gib: 0,
        min_memory_mib: 0,
        visibility: Visibility::Private,
    };
    let (description, labels) = (String::new(), Labels::default());
    [
        Command::Flavor(FlavorCommand::Create {
            name: name("small"),
            description: description.clone(),
            labels: labels.clone(),
            shape,
        }),
        Command::Image(ImageCommand::Create { name: name("debian"), description, labels, spec }),
    ]
}

/// The image is there.
pub fn imported(world: &World) -> Command {
    let image = world.image(&"debian".into()).unwrap();
    let content = ImageContent { size_bytes: 1 << 20, virtual_size_bytes: 2 << 30, sha256: "a".repeat(64) };
    let (image, generation, report) = (image.id, image.meta.generation, ImageReport::Imported(content));
    Command::Image(ImageCommand::Report { image, generation, report })
}

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A GENEVE network of this prefix.
pub fn a_network(network: &str, cidr: &str) -> CreateNetwork {
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

/// The same with a second prefix.
pub fn a_dual_network(network: &str, ipv6: &str, mode: Ipv6Mode) -> CreateNetwork {
    let second = SubnetRequest { ipv6_mode: Some(mode), ..a_subnet(ipv6) };
    CreateNetwork { subnets: vec![a_subnet("10.0.0.0/24"), second], ..a_network(network, "10.0.0.0/24") }
}

/// A network outside.
pub fn a_provider_network(network: &str, cidr: &str, vlan: Option<u32>) -> CreateNetwork {
    CreateNetwork {
        network_type: if vlan.is_some() { NetworkType::Vlan } else { NetworkType::Flat },
        segment_id: vlan,
        physical_network: Some(name("outside")),
        ..a_network(network, cidr)
    }
}

pub fn a_subnet(cidr: &str) -> SubnetRequest {
    SubnetRequest { cidr: cidr.parse().unwrap(), gateway_ip: None, pools: vec![], ipv6_mode: None }
}

pub fn a_route(destination: &str, next_hop: &str) -> HostRoute {
    HostRoute { destination: destination.parse().unwrap(), next_hop: next_hop.parse().unwrap() }
}

pub fn a_nic(network: &str) -> NicRequest {
    NicRequest { network: network.into(), fixed_ip: None, mac: None, security_groups: None, port_security: None }
}

pub fn a_nic_in(network: &str, groups: &[&str]) -> NicRequest {
    NicRequest { security_groups: Some(groups.iter().map(|group| (*group).into()).collect()), ..a_nic(network) }
}

/// A security group with the rules that one has from the first.
pub fn a_group(group: &str) -> CreateSecurityGroup {
    CreateSecurityGroup { name: name(group), description: String::new(), labels: Labels::default(), rules: None }
}

pub fn a_rule(direction: Direction, ether_type: EtherType) -> RuleRequest {
    RuleRequest {
        name: None,
        description: String::new(),
        labels: Labels::default(),
        direction,
        ether_type,
        protocol: Protocol::Any,
        remote: RemoteRequest::Any,
    }
}

pub fn create_group(create: CreateSecurityGroup) -> Command {
    Command::SecurityGroup(SecurityGroupCommand::Create(Box::new(create)))
}

/// A router with SNAT on these networks, and on one outside.
pub fn a_router(router: &str, internal: &[&str], external: Option<&str>) -> CreateRouter {
    CreateRouter {
        name: name(router),
        description: String::new(),
        labels: Labels::default(),
        enable_snat: true,
        internal: internal.iter().map(|one| (*one).into()).collect(),
        external: external.map(|network| ExternalRequest { network: network.into(), fixed_ip: None }),
        peer: None,
        routes: vec![],
    }
}

pub fn create_router(create: CreateRouter) -> Command {
    Command::Router(RouterCommand::Create(Box::new(create)))
}

/// An update of a router that changes nothing.
pub fn an_update(router: &str) -> UpdateRouter {
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

pub fn route(destination: &str, next_hop: &str) -> Route {
    Route { destination: destination.parse().unwrap(), next_hop: next_hop.parse().unwrap() }
}

/// This address of the only router with a way outside.
pub fn a_floating_ip(address: &str) -> CreateFloatingIp {
    CreateFloatingIp {
        name: None,
        description: String::new(),
        labels: Labels::default(),
        router: None,
        address: Some(address.parse().unwrap()),
        to: None,
        load_balancer: None,
    }
}

/// A load balancer on a network, for TCP port 80, with these VMs as members.
pub fn a_balancer(balancer: &str, network: &str, vms: &[&str]) -> CreateLoadBalancer {
    CreateLoadBalancer {
        name: name(balancer),
        description: String::new(),
        labels: Labels::default(),
        network: network.into(),
        vip: None,
        members: vms.iter().map(|vm| MemberRequest::Vm((*vm).into())).collect(),
        rules: vec!["tcp-80".parse().unwrap()],
        session_affinity: SessionAffinity::None,
        health_check: None,
    }
}

pub fn create_balancer(create: CreateLoadBalancer) -> Command {
    Command::LoadBalancer(LoadBalancerCommand::Create(Box::new(create)))
}

pub fn lead_to_balancer(ip: &str, balancer: &str) -> Command {
    let (floating_ip, load_balancer) = (ip.into(), balancer.into());
    Command::FloatingIp(FloatingIpCommand::AssociateLoadBalancer { floating_ip, load_balancer })
}

pub fn create_floating_ip(create: CreateFloatingIp) -> Command {
    Command::FloatingIp(FloatingIpCommand::Create(Box::new(create)))
}

pub fn associate(ip: &str, vm: &str) -> Command {
    let to = AssociationRequest { vm: vm.into(), fixed_ip: None };
    Command::FloatingIp(FloatingIpCommand::Associate { floating_ip: ip.into(), to })
}

/// What a node's workers tell of it.
pub fn a_registered_node(node: &str) -> Command {
    a_node_on(node, None)
}

/// The same of one that tells of its way into the virtual network.
pub fn a_node_on(node: &str, network: Option<NetworkFacts>) -> Command {
    let has = Capacity { vcpus: 8, memory_mib: 16 << 10, disk_gib: 100 };
    let facts = NodeFacts {
        addresses: vec!["127.0.0.1".into()],
        architecture: "x86_64".into(),
        kernel: "6.1".into(),
        operating_system: "Debian 12".into(),
        hypervisor: Hypervisor {
            name: "simulated".into(),
            version: "1".into(),
            accelerator: "none".into(),
            accelerator_reason: "a test".into(),
            simulated: true,
        },
        capacity: has,
        allocatable: has,
        ssh_ports: PortRange { first: 22000, last: 22999 },
        network,
    };
    Command::Node(NodeCommand::Report(NodeReport::Inventory { name: name(node), facts: Box::new(facts) }))
}

pub fn create(create: CreateNetwork) -> Command {
    Command::Network(NetworkCommand::Create(Box::new(create)))
}

pub fn create_vm(vm: &str, nics: &[NicRequest]) -> Command {
    Command::Vm(VmCommand::Create(Box::new(CreateVm {
        name: name(vm),
        description: String::new(),
        labels: Labels::default(),
        image: "debian".into(),
        flavor: "small".into(),
        root_disk_gib: None,
        keypair: None,
        user_data: None,
        node: None,
        node_selector: Labels::default(),
        run_strategy: RunStrategy::Always,
        networks: nics.to_vec(),
    })))
}

pub fn remove_vm(vm: &str) -> Command {
    Command::Vm(VmCommand::Delete { vm: vm.into() })
}

pub fn remove(network: &str) -> Command {
    Command::Network(NetworkCommand::Delete { network: network.into(), cascade: false })
}

/// Another look at a network is asked for.
pub fn reconcile(network: &str) -> Command {
    Command::Network(NetworkCommand::Reconcile { network: network.into() })
}

/// A change of a network.
pub fn update(network: &str, change: impl FnOnce(&mut UpdateNetwork)) -> Command {
    let mut update = UpdateNetwork {
        network: Reference::from(network),
        change: MetaChange::default(),
        mtu: None,
        dns_servers: None,
        host_routes: None,
        dhcp: None,
        pools: None,
        port_security: None,
    };
    change(&mut update);
    Command::Network(NetworkCommand::Update(Box::new(update)))
}
