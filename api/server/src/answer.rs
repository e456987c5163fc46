//! From a command's outcome to the answer.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use edgestack_engine::Outcome;
use edgestack_model::{Sequence, world::Resource};

use crate::{
    codes, precondition,
    problem::{Answer, Failure},
    router,
    shown::{Shown, Surroundings},
    state::Site,
};

pub(crate) const SEQUENCE: HeaderName = HeaderName::from_static("edgestack-sequence");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What a change that took effect is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Success {
    /// 201: it is made.
    Created,
    /// 202 with `Location`: it is recorded, and work follows.
    CreatedAndWorkFollows,
    /// 202: it is recorded, and work follows.
    WorkFollows,
    /// 200.
    Changed,
    /// 204 when it is gone, 202 with the resource when work follows.
    Removed,
}

/// The answer to a change of a `T`.
pub(crate) fn answer<T: Shown>(site: &Site, outcome: Outcome, success: Success) -> Answer {
    answer_with::<T>(site, outcome, success, |_| {})
}

/// As [`answer`]; `complete` adds what only the first answer to a committed change holds.
pub(crate) fn answer_with<T: Shown>(
    site: &Site,
    outcome: Outcome,
    success: Success,
    complete: impl FnOnce(&mut T),
) -> Answer {
    let (kind, id) = outcome.primary();
    let mut response = match &outcome {
        Outcome::DryRun { world, .. } => {
            // A deletion's dry run shows what would go.
            let shown = match world.resource(kind, id) {
                Some(resource) => T::show(&resource, &mut Surroundings::of_world(world))?,
                None => now::<T>(site, kind, id)?,
            };
            return shown.map(|shown| Json(shown).into_response()).ok_or_else(gone);
        }
        Outcome::Committed { commit } => {
            let mut shown = now::<T>(site, kind, id)?;
            if let Some(shown) = &mut shown {
                complete(shown);
            }
            let mut response = respond(shown, success, gone)?;
            sequence(&mut response, commit.sequence);
            response
        }
        Outcome::Unchanged { .. } => {
            let shown = now::<T>(site, kind, id)?;
            let revision = shown.as_ref().map_or(0, |shown| shown.meta().revision);
            let mut response = respond(shown, success, gone)?;
            sequence(&mut response, Sequence(revision));
            response
        }
        Outcome::Before { sequence: first, .. } => {
            let mut response = respond(now::<T>(site, kind, id)?, success, || {
                Failure::new(
                    &codes::GONE_SINCE,
                    format!("this request took effect before, as commit {first}, and its {kind} was removed since; take a fresh Idempotency-Key to make it anew"),
                )
                .header(REPLAYED, HeaderValue::from_static("true"))
            })?;
            sequence(&mut response, *first);
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            response
        }
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The resource as it is now, in the world that has folded the commit.
fn now<T: Shown>(site: &Site, kind: edgestack_model::Kind, id: uuid::Uuid) -> Result<Option<T>, Failure> {
    let world = site.app.replica.world();
    let resource: Option<Resource> = world.resource(kind, id);
    match resource {
        Some(resource) => Ok(T::show(&resource, &mut Surroundings::of_world(&world))?),
        None => Ok(None),
    }
}

fn respond<T: Shown>(shown: Option<T>, success: Success, gone: impl FnOnce() -> Failure) -> Answer {
    let Some(shown) = shown else {
        return match success {
            Success::Removed => Ok(StatusCode::NO_CONTENT.into_response()),
            Success::Created | Success::CreatedAndWorkFollows | Success::WorkFollows | Success::Changed => Err(gone()),
        };
    };
    let status = match success {
        Success::Created => StatusCode::CREATED,
        Success::CreatedAndWorkFollows | Success::WorkFollows | Success::Removed => StatusCode::ACCEPTED,
        Success::Changed => StatusCode::OK,
    };
    let tag = precondition::tag(shown.meta());
    let location = matches!(success, Success::Created | Success::CreatedAndWorkFollows)
        .then(|| HeaderValue::try_from(router::link(T::KIND, &shown.meta().name)).ok())
        .flatten();
    let mut response = (status, Json(shown)).into_response();
    let headers = response.headers_mut();
    if let Some(tag) = tag {
        headers.insert(header::ETAG, tag);
    }
    if let Some(location) = location {
        headers.insert(header::LOCATION, location);
    }
    Ok(response)
}

fn sequence(response: &mut Response, sequence: Sequence) {
    response.headers_mut().insert(SEQUENCE, HeaderValue::from(sequence.0));
}

fn gone() -> Failure {
    Failure::new(
        &codes::GONE,
        "it was removed by somebody else while this request was answered; its history is under …/events",
    )
}
