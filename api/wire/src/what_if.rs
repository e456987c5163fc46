//! What would happen: steps tried on a fork of the site, and what came of them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Invalid,
    event::HistoryEvent,
    log::{Moment, ObjectDifference},
    meta::Waiting,
    problem::Problem,
};

/// The most steps of one question.
pub const STEPS_MAX: usize = 100;
/// The most that all waits together may let pass, seconds.
pub const WAIT_SECONDS_MAX: u32 = 86_400;

/// What is to be tried, in order, on a fork of the site: a copy in memory with simulated drivers. Nothing real is touched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"steps": [{"lose_node": "edge-1"}, {"wait_seconds": 60}]}))]
pub struct AskWhatIf {
    /// The steps, at most 100; without any it is told what comes by itself.
    #[schema(max_items = 100)]
    pub steps: Vec<Step>,
}

/// One step: a request (`method`, `path`, perhaps `body`), or one of the others.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The method of a changing request: `POST`, `PUT`, `PATCH` or `DELETE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "POST")]
    pub method: Option<String>,
    /// Its path, with or without `/edgetron/resources/kubevirt/` before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "vms")]
    pub path: Option<String>,
    /// Its body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// This node is drained: cordoned, and what is meant to run there stopped. Root disks don't move, so its VMs stay there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "edge-1")]
    pub drain_node: Option<String>,
    /// This node's power fails: its workers fall silent, and its VMs end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(example = "edge-1")]
    pub lose_node: Option<String>,
    /// This node comes back, freshly booted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_node: Option<String>,
    /// This VM's process dies, as if killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crash_vm: Option<String>,
    /// So many seconds pass, in the fork.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 86400)]
    pub wait_seconds: Option<u32>,
}

/// A step that says one thing.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A changing request.
    Request {
        /// Its method, in capitals.
        method: String,
        /// Its path.
        path: String,
        /// Its body.
        body: Option<Value>,
    },
    /// A node is cordoned, and what runs there stopped.
    DrainNode(String),
    /// A node's power fails.
    LoseNode(String),
    /// A node comes back.
    ReturnNode(String),
    /// A VM's process dies.
    CrashVm(String),
    /// Time passes, seconds.
    Wait(u32),
}

impl Step {
    /// What it says; `place` is where it stands in the request, for the error.
    ///
    /// # Errors
    /// [`Invalid`] when it says nothing, two things, or one that can't be tried.
    pub fn action(&self, place: &str) -> Result<Action, Invalid> {
        let Self { method, path, body, drain_node, lose_node, return_node, crash_vm, wait_seconds } = self;
        let is_request = method.is_some() || path.is_some() || body.is_some();
        let others = [
            drain_node.clone().map(Action::DrainNode),
            lose_node.clone().map(Action::LoseNode),
            return_node.clone().map(Action::ReturnNode),
            crash_vm.clone().map(Action::CrashVm),
            wait_seconds.map(Action::Wait),
        ];
        let mut others = others.into_iter().flatten();
        match (is_request, others.next(), others.next()) {
            (true, None, _) => self.request(place),
            (false, Some(action), None) => Ok(action),
            (true, Some(_), _) | (false, Some(_), Some(_)) | (false, None, _) => Err(Invalid::new(
                place,
                "must be one of: a request (method and path), drain_node, lose_node, return_node, crash_vm, wait_seconds",
            )),
        }
    }

    fn request(&self, place: &str) -> Result<Action, Invalid> {
        let at = |field: &str| format!("{place}.{field}");
        let method = self.method.as_deref().unwrap_or_default().to_ascii_uppercase();
        if !["POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str()) {
            let reason = "must be POST, PUT, PATCH or DELETE: what only reads changes nothing to be told of";
            return Err(Invalid::new(&at("method"), reason));
        }
        let path = self.path.clone().unwrap_or_default();
        if path.trim_matches('/').is_empty() {
            return Err(Invalid::new(&at("path"), "must be a path, as vms or vms/hello/action"));
        }
        // What else a removal takes with it is part of what is asked; that it is a trial goes without saying.
        let alone = path.strip_suffix("?cascade=true").unwrap_or(&path);
        if alone.contains(['?', '#']) {
            let reason = "must have no query but ?cascade=true: a fork is a trial by itself";
            return Err(Invalid::new(&at("path"), reason));
        }
        if alone.trim_end_matches('/').ends_with("/file") {
            let reason = "an upload can't be tried; create the image with a source of type path instead";
            return Err(Invalid::new(&at("path"), reason));
        }
        Ok(Action::Request { method, path, body: self.body.clone() })
    }
}

/// What would happen. All of it is simulated: nothing of it is in the log, and nothing real was touched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WhatIf {
    /// Always true: none of this has happened.
    pub simulated: bool,
    /// All of it in a sentence.
    pub summary: String,
    /// The moment that the fork began at. Sequences after it are the fork's own.
    pub from: Moment,
    /// What became of each step, in order.
    pub steps: Vec<StepOutcome>,
    /// VMs that got a place, lost theirs or have none.
    pub placements: Vec<PlacementChange>,
    /// What is not where it should be at the end, and why.
    pub waiting: Vec<StillWaiting>,
    /// All that happened in the fork, oldest first.
    pub events: Vec<HistoryEvent>,
    /// Whether there were more events than are told.
    pub more_events: bool,
    /// The end against the beginning, object by object, field by field; events stand above.
    pub difference: Vec<ObjectDifference>,
    /// Whether more objects differ than are told.
    pub more_difference: bool,
    /// How much time passed in the fork, seconds.
    pub simulated_seconds: f64,
    /// Whether it was all told: false when it was broken off at a bound.
    pub complete: bool,
    /// What to know before relying on it.
    pub notes: Vec<String>,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StepOutcome {
    /// The step, without a request's body.
    pub step: Step,
    /// Whether it took effect, or was refused.
    pub outcome: Outcome,
    /// The status of a request's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
    /// The first sequence of the fork after it was asked for: the events from there on followed it.
    pub first_sequence: u64,
    /// How long it took until nothing new happened, seconds in the fork.
    pub simulated_seconds: f64,
    /// Whether all came to rest; if not, some of it still went on when the next step was taken.
    pub settled: bool,
}

/// Whether a step took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did.
    Taken,
    /// It was refused, as it would be.
    Refused,
    /// It was not tried: the bounds of the fork were reached before.
    NotTried,
}

/// A VM's place before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlacementChange {
    /// The VM's id.
    pub vm_id: Uuid,
    /// Its name.
    pub vm: String,
    /// The node that it was on at the beginning; absent: on none, or there was no such VM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The node that it is on at the end; absent: on none, or it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why no node takes it, if none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_none: Option<String>,
}

/// Something that is not where it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StillWaiting {
    /// Of which kind it is.
    #[schema(example = "vm")]
    pub kind: String,
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: String,
    /// What it waits for.
    pub waiting: Waiting,
    /// Whether it waited at the beginning already.
    pub waited_before: bool,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn action(step: Value) -> Result<Action, String> {
        let step: Step = serde_json::from_value(step).unwrap();
        step.action("steps.0").map_err(|invalid| invalid.field)
    }

    #[test]
    fn a_step_says_one_thing() {
        let request = json!({"method": "post", "path": "vms", "body": {}});
        let (method, path) = ("POST".to_owned(), "vms".to_owned());
        assert_eq!(action(request), Ok(Action::Request { method, path, body: Some(json!({})) }));
        assert_eq!(action(json!({"drain_node": "a"})), Ok(Action::DrainNode("a".to_owned())));
        assert_eq!(action(json!({"lose_node": "a"})), Ok(Action::LoseNode("a".to_owned())));
        assert_eq!(action(json!({"return_node": "a"})), Ok(Action::ReturnNode("a".to_owned())));
        assert_eq!(action(json!({"crash_vm": "a"})), Ok(Action::CrashVm("a".to_owned())));
        assert_eq!(action(json!({"wait_seconds": 5})), Ok(Action::Wait(5)));
        let with_all = json!({"method": "DELETE", "path": "security_groups/web?cascade=true"});
        assert!(matches!(action(with_all), Ok(Action::Request { .. })));
    }

    #[test]
    fn what_says_nothing_two_things_or_no_change_names_its_place() {
        for (step, field) in [
            (json!({}), "steps.0"),
            (json!({"lose_node": "a", "crash_vm": "b"}), "steps.0"),
            (json!({"drain_node": "a", "wait_seconds": 1}), "steps.0"),
            (json!({"lose_node": "a", "method": "POST", "path": "vms"}), "steps.0"),
            (json!({"path": "vms"}), "steps.0.method"),
            (json!({"method": "GET", "path": "vms"}), "steps.0.method"),
            (json!({"method": "POST"}), "steps.0.path"),
            (json!({"method": "POST", "path": "/"}), "steps.0.path"),
            (json!({"method": "POST", "path": "vms?dry_run=true"}), "steps.0.path"),
            (json!({"method": "DELETE", "path": "vms/a?dry_run=true&cascade=true"}), "steps.0.path"),
            (json!({"method": "PUT", "path": "images/a/file"}), "steps.0.path"),
        ] {
            assert_eq!(action(step.clone()), Err(field.to_owned()), "{step}");
        }
    }
}
