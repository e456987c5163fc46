//! A site with a certificate of its own, and edgectl that is told of its CA.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

use edgestack_e2e::{PATIENCE, SPEAKS, Site, SiteOptions, edgectl, eventually};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A CA that exists for one test.
struct Ca {
    issuer: Issuer<'static, KeyPair>,
    file: PathBuf,
}

impl Ca {
    fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let file = folder.join(format!("{name}.pem"));
        fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self { issuer: Issuer::new(params, key), file }
    }

    /// Arguments of a daemon whose certificate is for this host.
    fn arguments(&self, folder: &Path, host: &str) -> Vec<String> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let (cert_file, key_file) = (folder.join("site.pem"), folder.join("site.key"));
        fs::write(&cert_file, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        [("--tls-cert", &cert_file), ("--tls-key", &key_file), ("--tls-ca", &self.file)]
            .iter()
            .flat_map(|(option, file)| [(*option).to_owned(), file.display().to_string()])
            .collect()
    }
}

async fn site(test: &str, arguments: Vec<String>) -> Option<Site> {
    let mut site = Site::prepare(test, SiteOptions { simulated: true, arguments })?;
    site.up().await;
    site.await_node().await;
    Some(site)
}

/// edgectl with nothing but a config folder.
fn bare(config: &Path, line: &str) -> Command {
    let mut command = Command::new(edgectl());
    command.args(line.split(' ')).env_clear().env("XDG_CONFIG_HOME", config).env("NO_COLOR", "1");
    command
}

/// As a user who has the site's `client.json` in the place of edgectl's config file.
fn as_quickstart_leaves_it(site: &Site) -> PathBuf {
    let config = site.folder().join("config");
    let file = config.join("edgestack/config.json");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::copy(site.state().join("client.json"), &file).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    config
}

#[track_caller]
fn works(mut command: Command) -> String {
    let output = command.output().expect("edgectl runs");
    assert!(output.status.success(), "{command:?}: {}", words(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The one line on standard error.
#[track_caller]
fn fails(mut command: Command, code: i32) -> String {
    let output = command.output().expect("edgectl runs");
    let words = words(&output);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {words}");
    assert_eq!(words.lines().count(), 1, "{words}");
    words
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

/// A command that goes on, killed when dropped, and its lines as they come.
struct Stream {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Stream {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("edgectl runs");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines }
    }

    /// Waits for a line.
    #[track_caller]
    fn await_line(&self, what: &str, wanted: impl Fn(&str) -> bool) {
        let begun = std::time::Instant::now();
        while let Some(left) = PATIENCE.checked_sub(begun.elapsed()) {
            match self.lines.recv_timeout(left) {
                Ok(line) if wanted(&line) => return,
                Ok(_) => {}
                Err(_) => break,
            }
        }
        panic!("no line with {what} came");
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edgectl_works_over_tls_with_the_ca_that_the_client_file_names() {
    let folder = tempfile::tempdir().unwrap();
    let ca = Ca::new(folder.path(), "ca");
    let test = "edgectl_works_over_tls_with_the_ca_that_the_client_file_names";
    let Some(site) = Site::start_with(test, ca.arguments(folder.path(), "127.0.0.1")).await else { return };
    let client = site.client_file();
    assert!(client["url"].as_str().unwrap().starts_with("https://127.0.0.1:"), "{client}");
    assert_eq!(client["ca_file"].as_str().map(Path::new), Some(ca.file.as_path()));
    let config = as_quickstart_leaves_it(&site);
    let ctl = |line: &str| bare(&config, line);

    assert!(works(ctl("list-nodes")).contains("n1"));
    let seen: Value = serde_json::from_str(&works(ctl("config view -o json"))).unwrap();
    assert_eq!(seen["ca_file"], client["ca_file"]);
    assert!(works(ctl("version")).contains("site "));

    // Streams: each change comes when it happens.
    let watch = Stream::start(ctl("watch-vms -o json"));
    watch.await_line("the end of the list", |line| line.contains("BOOKMARK"));
    // An upload of several chunks arrives whole.
    let file = folder.path().join("disk.raw");
    let content: Vec<u8> = (0..5_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(&file, &content).unwrap();
    works(ctl(&format!("create-image sent --file {} --format raw", file.display())));
    let image: Value = serde_json::from_str(&works(ctl("show-image sent -o json"))).unwrap();
    assert_eq!(image["size_bytes"], content.len());
    assert!(image["checksum"].as_str().unwrap().ends_with(&hex::encode(Sha256::digest(&content))), "{image}");
    site.add_boot_image("speaks", SPEAKS).await;
    works(ctl("create-flavor tiny --vcpus 1 --memory-mib 32 --disk-gib 1"));
    works(ctl("create-vm a --image speaks --flavor tiny"));
    watch.await_line("a running VM", |line| line.contains(r#""state":"running""#));
    let events = Stream::start(ctl("show-vm-events a --follow -o name"));
    events.await_line("VmStarted", |line| line == "VmStarted");
    let logs = Stream::start(ctl("show-vm-logs a --follow"));
    logs.await_line("what the guest prints", |line| !line.trim().is_empty());
    works(ctl("stop-vm a --force"));
    events.await_line("VmStopped", |line| line == "VmStopped");
    works(ctl("remove-vm a"));
}

#[tokio::test]
async fn without_the_right_ca_edgectl_says_which_option_helps() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, other) = (Ca::new(folder.path(), "ca"), Ca::new(folder.path(), "other"));
    let test = "without_the_right_ca_edgectl_says_which_option_helps";
    let Some(site) = site(test, ca.arguments(folder.path(), "localhost")).await else { return };
    let url = site.client_file()["url"].as_str().unwrap().to_owned();
    assert!(url.starts_with("https://localhost:"), "the certificate is for that name: {url}");
    let nowhere = folder.path().join("nowhere");
    let ctl = |line: &str| {
        let mut command = bare(&nowhere, line);
        command.env("EDGESTACK_URL", &url).env("EDGESTACK_TOKEN", &site.api().token);
        command
    };
    let with = |file: &Path| ctl(&format!("list-nodes --ca-file {}", file.display()));

    let told = fails(ctl("list-nodes"), 1);
    assert!(told.contains("signed by no public CA") && told.contains("--ca-file"), "{told}");
    let told = fails(with(&other.file), 1);
    assert!(told.contains("not signed by the CA in") && told.contains("other.pem (from --ca-file)"), "{told}");
    let told = fails(with(&folder.path().join("missing.pem")), 2);
    assert!(told.contains("missing.pem (from --ca-file)") && told.contains("No such file"), "{told}");
    let told = fails(with(&folder.path().join("site.key")), 2);
    assert!(told.contains("site.key (from --ca-file) holds no certificate"), "{told}");
    let broken = folder.path().join("broken.pem");
    fs::write(&broken, "-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n").unwrap();
    assert!(fails(with(&broken), 2).contains("holds no certificate"));

    let mut by_address = with(&ca.file);
    by_address.env("EDGESTACK_URL", url.replace("localhost", "127.0.0.1"));
    let told = fails(by_address, 1);
    assert!(told.contains("not for 127.0.0.1, but for localhost") && told.contains("--url"), "{told}");
    let mut in_clear = with(&ca.file);
    in_clear.env("EDGESTACK_URL", url.replace("https", "http"));
    let told = fails(in_clear, 1);
    assert!(told.contains("https://"), "{told}");

    assert!(works(with(&ca.file)).contains("n1"));
    let mut by_variable = ctl("list-nodes");
    by_variable.env("EDGESTACK_CA_FILE", &ca.file);
    assert!(works(by_variable).contains("n1"));
}

#[tokio::test]
async fn a_daemon_tells_of_a_certificate_that_its_clients_will_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, other) = (Ca::new(folder.path(), "ca"), Ca::new(folder.path(), "other"));
    let mut arguments = ca.arguments(folder.path(), "127.0.0.1");
    *arguments.last_mut().unwrap() = other.file.display().to_string();
    let test = "a_daemon_tells_of_a_certificate_that_its_clients_will_refuse";
    let Some(mut site) = Site::prepare(test, SiteOptions { simulated: true, arguments }) else { return };
    site.up().await;
    eventually("the daemon's log tells", Duration::from_secs(5), async || {
        let log = site.log();
        if log.contains("will refuse the certificate in --tls-cert") { Ok(()) } else { Err(log) }
    })
    .await;

    // A file without certificate is no CA at all.
    site.daemon.take();
    fs::write(&other.file, "nothing").unwrap();
    assert!(!site.try_up_with(&[]).await, "it must not start");
    assert!(site.log().contains("other.pem is not a readable PEM file"), "{}", site.log());
}
