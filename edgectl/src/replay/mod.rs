//! `verify-log` and `replay`: the whole log once more.

mod step;

use std::io::{self, IsTerminal as _};

use clap::Args;
use edgestack_model::Kind;
use edgestack_wire::{
    command_word,
    log::{Finding, ReplayEvent, ReplayResult},
};
use indicatif::{ProgressBar, ProgressStyle};

use crate::{
    cli::OutputArgs,
    client::Client,
    diff,
    failure::Failure,
    output::{self, Format},
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
    /// Build the views anew beside the live ones, too, and compare them: all of them byte for byte, those of one kind or up to a
    /// moment object by object and event by event.
    #[arg(long)]
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
    /// Only this kind, as vm; with --step also only this object, as vm/hello.
    #[arg(value_name = "KIND[/NAME]", value_parser = of)]
    pub of: Option<Of>,
    /// How to print the result.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What of the log is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Of {
    /// All objects of a kind.
    Kind(Kind),
    /// One object, as the API has it.
    Object(String),
}

/// `vm` or `vm/hello`.
///
/// # Errors
/// The rule, as a sentence.
fn of(text: &str) -> Result<Of, String> {
    if text.contains('/') {
        return diff::object(text).map(Of::Object);
    }
    let kind = command_word::kind(text).or_else(|| Kind::ALL.into_iter().find(|kind| kind.plural() == text));
    kind.map(Of::Kind).ok_or_else(|| {
        let kinds: Vec<_> = Kind::ALL.into_iter().map(command_word::of).collect();
        format!("must be one of {}, or KIND/NAME, as vm/hello", kinds.join(", "))
    })
}

/// `verify-log`
///
/// # Errors
/// The log is not whole, or the server's or output's.
pub async fn verify(args: &VerifyArgs, client: &Client) -> Result<(), Failure> {
    let result = run(client, &[]).await?;
    report(&result, &Asked::default(), args.output.output)
}

/// `replay`
///
/// # Errors
/// The log is not whole or leads to something else than is shown; or the server's or output's.
pub async fn replay(args: &ReplayArgs, client: &Client) -> Result<(), Failure> {
    if args.step {
        return step::run(args, client).await;
    }
    let kind = match &args.of {
        None => None,
        Some(Of::Kind(kind)) => Some(*kind),
        Some(Of::Object(_)) => {
            return Err(Failure::Usage("one object is replayed with --step; without it give a kind, as vm".to_owned()));
        }
    };
    let mut query = Vec::new();
    if args.verify {
        query.push(("views", "true"));
    }
    query.extend(args.until.as_deref().map(|until| ("until", until)));
    query.extend(kind.map(|kind| ("kind", kind.as_str())));
    let result = run(client, &query).await?;
    let asked = Asked { views: args.verify, kind, until: args.until.is_some() };
    report(&result, &asked, args.output.output)
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

/// What was compared.
#[derive(Default)]
struct Asked {
    views: bool,
    kind: Option<Kind>,
    until: bool,
}

fn report(result: &ReplayResult, asked: &Asked, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json | Format::Yaml => {
            output::print_document(format, &serde_json::to_string(result)?, "", |_| Ok(String::new()))?;
        }
        Format::Table | Format::Wide | Format::Name => output::print(&sentences(result, asked))?,
    }
    match &result.finding {
        Some(Finding { sequence, what }) => {
            Err(Failure::Failed(format!("the log is not whole, from commit {sequence} on: {what}")))
        }
        None if result.same_world == Some(false) && asked.until => {
            Err(Failure::Failed("the log leads to another world than the site shows of then; restart edgestackd".to_owned()))
        }
        None if result.same_world == Some(false) => {
            Err(Failure::Failed("the log leads to another world than the site works with; restart edgestackd".to_owned()))
        }
        None if result.same_views == Some(false) => Err(Failure::Failed(
            "the views differ from those that the log leads to; stop edgestackd, delete its views folder, start it again"
                .to_owned(),
        )),
        None if asked.views && result.same_views.is_none() => Err(Failure::Failed(
            "the log is whole, but the site never stood still for a comparison of the views; try again".to_owned(),
        )),
        None => Ok(()),
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn sentences(result: &ReplayResult, asked: &Asked) -> String {
    let rate = result.checked as f64 / result.seconds.max(0.001);
    let mut text = format!(
        "{} commits checked in {:.1} s ({rate:.0}/s): sequences, hash chain, events, the worlds between\n",
        result.checked, result.seconds
    );
    let kind = asked.kind.map(|kind| format!(" of kind {kind}")).unwrap_or_default();
    if result.finding.is_none() {
        let upto = if asked.until { " up to there" } else { "" };
        text.push_str(&format!("the log is whole{upto}; its last hash is {}\n", result.head_hash));
    }
    if result.same_world == Some(true) {
        let when = if asked.until { " of then" } else { "" };
        text.push_str(&match asked.kind {
            None => format!("it leads to the world that is shown{when}\n"),
            Some(kind) => format!("it leads to the objects of kind {kind} that are shown{when}\n"),
        });
    }
    if result.same_views == Some(true) {
        let rows = result.rows_compared.map(|rows| format!(" ({rows} rows)")).unwrap_or_default();
        text.push_str(&match (asked.until, asked.kind) {
            (false, None) => format!("views made anew from it are the live ones, byte for byte{rows}\n"),
            (false, Some(_)) => format!("views made anew from it say{kind} what the live ones say{rows}\n"),
            (true, _) => format!(
                "views made anew up to there say{kind} what --at shows of then and what the live history says{rows}\n"
            ),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_is_of_a_kind_by_any_of_its_words_or_of_an_object() {
        for (text, expect) in [
            ("vm", Of::Kind(Kind::Vm)),
            ("vms", Of::Kind(Kind::Vm)),
            ("sg", Of::Kind(Kind::SecurityGroup)),
            ("security_group", Of::Kind(Kind::SecurityGroup)),
            ("sg/web", Of::Object("security_group/web".to_owned())),
        ] {
            assert_eq!(of(text), Ok(expect), "{text}");
        }
        for wrong in ["", "hello", "vm/", "/hello"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
