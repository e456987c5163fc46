//! Resources of whichever kind: the world as a list of them, and made of one.

use std::sync::Arc;

use uuid::Uuid;

use super::*;

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

impl World {
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
