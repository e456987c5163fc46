//! How a resource of each kind is shown, and where its neighbours are looked up.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use edgestack_engine::Replica;
use edgestack_model::{
    Id, Kind, Waiting, World,
    idempotency::IdempotencyKeys,
    node::{Capacity, Node},
    vm::{State, Vm},
    webhook::Webhook,
    world::Resource,
};
use edgestack_views::{ViewError, Views};
use edgestack_wire::{meta::Meta, webhook::Delivery};
use serde::Serialize;
use uuid::Uuid;

use crate::{WebhookAccess, state::Site};

/// A resource of one kind as it travels.
pub(crate) trait Shown: Serialize + Send + Sized + 'static {
    /// Of which kind.
    const KIND: Kind;

    /// The states that it can be in, for the filter; empty: it has none.
    fn states() -> &'static [&'static str];

    /// The resource as it travels; `None` when it is of another kind.
    fn show(resource: &Resource, around: &mut Surroundings<'_>) -> Result<Option<Self>, ViewError>;

    /// Its bookkeeping.
    fn meta(&self) -> &Meta;

    /// Its state, if the kind has one.
    fn state(&self) -> Option<&str>;

    /// Whether its tag tells all: false while it shows what moves without a commit of its own.
    fn tag_tells_all(&self) -> bool {
        true
    }
}

/// Where the neighbours of a resource (a VM's image, its disk …) are found.
/// Short-lived: it remembers what it found, so that a page of VMs reads their flavor once.
pub(crate) struct Surroundings<'a> {
    source: Source<'a>,
    found: HashMap<(Kind, Uuid), Option<Resource>>,
    taken: Option<BTreeMap<Id<Node>, (Capacity, u64)>>,
    floating_ips: Option<BTreeMap<Id<Vm>, Vec<IpAddr>>>,
}

#[derive(Clone, Copy)]
enum Source<'a> {
    /// What is read: rows of the views. The replica only for sums over all VMs.
    Views(&'a Views, &'a Replica, &'a dyn WebhookAccess),
    World(&'a World),
}

impl<'a> Surroundings<'a> {
    pub fn of_views(site: &'a Site) -> Self {
        Self::new(Source::Views(&site.app.views, &site.app.replica, site.app.webhooks.as_ref()))
    }

    pub fn of_world(world: &'a World) -> Self {
        Self::new(Source::World(world))
    }

    fn new(source: Source<'a>) -> Self {
        Self { source, found: HashMap::new(), taken: None, floating_ips: None }
    }

    /// Looks into the world that the resources are shown from; of views the newest one, which may be a little ahead of them.
    pub fn in_world<T>(&self, look: impl FnOnce(&World) -> T) -> T {
        match self.source {
            Source::World(world) => look(world),
            Source::Views(_, replica, _) => look(&replica.world()),
        }
    }

    /// A living neighbour.
    pub fn find(&mut self, kind: Kind, id: Uuid) -> Result<Option<Resource>, ViewError> {
        let views = match self.source {
            Source::World(world) => return Ok(world.resource(kind, id)),
            Source::Views(views, ..) => views,
        };
        // A root disk belongs to one VM alone: remembering it would help nobody.
        if kind == Kind::Volume {
            return views.get(kind, id);
        }
        if let Some(found) = self.found.get(&(kind, id)) {
            return Ok(found.clone());
        }
        let found = views.get(kind, id)?;
        self.found.insert((kind, id), found.clone());
        Ok(found)
    }

    /// Law 8: what a VM waits for, given its disk and node.
    pub fn waiting(&self, vm: &Vm, state: State, disk: Option<&Resource>, node: Option<&Resource>) -> Option<Waiting> {
        if matches!(state, State::Running | State::Paused | State::Stopped) && vm.nic_under_way().is_none() {
            return None;
        }
        match self.source {
            Source::World(world) => vm.waiting(world),
            Source::Views(..) => {
                let resources = disk.into_iter().chain(node).cloned().collect();
                vm.waiting(&World::from_parts(vm.meta.revision, resources, IdempotencyKeys::default()))
            }
        }
    }

    /// How a webhook's deliveries go now; `None` where the past is shown.
    pub fn delivery(&self, webhook: Id<Webhook>) -> Option<Delivery> {
        match self.source {
            Source::World(_) => None,
            Source::Views(_, replica, webhooks) => webhooks.delivery(webhook, replica.head().sequence),
        }
    }

    /// What VMs have taken of a node, and how many they are.
    pub fn taken(&mut self, node: Id<Node>) -> (Capacity, u64) {
        let source = self.source;
        let taken = self.taken.get_or_insert_with(|| match source {
            Source::World(world) => tally(world),
            Source::Views(_, replica, _) => tally(&replica.world()),
        });
        taken.get(&node).copied().unwrap_or_default()
    }

    /// The floating IPs that lead to a VM.
    pub fn floating_ips(&mut self, vm: Id<Vm>) -> Vec<IpAddr> {
        let source = self.source;
        let leading = self.floating_ips.get_or_insert_with(|| match source {
            Source::World(world) => leading_to_vms(world),
            Source::Views(_, replica, _) => leading_to_vms(&replica.world()),
        });
        leading.get(&vm).cloned().unwrap_or_default()
    }
}

/// One pass over all floating IPs for all VMs.
fn leading_to_vms(world: &World) -> BTreeMap<Id<Vm>, Vec<IpAddr>> {
    let mut leading: BTreeMap<Id<Vm>, Vec<IpAddr>> = BTreeMap::new();
    for ip in world.floating_ips.values() {
        if let Some(to) = &ip.association {
            leading.entry(to.vm).or_default().push(ip.spec.address);
        }
    }
    leading
}

/// One pass over all VMs for all nodes; the sums are those of [`edgestack_model::placement::used`].
fn tally(world: &World) -> BTreeMap<Id<Node>, (Capacity, u64)> {
    let mut taken: BTreeMap<Id<Node>, (Capacity, u64)> = BTreeMap::new();
    for vm in world.vms.values() {
        if let Some(placement) = &vm.placement {
            let (used, vms) = taken.entry(placement.node).or_default();
            used.vcpus += u64::from(vm.spec.shape.vcpus);
            used.memory_mib += vm.spec.shape.memory_mib;
            used.disk_gib += vm.spec.shape.disk_gib;
            *vms += 1;
        }
    }
    taken
}
