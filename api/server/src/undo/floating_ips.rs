//! What compensates changes of floating IPs, and of where they lead.

use edgestack_model::{
    Event, Id, Kind, World,
    event::{Fact, FloatingIpEvent, LoadBalancerEvent, VmEvent},
    floating_ip::{Association, FloatingIp},
    load_balancer::LoadBalancer,
    realization::RealizationState,
    vm::{self, Vm},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{again, compensate::Looking};

pub(super) fn floating_ip(looking: &mut Looking<'_>, fact: &FloatingIpEvent) {
    match fact {
        FloatingIpEvent::FloatingIpCreated { .. } => looking.remove(None),
        FloatingIpEvent::FloatingIpUpdated { change } => looking.put_back(change, |_| {}),
        FloatingIpEvent::FloatingIpAssociated { .. } | FloatingIpEvent::FloatingIpAssociatedWithLoadBalancer { .. }
            if is_new(looking) => {}
        // What is made again has it lead there again.
        FloatingIpEvent::FloatingIpDisassociated { .. }
        | FloatingIpEvent::FloatingIpDisassociatedFromLoadBalancer { .. }
            if goes_too(looking) => {}
        FloatingIpEvent::FloatingIpAssociated { .. }
        | FloatingIpEvent::FloatingIpAssociatedWithLoadBalancer { .. }
        | FloatingIpEvent::FloatingIpDisassociated { .. }
        | FloatingIpEvent::FloatingIpDisassociatedFromLoadBalancer { .. } => lead_as_before(looking),
        FloatingIpEvent::FloatingIpDeleteRequested {} => ip_again(looking),
        FloatingIpEvent::FloatingIpForceRemoved {} => {
            looking.cannot("what was left of it is removed; make it again if it is wanted");
        }
        FloatingIpEvent::FloatingIpBecameReady {}
        | FloatingIpEvent::FloatingIpDrifted { .. }
        | FloatingIpEvent::FloatingIpAttemptFailed { .. }
        | FloatingIpEvent::FloatingIpDeleted {}
        | FloatingIpEvent::FloatingIpReconcileRequested {} => {}
    }
}

fn is_new(looking: &Looking<'_>) -> bool {
    let creates = |event: &Event| {
        event.resource_id == looking.id()
            && matches!(event.fact, Fact::FloatingIp(FloatingIpEvent::FloatingIpCreated { .. }))
    };
    looking.commit.events.iter().any(creates)
}

/// Whether what it led to is removed by the same commit.
fn goes_too(looking: &Looking<'_>) -> bool {
    let Some(to) = target(looking.before, looking.id()) else { return false };
    let goes = |event: &Event| match (&event.fact, &to) {
        (Fact::Vm(VmEvent::VmDeleteRequested {} | VmEvent::VmForceRemoved { .. }), Target::Vm(to)) => {
            event.resource_id == to.vm.uuid()
        }
        (Fact::Vm(VmEvent::VmNicDetachRequested { number }), Target::Vm(to)) => {
            event.resource_id == to.vm.uuid() && *number == to.nic
        }
        (
            Fact::LoadBalancer(
                LoadBalancerEvent::LoadBalancerDeleteRequested {} | LoadBalancerEvent::LoadBalancerForceRemoved {},
            ),
            Target::LoadBalancer(to),
        ) => event.resource_id == to.uuid(),
        _ => false,
    };
    looking.commit.events.iter().any(goes)
}

/// Where a floating IP leads.
#[derive(Clone, PartialEq)]
enum Target {
    Vm(Association),
    LoadBalancer(Id<LoadBalancer>),
}

fn target(world: &World, id: Uuid) -> Option<Target> {
    let ip = world.floating_ips.get(&Id::new(id))?;
    let vm = ip.association.clone().map(Target::Vm);
    vm.or(ip.load_balancer.map(Target::LoadBalancer))
}

fn association(world: &World, id: Uuid) -> Option<&Association> {
    world.floating_ips.get(&Id::new(id))?.association.as_ref()
}

/// It leads where it led before the commit.
fn lead_as_before(looking: &mut Looking<'_>) {
    if !looking.lives() {
        return;
    }
    let id = looking.id();
    let [before, after, now] = [looking.before, looking.after, looking.now].map(|world| target(world, id));
    if now == before {
        return looking.already("it leads where it led before");
    }
    if now != after {
        return looking.changed_since("it was led elsewhere since, and is left as it is");
    }
    let Some(before) = before else {
        let line = format!("edgectl disassociate-fip {id}");
        let body = json!({"action": "disassociate"});
        return looking.change("have it lead nowhere", "POST", "/action", Some(body), Some(line));
    };
    match before {
        Target::Vm(to) if stays(looking.now, to.vm) => lead_to(looking, &to.vm.to_string(), Some(to.fixed_ip)),
        Target::Vm(to) => {
            let vm = name_of(looking.before, Kind::Vm, to.vm.uuid());
            looking.cannot(format!("vm \"{vm}\", which it led to, is gone"));
        }
        Target::LoadBalancer(to) if balancer_stays(looking.now, to) => lead_to_balancer(looking, &to.to_string()),
        Target::LoadBalancer(to) => {
            let name = name_of(looking.before, Kind::LoadBalancer, to.uuid());
            looking.cannot(format!("load balancer \"{name}\", which it led to, is gone"));
        }
    }
}

fn lead_to_balancer(looking: &mut Looking<'_>, balancer: &str) {
    let body = json!({"action": "associate", "load_balancer": balancer});
    let line = format!("edgectl associate-fip {} --lb {balancer}", looking.id());
    looking.change("have it lead there again", "POST", "/action", Some(body), Some(line));
}

fn lead_to(looking: &mut Looking<'_>, vm: &str, fixed_ip: Option<std::net::IpAddr>) {
    let id = looking.id();
    let (mut body, mut line) = (json!({"action": "associate", "vm": vm}), format!("edgectl associate-fip {id} {vm}"));
    if let Some(fixed_ip) = fixed_ip {
        body["fixed_ip"] = json!(fixed_ip);
        line.push_str(&format!(" --fixed-ip {fixed_ip}"));
    }
    looking.change("have it lead there again", "POST", "/action", Some(body), Some(line));
}

/// Once a load balancer like one that is gone is made: floating IPs that its removal freed lead to the new one.
pub(super) fn lead_to_new_balancer(looking: &mut Looking<'_>, gone: &LoadBalancer) {
    let commit = looking.commit;
    let freed = |event: &&Event| {
        matches!(event.fact, Fact::FloatingIp(FloatingIpEvent::FloatingIpDisassociatedFromLoadBalancer { .. }))
            && target(looking.before, event.resource_id) == Some(Target::LoadBalancer(gone.id))
    };
    for event in commit.events.iter().filter(freed).collect::<Vec<_>>() {
        let (before, after, now) = (looking.before, looking.after, looking.now);
        let mut of_ip = Looking { commit, event, before, after, now, found: looking.found };
        if !of_ip.lives() {
            continue;
        }
        if target(now, event.resource_id).is_some() {
            of_ip.changed_since("it was led elsewhere since, and is left as it is");
            continue;
        }
        lead_to_balancer(&mut of_ip, gone.meta.name.as_str());
    }
}

/// Once a VM like one that is gone is made, or a NIC like one (`only`): floating IPs that its end freed lead to the new one.
pub(super) fn lead_to_new(looking: &mut Looking<'_>, gone: &Vm, only: Option<u32>) {
    let commit = looking.commit;
    let freed = |event: &&Event| {
        matches!(event.fact, Fact::FloatingIp(FloatingIpEvent::FloatingIpDisassociated { .. }))
            && association(looking.before, event.resource_id)
                .is_some_and(|to| to.vm == gone.id && only.is_none_or(|nic| to.nic == nic))
    };
    for event in commit.events.iter().filter(freed).collect::<Vec<_>>() {
        let (before, after, now) = (looking.before, looking.after, looking.now);
        let mut of_ip = Looking { commit, event, before, after, now, found: looking.found };
        if !of_ip.lives() {
            continue;
        }
        if target(now, event.resource_id).is_some() {
            of_ip.changed_since("it was led elsewhere since, and is left as it is");
            continue;
        }
        let had = association(before, event.resource_id);
        // Its NIC has the address again only where that is free; else it has one that nobody knows yet.
        let again = had.filter(|to| is_free(now, before, gone, to)).map(|to| to.fixed_ip);
        lead_to(&mut of_ip, gone.meta.name.as_str(), again);
    }
}

fn is_free(now: &World, before: &World, gone: &Vm, to: &Association) -> bool {
    let network = to
        .network(before)
        .or_else(|| gone.nics.iter().find(|nic| nic.spec.number == to.nic).map(|nic| nic.spec.network));
    network.is_some_and(|network| again::holder_of(now, network, to.fixed_ip).is_none())
}

/// A floating IP of the same address, if nobody else has that by now, which leads where it led.
fn ip_again(looking: &mut Looking<'_>) {
    let Some(gone) = looking.before.floating_ips.get(&Id::new(looking.id())).cloned() else { return };
    if !looking.name_is_free() {
        return;
    }
    let router = gone.spec.router;
    let router_name = name_of(looking.before, Kind::Router, router.uuid());
    let mut fields = Map::new();
    let router_stays =
        looking.now.routers.get(&router).is_some_and(|router| router.realization.state != RealizationState::Deleting);
    if router_stays {
        fields.insert("router".to_owned(), json!(router));
    } else if looking.is_made_before(Kind::Router, &router_name) {
        fields.insert("router".to_owned(), json!(router_name));
    } else {
        return looking.cannot(format!("router \"{router_name}\", through which it led, is gone"));
    }
    if again::network_by(looking, gone.spec.network).is_none() {
        let network = name_of(looking.before, Kind::Network, gone.spec.network.uuid());
        return looking.cannot(format!("network \"{network}\", which it was on, is gone"));
    }
    match again::holder_of(looking.now, gone.spec.network, gone.spec.address) {
        None => {
            fields.insert("floating_ip".to_owned(), json!(gone.spec.address));
        }
        Some(by) => {
            return looking.cannot(format!("its address {} is taken by {by} by now", gone.spec.address));
        }
    }
    leads_again(looking, &gone, &mut fields);
    let names: Vec<String> = fields.keys().cloned().collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let body = again::body(&gone.meta, &Value::Object(fields), &names);
    looking.make("take its address again", body, None);
    looking.cannot("the new one has another id");
}

/// Where it led, if that is there and no other floating IP leads there.
fn leads_again(looking: &mut Looking<'_>, gone: &FloatingIp, fields: &mut Map<String, Value>) {
    if let Some(to) = gone.load_balancer {
        if balancer_stays(looking.now, to) {
            fields.insert("load_balancer".to_owned(), json!(to));
            return;
        }
        let name = name_of(looking.before, Kind::LoadBalancer, to.uuid());
        return looking
            .cannot(format!("load balancer \"{name}\", which it led to, is gone: the new one leads nowhere"));
    }
    let Some(to) = &gone.association else { return };
    let vm = name_of(looking.before, Kind::Vm, to.vm.uuid());
    if !stays(looking.now, to.vm) {
        return looking.cannot(format!("vm \"{vm}\", which it led to, is gone: the new one leads nowhere"));
    }
    let other = looking.now.floating_ips.values().find(|ip| ip.association.as_ref() == Some(to));
    if let Some(other) = other {
        let why =
            format!("vm \"{vm}\" is reached by floating_ip \"{}\" by now: the new one leads nowhere", other.meta.name);
        return looking.cannot(why);
    }
    fields.insert("vm".to_owned(), json!(to.vm));
    fields.insert("fixed_ip".to_owned(), json!(to.fixed_ip));
}

fn stays(world: &World, vm: Id<Vm>) -> bool {
    world.vms.get(&vm).is_some_and(|vm| vm.target != vm::Target::Deleted)
}

fn balancer_stays(world: &World, balancer: Id<LoadBalancer>) -> bool {
    let balancer = world.load_balancers.get(&balancer);
    balancer.is_some_and(|balancer| balancer.realization.state != RealizationState::Deleting)
}

fn name_of(world: &World, kind: Kind, id: Uuid) -> String {
    world.meta(kind, id).map_or_else(|| id.to_string(), |meta| meta.name.to_string())
}
