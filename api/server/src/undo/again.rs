//! What compensates a removal: one like it is made, with another id.

use std::{collections::BTreeMap, net::IpAddr};

use edgestack_model::{
    Id, Kind, Meta, World,
    address::holders,
    image::ImageSource,
    network::Network as ModelNetwork,
    vm::{Nic, Target, Vm},
};
use edgestack_wire::{flavor::Flavor, image::Image, keypair::Keypair, network::Network};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::{compensate::Looking, floating_ips, load_balancers, security_groups};

/// A flavor of the same size.
pub(super) fn flavor(looking: &mut Looking<'_>) {
    let Some(gone) = looking.before.flavors.get(&Id::new(looking.id())).cloned() else { return };
    if !looking.name_is_free() {
        return;
    }
    let fields = ["vcpus", "memory_mib", "disk_gib", "dedicated_cpus", "huge_pages", "numa_nodes"];
    let body = body(&gone.meta, &Flavor::from(&*gone), &fields);
    looking.make("make it again", body, None);
    looking.cannot("the new one has another id");
}

/// A keypair of the same public key.
pub(super) fn keypair(looking: &mut Looking<'_>) {
    let Some(gone) = looking.before.keypairs.get(&Id::new(looking.id())).cloned() else { return };
    if !looking.name_is_free() {
        return;
    }
    let body = body(&gone.meta, &Keypair::from(&*gone), &["public_key"]);
    looking.make("make it again", body, None);
    looking.cannot("the new one has another id; a private key was never kept here");
}

/// An image from the same file.
pub(super) fn image(looking: &mut Looking<'_>) {
    let Some(gone) = looking.before.images.get(&Id::new(looking.id())).cloned() else { return };
    match gone.spec.source {
        ImageSource::Upload => {
            return looking.cannot("its content was uploaded and is removed: create it anew and upload it again");
        }
        ImageSource::Path { .. } => {}
    }
    if !looking.name_is_free() {
        return;
    }
    let fields = ["format", "source", "architecture", "min_disk_gib", "min_memory_mib", "visibility"];
    let body = body(&gone.meta, &Image::from(&*gone), &fields);
    looking.make("make it again from its file", body, None);
    looking.cannot("its stored content is removed: the new one has another id, and has what its file holds by now");
}

/// A network like it.
pub(super) fn network(looking: &mut Looking<'_>) {
    let Some(gone) = looking.before.networks.get(&Id::new(looking.id())).cloned() else { return };
    if !looking.name_is_free() {
        return;
    }
    let shown = Network::of(&gone, None, BTreeMap::new());
    let fields = [
        "type",
        "segment_id",
        "external",
        "mtu",
        "cidr",
        "gateway_ip",
        "ip_pools",
        "ipv6",
        "address_mode",
        "dns_servers",
        "host_routes",
        "dhcp",
        "port_security",
    ];
    let mut body = body(&gone.meta, &shown, &fields);
    if shown.gateway_ip.is_none() {
        // What is absent is chosen; none was wished.
        body["gateway_ip"] = Value::Null;
    }
    looking.make("make it again", body, None);
    looking.cannot("the new one has another id");
}

/// A VM like it, with a fresh disk.
pub(super) fn vm(looking: &mut Looking<'_>) {
    let Some(gone) = looking.before.vms.get(&Id::new(looking.id())).cloned() else { return };
    looking.cannot("the data on its root disk is gone for good, and with it what ran in its guest");
    if !looking.name_is_free() {
        return;
    }
    let missing = [(Kind::Image, gone.spec.image.uuid()), (Kind::Flavor, gone.spec.flavor.uuid())]
        .into_iter()
        .chain(gone.spec.node.map(|node| (Kind::Node, node.uuid())))
        .chain(gone.nics_staying().map(|nic| (Kind::Network, nic.spec.network.uuid())))
        .find(|(kind, id)| looking.now.resource(*kind, *id).is_none());
    if let Some((kind, _)) = missing {
        return looking.cannot(format!("one like it can't be made: its {kind} is gone"));
    }
    let body = vm_body(looking, &gone);
    looking.make("make one like it", body, gone.spec.user_data.clone());
    floating_ips::lead_to_new(looking, &gone, None);
    load_balancers::join_again(looking, &gone, None);
    looking.cannot("the new one has another id, a fresh disk from its image, and another MAC address and SSH port");
    if gone.spec.user_data.is_some() {
        looking.cannot("its user data stays sealed: the new one gets it when undo runs, not by the line for a shell");
    }
    match gone.target {
        Target::Stopped { .. } if runs_at_once(&gone) => {
            looking.cannot("it was stopped; the new one is started by its run strategy");
        }
        Target::Paused => looking.cannot("it was paused; the new one runs"),
        Target::Running if !runs_at_once(&gone) => looking.cannot("it ran; the new one has to be started"),
        Target::Running | Target::Stopped { .. } | Target::Deleted => {}
    }
}

fn runs_at_once(vm: &Vm) -> bool {
    use edgestack_model::vm::RunStrategy;
    match vm.spec.run_strategy {
        RunStrategy::Always | RunStrategy::RerunOnFailure => true,
        RunStrategy::Manual | RunStrategy::Halted => false,
    }
}

fn vm_body(looking: &mut Looking<'_>, gone: &Vm) -> Value {
    let spec = &gone.spec;
    let mut fields = Map::new();
    let (image, flavor) = (name_of(looking.now, Kind::Image, spec.image.uuid()), spec.flavor);
    fields.insert("image".to_owned(), image);
    fields.insert("flavor".to_owned(), name_of(looking.now, Kind::Flavor, flavor.uuid()));
    let as_flavor = looking.now.flavors.get(&flavor).is_some_and(|flavor| flavor.shape.disk_gib == spec.shape.disk_gib);
    if !as_flavor {
        fields.insert("boot_disk".to_owned(), json!({"size_gib": spec.shape.disk_gib}));
    }
    if let Some(node) = spec.node {
        fields.insert("node".to_owned(), name_of(looking.now, Kind::Node, node.uuid()));
    }
    fields.insert("node_selector".to_owned(), json!(spec.node_selector));
    fields.insert("run_strategy".to_owned(), json!(spec.run_strategy.as_str()));
    if let Some(keypair) = &spec.keypair {
        let now = looking.now;
        let same = now.keypairs.values().find(|now| now.key == keypair.key);
        match same {
            Some(same) => {
                fields.insert("keypair".to_owned(), json!(same.meta.name));
            }
            None => looking.cannot(format!("its keypair \"{}\" is gone: the new one lets no key in", keypair.name)),
        }
    }
    let mut networks: Vec<Value> = vec![];
    for nic in gone.nics_staying() {
        let mut wish = on_network(looking.now, nic);
        if let Some(groups) = security_groups::named_again(looking, nic) {
            wish["security_groups"] = json!(groups);
        }
        networks.push(wish);
    }
    if !networks.is_empty() {
        fields.insert("networks".to_owned(), networks.into());
    }
    finished(&gone.meta, fields)
}

/// How a command names a network: one that is there by its id, one that this undo makes again by its name.
pub(super) fn network_by(looking: &Looking<'_>, network: Id<ModelNetwork>) -> Option<Value> {
    if super::routers::is_there(looking.now, network) {
        return Some(json!(network));
    }
    let name = &looking.before.networks.get(&network)?.meta.name;
    looking.is_made_before(Kind::Network, name.as_str()).then(|| json!(name))
}

/// A NIC of the same addresses, as far as nobody else has them by now.
pub(super) fn on_network(now: &World, gone: &Nic) -> Value {
    let nic = &gone.spec;
    let mut wish = json!({"network": name_of(now, Kind::Network, nic.network.uuid())});
    let held = now.networks.get(&nic.network).map(|network| holders(now, network)).unwrap_or_default();
    // An IPv6 address may follow from the MAC address, which is wished for.
    let free = nic.addresses.iter().find(|address| address.is_ipv4() && !held.contains_key(address));
    if let Some(address) = free {
        wish["fixed_ip"] = json!(address);
    }
    if !now.vms.values().any(|vm| vm.nics.iter().any(|other| other.spec.mac == nic.mac)) {
        wish["mac"] = json!(nic.mac);
    }
    let of_network = now.networks.get(&nic.network).map(|network| network.spec.port_security);
    if of_network != Some(gone.port_security) {
        wish["port_security"] = json!(gone.port_security);
    }
    wish
}

/// Who has an address of a network, if anybody does.
pub(super) fn holder_of(now: &World, network: Id<ModelNetwork>, address: IpAddr) -> Option<String> {
    let network = now.networks.get(&network)?;
    holders(now, network).remove(&address)
}

fn name_of(world: &World, kind: Kind, id: uuid::Uuid) -> Value {
    world.meta(kind, id).map_or(Value::Null, |meta| json!(meta.name))
}

/// The body of a create: name, description and labels, and some fields of what is shown.
pub(super) fn body(meta: &Meta, shown: &impl Serialize, fields: &[&str]) -> Value {
    // The wire types are structs of plain fields: they are objects in JSON.
    let shown = serde_json::to_value(shown).unwrap_or_default();
    let fields = fields.iter().map(|field| ((*field).to_owned(), shown[*field].clone())).collect();
    finished(meta, fields)
}

fn finished(meta: &Meta, mut fields: Map<String, Value>) -> Value {
    fields.insert("name".to_owned(), json!(meta.name));
    fields.insert("description".to_owned(), json!(meta.description));
    fields.insert("labels".to_owned(), json!(meta.labels));
    // What is absent is empty.
    fields.retain(|_, value| match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Object(map) => !map.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => true,
    });
    Value::Object(fields)
}
