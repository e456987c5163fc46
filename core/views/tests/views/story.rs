//! A log with a life in it, and views that follow it.

use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use edgestack_engine::Replica;
use edgestack_log::{ChainHead, StoredCommit};
use edgestack_model::{
    Actor, Command, Commit, Decision, Given, Kind, Labels, Sequence, World,
    command::Reference,
    decide,
    flavor::{FlavorCommand, Shape},
    idempotency::IdempotencyClaim,
    image::{DiskFormat, ImageCommand, ImageContent, ImageReport, ImageSource, ImageSpec, Visibility},
    meta::MetaChange,
    node::{Capacity, Hypervisor, NodeCommand, NodeFacts, NodeReport, PortRange},
    vm::{CreateVm, Instance, RunStrategy, VmCommand, VmReport},
    volume::{VolumeCommand, VolumeReport},
};
use edgestack_views::{Opened, Views};
use uuid::Uuid;

/// The log so far, and what it folds to.
pub struct Story {
    pub world: World,
    pub log: Vec<StoredCommit>,
    head: ChainHead,
    now: DateTime<Utc>,
    next_id: u128,
    /// Who does what is told next, and why.
    pub actor: &'static str,
    pub reason: String,
}

impl Story {
    /// A site with one node, one flavor and one image.
    pub fn begin() -> Self {
        let now = DateTime::from_timestamp(1_790_000_000, 0).unwrap();
        let next_id = 0x0190_0000_0000_7000_8000_0000_0000_0000;
        let mut story = Self {
            world: World::default(),
            log: vec![],
            head: ChainHead::GENESIS,
            now,
            next_id,
            actor: "admin",
            reason: "a test".into(),
        };
        story.tell(an_inventory("edge-1"));
        story.tell(a_flavor("small"));
        story.tell(an_image("debian"));
        let image = story.world.image(&"debian".into()).unwrap();
        let (image, generation) = (image.id, image.meta.generation);
        let content = ImageContent { size_bytes: 1, virtual_size_bytes: 1 << 30, sha256: "a".repeat(64) };
        story.tell(Command::Image(ImageCommand::Report { image, generation, report: ImageReport::Imported(content) }));
        story
    }

    /// Made, changed, started, stopped, removed, made again under the same name; some under a key.
    pub fn long() -> Self {
        let mut story = Self::begin();
        for round in 0..3 {
            for vm in ["web", "db", "cache"] {
                story.tell_as(Some(&format!("{vm}-{round}")), a_vm(vm));
                story.disk_is_made(vm);
                story.runs(vm);
            }
            story.tell(Command::Flavor(FlavorCommand::Update {
                flavor: "small".into(),
                change: MetaChange { description: Some(format!("round {round}")), labels: None },
            }));
            story.now += TimeDelta::hours(13);
            story.is_removed("web");
            if round < 2 {
                story.is_removed("db");
                story.is_removed("cache");
            }
        }
        story.tell(a_flavor("extra"));
        story.tell(Command::Flavor(FlavorCommand::Delete { flavor: "extra".into() }));
        story
    }

    pub fn tell(&mut self, command: Command) {
        self.tell_as(None, command);
    }

    pub fn tell_as(&mut self, key: Option<&str>, command: Command) {
        let id = |offset| Uuid::from_u128(self.next_id + offset);
        let given = Given {
            commit_id: id(0),
            time: self.now,
            new_ids: [id(1), id(2)],
            actor: Actor { name: self.actor.into(), credential: "token:0".into(), from: "here".into() },
            correlation_id: id(3),
            idempotency: key.map(|key| IdempotencyClaim { key: key.into(), fingerprint: "f".into() }),
            precondition: None,
            reason: None,
            fence: None,
        };
        self.next_id += 4;
        self.now += TimeDelta::seconds(1);
        let Decision::Commit { primary, events } = decide(&self.world, &given, &command).unwrap() else {
            panic!("{command:?} changes nothing")
        };
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
            reason: Some(self.reason.clone()),
            previous_hash: self.head.hash_hex(),
            primary,
            events,
        };
        self.world.evolve(&commit).unwrap();
        let payload = commit.encode().unwrap();
        self.head = self.head.after(&payload);
        self.log.push(StoredCommit { sequence: commit.sequence.0, payload: payload.into() });
    }

    pub fn disk_is_made(&mut self, vm: &str) {
        self.disk_is(vm, VolumeReport::Created);
    }

    fn disk_is(&mut self, vm: &str, report: VolumeReport) {
        let root = self.world.vm(&vm.into()).unwrap().placement.as_ref().unwrap().root_volume;
        let generation = self.world.volumes[&root].meta.generation;
        self.tell(Command::Volume(VolumeCommand::Report { volume: root, generation, report }));
    }

    fn vm_is(&mut self, vm: &str, report: VmReport) {
        let vm = self.world.vm(&vm.into()).unwrap();
        let (vm, generation) = (vm.id, vm.meta.generation);
        self.tell(Command::Vm(VmCommand::Report { vm, generation, report }));
    }

    pub fn runs(&mut self, vm: &str) {
        let instance = Instance {
            pid: 1,
            start_time_ticks: 1,
            host_boot: "b".into(),
            boot_epoch: 1,
            accelerator: "none".into(),
            hypervisor: "simulated".into(),
            started_at: self.now,
            nics: None,
        };
        self.vm_is(vm, VmReport::Started(instance));
    }

    pub fn is_removed(&mut self, vm: &str) {
        self.tell(Command::Vm(VmCommand::Delete { vm: vm.into() }));
        self.vm_is(vm, VmReport::Released);
        self.disk_is(vm, VolumeReport::Removed);
    }

    /// Views in `folder` that have followed the log to its end, taking `batch` commits at once.
    pub fn followed(&self, folder: &Path, batch: usize) -> Views {
        self.followed_to(folder, batch, self.log.len())
    }

    /// The same up to a sequence.
    pub fn followed_to(&self, folder: &Path, batch: usize, last: usize) -> Views {
        let Opened { views, restored } = edgestack_views::open(folder).unwrap();
        let (world, head) = match restored {
            Some(restored) => (restored.world, restored.head),
            None => (World::default(), ChainHead::GENESIS),
        };
        assert_eq!(world.sequence.0, head.sequence);
        let from = usize::try_from(head.sequence).unwrap();
        let replica = Replica::new(world, head, Some(views.projection()));
        for commits in self.log[from.min(last)..last].chunks(batch) {
            replica.apply(commits.iter().map(|stored| (stored.clone(), None)).collect()).unwrap();
            views.settle();
        }
        views
    }
}

/// The views show exactly this world.
pub fn shows(views: &Views, world: &World) {
    assert_eq!(views.sequence().unwrap(), world.sequence);
    for kind in Kind::ALL {
        let listed: Vec<_> = views.list(kind, None).map(Result::unwrap).collect();
        let names: Vec<String> = listed.iter().map(|one| one.meta().name.to_string()).collect();
        assert!(names.is_sorted(), "{kind}: {names:?}");
        let count = match kind {
            Kind::Vm => world.vms.len(),
            Kind::Image => world.images.len(),
            Kind::Flavor => world.flavors.len(),
            Kind::Keypair => world.keypairs.len(),
            Kind::Node => world.nodes.len(),
            Kind::Volume => world.volumes.len(),
            Kind::Webhook => world.webhooks.len(),
            Kind::Lease => world.leases.len(),
            Kind::Network => world.networks.len(),
            Kind::SecurityGroup => world.security_groups.len(),
            Kind::SecurityGroupRule => world.security_group_rules.len(),
            Kind::Router => world.routers.len(),
            Kind::FloatingIp => world.floating_ips.len(),
            Kind::LoadBalancer => world.load_balancers.len(),
        };
        assert_eq!(listed.len(), count, "{kind}");
        for one in listed {
            assert_eq!(world.resource(kind, one.id()), Some(one.clone()));
            assert_eq!(views.get(kind, one.id()).unwrap(), Some(one.clone()));
            let by_name = views.find(kind, &Reference(one.meta().name.to_string())).unwrap();
            assert_eq!(by_name, Some(one));
        }
    }
}

pub fn a_vm(vm: &str) -> Command {
    Command::Vm(VmCommand::Create(Box::new(CreateVm {
        networks: vec![],
        name: vm.parse().unwrap(),
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
    })))
}

pub fn a_flavor(flavor: &str) -> Command {
    Command::Flavor(FlavorCommand::Create {
        name: flavor.parse().unwrap(),
        description: String::new(),
        labels: Labels::default(),
        shape: Shape {
            vcpus: 1,
            memory_mib: 512,
            disk_gib: 5,
            dedicated_cpus: false,
            huge_pages: None,
            numa_nodes: None,
        },
    })
}

fn an_image(image: &str) -> Command {
    Command::Image(ImageCommand::Create {
        name: image.parse().unwrap(),
        description: String::new(),
        labels: Labels::default(),
        spec: ImageSpec {
            format: DiskFormat::Qcow2,
            source: ImageSource::Path { path: "/images/debian".into() },
            architecture: "x86_64".into(),
            min_disk_gib: 0,
            min_memory_mib: 0,
            visibility: Visibility::Private,
        },
    })
}

fn an_inventory(node: &str) -> Command {
    let has = Capacity { vcpus: 8, memory_mib: 16 << 10, disk_gib: 100 };
    let facts = NodeFacts {
        addresses: vec![],
        architecture: "x86_64".into(),
        kernel: "6".into(),
        operating_system: "os".into(),
        hypervisor: Hypervisor {
            name: "simulated".into(),
            version: "1".into(),
            accelerator: "none".into(),
            accelerator_reason: "a test".into(),
            simulated: true,
        },
        capacity: has,
        allocatable: has,
        ssh_ports: PortRange { first: 1024, last: 2048 },
        network: None,
    };
    Command::Node(NodeCommand::Report(NodeReport::Inventory { name: node.parse().unwrap(), facts: Box::new(facts) }))
}

/// The place before the first event.
pub const BEGINNING: (Sequence, u32) = (Sequence(0), 0);
