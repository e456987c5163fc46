//! A site: one state folder and the processes that live on it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    Api, Daemon, PATIENCE, TINY, eventually, machine,
    ports::{self, Ports},
    processes,
    spare::Spare,
    write_boot_disk,
};

/// Where a daemon keeps what it found out about KVM.
const PROBE: &str = "accelerator.json";

/// How a site is run.
#[derive(Clone, Debug, Default)]
pub struct SiteOptions {
    /// Nothing real is made.
    pub simulated: bool,
    /// Further arguments of each daemon.
    pub arguments: Vec<String>,
}

/// A site of its own; nothing of it is left when dropped.
pub struct Site {
    /// The daemon of all roles, while there is one.
    pub daemon: Option<Daemon>,
    options: SiteOptions,
    /// The folder of an OVN that others run, where it has none of its own.
    pub(crate) ovn: Option<PathBuf>,
    folder: tempfile::TempDir,
    nats_server: PathBuf,
    ports: Ports,
    spare: Spare,
    api: Option<Api>,
}

impl Site {
    /// A site that is not started, or `None` after saying what this machine lacks for it.
    pub fn prepare(test: &str, options: SiteOptions) -> Option<Self> {
        let nats_server = machine::nats_server(test)?;
        if !options.simulated {
            machine::qemu(test)?;
        }
        // Short: a unix socket's path has at most 107 bytes.
        let folder = tempfile::Builder::new().prefix("es-").tempdir_in("/tmp").expect("a folder");
        // QEMU's user must reach its disks.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("rights");
        // By a link of our own: without it, the server that was killed cannot come back.
        let link = folder.path().join("nats-server");
        std::os::unix::fs::symlink(nats_server, &link).expect("a link");
        let spare = Spare::start(folder.path());
        Some(Self {
            daemon: None,
            options,
            ovn: None,
            folder,
            nats_server: link,
            ports: Ports::take(),
            spare,
            api: None,
        })
    }

    /// A site with real VMs, running and with a node that is ready; or `None` after saying what this machine lacks.
    pub async fn start(test: &str) -> Option<Self> {
        Self::start_with(test, vec![]).await
    }

    /// The same, with further arguments of its daemon.
    pub async fn start_with(test: &str, arguments: Vec<String>) -> Option<Self> {
        let mut site = Self::prepare(test, SiteOptions { simulated: false, arguments })?;
        site.recall_probe();
        site.up().await;
        site.await_node().await;
        site.remember_probe();
        Some(site)
    }

    /// Takes over what a daemon of an earlier test found out about KVM: where it opens but runs no guest that takes 5 s.
    /// The daemon itself sees whether it still holds.
    fn recall_probe(&self) {
        let known = ports::shared_folder().join(PROBE);
        fs::create_dir_all(self.state()).expect("a folder");
        // Without it the daemon probes.
        let _ = fs::copy(known, self.state().join(PROBE));
    }

    fn remember_probe(&self) {
        let draft = ports::shared_folder().join(format!("{PROBE}-{}", std::process::id()));
        let kept = fs::copy(self.state().join(PROBE), &draft)
            .and_then(|_| fs::rename(&draft, ports::shared_folder().join(PROBE)));
        if let Err(error) = kept {
            println!("the answer of the KVM probe is not kept for other tests: {error}");
        }
    }

    /// A site with simulated VMs.
    pub async fn start_simulated(test: &str) -> Option<Self> {
        let mut site = Self::prepare(test, SiteOptions { simulated: true, ..SiteOptions::default() })?;
        site.up().await;
        site.await_node().await;
        Some(site)
    }

    /// The folder with everything of this site.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The daemons' state folder.
    pub fn state(&self) -> PathBuf {
        self.folder().join("s")
    }

    /// Its client.
    ///
    /// # Panics
    /// When it was never started.
    pub fn api(&self) -> &Api {
        self.api.as_ref().expect("a site that was started")
    }

    /// `client.json`.
    pub fn client_file(&self) -> Value {
        let bytes = fs::read(self.state().join("client.json")).expect("client.json");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// Starts the daemon of all roles and waits until it answers.
    pub async fn up(&mut self) {
        self.up_with(&[]).await;
    }

    /// The same, with environment variables.
    pub async fn up_with(&mut self, variables: &[(&str, &str)]) {
        let mut daemon = self.spawn(&[], variables);
        let api = self.await_api(&mut daemon).await;
        self.daemon = Some(daemon);
        assert!(api.is_ok(), "the daemon does not come up:\n{}", api.unwrap_err());
    }

    /// The same, for a daemon that may end before it answers: whether it answers.
    pub async fn try_up_with(&mut self, variables: &[(&str, &str)]) -> bool {
        let mut daemon = self.spawn(&[], variables);
        let api = self.await_api(&mut daemon).await;
        self.daemon = Some(daemon);
        api.is_ok()
    }

    /// Starts a daemon with some arguments more; waits for nothing.
    pub fn spawn(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Daemon {
        let mut all: Vec<String> = [
            "--state-dir",
            &self.state().to_string_lossy(),
            "--listen",
            "127.0.0.1:0",
            "--ssh-ports",
            &format!("{}-{}", self.ports.first, self.ports.last),
            "--node",
            "n1",
            "--site",
            "e2e",
            "--nats-server",
            &self.nats_server.to_string_lossy(),
        ]
        .map(str::to_owned)
        .to_vec();
        if self.options.simulated {
            all.extend(["--driver", "simulated"].map(str::to_owned));
        }
        all.extend(self.options.arguments.iter().cloned());
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        let variables: Vec<_> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        // Its appearance is the sign that the API listens.
        match fs::remove_file(self.state().join("client.json")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("client.json stays: {error}"),
            Ok(()) | Err(_) => {}
        }
        Daemon::spawn(&all, &variables, self.folder().join("edgestackd.log"))
    }

    /// Waits until a daemon with the role api answers; an error is what it logged before it ended.
    pub async fn await_api(&mut self, daemon: &mut Daemon) -> Result<(), String> {
        let file = self.state().join("client.json");
        let came = eventually("client.json is written", PATIENCE, async || {
            if let Some(status) = daemon.ended() {
                return Ok(Err(format!("{status}\n{}", daemon.log())));
            }
            fs::read(&file).map(Ok).map_err(|error| error.to_string())
        })
        .await?;
        let client: Value = serde_json::from_slice(&came).expect("JSON");
        let text = |field: &str| client[field].as_str().expect("a text").to_owned();
        self.api = Some(Api::trusting(&text("url"), &text("token"), client["ca_file"].as_str().map(Path::new)));
        Ok(())
    }

    /// Waits until the node takes VMs.
    pub async fn await_node(&self) {
        eventually("node n1 is ready", PATIENCE, async || {
            let reply = self.api().look("nodes/n1").await.map_err(|error| error.to_string())?;
            if reply.json()["state"] == "ready" { Ok(()) } else { Err(reply.text) }
        })
        .await;
    }

    /// `kill -9` of the daemon. NATS and VMs go on.
    ///
    /// # Panics
    /// When none was started.
    pub fn kill_daemon(&mut self) {
        self.daemon.as_mut().expect("a daemon").kill();
    }

    /// The nats-server's process id; `None` while none runs.
    pub fn nats_pid(&self) -> Option<u32> {
        processes::nats_servers(&self.state()).first().map(|process| process.pid)
    }

    /// Lets no nats-server start until the path is given back.
    pub fn take_nats_program_away(&self) {
        fs::rename(&self.nats_server, self.nats_server.with_extension("away")).expect("renamed");
    }

    /// The end of [`Self::take_nats_program_away`].
    pub fn give_nats_program_back(&self) {
        fs::rename(self.nats_server.with_extension("away"), &self.nats_server).expect("renamed");
    }

    /// `kill -9` of the nats-server, and waits until it has ended.
    ///
    /// # Panics
    /// When none runs.
    pub fn kill_nats(&self) {
        processes::kill(self.nats_pid().expect("a nats-server"));
    }

    /// Makes a flavor: a commit of some 800 bytes that no worker acts on.
    pub async fn add_flavor(&self, name: &str) {
        self.api().post("flavors", &a_flavor(name)).await.expect(201);
    }

    /// A metric of the daemon's; 0 while it has not told it.
    pub async fn metric(&self, name: &str) -> u64 {
        let metrics = self.api().look("/metrics").await.expect("an answer").text;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().expect("a whole number"))
    }

    /// Waits until the site takes commands.
    pub async fn await_ready(&self) {
        eventually("the site is ready", PATIENCE, async || {
            let reply = self.api().look("/readyz").await.map_err(|error| error.to_string())?;
            if reply.status == 200 { Ok(()) } else { Err(reply.text) }
        })
        .await;
    }

    /// `kill -9` of everything: daemon, NATS and VMs, as when the host's power goes.
    pub fn kill_everything(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            daemon.kill();
        }
        self.kill_all_of_it();
    }

    fn kill_all_of_it(&self) {
        for _ in 0..3 {
            for process in processes::touching(&self.state()) {
                processes::kill(process.pid);
            }
        }
    }

    /// Registers a disk as image and waits until it can be used.
    pub async fn add_image(&self, name: &str, format: &str, path: &Path) {
        let image = json!({"name": name, "format": format, "source": {"type": "path", "path": path}});
        self.api().post("images", &image).await.accepted();
        self.await_image(name, "active").await;
    }

    /// Waits for a state of an image.
    pub async fn await_image(&self, name: &str, state: &str) {
        eventually(&format!("image {name} is {state}"), PATIENCE, async || {
            let reply = self.api().look(&format!("images/{name}")).await.map_err(|error| error.to_string())?;
            if reply.json()["state"] == state { Ok(()) } else { Err(reply.text) }
        })
        .await;
    }

    /// Image `tiny`, whose guest does nothing for ever, and flavor `tiny` for it.
    pub async fn add_tiny(&self) {
        self.add_boot_image("tiny", TINY).await;
        let flavor = json!({"name": "tiny", "vcpus": 1, "memory_mib": 32, "disk_gib": 1});
        self.api().post("flavors", &flavor).await.accepted();
    }

    /// An image whose guest is some machine code.
    pub async fn add_boot_image(&self, name: &str, code: &[u8]) {
        let disk = self.folder().join(format!("{name}.img"));
        write_boot_disk(&disk, code);
        self.add_image(name, "raw", &disk).await;
    }

    /// The daemons' log.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder().join("edgestackd.log")).unwrap_or_default()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines.len().saturating_sub(120);
            eprintln!("---- the end of the daemons' log\n{}\n----", lines[tail..].join("\n"));
            for process in processes::touching(&self.state()) {
                eprintln!("runs still: {} {}", process.pid, process.program);
            }
        }
        let vms = self.vm_folders();
        drop(self.daemon.take());
        self.kill_all_of_it();
        self.spare.run();
        for vm in vms {
            remove_control_groups(&vm);
        }
    }
}

/// A QEMU that was killed leaves the control groups that bounded it to whoever started it.
fn remove_control_groups(vm: &str) {
    for group in control_groups(vm) {
        let begun = std::time::Instant::now();
        // The kernel lets go of a group a moment after its last process.
        while fs::remove_dir(&group).is_err() && group.exists() && begun.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The control groups made for a VM.
pub(crate) fn control_groups(vm: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().contains(vm) {
                found.push(entry.path());
            } else if depth < 5 {
                folders.push((entry.path(), depth + 1));
            }
        }
    }
    found
}

/// What a flavor is asked for with.
pub fn a_flavor(name: &str) -> Value {
    json!({"name": name, "vcpus": 1, "memory_mib": 32, "disk_gib": 1})
}
