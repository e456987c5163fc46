//! The engine's side: commands from other processes.

use std::sync::Arc;

use async_nats::Client;
use edgestack_engine::{CommandPort, Submission, error_chain};
use edgestack_log::jetstream::{Role, sender};
use futures::StreamExt as _;

use crate::{Answer, ENGINES, SUBMIT};

/// How many commands from other processes are worked on at once; more wait in NATS.
const AT_ONCE_MAX: usize = 256;

/// Answers commands until the connection is closed for good.
///
/// # Errors
/// When the subscription is refused.
pub async fn serve_commands(client: Client, port: Arc<dyn CommandPort>) -> Result<(), async_nats::SubscribeError> {
    let commands = client.queue_subscribe(SUBMIT, ENGINES.to_owned()).await?;
    commands
        .for_each_concurrent(AT_ONCE_MAX, |message| {
            let (client, port) = (client.clone(), port.clone());
            async move {
                let Some(reply) = message.reply.clone() else { return };
                let answer = answer(&*port, &message).await;
                let payload = match serde_json::to_vec(&answer) {
                    Ok(payload) => payload,
                    Err(error) => {
                        tracing::error!(%error, "an answer could not be written");
                        return;
                    }
                };
                if let Err(error) = client.publish(reply, payload.into()).await {
                    // The asker times out and asks again; its report is idempotent, its user has a key.
                    tracing::warn!(error = error_chain(&error), "an answer could not be sent");
                }
            }
        })
        .await;
    Ok(())
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
