//! What every kind has: list, show, update, remove; the kinds say how they look.

use edgestack_model::Kind;
use edgestack_wire::{command_word, list::List, meta::Meta};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::{
    cli::{ChangeArgs, ListArgs, RemoveArgs, ShowArgs},
    client::{Client, Payload, Reply},
    failure::{self, Failure},
    output::{self, Cell, Format, Sheet, View},
    wait::{self, End, Subject, Verdict},
};

/// A page's length where all pages are read.
const PAGE: u32 = 500;
/// The longest page that the API gives.
const PAGE_MAX: u32 = 1000;

/// How a kind looks to people.
pub trait Shown: DeserializeOwned {
    /// Which kind.
    const KIND: Kind;
    /// What to try when there are none.
    const WHEN_EMPTY: &'static str;
    /// A table's head.
    fn headers(wide: bool) -> Vec<&'static str>;
    /// Identity and bookkeeping.
    fn meta(&self) -> &Meta;
    /// A line of a table.
    fn row(&self, view: &View) -> Vec<Cell>;
    /// Everything about one.
    fn sheet(&self, view: &View) -> Sheet;
    /// Its state, for kinds that have one.
    fn state(&self) -> Option<&str>;
}

/// The sheet's head, the same for every kind.
pub fn sheet_of(meta: &Meta, state: Option<Cell>, view: &View) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.pair("name", meta.name.as_str());
    sheet.pair_if("state", state);
    sheet.pair("id", meta.id.to_string());
    if !meta.description.is_empty() {
        sheet.pair("description", meta.description.as_str());
    }
    if !meta.labels.is_empty() {
        sheet.pair("labels", output::labels(&meta.labels));
    }
    sheet.pair("created", view.time(meta.created_at));
    sheet.pair("last change", view.time(meta.updated_at));
    if view.wide {
        sheet.pair("generation", meta.generation.to_string());
        sheet.pair("revision", meta.revision.to_string());
        sheet.pair("correlation id", meta.correlation_id.to_string());
    }
    sheet
}

/// `list-…`
///
/// # Errors
/// The server's, or output's.
pub async fn list<T: Shown>(client: &Client, args: &ListArgs) -> Result<(), Failure> {
    let mut query = args.filter.query();
    query.extend(args.at.query());
    let page = pages(client, &[T::KIND.plural()], &query, args.limit).await?;
    let format = args.output.output;
    if args.at.at.is_some() {
        output::note_moment(Some(&format!("after commit {}", page.sequence)));
    }
    match format {
        Format::Json => return output::print(&crate::json::pretty(&serde_json::to_string(&page)?)),
        Format::Yaml => {
            return output::print(&crate::json::to_yaml(&serde_json::to_string(&page)?)?);
        }
        Format::Table | Format::Wide | Format::Name => {}
    }
    let items = page.items.iter().map(|raw| serde_json::from_str(raw.get())).collect::<Result<Vec<T>, _>>()?;
    if format == Format::Name {
        let names: String = items.iter().map(|item| item.meta().name.clone() + "\n").collect();
        return output::print(&names);
    }
    if items.is_empty() {
        let hint = if args.at.at.is_some() {
            "there was none at that moment, or none that matches".to_owned()
        } else if args.filter.query().is_empty() {
            T::WHEN_EMPTY.to_owned()
        } else {
            format!("nothing matches; see all without the filters: edgectl {}", list_command(T::KIND))
        };
        output::note(&hint);
        return Ok(());
    }
    let view = View::stdout(format);
    let rows = items.iter().map(|item| item.row(&view)).collect();
    output::print(&output::table(&T::headers(view.wide), rows, view.colour))?;
    if page.continue_token.is_some() {
        output::note("there are more; raise --limit or leave it out");
    }
    Ok(())
}

/// The list's command, as users type it.
fn list_command(kind: Kind) -> String {
    format!("list-{}s", command_word::of(kind))
}

/// All pages of a list, or as many items as `limit` says, each item as it came.
///
/// # Errors
/// The server's.
pub async fn pages(
    client: &Client,
    segments: &[&str],
    filter: &[(&str, String)],
    limit: Option<u32>,
) -> Result<List<Box<RawValue>>, Failure> {
    let mut all: Option<List<Box<RawValue>>> = None;
    loop {
        let have = all.as_ref().map_or(0, |list| list.items.len());
        let wanted = match limit {
            Some(limit) => limit.saturating_sub(u32::try_from(have).unwrap_or(u32::MAX)).min(PAGE_MAX),
            None => PAGE,
        };
        let size = wanted.to_string();
        let token = all.as_ref().and_then(|list| list.continue_token.clone());
        let mut query: Vec<(&str, &str)> = vec![("limit", &size)];
        // "10 minutes ago" moves on while we read: all pages are of the first one's moment.
        let moment = all.as_ref().map(|list| list.sequence.to_string());
        query.extend(filter.iter().map(|(key, value)| match (*key, &moment) {
            ("at", Some(moment)) => ("at", moment.as_str()),
            (key, _) => (key, value.as_str()),
        }));
        if let Some(token) = &token {
            query.push(("continue", token));
        }
        let raw = client.get(client.url(segments, &query)).await?;
        let page: List<Box<RawValue>> = serde_json::from_str(&raw)?;
        if token.is_some() && page.continue_token == token {
            return Err(Failure::Failed("the server gives the same page again and again".to_owned()));
        }
        let list = match all.take() {
            None => page,
            Some(mut list) => {
                list.items.extend(page.items);
                list.continue_token = page.continue_token;
                list
            }
        };
        let enough = limit.is_some_and(|limit| list.items.len() >= limit as usize);
        if enough || list.continue_token.is_none() {
            return Ok(list);
        }
        all = Some(list);
    }
}

/// `show-…`
///
/// # Errors
/// The server's, or output's.
pub async fn show<T: Shown>(client: &Client, args: &ShowArgs) -> Result<(), Failure> {
    let query = args.at.query();
    let query: Vec<(&str, &str)> = query.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let url = client.url(&[T::KIND.plural(), &args.of.name], &query);
    let (raw, moment) = client.get_at(url, "application/json").await?;
    output::note_moment(moment.as_deref());
    let format = args.output.output;
    if matches!(format, Format::Json | Format::Yaml) {
        return output::print_document(format, &raw, "", |_| Ok(String::new()));
    }
    let resource: T = serde_json::from_str(&raw)?;
    output::print_document(format, &raw, &resource.meta().name, |view| Ok(resource.sheet(&view).render(view.colour)))
}

/// A change whose answer is its result: `flavor "small" is created`.
///
/// # Errors
/// The server's, or output's.
pub async fn change<T: Shown>(
    client: &Client,
    method: Method,
    segments: &[&str],
    payload: &Payload,
    args: &ChangeArgs,
    done: &str,
) -> Result<(), Failure> {
    let reply = client.change(method, segments, payload, args).await?;
    print_changed::<T>(&reply.body, args, done)
}

/// Prints a change's result.
///
/// # Errors
/// Output's, or the answer is not understood.
pub fn print_changed<T: Shown>(raw: &str, args: &ChangeArgs, done: &str) -> Result<(), Failure> {
    let resource: T = serde_json::from_str(raw)?;
    let name = resource.meta().name.clone();
    output::print_document(args.output.output, raw, &name, |_| Ok(sentence(T::KIND, &name, done, args.dry_run)))
}

fn sentence(kind: Kind, name: &str, done: &str, dry_run: bool) -> String {
    if dry_run {
        format!("{kind} \"{name}\" would be {done} (dry run: nothing changed)\n")
    } else {
        format!("{kind} \"{name}\" is {done}\n")
    }
}

/// After a change that work follows: waits if that is wished, then prints the result.
///
/// # Errors
/// Those of waiting, or output's.
pub async fn finish<T: Shown>(
    client: &Client,
    reply: &Reply,
    args: &ChangeArgs,
    patience: Option<std::time::Duration>,
    done: &str,
    judge: impl Fn(&T) -> Verdict,
) -> Result<(), Failure> {
    let Some(timeout) = patience.filter(|_| !args.dry_run) else {
        let resource: T = serde_json::from_str(&reply.body)?;
        let done = match resource.state() {
            Some(state) if !args.dry_run => state,
            Some(_) | None => done,
        };
        return print_changed::<T>(&reply.body, args, done);
    };
    let first: T = serde_json::from_str(&reply.body)?;
    let meta = first.meta();
    let end = match judge(&first) {
        Verdict::Reached => End::Reached(RawValue::from_string(reply.body.clone())?),
        Verdict::Never(why) => return Err(Failure::Failed(why)),
        Verdict::NotYet { .. } => {
            let subject = Subject { kind: T::KIND, meta, timeout };
            let judge = |raw: &RawValue| Ok(judge(&serde_json::from_str(raw.get())?));
            wait::wait(client, &subject, judge).await?
        }
    };
    match end {
        End::Reached(raw) => {
            let resource: T = serde_json::from_str(raw.get())?;
            print_changed::<T>(raw.get(), args, resource.state().unwrap_or(done))
        }
        End::Gone => Err(Failure::Failed(format!(
            "{} \"{}\" was removed meanwhile; its history: edgectl show-{}-events {}",
            T::KIND,
            meta.name,
            command_word::of(T::KIND),
            meta.id
        ))),
    }
}

/// `remove-…`: asks for all removals first, then waits for each, so that they run side by side.
///
/// # Errors
/// The first failure when there was one name, else how many failed after each was told.
pub async fn remove<T: Shown>(client: &Client, args: &RemoveArgs) -> Result<(), Failure> {
    remove_by::<T>(client, args, &[]).await
}

/// The same, with what else the removal is to do in the query.
///
/// # Errors
/// As [`remove`].
pub async fn remove_by<T: Shown>(client: &Client, args: &RemoveArgs, query: &[(&str, &str)]) -> Result<(), Failure> {
    let mut asked = Vec::new();
    for name in &args.names {
        let segments = [T::KIND.plural(), name.as_str()];
        let reply = client.change_by(Method::DELETE, (&segments, query), &Payload::Empty, &args.change).await;
        asked.push((name, reply));
    }
    if client.records() {
        return Ok(());
    }
    let mut failures = Vec::new();
    for (name, reply) in asked {
        let outcome = match reply {
            Ok(reply) => removed::<T>(client, args, name, &reply).await,
            Err(error) => Err(error.into()),
        };
        match outcome {
            Ok(()) => {}
            Err(failure @ Failure::Output(_)) => return Err(failure),
            Err(failure) => failures.push(failure),
        }
    }
    let all = args.names.len();
    match (failures.len(), all) {
        (0, _) => Ok(()),
        (1, 1) => Err(failures.remove(0)),
        (failed, all) => {
            for failure in &failures {
                output::note(&format!("edgectl: {}", failure::line(failure)));
            }
            if failures.iter().all(|f| matches!(f, Failure::TimedOut(_))) {
                return Err(Failure::TimedOut(format!("{failed} of {all} are not gone yet")));
            }
            Err(Failure::Some { failed, all })
        }
    }
}

async fn removed<T: Shown>(client: &Client, args: &RemoveArgs, asked_name: &str, reply: &Reply) -> Result<(), Failure> {
    let format = args.change.output.output;
    let dry_run = args.change.dry_run;
    if reply.status == StatusCode::NO_CONTENT || reply.body.is_empty() {
        // The API says nothing, so there is nothing to print in its formats.
        return match format {
            Format::Table | Format::Wide => output::print(&sentence(T::KIND, asked_name, "removed", dry_run)),
            Format::Name => output::print(&format!("{asked_name}\n")),
            Format::Json | Format::Yaml => Ok(()),
        };
    }
    let resource: T = serde_json::from_str(&reply.body)?;
    let meta = resource.meta();
    let mut done = "removed";
    match args.wait.patience() {
        Some(timeout) if !dry_run => {
            let subject = Subject { kind: T::KIND, meta, timeout };
            let judge = |raw: &RawValue| {
                let now: Deleting = serde_json::from_str(raw.get())?;
                Ok(Verdict::NotYet { state: now.state.unwrap_or_else(|| "deleting".to_owned()), waiting: now.waiting })
            };
            wait::wait(client, &subject, judge).await?;
        }
        Some(_) | None if !dry_run => done = resource.state().unwrap_or("being removed"),
        Some(_) | None => {}
    }
    print_changed::<T>(&reply.body, &args.change, done)
}

#[derive(serde::Deserialize)]
struct Deleting {
    state: Option<String>,
    waiting: Option<edgestack_wire::meta::Waiting>,
}
