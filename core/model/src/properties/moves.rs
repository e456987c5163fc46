//! What people, workers and the scheduler may do, at random on a small name space.

mod virtual_network;

use std::collections::BTreeMap;

use proptest::{collection::vec, prelude::*};

use crate::{
    Command, Generation, Id,
    builders::*,
    command::Reference,
    flavor::{FlavorCommand, Shape},
    image::{ImageCommand, ImageReport, ImageSource},
    keypair::KeypairCommand,
    lease::LeaseCommand,
    meta::MetaChange,
    node::{Node, NodeCommand, NodeFacts, NodeReport, OrphansSeen, PortRange},
    orphan::{Artifact, ArtifactKind, Record, VmRecord},
    security_group::membership::GroupsChange,
    vm::{CreateVm, Instance, NicChoice, RunStrategy, StoppedHow, VmCommand, VmReport},
    volume::{VolumeCommand, VolumeReport},
    webhook::{GaveUp, UpdateWebhook, WebhookCommand, WebhookReport},
};

/// One move of people, workers or the scheduler; it finds its resources when it is made.
#[derive(Clone, Debug)]
pub enum Move {
    Create {
        vm: u8,
        image: u8,
        flavor: u8,
        node: Option<u8>,
        strategy: u8,
    },
    Wish {
        vm: u8,
        wish: u8,
    },
    VmTold {
        nth: u8,
        report: u8,
        stale: bool,
    },
    VolumeTold {
        nth: u8,
        report: u8,
        stale: bool,
    },
    ImageTold {
        nth: u8,
        report: u8,
        stale: bool,
    },
    Schedule {
        nth: u8,
    },
    CreateOn {
        vm: u8,
        networks: Vec<u8>,
    },
    Image {
        image: u8,
        wish: u8,
    },
    Flavor {
        flavor: u8,
        wish: u8,
        vcpus: u32,
    },
    Keypair {
        keypair: u8,
        wish: u8,
    },
    Node {
        node: u8,
        wish: u8,
        vcpus: u64,
        ports: u16,
    },
    Orphans {
        node: u8,
        of: u8,
        looked_for: bool,
        count: u8,
    },
    Repair {
        nth: u8,
        what: u8,
    },
    /// What a removal by force left on its node is found there.
    LeftFound {
        nth: u8,
        runs: bool,
    },
    Adopt {
        nth: u8,
    },
    Webhook {
        webhook: u8,
        wish: u8,
    },
    Network {
        network: u8,
        wish: u8,
    },
    NetworkTold {
        nth: u8,
        report: u8,
        stale: bool,
    },
    Group {
        group: u8,
        wish: u8,
        of: u8,
    },
    AttachNic {
        vm: u8,
        network: u8,
    },
    DetachNic {
        vm: u8,
        which: u8,
    },
    NicTold {
        nth: u8,
        number: u8,
        report: u8,
        stale: bool,
    },
    Regroup {
        vm: u8,
        groups: Vec<u8>,
    },
    GroupTold {
        nth: u8,
        of_rule: bool,
        report: u8,
        stale: bool,
    },
    Router {
        router: u8,
        wish: u8,
        network: u8,
    },
    FloatingIp {
        ip: u8,
        wish: u8,
        vm: u8,
    },
    Balancer {
        balancer: u8,
        wish: u8,
        of: u8,
    },
    BalancerTold {
        nth: u8,
        report: u8,
        stale: bool,
    },
    RouterTold {
        nth: u8,
        of_ip: bool,
        report: u8,
        stale: bool,
    },
    WebhookTold {
        nth: u8,
        report: u8,
        stale: bool,
    },
    Lease {
        lease: u8,
        process: u8,
        epoch: u64,
        give_back: bool,
    },
    TimePasses {
        seconds: i64,
    },
}

pub fn moves() -> impl Strategy<Value = Vec<Move>> {
    let small = 0..4_u8;
    let one = prop_oneof![
        4 => (small.clone(), 0..2_u8, 0..2_u8, prop::option::weighted(0.2, 0..2_u8), small.clone())
            .prop_map(|(vm, image, flavor, node, strategy)| Move::Create { vm, image, flavor, node, strategy }),
        3 => (small.clone(), vec(0..3_u8, 1..4)).prop_map(|(vm, networks)| Move::CreateOn { vm, networks }),
        5 => (small.clone(), 0..9_u8).prop_map(|(vm, wish)| Move::Wish { vm, wish }),
        8 => (small.clone(), 0..14_u8, prop::bool::weighted(0.1))
            .prop_map(|(nth, report, stale)| Move::VmTold { nth, report, stale }),
        4 => (small.clone(), 0..3_u8, prop::bool::weighted(0.1))
            .prop_map(|(nth, report, stale)| Move::VolumeTold { nth, report, stale }),
        2 => (small.clone(), 0..4_u8, prop::bool::weighted(0.1))
            .prop_map(|(nth, report, stale)| Move::ImageTold { nth, report, stale }),
        2 => small.clone().prop_map(|nth| Move::Schedule { nth }),
        2 => (0..2_u8, 0..5_u8).prop_map(|(image, wish)| Move::Image { image, wish }),
        1 => (0..2_u8, 0..3_u8, 0..4_u32).prop_map(|(flavor, wish, vcpus)| Move::Flavor { flavor, wish, vcpus }),
        1 => (0..2_u8, 0..3_u8).prop_map(|(keypair, wish)| Move::Keypair { keypair, wish }),
        2 => (0..2_u8, 0..5_u8, 1..6_u64, 1..5_u16)
            .prop_map(|(node, wish, vcpus, ports)| Move::Node { node, wish, vcpus, ports }),
        1 => (0..2_u8, small.clone(), any::<bool>(), 0..4_u8)
            .prop_map(|(node, of, looked_for, count)| Move::Orphans { node, of, looked_for, count }),
        2 => (small.clone(), 0..7_u8).prop_map(|(nth, what)| Move::Repair { nth, what }),
        2 => (small.clone(), any::<bool>()).prop_map(|(nth, runs)| Move::LeftFound { nth, runs }),
        2 => small.clone().prop_map(|nth| Move::Adopt { nth }),
        1 => (0..2_u8, 0..6_u8).prop_map(|(webhook, wish)| Move::Webhook { webhook, wish }),
        2 => (small.clone(), 0..3_u8, prop::bool::weighted(0.1))
            .prop_map(|(nth, report, stale)| Move::WebhookTold { nth, report, stale }),
        2 => (0..3_u8, 0..6_u8).prop_map(|(network, wish)| Move::Network { network, wish }),
        2 => (small.clone(), 0..4_u8, prop::bool::weighted(0.1))
            .prop_map(|(nth, report, stale)| Move::NetworkTold { nth, report, stale }),
        3 => (0..3_u8, 0..8_u8, 0..3_u8).prop_map(|(group, wish, of)| Move::Group { group, wish, of }),
        3 => (0..2_u8, 0..8_u8, 0..4_u8).prop_map(|(router, wish, network)| Move::Router { router, wish, network }),
        3 => (0..3_u8, 0..6_u8, small.clone()).prop_map(|(ip, wish, vm)| Move::FloatingIp { ip, wish, vm }),
        3 => (0..2_u8, 0..9_u8, small.clone()).prop_map(|(balancer, wish, of)| Move::Balancer { balancer, wish, of }),
        2 => (small.clone(), 0..4_u8, prop::bool::weighted(0.1))
            .prop_map(|(nth, report, stale)| Move::BalancerTold { nth, report, stale }),
        2 => (0..9_u8, any::<bool>(), 0..4_u8, prop::bool::weighted(0.1))
            .prop_map(|(nth, of_ip, report, stale)| Move::RouterTold { nth, of_ip, report, stale }),
        4 => (small.clone(), 0..3_u8).prop_map(|(vm, network)| Move::AttachNic { vm, network }),
        3 => (small.clone(), 0..9_u8).prop_map(|(vm, which)| Move::DetachNic { vm, which }),
        5 => (small.clone(), 0..9_u8, 0..4_u8, prop::bool::weighted(0.1))
            .prop_map(|(nth, number, report, stale)| Move::NicTold { nth, number, report, stale }),
        2 => (small.clone(), vec(0..3_u8, 0..3)).prop_map(|(vm, groups)| Move::Regroup { vm, groups }),
        3 => (0..9_u8, any::<bool>(), 0..4_u8, prop::bool::weighted(0.1))
            .prop_map(|(nth, of_rule, report, stale)| Move::GroupTold { nth, of_rule, report, stale }),
        2 => (0..2_u8, 0..3_u8, 0..4_u64, any::<bool>())
            .prop_map(|(lease, process, epoch, give_back)| Move::Lease { lease, process, epoch, give_back }),
        2 => (0..700_i64).prop_map(|seconds| Move::TimePasses { seconds }),
    ];
    vec(one, 0..80)
}

fn nth<'a, T>(all: impl ExactSizeIterator<Item = &'a T>, nth: u8) -> Option<&'a T> {
    let mut all = all;
    let count = all.len();
    if count == 0 { None } else { all.nth(usize::from(nth) % count) }
}

/// The generation that a report is about: the present one, or the one before.
fn generation(is: Generation, stale: bool) -> Generation {
    if stale { Generation(is.0 - 1) } else { is }
}

/// What a removal by force left behind.
pub struct Left {
    pub node: Id<Node>,
    pub vm: uuid::Uuid,
    pub record: VmRecord,
}

impl Move {
    /// The command of this move in this world, if it finds what it is about.
    pub fn command(&self, site: &Site, left: &[Left]) -> Option<Command> {
        let world = &site.world;
        Some(match self {
            Self::Create { vm, image, flavor, node, strategy } => CreateVm {
                image: format!("image-{image}").as_str().into(),
                flavor: format!("flavor-{flavor}").as_str().into(),
                node: node.map(|node| format!("node-{node}").as_str().into()),
                keypair: (*strategy == 1).then(|| "keypair-0".into()),
                run_strategy: [
                    RunStrategy::Always,
                    RunStrategy::RerunOnFailure,
                    RunStrategy::Manual,
                    RunStrategy::Halted,
                ][usize::from(*strategy)],
                ..a_vm(&format!("vm-{vm}"))
            }
            .into(),
            Self::CreateOn { vm, networks } => {
                let names: Vec<String> = networks.iter().map(|network| format!("network-{network}")).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let on = a_vm_on(&format!("vm-{vm}"), &names);
                CreateVm { image: "image-0".into(), flavor: "flavor-0".into(), ..on }.into()
            }
            Self::AttachNic { vm, network } => {
                let nic = a_nic(&format!("network-{network}"));
                VmCommand::AttachNic { vm: format!("vm-{vm}").as_str().into(), nic }.into()
            }
            Self::DetachNic { vm, which } => {
                let nic = match which {
                    0..6 => NicChoice::Number(u32::from(*which)),
                    _ => NicChoice::Network(format!("network-{}", which - 6).as_str().into()),
                };
                VmCommand::DetachNic { vm: format!("vm-{vm}").as_str().into(), nic }.into()
            }
            Self::NicTold { nth: n, number, report, stale } => {
                let vm = nth(world.vms.values(), *n)?;
                let number = vm.nics.get(usize::from(*number)).map_or(u32::from(*number), |nic| nic.spec.number);
                let report = match report {
                    0 => VmReport::NicPlugged { number },
                    1 | 2 => VmReport::NicUnplugged { number },
                    _ => VmReport::NicAttemptFailed { number, failed: failed("unplug") },
                };
                VmCommand::Report { vm: vm.id, generation: generation(vm.meta.generation, *stale), report }.into()
            }
            Self::Regroup { vm, groups } => {
                let set = groups.iter().map(|group| format!("group-{group}").as_str().into()).collect();
                let change = GroupsChange { set: Some(set), ..GroupsChange::default() };
                VmCommand::EditSecurityGroups { vm: format!("vm-{vm}").as_str().into(), nic: None, change }.into()
            }
            Self::Wish { vm, wish } => {
                let vm = &format!("vm-{vm}");
                match wish {
                    0 => start(vm).into(),
                    1 => stop(vm, 30).into(),
                    2 => stop(vm, 0).into(),
                    3 => restart(vm).into(),
                    4 => pause(vm).into(),
                    5 => unpause(vm).into(),
                    6 => update(vm, described("changed")).into(),
                    _ => delete(vm).into(),
                }
            }
            Self::VmTold { nth: n, report, stale } => {
                let vm = nth(world.vms.values(), *n)?;
                let report = match report {
                    0..2 => VmReport::Started(site.an_instance(vm.meta.name.as_str())),
                    // Of a time before NICs could come and go.
                    2 => VmReport::Started(Instance { nics: None, ..site.an_instance(vm.meta.name.as_str()) }),
                    3 => VmReport::Paused,
                    4 => VmReport::Unpaused,
                    5 => stopped(StoppedHow::Crashed),
                    6 => stopped(StoppedHow::GuestShutdown),
                    7 => stopped(StoppedHow::Graceful),
                    8 => VmReport::AttemptFailed(failed("start")),
                    9 => VmReport::SshPortTaken { port: vm.placement.as_ref().map_or(1, |place| place.ssh_port) },
                    12 => VmReport::NicsReady { numbers: vec![0, 1] },
                    13 => VmReport::NicDrifted { number: 1, what: vec!["a row".into()] },
                    10 => VmReport::GuestAgentConnected { hostname: "h".into(), operating_system: "o".into() },
                    _ => VmReport::Released,
                };
                VmCommand::Report { vm: vm.id, generation: generation(vm.meta.generation, *stale), report }.into()
            }
            Self::VolumeTold { nth: n, report, stale } => {
                let volume = nth(world.volumes.values(), *n)?;
                let report = match report {
                    0 => VolumeReport::Created,
                    1 => VolumeReport::AttemptFailed(failed("disk")),
                    _ => VolumeReport::Removed,
                };
                let generation = generation(volume.meta.generation, *stale);
                VolumeCommand::Report { volume: volume.id, generation, report }.into()
            }
            Self::ImageTold { nth: n, report, stale } => {
                let image = nth(world.images.values(), *n)?;
                let report = match report {
                    0 => ImageReport::Imported(a_content()),
                    1 => ImageReport::AttemptFailed(failed("import")),
                    2 => ImageReport::Rejected(failed("import")),
                    _ => ImageReport::Removed,
                };
                let generation = generation(image.meta.generation, *stale);
                ImageCommand::Report { image: image.id, generation, report }.into()
            }
            Self::Schedule { nth: n } => VmCommand::Schedule { vm: nth(world.vms.values(), *n)?.id }.into(),
            Self::Image { image, wish } => {
                let image = &format!("image-{image}");
                match wish {
                    0 => an_image(image).into(),
                    1 => an_image_of(image, a_spec(ImageSource::Upload)).into(),
                    2 => ImageCommand::FinishUpload {
                        image: image.as_str().into(),
                        size_bytes: 1,
                        sha256: "d".repeat(64),
                    }
                    .into(),
                    3 => ImageCommand::Update {
                        image: image.as_str().into(),
                        change: described("i"),
                        visibility: None,
                        min_disk_gib: Some(1),
                        min_memory_mib: None,
                    }
                    .into(),
                    _ => ImageCommand::Delete { image: image.as_str().into() }.into(),
                }
            }
            Self::Flavor { flavor, wish, vcpus } => {
                let flavor = &format!("flavor-{flavor}");
                match wish {
                    0 => a_flavor(flavor, Shape { vcpus: *vcpus, ..a_shape() }).into(),
                    1 => FlavorCommand::Update { flavor: flavor.as_str().into(), change: described("f") }.into(),
                    _ => FlavorCommand::Delete { flavor: flavor.as_str().into() }.into(),
                }
            }
            Self::Keypair { keypair, wish } => {
                let keypair = &format!("keypair-{keypair}");
                match wish {
                    0 => a_keypair(keypair).into(),
                    1 => KeypairCommand::Update { keypair: keypair.as_str().into(), change: described("k") }.into(),
                    _ => KeypairCommand::Delete { keypair: keypair.as_str().into() }.into(),
                }
            }
            Self::Node { node, wish, vcpus, ports } => {
                let node = &format!("node-{node}");
                match wish {
                    0 => cordon(node).into(),
                    1 => uncordon(node).into(),
                    2 => lost(node).into(),
                    _ => {
                        let facts = a_node_of(*vcpus, vcpus * 600, vcpus * 6);
                        an_inventory(
                            node,
                            NodeFacts { ssh_ports: PortRange { first: 22000, last: 22000 + ports - 1 }, ..facts },
                        )
                        .into()
                    }
                }
            }
            Self::Orphans { node, of, looked_for, count } => {
                // Of a living VM, of one that is gone by now, of nobody.
                let vm = nth(world.vms.values(), *of).map_or(uuid::Uuid::from_u128(u128::from(*of)), |vm| vm.id.uuid());
                let ids = (0..*count).map(|number| uuid::Uuid::from_u128(u128::from(number))).chain([vm]);
                let place = |id: uuid::Uuid| Artifact { kind: ArtifactKind::VmFolder, id, place: format!("vms/{id}") };
                let seen = OrphansSeen {
                    looked_for: looked_for.then_some(ArtifactKind::VmFolder).into_iter().collect(),
                    found: ids.map(place).collect(),
                    unlisted: 0,
                    records: BTreeMap::default(),
                };
                let node = format!("node-{node}").as_str().into();
                NodeCommand::Report(NodeReport::Orphans { node, seen: Box::new(seen) }).into()
            }
            Self::Repair { nth: n, what } => match what {
                0 => VmCommand::ForceRemove { vm: Reference::id(nth(world.vms.values(), *n)?.id) }.into(),
                1 => VmCommand::Reconcile { vm: Reference::id(nth(world.vms.values(), *n)?.id) }.into(),
                2 => ImageCommand::ForceRemove { image: Reference::id(nth(world.images.values(), *n)?.id) }.into(),
                3 => ImageCommand::Reconcile { image: Reference::id(nth(world.images.values(), *n)?.id) }.into(),
                4 => VolumeCommand::Reconcile { volume: Reference::id(nth(world.volumes.values(), *n)?.id) }.into(),
                5 => NodeCommand::ForceRemove { node: Reference::id(nth(world.nodes.values(), *n)?.id) }.into(),
                _ => NodeCommand::Reconcile { node: Reference::id(nth(world.nodes.values(), *n)?.id) }.into(),
            },
            Self::LeftFound { nth: n, runs } => {
                let Left { node, vm, record } = nth(left.iter(), *n)?;
                let of = |kind, id| Artifact { kind, id, place: format!("{kind}/{id}") };
                let mut found =
                    vec![of(ArtifactKind::VmFolder, *vm), of(ArtifactKind::Volume, record.root_volume.uuid())];
                found.extend(runs.then(|| of(ArtifactKind::VmProcess, *vm)));
                let seen = OrphansSeen {
                    looked_for: ArtifactKind::ALL.into(),
                    found: found.into_iter().collect(),
                    unlisted: 0,
                    records: BTreeMap::from([(*vm, Record::Vm(Box::new(record.clone())))]),
                };
                NodeCommand::Report(NodeReport::Orphans { node: Reference::id(*node), seen: Box::new(seen) }).into()
            }
            Self::Adopt { nth: n } => {
                let orphans = world.nodes.values().flat_map(|node| node.orphans.iter().map(|one| (node.id, one)));
                let all: Vec<_> = orphans.collect();
                let (node, orphan) = nth(all.iter(), *n)?;
                NodeCommand::Adopt { node: Reference::id(*node), id: orphan.artifact.id, name: None, flavor: None }
                    .into()
            }
            Self::Webhook { webhook, wish } => {
                let webhook = format!("webhook-{webhook}");
                let update = UpdateWebhook {
                    webhook: webhook.as_str().into(),
                    change: MetaChange::default(),
                    url: (*wish == 1).then(|| format!("https://{webhook}.example.com/").parse().unwrap()),
                    filter: None,
                    paused: (*wish >= 3).then_some(*wish == 3),
                    skip: *wish == 2,
                };
                match wish {
                    0 => a_webhook(&webhook).into(),
                    1..5 => update.into(),
                    _ => WebhookCommand::Delete { webhook: webhook.as_str().into() }.into(),
                }
            }
            Self::WebhookTold { nth: n, report, stale } => {
                let webhook = nth(world.webhooks.values(), *n)?;
                let delivered_through = crate::Sequence(world.sequence.0 / 2);
                let reason = "it did not answer".to_owned();
                let report = match report {
                    0 => WebhookReport::Failing {
                        attempt: 2,
                        reason,
                        fix: None,
                        next_attempt_at: site.now,
                        delivered_through,
                    },
                    1 => WebhookReport::Recovered { delivered_through },
                    _ => WebhookReport::GaveUp { why: GaveUp::TooLong, reason, delivered_through },
                };
                let generation = generation(webhook.meta.generation, *stale);
                WebhookCommand::Report { webhook: webhook.id, generation, report }.into()
            }
            Self::Lease { lease, process, epoch, give_back } => {
                let lease = format!("lease-{lease}").parse().unwrap();
                let (node, process) =
                    (format!("node-{process}").parse().unwrap(), uuid::Uuid::from_u128(u128::from(*process)));
                match give_back {
                    true => LeaseCommand::Release { lease, epoch: *epoch }.into(),
                    false => LeaseCommand::Take { lease, node, process, replaces: *epoch }.into(),
                }
            }
            Self::TimePasses { .. } => return None,
            Self::Network { .. }
            | Self::NetworkTold { .. }
            | Self::Group { .. }
            | Self::GroupTold { .. }
            | Self::Router { .. }
            | Self::RouterTold { .. }
            | Self::FloatingIp { .. }
            | Self::Balancer { .. }
            | Self::BalancerTold { .. } => return virtual_network::command(self, world),
        })
    }
}
