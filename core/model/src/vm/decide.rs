//! VM commands of people and of the scheduler to events.

use edgestack_planted::{self as planted, Bug};

use super::{CreateVm, RunStrategy, State, Target, Vm, VmCommand, VmEvent, VmKey, VmSpec, deletion, nic, report};
use crate::{
    Decision, Event, Generation, Given, Kind, Name, Refusal, World,
    command::Reference,
    decide::{check_description, check_generation, check_name_free, check_precondition},
    event::Fact,
    flavor::{Flavor, Shape},
    image::{Image, ImageState},
    placement::{self, Request},
    repair,
    security_group::membership,
};

/// The longest time a guest may take to shut down, seconds.
pub const GRACE_SECONDS_MAX: u32 = 3600;

pub(crate) fn decide(world: &World, given: &Given, command: &VmCommand) -> Result<Decision, Refusal> {
    let (id, events) = match command {
        VmCommand::Create(create) => return decide_create(world, given, create),
        VmCommand::Update { vm, change, run_strategy, node_selector } => {
            let vm = wished(world, given, vm)?;
            change.description.as_deref().map_or(Ok(()), check_description)?;
            let node_selector = node_selector.clone().filter(|new| *new != vm.spec.node_selector);
            if node_selector.is_some() && vm.placement.is_some() {
                return Err(wrong_state(
                    world,
                    vm,
                    "change the node selector of",
                    "it has its node; make a new VM with the selector you want",
                ));
            }
            let change = change.clone().against(&vm.meta);
            let run_strategy = run_strategy.filter(|new| *new != vm.spec.run_strategy);
            let same = change.is_empty() && run_strategy.is_none() && node_selector.is_none();
            let event = VmEvent::VmUpdated { change, run_strategy, node_selector };
            (vm.id, if same { vec![] } else { vec![wish(vm, event)] })
        }
        VmCommand::Start { vm } => {
            let vm = wished(world, given, vm)?;
            match vm.target {
                Target::Stopped { .. } => {}
                Target::Running | Target::Paused | Target::Deleted => {
                    return Err(wrong_state(world, vm, "start", "it starts from stopped; it is meant to run already"));
                }
            }
            let run_strategy = (vm.spec.run_strategy == RunStrategy::Halted).then_some(RunStrategy::Always);
            (vm.id, vec![wish(vm, VmEvent::VmStartRequested { run_strategy })])
        }
        VmCommand::Stop { vm, grace_seconds } => {
            let vm = wished(world, given, vm)?;
            if *grace_seconds > GRACE_SECONDS_MAX {
                return Err(Refusal::Invalid {
                    field: "grace_seconds".into(),
                    reason: format!("must be 0 to {GRACE_SECONDS_MAX}, got {grace_seconds}"),
                });
            }
            if let Target::Stopped { grace_seconds: present } = vm.target {
                // Asking again with less patience is how a person cuts a slow shutdown short.
                if vm.power.instance().is_none() || *grace_seconds >= present {
                    return Err(wrong_state(
                        world,
                        vm,
                        "stop",
                        "it is stopped or stopping already; a shorter grace_seconds would hurry it",
                    ));
                }
            }
            (vm.id, vec![wish(vm, VmEvent::VmStopRequested { grace_seconds: *grace_seconds })])
        }
        VmCommand::Restart { vm } => {
            let vm = wished(world, given, vm)?;
            match vm.target {
                Target::Running | Target::Paused => {}
                Target::Stopped { .. } | Target::Deleted => {
                    return Err(wrong_state(world, vm, "restart", "start it instead"));
                }
            }
            (vm.id, vec![wish(vm, VmEvent::VmRestartRequested { boot_epoch: vm.boot_epoch + 1 })])
        }
        VmCommand::Pause { vm } => {
            let vm = wished(world, given, vm)?;
            if vm.target != Target::Running || vm.power.instance().is_none() {
                return Err(wrong_state(world, vm, "pause", "only a running VM can be paused"));
            }
            (vm.id, vec![wish(vm, VmEvent::VmPauseRequested {})])
        }
        VmCommand::Unpause { vm } => {
            let vm = wished(world, given, vm)?;
            if vm.target != Target::Paused {
                return Err(wrong_state(world, vm, "unpause", "only a paused VM can be unpaused"));
            }
            (vm.id, vec![wish(vm, VmEvent::VmUnpauseRequested {})])
        }
        VmCommand::EditSecurityGroups { vm, nic, change } => {
            let vm = wished(world, given, vm)?;
            let events = membership::changed(world, vm, *nic, change)?;
            (vm.id, events.into_iter().map(|event| wish(vm, event)).collect())
        }
        VmCommand::EditNics { vm, nic, port_security } => {
            let vm = wished(world, given, vm)?;
            let events = nic::edited(vm, *nic, *port_security)?;
            (vm.id, events.into_iter().map(|event| wish(vm, event)).collect())
        }
        VmCommand::AttachNic { vm, nic } => {
            let vm = wished(world, given, vm)?;
            (vm.id, nic::attached(world, vm, given.new_ids[0], nic)?)
        }
        VmCommand::DetachNic { vm, nic } => {
            let vm = wished(world, given, vm)?;
            (vm.id, nic::detached(world, vm, nic)?)
        }
        VmCommand::Delete { vm } => {
            let vm = world.vm(vm)?;
            check_precondition(given, Kind::Vm, &vm.meta)?;
            (vm.id, deletion::requested(world, vm))
        }
        VmCommand::ForceRemove { vm } => return repair::force_remove_vm(world, given, vm),
        VmCommand::Reconcile { vm } => return repair::reconcile_vm(world, given, vm),
        VmCommand::Schedule { vm } => {
            let vm = world.vm(&Reference::id(*vm))?;
            (vm.id, schedule_again(world, given, vm))
        }
        VmCommand::Report { vm, generation, report } => {
            let vm = world.vm(&Reference::id(*vm))?;
            check_generation(Kind::Vm, &vm.meta, *generation)?;
            (vm.id, report::decide(world, given, vm, report))
        }
    };
    Ok(Decision::of(Kind::Vm, id.uuid(), events))
}

fn decide_create(world: &World, given: &Given, create: &CreateVm) -> Result<Decision, Refusal> {
    if !create.name.is_dns_label() {
        return Err(Refusal::Invalid {
            field: "name".into(),
            reason: "must be a DNS label (letters, digits, '-'), since it becomes the guest's host name".to_owned(),
        });
    }
    check_description(&create.description)?;
    let image = referenced("image", Kind::Image, &create.image, world.image(&create.image))?;
    let flavor = referenced("flavor", Kind::Flavor, &create.flavor, world.flavor(&create.flavor))?;
    let keypair = create
        .keypair
        .as_ref()
        .map(|name| referenced("keypair", Kind::Keypair, name, world.keypair(name)))
        .transpose()?
        .map(|keypair| VmKey { name: keypair.meta.name.clone(), key: keypair.key.clone() });
    let node = create
        .node
        .as_ref()
        .map(|name| referenced("node", Kind::Node, name, world.node(name)))
        .transpose()?
        .map(|node| node.id);
    check_name_free(world, Kind::Vm, &create.name)?;
    if image.state != ImageState::Active {
        return Err(Refusal::ImageNotActive { image: image.meta.name.clone(), state: image.state.as_str().into() });
    }
    let shape = settle_shape(image, flavor, create.root_disk_gib)?;
    check_fits_some_node(world, flavor, &shape)?;
    let spec = VmSpec {
        image: image.id,
        flavor: flavor.id,
        shape,
        keypair,
        user_data: create.user_data.clone(),
        node,
        node_selector: create.node_selector.clone(),
        run_strategy: create.run_strategy,
    };
    let target = match create.run_strategy {
        RunStrategy::Always | RunStrategy::RerunOnFailure => Target::Running,
        RunStrategy::Manual | RunStrategy::Halted => Target::Stopped { grace_seconds: 0 },
    };
    let [id, root_volume] = given.new_ids;
    let created = VmEvent::VmCreated {
        description: create.description.clone(),
        labels: create.labels.clone(),
        spec: spec.clone(),
        target,
    };
    let mut events = vec![event(id, &create.name, Generation::FIRST, created)];
    let nics = nic::of_new_vm(world, create, id, |attached| event(id, &create.name, Generation::FIRST, attached))?;
    events.extend(nics);
    let request = Request { name: &create.name, id, spec: &spec, generation: Generation::FIRST, failure: None };
    events.extend(placement::events(world, given, &request, root_volume));
    Ok(Decision::of(Kind::Vm, id, events))
}

/// A VM without a place looks for one; no news is no event until the set time.
fn schedule_again(world: &World, given: &Given, vm: &Vm) -> Vec<Event> {
    if vm.placement.is_some() || vm.target == Target::Deleted {
        return vec![];
    }
    let request = Request {
        name: &vm.meta.name,
        id: vm.id.uuid(),
        spec: &vm.spec,
        generation: vm.meta.generation,
        failure: vm.failure.as_ref(),
    };
    let events = placement::events(world, given, &request, given.new_ids[0]);
    let still_without = events.iter().any(|event| matches!(event.fact, Fact::Vm(VmEvent::VmUnschedulable { .. })));
    let due = vm.failure.as_ref().is_none_or(|failure| failure.still_to_come(given.time).is_none());
    if still_without && !due { vec![] } else { events }
}

/// The VM that a person's wish is about: present, as the client saw it, and not on its way out.
fn wished<'w>(world: &'w World, given: &Given, vm: &Reference) -> Result<&'w Vm, Refusal> {
    let vm = world.vm(vm)?;
    check_precondition(given, Kind::Vm, &vm.meta)?;
    if vm.target == Target::Deleted {
        return Err(wrong_state(world, vm, "change", "it is being removed and will be gone soon"));
    }
    Ok(vm)
}

fn referenced<T>(field: &'static str, kind: Kind, name: &Reference, found: Result<T, Refusal>) -> Result<T, Refusal> {
    found.map_err(|_| Refusal::ReferenceNotFound {
        field: field.into(),
        kind: kind.as_str().into(),
        name: name.0.clone(),
    })
}

fn settle_shape(image: &Image, flavor: &Flavor, root_disk_gib: Option<u64>) -> Result<Shape, Refusal> {
    let shape = Shape { disk_gib: root_disk_gib.unwrap_or(flavor.shape.disk_gib), ..flavor.shape };
    let field = if root_disk_gib.is_some() { "boot_disk.size_gib" } else { "flavor" };
    if !(1..=64 << 10).contains(&shape.disk_gib) {
        return Err(Refusal::Invalid {
            field: field.into(),
            reason: format!("must be 1 to 65536, got {}", shape.disk_gib),
        });
    }
    let virtual_size_gib = image.content.as_ref().map_or(0, |content| content.virtual_size_bytes.div_ceil(1 << 30));
    let needed_gib = image.spec.min_disk_gib.max(virtual_size_gib);
    if shape.disk_gib < needed_gib {
        return Err(Refusal::TooSmallForImage {
            field: field.into(),
            image: image.meta.name.clone(),
            needs: format!("a root disk of at least {needed_gib} GiB"),
            got: shape.disk_gib.to_string(),
            fix: "take a larger flavor or set boot_disk.size_gib".into(),
        });
    }
    if shape.memory_mib < image.spec.min_memory_mib {
        return Err(Refusal::TooSmallForImage {
            field: "flavor".into(),
            image: image.meta.name.clone(),
            needs: format!("at least {} MiB of memory", image.spec.min_memory_mib),
            got: format!("{} of flavor \"{}\"", shape.memory_mib, flavor.meta.name),
            fix: "take a larger flavor".into(),
        });
    }
    Ok(shape)
}

/// A wish that no node could ever fulfil is an error, not a wait.
fn check_fits_some_node(world: &World, flavor: &Flavor, shape: &Shape) -> Result<(), Refusal> {
    let nodes = || world.nodes.values();
    if world.nodes.is_empty() || nodes().any(|node| placement::fits_when_empty(&node.facts.allocatable, shape)) {
        return Ok(());
    }
    let largest = nodes()
        .map(|node| {
            let has = &node.facts.allocatable;
            format!("{}: {} vCPUs, {} MiB, {} GiB", node.meta.name, has.vcpus, has.memory_mib, has.disk_gib)
        })
        .collect::<Vec<_>>()
        .join("; ");
    Err(Refusal::FlavorLargerThanAnyNode { flavor: flavor.meta.name.clone(), wanted: shape.to_string(), largest })
}

fn wrong_state(world: &World, vm: &Vm, action: &'static str, fix: &'static str) -> Refusal {
    let state: State = vm.state_in(world);
    Refusal::WrongState {
        kind: Kind::Vm,
        name: vm.meta.name.clone(),
        state: state.as_str().into(),
        action: action.into(),
        fix: fix.into(),
    }
}

/// A person's wish: the generation grows.
pub(crate) fn wish(vm: &Vm, fact: VmEvent) -> Event {
    let mut generation = vm.meta.generation.next();
    if planted::is(Bug::GenerationSkipped) {
        generation = generation.next();
    }
    event(vm.id.uuid(), &vm.meta.name, generation, fact)
}

/// A fact that no person asked for: the generation stays.
pub(crate) fn fact(vm: &Vm, fact: VmEvent) -> Event {
    event(vm.id.uuid(), &vm.meta.name, vm.meta.generation, fact)
}

fn event(resource_id: uuid::Uuid, name: &Name, generation: Generation, fact: VmEvent) -> Event {
    Event { resource_id, name: name.clone(), generation, fact: Fact::Vm(fact) }
}
