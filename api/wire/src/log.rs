//! The log itself: what changed between two moments, and whether all of it is whole.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{event::HistoryEvent, history::Refused, meta::Waiting};

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Moment {
    /// The last commit; 0 is before the first.
    pub sequence: u64,
    /// When it was decided; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<DateTime<Utc>>,
}

/// What changed between two moments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// The earlier one, or the one that was asked for as such.
    pub from: Moment,
    /// The other.
    pub to: Moment,
    /// What is not the same, by kind and name.
    pub items: Vec<ObjectDifference>,
    /// Give it as `continue` to get the next page; absent on the last.
    #[serde(rename = "continue", default, skip_serializing_if = "Option::is_none")]
    pub continue_token: Option<String>,
}

/// What changed of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ObjectDifference {
    /// Of which kind it is.
    #[schema(example = "vm")]
    pub kind: String,
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// What became of it.
    pub change: ObjectChange,
    /// Field by field, as the API shows the object; bookkeeping (revision, generation, times) is left out.
    pub fields: Vec<FieldDifference>,
    /// What happened to it in between, oldest first: who, when and why. Empty when `from` is the later moment.
    pub events: Vec<HistoryEvent>,
    /// Whether there were more events than are told.
    pub more_events: bool,
}

/// What became of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ObjectChange {
    /// It is there at `to` only.
    Added,
    /// It is there at both.
    Changed,
    /// It is there at `from` only.
    Removed,
}

/// One field at two moments.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldDifference {
    /// Where it is: names joined by dots.
    #[schema(example = "labels.tier")]
    pub field: String,
    /// Its value at `from`; null: it was not there.
    pub before: Value,
    /// Its value at `to`; null: it is not there.
    pub after: Value,
}

/// One event of a replay, the `data` of a server-sent event: how far it has come, and at last what it came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ReplayEvent {
    /// It goes on.
    Progress {
        /// Commits checked so far.
        checked: u64,
        /// How many there are to check.
        of: u64,
    },
    /// It has ended.
    Result(ReplayResult),
    /// It broke off: the log could not be read to its end. Nothing is known of it.
    BrokenOff {
        /// Why.
        why: String,
    },
}

/// What a replay came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReplayResult {
    /// Commits that were checked and found right.
    pub checked: u64,
    /// SHA-256 of the last of them, 64 hex digits.
    pub head_hash: String,
    /// The first thing wrong in the log; absent: it is whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finding: Option<Finding>,
    /// Whether the world that the log leads to is the one that the site works with (or, with `until`, the one that it
    /// shows of that moment; with `kind`, its objects of that kind); absent when the log is not whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_world: Option<bool>,
    /// With `views`: whether the views that the log leads to are, byte for byte, those that answers come from; with `until` or
    /// `kind`, whether they say the same up to there, or of that kind. Absent when the site never stood still for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_views: Option<bool>,
    /// How many rows of the views were compared for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_compared: Option<u64>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// The first thing wrong in a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// The first commit that is, or may be, wrong.
    pub sequence: u64,
    /// What is wrong.
    pub what: String,
}

/// Why an object is as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// Of which kind it is.
    #[schema(example = "vm")]
    pub kind: String,
    /// Its id; absent when there never was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// Its name.
    pub name: String,
    /// The moment that is explained.
    pub at: Moment,
    /// Whether it is there.
    pub exists: bool,
    /// Its state, if the kind has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// What it waits for, if it is not where it should be: whose turn it is, why, when it is tried next, what you can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// All of it in a sentence.
    pub summary: String,
    /// The last thing that somebody asked of it, other than new labels or another description, and all that happened to it
    /// since, oldest first; each event says what caused it.
    pub events: Vec<HistoryEvent>,
    /// Whether earlier events are left out: the last wish is older than those that are told.
    pub more_events: bool,
    /// What was asked of it since that wish and refused, oldest first; the last ones.
    pub refused: Vec<Refused>,
}
