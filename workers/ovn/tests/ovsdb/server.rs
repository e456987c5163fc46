//! A real ovsdb-server in a temporary folder.

use std::{
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use edgestack_ovn::ovsdb::{Client, Endpoint, Endpoints, OvsdbError, Tls, Watched};

/// For everything that has to come, and does so at once.
pub const SOON: Duration = Duration::from_secs(20);
pub const DATABASE: &str = "OVN_Northbound";
pub const WATCHED: [Watched; 4] = [
    Watched { table: "NB_Global", columns: &["nb_cfg", "external_ids"] },
    Watched { table: "Logical_Switch", columns: &["name", "ports", "external_ids"] },
    Watched { table: "Logical_Switch_Port", columns: &["name", "tag", "addresses", "up", "options"] },
    Watched { table: "Address_Set", columns: &["name", "addresses", "external_ids"] },
];

const SCHEMA: &str = "/usr/share/ovn/ovn-nb.ovsschema";

pub struct Server {
    child: Child,
    folder: tempfile::TempDir,
    // Open as long as the server lives: what it runs would stumble over a closed one.
    _ready: BufReader<ChildStdout>,
}

/// How the database is kept.
#[derive(Clone, Copy, PartialEq)]
pub enum Model {
    Standalone,
    /// A cluster with this server as its only member.
    Clustered,
}

/// A server, or none with a word on stderr where it is not installed; CI has to have it.
pub fn server() -> Option<Server> {
    Server::start(Model::Standalone, |_| Vec::new())
}

impl Server {
    /// With further arguments, which may name files in the server's folder.
    pub fn start(model: Model, arguments: impl FnOnce(&Path) -> Vec<String>) -> Option<Self> {
        if !found("ovsdb-server", runs("ovsdb-server", "--version")) || !found(SCHEMA, Path::new(SCHEMA).exists()) {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        match model {
            Model::Standalone => run(Command::new("ovsdb-tool").args(["create", &at("db"), SCHEMA])),
            Model::Clustered => {
                let address = format!("unix:{}", at("raft"));
                run(Command::new("ovsdb-tool").args(["create-cluster", &at("db"), SCHEMA, &address]));
            }
        }
        let mut server = Command::new("ovsdb-server");
        server
            .args([format!("--remote=punix:{}", at("socket")), format!("--unixctl={}", at("control"))])
            .arg("-vconsole:emer")
            .args(arguments(folder.path()))
            .arg(at("db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if model == Model::Standalone {
            // What `--run` names begins when the server listens, and its end ends the server. So a line tells that it is
            // ready, and it does not outlive us, whose end closes the pipe that `cat` reads.
            server.arg("--run=echo listening; exec cat");
        }
        let mut child = server.spawn().unwrap();
        let mut ready = BufReader::new(child.stdout.take().unwrap());
        match model {
            Model::Standalone => {
                let mut line = String::new();
                ready.read_line(&mut line).unwrap();
                assert_eq!(line, "listening\n", "ovsdb-server does not start");
            }
            // It elects itself after a while, and has threads by then, which `--run` does not go with.
            Model::Clustered => {
                let socket = format!("unix:{}", at("socket"));
                run(Command::new("ovsdb-client").args(["--timeout=20", "wait", &socket, DATABASE, "connected"]));
            }
        }
        Some(Self { child, folder, _ready: ready })
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.folder.path().join("socket"))
    }

    pub async fn client(&self) -> Client {
        self.connect(DATABASE, &WATCHED).await.unwrap()
    }

    pub async fn connect(&self, database: &str, watched: &[Watched]) -> Result<Client, OvsdbError> {
        Client::connect(&self.endpoint().into(), database, watched, SOON).await
    }

    /// As `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Certificates as Open vSwitch's own tool makes them.
pub struct Pki(tempfile::TempDir);

impl Pki {
    /// None where the tool is not installed.
    pub fn new() -> Option<Self> {
        if !found("ovs-pki", runs("ovs-pki", "--help")) || !found("openssl", runs("openssl", "version")) {
            return None;
        }
        let pki = Self(tempfile::tempdir().unwrap());
        run(pki.tool().arg("init"));
        for name in ["server", "client"] {
            run(pki.tool().args(["-u", "req+sign", name, "switch"]));
        }
        Some(pki)
    }

    fn tool(&self) -> Command {
        let mut tool = Command::new("ovs-pki");
        let folder = self.0.path();
        tool.current_dir(folder).arg(format!("--dir={}", folder.join("pki").display()));
        tool.arg(format!("--log={}", folder.join("log").display()));
        tool
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The files of `server` or `client`, with one of the two CAs, `switchca` or `controllerca`.
    pub fn files(&self, name: &str, ca: &str) -> Tls {
        Tls {
            ca: self.at(&format!("pki/{ca}/cacert.pem")),
            certificate: self.at(&format!("{name}-cert.pem")),
            private_key: self.at(&format!("{name}-privkey.pem")),
        }
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn endpoints(text: &str) -> Endpoints {
    text.parse().unwrap()
}

fn runs(program: &str, argument: &str) -> bool {
    Command::new(program).arg(argument).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// Passes on whether something was found, and says so if not.
fn found(what: &str, found: bool) -> bool {
    if !found {
        const PACKAGES: &str = "Debian: openvswitch-switch, openvswitch-common, ovn-central, openssl";
        assert!(std::env::var_os("CI").is_none(), "{what} is not installed ({PACKAGES})");
        eprintln!("skipped: {what} is not installed ({PACKAGES})");
    }
    found
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
