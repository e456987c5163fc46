//! `?at=`: reads answered from the site as it was.

use std::sync::Arc;

use axum::{
    http::{HeaderName, HeaderValue},
    response::Response,
};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use edgestack_engine::error_chain;
use edgestack_model::{Kind, Name, command::Reference, world::Resource};
use edgestack_timeline::{Moment, TimelineError};
use uuid::Uuid;

use crate::{
    answer::SEQUENCE,
    codes, list,
    problem::Failure,
    query::{Parameters, shortened},
    shown::Surroundings,
    state::Site,
};

/// When the last commit of the moment that is shown was decided.
pub(crate) const TIME: HeaderName = HeaderName::from_static("edgestack-time");
/// How soon another try may find a place.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(1);

/// The parameter of every read.
#[derive(serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "it documents the parameter; it is read by `Reading::take`")]
pub(crate) struct AtParam {
    /// As it was: after the commit of this sequence, at a time (RFC 3339), or so long ago (`10 minutes ago`).
    #[param(example = "10 minutes ago")]
    at: Option<String>,
}

/// What a read is answered from.
pub(crate) enum Reading<'a> {
    /// The views.
    Now(&'a Site),
    /// The world after a commit.
    Past(Moment),
}

impl<'a> Reading<'a> {
    /// Takes `at`.
    pub async fn take(site: &'a Arc<Site>, parameters: &mut Parameters) -> Result<Self, Failure> {
        match parameters.text("at")? {
            None => Ok(Self::Now(site)),
            Some(text) => Ok(Self::Past(at(site, "at", &text).await?)),
        }
    }

    /// A living resource by name or id.
    pub fn find(&self, kind: Kind, reference: &Reference) -> Result<Resource, Failure> {
        let moment = match self {
            Self::Now(site) => return list::find(site, kind, reference),
            Self::Past(moment) => moment,
        };
        let world = moment.world();
        let found = world.resolve(kind, reference).and_then(|id| world.resource(kind, id));
        found.ok_or_else(|| {
            let name = shortened(&reference.0);
            Failure::new(&codes::NOT_FOUND, format!("there was no {kind} \"{name}\" {}", of(moment)))
        })
    }

    /// Living resources of a kind in order of name, beginning after `after`.
    pub fn list<'b>(
        &'b self,
        kind: Kind,
        after: Option<&'b str>,
    ) -> Box<dyn Iterator<Item = Result<Resource, Failure>> + 'b> {
        match self {
            Self::Now(site) => Box::new(site.app.views.list(kind, after).map(|row| row.map_err(Failure::from))),
            Self::Past(moment) => Box::new(moment.world().list(kind, after).map(Ok)),
        }
    }

    /// The resource of this name, if there is one.
    pub fn named(&self, kind: Kind, name: &Name) -> Result<Option<Resource>, Failure> {
        match self {
            Self::Now(site) => Ok(site.app.views.find(kind, &Reference(name.to_string()))?),
            Self::Past(moment) => {
                let world = moment.world();
                Ok(world.id_of(kind, name).and_then(|id| world.resource(kind, id)))
            }
        }
    }

    /// The living resource of this id.
    pub fn resource(&self, kind: Kind, id: Uuid) -> Result<Option<Resource>, Failure> {
        match self {
            Self::Now(site) => Ok(site.app.views.get(kind, id)?),
            Self::Past(moment) => Ok(moment.world().resource(kind, id)),
        }
    }

    /// Where neighbours are looked up.
    pub fn surroundings(&self) -> Surroundings<'_> {
        match self {
            Self::Now(site) => Surroundings::of_views(site),
            Self::Past(moment) => Surroundings::of_world(moment.world()),
        }
    }

    /// The log sequence that is shown.
    pub fn sequence(&self) -> Result<u64, Failure> {
        match self {
            Self::Now(site) => Ok(site.app.views.sequence()?.0),
            Self::Past(moment) => Ok(moment.head().sequence),
        }
    }

    /// Says in the answer which moment it shows.
    pub fn mark(&self, mut response: Response) -> Response {
        if let Self::Past(moment) = self {
            let headers = response.headers_mut();
            headers.insert(SEQUENCE, HeaderValue::from(moment.head().sequence));
            let time = moment.time().map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true));
            if let Some(Ok(time)) = time.map(HeaderValue::try_from) {
                headers.insert(TIME, time);
            }
        }
        response
    }
}

/// "… after commit 7 (2026-11-25T03:04:05Z)".
fn of(moment: &Moment) -> String {
    match moment.time() {
        None => "before the first commit".to_owned(),
        Some(time) => {
            let time = time.to_rfc3339_opts(SecondsFormat::Secs, true);
            format!("after commit {} ({time})", moment.head().sequence)
        }
    }
}

/// The time that a text asks for, if it is none by sequence.
pub(crate) fn time_in(text: &str) -> Option<DateTime<Utc>> {
    match parse(text, Utc::now()) {
        Ok(At::Time(time)) => Some(time),
        Ok(At::Sequence(_)) | Err(_) => None,
    }
}

/// The moment that the parameter `name` asks for.
pub(crate) async fn at(site: &Site, name: &str, text: &str) -> Result<Moment, Failure> {
    let timeline = &site.app.timeline;
    let failed = |error| failure(name, error);
    let sequence = match parse(text, Utc::now()).map_err(|why| Failure::parameter(name, why))? {
        At::Sequence(sequence) => sequence,
        At::Time(time) => timeline.sequence_at(time).await.map_err(failed)?,
    };
    timeline.at(sequence).await.map_err(failed)
}

pub(crate) fn failure(name: &str, error: TimelineError) -> Failure {
    match error {
        TimelineError::Beyond { last } => {
            Failure::parameter(name, format_args!("the log ends at commit {last}; leave {name} out to see now"))
        }
        TimelineError::Busy => Failure::new(
            &codes::TOO_MANY_REQUESTS,
            "too many past moments are asked for at once; try again after the time in Retry-After",
        )
        .retry_after(RETRY_AFTER),
        error => Failure::new(
            &codes::PAST_UNAVAILABLE,
            "the past can't be read from the log now; try again, reads without \"at\" go on",
        )
        .retry_after(RETRY_AFTER)
        .because(error_chain(&error)),
    }
}

/// What a moment was asked for by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// A place in the log.
    Sequence(u64),
    /// A time.
    Time(DateTime<Utc>),
}

pub(crate) fn parse(text: &str, now: DateTime<Utc>) -> Result<At, String> {
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(At::Sequence).map_err(|_| "that sequence is larger than any".to_owned());
    }
    if let Some(ago) = text.strip_suffix(" ago") {
        let ago = humantime::parse_duration(ago.trim()).ok().and_then(|ago| TimeDelta::from_std(ago).ok());
        if let Some(time) = ago.and_then(|ago| now.checked_sub_signed(ago)) {
            return Ok(At::Time(time));
        }
    }
    match DateTime::parse_from_rfc3339(text) {
        Ok(time) if time > now => Err("that time is still to come".to_owned()),
        Ok(time) => Ok(At::Time(time.with_timezone(&Utc))),
        Err(_) => Err(format!(
            "must be a sequence (17), a time (2026-11-25T03:04:05Z) or how long ago (10 minutes ago), got {:?}",
            shortened(text)
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_sequence_a_time_or_so_long_ago() {
        let now: DateTime<Utc> = "2026-11-25T03:00:00Z".parse().unwrap();
        let time = |text: &str| Ok(At::Time(text.parse().unwrap()));
        for (text, expect) in [
            ("0", Ok(At::Sequence(0))),
            ("17", Ok(At::Sequence(17))),
            ("2026-11-25T02:00:00Z", time("2026-11-25T02:00:00Z")),
            ("2026-11-25T02:00:00.5+01:00", time("2026-11-25T01:00:00.5Z")),
            ("10 minutes ago", time("2026-11-25T02:50:00Z")),
            ("1h 30min ago", time("2026-11-25T01:30:00Z")),
            ("2 days ago", time("2026-11-23T03:00:00Z")),
        ] {
            assert_eq!(parse(text, now), expect, "{text}");
        }
        for bad in [
            "",
            "-1",
            "now",
            "ago",
            " ago",
            "ten minutes ago",
            "10 minutes",
            "2026-11-25",
            "2026-11-25T04:00:00Z",
            "99999999999999999999",
            "99999999999999999 years ago",
        ] {
            assert!(parse(bad, now).is_err(), "{bad:?} is {:?}", parse(bad, now));
        }
    }
}
