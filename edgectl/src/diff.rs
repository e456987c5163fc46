//! `diff`: what changed between two moments, field by field, with who and why.

use clap::Args;
use edgestack_wire::{
    command_word,
    event::HistoryEvent,
    log::{Difference, FieldDifference, ObjectChange, ObjectDifference},
};
use serde_json::Value;

use crate::{
    cli::OutputArgs,
    client::Client,
    failure::Failure,
    output::{self, Format, View},
};

/// A page's length.
const PAGE: &str = "500";

/// `diff`
#[derive(Args, Clone, Debug)]
pub struct DiffArgs {
    /// Only this object: its kind and its name or id, as vm/hello.
    #[arg(value_name = "KIND/NAME", value_parser = object)]
    pub object: Option<String>,
    /// The one moment: a commit (17), a time (2026-11-25T03:04:05Z), or so long ago ("10 minutes ago").
    #[arg(long, value_name = "MOMENT")]
    pub from: String,
    /// The other; now if absent.
    #[arg(long, value_name = "MOMENT")]
    pub to: Option<String>,
    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `vm/hello`; the kind by its own name, or by the word of its commands: `sg/web` is `security_group/web`.
///
/// # Errors
/// The rule, as a sentence.
pub fn object(text: &str) -> Result<String, String> {
    match text.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() => {
            let kind = command_word::kind(kind).map_or(kind, |kind| kind.as_str());
            Ok(format!("{kind}/{name}"))
        }
        _ => Err("must be KIND/NAME, as vm/hello".to_owned()),
    }
}

/// Prints what changed.
///
/// # Errors
/// The server's, or output's.
pub async fn run(args: &DiffArgs, client: &Client) -> Result<(), Failure> {
    let all = read(args, client).await?;
    let format = args.output.output;
    if matches!(format, Format::Json | Format::Yaml) {
        let raw = serde_json::to_string(&all)?;
        return output::print_document(format, &raw, "", |_| Ok(String::new()));
    }
    if format == Format::Name {
        let names: String = all.items.iter().map(|item| format!("{}/{}\n", item.kind, item.name)).collect();
        return output::print(&names);
    }
    let view = View::stdout(format);
    output::note(&format!("from commit {} to commit {}", all.from.sequence, all.to.sequence));
    if all.items.is_empty() {
        output::note("nothing changed");
        return Ok(());
    }
    let text: Vec<String> = all.items.iter().map(|item| of_object(item, &view)).collect();
    output::print(&text.join("\n"))
}

/// All pages, of the moments of the first one: "10 minutes ago" moves on while we read.
async fn read(args: &DiffArgs, client: &Client) -> Result<Difference, Failure> {
    let mut all: Option<Difference> = None;
    loop {
        let (from, to) = match &all {
            Some(all) => (all.from.sequence.to_string(), Some(all.to.sequence.to_string())),
            None => (args.from.clone(), args.to.clone()),
        };
        let token = all.as_ref().and_then(|all| all.continue_token.clone());
        let mut query = vec![("limit", PAGE), ("from", from.as_str())];
        query.extend(to.as_deref().map(|to| ("to", to)));
        query.extend(args.object.as_deref().map(|object| ("object", object)));
        query.extend(token.as_deref().map(|token| ("continue", token)));
        let mut url = client.path("/edgetron/log/diff");
        url.query_pairs_mut().extend_pairs(query);
        let page: Difference = serde_json::from_str(&client.get(url).await?)?;
        let read = match all.take() {
            None => page,
            Some(mut all) => {
                all.items.extend(page.items);
                all.continue_token = page.continue_token;
                all
            }
        };
        if read.continue_token.is_none() {
            return Ok(read);
        }
        all = Some(read);
    }
}

/// What changed of one object, as people read it.
pub fn of_object(item: &ObjectDifference, view: &View) -> String {
    let (sign, change) = match item.change {
        ObjectChange::Added => ('+', "added"),
        ObjectChange::Changed => ('~', "changed"),
        ObjectChange::Removed => ('-', "removed"),
    };
    let mut text = format!("{sign} {} {} {change}\n", item.kind, item.name);
    // Of what came or went people want to see what it was, not each part of it; -o wide shows all.
    let whole = item.change == ObjectChange::Changed || view.wide;
    let value_of = |field: &FieldDifference| {
        if item.change == ObjectChange::Removed { field.before.clone() } else { field.after.clone() }
    };
    let shown: Vec<&FieldDifference> =
        item.fields.iter().filter(|field| whole || is_telling(&field.field, &value_of(field))).collect();
    let width = shown.iter().map(|field| field.field.chars().count()).max().unwrap_or(0);
    for field in shown {
        let value = match item.change {
            ObjectChange::Added => one_line(&field.after),
            ObjectChange::Removed => one_line(&field.before),
            ObjectChange::Changed => format!("{} -> {}", one_line(&field.before), one_line(&field.after)),
        };
        text.push_str(&format!("    {:width$}  {value}\n", field.field));
    }
    for event in &item.events {
        text.push_str(&of_event(event, view));
    }
    if item.more_events {
        let word = command_word::kind(&item.kind).map_or(item.kind.as_str(), |kind| command_word::of(kind));
        text.push_str(&format!("  …  and more: edgectl show-{word}-events {}\n", item.name));
    }
    text
}

/// Whether a field says something of an object by itself.
fn is_telling(field: &str, value: &Value) -> bool {
    let nothing = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    let is_detail = field == "id" || field == "name" || field.ends_with("_id") || field.starts_with("conditions");
    !nothing && !is_detail
}

fn of_event(event: &HistoryEvent, view: &View) -> String {
    let reason =
        event.reason.as_deref().map(|reason| format!(" (\"{}\")", reason.replace('\n', " "))).unwrap_or_default();
    format!(
        "  {}  {}  {}  {} by {}{reason}: {}\n",
        event.sequence,
        view.column_time(event.time),
        event.event_type,
        event.command,
        event.actor.name,
        event.message
    )
}

fn one_line(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) if text.is_empty() => "\"\"".to_owned(),
        Value::String(text) => text.replace('\n', " "),
        other => other.to_string(),
    }
}
