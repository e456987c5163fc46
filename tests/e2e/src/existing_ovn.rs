//! An OVN that somebody else runs: what a site with `--networks existing` is told to use. Its databases of what is wanted
//! and of what is done speak TLS alone. Sources: ovsdb-server(1), ovn-northd(8), ovn-controller(8), INSTALL.rst of OVN.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::{PATIENCE, deadline::eventually, own_network::run};

/// As whom its chassis is known; no node of ours is called so.
pub const CHASSIS: &str = "c0ffee00-0000-4000-8000-000000000001";
/// Nobody listens there.
const NORTHBOUND_OF_OLD: u16 = 6640;
const NORTHBOUND: u16 = 6641;
const SOUTHBOUND: u16 = 6642;
/// Its processes, in the order in which they are started.
const PARTS: [&str; 6] = ["switch", "nb", "sb", "vswitchd", "northd", "controller"];

/// The running OVN; it ends when dropped. Its bridge `br-ex` leads to the physical network `external`.
pub struct ExistingOvn {
    folder: tempfile::TempDir,
    parts: Vec<(&'static str, Child)>,
}

impl ExistingOvn {
    /// In the test's own network, and with a switch in userspace.
    pub async fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("eo-").tempdir_in("/tmp").expect("a folder");
        let mut ovn = Self { folder, parts: vec![] };
        ovn.issue_certificates();
        for (database, schema) in [
            ("switch", "/usr/share/openvswitch/vswitch.ovsschema"),
            ("nb", "/usr/share/ovn/ovn-nb.ovsschema"),
            ("sb", "/usr/share/ovn/ovn-sb.ovsschema"),
        ] {
            run(&["ovsdb-tool", "create", &ovn.path(&format!("{database}.db")), schema]);
        }
        for part in PARTS {
            ovn.start_part(part);
            if part == "sb" {
                ovn.configure().await;
            }
        }
        ovn
    }

    /// The folder with `nb.sock` and `switch.sock`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a daemon is told of it. The first of the northbound servers is one that was there once.
    pub fn arguments(&self) -> Vec<String> {
        let words = [
            ("--networks", "existing".to_owned()),
            ("--ovn-northbound", format!("ssl:127.0.0.1:{NORTHBOUND_OF_OLD},ssl:127.0.0.1:{NORTHBOUND}")),
            ("--ovn-southbound", format!("ssl:127.0.0.1:{SOUTHBOUND}")),
            ("--ovn-tls-ca", self.path("ca.pem")),
            ("--ovn-tls-cert", self.path("site.pem")),
            ("--ovn-tls-key", self.path("site.key")),
            ("--ovs-database", format!("unix:{}", self.path("switch.sock"))),
        ];
        words.into_iter().flat_map(|(option, value)| [option.to_owned(), value]).collect()
    }

    /// `kill -9` of one of its processes.
    ///
    /// # Panics
    /// When it doesn't run.
    pub fn kill(&mut self, part: &str) {
        let (_, child) = self.parts.iter_mut().find(|(name, _)| *name == part).expect("a part that runs");
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        self.parts.retain(|(name, _)| *name != part);
    }

    /// Starts one of its processes.
    pub fn start_part(&mut self, part: &'static str) {
        let unix = |name: &str| format!("unix:{}", self.path(&format!("{name}.sock")));
        let listens = |port: u16| format!("--remote=pssl:{port}:127.0.0.1");
        let database = |name: &str| vec![self.path(&format!("{name}.db")), format!("--remote=p{}", unix(name))];
        let (program, mut words) = match part {
            "switch" => ("ovsdb-server", database("switch")),
            "nb" => ("ovsdb-server", [database("nb"), vec![listens(NORTHBOUND)]].concat()),
            "sb" => ("ovsdb-server", [database("sb"), vec![listens(SOUTHBOUND)]].concat()),
            "vswitchd" => ("ovs-vswitchd", vec![unix("switch")]),
            "northd" => {
                ("ovn-northd", vec![format!("--ovnnb-db={}", unix("nb")), format!("--ovnsb-db={}", unix("sb"))])
            }
            "controller" => ("ovn-controller", vec![unix("switch")]),
            other => panic!("no part {other}"),
        };
        if ["nb", "sb", "controller"].contains(&part) {
            words.extend([
                format!("--private-key={}", self.path("ovn.key")),
                format!("--certificate={}", self.path("ovn.pem")),
                format!("--ca-cert={}", self.path("ca.pem")),
            ]);
        }
        if part != "controller" {
            words.push(format!("--unixctl={}", self.path(&format!("{part}.ctl"))));
        }
        words.extend([format!("--log-file={}", self.path(&format!("{part}.log"))), "-vconsole:off".to_owned()]);
        words.push("-vsyslog:off".to_owned());
        let child = Command::new(program)
            .args(words)
            .env("OVS_RUNDIR", self.folder())
            .env("OVN_RUNDIR", self.folder())
            .env("PATH", format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        self.parts.push((part, child));
    }

    /// What Debian's scripts would have written, and the bridges.
    async fn configure(&self) {
        eventually("the databases listen", PATIENCE, async || {
            let missing =
                ["switch.sock", "nb.sock", "sb.sock"].into_iter().find(|name| !self.folder().join(name).exists());
            missing.map_or(Ok(()), |name| Err(format!("no {name}")))
        })
        .await;
        let database = format!("--db=unix:{}", self.path("switch.sock"));
        let id = |key: &str, value: &str| format!("external_ids:{key}=\"{value}\"");
        let ids = [
            id("system-id", CHASSIS),
            id("ovn-remote", &format!("ssl:127.0.0.1:{SOUTHBOUND}")),
            id("ovn-bridge-datapath-type", "netdev"),
            id("ovn-encap-type", "geneve"),
            id("ovn-encap-ip", "127.0.0.1"),
            id("ovn-bridge-mappings", "external:br-ex"),
        ];
        let mut words = vec!["ovs-vsctl", &database, "--no-wait", "init", "--", "set", "Open_vSwitch", "."];
        words.extend(ids.iter().map(String::as_str));
        run(&words);
        for (bridge, fail_mode) in [("br-int", "secure"), ("br-ex", "standalone")] {
            let fail_mode = format!("fail_mode={fail_mode}");
            let make =
                ["--no-wait", "add-br", bridge, "--", "set", "Bridge", bridge, "datapath_type=netdev", &fail_mode];
            run(&[&["ovs-vsctl", &database][..], &make].concat());
        }
    }

    /// A CA of its own, a certificate for its servers, and one for the site.
    fn issue_certificates(&self) {
        let write = |name: &str, text: String| fs::write(self.folder().join(name), text).expect("written");
        let mut params = CertificateParams::new(vec![]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "the operator's own CA");
        let key = KeyPair::generate().expect("a key");
        write("ca.pem", params.self_signed(&key).expect("signed").pem());
        let ca = Issuer::new(params, key);
        for (name, host) in [("ovn", "127.0.0.1"), ("site", "edge.example")] {
            let key = KeyPair::generate().expect("a key");
            let params = CertificateParams::new(vec![host.to_owned()]).expect("a name");
            write(&format!("{name}.pem"), params.signed_by(&key, &ca).expect("signed").pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder().join(name).display().to_string()
    }

    /// The end of each log, for a test that fails.
    fn logs(&self) -> String {
        let tail = |part: &str| {
            let log = fs::read_to_string(self.folder().join(format!("{part}.log"))).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            format!("---- {part}\n{}\n", lines[lines.len().saturating_sub(8)..].join("\n"))
        };
        PARTS.map(tail).concat()
    }
}

impl Drop for ExistingOvn {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        for (_, child) in self.parts.iter_mut().rev() {
            // One that has ended by itself is no news here.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
