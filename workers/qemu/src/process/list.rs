//! Which QEMUs run on this host for machines whose folders are in one place, known or not.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::Layout;
use super::find::{command_line, is_qemu_or_becomes_it};
use super::identity::Identity;
use super::owner::look_up;

/// A QEMU that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Its machine's id.
    pub id: String,
    /// Its process id.
    pub pid: i32,
}

/// Every QEMU that was launched for a machine whose folder is `directories`/ID, by us or as `run_as`; also one whose
/// folder was removed, or has no record. By its command line: it names the id, and the pid file in that very folder, so
/// the QEMUs of another site on this host are not among them.
///
/// # Errors
/// When `/proc` or `/etc/passwd` is not readable.
pub fn list(directories: &Path, run_as: Option<&str>) -> io::Result<Vec<Running>> {
    let own = rustix::process::geteuid().as_raw();
    let other = run_as.map(look_up).transpose()?.flatten().map(|user| user.uid);
    let mut running = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let process = entry.path();
        // As in `find`: the cheapest and most telling first, and who ends meanwhile doesn't run.
        let Some(id) = machine_below(&command_line(&process), directories) else {
            continue;
        };
        let (Some(identity), Ok(user)) = (Identity::of(pid), fs::metadata(&process)) else {
            continue;
        };
        // Anyone may start a process with these arguments.
        if (user.uid() == own || Some(user.uid()) == other)
            && fs::read_link(process.join("exe")).is_ok_and(|exe| is_qemu_or_becomes_it(&exe))
            && identity.is_running()
        {
            running.push(Running { id, pid });
        }
    }
    Ok(running)
}

/// The machine that a command line is of, if its folder is in `directories`.
fn machine_below(cmdline: &[u8], directories: &Path) -> Option<String> {
    let after = |option: &[u8]| {
        let mut arguments = cmdline.split(|byte| *byte == 0);
        arguments.find(|argument| *argument == option).and_then(|_| arguments.next())
    };
    let id = std::str::from_utf8(after(b"-uuid")?).ok()?;
    let pid_file = std::str::from_utf8(after(b"-pidfile")?).ok()?;
    // An id with a slash in it would lead elsewhere.
    let below = !id.contains('/') && Layout::new(&directories.join(id)).pid_file() == Path::new(pid_file);
    below.then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0190d2b4-0000-7000-8000-000000000001";

    #[test]
    fn a_machine_is_of_a_place_by_its_pid_file() {
        let check = |line: &str, expect: Option<&str>| {
            let cmdline = line.replace(' ', "\0").into_bytes();
            assert_eq!(machine_below(&cmdline, Path::new("/site/vms")).as_deref(), expect, "{line}");
        };
        check(&format!("qemu -uuid {ID} -pidfile /site/vms/{ID}/run/qemu.pid -S "), Some(ID));
        check(&format!("qemu -pidfile /site/vms/{ID}/run/qemu.pid -uuid {ID} "), Some(ID));
        check(&format!("qemu -uuid {ID} -pidfile /other/vms/{ID}/run/qemu.pid "), None);
        check(&format!("qemu -uuid {ID} -pidfile /site/vms/else/run/qemu.pid "), None);
        check("qemu -uuid ../x -pidfile /site/vms/../x/run/qemu.pid ", None);
        check(&format!("qemu -uuid {ID} "), None);
        check("qemu -uuid", None);
        check("", None);
    }

    #[test]
    fn an_ordinary_process_is_no_qemu() {
        let folder = tempfile::tempdir().expect("a folder");
        let pid_file = Layout::new(&folder.path().join(ID)).pid_file();
        let arguments = ["60".as_ref(), "-uuid".as_ref(), ID.as_ref(), "-pidfile".as_ref(), pid_file.as_os_str()];
        // `tail` takes what it doesn't know for files, and waits.
        let mut child = std::process::Command::new("tail")
            .args(["-f", "/dev/null", "--"])
            .args(arguments)
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("tail starts");
        let listed = list(folder.path(), None);
        child.kill().expect("killed");
        child.wait().expect("reaped");
        assert_eq!(listed.expect("looked"), []);
    }
}
