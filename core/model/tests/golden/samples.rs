//! One event of each type with every field filled, and one for each further form that a field can take.

#[path = "samples/virtual_network.rs"]
mod virtual_network;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use edgestack_model::{
    Actor, Commit, Event, Generation, Id, Kind, Labels, Name, Sequence,
    event::{Fact, FlavorEvent, ImageEvent, KeypairEvent, LeaseEvent, NodeEvent, VmEvent, VolumeEvent, WebhookEvent},
    flavor::{HugePages, Shape},
    idempotency::IdempotencyClaim,
    image::{DiskFormat, ImageContent, ImageSource, ImageSpec, Visibility},
    keypair::PublicKey,
    meta::MetaChange,
    node::{Capacity, Hypervisor, NetworkFacts, NodeFacts, PortRange},
    orphan::{Artifact, ArtifactKind, ImageRecord, Record, VmRecord},
    placement::PassedOver,
    sealed::SealedText,
    vm::{AfterStop, GuestAgent, Instance, NicSpec, Placement, RunStrategy, StoppedHow, Target, VmKey, VmSpec},
    volume::VolumeSpec,
    waiting::Failure,
    webhook::{EventFilter, GaveUp, WebhookSpec},
};
use uuid::Uuid;

/// Each with the name of its case; the first of a type has none.
pub fn events() -> Vec<(&'static str, Event)> {
    let vms = vms().into_iter().map(|(case, event)| (case, Fact::Vm(event)));
    let images = images().into_iter().map(|(case, event)| (case, Fact::Image(event)));
    let facts = vms
        .chain(images)
        .chain(flavors())
        .chain(keypairs())
        .chain(nodes())
        .chain(volumes())
        .chain(virtual_network::networks())
        .chain(virtual_network::security_groups())
        .chain(virtual_network::security_group_rules())
        .chain(virtual_network::routers())
        .chain(virtual_network::floating_ips())
        .chain(virtual_network::load_balancers())
        .chain(webhooks())
        .chain(leases());
    facts.map(|(case, fact)| (case, event(fact))).collect()
}

/// A commit with every field of the envelope filled.
pub fn commit() -> Commit {
    Commit {
        id: id(9),
        site: "edge".into(),
        sequence: Sequence(42),
        time: time(0),
        actor: Actor { name: "admin".into(), credential: "token:3f9ac2d1".into(), from: "127.0.0.1:40000".into() },
        command: "create-vm".into(),
        correlation_id: id(10),
        causation_id: Some(id(11)),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        idempotency: Some(IdempotencyClaim { key: "k-1".into(), fingerprint: "f".repeat(64) }),
        reason: Some("a try".into()),
        previous_hash: "ab".repeat(32),
        primary: (Kind::Vm, id(1)),
        events: vec![event(Fact::Vm(VmEvent::VmPauseRequested {})), event(Fact::Node(NodeEvent::NodeCordoned {}))],
    }
}

fn event(fact: Fact) -> Event {
    Event { resource_id: id(1), name: name("web-1"), generation: Generation(3), fact }
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x0199_a0b1_0000_7000_8000_0000_0000_0000 + number)
}

fn time(after_s: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000 + after_s, 123_456_000).unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn labels() -> Labels {
    BTreeMap::from([("edgestack.io/zone".to_owned(), "b".to_owned())]).try_into().unwrap()
}

fn change() -> MetaChange {
    MetaChange { description: Some("changed".into()), labels: Some(labels()) }
}

fn failure() -> Failure {
    Failure {
        step: "start".into(),
        attempt: 2,
        reason: "it did not work".into(),
        fix: Some("do something".into()),
        at: time(0),
        next_attempt_at: time(2),
    }
}

fn shape() -> Shape {
    Shape {
        vcpus: 2,
        memory_mib: 1024,
        disk_gib: 10,
        dedicated_cpus: true,
        huge_pages: Some(HugePages::Gi1),
        numa_nodes: Some(1),
    }
}

fn key() -> PublicKey {
    PublicKey {
        key_type: "ed25519".into(),
        openssh: "ssh-ed25519 AAAAC3Nz me@host".into(),
        fingerprint: "SHA256:abc".into(),
    }
}

fn instance() -> Instance {
    Instance {
        pid: 4711,
        start_time_ticks: 123_456,
        host_boot: "7f1c0de0-0000-4000-8000-000000000000".into(),
        boot_epoch: 2,
        accelerator: "kvm".into(),
        hypervisor: "QEMU 10.0.2".into(),
        started_at: time(1),
        nics: None,
    }
}

fn created(run_strategy: RunStrategy, target: Target) -> VmEvent {
    let spec = VmSpec {
        image: Id::new(id(2)),
        flavor: Id::new(id(3)),
        shape: shape(),
        keypair: Some(VmKey { name: name("me"), key: key() }),
        user_data: Some(SealedText { key_id: "k1".into(), ciphertext: "AAAA".into(), length_bytes: 3 }),
        node: Some(Id::new(id(4))),
        node_selector: labels(),
        run_strategy,
    };
    VmEvent::VmCreated { description: "a VM".into(), labels: labels(), spec, target }
}

fn stopped(how: StoppedHow, then: AfterStop) -> VmEvent {
    VmEvent::VmStopped { how, detail: "it stopped".into(), then }
}

fn vms() -> Vec<(&'static str, VmEvent)> {
    let placement = Placement {
        node: Id::new(id(4)),
        root_volume: Id::new(id(5)),
        mac: "52:54:00:12:34:56".into(),
        ssh_port: 22000,
    };
    let passed_over = vec![PassedOver { node: name("edge-1"), reason: "it is cordoned".into() }];
    let guest_agent = GuestAgent { hostname: "web-1".into(), operating_system: "Debian 12".into(), since: time(30) };
    let again = AfterStop::StartsAgainAfter { failure: failure(), crashes: 2 };
    vec![
        ("", created(RunStrategy::Always, Target::Running)),
        ("halted", created(RunStrategy::Halted, Target::Stopped { grace_seconds: 0 })),
        ("manual", created(RunStrategy::Manual, Target::Paused)),
        (
            "",
            VmEvent::VmUpdated {
                change: change(),
                run_strategy: Some(RunStrategy::RerunOnFailure),
                node_selector: Some(labels()),
            },
        ),
        ("nothing-else", VmEvent::VmUpdated { change: MetaChange::default(), run_strategy: None, node_selector: None }),
        ("", VmEvent::VmScheduled { placement, node_name: name("edge-1") }),
        ("", VmEvent::VmUnschedulable { passed_over, failure: failure() }),
        ("", VmEvent::VmStartRequested { run_strategy: Some(RunStrategy::Always) }),
        ("same-strategy", VmEvent::VmStartRequested { run_strategy: None }),
        ("", VmEvent::VmStopRequested { grace_seconds: 30 }),
        ("", VmEvent::VmRestartRequested { boot_epoch: 2 }),
        ("", VmEvent::VmPauseRequested {}),
        ("", VmEvent::VmUnpauseRequested {}),
        ("", VmEvent::VmDeleteRequested {}),
        ("", VmEvent::VmStarted { instance: instance() }),
        ("with-nics", VmEvent::VmStarted { instance: Instance { nics: Some(vec![0, 2]), ..instance() } }),
        ("", VmEvent::VmPaused {}),
        ("", VmEvent::VmUnpaused {}),
        ("", stopped(StoppedHow::Crashed, again)),
        ("graceful", stopped(StoppedHow::Graceful, AfterStop::AsWished)),
        ("forced", stopped(StoppedHow::Forced, AfterStop::AsWished)),
        ("guest-shutdown", stopped(StoppedHow::GuestShutdown, AfterStop::StaysStopped)),
        ("host-restarted", stopped(StoppedHow::HostRestarted, AfterStop::StartsAgain)),
        ("", VmEvent::VmAttemptFailed { failure: failure() }),
        ("without-fix", VmEvent::VmAttemptFailed { failure: Failure { fix: None, ..failure() } }),
        ("", VmEvent::VmSshPortMoved { ssh_port: 22001 }),
        ("", VmEvent::VmGuestAgentConnected { guest_agent }),
        ("", VmEvent::VmNicAttached { nic: nic(), network_name: name("blue") }),
        (
            "",
            VmEvent::VmNicSecurityGroupsChanged {
                number: 0,
                security_groups: vec![Id::new(id(8))],
                group_names: vec![name("web")],
            },
        ),
        ("", VmEvent::VmNicPortSecurityChanged { number: 0, port_security: false }),
        ("", VmEvent::VmNicDetachRequested { number: 1 }),
        ("", VmEvent::VmNicDetached { number: 1 }),
        ("", VmEvent::VmNicPlugged { number: 1 }),
        ("", VmEvent::VmNicAttemptFailed { number: 1, failure: failure() }),
        ("", VmEvent::VmNicBecameReady { number: 0 }),
        ("", VmEvent::VmNicDrifted { number: 0, what: vec!["its port is gone".into()] }),
        ("", VmEvent::VmReleased {}),
        ("", VmEvent::VmDeleted {}),
        ("", VmEvent::VmReconcileRequested {}),
        ("", VmEvent::VmForceRemoved { left_on: Some(name("edge-1")) }),
        ("from-nowhere", VmEvent::VmForceRemoved { left_on: None }),
    ]
}

fn images() -> Vec<(&'static str, ImageEvent)> {
    let created = |format, source, visibility| ImageEvent::ImageCreated {
        description: "an image".into(),
        labels: labels(),
        spec: ImageSpec {
            format,
            source,
            architecture: "x86_64".into(),
            min_disk_gib: 2,
            min_memory_mib: 256,
            visibility,
        },
    };
    let content = ImageContent { size_bytes: 1 << 30, virtual_size_bytes: 2 << 30, sha256: "ab".repeat(32) };
    let path = ImageSource::Path { path: "/images/debian.qcow2".into() };
    vec![
        ("", created(DiskFormat::Qcow2, path, Visibility::Public)),
        ("upload", created(DiskFormat::Raw, ImageSource::Upload, Visibility::Private)),
        (
            "",
            ImageEvent::ImageUpdated {
                change: change(),
                visibility: Some(Visibility::Public),
                min_disk_gib: Some(3),
                min_memory_mib: Some(512),
            },
        ),
        ("", ImageEvent::ImageUploaded { size_bytes: 7, sha256: "cd".repeat(32) }),
        ("", ImageEvent::ImageImported { content }),
        ("", ImageEvent::ImageAttemptFailed { failure: failure() }),
        ("", ImageEvent::ImageRejected { failure: failure() }),
        ("", ImageEvent::ImageDeleteRequested {}),
        ("", ImageEvent::ImageDeleted {}),
        ("", ImageEvent::ImageReconcileRequested {}),
        ("", ImageEvent::ImageForceRemoved {}),
    ]
}

fn flavors() -> Vec<(&'static str, Fact)> {
    let description = || "a flavor".to_owned();
    let plain = Shape { dedicated_cpus: false, huge_pages: None, numa_nodes: None, ..shape() };
    let small_pages = Shape { huge_pages: Some(HugePages::Mi2), ..shape() };
    [
        ("", FlavorEvent::FlavorCreated { description: description(), labels: labels(), shape: shape() }),
        ("plain", FlavorEvent::FlavorCreated { description: description(), labels: Labels::default(), shape: plain }),
        ("2mi-pages", FlavorEvent::FlavorCreated { description: description(), labels: labels(), shape: small_pages }),
        ("", FlavorEvent::FlavorUpdated { change: change() }),
        ("", FlavorEvent::FlavorDeleted {}),
    ]
    .map(|(case, event)| (case, Fact::Flavor(event)))
    .into()
}

fn leases() -> Vec<(&'static str, Fact)> {
    let process = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0abc);
    [
        LeaseEvent::LeaseTaken { node: name("edge-1"), process, epoch: 1, taken_from: None },
        LeaseEvent::LeaseReleased { epoch: 1 },
    ]
    .map(|event| ("", Fact::Lease(event)))
    .into_iter()
    .chain([(
        "taken-over",
        Fact::Lease(LeaseEvent::LeaseTaken {
            node: name("edge-2"),
            process,
            epoch: 2,
            taken_from: Some(name("edge-1")),
        }),
    )])
    .collect()
}

fn keypairs() -> Vec<(&'static str, Fact)> {
    [
        KeypairEvent::KeypairCreated { description: "a key".into(), labels: labels(), key: key() },
        KeypairEvent::KeypairUpdated { change: change() },
        KeypairEvent::KeypairDeleted {},
    ]
    .map(|event| ("", Fact::Keypair(event)))
    .into()
}

fn orphan() -> Artifact {
    Artifact { kind: ArtifactKind::VmProcess, id: id(5), place: "pid 4711".into() }
}

fn nodes() -> Vec<(&'static str, Fact)> {
    let has = Capacity { vcpus: 8, memory_mib: 16 << 10, disk_gib: 100 };
    let facts = NodeFacts {
        addresses: vec!["192.0.2.7".into(), "2001:db8::7".into()],
        architecture: "x86_64".into(),
        kernel: "6.1.0-18-amd64".into(),
        operating_system: "Debian GNU/Linux 12 (bookworm)".into(),
        hypervisor: Hypervisor {
            name: "QEMU".into(),
            version: "10.0.2".into(),
            accelerator: "kvm".into(),
            accelerator_reason: "a guest was run with it to see".into(),
            simulated: false,
        },
        capacity: has,
        allocatable: Capacity { vcpus: 32, ..has },
        ssh_ports: PortRange { first: 22000, last: 22999 },
        network: None,
    };
    let plain = [
        NodeEvent::NodeRegistered { facts: facts.clone() },
        NodeEvent::NodeFactsChanged { facts: facts.clone() },
        NodeEvent::NodeUpdated { change: change() },
        NodeEvent::NodeCordoned {},
        NodeEvent::NodeUncordoned {},
        NodeEvent::NodeBecameReady {},
        NodeEvent::NodeBecameNotReady { reason: "nothing was heard from its workers for 10 s".into() },
        NodeEvent::NodeOrphanFound { orphan: orphan(), record: None },
        NodeEvent::NodeOrphanGone { orphan: orphan() },
        NodeEvent::NodeUnlistedOrphansCounted { unlisted: 12 },
        NodeEvent::NodeLeftoverRemoved {
            leftover: Artifact {
                kind: ArtifactKind::UnfinishedUpload,
                id: id(5),
                place: format!("uploads/{}.part", id(5)),
            },
            reason: "no upload writes it any more: it broke off".into(),
        },
        NodeEvent::NodeReconcileRequested {},
        NodeEvent::NodeLogReleased { through: 4096, hash: "ab".repeat(32) },
        NodeEvent::NodeForceRemoved {},
    ];
    let found = |kind, record| NodeEvent::NodeOrphanFound {
        orphan: Artifact { kind, id: id(5), place: format!("images/{}", id(5)) },
        record: Some(record),
    };
    let with_records = [
        ("with-vm", found(ArtifactKind::VmFolder, Record::Vm(Box::new(vm_record())))),
        (
            "with-vm-on-a-network",
            found(ArtifactKind::VmFolder, Record::Vm(Box::new(VmRecord { nics: vec![nic()], ..vm_record() }))),
        ),
        (
            "on-network",
            NodeEvent::NodeFactsChanged {
                facts: NodeFacts {
                    network: Some(NetworkFacts {
                        chassis: "edge-1".into(),
                        physical_networks: vec!["external".into(), "lab".into()],
                    }),
                    ..facts
                },
            },
        ),
        ("with-image", found(ArtifactKind::Image, Record::Image(Box::new(image_record())))),
    ];
    let plain = plain.into_iter().map(|event| ("", event));
    plain.chain(with_records).map(|(case, event)| (case, Fact::Node(event))).collect()
}

fn vm_record() -> VmRecord {
    VmRecord {
        name: name("web-1"),
        image: Id::new(id(2)),
        flavor: Id::new(id(3)),
        shape: shape(),
        keypair: Some(VmKey { name: name("me"), key: key() }),
        run_strategy: RunStrategy::Always,
        root_volume: Id::new(id(6)),
        mac: "52:54:00:00:00:01".into(),
        ssh_port: 22000,
        nics: vec![],
    }
}

fn image_record() -> ImageRecord {
    ImageRecord {
        name: name("debian-12"),
        spec: ImageSpec {
            format: DiskFormat::Qcow2,
            source: ImageSource::Upload,
            architecture: "x86_64".into(),
            min_disk_gib: 2,
            min_memory_mib: 256,
            visibility: Visibility::Public,
        },
        content: ImageContent { size_bytes: 1 << 30, virtual_size_bytes: 2 << 30, sha256: "ab".repeat(32) },
    }
}

fn volumes() -> Vec<(&'static str, Fact)> {
    let spec = VolumeSpec { vm: Id::new(id(1)), image: Id::new(id(2)), node: Id::new(id(4)), size_gib: 10 };
    [
        VolumeEvent::VolumeCreated { spec },
        VolumeEvent::VolumeBecameAvailable {},
        VolumeEvent::VolumeAttemptFailed { failure: failure() },
        VolumeEvent::VolumeDeleteRequested {},
        VolumeEvent::VolumeDeleted {},
        VolumeEvent::VolumeReconcileRequested {},
        VolumeEvent::VolumeForceRemoved {},
    ]
    .map(|event| ("", Fact::Volume(event)))
    .into()
}

fn nic() -> NicSpec {
    NicSpec {
        number: 0,
        network: Id::new(id(7)),
        mac: "fa:16:3e:00:00:01".parse().unwrap(),
        addresses: vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
    }
}

fn webhooks() -> Vec<(&'static str, Fact)> {
    let filter = EventFilter {
        kinds: [Kind::Vm, Kind::Webhook].into(),
        names: ["web-1".to_owned()].into(),
        labels: labels(),
        types: ["VmStarted".to_owned()].into(),
        actors: ["admin".to_owned()].into(),
    };
    let url = || "https://hooks.example.com/edge?a=b".parse().unwrap();
    let secret = || SealedText { key_id: "k1".into(), ciphertext: "AAAA".into(), length_bytes: 38 };
    let created = |filter| WebhookEvent::WebhookCreated {
        description: "for the ops".into(),
        labels: labels(),
        spec: WebhookSpec { url: url(), filter },
        secret: secret(),
        paused: false,
        begin_after: Sequence(7),
    };
    let disabled = |why| WebhookEvent::WebhookDisabled {
        why,
        reason: "the target answered 410 Gone".into(),
        delivered_through: Sequence(9),
    };
    let all = vec![
        ("", created(filter.clone())),
        ("everything", created(EventFilter::default())),
        (
            "",
            WebhookEvent::WebhookUpdated {
                change: change(),
                url: Some(url()),
                filter: Some(filter),
                paused: Some(true),
                begin_after: Some(Sequence(8)),
            },
        ),
        (
            "nothing",
            WebhookEvent::WebhookUpdated {
                change: MetaChange::default(),
                url: None,
                filter: None,
                paused: None,
                begin_after: None,
            },
        ),
        ("", WebhookEvent::WebhookSecretRotated { secret: secret(), previous_until: Some(time(60)) }),
        ("at-once", WebhookEvent::WebhookSecretRotated { secret: secret(), previous_until: None }),
        ("", WebhookEvent::WebhookFailing { failure: failure(), delivered_through: Sequence(9) }),
        ("", WebhookEvent::WebhookRecovered { failing_since: time(0), delivered_through: Sequence(9) }),
        ("", disabled(GaveUp::Gone)),
        ("too-long", disabled(GaveUp::TooLong)),
        ("", WebhookEvent::WebhookDeleted {}),
    ];
    all.into_iter().map(|(case, event)| (case, Fact::Webhook(event))).collect()
}
