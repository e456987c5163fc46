//! Targets that are none: a receiver in memory that is slow, down or lies as it is told, for tests on virtual time.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use edgestack_model::webhook::TargetUrl;
use hyper::StatusCode;

use super::{Answer, Headers, PostError, WebhookDriver};

/// How a simulated target treats a request.
#[derive(Clone, Copy, Debug)]
pub struct SimAnswer {
    /// How long until it is there.
    pub before: Duration,
    /// Whether the receiver takes it, whatever it answers.
    pub takes: bool,
    /// How long until the answer is back.
    pub after: Duration,
    /// The answer; `None`: the connection breaks.
    pub status: Option<StatusCode>,
}

/// What a simulated receiver took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimReceived {
    /// At which target.
    pub url: String,
    /// `webhook-id`.
    pub id: String,
    /// The body.
    pub body: Bytes,
}

/// Simulated targets.
pub struct SimDriver {
    answers: Box<dyn Fn() -> SimAnswer + Send + Sync>,
    received: Mutex<Vec<SimReceived>>,
}

impl SimDriver {
    /// Targets that answer so, request by request.
    pub fn new(answers: impl Fn() -> SimAnswer + Send + Sync + 'static) -> Self {
        Self { answers: Box::new(answers), received: Mutex::default() }
    }

    /// What was taken, in its order.
    pub fn received(&self) -> Vec<SimReceived> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl WebhookDriver for SimDriver {
    async fn post(&self, url: &TargetUrl, headers: &Headers, body: &Bytes) -> Result<Answer, PostError> {
        let answer = (self.answers)();
        tokio::time::sleep(answer.before).await;
        if answer.takes {
            let id = headers.iter().find(|(name, _)| *name == "webhook-id").map(|(_, id)| id.clone());
            let one = SimReceived { url: url.to_string(), id: id.unwrap_or_default(), body: body.clone() };
            self.received.lock().unwrap_or_else(PoisonError::into_inner).push(one);
        }
        tokio::time::sleep(answer.after).await;
        answer.status.map(|status| Answer { status, retry_after: None }).ok_or(PostError::Simulated)
    }
}
