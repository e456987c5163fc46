//! `GET /edgetron/log/history`: what happened on the whole site, and what was refused, by who, what, when and why.

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use chrono::{DateTime, TimeDelta, Utc};
use edgestack_model::{Kind, Sequence, command::Reference};
use edgestack_views::{Groups, HistoryRow, Order, Term, words_of};
use edgestack_wire::{
    history::{HistoryItem, Refused},
    list::List,
};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    history, list,
    moment::{At, parse as parse_moment},
    path::{object, the_kind},
    problem::{Answer, Failure},
    query::{Parameters, shortened},
    state::Site,
};

pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new().routes(routes!(search_history))
}

/// What to look for. All that is given must hold; of several words with commas one.
#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it documents the parameters; they are read by `Parameters`")]
pub(crate) struct HistoryParams {
    /// Only of this object and, of a VM, its disks; by kind and name or id. A gone one is found by its last name.
    #[param(example = "vm/hello")]
    object: Option<String>,
    /// Only of these kinds; more with commas.
    #[param(example = "vm,volume")]
    kind: Option<String>,
    /// Only of objects of these names, whoever has had them; more with commas.
    name: Option<String>,
    /// Only of objects that had these labels then: `key=value`, more with commas.
    label: Option<String>,
    /// Only events of these types; more with commas.
    #[serde(rename = "type")]
    #[param(example = "VmStarted,VmStopped")]
    event_type: Option<String>,
    /// Only what these did; more with commas.
    #[param(example = "admin")]
    actor: Option<String>,
    /// Only what these commands led to; more with commas.
    #[param(example = "create-vm")]
    command: Option<String>,
    /// Only what belongs to the wish of this correlation id.
    correlation_id: Option<Uuid>,
    /// Only what has all these words in its message or reason.
    #[param(example = "exit status")]
    text: Option<String>,
    /// Not before this moment: a sequence, a time (RFC 3339), or how long ago (`2 hours ago`).
    from: Option<String>,
    /// Not after this moment.
    to: Option<String>,
    /// `events`: only what happened; `refused`: only what was refused or failed; both if absent.
    outcome: Option<String>,
    /// `newest` or `oldest` first; newest if absent.
    order: Option<String>,
    /// At most so many, 1 to 1000; 100 if absent.
    #[param(minimum = 1, maximum = 1000, example = 100)]
    limit: Option<u32>,
    /// The `continue` of the page before.
    #[serde(rename = "continue")]
    continue_token: Option<String>,
}

#[utoipa::path(
    get, path = "/edgetron/log/history", tag = "log", operation_id = "search_history",
    summary = "Find what happened and what was refused, by who, what, when and why",
    params(HistoryParams),
    responses((status = 200, description = "A page, in order of time", body = List<HistoryItem>))
)]
async fn search_history(State(site): State<Arc<Site>>, mut parameters: Parameters) -> Answer {
    let asked = Asked::take(&mut parameters)?;
    let limit = list::limit(&mut parameters)?;
    let place = parameters.text("continue")?.map(|token| Place::of_token(&token)).transpose()?;
    parameters.finish()?;
    // A rare word in a long log is some thousand rows to look into.
    let searching = tokio::task::spawn_blocking(move || search(&site, asked, place, limit));
    let page = searching.await.map_err(|error| Failure::internal(format!("a search broke off: {error}")))?;
    Ok(Json(page?).into_response())
}

/// What was asked for.
struct Asked {
    object: Option<(Kind, Reference)>,
    kinds: Vec<Kind>,
    names: Vec<String>,
    labels: Vec<(String, String)>,
    types: Vec<String>,
    actors: Vec<String>,
    commands: Vec<String>,
    correlation: Option<Uuid>,
    words: Vec<String>,
    from: Option<At>,
    to: Option<At>,
    events: bool,
    refusals: bool,
    order: Order,
}

impl Asked {
    fn take(parameters: &mut Parameters) -> Result<Self, Failure> {
        let kinds = words(parameters, "kind")?;
        let kinds = kinds.iter().map(|word| the_kind("kind", word));
        let kinds = kinds.collect::<Result<_, _>>()?;
        let correlation = parameters.text("correlation_id")?.map(|text| {
            Uuid::parse_str(&text).map_err(|_| {
                Failure::parameter("correlation_id", format_args!("must be a UUID, got {:?}", shortened(&text)))
            })
        });
        let moment = |parameters: &mut Parameters, name: &str| {
            let text = parameters.text(name)?;
            text.map(|text| parse_moment(&text, Utc::now()).map_err(|why| Failure::parameter(name, why))).transpose()
        };
        let outcome = choice(parameters, "outcome", ["events", "refused"])?;
        let order = choice(parameters, "order", ["newest", "oldest"])?;
        Ok(Self {
            object: parameters.text("object")?.map(|text| object("object", &text)).transpose()?,
            kinds,
            names: words(parameters, "name")?,
            labels: list::labels(parameters)?.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
            types: words(parameters, "type")?,
            actors: words(parameters, "actor")?,
            commands: words(parameters, "command")?,
            correlation: correlation.transpose()?,
            words: words_of(&parameters.text("text")?.unwrap_or_default()),
            from: moment(parameters, "from")?,
            to: moment(parameters, "to")?,
            events: outcome != Some("refused"),
            refusals: outcome != Some("events"),
            order: if order == Some("oldest") { Order::OldestFirst } else { Order::NewestFirst },
        })
    }

    /// What events are looked for by.
    fn groups(&self, object: Option<Uuid>) -> Groups {
        let mut groups = Groups::new();
        let mut any_of = |terms: Vec<Term>| {
            if !terms.is_empty() {
                groups.push(terms);
            }
        };
        any_of(object.map(Term::Story).into_iter().collect());
        any_of(self.correlation.map(Term::Correlation).into_iter().collect());
        any_of(self.kinds.iter().copied().map(Term::Kind).collect());
        any_of(self.names.iter().cloned().map(Term::Name).collect());
        any_of(self.types.iter().cloned().map(Term::EventType).collect());
        any_of(self.actors.iter().cloned().map(Term::Actor).collect());
        any_of(self.commands.iter().cloned().map(Term::Command).collect());
        self.labels.iter().for_each(|(key, value)| any_of(vec![Term::Label(key.clone(), value.clone())]));
        self.words.iter().for_each(|word| any_of(vec![Term::Word(word.clone())]));
        groups
    }

    /// Whether a refusal is meant: it has no labels, no event and no command of the model.
    fn means(&self, refused: &Refused, object: Option<Uuid>) -> bool {
        let one_of = |words: &[String], word: &str| words.is_empty() || words.iter().any(|one| one == word);
        let name = refused.name.as_deref().unwrap_or_default();
        let of_object = self.object.as_ref().is_none_or(|(kind, reference)| {
            let id = object.is_some_and(|id| id.to_string() == name);
            refused.kind.as_deref() == Some(kind.as_str()) && (name == reference.0 || id)
        });
        of_object
            && self.labels.is_empty()
            && self.types.is_empty()
            && self.commands.is_empty()
            && self.correlation.is_none_or(|id| id == refused.correlation_id)
            && (self.kinds.is_empty() || self.kinds.iter().any(|kind| refused.kind.as_deref() == Some(kind.as_str())))
            && one_of(&self.names, name)
            && one_of(&self.actors, &refused.actor.name)
            && (self.words.is_empty() || {
                let said = words_of(&format!("{} {}", refused.message, refused.reason.as_deref().unwrap_or_default()));
                self.words.iter().all(|word| said.contains(word))
            })
    }
}

/// Between which moments.
struct Span {
    first: u64,
    last: u64,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
}

impl Span {
    fn of(site: &Site, asked: &Asked) -> Result<Self, Failure> {
        let views = &site.app.views;
        let mut span = Self { first: 1, last: views.sequence()?.0, from: None, to: None };
        match asked.from {
            None => {}
            Some(At::Sequence(sequence)) => {
                span.first = sequence;
                span.from = views.time_of(Sequence(sequence.min(span.last)))?;
            }
            Some(At::Time(time)) => {
                let before = time.checked_sub_signed(TimeDelta::nanoseconds(1)).unwrap_or(time);
                span.first = views.sequence_at(before)?.0 + 1;
                span.from = Some(time);
            }
        }
        match asked.to {
            None => {}
            Some(At::Sequence(sequence)) => {
                span.last = span.last.min(sequence);
                // What was refused before the next commit was refused at that place.
                span.to = views.time_of(Sequence(sequence.saturating_add(1)))?;
            }
            Some(At::Time(time)) => {
                span.last = views.sequence_at(time)?.0;
                span.to = Some(time);
            }
        }
        Ok(span)
    }

    fn holds(&self, time: DateTime<Utc>) -> bool {
        self.from.is_none_or(|from| from <= time) && self.to.is_none_or(|to| time <= to)
    }
}

/// What was told last, of events and of refusals.
#[derive(Clone, Copy)]
struct Place {
    event: Option<(u64, u32)>,
    refused: Option<Uuid>,
}

impl Place {
    fn token(self) -> String {
        let event = self.event.map(|(sequence, index)| format!("{sequence}.{index}")).unwrap_or_default();
        let refused = self.refused.map(|id| id.to_string()).unwrap_or_default();
        list::encode_token(&format!("{event} {refused}"))
    }

    fn of_token(token: &str) -> Result<Self, Failure> {
        let text = list::decode_token("continue", token)?;
        let place = text.split_once(' ').and_then(|(event, refused)| {
            let event = match event {
                "" => None,
                event => {
                    let (sequence, index) = event.split_once('.')?;
                    Some((sequence.parse().ok()?, index.parse().ok()?))
                }
            };
            let refused = if refused.is_empty() { None } else { Some(Uuid::parse_str(refused).ok()?) };
            Some(Self { event, refused })
        });
        place.ok_or_else(|| Failure::parameter("continue", "give back the token of the page before as it came"))
    }
}

fn search(site: &Site, asked: Asked, place: Option<Place>, limit: usize) -> Result<List<HistoryItem>, Failure> {
    let sequence = site.app.views.sequence()?.0;
    let span = Span::of(site, &asked)?;
    let object = match &asked.object {
        None => None,
        Some((kind, reference)) => match history::id_of(site, *kind, reference, span.last) {
            Ok(id) => Some(id),
            // It was perhaps never made, and that is what is to be found out.
            Err(missing) if !refused_at_all(site, &asked) => return Err(missing),
            Err(_) => Some(Uuid::nil()),
        },
    };
    let mut place = place.unwrap_or(Place { event: None, refused: None });
    let mut events = events(site, &asked, object, &span, place.event).peekable();
    let mut refusals = refusals(site, &asked, object, &span, place.refused).peekable();
    let mut items = Vec::new();
    loop {
        let event = events.peek().and_then(|row| row.as_ref().ok()).map(|row| row.time);
        let refused = refusals.peek().map(|refused| refused.time);
        let refused_is_next = match (event, refused) {
            (Some(event), Some(refused)) if asked.order == Order::OldestFirst => refused < event,
            (Some(event), Some(refused)) => refused >= event,
            (event, refused) => refused.is_some() && event.is_none() && events.peek().is_none(),
        };
        let full = items.len() == limit;
        if refused_is_next {
            if full {
                break;
            }
            if let Some(refused) = refusals.next() {
                place.refused = Some(refused.id);
                items.push(HistoryItem::Refused(Refused::clone(&refused)));
            }
        } else if let Some(row) = if full { None } else { events.next() } {
            let ((sequence, index), event) = history::shown(row?);
            place.event = Some((sequence.0, index));
            items.push(HistoryItem::Event(event));
        } else {
            break;
        }
    }
    let more = events.next().transpose()?.is_some() || refusals.next().is_some();
    let continue_token = more.then(|| place.token());
    Ok(List { items, continue_token, sequence })
}

fn refused_at_all(site: &Site, asked: &Asked) -> bool {
    asked.refusals && site.app.refusals.newest_first().iter().any(|refused| asked.means(refused, None))
}

fn events(
    site: &Site,
    asked: &Asked,
    object: Option<Uuid>,
    span: &Span,
    told: Option<(u64, u32)>,
) -> Box<dyn Iterator<Item = Result<HistoryRow, edgestack_views::ViewError>>> {
    if !asked.events {
        return Box::new(std::iter::empty());
    }
    let (first, last) = (span.first, span.last);
    let begin = match asked.order {
        Order::OldestFirst => (first.saturating_sub(1), u32::MAX),
        Order::NewestFirst => (last.saturating_add(1), 0),
    };
    let (sequence, index) = told.unwrap_or(begin);
    let rows = site.app.views.search(asked.groups(object), asked.order, (Sequence(sequence), index));
    let within =
        move |row: &Result<HistoryRow, _>| row.as_ref().map_or(true, |row| (first..=last).contains(&row.sequence.0));
    Box::new(rows.take_while(within))
}

fn refusals<'a>(
    site: &Site,
    asked: &'a Asked,
    object: Option<Uuid>,
    span: &'a Span,
    told: Option<Uuid>,
) -> impl Iterator<Item = Arc<Refused>> + 'a {
    let mut all = if asked.refusals { site.app.refusals.newest_first() } else { Vec::new() };
    if asked.order == Order::OldestFirst {
        all.reverse();
    }
    let is_left = move |refused: &Refused| match (told, asked.order) {
        (None, _) => true,
        (Some(told), Order::OldestFirst) => refused.id > told,
        (Some(told), Order::NewestFirst) => refused.id < told,
    };
    all.into_iter().filter(move |refused| is_left(refused) && span.holds(refused.time) && asked.means(refused, object))
}

fn words(parameters: &mut Parameters, name: &str) -> Result<Vec<String>, Failure> {
    let text = parameters.text(name)?;
    Ok(text.map(|text| text.split(',').map(str::to_owned).collect()).unwrap_or_default())
}

fn choice<const N: usize>(
    parameters: &mut Parameters,
    name: &str,
    choices: [&'static str; N],
) -> Result<Option<&'static str>, Failure> {
    let Some(text) = parameters.text(name)? else { return Ok(None) };
    let found = choices.into_iter().find(|choice| *choice == text);
    let wrong = || format!("must be {}, got {:?}", choices.join(" or "), shortened(&text));
    found.map(Some).ok_or_else(|| Failure::parameter(name, wrong()))
}
