//! Finding a machine's QEMU again: by the record its launcher wrote, or by looking at every process.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::bounds::Containment;
use super::identity::{Identity, boot_id};
use super::{Instance, Layout};
use crate::accelerator::Accelerator;
use crate::command_line::{arguments, supports_direct_io};
use crate::machine::Machine;

/// What a launcher writes down of a QEMU, in `instance.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The machine's id.
    pub id: String,
    /// Process id and start time.
    #[serde(flatten)]
    pub(crate) identity: Identity,
    /// The boot in which that process ran.
    pub boot_id: String,
    /// QEMU's version.
    pub qemu_version: String,
    /// What runs the guest's code.
    pub accelerator: Accelerator,
    /// SHA-256 of QEMU's command line as `/proc/PID/cmdline` has it, for [`super::arguments_hash`] to compare with.
    pub arguments_sha256: String,
    /// What bounds it.
    pub containment: Containment,
}

/// SHA-256 of the command line by which `machine` would be launched now. A running one with another
/// [`Record::arguments_sha256`] has to be ended and launched anew to become what is described.
pub fn arguments_hash(machine: &Machine) -> String {
    let mut hash = Sha256::new();
    for argument in [machine.qemu.clone().into_os_string()].iter().chain(&arguments(machine, &supports_direct_io)) {
        hash.update(argument.as_bytes());
        hash.update([0]);
    }
    hex::encode(hash.finalize())
}

/// The hash of a running process's command line.
pub(crate) fn running_arguments_hash(pid: i32) -> io::Result<String> {
    let cmdline = fs::read(format!("/proc/{pid}/cmdline"))?;
    Ok(hex::encode(Sha256::digest(cmdline)))
}

/// Why it isn't known whether a QEMU runs. Then none may be started.
#[derive(Debug, thiserror::Error)]
#[error("can't look for the QEMU of {id}: {} is not readable", path.display())]
pub struct FindError {
    /// The machine's id.
    id: String,
    /// What couldn't be read.
    path: PathBuf,
    /// Why.
    #[source]
    source: io::Error,
}

/// The running QEMU of machine `id`, whose folder is `directory`; `None` if there is none.
///
/// A record counts if its process still runs: same id, same start time, same boot. A missing, damaged or outdated record
/// is no proof of absence (its launcher may have been killed before it wrote one), so then every process is looked at.
pub fn find(id: &str, directory: &Path) -> Result<Option<Instance>, FindError> {
    let layout = Layout::new(directory);
    let unreadable = |path: &str| {
        let path = PathBuf::from(path);
        move |source| FindError { id: id.to_owned(), path, source }
    };
    let record = read_record(&layout).filter(|record| record.id == id);
    let boot_id = boot_id().map_err(unreadable("/proc/sys/kernel/random/boot_id"))?;
    let current = |record: &Record| record.boot_id == boot_id && record.identity.is_running();
    if let Some(record) = record.filter(current) {
        let identity = record.identity;
        return Ok(Some(Instance { id: id.to_owned(), layout, record: Some(record), identity }));
    }
    let identity = scan(id, &layout).map_err(unreadable("/proc"))?;
    Ok(identity.map(|identity| Instance { id: id.to_owned(), layout, record: None, identity }))
}

pub(crate) fn read_record(layout: &Layout) -> Option<Record> {
    let path = layout.record();
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "a record is not readable; looking at all processes");
            }
            return None;
        }
    };
    serde_json::from_slice(&bytes)
        .inspect_err(|error| {
            tracing::warn!(path = %path.display(), %error, "a record is damaged; looking at all processes");
        })
        .ok()
}

/// Looks at every process for one that is, or is about to become, the machine's QEMU.
fn scan(id: &str, layout: &Layout) -> io::Result<Option<Identity>> {
    // Anyone may start a process with these arguments; only ours run as us or as the owner of the machine's folder.
    let own = rustix::process::geteuid().as_raw();
    let owner = fs::metadata(layout.run()).map_or(own, |folder| folder.uid());
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let process = entry.path();
        // The cheapest and most telling first: this is done for every process of the host. One that ends meanwhile is
        // one that doesn't run.
        if !names_machine(&command_line(&process), id) {
            continue;
        }
        let (Some(identity), Ok(user)) = (Identity::of(pid), fs::metadata(&process)) else {
            continue;
        };
        if (user.uid() == own || user.uid() == owner)
            && fs::read_link(process.join("exe")).is_ok_and(|exe| is_qemu_or_becomes_it(&exe))
            && identity.is_running()
        {
            return Ok(Some(identity));
        }
    }
    Ok(None)
}

/// A process's arguments; empty for one without.
///
/// In the middle of an exec a process has its new program but no arguments yet, for some µs. One that may be about to
/// become a QEMU is looked at again until it has some.
pub(crate) fn command_line(process: &Path) -> Vec<u8> {
    for _ in 0..100 {
        let cmdline = fs::read(process.join("cmdline")).unwrap_or_default();
        let between =
            cmdline.is_empty() && fs::read_link(process.join("exe")).is_ok_and(|exe| is_qemu_or_becomes_it(&exe));
        if !between {
            return cmdline;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Vec::new()
}

fn names_machine(cmdline: &[u8], id: &str) -> bool {
    let mut arguments = cmdline.split(|byte| *byte == 0);
    arguments.any(|argument| argument == b"-uuid") && arguments.next() == Some(id.as_bytes())
}

/// QEMU itself, also when its file was replaced by an upgrade, or one of the programs that become it; see
/// [`super::bounds`].
pub(crate) fn is_qemu_or_becomes_it(exe: &Path) -> bool {
    let name = exe.file_name().unwrap_or_default().to_string_lossy();
    let name = name.strip_suffix(" (deleted)").unwrap_or(&name);
    name.starts_with("qemu-system-")
        || ["sh", "dash", "bash", "busybox", "setsid", "setpriv", "systemd-run"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0190d2b4-0000-7000-8000-000000000001";

    #[test]
    fn a_machine_is_known_by_its_uuid_argument_alone() {
        let cmdline = |text: &str| text.replace(' ', "\0").into_bytes();
        assert!(names_machine(&cmdline(&format!("qemu -uuid {ID} -S ")), ID));
        assert!(!names_machine(&cmdline(&format!("qemu -name {ID} ")), ID));
        assert!(!names_machine(&cmdline(&format!("qemu -uuid {ID}0 ")), ID));
    }

    #[test]
    fn an_upgraded_qemu_and_a_starting_one_are_known_an_editor_is_not() {
        assert!(is_qemu_or_becomes_it(Path::new("/usr/bin/qemu-system-x86_64 (deleted)")));
        assert!(is_qemu_or_becomes_it(Path::new("/usr/bin/setpriv")));
        assert!(!is_qemu_or_becomes_it(Path::new("/usr/bin/vim")));
    }

    #[test]
    fn a_record_of_an_ended_process_or_another_boot_finds_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let own = i32::try_from(std::process::id()).expect("a pid");
        let identity = Identity::of(own).expect("we run");
        let check = |identity: Identity, boot_id: &str, found: bool| {
            let record = Record {
                id: ID.into(),
                identity,
                boot_id: boot_id.into(),
                qemu_version: "10.0.2".into(),
                accelerator: Accelerator::Kvm,
                arguments_sha256: String::new(),
                containment: Containment::ResourceLimits,
            };
            let bytes = serde_json::to_vec(&record).expect("JSON");
            fs::write(Layout::new(folder.path()).record(), bytes).expect("written");
            assert_eq!(find(ID, folder.path()).expect("looked").is_some(), found, "{record:?}");
        };
        let boot_id = boot_id().expect("readable");
        check(identity, &boot_id, true);
        check(identity, "another", false);
        check(Identity { start_time_ticks: 1, ..identity }, &boot_id, false);
        fs::write(Layout::new(folder.path()).record(), "{").expect("written");
        assert_eq!(find(ID, folder.path()).expect("looked"), None);
    }
}
