//! The real guest agent, run on this machine with a unix socket where a guest's has a virtio-serial port.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use edgestack_qemu::guest_agent::{AgentError, GuestAgent, run};

use crate::site::eventually;

const QEMU_GA: &str = "/usr/sbin/qemu-ga";
const PING: &str = "/usr/bin/ping";
const SOON: Duration = Duration::from_secs(5);

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        if self.0.kill().and_then(|()| self.0.wait()).is_err() {
            eprintln!("the guest agent {} stays", self.0.id());
        }
    }
}

/// An agent and its socket; `None`, after saying so, where one of these programs isn't there.
async fn an_agent(
    test: &str,
    programs: &[&str],
    options: &[&str],
) -> Option<(Agent, std::path::PathBuf, tempfile::TempDir)> {
    for program in [&[QEMU_GA], programs].concat() {
        if !Path::new(program).exists() {
            println!("skipped: {test}: no {program}");
            return None;
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("agent.sock");
    let agent = Agent(
        Command::new(QEMU_GA)
            .args(["--method", "unix-listen", "--path"])
            .arg(&socket)
            .arg("--statedir")
            .arg(folder.path())
            .arg("--pidfile")
            .arg(folder.path().join("agent.pid"))
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started"),
    );
    eventually("the agent listens", || socket.exists()).await;
    Some((agent, socket, folder))
}

#[tokio::test]
async fn a_real_agent_tells_about_its_system() {
    let Some((_agent, socket, _folder)) = an_agent("a_real_agent_tells_about_its_system", &[], &[]).await else {
        return;
    };
    let mut agent = GuestAgent::connect(&socket, SOON).await.expect("synced");
    agent.ping().await.expect("there");
    let info = agent.info().await.expect("known");
    assert!(info.supported_commands.iter().any(|command| command.name == "guest-shutdown"));
    let os = agent.os_info().await.expect("known");
    assert_eq!(os.machine.as_deref(), Some(std::env::consts::ARCH));
    assert!(!agent.host_name().await.expect("known").is_empty());
    let interfaces = agent.interfaces().await.expect("known");
    let loopback = interfaces.iter().find(|interface| interface.name == "lo").expect("loopback");
    assert!(loopback.ip_addresses.iter().any(|address| address.ip_address == "127.0.0.1"));
    agent.users().await.expect("known");

    // While one client holds the agent, another one isn't served, and soon knows.
    let second = GuestAgent::connect(&socket, Duration::from_millis(300)).await.expect_err("busy");
    assert!(matches!(second, AgentError::NotAnswering { .. }), "{second}");
    drop(agent);
    let mut third = GuestAgent::connect(&socket, SOON).await.expect("synced");
    third.ping().await.expect("there");
}

#[tokio::test]
async fn a_real_agent_runs_ping() {
    let Some((_agent, socket, _folder)) = an_agent("a_real_agent_runs_ping", &[PING], &[]).await else { return };
    let one = ["-c", "1", "127.0.0.1"].map(str::to_owned);
    let ran = run(&socket, SOON, "ping", &one, SOON).await.expect("it ran");
    assert_eq!((ran.exit_code, ran.signal, ran.truncated), (Some(0), None, false), "{ran:?}");
    assert!(ran.output.contains("bytes from 127.0.0.1"), "{ran:?}");
    assert!(ran.output.contains("1 packets transmitted, 1 received"), "{ran:?}");

    let ran = run(&socket, SOON, "ping", &["-c".to_owned(), "none".to_owned()], SOON).await.expect("it ran");
    assert_ne!(ran.exit_code, Some(0));
    assert!(ran.output.is_empty() && ran.error_output.contains("none"), "{ran:?}");

    let two = ["-c", "2", "127.0.0.1"].map(str::to_owned);
    let long = run(&socket, SOON, "ping", &two, Duration::from_millis(200)).await;
    assert!(matches!(long, Err(AgentError::StillRuns { .. })), "{long:?}");

    let missing = run(&socket, SOON, "no-such-program", &[], SOON).await.expect_err("there is none");
    let AgentError::Refused { command, class, .. } = &missing else { panic!("{missing}") };
    assert_eq!((command.as_str(), class.as_str()), ("guest-exec", "GenericError"));
}

#[tokio::test]
async fn a_real_agent_that_may_run_nothing_says_so_by_its_class() {
    let test = "a_real_agent_that_may_run_nothing_says_so_by_its_class";
    let Some((_agent, socket, _folder)) = an_agent(test, &[], &["-b", "guest-exec"]).await else { return };
    let refused = run(&socket, SOON, "ping", &[], SOON).await.expect_err("not allowed");
    let AgentError::Refused { command, class, .. } = &refused else { panic!("{refused}") };
    assert_eq!((command.as_str(), class.as_str()), ("guest-exec", "CommandNotFound"));
}
