//! `verify-log` and `replay`: the whole log once more.

use std::io::{self, BufRead as _, IsTerminal as _};

use clap::Args;
use edgestack_wire::log::{Difference, Finding, ReplayEvent, ReplayResult};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    cli::OutputArgs,
    client::Client,
    diff,
    failure::Failure,
    output::{self, Format, View},
    watch::{Incoming, Stream},
};

/// `verify-log`
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// How to print the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `replay`
#[derive(Args, Clone, Debug)]
pub struct ReplayArgs {
    /// Build the views anew beside the live ones, too, and compare them byte for byte.
    #[arg(long, conflicts_with = "until")]
    pub verify: bool,
    /// Up to this moment: a commit (17), a time (2026-11-25T03:04:05Z), or so long ago ("10 minutes ago").
    #[arg(long, value_name = "MOMENT")]
    pub until: Option<String>,
    /// Commit by commit: shows each and the change that it makes; n and p go on and back, q ends.
    #[arg(long, conflicts_with = "verify")]
    pub step: bool,
    /// Where to begin, with --step.
    #[arg(long, value_name = "SEQUENCE", requires = "step", default_value_t = 1)]
    pub from: u64,
    /// Only commits that touch this object, with --step: its kind and its name or id, as vm/hello.
    #[arg(value_name = "KIND/NAME", requires = "step", value_parser = diff::object)]
    pub object: Option<String>,
    /// How to print the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `verify-log`
///
/// # Errors
/// The log is not whole, or the server's or output's.
pub async fn verify(args: &VerifyArgs, client: &Client) -> Result<(), Failure> {
    let result = run(client, &[]).await?;
    report(&result, false, args.output.output)
}

/// `replay`
///
/// # Errors
/// The log is not whole or leads to something else than is shown; or the server's or output's.
pub async fn replay(args: &ReplayArgs, client: &Client) -> Result<(), Failure> {
    if args.step {
        return step(args, client).await;
    }
    let mut query = Vec::new();
    if args.verify {
        query.push(("views", "true"));
    }
    query.extend(args.until.as_deref().map(|until| ("until", until)));
    report(&run(client, &query).await?, args.verify, args.output.output)
}

async fn run(client: &Client, query: &[(&str, &str)]) -> Result<ReplayResult, Failure> {
    let mut url = client.path("/edgetron/log/replay");
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let mut stream = Stream::new(client, url, None);
    let bar = bar();
    let mut connected = false;
    loop {
        let event = match stream.next().await? {
            // It would begin anew, and the answer to what was asked is lost.
            Incoming::Connected if connected => {
                return Err(Failure::Failed("the connection broke before the result; start it again".to_owned()));
            }
            Incoming::Connected => {
                connected = true;
                continue;
            }
            Incoming::Event(event) if event.data.is_empty() => continue,
            Incoming::Event(event) => event,
        };
        match serde_json::from_str(&event.data)? {
            ReplayEvent::Progress { checked, of } => {
                bar.set_length(of);
                bar.set_position(checked);
            }
            ReplayEvent::Result(result) => {
                bar.finish_and_clear();
                return Ok(result);
            }
            ReplayEvent::BrokenOff { why } => {
                bar.finish_and_clear();
                return Err(Failure::Failed(format!("it broke off: {why}; nothing is known of the log, try again")));
            }
        }
    }
}

fn bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} commits {per_sec} {eta}") {
        bar.set_style(style);
    }
    bar
}

fn report(result: &ReplayResult, with_views: bool, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json | Format::Yaml => {
            output::print_document(format, &serde_json::to_string(result)?, "", |_| Ok(String::new()))?;
        }
        Format::Table | Format::Wide | Format::Name => output::print(&sentences(result))?,
    }
    match &result.finding {
        Some(Finding { sequence, what }) => {
            Err(Failure::Failed(format!("the log is not whole, from commit {sequence} on: {what}")))
        }
        None if result.same_world == Some(false) => {
            Err(Failure::Failed("the log leads to another world than the site works with; restart edgestackd".to_owned()))
        }
        None if result.same_views == Some(false) => Err(Failure::Failed(
            "the views differ from those that the log leads to; stop edgestackd, delete its views folder, start it again"
                .to_owned(),
        )),
        None if with_views && result.same_views.is_none() => Err(Failure::Failed(
            "the log is whole, but the site never stood still for a comparison of the views; try again".to_owned(),
        )),
        None => Ok(()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn sentences(result: &ReplayResult) -> String {
    let rate = result.checked as f64 / result.seconds.max(0.001);
    let mut text = format!(
        "{} commits checked in {:.1} s ({rate:.0}/s): sequences, hash chain, events, the worlds between\n",
        result.checked, result.seconds
    );
    if result.finding.is_none() {
        text.push_str(&format!("the log is whole; its last hash is {}\n", result.head_hash));
    }
    if result.same_world == Some(true) {
        text.push_str("it leads to the world that is shown\n");
    }
    if result.same_views == Some(true) {
        text.push_str("views made anew from it are the live ones, byte for byte\n");
    }
    text
}

/// Each commit and what it changes, as the keys say.
async fn step(args: &ReplayArgs, client: &Client) -> Result<(), Failure> {
    let format = args.output.output;
    let mut here = args.from.max(1);
    let end = end(args, client).await?;
    let mut forward = true;
    let mut keys = io::stdin().lock().lines();
    loop {
        // Commits that don't touch the object are passed over, in the direction of the last key.
        let shown = loop {
            if !(1..=end).contains(&here) {
                break None;
            }
            let found = difference(client, here, args.object.as_deref()).await?;
            if args.object.is_none() || !found.items.is_empty() {
                break Some(found);
            }
            here = if forward { here + 1 } else { here - 1 };
        };
        match shown {
            Some(found) => {
                print(&found, here, end, format)?;
            }
            None if forward => {
                output::note("that was the last one");
                return Ok(());
            }
            None => {
                output::note("that was the first one");
                (here, forward) = (here + 1, true);
                continue;
            }
        }
        if io::stdin().is_terminal() {
            output::note("[n]ext, [p]revious, a sequence, [q]uit:");
        }
        let Some(key) = keys.next() else { return Ok(()) };
        let key = key.map_err(|error| Failure::Failed(format!("the keys can't be read: {error}")))?;
        match key.trim() {
            "" | "n" => (here, forward) = (here + 1, true),
            "p" => (here, forward) = (here - 1, false),
            "q" => return Ok(()),
            other => match other.parse() {
                Ok(sequence) => (here, forward) = (sequence, true),
                Err(_) => output::note("n, p, a sequence, or q"),
            },
        }
    }
}

/// The last commit to be shown.
async fn end(args: &ReplayArgs, client: &Client) -> Result<u64, Failure> {
    let mut url = client.path("/edgetron/log/diff");
    let to = args.until.as_deref();
    url.query_pairs_mut().extend_pairs([("limit", "1")]).extend_pairs(to.map(|to| ("to", to)));
    let found: Difference = serde_json::from_str(&client.get(url).await?)?;
    Ok(found.to.sequence)
}

async fn difference(client: &Client, sequence: u64, object: Option<&str>) -> Result<Difference, Failure> {
    let (from, to) = ((sequence - 1).to_string(), sequence.to_string());
    let mut url = client.path("/edgetron/log/diff");
    url.query_pairs_mut()
        .extend_pairs([("limit", "1000"), ("from", from.as_str()), ("to", to.as_str())])
        .extend_pairs(object.map(|object| ("object", object)));
    match client.get(url).await {
        // The object is not there yet, or no more.
        Err(error) if error.is_missing() => {
            let at = edgestack_wire::log::Moment { sequence, time: None };
            Ok(Difference { from: at, to: at, items: vec![], continue_token: None })
        }
        other => Ok(serde_json::from_str(&other?)?),
    }
}

fn print(found: &Difference, sequence: u64, end: u64, format: Format) -> Result<(), Failure> {
    if matches!(format, Format::Json | Format::Yaml) {
        return output::print_document(format, &serde_json::to_string(found)?, "", |_| Ok(String::new()));
    }
    let view = View::stdout(format);
    let time = found.to.time.map(|time| view.column_time(time)).unwrap_or_default();
    let mut text = format!("commit {sequence} of {end}  {time}\n");
    for item in &found.items {
        text.push_str(&diff::of_object(item, &view));
    }
    output::print(&format!("{text}\n"))
}
