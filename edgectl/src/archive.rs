//! `archive`: lets older commits leave the live log, and waits until they have.

use std::time::{Duration, Instant};

use clap::Args;
use edgestack_wire::archive::{ArchiveLog, LogArchive};
use reqwest::Method;

use crate::{
    cli::{ChangeArgs, OutputArgs},
    client::{Client, Payload},
    failure::Failure,
    output,
};

/// How often the site is asked how far it is: there is no event of the live log's own making.
const ASK_EACH: Duration = Duration::from_millis(200);

/// `archive`
#[derive(Args, Clone, Debug)]
pub struct ArchiveArgs {
    /// Commits before this leave the live log: a sequence, a time (RFC 3339), or how long ago.
    #[arg(long, value_name = "MOMENT")]
    before: String,
    /// Why: it stays in the history.
    #[arg(long, value_name = "TEXT", help_heading = "Change")]
    reason: String,
    /// Tell how much would leave, and change nothing.
    #[arg(long, help_heading = "Change")]
    dry_run: bool,
    /// Return as soon as it is recorded.
    #[arg(long, help_heading = "Waiting")]
    no_wait: bool,
    /// Wait at most so many seconds; the work itself goes on after that (exit code 3).
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, help_heading = "Waiting")]
    timeout_seconds: u64,
    /// How to print the result.
    #[command(flatten)]
    output: OutputArgs,
}

/// Has older commits leave the live log.
///
/// # Errors
/// The server's, output's, or that the time is over.
pub async fn run(args: &ArchiveArgs, client: &Client) -> Result<(), Failure> {
    let how = ChangeArgs { dry_run: args.dry_run, reason: Some(args.reason.clone()), output: args.output };
    let url = client.path("/edgetron/log/archive");
    let body = Payload::json(&ArchiveLog { before: args.before.clone() })?;
    let reply = client.change_at(Method::POST, url.clone(), &body, &how).await?;
    let asked: LogArchive = serde_json::from_str(&reply.body)?;
    let name = asked.release_through.to_string();
    if args.dry_run || args.no_wait {
        return output::print_document(args.output.output, &reply.body, &name, |_| Ok(told(&asked, args.dry_run)));
    }
    let until = Instant::now() + Duration::from_secs(args.timeout_seconds);
    loop {
        let body = match client.get(url.clone()).await {
            Ok(body) => body,
            // The log is away for a moment while its new beginning takes the place of the old one.
            Err(error) if error.retry_after().is_some() && Instant::now() < until => {
                tokio::time::sleep(ASK_EACH).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let now: LogArchive = serde_json::from_str(&body)?;
        if now.live_first > asked.release_through {
            return output::print_document(args.output.output, &body, &name, |_| Ok(told(&now, false)));
        }
        if Instant::now() >= until {
            let waited = args.timeout_seconds;
            return Err(Failure::TimedOut(format!(
                "after {waited} s {} commits are still in the live log; it goes on: edgectl api GET /edgetron/log/archive",
                now.leaving
            )));
        }
        tokio::time::sleep(ASK_EACH).await;
    }
}

fn told(archive: &LogArchive, dry_run: bool) -> String {
    let LogArchive { live_first, last, release_through, leaving, .. } = archive;
    let stay = last.saturating_sub(*release_through);
    match (dry_run, leaving) {
        (_, 0) => format!("commits {live_first} to {last} are in the live log; those before are in the archive\n"),
        (true, _) => format!(
            "{leaving} commits ({live_first} to {release_through}) would leave the live log, {stay} would stay (dry run: nothing changed)\n"
        ),
        (false, _) => format!("{leaving} commits ({live_first} to {release_through}) are leaving the live log\n"),
    }
}
