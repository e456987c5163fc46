//! The command line.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::Parser;
use edgestack_archive::S3Address;
use edgestack_backup::PublicKey;
use edgestack_log::jetstream::Member;
use edgestack_model::{Name, webhook::allow::Allowed};
use edgestack_ovn::ovsdb::Endpoints;

/// The EdgeStack daemon: API, command engine, views and worker pools of a site.
///
/// All roles in one process by default; `--roles` runs some of them, to meet the
/// others on the same NATS server and, on one machine, with the same state folder.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "edgestackd",
    version,
    after_help = "Example: edgestackd --state-dir /var/lib/edgestack --listen 127.0.0.1:9080"
)]
pub struct Options {
    /// Where everything of this node lies: log store, views, images, disks, secrets.
    #[arg(long, env = "EDGESTACK_STATE_DIR")]
    pub state_dir: PathBuf,

    /// Restores a backup of the log (`edgectl backup`) into a state folder without a log, and ends.
    #[arg(long, value_name = "FILE")]
    pub restore: Option<PathBuf>,

    /// Restores only what this key signed.
    #[arg(long, value_name = "KEY", requires = "restore")]
    pub restore_signed_by: Option<PublicKey>,

    /// Where closed segments of the archive are kept: s3://BUCKET[/PREFIX], a place of this site alone; the state folder if
    /// absent. Endpoint, region and keys by the usual AWS_… variables, or --archive-settings.
    #[arg(long, value_name = "URL", env = "EDGESTACK_ARCHIVE")]
    pub archive: Option<S3Address>,

    /// A file of mode 0600 with lines AWS_…=value, for the store of --archive.
    #[arg(long, value_name = "FILE", requires = "archive")]
    pub archive_settings: Option<PathBuf>,

    /// Where the API listens. Other than loopback only with --tls-cert and --tls-key.
    #[arg(long, default_value = "127.0.0.1:9080")]
    pub listen: SocketAddr,

    /// Certificate chain in PEM.
    #[arg(long, requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The certificate's key in PEM.
    #[arg(long, requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// The certificate of the CA that signed it, in PEM, for edgectl on this machine to trust; none for a public CA.
    #[arg(long, requires = "tls_cert")]
    pub tls_ca: Option<PathBuf>,

    /// What this process does: all by default; of nats, ovn, engine, api, worker.vm, worker.storage, worker.gateway,
    /// worker.monitoring, worker.webhook. A daemon that has joined a site does engine, api and worker.webhook.
    #[arg(long, value_delimiter = ',')]
    pub roles: Vec<Role>,

    /// Prints what another daemon needs to join this site (--join), secrets included, and ends.
    #[arg(long)]
    pub print_join: bool,

    /// Joins the site of another daemon, on its NATS server: the file that its --print-join printed. Needed once.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["restore", "print_join"])]
    pub join: Option<PathBuf>,

    /// The site's name, in every commit.
    #[arg(long, default_value = "local")]
    pub site: Name,

    /// This node's name, the same for all processes of a node; the machine's host name if absent.
    #[arg(long)]
    pub node: Option<Name>,

    /// nats-server 2.15 or newer; from PATH if absent.
    #[arg(long, env = "EDGESTACK_NATS_SERVER")]
    pub nats_server: Option<PathBuf>,

    /// The port of our own nats-server on loopback; a free one at first start if absent.
    #[arg(long)]
    pub nats_port: Option<u16>,

    /// The three nodes that keep the log, a nats-server and a replica on each, this node among them; needed once, on the
    /// site's first daemon, and brought to the others by --join. The log goes on when any one of them is lost.
    #[arg(
        long,
        value_name = "NODE=ADDRESS:PORT/ROUTE-PORT",
        value_delimiter = ',',
        conflicts_with_all = ["nats_port", "join", "print_join"]
    )]
    pub cluster: Vec<Member>,

    /// What VMs are made with: `qemu`, or `simulated`, which makes nothing real and says so.
    #[arg(long, default_value = "qemu")]
    pub driver: DriverKind,

    /// The QEMU program.
    #[arg(long, default_value = "/usr/bin/qemu-system-x86_64")]
    pub qemu: PathBuf,

    /// The qemu-img program, of the same version.
    #[arg(long, default_value = "/usr/bin/qemu-img")]
    pub qemu_img: PathBuf,

    /// The unprivileged user that QEMU runs as when edgestackd is root.
    #[arg(long, default_value = "edgestack-vm")]
    pub vm_user: String,

    /// vCPUs that VMs may have for each CPU of the node.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub cpu_overcommit: u64,

    /// Loopback ports for the SSH forwards of VMs: FIRST-LAST.
    #[arg(long, default_value = "22000-22999")]
    pub ssh_ports: PortRange,

    /// Where VMs' networks are made: nowhere (`off`), in an OVN of our own on this machine (`bundled`, as root), or in one
    /// that is there (`existing`, with --ovn-northbound and --ovs-database).
    #[arg(long, default_value = "off", env = "EDGESTACK_NETWORKS")]
    pub networks: NetworksKind,

    /// The servers of an existing OVN's northbound database: unix:PATH, tcp:HOST:PORT or ssl:HOST:PORT, more with commas.
    #[arg(long, value_name = "ENDPOINTS", required_if_eq("networks", "existing"))]
    pub ovn_northbound: Option<Endpoints>,

    /// The same of its southbound database, from which each node's confirmation is read, which members of load balancers live, and
    /// where packets stop.
    #[arg(long, value_name = "ENDPOINTS", requires = "ovn_northbound")]
    pub ovn_southbound: Option<Endpoints>,

    /// The certificate of the CA of an existing OVN, in PEM, for ssl: endpoints.
    #[arg(long, value_name = "FILE", requires_all = ["ovn_tls_cert", "ovn_tls_key"])]
    pub ovn_tls_ca: Option<PathBuf>,

    /// Our certificate for an existing OVN, in PEM.
    #[arg(long, value_name = "FILE", requires = "ovn_tls_ca")]
    pub ovn_tls_cert: Option<PathBuf>,

    /// The key of --ovn-tls-cert, in PEM.
    #[arg(long, value_name = "FILE", requires = "ovn_tls_ca")]
    pub ovn_tls_key: Option<PathBuf>,

    /// The database of the Open vSwitch that VMs are plugged into, with --networks existing.
    #[arg(long, value_name = "ENDPOINT", default_value = "unix:/run/openvswitch/db.sock")]
    pub ovs_database: String,

    /// The bridge that VMs are plugged into.
    #[arg(long, value_name = "NAME", default_value = "br-int")]
    pub integration_bridge: String,

    /// A network outside that this machine reaches, and the bridge that leads to it, which is made if need be: networks of
    /// type FLAT and VLAN name it. More with commas, or given again. With --networks bundled.
    #[arg(long, value_name = "NAME=BRIDGE", value_delimiter = ',', value_parser = physical_network)]
    pub physical_network: Vec<(Name, String)>,

    /// Ends the OVN of our own that --networks bundled left running, and ends. Removes no network from the log.
    #[arg(long)]
    pub end_networks: bool,

    /// How often everything on the node is compared with the log, seconds.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub beat_seconds: u64,

    /// A target that webhooks may deliver to, none without: [http://]HOST|*.HOST|ADDRESS|RANGE/LENGTH[:PORT]. https without a
    /// scheme, the scheme's port without one, :* for every port. Loopback, link-local, metadata and own addresses only
    /// where an entry is exactly that address. More with commas, or given again.
    #[arg(long, value_name = "TARGET", value_delimiter = ',', env = "EDGESTACK_WEBHOOK_ALLOW")]
    pub webhook_allow: Vec<Allowed>,

    /// The certificate of a CA in PEM that targets of webhooks may have theirs from, besides the public ones.
    #[arg(long, value_name = "FILE")]
    pub webhook_ca: Option<PathBuf>,

    /// How the log is written: for people, or JSON lines.
    #[arg(long, default_value = "human", env = "EDGESTACK_LOG_FORMAT")]
    pub log_format: LogFormat,
}

/// Something that a process of a site does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Runs and watches the site's own nats-server.
    Nats,
    /// Runs and watches the site's own OVN, with --networks bundled.
    Ovn,
    /// Decides commands and writes the log.
    Engine,
    /// Serves MM3 over HTTP from views of its own.
    Api,
    /// Runs VMs.
    WorkerVm,
    /// Keeps images and disks.
    WorkerStorage,
    /// Keeps the virtual network, with --networks.
    WorkerGateway,
    /// Tells what the node has and that it lives.
    WorkerMonitoring,
    /// Delivers events to webhooks.
    WorkerWebhook,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Nats,
        Self::Ovn,
        Self::Engine,
        Self::Api,
        Self::WorkerVm,
        Self::WorkerStorage,
        Self::WorkerGateway,
        Self::WorkerMonitoring,
        Self::WorkerWebhook,
    ];

    /// What a daemon does that has joined a site: nothing that is tied to its node.
    pub const OF_JOINED: [Self; 3] = [Self::Engine, Self::Api, Self::WorkerWebhook];

    /// The same, on a node that keeps a replica of the log.
    pub const OF_JOINED_MEMBER: [Self; 4] = [Self::Nats, Self::Engine, Self::Api, Self::WorkerWebhook];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nats => "nats",
            Self::Ovn => "ovn",
            Self::Engine => "engine",
            Self::Api => "api",
            Self::WorkerVm => "worker.vm",
            Self::WorkerStorage => "worker.storage",
            Self::WorkerGateway => "worker.gateway",
            Self::WorkerMonitoring => "worker.monitoring",
            Self::WorkerWebhook => "worker.webhook",
        })
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|role| role.to_string() == text).ok_or_else(|| {
            let all: Vec<String> = Self::ALL.iter().map(ToString::to_string).collect();
            format!("there is no role {text:?}; there are {}", all.join(", "))
        })
    }
}

/// What VMs are made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum DriverKind {
    /// QEMU processes on this machine.
    Qemu,
    /// Nothing real.
    Simulated,
}

/// Where VMs' networks are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum NetworksKind {
    /// Nowhere: VMs have a user-mode NAT NIC.
    Off,
    /// In an OVN of our own on this machine.
    Bundled,
    /// In an OVN that is there.
    Existing,
}

/// Reads `NAME=BRIDGE`.
fn physical_network(text: &str) -> Result<(Name, String), String> {
    let (name, bridge) = text.split_once('=').ok_or("must be NAME=BRIDGE")?;
    let name = name.parse().map_err(|error| format!("{name:?}: {error}"))?;
    Ok((name, bridge.to_owned()))
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Human,
    /// JSON lines for programs.
    Json,
}

/// TCP ports from a first to a last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last, also in it.
    pub last: u16,
}

impl FromStr for PortRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not FIRST-LAST, two ports from 1024 to 65535 in order");
        let (first, last) = text.split_once('-').ok_or_else(bad)?;
        let (first, last) = (first.parse().map_err(|_| bad())?, last.parse().map_err(|_| bad())?);
        if first < 1024 || last < first {
            return Err(bad());
        }
        Ok(Self { first, last })
    }
}

impl Options {
    /// Whether this process has a role.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// The nats-server program: as given, or the first in PATH.
    pub fn nats_server(&self) -> PathBuf {
        self.nats_server.clone().or_else(|| in_path("nats-server")).unwrap_or_else(|| PathBuf::from("nats-server"))
    }

    /// This node's name, from the host name where none was given.
    pub fn node_name(&self) -> Option<Name> {
        self.node.clone().or_else(|| {
            let host = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
            host.parse().or_else(|_| "node-1".parse()).ok()
        })
    }
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file: &PathBuf| Path::new(file).is_file())
}
