//! Running qemu-img: in time, within limits, its words understood.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;

use super::header::free_bytes;
use super::{ImageError, QemuImg};

/// Addresses qemu-img may use, bytes: hostile headers ask for huge tables. OpenStack's bound too
/// (nova `qemu_img_info`, `QEMU_IMG_LIMITS`).
const ADDRESS_SPACE_BYTES: u64 = 1 << 30;
/// What is read of its output.
const OUTPUT_BYTES_MAX: u64 = 4 << 20;

/// What a run said.
pub(super) struct Output {
    pub(super) code: Option<i32>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: String,
}

/// What a run works on: the image that is named in errors, and how many bytes it may write, for errors too.
#[derive(Clone, Copy)]
pub(super) struct Target<'a> {
    pub(super) path: &'a Path,
    pub(super) needed_bytes: u64,
}

impl QemuImg {
    /// Runs qemu-img to its end; an exit code that isn't 0 or in `also_fine` is an error.
    pub(super) async fn run(
        &self,
        target: Target<'_>,
        deadline: Duration,
        also_fine: &[i32],
        arguments: &[&OsStr],
    ) -> Result<Output, ImageError> {
        let what = arguments.first().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // Its CPU time is bounded too, in case we aren't there any more to see the deadline.
        let cpu_s = deadline.as_secs().max(1) * 4;
        let mut child = Command::new("prlimit")
            .args([format!("--as={ADDRESS_SPACE_BYTES}"), format!("--cpu={cpu_s}"), "--core=0".to_owned()])
            .arg("--")
            .arg(&self.program)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| ImageError::Io { doing: "run qemu-img for", path: target.path.to_owned(), source })?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let run = async {
            let (stdout, stderr, status) = tokio::join!(read(stdout), read(stderr), child.wait());
            Ok::<_, std::io::Error>((stdout?, stderr?, status?))
        };
        // Dropping the child at the deadline kills it.
        let (stdout, stderr, status) = tokio::time::timeout(deadline, run)
            .await
            .map_err(|_| ImageError::TimedOut { what: what.clone(), path: target.path.to_owned(), after: deadline })?
            .map_err(|source| ImageError::Io { doing: "run qemu-img for", path: target.path.to_owned(), source })?;
        let output = Output { code: status.code(), stdout, stderr: String::from_utf8_lossy(&stderr).into_owned() };
        if output.code.is_some_and(|code| code == 0 || also_fine.contains(&code)) && !is_disk_full(&output.stderr) {
            return Ok(output);
        }
        Err(failure(&what, target, &output))
    }
}

fn is_disk_full(stderr: &str) -> bool {
    stderr.contains("No space left on device") || stderr.contains("Disk quota exceeded")
}

fn failure(what: &str, target: Target<'_>, output: &Output) -> ImageError {
    let path = target.path.to_owned();
    if is_disk_full(&output.stderr) {
        let free_bytes = free_bytes(target.path).unwrap_or(0);
        return ImageError::DiskFull { path, free_bytes, needed_bytes: target.needed_bytes };
    }
    if output.stderr.contains("Failed to get") && output.stderr.contains("lock") {
        return ImageError::InUse { path };
    }
    // The last line that isn't the hint after a lock's or an option's failure.
    let line = output.stderr.lines().rev().map(str::trim).find(|line| !line.is_empty());
    let words = match (line, output.code) {
        (Some(line), _) => line.trim_start_matches("qemu-img: ").to_owned(),
        (None, Some(code)) => format!("it ended with code {code} and no word"),
        (None, None) => "it was killed, perhaps by its limits".to_owned(),
    };
    ImageError::Failed { what: what.to_owned(), path, words }
}

async fn read(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}
