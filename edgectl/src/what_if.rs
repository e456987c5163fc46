//! `what-if`: what would happen, found out on a fork of the site. Any changing command is tried by recording what it
//! would send.

use std::path::PathBuf;

use clap::{Args, Parser as _};
use edgestack_wire::what_if::{AskWhatIf, Outcome, Step, StepOutcome, WhatIf};

use crate::{
    cli::{AtArgs, Cli, OutputArgs},
    client::{Client, ClientError},
    config::TargetArgs,
    diff,
    failure::Failure,
    output::{self, Cell, Format, Sheet, Tone, View},
    plan_file,
    recording::{Recorder, Recording},
};

/// Verbs of the commands that change something on the site.
const CHANGING: [&str; 19] = [
    "create",
    "update",
    "edit",
    "remove",
    "associate",
    "disassociate",
    "attach",
    "detach",
    "start",
    "stop",
    "restart",
    "pause",
    "unpause",
    "cordon",
    "uncordon",
    "rotate",
    "reconcile",
    "force",
    "adopt",
];

/// `what-if`
#[derive(Args, Clone, Debug)]
pub struct WhatIfArgs {
    /// A command that changes something, as you would give it, or a file of steps and manifests ("-" reads standard
    /// input). It comes last.
    #[arg(value_name = "FILE|COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    what: Vec<String>,
    /// A file of steps and manifests, besides a command; may be given several times.
    #[arg(short, long = "file", value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,
    /// Drain this node: cordon it and stop its VMs, whose disks stay there; may be given several times.
    #[arg(long, value_name = "NODE")]
    drain_node: Vec<String>,
    /// Let this node's power fail; may be given several times.
    #[arg(long, value_name = "NODE")]
    lose_node: Vec<String>,
    /// Let this VM's process die; may be given several times.
    #[arg(long, value_name = "VM")]
    crash_vm: Vec<String>,
    /// Let this node come back; may be given several times.
    #[arg(long, value_name = "NODE")]
    return_node: Vec<String>,
    /// Let so much time pass at the end.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    wait_seconds: Option<u32>,
    /// When.
    #[command(flatten)]
    at: AtArgs,
    /// How to print it.
    #[command(flatten)]
    output: OutputArgs,
}

/// What is to be tried, taken apart.
struct Asked {
    args: WhatIfArgs,
    command: Option<Box<Cli>>,
}

/// Asks, and tells what would happen: the steps of files, then what is drained, lost or crashes, then the command, then what
/// comes back, then time. `perform` runs a command on a client.
///
/// # Errors
/// Wrong usage, the server's, or output's.
pub async fn run(
    args: WhatIfArgs,
    client: &Client,
    perform: impl AsyncFnOnce(Cli, &Client) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let Asked { args, command } = taken_apart(args)?;
    let mut format = args.output.output;
    let step = Step::default;
    let mut steps = Vec::new();
    for file in &args.files {
        steps.extend(plan_file::read(file)?);
    }
    steps.extend(args.drain_node.into_iter().map(|node| Step { drain_node: Some(node), ..step() }));
    steps.extend(args.lose_node.into_iter().map(|node| Step { lose_node: Some(node), ..step() }));
    steps.extend(args.crash_vm.into_iter().map(|vm| Step { crash_vm: Some(vm), ..step() }));
    if let Some(command) = command {
        let Recording { requests, output } = recorded(*command, client, perform).await?;
        steps.extend(requests);
        if format == Format::Table {
            format = output;
        }
    }
    steps.extend(args.return_node.into_iter().map(|node| Step { return_node: Some(node), ..step() }));
    steps.extend(args.wait_seconds.map(|seconds| Step { wait_seconds: Some(seconds), ..step() }));
    let mut url = client.path("/edgetron/what-if");
    if args.at.at.is_some() {
        url.query_pairs_mut().extend_pairs(args.at.query());
    }
    let raw = client.ask(url, serde_json::to_string(&AskWhatIf { steps })?).await?;
    let told: WhatIf = serde_json::from_str(&raw)?;
    print(&raw, &told, format)
}

/// Tells files from commands. Of a file the options may come after it.
fn taken_apart(mut args: WhatIfArgs) -> Result<Asked, Failure> {
    let Some(first) = args.what.first().cloned() else { return Ok(Asked { args, command: None }) };
    let verb = first.split('-').next().unwrap_or_default();
    let is_command = |name: &str| {
        let cli = <Cli as clap::CommandFactory>::command();
        cli.get_subcommands().any(|sub| sub.get_name() == name)
    };
    let parse = |words: Vec<String>| {
        let cli = Cli::try_parse_from(words).map_err(|error| Failure::Usage(usage(&error)))?;
        if cli.target != TargetArgs::default() {
            let rule = "which site is asked stands before what is tried: edgectl what-if --url URL … COMMAND";
            return Err(Failure::Usage(rule.to_owned()));
        }
        Ok(cli)
    };
    let rest = std::mem::take(&mut args.what);
    if is_command(&first) {
        if verb == "undo" {
            return Err(Failure::Usage("undo --dry-run tells what it would lead to by itself".to_owned()));
        }
        if !CHANGING.contains(&verb) {
            return Err(Failure::Usage(format!(
                "{first} can't be tried; what-if takes a command that changes an object"
            )));
        }
        let words = std::iter::once("edgectl".to_owned()).chain(rest).collect();
        return Ok(Asked { args, command: Some(Box::new(parse(words)?)) });
    }
    args.files.push(PathBuf::from(first));
    if rest.len() > 1 {
        let words = ["edgectl", "what-if"].into_iter().map(str::to_owned).chain(rest.into_iter().skip(1)).collect();
        let crate::cli::Command::WhatIf(more) = parse(words)?.command else {
            return Err(Failure::Usage("what follows the file is not understood".to_owned()));
        };
        let Asked { args: more, command } = taken_apart(*more)?;
        return Ok(Asked { args: together(args, more), command });
    }
    Ok(Asked { args, command: None })
}

/// The options before a file and those after it.
fn together(mut args: WhatIfArgs, more: WhatIfArgs) -> WhatIfArgs {
    args.files.extend(more.files);
    args.drain_node.extend(more.drain_node);
    args.lose_node.extend(more.lose_node);
    args.crash_vm.extend(more.crash_vm);
    args.return_node.extend(more.return_node);
    args.wait_seconds = more.wait_seconds.or(args.wait_seconds);
    args.at.at = more.at.at.or(args.at.at);
    if more.output.output != Format::Table {
        args.output = more.output;
    }
    args
}

/// clap's message without its word and its hint at the whole usage.
fn usage(error: &clap::Error) -> String {
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    text.lines().take_while(|line| !line.starts_with("Usage:") && !line.trim().is_empty()).collect::<Vec<_>>().join(" ")
}

/// What a command would send.
async fn recorded(
    command: Cli,
    client: &Client,
    perform: impl AsyncFnOnce(Cli, &Client) -> Result<(), Failure>,
) -> Result<Recording, Failure> {
    let recorder = Recorder::default();
    match perform(command, &client.recording_in(recorder.clone())).await {
        Ok(()) | Err(Failure::Client(ClientError::Recorded)) => Ok(recorder.recording()),
        Err(failure) => Err(failure),
    }
}

/// Prints what would happen.
///
/// # Errors
/// Output's.
pub fn print(raw: &str, told: &WhatIf, format: Format) -> Result<(), Failure> {
    match format {
        Format::Json | Format::Yaml => output::print_document(format, raw, "", |_| Ok(String::new())),
        Format::Name => {
            let names = told.difference.iter().map(|one| format!("{}/{}\n", one.kind, one.name));
            output::print(&names.collect::<String>())
        }
        Format::Table | Format::Wide => {
            for note in &told.notes {
                output::note(&format!("note: {note}"));
            }
            output::print(&text(told, &View::stdout(format)))
        }
    }
}

/// For people: refusals first, then places, what waits, what happened, and the end state.
fn text(told: &WhatIf, view: &View) -> String {
    let mut sheet = Sheet::default();
    sheet.pair("what if", told.summary.as_str());
    sheet.pair("from", format!("commit {}", told.from.sequence));
    sheet.pair("time passed", format!("{:.0} s, simulated", told.simulated_seconds));
    let mut text = sheet.render(view.colour);
    let mut part = |title: &str, body: String| {
        if !body.is_empty() {
            text.push_str(&format!("\n{title}\n{body}"));
        }
    };
    part("Refused, or not tried", refusals(&told.steps));
    let places = told.placements.iter().map(|change| {
        let cells = [Some(&change.vm), change.from.as_ref(), change.to.as_ref(), change.why_none.as_ref()];
        cells.into_iter().map(|text| Cell::from(text.map_or("", String::as_str))).collect()
    });
    part("Places", table(&["VM", "FROM", "TO", "WHY NONE"], places.collect(), view));
    let waiting = told.waiting.iter().map(|one| {
        let before = if one.waited_before { "yes" } else { "no" };
        let mut why = format!("{} ({})", one.waiting.reason, one.waiting.owner);
        if let Some(fix) = &one.waiting.fix {
            why.push_str(&format!("; you can: {fix}"));
        }
        vec![format!("{}/{}", one.kind, one.name).into(), Cell::state(&one.state), before.into(), why.into()]
    });
    part("Still waiting at the end", table(&["OBJECT", "STATE", "BEFORE, TOO", "WHY"], waiting.collect(), view));
    let events = told.events.iter().map(|event| {
        let (time, object) = (view.column_time(event.time), format!("{}/{}", event.kind, event.name));
        let cells = [event.sequence.to_string(), time, object, event.event_type.clone(), event.message.clone()];
        cells.into_iter().map(Cell::from).collect()
    });
    part("What would happen", table(&["SEQ", "TIME", "OBJECT", "EVENT", "WHAT"], events.collect(), view));
    if told.more_events {
        text.push_str("(and more events)\n");
    }
    let objects: String = told.difference.iter().map(|one| diff::of_object(one, view)).collect();
    if !objects.is_empty() {
        text.push_str(&format!("\nWhat would be different\n{objects}"));
    }
    if told.more_difference {
        text.push_str("(and more objects)\n");
    }
    text
}

fn table(headers: &[&str], rows: Vec<Vec<Cell>>, view: &View) -> String {
    if rows.is_empty() { String::new() } else { output::table(headers, rows, view.colour) }
}

fn refusals(steps: &[StepOutcome]) -> String {
    let mut sheet = Sheet::default();
    for (number, step) in (1..).zip(steps) {
        let why = match (step.outcome, &step.problem) {
            (Outcome::Taken, _) => continue,
            (Outcome::NotTried, _) => "not tried: the fork had come to its bounds".to_owned(),
            (Outcome::Refused, Some(problem)) => problem.detail.clone(),
            (Outcome::Refused, None) => "refused".to_owned(),
        };
        sheet.pair(&format!("{number}. {}", named(&step.step)), Cell { text: why, tone: Tone::Bad });
    }
    sheet.render(false)
}

/// A step in a few words.
fn named(step: &Step) -> String {
    let words = [
        ("drain", &step.drain_node),
        ("lose", &step.lose_node),
        ("return", &step.return_node),
        ("crash", &step.crash_vm),
    ];
    if let Some((verb, Some(name))) = words.into_iter().find(|(_, name)| name.is_some()) {
        return format!("{verb} {name}");
    }
    match step.wait_seconds {
        Some(seconds) => format!("wait {seconds} s"),
        None => {
            let path = step.path.as_deref().unwrap_or_default();
            let path = path.strip_prefix(&format!("/{}/", crate::client::PREFIX)).unwrap_or(path);
            format!("{} {path}", step.method.as_deref().unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Verbs of commands that read, or that change nothing on the site.
    const READING: [&str; 19] = [
        "archive",
        "list",
        "show",
        "watch",
        "history",
        "explain",
        "diff",
        "replay",
        "verify",
        "backup",
        "restore",
        "config",
        "completion",
        "version",
        "api",
        "upload",
        "test",
        "trace",
        "network",
    ];

    #[test]
    fn of_every_command_it_is_known_whether_it_can_be_tried() {
        for sub in Cli::command().get_subcommands() {
            let verb = sub.get_name().split('-').next().unwrap();
            let known = CHANGING.contains(&verb) || READING.contains(&verb) || ["what", "undo"].contains(&verb);
            assert!(known, "whether {} can be tried is not said", sub.get_name());
        }
    }

    fn taken(words: &[&str]) -> Result<Asked, String> {
        let words = ["edgectl", "what-if"].iter().chain(words);
        let crate::cli::Command::WhatIf(args) = Cli::try_parse_from(words).unwrap().command else { panic!() };
        taken_apart(*args).map_err(|failure| failure.to_string())
    }

    #[test]
    fn files_and_commands_are_told_apart_and_options_of_a_file_may_follow_it() {
        let asked = taken(&["plan.yaml", "--lose-node", "a", "-o", "json"]).unwrap();
        assert_eq!(asked.args.files, [PathBuf::from("plan.yaml")]);
        assert_eq!((asked.args.lose_node, asked.args.output.output), (vec!["a".to_owned()], Format::Json));
        assert!(asked.command.is_none());
        let asked = taken(&["--lose-node", "a", "stop-vm", "web", "--force"]).unwrap();
        assert!(asked.command.is_some() && asked.args.files.is_empty());
        assert!(taken(&["stop-vm", "web", "--url", "http://x"]).err().unwrap().contains("before"));
        assert!(taken(&["list-vms"]).err().unwrap().contains("can't be tried"));
        assert!(taken(&["what-if", "plan.yaml"]).err().unwrap().contains("can't be tried"));
        assert!(taken(&["create-vm", "a"]).err().unwrap().contains("--image"));
    }
}
