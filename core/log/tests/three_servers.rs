//! The log on a cluster of three servers, three replicas: it keeps every promise of [`Log`], and goes on when any one
//! server is killed. The servers are configured here; those of a site are tested end to end (ADR 0033).
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

mod nats;

use std::fmt::Write;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use edgestack_log::conformance::{CASES, Handles, commit};
use edgestack_log::jetstream::{JetStreamLog, Options, Role};
use edgestack_log::{ChainHead, Log, Resolution, resolve, verify};
use nats::{DEADLINE, until};

/// Three servers in one folder, with an account for each log that a test wants.
struct Cluster {
    binary: PathBuf,
    servers: Vec<Child>,
    ports: Vec<u16>,
    dir: tempfile::TempDir,
}

impl Cluster {
    fn start(binary: &Path, accounts: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Held together, so that all six differ.
        let held: Vec<_> = (0..6).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let mut ports: Vec<_> = held.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        drop(held);
        let routes = ports.split_off(3);
        let peers: Vec<_> = routes.iter().map(|port| format!("nats://route:secret@127.0.0.1:{port}")).collect();
        let mut users = String::new();
        for account in 0..accounts {
            writeln!(users, "A{account} {{ jetstream: enabled, users: [{{user: u{account}, password: p}}] }}").unwrap();
        }
        for number in 0..3 {
            let config = format!(
                "server_name: s{number}\nlisten: \"127.0.0.1:{}\"\nlog_file: \"{dir}/s{number}.log\"\n\
                 jetstream {{ store_dir: \"{dir}/s{number}\", sync_interval: always }}\n\
                 cluster {{ name: site, listen: \"127.0.0.1:{}\", authorization {{ user: route, password: secret }}\n\
                 routes: [{}] }}\naccounts {{ {users} }}\n",
                ports[number],
                routes[number],
                peers.join(", "),
                dir = dir.path().display(),
            );
            fs::write(dir.path().join(format!("s{number}.conf")), config).unwrap();
        }
        let mut cluster = Self { binary: binary.to_owned(), servers: Vec::new(), ports, dir };
        for number in 0..3 {
            let server = cluster.spawn(number);
            cluster.servers.push(server);
        }
        cluster
    }

    fn spawn(&self, number: usize) -> Child {
        let config = self.dir.path().join(format!("s{number}.conf"));
        Command::new(&self.binary).arg("-c").arg(config).stderr(Stdio::null()).spawn().unwrap()
    }

    fn kill(&mut self, number: usize) {
        self.servers[number].kill().unwrap();
        self.servers[number].wait().unwrap();
    }

    fn restart(&mut self, number: usize) {
        self.servers[number] = self.spawn(number);
    }

    /// A handle that knows all three servers, on the log of an account.
    async fn log(&self, account: usize) -> JetStreamLog {
        let servers: Vec<_> = self.ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let url = format!("nats://u{account}:p@{}", servers.join(","));
        let mut options = Options::new(url, Role::Engine);
        options.connect_timeout = DEADLINE;
        options.request_timeout = Duration::from_secs(2);
        options.ack_timeout = Duration::from_secs(2);
        let log = JetStreamLog::connect(options).await.unwrap();
        // Refused until all three have found each other.
        until("the stream with three replicas is made", async || log.ensure_stream(3).await.is_ok()).await;
        log
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

#[tokio::test]
async fn the_log_on_three_servers_keeps_every_promise() {
    let Some(binary) = nats::binary("the_log_on_three_servers_keeps_every_promise") else {
        return;
    };
    let cluster = Cluster::start(&binary, CASES.len());
    for (account, case) in CASES.iter().enumerate() {
        let handles =
            Handles { log: Arc::new(cluster.log(account).await), other: Arc::new(cluster.log(account).await) };
        let outcome = (case.run)(handles).await;
        println!("three servers {}: {outcome:?}", case.name);
        assert_eq!(outcome, Ok(()), "{}", case.name);
    }
}

/// Appends one commit and settles what is unknown; how long it took from the first attempt to the known outcome.
async fn append_surely(log: &JetStreamLog, chain: ChainHead, id: &str) -> (ChainHead, Duration) {
    let start = Instant::now();
    let entry = commit(&chain, id, 600);
    let after = chain.after(&entry.payload);
    loop {
        assert!(start.elapsed() < DEADLINE, "{id} isn't stored within {DEADLINE:?}");
        let outcome = match log.append(entry.clone()).await {
            Ok(ack) => ack.await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(sequence) => {
                assert_eq!(sequence, after.sequence);
                return (after, start.elapsed());
            }
            Err(_) => match resolve(log, after.sequence, &entry.commit_id, DEADLINE).await.unwrap() {
                Resolution::Ours => return (after, start.elapsed()),
                Resolution::Absent => tokio::time::sleep(Duration::from_millis(20)).await,
                Resolution::Foreign => panic!("{id}: a foreign commit"),
            },
        }
    }
}

/// Each server is killed in turn, so the leader as well, while commits are appended.
#[tokio::test]
async fn writes_go_on_when_any_one_of_three_servers_is_killed() {
    let Some(binary) = nats::binary("writes_go_on_when_any_one_of_three_servers_is_killed") else {
        return;
    };
    let mut cluster = Cluster::start(&binary, 1);
    let log = cluster.log(0).await;
    let (mut chain, mut took);
    chain = ChainHead::GENESIS;
    for victim in 0..3 {
        let mut longest = Duration::ZERO;
        for number in 0..60 {
            match number {
                20 => cluster.kill(victim),
                40 => cluster.restart(victim),
                _ => {}
            }
            (chain, took) = append_surely(&log, chain, &format!("s{victim}-{number}")).await;
            longest = longest.max(took);
        }
        println!("s{victim} killed: the longest append took {longest:?}");
        // Whoever is killed next must not be needed for a majority.
        let port = cluster.ports[victim];
        until("the server is back", async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok()).await;
    }
    assert_eq!(verify(&log, Some(chain.sequence)).await.unwrap(), chain);
    assert_eq!(chain.sequence, 180, "each commit once");
}
