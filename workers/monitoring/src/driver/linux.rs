//! This Linux machine.

use std::{collections::BTreeSet, path::PathBuf, process::Stdio};

use async_trait::async_trait;
use edgestack_model::node::{Capacity, Hypervisor, NodeFacts, PortRange};
use edgestack_pool::DriverError;

use super::NodeDriver;

/// Memory that VMs do not get: the host's own and EdgeStack's, MiB.
const RESERVED_MIB: u64 = 512;

/// What a Linux driver is told of its node.
#[derive(Clone, Debug)]
pub struct LinuxDriverConfig {
    /// The folder whose file system holds the disks.
    pub disks: PathBuf,
    /// The QEMU program.
    pub qemu: PathBuf,
    /// `kvm` or `tcg`, as probed.
    pub accelerator: String,
    /// Why that one.
    pub accelerator_reason: String,
    /// vCPUs that VMs may have for each CPU.
    pub cpu_overcommit: u64,
    /// Loopback ports for SSH forwards: first and last.
    pub ssh_ports: PortRange,
}

/// Looks at this machine.
pub struct LinuxDriver {
    config: LinuxDriverConfig,
}

impl LinuxDriver {
    /// A driver for this machine.
    pub fn new(config: LinuxDriverConfig) -> Self {
        Self { config }
    }
}

#[async_trait]
impl NodeDriver for LinuxDriver {
    async fn facts(&self) -> Result<NodeFacts, DriverError> {
        let version = qemu_version(&self.config).await?;
        let uname = rustix::system::uname();
        let cpus = std::thread::available_parallelism()
            .map_err(|error| DriverError::retry(format!("cannot count the CPUs: {error}")))?
            .get() as u64;
        let memory_mib = memory_mib()?;
        let disk = rustix::fs::statvfs(&self.config.disks)
            .map_err(|error| DriverError::retry(format!("cannot measure {}: {error}", self.config.disks.display())))?;
        let disk_gib = disk.f_blocks.saturating_mul(disk.f_frsize) >> 30;
        Ok(NodeFacts {
            addresses: addresses()?,
            architecture: uname.machine().to_string_lossy().into_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            operating_system: operating_system(),
            hypervisor: Hypervisor {
                name: "QEMU".to_owned(),
                version,
                accelerator: self.config.accelerator.clone(),
                accelerator_reason: self.config.accelerator_reason.clone(),
                simulated: false,
            },
            capacity: Capacity { vcpus: cpus, memory_mib, disk_gib },
            allocatable: Capacity {
                vcpus: cpus * self.config.cpu_overcommit,
                memory_mib: memory_mib.saturating_sub(RESERVED_MIB),
                disk_gib,
            },
            ssh_ports: self.config.ssh_ports,
            network: None,
        })
    }
}

async fn qemu_version(config: &LinuxDriverConfig) -> Result<String, DriverError> {
    let failed = |why: String| {
        DriverError::retry_with_fix(
            format!("{} does not run: {why}", config.qemu.display()),
            "install qemu-system-x86, or name it with --qemu",
        )
    };
    let output = tokio::process::Command::new(&config.qemu)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .await
        .map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)"
    text.split_whitespace().nth(3).map(str::to_owned).ok_or_else(|| failed("it told no version".to_owned()))
}

/// Source: proc_meminfo(5), `MemTotal`, kB.
fn memory_mib() -> Result<u64, DriverError> {
    let text = std::fs::read_to_string("/proc/meminfo")
        .map_err(|error| DriverError::retry(format!("cannot read /proc/meminfo: {error}")))?;
    text.lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|kib| kib.parse::<u64>().ok())
        .map(|kib| kib >> 10)
        .ok_or_else(|| DriverError::retry("/proc/meminfo tells no MemTotal"))
}

/// Source: os-release(5), `PRETTY_NAME`.
fn operating_system() -> String {
    std::fs::read_to_string("/etc/os-release")
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="))
        .map_or_else(|| "Linux".to_owned(), |name| name.trim_matches('"').to_owned())
}

/// Addresses that others may reach, sorted; the loopback's when there are no others.
fn addresses() -> Result<Vec<String>, DriverError> {
    let all = if_addrs::get_if_addrs()
        .map_err(|error| DriverError::retry(format!("cannot list the addresses of this machine: {error}")))?;
    let reachable: BTreeSet<String> =
        all.iter().filter(|one| !one.is_loopback() && !one.is_link_local()).map(|one| one.ip().to_string()).collect();
    if reachable.is_empty() {
        return Ok(vec!["127.0.0.1".to_owned()]);
    }
    Ok(reachable.into_iter().collect())
}
