//! `history`: what happened on the site, whatever it happened to, and what was refused.

use clap::Args;
use edgestack_wire::{history::HistoryItem, list::List};
use serde_json::value::RawValue;

use crate::{
    cli::OutputArgs,
    client::Client,
    diff,
    failure::Failure,
    history::Lines,
    json,
    output::{self, Format},
};

/// A page's length at most.
const PAGE: u32 = 500;

/// `history`
#[derive(Args, Clone, Debug)]
pub struct HistoryArgs {
    /// Only of this object (of a VM with its disks): its kind and its name or id, as vm/hello.
    #[arg(value_name = "KIND/NAME", value_parser = diff::object)]
    pub object: Option<String>,
    /// Only what has all these words in its message or reason.
    #[arg(long, value_name = "WORDS")]
    pub text: Option<String>,
    /// Only what these did, as admin.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub actor: Vec<String>,
    /// Only of objects of these kinds.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub kind: Vec<String>,
    /// Only of objects of these names, whoever has had them.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub name: Vec<String>,
    /// Only of objects that had this label then; may be given several times, all must match.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    pub label: Vec<String>,
    /// Only events of these types, as VmStarted.
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub event_type: Vec<String>,
    /// Only what these commands led to, as create-vm.
    #[arg(long, value_name = "COMMAND", value_delimiter = ',')]
    pub command: Vec<String>,
    /// Only what belongs to the wish of this correlation id.
    #[arg(long, value_name = "ID")]
    pub correlation: Option<String>,
    /// Not before: a commit (17), a time (2026-11-25T03:04:05Z), or so long ago ("2 hours ago").
    #[arg(long, value_name = "MOMENT")]
    pub from: Option<String>,
    /// Not after.
    #[arg(long, value_name = "MOMENT")]
    pub to: Option<String>,
    /// Only what was refused or failed.
    #[arg(long, conflicts_with = "events")]
    pub refused: bool,
    /// Only what happened.
    #[arg(long)]
    pub events: bool,
    /// The last so many.
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// All of it, from the beginning on.
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// How to print it; -o json prints one event or refusal a line.
    #[command(flatten)]
    pub output: OutputArgs,
}

type Page = List<Box<RawValue>>;

/// Prints what happened, the oldest first.
///
/// # Errors
/// The server's, or output's.
pub async fn run(args: &HistoryArgs, client: &Client) -> Result<(), Failure> {
    let mut printer = Printer { lines: None, format: args.output.output, printed: 0 };
    if args.all {
        let mut token = None;
        loop {
            let page = page(args, client, "oldest", PAGE, token).await?;
            page.items.iter().try_for_each(|item| printer.print(item))?;
            token = page.continue_token;
            if token.is_none() {
                break;
            }
        }
    } else {
        let (mut newest, mut token) = (Vec::new(), None);
        loop {
            let left = args.limit.saturating_sub(u32::try_from(newest.len()).unwrap_or(u32::MAX));
            let page = page(args, client, "newest", left.min(PAGE), token).await?;
            newest.extend(page.items);
            token = page.continue_token;
            if token.is_none() || newest.len() >= args.limit as usize {
                break;
            }
        }
        if token.is_some() {
            output::note(&format!(
                "the last {} of more; --limit or --all shows more, --from and --to choose",
                args.limit
            ));
        }
        newest.iter().rev().try_for_each(|item| printer.print(item))?;
    }
    if printer.printed == 0 {
        output::note("nothing of that happened; fewer or other words find more");
    }
    Ok(())
}

async fn page(
    args: &HistoryArgs,
    client: &Client,
    order: &str,
    limit: u32,
    token: Option<String>,
) -> Result<Page, Failure> {
    let lists = [
        ("actor", &args.actor),
        ("kind", &args.kind),
        ("name", &args.name),
        ("label", &args.label),
        ("type", &args.event_type),
        ("command", &args.command),
    ];
    let texts = [
        ("object", args.object.clone()),
        ("text", args.text.clone()),
        ("correlation_id", args.correlation.clone()),
        ("from", args.from.clone()),
        ("to", args.to.clone()),
        ("outcome", args.refused.then(|| "refused".to_owned())),
        ("outcome", args.events.then(|| "events".to_owned())),
        ("continue", token),
    ];
    let lists = lists.into_iter().filter(|(_, words)| !words.is_empty()).map(|(name, words)| (name, words.join(",")));
    let texts = texts.into_iter().filter_map(|(name, text)| text.map(|text| (name, text)));
    let mut url = client.path("/edgetron/log/history");
    url.query_pairs_mut()
        .extend_pairs(lists.chain(texts))
        .extend_pairs([("order", order), ("limit", &limit.to_string())]);
    Ok(serde_json::from_str(&client.get(url).await?)?)
}

struct Printer {
    lines: Option<Lines>,
    format: Format,
    printed: usize,
}

impl Printer {
    fn print(&mut self, raw: &RawValue) -> Result<(), Failure> {
        self.printed += 1;
        match self.format {
            Format::Json => return output::print(&format!("{raw}\n")),
            Format::Yaml => return output::print(&format!("---\n{}", json::to_yaml(raw.get())?)),
            Format::Table | Format::Wide | Format::Name => {}
        }
        let lines = match &mut self.lines {
            Some(lines) => lines,
            None => self.lines.insert(Lines::begin(self.format)?),
        };
        match serde_json::from_str(raw.get())? {
            HistoryItem::Event(event) => lines.print(&format!("{}/{}", event.kind, event.name), &event),
            HistoryItem::Refused(refused) => lines.print_refused(&refused),
        }
    }
}
