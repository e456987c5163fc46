//! VMs: every wish in every state, every report, and the way out.

mod nics;
mod stops;

use super::{CreateVm, Power, RunStrategy, State, StoppedHow, Target, VmCommand, VmReport, decide::GRACE_SECONDS_MAX};
use crate::{
    Generation, Kind, Labels,
    builders::*,
    flavor::Shape,
    image::{ImageSource, ImageSpec},
    meta::MetaChange,
    volume::{VolumeReport, VolumeState},
};

/// What each wish leads to in a state: update, start, stop (60 s), restart, pause, unpause, delete.
fn wishes(state: State) -> [Expect<'static>; 7] {
    const NO: Expect<'_> = Err("wrong-state");
    const UPDATE: Expect<'_> = Ok(&["VmUpdated"]);
    const START: Expect<'_> = Ok(&["VmStartRequested"]);
    const STOP: Expect<'_> = Ok(&["VmStopRequested"]);
    const RESTART: Expect<'_> = Ok(&["VmRestartRequested"]);
    const PAUSE: Expect<'_> = Ok(&["VmPauseRequested"]);
    const UNPAUSE: Expect<'_> = Ok(&["VmUnpauseRequested"]);
    const DELETE: Expect<'_> = Ok(&["VmDeleteRequested"]);
    match state {
        // Nothing was made for it, so it is gone at once.
        State::Pending => [UPDATE, NO, STOP, RESTART, NO, NO, Ok(&["VmDeleteRequested", "VmDeleted"])],
        State::Provisioning | State::Starting | State::BackOff => [UPDATE, NO, STOP, RESTART, NO, NO, DELETE],
        State::Running | State::Unpausing | State::Restarting => [UPDATE, NO, STOP, RESTART, PAUSE, NO, DELETE],
        State::Pausing | State::Paused => [UPDATE, NO, STOP, RESTART, NO, UNPAUSE, DELETE],
        State::Stopping | State::Stopped => [UPDATE, START, NO, NO, NO, NO, DELETE],
        State::Deleting => [NO, NO, NO, NO, NO, NO, Ok(&[])],
    }
}

#[test]
fn every_wish_in_every_state() {
    for state in State::ALL {
        let site = a_vm_that_is(state);
        let commands = [
            update("web", described("new")),
            start("web"),
            stop("web", 60),
            restart("web"),
            pause("web"),
            unpause("web"),
            delete("web"),
        ];
        for (command, expect) in commands.into_iter().zip(wishes(state)) {
            check(&site, command, expect);
        }
    }
}

/// The state that a report brings a VM to, if it says something new.
fn after_report(state: State, report: &VmReport) -> Option<State> {
    use State::*;
    match (report, state) {
        (VmReport::Started(_), Pending | Provisioning | Stopped | Deleting) => None,
        (VmReport::Started(_), Starting | BackOff) => Some(Running),
        (VmReport::Started(_), Paused) => Some(Pausing),
        (VmReport::Started(_), Running | Pausing | Stopping) => Some(state),
        (VmReport::Started(_), Unpausing | Restarting) => Some(Running),
        (VmReport::Paused, Running) => Some(Unpausing),
        (VmReport::Paused, Pausing) => Some(Paused),
        (VmReport::Paused, Restarting | Stopping | Deleting) => Some(state),
        (VmReport::Unpaused, Paused) => Some(Pausing),
        (VmReport::Unpaused, Unpausing) => Some(Running),
        (VmReport::Stopped { .. }, Running | Pausing | Paused | Unpausing) => Some(BackOff),
        (VmReport::Stopped { .. }, Restarting) => Some(Starting),
        (VmReport::Stopped { .. }, Stopping) => Some(Stopped),
        (VmReport::Stopped { .. }, Deleting) => Some(Deleting),
        (VmReport::Released, Deleting) => Some(Deleting),
        _ => None,
    }
}

#[test]
fn every_report_in_every_state() {
    for state in State::ALL {
        let site = a_vm_that_is(state);
        let mut other = site.an_instance("web");
        other.pid += 1;
        for report in [
            VmReport::Started(other),
            VmReport::Paused,
            VmReport::Unpaused,
            stopped(StoppedHow::Crashed),
            VmReport::Released,
        ] {
            // A process where none should be is a fact as well, but not one of the state machine.
            if matches!(report, VmReport::Started(_)) && after_report(state, &report).is_none() {
                continue;
            }
            let mut site = site.clone();
            let events = site.has(site.told("web", report.clone()));
            match after_report(state, &report) {
                Some(expect) => assert_eq!(site.state("web"), expect, "{state:?} after {report:?}: {events:?}"),
                None => assert_eq!(events, [], "{state:?} after {report:?}"),
            }
        }
    }
}

#[test]
fn what_was_told_already_is_nothing() {
    for state in State::ALL {
        let site = a_vm_that_is(state);
        let told = match &site.vm("web").power {
            Power::Off => vec![stopped(StoppedHow::Forced), VmReport::Paused, VmReport::Unpaused],
            Power::Running(instance) => vec![VmReport::Started(instance.clone()), VmReport::Unpaused],
            Power::Paused(instance) => vec![VmReport::Started(instance.clone()), VmReport::Paused],
        };
        for report in told {
            check(&site, site.told("web", report), Ok(&[]));
        }
        check(&site, VmCommand::Schedule { vm: site.vm("web").id }, Ok(&[]));
    }
}

#[test]
fn a_report_on_an_older_wish_or_on_what_is_gone_is_refused() {
    let mut site = a_vm_that_is(State::Starting);
    let late = site.told("web", VmReport::Started(site.an_instance("web")));
    site.has(stop("web", 30));
    check(&site, late.clone(), Err("stale-report"));
    let early = VmCommand::Report { vm: site.vm("web").id, generation: Generation(99), report: VmReport::Released };
    check(&site, early, Err("stale-report"));
    site.has(delete("web"));
    site.workers_finish_removals();
    check(&site, late, Err("not-found"));
}

#[test]
fn a_name_or_an_id_leads_to_a_vm_and_nothing_else_does() {
    let site = a_vm_that_is(State::Running);
    let by_id = by_id(&site, Kind::Vm, "web");
    check(&site, VmCommand::Pause { vm: by_id }, Ok(&["VmPauseRequested"]));
    for command in [
        // Another kind's id, and what is not even a name.
        VmCommand::Pause { vm: crate::builders::by_id(&site, Kind::Image, "debian") },
        pause("Web"),
        start("none"),
        stop("none", u32::MAX),
        restart("none"),
        unpause("none"),
        delete("none"),
        update("none", described(&too_long())),
        VmCommand::Schedule { vm: crate::Id::new(uuid::Uuid::nil()) },
    ] {
        check(&site, command, Err("not-found"));
    }
}

#[test]
fn a_stale_if_match_comes_before_what_else_is_wrong() {
    let site = a_vm_that_is(State::Deleting).having_seen(1);
    for command in [update("web", described(&too_long())), start("web"), stop("web", u32::MAX), restart("web")] {
        check(&site, command, Err("precondition-failed If-Match"));
    }
    for command in [pause("web"), unpause("web"), delete("web")] {
        check(&site, command, Err("precondition-failed If-Match"));
    }
    // It is compared with the wish alone: reports in between do no harm.
    let mut running = a_vm_that_is(State::Starting);
    let seen = running.vm("web").meta.generation.0;
    running.runs("web");
    check(&running.having_seen(seen), pause("web"), Ok(&["VmPauseRequested"]));
}

#[test]
fn a_vm_is_created_placed_and_given_a_disk_in_one_commit() {
    let mut site = a_world();
    check(&site, a_vm("web"), Ok(&["VmCreated", "VmScheduled", "VolumeCreated"]));
    site.has(CreateVm { keypair: Some("me".into()), root_disk_gib: Some(7), ..a_vm("web") });
    let vm = site.vm("web");
    assert_eq!((vm.target, vm.spec.shape.disk_gib, vm.boot_epoch), (Target::Running, 7, 1));
    assert_eq!(site.root_of("web").spec.size_gib, 7);
    assert_eq!(site.root_of("web").spec.vm, vm.id);
}

#[test]
fn manual_and_halted_vms_wait_for_a_person() {
    for (run_strategy, then) in [(RunStrategy::Manual, RunStrategy::Manual), (RunStrategy::Halted, RunStrategy::Always)]
    {
        let mut site = a_world();
        site.has(CreateVm { run_strategy, ..a_vm("web") });
        assert_eq!(site.state("web"), State::Stopped);
        site.has(start("web"));
        assert_eq!((site.state("web"), site.vm("web").spec.run_strategy), (State::Provisioning, then));
    }
}

/// A world in which each reference of [`worst`] can be mended on its own.
fn worst(site: &mut Site) -> CreateVm {
    site.has(an_image_of("queued", ImageSpec { min_memory_mib: 1024, ..a_spec(ImageSource::Upload) }));
    site.has(a_flavor("huge", Shape { vcpus: 256, ..a_shape() }));
    site.has(a_vm("taken"));
    CreateVm {
        name: name("not.a.label"),
        description: too_long(),
        image: "no-image".into(),
        flavor: "no-flavor".into(),
        keypair: Some("no-keypair".into()),
        node: Some("no-node".into()),
        root_disk_gib: Some(0),
        ..a_vm("x")
    }
}

#[test]
fn the_first_wrong_thing_of_a_create_is_told() {
    let mut site = a_world();
    let create = worst(&mut site);
    check(&site, create.clone(), Err("invalid-value name"));
    let create = CreateVm { name: name("taken"), ..create };
    check(&site, create.clone(), Err("invalid-value description"));
    let create = CreateVm { description: String::new(), ..create };
    check(&site, create.clone(), Err("reference-not-found image"));
    let create = CreateVm { image: "queued".into(), ..create };
    check(&site, create.clone(), Err("reference-not-found flavor"));
    let create = CreateVm { flavor: "huge".into(), ..create };
    check(&site, create.clone(), Err("reference-not-found keypair"));
    let create = CreateVm { keypair: Some("me".into()), ..create };
    check(&site, create.clone(), Err("reference-not-found node"));
    let create = CreateVm { node: Some("edge-1".into()), ..create };
    check(&site, create.clone(), Err("name-taken name"));
    let create = CreateVm { name: name("web"), ..create };
    check(&site, create.clone(), Err("image-not-active image"));
    let create = CreateVm { image: "debian".into(), ..create };
    check(&site, create.clone(), Err("invalid-value boot_disk.size_gib"));
    let create = CreateVm { root_disk_gib: Some(1), ..create };
    check(&site, create.clone(), Err("too-small-for-image boot_disk.size_gib"));
    let create = CreateVm { root_disk_gib: Some(2), ..create };
    check(&site, create.clone(), Err("flavor-larger-than-any-node flavor"));
    let create = CreateVm { flavor: "small".into(), ..create };
    check(&site, create, Ok(&["VmCreated", "VmScheduled", "VolumeCreated"]));
}

#[test]
fn the_images_demands_are_kept_by_flavor_or_root_disk() {
    let demanding = |min_disk_gib, min_memory_mib| {
        let mut site = a_world();
        let spec = a_spec(ImageSource::Upload);
        site.has(an_image_of("big", ImageSpec { min_disk_gib, min_memory_mib, ..spec }));
        let id = site.image("big").id;
        let upload =
            crate::image::ImageCommand::FinishUpload { image: "big".into(), size_bytes: 1, sha256: "c".repeat(64) };
        site.has(upload);
        site.has(imported(&site, "big"));
        assert!(site.world.images.contains_key(&id));
        site
    };
    let of_big = |root_disk_gib| CreateVm { image: "big".into(), root_disk_gib, ..a_vm("web") };
    let placed: Expect<'_> = Ok(&["VmCreated", "VmScheduled", "VolumeCreated"]);
    check(&demanding(6, 0), of_big(None), Err("too-small-for-image flavor"));
    check(&demanding(6, 0), of_big(Some(5)), Err("too-small-for-image boot_disk.size_gib"));
    check(&demanding(6, 0), of_big(Some(6)), placed);
    check(&demanding(0, 0), of_big(Some(1)), Err("too-small-for-image boot_disk.size_gib"));
    check(&demanding(0, 0), of_big(Some(65537)), Err("invalid-value boot_disk.size_gib"));
    check(&demanding(5, 512), of_big(None), placed);
    check(&demanding(5, 513), of_big(None), Err("too-small-for-image flavor"));
}

#[test]
fn updates_change_what_they_name_and_the_same_again_is_nothing() {
    let mut site = a_vm_that_is(State::Pending);
    let all = |vm: &str| VmCommand::Update {
        vm: vm.into(),
        change: MetaChange { description: Some("d".into()), labels: Some(labels(&[("a", "b")])) },
        run_strategy: Some(RunStrategy::Manual),
        node_selector: Some(labels(&[("zone", "x")])),
    };
    check(&site, update("web", described(&too_long())), Err("invalid-value description"));
    site.has(all("web"));
    check(&site, all("web"), Ok(&[]));
    let vm = site.vm("web");
    assert_eq!((vm.spec.run_strategy, vm.spec.node_selector.get("zone")), (RunStrategy::Manual, Some("x")));
    // The selector holds for the next look for a place only.
    let placed = a_vm_that_is(State::Running);
    check(&placed, all("web"), Err("wrong-state"));
    let same_selector = VmCommand::Update {
        vm: "web".into(),
        change: MetaChange::default(),
        run_strategy: None,
        node_selector: Some(Labels::default()),
    };
    check(&placed, same_selector, Ok(&[]));
    check(&a_vm_that_is(State::Deleting), update("web", described(&too_long())), Err("wrong-state"));
}

#[test]
fn a_slow_shutdown_can_be_hurried_and_not_slowed() {
    let site = a_vm_that_is(State::Stopping);
    check(&site, stop("web", 29), Ok(&["VmStopRequested"]));
    check(&site, stop("web", 0), Ok(&["VmStopRequested"]));
    check(&site, stop("web", 30), Err("wrong-state"));
    check(&site, stop("web", GRACE_SECONDS_MAX), Err("wrong-state"));
    check(&site, stop("web", GRACE_SECONDS_MAX + 1), Err("invalid-value grace_seconds"));
    check(&a_vm_that_is(State::Stopped), stop("web", 0), Err("wrong-state"));
    check(&a_vm_that_is(State::Deleting), stop("web", GRACE_SECONDS_MAX + 1), Err("wrong-state"));
}

#[test]
fn failed_attempts_are_counted_until_one_succeeds() {
    let mut site = a_vm_that_is(State::Starting);
    for (attempt, pause_s) in [(1, 1), (2, 2), (3, 4)] {
        site.has(site.told("web", VmReport::AttemptFailed(failed("start"))));
        let failure = site.vm("web").failure.clone().unwrap();
        assert_eq!((failure.attempt, (failure.next_attempt_at - site.now).num_seconds()), (attempt, pause_s));
    }
    site.runs("web");
    assert_eq!(site.vm("web").failure, None);
}

#[test]
fn the_guests_agent_is_told_once_a_run() {
    let answered = || VmReport::GuestAgentConnected { hostname: "web".into(), operating_system: "Debian 12".into() };
    let mut site = a_vm_that_is(State::Starting);
    check(&site, site.told("web", answered()), Ok(&[]));
    site.runs("web");
    check(&site, site.told("web", answered()), Ok(&["VmGuestAgentConnected"]));
    site.has(site.told("web", answered()));
    check(&site, site.told("web", answered()), Ok(&[]));
    site.has(site.told("web", stopped(StoppedHow::GuestShutdown)));
    assert_eq!(site.vm("web").guest_agent, None);
    site.runs("web");
    check(&site, site.told("web", answered()), Ok(&["VmGuestAgentConnected"]));
}

#[test]
fn deletion_ends_in_every_state() {
    for state in State::ALL {
        let mut site = a_vm_that_is(state);
        site.has(delete("web"));
        if state != State::Pending {
            assert_eq!(site.state("web"), State::Deleting);
            check(&site, delete("web"), Ok(&[]));
            check(&site, a_vm("web"), Err("name-taken name"));
            // What fails on the way is repeated, and told.
            site.has(site.told("web", VmReport::AttemptFailed(failed("remove"))));
            assert_eq!(site.vm("web").waiting(&site.world).unwrap().reason, "remove did not work");
            site.has(site.told("web", VmReport::Released));
            check(&site, site.told("web", VmReport::Released), Ok(&[]));
            assert_eq!(site.root_of("web").state, VolumeState::Deleting);
            site.has(site.told_of_root("web", VolumeReport::AttemptFailed(failed("remove-disk"))));
            assert_eq!(site.vm("web").waiting(&site.world).unwrap().reason, "remove-disk did not work");
        }
        site.workers_finish_removals();
        assert!(site.world.vms.is_empty() && site.world.volumes.is_empty());
        check(&site, uncordon("edge-1"), if state == State::Pending { Ok(&["NodeUncordoned"]) } else { Ok(&[]) });
        assert_eq!(site.world.id_of(Kind::Vm, &name("web")), None);
        assert_eq!(site.world.id_of(Kind::Volume, &name("web-root")), None);
    }
}

#[test]
fn released_says_nothing_of_a_vm_that_is_to_stay() {
    for state in State::ALL {
        if state != State::Deleting {
            let site = a_vm_that_is(state);
            check(&site, site.told("web", VmReport::Released), Ok(&[]));
        }
    }
}

#[test]
fn what_is_not_where_it_should_be_says_whom_it_waits_for_and_why() {
    for (state, owner) in [
        (State::Pending, Some("scheduler")),
        (State::Provisioning, Some("worker.storage@edge-1")),
        (State::Starting, Some("worker.vm@edge-1")),
        (State::BackOff, Some("worker.vm@edge-1")),
        (State::Running, None),
        (State::Pausing, Some("worker.vm@edge-1")),
        (State::Paused, None),
        (State::Unpausing, Some("worker.vm@edge-1")),
        (State::Restarting, Some("worker.vm@edge-1")),
        (State::Stopping, Some("worker.vm@edge-1")),
        (State::Stopped, None),
        (State::Deleting, Some("worker.vm@edge-1")),
    ] {
        let mut site = a_vm_that_is(state);
        let waiting = site.vm("web").waiting(&site.world);
        assert_eq!(waiting.as_ref().map(|waiting| waiting.owner.as_str()), owner);
        let Some(waiting) = waiting else { continue };
        assert!(!waiting.reason.is_empty());
        let backing_off = matches!(state, State::Pending | State::BackOff);
        assert_eq!(waiting.next_attempt_at.is_some(), backing_off, "{state:?}: {waiting:?}");
        site.has(lost("edge-1"));
        let reason = site.vm("web").waiting(&site.world).unwrap().reason;
        assert_eq!(reason.contains("is not ready"), state != State::Pending, "{state:?}: {reason}");
    }
}

#[test]
fn a_taken_ssh_port_is_followed_by_the_next_one() {
    let mut site = a_vm_that_is(State::Starting);
    let taken = |port| VmReport::SshPortTaken { port };
    check(&site, site.told("web", taken(22001)), Ok(&[]));
    check(&site, site.told("web", taken(22000)), Ok(&["VmSshPortMoved"]));
    site.has(site.told("web", taken(22000)));
    assert_eq!(site.vm("web").placement.as_ref().unwrap().ssh_port, 22001);
    check(&site, site.told("web", taken(22000)), Ok(&[]));
    let running = a_vm_that_is(State::Running);
    check(&running, running.told("web", taken(22000)), Ok(&[]));
    let pending = a_vm_that_is(State::Pending);
    check(&pending, pending.told("web", taken(22000)), Ok(&[]));
}

#[test]
fn a_vm_whose_ports_are_all_taken_backs_off_with_the_reason() {
    for (ports, expect) in [
        // No other port: it stays, and waits.
        ((22000, 22000), &["VmAttemptFailed"][..]),
        // The last one: from the first again, after a pause.
        ((21999, 22000), &["VmSshPortMoved", "VmAttemptFailed"][..]),
    ] {
        let mut site = a_world();
        site.has(a_vm("web"));
        site.has(site.told_of_root("web", VolumeReport::Created));
        site.has(an_inventory(
            "edge-1",
            crate::node::NodeFacts { ssh_ports: crate::node::PortRange { first: ports.0, last: ports.1 }, ..a_node() },
        ));
        check(&site, site.told("web", VmReport::SshPortTaken { port: 22000 }), Ok(expect));
        site.has(site.told("web", VmReport::SshPortTaken { port: 22000 }));
        let waiting = site.vm("web").waiting(&site.world).unwrap();
        assert!(waiting.reason.contains("port"), "{waiting:?}");
        assert!(waiting.fix.is_some() && waiting.next_attempt_at.is_some(), "{waiting:?}");
    }
}
