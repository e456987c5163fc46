//! Taking over what is on a node and not in the log, with the id that it carries: nothing outside is touched.
//!
//! The VM's own process goes on; the vm pool finds it and reports it as started. What the record doesn't tell (labels,
//! description, user data) is not made up.

use uuid::Uuid;

use crate::{
    Decision, Event, Generation, Given, Id, Kind, Labels, Name, Refusal, World, address,
    command::Reference,
    decide::{check_name_free, check_precondition},
    event::Fact,
    flavor::Flavor,
    image::{ImageEvent, ImageState},
    network,
    node::{self, Node, NodeEvent},
    orphan::{Artifact, ArtifactKind, ImageRecord, Record, VmRecord},
    placement,
    security_group::membership,
    vm::{Placement, Target, VmEvent, VmSpec},
    volume::{VolumeEvent, VolumeSpec},
};

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adoption<'a> {
    /// The node on which it lies.
    pub node: &'a Reference,
    /// The id that it carries.
    pub id: Uuid,
    /// Its name from now on, if not the one that it had.
    pub name: Option<&'a Name>,
    /// A VM's flavor, where the log doesn't have the one that it was made with.
    pub flavor: Option<&'a Reference>,
}

pub(crate) fn adopt(world: &World, given: &Given, adoption: Adoption<'_>) -> Result<Decision, Refusal> {
    let node = world.node(adoption.node)?;
    super::check_reason(given, Kind::Node, adoption.node, "adopt what is on")?;
    check_precondition(given, Kind::Node, &node.meta)?;
    let id = adoption.id;
    let not = |why: String, fix: &str| Err(Refusal::NotAdoptable { id, why, fix: fix.to_owned() });
    let listed: Vec<_> = node.orphans.iter().filter(|orphan| orphan.artifact.id == id).collect();
    if listed.is_empty() {
        let why = format!("node {} lists no orphan with this id", node.meta.name);
        return not(why, "see its orphans with edgectl show-node");
    }
    let (primary, events) = match listed.iter().find_map(|orphan| orphan.record.as_ref()) {
        Some(Record::Vm(record)) => ((Kind::Vm, id), adopt_vm(world, node, adoption, record)?),
        Some(Record::Image(record)) => ((Kind::Image, id), adopt_image(world, node, adoption, record)?),
        None => {
            let disk_of = node.orphans.iter().find_map(|orphan| match &orphan.record {
                Some(Record::Vm(vm)) if vm.root_volume.uuid() == id => Some(orphan.artifact.id),
                Some(Record::Vm(_) | Record::Image(_)) | None => None,
            });
            return match disk_of {
                Some(vm) => not("it is a VM's root disk".to_owned(), &format!("adopt its VM, {vm}")),
                None => not("the node has no record of what it is".to_owned(), "use its files by hand, or remove them"),
            };
        }
    };
    Ok(Decision::of(primary.0, primary.1, events))
}

fn adopt_vm(world: &World, node: &Node, adoption: Adoption<'_>, record: &VmRecord) -> Result<Vec<Event>, Refusal> {
    let id = adoption.id;
    let not = |why: String, fix: String| Err(Refusal::NotAdoptable { id, why, fix });
    let name = adoption.name.unwrap_or(&record.name);
    if !name.is_dns_label() {
        return Err(Refusal::Invalid { field: "name".into(), reason: "must be a DNS label".to_owned() });
    }
    check_name_free(world, Kind::Vm, name)?;
    match world.images.get(&record.image).map(|image| image.state) {
        Some(ImageState::Active) => {}
        Some(_) | None => {
            let why = format!("the image below its disk, {}, is not active in this log", record.image);
            return not(why, format!("adopt that first: edgectl adopt {}", record.image));
        }
    }
    let flavor: Id<Flavor> = match adoption.flavor {
        Some(flavor) => world.flavor(flavor)?.id,
        None if world.flavors.contains_key(&record.flavor) => record.flavor,
        None => {
            let why = format!("the flavor that it was made with, {}, is not in this log", record.flavor);
            return not(why, format!("name another for its record (--flavor); its size stays {}", record.shape));
        }
    };
    let disk = |artifact: &Artifact| artifact.kind == ArtifactKind::Volume && artifact.id == record.root_volume.uuid();
    if !node.orphans.iter().any(|orphan| disk(&orphan.artifact)) {
        let why = format!("its root disk, volume {}, is not among the node's orphans", record.root_volume);
        return not(why, "put the file back, and wait until edgectl show-node lists it".to_owned());
    }
    for placement in world.vms.values().filter_map(|vm| vm.placement.as_ref()) {
        if placement.mac == record.mac || (placement.node == node.id && placement.ssh_port == record.ssh_port) {
            let why = format!("its address {} or SSH port {} is another VM's by now", record.mac, record.ssh_port);
            return not(why, "remove that VM, or leave this one".to_owned());
        }
    }
    for nic in &record.nics {
        let Some(network) = world.networks.get(&nic.network) else {
            let why = format!("a network that it is on, {}, is not in this log", nic.network);
            return not(why, "it can't be made again under that id; copy what you need from the disk".to_owned());
        };
        network::check_stays(network, "adopt a VM on")?;
        let fits = network.spec.subnets.len() == nic.addresses.len()
            && network.spec.subnets.iter().zip(&nic.addresses).all(|(subnet, ip)| subnet.cidr.is_host(*ip));
        if !fits {
            let why = format!("its addresses are not of network \"{}\" as it is", network.meta.name);
            return not(why, "it can't be put on it; copy what you need from the disk".to_owned());
        }
        if let Some(holder) = address::holder_of_nic(world, network, nic) {
            let why = format!("an address of it on network \"{}\" is taken by {holder} by now", network.meta.name);
            return not(why, "remove that one, or leave this one".to_owned());
        }
    }
    let Some(volume_name) = placement::root_volume_name(name, record.root_volume.uuid()) else {
        return not("its disk can't be named".to_owned(), "give another --name".to_owned());
    };
    check_name_free(world, Kind::Volume, &volume_name)?;
    let is_running = |artifact: &Artifact| artifact.kind == ArtifactKind::VmProcess && artifact.id == id;
    let runs = node.orphans.iter().any(|orphan| is_running(&orphan.artifact));
    let spec = VmSpec {
        image: record.image,
        flavor,
        shape: record.shape,
        keypair: record.keypair.clone(),
        user_data: None,
        node: None,
        node_selector: Labels::default(),
        run_strategy: record.run_strategy,
    };
    let placement = Placement {
        node: node.id,
        root_volume: record.root_volume,
        mac: record.mac.clone(),
        ssh_port: record.ssh_port,
    };
    let created = VmEvent::VmCreated {
        description: String::new(),
        labels: Labels::default(),
        spec,
        // What doesn't run is not started by being taken over.
        target: if runs { Target::Running } else { Target::Stopped { grace_seconds: 0 } },
    };
    let new =
        |resource_id, name: &Name, fact| Event { resource_id, name: name.clone(), generation: Generation::FIRST, fact };
    let volume_spec =
        VolumeSpec { vm: Id::new(id), image: record.image, node: node.id, size_gib: record.shape.disk_gib };
    let volume = record.root_volume.uuid();
    let mut events = vec![
        new(id, name, Fact::Vm(created)),
        new(id, name, Fact::Vm(VmEvent::VmScheduled { placement, node_name: node.meta.name.clone() })),
        new(volume, &volume_name, Fact::Volume(VolumeEvent::VolumeCreated { spec: volume_spec })),
        new(volume, &volume_name, Fact::Volume(VolumeEvent::VolumeBecameAvailable {})),
    ];
    // Which groups its NICs were in is not on record.
    let mut groups = (!record.nics.is_empty()).then(|| membership::choose(world, "", None, id)).transpose()?;
    events.extend(groups.iter_mut().flat_map(|chosen| std::mem::take(&mut chosen.made)));
    for nic in &record.nics {
        let Some(network) = world.networks.get(&nic.network) else { continue };
        let network_name = network.meta.name.clone();
        events.push(new(id, name, Fact::Vm(VmEvent::VmNicAttached { nic: nic.clone(), network_name })));
        let named = groups.iter().flat_map(|chosen| chosen.groups.iter().cloned());
        let (security_groups, group_names) = named.unzip();
        let number = nic.number;
        let regrouped = VmEvent::VmNicSecurityGroupsChanged { number, security_groups, group_names };
        events.push(new(id, name, Fact::Vm(regrouped)));
        // Nor is whether they were held to their addresses: it is as the network has it.
        let unsecured = crate::vm::unsecured(number, network.spec.port_security);
        events.extend(unsecured.map(|event| new(id, name, Fact::Vm(event))));
    }
    events.extend(no_longer_orphans(node, |artifact| match artifact.kind {
        ArtifactKind::VmFolder | ArtifactKind::VmProcess => artifact.id == id,
        ArtifactKind::Volume => artifact.id == volume,
        ArtifactKind::Image | ArtifactKind::Upload | ArtifactKind::UnfinishedUpload => false,
    }));
    Ok(events)
}

fn adopt_image(
    world: &World,
    node: &Node,
    adoption: Adoption<'_>,
    record: &ImageRecord,
) -> Result<Vec<Event>, Refusal> {
    if adoption.flavor.is_some() {
        return Err(Refusal::Invalid { field: "flavor".into(), reason: "an image has none; leave it out".to_owned() });
    }
    let name = adoption.name.unwrap_or(&record.name);
    check_name_free(world, Kind::Image, name)?;
    let new = |fact| Event {
        resource_id: adoption.id,
        name: name.clone(),
        generation: Generation::FIRST,
        fact: Fact::Image(fact),
    };
    let created =
        ImageEvent::ImageCreated { description: String::new(), labels: Labels::default(), spec: record.spec.clone() };
    let mut events = vec![new(created), new(ImageEvent::ImageImported { content: record.content.clone() })];
    events
        .extend(no_longer_orphans(node, |artifact| artifact.kind == ArtifactKind::Image && artifact.id == adoption.id));
    Ok(events)
}

fn no_longer_orphans(node: &Node, taken: impl Fn(&Artifact) -> bool) -> Vec<Event> {
    let taken = node.orphans.iter().map(|orphan| &orphan.artifact).filter(|artifact| taken(artifact));
    taken.map(|artifact| node::report(node, NodeEvent::NodeOrphanGone { orphan: artifact.clone() })).collect()
}
