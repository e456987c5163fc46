//! Lists and watches.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// The page's resources, in order of name.
    pub items: Vec<T>,
    /// Give it as `continue` to get the next page; absent on the last.
    #[serde(rename = "continue", default, skip_serializing_if = "Option::is_none")]
    pub continue_token: Option<String>,
    /// The log sequence that the page shows.
    pub sequence: u64,
}

/// How to choose and page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListParams {
    /// At most so many, 1 to 1000; 100 if absent.
    #[param(minimum = 1, maximum = 1000, example = 100)]
    pub limit: Option<u32>,
    /// The `continue` of the page before.
    #[serde(rename = "continue")]
    pub continue_token: Option<String>,
    /// Only the resource of this name.
    pub name: Option<String>,
    /// Only those with these labels: `key=value`, more with commas.
    #[param(example = "app=db,site=b-12")]
    pub label: Option<String>,
    /// Only those in this state; more with commas.
    pub state: Option<String>,
    /// `true`: answer with server-sent events, first the present ones (`ADDED`), then each change.
    pub watch: Option<bool>,
    /// As it was: after the commit of this sequence, at a time (RFC 3339), or so long ago (`10 minutes ago`).
    #[param(example = "10 minutes ago")]
    pub at: Option<String>,
}

/// One change in a watch, the `data` of a server-sent event. The event's `id` is the
/// log sequence: give it back as `Last-Event-ID` to go on from there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WatchEvent<T> {
    /// What happened to it.
    #[serde(rename = "type")]
    pub change: WatchChange,
    /// The log sequence after which it is so.
    pub sequence: u64,
    /// The resource as it is now; as it was last when it is gone.
    pub object: T,
}

/// What happened in a watch. Source of the words: Kubernetes' watch events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WatchChange {
    /// It is new, to the watcher at least.
    Added,
    /// It changed.
    Modified,
    /// It is gone.
    Deleted,
    /// Nothing, up to this sequence.
    Bookmark,
}
