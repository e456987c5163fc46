//! A Debian guest, over SSH.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::Value;
use tokio::process::Command;

use crate::{eventually, machine};

/// Under software emulation a guest boots in some 45 s alone, and others may boot beside it.
const BOOT_PATIENCE: Duration = Duration::from_secs(300);

/// How to get into a guest.
#[derive(Clone, Debug)]
pub struct Guest {
    key: PathBuf,
    port: u16,
    user: String,
}

impl Guest {
    /// Whether there is an SSH client; says so if not.
    pub fn needs_ssh(test: &str) -> Option<()> {
        if machine::in_path("ssh").is_none() {
            println!("skipped: {test}: no ssh in PATH");
            return None;
        }
        Some(())
    }

    /// A way into the guest of a VM, by a private key that is kept in `folder`.
    pub fn of(vm: &Value, user: &str, private_key: &str, folder: &Path) -> Self {
        let key = folder.join("guest.key");
        fs::write(&key, private_key).expect("a key file");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("rights");
        let port = vm["ssh"]["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a forwarded port");
        Self { key, port, user: user.to_owned() }
    }

    /// Runs a command in the guest; an error is what went wrong, with ssh's own words.
    pub async fn run(&self, command: &str) -> Result<String, String> {
        let run = Command::new("ssh")
            .args(["-i", &self.key.to_string_lossy(), "-p", &self.port.to_string(), "-F", "none"])
            .args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "LogLevel=ERROR"])
            .args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes"])
            .arg(format!("{}@127.0.0.1", self.user))
            .arg(command)
            .kill_on_drop(true)
            .output();
        let output = match tokio::time::timeout(Duration::from_secs(60), run).await {
            Ok(output) => output.map_err(|error| error.to_string())?,
            Err(_) => return Err("no answer within 60 s".to_owned()),
        };
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
        }
    }

    /// Runs a command as soon as the guest lets us in and it succeeds.
    pub async fn await_run(&self, command: &str) -> String {
        eventually(&format!("the guest runs {command:?}"), BOOT_PATIENCE, async || self.run(command).await).await
    }

    /// Seconds since the guest's kernel began.
    pub async fn uptime_s(&self) -> f64 {
        let text = self.await_run("cat /proc/uptime").await;
        text.split(' ').next().and_then(|first| first.parse().ok()).expect("two numbers")
    }
}
