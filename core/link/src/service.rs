//! The engine's side: commands from other processes.

use std::sync::Arc;

use async_nats::Client;
use edgestack_engine::{CommandPort, Submission, error_chain};
use edgestack_log::jetstream::{JetStreamLog, Role, sender};
use futures::StreamExt as _;

use crate::{Answer, ENGINES, SUBMIT, connection};

/// How many commands from other processes are worked on at once; more wait in NATS.
const AT_ONCE_MAX: usize = 256;

/// Answers commands for ever, over whichever connection there is.
pub async fn serve_commands(log: Arc<JetStreamLog>, port: Arc<dyn CommandPort>) {
    loop {
        let client = connection::next(&log).await;
        match client.queue_subscribe(SUBMIT, ENGINES.to_owned()).await {
            Ok(commands) => serve(commands, &client, &port).await,
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "commands from other processes cannot be taken now")
            }
        }
    }
}

/// Answers commands until the connection ends.
async fn serve(commands: async_nats::Subscriber, client: &Client, port: &Arc<dyn CommandPort>) {
    commands
        .for_each_concurrent(AT_ONCE_MAX, |message| async move {
            let Some(reply) = message.reply.clone() else { return };
            let answer = answer(&**port, &message).await;
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

async fn answer(port: &dyn CommandPort, message: &async_nats::Message) -> Answer {
    if sender(message) != Some(Role::Reader) {
        let why = "commands are taken from processes of this site only (NATS user reader)".to_owned();
        return Answer::Internal { why };
    }
    match serde_json::from_slice::<Submission>(&message.payload) {
        Ok(mut submission) => {
            if submission.origin.actor.is_worker() {
                submission.origin.actor.credential = format!("nats:{}", Role::Reader);
            }
            Answer::of(port.submit(submission).await)
        }
        Err(error) => Answer::Internal {
            why: format!("the command cannot be read ({error}); run the same version of edgestackd for all roles"),
        },
    }
}
