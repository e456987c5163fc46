//! The next step for every pair of what is wished and what is seen.

use chrono::{DateTime, TimeDelta, Utc};
use edgestack_model::{
    Generation, Id, Labels, Meta, Sequence,
    flavor::Shape,
    vm::{Instance, Nic, NicSpec, NicStage, Placement, Power, RunStrategy, StoppedHow, Target, Vm, VmReport, VmSpec},
    waiting::Failure,
};
use uuid::Uuid;

use super::{Circumstances, Step, next_attempt, plan};
use crate::driver::{Observed, Process};

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000 + second, 0).unwrap()
}

/// At second 100; the worker began long before.
fn around() -> Circumstances {
    Circumstances { now: at(100), worker_since: at(-1000), disk_available: true }
}

fn process(pid: u32) -> Process {
    Process {
        pid,
        start_time_ticks: 7,
        host_boot: "boot-1".into(),
        accelerator: "kvm".into(),
        hypervisor: "QEMU 10".into(),
        nics: Some(vec![]),
    }
}

fn instance(pid: u32, boot_epoch: u64) -> Instance {
    Instance {
        pid,
        start_time_ticks: 7,
        host_boot: "boot-1".into(),
        boot_epoch,
        accelerator: "kvm".into(),
        hypervisor: "QEMU 10".into(),
        started_at: at(50),
        nics: Some(vec![]),
    }
}

fn running() -> Power {
    Power::Running(instance(1, 1))
}

fn paused() -> Power {
    Power::Paused(instance(1, 1))
}

/// A VM with a place, wanted there since second 90.
fn a_vm(target: Target, power: Power) -> Vm {
    let id = |number| Uuid::from_u128(number);
    Vm {
        id: Id::new(id(1)),
        meta: Meta {
            name: "web".parse().unwrap(),
            description: String::new(),
            labels: Labels::default(),
            generation: Generation(1),
            revision: Sequence(1),
            created_at: at(0),
            updated_at: at(0),
            cause: id(8),
            correlation_id: id(9),
        },
        spec: VmSpec {
            image: Id::new(id(2)),
            flavor: Id::new(id(3)),
            shape: Shape {
                vcpus: 1,
                memory_mib: 512,
                disk_gib: 5,
                dedicated_cpus: false,
                huge_pages: None,
                numa_nodes: None,
            },
            keypair: None,
            user_data: None,
            node: None,
            node_selector: Labels::default(),
            run_strategy: RunStrategy::Always,
        },
        target,
        target_since: at(90),
        boot_epoch: 1,
        placement: Some(Placement {
            node: Id::new(id(4)),
            root_volume: Id::new(id(5)),
            mac: "52:54:00:00:00:01".into(),
            ssh_port: 22000,
        }),
        passed_over: vec![],
        power,
        last_stop: None,
        crashes: 0,
        failure: None,
        released: false,
        guest_agent: None,
        nics: vec![],
        next_nic: 0,
    }
}

/// The same VM after a restart was asked for.
fn outdated(vm: Vm) -> Vm {
    Vm { boot_epoch: 2, ..vm }
}

fn failing_until(vm: Vm, next_attempt_at: DateTime<Utc>) -> Vm {
    let failure = Failure { step: "x".into(), attempt: 1, reason: "x".into(), fix: None, at: at(0), next_attempt_at };
    Vm { failure: Some(failure), ..vm }
}

fn absent() -> Observed {
    Observed::Absent { host_boot: "boot-1".into(), last_words: None }
}

fn over(clean: bool) -> Observed {
    Observed::Over { process: process(1), detail: "over".into(), clean }
}

#[track_caller]
fn check(vm: &Vm, observed: &Observed, around: Circumstances, expect: Step) {
    assert_eq!(plan(vm, observed, around), expect, "target {:?}, power {:?}, {observed:?}", vm.target, vm.power);
}

const STOPPED: Target = Target::Stopped { grace_seconds: 30 };
const CUT_OFF: Target = Target::Stopped { grace_seconds: 0 };

#[test]
fn what_is_as_wished_rests() {
    for (target, power, observed) in [
        (Target::Running, running(), Observed::Running(process(1))),
        (Target::Paused, paused(), Observed::Paused(process(1))),
        (STOPPED, Power::Off, absent()),
    ] {
        check(&a_vm(target, power), &observed, around(), Step::Rest);
    }
}

#[test]
fn what_is_not_as_wished_is_brought_there() {
    let seen_running = || Observed::Running(process(1));
    let seen_paused = || Observed::Paused(process(1));
    for (target, power, observed, step) in [
        (Target::Running, Power::Off, absent(), Step::Start),
        (Target::Paused, Power::Off, absent(), Step::Start),
        (Target::Running, paused(), seen_paused(), Step::Resume),
        (Target::Paused, running(), seen_running(), Step::Pause),
        (STOPPED, running(), seen_running(), Step::PressPowerButton(at(105))),
        // A paused guest cannot hear the power button.
        (STOPPED, paused(), seen_paused(), Step::Resume),
        (CUT_OFF, running(), seen_running(), Step::EndForced),
        (CUT_OFF, paused(), seen_paused(), Step::EndForced),
        (Target::Running, Power::Off, over(true), Step::EndOver),
        (STOPPED, Power::Off, over(true), Step::EndOver),
    ] {
        check(&a_vm(target, power), &observed, around(), step);
    }
}

#[test]
fn a_start_waits_for_the_disk() {
    let no_disk = Circumstances { disk_available: false, ..around() };
    for target in [Target::Running, Target::Paused] {
        check(&a_vm(target, Power::Off), &absent(), no_disk, Step::AwaitDisk);
    }
    // What runs needs no second look at it.
    check(&a_vm(Target::Running, running()), &Observed::Running(process(1)), no_disk, Step::Rest);
    check(&a_vm(STOPPED, Power::Off), &absent(), no_disk, Step::Rest);
}

#[test]
fn what_the_log_does_not_know_is_reported_before_anything_is_done() {
    for target in [Target::Running, Target::Paused, STOPPED, CUT_OFF] {
        let started = |pid| Step::Report(VmReport::Started(Instance { started_at: at(100), ..instance(pid, 1) }));
        check(&a_vm(target, Power::Off), &Observed::Running(process(1)), around(), started(1));
        check(&a_vm(target, Power::Off), &Observed::Paused(process(1)), around(), started(1));
        // Another process than the one that the log knows.
        check(&a_vm(target, running()), &Observed::Running(process(2)), around(), started(2));
        check(&a_vm(target, paused()), &Observed::Paused(process(2)), around(), started(2));
        let report = |report| Step::Report(report);
        check(&a_vm(target, running()), &Observed::Paused(process(1)), around(), report(VmReport::Paused));
        check(&a_vm(target, paused()), &Observed::Running(process(1)), around(), report(VmReport::Unpaused));
    }
}

#[test]
fn a_stop_is_reported_as_what_it_was() {
    let asked = [STOPPED, CUT_OFF];
    let unasked = [Target::Running, Target::Paused];
    let how = |vm: &Vm, observed: &Observed| match plan(vm, observed, around()) {
        Step::Report(VmReport::Stopped { how, .. }) => how,
        other => panic!("{other:?}"),
    };
    for power in [running(), paused()] {
        for target in unasked {
            let vm = a_vm(target, power.clone());
            assert_eq!(how(&vm, &absent()), StoppedHow::Crashed);
            assert_eq!(how(&vm, &over(true)), StoppedHow::GuestShutdown);
            assert_eq!(how(&vm, &over(false)), StoppedHow::Crashed);
            // A restart was asked for, so its stop was too.
            assert_eq!(how(&outdated(vm.clone()), &absent()), StoppedHow::Forced);
            assert_eq!(how(&outdated(vm.clone()), &over(true)), StoppedHow::Graceful);
            assert_eq!(how(&outdated(vm), &over(false)), StoppedHow::Forced);
        }
        for target in asked {
            let vm = a_vm(target, power.clone());
            assert_eq!(how(&vm, &absent()), StoppedHow::Forced);
            assert_eq!(how(&vm, &over(true)), StoppedHow::Graceful);
            assert_eq!(how(&vm, &over(false)), StoppedHow::Forced);
        }
        for target in asked.into_iter().chain(unasked) {
            let elsewhere = Observed::Absent { host_boot: "boot-2".into(), last_words: Some("words".into()) };
            assert_eq!(how(&a_vm(target, power.clone()), &elsewhere), StoppedHow::HostRestarted);
        }
    }
}

#[test]
fn a_crash_is_told_with_the_last_words_of_the_process() {
    let spoke = Observed::Absent { host_boot: "boot-1".into(), last_words: Some("out of memory".into()) };
    let Step::Report(VmReport::Stopped { detail, .. }) = plan(&a_vm(Target::Running, running()), &spoke, around())
    else {
        panic!("not reported")
    };
    assert_eq!(detail, "out of memory");
}

#[test]
fn a_failed_step_waits_for_its_time_and_news_does_not() {
    let later = at(101);
    for (target, observed) in [(Target::Running, absent()), (STOPPED, absent()), (Target::Running, over(true))] {
        check(&failing_until(a_vm(target, Power::Off), later), &observed, around(), Step::WaitUntil(later));
    }
    let due = failing_until(a_vm(Target::Running, Power::Off), at(100));
    check(&due, &absent(), around(), Step::Start);
    let news = failing_until(a_vm(Target::Running, running()), later);
    assert!(matches!(plan(&news, &absent(), around()), Step::Report(VmReport::Stopped { .. })));
}

#[test]
fn a_guest_gets_its_grace_from_the_wish_or_from_the_workers_start() {
    let vm = a_vm(STOPPED, running());
    let seen = Observed::Running(process(1));
    let when = |now, worker_since| Circumstances { now: at(now), worker_since: at(worker_since), disk_available: true };
    check(&vm, &seen, when(90, 0), Step::PressPowerButton(at(95)));
    // Not beyond its end.
    check(&vm, &seen, when(118, 0), Step::PressPowerButton(at(120)));
    check(&vm, &seen, when(119, 0), Step::PressPowerButton(at(120)));
    check(&vm, &seen, when(120, 0), Step::EndForced);
    // Nobody could ask it while the worker was away.
    check(&vm, &seen, when(120, 110), Step::PressPowerButton(at(125)));
    check(&vm, &seen, when(140, 110), Step::EndForced);
}

#[test]
fn a_restart_ends_the_old_process_and_starts_a_new_one() {
    let vm = outdated(a_vm(Target::Running, running()));
    check(&vm, &Observed::Running(process(1)), around(), Step::PressPowerButton(at(105)));
    let late = Circumstances { now: at(150), ..around() };
    check(&vm, &Observed::Running(process(1)), late, Step::EndForced);
    let was_paused = outdated(a_vm(Target::Running, paused()));
    check(&was_paused, &Observed::Paused(process(1)), around(), Step::EndForced);
    check(&outdated(a_vm(Target::Running, Power::Off)), &absent(), around(), Step::Start);
}

#[test]
fn removal_releases_from_everything_and_then_rests() {
    for power in [Power::Off, running(), paused()] {
        for observed in [absent(), Observed::Running(process(1)), Observed::Paused(process(1)), over(true), over(false)]
        {
            let vm = a_vm(Target::Deleted, power.clone());
            check(&vm, &observed, around(), Step::Release);
            check(&failing_until(vm.clone(), at(101)), &observed, around(), Step::WaitUntil(at(101)));
            check(&Vm { released: true, ..vm }, &observed, around(), Step::Rest);
        }
    }
}

#[test]
fn every_plan_ends_at_the_wish_when_each_step_succeeds() {
    let powers = [Power::Off, running(), paused()];
    let seens = [absent(), Observed::Running(process(1)), Observed::Paused(process(1)), over(true), over(false)];
    for target in [Target::Running, Target::Paused, STOPPED, CUT_OFF] {
        for (power, seen) in powers.iter().flat_map(|power| seens.iter().map(move |seen| (power, seen))) {
            let mut vm = a_vm(target, power.clone());
            let mut observed = seen.clone();
            let mut now = around();
            let mut steps = vec![];
            loop {
                let step = plan(&vm, &observed, now);
                steps.push(step.clone());
                assert!(steps.len() < 12, "no end: {steps:?}");
                match step {
                    Step::Rest => break,
                    Step::Report(report) => told(&mut vm, report),
                    Step::Start => observed = Observed::Running(process(9)),
                    Step::Pause => observed = Observed::Paused(process_of(&observed)),
                    Step::Resume => observed = Observed::Running(process_of(&observed)),
                    Step::PressPowerButton(at) => {
                        assert!(at > now.now, "it would look again at once");
                        now.now += TimeDelta::seconds(5);
                        observed = over(true);
                    }
                    Step::EndForced | Step::EndOver => observed = absent(),
                    Step::WaitUntil(_) | Step::AwaitDisk | Step::PlugNic(_) | Step::UnplugNic(_) | Step::Release => {
                        panic!("{steps:?}")
                    }
                }
            }
            let reached = match target {
                Target::Running => matches!(observed, Observed::Running(_)) && matches!(vm.power, Power::Running(_)),
                Target::Paused => matches!(observed, Observed::Paused(_)) && matches!(vm.power, Power::Paused(_)),
                Target::Stopped { .. } | Target::Deleted => observed == absent() && vm.power == Power::Off,
            };
            assert!(reached, "{target:?} from {power:?} and {seen:?}: {steps:?}");
        }
    }
}

fn process_of(observed: &Observed) -> Process {
    match observed {
        Observed::Running(process) | Observed::Paused(process) | Observed::Over { process, .. } => process.clone(),
        Observed::Absent { .. } => panic!("nothing is there"),
    }
}

/// What the model makes of a report, in short.
fn told(vm: &mut Vm, report: VmReport) {
    vm.power = match (report, std::mem::replace(&mut vm.power, Power::Off)) {
        (VmReport::Started(instance), _) => Power::Running(instance),
        (VmReport::Paused, Power::Running(instance)) => Power::Paused(instance),
        (VmReport::Unpaused, Power::Paused(instance)) => Power::Running(instance),
        (VmReport::Stopped { .. }, Power::Running(_) | Power::Paused(_)) => Power::Off,
        (report, power) => panic!("{report:?} of what is {power:?}"),
    };
}

/// A NIC of the VM, last tried in vain with the next attempt at this second.
fn a_nic(number: u32, stage: NicStage, failing_until: Option<i64>) -> Nic {
    let network = Id::new(Uuid::from_u128(6));
    let spec = NicSpec { number, network, mac: "fa:16:3e:00:00:01".parse().unwrap(), addresses: vec![] };
    let failure = failing_until.map(|second| Failure {
        step: "x".into(),
        attempt: 1,
        reason: "x".into(),
        fix: None,
        at: at(0),
        next_attempt_at: at(second),
    });
    Nic { spec, ready: true, security_groups: None, port_security: true, stage, failure }
}

fn with_nics(vm: Vm, nics: impl IntoIterator<Item = Nic>, known: Option<Vec<u32>>) -> Vm {
    let power = match vm.power {
        Power::Running(instance) => Power::Running(Instance { nics: known, ..instance }),
        Power::Paused(instance) => Power::Paused(Instance { nics: known, ..instance }),
        Power::Off => Power::Off,
    };
    Vm { nics: nics.into_iter().collect(), next_nic: 9, power, ..vm }
}

fn process_with(nics: Option<Vec<u32>>) -> Process {
    Process { nics, ..process(1) }
}

#[test]
fn nics_are_told_then_put_in_then_taken_out() {
    use NicStage::{Leaving, Staying};
    let runs = |known: &[u32], nics: &[(u32, NicStage, Option<i64>)]| {
        let nics = nics.iter().map(|(number, stage, failing)| a_nic(*number, *stage, *failing));
        with_nics(a_vm(Target::Running, running()), nics, Some(known.to_vec()))
    };
    let sees = |there: &[u32]| Observed::Running(process_with(Some(there.to_vec())));
    let both = [(0, Staying, None), (1, Staying, None)];
    check(&runs(&[0, 1], &both), &sees(&[0, 1]), around(), Step::Rest);
    check(&runs(&[0], &both), &sees(&[0]), around(), Step::PlugNic(1));
    check(&runs(&[0], &both), &sees(&[0, 1]), around(), Step::Report(VmReport::NicPlugged { number: 1 }));
    let lost = plan(&runs(&[0, 1], &both), &sees(&[0]), around());
    assert!(matches!(lost, Step::Report(VmReport::NicAttemptFailed { number: 1, .. })), "{lost:?}");
    // Not before its time, and others meanwhile.
    check(&runs(&[], &[(0, Staying, Some(101)), (1, Staying, None)]), &sees(&[]), around(), Step::PlugNic(1));
    let failing = runs(&[], &[(0, Staying, Some(101))]);
    check(&failing, &sees(&[]), around(), Step::Rest);
    assert_eq!(next_attempt(&failing, at(100)), Some(at(101)));
    // Whether the process still has it or not: nothing of it may be left on the node.
    for there in [&[0, 1][..], &[0]] {
        check(&runs(&[0, 1], &[(0, Staying, None), (1, Leaving, None)]), &sees(there), around(), Step::UnplugNic(1));
    }
    check(&runs(&[0], &[(0, Staying, None)]), &sees(&[0, 7]), around(), Step::UnplugNic(7));
}

#[test]
fn a_nic_waits_for_a_guest_that_can_let_go_of_it_and_not_for_a_process_that_ends() {
    let leaving = || [a_nic(1, NicStage::Leaving, None)];
    let is = |target, power| with_nics(a_vm(target, power), leaving(), Some(vec![1]));
    let there = || process_with(Some(vec![1]));
    check(&is(Target::Paused, paused()), &Observed::Paused(there()), around(), Step::Rest);
    let paused_without = Observed::Paused(process_with(Some(vec![])));
    check(&is(Target::Paused, paused()), &paused_without, around(), Step::UnplugNic(1));
    check(&is(CUT_OFF, running()), &Observed::Running(there()), around(), Step::EndForced);
    check(
        &outdated(is(Target::Running, running())),
        &Observed::Running(there()),
        around(),
        Step::PressPowerButton(at(105)),
    );
    // Before a start, even of a VM that can't be started now.
    check(&failing_until(is(Target::Running, Power::Off), at(101)), &absent(), around(), Step::UnplugNic(1));
    // What was started before NICs could come and go.
    let old = with_nics(a_vm(Target::Running, running()), leaving(), None);
    check(&old, &Observed::Running(process_with(None)), around(), Step::Rest);
}
