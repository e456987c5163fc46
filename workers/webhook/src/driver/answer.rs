//! What a target said.

use std::time::Duration;

use chrono::{DateTime, Utc};
use hyper::StatusCode;

/// An answer, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// When the target wants to be asked again.
    pub retry_after: Option<RetryAfter>,
}

/// `Retry-After`. Source: RFC 9110, 10.2.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryAfter {
    /// After so long.
    In(Duration),
    /// At that time.
    At(DateTime<Utc>),
}

impl RetryAfter {
    /// How long that is from now on.
    pub fn from(self, now: DateTime<Utc>) -> Duration {
        match self {
            Self::In(duration) => duration,
            Self::At(time) => (time - now).to_std().unwrap_or_default(),
        }
    }
}

/// Reads the header; one that is none is as if there were none.
pub(crate) fn retry_after(text: &str) -> Option<RetryAfter> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(RetryAfter::In(Duration::from_secs(text.parse().ok()?)));
    }
    DateTime::parse_from_rfc2822(text).ok().map(|time| RetryAfter::At(time.with_timezone(&Utc)))
}

/// What follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// It arrived.
    Delivered,
    /// The target wants no more events at all.
    Gone,
    /// It has not arrived; `of_target`: it would have gone the same with any other event.
    Failed { of_target: bool, fix: Option<&'static str> },
}

impl Answer {
    /// What follows. Source: Standard Webhooks 1.0.0, "Delivery success and failure".
    pub(crate) fn meaning(&self) -> Meaning {
        let failed = |of_target, fix| Meaning::Failed { of_target, fix };
        match self.status.as_u16() {
            200..=299 => Meaning::Delivered,
            410 => Meaning::Gone,
            300..=399 => failed(true, Some("redirects are not followed; give the webhook the URL that it leads to")),
            400 | 409 | 413 | 415 | 422 => failed(
                false,
                Some("the target refuses this event; correct it there, or skip it: edgectl update-webhook NAME --skip"),
            ),
            401 | 403 => failed(true, Some("the target refuses us; see that it knows the webhook's secret")),
            404 | 405 => failed(true, Some("see that the webhook's URL is the right one")),
            _ => failed(true, None),
        }
    }

    /// The status in words.
    pub fn words(&self) -> String {
        let reason = self.status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
        format!("{}{reason}", self.status.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now: DateTime<Utc> = "2015-10-21T07:27:00Z".parse().unwrap();
        let wait = |text| retry_after(text).map(|after| after.from(now).as_secs());
        assert_eq!(wait("120"), Some(120));
        assert_eq!(wait("Wed, 21 Oct 2015 07:28:00 GMT"), Some(60));
        assert_eq!(wait("Wed, 21 Oct 2015 07:00:00 GMT"), Some(0));
        for bad in ["", "soon", "-1", "99999999999999999999"] {
            assert_eq!(wait(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_2xx_is_delivered_and_410_is_the_end() {
        let meaning = |status| Answer { status: StatusCode::from_u16(status).unwrap(), retry_after: None }.meaning();
        for status in [200, 201, 202, 204, 299] {
            assert_eq!(meaning(status), Meaning::Delivered);
        }
        assert_eq!(meaning(410), Meaning::Gone);
        for (status, whole) in
            [(301, true), (400, false), (401, true), (404, true), (422, false), (429, true), (500, true)]
        {
            assert!(matches!(meaning(status), Meaning::Failed { of_target, .. } if of_target == whole), "{status}");
        }
    }
}
