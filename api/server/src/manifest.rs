//! `GET vms/{name}/manifest`: the KubeVirt `VirtualMachine` (`kubevirt.io/v1`)
//! that is equivalent to a VM, whichever backend runs it.
//! Source of the fields: KubeVirt's API reference, v1 `VirtualMachine`.
//!
//! What a cluster must bring along: the root disk as a PersistentVolumeClaim of
//! the volume's name (its size stands in an annotation), and for a VM with user
//! data the secrets `<vm>-user-data` (key `userdata`; the log holds it sealed, so
//! it is never printed here) and `<vm>-ssh-key`.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use edgestack_model::{
    Kind,
    image::Image,
    node::Node,
    vm::{NicSpec, RunStrategy, Target, Vm},
    volume::Volume,
    world::Resource,
};
use edgestack_wire::yaml;
use serde_json::{Map, Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    moment::{AtParam, Reading},
    path::Named,
    problem::{Answer, Failure},
    query::Parameters,
    state::Site,
};

/// How long a guest may take to shut down, seconds: the API's default of `stop`.
const GRACE_SECONDS: u32 = 60;

pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new().routes(routes!(show_vm_manifest))
}

#[utoipa::path(
    get, path = "/vms/{name}/manifest", tag = "vms", operation_id = "show_vm_manifest",
    summary = "Show the KubeVirt VirtualMachine that is equivalent to a VM",
    description = "YAML, or JSON when Accept asks for application/json.",
    params(("name" = String, Path, description = "Name or id"), AtParam),
    responses((status = 200, description = "The manifest", content(
        (Object = "application/yaml"),
        (Object = "application/json"),
    )))
)]
async fn show_vm_manifest(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    mut parameters: Parameters,
) -> Answer {
    let reading = Reading::take(&site, &mut parameters).await?;
    parameters.finish()?;
    let Resource::Vm(vm) = reading.find(Kind::Vm, &reference)? else {
        return Err(Failure::internal("a view's row is of another kind than its key"));
    };
    let mut around = reading.surroundings();
    let image = around.find(Kind::Image, vm.spec.image.uuid())?;
    let (disk, node) = match &vm.placement {
        None => (None, None),
        Some(placement) => {
            (around.find(Kind::Volume, placement.root_volume.uuid())?, around.find(Kind::Node, placement.node.uuid())?)
        }
    };
    let pinned = match vm.spec.node {
        None => None,
        Some(node) => around.find(Kind::Node, node.uuid())?,
    };
    let mut networks = Vec::new();
    for nic in vm.nics_staying() {
        if let Some(Resource::Network(network)) = around.find(Kind::Network, nic.spec.network.uuid())? {
            networks.push((nic.spec.clone(), network.meta.name.to_string()));
        }
    }
    let manifest = manifest(
        &vm,
        &networks,
        match &image {
            Some(Resource::Image(image)) => Some(image),
            _ => None,
        },
        match &disk {
            Some(Resource::Volume(disk)) => Some(disk),
            _ => None,
        },
        node_of(&node),
        node_of(&pinned),
    );
    if wants_json(&headers) {
        return Ok(reading.mark(Json(manifest).into_response()));
    }
    let mut response = Response::new(yaml::document(&manifest).into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/yaml"));
    Ok(reading.mark(response))
}

fn node_of(resource: &Option<Resource>) -> Option<&Node> {
    match resource {
        Some(Resource::Node(node)) => Some(node),
        _ => None,
    }
}

/// The first of the two in `Accept` counts; anything else gets YAML.
fn wants_json(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|range| range.split(';').next().unwrap_or("").trim().to_ascii_lowercase())
        .find(|range| range.ends_with("json") || range.ends_with("yaml"))
        .is_some_and(|range| range.ends_with("json"))
}

fn manifest(
    vm: &Vm,
    nics: &[(NicSpec, String)],
    image: Option<&Image>,
    disk: Option<&Volume>,
    node: Option<&Node>,
    pinned: Option<&Node>,
) -> Value {
    let name = vm.meta.name.as_str();
    let labels: Map<String, Value> = vm.meta.labels.iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    let mut guest_labels = labels.clone();
    guest_labels.insert("kubevirt.io/domain".to_owned(), name.into());
    let mut spec = Map::new();
    if let Some(image) = image {
        spec.insert("architecture".to_owned(), kubernetes_architecture(&image.spec.architecture).into());
    }
    spec.insert("hostname".to_owned(), name.into());
    spec.insert("terminationGracePeriodSeconds".to_owned(), GRACE_SECONDS.into());
    spec.insert("domain".to_owned(), domain(vm, nics));
    spec.insert("networks".to_owned(), networks(nics));
    spec.insert("volumes".to_owned(), json!([root_volume(vm, disk), seed(vm)]));
    if let Some(credentials) = access_credentials(vm) {
        spec.insert("accessCredentials".to_owned(), credentials);
    }
    let selector = node_selector(vm, pinned);
    if !selector.is_empty() {
        spec.insert("nodeSelector".to_owned(), selector.into());
    }
    json!({
        "apiVersion": "kubevirt.io/v1",
        "kind": "VirtualMachine",
        "metadata": {
            "name": name,
            "labels": labels,
            "annotations": annotations(vm, image, node),
        },
        "spec": {
            "runStrategy": run_strategy(vm),
            "template": {
                "metadata": {"labels": guest_labels},
                "spec": spec,
            },
        },
    })
}

fn annotations(vm: &Vm, image: Option<&Image>, node: Option<&Node>) -> Map<String, Value> {
    let mut annotations = Map::new();
    let mut add = |key: &str, value: String| {
        annotations.insert(format!("edgestack.io/{key}"), value.into());
    };
    add("vm-id", vm.id.to_string());
    add("generation", vm.meta.generation.to_string());
    add("root-disk-gib", vm.spec.shape.disk_gib.to_string());
    if !vm.meta.description.is_empty() {
        add("description", vm.meta.description.clone());
    }
    if let Some(image) = image {
        add("image", image.meta.name.to_string());
        add("image-id", image.id.to_string());
    }
    if let Some(node) = node {
        add("node", node.meta.name.to_string());
    }
    annotations
}

/// A VM that people have stopped stays so: `Halted`. One that starts only when asked is `Manual`.
fn run_strategy(vm: &Vm) -> &'static str {
    match (vm.target, vm.spec.run_strategy) {
        (Target::Stopped { .. } | Target::Deleted, RunStrategy::Manual) => "Manual",
        (Target::Stopped { .. } | Target::Deleted, _) | (_, RunStrategy::Halted) => "Halted",
        (_, RunStrategy::Always) => "Always",
        (_, RunStrategy::RerunOnFailure) => "RerunOnFailure",
        (_, RunStrategy::Manual) => "Manual",
    }
}

/// The pod's network for a VM on none of ours; a network of ours is one that Multus attaches, by its name.
fn networks(nics: &[(NicSpec, String)]) -> Value {
    if nics.is_empty() {
        return json!([{"name": "default", "pod": {}}]);
    }
    nics.iter()
        .map(|(nic, network)| json!({"name": format!("nic{}", nic.number), "multus": {"networkName": network}}))
        .collect()
}

fn interfaces(vm: &Vm, nics: &[(NicSpec, String)]) -> Value {
    if !nics.is_empty() {
        let on_network = |(nic, _): &(NicSpec, String)| {
            let (name, mac) = (format!("nic{}", nic.number), nic.mac.to_string());
            json!({"name": name, "model": "virtio", "bridge": {}, "macAddress": mac})
        };
        return nics.iter().map(on_network).collect();
    }
    let mut interface = json!({
        "name": "default",
        "model": "virtio",
        "masquerade": {},
        "ports": [{"name": "ssh", "port": 22, "protocol": "TCP"}],
    });
    if let Some(placement) = &vm.placement {
        interface["macAddress"] = placement.mac.clone().into();
    }
    json!([interface])
}

fn domain(vm: &Vm, nics: &[(NicSpec, String)]) -> Value {
    let shape = &vm.spec.shape;
    let mut cpu = json!({"sockets": 1, "cores": shape.vcpus, "threads": 1});
    let mut memory = json!({"guest": format!("{}Mi", shape.memory_mib)});
    if shape.dedicated_cpus {
        cpu["dedicatedCpuPlacement"] = true.into();
    }
    // KubeVirt passes NUMA through only with CPUs and pages of the guest's own.
    if shape.numa_nodes.is_some() && shape.dedicated_cpus && shape.huge_pages.is_some() {
        cpu["numa"] = json!({"guestMappingPassthrough": {}});
    }
    if let Some(size) = shape.huge_pages {
        memory["hugepages"] = json!({"pageSize": size.as_str()});
    }
    json!({
        "cpu": cpu,
        "memory": memory,
        "machine": {"type": "q35"},
        "firmware": {"uuid": vm.id.to_string(), "bootloader": {"bios": {}}},
        "clock": {"utc": {}},
        "devices": {
            "disks": [
                {"name": "root", "bootOrder": 1, "disk": {"bus": "virtio"}},
                {"name": "seed", "disk": {"bus": "virtio", "readonly": true}},
            ],
            "interfaces": interfaces(vm, nics),
            "rng": {},
            "autoattachSerialConsole": true,
            "logSerialConsole": true,
            "autoattachGraphicsDevice": false,
            "autoattachMemBalloon": false,
        },
    })
}

fn root_volume(vm: &Vm, disk: Option<&Volume>) -> Value {
    let claim = disk.map_or_else(|| format!("{}-root", vm.meta.name), |disk| disk.meta.name.to_string());
    json!({"name": "root", "persistentVolumeClaim": {"claimName": claim}})
}

/// The cloud-init seed. Without user data it holds nothing secret and stands here whole.
fn seed(vm: &Vm) -> Value {
    if vm.spec.user_data.is_some() {
        let secret = format!("{}-user-data", vm.meta.name);
        return json!({"name": "seed", "cloudInitNoCloud": {"secretRef": {"name": secret}}});
    }
    let mut user_data = "#cloud-config\n".to_owned();
    if let Some(key) = &vm.spec.keypair {
        // JSON strings are YAML strings: whatever a key's comment holds stays within its quotes.
        let line = Value::from(key.key.openssh.as_str());
        user_data.push_str(&format!("ssh_authorized_keys:\n  - {line}\n"));
    }
    json!({"name": "seed", "cloudInitNoCloud": {"userData": user_data}})
}

/// The key of a VM whose user data is in a secret: beside it, in one of its own.
fn access_credentials(vm: &Vm) -> Option<Value> {
    vm.spec.user_data.as_ref()?;
    vm.spec.keypair.as_ref()?;
    Some(json!([{"sshPublicKey": {
        "source": {"secret": {"secretName": format!("{}-ssh-key", vm.meta.name)}},
        "propagationMethod": {"noCloud": {}},
    }}]))
}

fn node_selector(vm: &Vm, pinned: Option<&Node>) -> Map<String, Value> {
    let mut selector: Map<String, Value> =
        vm.spec.node_selector.iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    if let Some(node) = pinned {
        selector.insert("kubernetes.io/hostname".to_owned(), node.meta.name.to_string().into());
    }
    selector
}

/// Kubernetes calls architectures as Go does.
fn kubernetes_architecture(ours: &str) -> &str {
    match ours {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
