//! The engine's side: commands from other processes.

use std::sync::Arc;

use async_nats::{Client, Message};
use edgestack_engine::{CommandPort, Submission, error_chain};
use edgestack_log::jetstream::{JetStreamLog, Role, sender};
use futures::StreamExt as _;
use uuid::Uuid;

use crate::{Answer, ENGINE, ENGINES, FROM_ENGINE, SUBMIT, connection};

/// How many commands from other processes are worked on at once; more wait in NATS.
const AT_ONCE_MAX: usize = 256;

/// Answers commands for ever, over whichever connection there is.
pub async fn serve_commands(log: Arc<JetStreamLog>, port: Arc<dyn CommandPort>) {
    loop {
        let client = connection::next(&log).await;
        match client.queue_subscribe(SUBMIT, ENGINES.to_owned()).await {
            Ok(commands) => serve(commands, &client, &*port, Sender::Reader).await,
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "commands from other processes cannot be taken now")
            }
        }
    }
}

/// Answers commands that the site's other engines send to this very process, for ever. `port` is the engine itself: what was
/// handed over once is decided here.
pub async fn serve_engines(log: Arc<JetStreamLog>, port: Arc<dyn CommandPort>, process: Uuid) {
    loop {
        let client = connection::next(&log).await;
        match client.subscribe(format!("{ENGINE}.{process}")).await {
            Ok(commands) => serve(commands, &client, &*port, Sender::Engine).await,
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "commands from other engines cannot be taken now")
            }
        }
    }
}

/// Answers commands until the connection ends.
async fn serve(commands: async_nats::Subscriber, client: &Client, port: &dyn CommandPort, from: Sender) {
    commands
        .for_each_concurrent(AT_ONCE_MAX, |message| async move {
            let Some(reply) = message.reply.clone() else { return };
            let answer = answer(port, &message, from).await;
            let sent = match serde_json::to_vec(&answer) {
                Ok(payload) => client.publish(reply, payload.into()).await.map_err(|error| error_chain(&error)),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = sent {
                // The asker times out and asks again; its report is idempotent, its user has a key.
                tracing::warn!(error, "an answer to another process could not be sent");
            }
        })
        .await;
}

async fn answer(port: &dyn CommandPort, message: &Message, from: Sender) -> Answer {
    let is_theirs = match from {
        Sender::Reader => sender(message) == Some(Role::Reader),
        // Only engines may publish there.
        Sender::Engine => message.headers.as_ref().is_some_and(|headers| headers.get(FROM_ENGINE).is_some()),
    };
    if !is_theirs {
        let why = "commands are taken from processes of this site only (NATS users reader and engine)".to_owned();
        return Answer::Internal { why };
    }
    match serde_json::from_slice::<Submission>(&message.payload) {
        Ok(mut submission) => {
            if matches!(from, Sender::Reader) && submission.origin.actor.is_worker() {
                submission.origin.actor.credential = format!("nats:{}", Role::Reader);
            }
            Answer::of(port.submit(submission).await)
        }
        Err(error) => Answer::Internal {
            why: format!("the command cannot be read ({error}); run the same version of edgestackd everywhere"),
        },
    }
}

/// Whose commands are taken.
#[derive(Clone, Copy)]
enum Sender {
    /// Processes of the site without an engine.
    Reader,
    /// The site's other engines.
    Engine,
}
