//! What compensates a commit of people: event by event, from the world before it, after it and now. Pure.

use edgestack_model::{
    Commit, Event, Id, Kind, Labels, Meta, World,
    event::{
        Fact, FlavorEvent, ImageEvent, KeypairEvent, LeaseEvent, NetworkEvent, NodeEvent, VmEvent, VolumeEvent,
        WebhookEvent,
    },
    image::{ImageSpec, ImageState},
    meta::MetaChange,
    network::NetworkSpec,
    realization::RealizationState,
    sealed::SealedText,
    vm::Target,
    webhook::{Webhook, WebhookState},
    world::Resource,
};
use edgestack_wire::{
    command_word,
    undo::{UndoCommand, UndoRemark},
};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{again, floating_ips, load_balancers, nics, power, routers, security_groups};

const ADOPTED: &str =
    "it was adopted, not made: nothing makes it an orphan again, and removing it would end it with its data";
const FORGOTTEN: &str = "what was left of it is an orphan of its node once that answers, and can be adopted from there";

/// What was found out.
#[derive(Default)]
pub(super) struct Findings {
    pub commands: Vec<Prepared>,
    pub changed_since: Vec<UndoRemark>,
    pub already: Vec<UndoRemark>,
    pub cannot: Vec<UndoRemark>,
}

/// A command that is ready to be sent.
pub(super) struct Prepared {
    pub told: UndoCommand,
    /// Which object it changes; its generation must be the present one still.
    pub changes: Option<(Kind, Uuid)>,
    /// Which name it gives away.
    pub makes: Option<Kind>,
    /// What its body is to hold besides what is told of it.
    pub user_data: Option<SealedText>,
}

/// One event, and the worlds around it.
pub(super) struct Looking<'a> {
    pub commit: &'a Commit,
    pub event: &'a Event,
    pub before: &'a World,
    pub after: &'a World,
    pub now: &'a World,
    pub found: &'a mut Findings,
}

/// Whether people asked for a commit; what follows from another one, and what EdgeStack's own parts saw, nobody asked for.
pub(super) fn is_of_people(commit: &Commit) -> bool {
    commit.causation_id.is_none() && !commit.actor.is_worker() && commit.actor.credential != "internal"
}

/// Adds what compensates a commit, its last event first.
pub(super) fn compensate(commit: &Commit, [before, after, now]: [&World; 3], found: &mut Findings) {
    for event in commit.events.iter().rev() {
        let mut looking = Looking { commit, event, before, after, now, found };
        match &event.fact {
            Fact::Vm(fact) => vm(&mut looking, fact),
            Fact::Image(fact) => image(&mut looking, fact),
            Fact::Flavor(fact) => match fact {
                FlavorEvent::FlavorCreated { .. } => looking.remove(None),
                FlavorEvent::FlavorUpdated { change } => looking.put_back(change, |_| {}),
                FlavorEvent::FlavorDeleted {} => again::flavor(&mut looking),
            },
            Fact::Keypair(fact) => match fact {
                KeypairEvent::KeypairCreated { .. } => looking.remove(Some("VMs made with it keep the key")),
                KeypairEvent::KeypairUpdated { change } => looking.put_back(change, |_| {}),
                KeypairEvent::KeypairDeleted {} => again::keypair(&mut looking),
            },
            Fact::Node(fact) => node(&mut looking, fact),
            Fact::Volume(fact) => match fact {
                // A root disk comes and goes with its VM, of which another event tells.
                VolumeEvent::VolumeCreated { .. }
                | VolumeEvent::VolumeBecameAvailable {}
                | VolumeEvent::VolumeAttemptFailed { .. }
                | VolumeEvent::VolumeDeleteRequested {}
                | VolumeEvent::VolumeDeleted {}
                | VolumeEvent::VolumeReconcileRequested {}
                | VolumeEvent::VolumeForceRemoved {} => {}
            },
            Fact::Network(fact) => network(&mut looking, fact),
            Fact::SecurityGroup(fact) => security_groups::group(&mut looking, fact),
            Fact::SecurityGroupRule(fact) => security_groups::rule(&mut looking, fact),
            Fact::Router(fact) => routers::router(&mut looking, fact),
            Fact::FloatingIp(fact) => floating_ips::floating_ip(&mut looking, fact),
            Fact::LoadBalancer(fact) => load_balancers::load_balancer(&mut looking, fact),
            Fact::Webhook(fact) => webhook(&mut looking, fact),
            // Nobody's wish.
            Fact::Lease(LeaseEvent::LeaseTaken { .. } | LeaseEvent::LeaseReleased { .. }) => {}
        }
    }
}

fn vm(looking: &mut Looking<'_>, fact: &VmEvent) {
    match fact {
        VmEvent::VmCreated { .. } if looking.is_adoption() => looking.cannot(ADOPTED),
        VmEvent::VmCreated { .. } => looking.remove(Some("what was written to its root disk since goes with it")),
        VmEvent::VmUpdated { change, run_strategy, node_selector } => {
            let strategy = |world: &World, id| world.vms.get(&Id::new(id)).map(|vm| json!(vm.spec.run_strategy));
            let selector = |world: &World, id| world.vms.get(&Id::new(id)).map(|vm| json!(vm.spec.node_selector));
            looking.put_back(change, |patch| {
                patch.field("run_strategy", run_strategy.is_some(), strategy);
                patch.field("node_selector", node_selector.is_some(), selector);
            });
        }
        VmEvent::VmStartRequested { .. } => power::started(looking),
        VmEvent::VmStopRequested { .. } => power::stopped(looking),
        VmEvent::VmRestartRequested { .. } => {
            looking.cannot("its guest was rebooted: what ran in it was ended, and no command brings that back");
        }
        VmEvent::VmPauseRequested {} => power::paused(looking),
        VmEvent::VmUnpauseRequested {} => power::unpaused(looking),
        VmEvent::VmNicSecurityGroupsChanged { number, .. } => security_groups::nic(looking, *number),
        VmEvent::VmNicPortSecurityChanged { number, .. } => nics::edited(looking, *number),
        VmEvent::VmNicAttached { nic, .. } => nics::attached(looking, nic.number),
        VmEvent::VmNicDetachRequested { number } => nics::detached(looking, *number),
        VmEvent::VmForceRemoved { .. } => looking.cannot(FORGOTTEN),
        VmEvent::VmDeleteRequested {} if looking.is_by_force() => {}
        VmEvent::VmDeleteRequested {} => again::vm(looking),
        // What followed from what was asked for goes with that; a VM that had no place is gone at once.
        VmEvent::VmDeleted {}
        | VmEvent::VmScheduled { .. }
        | VmEvent::VmUnschedulable { .. }
        | VmEvent::VmStarted { .. }
        | VmEvent::VmPaused {}
        | VmEvent::VmUnpaused {}
        | VmEvent::VmStopped { .. }
        | VmEvent::VmAttemptFailed { .. }
        | VmEvent::VmSshPortMoved { .. }
        | VmEvent::VmGuestAgentConnected { .. }
        | VmEvent::VmReconcileRequested {}
        | VmEvent::VmNicDetached { .. }
        | VmEvent::VmNicPlugged { .. }
        | VmEvent::VmNicAttemptFailed { .. }
        | VmEvent::VmNicBecameReady { .. }
        | VmEvent::VmNicDrifted { .. }
        | VmEvent::VmReleased {} => {}
    }
}

fn image(looking: &mut Looking<'_>, fact: &ImageEvent) {
    match fact {
        ImageEvent::ImageCreated { .. } if looking.is_adoption() => looking.cannot(ADOPTED),
        ImageEvent::ImageForceRemoved {} => looking.cannot(FORGOTTEN),
        ImageEvent::ImageCreated { .. } => looking.remove(Some("its stored content goes with it")),
        ImageEvent::ImageUpdated { change, visibility, min_disk_gib, min_memory_mib } => {
            fn of<T: serde::Serialize>(part: impl Fn(&ImageSpec) -> T) -> impl Fn(&World, Uuid) -> Option<Value> {
                move |world, id| world.images.get(&Id::new(id)).map(|image| json!(part(&image.spec)))
            }
            looking.put_back(change, |patch| {
                patch.field("visibility", visibility.is_some(), of(|spec| spec.visibility));
                patch.field("min_disk_gib", min_disk_gib.is_some(), of(|spec| spec.min_disk_gib));
                patch.field("min_memory_mib", min_memory_mib.is_some(), of(|spec| spec.min_memory_mib));
            });
        }
        ImageEvent::ImageUploaded { .. } => {
            looking.cannot("an image takes its content once; to take that back, remove the image");
        }
        ImageEvent::ImageDeleteRequested {} => again::image(looking),
        ImageEvent::ImageDeleted {}
        | ImageEvent::ImageReconcileRequested {}
        | ImageEvent::ImageImported { .. }
        | ImageEvent::ImageAttemptFailed { .. }
        | ImageEvent::ImageRejected { .. } => {}
    }
}

fn network(looking: &mut Looking<'_>, fact: &NetworkEvent) {
    match fact {
        NetworkEvent::NetworkCreated { .. } => looking.remove(None),
        NetworkEvent::NetworkUpdated { change, mtu, dns_servers, host_routes, dhcp, pools, port_security } => {
            fn of<T: serde::Serialize>(part: impl Fn(&NetworkSpec) -> T) -> impl Fn(&World, Uuid) -> Option<Value> {
                move |world, id| world.networks.get(&Id::new(id)).map(|network| json!(part(&network.spec)))
            }
            looking.put_back(change, |patch| {
                patch.field("mtu", mtu.is_some(), of(|spec| spec.mtu));
                patch.field("dns_servers", dns_servers.is_some(), of(|spec| spec.dns_servers.clone()));
                patch.field("host_routes", host_routes.is_some(), of(|spec| spec.host_routes.clone()));
                patch.field("port_security", port_security.is_some(), of(|spec| spec.port_security));
                patch.field("dhcp", dhcp.is_some(), of(|spec| spec.dhcp));
                let pools_of = |spec: &NetworkSpec| spec.subnets.first().map(|subnet| subnet.pools.clone());
                patch.field("ip_pools", pools.is_some(), of(pools_of));
            });
        }
        NetworkEvent::NetworkDeleteRequested {} => again::network(looking),
        NetworkEvent::NetworkForceRemoved {} => {
            looking.cannot("what was left of it is removed; make it again if it is wanted");
        }
        NetworkEvent::NetworkBecameReady {}
        | NetworkEvent::NetworkDrifted { .. }
        | NetworkEvent::NetworkAttemptFailed { .. }
        | NetworkEvent::NetworkDeleted {}
        | NetworkEvent::NetworkReconcileRequested {} => {}
    }
}

fn node(looking: &mut Looking<'_>, fact: &NodeEvent) {
    match fact {
        NodeEvent::NodeUpdated { change } => looking.put_back(change, |_| {}),
        NodeEvent::NodeCordoned {} => looking.schedulable(true),
        NodeEvent::NodeUncordoned {} => {
            looking.schedulable(false);
            looking.cannot("VMs that were placed on it meanwhile stay there");
        }
        NodeEvent::NodeLogReleased { .. } => {
            looking.cannot("what has left the live log stays in the archive, where it is read from");
        }
        NodeEvent::NodeForceRemoved {} => looking.cannot("a node comes back when its workers are started"),
        NodeEvent::NodeReconcileRequested {} => {}
        // What its workers saw; nobody asked for it.
        NodeEvent::NodeRegistered { .. }
        | NodeEvent::NodeFactsChanged { .. }
        | NodeEvent::NodeBecameReady {}
        | NodeEvent::NodeBecameNotReady { .. }
        | NodeEvent::NodeOrphanFound { .. }
        | NodeEvent::NodeOrphanGone { .. }
        | NodeEvent::NodeUnlistedOrphansCounted { .. }
        | NodeEvent::NodeLeftoverRemoved { .. } => {}
    }
}

fn webhook(looking: &mut Looking<'_>, fact: &WebhookEvent) {
    match fact {
        WebhookEvent::WebhookCreated { .. } => looking.remove(Some("what was delivered is delivered")),
        WebhookEvent::WebhookUpdated { change, url, filter, paused, begin_after } => {
            fn of<T: serde::Serialize>(part: impl Fn(&Webhook) -> T) -> impl Fn(&World, Uuid) -> Option<Value> {
                move |world, id| world.webhooks.get(&Id::new(id)).map(|webhook| json!(part(webhook)))
            }
            looking.put_back(change, |patch| {
                patch.field("url", url.is_some(), of(|webhook| webhook.spec.url.clone()));
                patch.field("filter", filter.is_some(), of(|webhook| webhook.spec.filter.clone()));
                patch.field("paused", paused.is_some(), of(|webhook| webhook.state == WebhookState::Paused));
            });
            if begin_after.is_some() {
                looking.cannot("what was skipped is not delivered any more; edgectl history tells it");
            }
        }
        WebhookEvent::WebhookSecretRotated { .. } => {
            looking.cannot("the secret before is not brought back; rotate again if this one is known to others");
        }
        WebhookEvent::WebhookDeleted {} => {
            looking.cannot("its secret is gone: create it anew, and give the new secret to its receiver");
        }
        WebhookEvent::WebhookFailing { .. }
        | WebhookEvent::WebhookRecovered { .. }
        | WebhookEvent::WebhookDisabled { .. } => {}
    }
}

impl Looking<'_> {
    /// Whether the commit took over what was on a node: to remove that would end what ran before it was known.
    fn is_adoption(&self) -> bool {
        self.commit.events.iter().any(|event| matches!(event.fact, Fact::Node(NodeEvent::NodeOrphanGone { .. })))
    }

    fn is_by_force(&self) -> bool {
        self.commit.events.iter().any(|event| matches!(event.fact, Fact::Vm(VmEvent::VmForceRemoved { .. })))
    }

    pub fn kind(&self) -> Kind {
        self.event.fact.kind()
    }

    pub fn id(&self) -> Uuid {
        self.event.resource_id
    }

    fn remark(&self, why: impl Into<String>) -> UndoRemark {
        let object = format!("{}/{}", self.kind(), self.event.name);
        UndoRemark { sequence: self.commit.sequence.0, object, why: why.into() }
    }

    pub fn cannot(&mut self, why: impl Into<String>) {
        let remark = self.remark(why);
        self.found.cannot.push(remark);
    }

    pub fn already(&mut self, why: impl Into<String>) {
        let remark = self.remark(why);
        self.found.already.push(remark);
    }

    pub fn changed_since(&mut self, why: impl Into<String>) {
        let remark = self.remark(why);
        self.found.changed_since.push(remark);
    }

    /// Whether it lives; if not, that is said.
    pub fn lives(&mut self) -> bool {
        let lives = self.now.resource(self.kind(), self.id()).is_some_and(|resource| !is_going(&resource));
        if !lives {
            self.already("it is gone, or being removed");
        }
        lives
    }

    fn command(&self, what: &str, method: &str, path: String, body: Option<Value>, edgectl: String) -> UndoCommand {
        UndoCommand {
            sequence: self.commit.sequence.0,
            object: format!("{}/{}", self.kind(), self.event.name),
            what: what.to_owned(),
            method: method.to_owned(),
            path,
            body,
            edgectl,
            status: None,
            problem: None,
        }
    }

    /// A command on the object itself.
    pub fn change(&mut self, what: &str, method: &str, end: &str, body: Option<Value>, edgectl: Option<String>) {
        let (kind, id) = (self.kind(), self.id());
        let path = format!("{}/{id}{end}", kind.plural());
        let edgectl = edgectl.unwrap_or_else(|| raw(method, &path, body.as_ref()));
        let told = self.command(what, method, path, body, edgectl);
        self.found.commands.push(Prepared { told, changes: Some((kind, id)), makes: None, user_data: None });
    }

    /// A command that makes one like it.
    pub fn make(&mut self, what: &str, body: Value, user_data: Option<SealedText>) {
        let kind = self.kind();
        let path = kind.plural().to_owned();
        let edgectl = raw("POST", &path, Some(&body));
        let told = self.command(what, "POST", path, Some(body), edgectl);
        self.found.commands.push(Prepared { told, changes: None, makes: Some(kind), user_data });
    }

    /// Whether a command that comes before makes one of this kind and name.
    pub fn is_made_before(&self, kind: Kind, name: &str) -> bool {
        self.found.commands.iter().any(|command| {
            let made = command.told.body.as_ref().and_then(|body| body["name"].as_str());
            command.makes == Some(kind) && made == Some(name)
        })
    }

    /// Whether its name is free for one like it; if not, that is said.
    pub fn name_is_free(&mut self) -> bool {
        match self.now.id_of(self.kind(), &self.event.name) {
            None => true,
            Some(id) if id == self.id() => {
                self.changed_since("it is still being removed; ask again once it is gone");
                false
            }
            Some(_) => {
                self.already(format!("there is a {} of this name again", self.kind()));
                false
            }
        }
    }

    /// What was made goes.
    pub fn remove(&mut self, loss: Option<&str>) {
        if !self.lives() {
            return;
        }
        let line = format!("edgectl remove-{} {}", command_word::of(self.kind()), self.id());
        self.change("remove it", "DELETE", "", None, Some(line));
        if let Some(loss) = loss {
            self.cannot(loss);
        }
    }

    fn schedulable(&mut self, wanted: bool) {
        let id = Id::new(self.id());
        let Some(cordoned) = self.now.nodes.get(&id).map(|node| node.cordoned) else {
            return self.already("it is gone");
        };
        if cordoned != wanted {
            return self.already(if wanted { "it takes new VMs" } else { "it is cordoned" });
        }
        let action = if wanted { "uncordon" } else { "cordon" };
        let line = format!("edgectl {action}-node {}", self.id());
        self.change(action, "POST", "/action", Some(json!({ "action": action })), Some(line));
    }

    /// What was changed gets its value from before, field by field, where it still has the one that was given.
    pub fn put_back(&mut self, change: &MetaChange, more: impl FnOnce(&mut Patch<'_>)) {
        if !self.lives() {
            return;
        }
        let (kind, id) = (self.kind(), self.id());
        let metas = [self.before, self.after, self.now].map(|world| world.meta(kind, id).cloned());
        let mut patch = Patch {
            worlds: [self.before, self.after, self.now],
            id,
            body: Map::new(),
            already: Vec::new(),
            changed: Vec::new(),
        };
        let description = |world: &World, id| world.meta(kind, id).map(|meta| json!(meta.description));
        patch.field("description", change.description.is_some(), description);
        if let (true, [Some(before), Some(after), Some(now)]) = (change.labels.is_some(), &metas) {
            patch.labels(before, after, now);
        }
        more(&mut patch);
        let Patch { body, already, changed, .. } = patch;
        if !already.is_empty() {
            self.already(format!("{}: as before", already.join(", ")));
        }
        if !changed.is_empty() {
            self.changed_since(format!("{}: changed since, and left as it is", changed.join(", ")));
        }
        if !body.is_empty() {
            let what = format!("put back {}", body.keys().cloned().collect::<Vec<_>>().join(", "));
            self.change(&what, "PATCH", "", Some(Value::Object(body)), None);
        }
    }
}

/// A PATCH that is being put together.
pub(super) struct Patch<'a> {
    /// Before, after, now.
    worlds: [&'a World; 3],
    id: Uuid,
    body: Map<String, Value>,
    already: Vec<String>,
    changed: Vec<String>,
}

impl Patch<'_> {
    /// A field that the change gave a value, if it did.
    pub fn field(&mut self, name: &str, given: bool, value: impl Fn(&World, Uuid) -> Option<Value>) {
        if !given {
            return;
        }
        let [Some(before), Some(after), Some(now)] = self.worlds.map(|world| value(world, self.id)) else { return };
        if now == before {
            self.already.push(name.to_owned());
        } else if now == after {
            self.body.insert(name.to_owned(), before);
        } else {
            self.changed.push(name.to_owned());
        }
    }

    /// Changes what a field is put back to; `None`: it is left out.
    pub fn rewrite(&mut self, name: &str, change: impl Fn(&Value) -> Option<Value>) {
        if let Some(value) = self.body.remove(name).as_ref().and_then(change) {
            self.body.insert(name.to_owned(), value);
        }
    }

    /// Labels one by one: who set another one since keeps it.
    fn labels(&mut self, before: &Meta, after: &Meta, now: &Meta) {
        let map = |labels: &Labels| std::collections::BTreeMap::<String, String>::from(labels.clone());
        let (before, after, mut wanted) = (map(&before.labels), map(&after.labels), map(&now.labels));
        let keys: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        let mut differs = false;
        for key in keys.into_iter().filter(|key| before.get(*key) != after.get(*key)) {
            let name = format!("labels.{key}");
            if wanted.get(key) == before.get(key) {
                self.already.push(name);
            } else if wanted.get(key) != after.get(key) {
                self.changed.push(name);
            } else {
                differs = true;
                match before.get(key) {
                    Some(value) => wanted.insert(key.clone(), value.clone()),
                    None => wanted.remove(key),
                };
            }
        }
        if differs {
            self.body.insert("labels".to_owned(), json!(wanted));
        }
    }
}

/// Whether it is on its way out.
fn is_going(resource: &Resource) -> bool {
    match resource {
        Resource::Vm(vm) => vm.target == Target::Deleted,
        Resource::Image(image) => image.state == ImageState::Deleting,
        Resource::Network(network) => network.realization.state == RealizationState::Deleting,
        Resource::SecurityGroup(group) => group.realization.state == RealizationState::Deleting,
        Resource::SecurityGroupRule(rule) => rule.realization.state == RealizationState::Deleting,
        Resource::Router(router) => router.realization.state == RealizationState::Deleting,
        Resource::FloatingIp(ip) => ip.realization.state == RealizationState::Deleting,
        Resource::LoadBalancer(balancer) => balancer.realization.state == RealizationState::Deleting,
        Resource::Flavor(_)
        | Resource::Keypair(_)
        | Resource::Node(_)
        | Resource::Volume(_)
        | Resource::Webhook(_)
        | Resource::Lease(_) => false,
    }
}

/// The line for a shell that sends a request as it is.
fn raw(method: &str, path: &str, body: Option<&Value>) -> String {
    match body {
        None => format!("edgectl api {method} {path}"),
        Some(body) => format!("edgectl api {method} {path} -d '{}'", body.to_string().replace('\'', r"'\''")),
    }
}
