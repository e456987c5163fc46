//! One edgestackd.

use std::{
    fs::OpenOptions,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use crate::{eventually, machine, processes};

/// A daemon that was started; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    log: PathBuf,
}

impl Daemon {
    pub(crate) fn spawn(arguments: &[String], variables: &[(String, String)], log: PathBuf) -> Self {
        let mut command = Command::new(machine::edgestackd());
        command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
        Self::run(command, log)
    }

    /// By a program that becomes it: `ip netns exec`.
    pub(crate) fn spawn_by(by: &[&str], arguments: &[String], log: PathBuf) -> Self {
        let mut command = Command::new(by[0]);
        command.args(&by[1..]).arg(machine::edgestackd()).args(arguments);
        Self::run(command, log)
    }

    fn run(mut command: Command, log: PathBuf) -> Self {
        let file = OpenOptions::new().create(true).append(true).open(&log).expect("a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a second handle"))
            .stderr(file)
            .spawn()
            .expect("edgestackd starts");
        Self { child, log }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged so far, and those before it that logged to the same file.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("our own child")
    }

    /// `kill -9`, and waits for its end.
    pub fn kill(&mut self) {
        if self.ended().is_none() {
            processes::kill(self.pid());
            self.child.wait().expect("our own child");
        }
    }

    /// SIGTERM, and waits for an orderly end.
    pub async fn stop(&mut self) {
        let id = i32::try_from(self.pid()).ok().and_then(rustix::process::Pid::from_raw).expect("a process id");
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("it runs");
        let status = self.await_end(Duration::from_secs(30)).await;
        assert!(status.success(), "edgestackd stopped with {status}:\n{}", self.log());
    }

    /// Waits until it has ended by itself.
    pub async fn await_end(&mut self, within: Duration) -> ExitStatus {
        eventually("edgestackd ends", within, async || self.ended().ok_or_else(|| "it runs".to_owned())).await
    }

    /// Whether it was ended by SIGKILL, as a crash point does.
    pub fn was_killed(&mut self) -> bool {
        self.ended().is_some_and(|status| status.signal() == Some(9))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
