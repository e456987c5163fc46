//! Running a program that does one thing and ends.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// A program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[error("{program} {failure}")]
pub struct ToolError {
    program: String,
    failure: Failure,
}

/// How it failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It can't be run.
    Start(io::Error),
    /// It ended in an error and said why.
    Refused(String),
    /// It had not ended when it was killed.
    Slow(Duration),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(error) => write!(f, "can't be run: {error}"),
            Self::Refused(why) => write!(f, "failed: {why}"),
            Self::Slow(patience) => write!(f, "did not end within {patience:?}"),
        }
    }
}

impl ToolError {
    pub(crate) fn refused(program: &Path, why: impl Into<String>) -> Self {
        Self { program: name(program), failure: Failure::Refused(why.into()) }
    }
}

/// What a program said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) success: bool,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs it to its end and returns what it wrote to standard output.
pub(crate) async fn run(command: Command, patience: Duration) -> Result<String, ToolError> {
    let program = command.as_std().get_program().to_owned();
    let said = attempt(command, patience).await?;
    if said.success {
        return Ok(said.stdout);
    }
    let words = [&said.stderr, &said.stdout].into_iter().flat_map(|text| text.lines().map(str::trim));
    let words: Vec<_> = words.filter(|line| !line.is_empty()).take(4).collect();
    Err(ToolError::refused(Path::new(&program), words.join("; ")))
}

/// Runs it to its end, however that is.
pub(crate) async fn attempt(mut command: Command, patience: Duration) -> Result<Said, ToolError> {
    let program = name(Path::new(command.as_std().get_program()));
    // Who waits for it may go away, or lose patience: then it goes too.
    command.stdin(Stdio::null()).kill_on_drop(true);
    match tokio::time::timeout(patience, command.output()).await {
        Err(_) => Err(ToolError { program, failure: Failure::Slow(patience) }),
        Ok(Err(error)) => Err(ToolError { program, failure: Failure::Start(error) }),
        Ok(Ok(output)) => Ok(Said {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }),
    }
}

/// A command that runs in a network namespace, by ip-netns(8); in ours without one. `ip` becomes the program, so the
/// process is the one that was started.
pub(crate) fn in_namespace(ip: &Path, netns: Option<&str>, program: &Path) -> Command {
    match netns {
        None => Command::new(program),
        Some(netns) => {
            let mut command = Command::new(ip);
            command.args(["netns", "exec", netns]).arg(program);
            command
        }
    }
}

/// ip(8) on the devices of a network namespace; of ours without one.
pub(crate) fn ip(ip: &Path, netns: Option<&str>) -> Command {
    let mut command = Command::new(ip);
    if let Some(netns) = netns {
        command.args(["-n", netns]);
    }
    command
}

/// A string as ovs-vsctl(8) takes it among its values: as in JSON.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn name(program: &Path) -> String {
    program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
}
