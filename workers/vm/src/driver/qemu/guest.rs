//! What a guest tells and does by its agent.

use std::{path::Path, time::Duration};

use chrono::{DateTime, Utc};
use edgestack_engine::error_chain;
use edgestack_model::{Id, vm::Vm};
use edgestack_pool::DriverError;
use edgestack_qemu::guest_agent::{self, AgentError, GuestAgent, GuestInterface, GuestUser};

use super::{QemuDriver, retry};
use crate::driver::{
    GuestFacts, GuestLogin,
    ping::{self, GuestPing, GuestPinged},
};

/// How long a guest's agent may take for one question.
const AGENT_DEADLINE: Duration = Duration::from_secs(5);
/// What a shell returns of a program that isn't there.
const NOT_FOUND: i64 = 127;

impl QemuDriver {
    async fn agent(&self, id: Id<Vm>, deadline: Duration) -> Result<GuestAgent, DriverError> {
        let layout = self.layout(id);
        GuestAgent::connect(&layout.agent_socket(), deadline).await.map_err(|error| agent_error(&error))
    }

    pub(super) async fn ask_facts(&self, id: Id<Vm>, deadline: Duration) -> Result<GuestFacts, DriverError> {
        let mut agent = self.agent(id, deadline).await?;
        let os = agent.os_info().await.map_err(|error| agent_error(&error))?;
        let hostname = agent.host_name().await.map_err(|error| agent_error(&error))?;
        let info = agent.info().await.map_err(|error| agent_error(&error))?;
        let interfaces = agent.interfaces().await.map_err(|error| agent_error(&error))?;
        Ok(GuestFacts {
            hostname,
            operating_system: os.pretty_name.or(os.name).unwrap_or_else(|| "unknown".to_owned()),
            kernel: os.kernel_release.unwrap_or_default(),
            architecture: os.machine.unwrap_or_default(),
            agent_version: info.version,
            interfaces: interfaces.into_iter().map(interface).collect(),
        })
    }

    pub(super) async fn ask_logins(&self, id: Id<Vm>) -> Result<Vec<GuestLogin>, DriverError> {
        let mut agent = self.agent(id, AGENT_DEADLINE).await?;
        let users = agent.users().await.map_err(|error| agent_error(&error))?;
        Ok(users.into_iter().map(login).collect())
    }

    pub(super) async fn ask_ping(&self, id: Id<Vm>, ping: &GuestPing) -> Result<GuestPinged, DriverError> {
        self.running(id)?;
        send(&self.layout(id).agent_socket(), ping::PROGRAM, ping).await
    }
}

/// Has the guest behind this socket send them by its ping(8).
async fn send(socket: &Path, program: &'static str, ping: &GuestPing) -> Result<GuestPinged, DriverError> {
    let mut why = None;
    // What a ping doesn't take it says in words of its own, and by the same code as much else. Whatever kept it from
    // sending, once more without the options that some don't know costs nothing.
    for plain in [false, true] {
        let arguments = ping.arguments(plain);
        let ran = guest_agent::run(socket, AGENT_DEADLINE, program, &arguments, ping.longest()).await;
        let ran = ran.map_err(|error| ping_error(&error))?;
        if let Some(pinged) = ping.pinged(&ran.output) {
            return Ok(pinged);
        }
        if ran.exit_code == Some(NOT_FOUND) {
            return Err(no_ping("there is none"));
        }
        let signal = || ran.signal.map(|signal| format!("signal {signal} ended it"));
        why = ping::words(&ran.output, &ran.error_output).or_else(signal);
    }
    let why = why.unwrap_or_else(|| "it said nothing".to_owned());
    Err(DriverError::retry_with_fix(
        format!("the guest's ping could not send: {why}"),
        "look at the guest's addresses and routes: ip address, ip route",
    ))
}

fn interface(interface: GuestInterface) -> (String, Option<String>, Vec<String>) {
    let addresses =
        interface.ip_addresses.iter().map(|address| format!("{}/{}", address.ip_address, address.prefix)).collect();
    (interface.name, interface.hardware_address, addresses)
}

fn login(user: GuestUser) -> GuestLogin {
    #[allow(clippy::cast_possible_truncation)]
    // Microseconds of a date fit into an i64.
    let since = DateTime::<Utc>::from_timestamp_micros((user.login_time * 1e6) as i64).unwrap_or_default();
    GuestLogin { user: user.user, domain: user.domain, since }
}

fn agent_error(error: &AgentError) -> DriverError {
    match error {
        AgentError::NotAnswering { .. } => DriverError::retry_with_fix(
            error_chain(error),
            "wait until the guest has booted; the guest needs qemu-guest-agent",
        ),
        AgentError::Refused { .. } | AgentError::StillRuns { .. } | AgentError::Protocol(_) => retry(error),
    }
}

fn ping_error(error: &AgentError) -> DriverError {
    match error {
        AgentError::Refused { command, class, .. } if command == "guest-exec" && class == "CommandNotFound" => {
            DriverError::retry_with_fix(
                format!("the guest's agent may not run ping there ({})", error_chain(error)),
                "allow guest-exec and guest-exec-status in the guest's configuration of qemu-ga",
            )
        }
        AgentError::Refused { command, .. } if command == "guest-exec" => no_ping(&error_chain(error)),
        AgentError::Refused { .. }
        | AgentError::NotAnswering { .. }
        | AgentError::StillRuns { .. }
        | AgentError::Protocol(_) => agent_error(error),
    }
}

fn no_ping(why: &str) -> DriverError {
    DriverError::retry_with_fix(
        format!("the guest's ping can't be run: {why}"),
        "install ping in the guest (Debian: apt-get install iputils-ping)",
    )
}

/// By the real agent, run on this machine with a ping of our own, where there is an agent.
#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt as _,
        process::{Child, Command, Stdio},
        time::Instant,
    };

    use super::*;
    use crate::driver::GuestReply;

    const QEMU_GA: &str = "/usr/sbin/qemu-ga";

    struct Guest {
        agent: Child,
        folder: tempfile::TempDir,
    }

    impl Drop for Guest {
        fn drop(&mut self) {
            if self.agent.kill().and_then(|()| self.agent.wait()).is_err() {
                eprintln!("the guest agent {} stays", self.agent.id());
            }
        }
    }

    impl Guest {
        /// One whose ping is this shell script; `None`, after saying so, where there is no agent.
        async fn new(test: &str, ping: Option<&str>, options: &[&str]) -> Option<Self> {
            if !Path::new(QEMU_GA).exists() {
                println!("skipped: {test}: no {QEMU_GA}");
                return None;
            }
            let folder = tempfile::tempdir().unwrap();
            if let Some(ping) = ping {
                let path = folder.path().join("ping");
                fs::write(&path, format!("#!/bin/sh\n{ping}\n")).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
            let mut agent = Command::new(QEMU_GA);
            agent.args(["--method", "unix-listen", "--path"]).arg(folder.path().join("agent.sock"));
            agent.arg("--statedir").arg(folder.path()).arg("--pidfile").arg(folder.path().join("agent.pid"));
            agent.args(options).stdout(Stdio::null()).stderr(Stdio::null());
            let guest = Self { agent: agent.spawn().unwrap(), folder };
            let until = Instant::now() + Duration::from_secs(30);
            while !guest.folder.path().join("agent.sock").exists() {
                assert!(Instant::now() < until, "the agent does not listen");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Some(guest)
        }

        async fn send(&self) -> Result<GuestPinged, DriverError> {
            let ping = GuestPing {
                address: "127.0.0.1".parse().unwrap(),
                source: None,
                count: 2,
                interval: Duration::from_millis(200),
                patience: Duration::from_secs(1),
                size: 56,
            };
            // A test's few bytes; in the product it is one word.
            let program = self.folder.path().join("ping").to_str().unwrap().to_owned().leak();
            send(&self.folder.path().join("agent.sock"), program, &ping).await
        }
    }

    #[tokio::test]
    async fn a_ping_that_does_not_take_parts_of_a_second_is_asked_in_plain() {
        let test = "a_ping_that_does_not_take_parts_of_a_second_is_asked_in_plain";
        let ping = "case \"$*\" in *-i*) echo \"ping: invalid number '0.200'\" >&2; exit 1;; esac\n\
            [ \"$*\" = '-c 2 -W 1 -s 56 127.0.0.1' ] || exit 3\n\
            echo '64 bytes from 127.0.0.1: seq=1 ttl=64 time=0.456 ms'\n\
            echo '2 packets transmitted, 1 packets received, 50% packet loss'; exit 1";
        let Some(guest) = Guest::new(test, Some(ping), &[]).await else { return };
        let reply = GuestReply { sequence: 2, rtt: Duration::from_micros(456), ttl: Some(64) };
        assert_eq!(guest.send().await.unwrap(), GuestPinged { sent: 2, replies: vec![reply] });
    }

    #[tokio::test]
    async fn the_ping_of_this_machine_is_understood() {
        let test = "the_ping_of_this_machine_is_understood";
        if !Path::new("/usr/bin/ping").exists() {
            println!("skipped: {test}: no /usr/bin/ping");
            return;
        }
        let Some(guest) = Guest::new(test, Some("exec /usr/bin/ping \"$@\""), &[]).await else { return };
        let pinged = guest.send().await.unwrap();
        assert_eq!((pinged.sent, pinged.replies.len()), (2, 2), "{pinged:?}");
        assert!(pinged.replies.iter().all(|reply| reply.ttl == Some(64)), "{pinged:?}");
    }

    #[tokio::test]
    async fn what_keeps_it_from_sending_is_told_in_its_own_words() {
        let test = "what_keeps_it_from_sending_is_told_in_its_own_words";
        let ping = "echo 'ping: connect: Network is unreachable' >&2; exit 2";
        let Some(guest) = Guest::new(test, Some(ping), &[]).await else { return };
        let error = guest.send().await.unwrap_err();
        assert_eq!(error.to_string(), "the guest's ping could not send: connect: Network is unreachable");
        let Some(guest) = Guest::new(test, Some("kill -9 $$"), &[]).await else { return };
        assert_eq!(guest.send().await.unwrap_err().to_string(), "the guest's ping could not send: signal 9 ended it");
    }

    #[tokio::test]
    async fn a_guest_that_has_no_ping_and_one_that_allows_none_say_how_to_mend_it() {
        let test = "a_guest_that_has_no_ping_and_one_that_allows_none_say_how_to_mend_it";
        for (ping, options, mend) in [
            (None, &[][..], "install ping"),
            (Some("exit 127"), &[], "install ping"),
            (Some("exit 0"), &["-b", "guest-exec"], "allow guest-exec"),
        ] {
            let Some(guest) = Guest::new(test, ping, options).await else { return };
            let error = guest.send().await.unwrap_err();
            let DriverError::Retry { reason, fix: Some(fix) } = &error else { panic!("{error:?}") };
            assert!(fix.starts_with(mend), "{reason}: {fix}");
        }
    }
}
