//! The archive's closed segments in a store that speaks S3: a real server of it, away, back, with wrong keys, and another
//! site's; and a machine that is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use edgestack_e2e::{PATIENCE, Site, SiteOptions, eventually, python, run_edgectl::works};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

const BUCKET: &str = "logs";
const FLAVORS: usize = 50;

/// An S3 server of this test alone (moto's), in memory.
struct S3 {
    child: Child,
    port: u16,
}

impl S3 {
    async fn start(test: &str, variables: &[(&str, &str)]) -> Option<Self> {
        let python = python(test)?;
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto starts; EDGESTACK_PYTHON needs tests/e2e/requirements.txt");
        let s3 = Self { child, port };
        eventually("a bucket is made", PATIENCE, async || {
            let made =
                reqwest::Client::new().put(s3.url(BUCKET)).header("Host", "s3.us-east-1.amazonaws.com").send().await;
            match made {
                Ok(made) if made.status().is_success() => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        Some(s3)
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// The names of all objects.
    async fn objects(&self) -> String {
        let list = reqwest::get(self.url(&format!("{BUCKET}?list-type=2"))).await.unwrap();
        list.text().await.unwrap()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The way to the server, which can be cut.
struct Way {
    port: u16,
    to: u16,
    open: Option<JoinSet<()>>,
}

impl Way {
    async fn open(to: u16) -> Self {
        let mut way = Self { port: 0, to, open: None };
        way.mend().await;
        way
    }

    async fn mend(&mut self) {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
        self.port = listener.local_addr().unwrap().port();
        let to = self.to;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut carried = JoinSet::new();
            loop {
                let (mut here, _) = listener.accept().await.unwrap();
                carried.spawn(async move {
                    if let Ok(mut there) = TcpStream::connect(("127.0.0.1", to)).await {
                        let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
                    }
                });
            }
        });
        self.open = Some(tasks);
    }

    async fn cut(&mut self) {
        if let Some(mut open) = self.open.take() {
            open.shutdown().await;
        }
    }
}

/// A file with endpoint and keys, for the owner alone.
fn settings(folder: &Path, port: u16) -> PathBuf {
    let path = folder.join(format!("s3-{port}.conf"));
    let text = format!(
        "AWS_ENDPOINT_URL=http://127.0.0.1:{port}\nAWS_REGION=us-east-1\nAWS_ACCESS_KEY_ID=key\nAWS_SECRET_ACCESS_KEY=secret\n"
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn a_site(test: &str, files: &Path, port: u16) -> Option<Site> {
    let file = settings(files, port);
    let arguments = ["--archive", "s3://logs/sites/one", "--archive-settings", file.to_str().unwrap()];
    Site::prepare(test, SiteOptions { simulated: true, arguments: arguments.map(str::to_owned).to_vec() })
}

async fn add(site: &Site, name: &str) {
    let flavor = json!({"name": name, "vcpus": 1, "memory_mib": 32, "disk_gib": 1});
    site.api().post("flavors", &flavor).await.expect(201);
}

async fn flavors(site: &Site) -> usize {
    site.api().get("flavors?limit=1000").await["items"].as_array().unwrap().len()
}

fn is_whole(site: &Site) {
    let replayed = works(site, &["replay", "--verify"]);
    assert!(replayed.contains("byte for byte"), "{replayed}");
}

// edgectl is waited for while the way to the store carries bytes.
#[tokio::test(flavor = "multi_thread")]
async fn closed_segments_lie_in_the_store_and_a_lost_machine_comes_back_from_it() {
    let test = "closed_segments_lie_in_the_store_and_a_lost_machine_comes_back_from_it";
    let Some(s3) = S3::start(test, &[]).await else { return };
    let mut way = Way::open(s3.port).await;
    let files = tempfile::tempdir().unwrap();
    let Some(mut site) = a_site(test, files.path(), way.port) else { return };
    site.up().await;
    site.await_node().await;
    for number in 0..FLAVORS {
        add(&site, &format!("f{number}")).await;
    }
    works(&site, &["archive", "--before", "40", "--reason", "a small disk"]);
    for name in ["sites/one/segments/00000000000000000001-", "sites/one/released.json", "sites/one/head.json"] {
        eventually(&format!("{name} is in the store"), PATIENCE, async || {
            let objects = s3.objects().await;
            if objects.contains(name) { Ok(()) } else { Err(objects) }
        })
        .await;
    }
    assert!(!site.state().join("archive/segments").exists(), "no segment is here");
    is_whole(&site);

    // The store is away: writes go on, so does a start, and only what has left the log can't be shown.
    way.cut().await;
    add(&site, "without-the-store").await;
    site.daemon.as_mut().unwrap().stop().await;
    site.up().await;
    site.await_ready().await;
    assert!(site.log().contains("the archive's store can't be reached"), "{}", site.log());
    add(&site, "started-without-the-store").await;
    assert_eq!(flavors(&site).await, FLAVORS + 2);
    let past = site.api().look("/edgetron/log/diff?from=5&to=10").await.unwrap();
    assert_eq!(past.status, 503, "{}", past.text);

    // It is back: nothing has to be done.
    way.mend().await;
    eventually("the past is shown again", PATIENCE, async || {
        let past = site.api().look("/edgetron/log/diff?from=5&to=10").await.map_err(|error| error.to_string())?;
        if past.status == 200 { Ok(()) } else { Err(past.text) }
    })
    .await;
    is_whole(&site);
    assert!(!site.log().contains("segment of the archive is damaged"), "what is away is not damaged");
    works(&site, &["archive", "--before", "50", "--reason", "it is back"]);
    is_whole(&site);

    // Another site may not take this one's place in the store.
    let Some(mut other) = a_site(test, files.path(), way.port) else { return };
    assert!(!other.try_up_with(&[]).await, "it starts");
    assert!(other.log().contains("give this site a prefix of its own"), "{}", other.log());

    // The machine is lost with all but the keys.
    site.kill_everything();
    for folder in ["nats", "archive", "views", "snapshots"] {
        fs::remove_dir_all(site.state().join(folder)).unwrap();
    }
    site.up().await;
    site.await_node().await;
    // The last two are in the open segment, whose copy is made each minute.
    let back = flavors(&site).await;
    assert!((FLAVORS..=FLAVORS + 2).contains(&back), "all that was in closed segments is back: {back}");
    add(&site, "on-the-new-machine").await;
    is_whole(&site);
}

#[tokio::test]
async fn wrong_keys_are_told_with_the_fix() {
    let test = "wrong_keys_are_told_with_the_fix";
    // After the bucket was made, moto asks for keys that it knows; it knows none.
    let Some(s3) = S3::start(test, &[("INITIAL_NO_AUTH_ACTION_COUNT", "1")]).await else { return };
    let files = tempfile::tempdir().unwrap();
    let Some(mut site) = a_site(test, files.path(), s3.port) else { return };
    assert!(!site.try_up_with(&[]).await, "it starts");
    assert!(site.log().contains("AWS_SECRET_ACCESS_KEY"), "{}", site.log());
}
