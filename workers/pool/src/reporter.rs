//! How a worker tells the engine what it did or saw.

use std::sync::Arc;

use edgestack_engine::{CommandPort, Origin, Outcome, Submission, SubmitError, error_chain};
use edgestack_model::{Actor, Command, Meta, lease::Fence};

use crate::crash_point;

/// Sends the reports of one pool on one node.
#[derive(Clone)]
pub struct Reporter {
    port: Arc<dyn CommandPort>,
    actor: Actor,
    fence: Option<Fence>,
}

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reported {
    /// The log has it (or had it before): the state read next shows it.
    Taken,
    /// The wish has changed since, or the resource is gone: look again.
    Stale,
    /// The engine cannot take it now: look again in a moment; what is true then is reported then.
    NotNow,
}

impl Reporter {
    /// The reporter of a pool on a node.
    pub fn new(port: Arc<dyn CommandPort>, pool: &str, node: &str) -> Self {
        // A seed must lead to the same bytes in whichever process it runs.
        let pid = if edgestack_planted::is_simulation() { 0 } else { std::process::id() };
        let actor = Actor {
            name: format!("worker.{pool}@{node}"),
            credential: "internal".to_owned(),
            from: format!("{node} pid {pid}"),
        };
        Self { port, actor, fence: None }
    }

    /// The same, of work that is done under a lease.
    pub fn under(self, fence: Option<Fence>) -> Self {
        Self { fence, ..self }
    }

    /// The worker's name, `worker.vm@edge-1`.
    pub fn name(&self) -> &str {
        &self.actor.name
    }

    /// Reports on a resource; cause and correlation are those of the wish that the worker acted on.
    pub async fn report(&self, about: &Meta, command: Command) -> Reported {
        self.send(Origin::of(self.actor.clone(), about.correlation_id, Some(about.cause)), command).await
    }

    /// Reports something that no wish caused.
    pub async fn report_unasked(&self, correlation_id: uuid::Uuid, command: Command) -> Reported {
        self.send(Origin::of(self.actor.clone(), correlation_id, None), command).await
    }

    async fn send(&self, origin: Origin, command: Command) -> Reported {
        let name = command.name();
        crash_point::pass("report.before");
        let origin = origin.under(self.fence.clone());
        let reported = match self.port.submit(Submission { command, origin }).await {
            Ok(
                Outcome::Committed { .. } | Outcome::Unchanged { .. } | Outcome::Before { .. } | Outcome::DryRun { .. },
            ) => Reported::Taken,
            Err(SubmitError::Refused(refusal)) => {
                tracing::debug!(command = name, %refusal, "report refused; looking again");
                Reported::Stale
            }
            Err(error) => {
                tracing::debug!(command = name, error = error_chain(&error), "report not possible now");
                Reported::NotNow
            }
        };
        crash_point::pass("report.after");
        reported
    }
}
