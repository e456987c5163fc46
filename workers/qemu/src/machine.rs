//! A virtual machine as QEMU needs it to be described.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::accelerator::Accelerator;
use crate::process::Layout;

/// Longest path of a unix socket: `sun_path` has 108 bytes with its terminating zero; unix(7).
const SOCKET_PATH_MAX: usize = 107;
/// The q35 root bus has 32 slots; some are the chipset's and our fixed devices'.
const DEVICES_MAX: usize = 24;
/// So many NICs with a TAP device a machine has room for: each has a port of its own, so that it can come and go.
pub const NIC_PORTS: usize = 8;

/// Everything about one virtual machine that reaches QEMU's command line or its process.
#[derive(Debug, Clone)]
pub struct Machine {
    /// A UUID in its hyphenated form. The guest sees it as its SMBIOS UUID; [`crate::find`] knows the process by it.
    pub id: String,
    /// The name for people, shown in QEMU's messages.
    pub name: String,
    /// Virtual CPUs, all in one socket.
    pub vcpus: u32,
    /// The guest's memory, MiB.
    pub memory_mib: u64,
    /// What runs the guest's code, as [`crate::probe_accelerator`] found.
    pub accelerator: Accelerator,
    /// Disks in the order in which the guest numbers them.
    pub disks: Vec<Disk>,
    /// A cloud-init seed ([`crate::seed`]), attached read-only after the disks.
    pub seed: Option<PathBuf>,
    /// Network interfaces in the order in which the guest numbers them.
    pub nics: Vec<Nic>,
    /// This machine's own folder, absolute; made by [`crate::launch`]. See [`Layout`] for what lies in it.
    pub directory: PathBuf,
    /// The local user QEMU runs as when the caller is root; `None`, or a caller who isn't root: the caller itself.
    pub run_as: Option<String>,
    /// SMBIOS serial number of the system, read by some guests' provisioning.
    pub smbios_serial: Option<String>,
    /// What QEMU itself may use beyond the guest's memory.
    pub limits: Limits,
    /// The QEMU program, for example `/usr/bin/qemu-system-x86_64`.
    pub qemu: PathBuf,
}

/// Bounds of the QEMU process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Memory that QEMU may use beyond the guest's own, MiB (device models, block caches; the translation cache of
    /// software emulation is added by itself).
    pub memory_overhead_mib: u64,
    /// CPU time that QEMU may use beyond one core for each virtual CPU, percent of one core (for its I/O threads).
    pub cpu_overhead_percent: u32,
    /// Threads QEMU may have. Its pool for disk I/O alone may start 64.
    pub tasks: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_overhead_mib: 384, cpu_overhead_percent: 50, tasks: 512 }
    }
}

/// The formats we give to guests. Never guessed by QEMU: a raw disk's guest could write a header of another format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// The bytes as they are.
    Raw,
    /// QEMU's copy-on-write format, versions 2 and 3.
    Qcow2,
}

impl DiskFormat {
    /// QEMU's name of the format's driver.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// A virtio-blk disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The image, absolute.
    pub path: PathBuf,
    /// Its format.
    pub format: DiskFormat,
    /// What the image is an overlay of. `None` means nothing: a file name in the image's own header is not opened.
    pub backing: Option<Backing>,
    /// The serial number the guest sees (`/dev/disk/by-id/virtio-SERIAL`); 20 bytes at most.
    pub serial: String,
    /// Whether the guest may only read.
    pub read_only: bool,
    /// Place in the firmware's boot order, lowest first; `None` is never booted from.
    pub boot_index: Option<u32>,
}

/// The image below an overlay, only read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backing {
    /// The image, absolute.
    pub path: PathBuf,
    /// Its format.
    pub format: DiskFormat,
}

/// A virtio-net interface by how it reaches the world.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Nic {
    /// QEMU's own NAT in user mode: the guest gets 10.0.2.15 by DHCP and reaches what this host reaches, **including
    /// services on the host's loopback, through 10.0.2.2**.
    UserNat {
        /// The guest's MAC address, `52:54:00:…`.
        mac: String,
        /// Ports of 127.0.0.1 that lead into the guest.
        forwards: Vec<HostForward>,
    },
    /// A TAP device that is there already, and that QEMU's user may open.
    Tap {
        /// Which of the machine's, by which it is found again; no two have the same.
        number: u32,
        /// The guest's MAC address.
        mac: String,
        /// The device's name, at most 15 bytes.
        device: String,
        /// The largest packet, bytes; what the guest is told of it.
        mtu: u16,
        /// Whether the host's kernel moves the packets on. Without, nobody would complete checksums and cut large packets
        /// into small ones that a guest has left to its NIC, so it is offered neither.
        offload: bool,
    },
}

/// A TCP port on the host's 127.0.0.1 that leads to a port of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostForward {
    /// Port on the host.
    pub host_port: u16,
    /// Port in the guest, 22 for SSH.
    pub guest_port: u16,
}

/// Why a machine can't be put into a QEMU command line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMachine {
    /// The id isn't a hyphenated UUID.
    #[error("id {0:?} is not a UUID; write it like 0190d2b4-0000-7000-8000-000000000001")]
    Id(String),
    /// A value is out of its range.
    #[error("{field} is {value}; it must be {must}")]
    Range {
        /// The field's name.
        field: &'static str,
        /// The value given.
        value: String,
        /// What is accepted.
        must: &'static str,
    },
    /// A path is relative or isn't UTF-8, which QEMU's JSON options can't carry.
    #[error("path {} must be absolute and UTF-8", .0.display())]
    Path(PathBuf),
    /// A socket in the machine's folder would have a path longer than unix sockets allow.
    #[error(
        "socket path {} has {length} bytes, unix sockets allow {SOCKET_PATH_MAX}; choose a shorter folder", path.display()
    )]
    SocketPath {
        /// The path.
        path: PathBuf,
        /// Its length, bytes.
        length: usize,
    },
}

impl Machine {
    /// Checks what QEMU would misread or refuse in worse words.
    pub fn check(&self) -> Result<(), InvalidMachine> {
        if !is_uuid(&self.id) {
            return Err(InvalidMachine::Id(self.id.clone()));
        }
        let printable = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
        range("name", printable(&self.name), &self.name, "printable and not empty")?;
        range("vcpus", (1..=288).contains(&self.vcpus), &self.vcpus.to_string(), "1 to 288")?;
        range("memory_mib", self.memory_mib >= 1, &self.memory_mib.to_string(), "1 or more")?;
        if let Some(serial) = &self.smbios_serial {
            range("smbios_serial", printable(serial), serial, "printable and not empty")?;
        }
        let devices = self.disks.len() + self.nics.len();
        range("disks and nics", devices <= DEVICES_MAX, &devices.to_string(), "24 or fewer")?;
        let taps = self.nics.iter().filter(|nic| matches!(nic, Nic::Tap { .. })).count();
        range("nics with a TAP device", taps <= NIC_PORTS, &taps.to_string(), "8 or fewer")?;
        for disk in &self.disks {
            usable_path(&disk.path)?;
            if let Some(backing) = &disk.backing {
                usable_path(&backing.path)?;
                let overlay = disk.format == DiskFormat::Qcow2;
                range("format of an overlay", overlay, disk.format.as_str(), "qcow2")?;
            }
            let serial = printable(&disk.serial) && disk.serial.len() <= 20;
            range("disk serial", serial, &disk.serial, "1 to 20 printable bytes")?;
        }
        for nic in &self.nics {
            let (Nic::UserNat { mac, .. } | Nic::Tap { mac, .. }) = nic;
            range("mac", is_unicast_mac(mac), mac, "a unicast address like 52:54:00:12:34:56")?;
            match nic {
                Nic::UserNat { forwards, .. } => {
                    for forward in forwards {
                        let set = forward.host_port != 0 && forward.guest_port != 0;
                        range("forwarded port", set, "0", "1 to 65535")?;
                    }
                }
                Nic::Tap { device, .. } => {
                    let fits = (1..=15).contains(&device.len()) && device.bytes().all(|byte| byte.is_ascii_graphic());
                    range("tap device", fits && !device.contains('/'), device, "1 to 15 printable bytes without /")?;
                }
            }
        }
        for path in self.seed.iter().chain([&self.directory, &self.qemu]) {
            usable_path(path)?;
        }
        for path in Layout::new(&self.directory).sockets() {
            let length = path.as_os_str().len();
            if length > SOCKET_PATH_MAX {
                return Err(InvalidMachine::SocketPath { path, length });
            }
        }
        Ok(())
    }
}

fn range(field: &'static str, holds: bool, value: &str, must: &'static str) -> Result<(), InvalidMachine> {
    let value = value.to_owned();
    if holds { Ok(()) } else { Err(InvalidMachine::Range { field, value, must }) }
}

fn usable_path(path: &Path) -> Result<(), InvalidMachine> {
    match path.to_str() {
        Some(text) if path.is_absolute() && !text.contains('\0') => Ok(()),
        _ => Err(InvalidMachine::Path(path.to_owned())),
    }
}

pub(crate) fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_unicast_mac(text: &str) -> bool {
    let bytes: Vec<_> = text.split(':').collect();
    let parsed: Vec<_> = bytes
        .iter()
        .filter(|byte| byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .filter_map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    bytes.len() == 6 && parsed.len() == 6 && parsed[0] & 1 == 0
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small valid machine for tests to change.
    pub(crate) fn a_machine() -> Machine {
        Machine {
            id: "0190d2b4-0000-7000-8000-000000000001".into(),
            name: "db".into(),
            vcpus: 2,
            memory_mib: 512,
            accelerator: Accelerator::Kvm,
            disks: vec![Disk {
                path: "/var/vm/root.qcow2".into(),
                format: DiskFormat::Qcow2,
                backing: None,
                serial: "root".into(),
                read_only: false,
                boot_index: Some(1),
            }],
            seed: Some("/var/vm/seed.img".into()),
            nics: vec![Nic::UserNat {
                mac: "52:54:00:12:34:56".into(),
                forwards: vec![HostForward { host_port: 2222, guest_port: 22 }],
            }],
            directory: "/var/vm".into(),
            run_as: None,
            smbios_serial: None,
            limits: Limits::default(),
            qemu: "/usr/bin/qemu-system-x86_64".into(),
        }
    }

    fn check(change: impl FnOnce(&mut Machine), expect: &str) {
        let mut machine = a_machine();
        change(&mut machine);
        let said = machine.check().expect_err("must be refused").to_string();
        assert!(said.contains(expect), "{said:?} should contain {expect:?}");
    }

    #[test]
    fn a_valid_machine_passes() {
        a_machine().check().expect("valid");
    }

    #[test]
    fn each_wrong_field_is_named() {
        check(|m| m.id = "db-1".into(), "not a UUID");
        check(|m| m.name = "a\nb".into(), "name");
        check(|m| m.vcpus = 0, "vcpus");
        check(|m| m.memory_mib = 0, "memory_mib");
        check(|m| m.disks[0].path = "root.qcow2".into(), "absolute");
        check(|m| m.disks[0].serial = "x".repeat(21), "20 printable bytes");
        check(|m| m.directory = format!("/{}", "x".repeat(100)).into(), "shorter folder");
        check(
            |m| {
                m.disks[0].format = DiskFormat::Raw;
                m.disks[0].backing = Some(Backing { path: "/base".into(), format: DiskFormat::Raw });
            },
            "overlay",
        );
        for device in ["", "sixteen-bytes-it", "a/b", "a b"] {
            let mac = "52:54:00:12:34:56".into();
            let nic = Nic::Tap { number: 0, mac, device: device.into(), mtu: 1442, offload: true };
            check(|m| m.nics = vec![nic], "tap device");
        }
        for mac in ["53:54:00:12:34:56", "52:54:00:12:34", "52:54:00:12:34:+1", "x"] {
            let nic = Nic::UserNat { mac: mac.into(), forwards: vec![] };
            check(|m| m.nics = vec![nic], "unicast");
        }
    }
}
