//! The fold of all commits.

mod find;
mod resource;

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

pub use resource::Resource;

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
}
