//! Keeping a QEMU within its memory, CPU time and tasks: by a systemd scope where systemd is the init, by a control
//! group of our own where one can be made, by resource limits as the last resort.
//!
//! The bounds are in force before the guest's first instruction. A scope and resource limits are so from the start:
//! QEMU is started by programs that put themselves under them and then become QEMU, one after the other, in the same
//! process. Entering a control group takes the kernel some 12 ms, a fifth of a launch, so it is done while QEMU starts,
//! paused; who finds a QEMU whose launcher was killed before that does it before letting it run.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use super::owner::{Owner, is_root};
use crate::accelerator::Accelerator;
use crate::command_line::TCG_CACHE_MIB;
use crate::machine::Machine;

const CGROUP_ROOT: &str = "/sys/fs/cgroup";
/// systemd stops units in the reverse order of their start. At the host's shutdown the daemon must go first: otherwise it
/// sees its VMs die one by one, takes that for crashes and starts them again.
const STOPPED_AFTER_DAEMON: &str = "Before=edgestackd.service";
/// How long an ended process may take to leave its control groups.
const EMPTY_DEADLINE: Duration = Duration::from_secs(1);
/// The kernel's default period of CPU quotas, µs.
const CPU_PERIOD_US: u64 = 100_000;

/// What one QEMU may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) memory_bytes: u64,
    /// Percent of one core.
    pub(crate) cpu_percent: u64,
    pub(crate) tasks: u32,
}

impl Bounds {
    pub(crate) fn of(machine: &Machine) -> Self {
        let cache_mib = match machine.accelerator {
            Accelerator::Kvm => 0,
            Accelerator::Tcg { .. } => TCG_CACHE_MIB,
        };
        let memory_mib = machine.memory_mib + machine.limits.memory_overhead_mib + cache_mib;
        Self {
            memory_bytes: memory_mib << 20,
            cpu_percent: u64::from(machine.vcpus) * 100 + u64::from(machine.limits.cpu_overhead_percent),
            tasks: machine.limits.tasks,
        }
    }
}

/// What keeps a QEMU within its bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum Containment {
    /// A transient scope of systemd.
    SystemdScope {
        /// Its unit's name.
        unit: String,
    },
    /// Control groups of our own, one for each controller with cgroup v1, one in all with v2.
    Cgroups {
        /// Their folders.
        groups: Vec<PathBuf>,
    },
    /// Resource limits alone: the address space is bounded, the CPU time is not.
    ResourceLimits,
}

fn unit_name(id: &str) -> String {
    format!("edgestack-vm-{id}")
}

/// Chooses what this host offers and makes it ready for machine `id`. Safe to repeat.
pub(crate) fn prepare(id: &str, bounds: Bounds) -> Containment {
    if has_systemd() {
        return Containment::SystemdScope { unit: unit_name(id) };
    }
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let root = Path::new(CGROUP_ROOT);
    let groups = match make_v2(root, &own, id, bounds) {
        Some(group) => vec![group],
        None => make_v1(root, &own, id, bounds),
    };
    // Memory is what can take the host down, so without its controller the address space is bounded instead.
    let has_memory =
        groups.iter().any(|group| group.join("memory.max").exists() || group.join("memory.limit_in_bytes").exists());
    if has_memory {
        return Containment::Cgroups { groups };
    }
    for group in groups {
        warn_if_stays(&group, remove_group(&group));
    }
    Containment::ResourceLimits
}

/// Whether systemd makes scopes that bound memory: the system's for root; a user's own where it runs and was given the
/// controllers. (Groups of ours in its tree are no way then: it takes controllers away that its own units don't use.)
fn has_systemd() -> bool {
    if !Path::new("/run/systemd/system").is_dir() {
        return false;
    }
    if is_root() {
        return true;
    }
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    user_runtime().join("systemd/private").exists() && user_manager_bounds(Path::new(CGROUP_ROOT), &own)
}

/// Whether the user's manager above our own group has the controllers of memory and CPU.
fn user_manager_bounds(root: &Path, own: &str) -> bool {
    let manager = format!("user@{}.service", rustix::process::geteuid().as_raw());
    let Some(own) = own.lines().find_map(|line| line.strip_prefix("0::/")) else { return false };
    let Some(group) = Path::new(own).ancestors().find(|group| group.ends_with(&manager)) else { return false };
    let given = fs::read_to_string(root.join(group).join("cgroup.controllers")).unwrap_or_default();
    ["memory", "cpu"].iter().all(|controller| given.split_whitespace().any(|word| word == *controller))
}

/// Where the user's manager listens; pam_systemd(8).
fn user_runtime() -> PathBuf {
    let usual = || PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw()));
    std::env::var_os("XDG_RUNTIME_DIR").map_or_else(usual, PathBuf::from)
}

/// A cgroup v2 group beside our own or above, wherever memory and CPU are delegated to children. (Not below our own: a
/// group that has processes can't have groups with controllers; kernel Documentation/admin-guide/cgroup-v2.)
fn make_v2(root: &Path, own: &str, id: &str, bounds: Bounds) -> Option<PathBuf> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    for parent in root.join(own).ancestors().skip(1).take_while(|path| path.starts_with(root)) {
        let Ok(delegated) = fs::read_to_string(parent.join("cgroup.subtree_control")) else {
            continue;
        };
        let has = |controller: &str| delegated.split_whitespace().any(|word| word == controller);
        if !has("memory") || !has("cpu") {
            continue;
        }
        let group = parent.join(unit_name(id));
        let quota_us = bounds.cpu_percent * CPU_PERIOD_US / 100;
        let set = make_group(&group)
            .and_then(|()| fs::write(group.join("memory.max"), bounds.memory_bytes.to_string()))
            .and_then(|()| fs::write(group.join("cpu.max"), format!("{quota_us} {CPU_PERIOD_US}")));
        match set {
            Ok(()) => {
                if has("pids") {
                    warn_if_failed(&group, fs::write(group.join("pids.max"), bounds.tasks.to_string()));
                }
                return Some(group);
            }
            Err(error) => warn_if_failed(&group, Err(error)),
        }
    }
    None
}

/// A group of each cgroup v1 controller, below our own group, or below the root where a container hides our own.
fn make_v1(root: &Path, own: &str, id: &str, bounds: Bounds) -> Vec<PathBuf> {
    let quota_us = bounds.cpu_percent * CPU_PERIOD_US / 100;
    let settings = [
        ("memory", "memory.limit_in_bytes", bounds.memory_bytes.to_string()),
        ("cpu", "cpu.cfs_quota_us", quota_us.to_string()),
        ("pids", "pids.max", bounds.tasks.to_string()),
    ];
    let mut groups = Vec::new();
    for (controller, file, value) in settings {
        let mount = root.join(controller);
        let own = own.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let controllers = fields.next()?;
            let path = fields.next()?.trim_start_matches('/');
            controllers.split(',').any(|one| one == controller).then_some(path)
        });
        let Some(own) = own else { continue };
        let parent = Some(mount.join(own)).filter(|parent| parent.is_dir()).unwrap_or(mount);
        let group = parent.join(unit_name(id));
        match make_group(&group).and_then(|()| fs::write(group.join(file), value)) {
            Ok(()) => groups.push(group),
            Err(error) => {
                warn_if_failed(&group, Err(error));
                warn_if_stays(&group, remove_group(&group));
            }
        }
    }
    groups
}

fn make_group(group: &Path) -> io::Result<()> {
    match fs::create_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn warn_if_failed(group: &Path, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(group = %group.display(), %error, "a control group can't be set up; QEMU runs without it");
    }
}

fn remove_group(group: &Path) -> io::Result<()> {
    match fs::remove_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn warn_if_stays(group: &Path, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::warn!(group = %group.display(), %error, "a control group stays behind");
    }
}

impl Containment {
    /// Removes what [`prepare`] made, once the process has ended. systemd collects its scopes itself. A group that still
    /// has a process is left alone.
    pub(crate) async fn remove(&self) {
        let Self::Cgroups { groups } = self else { return };
        for group in groups {
            let until = Instant::now() + EMPTY_DEADLINE;
            let mut outcome = remove_group(group);
            // The kernel tells a process's end before the process has left its groups.
            while matches!(&outcome, Err(error) if error.kind() == io::ErrorKind::ResourceBusy)
                && Instant::now() < until
            {
                sleep(Duration::from_millis(2)).await;
                outcome = remove_group(group);
            }
            warn_if_stays(group, outcome);
        }
    }

    /// Puts a process that is started by [`Self::wrapper`] into its control groups. Safe to repeat.
    pub(crate) fn enter(&self, pid: i32) -> io::Result<()> {
        match self {
            Self::SystemdScope { .. } | Self::ResourceLimits => Ok(()),
            Self::Cgroups { groups } => {
                groups.iter().try_for_each(|group| fs::write(group.join("cgroup.procs"), pid.to_string()))
            }
        }
    }

    /// What the wrapper needs in its environment: systemd-run finds the user's manager by it.
    pub(crate) fn environment(&self) -> Option<(&'static str, PathBuf)> {
        match self {
            Self::SystemdScope { .. } if !is_root() => Some(("XDG_RUNTIME_DIR", user_runtime())),
            Self::SystemdScope { .. } | Self::Cgroups { .. } | Self::ResourceLimits => None,
        }
    }

    /// The arguments before QEMU's own, the program to start first among them. `name` is the machine's, for people.
    pub(crate) fn wrapper(&self, bounds: Bounds, name: &str, user: Option<&Owner>) -> Vec<OsString> {
        let mut line: Vec<OsString> = Vec::new();
        let mut add = |arguments: &[&str]| line.extend(arguments.iter().map(OsString::from));
        match self {
            Self::SystemdScope { unit } => {
                let memory = format!("MemoryMax={}", bounds.memory_bytes);
                let cpu = format!("CPUQuota={}%", bounds.cpu_percent);
                let tasks = format!("TasksMax={}", bounds.tasks);
                let description = format!("EdgeStack VM {name}");
                add(&["systemd-run", if is_root() { "--system" } else { "--user" }]);
                add(&["--scope", "--quiet", "--collect", "--unit", unit, "--description", &description]);
                add(&["-p", &memory, "-p", &cpu, "-p", &tasks, "-p", STOPPED_AFTER_DAEMON, "--"]);
            }
            Self::Cgroups { .. } | Self::ResourceLimits => (),
        }
        let address_space_kib = match self {
            Self::SystemdScope { .. } | Self::Cgroups { .. } => "unlimited".to_owned(),
            // Threads reserve far more addresses than they use: room for their stacks and heaps.
            Self::ResourceLimits => ((bounds.memory_bytes >> 10) + (8 << 20)).to_string(),
        };
        add(&["/bin/sh", "-c", ENTER_LIMITS, "enter-limits", &address_space_kib]);
        // A session of its own: no terminal's hang-up, no signal to our process group reaches it.
        add(&["setsid"]);
        if let Some(user) = user {
            let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
            add(&["setpriv", "--reuid", &uid, "--regid", &gid]);
            // The user's own groups: kvm is one where KVM works.
            add(&["--init-groups", "--no-new-privs", "--"]);
        }
        line
    }
}

/// Limits the address space (KiB), forbids core files, becomes the rest of the line.
const ENTER_LIMITS: &str = r#"ulimit -c 0 && ulimit -v "$1" && shift && exec "$@""#;

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { memory_bytes: 1 << 30, cpu_percent: 250, tasks: 512 };

    fn text(containment: &Containment, user: Option<&Owner>) -> String {
        let line = containment.wrapper(BOUNDS, "hello", user);
        line.iter().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_systemd_scope_has_the_three_bounds_and_the_machines_name() {
        let line = text(&Containment::SystemdScope { unit: unit_name("x") }, Some(&Owner { uid: 998, gid: 997 }));
        let manager = if is_root() { "--system" } else { "--user" };
        let begin = format!("systemd-run {manager} --scope --quiet --collect --unit edgestack-vm-x ");
        assert!(line.starts_with(&begin), "{line}");
        for part in ["EdgeStack VM hello", "MemoryMax=1073741824", "CPUQuota=250%", "TasksMax=512"] {
            assert!(line.contains(part), "{line}");
        }
        assert!(line.contains("setsid setpriv --reuid 998 --regid 997"), "{line}");
    }

    #[test]
    fn a_users_manager_bounds_where_it_was_given_both_controllers() {
        let root = tempfile::tempdir().expect("a folder");
        let manager = format!("user.slice/user@{}.service", rustix::process::geteuid().as_raw());
        let own = format!("0::/{manager}/app.slice/edgestackd.service\n");
        fs::create_dir_all(root.path().join(&manager)).expect("made");
        let controllers = root.path().join(&manager).join("cgroup.controllers");
        fs::write(&controllers, "memory pids\n").expect("written");
        assert!(!user_manager_bounds(root.path(), &own));
        fs::write(&controllers, "cpu memory pids\n").expect("written");
        assert!(user_manager_bounds(root.path(), &own));
        assert!(!user_manager_bounds(root.path(), "0::/system.slice/edgestackd.service\n"));
    }

    #[test]
    fn without_control_groups_the_address_space_is_bounded() {
        assert!(text(&Containment::ResourceLimits, None).contains("enter-limits 9437184 setsid"));
        assert!(text(&Containment::Cgroups { groups: vec![] }, None).contains("enter-limits unlimited setsid"));
    }

    #[test]
    fn cgroup_v2_is_used_where_both_controllers_are_delegated() {
        let root = tempfile::tempdir().expect("a folder");
        let slice = root.path().join("site.slice");
        fs::create_dir_all(slice.join("daemon")).expect("made");
        fs::write(slice.join("cgroup.subtree_control"), "cpu memory\n").expect("written");
        fs::write(root.path().join("cgroup.subtree_control"), "memory\n").expect("written");
        let group = make_v2(root.path(), "0::/site.slice/daemon\n", "x", BOUNDS).expect("a group");
        assert_eq!(group, slice.join("edgestack-vm-x"));
        assert_eq!(fs::read_to_string(group.join("cpu.max")).expect("set"), "250000 100000");
        fs::write(slice.join("cgroup.subtree_control"), "cpu\n").expect("written");
        assert_eq!(make_v2(root.path(), "0::/site.slice/daemon\n", "y", BOUNDS), None);
    }

    #[test]
    fn cgroup_v1_has_a_group_for_each_controller_there_is() {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir_all(root.path().join("memory/ours")).expect("made");
        fs::create_dir_all(root.path().join("cpu")).expect("made");
        let own = "5:memory:/ours\n4:cpu,cpuacct:/hidden\n0::/\n";
        let groups = make_v1(root.path(), own, "x", BOUNDS);
        let expected = ["memory/ours/edgestack-vm-x", "cpu/edgestack-vm-x"].map(|path| root.path().join(path));
        assert_eq!(groups, expected);
    }
}
