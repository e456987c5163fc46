//! Taking a change back: commands that compensate it, and what no command brings back.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{event::Actor, problem::Problem, what_if::WhatIf};

/// Which change is to be taken back: one of `sequence` and `correlation`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"sequence": 12, "dry_run": true}))]
pub struct AskUndo {
    /// The commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub sequence: Option<u64>,
    /// All that people asked for under this correlation id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation: Option<Uuid>,
    /// Only propose, and tell what would happen.
    #[serde(default)]
    pub dry_run: bool,
    /// The `tag` of a proposal: run that one, and nothing if it would be another one by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Why, one line of at most 900 characters; in the history "undo of commit 12" stands before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(max_length = 900)]
    pub reason: Option<String>,
}

/// What takes a change back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Undo {
    /// What is taken back, in words.
    #[schema(example = "commit 12")]
    pub of: String,
    /// The commits of people that it is about, newest first.
    pub commits: Vec<UndoneCommit>,
    /// The commands that compensate them, in order; empty: there is nothing to be done.
    pub commands: Vec<UndoCommand>,
    /// What somebody changed since, and is left as it is.
    pub changed_since: Vec<UndoRemark>,
    /// What is as it was already.
    pub already: Vec<UndoRemark>,
    /// What no command brings back.
    pub cannot: Vec<UndoRemark>,
    /// Stands for these commands on these objects as they are now; give it back to run them.
    pub tag: String,
    /// What the commands would lead to, tried on a fork; only in a proposal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effect: Option<WhatIf>,
    /// Whether the commands were sent: false in a proposal.
    pub ran: bool,
}

/// A commit that is taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UndoneCommit {
    /// Its place in the log.
    pub sequence: u64,
    /// When it was decided.
    pub time: DateTime<Utc>,
    /// Who asked.
    pub actor: Actor,
    /// For what.
    #[schema(example = "update-vm")]
    pub command: String,
    /// Why, if they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A command that compensates.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UndoCommand {
    /// Which commit's doing it compensates.
    pub sequence: u64,
    /// The object, as kind and name.
    #[schema(example = "vm/web")]
    pub object: String,
    /// What it does, in words.
    pub what: String,
    /// The request's method.
    #[schema(example = "PATCH")]
    pub method: String,
    /// Its path, under the objects' prefix.
    pub path: String,
    /// Its body. User data is left out: it stays sealed, and is added when the server runs the command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// The same as a line for a shell.
    pub edgectl: String,
    /// The status of its answer, once it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it was refused, if it was; those after it were not sent then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Something to know of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UndoRemark {
    /// Which commit it is about.
    pub sequence: u64,
    /// The object, as kind and name.
    #[schema(example = "vm/web")]
    pub object: String,
    /// What there is to know.
    pub why: String,
}
