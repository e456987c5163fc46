//! What compensates changes of routers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use edgestack_model::{
    Id, Kind, World,
    event::RouterEvent,
    network::{Ipv6Mode, Network},
    realization::RealizationState,
    router::{External, Route, Router, RouterSpec},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{again, compensate::Looking};

pub(super) fn router(looking: &mut Looking<'_>, fact: &RouterEvent) {
    match fact {
        RouterEvent::RouterCreated { .. } => looking.remove(None),
        RouterEvent::RouterUpdated { change, spec: None, .. } => looking.put_back(change, |_| {}),
        RouterEvent::RouterUpdated { change, .. } => put_back(looking, change),
        RouterEvent::RouterDeleteRequested {} => router_again(looking),
        RouterEvent::RouterForceRemoved {} => {
            looking.cannot("what was left of it is removed; make it again if it is wanted");
        }
        RouterEvent::RouterBecameReady {}
        | RouterEvent::RouterDrifted { .. }
        | RouterEvent::RouterAttemptFailed { .. }
        | RouterEvent::RouterDeleted {}
        | RouterEvent::RouterReconcileRequested {} => {}
    }
}

fn spec_of(world: &World, id: Uuid) -> Option<&RouterSpec> {
    world.routers.get(&Id::new(id)).map(|router| &router.spec)
}

/// Each part of the spec that the change made another one.
fn put_back(looking: &mut Looking<'_>, change: &edgestack_model::meta::MetaChange) {
    let (before_world, id) = (looking.before, looking.id());
    let (Some(before), Some(after)) = (spec_of(before_world, id), spec_of(looking.after, id)) else { return };
    let outside = before.external.as_ref().map(|external| external.network);
    let renamed: BTreeMap<String, Option<Value>> = before
        .internal
        .iter()
        .copied()
        .chain(outside)
        .map(|network| (network.to_string(), again::network_by(looking, network)))
        .collect();
    let wished = before.external.as_ref().is_none_or(|external| wish_address(before_world, external).is_some());
    let (external_field, external_of): (_, fn(&World, &External) -> Value) =
        if wished { ("external", external_map) } else { ("external_network", |_, external| json!(external.network)) };
    let now = spec_of(looking.now, id);
    let lives = now.is_some();
    // Where its next hops may be: on the networks that it is put back on.
    let there = renamed.iter().filter(|(_, there)| there.is_some()).filter_map(|(id, _)| id.parse().ok());
    let there = there.filter_map(|id| before_world.networks.get(&Id::new(id)));
    let hops: Vec<_> = there.flat_map(|network| &network.spec.subnets).map(|subnet| subnet.cidr).collect();
    looking.put_back(change, |patch| {
        fn of(part: impl Fn(&World, &RouterSpec) -> Value) -> impl Fn(&World, Uuid) -> Option<Value> {
            move |world, id| spec_of(world, id).map(|spec| part(world, spec))
        }
        patch.field("enable_snat", before.enable_snat != after.enable_snat, of(|_, spec| json!(spec.enable_snat)));
        patch.field("internal_networks", before.internal != after.internal, of(|_, spec| json!(spec.internal)));
        let external = move |world: &World, spec: &RouterSpec| {
            spec.external.as_ref().map_or(Value::Null, |external| external_of(world, external))
        };
        patch.field(external_field, before.external != after.external, of(external));
        patch.field("peer_router", before.peer != after.peer, of(|_, spec| json!(spec.peer)));
        patch.field("routes", before.routes != after.routes, of(|_, spec| json!(spec.routes)));
        patch.rewrite("internal_networks", |networks| {
            let networks = networks.as_array().into_iter().flatten();
            let there: Vec<Value> = networks.filter_map(|network| renamed.get(network.as_str()?)?.clone()).collect();
            // As it is now, it is put back to nothing else.
            let now = now.map(|now| now.internal.iter().map(|network| json!(network)).collect::<Vec<_>>());
            (now.as_ref() != Some(&there)).then(|| json!(there))
        });
        let by_new = |network: &Value| renamed.get(network.as_str()?)?.clone();
        patch
            .rewrite("external_network", |network| if network.is_null() { Some(Value::Null) } else { by_new(network) });
        patch.rewrite("external", |external| match external.as_object().and_then(|map| map.iter().next()) {
            Some((address, network)) => Some(json!({ address: by_new(network)? })),
            None => Some(Value::Null),
        });
        let is_outside = outside.is_none_or(|outside| renamed.get(&outside.to_string()).is_some_and(Option::is_some));
        patch.rewrite("peer_router", |peer| (is_outside || peer.is_null()).then(|| peer.clone()));
        patch.rewrite("routes", |routes| {
            let leads = |route: &&Value| {
                let hop = route["next_hop"].as_str().and_then(|hop| hop.parse().ok());
                hop.is_some_and(|hop| hops.iter().any(|cidr| cidr.is_host(hop)))
            };
            Some(routes.as_array().into_iter().flatten().filter(leads).cloned().collect())
        });
    });
    if !lives {
        return;
    }
    let after_has = |network: &str| {
        let external = after.external.iter().map(|external| external.network);
        after.internal.iter().copied().chain(external).any(|other| other.to_string() == network)
    };
    for (id, _) in renamed.iter().filter(|(id, there)| there.is_none() && !after_has(id)) {
        let name = id.parse().map_or_else(|_| id.clone(), |id| name_of(before_world, Id::new(id)));
        looking.cannot(format!("network \"{name}\" is gone: it is not put back on it, with what led there"));
    }
}

/// A way outside as a request has it.
fn external_map(world: &World, external: &External) -> Value {
    let address = wish_address(world, external).or_else(|| external.addresses.first().copied());
    match address {
        Some(address) => json!({ address.to_string(): external.network }),
        None => Value::Null,
    }
}

/// The address that can be wished for: not one that follows from a MAC address.
fn wish_address(world: &World, external: &External) -> Option<IpAddr> {
    let network = world.networks.get(&external.network)?;
    let by_mac = |address: &IpAddr| {
        let subnet = network.spec.subnets.iter().find(|subnet| subnet.cidr.contains(*address));
        subnet.is_none_or(|subnet| subnet.ipv6_mode == Some(Ipv6Mode::Slaac))
    };
    external.addresses.iter().copied().find(|address| !by_mac(address))
}

/// A router like it, on those of its networks that are there.
fn router_again(looking: &mut Looking<'_>) {
    let Some(gone) = looking.before.routers.get(&Id::new(looking.id())).cloned() else { return };
    if !looking.name_is_free() {
        return;
    }
    let mut fields = Map::new();
    fields.insert("enable_snat".to_owned(), json!(gone.spec.enable_snat));
    let (there, missing): (Vec<Id<Network>>, Vec<_>) =
        gone.spec.internal.iter().copied().partition(|network| is_there(looking.now, *network));
    for network in missing {
        let name = name_of(looking.before, network);
        looking.cannot(format!("network \"{name}\" is gone: the new one is not on it"));
    }
    fields.insert("internal_networks".to_owned(), json!(there));
    let mut on: BTreeSet<Id<Network>> = there.into_iter().collect();
    if let Some(external) = &gone.spec.external {
        if is_there(looking.now, external.network) {
            on.insert(external.network);
            outside_again(looking, external, &mut fields);
            fields.insert("peer_router".to_owned(), json!(gone.spec.peer));
        } else {
            let name = name_of(looking.before, external.network);
            looking.cannot(format!("network \"{name}\" is gone: the new one has no way outside"));
        }
    }
    let routes = routes_again(looking, &gone, &on);
    fields.insert("routes".to_owned(), routes);
    let names: Vec<String> = fields.keys().cloned().collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let body = again::body(&gone.meta, &Value::Object(fields), &names);
    looking.make("make it again", body, None);
    looking.cannot("the new one has another id, and another MAC address outside");
}

/// Its way outside, with its address if nobody else has that by now.
fn outside_again(looking: &mut Looking<'_>, external: &External, fields: &mut Map<String, Value>) {
    fields.insert("external_network".to_owned(), json!(external.network));
    let Some(address) = wish_address(looking.before, external) else { return };
    match again::holder_of(looking.now, external.network, address) {
        None => {
            fields.insert("external_ip".to_owned(), json!(address));
        }
        Some(by) => looking.cannot(format!("{address} is taken by {by}: the new one has another address outside")),
    }
}

/// Its routes, as far as their next hops are on networks that are there.
fn routes_again(looking: &mut Looking<'_>, gone: &Router, on: &BTreeSet<Id<Network>>) -> Value {
    let subnets = |id: &Id<Network>| looking.now.networks.get(id).map(|network| network.spec.subnets.clone());
    let subnets: Vec<_> = on.iter().filter_map(subnets).flatten().collect();
    let (kept, lost): (Vec<&Route>, Vec<&Route>) =
        gone.spec.routes.iter().partition(|route| subnets.iter().any(|subnet| subnet.cidr.is_host(route.next_hop)));
    for route in lost {
        looking.cannot(format!("the route to {} is left out: its next hop's network is gone", route.destination));
    }
    json!(kept)
}

pub(super) fn is_there(world: &World, network: Id<Network>) -> bool {
    let state = world.networks.get(&network).map(|network| network.realization.state);
    state.is_some_and(|state| state != RealizationState::Deleting)
}

fn name_of(world: &World, network: Id<Network>) -> String {
    world.meta(Kind::Network, network.uuid()).map_or_else(|| network.to_string(), |meta| meta.name.to_string())
}
