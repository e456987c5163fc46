//! Events in words, for people: one sentence, what changed.

use crate::{
    Event,
    event::Fact,
    flavor::FlavorEvent,
    floating_ip::FloatingIpEvent,
    image::{ImageEvent, ImageSource},
    keypair::KeypairEvent,
    lease::LeaseEvent,
    load_balancer::LoadBalancerEvent,
    meta::MetaChange,
    network::NetworkEvent,
    node::NodeEvent,
    router::RouterEvent,
    security_group::SecurityGroupEvent,
    security_group_rule::{Direction, Remote, SecurityGroupRuleEvent},
    vm::{AfterStop, Target, VmEvent},
    volume::VolumeEvent,
    waiting::Failure,
    webhook::WebhookEvent,
};

const LOOK_AGAIN: &str = "to be looked at again now";
const ACTIVE: &str = "active: the nodes work by it";
const FORGOTTEN: &str = "forgotten by force; what is left of it is removed when the virtual network can be reached";

impl Event {
    /// What happened, in a sentence.
    pub fn describe(&self) -> String {
        match &self.fact {
            Fact::Vm(event) => vm(event),
            Fact::Image(event) => image(event),
            Fact::Flavor(event) => flavor(event),
            Fact::Keypair(event) => keypair(event),
            Fact::Node(event) => node(event),
            Fact::Volume(event) => volume(event),
            Fact::Network(event) => network(event),
            Fact::SecurityGroup(event) => security_group(event),
            Fact::SecurityGroupRule(event) => security_group_rule(event),
            Fact::Router(event) => router(event),
            Fact::FloatingIp(event) => floating_ip(event),
            Fact::LoadBalancer(event) => load_balancer(event),
            Fact::Webhook(event) => webhook(event),
            Fact::Lease(event) => lease(event),
        }
    }
}

fn vm(event: &VmEvent) -> String {
    match event {
        VmEvent::VmCreated { spec, target, .. } => {
            let then = match target {
                Target::Running | Target::Paused => "to run",
                Target::Stopped { .. } | Target::Deleted => "to stay stopped",
            };
            format!("created with {}, {then}", spec.shape)
        }
        VmEvent::VmUpdated { change, run_strategy, node_selector } => {
            let mut parts = changed(change);
            if let Some(strategy) = run_strategy {
                parts.push(format!("run strategy {}", strategy.as_str()));
            }
            if node_selector.is_some() {
                parts.push("node selector".to_owned());
            }
            format!("changed: {}", parts.join(", "))
        }
        VmEvent::VmScheduled { placement, node_name } => {
            format!("placed on node {node_name}, SSH on its loopback port {}", placement.ssh_port)
        }
        VmEvent::VmUnschedulable { failure, .. } => failed(failure),
        VmEvent::VmStartRequested { .. } => "start asked for".to_owned(),
        VmEvent::VmStopRequested { grace_seconds: 0 } => "stop asked for, at once".to_owned(),
        VmEvent::VmStopRequested { grace_seconds } => {
            format!("stop asked for; the guest has {grace_seconds} s to shut down")
        }
        VmEvent::VmRestartRequested { .. } => "restart asked for".to_owned(),
        VmEvent::VmPauseRequested {} => "pause asked for".to_owned(),
        VmEvent::VmUnpauseRequested {} => "unpause asked for".to_owned(),
        VmEvent::VmDeleteRequested {} => "removal asked for".to_owned(),
        VmEvent::VmStarted { instance } => {
            format!("runs on {} ({}), pid {}", instance.hypervisor, instance.accelerator, instance.pid)
        }
        VmEvent::VmPaused {} => "paused".to_owned(),
        VmEvent::VmUnpaused {} => "runs again".to_owned(),
        VmEvent::VmStopped { how, detail, then } => {
            let then = match then {
                AfterStop::AsWished => String::new(),
                AfterStop::StaysStopped => "; it stays stopped, as its run strategy says".to_owned(),
                AfterStop::StartsAgain => "; it starts again, as its run strategy says".to_owned(),
                AfterStop::StartsAgainAfter { failure, .. } => {
                    format!("; it starts again at {}", failure.next_attempt_at.format("%H:%M:%S UTC"))
                }
            };
            format!("stopped ({}): {detail}{then}", how.as_str())
        }
        VmEvent::VmAttemptFailed { failure } => failed(failure),
        VmEvent::VmSshPortMoved { ssh_port } => {
            format!("its SSH port was taken by another program; it is {ssh_port} now")
        }
        VmEvent::VmGuestAgentConnected { guest_agent } => {
            format!("guest agent answered: {} on {}", guest_agent.hostname, guest_agent.operating_system)
        }
        VmEvent::VmNicAttached { nic, network_name } => format!(
            "NIC {} on network {network_name}: {}, {}",
            nic.number,
            nic.addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            nic.mac
        ),
        VmEvent::VmNicSecurityGroupsChanged { number, group_names, .. } if group_names.is_empty() => {
            format!("NIC {number} is in no security group: nothing passes")
        }
        VmEvent::VmNicSecurityGroupsChanged { number, group_names, .. } => {
            let names: Vec<&str> = group_names.iter().map(crate::Name::as_str).collect();
            format!("NIC {number} is in security groups {}", names.join(", "))
        }
        VmEvent::VmNicPortSecurityChanged { number, port_security: true } => {
            format!("NIC {number} is held to its own addresses: port security is on")
        }
        VmEvent::VmNicPortSecurityChanged { number, port_security: false } => {
            format!("NIC {number} may send from any address and gets what is for none: port security is off")
        }
        VmEvent::VmNicDetachRequested { number } => format!("asked to detach NIC {number}"),
        VmEvent::VmNicDetached { number } => format!("NIC {number} is detached, and its addresses are free"),
        VmEvent::VmNicPlugged { number } => format!("NIC {number} is in the running VM"),
        VmEvent::VmNicAttemptFailed { number, failure } => format!("NIC {number}: {}", failed(failure)),
        VmEvent::VmNicBecameReady { number } => format!("NIC {number} is in the virtual network"),
        VmEvent::VmNicDrifted { number, what } => {
            format!("NIC {number} was changed by others, and is mended: {}", what.join("; "))
        }
        VmEvent::VmReleased {} => "nothing of it runs any more".to_owned(),
        VmEvent::VmDeleted {} => "gone".to_owned(),
        VmEvent::VmReconcileRequested {} => LOOK_AGAIN.to_owned(),
        VmEvent::VmForceRemoved { left_on: None } => "forgotten by force".to_owned(),
        VmEvent::VmForceRemoved { left_on: Some(node) } => {
            format!("forgotten by force; what is left of it on node {node} is an orphan there")
        }
    }
}

fn image(event: &ImageEvent) -> String {
    match event {
        ImageEvent::ImageCreated { spec, .. } => match &spec.source {
            ImageSource::Path { path } => format!("created, {} from {path}", spec.format.as_str()),
            ImageSource::Upload => {
                format!("created, {}, waits for its upload", spec.format.as_str())
            }
        },
        ImageEvent::ImageUpdated { change, visibility, min_disk_gib, min_memory_mib } => {
            let mut parts = changed(change);
            parts.extend(visibility.map(|_| "visibility".to_owned()));
            parts.extend(min_disk_gib.map(|gib| format!("smallest disk {gib} GiB")));
            parts.extend(min_memory_mib.map(|mib| format!("smallest memory {mib} MiB")));
            format!("changed: {}", parts.join(", "))
        }
        ImageEvent::ImageUploaded { size_bytes, .. } => format!("{size_bytes} bytes uploaded"),
        ImageEvent::ImageImported { content } => {
            format!("active: {} bytes, {} bytes for the guest", content.size_bytes, content.virtual_size_bytes)
        }
        ImageEvent::ImageAttemptFailed { failure } => failed(failure),
        ImageEvent::ImageRejected { failure } => format!("cannot be used: {}", failure.reason),
        ImageEvent::ImageDeleteRequested {} => "removal asked for".to_owned(),
        ImageEvent::ImageDeleted {} => "gone".to_owned(),
        ImageEvent::ImageReconcileRequested {} => LOOK_AGAIN.to_owned(),
        ImageEvent::ImageForceRemoved {} => "forgotten by force; what is left of its file is an orphan".to_owned(),
    }
}

fn flavor(event: &FlavorEvent) -> String {
    match event {
        FlavorEvent::FlavorCreated { shape, .. } => format!("created: {shape}"),
        FlavorEvent::FlavorUpdated { change } => format!("changed: {}", changed(change).join(", ")),
        FlavorEvent::FlavorDeleted {} => "gone".to_owned(),
    }
}

fn keypair(event: &KeypairEvent) -> String {
    match event {
        KeypairEvent::KeypairCreated { key, .. } => {
            format!("created: {} {}", key.key_type, key.fingerprint)
        }
        KeypairEvent::KeypairUpdated { change } => {
            format!("changed: {}", changed(change).join(", "))
        }
        KeypairEvent::KeypairDeleted {} => "gone".to_owned(),
    }
}

fn lease(event: &LeaseEvent) -> String {
    match event {
        LeaseEvent::LeaseTaken { node, epoch, taken_from: None, .. } => {
            format!("taken by a process on node {node} (epoch {epoch})")
        }
        LeaseEvent::LeaseTaken { node, epoch, taken_from: Some(before), .. } => {
            format!("taken over by a process on node {node} from one on node {before} (epoch {epoch})")
        }
        LeaseEvent::LeaseReleased { epoch } => format!("given back (epoch {epoch})"),
    }
}

fn node(event: &NodeEvent) -> String {
    match event {
        NodeEvent::NodeRegistered { facts } | NodeEvent::NodeFactsChanged { facts } => format!(
            "{} {} ({}), {} vCPUs, {} MiB memory, {} GiB disk for VMs{}",
            facts.hypervisor.name,
            facts.hypervisor.version,
            facts.hypervisor.accelerator,
            facts.allocatable.vcpus,
            facts.allocatable.memory_mib,
            facts.allocatable.disk_gib,
            match &facts.network {
                Some(network) if network.physical_networks.is_empty() => ", on the virtual network".to_owned(),
                Some(network) => {
                    format!(", on the virtual network, leads to {}", network.physical_networks.join(", "))
                }
                None => String::new(),
            }
        ),
        NodeEvent::NodeUpdated { change } => format!("changed: {}", changed(change).join(", ")),
        NodeEvent::NodeReconcileRequested {} => LOOK_AGAIN.to_owned(),
        NodeEvent::NodeLogReleased { through, .. } => {
            format!("the log: commits up to {through} may leave the live log for the archive")
        }
        NodeEvent::NodeForceRemoved {} => "forgotten by force".to_owned(),
        NodeEvent::NodeCordoned {} => "cordoned: no new VMs".to_owned(),
        NodeEvent::NodeUncordoned {} => "uncordoned: takes new VMs".to_owned(),
        NodeEvent::NodeBecameReady {} => "ready: its workers are heard".to_owned(),
        NodeEvent::NodeBecameNotReady { reason } => format!("not ready: {reason}"),
        NodeEvent::NodeOrphanFound { orphan, record: Some(record) } => {
            format!("{} that is not in the log: {}, {}", record.describe(), orphan.place, orphan.id)
        }
        NodeEvent::NodeOrphanFound { orphan, record: None } => {
            format!("{} that is not in the log: {}, {}", orphan.kind.words(), orphan.place, orphan.id)
        }
        NodeEvent::NodeOrphanGone { orphan } => {
            format!("{} that is not in the log is gone, or is in it now: {}", orphan.kind.words(), orphan.place)
        }
        NodeEvent::NodeUnlistedOrphansCounted { unlisted: 0 } => "all that is not in the log is listed".to_owned(),
        NodeEvent::NodeUnlistedOrphansCounted { unlisted } => {
            format!("{unlisted} more things that are not in the log are not listed")
        }
        NodeEvent::NodeLeftoverRemoved { leftover, reason } => {
            format!("{} was removed: {}; {reason}", leftover.kind.words(), leftover.place)
        }
    }
}

fn volume(event: &VolumeEvent) -> String {
    match event {
        VolumeEvent::VolumeCreated { spec } => {
            format!("root disk of {} GiB asked for", spec.size_gib)
        }
        VolumeEvent::VolumeBecameAvailable {} => "root disk is there".to_owned(),
        VolumeEvent::VolumeAttemptFailed { failure } => failed(failure),
        VolumeEvent::VolumeDeleteRequested {} => "removal of the root disk asked for".to_owned(),
        VolumeEvent::VolumeDeleted {} => "root disk is gone".to_owned(),
        VolumeEvent::VolumeReconcileRequested {} => LOOK_AGAIN.to_owned(),
        VolumeEvent::VolumeForceRemoved {} => {
            "root disk is forgotten by force; what is left of it is an orphan".to_owned()
        }
    }
}

fn network(event: &NetworkEvent) -> String {
    match event {
        NetworkEvent::NetworkCreated { spec, .. } => {
            let prefixes: Vec<String> = spec.subnets.iter().map(|subnet| subnet.cidr.to_string()).collect();
            let segment = spec.segment_id.map(|segment| format!(" {segment}")).unwrap_or_default();
            format!("created: {}{segment}, {}", spec.network_type.as_str(), prefixes.join(" and "))
        }
        NetworkEvent::NetworkUpdated { change, mtu, dns_servers, host_routes, dhcp, pools, port_security } => {
            let mut parts = changed(change);
            parts.extend(mtu.map(|mtu| format!("mtu {mtu}")));
            parts.extend(dns_servers.as_ref().map(|_| "DNS servers".to_owned()));
            parts.extend(host_routes.as_ref().map(|_| "host routes".to_owned()));
            parts.extend(dhcp.map(|dhcp| if dhcp { "DHCP on" } else { "DHCP off" }.to_owned()));
            parts.extend(port_security.map(|on| format!("port security {}", if on { "on" } else { "off" })));
            parts.extend(pools.as_ref().map(|pools| {
                format!("addresses from {}", pools.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
            }));
            format!("changed: {}", parts.join(", "))
        }
        NetworkEvent::NetworkBecameReady {} => ACTIVE.to_owned(),
        NetworkEvent::NetworkDrifted { what } => drifted(what),
        NetworkEvent::NetworkAttemptFailed { failure } => failed(failure),
        NetworkEvent::NetworkDeleteRequested {} => "removal asked for".to_owned(),
        NetworkEvent::NetworkDeleted {} => "gone".to_owned(),
        NetworkEvent::NetworkReconcileRequested {} => LOOK_AGAIN.to_owned(),
        NetworkEvent::NetworkForceRemoved {} => FORGOTTEN.to_owned(),
    }
}

fn security_group(event: &SecurityGroupEvent) -> String {
    match event {
        SecurityGroupEvent::SecurityGroupCreated { .. } => "created".to_owned(),
        SecurityGroupEvent::SecurityGroupUpdated { change } => format!("changed: {}", changed(change).join(", ")),
        SecurityGroupEvent::SecurityGroupBecameReady {} => ACTIVE.to_owned(),
        SecurityGroupEvent::SecurityGroupDrifted { what } => drifted(what),
        SecurityGroupEvent::SecurityGroupAttemptFailed { failure } => failed(failure),
        SecurityGroupEvent::SecurityGroupDeleteRequested {} => "removal asked for".to_owned(),
        SecurityGroupEvent::SecurityGroupDeleted {} => "gone".to_owned(),
        SecurityGroupEvent::SecurityGroupReconcileRequested {} => LOOK_AGAIN.to_owned(),
        SecurityGroupEvent::SecurityGroupForceRemoved {} => FORGOTTEN.to_owned(),
    }
}

fn security_group_rule(event: &SecurityGroupRuleEvent) -> String {
    match event {
        SecurityGroupRuleEvent::SecurityGroupRuleCreated { spec, group_name, remote_group_name, .. } => {
            let way = match spec.direction {
                Direction::Ingress => "from",
                Direction::Egress => "to",
            };
            let remote = match (spec.remote, remote_group_name) {
                (Remote::Any, _) => "anybody".to_owned(),
                (Remote::Prefix { prefix }, _) => prefix.to_string(),
                (Remote::Group { .. }, Some(name)) => format!("group {name}"),
                (Remote::Group { group }, None) => format!("group {group}"),
            };
            let (direction, ether_type) = (spec.direction.as_str(), spec.ether_type.as_str());
            format!(
                "created: group {group_name} lets through {direction} {ether_type}, {}, {way} {remote}",
                spec.protocol
            )
        }
        SecurityGroupRuleEvent::SecurityGroupRuleUpdated { change } => {
            format!("changed: {}", changed(change).join(", "))
        }
        SecurityGroupRuleEvent::SecurityGroupRuleBecameReady {} => ACTIVE.to_owned(),
        SecurityGroupRuleEvent::SecurityGroupRuleDrifted { what } => drifted(what),
        SecurityGroupRuleEvent::SecurityGroupRuleAttemptFailed { failure } => failed(failure),
        SecurityGroupRuleEvent::SecurityGroupRuleDeleteRequested {} => "removal asked for".to_owned(),
        SecurityGroupRuleEvent::SecurityGroupRuleDeleted {} => "gone".to_owned(),
        SecurityGroupRuleEvent::SecurityGroupRuleReconcileRequested {} => LOOK_AGAIN.to_owned(),
        SecurityGroupRuleEvent::SecurityGroupRuleForceRemoved {} => FORGOTTEN.to_owned(),
    }
}

fn router(event: &RouterEvent) -> String {
    match event {
        RouterEvent::RouterCreated { words, .. } => format!("created: {}", words.join(", ")),
        RouterEvent::RouterUpdated { change, words, .. } => {
            let parts: Vec<String> = changed(change).into_iter().chain(words.iter().cloned()).collect();
            format!("changed: {}", parts.join(", "))
        }
        RouterEvent::RouterBecameReady {} => ACTIVE.to_owned(),
        RouterEvent::RouterDrifted { what } => drifted(what),
        RouterEvent::RouterAttemptFailed { failure } => failed(failure),
        RouterEvent::RouterDeleteRequested {} => "removal asked for".to_owned(),
        RouterEvent::RouterDeleted {} => "gone".to_owned(),
        RouterEvent::RouterReconcileRequested {} => LOOK_AGAIN.to_owned(),
        RouterEvent::RouterForceRemoved {} => FORGOTTEN.to_owned(),
    }
}

fn floating_ip(event: &FloatingIpEvent) -> String {
    match event {
        FloatingIpEvent::FloatingIpCreated { spec, router_name, .. } => {
            format!("{} is held, of router {router_name}", spec.address)
        }
        FloatingIpEvent::FloatingIpUpdated { change } => format!("changed: {}", changed(change).join(", ")),
        FloatingIpEvent::FloatingIpAssociated { association, vm_name } => {
            format!("leads to vm {vm_name}, {}", association.fixed_ip)
        }
        FloatingIpEvent::FloatingIpDisassociated { vm_name } => {
            format!("leads nowhere; it led to vm {vm_name}")
        }
        FloatingIpEvent::FloatingIpAssociatedWithLoadBalancer { load_balancer_name, .. } => {
            format!("leads to load balancer {load_balancer_name}")
        }
        FloatingIpEvent::FloatingIpDisassociatedFromLoadBalancer { load_balancer_name } => {
            format!("leads nowhere; it led to load balancer {load_balancer_name}")
        }
        FloatingIpEvent::FloatingIpBecameReady {} => ACTIVE.to_owned(),
        FloatingIpEvent::FloatingIpDrifted { what } => drifted(what),
        FloatingIpEvent::FloatingIpAttemptFailed { failure } => failed(failure),
        FloatingIpEvent::FloatingIpDeleteRequested {} => "removal asked for".to_owned(),
        FloatingIpEvent::FloatingIpDeleted {} => "gone, and its address free".to_owned(),
        FloatingIpEvent::FloatingIpReconcileRequested {} => LOOK_AGAIN.to_owned(),
        FloatingIpEvent::FloatingIpForceRemoved {} => FORGOTTEN.to_owned(),
    }
}

fn load_balancer(event: &LoadBalancerEvent) -> String {
    match event {
        LoadBalancerEvent::LoadBalancerCreated { words, .. } => format!("created: {}", words.join(", ")),
        LoadBalancerEvent::LoadBalancerUpdated { change, words, .. } => {
            let parts: Vec<String> = changed(change).into_iter().chain(words.iter().cloned()).collect();
            format!("changed: {}", parts.join(", "))
        }
        LoadBalancerEvent::LoadBalancerBecameReady {} => ACTIVE.to_owned(),
        LoadBalancerEvent::LoadBalancerDrifted { what } => drifted(what),
        LoadBalancerEvent::LoadBalancerAttemptFailed { failure } => failed(failure),
        LoadBalancerEvent::LoadBalancerDeleteRequested {} => "removal asked for".to_owned(),
        LoadBalancerEvent::LoadBalancerDeleted {} => "gone, and its address free".to_owned(),
        LoadBalancerEvent::LoadBalancerReconcileRequested {} => LOOK_AGAIN.to_owned(),
        LoadBalancerEvent::LoadBalancerForceRemoved {} => FORGOTTEN.to_owned(),
    }
}

fn drifted(what: &[String]) -> String {
    format!("changed by others, and is mended: {}", what.join("; "))
}

fn webhook(event: &WebhookEvent) -> String {
    match event {
        WebhookEvent::WebhookCreated { spec, paused, begin_after, .. } => {
            let paused = if *paused { ", paused" } else { "" };
            format!("created: events after commit {begin_after} to {}{paused}", spec.url)
        }
        WebhookEvent::WebhookUpdated { change, url, filter, paused, begin_after } => {
            let mut parts = changed(change);
            parts.extend(url.as_ref().map(|url| format!("delivers to {url}")));
            parts.extend(filter.as_ref().map(|_| "filter".to_owned()));
            parts.extend(paused.map(|paused| if paused { "paused" } else { "resumed" }.to_owned()));
            parts.extend(begin_after.map(|after| format!("skips what came up to commit {after}")));
            format!("changed: {}", parts.join(", "))
        }
        WebhookEvent::WebhookSecretRotated { previous_until: None, .. } => "signed with a new secret".to_owned(),
        WebhookEvent::WebhookSecretRotated { previous_until: Some(until), .. } => {
            format!("signed with a new secret, and with the old one until {}", until.format("%Y-%m-%d %H:%M:%S UTC"))
        }
        WebhookEvent::WebhookFailing { failure, .. } => failed(failure),
        WebhookEvent::WebhookRecovered { failing_since, .. } => {
            format!("delivers again; it had failed since {}", failing_since.format("%Y-%m-%d %H:%M:%S UTC"))
        }
        WebhookEvent::WebhookDisabled { reason, delivered_through, .. } => {
            format!("disabled: {reason}; delivered through commit {delivered_through}")
        }
        WebhookEvent::WebhookDeleted {} => "gone".to_owned(),
    }
}

fn failed(failure: &Failure) -> String {
    format!(
        "{}, attempt {}: {}; next attempt at {}",
        failure.step,
        failure.attempt,
        failure.reason,
        failure.next_attempt_at.format("%H:%M:%S UTC")
    )
}

fn changed(change: &MetaChange) -> Vec<String> {
    let mut parts = Vec::new();
    if change.description.is_some() {
        parts.push("description".to_owned());
    }
    if change.labels.is_some() {
        parts.push("labels".to_owned());
    }
    parts
}
