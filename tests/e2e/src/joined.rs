//! A second daemon on a site: a state folder and a node name of its own, on the first one's NATS server.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::{Api, Daemon, PATIENCE, Site, eventually, machine};

/// A daemon that has joined a site; what is left of it goes with the site's folder.
pub struct Joined {
    /// The process.
    pub daemon: Daemon,
    folder: PathBuf,
    arguments: Vec<String>,
    api: Api,
}

impl Joined {
    /// What `edgestackd --print-join` prints, in a file.
    ///
    /// # Panics
    /// When it prints nothing.
    pub fn ticket(site: &Site) -> PathBuf {
        let output = std::process::Command::new(machine::edgestackd())
            .args(["--state-dir", &site.state().to_string_lossy(), "--site", "e2e", "--print-join"])
            .output()
            .expect("edgestackd runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let file = site.folder().join("join.json");
        fs::write(&file, output.stdout).expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("rights");
        file
    }

    /// Joins the site under a node name, and waits until the daemon answers.
    pub async fn start(site: &Site, node: &str) -> Self {
        let folder = site.folder().join(node);
        let ticket = Self::ticket(site);
        let state = folder.to_string_lossy().into_owned();
        let all = ["--state-dir", &state, "--listen", "127.0.0.1:0", "--node", node, "--driver", "simulated"];
        let arguments: Vec<String> = all.map(str::to_owned).to_vec();
        let joining = ["--join".to_owned(), ticket.to_string_lossy().into_owned()];
        let (daemon, api) = up(&folder, &[arguments.clone(), joining.to_vec()].concat()).await;
        Self { daemon, folder, arguments, api }
    }

    /// Its client.
    pub fn api(&self) -> &Api {
        &self.api
    }

    /// Starts it again, as a supervisor would: it has joined already.
    pub async fn up(&mut self) {
        (self.daemon, self.api) = up(&self.folder, &self.arguments).await;
    }
}

async fn up(folder: &Path, arguments: &[String]) -> (Daemon, Api) {
    let file = folder.join("client.json");
    // Its appearance is the sign that the API listens.
    let _ = fs::remove_file(&file);
    let mut log = folder.as_os_str().to_owned();
    log.push(".log");
    let mut daemon = Daemon::spawn(arguments, &[], log.into());
    let came = eventually("the daemon that has joined answers", PATIENCE, async || {
        if let Some(status) = daemon.ended() {
            panic!("{status}\n{}", daemon.log());
        }
        fs::read(&file).map_err(|error| error.to_string())
    })
    .await;
    let client: Value = serde_json::from_slice(&came).expect("JSON");
    let text = |field: &str| client[field].as_str().expect("a text").to_owned();
    let api = Api::trusting(&text("url"), &text("token"), None);
    (daemon, api)
}
