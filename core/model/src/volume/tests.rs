//! Volumes: made with a VM's place, gone before the VM is.

use super::{VolumeReport, VolumeState};
use crate::{
    builders::*,
    vm::{State, VmReport},
};

/// A world whose VM `web` has a root disk in this state.
fn a_root_that_is(state: VolumeState) -> crate::builders::Site {
    let mut site = a_vm_that_is(State::Provisioning);
    match state {
        VolumeState::Creating => {}
        VolumeState::Available => drop(site.has(site.told_of_root("web", VolumeReport::Created))),
        VolumeState::Deleting => {
            site.has(delete("web"));
            site.has(site.told("web", VmReport::Released));
        }
    }
    assert_eq!(site.root_of("web").state, state);
    site
}

#[test]
fn each_report_counts_where_it_can_be_true_and_is_nothing_elsewhere() {
    for (state, created, attempt_failed, removed) in [
        (VolumeState::Creating, &["VolumeBecameAvailable"][..], &["VolumeAttemptFailed"][..], &[][..]),
        (VolumeState::Available, &[], &[], &[]),
        (VolumeState::Deleting, &[], &["VolumeAttemptFailed"], &["VolumeDeleted", "VmDeleted"]),
    ] {
        let site = a_root_that_is(state);
        check(&site, site.told_of_root("web", VolumeReport::Created), Ok(created));
        check(&site, site.told_of_root("web", VolumeReport::AttemptFailed(failed("disk"))), Ok(attempt_failed));
        check(&site, site.told_of_root("web", VolumeReport::Removed), Ok(removed));
    }
}

#[test]
fn a_report_on_an_older_wish_or_on_what_is_gone_is_refused() {
    let mut site = a_vm_that_is(State::Provisioning);
    let late = site.told_of_root("web", VolumeReport::Created);
    site.has(delete("web"));
    site.has(site.told("web", VmReport::Released));
    check(&site, late.clone(), Err("stale-report"));
    site.workers_finish_removals();
    check(&site, late, Err("not-found"));
}

#[test]
fn failed_attempts_are_counted_until_one_succeeds_and_a_new_wish_counts_anew() {
    let mut site = a_root_that_is(VolumeState::Creating);
    for attempt in 1..=3 {
        site.has(site.told_of_root("web", VolumeReport::AttemptFailed(failed("disk"))));
        assert_eq!(site.root_of("web").failure.as_ref().unwrap().attempt, attempt);
    }
    let mut removed = site.clone();
    removed.has(delete("web"));
    removed.has(removed.told("web", VmReport::Released));
    assert_eq!(removed.root_of("web").failure, None);
    site.has(site.told_of_root("web", VolumeReport::Created));
    assert_eq!(site.root_of("web").failure, None);
}

#[test]
fn what_happens_to_a_root_disk_is_a_new_revision_of_its_vm() {
    let mut site = a_root_that_is(VolumeState::Creating);
    let before = site.vm("web").meta.clone();
    site.has(site.told_of_root("web", VolumeReport::Created));
    let after = &site.vm("web").meta;
    assert_eq!(after.revision, site.world.sequence);
    assert_eq!(after.generation, before.generation);
}

#[test]
fn a_root_disk_is_named_after_its_vm_or_by_its_id_where_that_is_too_long() {
    let mut site = a_world();
    let long = "x".repeat(63);
    site.has(a_vm("web"));
    site.has(a_vm(&long));
    assert_eq!(site.root_of("web").meta.name.as_str(), "web-root");
    let root = site.root_of(&long);
    assert_eq!(root.meta.name.as_str(), format!("root-{}", root.id));
}
