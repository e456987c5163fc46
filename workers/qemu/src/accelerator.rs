//! Whether KVM runs a guest on this machine. That `/dev/kvm` opens doesn't say so: where virtualization is nested or
//! emulated it opens, and the guest then stops at its first instruction that the host can't handle.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

/// What runs the guest's code.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind")]
pub enum Accelerator {
    /// The processor itself, by the kernel's KVM.
    Kvm,
    /// Software emulation, many times slower.
    Tcg {
        /// Why not KVM, a sentence for people.
        why: String,
    },
}

impl Accelerator {
    /// The short name, `kvm` or `tcg`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg { .. } => "tcg",
        }
    }
}

/// KVM reaches the end of the probe in some 0.2 s on idle hardware; one that needs longer than this is no help.
const PROBE_DEADLINE: Duration = Duration::from_secs(5);
/// isa-debug-exit ends QEMU with (value << 1) | 1; the sector writes 0x15.
const PROBE_EXIT_CODE: i32 = (0x15 << 1) | 1;

/// Runs a boot sector under KVM with `qemu` and says what to use. Takes 0.2 s where KVM works, 5 s at most.
///
/// The sector enters 64-bit mode with paging and counts to twenty million in an SSE register, which is what a kernel
/// needs of a processor; a half-working KVM passes a sector that only exits. Never fails: whatever goes wrong is the
/// reason for [`Accelerator::Tcg`].
pub async fn probe_accelerator(qemu: &Path) -> Accelerator {
    if let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "this machine has no /dev/kvm".to_owned(),
            std::io::ErrorKind::PermissionDenied => "/dev/kvm may not be opened; join the group kvm".to_owned(),
            _ => format!("/dev/kvm does not open: {error}"),
        };
        return Accelerator::Tcg { why };
    }
    match run_probe(qemu, "kvm", PROBE_DEADLINE).await {
        Ok(()) => Accelerator::Kvm,
        Err(why) => Accelerator::Tcg { why: format!("/dev/kvm opens but runs no guest: {why}") },
    }
}

/// Boots the probe under `accelerator`; `Err` is why it didn't come to its end, for people.
async fn run_probe(qemu: &Path, accelerator: &str, deadline: Duration) -> Result<(), String> {
    let disk = probe_disk().map_err(|error| format!("no memory for the probe's disk: {error}"))?;
    boot(qemu, accelerator, deadline, disk).await
}

/// The probe's disk, in memory: it is gone with the last who has it open, however that one ends.
fn probe_disk() -> io::Result<File> {
    // Firmware takes no disk for bootable that is a single sector long.
    let mut disk = vec![0; 1 << 20];
    disk[..PROBE_SECTOR.len()].copy_from_slice(&PROBE_SECTOR);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let mut file = File::from(rustix::fs::memfd_create("edgestack-probe", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(&disk)?;
    Ok(file)
}

async fn boot(qemu: &Path, accelerator: &str, deadline: Duration, disk: File) -> Result<(), String> {
    if !qemu.exists() {
        return Err(format!("{} does not start: there is no such file", qemu.display()));
    }
    let drive = serde_json::json!({
        "driver": "raw", "node-name": "probe", "read-only": true,
        "file": {"driver": "file", "filename": "/dev/stdin", "read-only": true},
    });
    // A QEMU whose guest stands still would outlive a probing process that was killed; prctl(2), PR_SET_PDEATHSIG.
    let mut child = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "--"])
        .arg(qemu)
        .args(["-accel", accelerator, "-machine", "q35", "-m", "size=16M", "-display", "none"])
        .args(["-nodefaults", "-no-user-config", "-boot", "strict=on"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"])
        .arg("-blockdev")
        .arg(drive.to_string())
        .args(["-device", "virtio-blk-pci,drive=probe,bootindex=0"])
        .stdin(Stdio::from(disk))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("setpriv (of util-linux) does not start: {error}"))?;
    let stderr = child.stderr.take();
    let mut last_words = String::new();
    let listen = async {
        // QEMU stays, paused, after KVM's internal error; its words tell us not to wait for the deadline.
        if let Some(stderr) = stderr {
            let mut lines = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if line.contains("KVM internal error") {
                    return Some(line);
                }
                if !line.contains("warning:") && !line.trim().is_empty() {
                    last_words = line;
                }
            }
        }
        None
    };
    let outcome = tokio::time::timeout(deadline, async {
        match listen.await {
            Some(error) => Err(error),
            None => child.wait().await.map_err(|error| error.to_string()),
        }
    })
    .await;
    let said = match outcome {
        Ok(Ok(status)) if status.code() == Some(PROBE_EXIT_CODE) => return Ok(()),
        Ok(Ok(status)) if last_words.is_empty() => format!("QEMU ended with {status}"),
        Ok(Ok(_)) => last_words,
        Ok(Err(error)) => error,
        Err(_) => format!("a boot sector did not come to its end within {} s", deadline.as_secs()),
    };
    if let Ok(None) = child.try_wait()
        && let Err(error) = child.kill().await
    {
        tracing::warn!(%error, "the probe's QEMU could not be ended");
    }
    Err(said.trim_start_matches("qemu-system-x86_64: ").to_owned())
}

/// The probe, assembled from:
///
/// ```text
/// .code16
///   cli; xorw %ax,%ax; movw %ax,%ds; movw %ax,%es; movw %ax,%ss; movw $0x7c00,%sp
///   cld; movw $0x1000,%di; movw $0x1800,%cx; rep stosw      # page tables at 0x1000, 0x2000, 0x3000
///   movl $0x2003,0x1000; movl $0x3003,0x2000; movl $0x83,0x3000
///   inb $0x92,%al; orb $2,%al; outb %al,$0x92               # A20
///   lgdt gdtr
///   movl %cr4,%eax; orl $0x620,%eax; movl %eax,%cr4         # PAE, SSE
///   movl $0x1000,%eax; movl %eax,%cr3
///   movl $0xc0000080,%ecx; rdmsr; orl $0x100,%eax; wrmsr    # long mode
///   movl %cr0,%eax; andl $~4,%eax; orl $0x80000003,%eax; movl %eax,%cr0
///   ljmp $8,$long_mode
/// .code64
/// long_mode:
///   movl $20000000,%ecx; pxor %xmm0,%xmm0; movq $1,%rax; movq %rax,%xmm1
/// 1: paddq %xmm1,%xmm0; loop 1b
///   movq %xmm0,%rbx; cmpq $20000000,%rbx; jne bad
///   movb $0x15,%al; outb %al,$0xf4                          # isa-debug-exit
/// bad: hlt; jmp bad
/// .balign 8
/// gdt: .quad 0, 0x00209a0000000000
/// gdtr: .word 15; .long gdt
/// ```
#[rustfmt::skip]
const PROBE_SECTOR: [u8; 190] = [
    0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, 0xbc, 0x00, 0x7c, 0xfc, 0xbf, 0x00, 0x10, 0xb9, 0x00, 0x18,
    0xf3, 0xab, 0x66, 0xc7, 0x06, 0x00, 0x10, 0x03, 0x20, 0x00, 0x00, 0x66, 0xc7, 0x06, 0x00, 0x20, 0x03, 0x30, 0x00,
    0x00, 0x66, 0xc7, 0x06, 0x00, 0x30, 0x83, 0x00, 0x00, 0x00, 0xe4, 0x92, 0x0c, 0x02, 0xe6, 0x92, 0x0f, 0x01, 0x16,
    0xb8, 0x7c, 0x0f, 0x20, 0xe0, 0x66, 0x0d, 0x20, 0x06, 0x00, 0x00, 0x0f, 0x22, 0xe0, 0x66, 0xb8, 0x00, 0x10, 0x00,
    0x00, 0x0f, 0x22, 0xd8, 0x66, 0xb9, 0x80, 0x00, 0x00, 0xc0, 0x0f, 0x32, 0x66, 0x0d, 0x00, 0x01, 0x00, 0x00, 0x0f,
    0x30, 0x0f, 0x20, 0xc0, 0x66, 0x83, 0xe0, 0xfb, 0x66, 0x0d, 0x03, 0x00, 0x00, 0x80, 0x0f, 0x22, 0xc0, 0xea, 0x75,
    0x7c, 0x08, 0x00, 0xb9, 0x00, 0x2d, 0x31, 0x01, 0x66, 0x0f, 0xef, 0xc0, 0x48, 0xc7, 0xc0, 0x01, 0x00, 0x00, 0x00,
    0x66, 0x48, 0x0f, 0x6e, 0xc8, 0x66, 0x0f, 0xd4, 0xc1, 0xe2, 0xfa, 0x66, 0x48, 0x0f, 0x7e, 0xc3, 0x48, 0x81, 0xfb,
    0x00, 0x2d, 0x31, 0x01, 0x75, 0x04, 0xb0, 0x15, 0xe6, 0xf4, 0xf4, 0xeb, 0xfd, 0x0f, 0x1f, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x9a, 0x20, 0x00, 0x0f, 0x00, 0xa8, 0x7c, 0x00, 0x00,
];

#[cfg(test)]
mod tests {
    use super::*;

    const QEMU: &str = "/usr/bin/qemu-system-x86_64";

    #[tokio::test]
    async fn the_probe_passes_on_a_processor_that_works() {
        if !Path::new(QEMU).exists() {
            println!("skipped: the_probe_passes_on_a_processor_that_works: no {QEMU}");
            return;
        }
        run_probe(Path::new(QEMU), "tcg", Duration::from_secs(30)).await.expect("software emulation runs the probe");
    }

    #[tokio::test]
    async fn the_answer_is_kvm_or_says_why_not() {
        if !Path::new(QEMU).exists() {
            println!("skipped: the_answer_is_kvm_or_says_why_not: no {QEMU}");
            return;
        }
        match probe_accelerator(Path::new(QEMU)).await {
            Accelerator::Kvm => (),
            Accelerator::Tcg { why } => {
                println!("tcg: {why}");
                assert!(why.contains("/dev/kvm"), "{why}");
            }
        }
    }

    #[tokio::test]
    async fn a_missing_qemu_is_the_reason_given() {
        let why = run_probe(Path::new("/nonexistent/qemu"), "none", Duration::from_secs(1))
            .await
            .expect_err("nothing to run");
        assert!(why.contains("does not start"), "{why}");
    }
}
