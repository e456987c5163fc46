//! A site of its own: daemon and nats-server, in a folder that goes with it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::{Failure, Options, http::Client};

/// How long a start may take before it counts as failed.
const START_DEADLINE: Duration = Duration::from_secs(300);

/// How long a killed daemon may take to go.
const END_DEADLINE: Duration = Duration::from_secs(10);
/// Its OVN's folder, where it has one.
const OVN: &str = "ovn";

/// A running site; ended, and its folder removed, when dropped.
pub struct Site {
    folder: tempfile::TempDir,
    daemon: Child,
    program: PathBuf,
    nats_server: PathBuf,
    arguments: Vec<String>,
    /// Where the API listens.
    pub address: String,
    /// Its token.
    pub token: String,
}

impl Site {
    /// Starts a site with further arguments for the daemon, and waits until it answers.
    pub async fn start(options: &Options, arguments: &[&str]) -> Result<Self, Failure> {
        Self::start_in(options, tempfile::Builder::new().prefix("es-bench-").tempdir()?, arguments).await
    }

    /// The same on a folder that may hold a log already.
    pub async fn start_in(options: &Options, folder: tempfile::TempDir, arguments: &[&str]) -> Result<Self, Failure> {
        let program = match &options.edgestackd {
            Some(program) => program.clone(),
            None => std::env::current_exe()?.with_file_name("edgestackd"),
        };
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let nats_server = options.nats_server.clone();
        let daemon = spawn(&program, &nats_server, folder.path(), "127.0.0.1:0", &arguments)?;
        let mut site =
            Self { folder, daemon, program, nats_server, arguments, address: String::new(), token: String::new() };
        site.wait_until_it_answers().await?;
        Ok(site)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client of its own.
    pub async fn client(&self) -> Result<Client, Failure> {
        Client::connect(&self.address, &self.token).await
    }

    /// Ends daemon and nats-server as `kill -9` would, starts both again, and returns the time from
    /// the start of the daemon's process to the first answered read.
    pub async fn restart(&mut self) -> Result<Duration, Failure> {
        self.kill().await;
        let begun = Instant::now();
        let address = self.address.clone();
        self.daemon = spawn(&self.program, &self.nats_server, self.folder.path(), &address, &self.arguments)?;
        loop {
            if begun.elapsed() > START_DEADLINE {
                return Err("the site did not start".into());
            }
            if let Ok(mut client) = Client::connect(&address, &self.token).await
                && let Ok((200, _)) = client.request("GET", &format!("{}/vms?limit=1", crate::http::PREFIX), "").await
            {
                return Ok(begun.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Resident memory of daemon and nats-server, MiB.
    pub fn resident_mib(&self) -> Result<(u64, u64), Failure> {
        let daemon = self.daemon.id().ok_or("the daemon has ended")?;
        Ok((rss_mib(daemon)?, rss_mib(self.nats_pid()?)?))
    }

    /// Resident memory of each process of the site's own OVN, KiB.
    pub fn ovn_resident_kib(&self) -> Result<Vec<(String, u64)>, Failure> {
        let mut found = Vec::new();
        for file in std::fs::read_dir(self.folder.path().join(OVN))? {
            let path = file?.path();
            if let (true, Some(name)) = (path.extension().is_some_and(|end| end == "pid"), path.file_stem()) {
                let pid = std::fs::read_to_string(&path)?.trim().parse()?;
                found.push((name.to_string_lossy().into_owned(), rss_kib(pid)?));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// CPU time of daemon and nats-server since they started.
    pub fn cpu(&self) -> Result<(Duration, Duration), Failure> {
        let daemon = self.daemon.id().ok_or("the daemon has ended")?;
        Ok((cpu_time(daemon)?, cpu_time(self.nats_pid()?)?))
    }

    fn nats_pid(&self) -> Result<u32, Failure> {
        let text = std::fs::read_to_string(self.folder.path().join("nats/nats-server.pid"))?;
        Ok(text.trim().parse()?)
    }

    async fn wait_until_it_answers(&mut self) -> Result<(), Failure> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.daemon.try_wait()? {
                return Err(format!("edgestackd ended: {status}; see its output above").into());
            }
            if begun.elapsed() > START_DEADLINE {
                return Err("edgestackd did not start in time".into());
            }
            if let Ok(text) = std::fs::read_to_string(self.folder.path().join("client.json")) {
                let client: serde_json::Value = serde_json::from_str(&text)?;
                let text = |key: &str| client[key].as_str().unwrap_or_default().to_owned();
                (self.address, self.token) = (text("url").replace("http://", ""), text("token"));
                let mut client = self.client().await?;
                let nodes = client.change("GET", &format!("{}/nodes", crate::http::PREFIX), "").await?;
                if String::from_utf8_lossy(&nodes).contains("\"ready\"") {
                    return Ok(());
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the OVN of our own, which outlives the daemon.
    fn end_networks(&mut self) {
        let begun = Instant::now();
        // It lets go of the folder as it ends.
        while let Ok(None) = self.daemon.try_wait()
            && begun.elapsed() < END_DEADLINE
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        let ended = std::process::Command::new(&self.program)
            .arg("--state-dir")
            .arg(self.folder.path())
            .args(["--networks", "bundled", "--end-networks"])
            .env("EDGESTACK_LOG", "error")
            .stdin(Stdio::null())
            .status();
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!("edgestack-bench: the OVN in {} may still run", self.folder.path().display());
        }
    }

    async fn kill(&mut self) {
        if let Ok(pid) = self.nats_pid() {
            kill(pid);
        }
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.daemon.kill().await;
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let vms = std::fs::read_dir(self.folder.path().join("vms")).into_iter().flatten().flatten();
        for vm in vms {
            let record = std::fs::read_to_string(vm.path().join("instance.json")).unwrap_or_default();
            let record: serde_json::Value = serde_json::from_str(&record).unwrap_or_default();
            if let Some(pid) = record["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()) {
                kill(pid);
            }
        }
        if let Ok(pid) = self.nats_pid() {
            kill(pid);
        }
        let _ = self.daemon.start_kill();
        if self.folder.path().join(OVN).exists() {
            self.end_networks();
        }
    }
}

fn spawn(
    program: &Path,
    nats_server: &Path,
    folder: &Path,
    listen: &str,
    arguments: &[String],
) -> Result<Child, Failure> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("daemon.log"))?;
    Ok(Command::new(program)
        .arg("--state-dir")
        .arg(folder)
        .args(["--listen", listen, "--ssh-ports", "24000-24999"])
        .args(arguments)
        .env("EDGESTACK_NATS_SERVER", nats_server)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()?)
}

fn kill(pid: u32) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // Gone already is as good.
        let _ = kill_process(pid, Signal::KILL);
    }
}

/// proc(5), `stat`: fields 14 and 15 are user and system time in clock ticks, counted behind the name in brackets.
fn cpu_time(pid: u32) -> Result<Duration, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(") ").ok_or("stat has no name")?.1;
    let ticks: u64 = fields.split(' ').skip(11).take(2).map(|field| field.parse().unwrap_or(0_u64)).sum();
    Ok(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

/// Source: proc_pid_status(5), `VmRSS`, kB.
fn rss_mib(pid: u32) -> Result<u64, Failure> {
    Ok(rss_kib(pid)? >> 10)
}

fn rss_kib(pid: u32) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .ok_or("no VmRSS")?;
    Ok(kib.parse()?)
}
