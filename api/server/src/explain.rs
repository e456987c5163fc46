//! `GET /edgetron/log/explain`: why an object is as it is, from the last wish to now.

mod wish;

use std::sync::Arc;

use axum::{Json, extract::State, response::IntoResponse};
use chrono::{DateTime, SecondsFormat, Utc};
use edgestack_model::{Kind, Sequence};
use edgestack_wire::{
    event::HistoryEvent,
    history::Refused,
    log::{Explanation, Moment},
    meta::Waiting,
};
use serde_json::Value;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    any_kind, history, list,
    moment::{AtParam, Reading},
    path::KindAndName,
    problem::Answer,
    query::Parameters,
    state::Site,
};

/// Events that are looked through for the last wish.
const EVENTS_MAX: usize = 500;
/// Refusals that are told.
const REFUSED_MAX: usize = 20;

pub(crate) fn routes() -> OpenApiRouter<Arc<Site>> {
    OpenApiRouter::new().routes(routes!(explain_object))
}

#[utoipa::path(
    get, path = "/edgetron/log/explain/{kind}/{name}", tag = "log", operation_id = "explain_object",
    summary = "Explain why an object is as it is, also one that is gone or was never made",
    params(
        ("kind" = String, Path, description = "Of which kind it is"),
        ("name" = String, Path, description = "Name or id; if none lives, the last that had the name"),
        AtParam,
    ),
    responses((status = 200, description = "The last wish, and all that followed", body = Explanation))
)]
async fn explain_object(
    State(site): State<Arc<Site>>,
    KindAndName(kind, reference): KindAndName,
    mut parameters: Parameters,
) -> Answer {
    let reading = Reading::take(&site, &mut parameters).await?;
    parameters.finish()?;
    let sequence = reading.sequence()?;
    let until = match &reading {
        Reading::Now(_) => None,
        Reading::Past(moment) => moment.time(),
    };
    let at = Moment { sequence, time: site.app.views.time_of(Sequence(sequence))? };
    let id = match history::id_of(&site, kind, &reference, sequence) {
        Ok(id) => id,
        Err(missing) => {
            let refused = refused(&site, kind, &[&reference.0], None, until);
            let Some(last) = refused.last() else { return Err(missing) };
            let summary = format!("there was no {kind} \"{}\"; {}", reference.0, told(last));
            let name = reference.0;
            let explanation = Explanation {
                kind: kind.to_string(),
                id: None,
                name,
                at,
                exists: false,
                state: None,
                waiting: None,
                summary,
                events: Vec::new(),
                more_events: false,
                refused,
            };
            return Ok(reading.mark(Json(explanation).into_response()));
        }
    };
    let rows = site.app.views.history_back(id, Sequence(sequence));
    let mut rows = rows.take(EVENTS_MAX + 1).collect::<Result<Vec<_>, _>>()?;
    // Its disk's events are told with a VM's own.
    let named = rows.iter().find(|row| row.event.resource_id == id).or(rows.first());
    let Some(name) = named.map(|row| row.event.name.to_string()) else {
        return Err(list::not_found(kind, &reference));
    };
    let mut found = None;
    for (at, row) in rows.iter().enumerate() {
        if wish::is_wish(row)? {
            found = Some(at);
            break;
        }
    }
    // A commit's events stand together; the whole wish is told.
    let wish_events = found.map(|at| {
        let wish = rows[at].sequence;
        rows.iter().rposition(|row| row.sequence == wish).unwrap_or(at) + 1
    });
    let more_events = wish_events.is_none() && rows.len() > EVENTS_MAX;
    rows.truncate(wish_events.unwrap_or(EVENTS_MAX));
    let wish = found.and_then(|at| rows.get(at)).map(|row| history::shown(row.clone()).1);
    let events: Vec<HistoryEvent> = rows.into_iter().rev().map(|row| history::shown(row).1).collect();
    let refused = refused(&site, kind, &[&name, &id.to_string()], wish.as_ref().map(|wish| wish.time), until);
    let shown = match reading.resource(kind, id)? {
        Some(resource) => any_kind::show(&resource, &mut reading.surroundings())?,
        None => None,
    };
    let text = |field: &str| shown.as_ref().and_then(|shown| shown[field].as_str()).map(str::to_owned);
    let state = text("state");
    let waiting = shown.as_ref().map(|shown| shown["waiting"].clone()).filter(|waiting| !waiting.is_null());
    let waiting: Option<Waiting> = waiting.and_then(|waiting: Value| serde_json::from_value(waiting).ok());
    let exists = shown.is_some();
    let mut summary = summary(kind, &name, exists, state.as_deref(), waiting.as_ref(), wish.as_ref(), events.last());
    if let Some(last) = refused.last() {
        summary.push_str(&format!("; {}", told(last)));
    }
    let (kind, id) = (kind.to_string(), Some(id));
    let explanation = Explanation { kind, id, name, at, exists, state, waiting, summary, events, more_events, refused };
    Ok(reading.mark(Json(explanation).into_response()))
}

/// What was asked of an object, by one of its names, and refused.
fn refused(
    site: &Site,
    kind: Kind,
    names: &[&str],
    from: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
) -> Vec<Refused> {
    let all = site.app.refusals.newest_first();
    let meant = all.iter().filter(|one| {
        one.kind.as_deref() == Some(kind.as_str())
            && one.name.as_deref().is_some_and(|name| names.contains(&name))
            && from.is_none_or(|from| from <= one.time)
            && until.is_none_or(|until| one.time <= until)
    });
    let mut meant: Vec<Refused> = meant.take(REFUSED_MAX).map(|one| Refused::clone(one)).collect();
    meant.reverse();
    meant
}

/// "admin was refused POST /vms at …: …".
fn told(refused: &Refused) -> String {
    let (who, method, path) = (&refused.actor.name, &refused.method, &refused.path);
    let time = refused.time.to_rfc3339_opts(SecondsFormat::Secs, true);
    format!("{who} was refused {method} {path} at {time}: {}", refused.message)
}

fn summary(
    kind: Kind,
    name: &str,
    exists: bool,
    state: Option<&str>,
    waiting: Option<&Waiting>,
    wish: Option<&HistoryEvent>,
    last: Option<&HistoryEvent>,
) -> String {
    let wished = wish.map(|wish| {
        let reason = wish.reason.as_deref().map(|reason| format!(", \"{reason}\"")).unwrap_or_default();
        format!("{} asked for {} (commit {}{reason})", wish.actor.name, wish.command, wish.sequence)
    });
    let mut text = match (exists, state) {
        (false, _) => {
            let when = last.map(|last| last.time.to_rfc3339_opts(SecondsFormat::Secs, true)).unwrap_or_default();
            format!("{kind} \"{name}\" is gone since {when}")
        }
        (true, Some(state)) => format!("{kind} \"{name}\" is {state}"),
        (true, None) => format!("{kind} \"{name}\" is there"),
    };
    if let Some(wished) = wished {
        text.push_str(&format!("; {wished}"));
    }
    if let Some(waiting) = waiting {
        text.push_str(&format!("; it waits for {}: {}", waiting.owner, waiting.reason));
        if let Some(next) = waiting.next_attempt_at {
            text.push_str(&format!("; tried again at {}", next.to_rfc3339_opts(SecondsFormat::Secs, true)));
        }
        if let Some(fix) = &waiting.fix {
            text.push_str(&format!("; you can: {fix}"));
        }
    }
    text
}
