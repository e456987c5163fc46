//! What runs, as the kernel tells it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its program's file name.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// Every process with a path below `folder` in an argument; those that have ended and wait for their parent apart.
pub fn touching(folder: &Path) -> Vec<Process> {
    let below = format!("{}/", folder.display());
    let entries = fs::read_dir("/proc").expect("readable").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| *pid != std::process::id())
        .filter_map(look)
        .filter(|process| process.arguments.iter().any(|argument| argument.contains(&below)))
        .collect()
}

fn look(pid: u32) -> Option<Process> {
    let cmdline = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let arguments: Vec<String> =
        cmdline.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let program = Path::new(arguments.first()?).file_name()?.to_str()?.to_owned();
    is_running(pid).then_some(Process { pid, program, arguments })
}

/// QEMUs that run VMs of the site in `folder`. A tool that looks at a disk is none.
pub fn qemus(folder: &Path) -> Vec<Process> {
    touching(folder).into_iter().filter(|process| process.program.starts_with("qemu-system-")).collect()
}

/// The site's nats-servers.
pub fn nats_servers(folder: &Path) -> Vec<Process> {
    touching(folder).into_iter().filter(|process| process.program == "nats-server").collect()
}

/// The disks of volumes that a QEMU has, from its command line.
pub fn volumes_of(qemu: &Process) -> Vec<PathBuf> {
    let paths = qemu.arguments.iter().flat_map(|argument| argument.split('"'));
    let mut volumes: Vec<PathBuf> =
        paths.filter(|word| word.contains("/volumes/") && word.ends_with(".qcow2")).map(PathBuf::from).collect();
    volumes.dedup();
    volumes
}

/// Whether this process runs; one that has ended and was not collected yet does not.
pub fn is_running(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The state follows the name in parentheses, which may hold anything; proc_pid_stat(5).
    let state = stat.rfind(')').and_then(|end| stat.get(end + 1..)).and_then(|rest| rest.trim_start().chars().next());
    !matches!(state, None | Some('Z' | 'X'))
}

/// SIGKILL, and waits until it has ended.
///
/// # Panics
/// When it goes on, which a process in the kernel's hands may.
pub fn kill(pid: u32) {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    // It may have ended by itself.
    let _ = kill_process(id, Signal::KILL);
    let begun = Instant::now();
    while is_running(pid) {
        assert!(begun.elapsed() < Duration::from_secs(10), "process {pid} does not end");
        std::thread::sleep(Duration::from_millis(2));
    }
}
