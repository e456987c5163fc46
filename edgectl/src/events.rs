//! `watch`: what happens on the site, as it happens.

use clap::Args;
use edgestack_wire::cloud_event::{CloudEvent, Dropped};

use crate::{
    cli::OutputArgs,
    client::Client,
    failure::Failure,
    history::Lines,
    json,
    output::{self, Format},
    watch::{Incoming, Stream},
};

/// `watch`
#[derive(Args, Clone, Debug)]
pub struct WatchEventsArgs {
    /// Begin after the commit of this sequence, 0 for all; with what happens from now on if absent.
    #[arg(long, value_name = "SEQUENCE")]
    pub after: Option<u64>,
    /// Only events of these kinds.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub kind: Vec<String>,
    /// Only events of objects of this name or id.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Only events of objects that have this label then; may be given several times, all must match.
    #[arg(long, value_name = "KEY=VALUE", value_delimiter = ',')]
    pub label: Vec<String>,
    /// Only events of these types, as VmStarted.
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub event_type: Vec<String>,
    /// Only what these did, as admin.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub actor: Vec<String>,
    /// How to print it; -o json prints one CloudEvent a line.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Prints events until interrupted; finds its way back after a broken connection, and misses nothing.
///
/// # Errors
/// The server's, or output's.
pub async fn run(args: &WatchEventsArgs, client: &Client) -> Result<(), Failure> {
    let mut url = client.path("/edgetron/events");
    let after = args.after.map(|after| after.to_string());
    let lists = [("kind", &args.kind), ("label", &args.label), ("type", &args.event_type), ("actor", &args.actor)];
    let query: Vec<(&str, String)> = lists
        .into_iter()
        .filter(|(_, words)| !words.is_empty())
        .map(|(name, words)| (name, words.join(",")))
        .chain(args.name.clone().map(|name| ("name", name)))
        .chain(after.map(|after| ("after", after)))
        .collect();
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    let format = args.output.output;
    let mut lines = Lines::begin(format)?;
    let mut stream = Stream::new(client, url, None);
    loop {
        let Incoming::Event(event) = stream.next().await? else { continue };
        match event.event.as_str() {
            "heartbeat" => continue,
            "dropped" => {
                let dropped: Dropped = serde_json::from_str(&event.data)?;
                output::note(&dropped.reason);
                continue;
            }
            _ if event.data.is_empty() => continue,
            _ => {}
        }
        match format {
            Format::Json => output::print(&format!("{}\n", event.data))?,
            Format::Yaml => output::print(&format!("---\n{}", json::to_yaml(&event.data)?))?,
            Format::Table | Format::Wide | Format::Name => {
                let told: CloudEvent = serde_json::from_str(&event.data)?;
                lines.print(&told.subject, &told.data)?;
            }
        }
    }
}
