//! A node for one test: a folder, a network namespace for the OVN, and one for each guest.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use edgestack_ovn::bundled::{Bundled, BundledConfig, Datapath, Programs};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// What a step may take at most on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The pause between two looks, where nothing gives an event.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until it is so; `look` says what is seen instead. Returns how long it took.
pub async fn eventually(what: &str, mut look: impl AsyncFnMut() -> Result<(), String>) -> Duration {
    let begun = Instant::now();
    while let Err(seen) = look().await {
        assert!(begun.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}; seen last: {seen}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    begun.elapsed()
}

/// Runs it to its end, which must be a good one.
pub fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output().expect("it runs");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A node; its end leaves nothing behind, however the test ends.
pub struct Node {
    /// Its name, and that of its network namespace.
    pub name: String,
    pub config: BundledConfig,
    folder: TempDir,
    guests: Vec<String>,
}

impl Node {
    /// `None`, said aloud, where OVN can't be run.
    pub fn new(test: &str) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let lacking = ["ovn-nbctl", "ping", "python3"].into_iter().find(|program| !is_in_path(program));
        let lack = match Programs::find() {
            _ if !rustix::process::geteuid().is_root() => "it needs root".to_owned(),
            Ok(_) if lacking.is_some() => format!("no {} in PATH", lacking.unwrap_or_default()),
            Err(error) => error.to_string(),
            Ok(programs) => {
                let name = format!("eo{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
                let folder = tempfile::Builder::new().prefix("eo").tempdir().expect("a folder");
                let made = Command::new("ip").args(["netns", "add", &name]).output().expect("ip runs");
                if made.status.success() {
                    run(&["ip", "-n", &name, "link", "set", "lo", "up"]);
                    let state = folder.path().join("ovn");
                    let mut config = BundledConfig::new(state, &name, Datapath::Userspace, programs);
                    config.netns = Some(name.clone());
                    return Some(Self { name, config, folder, guests: Vec::new() });
                }
                format!("no network namespaces: {}", String::from_utf8_lossy(&made.stderr).trim())
            }
        };
        assert!(std::env::var_os("CI").is_none(), "{test} can't run here: {lack}");
        println!("skipped: {test}: {lack}");
        None
    }

    pub async fn start(&self) -> Bundled {
        Bundled::start(self.config.clone()).await.unwrap_or_else(|error| panic!("{error:?}: {error}"))
    }

    /// A logical switch with these many ports, p1 …, 02:00:00:00:00:01 …, 10.0.0.1 …
    pub fn add_logical_switch(&self, bundled: &Bundled, ports: u32) {
        let database = format!("--db={}", bundled.northbound());
        run(&["ovn-nbctl", &database, "--may-exist", "ls-add", "ls"]);
        for number in 1..=ports {
            let (port, addresses) = (format!("p{number}"), format!("02:00:00:00:00:0{number} 10.0.0.{number}"));
            run(&["ovn-nbctl", &database, "lsp-add", "ls", &port, "--", "lsp-set-addresses", &port, &addresses]);
        }
    }

    /// A guest that is a network namespace, joined to the integration bridge by a veth pair as port p`number`.
    pub fn add_guest(&mut self, bundled: &Bundled, number: u32) -> String {
        let guest = format!("{}-g{number}", self.name);
        run(&["ip", "netns", "add", &guest]);
        self.guests.push(guest.clone());
        let near = format!("g{number}");
        let (mac, address) = (format!("02:00:00:00:00:0{number}"), format!("10.0.0.{number}/24"));
        let pair = ["type", "veth", "peer", "name", "eth0", "address", &mac, "netns", &guest];
        run(&[&["ip", "link", "add", &near, "netns", &self.name][..], &pair].concat());
        run(&["ip", "-n", &self.name, "link", "set", &near, "up"]);
        run(&["ip", "-n", &guest, "address", "add", &address, "dev", "eth0"]);
        run(&["ip", "-n", &guest, "link", "set", "eth0", "up"]);
        let id = format!("external_ids:iface-id=p{number}");
        let add = ["add-port", &self.config.integration_bridge, &near, "--", "set", "Interface", &near, &id];
        run(&[&["ovs-vsctl", &format!("--db={}", bundled.switch()), "--timeout=10"][..], &add].concat());
        guest
    }

    /// Waits until a packet from the first guest to 10.0.0.2 is answered.
    pub async fn pings(&self) -> Duration {
        let guest = &self.guests[0];
        let ping = ["netns", "exec", guest, "ping", "-n", "-c", "1", "-W", "0.2", "10.0.0.2"];
        eventually("an answer", async || {
            let output = Command::new("ip").args(ping).output().expect("ping runs");
            if output.status.success() { Ok(()) } else { Err("no answer".to_owned()) }
        })
        .await
    }

    /// Sends frames from tap1 to tap2 as the one who owns them, nobody, until one arrives; says when. Then asks for
    /// 10.0.0.99, which nobody may answer for.
    pub fn frames(&self) -> String {
        let words = ["ip", "netns", "exec", &self.name, "python3", "-c", include_str!("taps.py")];
        run(&[&words[..], &["tap1", "tap2", "65534", "10.0.0.99"]].concat()).trim().to_owned()
    }

    /// Every process of this node's folder, with its command line.
    pub fn processes(&self) -> Vec<(u32, String)> {
        processes(self.folder.path())
    }

    /// The devices in its network namespace, but for the loopback.
    pub fn devices(&self) -> Vec<String> {
        let said = run(&["ip", "-n", &self.name, "-brief", "link"]);
        let names = said.lines().filter_map(|line| line.split([' ', '@']).next());
        names.filter(|name| *name != "lo").map(str::to_owned).collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A killed one may be started again by a daemon that is itself still to be killed.
        for _ in 0..10 {
            for (pid, _) in self.processes() {
                kill(pid);
            }
        }
        for namespace in self.guests.iter().chain([&self.name]) {
            let _ = Command::new("ip").args(["netns", "delete", namespace]).output();
        }
    }
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Every process with a path below the folder among its arguments.
pub fn processes(folder: &Path) -> Vec<(u32, String)> {
    let below = format!("{}/", folder.display());
    let entries = fs::read_dir("/proc").expect("readable").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let lines = pids.filter_map(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        Some((pid, String::from_utf8_lossy(&line).replace('\0', " ")))
    });
    lines.filter(|(_, line)| line.contains(&below)).collect()
}

/// SIGKILL, and waits until it has ended.
pub fn kill(pid: u32) {
    let id = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    let _ = kill_process(id, Signal::KILL);
    let begun = Instant::now();
    // Nothing is left of an ended one but its status, for its parent.
    while fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty()) {
        assert!(begun.elapsed() < PATIENCE, "process {pid} does not end");
        std::thread::yield_now();
    }
}

/// Resident memory in KiB; proc_pid_status(5).
pub fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

/// A ping that goes on, every 20 ms.
pub struct Pinger {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

/// What became of it.
#[derive(Debug)]
pub struct Answers {
    pub sent: u32,
    /// For how long there were no answers to what was sent, also not late ones.
    pub longest_loss: Duration,
    /// How long an answer took.
    pub longest_delay: Duration,
}

impl Pinger {
    pub fn start(node: &Node) -> Self {
        let guest = &node.guests[0];
        let ping = ["netns", "exec", guest, "ping", "-n", "-i", "0.02", "10.0.0.2"];
        let mut child = Command::new("ip").args(ping).stdout(Stdio::piped()).spawn().expect("ping runs");
        let said = BufReader::new(child.stdout.take().expect("piped"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let reader = std::thread::spawn({
            let lines = lines.clone();
            move || said.lines().map_while(Result::ok).for_each(|line| lines.lock().expect("no panic").push(line))
        });
        Self { child, lines, reader: Some(reader) }
    }

    /// Waits for another half a second's answers, then ends it.
    pub async fn finish(mut self) -> Answers {
        let count = || self.lines.lock().expect("no panic").len();
        let before = count();
        eventually("more answers", async || if count() > before + 25 { Ok(()) } else { Err(format!("{}", count())) })
            .await;
        let id = Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")).expect("a pid");
        kill_process(id, Signal::INT).expect("told");
        self.reader.take().expect("once").join().expect("no panic");
        let lines = std::mem::take(&mut *self.lines.lock().expect("no panic"));
        let after = |line: &str, mark: &str| line.split(mark).nth(1)?.split(' ').next().map(str::to_owned);
        let answers: Vec<_> = lines.iter().filter(|line| line.contains("ttl=")).collect();
        let mut answered: Vec<u32> = answers.iter().filter_map(|line| after(line, "icmp_seq=")?.parse().ok()).collect();
        let delays = answers.iter().filter_map(|line| after(line, "time=")?.parse::<f64>().ok());
        let summary = lines.iter().find(|line| line.contains(" packets transmitted")).expect("a summary");
        let sent: u32 = summary.split(' ').next().and_then(|count| count.parse().ok()).expect("a count");
        answered.sort_unstable();
        // The last one may be under way.
        let ends = [0].into_iter().chain(answered.iter().copied()).zip(answered.iter().copied().chain([sent]));
        let missing = ends.map(|(before, after)| after.saturating_sub(before + 1)).max().unwrap_or(sent);
        Answers {
            sent,
            longest_loss: Duration::from_millis(20) * missing,
            longest_delay: Duration::from_secs_f64(delays.fold(0.0, f64::max) / 1000.0),
        }
    }
}

impl Drop for Pinger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
