//! `GET /{plural}/{name}/events`: a resource's whole history, also after its end.

use std::{collections::VecDeque, convert::Infallible, sync::Arc};

use axum::{
    Json,
    http::HeaderMap,
    response::{IntoResponse, Sse, sse::Event, sse::KeepAlive},
};
use edgestack_model::{Kind, Name, Sequence, command::Reference};
use edgestack_views::HistoryRow;
use edgestack_wire::{
    event::{Actor, HistoryEvent},
    list::List,
};
use uuid::Uuid;

use crate::{
    list,
    moment::Reading,
    precondition::single,
    problem::{Answer, Failure},
    query::Parameters,
    state::Site,
    watch::{KEEP_ALIVE, LAST_EVENT_ID},
};

/// Rows that a follower reads at once.
const BATCH: usize = 256;

/// A place in a history: sequence, and which of the commit's events.
type Place = (Sequence, u32);

/// How to page and follow a history.
#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it documents the parameters; they are read by `Parameters`")]
pub(crate) struct EventsParams {
    /// At most so many, 1 to 1000; 100 if absent.
    #[param(minimum = 1, maximum = 1000, example = 100)]
    limit: Option<u32>,
    /// The `continue` of the page before.
    #[serde(rename = "continue")]
    continue_token: Option<String>,
    /// `true`: answer with server-sent events, first those that happened, then each as it happens.
    follow: Option<bool>,
    /// Only what had happened by then: a sequence, a time (RFC 3339), or how long ago (`10 minutes ago`).
    at: Option<String>,
}

/// The history of a resource of a kind.
pub(crate) async fn events(
    site: &Arc<Site>,
    kind: Kind,
    reference: &Reference,
    headers: &HeaderMap,
    mut parameters: Parameters,
) -> Answer {
    let limit = list::limit(&mut parameters)?;
    let after = match parameters.text("continue")? {
        None => None,
        Some(token) => {
            let text = list::decode_token("continue", &token)?;
            let place = place(&text)
                .ok_or_else(|| Failure::parameter("continue", "give back the token of the page before as it came"))?;
            Some(place)
        }
    };
    let follow = parameters.flag("follow")?;
    let reading = Reading::take(site, &mut parameters).await?;
    parameters.finish()?;
    let sequence = reading.sequence()?;
    let id = id_of(site, kind, reference, sequence)?;
    if follow {
        if let Reading::Past(_) = reading {
            return Err(Failure::parameter("follow", "what is followed goes on; leave one of follow and at out"));
        }
        let resumed = match single(headers, &LAST_EVENT_ID)? {
            None => None,
            Some(text) => Some(place(text).ok_or_else(|| {
                Failure::bad_header("Last-Event-ID", "must be the id of an event of this history, as 17.0")
            })?),
        };
        return Ok(followed(site, id, resumed.or(after).unwrap_or_default()));
    }
    let rows = site.app.views.history(id, after.unwrap_or_default());
    let mut rows = rows.take_while(|row| row.as_ref().map_or(true, |row| row.sequence.0 <= sequence));
    let items = rows.by_ref().take(limit).map(|row| row.map(shown)).collect::<Result<Vec<_>, _>>()?;
    let last = items.last().map(|(place, _)| *place);
    let continue_token = match (rows.next().transpose()?, last) {
        (Some(_), Some(last)) => Some(list::encode_token(&place_text(last))),
        (Some(_) | None, _) => None,
    };
    let items = items.into_iter().map(|(_, event)| event).collect();
    Ok(reading.mark(Json(List { items, continue_token, sequence }).into_response()))
}

/// The id behind a name or id, living or gone: the last that had been given the name up to a commit.
pub(crate) fn id_of(site: &Site, kind: Kind, reference: &Reference, upto: u64) -> Result<Uuid, Failure> {
    let missing = || list::not_found(kind, reference);
    let text = &reference.0;
    if text.parse::<Name>().is_err() && Uuid::parse_str(text).is_err() {
        return Err(missing());
    }
    site.app.views.id_up_to(kind, reference, Sequence(upto))?.ok_or_else(missing)
}

struct Follower {
    site: Arc<Site>,
    id: Uuid,
    after: Place,
    ready: VecDeque<(Place, HistoryEvent)>,
    head: tokio::sync::watch::Receiver<edgestack_log::ChainHead>,
}

/// Every event after a place, and then each as it happens. A follower reads at its
/// own pace from the view, so a slow one holds up nobody and misses nothing.
fn followed(site: &Arc<Site>, id: Uuid, after: Place) -> axum::response::Response {
    let follower =
        Follower { head: site.app.replica.watch_head(), site: site.clone(), id, after, ready: VecDeque::new() };
    let events = futures::stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        let shutdown = self.site.app.shutdown.clone();
        loop {
            if let Some((place, event)) = self.ready.pop_front() {
                self.after = place;
                return Event::default()
                    .id(place_text(place))
                    .json_data(event)
                    .inspect_err(|error| tracing::error!(%error, "an event of the history cannot be written as JSON"))
                    .ok();
            }
            // Marked as seen before reading: what comes while we read wakes us again.
            self.head.mark_unchanged();
            let rows: Result<Vec<HistoryRow>, _> =
                self.site.app.views.history(self.id, self.after).take(BATCH).collect();
            match rows {
                Ok(rows) => self.ready.extend(rows.into_iter().map(shown)),
                Err(error) => {
                    tracing::warn!(
                        error = edgestack_engine::error_chain(&error),
                        "a history is no longer followed, since the view cannot be read"
                    );
                    return None;
                }
            }
            if self.ready.is_empty() {
                tokio::select! {
                    () = shutdown.cancelled() => return None,
                    changed = self.head.changed() => changed.ok()?,
                }
            }
        }
    }
}

pub(crate) fn shown(row: HistoryRow) -> (Place, HistoryEvent) {
    let place = (row.sequence, row.index);
    let event = HistoryEvent {
        sequence: row.sequence.0,
        time: row.time,
        event_type: row.event.event_type,
        version: row.event.version,
        kind: row.event.kind,
        resource_id: row.event.resource_id,
        name: row.event.name.to_string(),
        generation: row.event.generation.0,
        message: row.message,
        actor: Actor { name: row.actor.name, credential: row.actor.credential, from: row.actor.from },
        command: row.command,
        commit_id: row.commit_id,
        correlation_id: row.correlation_id,
        causation_id: row.causation_id,
        reason: row.reason,
        data: row.event.data,
    };
    (place, event)
}

fn place_text((sequence, index): Place) -> String {
    format!("{sequence}.{index}")
}

fn place(text: &str) -> Option<Place> {
    let (sequence, index) = text.split_once('.')?;
    Some((Sequence(sequence.parse().ok()?), index.parse().ok()?))
}
