//! A [`Machine`] as QEMU's arguments. Pure: what depends on the host comes in as a function.
//!
//! Disks, devices and networks are given as JSON, in which no file name can end an option; where QEMU takes a list with
//! commas, a comma in a value is doubled. QEMU docs/system/invocation, qapi/block-core.json, qapi/net.json.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::accelerator::Accelerator;
use crate::machine::{Backing, Disk, DiskFormat, Machine, NIC_PORTS, Nic};
use crate::process::Layout;

/// The cache of translated code under TCG, MiB. QEMU's default is up to 1 GiB, which a bound of memory must then allow.
pub(crate) const TCG_CACHE_MIB: u64 = 256;
/// The name under which the process shows itself in `ps`; the kernel keeps 15 bytes of it.
pub(crate) const PROCESS_NAME: &str = "edgestack-vm";

/// QEMU's arguments for `machine`, without the program itself.
///
/// The machine starts paused (`-S`). When the guest powers itself off, QEMU stays in the run state `shutdown`, so that
/// whoever comes later can tell that from a crash. `direct_io` says whether the file system of a disk can bypass the
/// page cache ([`supports_direct_io`]).
pub fn arguments(machine: &Machine, direct_io: &dyn Fn(&Path) -> bool) -> Vec<OsString> {
    let layout = Layout::new(&machine.directory);
    let mut line = Line::default();

    let name = escape(&machine.name);
    line.option("-name", format!("guest={name},process={PROCESS_NAME},debug-threads=on"));
    line.option("-uuid", &machine.id);
    line.flag("-no-user-config");
    line.flag("-nodefaults");
    line.option("-display", "none");
    // A core file would hold the guest's memory.
    line.option("-machine", "q35,vmport=off,dump-guest-core=off");
    match &machine.accelerator {
        Accelerator::Kvm => {
            line.option("-accel", "kvm");
            line.option("-cpu", "host");
        }
        Accelerator::Tcg { .. } => {
            line.option("-accel", format!("tcg,tb-size={TCG_CACHE_MIB}"));
            line.option("-cpu", "max");
        }
    }
    let vcpus = machine.vcpus;
    line.option("-smp", format!("cpus={vcpus},sockets=1,cores={vcpus},threads=1"));
    line.option("-m", format!("size={}M", machine.memory_mib));
    let serial = machine.smbios_serial.as_deref().map_or(String::new(), |serial| format!(",serial={}", escape(serial)));
    line.option(
        "-smbios",
        format!("type=1,manufacturer=EdgeStack,product=Virtual Machine,uuid={}{serial}", machine.id),
    );
    line.option("-rtc", "base=utc");
    line.option("-boot", "strict=on");
    // No suspend: a sleeping guest would look hung.
    line.option("-global", "ICH9-LPC.disable_s3=1");
    line.option("-global", "ICH9-LPC.disable_s4=1");
    line.option("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    line.option("-action", "reboot=reset,shutdown=pause,panic=pause");
    line.flag("-S");
    // QEMU takes a lock on this file before it opens sockets and disks, and holds it until it ends.
    line.option("-pidfile", text(&layout.pid_file()));

    for (id, path) in [("control", layout.control_socket()), ("watch", layout.watch_socket())] {
        line.option("-chardev", format!("socket,id={id},path={},server=on,wait=off", escape(&text(&path))));
        line.option("-mon", format!("chardev={id},mode=control"));
    }
    line.option(
        "-chardev",
        format!(
            "socket,id=console,path={},server=on,wait=off,logfile={},logappend=on",
            escape(&text(&layout.console_socket())),
            escape(&text(&layout.console_log())),
        ),
    );
    line.option("-serial", "chardev:console");
    line.device(json!({"driver": "virtio-serial-pci", "id": "virtio-serial"}));
    let agent = escape(&text(&layout.agent_socket()));
    line.option("-chardev", format!("socket,id=agent,path={agent},server=on,wait=off"));
    line.device(json!({
        "driver": "virtserialport", "id": AGENT_PORT, "bus": "virtio-serial.0", "chardev": "agent",
        "name": "org.qemu.guest_agent.0",
    }));
    line.json("-object", json!({"qom-type": "rng-random", "id": "random", "filename": "/dev/urandom"}));
    line.device(json!({"driver": "virtio-rng-pci", "id": "rng", "rng": "random"}));
    line.device(json!({"driver": "pvpanic-pci", "id": "pvpanic"}));

    for (at, disk) in machine.disks.iter().enumerate() {
        line.disk(&format!("disk{at}"), disk, direct_io);
    }
    if let Some(seed) = &machine.seed {
        let seed = Disk {
            path: seed.clone(),
            format: DiskFormat::Raw,
            backing: None,
            serial: "seed".into(),
            read_only: true,
            boot_index: None,
        };
        line.disk("seed", &seed, direct_io);
    }
    line.nic_ports();
    for (at, nic) in machine.nics.iter().enumerate() {
        line.nic(at, nic);
    }
    line.arguments
}

/// What a virtio NIC leaves to whoever moves its packets on. QEMU hw/net/virtio-net.c, `virtio_net_properties`.
const NOT_OFFLOADED: &[&str] = &[
    "csum",
    "gso",
    "guest_csum",
    "guest_tso4",
    "guest_tso6",
    "guest_ecn",
    "guest_ufo",
    "host_tso4",
    "host_tso6",
    "host_ecn",
    "host_ufo",
];

/// The id of the guest agent's port, by which its events are known.
pub(crate) const AGENT_PORT: &str = "agent-port";

/// Whether the file system that holds `path` can bypass the page cache (`O_DIRECT`); tmpfs and some overlays can't.
pub fn supports_direct_io(path: &Path) -> bool {
    let direct = i32::try_from(rustix::fs::OFlags::DIRECT.bits()).unwrap_or(0);
    OpenOptions::new().read(true).custom_flags(direct).open(path).is_ok()
}

#[derive(Default)]
struct Line {
    arguments: Vec<OsString>,
}

impl Line {
    fn flag(&mut self, name: &str) {
        self.arguments.push(name.into());
    }

    fn option(&mut self, name: &str, value: impl Into<String>) {
        self.flag(name);
        self.arguments.push(value.into().into());
    }

    fn json(&mut self, name: &str, value: Value) {
        self.option(name, value.to_string());
    }

    fn device(&mut self, value: Value) {
        self.json("-device", value);
    }

    fn disk(&mut self, id: &str, disk: &Disk, direct_io: &dyn Fn(&Path) -> bool) {
        self.json("-blockdev", block_node(id, disk, direct_io));
        let mut device = json!({
            "driver": "virtio-blk-pci", "id": format!("virtio-{id}"), "drive": id, "serial": disk.serial,
        });
        if let Some(boot_index) = disk.boot_index {
            device["bootindex"] = boot_index.into();
        }
        self.device(device);
    }

    /// The ports of NICs that come and go: all of them functions of one slot of the root bus, behind which alone
    /// something can be plugged in. QEMU docs/pcie.txt, "Hot-plug".
    fn nic_ports(&mut self) {
        for number in 0..NIC_PORTS {
            // What a NIC of ours needs none of is not set aside, as there is little of it. QEMU docs/pcie_pci_bridge.txt.
            self.device(json!({
                "driver": "pcie-root-port", "id": nic_port(number), "bus": "pcie.0",
                "addr": format!("0x{NIC_SLOT:x}.{number}"), "multifunction": true, "chassis": number + 1, "io-reserve": 0,
            }));
        }
    }

    fn nic(&mut self, at: usize, nic: &Nic) {
        let port = matches!(nic, Nic::Tap { .. }).then(|| nic_port(at));
        let NicParts { netdev, device } = nic_parts(nic, port.as_deref());
        self.json("-netdev", netdev);
        self.device(device);
    }
}

/// The slot of the root bus that the ports of NICs are in, behind those that devices get by themselves.
const NIC_SLOT: usize = 0x1e;

/// A port for a NIC by its number; the bus behind it is called the same.
pub(crate) fn nic_port(number: usize) -> String {
    format!("port{number}")
}

/// The name of a NIC's device, by its number.
pub(crate) fn nic_device(number: u32) -> String {
    format!("nic{number}")
}

/// The name of a NIC's way to the world, by its number.
pub(crate) fn nic_netdev(number: u32) -> String {
    format!("net{number}")
}

/// A NIC as QEMU takes it, on its command line and by its monitor.
pub(crate) struct NicParts {
    pub netdev: Value,
    pub device: Value,
}

pub(crate) fn nic_parts(nic: &Nic, bus: Option<&str>) -> NicParts {
    let (id, netdev_id, mac) = match nic {
        // Not a number's: it comes and goes with the process alone.
        Nic::UserNat { mac, .. } => ("user-nic".to_owned(), "user-net".to_owned(), mac),
        Nic::Tap { number, mac, .. } => (nic_device(*number), nic_netdev(*number), mac),
    };
    // No option ROM: we don't boot from the network, and the ROMs are a package of their own.
    let mut device = json!({"driver": "virtio-net-pci", "id": id, "netdev": netdev_id, "mac": mac, "romfile": ""});
    if let Some(bus) = bus {
        device["bus"] = bus.into();
    }
    let netdev = match nic {
        Nic::UserNat { forwards, .. } => {
            let forwards: Vec<_> = forwards
                .iter()
                .map(|forward| json!({"str": format!("tcp:127.0.0.1:{}-:{}", forward.host_port, forward.guest_port)}))
                .collect();
            json!({"type": "user", "id": netdev_id, "hostfwd": forwards})
        }
        Nic::Tap { device: tap, mtu, offload, .. } => {
            device["host_mtu"] = (*mtu).into();
            if !offload {
                for feature in NOT_OFFLOADED {
                    device[*feature] = false.into();
                }
            }
            json!({
                "type": "tap", "id": netdev_id, "ifname": tap, "script": "no", "downscript": "no", "vnet_hdr": offload,
            })
        }
    };
    NicParts { netdev, device }
}

/// A block node for `disk`. Every layer is named here, `backing` too, so QEMU opens no file that an image's header names.
fn block_node(id: &str, disk: &Disk, direct_io: &dyn Fn(&Path) -> bool) -> Value {
    let layer = |name: &str, path: &Path, format: DiskFormat, read_only: bool| {
        let cache = json!({"direct": direct_io(path), "no-flush": false});
        json!({
            "driver": format.as_str(),
            "node-name": name,
            "read-only": read_only,
            "discard": if read_only { "ignore" } else { "unmap" },
            "cache": cache,
            "file": {
                "driver": "file",
                "node-name": format!("{name}-file"),
                "filename": text(path),
                "read-only": read_only,
                "discard": if read_only { "ignore" } else { "unmap" },
                "cache": cache,
                "aio": "threads",
                "locking": "on",
            },
        })
    };
    let mut node = layer(id, &disk.path, disk.format, disk.read_only);
    if disk.format == DiskFormat::Qcow2 {
        node["backing"] = match &disk.backing {
            None => Value::Null,
            Some(Backing { path, format }) => {
                let mut backing = layer(&format!("{id}-base"), path, *format, true);
                if *format == DiskFormat::Qcow2 {
                    backing["backing"] = Value::Null;
                }
                backing
            }
        };
    }
    node
}

/// Doubles commas, by which QEMU's option lists are split.
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

/// A path as text; [`Machine::check`] has refused those that aren't UTF-8.
fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::tests::a_machine;

    fn line(change: impl FnOnce(&mut Machine)) -> Vec<String> {
        let mut machine = a_machine();
        change(&mut machine);
        machine.check().expect("valid");
        arguments(&machine, &|_| true).into_iter().map(|argument| argument.into_string().expect("UTF-8")).collect()
    }

    fn values(line: &[String], option: &str) -> Vec<String> {
        line.windows(2).filter(|pair| pair[0] == option).map(|pair| pair[1].clone()).collect()
    }

    fn json_values(line: &[String], option: &str) -> Vec<Value> {
        values(line, option).iter().map(|value| serde_json::from_str(value).expect("JSON")).collect()
    }

    #[test]
    fn the_sandbox_the_actions_and_the_pause_at_start_are_always_there() {
        let line = line(|_| ());
        assert_eq!(
            values(&line, "-sandbox"),
            ["on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
        );
        assert_eq!(values(&line, "-action"), ["reboot=reset,shutdown=pause,panic=pause"]);
        for flag in ["-S", "-nodefaults", "-no-user-config"] {
            assert!(line.iter().any(|argument| argument == flag), "{flag}");
        }
    }

    #[test]
    fn commas_in_names_and_paths_are_doubled_in_lists_and_kept_in_json() {
        let line = line(|m| {
            m.name = "a,process=b".into();
            m.directory = "/var/v,m".into();
            m.disks[0].path = "/var/v,m/\"root\".qcow2".into();
        });
        assert_eq!(values(&line, "-name"), ["guest=a,,process=b,process=edgestack-vm,debug-threads=on"]);
        assert!(values(&line, "-chardev").iter().all(|value| value.contains("path=/var/v,,m/run/")));
        assert_eq!(json_values(&line, "-blockdev")[0]["file"]["filename"], "/var/v,m/\"root\".qcow2");
        assert_eq!(values(&line, "-pidfile"), ["/var/v,m/run/qemu.pid"]);
    }

    #[test]
    fn image_locks_are_never_bypassed() {
        let line = line(|_| ());
        for node in json_values(&line, "-blockdev") {
            assert_eq!(node["file"]["locking"], "on");
        }
        assert!(!line.iter().any(|argument| argument.contains("force-share")));
    }

    #[test]
    fn a_backing_file_named_only_in_the_header_is_not_opened() {
        let nodes = json_values(&line(|_| ()), "-blockdev");
        assert!(nodes[0].as_object().expect("object").contains_key("backing"));
        assert!(nodes[0]["backing"].is_null());
    }

    #[test]
    fn an_overlay_names_its_base_with_its_format_and_only_reads_it() {
        let backing = Backing { path: "/images/debian.qcow2".into(), format: DiskFormat::Qcow2 };
        let nodes = json_values(&line(|m| m.disks[0].backing = Some(backing)), "-blockdev");
        let base = &nodes[0]["backing"];
        assert_eq!(base["driver"], "qcow2");
        assert_eq!(base["read-only"], true);
        assert_eq!(base["file"]["filename"], "/images/debian.qcow2");
        assert!(base["backing"].is_null());
    }

    #[test]
    fn the_seed_is_a_read_only_raw_disk_after_the_others() {
        let line = line(|_| ());
        let nodes = json_values(&line, "-blockdev");
        assert_eq!(nodes.len(), 2);
        assert_eq!((&nodes[1]["node-name"], &nodes[1]["read-only"]), (&json!("seed"), &json!(true)));
        let devices = json_values(&line, "-device");
        let seed = devices.iter().find(|device| device["drive"] == "seed").expect("a device");
        assert_eq!(seed.get("bootindex"), None);
    }

    #[test]
    fn a_forwarded_port_listens_on_loopback_only_and_the_nic_has_no_rom() {
        let line = line(|_| ());
        assert_eq!(json_values(&line, "-netdev")[0]["hostfwd"][0]["str"], "tcp:127.0.0.1:2222-:22");
        let devices = json_values(&line, "-device");
        let nic = devices.iter().find(|device| device["netdev"] == "user-net").expect("a device");
        assert_eq!(nic["romfile"], "");
    }

    #[test]
    fn a_tap_is_opened_by_name_and_offered_no_offload_where_nobody_would_do_it() {
        for offload in [true, false] {
            let line = line(|m| {
                let mac = "fa:16:3e:00:00:01".into();
                m.nics = vec![Nic::Tap { number: 3, mac, device: "es0".into(), mtu: 1442, offload }];
            });
            let net = &json_values(&line, "-netdev")[0];
            assert_eq!(
                (&net["type"], &net["ifname"], &net["vnet_hdr"]),
                (&json!("tap"), &json!("es0"), &json!(offload))
            );
            let devices = json_values(&line, "-device");
            let nic = devices.iter().find(|device| device["netdev"] == "net3").expect("a device");
            assert_eq!((&nic["host_mtu"], &nic["bus"], &nic["id"]), (&json!(1442), &json!("port0"), &json!("nic3")));
            assert_eq!(nic.get("csum"), (!offload).then_some(&json!(false)));
        }
    }

    #[test]
    fn the_page_cache_is_used_only_where_it_cannot_be_bypassed() {
        let machine = a_machine();
        for direct in [true, false] {
            let line: Vec<_> = arguments(&machine, &|_| direct)
                .into_iter()
                .map(|argument| argument.into_string().expect("UTF-8"))
                .collect();
            assert_eq!(json_values(&line, "-blockdev")[0]["file"]["cache"]["direct"], direct);
        }
    }

    #[test]
    fn emulation_has_a_bounded_cache_and_kvm_the_hosts_processor() {
        assert_eq!(values(&line(|_| ()), "-cpu"), ["host"]);
        let emulated = line(|m| m.accelerator = Accelerator::Tcg { why: "no /dev/kvm".into() });
        assert_eq!(values(&emulated, "-accel"), ["tcg,tb-size=256"]);
    }
}
