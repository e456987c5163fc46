//! What follows a stop: the run strategy, back-off, a restart.

use chrono::TimeDelta;

use crate::{
    builders::*,
    event::Fact,
    meta::MetaChange,
    vm::{AfterStop, Power, RunStrategy, State, StoppedHow, Target, VmCommand, VmEvent},
};

const HOWS: [StoppedHow; 5] = [
    StoppedHow::Graceful,
    StoppedHow::Forced,
    StoppedHow::GuestShutdown,
    StoppedHow::Crashed,
    StoppedHow::HostRestarted,
];

#[test]
fn a_restart_is_a_new_epoch_and_its_stop_asks_no_run_strategy() {
    for run_strategy in [RunStrategy::Always, RunStrategy::RerunOnFailure, RunStrategy::Manual] {
        for how in HOWS {
            let mut site = a_vm_that_is(State::Running);
            let strategy = VmCommand::Update {
                vm: "web".into(),
                change: MetaChange::default(),
                run_strategy: Some(run_strategy),
                node_selector: None,
            };
            site.has(strategy);
            site.has(restart("web"));
            assert_eq!((site.vm("web").boot_epoch, site.state("web")), (2, State::Restarting));
            site.has(site.told("web", stopped(how)));
            assert_eq!(site.state("web"), State::Starting);
            site.runs("web");
            assert_eq!(site.state("web"), State::Running);
        }
    }
}

/// What a run strategy makes of a stop that nobody asked for: `None` starts again after a pause.
fn after_stop(run_strategy: RunStrategy, how: StoppedHow) -> Option<AfterStop> {
    use StoppedHow::*;
    match (run_strategy, how) {
        (RunStrategy::Always | RunStrategy::RerunOnFailure, Crashed) => None,
        // The runs here are short ones.
        (RunStrategy::Always, Graceful | Forced | GuestShutdown) => None,
        (RunStrategy::Always | RunStrategy::RerunOnFailure, HostRestarted) => Some(AfterStop::StartsAgain),
        (RunStrategy::RerunOnFailure, Graceful | Forced | GuestShutdown) => Some(AfterStop::StaysStopped),
        (RunStrategy::Manual | RunStrategy::Halted, _) => Some(AfterStop::StaysStopped),
    }
}

#[test]
fn the_run_strategy_decides_what_follows_a_stop() {
    for run_strategy in [RunStrategy::Always, RunStrategy::RerunOnFailure, RunStrategy::Manual, RunStrategy::Halted] {
        for how in HOWS {
            for from in [State::Running, State::Pausing, State::Paused, State::Unpausing] {
                let mut site = a_vm_that_is(from);
                if run_strategy != RunStrategy::Always {
                    site.has(VmCommand::Update {
                        vm: "web".into(),
                        change: MetaChange::default(),
                        run_strategy: Some(run_strategy),
                        node_selector: None,
                    });
                }
                let wished = site.vm("web").target;
                let events = site.has(site.told("web", stopped(how)));
                let Fact::Vm(VmEvent::VmStopped { then, .. }) = &events[0].fact else { panic!("{events:?}") };
                match (after_stop(run_strategy, how), then) {
                    (Some(expect), then) => assert_eq!(*then, expect, "{run_strategy:?} {how:?}"),
                    (None, AfterStop::StartsAgainAfter { failure, crashes: 1 }) => {
                        assert_eq!((failure.next_attempt_at - site.now).num_seconds(), 1);
                    }
                    (None, then) => panic!("{run_strategy:?} {how:?}: {then:?}"),
                }
                let vm = site.vm("web");
                let stays = *then == AfterStop::StaysStopped;
                assert_eq!(vm.target, if stays { Target::Stopped { grace_seconds: 0 } } else { wished });
                assert_eq!((&vm.power, vm.last_stop.as_ref().map(|stop| stop.how)), (&Power::Off, Some(how)));
            }
        }
    }
}

#[test]
fn a_stop_that_was_asked_for_is_as_wished_however_it_came() {
    for from in [State::Stopping, State::Deleting] {
        for how in HOWS {
            let mut site = a_vm_that_is(from);
            let events = site.has(site.told("web", stopped(how)));
            assert!(
                matches!(&events[0].fact, Fact::Vm(VmEvent::VmStopped { then: AfterStop::AsWished, .. })),
                "{events:?}"
            );
            assert_eq!(site.vm("web").failure, None);
        }
    }
}

#[test]
fn crashes_in_a_row_wait_longer_each_time() {
    let mut site = a_vm_that_is(State::Running);
    for pause_s in [1, 2, 4, 8, 16] {
        site.has(site.told("web", stopped(StoppedHow::Crashed)));
        let failure = site.vm("web").failure.clone().unwrap();
        assert_eq!((failure.next_attempt_at - site.now).num_seconds(), pause_s);
        assert_eq!(site.state("web"), State::BackOff);
        site = site.later(TimeDelta::seconds(pause_s));
        site.runs("web");
    }
    // A run of ten minutes was a good one.
    site = site.later(TimeDelta::minutes(10));
    site.has(site.told("web", stopped(StoppedHow::Crashed)));
    assert_eq!(site.vm("web").crashes, 1);
}

#[test]
fn a_new_wish_is_tried_at_once_whatever_failed_before() {
    let mut site = a_vm_that_is(State::Running);
    for _ in 0..3 {
        site.has(site.told("web", stopped(StoppedHow::Crashed)));
        site.runs("web");
    }
    site.has(site.told("web", stopped(StoppedHow::Crashed)));
    assert_eq!(site.vm("web").crashes, 4);
    site.has(restart("web"));
    assert_eq!((site.state("web"), site.vm("web").crashes), (State::Starting, 0));
}
