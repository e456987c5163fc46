//! A folder, disks that boot without an operating system, and the QEMUs started there, all gone when dropped.

use std::cell::RefCell;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use edgestack_qemu::{
    Accelerator, Disk, DiskFormat, HostForward, Instance, LaunchError, Limits, Machine, Nic, find, launch,
};
use tokio::time::{Instant, sleep};

pub const QEMU: &str = "/usr/bin/qemu-system-x86_64";
pub const QEMU_IMG: &str = "/usr/bin/qemu-img";
pub const LAUNCH_DEADLINE: Duration = Duration::from_secs(60);

/// What a guest does once its firmware has loaded it.
#[derive(Clone, Copy)]
pub enum Guest {
    /// `sti; hlt; jmp`: idles for ever.
    Idle,
    /// Powers itself off by ACPI: writes SLP_EN and S5 (0x2000) to q35's PM1a control port (0x604).
    PowersOff,
    /// Writes "hello" to the serial port, then idles.
    Speaks,
}

impl Guest {
    fn sector(self) -> Vec<u8> {
        let code: &[u8] = match self {
            Self::Idle => &[0xfb, 0xf4, 0xeb, 0xfd],
            // mov $0x604,%dx; mov $0x2000,%ax; out %ax,%dx; hlt; jmp
            Self::PowersOff => &[0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4, 0xeb, 0xfd],
            // mov $0x3f8,%dx; then mov $c,%al; out %al,%dx for each; sti; hlt; jmp
            Self::Speaks => &[
                0xba, 0xf8, 0x03, 0xb0, b'h', 0xee, 0xb0, b'e', 0xee, 0xb0, b'l', 0xee, 0xb0, b'l', 0xee, 0xb0, b'o',
                0xee, 0xb0, b'\n', 0xee, 0xfb, 0xf4, 0xeb, 0xfd,
            ],
        };
        let mut disk = vec![0; 1 << 20];
        disk[..code.len()].copy_from_slice(code);
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk
    }
}

pub struct Site {
    folder: tempfile::TempDir,
    machines: RefCell<Vec<(String, PathBuf)>>,
}

impl Site {
    /// `None`, after saying so, where there is no QEMU.
    pub fn new(test: &str) -> Option<Self> {
        for program in [QEMU, QEMU_IMG] {
            if !Path::new(program).exists() {
                println!("skipped: {test}: no {program}");
                return None;
            }
        }
        let folder = tempfile::Builder::new().prefix("vm").tempdir().expect("a folder");
        // QEMU's user must reach its disks.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("rights");
        Some(Self { folder, machines: RefCell::default() })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A machine with a disk of its own that `guest` boots from.
    pub fn a_machine(&self, guest: Guest) -> Machine {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("0190d2b4-{:04x}-7000-8000-{:012x}", number & 0xffff, std::process::id());
        let disk = self.path(&format!("disk{number}.raw"));
        fs::write(&disk, guest.sector()).expect("a disk");
        let directory = self.path(&format!("vm{number}"));
        self.machines.borrow_mut().push((id.clone(), directory.clone()));
        let mut machine = an_idle_machine(id, directory, disk);
        machine.name = format!("test, {number}");
        machine
    }

    pub async fn launch(&self, machine: &Machine) -> Result<Instance, LaunchError> {
        launch(machine, LAUNCH_DEADLINE).await
    }
}

/// A machine whose guest is what its disk holds.
pub fn an_idle_machine(id: String, directory: PathBuf, disk: PathBuf) -> Machine {
    Machine {
        id,
        name: "test".into(),
        vcpus: 1,
        memory_mib: 32,
        accelerator: Accelerator::Tcg { why: "tests need no more".into() },
        disks: vec![Disk {
            path: disk,
            format: DiskFormat::Raw,
            backing: None,
            serial: "root".into(),
            read_only: false,
            boot_index: Some(0),
        }],
        seed: None,
        nics: vec![],
        directory,
        run_as: Some("nobody".into()),
        smbios_serial: Some("a,b".into()),
        limits: Limits::default(),
        qemu: QEMU.into(),
    }
}

/// Every process with this machine's id among its arguments, our own launchers apart.
pub fn processes_of(id: &str) -> Vec<i32> {
    let processes = fs::read_dir("/proc").expect("readable").flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let cmdline = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        cmdline.split(|byte| *byte == 0).any(|argument| argument == id.as_bytes())
    })
    .collect()
}

impl Drop for Site {
    fn drop(&mut self) {
        for (id, directory) in self.machines.borrow().iter() {
            while let Ok(Some(instance)) = find(id, directory) {
                kill(&instance);
                // A zombie isn't found, so this ends as soon as the kernel has ended the process.
                std::thread::sleep(Duration::from_millis(5));
            }
            // A test that killed or lost its QEMU leaves its control groups.
            for controller in ["memory", "cpu", "pids", ""] {
                remove_groups(&Path::new("/sys/fs/cgroup").join(controller), &format!("edgestack-vm-{id}"), 4);
            }
        }
    }
}

fn remove_groups(folder: &Path, name: &str, depth: u32) {
    let group = folder.join(name);
    for _ in 0..100 {
        if !group.exists() || fs::remove_dir(&group).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    if depth == 0 {
        return;
    }
    let folders = fs::read_dir(folder).into_iter().flatten().flatten();
    for folder in folders.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_groups(&folder.path(), name, depth - 1);
    }
}

/// `kill -9`, as a person would.
pub fn kill(instance: &Instance) {
    Command::new("kill").args(["-9", &instance.pid().to_string()]).status().expect("kill runs");
}

pub fn user_nat(host_port: u16) -> Nic {
    Nic::UserNat { mac: "52:54:00:12:34:56".into(), forwards: vec![HostForward { host_port, guest_port: 22 }] }
}

/// A port of loopback that was free just now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Waits until `holds`, looking every few milliseconds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < until, "not in time: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}
