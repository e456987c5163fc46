//! A site whose log is on three nodes: three daemons, each with a nats-server and a state folder of its own.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

use crate::{Daemon, PATIENCE, edgectl, eventually, machine, ports::Ports, processes, spare::Spare};

/// The nodes' names.
const NAMES: [&str; 3] = ["a", "b", "c"];

/// The three, and what is left of them goes when dropped.
pub struct Three {
    /// In the order of the list that each daemon is given.
    pub nodes: [Node; 3],
    folder: tempfile::TempDir,
    _ports: Ports,
    _spare: Spare,
}

/// One of them.
pub struct Node {
    /// Its name.
    pub name: &'static str,
    /// Its daemon, while there is one.
    pub daemon: Option<Daemon>,
    state: PathBuf,
    nats_server: PathBuf,
    namespace: Option<String>,
}

impl Three {
    /// Three nodes on loopback, running; or `None` after saying what this machine lacks.
    pub async fn start(test: &str) -> Option<Self> {
        let three = Self::prepare(test, false)?;
        let first = three.nodes[0].ports_of(&three);
        Some(three.up(&first).await)
    }

    /// The same, each node in a network namespace of its own, which [`Self::cut_off`] can cut off.
    pub async fn start_in_namespaces(test: &str) -> Option<Self> {
        let three = Self::prepare(test, true)?;
        if let Err(why) = three.make_namespaces() {
            println!("skipped: {test}: no network namespaces: {why}");
            return None;
        }
        let cluster = (1..).zip(NAMES).map(|(number, name)| format!("{name}=10.77.0.{number}:4222/6222"));
        let cluster = cluster.collect::<Vec<_>>().join(",");
        Some(three.up(&cluster).await)
    }

    fn prepare(test: &str, namespaces: bool) -> Option<Self> {
        let nats_server = machine::nats_server(test)?;
        let folder = tempfile::Builder::new().prefix("es-").tempdir_in("/tmp").expect("a folder");
        let spare = Spare::start(folder.path());
        let site = folder.path().file_name().expect("a name").to_string_lossy().into_owned();
        let nodes = NAMES.map(|name| {
            // Each by a link of its own: without it, its server that was killed cannot come back.
            let link = folder.path().join(format!("nats-server-{name}"));
            std::os::unix::fs::symlink(&nats_server, &link).expect("a link");
            let namespace = namespaces.then(|| format!("{site}-{name}"));
            Node { name, daemon: None, state: folder.path().join(name), nats_server: link, namespace }
        });
        Some(Self { nodes, folder, _ports: Ports::take(), _spare: spare })
    }

    /// A switch, and a cable from each node to it.
    fn make_namespaces(&self) -> Result<(), String> {
        let switch = self.switch();
        ip(&["netns", "add", &switch])?;
        ip(&["-n", &switch, "link", "add", "br0", "type", "bridge"])?;
        ip(&["-n", &switch, "link", "set", "br0", "up"])?;
        for (number, node) in (1..).zip(&self.nodes) {
            let Some(namespace) = &node.namespace else { continue };
            ip(&["netns", "add", namespace])?;
            ip(&[
                "-n", &switch, "link", "add", "name", node.name, "type", "veth", "peer", "name", "eth0", "netns",
                namespace,
            ])?;
            ip(&["-n", &switch, "link", "set", "dev", node.name, "master", "br0", "up"])?;
            ip(&["-n", namespace, "address", "add", &format!("10.77.0.{number}/24"), "dev", "eth0"])?;
            ip(&["-n", namespace, "link", "set", "eth0", "up"])?;
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    fn switch(&self) -> String {
        format!("{}-switch", self.folder.path().file_name().expect("a name").to_string_lossy())
    }

    /// Pulls a node's cable.
    pub fn cut_off(&self, node: usize) {
        ip(&["-n", &self.switch(), "link", "set", "dev", self.nodes[node].name, "down"]).expect("cut off");
    }

    /// Puts it in again.
    pub fn reconnect(&self, node: usize) {
        ip(&["-n", &self.switch(), "link", "set", "dev", self.nodes[node].name, "up"]).expect("reconnected");
    }

    async fn up(mut self, cluster: &str) -> Self {
        self.nodes[0].spawn(&["--cluster".to_owned(), cluster.to_owned()]);
        let ticket = self.folder.path().join("join.json");
        let state = self.nodes[0].state.clone();
        let daemon = self.nodes[0].daemon.as_mut().expect("it was started");
        let printed = eventually("what it takes to join is printed", PATIENCE, async || {
            if let Some(status) = daemon.ended() {
                panic!("{status}\n{}", daemon.log());
            }
            let output = Command::new(machine::edgestackd())
                .args(["--state-dir", &state.to_string_lossy(), "--site", "e2e", "--print-join"])
                .output()
                .expect("edgestackd runs");
            if output.status.success() { Ok(output.stdout) } else { Err(text(&output)) }
        })
        .await;
        fs::write(&ticket, printed).expect("written");
        fs::set_permissions(&ticket, fs::Permissions::from_mode(0o600)).expect("rights");
        for node in &mut self.nodes[1..] {
            node.spawn(&["--join".to_owned(), ticket.to_string_lossy().into_owned()]);
        }
        for node in &mut self.nodes {
            node.await_up().await;
        }
        self
    }

    /// Waits until each of these nodes shows all of these flavors.
    ///
    /// # Panics
    /// When it doesn't in time.
    pub async fn await_flavors(&self, nodes: &[usize], wanted: &BTreeSet<String>) {
        for node in nodes.iter().map(|node| &self.nodes[*node]) {
            eventually(&format!("{} shows what was acknowledged", node.name), PATIENCE, async || {
                let output = node.edgectl(&["list-flavors", "-o", "json"]);
                let list: Value = serde_json::from_slice(&output.stdout).map_err(|_| text(&output))?;
                let items = list.as_array().or_else(|| list["items"].as_array()).cloned().unwrap_or_default();
                let shown: BTreeSet<_> = items.iter().filter_map(|item| item["name"].as_str()).collect();
                let lost: Vec<_> = wanted.iter().filter(|name| !shown.contains(name.as_str())).take(3).collect();
                if lost.is_empty() { Ok(()) } else { Err(format!("{lost:?} of {} are missing", wanted.len())) }
            })
            .await;
        }
    }
}

impl Drop for Three {
    fn drop(&mut self) {
        // Their ports are the next test's.
        for node in &mut self.nodes {
            node.lose();
        }
    }
}

impl Node {
    fn ports_of(&self, three: &Three) -> String {
        let place = |number: usize| {
            let first = usize::from(three._ports.first) + 2 * number;
            format!("{}=127.0.0.1:{}/{}", NAMES[number], first, first + 1)
        };
        [place(0), place(1), place(2)].join(",")
    }

    /// Its state folder.
    pub fn state(&self) -> &Path {
        &self.state
    }

    fn spawn(&mut self, more: &[String]) {
        let mut all: Vec<String> = [
            "--state-dir",
            &self.state.to_string_lossy(),
            "--listen",
            "127.0.0.1:0",
            "--node",
            self.name,
            "--site",
            "e2e",
            "--driver",
            "simulated",
            "--nats-server",
            &self.nats_server.to_string_lossy(),
        ]
        .map(str::to_owned)
        .to_vec();
        all.extend_from_slice(more);
        // Its appearance is the sign that the API listens.
        let _ = fs::remove_file(self.state.join("client.json"));
        let log = self.state.with_extension("log");
        self.daemon = Some(match &self.namespace {
            None => Daemon::spawn(&all, &[], log),
            Some(namespace) => Daemon::spawn_by(&["ip", "netns", "exec", namespace], &all, log),
        });
    }

    async fn await_up(&mut self) {
        let file = self.state.join("client.json");
        let daemon = self.daemon.as_mut().expect("it was started");
        eventually("the daemon answers", PATIENCE, async || {
            if let Some(status) = daemon.ended() {
                panic!("{status}\n{}", daemon.log());
            }
            if file.exists() { Ok(()) } else { Err(daemon.log()) }
        })
        .await;
    }

    /// Starts its daemon again, as a supervisor would, and waits until it answers.
    pub async fn up(&mut self) {
        self.spawn(&[]);
        self.await_up().await;
    }

    /// As if its power went: the daemon and its nats-server are killed.
    pub fn lose(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill();
        }
        self.kill_server();
    }

    /// Kills its nats-server alone.
    pub fn kill_server(&self) {
        for process in
            processes::touching(&self.state).iter().filter(|one| one.arguments.iter().any(|word| word == "-c"))
        {
            processes::kill(process.pid);
        }
    }

    /// What its daemon has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.state.with_extension("log")).unwrap_or_default()
    }

    /// Runs edgectl on the node, for 15 s at most: it tries again by itself for longer.
    pub fn edgectl(&self, words: &[&str]) -> Output {
        let mut command = Command::new("timeout");
        command.arg("15");
        if let Some(namespace) = &self.namespace {
            command.args(["ip", "netns", "exec", namespace]);
        }
        command.arg(edgectl());
        let client = fs::read(self.state.join("client.json")).unwrap_or_default();
        let client: Value = serde_json::from_slice(&client).unwrap_or_default();
        command
            .args(words)
            .env("EDGESTACK_URL", client["url"].as_str().unwrap_or_default())
            .env("EDGESTACK_TOKEN", client["token"].as_str().unwrap_or_default())
            .env("HOME", &self.state)
            .env("NO_COLOR", "1")
            .env_remove("XDG_CONFIG_HOME")
            .output()
            .expect("edgectl runs")
    }

    /// Whether a flavor of that name was acknowledged here.
    pub fn create_flavor(&self, name: &str) -> Result<(), String> {
        let words = ["create-flavor", name, "--vcpus", "1", "--memory-mib", "64", "--disk-gib", "1"];
        let output = self.edgectl(&words);
        if output.status.success() { Ok(()) } else { Err(text(&output)) }
    }
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn ip(words: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(words).output().map_err(|error| error.to_string())?;
    if output.status.success() { Ok(()) } else { Err(format!("ip {}: {}", words.join(" "), text(&output))) }
}
