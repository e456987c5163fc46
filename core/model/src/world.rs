//! The fold of all commits.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{
    Commit, Generation, Id, Kind, Labels, Meta, Name, Refusal, Sequence,
    command::Reference,
    event::Fact,
    flavor::{self, Flavor},
    floating_ip::{self, FloatingIp},
    idempotency::{IdempotencyKeys, Remembered},
    image::{self, Image},
    keypair::{self, Keypair},
    lease::{self, Lease},
    load_balancer::{self, LoadBalancer},
    network::{self, Network},
    node::{self, Node},
    router::{self, Router},
    security_group::{self, SecurityGroup},
    security_group_rule::{self, SecurityGroupRule},
    vm::{self, Vm},
    volume::{self, Volume},
    webhook::{self, Webhook},
};

/// Everything that is. Resources are shared (`Arc`), so that a copy of the
/// world for a dry run or a rewind costs its maps, not its contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct World {
    /// The last commit folded.
    pub sequence: Sequence,
    /// VMs, deleting ones included.
    pub vms: BTreeMap<Id<Vm>, Arc<Vm>>,
    /// Images.
    pub images: BTreeMap<Id<Image>, Arc<Image>>,
    /// Flavors.
    pub flavors: BTreeMap<Id<Flavor>, Arc<Flavor>>,
    /// Keypairs.
    pub keypairs: BTreeMap<Id<Keypair>, Arc<Keypair>>,
    /// Nodes.
    pub nodes: BTreeMap<Id<Node>, Arc<Node>>,
    /// Volumes.
    pub volumes: BTreeMap<Id<Volume>, Arc<Volume>>,
    /// Networks.
    pub networks: BTreeMap<Id<Network>, Arc<Network>>,
    /// Security groups.
    pub security_groups: BTreeMap<Id<SecurityGroup>, Arc<SecurityGroup>>,
    /// Their rules.
    pub security_group_rules: BTreeMap<Id<SecurityGroupRule>, Arc<SecurityGroupRule>>,
    /// Routers.
    pub routers: BTreeMap<Id<Router>, Arc<Router>>,
    /// Floating IPs.
    pub floating_ips: BTreeMap<Id<FloatingIp>, Arc<FloatingIp>>,
    /// Load balancers.
    pub load_balancers: BTreeMap<Id<LoadBalancer>, Arc<LoadBalancer>>,
    /// Webhooks.
    pub webhooks: BTreeMap<Id<Webhook>, Arc<Webhook>>,
    /// Leases.
    pub leases: BTreeMap<Id<Lease>, Arc<Lease>>,
    /// Requests seen before.
    pub idempotency: IdempotencyKeys,
    names: BTreeMap<(Kind, Name), Uuid>,
}

/// What one commit touched, for those who keep rows of the world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Resources created, changed or gone, each once, in order of first touch.
    pub resources: Vec<(Kind, Uuid)>,
    /// Idempotency keys (scoped by actor) that are no longer remembered.
    pub forgotten: Vec<String>,
}

impl Touched {
    fn add(&mut self, kind: Kind, id: Uuid) {
        if !self.resources.contains(&(kind, id)) {
            self.resources.push((kind, id));
        }
    }
}

/// An event that cannot have happened in this world: the log is corrupt, or
/// was written by a program that we are not. The reader stops here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("commit {sequence} holds an impossible event: {what}; writes stop; restore the log from a copy")]
pub struct Impossible {
    /// The commit.
    pub sequence: Sequence,
    /// What does not fit.
    pub what: String,
}

/// Where and when an event stands, for the kinds' `evolve`.
pub(crate) struct At<'a> {
    pub commit: &'a Commit,
    pub resource_id: Uuid,
    pub name: &'a Name,
    pub generation: Generation,
}

impl At<'_> {
    /// The meta of a resource that this event creates.
    pub fn new_meta(&self, description: &str, labels: &Labels) -> Meta {
        Meta {
            name: self.name.clone(),
            description: description.to_owned(),
            labels: labels.clone(),
            generation: self.generation,
            revision: self.commit.sequence,
            created_at: self.commit.time,
            updated_at: self.commit.time,
            cause: self.commit.id,
            correlation_id: self.commit.correlation_id,
        }
    }

    /// Takes the commit's place and time over into a touched resource.
    pub fn touch(&self, meta: &mut Meta) {
        if self.generation > meta.generation {
            meta.cause = self.commit.id;
            meta.correlation_id = self.commit.correlation_id;
        }
        meta.generation = self.generation;
        meta.revision = self.commit.sequence;
        meta.updated_at = self.commit.time;
    }

    /// The commit's time.
    pub fn time(&self) -> DateTime<Utc> {
        self.commit.time
    }

    /// This event does not fit.
    pub fn impossible(&self, what: impl Into<String>) -> Impossible {
        Impossible { sequence: self.commit.sequence, what: what.into() }
    }
}

impl World {
    /// Folds the next commit in.
    ///
    /// # Errors
    /// [`Impossible`] when the commit is not the next one or an event does not fit.
    pub fn evolve(&mut self, commit: &Commit) -> Result<Touched, Impossible> {
        if commit.sequence != self.sequence.next() {
            return Err(Impossible { sequence: commit.sequence, what: format!("it follows commit {}", self.sequence) });
        }
        let mut touched = Touched::default();
        for event in &commit.events {
            let at = At { commit, resource_id: event.resource_id, name: &event.name, generation: event.generation };
            let group = self.group_of(event);
            match &event.fact {
                Fact::Vm(event) => vm::evolve(self, &at, event)?,
                Fact::Image(event) => image::evolve(self, &at, event)?,
                Fact::Flavor(event) => flavor::evolve(self, &at, event)?,
                Fact::Keypair(event) => keypair::evolve(self, &at, event)?,
                Fact::Node(event) => node::evolve(self, &at, event)?,
                Fact::Volume(event) => volume::evolve(self, &at, event)?,
                Fact::Network(event) => network::evolve(self, &at, event)?,
                Fact::SecurityGroup(event) => security_group::evolve(self, &at, event)?,
                Fact::SecurityGroupRule(event) => security_group_rule::evolve(self, &at, event)?,
                Fact::Router(event) => router::evolve(self, &at, event)?,
                Fact::FloatingIp(event) => floating_ip::evolve(self, &at, event)?,
                Fact::LoadBalancer(event) => load_balancer::evolve(self, &at, event)?,
                Fact::Webhook(event) => webhook::evolve(self, &at, event)?,
                Fact::Lease(event) => lease::evolve(self, &at, event)?,
            }
            touched.add(event.fact.kind(), event.resource_id);
            self.touch_owner(commit, event, group, &mut touched);
        }
        if let (Some(claim), Some(first)) = (&commit.idempotency, Remembered::of(commit)) {
            touched.forgotten = self.idempotency.remember(&commit.actor.name, &claim.key, first);
        }
        self.sequence = commit.sequence;
        Ok(touched)
    }

    /// A VM shows its root disk's state, and a security group its rules, so what happens to those is a new revision of it.
    /// `of`: the group of a rule that is there before the event.
    fn touch_owner(
        &mut self,
        commit: &Commit,
        event: &crate::Event,
        of: Option<Id<SecurityGroup>>,
        touched: &mut Touched,
    ) {
        let touch = |meta: &mut Meta| {
            meta.revision = commit.sequence;
            meta.updated_at = commit.time;
        };
        match event.fact {
            Fact::Volume(_) => {
                let volume = self.volumes.get(&Id::new(event.resource_id));
                let Some(owner) = volume.map(|volume| volume.spec.vm) else { return };
                if let Some(vm) = self.vms.get_mut(&owner) {
                    touch(&mut Arc::make_mut(vm).meta);
                    touched.add(Kind::Vm, owner.uuid());
                }
            }
            Fact::SecurityGroupRule(_) => {
                let Some(owner) = of.or_else(|| self.group_of(event)) else { return };
                if let Some(group) = self.security_groups.get_mut(&owner) {
                    touch(&mut Arc::make_mut(group).meta);
                    touched.add(Kind::SecurityGroup, owner.uuid());
                }
            }
            Fact::Vm(_)
            | Fact::Image(_)
            | Fact::Flavor(_)
            | Fact::Keypair(_)
            | Fact::Node(_)
            | Fact::Network(_)
            | Fact::SecurityGroup(_)
            | Fact::Router(_)
            | Fact::FloatingIp(_)
            | Fact::LoadBalancer(_)
            | Fact::Webhook(_)
            | Fact::Lease(_) => {}
        }
    }

    /// The group of the rule that an event is about, if it is there.
    fn group_of(&self, event: &crate::Event) -> Option<Id<SecurityGroup>> {
        match event.fact {
            Fact::SecurityGroupRule(_) => {
                self.security_group_rules.get(&Id::new(event.resource_id)).map(|rule| rule.spec.group)
            }
            _ => None,
        }
    }

    /// The id behind a living resource's name.
    pub fn id_of(&self, kind: Kind, name: &Name) -> Option<Uuid> {
        self.names.get(&(kind, name.clone())).copied()
    }

    /// The id behind a name or id, if such a resource lives.
    pub fn resolve(&self, kind: Kind, reference: &Reference) -> Option<Uuid> {
        if let Ok(id) = Uuid::parse_str(&reference.0) {
            return self.meta(kind, id).map(|_| id);
        }
        let name = reference.0.parse().ok()?;
        self.id_of(kind, &name)
    }

    /// The bookkeeping of a living resource.
    pub fn meta(&self, kind: Kind, id: Uuid) -> Option<&Meta> {
        match kind {
            Kind::Vm => self.vms.get(&Id::new(id)).map(|r| &r.meta),
            Kind::Image => self.images.get(&Id::new(id)).map(|r| &r.meta),
            Kind::Flavor => self.flavors.get(&Id::new(id)).map(|r| &r.meta),
            Kind::Keypair => self.keypairs.get(&Id::new(id)).map(|r| &r.meta),
            Kind::Node => self.nodes.get(&Id::new(id)).map(|r| &r.meta),
            Kind::Volume => self.volumes.get(&Id::new(id)).map(|r| &r.meta),
            Kind::Network => self.networks.get(&Id::new(id)).map(|r| &r.meta),
            Kind::SecurityGroup => self.security_groups.get(&Id::new(id)).map(|r| &r.meta),
            Kind::SecurityGroupRule => self.security_group_rules.get(&Id::new(id)).map(|r| &r.meta),
            Kind::Router => self.routers.get(&Id::new(id)).map(|r| &r.meta),
            Kind::FloatingIp => self.floating_ips.get(&Id::new(id)).map(|r| &r.meta),
            Kind::LoadBalancer => self.load_balancers.get(&Id::new(id)).map(|r| &r.meta),
            Kind::Webhook => self.webhooks.get(&Id::new(id)).map(|r| &r.meta),
            Kind::Lease => self.leases.get(&Id::new(id)).map(|r| &r.meta),
        }
    }

    /// The VM behind a reference.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn vm(&self, reference: &Reference) -> Result<&Arc<Vm>, Refusal> {
        let id = self.resolve(Kind::Vm, reference);
        id.and_then(|id| self.vms.get(&Id::new(id))).ok_or_else(|| not_found(Kind::Vm, reference))
    }

    /// The image behind a reference.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn image(&self, reference: &Reference) -> Result<&Arc<Image>, Refusal> {
        let id = self.resolve(Kind::Image, reference);
        id.and_then(|id| self.images.get(&Id::new(id))).ok_or_else(|| not_found(Kind::Image, reference))
    }

    /// The flavor behind a reference.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn flavor(&self, reference: &Reference) -> Result<&Arc<Flavor>, Refusal> {
        let id = self.resolve(Kind::Flavor, reference);
        id.and_then(|id| self.flavors.get(&Id::new(id))).ok_or_else(|| not_found(Kind::Flavor, reference))
    }

    /// The keypair behind a reference.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn keypair(&self, reference: &Reference) -> Result<&Arc<Keypair>, Refusal> {
        let id = self.resolve(Kind::Keypair, reference);
        id.and_then(|id| self.keypairs.get(&Id::new(id))).ok_or_else(|| not_found(Kind::Keypair, reference))
    }

    /// The node behind a reference.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn node(&self, reference: &Reference) -> Result<&Arc<Node>, Refusal> {
        let id = self.resolve(Kind::Node, reference);
        id.and_then(|id| self.nodes.get(&Id::new(id))).ok_or_else(|| not_found(Kind::Node, reference))
    }

    /// How far commits may leave the live log, if anybody has said so.
    pub fn log_released(&self) -> Option<&crate::node::LogRelease> {
        self.nodes.values().filter_map(|node| node.log_released.as_ref()).max_by_key(|released| released.through)
    }

    /// The volume behind a reference.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn volume(&self, reference: &Reference) -> Result<&Arc<Volume>, Refusal> {
        let id = self.resolve(Kind::Volume, reference);
        id.and_then(|id| self.volumes.get(&Id::new(id))).ok_or_else(|| not_found(Kind::Volume, reference))
    }

    /// The network behind a reference.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn network(&self, reference: &Reference) -> Result<&Arc<Network>, Refusal> {
        let id = self.resolve(Kind::Network, reference);
        id.and_then(|id| self.networks.get(&Id::new(id))).ok_or_else(|| not_found(Kind::Network, reference))
    }

    /// The security group behind a reference.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn security_group(&self, reference: &Reference) -> Result<&Arc<SecurityGroup>, Refusal> {
        let kind = Kind::SecurityGroup;
        let id = self.resolve(kind, reference);
        id.and_then(|id| self.security_groups.get(&Id::new(id))).ok_or_else(|| not_found(kind, reference))
    }

    /// The security group rule behind a reference.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn security_group_rule(&self, reference: &Reference) -> Result<&Arc<SecurityGroupRule>, Refusal> {
        let kind = Kind::SecurityGroupRule;
        let id = self.resolve(kind, reference);
        id.and_then(|id| self.security_group_rules.get(&Id::new(id))).ok_or_else(|| not_found(kind, reference))
    }

    /// The rules of a security group, in order of age.
    pub fn rules_of(&self, group: Id<SecurityGroup>) -> impl Iterator<Item = &SecurityGroupRule> {
        self.security_group_rules.values().map(AsRef::as_ref).filter(move |rule| rule.spec.group == group)
    }

    /// The router behind a reference.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn router(&self, reference: &Reference) -> Result<&Arc<Router>, Refusal> {
        let id = self.resolve(Kind::Router, reference);
        id.and_then(|id| self.routers.get(&Id::new(id))).ok_or_else(|| not_found(Kind::Router, reference))
    }

    /// The floating IP behind a reference.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn floating_ip(&self, reference: &Reference) -> Result<&Arc<FloatingIp>, Refusal> {
        let id = self.resolve(Kind::FloatingIp, reference);
        id.and_then(|id| self.floating_ips.get(&Id::new(id))).ok_or_else(|| not_found(Kind::FloatingIp, reference))
    }

    /// The load balancer behind a reference.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn load_balancer(&self, reference: &Reference) -> Result<&Arc<LoadBalancer>, Refusal> {
        let id = self.resolve(Kind::LoadBalancer, reference);
        id.and_then(|id| self.load_balancers.get(&Id::new(id))).ok_or_else(|| not_found(Kind::LoadBalancer, reference))
    }

    /// The webhook behind a reference.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub fn webhook(&self, reference: &Reference) -> Result<&Arc<Webhook>, Refusal> {
        let id = self.resolve(Kind::Webhook, reference);
        id.and_then(|id| self.webhooks.get(&Id::new(id))).ok_or_else(|| not_found(Kind::Webhook, reference))
    }

    /// The lease of that name, if it was ever taken.
    pub fn lease(&self, name: &Name) -> Option<&Arc<Lease>> {
        self.leases.get(&Id::new(self.id_of(Kind::Lease, name)?))
    }

    pub(crate) fn claim_name(&mut self, kind: Kind, at: &At<'_>) -> Result<(), Impossible> {
        match self.names.insert((kind, at.name.clone()), at.resource_id) {
            None => Ok(()),
            Some(other) => Err(at.impossible(format!("{kind} \"{}\" is the name of {other} already", at.name))),
        }
    }

    pub(crate) fn release_name(&mut self, kind: Kind, name: &Name) {
        self.names.remove(&(kind, name.clone()));
    }

    /// Builds a world from stored resources, as a view keeps them.
    pub fn from_parts(sequence: Sequence, resources: Vec<Resource>, idempotency: IdempotencyKeys) -> Self {
        let mut world = Self { sequence, idempotency, ..Self::default() };
        for resource in resources {
            world.names.insert((resource.kind(), resource.meta().name.clone()), resource.id());
            match resource {
                Resource::Vm(r) => drop(world.vms.insert(r.id, r)),
                Resource::Image(r) => drop(world.images.insert(r.id, r)),
                Resource::Flavor(r) => drop(world.flavors.insert(r.id, r)),
                Resource::Keypair(r) => drop(world.keypairs.insert(r.id, r)),
                Resource::Node(r) => drop(world.nodes.insert(r.id, r)),
                Resource::Volume(r) => drop(world.volumes.insert(r.id, r)),
                Resource::Network(r) => drop(world.networks.insert(r.id, r)),
                Resource::SecurityGroup(r) => drop(world.security_groups.insert(r.id, r)),
                Resource::SecurityGroupRule(r) => drop(world.security_group_rules.insert(r.id, r)),
                Resource::Router(r) => drop(world.routers.insert(r.id, r)),
                Resource::FloatingIp(r) => drop(world.floating_ips.insert(r.id, r)),
                Resource::LoadBalancer(r) => drop(world.load_balancers.insert(r.id, r)),
                Resource::Webhook(r) => drop(world.webhooks.insert(r.id, r)),
                Resource::Lease(r) => drop(world.leases.insert(r.id, r)),
            }
        }
        world
    }

    /// All living resources, kind by kind, in order of id.
    pub fn resources(&self) -> impl Iterator<Item = Resource> {
        let nodes = self.nodes.values().cloned().map(Resource::Node);
        let flavors = self.flavors.values().cloned().map(Resource::Flavor);
        let keypairs = self.keypairs.values().cloned().map(Resource::Keypair);
        let images = self.images.values().cloned().map(Resource::Image);
        let volumes = self.volumes.values().cloned().map(Resource::Volume);
        let networks = self.networks.values().cloned().map(Resource::Network);
        let groups = self.security_groups.values().cloned().map(Resource::SecurityGroup);
        let rules = self.security_group_rules.values().cloned().map(Resource::SecurityGroupRule);
        let vms = self.vms.values().cloned().map(Resource::Vm);
        let routers = self.routers.values().cloned().map(Resource::Router);
        let floating_ips = self.floating_ips.values().cloned().map(Resource::FloatingIp);
        let load_balancers = self.load_balancers.values().cloned().map(Resource::LoadBalancer);
        let webhooks = self.webhooks.values().cloned().map(Resource::Webhook);
        let leases = self.leases.values().cloned().map(Resource::Lease);
        nodes
            .chain(flavors)
            .chain(keypairs)
            .chain(images)
            .chain(networks)
            .chain(routers)
            .chain(groups)
            .chain(rules)
            .chain(volumes)
            .chain(vms)
            .chain(load_balancers)
            .chain(floating_ips)
            .chain(webhooks)
            .chain(leases)
    }

    /// Living resources of a kind in order of name, beginning after `after`.
    pub fn list<'a>(&'a self, kind: Kind, after: Option<&'a str>) -> impl Iterator<Item = Resource> + 'a {
        self.names
            .iter()
            .skip_while(move |((of, name), _)| {
                *of < kind || *of == kind && after.is_some_and(|after| name.as_str() <= after)
            })
            .take_while(move |((of, _), _)| *of == kind)
            .filter_map(move |(_, id)| self.resource(kind, *id))
    }

    /// A living resource of any kind.
    pub fn resource(&self, kind: Kind, id: Uuid) -> Option<Resource> {
        match kind {
            Kind::Vm => self.vms.get(&Id::new(id)).cloned().map(Resource::Vm),
            Kind::Image => self.images.get(&Id::new(id)).cloned().map(Resource::Image),
            Kind::Flavor => self.flavors.get(&Id::new(id)).cloned().map(Resource::Flavor),
            Kind::Keypair => self.keypairs.get(&Id::new(id)).cloned().map(Resource::Keypair),
            Kind::Node => self.nodes.get(&Id::new(id)).cloned().map(Resource::Node),
            Kind::Volume => self.volumes.get(&Id::new(id)).cloned().map(Resource::Volume),
            Kind::Network => self.networks.get(&Id::new(id)).cloned().map(Resource::Network),
            Kind::SecurityGroup => self.security_groups.get(&Id::new(id)).cloned().map(Resource::SecurityGroup),
            Kind::SecurityGroupRule => {
                self.security_group_rules.get(&Id::new(id)).cloned().map(Resource::SecurityGroupRule)
            }
            Kind::Router => self.routers.get(&Id::new(id)).cloned().map(Resource::Router),
            Kind::FloatingIp => self.floating_ips.get(&Id::new(id)).cloned().map(Resource::FloatingIp),
            Kind::LoadBalancer => self.load_balancers.get(&Id::new(id)).cloned().map(Resource::LoadBalancer),
            Kind::Webhook => self.webhooks.get(&Id::new(id)).cloned().map(Resource::Webhook),
            Kind::Lease => self.leases.get(&Id::new(id)).cloned().map(Resource::Lease),
        }
    }
}

/// A resource of any kind, shared with the world it came from.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(tag = "kind", content = "resource", rename_all = "snake_case")]
pub enum Resource {
    /// A VM.
    Vm(Arc<Vm>),
    /// An image.
    Image(Arc<Image>),
    /// A flavor.
    Flavor(Arc<Flavor>),
    /// A keypair.
    Keypair(Arc<Keypair>),
    /// A node.
    Node(Arc<Node>),
    /// A volume.
    Volume(Arc<Volume>),
    /// A network.
    Network(Arc<Network>),
    /// A security group.
    SecurityGroup(Arc<SecurityGroup>),
    /// A security group rule.
    SecurityGroupRule(Arc<SecurityGroupRule>),
    /// A router.
    Router(Arc<Router>),
    /// A floating IP.
    FloatingIp(Arc<FloatingIp>),
    /// A load balancer.
    LoadBalancer(Arc<LoadBalancer>),
    /// A webhook.
    Webhook(Arc<Webhook>),
    /// A lease.
    Lease(Arc<Lease>),
}

impl Resource {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Vm(_) => Kind::Vm,
            Self::Image(_) => Kind::Image,
            Self::Flavor(_) => Kind::Flavor,
            Self::Keypair(_) => Kind::Keypair,
            Self::Node(_) => Kind::Node,
            Self::Volume(_) => Kind::Volume,
            Self::Network(_) => Kind::Network,
            Self::SecurityGroup(_) => Kind::SecurityGroup,
            Self::SecurityGroupRule(_) => Kind::SecurityGroupRule,
            Self::Router(_) => Kind::Router,
            Self::FloatingIp(_) => Kind::FloatingIp,
            Self::LoadBalancer(_) => Kind::LoadBalancer,
            Self::Webhook(_) => Kind::Webhook,
            Self::Lease(_) => Kind::Lease,
        }
    }

    /// Its id.
    pub fn id(&self) -> Uuid {
        match self {
            Self::Vm(r) => r.id.uuid(),
            Self::Image(r) => r.id.uuid(),
            Self::Flavor(r) => r.id.uuid(),
            Self::Keypair(r) => r.id.uuid(),
            Self::Node(r) => r.id.uuid(),
            Self::Volume(r) => r.id.uuid(),
            Self::Network(r) => r.id.uuid(),
            Self::SecurityGroup(r) => r.id.uuid(),
            Self::SecurityGroupRule(r) => r.id.uuid(),
            Self::Router(r) => r.id.uuid(),
            Self::FloatingIp(r) => r.id.uuid(),
            Self::LoadBalancer(r) => r.id.uuid(),
            Self::Webhook(r) => r.id.uuid(),
            Self::Lease(r) => r.id.uuid(),
        }
    }

    /// Its bookkeeping.
    pub fn meta(&self) -> &Meta {
        match self {
            Self::Vm(r) => &r.meta,
            Self::Image(r) => &r.meta,
            Self::Flavor(r) => &r.meta,
            Self::Keypair(r) => &r.meta,
            Self::Node(r) => &r.meta,
            Self::Volume(r) => &r.meta,
            Self::Network(r) => &r.meta,
            Self::SecurityGroup(r) => &r.meta,
            Self::SecurityGroupRule(r) => &r.meta,
            Self::Router(r) => &r.meta,
            Self::FloatingIp(r) => &r.meta,
            Self::LoadBalancer(r) => &r.meta,
            Self::Webhook(r) => &r.meta,
            Self::Lease(r) => &r.meta,
        }
    }
}

fn not_found(kind: Kind, reference: &Reference) -> Refusal {
    Refusal::NotFound { kind, name: reference.0.clone() }
}
