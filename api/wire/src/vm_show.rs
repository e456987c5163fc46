//! From the model's VM and its neighbours to the VM as it travels.

use std::{collections::BTreeMap, net::IpAddr};

use edgestack_model::{
    Id, Name, flavor::Flavor, image::Image, network::Network, node::Node, security_group::SecurityGroup, vm, vm::Power,
    volume::Volume,
};

use crate::{
    meta::{Meta, Waiting},
    node::Condition,
    vm::{Address, BootDisk, Guest, Instance, LastStop, SshEndpoint, UserData, Vm, VmNic},
};

/// QEMU's user-mode network gives its first guest this address. Source: QEMU documentation, "Network emulation".
const USER_NAT_IP: &str = "10.0.2.15";

/// What a VM is shown with.
pub struct Neighbours<'a> {
    /// Its image.
    pub image: Option<&'a Image>,
    /// Its flavor.
    pub flavor: Option<&'a Flavor>,
    /// Its root disk.
    pub root_volume: Option<&'a Volume>,
    /// Its node.
    pub node: Option<&'a Node>,
    /// The names of its networks.
    pub networks: BTreeMap<Id<Network>, Name>,
    /// The names of its NICs' security groups.
    pub security_groups: BTreeMap<Id<SecurityGroup>, Name>,
    /// The floating IPs that lead to it.
    pub floating_ips: Vec<IpAddr>,
    /// What it waits for, by [`vm::Vm::waiting`].
    pub waiting: Option<edgestack_model::Waiting>,
}

impl Vm {
    /// A VM among its neighbours.
    pub fn of(vm: &vm::Vm, around: Neighbours<'_>) -> Self {
        let disk_available =
            around.root_volume.is_some_and(|volume| volume.state == edgestack_model::volume::VolumeState::Available);
        let attempts = match (vm.failure.as_ref(), around.root_volume.and_then(|volume| volume.failure.as_ref())) {
            (Some(failure), _) | (None, Some(failure)) => failure.attempt,
            (None, None) => 0,
        };
        let shape = &vm.spec.shape;
        let networks = vm.nics.iter().map(|nic| shown_nic(vm, nic, &around)).collect();
        Self {
            meta: Meta::of(vm.id.uuid(), &vm.meta),
            state: vm.state(disk_available).as_str().to_owned(),
            target: match vm.target {
                vm::Target::Running => "running",
                vm::Target::Paused => "paused",
                vm::Target::Stopped { .. } => "stopped",
                vm::Target::Deleted => "deleted",
            }
            .to_owned(),
            waiting: around.waiting.map(|waiting| Waiting::of(waiting, attempts)),
            run_strategy: vm.spec.run_strategy.into(),
            image: around.image.map_or_else(|| vm.spec.image.to_string(), |image| image.meta.name.to_string()),
            image_id: vm.spec.image.uuid(),
            flavor: around.flavor.map_or_else(|| vm.spec.flavor.to_string(), |flavor| flavor.meta.name.to_string()),
            flavor_id: vm.spec.flavor.uuid(),
            vcpus: shape.vcpus,
            memory_mib: shape.memory_mib,
            boot_disk: BootDisk {
                volume_id: vm.placement.as_ref().map(|placement| placement.root_volume.uuid()),
                volume: around.root_volume.map(|volume| volume.meta.name.to_string()),
                size_gib: shape.disk_gib,
                state: around.root_volume.map(|volume| volume.state.as_str().to_owned()),
            },
            volumes: vec![],
            networks,
            addresses: addresses(vm, &around.networks),
            floating_ips: around.floating_ips.iter().map(ToString::to_string).collect(),
            ssh: vm
                .placement
                .as_ref()
                // Its port leads to the user-mode NIC.
                .filter(|_| vm.nics.is_empty())
                .map(|placement| SshEndpoint { host: "127.0.0.1".to_owned(), port: placement.ssh_port }),
            keypair: vm.spec.keypair.as_ref().map(|keypair| keypair.name.to_string()),
            user_data: vm
                .spec
                .user_data
                .as_ref()
                .map(|sealed| UserData { sealed: true, length_bytes: sealed.length_bytes }),
            node: around.node.map(|node| node.meta.name.to_string()),
            node_selector: vm.spec.node_selector.clone().into(),
            instance: vm.power.instance().map(|instance| Instance {
                pid: instance.pid,
                hypervisor: instance.hypervisor.clone(),
                accelerator: instance.accelerator.clone(),
                started_at: instance.started_at,
            }),
            guest: vm.guest_agent.as_ref().map(|agent| Guest {
                hostname: agent.hostname.clone(),
                operating_system: agent.operating_system.clone(),
                since: agent.since,
            }),
            last_stop: vm.last_stop.as_ref().map(|stop| LastStop {
                how: stop.how.as_str().to_owned(),
                detail: stop.detail.clone(),
                at: stop.at,
            }),
            conditions: conditions(vm, around.root_volume),
            simulated: around.node.is_some_and(|node| node.facts.hypervisor.simulated),
        }
    }
}

fn shown_nic(vm: &vm::Vm, nic: &vm::Nic, around: &Neighbours<'_>) -> VmNic {
    let group_name =
        |id: &Id<SecurityGroup>| around.security_groups.get(id).map_or_else(|| id.to_string(), ToString::to_string);
    let vm::NicSpec { number, network, mac, addresses } = &nic.spec;
    VmNic {
        number: *number,
        network: network_name(*network, &around.networks),
        network_id: network.uuid(),
        fixed_ip: addresses.first().map(ToString::to_string).unwrap_or_default(),
        addresses: addresses.iter().map(ToString::to_string).collect(),
        mac: mac.to_string(),
        security_groups: nic.security_groups.as_ref().map(|groups| groups.iter().map(group_name).collect()),
        port_security: nic.port_security,
        ready: nic.ready,
        state: vm.nic_state(nic).as_str().to_owned(),
    }
}

fn network_name(network: Id<Network>, names: &BTreeMap<Id<Network>, Name>) -> String {
    names.get(&network).map_or_else(|| network.to_string(), ToString::to_string)
}

fn addresses(vm: &vm::Vm, names: &BTreeMap<Id<Network>, Name>) -> Vec<Address> {
    if !vm.nics.is_empty() {
        let of_nic = |nic: &vm::Nic| {
            let (network, mac) = (network_name(nic.spec.network, names), nic.spec.mac.to_string());
            let addresses = nic.spec.addresses.clone().into_iter();
            addresses.map(move |ip| Address { network: network.clone(), ip: ip.to_string(), mac: mac.clone() })
        };
        return vm.nics.iter().flat_map(of_nic).collect();
    }
    vm.placement
        .iter()
        .filter(|_| vm.power != Power::Off)
        .map(|placement| Address {
            network: "user-nat".to_owned(),
            ip: USER_NAT_IP.to_owned(),
            mac: placement.mac.clone(),
        })
        .collect()
}

fn conditions(vm: &vm::Vm, root_volume: Option<&Volume>) -> Vec<Condition> {
    let condition = |condition_type: &str, status: bool, message: String, since| Condition {
        condition_type: condition_type.to_owned(),
        status,
        message,
        since,
    };
    let scheduled = match &vm.placement {
        Some(_) => "it has a node".to_owned(),
        None => {
            vm.passed_over.iter().map(|node| format!("{}: {}", node.node, node.reason)).collect::<Vec<_>>().join("; ")
        }
    };
    let disk_available =
        root_volume.is_some_and(|volume| volume.state == edgestack_model::volume::VolumeState::Available);
    let disk = match root_volume {
        None => "not made yet".to_owned(),
        Some(volume) => match &volume.failure {
            Some(failure) => failure.reason.clone(),
            None => volume.state.as_str().to_owned(),
        },
    };
    let since = vm.power.instance().map(|instance| instance.started_at);
    let (running, why) = match &vm.power {
        Power::Running(_) => (true, "its vCPUs run"),
        Power::Paused(_) => (false, "paused"),
        Power::Off => (false, "no process"),
    };
    let unready: Vec<String> = vm.nics.iter().filter(|nic| !nic.ready).map(|nic| nic.spec.number.to_string()).collect();
    let network = match (vm.nics.is_empty(), unready.is_empty()) {
        (true, _) => "it is on no network".to_owned(),
        (false, true) => "the nodes work by all of its NICs".to_owned(),
        (false, false) => {
            format!("worker.gateway has not made NIC {} yet; edgectl explain its network", unready.join(", "))
        }
    };
    let on_networks = (!vm.nics.is_empty()).then(|| condition("NetworkReady", unready.is_empty(), network, None));
    let conditions = vec![
        condition("Scheduled", vm.placement.is_some(), scheduled, None),
        condition("DiskReady", disk_available, disk, root_volume.map(|volume| volume.meta.updated_at)),
        condition("Running", running, why.to_owned(), since),
        condition(
            "GuestAgentConnected",
            vm.guest_agent.is_some(),
            if vm.guest_agent.is_some() { "it answered" } else { "it has not answered in this run" }.to_owned(),
            vm.guest_agent.as_ref().map(|agent| agent.since),
        ),
    ];
    conditions.into_iter().chain(on_networks).collect()
}
