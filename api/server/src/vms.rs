//! VMs.

use std::{collections::BTreeMap, sync::Arc};

use axum::{extract::State, http::HeaderMap};
use edgestack_model::{
    Command, Kind,
    vm::{State as VmState, VmCommand},
    volume::VolumeState,
    world::Resource,
};
use edgestack_views::ViewError;
use edgestack_wire::{
    event::HistoryEvent,
    list::{List, ListParams, WatchEvent},
    meta::Meta,
    vm::{CreateVm, UpdateVm, Vm, VmAction},
    vm_show::Neighbours,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    answer::{Success, answer},
    change::Change,
    history, list,
    moment::AtParam,
    path::Named,
    problem::{Answer, Failure},
    query::Parameters,
    shown::{Shown, Surroundings},
    state::Site,
};

/// The routes of this kind.
pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new()
        .routes(routes!(list_vms, create_vm))
        .routes(routes!(show_vm, update_vm, remove_vm))
        .routes(routes!(act_on_vm))
        .routes(routes!(show_vm_events))
        .merge(crate::guests::routes())
        .merge(crate::manifest::routes())
}

impl Shown for Vm {
    const KIND: Kind = Kind::Vm;

    fn states() -> &'static [&'static str] {
        const WORDS: [&str; VmState::ALL.len()] = words();
        &WORDS
    }

    fn show(resource: &Resource, around: &mut Surroundings<'_>) -> Result<Option<Self>, ViewError> {
        let Resource::Vm(vm) = resource else {
            return Ok(None);
        };
        let image = around.find(Kind::Image, vm.spec.image.uuid())?;
        let flavor = around.find(Kind::Flavor, vm.spec.flavor.uuid())?;
        let (disk, node) = match &vm.placement {
            None => (None, None),
            Some(placement) => (
                around.find(Kind::Volume, placement.root_volume.uuid())?,
                around.find(Kind::Node, placement.node.uuid())?,
            ),
        };
        let mut networks = BTreeMap::new();
        for nic in &vm.nics {
            if let Some(Resource::Network(network)) = around.find(Kind::Network, nic.spec.network.uuid())? {
                networks.insert(network.id, network.meta.name.clone());
            }
        }
        let mut security_groups = BTreeMap::new();
        for id in vm.nics.iter().filter_map(|nic| nic.security_groups.as_ref()).flatten() {
            if let Some(Resource::SecurityGroup(group)) = around.find(Kind::SecurityGroup, id.uuid())? {
                security_groups.insert(group.id, group.meta.name.clone());
            }
        }
        // They lead to NICs on networks alone.
        let floating_ips = if vm.nics.is_empty() { vec![] } else { around.floating_ips(vm.id) };
        let disk_available = matches!(
            &disk,
            Some(Resource::Volume(volume)) if volume.state == VolumeState::Available
        );
        let waiting = around.waiting(vm, vm.state(disk_available), disk.as_ref(), node.as_ref());
        Ok(Some(Self::of(
            vm,
            Neighbours {
                image: match &image {
                    Some(Resource::Image(image)) => Some(image),
                    _ => None,
                },
                flavor: match &flavor {
                    Some(Resource::Flavor(flavor)) => Some(flavor),
                    _ => None,
                },
                root_volume: match &disk {
                    Some(Resource::Volume(volume)) => Some(volume),
                    _ => None,
                },
                node: match &node {
                    Some(Resource::Node(node)) => Some(node),
                    _ => None,
                },
                networks,
                security_groups,
                floating_ips,
                waiting,
            },
        )))
    }

    fn meta(&self) -> &Meta {
        &self.meta
    }

    fn state(&self) -> Option<&str> {
        Some(&self.state)
    }

    /// While it waits, the reason may be its node's, which moves by itself; so do floating IPs that lead to its NICs.
    fn tag_tells_all(&self) -> bool {
        self.waiting.is_none() && self.networks.is_empty()
    }
}

/// The words of all states, in the order of a VM's life.
const fn words() -> [&'static str; VmState::ALL.len()] {
    let mut words = [""; VmState::ALL.len()];
    let mut at = 0;
    while at < words.len() {
        words[at] = VmState::ALL[at].as_str();
        at += 1;
    }
    words
}

#[utoipa::path(
    get, path = "/vms", tag = "vms", operation_id = "list_vms",
    summary = "List vms, or watch them",
    params(ListParams),
    responses((status = 200, description = "A page in order of name; with watch=true a stream of changes", content(
        (List<Vm> = "application/json"),
        (WatchEvent<Vm> = "text/event-stream"),
    )))
)]
async fn list_vms(State(site): State<Arc<Site>>, headers: HeaderMap, parameters: Parameters) -> Answer {
    list::list::<Vm>(&site, &headers, parameters).await
}

#[utoipa::path(
    post, path = "/vms", tag = "vms", operation_id = "create_vm",
    summary = "Create a vm",
    description = "A VM that fits no node now waits for a place; one that could never fit any is refused. User data is kept sealed.",
    request_body = CreateVm,
    responses((status = 202, description = "It is recorded; it gets a place, a disk and a process by itself", body = Vm))
)]
async fn create_vm(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let create: CreateVm = change.parse()?;
    create.check_user_data()?;
    let sealed = create
        .user_data
        .as_deref()
        .map(|text| site.app.seal.seal(text))
        .transpose()
        .map_err(|error| Failure::internal(edgestack_engine::error_chain(&error)))?;
    let command = create.into_command(sealed)?;
    let outcome = change.submit(&site, Command::Vm(command)).await?;
    answer::<Vm>(&site, outcome, Success::CreatedAndWorkFollows)
}

#[utoipa::path(
    get, path = "/vms/{name}", tag = "vms", operation_id = "show_vm",
    summary = "Show a vm",
    params(("name" = String, Path, description = "Name or id"), AtParam),
    responses((status = 200, description = "The vm", body = Vm))
)]
async fn show_vm(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    list::one::<Vm>(&site, &headers, &reference, parameters).await
}

#[utoipa::path(
    method(patch, put), path = "/vms/{name}", tag = "vms", operation_id = "update_vm",
    summary = "Change a vm",
    description = "An absent field leaves what is there, null clears it. PUT and PATCH mean the same.",
    params(("name" = String, Path, description = "Name or id")),
    request_body(content((UpdateVm = "application/json"), (UpdateVm = "application/merge-patch+json"))),
    responses((status = 200, description = "The vm with the change", body = Vm))
)]
async fn update_vm(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let update: UpdateVm = change.parse()?;
    let command = update.into_command(change.reference()?)?;
    let outcome = change.submit(&site, Command::Vm(command)).await?;
    answer::<Vm>(&site, outcome, Success::Changed)
}

#[utoipa::path(
    delete, path = "/vms/{name}", tag = "vms", operation_id = "remove_vm",
    summary = "Remove a vm",
    description = "Legal in every state: its process is ended and its root disk removed.",
    params(("name" = String, Path, description = "Name or id")),
    responses((status = 202, description = "It is being removed", body = Vm), (status = 204, description = "It is gone"), (status = 200, description = "Dry run: the VM as it would be", body = Vm))
)]
async fn remove_vm(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let command = VmCommand::Delete { vm: change.reference()? };
    let outcome = change.submit(&site, Command::Vm(command)).await?;
    answer::<Vm>(&site, outcome, Success::Removed)
}

#[utoipa::path(
    post, path = "/vms/{name}/action", tag = "vms", operation_id = "act_on_vm",
    summary = "Start, stop, restart, pause, unpause or repair a VM, attach or detach a NIC, or change its security groups",
    params(("name" = String, Path, description = "Name or id")),
    request_body = VmAction,
    responses(
        (status = 202, description = "It is recorded; the VM follows", body = Vm),
        (status = 204, description = "It is forgotten"),
        (status = 200, description = "Dry run: the VM as it would be", body = Vm),
    )
)]
async fn act_on_vm(State(site): State<Arc<Site>>, change: Change) -> Answer {
    let action = change.parse::<VmAction>()?;
    let success = if matches!(action, VmAction::ForceRemove {}) { Success::Removed } else { Success::WorkFollows };
    let command = action.into_command(change.reference()?)?;
    let outcome = change.submit(&site, Command::Vm(command)).await?;
    answer::<Vm>(&site, outcome, success)
}

#[utoipa::path(
    get, path = "/vms/{name}/events", tag = "vms", operation_id = "show_vm_events",
    summary = "Show the history of a vm, also of one that is gone",
    params(
        ("name" = String, Path, description = "Name or id; if none lives, the last that had the name"),
        history::EventsParams,
    ),
    responses((status = 200, description = "A page, oldest first; with follow=true a stream", content(
        (List<HistoryEvent> = "application/json"),
        (HistoryEvent = "text/event-stream"),
    )))
)]
async fn show_vm_events(
    State(site): State<Arc<Site>>,
    Named(reference): Named,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    history::events(&site, Kind::Vm, &reference, &headers, parameters).await
}
