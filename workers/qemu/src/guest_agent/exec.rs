//! Programs that the agent runs in its guest: `guest-exec`, `guest-exec-status`.

use std::io;
use std::path::Path;
use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{AgentError, GuestAgent};

/// The pause before the first question whether a program has ended; each further one is twice as long.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest pause between two such questions.
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// The program's whole environment. What it prints is read by us: in one language, whatever the guest's is. The program
/// itself is looked for in this PATH, too, not in the agent's.
const ENVIRONMENT: [&str; 2] = ["LC_ALL=C", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];

/// What became of a program in the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ran {
    /// What it returned; `None` of one that a signal ended.
    pub exit_code: Option<i64>,
    /// The signal that ended it.
    pub signal: Option<i64>,
    /// What it wrote to its standard output; bytes that are no UTF-8 are replaced.
    pub output: String,
    /// The same of its standard error.
    pub error_output: String,
    /// Whether the agent left out some of either.
    pub truncated: bool,
}

#[derive(Deserialize)]
struct Started {
    pid: i64,
}

/// `GuestExecStatus`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Status {
    exited: bool,
    exitcode: Option<i64>,
    signal: Option<i64>,
    #[serde(default)]
    out_data: String,
    #[serde(default)]
    err_data: String,
    #[serde(default)]
    out_truncated: bool,
    #[serde(default)]
    err_truncated: bool,
}

/// Runs a program in the guest, as the agent's user (root, commonly), and waits until it has ended, `patience` long at
/// most. `deadline` is for each question, as in [`GuestAgent::connect`]. The program is none that a user names:
/// therefore `'static`.
///
/// The agent's socket serves one client at a time, so it is left to others while the program runs.
///
/// # Errors
/// [`AgentError::Refused`] of `guest-exec`, with class `CommandNotFound`: programs may not be run in this guest; with
/// another one: this program can't be started. [`AgentError::StillRuns`] when `patience` is over: the agent has no
/// command that ends a program, it runs on.
pub async fn run(
    socket: &Path,
    deadline: Duration,
    program: &'static str,
    arguments: &[String],
    patience: Duration,
) -> Result<Ran, AgentError> {
    let end = Instant::now() + patience;
    let pid = GuestAgent::connect(socket, deadline).await?.start(program, arguments).await?;
    let mut pause = PAUSE_FIRST;
    // The protocol has no event for a program's end, nor a question that waits for it: it is asked again and again.
    loop {
        sleep(pause.min(end.saturating_duration_since(Instant::now()))).await;
        pause = (pause * 2).min(PAUSE_MAX);
        let last = Instant::now() >= end;
        match ended(socket, deadline, pid).await {
            Ok(Some(ran)) => return Ok(ran),
            Ok(None) if last => return Err(AgentError::StillRuns { program, patience }),
            Ok(None) => (),
            // Another client has the agent for now.
            Err(AgentError::NotAnswering { source, .. }) if !last && !source.as_ref().is_some_and(is_gone) => (),
            Err(error) => return Err(error),
        }
    }
}

/// No QEMU holds the socket any more.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused)
}

async fn ended(socket: &Path, deadline: Duration, pid: i64) -> Result<Option<Ran>, AgentError> {
    GuestAgent::connect(socket, deadline).await?.ended(pid).await
}

impl GuestAgent {
    /// `guest-exec`: its number in the guest.
    async fn start(&mut self, program: &str, arguments: &[String]) -> Result<i64, AgentError> {
        let arguments = json!({"path": program, "arg": arguments, "env": ENVIRONMENT, "capture-output": true});
        Ok(self.query_with::<Started>("guest-exec", arguments).await?.pid)
    }

    /// `guest-exec-status`: `None` while it runs. The agent forgets what it has told the end of.
    async fn ended(&mut self, pid: i64) -> Result<Option<Ran>, AgentError> {
        let status: Status = self.query_with("guest-exec-status", json!({"pid": pid})).await?;
        if !status.exited {
            return Ok(None);
        }
        Ok(Some(Ran {
            exit_code: status.exitcode,
            signal: status.signal,
            output: text(&status.out_data)?,
            error_output: text(&status.err_data)?,
            truncated: status.out_truncated || status.err_truncated,
        }))
    }
}

fn text(base64: &str) -> Result<String, AgentError> {
    let bytes = STANDARD.decode(base64).map_err(|error| AgentError::Protocol(format!("guest-exec-status: {error}")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use serde_json::Value;

    use super::super::tests::{SOON, a_guest, delimited};
    use super::*;

    fn answer(value: &Value) -> Vec<u8> {
        format!("{}\n", json!({"return": value})).into_bytes()
    }

    /// A guest in which a program has the number 7, and which tells `statuses` of it in turn, the last one for ever.
    fn a_guest_that_runs(statuses: Vec<Value>) -> (std::path::PathBuf, tempfile::TempDir) {
        let asked = AtomicU32::new(0);
        a_guest(move |command, arguments| match command {
            "guest-sync-delimited" => delimited(&arguments["id"]),
            "guest-exec" => {
                assert_eq!(arguments["path"], "ping");
                assert_eq!(arguments["arg"], json!(["-c", "1"]));
                assert_eq!(arguments["env"][0], "LC_ALL=C");
                assert_eq!(arguments["capture-output"], true);
                answer(&json!({"pid": 7}))
            }
            "guest-exec-status" => {
                assert_eq!(arguments["pid"], 7);
                let number = asked.fetch_add(1, Ordering::Relaxed) as usize;
                answer(&statuses[number.min(statuses.len() - 1)])
            }
            other => panic!("{other} is not asked"),
        })
    }

    async fn run_there(socket: &Path, patience: Duration) -> Result<Ran, AgentError> {
        run(socket, SOON, "ping", &["-c".to_owned(), "1".to_owned()], patience).await
    }

    #[tokio::test]
    async fn a_program_is_asked_for_until_it_has_ended() {
        let runs = json!({"exited": false});
        let over = json!({
            "exited": true, "exitcode": 1, "out-data": STANDARD.encode(b"a\xffb\n"), "err-data": STANDARD.encode("oh"),
            "err-truncated": true,
        });
        let (socket, _folder) = a_guest_that_runs(vec![runs.clone(), runs, over]);
        let ran = run_there(&socket, SOON * 20).await.expect("it ran");
        let expected = Ran {
            exit_code: Some(1),
            signal: None,
            output: "a\u{fffd}b\n".to_owned(),
            error_output: "oh".to_owned(),
            truncated: true,
        };
        assert_eq!(ran, expected);
    }

    #[tokio::test]
    async fn a_program_that_a_signal_ended_says_so_and_may_have_said_nothing() {
        let (socket, _folder) = a_guest_that_runs(vec![json!({"exited": true, "signal": 9})]);
        let ran = run_there(&socket, SOON * 20).await.expect("it ran");
        assert_eq!(ran, Ran { signal: Some(9), ..Ran::default() });
    }

    #[tokio::test]
    async fn one_that_does_not_end_is_waited_for_no_longer_than_patience() {
        let (socket, _folder) = a_guest_that_runs(vec![json!({"exited": false})]);
        let before = Instant::now();
        let error = run_there(&socket, SOON).await.expect_err("it runs on");
        assert!(matches!(error, AgentError::StillRuns { program: "ping", .. }), "{error}");
        assert!(before.elapsed() < SOON * 3);
    }

    #[tokio::test]
    async fn a_machine_that_goes_away_meanwhile_is_waited_for_no_longer() {
        let (socket, folder) = a_guest_that_runs(vec![json!({"exited": false})]);
        let before = Instant::now();
        let runs = tokio::spawn(async move { run_there(&socket, SOON * 100).await });
        sleep(SOON).await;
        drop(folder);
        assert!(matches!(runs.await, Ok(Err(AgentError::NotAnswering { .. }))));
        assert!(before.elapsed() < SOON * 10);
    }

    #[tokio::test]
    async fn an_agent_that_may_run_nothing_keeps_its_class() {
        let (socket, _folder) = a_guest(|command, arguments| match command {
            "guest-sync-delimited" => delimited(&arguments["id"]),
            _ => {
                b"{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"guest-exec has been disabled\"}}\n".to_vec()
            }
        });
        let error = run_there(&socket, SOON).await.expect_err("not allowed");
        let AgentError::Refused { command, class, .. } = error else { panic!("{error}") };
        assert_eq!((command.as_str(), class.as_str()), ("guest-exec", "CommandNotFound"));
    }

    #[tokio::test]
    async fn an_output_that_is_no_base64_is_no_protocol_of_ours() {
        let (socket, _folder) = a_guest_that_runs(vec![json!({"exited": true, "exitcode": 0, "out-data": "%%%"})]);
        assert!(matches!(run_there(&socket, SOON).await, Err(AgentError::Protocol(_))));
    }

    #[tokio::test]
    async fn while_a_program_runs_others_may_ask_the_agent() {
        let (socket, _folder) = a_guest_that_runs(vec![json!({"exited": false})]);
        let runs = tokio::spawn({
            let socket = socket.clone();
            async move { run_there(&socket, SOON * 4).await }
        });
        sleep(SOON).await;
        GuestAgent::connect(&socket, SOON).await.expect("the agent is free");
        assert!(!runs.is_finished());
        assert!(matches!(runs.await, Ok(Err(AgentError::StillRuns { .. }))));
    }
}
