//! Both drivers keep the promises of `VmDriver`.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
    sync::{Arc, OnceLock},
    time::Duration,
};

use edgestack_model::{
    Id,
    flavor::Shape,
    image::DiskFormat,
    orphan::{Artifact, ArtifactKind, VmRecord},
    vm::RunStrategy,
};
use edgestack_ovn::{bundled::Datapath, chassis::Chassis};
use edgestack_pool::NodeFolders;
use edgestack_qemu::{
    Accelerator,
    disk_image::{Overlay, QemuImg},
};
use edgestack_worker_vm::driver::{
    NodeNetwork, QemuDriver, QemuDriverConfig, SimDriver, StartAddress, StartNic, StartSpec, VmDriver, conformance,
};
use uuid::Uuid;

const QEMU: &str = "/usr/bin/qemu-system-x86_64";
const QEMU_IMG: &str = "/usr/bin/qemu-img";
const IP: &str = "/usr/sbin/ip";

#[tokio::test]
async fn the_simulated_driver_keeps_every_promise() {
    conformance::run(&SimDriver::new(), &a_spec(22)).await;
}

#[tokio::test]
async fn the_simulated_driver_keeps_every_promise_about_nics() {
    let (driver, spec) = (SimDriver::new(), a_spec(23));
    driver.hold_on(spec.id, true);
    conformance::run_nics(&driver, &spec, &a_nic(), async || driver.hold_on(spec.id, false)).await;
}

#[tokio::test]
async fn the_qemu_driver_keeps_every_promise() {
    let Some(node) = Node::new("the_qemu_driver_keeps_every_promise") else { return };
    let spec = node.spec().await;
    let foreign = ["notes.txt", "lost+found", "0190d2b4-0000-7000-8000-000000000001.old"];
    for name in foreign {
        fs::create_dir(node.folders.vms().join(name)).unwrap();
    }
    conformance::run(&node.driver(), &spec).await;
    for name in foreign {
        assert!(node.folders.vms().join(name).exists(), "{name} was touched");
    }
}

#[tokio::test]
async fn the_qemu_driver_keeps_every_promise_about_nics() {
    let test = "the_qemu_driver_keeps_every_promise_about_nics";
    let Some(node) = Node::new(test) else { return };
    if !node.root || !Path::new(IP).exists() || !Path::new("/dev/net/tun").exists() {
        println!("skipped: {test}: it needs root, {IP} and /dev/net/tun");
        return;
    }
    let (driver, spec) = (node.driver_with_devices(), node.spec().await);
    // A guest without an operating system lets go of nothing; its reset takes out what was asked for.
    let reset = async || {
        let instance = edgestack_qemu::find(&spec.id.to_string(), &node.folders.vm(spec.id)).unwrap().unwrap();
        instance.control().await.unwrap().system_reset().await.unwrap();
    };
    conformance::run_nics(&driver, &spec, &a_nic(), reset).await;
    let devices = Command::new(IP).args(["-brief", "link"]).output().unwrap();
    let device = format!("es{}n3", spec.id.uuid().simple().to_string().get(21..).unwrap());
    assert!(!String::from_utf8_lossy(&devices.stdout).contains(&device), "its device is gone");
}

#[tokio::test]
async fn a_process_is_told_though_its_folder_is_gone_and_another_sites_never() {
    let test = "a_process_is_told_though_its_folder_is_gone_and_another_sites_never";
    let (Some(node), Some(other)) = (Node::new(test), Node::new(test)) else { return };
    let spec = node.spec().await;
    let process = node.driver().start(&spec).await.unwrap();
    // Somebody removed it, sockets and record included.
    fs::rename(node.folders.vm(spec.id), other.folders.root().join("away")).unwrap();
    let told = node.driver().artifacts().await.unwrap();
    let expect = Artifact { kind: ArtifactKind::VmProcess, id: spec.id.uuid(), place: format!("pid {}", process.pid) };
    assert_eq!(told, std::slice::from_ref(&expect));
    assert_eq!(other.driver().artifacts().await.unwrap(), [], "the other site has none");
    fs::rename(other.folders.root().join("away"), node.folders.vm(spec.id)).unwrap();
    let folder = Artifact { kind: ArtifactKind::VmFolder, place: format!("vms/{}", spec.id), ..expect.clone() };
    assert_eq!(node.driver().artifacts().await.unwrap(), [folder, expect]);
    node.driver().release(spec.id).await.unwrap();
    assert_eq!(node.driver().artifacts().await.unwrap(), []);
}

#[tokio::test]
async fn a_process_of_an_earlier_driver_is_found_and_not_started_twice() {
    let Some(node) = Node::new("a_process_of_an_earlier_driver_is_found_and_not_started_twice") else { return };
    let spec = node.spec().await;
    let first = node.driver().start(&spec).await.unwrap();
    let again = node.driver().start(&spec).await.unwrap();
    assert_eq!(first, again);
    node.driver().release(spec.id).await.unwrap();
    assert!(!node.folders.vm(spec.id).exists(), "its folder went with it");
    assert!(node.folders.volume(spec.root_volume).exists(), "its disk stays");
}

#[tokio::test]
async fn a_port_that_another_program_holds_is_told_apart() {
    let Some(node) = Node::new("a_port_that_another_program_holds_is_told_apart") else { return };
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let spec = StartSpec { ssh_port: port, ..node.spec().await };
    let refused = node.driver().start(&spec).await;
    assert!(matches!(refused, Err(edgestack_pool::DriverError::PortTaken(taken)) if taken == port), "{refused:?}");
    drop(holder);
    node.driver().start(&spec).await.unwrap();
    node.driver().release(spec.id).await.unwrap();
}

fn a_nic() -> StartNic {
    StartNic {
        number: 3,
        port: "a-port".into(),
        mac: "fa:16:3e:00:00:03".into(),
        mtu: 1442,
        dhcp: true,
        addresses: vec![StartAddress { ip: "10.0.0.2".parse().unwrap(), prefix_length: 24, gateway: None }],
        name_servers: vec![],
    }
}

fn a_record(ssh_port: u16) -> VmRecord {
    let (vcpus, memory_mib, disk_gib) = (1, 32, 1);
    VmRecord {
        name: "test".parse().unwrap(),
        image: Id::new(Uuid::from_u128(3)),
        flavor: Id::new(Uuid::from_u128(4)),
        shape: Shape { vcpus, memory_mib, disk_gib, dedicated_cpus: false, huge_pages: None, numa_nodes: None },
        keypair: None,
        run_strategy: RunStrategy::Manual,
        root_volume: Id::new(Uuid::from_u128(2)),
        mac: "52:54:00:00:00:01".into(),
        ssh_port,
        nics: vec![],
    }
}

/// A VM of 32 MiB.
fn a_spec(ssh_port: u16) -> StartSpec {
    let process = u128::from(std::process::id()) << 16;
    let id = |number| Uuid::from_u128(0x0190_d2b5_0000_7000_8000_0000_0000_0000 + process + number);
    let unique = u128::from(ssh_port) << 48;
    StartSpec {
        id: Id::new(id(unique + 1)),
        name: "test".into(),
        vcpus: 1,
        memory_mib: 32,
        root_volume: Id::new(id(2)),
        image: Id::new(id(3)),
        image_format: DiskFormat::Raw,
        mac: "52:54:00:00:00:01".into(),
        ssh_port,
        nics: vec![],
        public_keys: vec![],
        user_data: None,
        record: a_record(ssh_port),
    }
}

/// A node's folders in a folder of its own, and the QEMU that a failed test leaves there ended.
struct Node {
    folders: NodeFolders,
    vm: Id<edgestack_model::vm::Vm>,
    spec: StartSpec,
    root: bool,
    _folder: tempfile::TempDir,
}

impl Node {
    /// `None`, after saying so, where there is no QEMU.
    fn new(test: &str) -> Option<Self> {
        for program in [QEMU, QEMU_IMG] {
            if !Path::new(program).exists() {
                println!("skipped: {test}: no {program}");
                return None;
            }
        }
        let folder = tempfile::Builder::new().prefix("vm").tempdir().unwrap();
        // QEMU's user must reach its disks.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
        let folders = NodeFolders::new(folder.path());
        for one in [folders.images(), folders.volumes(), folders.vms()] {
            fs::create_dir_all(&one).unwrap();
            fs::set_permissions(&one, fs::Permissions::from_mode(0o711)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let spec = a_spec(port);
        let root = fs::metadata("/proc/self").unwrap().uid() == 0;
        Some(Self { folders, vm: spec.id, spec, root, _folder: folder })
    }

    fn driver(&self) -> QemuDriver {
        self.driver_on(None)
    }

    /// A driver of a node whose switch takes everything and does nothing: its devices are real.
    fn driver_with_devices(&self) -> QemuDriver {
        let ovs_vsctl = self.folders.root().join("ovs-vsctl");
        let says = "#!/bin/sh\necho '{\"data\": [], \"headings\": [\"name\", \"external_ids\", \"error\"]}'\n";
        fs::write(&ovs_vsctl, says).unwrap();
        fs::set_permissions(&ovs_vsctl, fs::Permissions::from_mode(0o755)).unwrap();
        let chassis = Chassis {
            switch: "unix:/nonexistent".into(),
            bridge: "br-int".into(),
            datapath: Datapath::Userspace,
            netns: None,
            ovs_vsctl,
            ip: IP.into(),
        };
        self.driver_on(Some(Arc::new(OnceLock::from(chassis))))
    }

    fn driver_on(&self, network: Option<NodeNetwork>) -> QemuDriver {
        QemuDriver::new(QemuDriverConfig {
            folders: self.folders.clone(),
            qemu: QEMU.into(),
            accelerator: Arc::new(OnceLock::from(Accelerator::Tcg { why: "tests need no more".into() })),
            run_as: self.root.then(|| "nobody".to_owned()),
            network,
        })
    }

    /// A VM whose disk boots one sector that idles for ever: `sti; hlt; jmp`.
    async fn spec(&self) -> StartSpec {
        let mut disk = vec![0; 1 << 20];
        disk[..4].copy_from_slice(&[0xfb, 0xf4, 0xeb, 0xfd]);
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        let base = self.folders.image(self.spec.image);
        fs::write(&base, disk).unwrap();
        let overlay = Overlay {
            base,
            base_format: edgestack_qemu::DiskFormat::Raw,
            path: self.folders.volume(self.spec.root_volume),
            size_bytes: 1 << 20,
        };
        QemuImg::new(Path::new(QEMU_IMG)).create_overlay(&overlay).await.unwrap();
        self.spec.clone()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        while let Ok(Some(instance)) = edgestack_qemu::find(&self.vm.to_string(), &self.folders.vm(self.vm)) {
            Command::new("kill").args(["-9", &instance.pid().to_string()]).status().unwrap();
            // A zombie isn't found, so this ends as soon as the kernel has ended the process.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
