//! Orphans: told once, listed in bounds, gone once; and what is done with what.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use proptest::{collection::btree_set, prelude::*};
use uuid::Uuid;

use super::{
    Artifact, ArtifactKind, CHANGES_MAX, ORPHANS_MAX, PLACE_LENGTH_MAX, REASON_LENGTH_MAX, Standing, Treatment, id_in,
    standing, treatment, upload_named,
};
use crate::{
    builders::*,
    image::{ImageCommand, ImageReport, ImageSource},
    node::{NodeCommand, NodeReport, OrphansSeen, RemovedLeftover},
    vm::State,
    volume::VolumeReport,
};

fn an_artifact(kind: ArtifactKind, number: u128) -> Artifact {
    let id = Uuid::from_u128(number);
    Artifact { kind, id, place: format!("{kind}/{id}") }
}

fn of(kind: ArtifactKind, id: Uuid) -> Artifact {
    Artifact { id, ..an_artifact(kind, 0) }
}

fn seen_of(looked_for: &[ArtifactKind], found: impl IntoIterator<Item = Artifact>, unlisted: u64) -> NodeCommand {
    let seen = OrphansSeen {
        looked_for: looked_for.iter().copied().collect(),
        found: found.into_iter().collect(),
        unlisted,
        records: BTreeMap::new(),
    };
    NodeCommand::Report(NodeReport::Orphans { node: "edge-1".into(), seen: Box::new(seen) })
}

fn seen(found: impl IntoIterator<Item = Artifact>) -> NodeCommand {
    seen_of(&ArtifactKind::ALL, found, 0)
}

fn removed(artifact: Artifact, reason: &str) -> NodeCommand {
    let leftovers = vec![RemovedLeftover { artifact, reason: reason.to_owned() }];
    NodeCommand::Report(NodeReport::LeftoversRemoved { node: "edge-1".into(), leftovers })
}

fn listed(site: &Site) -> BTreeSet<Artifact> {
    site.node("edge-1").orphans.iter().map(|orphan| orphan.artifact.clone()).collect()
}

#[test]
fn an_orphan_is_told_once_and_its_end_once() {
    let mut site = a_world();
    let folder = || an_artifact(ArtifactKind::VmFolder, 1);
    let volume = || an_artifact(ArtifactKind::Volume, 2);
    check(&an_empty_world(), seen([folder()]), Err("not-found"));
    check(&site, seen([]), Ok(&[]));
    site.has(seen([folder()]));
    let since = site.now;
    let mut site = site.later(TimeDelta::minutes(5));
    check(&site, seen([folder()]), Ok(&[]));
    check(&site, seen([folder(), volume()]), Ok(&["NodeOrphanFound"]));
    check(&site, seen([volume()]), Ok(&["NodeOrphanGone", "NodeOrphanFound"]));
    site.has(seen([folder(), volume()]));
    assert_eq!(site.node("edge-1").orphans[0].since, since, "it is there since it was told first");
    site.has(seen([]));
    assert_eq!(listed(&site), BTreeSet::new());
}

#[test]
fn of_what_was_not_looked_for_nothing_is_said() {
    let mut site = a_world();
    let (folder, volume) = (an_artifact(ArtifactKind::VmFolder, 1), an_artifact(ArtifactKind::Volume, 2));
    site.has(seen([folder.clone(), volume.clone()]));
    // The look for volumes failed.
    let others = [ArtifactKind::VmFolder, ArtifactKind::VmProcess];
    check(&site, seen_of(&others, [folder.clone()], 7), Ok(&[]));
    check(&site, seen_of(&others, [folder, an_artifact(ArtifactKind::Volume, 3)], 0), Ok(&[]));
    check(&site, seen_of(&others, [], 0), Ok(&["NodeOrphanGone"]));
}

#[test]
fn what_the_log_accounts_for_is_never_an_orphan_whatever_a_worker_says() {
    let mut site = a_vm_that_is(State::Running);
    let (vm, volume, image) = (site.vm("web").id.uuid(), site.root_of("web").id.uuid(), site.image("debian").id.uuid());
    let all = [
        of(ArtifactKind::VmFolder, vm),
        of(ArtifactKind::VmProcess, vm),
        of(ArtifactKind::Volume, volume),
        of(ArtifactKind::Image, image),
        of(ArtifactKind::Upload, image),
        of(ArtifactKind::UnfinishedUpload, image),
    ];
    check(&site, seen(all.clone()), Ok(&[]));
    // An id counts for its own kind of resource alone.
    check(&site, seen([of(ArtifactKind::VmFolder, volume)]), Ok(&["NodeOrphanFound"]));
    check(&site, seen([of(ArtifactKind::Volume, vm)]), Ok(&["NodeOrphanFound"]));
    // On another node it is one.
    site.has(an_inventory("edge-2", a_node()));
    let found = OrphansSeen {
        looked_for: ArtifactKind::ALL.into(),
        found: all.clone().into(),
        unlisted: 0,
        records: BTreeMap::new(),
    };
    let elsewhere = NodeCommand::Report(NodeReport::Orphans { node: "edge-2".into(), seen: Box::new(found) });
    check(&site, elsewhere, Ok(&["NodeOrphanFound", "NodeOrphanFound", "NodeOrphanFound"]));
    // While it is being removed it is none, and after that it is.
    site.has(delete("web"));
    check(&site, seen(all.clone()), Ok(&[]));
    site.workers_finish_removals();
    check(&site, seen(all), Ok(&["NodeOrphanFound", "NodeOrphanFound", "NodeOrphanFound"]));
}

#[test]
fn an_orphan_that_the_log_learns_of_is_gone_from_the_list() {
    let mut site = a_world();
    // Each command takes four ids; the one after the report makes the VM.
    let next = Uuid::from_u128(site.given().new_ids[0].as_u128() + 4);
    let folder = of(ArtifactKind::VmFolder, next);
    site.has(seen([folder.clone()]));
    site.has(a_vm("web"));
    assert_eq!(site.vm("web").id.uuid(), next);
    check(&site, seen([folder]), Ok(&["NodeOrphanGone"]));
}

#[test]
fn what_does_not_fit_is_counted() {
    let many = |count: usize| (0..count as u128).map(|number| an_artifact(ArtifactKind::Image, number));
    let mut site = a_world();
    check(&site, seen(many(ORPHANS_MAX + 1)), Err("invalid-value found"));
    let everything = || seen_of(&ArtifactKind::ALL, many(ORPHANS_MAX), 44);
    let told = site.has(everything());
    assert_eq!(told.len(), CHANGES_MAX + 1, "a commit stays small");
    assert_eq!(site.node("edge-1").orphans_unlisted, 44);
    while !site.has(everything()).is_empty() {}
    assert_eq!(listed(&site).len(), ORPHANS_MAX);
    // One more than fits: it is counted, and takes the place of one that goes.
    let first = || an_artifact(ArtifactKind::VmFolder, 0);
    check(
        &site,
        seen(many(ORPHANS_MAX - 1).chain([first()])),
        Ok(&["NodeOrphanGone", "NodeOrphanFound", "NodeUnlistedOrphansCounted"]),
    );
    site.has(seen_of(&ArtifactKind::ALL, many(ORPHANS_MAX), 1));
    assert_eq!(site.node("edge-1").orphans_unlisted, 1);
    let mut empty = site;
    while !empty.has(seen([])).is_empty() {}
    assert_eq!((listed(&empty).len(), empty.node("edge-1").orphans_unlisted), (0, 0));
}

#[test]
fn reports_are_bounded() {
    let mut site = a_world();
    let long = |length: usize| Artifact { place: "x".repeat(length), ..an_artifact(ArtifactKind::Volume, 1) };
    check(&site, seen([long(PLACE_LENGTH_MAX + 1)]), Err("invalid-value place"));
    check(&site, removed(long(PLACE_LENGTH_MAX + 1), "why"), Err("invalid-value place"));
    check(&site, removed(long(1), &"x".repeat(REASON_LENGTH_MAX + 1)), Err("invalid-value reason"));
    // The largest commit there can be.
    let largest: Vec<Artifact> = (0..ORPHANS_MAX as u128)
        .map(|number| Artifact {
            place: "x".repeat(PLACE_LENGTH_MAX),
            ..an_artifact(ArtifactKind::UnfinishedUpload, number)
        })
        .collect();
    site.has(seen_of(&ArtifactKind::ALL, largest, u64::MAX));
    let bytes = site.log.last().unwrap().encode().unwrap().len();
    assert!(bytes < 64 << 10, "{bytes} bytes");
}

#[test]
fn what_was_removed_is_told_and_is_no_orphan_any_more() {
    let mut site = a_world();
    let part = an_artifact(ArtifactKind::UnfinishedUpload, 5);
    check(&an_empty_world(), removed(part.clone(), "it broke off"), Err("not-found"));
    check(&site, removed(part.clone(), "it broke off"), Ok(&["NodeLeftoverRemoved"]));
    site.has(seen([part.clone()]));
    site.has(removed(part.clone(), "it broke off"));
    assert_eq!(listed(&site), BTreeSet::new());
    check(&site, seen([]), Ok(&[]));
    let event = site.log.last().unwrap().events[0].describe();
    assert!(event.contains(&part.place) && event.contains("it broke off"), "{event}");
}

#[test]
fn reports_leave_the_generation() {
    let mut site = a_world();
    let before = site.node("edge-1").meta.generation;
    site.has(seen([an_artifact(ArtifactKind::Image, 1)]));
    site.has(removed(an_artifact(ArtifactKind::Upload, 1), "why"));
    assert_eq!(site.node("edge-1").meta.generation, before);
}

#[test]
fn only_what_holds_nobodys_only_copy_is_removed() {
    let spent = Standing::Spent("why");
    for kind in ArtifactKind::ALL {
        for standing in [Standing::Needed, spent, Standing::Removed, Standing::Unknown] {
            for being_written in [false, true] {
                let expect = match (kind, standing) {
                    (ArtifactKind::UnfinishedUpload, _) if being_written => "leave",
                    (ArtifactKind::UnfinishedUpload, _) => "remove",
                    (ArtifactKind::Upload, Standing::Spent(_) | Standing::Removed) => "remove",
                    (_, Standing::Needed | Standing::Spent(_)) => "leave",
                    (_, Standing::Removed | Standing::Unknown) => "flag",
                };
                let got = match treatment(kind, standing, being_written) {
                    Treatment::Leave => "leave",
                    Treatment::Flag => "flag",
                    Treatment::Remove(why) => {
                        assert!(!why.is_empty() && why.len() <= REASON_LENGTH_MAX);
                        "remove"
                    }
                };
                assert_eq!(got, expect, "{kind} {standing:?} {being_written}");
            }
        }
    }
}

#[test]
fn an_upload_is_spent_once_its_image_takes_no_content() {
    let mut site = a_world();
    let node = site.node("edge-1").id;
    let upload = |site: &Site| of(ArtifactKind::Upload, site.image("pic").id.uuid());
    let standing_of = |site: &Site| standing(&site.world, node, &upload(site));
    site.has(an_image_of("pic", a_spec(ImageSource::Upload)));
    assert_eq!(standing_of(&site), Standing::Needed, "queued");
    site.has(ImageCommand::FinishUpload { image: "pic".into(), size_bytes: 1, sha256: "a".repeat(64) });
    assert_eq!(standing_of(&site), Standing::Needed, "importing");
    let mut rejected = site.clone();
    rejected.has(rejected.told_of_image("pic", ImageReport::Rejected(failed("import"))));
    assert!(matches!(standing_of(&rejected), Standing::Spent(_)), "failed");
    site.has(imported(&site, "pic"));
    assert!(matches!(standing_of(&site), Standing::Spent(_)), "active");
    let gone = upload(&site);
    site.has(ImageCommand::Delete { image: "pic".into() });
    assert_eq!(standing_of(&site), Standing::Needed, "its removal takes it along");
    site.workers_finish_removals();
    assert_eq!(standing(&site.world, node, &gone), Standing::Unknown);
}

#[test]
fn each_kind_of_orphan_says_what_a_person_can_do() {
    for kind in ArtifactKind::ALL {
        let advice = an_artifact(kind, 1).advice();
        assert!(advice.starts_with("the log has no ") && advice.contains(&Uuid::from_u128(1).to_string()), "{advice}");
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
    }
    assert!(an_artifact(ArtifactKind::VmProcess, 1).advice().contains("end vm_process/"));
}

#[test]
fn only_what_is_named_as_we_name_it_is_of_ours() {
    let id = Uuid::from_u128(0xabcd);
    assert_eq!(
        upload_named(&id.to_string()),
        Some(Artifact { place: format!("uploads/{id}"), ..of(ArtifactKind::Upload, id) })
    );
    let part = upload_named(&format!("{id}.part")).unwrap();
    assert_eq!((part.kind, part.id), (ArtifactKind::UnfinishedUpload, id));
    let simple = id.simple().to_string();
    for foreign in
        ["", "part", ".part", "notes.txt", "a.part", &format!("{id}.bak"), &format!("{id}.part.part"), &simple]
    {
        assert_eq!(upload_named(foreign), None, "{foreign}");
    }
    assert_eq!(id_in(&id.to_string().to_uppercase()), None);
    assert_eq!(id_in(&id.urn().to_string()), None);
}

/// Artifacts of few ids, so that those of living resources are among them.
fn artifacts(site: &Site) -> impl Strategy<Value = BTreeSet<Artifact>> + use<> {
    let known = [site.vm("web").id.uuid(), site.root_of("web").id.uuid(), site.image("debian").id.uuid()];
    let ids = prop_oneof![(0..400_u128).prop_map(Uuid::from_u128), prop::sample::select(known.to_vec())];
    let one = (prop::sample::select(ArtifactKind::ALL.to_vec()), ids).prop_map(|(kind, id)| of(kind, id));
    btree_set(one, 0..300)
}

fn a_busy_world() -> Site {
    let mut site = a_world();
    site.has(a_vm("web"));
    site.has(site.told_of_root("web", VolumeReport::Created));
    site
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn what_is_seen_again_and_again_is_what_is_listed(looks in prop::collection::vec(artifacts(&a_busy_world()), 1..4)) {
        let mut site = a_busy_world();
        let node = site.node("edge-1").id;
        for look in looks {
            let orphans: BTreeSet<Artifact> = look
                .iter()
                .filter(|artifact| standing(&site.world, node, artifact) == Standing::Unknown)
                .cloned()
                .collect();
            // As a worker does: what is listed first, and the rest counted.
            for _ in 0..20 {
                let before = listed(&site);
                let (known, new): (Vec<_>, Vec<_>) = look.iter().cloned().partition(|one| before.contains(one));
                let found: BTreeSet<Artifact> = known.into_iter().chain(new).take(ORPHANS_MAX).collect();
                let unlisted = (look.len() - found.len()) as u64;
                let events = site.has(seen_of(&ArtifactKind::ALL, found, unlisted));
                prop_assert!(events.len() <= CHANGES_MAX + 1);
                prop_assert!(site.node("edge-1").orphans.is_sorted_by(|a, b| a.artifact < b.artifact));
                if events.is_empty() {
                    break;
                }
            }
            let now = listed(&site);
            prop_assert!(now.len() <= ORPHANS_MAX && now.is_subset(&orphans));
            if look.len() <= ORPHANS_MAX {
                prop_assert_eq!(now, orphans);
            }
        }
    }
}
