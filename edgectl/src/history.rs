//! `show-…-events`: a resource's history, told and followed.

use std::collections::BTreeMap;

use clap::Args;
use edgestack_model::Kind;
use edgestack_wire::{event::HistoryEvent, history::Refused};
use uuid::Uuid;

use crate::{
    cli::{AtArgs, NameArgs, OutputArgs},
    client::Client,
    failure::Failure,
    json,
    output::{self, Cell, Format, View},
    resource,
    watch::{Incoming, Stream},
};

/// `show-…-events`
#[derive(Args, Clone, Debug)]
pub struct EventsArgs {
    /// Which; one that is gone is found by its last name, or by id.
    #[command(flatten)]
    pub of: NameArgs,
    /// When.
    #[command(flatten)]
    pub at: AtArgs,
    /// Go on with what happens from now on, until interrupted.
    #[arg(short, long, conflicts_with = "at")]
    pub follow: bool,
    /// How to print it; -o json with --follow prints one line for each event.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Prints a history.
///
/// # Errors
/// The server's, or output's.
pub async fn events(client: &Client, kind: Kind, args: &EventsArgs) -> Result<(), Failure> {
    let segments = [kind.plural(), args.of.name.as_str(), "events"];
    let list = resource::pages(client, &segments, &args.at.query(), None).await?;
    let format = args.output.output;
    if args.follow {
        return follow(client, &segments, list.items, format).await;
    }
    if matches!(format, Format::Json | Format::Yaml) {
        let raw = serde_json::to_string(&list)?;
        return output::print_document(format, &raw, "", |_| Ok(String::new()));
    }
    let mut history = History::default();
    let mut rows = Vec::new();
    let view = View::stdout(format);
    let mut names = String::new();
    for raw in &list.items {
        let event: HistoryEvent = serde_json::from_str(raw.get())?;
        rows.push(history.row(&event, &view));
        names.push_str(&format!("{}\n", event.event_type));
    }
    if format == Format::Name {
        return output::print(&names);
    }
    output::print(&output::table(headers(view.wide), rows, view.colour))
}

/// A history as a table.
pub fn told(events: &[HistoryEvent], view: &View) -> String {
    let mut history = History::default();
    let rows = events.iter().map(|event| history.row(event, view)).collect();
    output::table(headers(view.wide), rows, view.colour)
}

/// Events of many objects, line by line.
pub struct Lines {
    history: History,
    format: Format,
}

impl Lines {
    /// Prints the head.
    ///
    /// # Errors
    /// Output's.
    pub fn begin(format: Format) -> Result<Self, Failure> {
        let wide = format == Format::Wide;
        if wide || format == Format::Table {
            let mut head: Vec<Cell> = headers(wide).iter().map(|text| (*text).into()).collect();
            head.insert(2, "OBJECT".into());
            output::print(&line(head, wide, OBJECT_WIDTH))?;
        }
        Ok(Self { history: History::default(), format })
    }

    /// Prints one.
    ///
    /// # Errors
    /// Output's.
    pub fn print(&mut self, object: &str, event: &HistoryEvent) -> Result<(), Failure> {
        if self.format == Format::Name {
            return output::print(&format!("{}\n", event.event_type));
        }
        let view = View::stdout(self.format);
        let mut row = self.history.row(event, &view);
        row.insert(2, object.into());
        output::print(&line(row, view.wide, OBJECT_WIDTH))
    }

    /// Prints what did not happen.
    ///
    /// # Errors
    /// Output's.
    pub fn print_refused(&mut self, refused: &Refused) -> Result<(), Failure> {
        if self.format == Format::Name {
            return output::print(&format!("{}\n", refused.code));
        }
        let view = View::stdout(self.format);
        output::print(&line(refused_row(refused, &view), view.wide, OBJECT_WIDTH))
    }
}

/// What was refused, in the columns of what happened.
fn refused_row(refused: &Refused, view: &View) -> Vec<Cell> {
    let object = match (&refused.kind, &refused.name) {
        (Some(kind), Some(name)) => format!("{kind}/{name}"),
        (Some(kind), None) => kind.clone(),
        (None, _) => refused.path.clone(),
    };
    let request = format!("{} {}", refused.method, refused.path);
    let mut row: Vec<Cell> = vec![
        "".into(),
        view.column_time(refused.time).into(),
        object.into(),
        format!("REFUSED {}", refused.status).into(),
        refused.actor.name.as_str().into(),
        request.into(),
    ];
    if view.wide {
        row.extend([
            refused.actor.credential.as_str().into(),
            refused.code.as_str().into(),
            refused.correlation_id.to_string().into(),
            refused.reason.clone().unwrap_or_default().into(),
        ]);
    }
    row.push(refused.message.as_str().into());
    row
}

/// Refusals as a table.
pub fn told_refused(refused: &[Refused], view: &View) -> String {
    let rows = refused.iter().map(|refused| {
        let cells = [
            view.column_time(refused.time),
            refused.actor.name.clone(),
            format!("{} {}", refused.method, refused.path),
            refused.message.clone(),
        ];
        cells.into_iter().map(Cell::from).collect()
    });
    output::table(&["TIME", "WHO", "ASKED", "REFUSED BECAUSE"], rows.collect(), view.colour)
}

async fn follow(
    client: &Client,
    segments: &[&str],
    past: Vec<Box<serde_json::value::RawValue>>,
    format: Format,
) -> Result<(), Failure> {
    let mut history = History::default();
    let view = View::stdout(format);
    if matches!(format, Format::Table | Format::Wide) {
        let head = headers(view.wide).iter().map(|text| (*text).into()).collect();
        output::print(&line(head, view.wide, None))?;
    }
    let mut told_up_to = 0;
    for raw in past {
        let event: HistoryEvent = serde_json::from_str(raw.get())?;
        told_up_to = told_up_to.max(event.sequence);
        print_event(&mut history, &event, raw.get(), format, &view)?;
    }
    let url = client.url(segments, &[("follow", "true")]);
    // A history's ids are SEQUENCE.INDEX, and the list doesn't tell the index.
    let mut stream = Stream::new(client, url, (told_up_to > 0).then(|| format!("{told_up_to}.0")));
    // A commit's events share its sequence and come together; those of the commits
    // told from the list may come a second time.
    loop {
        let Incoming::Event(event) = stream.next().await? else {
            continue;
        };
        if event.data.is_empty() {
            continue;
        }
        let told: HistoryEvent = serde_json::from_str(&event.data)?;
        if told.sequence > told_up_to {
            print_event(&mut history, &told, &event.data, format, &View::stdout(format))?;
        }
    }
}

fn print_event(
    history: &mut History,
    event: &HistoryEvent,
    raw: &str,
    format: Format,
    view: &View,
) -> Result<(), Failure> {
    let text = match format {
        Format::Table | Format::Wide => line(history.row(event, view), view.wide, None),
        Format::Json => format!("{raw}\n"),
        Format::Yaml => format!("---\n{}", json::to_yaml(raw)?),
        Format::Name => format!("{}\n", event.event_type),
    };
    output::print(&text)
}

/// The width of the column that names the object.
const OBJECT_WIDTH: Option<usize> = Some(24);

fn headers(wide: bool) -> &'static [&'static str] {
    const ALL: [&str; 10] =
        ["SEQ", "TIME", "EVENT", "WHO", "CAUSE", "CREDENTIAL", "COMMAND", "CORRELATION", "REASON", "MESSAGE"];
    const SHORT: [&str; 6] = ["SEQ", "TIME", "EVENT", "WHO", "CAUSE", "MESSAGE"];
    if wide { &ALL } else { &SHORT }
}

/// A line of a table whose later rows are not known yet: columns of fixed width.
fn line(cells: Vec<Cell>, wide: bool, object_width: Option<usize>) -> String {
    let widths: &[usize] = if wide { &[6, 24, 24, 20, 32, 16, 24, 36, 16, 0] } else { &[6, 19, 24, 20, 32, 0] };
    let mut widths = widths.to_vec();
    if let Some(width) = object_width {
        widths.insert(2, width);
    }
    let text: String = cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| {
            let text = match cell.text.as_str() {
                "" => "-".to_owned(),
                text => text.replace(['\n', '\r', '\t'], " "),
            };
            format!("{text:<width$}  ")
        })
        .collect();
    format!("{}\n", text.trim_end())
}

/// What is known of earlier commits, so that causes can be named by sequence.
#[derive(Debug, Default)]
struct History {
    commits: BTreeMap<Uuid, u64>,
}

impl History {
    fn row(&mut self, event: &HistoryEvent, view: &View) -> Vec<Cell> {
        let cause = self.cause(event);
        self.commits.insert(event.commit_id, event.sequence);
        let mut row: Vec<Cell> = vec![
            event.sequence.to_string().into(),
            view.column_time(event.time).into(),
            event.event_type.as_str().into(),
            event.actor.name.as_str().into(),
            cause.into(),
        ];
        if view.wide {
            row.extend([
                event.actor.credential.as_str().into(),
                event.command.as_str().into(),
                event.correlation_id.to_string().into(),
                event.reason.clone().unwrap_or_default().into(),
            ]);
        }
        row.push(event.message.as_str().into());
        row
    }

    /// The command, and for one that follows from an earlier commit, which.
    fn cause(&self, event: &HistoryEvent) -> String {
        match event.causation_id {
            None => event.command.clone(),
            Some(id) => match self.commits.get(&id) {
                Some(sequence) => format!("{} after {sequence}", event.command),
                None => format!("{} after {id}", event.command),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use edgestack_wire::event::Actor;

    fn event(sequence: u64, command: &str, causation_id: Option<Uuid>) -> HistoryEvent {
        HistoryEvent {
            version: 1,
            sequence,
            time: DateTime::from_timestamp(1_790_000_000, 0).unwrap(),
            event_type: "VmCreated".to_owned(),
            kind: "vm".to_owned(),
            resource_id: Uuid::from_u128(1),
            name: "hello".to_owned(),
            generation: 1,
            message: "made from image \"debian-12\"".to_owned(),
            actor: Actor {
                name: "admin".to_owned(),
                credential: "token:3f9ac2d1".to_owned(),
                from: "127.0.0.1".to_owned(),
            },
            command: command.to_owned(),
            commit_id: Uuid::from_u128(u128::from(sequence)),
            correlation_id: Uuid::from_u128(7),
            causation_id,
            reason: Some("a demo".to_owned()),
            data: serde_json::Value::Null,
        }
    }

    #[test]
    fn a_report_names_the_commit_that_it_follows_from() {
        let mut history = History::default();
        let view = View { wide: false, colour: false, now: DateTime::from_timestamp(1_790_000_100, 0).unwrap() };
        let created = history.row(&event(12, "create-vm", None), &view);
        assert_eq!(created[4].text, "create-vm");
        let report = event(15, "report-vm-started", Some(Uuid::from_u128(12)));
        assert_eq!(history.row(&report, &view)[4].text, "report-vm-started after 12");
        let wide = View { wide: true, ..view };
        let row = history.row(&event(16, "stop-vm", None), &wide);
        assert_eq!(row.len(), headers(true).len());
        let text = line(row, true, None);
        for part in ["2026-", "token:3f9ac2d1", "a demo", "made from image"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
