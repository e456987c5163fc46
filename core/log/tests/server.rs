//! The supervised nats-server: started, watched, adopted, replaced, stopped.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

mod nats;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use edgestack_log::conformance::append_some;
use edgestack_log::jetstream::{Credentials, NatsServer, NatsServerOptions, Role, ServerError, ServerState};
use edgestack_log::{ChainHead, Log, LogError, verify};
use futures::StreamExt;
use nats::{DEADLINE, Site, kill, until};

fn is_alive(pid: u32) -> bool {
    // A zombie has no command line.
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[tokio::test]
async fn a_killed_server_is_restarted_and_the_restart_is_seen() {
    let Some(binary) = nats::binary("a_killed_server_is_restarted_and_the_restart_is_seen") else {
        return;
    };
    let site = Site::start(&binary).await;
    let mut state = site.server().state();
    let first = site.server().pid().unwrap();
    state.mark_unchanged();
    kill(first);
    let seen = state.wait_for(|state| matches!(state, ServerState::Restarting { .. }));
    let seen = tokio::time::timeout(DEADLINE, seen).await.unwrap().unwrap().clone();
    let ServerState::Restarting { attempt: 1, why, .. } = seen else { panic!("{seen:?}") };
    assert!(why.contains("signal: 9"), "{why}");
    let back = state.wait_for(|state| matches!(state, ServerState::Running { restarts: 1, .. }));
    tokio::time::timeout(DEADLINE, back).await.unwrap().unwrap();
    assert_ne!(site.server().pid().unwrap(), first);
    site.stop().await;
}

#[tokio::test]
async fn its_files_are_private_and_stopping_leaves_no_process() {
    let Some(binary) = nats::binary("its_files_are_private_and_stopping_leaves_no_process") else {
        return;
    };
    let site = Site::start(&binary).await;
    for name in ["nats.conf", "credentials.json"] {
        let mode = fs::metadata(site.dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let loaded = Credentials::load(site.dir.path()).unwrap();
    assert_eq!(&loaded, site.server().credentials());
    let log = fs::read_to_string(site.dir.path().join("nats-server.log")).unwrap();
    for role in Role::ALL {
        let url = loaded.url(role);
        let password = url.split([':', '@']).nth(2).unwrap();
        assert_eq!(password.len(), 64);
        assert!(!log.contains(password));
    }
    let pid = site.server().pid().unwrap();
    site.stop().await;
    assert!(!is_alive(pid));
}

/// The daemon of the test below: starts the server, says its pid, and waits to be killed.
#[tokio::test]
async fn daemon_to_be_killed() {
    let Some(dir) = std::env::var_os("EDGESTACK_TEST_DAEMON_DIR") else {
        return;
    };
    let binary = nats::binary("daemon_to_be_killed").unwrap();
    let server = NatsServer::start(NatsServerOptions::new(binary, &dir)).await.unwrap();
    let new = std::path::Path::new(&dir).join("daemon-says.new");
    fs::write(&new, server.pid().unwrap().to_string()).unwrap();
    fs::rename(new, std::path::Path::new(&dir).join("daemon-says")).unwrap();
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_server_outlives_the_kill_of_its_daemon_and_is_adopted() {
    let Some(binary) = nats::binary("a_server_outlives_the_kill_of_its_daemon_and_is_adopted") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let options = NatsServerOptions::new(&binary, dir.path());
    let mut site = Site { server: None, options, dir };
    let mut daemon = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "daemon_to_be_killed"])
        .env("EDGESTACK_TEST_DAEMON_DIR", site.dir.path())
        .env("EDGESTACK_NATS_SERVER", &binary)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let said = site.dir.path().join("daemon-says");
    until("the daemon has started its server", async || said.exists()).await;
    let pid: u32 = fs::read_to_string(said).unwrap().parse().unwrap();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(is_alive(pid), "the server must outlive its daemon");

    site.server = Some(NatsServer::start(site.options.clone()).await.unwrap());
    assert_eq!(site.server().pid(), Some(pid), "it must be adopted, not started twice");
    let log = site.log().await;
    append_some(&log, ChainHead::GENESIS, 5).await.unwrap();

    // An adopted server is no child of ours; its end is seen all the same.
    let mut state = site.server().state();
    kill(pid);
    let back = state.wait_for(|state| matches!(state, ServerState::Running { pid: now, .. } if *now != pid));
    tokio::time::timeout(DEADLINE, back).await.unwrap().unwrap();
    until("the log answers again", async || log.head().await.is_ok()).await;
    assert_eq!(log.head().await.unwrap().last_sequence, 5);
    site.stop().await;
}

#[tokio::test]
async fn a_server_of_another_configuration_is_replaced_and_keeps_its_log() {
    let Some(binary) = nats::binary("a_server_of_another_configuration_is_replaced_and_keeps_its_log") else {
        return;
    };
    let mut site = Site::start(&binary).await;
    append_some(&site.log().await, ChainHead::GENESIS, 5).await.unwrap();
    let old = site.server().pid().unwrap();
    let address = site.server().credentials().address();
    site.server = None;
    assert!(is_alive(old), "dropping leaves the server running");
    let config = site.dir.path().join("nats.conf");
    fs::write(&config, fs::read_to_string(&config).unwrap() + "# changed by hand\n").unwrap();
    site.server = Some(NatsServer::start(site.options.clone()).await.unwrap());
    assert!(!is_alive(old));
    assert_ne!(site.server().pid(), Some(old));
    assert_eq!(site.server().credentials().address(), address, "clients know the address");
    assert_eq!(site.log().await.head().await.unwrap().last_sequence, 5);
    site.stop().await;
}

/// JetStream goes on without the commits of a block that it can't read, and its health says that all is well.
#[tokio::test]
async fn a_flipped_bit_on_the_disk_is_found_after_the_restart() {
    let Some(binary) = nats::binary("a_flipped_bit_on_the_disk_is_found_after_the_restart") else {
        return;
    };
    let mut site = Site::start(&binary).await;
    let chain = append_some(&site.log().await, ChainHead::GENESIS, 50).await.unwrap();
    site.server.take().unwrap().stop(DEADLINE).await;
    let block = site.dir.path().join("jetstream/jetstream/EDGESTACK/streams/MM3/msgs/1.blk");
    let mut bytes = fs::read(&block).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&block, bytes).unwrap();
    site.server = Some(NatsServer::start(site.options.clone()).await.unwrap());
    let log = site.log().await;
    println!("the log says: {:?}", log.head().await.unwrap());
    let found = verify(&log, Some(chain.sequence)).await;
    println!("found: {found:?}");
    assert!(matches!(found, Err(LogError::Damaged(_))), "{found:?}");
    let mut followed = log.follow(1).await.unwrap();
    let mut last = ChainHead::GENESIS;
    let stopped = loop {
        match tokio::time::timeout(DEADLINE, followed.next()).await.unwrap() {
            Some(Ok(commit)) => {
                if let Err(damage) = last.check_next(&commit) {
                    break damage.to_string();
                }
            }
            Some(Err(error)) => break error.to_string(),
            None => panic!("following ended without a word"),
        }
    };
    println!("a follower stopped after {}: {stopped}", last.sequence);
    assert!((1..50).contains(&last.sequence), "what is whole comes first: {}", last.sequence);
    site.stop().await;
}

#[tokio::test]
async fn what_hinders_the_start_is_told_with_its_fix() {
    let Some(binary) = nats::binary("what_hinders_the_start_is_told_with_its_fix") else {
        return;
    };
    let site = Site::start(&binary).await;
    let second = NatsServer::start(site.options.clone()).await.unwrap_err();
    assert!(matches!(second, ServerError::InUse { .. }), "{second:?}");

    let dir = tempfile::tempdir().unwrap();
    let mut taken = NatsServerOptions::new(&binary, dir.path());
    taken.port = site.server().credentials().address().port();
    let error = NatsServer::start(taken).await.unwrap_err();
    assert!(matches!(error, ServerError::AddressTaken { .. }), "{error:?}");

    let missing = NatsServerOptions::new("/nonexistent/nats-server", dir.path());
    let error = NatsServer::start(missing).await.unwrap_err();
    assert!(error.to_string().contains("can't start /nonexistent/nats-server"), "{error}");

    // A store that is no folder: the server itself says why.
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("jetstream"), "").unwrap();
    let mut broken = NatsServerOptions::new(&binary, dir.path());
    broken.ready_timeout = Duration::from_secs(15);
    let error = NatsServer::start(broken).await.unwrap_err();
    assert!(error.to_string().contains("last words"), "{error}");
    site.stop().await;
}
