//! What clients wish for, at random on a small name space.

pub mod load_balancer;
pub mod network;
pub mod router;
pub mod security_group;

use edgestack_model::{
    Command, Labels, World,
    command::Reference,
    flavor::{FlavorCommand, Shape},
    image::{DiskFormat, ImageCommand, ImageSource, ImageSpec, Visibility},
    meta::MetaChange,
    node::NodeCommand,
    vm::{CreateVm, NicChoice, NicRequest, RunStrategy, VmCommand},
};

use crate::random::Random;

/// Anything that somebody may wish for in this world.
pub fn a_command(random: &Random, world: &World) -> Command {
    let vm = || format!("vm-{}", random.below(6)).as_str().into();
    let node = || random.one_of(&["edge-1", "edge-2", "edge-3"]).to_owned().into();
    let image = || format!("image-{}", random.below(2));
    let flavor = || format!("flavor-{}", random.below(2));
    match random.below(160) {
        0..5 => an_image(&image()),
        5..9 => a_flavor(&flavor(), random),
        9..11 => Command::Image(ImageCommand::Delete { image: image().into() }),
        11..12 => Command::Flavor(FlavorCommand::Delete { flavor: flavor().into() }),
        12..16 => Command::Node(NodeCommand::Cordon { node: node() }),
        16..22 => Command::Node(NodeCommand::Uncordon { node: node() }),
        22..47 => a_vm(random, image(), flavor()),
        47..57 => Command::Vm(VmCommand::Start { vm: vm() }),
        57..67 => Command::Vm(VmCommand::Stop { vm: vm(), grace_seconds: *random.one_of(&[0, 5, 30, 120]) }),
        67..75 => Command::Vm(VmCommand::Restart { vm: vm() }),
        75..80 => Command::Vm(VmCommand::Pause { vm: vm() }),
        80..85 => Command::Vm(VmCommand::Unpause { vm: vm() }),
        85..90 => Command::Vm(VmCommand::Update {
            vm: vm(),
            change: MetaChange { description: Some(random.below(9).to_string()), labels: None },
            run_strategy: Some(a_strategy(random)),
            node_selector: None,
        }),
        90..100 => Command::Vm(VmCommand::Delete { vm: vm() }),
        100..112 => network::a_wish(random),
        112..124 => security_group::a_wish(random, world),
        124..136 => router::a_wish(random, world),
        136..146 => load_balancer::a_wish(random, world),
        146..151 => security_group::an_edit(random, world, vm()),
        151..152 => Command::Vm(VmCommand::EditNics {
            vm: one_that_has_some(random, world, vm()),
            nic: random.per_mille(400).then(|| u32::try_from(random.below(3)).unwrap()),
            port_security: random.per_mille(500),
        }),
        152..156 => {
            Command::Vm(VmCommand::AttachNic { vm: one_that_has_some(random, world, vm()), nic: some_nic(random) })
        }
        _ => a_detachment(random, world, vm()),
    }
}

fn a_strategy(random: &Random) -> RunStrategy {
    *random.one_of(&[
        RunStrategy::Always,
        RunStrategy::Always,
        RunStrategy::RerunOnFailure,
        RunStrategy::Manual,
        RunStrategy::Halted,
    ])
}

pub fn an_image(name: &str) -> Command {
    Command::Image(ImageCommand::Create {
        name: name.parse().unwrap(),
        description: String::new(),
        labels: Labels::default(),
        spec: ImageSpec {
            format: DiskFormat::Qcow2,
            source: ImageSource::Path { path: "/simulated".into() },
            architecture: "x86_64".into(),
            min_disk_gib: 0,
            min_memory_mib: 0,
            visibility: Visibility::Private,
        },
    })
}

pub fn a_flavor(name: &str, random: &Random) -> Command {
    Command::Flavor(FlavorCommand::Create {
        name: name.parse().unwrap(),
        description: String::new(),
        labels: Labels::default(),
        shape: Shape {
            vcpus: 1 + u32::try_from(random.below(2)).unwrap(),
            memory_mib: 512,
            disk_gib: 5,
            dedicated_cpus: false,
            huge_pages: None,
            numa_nodes: None,
        },
    })
}

fn a_vm(random: &Random, image: String, flavor: String) -> Command {
    Command::Vm(VmCommand::Create(Box::new(CreateVm {
        name: format!("vm-{}", random.below(6)).parse().unwrap(),
        description: String::new(),
        labels: Labels::default(),
        image: image.into(),
        flavor: flavor.into(),
        root_disk_gib: None,
        keypair: None,
        user_data: None,
        node: random.per_mille(200).then(|| random.one_of(&["edge-1", "edge-2", "edge-3"]).to_owned().into()),
        node_selector: Labels::default(),
        run_strategy: a_strategy(random),
        networks: nics(random),
    })))
}

/// A NIC on a network, with the last parts of the addresses wished for.
pub fn a_nic(network: &str, address: Option<u64>, mac: Option<u64>) -> NicRequest {
    let number = network.trim_start_matches("net-");
    NicRequest {
        network: network.into(),
        fixed_ip: address.map(|last| format!("10.0.{number}.{last}").parse().unwrap()),
        mac: mac.map(|last| format!("fa:16:3e:00:00:0{last}").parse().unwrap()),
        security_groups: None,
        port_security: None,
    }
}

/// None, one or two.
fn nics(random: &Random) -> Vec<NicRequest> {
    let count = random.below(3);
    (0..count).map(|_| some_nic(random)).collect()
}

fn some_nic(random: &Random) -> NicRequest {
    let network = network::a_name(random);
    let wished = |rate| random.per_mille(rate).then(|| random.below(8));
    let nic = a_nic(&network, wished(200), wished(150));
    let port_security = random.per_mille(200).then(|| random.per_mille(500));
    NicRequest { security_groups: security_group::of_a_nic(random), port_security, ..nic }
}

/// A NIC that goes, mostly one that is there; at times on a network that several are on, or none.
fn a_detachment(random: &Random, world: &World, any: Reference) -> Command {
    let vm = one_that_has_some(random, world, any);
    let there: Vec<u32> = world.vm(&vm).iter().flat_map(|vm| &vm.nics).map(|nic| nic.spec.number).collect();
    let nic = match random.below(8) {
        0 => NicChoice::Number(9),
        1 | 2 => NicChoice::Network(network::a_name(random).as_str().into()),
        _ if there.is_empty() => NicChoice::Number(0),
        _ => NicChoice::Number(*random.one_of(&there)),
    };
    Command::Vm(VmCommand::DetachNic { vm, nic })
}

/// A VM with NICs, mostly.
fn one_that_has_some(random: &Random, world: &World, any: Reference) -> Reference {
    let with_nics: Vec<_> = world.vms.values().filter(|vm| !vm.nics.is_empty()).collect();
    if with_nics.is_empty() || random.per_mille(200) { any } else { Reference::id(random.one_of(&with_nics).id) }
}
