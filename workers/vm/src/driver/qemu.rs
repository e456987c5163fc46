//! VMs as QEMU processes.

use std::{
    collections::BTreeSet,
    io,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use edgestack_engine::error_chain;
use edgestack_model::{
    Id, image,
    orphan::{Artifact, ArtifactKind, VmRecord, id_in},
    vm::Vm,
};
use edgestack_pool::{DriverError, NodeFolders};
use edgestack_qemu::{
    Accelerator, Backing, Disk, DiskFormat, Instance, LaunchError, Layout, Limits, Machine, Nic, hotplug,
    process::boot_id,
    qmp::{QmpError, RunState},
    seed::{Seed, SeedNic, write_seed},
};
use futures::{StreamExt as _, stream::BoxStream};

use super::{
    GuestFacts, GuestLogin, GuestPing, GuestPinged, NodeNetwork, Observed, Process, StartNic, StartSpec, VmDriver, wire,
};

mod guest;
mod nics;

/// How long a QEMU may take from its start to running vCPUs. TCG on a loaded host takes seconds.
const LAUNCH_DEADLINE: Duration = Duration::from_secs(60);
/// What is kept of a console's log; the same again in the older part.
const CONSOLE_BYTES_MAX: u64 = 4 << 20;
/// The most that is sent of a console's log at once.
const CONSOLE_CHUNK: u64 = 64 << 10;
/// How often a followed console's log is looked at for more; files give no event that works everywhere.
const CONSOLE_LOOK: Duration = Duration::from_millis(250);
/// How long a guest that stood still on a full disk gets to show whether it goes on.
const AFTER_IO_ERROR: Duration = Duration::from_millis(300);

/// What a QEMU driver needs to know of its node.
#[derive(Clone, Debug)]
pub struct QemuDriverConfig {
    /// Where things lie.
    pub folders: NodeFolders,
    /// The QEMU program.
    pub qemu: PathBuf,
    /// What runs guests' code; set once it is probed, until then nothing is started.
    pub accelerator: Arc<OnceLock<Accelerator>>,
    /// The unprivileged user that QEMU runs as, when we are root.
    pub run_as: Option<String>,
    /// The node's way into the virtual network; `None` where it has none.
    pub network: Option<NodeNetwork>,
}

/// Runs VMs as QEMU processes on this machine.
pub struct QemuDriver {
    config: QemuDriverConfig,
    watched: Arc<Mutex<BTreeSet<Id<Vm>>>>,
}

impl QemuDriver {
    /// A driver for this node.
    pub fn new(config: QemuDriverConfig) -> Self {
        Self { config, watched: Arc::default() }
    }

    fn find(&self, id: Id<Vm>) -> Result<Option<Instance>, DriverError> {
        edgestack_qemu::find(&id.to_string(), &self.config.folders.vm(id)).map_err(|error| retry(&error))
    }

    fn running(&self, id: Id<Vm>) -> Result<Instance, DriverError> {
        self.find(id)?.ok_or(DriverError::Gone)
    }

    fn layout(&self, id: Id<Vm>) -> Layout {
        Layout::new(&self.config.folders.vm(id))
    }

    fn process(&self, instance: &Instance, host_boot: String, nics: Option<Vec<u32>>) -> Process {
        let record = instance.record.as_ref();
        let version = record.map_or("", |record| record.qemu_version.as_str());
        let accelerator = record.map(|record| &record.accelerator).or_else(|| self.config.accelerator.get());
        Process {
            pid: u32::try_from(instance.pid()).unwrap_or_default(),
            start_time_ticks: instance.start_time_ticks(),
            host_boot,
            accelerator: accelerator.map_or("unknown", Accelerator::as_str).to_owned(),
            hypervisor: format!("QEMU {version}").trim_end().to_owned(),
            nics,
        }
    }

    fn machine(&self, spec: &StartSpec, accelerator: &Accelerator, nics: Vec<Nic>) -> Machine {
        let folders = &self.config.folders;
        let directory = folders.vm(spec.id);
        Machine {
            id: spec.id.to_string(),
            name: spec.name.clone(),
            vcpus: spec.vcpus,
            memory_mib: spec.memory_mib,
            accelerator: accelerator.clone(),
            disks: vec![Disk {
                path: folders.volume(spec.root_volume),
                format: DiskFormat::Qcow2,
                backing: Some(Backing { path: folders.image(spec.image), format: format(spec.image_format) }),
                serial: serial(spec.root_volume.uuid()),
                read_only: false,
                boot_index: Some(0),
            }],
            seed: Some(directory.join("seed.img")),
            nics,
            directory,
            run_as: self.config.run_as.clone(),
            smbios_serial: None,
            limits: Limits::default(),
            qemu: self.config.qemu.clone(),
        }
    }
}

#[async_trait]
impl VmDriver for QemuDriver {
    fn is_simulated(&self) -> bool {
        false
    }

    async fn observe(&self, id: Id<Vm>) -> Result<Observed, DriverError> {
        let host_boot = boot_id().map_err(|error| DriverError::retry(error.to_string()))?;
        let Some(instance) = self.find(id)? else {
            return Ok(Observed::Absent { host_boot, last_words: last_words(&self.layout(id)) });
        };
        let (state, nics) = match ask_state(&instance).await {
            Ok(seen) => seen,
            Err(_) if !instance.is_running() => {
                return Ok(Observed::Absent { host_boot, last_words: instance.last_words() });
            }
            Err(error) => return Err(qmp_error(&error)),
        };
        let process = self.process(&instance, host_boot, nics);
        Ok(match state {
            RunState::Running | RunState::Other => Observed::Running(process),
            RunState::Prelaunch | RunState::Paused | RunState::IoError => Observed::Paused(process),
            RunState::Shutdown => {
                Observed::Over { process, detail: "the guest shut itself down".to_owned(), clean: true }
            }
            RunState::GuestPanicked => {
                Observed::Over { process, detail: "the guest's kernel panicked".to_owned(), clean: false }
            }
            RunState::InternalError => {
                let detail = "QEMU met an error that it cannot go on from".to_owned();
                Observed::Over { process, detail, clean: false }
            }
        })
    }

    async fn start(&self, spec: &StartSpec) -> Result<Process, DriverError> {
        let accelerator = self
            .config
            .accelerator
            .get()
            .ok_or_else(|| DriverError::retry("this node's accelerator is not probed yet"))?;
        let machine = self.machine(spec, accelerator, self.nics(spec).await?);
        let seed = Seed {
            instance_id: spec.id.to_string(),
            hostname: spec.name.clone(),
            public_keys: spec.public_keys.clone(),
            user_data: spec.user_data.clone().map(String::into_bytes),
            nics: match spec.nics.as_slice() {
                [] => vec![SeedNic::by_dhcp(&spec.mac)],
                nics => nics.iter().map(wire::seed_nic).collect(),
            },
        };
        let directory = machine.directory.clone();
        let image = self.config.folders.image(spec.image);
        let run_as = self.config.run_as.clone();
        let (record, record_path) = (spec.record.clone(), self.config.folders.vm_record(spec.id));
        tokio::task::spawn_blocking(move || {
            // QEMU's user passes through to its own folder below, whatever our umask is.
            std::fs::create_dir_all(&directory)?;
            std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o711))?;
            write_seed(&directory.join("seed.img"), &seed).map_err(io::Error::other)?;
            // Before there is a process: an orphan that runs can be adopted.
            edgestack_qemu::durable::write_json(&record_path, &record)?;
            run_as.map_or(Ok(()), |user| edgestack_qemu::grant_read(&image, &user))
        })
        .await
        .map_err(|error| DriverError::retry(error.to_string()))?
        .map_err(|error| retry(&error))?;
        let instance = edgestack_qemu::launch(&machine, LAUNCH_DEADLINE)
            .await
            .map_err(|error| launch_error(error, spec.ssh_port))?;
        let host_boot = boot_id().map_err(|error| DriverError::retry(error.to_string()))?;
        let (_, nics) = ask_state(&instance).await.map_err(|error| qmp_error(&error))?;
        Ok(self.process(&instance, host_boot, nics))
    }

    async fn pause(&self, id: Id<Vm>) -> Result<(), DriverError> {
        let monitor = self.running(id)?.control().await.map_err(|error| qmp_error(&error))?;
        monitor.stop().await.map_err(|error| qmp_error(&error))
    }

    async fn resume(&self, id: Id<Vm>) -> Result<(), DriverError> {
        let instance = self.running(id)?;
        let (before, _) = ask_state(&instance).await.map_err(|error| qmp_error(&error))?;
        let monitor = instance.control().await.map_err(|error| qmp_error(&error))?;
        monitor.cont().await.map_err(|error| qmp_error(&error))?;
        if before != RunState::IoError {
            return Ok(());
        }
        tokio::time::sleep(AFTER_IO_ERROR).await;
        match monitor.query_status().await.map_err(|error| qmp_error(&error))? {
            RunState::IoError => Err(DriverError::retry_with_fix(
                "its disk cannot be written, so it stands still",
                "free space on the node's file system (df); it goes on by itself",
            )),
            _ => Ok(()),
        }
    }

    async fn press_power_button(&self, id: Id<Vm>) -> Result<(), DriverError> {
        let monitor = self.running(id)?.control().await.map_err(|error| qmp_error(&error))?;
        monitor.system_powerdown().await.map_err(|error| qmp_error(&error))
    }

    async fn plug_nic(&self, id: Id<Vm>, nic: &StartNic, record: &VmRecord) -> Result<(), DriverError> {
        self.plug_into(&self.running(id)?, id, nic, record).await
    }

    async fn unplug_nic(&self, id: Id<Vm>, number: u32, record: &VmRecord) -> Result<(), DriverError> {
        self.unplug_from(self.find(id)?.as_ref(), id, number, record).await
    }

    async fn end(&self, id: Id<Vm>) -> Result<(), DriverError> {
        match self.find(id)? {
            Some(instance) => edgestack_qemu::end(&instance, None).await.map(drop).map_err(|error| retry(&error))?,
            // Killed by others, it left what its end would have removed.
            None => edgestack_qemu::clear_away(&id.to_string(), &self.config.folders.vm(id)).await,
        }
        self.unplug(id).await
    }

    async fn release(&self, id: Id<Vm>) -> Result<(), DriverError> {
        self.end(id).await?;
        let folder = self.config.folders.vm(id);
        match tokio::fs::remove_dir_all(&folder).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(retry(&error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn watch(&self, id: Id<Vm>, wake: Arc<dyn Fn(Id<Vm>) + Send + Sync>) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if watched.contains(&id) {
            return;
        }
        // Not found or not to be known: the beat looks again.
        let Ok(Some(instance)) = self.find(id) else {
            return;
        };
        watched.insert(id);
        let all = self.watched.clone();
        let mut changes = edgestack_qemu::watch(&instance);
        tokio::spawn(async move {
            while changes.recv().await.is_some() {
                wake(id);
            }
            all.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            wake(id);
        });
    }

    async fn artifacts(&self) -> Result<Vec<Artifact>, DriverError> {
        let (folders, run_as) = (self.config.folders.clone(), self.config.run_as.clone());
        tokio::task::spawn_blocking(move || {
            let mut artifacts = Vec::new();
            for name in NodeFolders::names_in(&folders.vms())? {
                if let Some(id) = id_in(&name) {
                    artifacts.push(Artifact { kind: ArtifactKind::VmFolder, id, place: format!("vms/{name}") });
                }
            }
            for running in edgestack_qemu::process::list(&folders.vms(), run_as.as_deref())? {
                if let Some(id) = id_in(&running.id) {
                    let place = format!("pid {}", running.pid);
                    artifacts.push(Artifact { kind: ArtifactKind::VmProcess, id, place });
                }
            }
            Ok(artifacts)
        })
        .await
        .map_err(|error| DriverError::retry(error.to_string()))?
        .map_err(|error: io::Error| retry(&error))
    }

    async fn record(&self, id: Id<Vm>) -> Result<Option<VmRecord>, DriverError> {
        let path = self.config.folders.vm_record(id);
        tokio::task::spawn_blocking(move || edgestack_qemu::durable::read_json(&path))
            .await
            .map_err(|error| DriverError::retry(error.to_string()))?
            .map_err(|error| retry(&error))
    }

    async fn guest_facts(&self, id: Id<Vm>, deadline: Duration) -> Result<GuestFacts, DriverError> {
        self.ask_facts(id, deadline).await
    }

    async fn guest_logins(&self, id: Id<Vm>) -> Result<Vec<GuestLogin>, DriverError> {
        self.ask_logins(id).await
    }

    async fn guest_ping(&self, id: Id<Vm>, ping: &GuestPing) -> Result<GuestPinged, DriverError> {
        self.ask_ping(id, ping).await
    }

    async fn console(
        &self,
        id: Id<Vm>,
        tail_bytes: u64,
        follow: bool,
    ) -> Result<BoxStream<'static, io::Result<Bytes>>, DriverError> {
        let log = self.layout(id).console_log();
        let length = match tokio::fs::metadata(&log).await {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(DriverError::Gone),
            Err(error) => return Err(retry(&error)),
        };
        let start = length.saturating_sub(tail_bytes);
        let stream = futures::stream::try_unfold((log, start), move |(log, offset)| async move {
            loop {
                let path = log.clone();
                let piece =
                    tokio::task::spawn_blocking(move || edgestack_qemu::console::follow(&path, offset, CONSOLE_CHUNK))
                        .await
                        .map_err(io::Error::other)?;
                let piece = match piece {
                    Ok(piece) => piece,
                    // The VM is gone, and its log with it: the end.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(error),
                };
                if !piece.bytes.is_empty() {
                    return Ok(Some((Bytes::from(piece.bytes), (log, piece.next_offset))));
                }
                if !follow {
                    return Ok(None);
                }
                tokio::time::sleep(CONSOLE_LOOK).await;
            }
        });
        Ok(stream.boxed())
    }

    async fn upkeep(&self, id: Id<Vm>) -> Result<(), DriverError> {
        let log = self.layout(id).console_log();
        tokio::task::spawn_blocking(move || edgestack_qemu::console::bound(&log, CONSOLE_BYTES_MAX))
            .await
            .map_err(|error| DriverError::retry(error.to_string()))?
            .map(drop)
            .map_err(|error| retry(&error))
    }
}

/// Where it is in its life, and which NICs it has.
async fn ask_state(instance: &Instance) -> Result<(RunState, Option<Vec<u32>>), QmpError> {
    let monitor = instance.control().await?;
    Ok((monitor.query_status().await?, hotplug::nics(&monitor).await?))
}

fn last_words(layout: &Layout) -> Option<String> {
    let tail = edgestack_qemu::console::tail(&layout.stderr_log(), 16 << 10).ok()?;
    let text = String::from_utf8_lossy(&tail);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty() && !line.contains("warning: ")).map(str::to_owned)
}

/// What the guest sees as the disk's serial number: the last 20 hex digits of the volume's id.
fn serial(volume: uuid::Uuid) -> String {
    let text = volume.simple().to_string();
    text.get(12..).unwrap_or_default().to_owned()
}

fn format(format: image::DiskFormat) -> DiskFormat {
    match format {
        image::DiskFormat::Qcow2 => DiskFormat::Qcow2,
        image::DiskFormat::Raw => DiskFormat::Raw,
    }
}

fn retry(error: &(dyn std::error::Error + 'static)) -> DriverError {
    DriverError::retry(error_chain(error))
}

fn qmp_error(error: &QmpError) -> DriverError {
    match error {
        QmpError::Gone(_) => DriverError::Gone,
        QmpError::Refused { .. } | QmpError::Protocol(_) | QmpError::TimedOut { .. } => retry(error),
    }
}

fn launch_error(error: LaunchError, ssh_port: u16) -> DriverError {
    match &error {
        // QEMU net/slirp.c: "Could not set up host forwarding rule 'tcp:127.0.0.1:22000-:22'".
        LaunchError::Exited { words } if words.contains("host forwarding rule") => DriverError::PortTaken(ssh_port),
        LaunchError::Invalid(_) => {
            DriverError::never(error_chain(&error), "remove the VM and make it with other values")
        }
        LaunchError::NoUser(user) => {
            let fix = format!("useradd --system {user}, or start edgestackd with --vm-user");
            DriverError::retry_with_fix(error_chain(&error), fix)
        }
        _ => retry(&error),
    }
}
