//! `watch-vms`: a list that keeps itself up to date.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal},
    time::Duration,
};

use clap::Args;
use edgestack_wire::list::WatchChange;
use futures::StreamExt;
use uuid::Uuid;

use crate::{
    cli::{FilterArgs, OutputArgs},
    client::Client,
    clock,
    failure::Failure,
    json,
    output::{self, Cell, Format, View},
    resource::Shown,
    watch::{self, Change, Incoming, Stream},
};

/// Ages grow while nothing else happens.
const REDRAW_EVERY: Duration = Duration::from_secs(5);
/// Changes that come together are drawn together.
const SETTLE: Duration = Duration::from_millis(50);

/// `watch-vms`
#[derive(Args, Debug)]
pub struct WatchArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// How to print; json prints one line for each change, with no end.
    #[command(flatten)]
    output: OutputArgs,
}

/// Watches a kind until interrupted.
///
/// # Errors
/// The server's, or output's.
pub async fn watch<T: Shown>(client: &Client, args: &WatchArgs) -> Result<(), Failure> {
    let filter = args.filter.query();
    let mut query = vec![("watch", "true")];
    query.extend(filter.iter().map(|(key, value)| (*key, value.as_str())));
    let mut stream = Stream::new(client, client.url(&[T::KIND.plural()], &query), None);
    let format = args.output.output;
    let people = matches!(format, Format::Table | Format::Wide);
    if people && io::stdout().is_terminal() {
        return screen::<T>(stream, format).await;
    }
    let mut first = true;
    loop {
        let Incoming::Event(event) = stream.next().await? else {
            continue;
        };
        let change = watch::change(&event)?;
        let text = match format {
            Format::Json => format!("{}\n", event.data),
            Format::Yaml => format!("---\n{}", json::to_yaml(&event.data)?),
            Format::Name => told::<T>(&change, |item, _| format!("{}\n", item.meta().name))?,
            Format::Table | Format::Wide => {
                let view = View::stdout(format);
                told::<T>(&change, |item, word| line(item, word, &view))?
            }
        };
        if people && std::mem::take(&mut first) {
            output::print(&format!("{:<20}  {:<8}  {:<24}  STATE\n", "TIME", "CHANGE", "NAME"))?;
        }
        output::print(&text)?;
    }
}

/// What a change says about its object; nothing for a bookmark.
fn told<T: Shown>(change: &Change, text: impl Fn(&T, &str) -> String) -> Result<String, Failure> {
    let word = match change.change {
        WatchChange::Added => "added",
        WatchChange::Modified => "modified",
        WatchChange::Deleted => "deleted",
        WatchChange::Bookmark => return Ok(String::new()),
    };
    match &change.object {
        Some(raw) => Ok(text(&serde_json::from_str(raw.get())?, word)),
        None => Ok(String::new()),
    }
}

fn line<T: Shown>(item: &T, word: &str, view: &View) -> String {
    let meta = item.meta();
    let time = view.column_time(meta.updated_at);
    let state = item.state().unwrap_or("-");
    format!("{time:<20}  {word:<8}  {:<24}  {state}\n", meta.name)
}

async fn screen<T: Shown>(stream: Stream<'_>, format: Format) -> Result<(), Failure> {
    // The unfolded stream keeps a half-done read or connect over the turns of `select!`.
    let incoming = futures::stream::unfold(stream, |mut stream| async {
        let next = stream.next().await;
        Some((next, stream))
    });
    let mut incoming = std::pin::pin!(incoming);
    let mut items: BTreeMap<(String, Uuid), T> = BTreeMap::new();
    let mut tick = tokio::time::interval(REDRAW_EVERY);
    let mut dirty = true;
    loop {
        tokio::select! {
            Some(next) = incoming.next() => match next? {
                Incoming::Connected => dirty = true,
                Incoming::Event(event) => dirty |= apply(&mut items, &watch::change(&event)?)?,
            },
            () = tokio::time::sleep(SETTLE), if dirty => {
                dirty = false;
                draw(&items, format)?;
            }
            _ = tick.tick() => dirty = true,
        }
    }
}

fn apply<T: Shown>(items: &mut BTreeMap<(String, Uuid), T>, change: &Change) -> Result<bool, Failure> {
    let Some(raw) = &change.object else {
        return Ok(false);
    };
    let gone = match change.change {
        WatchChange::Bookmark => return Ok(false),
        WatchChange::Deleted => true,
        WatchChange::Added | WatchChange::Modified => false,
    };
    let item: T = serde_json::from_str(raw.get())?;
    let key = (item.meta().name.clone(), item.meta().id);
    if gone {
        items.remove(&key);
    } else {
        items.insert(key, item);
    }
    Ok(true)
}

fn draw<T: Shown>(items: &BTreeMap<(String, Uuid), T>, format: Format) -> Result<(), Failure> {
    let view = View::stdout(format);
    let plural = T::KIND.plural();
    let head = format!("{} {plural}, {}\n\n", items.len(), clock::local(view.now));
    let rows: Vec<Vec<Cell>> = items.values().map(|item| item.row(&view)).collect();
    let table = output::table(&T::headers(view.wide), rows, view.colour);
    let room = terminal_height().saturating_sub(4).max(1);
    let shown: String = table.split_inclusive('\n').take(room).collect();
    let hidden = items.len().saturating_sub(room.saturating_sub(1));
    let foot = match hidden {
        0 => String::new(),
        more => format!("… and {more} more; a filter makes it shorter: --state, --label\n"),
    };
    // ECMA-48: ED 2 clears the page, CUP goes home.
    output::print(&format!("\x1b[2J\x1b[H{head}{shown}{foot}"))
}

/// Lines of the terminal; one that does not know its size says 0.
fn terminal_height() -> usize {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 => usize::from(size.ws_row),
        Ok(_) | Err(_) => 24,
    }
}
