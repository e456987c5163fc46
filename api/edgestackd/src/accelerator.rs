//! What runs guests' code on this node. The probe runs a guest and takes
//! seconds; its answer holds for one boot and one QEMU, so it is kept as long.

use std::{fs, io, path::Path};

use edgestack_qemu::{Accelerator, probe_accelerator, process::boot_id};
use serde::{Deserialize, Serialize};

use crate::options::{DriverKind, Options, Role};

#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Probed {
    host_boot: String,
    /// Path, length and time of change of the program: another QEMU is probed anew.
    qemu: String,
    accelerator: Accelerator,
}

/// The accelerator, as probed now or earlier in this boot.
pub async fn find(options: &Options, root: &Path) -> Accelerator {
    let needed = options.has(Role::WorkerVm) || options.has(Role::WorkerMonitoring);
    if options.driver == DriverKind::Simulated || !needed {
        return Accelerator::Tcg { why: "not probed: this process runs no VMs".to_owned() };
    }
    let file = root.join("accelerator.json");
    let key = key(options);
    if let (Ok(key), Some(probed)) = (&key, read(&file))
        && (&probed.host_boot, &probed.qemu) == (&key.0, &key.1)
    {
        return probed.accelerator;
    }
    let accelerator = probe_accelerator(&options.qemu).await;
    let kept = key.and_then(|(host_boot, qemu)| {
        let probed = Probed { host_boot, qemu, accelerator: accelerator.clone() };
        write(&file, &serde_json::to_vec_pretty(&probed)?)
    });
    if let Err(error) = kept {
        tracing::warn!(%error, "the accelerator's probe was not kept; it is repeated at the next start");
    }
    accelerator
}

fn key(options: &Options) -> io::Result<(String, String)> {
    let metadata = fs::metadata(&options.qemu)?;
    let changed = metadata.modified()?.duration_since(std::time::UNIX_EPOCH).map_err(io::Error::other)?;
    Ok((boot_id()?, format!("{} {} {}", options.qemu.display(), metadata.len(), changed.as_secs())))
}

fn read(file: &Path) -> Option<Probed> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let draft = file.with_extension("draft");
    fs::write(&draft, bytes)?;
    fs::rename(&draft, file)
}
