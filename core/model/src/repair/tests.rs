//! Force only where the usual way doesn't end; a look again that begins anew; orphans taken over as they are.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use uuid::Uuid;

use super::FORCE_AFTER;
use crate::{
    Id, Kind,
    builders::*,
    image::{ImageCommand, ImageReport},
    node::{NodeCommand, NodeReport, OrphansSeen},
    orphan::{Artifact, ArtifactKind, ImageRecord, RECORD_BYTES_MAX, Record, VmRecord},
    placement,
    vm::{State, VmCommand, VmReport},
    volume::{VolumeCommand, VolumeReport, VolumeState},
};

fn force_vm(vm: &str) -> VmCommand {
    VmCommand::ForceRemove { vm: vm.into() }
}

fn force_image(image: &str) -> ImageCommand {
    ImageCommand::ForceRemove { image: image.into() }
}

fn force_node(node: &str) -> NodeCommand {
    NodeCommand::ForceRemove { node: node.into() }
}

fn reconcile_vm(vm: &str) -> VmCommand {
    VmCommand::Reconcile { vm: vm.into() }
}

const BY_FORCE: &[&str] = &["VolumeForceRemoved", "VmForceRemoved"];
const AT_ONCE: &[&str] = &["VmDeleteRequested", "VolumeForceRemoved", "VmForceRemoved"];

#[test]
fn whoever_forces_or_repairs_says_why() {
    let site = a_vm_that_is(State::Running);
    let expect = Err("reason-required EdgeStack-Reason");
    check(&site, force_vm("web"), expect);
    check(&site, reconcile_vm("web"), expect);
    check(&site, force_image("debian"), expect);
    check(&site, force_node("edge-1"), expect);
    check(&site, VolumeCommand::Reconcile { volume: "web-root".into() }, expect);
    check(&site, ImageCommand::Reconcile { image: "debian".into() }, expect);
    check(&site, NodeCommand::Reconcile { node: "edge-1".into() }, expect);
    check(&site, adopt(Uuid::from_u128(1)), expect);
    check(&site.clone().because("  "), reconcile_vm("web"), expect);
}

#[test]
fn a_vm_whose_node_answers_goes_its_usual_way_until_that_fails_or_takes_too_long() {
    let site = a_vm_that_is(State::Running).because("stuck");
    check(&site, force_vm("web"), Err("force-not-needed"));
    let mut site = a_vm_that_is(State::Deleting).because("stuck");
    check(&site, force_vm("web"), Err("force-not-needed"));
    check(&site.clone().later(FORCE_AFTER - TimeDelta::seconds(1)), force_vm("web"), Err("force-not-needed"));
    check(&site.clone().later(FORCE_AFTER), force_vm("web"), Ok(BY_FORCE));
    site.has(site.told("web", VmReport::AttemptFailed(failed("remove"))));
    check(&site, force_vm("web"), Ok(BY_FORCE));
}

#[test]
fn whoever_waits_for_what_never_comes_is_told_that_force_exists() {
    let fix = |site: &Site| site.vm("web").waiting(&site.world).and_then(|waiting| waiting.fix).unwrap_or_default();
    let mut site = a_vm_that_is(State::Deleting);
    assert_eq!(fix(&site), "", "it is on its way");
    site.has(site.told("web", VmReport::AttemptFailed(failed("remove"))));
    assert_eq!(fix(&site), "try harder; if that can't be: edgectl force-remove vm/web --reason …");
    site.has(lost("edge-1"));
    assert!(fix(&site).contains("node edge-1") && fix(&site).contains("force-remove vm/web"), "{}", fix(&site));
    assert_eq!(fix(&a_vm_that_is(State::BackOff)), "try harder", "what is not to go is not forced");
}

#[test]
fn a_disk_that_cannot_be_removed_is_reason_enough() {
    let mut site = a_vm_that_is(State::Deleting).because("the disk is broken");
    site.has(site.told("web", VmReport::Released));
    check(&site, force_vm("web"), Err("force-not-needed"));
    site.has(site.told_of_root("web", VolumeReport::AttemptFailed(failed("remove-disk"))));
    site.has(force_vm("web"));
    assert!(site.world.vms.is_empty() && site.world.volumes.is_empty());
    assert_eq!(site.world.id_of(Kind::Vm, &name("web")), None);
    assert_eq!(site.world.unsound(), None);
}

#[test]
fn what_is_on_a_lost_node_is_forgotten_at_once_and_its_room_is_free() {
    for state in State::ALL.into_iter().filter(|state| *state != State::Pending) {
        let mut site = a_vm_that_is(state).because("edge-1 burnt down");
        site.has(lost("edge-1"));
        check(&site, force_vm("web"), Ok(if state == State::Deleting { BY_FORCE } else { AT_ONCE }));
        let late = site.told("web", VmReport::Released);
        site.has(force_vm("web"));
        assert_eq!(site.world.unsound(), None);
        assert_eq!(placement::used(&site.world, site.node("edge-1").id), crate::node::Capacity::default());
        check(&site, late, Err("not-found"));
        // Its name is free again.
        check(&site, a_vm("web"), Ok(&["VmCreated", "VmUnschedulable"]));
    }
}

#[test]
fn a_vm_without_a_place_needs_no_force_but_gets_it() {
    let site = a_vm_that_is(State::Pending).because("enough");
    check(&site, force_vm("web"), Ok(&["VmDeleteRequested", "VmForceRemoved"]));
}

#[test]
fn an_image_is_forced_only_when_its_removal_is_stuck_and_nobody_uses_it() {
    let mut site = a_vm_that_is(State::Running).because("stuck");
    check(&site, force_image("debian"), Err("in-use"));
    site.has(delete("web"));
    site.workers_finish_removals();
    check(&site, force_image("debian"), Err("force-not-needed"));
    site.has(ImageCommand::Delete { image: "debian".into() });
    check(&site, force_image("debian"), Err("force-not-needed"));
    check(&site.clone().later(FORCE_AFTER), force_image("debian"), Ok(&["ImageForceRemoved"]));
    site.has(site.told_of_image("debian", ImageReport::AttemptFailed(failed("remove"))));
    site.has(force_image("debian"));
    assert_eq!(site.world.id_of(Kind::Image, &name("debian")), None);
}

#[test]
fn a_node_is_forgotten_when_it_is_lost_and_empty_and_comes_back_as_a_new_one() {
    let mut site = a_vm_that_is(State::Running).because("scrapped");
    check(&site, force_node("edge-1"), Err("force-not-needed"));
    site.has(lost("edge-1"));
    check(&site, force_node("edge-1"), Err("in-use"));
    site.has(force_vm("web"));
    let before = site.node("edge-1").id;
    site.has(force_node("edge-1"));
    assert!(site.world.nodes.is_empty());
    site.has(an_inventory("edge-1", a_node()));
    assert_ne!(site.node("edge-1").id, before);
}

#[test]
fn a_look_again_forgets_the_failure_and_leaves_the_wish() {
    let mut site = a_vm_that_is(State::BackOff).because("the cable is back");
    let before = site.vm("web").clone();
    site.has(reconcile_vm("web"));
    assert_eq!(site.vm("web").failure, None);
    assert_eq!(site.state("web"), State::Starting);
    assert_eq!((site.vm("web").meta.generation, site.vm("web").target), (before.meta.generation, before.target));
    // What is as it should be is looked at as well; the history says that somebody asked.
    let site = a_vm_that_is(State::Running).because("to be sure");
    check(&site, reconcile_vm("web"), Ok(&["VmReconcileRequested"]));
    check(&site, NodeCommand::Reconcile { node: "edge-1".into() }, Ok(&["NodeReconcileRequested"]));
}

#[test]
fn a_look_again_at_a_vm_is_one_at_its_disk_too() {
    let mut site = a_vm_that_is(State::Provisioning).because("there is space again");
    site.has(site.told_of_root("web", VolumeReport::AttemptFailed(failed("create-disk"))));
    check(&site, reconcile_vm("web"), Ok(&["VmReconcileRequested", "VolumeReconcileRequested"]));
    site.has(VolumeCommand::Reconcile { volume: "web-root".into() });
    assert_eq!(site.root_of("web").failure, None);
    assert_eq!(site.root_of("web").state, VolumeState::Creating);
}

#[test]
fn an_image_with_bad_content_keeps_saying_so() {
    let mut site = an_empty_world().because("try again");
    site.has(an_image("bad"));
    site.has(site.told_of_image("bad", ImageReport::AttemptFailed(failed("import"))));
    site.has(ImageCommand::Reconcile { image: "bad".into() });
    assert_eq!(site.image("bad").failure, None);
    site.has(site.told_of_image("bad", ImageReport::Rejected(failed("import"))));
    site.has(ImageCommand::Reconcile { image: "bad".into() });
    assert!(site.image("bad").failure.is_some());
}

// Adoption.

fn adopt(id: Uuid) -> NodeCommand {
    NodeCommand::Adopt { node: "edge-1".into(), id, name: None, flavor: None }
}

fn artifact(kind: ArtifactKind, id: Uuid) -> Artifact {
    Artifact { kind, id, place: format!("{kind}/{id}") }
}

/// What is left on the node of the VM `web`, forgotten by force after its node was lost; running or not.
fn an_orphan(state: State, kinds: &[ArtifactKind]) -> (Site, VmRecord, Uuid) {
    let mut site = a_vm_that_is(state).because("restored");
    let vm = site.vm("web").clone();
    let record = VmRecord::of(&vm).unwrap();
    site.has(lost("edge-1"));
    site.has(force_vm("web"));
    site.has(an_inventory("edge-1", a_node()));
    let found = kinds.iter().map(|kind| match kind {
        ArtifactKind::Volume => artifact(*kind, record.root_volume.uuid()),
        ArtifactKind::Image => artifact(*kind, record.image.uuid()),
        _ => artifact(*kind, vm.id.uuid()),
    });
    let records = BTreeMap::from([(vm.id.uuid(), Record::Vm(Box::new(record.clone())))]);
    let seen = OrphansSeen { looked_for: ArtifactKind::ALL.into(), found: found.collect(), unlisted: 0, records };
    site.has(NodeCommand::Report(NodeReport::Orphans { node: "edge-1".into(), seen: Box::new(seen) }));
    (site, record, vm.id.uuid())
}

const RUNNING: &[ArtifactKind] = &[ArtifactKind::VmFolder, ArtifactKind::VmProcess, ArtifactKind::Volume];

#[test]
fn a_running_orphan_is_taken_over_with_the_id_disk_and_addresses_that_it_has() {
    let (mut site, record, id) = an_orphan(State::Running, RUNNING);
    site.has(adopt(id));
    let vm = site.vm("web").clone();
    assert_eq!((vm.id, VmRecord::of(&vm)), (Id::new(id), Some(record)));
    assert_eq!(site.root_of("web").state, VolumeState::Available);
    assert_eq!(site.node("edge-1").orphans, []);
    assert_eq!(site.state("web"), State::Starting, "until its pool has found the process");
    site.has(site.told("web", VmReport::Started(site.an_instance("web"))));
    assert_eq!(site.state("web"), State::Running);
    assert_eq!(site.world.unsound(), None);
    check(&site, adopt(id), Err("not-adoptable"));
}

#[test]
fn what_does_not_run_is_not_started() {
    let (mut site, _, id) = an_orphan(State::Stopped, &[ArtifactKind::VmFolder, ArtifactKind::Volume]);
    site.has(adopt(id));
    assert_eq!(site.state("web"), State::Stopped);
}

#[test]
fn what_is_missing_for_an_adoption_is_told() {
    let (site, _, id) = an_orphan(State::Running, &[ArtifactKind::VmFolder, ArtifactKind::VmProcess]);
    check(&site, adopt(id), Err("not-adoptable"));
    let (site, record, id) = an_orphan(State::Running, RUNNING);
    check(&site, adopt(record.root_volume.uuid()), Err("not-adoptable"));
    check(&site, adopt(Uuid::from_u128(7)), Err("not-adoptable"));
    let mut taken = site.clone();
    taken.has(a_vm("web"));
    check(&taken, adopt(id), Err("name-taken name"));
    let mut port_taken = site.clone();
    port_taken.has(a_vm("other"));
    check(&port_taken, adopt(id), Err("not-adoptable"));
    let mut without_flavor = site.clone();
    without_flavor.has(crate::flavor::FlavorCommand::Delete { flavor: "small".into() });
    check(&without_flavor, adopt(id), Err("not-adoptable"));
    without_flavor.has(a_flavor("other", a_shape()));
    let named =
        NodeCommand::Adopt { node: "edge-1".into(), id, name: Some(name("web-2")), flavor: Some("other".into()) };
    without_flavor.has(named);
    assert_eq!(without_flavor.vm("web-2").id, Id::new(id));
    let mut without_image = site;
    without_image.has(ImageCommand::Delete { image: "debian".into() });
    without_image.workers_finish_removals();
    check(&without_image, adopt(id), Err("not-adoptable"));
}

#[test]
fn an_image_is_taken_over_with_its_content() {
    let mut site = a_world().because("restored");
    let image = site.image("debian").clone();
    site.has(ImageCommand::Delete { image: "debian".into() });
    site.workers_finish_removals();
    let record = ImageRecord { name: name("debian"), spec: image.spec.clone(), content: a_content() };
    let seen = OrphansSeen {
        looked_for: ArtifactKind::ALL.into(),
        found: [artifact(ArtifactKind::Image, image.id.uuid())].into(),
        unlisted: 0,
        records: BTreeMap::from([(image.id.uuid(), Record::Image(Box::new(record)))]),
    };
    site.has(NodeCommand::Report(NodeReport::Orphans { node: "edge-1".into(), seen: Box::new(seen) }));
    site.has(adopt(image.id.uuid()));
    let adopted = site.image("debian");
    assert_eq!((adopted.id, adopted.state, &adopted.content), (image.id, image.state, &image.content));
    assert_eq!(site.node("edge-1").orphans, []);
}

#[test]
fn a_record_too_long_for_a_report_is_left_out() {
    let (site, record, id) = an_orphan(State::Running, RUNNING);
    assert!(site.node("edge-1").orphans.iter().any(|orphan| orphan.record.is_some()));
    let long = VmRecord { mac: "x".repeat(RECORD_BYTES_MAX), ..record };
    assert!(!Record::Vm(Box::new(long)).fits());
    assert!(site.node("edge-1").orphans.iter().any(|orphan| orphan.advice().contains(&format!("adopt {id}"))));
}
