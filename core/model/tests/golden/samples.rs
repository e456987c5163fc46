//! One event of each type with every field filled, and one for each further form that a field can take.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use edgestack_model::{
    Actor, Commit, Event, Generation, Id, Kind, Labels, Name, Sequence,
    address::IpRange,
    event::{
        Fact, FlavorEvent, FloatingIpEvent, ImageEvent, KeypairEvent, LeaseEvent, NetworkEvent, NodeEvent, RouterEvent,
        SecurityGroupEvent, SecurityGroupRuleEvent, VmEvent, VolumeEvent, WebhookEvent,
    },
    flavor::{HugePages, Shape},
    floating_ip::{Association, FloatingIpSpec},
    idempotency::IdempotencyClaim,
    image::{DiskFormat, ImageContent, ImageSource, ImageSpec, Visibility},
    keypair::PublicKey,
    meta::MetaChange,
    network::{HostRoute, Ipv6Mode, NetworkSpec, NetworkType, Subnet},
    node::{Capacity, Hypervisor, NodeFacts, PortRange},
    orphan::{Artifact, ArtifactKind, ImageRecord, Record, VmRecord},
    placement::PassedOver,
    router::{External, PeerRouter, Route, RouterSpec},
    sealed::SealedText,
    security_group_rule::{Direction, EtherType, Ports, Protocol, Remote, RuleSpec},
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
        .chain(networks())
        .chain(security_groups())
        .chain(security_group_rules())
        .chain(routers())
        .chain(floating_ips())
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
    };
    let plain = [
        NodeEvent::NodeRegistered { facts: facts.clone() },
        NodeEvent::NodeFactsChanged { facts },
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

fn networks() -> Vec<(&'static str, Fact)> {
    let address = |text: &str| text.parse().unwrap();
    let range = |start, end| IpRange::new(address(start), address(end)).unwrap();
    let subnet = |cidr: &str, gateway_ip, pool, ipv6_mode| Subnet {
        cidr: cidr.parse().unwrap(),
        gateway_ip: Some(address(gateway_ip)),
        pools: vec![pool],
        ipv6_mode,
    };
    let v4 = subnet("10.0.0.0/24", "10.0.0.1", range("10.0.0.1", "10.0.0.254"), None);
    let v6 = |mode| subnet("fd00::/64", "fd00::1", range("fd00::2", "fd00::ff"), Some(mode));
    let route = HostRoute { destination: "10.9.0.0/16".parse().unwrap(), next_hop: address("10.0.0.254") };
    let full = NetworkSpec {
        network_type: NetworkType::Vlan,
        segment_id: Some(7),
        physical_network: Some(name("physnet1")),
        mtu: 1400,
        subnets: vec![v4.clone(), v6(Ipv6Mode::Slaac)],
        dns_servers: vec![address("192.0.2.53")],
        host_routes: vec![route],
        dhcp: true,
    };
    let plain = |network_type, segment_id| NetworkSpec {
        network_type,
        segment_id,
        physical_network: None,
        subnets: vec![v4.clone()],
        dns_servers: vec![],
        host_routes: vec![],
        ..full.clone()
    };
    let stateful = NetworkSpec { subnets: vec![v6(Ipv6Mode::Dhcpv6Stateful)], ..plain(NetworkType::Geneve, Some(3)) };
    let created = |spec| NetworkEvent::NetworkCreated { description: "the blue one".into(), labels: labels(), spec };
    let events = [
        ("", created(full.clone())),
        ("vxlan", created(plain(NetworkType::Vxlan, Some(1)))),
        ("gre", created(plain(NetworkType::Gre, Some(2)))),
        ("geneve-stateful", created(stateful)),
        ("flat", created(plain(NetworkType::Flat, None))),
        (
            "",
            NetworkEvent::NetworkUpdated {
                change: change(),
                mtu: Some(1300),
                dns_servers: Some(vec![]),
                host_routes: Some(vec![route]),
                dhcp: Some(false),
                pools: Some(vec![range("10.0.0.10", "10.0.0.19")]),
            },
        ),
        ("", NetworkEvent::NetworkBecameReady {}),
        ("", NetworkEvent::NetworkDrifted { what: vec!["its switch is gone".into()] }),
        ("", NetworkEvent::NetworkAttemptFailed { failure: failure() }),
        ("", NetworkEvent::NetworkDeleteRequested {}),
        ("", NetworkEvent::NetworkDeleted {}),
        ("", NetworkEvent::NetworkReconcileRequested {}),
        ("", NetworkEvent::NetworkForceRemoved {}),
    ];
    events.map(|(case, event)| (case, Fact::Network(event))).into()
}

fn security_groups() -> Vec<(&'static str, Fact)> {
    let events = [
        SecurityGroupEvent::SecurityGroupCreated { description: "for the web".into(), labels: labels() },
        SecurityGroupEvent::SecurityGroupUpdated { change: change() },
        SecurityGroupEvent::SecurityGroupBecameReady {},
        SecurityGroupEvent::SecurityGroupDrifted { what: vec!["its port group is gone".into()] },
        SecurityGroupEvent::SecurityGroupAttemptFailed { failure: failure() },
        SecurityGroupEvent::SecurityGroupDeleteRequested {},
        SecurityGroupEvent::SecurityGroupDeleted {},
        SecurityGroupEvent::SecurityGroupReconcileRequested {},
        SecurityGroupEvent::SecurityGroupForceRemoved {},
    ];
    events.map(|event| ("", Fact::SecurityGroup(event))).into()
}

fn security_group_rules() -> Vec<(&'static str, Fact)> {
    let created = |direction, ether_type, protocol, remote| SecurityGroupRuleEvent::SecurityGroupRuleCreated {
        description: "the web's".into(),
        labels: labels(),
        spec: RuleSpec { group: Id::new(id(8)), direction, ether_type, protocol, remote },
        group_name: name("web"),
        remote_group_name: matches!(remote, Remote::Group { .. }).then(|| name("db")),
    };
    let ports = |min, max| Some(Ports::new(min, max).unwrap());
    let (prefix, prefix_6) = ("192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap());
    let (ingress, egress) = (Direction::Ingress, Direction::Egress);
    let (v4, v6) = (EtherType::Ipv4, EtherType::Ipv6);
    let icmp = |icmp_type, icmp_code| Protocol::Icmp { icmp_type, icmp_code };
    let events = [
        ("", created(ingress, v4, Protocol::Tcp { ports: ports(8000, 8100) }, Remote::Group { group: Id::new(id(9)) })),
        ("any", created(egress, v6, Protocol::Any, Remote::Any)),
        ("icmp", created(ingress, v4, icmp(Some(3), Some(4)), Remote::Prefix { prefix })),
        ("icmp-all", created(ingress, v6, icmp(None, None), Remote::Prefix { prefix: prefix_6 })),
        ("udp", created(ingress, v4, Protocol::Udp { ports: None }, Remote::Any)),
        ("sctp", created(ingress, v4, Protocol::Sctp { ports: ports(9, 9) }, Remote::Any)),
        ("number", created(ingress, v4, Protocol::Number { number: 47 }, Remote::Any)),
        ("", SecurityGroupRuleEvent::SecurityGroupRuleUpdated { change: change() }),
        ("", SecurityGroupRuleEvent::SecurityGroupRuleBecameReady {}),
        ("", SecurityGroupRuleEvent::SecurityGroupRuleDrifted { what: vec!["its ACL is gone".into()] }),
        ("", SecurityGroupRuleEvent::SecurityGroupRuleAttemptFailed { failure: failure() }),
        ("", SecurityGroupRuleEvent::SecurityGroupRuleDeleteRequested {}),
        ("", SecurityGroupRuleEvent::SecurityGroupRuleDeleted {}),
        ("", SecurityGroupRuleEvent::SecurityGroupRuleReconcileRequested {}),
        ("", SecurityGroupRuleEvent::SecurityGroupRuleForceRemoved {}),
    ];
    events.map(|(case, event)| (case, Fact::SecurityGroupRule(event))).into()
}

fn routers() -> Vec<(&'static str, Fact)> {
    let address = |text: &str| text.parse().unwrap();
    let full = RouterSpec {
        enable_snat: true,
        internal: [Id::new(id(7)), Id::new(id(8))].into(),
        external: Some(External { network: Id::new(id(9)), addresses: vec![address("192.0.2.5")] }),
        peer: Some(PeerRouter { ip_address: address("192.0.2.1"), mac_address: "02:00:00:00:00:01".parse().unwrap() }),
        routes: vec![Route { destination: "10.9.0.0/16".parse().unwrap(), next_hop: address("10.0.0.254") }],
    };
    let alone = RouterSpec { enable_snat: false, internal: [].into(), external: None, peer: None, routes: vec![] };
    let created = |spec| RouterEvent::RouterCreated {
        description: "the way out".into(),
        labels: labels(),
        spec,
        words: vec!["SNAT on".into()],
    };
    let words = vec!["SNAT on".into()];
    let events = [
        ("", created(full.clone())),
        ("alone", created(alone)),
        ("", RouterEvent::RouterUpdated { change: change(), spec: Some(full), words }),
        ("words-only", RouterEvent::RouterUpdated { change: change(), spec: None, words: vec![] }),
        ("", RouterEvent::RouterBecameReady {}),
        ("", RouterEvent::RouterDrifted { what: vec!["its logical router is gone".into()] }),
        ("", RouterEvent::RouterAttemptFailed { failure: failure() }),
        ("", RouterEvent::RouterDeleteRequested {}),
        ("", RouterEvent::RouterDeleted {}),
        ("", RouterEvent::RouterReconcileRequested {}),
        ("", RouterEvent::RouterForceRemoved {}),
    ];
    events.map(|(case, event)| (case, Fact::Router(event))).into()
}

fn floating_ips() -> Vec<(&'static str, Fact)> {
    let address = |text: &str| text.parse().unwrap();
    let spec = FloatingIpSpec { router: Id::new(id(7)), network: Id::new(id(9)), address: address("192.0.2.10") };
    let association = Association { vm: Id::new(id(2)), nic: 1, fixed_ip: address("10.0.0.2") };
    let events = [
        FloatingIpEvent::FloatingIpCreated {
            description: "the web's".into(),
            labels: labels(),
            spec,
            router_name: name("edge"),
        },
        FloatingIpEvent::FloatingIpUpdated { change: change() },
        FloatingIpEvent::FloatingIpAssociated { association, vm_name: name("web-1") },
        FloatingIpEvent::FloatingIpDisassociated { vm_name: name("web-1") },
        FloatingIpEvent::FloatingIpBecameReady {},
        FloatingIpEvent::FloatingIpDrifted { what: vec!["its NAT entry is gone".into()] },
        FloatingIpEvent::FloatingIpAttemptFailed { failure: failure() },
        FloatingIpEvent::FloatingIpDeleteRequested {},
        FloatingIpEvent::FloatingIpDeleted {},
        FloatingIpEvent::FloatingIpReconcileRequested {},
        FloatingIpEvent::FloatingIpForceRemoved {},
    ];
    events.map(|event| ("", Fact::FloatingIp(event))).into()
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
