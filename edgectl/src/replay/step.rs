//! `replay --step`: each commit and what it changes, forward and back, as the keys say.

use std::io::{self, BufRead as _, IsTerminal as _};

use edgestack_model::Kind;
use edgestack_wire::{history::HistoryItem, list::List, log::Difference};

use super::{Of, ReplayArgs};
use crate::{
    client::Client,
    diff,
    failure::Failure,
    output::{self, Format, View},
};

/// `replay --step`
pub(super) async fn run(args: &ReplayArgs, client: &Client) -> Result<(), Failure> {
    let format = args.output.output;
    let mut here = args.from.max(1);
    let end = end(args, client).await?;
    let mut forward = true;
    let mut keys = io::stdin().lock().lines();
    loop {
        match next(client, args.of.as_ref(), here, end, forward).await? {
            Some((sequence, found)) => {
                here = sequence;
                print(&found, here, end, format)?;
            }
            None if forward => {
                output::note("that was the last one");
                here = end + 1;
            }
            None => {
                output::note("that was the first one");
                here = 0;
            }
        }
        if io::stdin().is_terminal() {
            output::note("[n]ext, [p]revious, a sequence, [q]uit:");
        }
        let Some(key) = keys.next() else { return Ok(()) };
        let key = key.map_err(|error| Failure::Failed(format!("the keys can't be read: {error}")))?;
        match key.trim() {
            "" | "n" => (here, forward) = (here + 1, true),
            "p" => (here, forward) = (here.saturating_sub(1), false),
            "q" => return Ok(()),
            other => match other.parse() {
                Ok(sequence) => (here, forward) = (u64::max(sequence, 1), true),
                Err(_) => output::note("n, p, a sequence, or q"),
            },
        }
    }
}

/// The nearest commit that changes what is meant, from `here` on in a direction, and its change.
async fn next(
    client: &Client,
    of: Option<&Of>,
    mut here: u64,
    end: u64,
    forward: bool,
) -> Result<Option<(u64, Difference)>, Failure> {
    loop {
        if !(1..=end).contains(&here) {
            return Ok(None);
        }
        if let Some(Of::Kind(kind)) = of {
            match place(client, *kind, here, forward).await? {
                Some(place) if place <= end => here = place,
                Some(_) | None => return Ok(None),
            }
        }
        let found = difference(client, here, of).await?;
        if of.is_none() || !found.items.is_empty() {
            return Ok(Some((here, found)));
        }
        here = if forward { here + 1 } else { here - 1 };
    }
}

/// The nearest commit with an event of a kind, from `here` on: a log is long, and its commits of one kind may be few.
async fn place(client: &Client, kind: Kind, here: u64, forward: bool) -> Result<Option<u64>, Failure> {
    // A VM shows its disk and a group its rules: what happens to these changes what is shown of it.
    let within = match kind {
        Kind::Vm => Some(Kind::Volume),
        Kind::SecurityGroup => Some(Kind::SecurityGroupRule),
        Kind::Image
        | Kind::Flavor
        | Kind::Keypair
        | Kind::Node
        | Kind::Volume
        | Kind::Webhook
        | Kind::Lease
        | Kind::Network
        | Kind::SecurityGroupRule
        | Kind::Router
        | Kind::FloatingIp
        | Kind::LoadBalancer => None,
    };
    let kinds: Vec<_> = [Some(kind), within].into_iter().flatten().map(Kind::as_str).collect();
    let kinds = kinds.join(",");
    let here = here.to_string();
    let (bound, order) = if forward { ("from", "oldest") } else { ("to", "newest") };
    let query =
        [("kind", kinds.as_str()), (bound, here.as_str()), ("order", order), ("outcome", "events"), ("limit", "1")];
    let mut url = client.path("/edgetron/log/history");
    url.query_pairs_mut().extend_pairs(query);
    let found: List<HistoryItem> = serde_json::from_str(&client.get(url).await?)?;
    Ok(found.items.first().and_then(|item| match item {
        HistoryItem::Event(event) => Some(event.sequence),
        HistoryItem::Refused(_) => None,
    }))
}

/// The last commit to be shown.
async fn end(args: &ReplayArgs, client: &Client) -> Result<u64, Failure> {
    let mut url = client.path("/edgetron/log/diff");
    let to = args.until.as_deref();
    url.query_pairs_mut().extend_pairs([("limit", "1")]).extend_pairs(to.map(|to| ("to", to)));
    let found: Difference = serde_json::from_str(&client.get(url).await?)?;
    Ok(found.to.sequence)
}

async fn difference(client: &Client, sequence: u64, of: Option<&Of>) -> Result<Difference, Failure> {
    let (from, to) = ((sequence - 1).to_string(), sequence.to_string());
    let narrowed = of.map(|of| match of {
        Of::Kind(kind) => ("kind", kind.as_str()),
        Of::Object(object) => ("object", object.as_str()),
    });
    let mut url = client.path("/edgetron/log/diff");
    url.query_pairs_mut()
        .extend_pairs([("limit", "1000"), ("from", from.as_str()), ("to", to.as_str())])
        .extend_pairs(narrowed);
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
