//! What holds after every sequence of commands, over a small name space so that they meet.

mod moves;

use chrono::TimeDelta;
use proptest::prelude::*;

use crate::{
    Commit, Generation, Id, Kind, World,
    builders::*,
    event::Fact,
    flavor::{FlavorCommand, Shape},
    idempotency::IdempotencyKeys,
    image::ImageCommand,
    keypair::KeypairCommand,
    load_balancer::LoadBalancerCommand,
    network::NetworkCommand,
    orphan::VmRecord,
    placement,
    realization::RealizationReport,
    router::RouterCommand,
    security_group::{DEFAULT, SecurityGroupCommand},
    vm::VmEvent,
    webhook::WebhookCommand,
    world::Resource,
};
use moves::{Left, Move, moves};

/// A world in which most moves find something.
fn a_small_site() -> Site {
    let mut site = an_empty_world();
    for number in 0..2 {
        site.has(an_inventory(&format!("node-{number}"), a_node_of(3, 2000, 20)));
        site.has(a_flavor(&format!("flavor-{number}"), Shape { vcpus: number + 1, ..a_shape() }));
        site.has(an_image(&format!("image-{number}")));
        site.has(imported(&site, &format!("image-{number}")));
    }
    site.has(a_keypair("keypair-0"));
    site
}

/// Makes the moves; `seen` looks at each step with the events it led to.
fn play(moves: &[Move], mut seen: impl FnMut(&Site, &[crate::Event])) -> Site {
    let mut site = a_small_site().because("a property");
    let mut left = Vec::new();
    for (number, one) in moves.iter().enumerate() {
        if let Move::TimePasses { seconds } = one {
            site.now += TimeDelta::seconds(*seconds);
            continue;
        }
        let Some(command) = one.command(&site, &left) else { continue };
        site = site.with_key(&format!("key-{}", number % 7), &format!("{command:?}"));
        let before = site.world.clone();
        // `try_do` panics when an event that was decided cannot be folded.
        match site.try_do(command) {
            Ok(events) => {
                for event in events.iter().filter(|event| event.fact.event_type() == "VmForceRemoved") {
                    let vm = &before.vms[&Id::new(event.resource_id)];
                    let record = VmRecord::of(vm).zip(vm.placement.as_ref());
                    left.extend(record.map(|(record, place)| Left { node: place.node, vm: vm.id.uuid(), record }));
                }
                seen(&site, &events);
            }
            Err(_) => assert_eq!(site.world, before, "a refusal changes nothing"),
        }
    }
    site.key = None;
    site
}

fn fold<'a>(mut world: World, commits: impl IntoIterator<Item = &'a Commit>) -> World {
    for commit in commits {
        world.evolve(commit).unwrap();
    }
    world
}

/// What must hold in every world.
fn check_world(site: &Site) {
    let world = &site.world;
    assert_eq!(world.unsound(), None);
    for vm in world.vms.values() {
        let settled = matches!(
            vm.state_in(world),
            crate::vm::State::Running | crate::vm::State::Paused | crate::vm::State::Stopped
        );
        match vm.waiting(world) {
            Some(waiting) => {
                // A VM that runs can wait for one of its NICs.
                let is_awaited = !settled || vm.nic_under_way().is_some();
                assert!(is_awaited, "{} is {:?} and waits: {waiting:?}", vm.meta.name, vm.state_in(world));
                assert!(!waiting.owner.is_empty() && !waiting.reason.is_empty(), "{waiting:?}");
            }
            None => assert!(
                settled && vm.nic_under_way().is_none(),
                "{} is {:?} and waits for nothing",
                vm.meta.name,
                vm.state_in(world)
            ),
        }
    }
}

proptest! {
    #[test]
    fn every_world_that_commands_lead_to_is_sound(moves in moves()) {
        let mut last: std::collections::BTreeMap<uuid::Uuid, Generation> = std::collections::BTreeMap::new();
        play(&moves, |site, events| {
            check_world(site);
            for event in events {
                let before = last.insert(event.resource_id, event.generation).unwrap_or_default();
                // What was forgotten by force and is adopted begins anew.
                let begins = event.fact.event_type().ends_with("Created");
                assert!(begins || event.generation >= before, "a generation went back");
                // What is adopted has its room already, whatever was given to others meanwhile.
                let adopted = events.iter().any(|event| event.fact.event_type() == "NodeOrphanGone");
                if let Fact::Vm(VmEvent::VmScheduled { placement, .. }) = &event.fact
                    && !adopted
                {
                    let used = placement::used(&site.world, placement.node);
                    let has = site.world.nodes[&placement.node].facts.allocatable;
                    assert!(
                        used.vcpus <= has.vcpus && used.memory_mib <= has.memory_mib && used.disk_gib <= has.disk_gib,
                        "{used:?} of {has:?}"
                    );
                }
            }
        });
    }

    #[test]
    fn the_log_read_back_folds_to_the_same_world(moves in moves()) {
        let site = play(&moves, |_, _| {});
        let payloads: Vec<Vec<u8>> = site.log.iter().map(|commit| commit.encode().unwrap()).collect();
        let commits: Vec<Commit> = payloads.iter().map(|payload| Commit::decode(payload).unwrap()).collect();
        prop_assert_eq!(&commits, &site.log);
        for (commit, payload) in commits.iter().zip(&payloads) {
            prop_assert_eq!(&commit.encode().unwrap(), payload, "byte for byte");
        }
        prop_assert_eq!(fold(World::default(), &commits), site.world);
    }

    #[test]
    fn a_snapshot_and_the_rest_fold_to_the_same_world(moves in moves(), cut in 0.0..1.0_f64) {
        let site = play(&moves, |_, _| {});
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let cut = (site.log.len() as f64 * cut) as usize;
        let (first, rest) = site.log.split_at(cut);
        let half = fold(World::default(), first);
        // As a view keeps it: through JSON.
        let rows: Vec<Resource> = half
            .resources()
            .map(|resource| serde_json::from_slice(&serde_json::to_vec(&resource).unwrap()).unwrap())
            .collect();
        let keys = half.idempotency.iter().map(|(key, first)| (key.to_owned(), first.clone()));
        let snapshot = World::from_parts(half.sequence, rows, IdempotencyKeys::from_rows(keys));
        prop_assert_eq!(&snapshot, &half);
        prop_assert_eq!(fold(snapshot, rest), site.world);
    }

    #[test]
    fn the_same_moves_lead_to_the_same_log_byte_for_byte(moves in moves()) {
        let log = |site: Site| site.log.iter().map(|commit| commit.encode().unwrap()).collect::<Vec<_>>();
        prop_assert_eq!(log(play(&moves, |_, _| {})), log(play(&moves, |_, _| {})));
    }

    #[test]
    fn removing_everything_ends_in_an_empty_world(moves in moves()) {
        let mut site = play(&moves, |_, _| {});
        for vm in site.world.vms.values().map(|vm| vm.meta.name.to_string()).collect::<Vec<_>>() {
            site.has(delete(&vm));
        }
        site.workers_finish_removals();
        for image in site.world.images.values().map(|image| image.meta.name.to_string()).collect::<Vec<_>>() {
            site.has(ImageCommand::Delete { image: image.into() });
        }
        site.workers_finish_removals();
        for flavor in site.world.flavors.values().map(|one| one.meta.name.to_string()).collect::<Vec<_>>() {
            site.has(FlavorCommand::Delete { flavor: flavor.into() });
        }
        for keypair in site.world.keypairs.values().map(|one| one.meta.name.to_string()).collect::<Vec<_>>() {
            site.has(KeypairCommand::Delete { keypair: keypair.into() });
        }
        for router in site.world.routers.values().map(|one| one.meta.name.to_string()).collect::<Vec<_>>() {
            site.has(RouterCommand::Delete { router: router.as_str().into(), cascade: true });
            site.has(site.told_of_router(&router, RealizationReport::Removed));
        }
        for ip in site.world.floating_ips.values().map(|one| one.meta.name.to_string()).collect::<Vec<_>>() {
            site.has(site.told_of_floating_ip(&ip, RealizationReport::Removed));
        }
        for balancer in site.world.load_balancers.values().map(|one| one.meta.name.to_string()).collect::<Vec<_>>() {
            site.has(LoadBalancerCommand::Delete { load_balancer: balancer.as_str().into() });
            site.has(site.told_of_balancer(&balancer, RealizationReport::Removed));
        }
        for network in site.world.networks.values().map(|one| one.meta.name.to_string()).collect::<Vec<_>>() {
            site.has(NetworkCommand::Delete { network: network.as_str().into(), cascade: false });
            site.has(site.told_of_network(&network, RealizationReport::Removed));
        }
        for group in site.world.security_groups.values().map(|one| one.meta.name.to_string()).collect::<Vec<_>>() {
            if group != DEFAULT {
                site.has(SecurityGroupCommand::Delete { group: group.as_str().into(), cascade: true });
                site.has(site.told_of_group(&group, RealizationReport::Removed));
            }
        }
        for webhook in site.world.webhooks.values().map(|one| one.meta.name.to_string()).collect::<Vec<_>>() {
            site.has(WebhookCommand::Delete { webhook: webhook.into() });
        }
        // Nodes and leases are the site's own processes' doing, and nobody removes them.
        let stays = |resource: &Resource| match resource {
            Resource::Node(_) | Resource::Lease(_) => true,
            // The default group stays for the next NIC; rules of it may be gone.
            Resource::SecurityGroup(group) => group.meta.name.as_str() == DEFAULT,
            Resource::SecurityGroupRule(rule) => site.world.security_groups.contains_key(&rule.spec.group),
            _ => false,
        };
        let left: Vec<Kind> = site.world.resources().filter(|one| !stays(one)).map(|one| one.kind()).collect();
        prop_assert_eq!(left, vec![]);
        let nodes = World::from_parts(
            site.world.sequence,
            site.world.resources().collect(),
            site.world.idempotency.clone(),
        );
        prop_assert_eq!(nodes, site.world, "no name is left behind either");
    }
}
