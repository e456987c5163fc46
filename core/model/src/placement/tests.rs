//! Which node, which port, which address; and why not.

use super::{choose, used};
use crate::{
    Labels,
    builders::*,
    flavor::{HugePages, Shape},
    meta::MetaChange,
    node::{Capacity, NodeCommand, NodeFacts, PortRange},
    vm::{CreateVm, State, StoppedHow, VmCommand},
};

/// The one reason why the one node does not take VM `web`.
fn passed_over(site: &mut Site, create: CreateVm) -> String {
    site.has(create);
    let vm = site.vm("web");
    assert_eq!(vm.placement, None);
    let [one] = vm.passed_over.as_slice() else { panic!("{:?}", vm.passed_over) };
    assert_eq!(one.node.as_str(), "edge-1");
    one.reason.clone()
}

fn node_labels(node: &str, pairs: &[(&str, &str)]) -> NodeCommand {
    NodeCommand::Update { node: node.into(), change: MetaChange { description: None, labels: Some(labels(pairs)) } }
}

#[test]
fn each_reason_to_pass_a_node_over_is_told() {
    let of = |shape: Shape| {
        let mut site = a_world();
        site.has(a_flavor("odd", shape));
        passed_over(&mut site, CreateVm { flavor: "odd".into(), ..a_vm("web") })
    };
    assert_eq!(of(Shape { dedicated_cpus: true, ..a_shape() }), "it has no CPUs to dedicate");
    assert_eq!(of(Shape { huge_pages: Some(HugePages::Mi2), ..a_shape() }), "it has no huge pages of 2Mi");
    assert_eq!(of(Shape { numa_nodes: Some(2), ..a_shape() }), "it offers one NUMA node");

    let mut site = a_world();
    let selector = CreateVm { node_selector: labels(&[("zone", "b")]), ..a_vm("web") };
    assert_eq!(passed_over(&mut site, selector), "it lacks the label zone=b of the VM's node selector");

    let mut site = a_world();
    site.has(cordon("edge-1"));
    assert_eq!(passed_over(&mut site, a_vm("web")), "it is cordoned; edgectl uncordon-node edge-1");

    let mut site = a_world();
    site.has(lost("edge-1"));
    assert_eq!(passed_over(&mut site, a_vm("web")), "it is not ready: nothing was heard for 10 s");

    let mut site = a_world();
    site.has(an_inventory("edge-1", NodeFacts { ssh_ports: PortRange { first: 22000, last: 22001 }, ..a_node() }));
    site.has(a_vm("a"));
    site.has(a_vm("b"));
    assert_eq!(passed_over(&mut site, a_vm("web")), "all its SSH ports 22000-22001 are taken");
}

#[test]
fn a_vm_that_asks_for_one_node_goes_to_no_other() {
    let mut site = a_world();
    site.has(an_inventory("edge-0", a_node_of(100, 1 << 20, 1000)));
    site.has(CreateVm { node: Some("edge-1".into()), ..a_vm("web") });
    assert_eq!(site.vm("web").placement.as_ref().unwrap().node, site.node("edge-1").id);
    site.has(cordon("edge-1"));
    site.has(CreateVm { node: Some("edge-1".into()), ..a_vm("web2") });
    let reasons: Vec<&str> = site.vm("web2").passed_over.iter().map(|one| one.reason.as_str()).collect();
    assert_eq!(reasons, ["the VM asks for another node", "it is cordoned; edgectl uncordon-node edge-1"]);
}

#[test]
fn what_fits_exactly_is_taken_and_one_more_of_anything_is_not() {
    let shape = a_shape();
    for (node, reason) in [
        (a_node_of(2, 1024, 10), None),
        (a_node_of(1, 1024, 10), Some("vCPUs: 1 wanted, 0 of 1 free")),
        (a_node_of(2, 1023, 10), Some("MiB of memory: 512 wanted, 511 of 1023 free")),
        (a_node_of(2, 1024, 9), Some("GiB of disk: 5 wanted, 4 of 9 free")),
    ] {
        let mut site = a_world();
        site.has(an_inventory("edge-1", node));
        site.has(a_vm("first"));
        assert!(site.vm("first").placement.is_some());
        match reason {
            Some(reason) => assert_eq!(passed_over(&mut site, a_vm("web")), reason),
            None => {
                site.has(a_vm("web"));
                let both = Capacity {
                    vcpus: 2 * u64::from(shape.vcpus),
                    memory_mib: 2 * shape.memory_mib,
                    disk_gib: 2 * shape.disk_gib,
                };
                assert_eq!(used(&site.world, site.node("edge-1").id), both);
            }
        }
    }
}

#[test]
fn a_stopped_vm_keeps_its_room_and_a_removed_one_frees_it() {
    let mut site = a_vm_that_is(State::Stopping);
    site.has(an_inventory("edge-1", a_node_of(1, 512, 5)));
    site.has(site.told("web", stopped(StoppedHow::Graceful)));
    site.has(a_vm("next"));
    assert_eq!(site.state("next"), State::Pending);
    site.has(delete("web"));
    site.workers_finish_removals();
    check(&site, VmCommand::Schedule { vm: site.vm("next").id }, Ok(&["VmScheduled", "VolumeCreated"]));
}

#[test]
fn the_node_with_most_free_memory_is_chosen_and_the_first_by_name_among_equals() {
    let mut site = a_world();
    site.has(an_inventory("edge-0", a_node()));
    site.has(an_inventory("edge-2", a_node()));
    let node_of = |site: &Site, vm: &str| {
        let node = site.vm(vm).placement.as_ref().unwrap().node;
        site.world.nodes[&node].meta.name.to_string()
    };
    for (vm, node) in [("a", "edge-0"), ("b", "edge-1"), ("c", "edge-2"), ("d", "edge-0")] {
        site.has(a_vm(vm));
        assert_eq!(node_of(&site, vm), node);
    }
    site.has(node_labels("edge-2", &[("zone", "b"), ("disk", "ssd")]));
    site.has(CreateVm { node_selector: labels(&[("zone", "b")]), ..a_vm("e") });
    assert_eq!(node_of(&site, "e"), "edge-2");
    let spec = &site.vm("e").spec;
    let name = choose(&site.world, spec).map(|node| node.meta.name.to_string());
    assert_eq!(name, Ok("edge-2".to_owned()), "the choice can be repeated");
}

#[test]
fn a_vm_no_node_could_ever_hold_is_refused_and_one_without_any_node_waits() {
    let mut site = a_world();
    site.has(a_flavor("nine", Shape { vcpus: 9, ..a_shape() }));
    let nine = || CreateVm { flavor: "nine".into(), ..a_vm("web") };
    check(&site, nine(), Err("flavor-larger-than-any-node flavor"));
    site.has(an_inventory("edge-2", a_node_of(9, 512, 5)));
    check(&site, nine(), Ok(&["VmCreated", "VmScheduled", "VolumeCreated"]));

    let mut bare = an_empty_world();
    bare.has(a_flavor("small", a_shape()));
    bare.has(an_image("debian"));
    bare.has(imported(&bare, "debian"));
    check(&bare, a_vm("web"), Ok(&["VmCreated", "VmUnschedulable"]));
    bare.has(a_vm("web"));
    assert_eq!(bare.vm("web").waiting(&bare.world).unwrap().reason, "no node is registered yet");
}

#[test]
fn a_waiting_vm_is_looked_at_again_with_longer_pauses_and_placed_as_soon_as_it_fits() {
    let mut site = a_vm_that_is(State::Pending);
    let again = VmCommand::Schedule { vm: site.vm("web").id };
    for pause_s in [1, 2, 4] {
        // Before its time no news is no event.
        check(&site, again.clone(), Ok(&[]));
        site = site.later(chrono::TimeDelta::seconds(pause_s));
        site.has(again.clone());
    }
    assert_eq!(site.vm("web").failure.as_ref().unwrap().attempt, 4);
    site.has(uncordon("edge-1"));
    check(&site, again.clone(), Ok(&["VmScheduled", "VolumeCreated"]));
    site.has(again.clone());
    assert_eq!((site.state("web"), &site.vm("web").failure), (State::Provisioning, &None));
    check(&site, again, Ok(&[]));
    assert_eq!(site.vm("web").meta.generation.0, 1, "finding a place is no wish");
}

#[test]
fn ports_are_one_vms_each_on_a_node_and_free_again_after_it() {
    let mut site = a_world();
    site.has(an_inventory("edge-1", NodeFacts { ssh_ports: PortRange { first: 22000, last: 22002 }, ..a_node() }));
    let port = |site: &Site, vm: &str| site.vm(vm).placement.as_ref().unwrap().ssh_port;
    for (vm, expect) in [("a", 22000), ("b", 22001), ("c", 22002)] {
        site.has(a_vm(vm));
        assert_eq!(port(&site, vm), expect);
    }
    site.has(delete("b"));
    site.workers_finish_removals();
    site.has(a_vm("d"));
    assert_eq!(port(&site, "d"), 22001);
    // Another node's ports are its own.
    site.has(an_inventory("edge-2", a_node()));
    site.has(CreateVm { node: Some("edge-2".into()), ..a_vm("e") });
    assert_eq!(port(&site, "e"), 22000);
}

#[test]
fn addresses_follow_from_ids_and_are_never_shared() {
    let mut site = a_world();
    let mac = |site: &Site, vm: &str| site.vm(vm).placement.as_ref().unwrap().mac.clone();
    site.has(a_vm("a"));
    let id = site.vm("a").id.uuid().simple().to_string();
    let (x, y, z) = (&id[26..28], &id[28..30], &id[30..32]);
    assert_eq!(mac(&site, "a"), format!("52:54:00:{x}:{y}:{z}"));
    // A second VM whose id ends alike gets the next one.
    let vm = site.vm("a").clone();
    assert_ne!(super::free_mac(&site.world, vm.id.uuid()), mac(&site, "a"));
    let none = super::free_mac(&crate::World::default(), uuid::Uuid::from_u128(0xff_ffff));
    assert_eq!(none, "52:54:00:ff:ff:ff");
    let mut last = site.clone();
    let mut with_last = (*last.world.vms[&vm.id]).clone();
    with_last.placement.as_mut().unwrap().mac = none;
    last.world.vms.insert(vm.id, std::sync::Arc::new(with_last));
    assert_eq!(super::free_mac(&last.world, uuid::Uuid::from_u128(0xff_ffff)), "52:54:00:00:00:00");
}

#[test]
fn no_labels_asked_for_match_every_node() {
    let mut site = a_world();
    site.has(CreateVm { node_selector: Labels::default(), ..a_vm("web") });
    assert!(site.vm("web").placement.is_some());
}
