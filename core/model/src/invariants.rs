//! What holds in every world that commands lead to, so that a log can be checked against it.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use crate::{
    Generation, World,
    floating_ip::{Association, FloatingIp},
    load_balancer::{self, LoadBalancer},
    realization::RealizationState,
    router::Router,
    security_group_rule::{Remote, SecurityGroupRule},
    vm::{NICS_MAX, Nic, NicStage, Target, Vm},
    world::Resource,
};

impl World {
    /// The first thing in this world that no commands lead to, in a sentence; `None`: it is sound.
    pub fn unsound(&self) -> Option<String> {
        self.resources()
            .find_map(|resource| self.unsound_alone(&resource))
            .or_else(|| self.unsound_places())
            .or_else(|| self.unsound_addresses())
    }

    /// A resource beside those that it names.
    fn unsound_alone(&self, resource: &Resource) -> Option<String> {
        let (kind, meta) = (resource.kind(), resource.meta());
        let wrong = |what: &str| Some(format!("{kind} \"{}\" {what}", meta.name));
        if self.id_of(kind, &meta.name) != Some(resource.id()) {
            return wrong("is not found by its name");
        }
        if meta.revision > self.sequence {
            return wrong("was touched by a commit that is yet to come");
        }
        if meta.generation < Generation::FIRST {
            return wrong("has no generation");
        }
        match resource {
            Resource::Webhook(webhook) if webhook.delivered_through > self.sequence => {
                wrong("has delivered what is yet to come")
            }
            Resource::Vm(vm) if !self.images.contains_key(&vm.spec.image) => wrong("has an image that is not there"),
            Resource::Vm(vm) if !self.flavors.contains_key(&vm.spec.flavor) => wrong("has a flavor that is not there"),
            Resource::Vm(vm) if vm.nics.iter().any(|nic| !self.networks.contains_key(&nic.spec.network)) => {
                wrong("has a NIC on a network that is not there")
            }
            Resource::Vm(vm) if are_numbered_wrong(vm) => wrong("has NICs whose numbers are not its own"),
            Resource::Vm(vm) if vm.nics.len() > NICS_MAX => wrong("has too many NICs"),
            Resource::Vm(vm) if vm.nics.iter().any(|nic| self.lacks_a_group(nic)) => {
                wrong("has a NIC in a security group that is not there")
            }
            Resource::SecurityGroupRule(rule) if !self.security_groups.contains_key(&rule.spec.group) => {
                wrong("is the rule of no group")
            }
            Resource::SecurityGroupRule(rule) if self.names_no_group(rule) => {
                wrong("is about a security group that is not there")
            }
            Resource::Router(router) if self.lacks_a_network(router) => wrong("is on a network that is not there"),
            Resource::FloatingIp(ip) if self.lacks_a_router(ip) => wrong("is of a router that is not there"),
            Resource::FloatingIp(ip) if self.leads_nowhere(ip) => wrong("leads to a VM that is not there"),
            Resource::LoadBalancer(balancer) if !self.networks.contains_key(&balancer.spec.network) => {
                wrong("is on a network that is not there")
            }
            Resource::LoadBalancer(balancer) if self.has_a_member_that_goes(balancer) => {
                wrong("has a member that is being removed")
            }
            Resource::Volume(volume) if !self.vms.contains_key(&volume.spec.vm) => wrong("is the disk of no VM"),
            Resource::Vm(_)
            | Resource::Volume(_)
            | Resource::Network(_)
            | Resource::SecurityGroup(_)
            | Resource::SecurityGroupRule(_)
            | Resource::Router(_)
            | Resource::FloatingIp(_)
            | Resource::LoadBalancer(_)
            | Resource::Image(_)
            | Resource::Flavor(_)
            | Resource::Keypair(_)
            | Resource::Node(_)
            | Resource::Webhook(_)
            | Resource::Lease(_) => None,
        }
    }

    fn lacks_a_group(&self, nic: &Nic) -> bool {
        nic.security_groups.iter().flatten().any(|group| !self.security_groups.contains_key(group))
    }

    /// A rule that is being removed may outlive the group that it is about.
    fn names_no_group(&self, rule: &SecurityGroupRule) -> bool {
        let stays = rule.realization.state != RealizationState::Deleting;
        matches!(rule.spec.remote, Remote::Group { group } if stays && !self.security_groups.contains_key(&group))
    }

    /// A router that is being removed may outlive its networks.
    fn lacks_a_network(&self, router: &Router) -> bool {
        let external = router.spec.external.as_ref().map(|external| external.network);
        let mut networks = router.spec.internal.iter().copied().chain(external);
        let stays = router.realization.state != RealizationState::Deleting;
        stays && networks.any(|network| !self.networks.contains_key(&network))
    }

    /// One that is being removed may outlive its router.
    fn lacks_a_router(&self, ip: &FloatingIp) -> bool {
        let stays = ip.realization.state != RealizationState::Deleting;
        stays && !self.routers.contains_key(&ip.spec.router)
    }

    fn leads_nowhere(&self, ip: &FloatingIp) -> bool {
        let leads = ip.association.is_some() || ip.load_balancer.is_some();
        let both = ip.association.is_some() && ip.load_balancer.is_some();
        let leaves = ip.association.as_ref().is_some_and(|to| self.leads_to_a_leaving_nic(to));
        both || leaves || (leads && ip.leads_into(self).is_none())
    }

    fn leads_to_a_leaving_nic(&self, to: &Association) -> bool {
        let mut nics = self.vms.get(&to.vm).into_iter().flat_map(|vm| &vm.nics);
        nics.any(|nic| nic.spec.number == to.nic && nic.stage == NicStage::Leaving)
    }

    fn has_a_member_that_goes(&self, balancer: &LoadBalancer) -> bool {
        let goes = |address: &IpAddr| {
            let nic = load_balancer::member_nic(self, balancer.spec.network, *address);
            nic.is_some_and(|(vm, nic)| vm.target == Target::Deleted || nic.stage == NicStage::Leaving)
        };
        let stays = balancer.realization.state != RealizationState::Deleting;
        stays && balancer.spec.members.iter().any(goes)
    }

    /// An address of a network, and a MAC address, has one holder; a network has one router.
    fn unsound_addresses(&self) -> Option<String> {
        let (mut macs, mut addresses, mut joined) = (HashSet::new(), HashSet::new(), HashSet::new());
        for network in self.networks.values() {
            let gateways = network.spec.subnets.iter().filter_map(|subnet| subnet.gateway_ip);
            addresses.extend(gateways.map(|gateway| (network.id, gateway)));
        }
        let stays = |router: &&Arc<Router>| router.realization.state != RealizationState::Deleting;
        for router in self.routers.values().filter(stays) {
            let name = &router.meta.name;
            if router.spec.internal.iter().any(|network| !joined.insert(*network)) {
                return Some(format!("router \"{name}\" is on a network that another one is on"));
            }
            let outside = router.spec.external.iter();
            let mut outside = outside.flat_map(|external| external.addresses.iter().map(|ip| (external.network, *ip)));
            if outside.any(|address| !addresses.insert(address)) {
                return Some(format!("router \"{name}\" has an address outside that is another's"));
            }
        }
        for ip in self.floating_ips.values() {
            if !addresses.insert((ip.spec.network, ip.spec.address)) {
                return Some(format!("floating_ip \"{}\" is another's address", ip.meta.name));
            }
        }
        for balancer in self.load_balancers.values() {
            let spec = &balancer.spec;
            let mut all = [spec.vip].into_iter().chain(spec.health_check.map(|check| check.source));
            if all.any(|address| !addresses.insert((spec.network, address))) {
                return Some(format!("load_balancer \"{}\" has an address that is another's", balancer.meta.name));
            }
        }
        for vm in self.vms.values() {
            for nic in &vm.nics {
                if !macs.insert(nic.spec.mac) {
                    return Some(format!("vm \"{}\" has the MAC address of another NIC", vm.meta.name));
                }
                for address in &nic.spec.addresses {
                    if !addresses.insert((nic.spec.network, *address)) {
                        return Some(format!("vm \"{}\" has {address}, which is another's", vm.meta.name));
                    }
                }
            }
        }
        None
    }

    /// What is given to one VM is given to no other.
    fn unsound_places(&self) -> Option<String> {
        let (mut macs, mut ports, mut disks) = (HashSet::new(), HashSet::new(), HashSet::new());
        for vm in self.vms.values() {
            let Some(place) = &vm.placement else { continue };
            let wrong = |what: &str| Some(format!("vm \"{}\" {what}", vm.meta.name));
            if !self.nodes.contains_key(&place.node) {
                return wrong("has a place on a node that is not there");
            }
            if !self.volumes.contains_key(&place.root_volume) {
                return wrong("has a root disk that is not there");
            }
            if !macs.insert(&place.mac) {
                return wrong("has the MAC address of another");
            }
            if !ports.insert((place.node, place.ssh_port)) {
                return wrong("has the SSH port of another on its node");
            }
            if !disks.insert(place.root_volume) {
                return wrong("has the root disk of another");
            }
        }
        None
    }
}

/// Numbers of NICs rise, and none is given again.
fn are_numbered_wrong(vm: &Vm) -> bool {
    let numbers = || vm.nics.iter().map(|nic| nic.spec.number);
    numbers().zip(numbers().skip(1)).any(|(one, next)| one >= next) || numbers().any(|number| number >= vm.next_nic)
}
