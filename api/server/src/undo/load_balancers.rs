//! What compensates changes of load balancers.

use std::collections::BTreeSet;

use edgestack_model::{
    Event, Id, Kind, World,
    event::{Fact, LoadBalancerEvent, VmEvent},
    load_balancer::LoadBalancerSpec,
    meta::MetaChange,
    vm::{Nic, Vm},
};
use edgestack_wire::load_balancer::LbRule;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{again, compensate::Looking, floating_ips, routers};

pub(super) fn load_balancer(looking: &mut Looking<'_>, fact: &LoadBalancerEvent) {
    match fact {
        LoadBalancerEvent::LoadBalancerCreated { .. } => looking.remove(None),
        LoadBalancerEvent::LoadBalancerUpdated { change, spec: None, .. } => looking.put_back(change, |_| {}),
        // The VM, or the NIC, that is made again is a member again.
        LoadBalancerEvent::LoadBalancerUpdated { .. } if a_vm_goes(looking) => {}
        LoadBalancerEvent::LoadBalancerUpdated { change, .. } => put_back(looking, change),
        LoadBalancerEvent::LoadBalancerDeleteRequested {} => balancer_again(looking),
        LoadBalancerEvent::LoadBalancerForceRemoved {} => {
            looking.cannot("what was left of it is removed; make it again if it is wanted");
        }
        LoadBalancerEvent::LoadBalancerBecameReady {}
        | LoadBalancerEvent::LoadBalancerDrifted { .. }
        | LoadBalancerEvent::LoadBalancerAttemptFailed { .. }
        | LoadBalancerEvent::LoadBalancerDeleted {}
        | LoadBalancerEvent::LoadBalancerReconcileRequested {} => {}
    }
}

fn a_vm_goes(looking: &Looking<'_>) -> bool {
    let goes = |event: &Event| {
        let of_vm = |fact: &VmEvent| {
            matches!(
                fact,
                VmEvent::VmDeleteRequested {} | VmEvent::VmForceRemoved { .. } | VmEvent::VmNicDetachRequested { .. }
            )
        };
        matches!(&event.fact, Fact::Vm(fact) if of_vm(fact))
    };
    looking.commit.events.iter().any(goes)
}

fn spec_of(world: &World, id: Uuid) -> Option<&LoadBalancerSpec> {
    world.load_balancers.get(&Id::new(id)).map(|balancer| &balancer.spec)
}

/// Each part of the spec that the change made another one.
fn put_back(looking: &mut Looking<'_>, change: &MetaChange) {
    let id = looking.id();
    let (Some(before), Some(after)) = (spec_of(looking.before, id), spec_of(looking.after, id)) else { return };
    looking.put_back(change, |patch| {
        fn of(part: impl Fn(&LoadBalancerSpec) -> Value) -> impl Fn(&World, Uuid) -> Option<Value> {
            move |world, id| spec_of(world, id).map(&part)
        }
        patch.field("members", before.members != after.members, of(|spec| json!(spec.members)));
        patch.field("rules", before.rules != after.rules, of(rules));
        let affinity = before.session_affinity != after.session_affinity;
        patch.field("session_affinity", affinity, of(|spec| json!(spec.session_affinity)));
        patch.field("health_check", before.health_check != after.health_check, of(health_check));
    });
}

/// The rules as a request has them.
fn rules(spec: &LoadBalancerSpec) -> Value {
    let rule = |rule| {
        let LbRule { protocol, port_range_min, port_range_max, member_port, .. } = LbRule::from(rule);
        let fields =
            [("port_range_min", port_range_min), ("port_range_max", port_range_max), ("member_port", member_port)];
        let mut body = json!({"protocol": protocol});
        for (name, port) in fields {
            if let Some(port) = port {
                body[name] = json!(port);
            }
        }
        body
    };
    spec.rules.iter().map(rule).collect()
}

/// The health check as a request has it.
fn health_check(spec: &LoadBalancerSpec) -> Value {
    spec.health_check.map_or(Value::Null, |check| json!(check.timing))
}

/// A load balancer like it, with its VIP if nobody else has that by now, and its members as far as they can be.
fn balancer_again(looking: &mut Looking<'_>) {
    let Some(gone) = looking.before.load_balancers.get(&Id::new(looking.id())).cloned() else { return };
    if !looking.name_is_free() {
        return;
    }
    let spec = &gone.spec;
    let network = looking.before.meta(Kind::Network, spec.network.uuid()).map(|meta| meta.name.to_string());
    let network = network.unwrap_or_else(|| spec.network.to_string());
    let mut fields = Map::new();
    if routers::is_there(looking.now, spec.network) {
        fields.insert("network".to_owned(), json!(spec.network));
    } else if looking.is_made_before(Kind::Network, &network) {
        fields.insert("network".to_owned(), json!(network));
    } else {
        return looking.cannot(format!("network \"{network}\", which it was on, is gone"));
    }
    match again::holder_of(looking.now, spec.network, spec.vip) {
        None => {
            fields.insert("vip".to_owned(), json!(spec.vip));
        }
        Some(by) => looking.cannot(format!("{} is taken by {by}: the new one has another VIP", spec.vip)),
    }
    fields.insert("members".to_owned(), json!(spec.members));
    fields.insert("rules".to_owned(), rules(spec));
    fields.insert("session_affinity".to_owned(), json!(spec.session_affinity));
    if spec.health_check.is_some() {
        fields.insert("health_check".to_owned(), health_check(spec));
    }
    let names: Vec<String> = fields.keys().cloned().collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let body = again::body(&gone.meta, &Value::Object(fields), &names);
    looking.make("make it again", body, None);
    floating_ips::lead_to_new_balancer(looking, &gone);
    looking.cannot("the new one has another id, and another MAC address under its VIP");
}

/// Once a VM like one that is gone is made, or a NIC like one (`only`): load balancers that it was a member of have it as
/// one again.
pub(super) fn join_again(looking: &mut Looking<'_>, gone: &Vm, only: Option<u32>) {
    let commit = looking.commit;
    let is_left =
        |event: &&Event| matches!(event.fact, Fact::LoadBalancer(LoadBalancerEvent::LoadBalancerUpdated { .. }));
    for event in commit.events.iter().filter(is_left).collect::<Vec<_>>() {
        let (before, after, now) = (looking.before, looking.after, looking.now);
        let Some(spec) = spec_of(before, event.resource_id) else { continue };
        let came_back = |nic: &&Nic| only.is_none_or(|number| nic.spec.number == number);
        let here = gone.nics.iter().filter(|nic| nic.spec.network == spec.network).filter(came_back);
        let addresses: BTreeSet<_> = here.flat_map(|nic| &nic.spec.addresses).copied().collect();
        if spec.members.is_disjoint(&addresses) {
            continue;
        }
        let mut of_balancer = Looking { commit, event, before, after, now, found: looking.found };
        if !of_balancer.lives() {
            continue;
        }
        let (vm, id) = (gone.meta.name.as_str(), event.resource_id);
        let line = format!("edgectl update-lb {id} --add {vm}");
        of_balancer.change("have it as a member again", "PATCH", "", Some(json!({"add": [vm]})), Some(line));
    }
}
