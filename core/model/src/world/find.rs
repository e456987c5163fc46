//! Finding a resource in the world by name or id.

use std::sync::Arc;

use uuid::Uuid;

use super::*;

impl World {
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
}

fn not_found(kind: Kind, reference: &Reference) -> Refusal {
    Refusal::NotFound { kind, name: reference.0.clone() }
}
