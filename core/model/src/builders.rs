//! Values for the tests: a world that commands are decided on, and what is in it.

mod commands;
mod virtual_network;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::{
    Actor, Command, Commit, Decision, Event, Generation, Given, Id, Kind, Labels, Name, Refusal, World,
    command::Reference,
    flavor::{FlavorCommand, Shape},
    floating_ip::{FloatingIp, FloatingIpCommand},
    given::Precondition,
    idempotency::IdempotencyClaim,
    image::{DiskFormat, Image, ImageCommand, ImageContent, ImageReport, ImageSource, ImageSpec, Visibility},
    keypair::{KeypairCommand, PublicKey},
    load_balancer::{LoadBalancer, LoadBalancerCommand},
    meta::MetaChange,
    network::{Network, NetworkCommand},
    node::{Capacity, Hypervisor, Node, NodeCommand, NodeFacts, NodeReport, PortRange},
    realization::RealizationReport,
    router::{Router, RouterCommand},
    sealed::SealedText,
    security_group::{SecurityGroup, SecurityGroupCommand},
    security_group_rule::{SecurityGroupRule, SecurityGroupRuleCommand},
    vm::{CreateVm, Instance, NicRequest, RunStrategy, State, StoppedHow, Vm, VmCommand, VmReport},
    volume::{Volume, VolumeCommand, VolumeReport},
    waiting::FailedAttempt,
    webhook::{CreateWebhook, EventFilter, WebhookCommand, WebhookReport, WebhookSpec},
};

pub(crate) use virtual_network::*;

/// A world with its log, and the time and ids that its next command is given.
#[derive(Clone)]
pub(crate) struct Site {
    pub world: World,
    pub log: Vec<Commit>,
    pub now: DateTime<Utc>,
    pub key: Option<IdempotencyClaim>,
    pub seen: Option<Precondition>,
    pub reason: Option<String>,
    next_id: u128,
}

/// What a command should lead to: the types of its events (none: everything is so already), or the refusal's code,
/// followed by the field at fault where there is one.
pub(crate) type Expect<'a> = Result<&'a [&'a str], &'a str>;

/// Decides `command` on `given` and compares. Nothing is folded.
#[track_caller]
pub(crate) fn check(given: &Site, command: impl Into<Command>, expect: Expect<'_>) {
    let command = command.into();
    let decided = given.decide(&command);
    let got = match &decided {
        Ok(Decision::Commit { events, .. }) => Ok(types(events)),
        Ok(Decision::Nothing { .. }) => Ok(vec![]),
        Ok(Decision::Before(first)) => Err(format!("before {}", first.sequence)),
        Err(refusal) => Err(spelled(refusal)),
    };
    let expect = expect.map(|types| types.iter().map(|one| (*one).to_owned()).collect()).map_err(str::to_owned);
    assert_eq!(got, expect, "{command:?}\nled to {decided:?}");
}

pub(crate) fn spelled(refusal: &Refusal) -> String {
    refusal.field().map_or_else(|| refusal.code().to_owned(), |field| format!("{} {field}", refusal.code()))
}

pub(crate) fn types(events: &[Event]) -> Vec<String> {
    events.iter().map(|event| event.to_record().unwrap().event_type).collect()
}

/// An empty world.
pub(crate) fn an_empty_world() -> Site {
    Site {
        world: World::default(),
        log: vec![],
        now: DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
        key: None,
        seen: None,
        reason: None,
        next_id: 0x0190_0000_0000_7000_8000_0000_0000_0000,
    }
}

/// A world with what a VM needs: node `edge-1`, flavor `small`, image `debian` (active), keypair `me`.
pub(crate) fn a_world() -> Site {
    let mut site = an_empty_world();
    site.has(an_inventory("edge-1", a_node()));
    site.has(a_flavor("small", a_shape()));
    site.has(an_image("debian"));
    site.has(imported(&site, "debian"));
    site.has(a_keypair("me"));
    site
}

impl Site {
    pub fn given(&self) -> Given {
        let id = |offset| Uuid::from_u128(self.next_id + offset);
        Given {
            commit_id: id(0),
            time: self.now,
            new_ids: [id(1), id(2)],
            actor: Actor { name: "admin".into(), credential: "token:0".into(), from: "127.0.0.1".into() },
            correlation_id: id(3),
            idempotency: self.key.clone(),
            precondition: self.seen,
            reason: self.reason.clone(),
            fence: None,
        }
    }

    pub fn decide(&self, command: &Command) -> Result<Decision, Refusal> {
        crate::decide(&self.world, &self.given(), command)
    }

    /// Decides and folds; the events, or the refusal.
    pub fn try_do(&mut self, command: impl Into<Command>) -> Result<Vec<Event>, Refusal> {
        let command = command.into();
        let given = self.given();
        let decision = self.decide(&command)?;
        self.next_id += 4;
        let Decision::Commit { primary, events } = decision else { return Ok(vec![]) };
        assert!(!events.is_empty(), "a commit without events: {command:?}");
        let commit = Commit {
            id: given.commit_id,
            site: "test".into(),
            sequence: self.world.sequence.next(),
            time: given.time,
            actor: given.actor,
            command: command.name().into(),
            correlation_id: given.correlation_id,
            causation_id: None,
            traceparent: None,
            idempotency: given.idempotency,
            reason: given.reason,
            previous_hash: "0".repeat(64),
            primary,
            events: events.clone(),
        };
        self.world.evolve(&commit).unwrap_or_else(|error| panic!("{command:?} led to {events:?}: {error}"));
        self.log.push(commit);
        Ok(events)
    }

    /// Decides and folds what must not be refused.
    #[track_caller]
    pub fn has(&mut self, command: impl Into<Command>) -> Vec<Event> {
        self.try_do(command).unwrap_or_else(|refusal| panic!("refused: {refusal}"))
    }

    /// The same world later.
    pub fn later(mut self, by: TimeDelta) -> Self {
        self.now += by;
        self
    }

    /// The same world, the client naming an idempotency key.
    pub fn with_key(mut self, key: &str, fingerprint: &str) -> Self {
        self.key = Some(IdempotencyClaim { key: key.into(), fingerprint: fingerprint.into() });
        self
    }

    /// The same world, the client saying why.
    pub fn because(mut self, reason: &str) -> Self {
        self.reason = Some(reason.to_owned());
        self
    }

    /// The same world, the client having seen this generation (`If-Match`).
    pub fn having_seen(mut self, generation: u64) -> Self {
        self.seen = Some(Precondition { generation: Generation(generation), revision: self.world.sequence });
        self
    }

    pub fn vm(&self, name: &str) -> &Vm {
        self.world.vm(&name.into()).unwrap()
    }

    pub fn root_of(&self, vm: &str) -> &Volume {
        &self.world.volumes[&self.vm(vm).placement.as_ref().unwrap().root_volume]
    }

    pub fn node(&self, name: &str) -> &Node {
        self.world.node(&name.into()).unwrap()
    }

    pub fn image(&self, name: &str) -> &Image {
        self.world.image(&name.into()).unwrap()
    }

    pub fn state(&self, vm: &str) -> State {
        self.vm(vm).state_in(&self.world)
    }

    /// What the vm pool says of a VM, at its present generation.
    pub fn told(&self, vm: &str, report: VmReport) -> VmCommand {
        let vm = self.vm(vm);
        VmCommand::Report { vm: vm.id, generation: vm.meta.generation, report }
    }

    /// What the storage pool says of a VM's root disk, at its present generation.
    pub fn told_of_root(&self, vm: &str, report: VolumeReport) -> VolumeCommand {
        let volume = self.root_of(vm);
        VolumeCommand::Report { volume: volume.id, generation: volume.meta.generation, report }
    }

    /// What the storage pool says of an image, at its present generation.
    pub fn told_of_image(&self, image: &str, report: ImageReport) -> ImageCommand {
        let image = self.image(image);
        ImageCommand::Report { image: image.id, generation: image.meta.generation, report }
    }

    pub fn network(&self, name: &str) -> &Network {
        self.world.network(&name.into()).unwrap()
    }

    /// What the gateway pool says of a network, at its present generation.
    pub fn told_of_network(&self, network: &str, report: RealizationReport) -> NetworkCommand {
        let network = self.network(network);
        NetworkCommand::Report { network: network.id, generation: network.meta.generation, report }
    }

    pub fn group(&self, name: &str) -> &SecurityGroup {
        self.world.security_group(&name.into()).unwrap()
    }

    pub fn rule(&self, name: &str) -> &SecurityGroupRule {
        self.world.security_group_rule(&name.into()).unwrap()
    }

    /// What the gateway pool says of a security group, at its present generation.
    pub fn told_of_group(&self, group: &str, report: RealizationReport) -> SecurityGroupCommand {
        let group = self.group(group);
        SecurityGroupCommand::Report { group: group.id, generation: group.meta.generation, report }
    }

    /// What the gateway pool says of a security group rule, at its present generation.
    pub fn told_of_rule(&self, rule: &str, report: RealizationReport) -> SecurityGroupRuleCommand {
        let rule = self.rule(rule);
        SecurityGroupRuleCommand::Report { rule: rule.id, generation: rule.meta.generation, report }
    }

    pub fn router(&self, name: &str) -> &Router {
        self.world.router(&name.into()).unwrap()
    }

    pub fn floating_ip(&self, name: &str) -> &FloatingIp {
        self.world.floating_ip(&name.into()).unwrap()
    }

    pub fn balancer(&self, name: &str) -> &LoadBalancer {
        self.world.load_balancer(&name.into()).unwrap()
    }

    /// What the gateway pool says of a load balancer, at its present generation.
    pub fn told_of_balancer(&self, name: &str, report: RealizationReport) -> LoadBalancerCommand {
        let balancer = self.balancer(name);
        LoadBalancerCommand::Report { load_balancer: balancer.id, generation: balancer.meta.generation, report }
    }

    /// What the gateway pool says of a router, at its present generation.
    pub fn told_of_router(&self, router: &str, report: RealizationReport) -> RouterCommand {
        let router = self.router(router);
        RouterCommand::Report { router: router.id, generation: router.meta.generation, report }
    }

    /// What the gateway pool says of a floating IP, at its present generation.
    pub fn told_of_floating_ip(&self, ip: &str, report: RealizationReport) -> FloatingIpCommand {
        let ip = self.floating_ip(ip);
        FloatingIpCommand::Report { floating_ip: ip.id, generation: ip.meta.generation, report }
    }

    /// What its worker says of a webhook, at its present generation.
    pub fn told_of_webhook(&self, webhook: &str, report: WebhookReport) -> WebhookCommand {
        let webhook = self.world.webhook(&webhook.into()).unwrap();
        WebhookCommand::Report { webhook: webhook.id, generation: webhook.meta.generation, report }
    }

    /// The VM runs, by way of its disk.
    pub fn runs(&mut self, vm: &str) {
        if self.root_of(vm).state == crate::volume::VolumeState::Creating {
            self.has(self.told_of_root(vm, VolumeReport::Created));
        }
        self.has(self.told(vm, VmReport::Started(self.an_instance(vm))));
    }

    /// A process for a VM, at its present epoch.
    pub fn an_instance(&self, vm: &str) -> Instance {
        Instance {
            pid: 4711,
            start_time_ticks: u64::try_from(self.now.timestamp()).unwrap(),
            host_boot: "boot-1".into(),
            boot_epoch: self.vm(vm).boot_epoch,
            accelerator: "none".into(),
            hypervisor: "simulated".into(),
            started_at: self.now,
            nics: Some(self.vm(vm).nics_staying().map(|nic| nic.spec.number).collect()),
        }
    }

    /// The workers do what is left to do about what is being removed.
    pub fn workers_finish_removals(&mut self) {
        let deleting = |vm: &&std::sync::Arc<Vm>| vm.target == crate::vm::Target::Deleted;
        let vms: Vec<Id<Vm>> = self.world.vms.values().filter(deleting).map(|vm| vm.id).collect();
        for vm in vms {
            let generation = self.world.vms[&vm].meta.generation;
            self.has(VmCommand::Report { vm, generation, report: VmReport::Released });
        }
        let deleting = |volume: &&std::sync::Arc<Volume>| volume.state == crate::volume::VolumeState::Deleting;
        let volumes: Vec<_> = self.world.volumes.values().filter(deleting).map(|one| one.id).collect();
        for volume in volumes {
            let generation = self.world.volumes[&volume].meta.generation;
            self.has(VolumeCommand::Report { volume, generation, report: VolumeReport::Removed });
        }
        let deleting = |image: &&std::sync::Arc<Image>| image.state == crate::image::ImageState::Deleting;
        let images: Vec<_> = self.world.images.values().filter(deleting).map(|one| one.id).collect();
        for image in images {
            let generation = self.world.images[&image].meta.generation;
            self.has(ImageCommand::Report { image, generation, report: ImageReport::Removed });
        }
    }
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    pairs.collect::<std::collections::BTreeMap<_, _>>().try_into().unwrap()
}

pub(crate) fn described(text: &str) -> MetaChange {
    MetaChange { description: Some(text.to_owned()), labels: None }
}

pub(crate) fn too_long() -> String {
    "x".repeat(crate::meta::DESCRIPTION_LENGTH_MAX + 1)
}

/// A node of 8 vCPUs, 16 GiB memory, 100 GiB disk and a thousand ports.
pub(crate) fn a_node() -> NodeFacts {
    let has = Capacity { vcpus: 8, memory_mib: 16 << 10, disk_gib: 100 };
    NodeFacts {
        addresses: vec!["127.0.0.1".into()],
        architecture: "x86_64".into(),
        kernel: "6.1".into(),
        operating_system: "Debian 12".into(),
        hypervisor: Hypervisor {
            name: "simulated".into(),
            version: "1".into(),
            accelerator: "none".into(),
            accelerator_reason: "a test".into(),
            simulated: true,
        },
        capacity: has,
        allocatable: has,
        ssh_ports: PortRange { first: 22000, last: 22999 },
        network: None,
    }
}

pub(crate) fn a_node_of(vcpus: u64, memory_mib: u64, disk_gib: u64) -> NodeFacts {
    let has = Capacity { vcpus, memory_mib, disk_gib };
    NodeFacts { capacity: has, allocatable: has, ..a_node() }
}

pub(crate) fn an_inventory(node: &str, facts: NodeFacts) -> NodeCommand {
    NodeCommand::Report(NodeReport::Inventory { name: name(node), facts: Box::new(facts) })
}

pub(crate) fn lost(node: &str) -> NodeCommand {
    NodeCommand::Report(NodeReport::Lost { node: node.into(), reason: "nothing was heard for 10 s".into() })
}

pub(crate) fn a_shape() -> Shape {
    Shape { vcpus: 1, memory_mib: 512, disk_gib: 5, dedicated_cpus: false, huge_pages: None, numa_nodes: None }
}

pub(crate) fn a_flavor(flavor: &str, shape: Shape) -> FlavorCommand {
    FlavorCommand::Create { name: name(flavor), description: String::new(), labels: Labels::default(), shape }
}

pub(crate) fn a_spec(source: ImageSource) -> ImageSpec {
    ImageSpec {
        format: DiskFormat::Qcow2,
        source,
        architecture: "x86_64".into(),
        min_disk_gib: 0,
        min_memory_mib: 0,
        visibility: Visibility::Private,
    }
}

/// An image from a file.
pub(crate) fn an_image(image: &str) -> ImageCommand {
    an_image_of(image, a_spec(ImageSource::Path { path: format!("/images/{image}.qcow2") }))
}

pub(crate) fn an_image_of(image: &str, spec: ImageSpec) -> ImageCommand {
    ImageCommand::Create { name: name(image), description: String::new(), labels: Labels::default(), spec }
}

pub(crate) fn a_content() -> ImageContent {
    ImageContent { size_bytes: 1 << 20, virtual_size_bytes: 2 << 30, sha256: "a".repeat(64) }
}

pub(crate) fn imported(site: &Site, image: &str) -> ImageCommand {
    site.told_of_image(image, ImageReport::Imported(a_content()))
}

pub(crate) fn a_key() -> PublicKey {
    PublicKey { key_type: "ed25519".into(), openssh: "ssh-ed25519 AAAA me".into(), fingerprint: "SHA256:abc".into() }
}

pub(crate) fn a_keypair(keypair: &str) -> KeypairCommand {
    KeypairCommand::Create { name: name(keypair), description: String::new(), labels: Labels::default(), key: a_key() }
}

pub(crate) fn a_secret(text: &str) -> SealedText {
    SealedText { key_id: "k1".into(), ciphertext: text.into(), length_bytes: 38 }
}

/// A webhook for all events.
pub(crate) fn a_webhook(webhook: &str) -> CreateWebhook {
    CreateWebhook {
        name: name(webhook),
        description: String::new(),
        labels: Labels::default(),
        spec: WebhookSpec { url: "https://hooks.example.com/edge".parse().unwrap(), filter: EventFilter::default() },
        secret: a_secret("old"),
        paused: false,
        after: None,
    }
}

/// A VM of image `debian` and flavor `small` that shall always run.
pub(crate) fn a_vm(vm: &str) -> CreateVm {
    CreateVm {
        name: name(vm),
        description: String::new(),
        labels: Labels::default(),
        image: "debian".into(),
        flavor: "small".into(),
        root_disk_gib: None,
        keypair: None,
        user_data: None,
        node: None,
        node_selector: Labels::default(),
        run_strategy: RunStrategy::Always,
        networks: vec![],
    }
}

/// The same VM with a NIC on each of these networks.
pub(crate) fn a_vm_on(vm: &str, networks: &[&str]) -> CreateVm {
    let networks = networks.iter().map(|network| a_nic(network)).collect();
    CreateVm { networks, ..a_vm(vm) }
}

pub(crate) fn a_nic(network: &str) -> NicRequest {
    NicRequest { network: network.into(), fixed_ip: None, mac: None, security_groups: None, port_security: None }
}

pub(crate) fn start(vm: &str) -> VmCommand {
    VmCommand::Start { vm: vm.into() }
}

pub(crate) fn stop(vm: &str, grace_seconds: u32) -> VmCommand {
    VmCommand::Stop { vm: vm.into(), grace_seconds }
}

pub(crate) fn restart(vm: &str) -> VmCommand {
    VmCommand::Restart { vm: vm.into() }
}

pub(crate) fn pause(vm: &str) -> VmCommand {
    VmCommand::Pause { vm: vm.into() }
}

pub(crate) fn unpause(vm: &str) -> VmCommand {
    VmCommand::Unpause { vm: vm.into() }
}

pub(crate) fn delete(vm: &str) -> VmCommand {
    VmCommand::Delete { vm: vm.into() }
}

pub(crate) fn update(vm: &str, change: MetaChange) -> VmCommand {
    VmCommand::Update { vm: vm.into(), change, run_strategy: None, node_selector: None }
}

pub(crate) fn cordon(node: &str) -> NodeCommand {
    NodeCommand::Cordon { node: node.into() }
}

pub(crate) fn uncordon(node: &str) -> NodeCommand {
    NodeCommand::Uncordon { node: node.into() }
}

pub(crate) fn stopped(how: StoppedHow) -> VmReport {
    VmReport::Stopped { how, detail: "it stopped".into() }
}

pub(crate) fn failed(step: &str) -> FailedAttempt {
    FailedAttempt { step: step.into(), reason: format!("{step} did not work"), fix: Some("try harder".into()) }
}

/// A world whose VM `web` is in this state.
pub(crate) fn a_vm_that_is(state: State) -> Site {
    let mut site = a_world();
    match state {
        State::Pending => {
            site.has(cordon("edge-1"));
            site.has(a_vm("web"));
        }
        State::Provisioning => {
            site.has(a_vm("web"));
        }
        State::Starting => {
            site.has(a_vm("web"));
            site.has(site.told_of_root("web", VolumeReport::Created));
        }
        State::BackOff => {
            site = a_vm_that_is(State::Starting);
            site.has(site.told("web", VmReport::AttemptFailed(failed("start"))));
        }
        State::Running => {
            site.has(a_vm("web"));
            site.runs("web");
        }
        State::Pausing => {
            site = a_vm_that_is(State::Running);
            site.has(pause("web"));
        }
        State::Paused => {
            site = a_vm_that_is(State::Pausing);
            site.has(site.told("web", VmReport::Paused));
        }
        State::Unpausing => {
            site = a_vm_that_is(State::Paused);
            site.has(unpause("web"));
        }
        State::Restarting => {
            site = a_vm_that_is(State::Running);
            site.has(restart("web"));
        }
        State::Stopping => {
            site = a_vm_that_is(State::Running);
            site.has(stop("web", 30));
        }
        State::Stopped => {
            site = a_vm_that_is(State::Stopping);
            site.has(site.told("web", stopped(StoppedHow::Graceful)));
        }
        State::Deleting => {
            site = a_vm_that_is(State::Running);
            site.has(delete("web"));
        }
    }
    assert_eq!(site.state("web"), state);
    site
}

/// The reference by id of a resource of any kind.
pub(crate) fn by_id(site: &Site, kind: Kind, of: &str) -> Reference {
    Reference(site.world.id_of(kind, &name(of)).unwrap().to_string())
}
