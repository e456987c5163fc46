//! `undo`: the commands that take a change back are shown with what they would lead to, and run when confirmed.

use std::io::{self, IsTerminal as _, Write as _};

use clap::Args;
use edgestack_wire::undo::{AskUndo, Undo, UndoCommand, UndoRemark};
use uuid::Uuid;

use crate::{
    cli::OutputArgs,
    client::Client,
    diff,
    failure::Failure,
    output::{self, Format, View},
};

/// `undo`
#[derive(Args, Clone, Debug)]
pub struct UndoArgs {
    /// The commit that did it (12), or the correlation id of the request.
    #[arg(value_name = "SEQUENCE|CORRELATION", value_parser = which)]
    which: Which,
    /// Run the commands without asking.
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Only show them.
    #[arg(long)]
    dry_run: bool,
    /// Why, for the history; "undo of commit 12" stands before it.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// How to print it.
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Copy, Debug)]
enum Which {
    Sequence(u64),
    Correlation(Uuid),
}

fn which(text: &str) -> Result<Which, String> {
    if let Ok(sequence) = text.parse() {
        return Ok(Which::Sequence(sequence));
    }
    text.parse().map(Which::Correlation).map_err(|_| "must be a commit's sequence or a correlation id".to_owned())
}

/// Proposes, asks, and runs.
///
/// # Errors
/// The server's, output's, a command that was refused, or nobody to ask.
pub async fn run(args: &UndoArgs, client: &Client) -> Result<(), Failure> {
    let (sequence, correlation) = match args.which {
        Which::Sequence(sequence) => (Some(sequence), None),
        Which::Correlation(id) => (None, Some(id)),
    };
    let asked = AskUndo { sequence, correlation, dry_run: true, tag: None, reason: args.reason.clone() };
    let url = client.path("/edgetron/undo");
    let raw = client.ask(url.clone(), serde_json::to_string(&asked)?).await?;
    let proposal: Undo = serde_json::from_str(&raw)?;
    let format = args.output.output;
    let people = matches!(format, Format::Table | Format::Wide);
    if args.dry_run || proposal.commands.is_empty() {
        return print(&raw, &proposal, format);
    }
    if people {
        print(&raw, &proposal, format)?;
    }
    if !args.yes && !confirmed(&proposal)? {
        output::note("nothing was changed");
        return Ok(());
    }
    let asked = AskUndo { dry_run: false, tag: Some(proposal.tag), ..asked };
    let raw = client.ask(url, serde_json::to_string(&asked)?).await?;
    let ran: Undo = serde_json::from_str(&raw)?;
    if people {
        output::print(&outcomes(&ran.commands))?;
    } else {
        print(&raw, &ran, format)?;
    }
    let taken = ran.commands.iter().filter(|command| command.status.is_some() && command.problem.is_none()).count();
    match ran.commands.iter().find_map(|command| command.problem.as_ref()) {
        None => Ok(()),
        Some(problem) => {
            let all = ran.commands.len();
            Err(Failure::Failed(format!("{taken} of {all} were taken, then one was refused: {}", problem.detail)))
        }
    }
}

/// Asks on the terminal.
fn confirmed(proposal: &Undo) -> Result<bool, Failure> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        let rule = "there is no terminal to ask on; --yes runs the commands, --dry-run only shows them";
        return Err(Failure::Usage(rule.to_owned()));
    }
    let count = proposal.commands.len();
    let them = if count == 1 { "this command".to_owned() } else { format!("these {count} commands") };
    // A question that can't be put is answered with no, below.
    let _ = write!(io::stderr(), "run {them}? [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(Failure::Output)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn print(raw: &str, undo: &Undo, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json | Format::Yaml => output::print_document(format, raw, "", |_| Ok(String::new())),
        Format::Name => output::print(&undo.commands.iter().map(|one| format!("{}\n", one.object)).collect::<String>()),
        Format::Table | Format::Wide => output::print(&text(undo, &View::stdout(format))),
    }
}

/// A proposal for people: what it is about, the commands, what stays as it is, and what would be different.
fn text(undo: &Undo, view: &View) -> String {
    let mut text = String::new();
    for commit in &undo.commits {
        let reason = commit.reason.as_deref().map(|reason| format!(" (\"{reason}\")")).unwrap_or_default();
        text.push_str(&format!(
            "commit {}, {}: {} by {}{reason}\n",
            commit.sequence,
            view.time(commit.time),
            commit.command,
            commit.actor.name
        ));
    }
    if undo.commands.is_empty() {
        text.push_str("\nThere is nothing to be run.\n");
    } else {
        text.push_str("\nTo be run\n");
        for (number, command) in (1..).zip(&undo.commands) {
            text.push_str(&format!("  {number}. {}: {}\n     {}\n", command.object, command.what, command.edgectl));
        }
    }
    for (title, remarks) in [
        ("Cannot be undone", &undo.cannot),
        ("Changed since, and left as it is", &undo.changed_since),
        ("As it was already", &undo.already),
    ] {
        text.push_str(&remarked(title, remarks));
    }
    if let Some(effect) = &undo.effect {
        for step in effect.steps.iter().filter_map(|step| step.problem.as_ref()) {
            text.push_str(&format!("\nWould be refused\n  {}\n", step.detail));
        }
        let objects: String = effect.difference.iter().map(|one| diff::of_object(one, view)).collect();
        if !objects.is_empty() {
            text.push_str(&format!("\nWhat would be different, simulated\n{objects}"));
        }
    }
    text
}

fn remarked(title: &str, remarks: &[UndoRemark]) -> String {
    if remarks.is_empty() {
        return String::new();
    }
    let lines = remarks.iter().map(|remark| format!("  {}: {}\n", remark.object, remark.why));
    format!("\n{title}\n{}", lines.collect::<String>())
}

/// What became of the commands.
fn outcomes(commands: &[UndoCommand]) -> String {
    let line = |command: &UndoCommand| match (&command.problem, command.status) {
        (Some(problem), _) => format!("{}: {} was refused: {}\n", command.object, command.what, problem.detail),
        (None, Some(_)) => format!("{}: {}: done\n", command.object, command.what),
        (None, None) => format!("{}: {}: not sent\n", command.object, command.what),
    };
    commands.iter().map(line).collect()
}
