//! Real QEMUs with guests of one sector: started once, found again, watched, ended.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::time::Duration;

use crate::site::{Guest, LAUNCH_DEADLINE, Site, an_idle_machine, eventually, free_port, kill, user_nat};
use edgestack_qemu::process::{Containment, arguments_hash};
use edgestack_qemu::qmp::RunState;
use edgestack_qemu::{Change, Ended, Instance, LaunchError, end, find, launch, watch};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout};

async fn state(instance: &Instance) -> RunState {
    let control = instance.control().await.expect("a monitor");
    control.query_status().await.expect("a state")
}

async fn next(changes: &mut Receiver<Change>) -> Change {
    timeout(Duration::from_secs(30), changes.recv()).await.expect("in time").expect("a change")
}

#[tokio::test]
async fn a_launched_machine_runs_with_its_processor_and_as_its_user() {
    let Some(site) = Site::new("a_launched_machine_runs_with_its_processor_and_as_its_user") else {
        return;
    };
    let mut machine = site.a_machine(Guest::Idle);
    machine.vcpus = 2;
    machine.nics = vec![user_nat(free_port())];
    let instance = site.launch(&machine).await.expect("launched");
    let control = instance.control().await.expect("a monitor");
    assert_eq!(control.query_status().await.expect("answered"), RunState::Running);
    assert_eq!(control.query_cpus_fast().await.expect("answered").len(), 2);
    assert!(!control.query_kvm().await.expect("answered").enabled);
    assert_eq!(control.query_block().await.expect("answered").len(), 1);
    let version = control.query_version().await.expect("answered");
    let record = instance.record.as_ref().expect("a record");
    assert_eq!(record.qemu_version, version);

    let process = format!("/proc/{}", instance.pid());
    let status = fs::read_to_string(format!("{process}/status")).expect("readable");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches(':').trim().to_owned()
    };
    // 2: system calls are filtered; proc_pid_status(5).
    assert_eq!(field("Seccomp"), "2");
    assert_eq!(field("NoNewPrivs"), "1");
    let stat = fs::read_to_string(format!("{process}/stat")).expect("readable");
    let session = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(3)).map(str::to_owned);
    assert_eq!(session, Some(instance.pid().to_string()), "it leads a session of its own");
    if is_root() {
        let uid = fs::metadata(&process).expect("it runs").uid();
        assert_eq!(uid, 65534, "it runs as nobody");
        let disk = fs::metadata(&machine.disks[0].path).expect("a disk");
        assert_eq!((disk.uid(), disk.mode() & 0o777), (65534, 0o600));
        let folder = fs::metadata(&machine.directory).expect("a folder");
        assert_eq!(folder.uid(), 0, "the machine's folder stays the caller's");
    } else {
        println!("skipped: its user: only root can start QEMU as another one");
    }
}

#[tokio::test]
async fn its_memory_cpu_and_tasks_are_bounded_by_the_kernel() {
    let Some(site) = Site::new("its_memory_cpu_and_tasks_are_bounded_by_the_kernel") else {
        return;
    };
    let machine = site.a_machine(Guest::Idle);
    let instance = site.launch(&machine).await.expect("launched");
    let containment = instance.record.as_ref().expect("a record").containment.clone();
    let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", instance.pid())).expect("readable");
    println!("bounded by {containment:?}");
    // 32 MiB for the guest, 384 for QEMU, 256 for translated code.
    let memory_bytes: u64 = (32 + 384 + 256) << 20;
    match &containment {
        Containment::SystemdScope { unit } => assert!(cgroup.contains(unit.as_str()), "{cgroup}"),
        Containment::Cgroups { groups } => {
            assert!(cgroup.contains(&format!("edgestack-vm-{}", machine.id)), "{cgroup}");
            let value = |name: &str| {
                let text = groups.iter().find_map(|group| fs::read_to_string(group.join(name)).ok());
                text.map(|text| text.trim().to_owned())
            };
            let memory = value("memory.limit_in_bytes").or_else(|| value("memory.max"));
            assert_eq!(memory, Some(memory_bytes.to_string()));
            let cpu = value("cpu.cfs_quota_us").or_else(|| value("cpu.max").map(|max| max.replace(" 100000", "")));
            assert_eq!(cpu.as_deref(), Some("150000"));
            for group in groups {
                let members = fs::read_to_string(group.join("cgroup.procs")).expect("readable");
                assert_eq!(members.trim(), instance.pid().to_string(), "{}", group.display());
            }
        }
        Containment::ResourceLimits => {
            let limits = fs::read_to_string(format!("/proc/{}/limits", instance.pid())).expect("readable");
            let line = limits.lines().find(|line| line.starts_with("Max address space")).expect("a limit");
            assert!(!line.contains("unlimited"), "{line}");
        }
    }
    end(&instance, None).await.expect("ended");
    if let Containment::Cgroups { groups } = containment {
        assert!(groups.iter().all(|group| !group.exists()), "its groups went with it");
    }
}

#[tokio::test]
async fn a_machine_is_found_by_its_record_and_without_one() {
    let Some(site) = Site::new("a_machine_is_found_by_its_record_and_without_one") else {
        return;
    };
    let machine = site.a_machine(Guest::Idle);
    assert_eq!(find(&machine.id, &machine.directory).expect("looked"), None);
    let launched = site.launch(&machine).await.expect("launched");
    let found = find(&machine.id, &machine.directory).expect("looked").expect("found");
    assert_eq!(found, launched);

    fs::remove_file(found.layout.record()).expect("removed");
    let scanned = find(&machine.id, &machine.directory).expect("looked").expect("found");
    assert_eq!((scanned.pid(), &scanned.record), (launched.pid(), &None));
    assert_eq!(state(&scanned).await, RunState::Running);

    // The launcher's next start finds it too, starts no second one and writes the record anew.
    let again = site.launch(&machine).await.expect("found");
    assert_eq!(again, launched);
    assert_eq!(find(&machine.id, &machine.directory).expect("looked"), Some(launched.clone()));
    let record = launched.record.expect("a record");
    assert_eq!(record.arguments_sha256, arguments_hash(&machine));
    let mut changed = machine.clone();
    changed.memory_mib += 1;
    assert_ne!(record.arguments_sha256, arguments_hash(&changed));
    assert_eq!(end(&scanned, None).await.expect("ended"), Ended::Quit);
    assert_eq!(find(&machine.id, &machine.directory).expect("looked"), None);
}

#[tokio::test]
async fn a_machine_whose_launcher_was_killed_before_it_ran_is_let_run() {
    let Some(site) = Site::new("a_machine_whose_launcher_was_killed_before_it_ran_is_let_run") else {
        return;
    };
    let machine = site.a_machine(Guest::Idle);
    let launched = site.launch(&machine).await.expect("launched");
    let arguments: Vec<_> = fs::read(format!("/proc/{}/cmdline", launched.pid()))
        .expect("readable")
        .split(|byte| *byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    end(&launched, None).await.expect("ended");
    // The same QEMU, started and left alone as by a launcher that is killed right after.
    let mut left =
        std::process::Command::new(&arguments[0]).args(&arguments[1..arguments.len() - 1]).spawn().expect("started");
    let instance = site.launch(&machine).await.expect("adopted");
    assert_eq!(instance.pid(), i32::try_from(left.id()).expect("a pid"));
    assert_eq!(state(&instance).await, RunState::Running);
    let record = instance.record.as_ref().expect("a record");
    if let Containment::Cgroups { .. } = record.containment {
        let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", instance.pid())).expect("readable");
        assert!(cgroup.contains(&machine.id), "{cgroup}");
    }
    end(&instance, None).await.expect("ended");
    left.wait().expect("reaped");
}

#[tokio::test]
async fn callers_at_once_start_one_qemu() {
    let Some(site) = Site::new("callers_at_once_start_one_qemu") else {
        return;
    };
    let machine = site.a_machine(Guest::Idle);
    let (one, two, three) = tokio::join!(site.launch(&machine), site.launch(&machine), site.launch(&machine));
    let pid = one.expect("launched").pid();
    assert_eq!((pid, pid), (two.expect("found").pid(), three.expect("found").pid()));
}

/// Not a test: what the next one starts as a process of its own, to kill it.
#[tokio::test]
async fn launcher_to_be_killed() {
    let (Ok(machine), Ok(disk), Ok(id)) =
        (std::env::var("VM_FOLDER"), std::env::var("VM_DISK"), std::env::var("VM_ID"))
    else {
        return;
    };
    let machine = an_idle_machine(id, machine.into(), disk.into());
    launch(&machine, LAUNCH_DEADLINE).await.expect("launched");
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_launcher_killed_at_any_time_leaves_one_qemu_to_the_next() {
    let Some(site) = Site::new("a_launcher_killed_at_any_time_leaves_one_qemu_to_the_next") else {
        return;
    };
    let (mut found, rounds) = (0, 24);
    for round in 0..rounds {
        let machine = site.a_machine(Guest::Idle);
        let mut launcher = std::process::Command::new(std::env::current_exe().expect("a program"))
            .args(["--exact", "machines::launcher_to_be_killed"])
            .env("VM_FOLDER", &machine.directory)
            .env("VM_DISK", &machine.disks[0].path)
            .env("VM_ID", &machine.id)
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("started");
        // From before its first line to after its last.
        tokio::time::sleep(Duration::from_millis(5 * round)).await;
        launcher.kill().expect("killed");
        launcher.wait().expect("reaped");
        if find(&machine.id, &machine.directory).expect("looked").is_some() {
            found += 1;
        }
        let instance = site.launch(&machine).await.expect("launched or found");
        assert_eq!(state(&instance).await, RunState::Running);
        assert_eq!(crate::site::processes_of(&machine.id), [instance.pid()], "round {round}");
        end(&instance, None).await.expect("ended");
    }
    println!("{found} of {rounds} killed launchers had started QEMU");
}

#[tokio::test]
async fn no_second_machine_runs_on_a_disk_in_use() {
    let Some(site) = Site::new("no_second_machine_runs_on_a_disk_in_use") else {
        return;
    };
    let first = site.a_machine(Guest::Idle);
    site.launch(&first).await.expect("launched");
    let mut second = site.a_machine(Guest::Idle);
    second.disks = first.disks.clone();
    let refused = site.launch(&second).await.expect_err("the image is locked");
    assert!(refused.to_string().contains("lock"), "{refused}");
    assert_eq!(find(&second.id, &second.directory).expect("looked"), None);
}

#[tokio::test]
async fn a_second_qemu_in_one_folder_is_refused_by_the_first_ones_lock() {
    let Some(site) = Site::new("a_second_qemu_in_one_folder_is_refused_by_the_first_ones_lock") else {
        return;
    };
    let machine = site.a_machine(Guest::Idle);
    let instance = site.launch(&machine).await.expect("launched");
    // Another id, so that our own search doesn't see the first.
    let mut other = site.a_machine(Guest::Idle);
    other.directory = machine.directory.clone();
    let refused = site.launch(&other).await.expect_err("the pid file is locked");
    assert!(refused.to_string().contains("lock pid file"), "{refused}");
    assert_eq!(state(&instance).await, RunState::Running);
}

#[tokio::test]
async fn what_qemu_says_is_the_reason_of_a_failed_launch() {
    let Some(site) = Site::new("what_qemu_says_is_the_reason_of_a_failed_launch") else {
        return;
    };
    let mut machine = site.a_machine(Guest::Idle);
    fs::remove_file(&machine.disks[0].path).expect("removed");
    let failed = site.launch(&machine).await.expect_err("no disk");
    assert!(failed.to_string().contains("No such file"), "{failed}");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    machine = site.a_machine(Guest::Idle);
    machine.nics = vec![user_nat(port)];
    let failed = site.launch(&machine).await.expect_err("a port in use");
    assert!(failed.to_string().contains(&port.to_string()), "{failed}");
    println!("{failed}");

    machine.nics.clear();
    machine.qemu = "/nonexistent/qemu".into();
    let failed = site.launch(&machine).await.expect_err("no program");
    assert!(failed.to_string().contains("/nonexistent/qemu"), "{failed}");

    machine.qemu = crate::site::QEMU.into();
    if is_root() {
        machine.run_as = Some("no-such-user".into());
        let failed = site.launch(&machine).await.expect_err("no user");
        assert!(matches!(failed, LaunchError::NoUser(_)), "{failed}");
    }
    machine.run_as = Some("nobody".into());
    // Each failure left nothing in the way.
    site.launch(&machine).await.expect("launched");
}

#[tokio::test]
async fn a_launch_that_takes_too_long_leaves_no_process() {
    let Some(site) = Site::new("a_launch_that_takes_too_long_leaves_no_process") else {
        return;
    };
    let machine = site.a_machine(Guest::Idle);
    let failed = launch(&machine, Duration::from_millis(5)).await.expect_err("too short");
    assert!(matches!(failed, LaunchError::TimedOut { .. }), "{failed}");
    assert_eq!(find(&machine.id, &machine.directory).expect("looked"), None);
    launch(&machine, LAUNCH_DEADLINE).await.expect("launched");
}

#[tokio::test]
async fn pause_resume_and_reset_are_told() {
    let Some(site) = Site::new("pause_resume_and_reset_are_told") else {
        return;
    };
    let machine = site.a_machine(Guest::Idle);
    let instance = site.launch(&machine).await.expect("launched");
    let mut changes = watch(&instance);
    let control = instance.control().await.expect("a monitor");
    control.stop().await.expect("stopped");
    assert_eq!(next(&mut changes).await, Change::Paused);
    // A launch leaves a machine paused that was paused on purpose.
    drop(control);
    site.launch(&machine).await.expect("found");
    assert_eq!(state(&instance).await, RunState::Paused);
    let control = instance.control().await.expect("a monitor");
    control.cont().await.expect("resumed");
    assert_eq!(next(&mut changes).await, Change::Resumed);
    control.system_reset().await.expect("reset");
    assert_eq!(next(&mut changes).await, Change::Reset);
    drop(changes);
    // A new watcher, as after a restart, begins with the state that isn't plain running.
    control.stop().await.expect("stopped");
    let mut changes = watch(&instance);
    assert_eq!(next(&mut changes).await, Change::Paused);
}

#[tokio::test]
async fn a_killed_qemu_is_told_within_two_seconds() {
    let Some(site) = Site::new("a_killed_qemu_is_told_within_two_seconds") else {
        return;
    };
    let machine = site.a_machine(Guest::Idle);
    site.launch(&machine).await.expect("launched");
    // Found, so it isn't known by being our child.
    let instance = find(&machine.id, &machine.directory).expect("looked").expect("found");
    let mut changes = watch(&instance);
    let killed = Instant::now();
    kill(&instance);
    assert!(matches!(next(&mut changes).await, Change::Exited { .. }));
    assert!(killed.elapsed() < Duration::from_secs(2));
    assert_eq!(changes.recv().await, None);
    assert!(!instance.is_running());
    assert_eq!(end(&instance, None).await.expect("nothing to end"), Ended::AlreadyGone);
    site.launch(&machine).await.expect("launched again");
}

#[tokio::test]
async fn no_zombie_stays_of_an_ended_qemu() {
    let Some(site) = Site::new("no_zombie_stays_of_an_ended_qemu") else {
        return;
    };
    let machine = site.a_machine(Guest::Idle);
    let instance = site.launch(&machine).await.expect("launched");
    kill(&instance);
    let process = format!("/proc/{}", instance.pid());
    eventually("reaped", || !std::path::Path::new(&process).exists()).await;
}

#[tokio::test]
async fn a_guest_that_powers_itself_off_is_told_apart_from_a_crash_even_later() {
    let Some(site) = Site::new("a_guest_that_powers_itself_off_is_told_apart_from_a_crash_even_later") else {
        return;
    };
    let machine = site.a_machine(Guest::PowersOff);
    let instance = site.launch(&machine).await.expect("launched");
    let mut changes = watch(&instance);
    assert_eq!(next(&mut changes).await, Change::GuestShutdown);
    drop(changes);
    // Whoever comes later sees it as well.
    let mut later = watch(&instance);
    assert_eq!(next(&mut later).await, Change::GuestShutdown);
    assert_eq!(state(&instance).await, RunState::Shutdown);
    let refused = site.launch(&machine).await.expect_err("it must be ended first");
    assert!(matches!(refused, LaunchError::NotEnded { state: RunState::Shutdown, .. }), "{refused}");
    assert_eq!(end(&instance, None).await.expect("ended"), Ended::ByGuest);
    assert!(matches!(next(&mut later).await, Change::Exited { .. }));
    for path in [instance.layout.record(), instance.layout.control_socket(), instance.layout.pid_file()] {
        assert!(!path.exists(), "{}", path.display());
    }
}

#[tokio::test]
async fn a_guest_that_ignores_the_power_button_is_made_to_quit_after_its_time() {
    let Some(site) = Site::new("a_guest_that_ignores_the_power_button_is_made_to_quit_after_its_time") else {
        return;
    };
    let instance = site.launch(&site.a_machine(Guest::Idle)).await.expect("launched");
    let patience = Duration::from_millis(500);
    let before = Instant::now();
    assert_eq!(end(&instance, Some(patience)).await.expect("ended"), Ended::Quit);
    assert!(before.elapsed() >= patience);
}

#[tokio::test]
async fn a_qemu_that_hears_nothing_is_killed() {
    let Some(site) = Site::new("a_qemu_that_hears_nothing_is_killed") else {
        return;
    };
    let instance = site.launch(&site.a_machine(Guest::Idle)).await.expect("launched");
    let pid = instance.pid().to_string();
    std::process::Command::new("kill").args(["-STOP", &pid]).status().expect("kill runs");
    assert_eq!(end(&instance, None).await.expect("ended"), Ended::Killed);
    assert!(!instance.is_running());
}

#[tokio::test]
async fn a_forced_end_outruns_a_patient_one() {
    let Some(site) = Site::new("a_forced_end_outruns_a_patient_one") else {
        return;
    };
    let instance = site.launch(&site.a_machine(Guest::Idle)).await.expect("launched");
    let patient = tokio::spawn({
        let instance = instance.clone();
        async move { end(&instance, Some(Duration::from_secs(600))).await }
    });
    // The patient one holds the monitor by now.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = Instant::now();
    end(&instance, None).await.expect("ended");
    assert!(before.elapsed() < Duration::from_secs(4));
    patient.await.expect("no panic").expect("ended");
}

#[tokio::test]
async fn what_the_guest_says_on_its_serial_port_is_logged_over_restarts() {
    let Some(site) = Site::new("what_the_guest_says_on_its_serial_port_is_logged_over_restarts") else {
        return;
    };
    let machine = site.a_machine(Guest::Speaks);
    for times in 1..=2 {
        let instance = site.launch(&machine).await.expect("launched");
        let log = instance.layout.console_log();
        let said = |times: usize| {
            let tail = edgestack_qemu::console::tail(&log, 4096).expect("readable");
            String::from_utf8_lossy(&tail).matches("hello").count() == times
        };
        eventually("the guest speaks", || said(times)).await;
        end(&instance, None).await.expect("ended");
    }
}

#[tokio::test]
async fn a_guest_without_an_agent_is_soon_known_to_have_none() {
    use edgestack_qemu::guest_agent::{AgentError, GuestAgent};
    let Some(site) = Site::new("a_guest_without_an_agent_is_soon_known_to_have_none") else {
        return;
    };
    let instance = site.launch(&site.a_machine(Guest::Idle)).await.expect("launched");
    let socket = instance.layout.agent_socket();
    let before = Instant::now();
    let silent = GuestAgent::connect(&socket, Duration::from_millis(300)).await.expect_err("no agent");
    assert!(matches!(silent, AgentError::NotAnswering { .. }), "{silent}");
    assert!(before.elapsed() < Duration::from_secs(2));
}

fn is_root() -> bool {
    fs::metadata("/proc/self").expect("we run").uid() == 0
}
