//! The real guest agent, run on this machine with a unix socket where a guest's has a virtio-serial port.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use edgestack_qemu::guest_agent::{AgentError, GuestAgent};

use crate::site::eventually;

const QEMU_GA: &str = "/usr/sbin/qemu-ga";
const SOON: Duration = Duration::from_secs(5);

struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        if self.0.kill().and_then(|()| self.0.wait()).is_err() {
            eprintln!("the guest agent {} stays", self.0.id());
        }
    }
}

#[tokio::test]
async fn a_real_agent_tells_about_its_system() {
    if !Path::new(QEMU_GA).exists() {
        println!("skipped: a_real_agent_tells_about_its_system: no {QEMU_GA}");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("agent.sock");
    let _agent = Agent(
        Command::new(QEMU_GA)
            .args(["--method", "unix-listen", "--path"])
            .arg(&socket)
            .arg("--statedir")
            .arg(folder.path())
            .arg("--pidfile")
            .arg(folder.path().join("agent.pid"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started"),
    );
    eventually("the agent listens", || socket.exists()).await;
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
