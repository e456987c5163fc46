//! `explain`: why an object is as it is, from the last wish to now.

use clap::Args;
use edgestack_wire::log::Explanation;

use crate::{
    cli::{AtArgs, OutputArgs},
    client::Client,
    diff,
    failure::Failure,
    history,
    output::{self, Cell, Sheet},
};

/// `explain`
#[derive(Args, Clone, Debug)]
pub struct ExplainArgs {
    /// Its kind and its name or id, as vm/hello; one that is gone is found by its last name, and of one that
    /// was never made it is told why.
    #[arg(value_name = "KIND/NAME", value_parser = diff::object)]
    pub object: String,
    /// When.
    #[command(flatten)]
    pub at: AtArgs,
    /// How to print it.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Prints why.
///
/// # Errors
/// The server's, or output's.
pub async fn run(args: &ExplainArgs, client: &Client) -> Result<(), Failure> {
    let mut url = client.path("/edgetron/log/explain");
    if let Ok(mut path) = url.path_segments_mut() {
        path.extend(args.object.splitn(2, '/'));
    }
    if args.at.at.is_some() {
        url.query_pairs_mut().extend_pairs(args.at.query());
    }
    let raw = client.get(url).await?;
    let told: Explanation = serde_json::from_str(&raw)?;
    output::print_document(args.output.output, &raw, &told.name, |view| {
        let mut sheet = Sheet::default();
        sheet.pair(&told.kind, told.name.as_str());
        let state = match (told.exists, told.id) {
            (true, _) => told.state.as_deref().unwrap_or("there"),
            (false, Some(_)) => "gone",
            (false, None) => "never made",
        };
        sheet.pair("is", Cell::state(state));
        if let Some(wish) = told.events.first().filter(|event| event.causation_id.is_none()) {
            let reason = wish.reason.as_deref().map(|reason| format!(" (\"{reason}\")")).unwrap_or_default();
            sheet.pair("asked", format!("{} by {}{reason}", wish.command, wish.actor.name));
        }
        if let Some(waiting) = &told.waiting {
            sheet.pair("waits for", waiting.owner.as_str());
            sheet.pair("because", waiting.reason.as_str());
            if let Some(next) = waiting.next_attempt_at {
                sheet.pair("tried again", view.time(next));
            }
            sheet.pair_if("you can", waiting.fix.clone().map(Cell::from));
        }
        let mut text = sheet.render(view.colour);
        if !told.events.is_empty() {
            text.push_str("\nHow it came to that\n");
            if told.more_events {
                text.push_str("(earlier events are left out)\n");
            }
            text.push_str(&history::told(&told.events, &view));
        }
        if !told.refused.is_empty() {
            text.push_str("\nWhat was asked and refused\n");
            text.push_str(&history::told_refused(&told.refused, &view));
        }
        Ok(text)
    })
}
