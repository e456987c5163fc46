//! What compensates changes of floating IPs, and of where they lead.

use edgestack_model::{
    Event, Id, Kind, World,
    event::{Fact, FloatingIpEvent, VmEvent},
    floating_ip::{Association, FloatingIp},
    realization::RealizationState,
    vm::{Target, Vm},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{again, compensate::Looking};

pub(super) fn floating_ip(looking: &mut Looking<'_>, fact: &FloatingIpEvent) {
    match fact {
        FloatingIpEvent::FloatingIpCreated { .. } => looking.remove(None),
        FloatingIpEvent::FloatingIpUpdated { change } => looking.put_back(change, |_| {}),
        FloatingIpEvent::FloatingIpAssociated { .. } if is_new(looking) => {}
        // The VM, or the NIC, that is made again has it lead there again.
        FloatingIpEvent::FloatingIpDisassociated { .. } if vm_goes_too(looking) => {}
        FloatingIpEvent::FloatingIpAssociated { .. } | FloatingIpEvent::FloatingIpDisassociated { .. } => {
            lead_as_before(looking);
        }
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

fn vm_goes_too(looking: &Looking<'_>) -> bool {
    let Some(to) = association(looking.before, looking.id()) else { return false };
    let goes = |event: &Event| {
        event.resource_id == to.vm.uuid()
            && match &event.fact {
                Fact::Vm(VmEvent::VmDeleteRequested {} | VmEvent::VmForceRemoved { .. }) => true,
                Fact::Vm(VmEvent::VmNicDetachRequested { number }) => *number == to.nic,
                _ => false,
            }
    };
    looking.commit.events.iter().any(goes)
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
    let [before, after, now] = [looking.before, looking.after, looking.now].map(|world| association(world, id));
    if now == before {
        return looking.already("it leads where it led before");
    }
    if now != after {
        return looking.changed_since("it was led elsewhere since, and is left as it is");
    }
    let Some(before) = before.cloned() else {
        let line = format!("edgectl disassociate-fip {id}");
        let body = json!({"action": "disassociate"});
        return looking.change("have it lead nowhere", "POST", "/action", Some(body), Some(line));
    };
    if !stays(looking.now, before.vm) {
        let vm = name_of(looking.before, Kind::Vm, before.vm.uuid());
        return looking.cannot(format!("vm \"{vm}\", which it led to, is gone"));
    }
    lead_to(looking, &before.vm.to_string(), Some(before.fixed_ip));
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
        if association(now, event.resource_id).is_some() {
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
    world.vms.get(&vm).is_some_and(|vm| vm.target != Target::Deleted)
}

fn name_of(world: &World, kind: Kind, id: Uuid) -> String {
    world.meta(kind, id).map_or_else(|| id.to_string(), |meta| meta.name.to_string())
}
