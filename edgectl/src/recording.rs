//! What a command would have sent: for `what-if`, changes are kept instead of being sent.

use std::sync::{Arc, Mutex, PoisonError};

use edgestack_wire::what_if::Step;
use reqwest::Method;

use crate::{cli::ChangeArgs, client::Payload, output::Format};

/// The changes that a command would have sent.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    /// Each as a step of what-if.
    pub requests: Vec<Step>,
    /// How the command was asked to print.
    pub output: Format,
}

/// Keeps changes. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Recorder(Arc<Mutex<Recording>>);

impl Recorder {
    /// Keeps one; a file that would go with it is left out.
    pub fn keep(&self, method: &Method, path: &str, payload: &Payload, args: &ChangeArgs) {
        let body = match payload {
            // What the wire types wrote is JSON.
            Payload::Json(text) => serde_json::from_str(text).ok(),
            Payload::Empty | Payload::File(_) => None,
        };
        let (method, path) = (Some(method.to_string()), Some(path.to_owned()));
        let mut recording = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recording.output = args.output.output;
        recording.requests.push(Step { method, path, body, ..Step::default() });
    }

    /// What was kept.
    pub fn recording(&self) -> Recording {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
