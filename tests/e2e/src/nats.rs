//! The log as a plain NATS client reads it.

use async_nats::jetstream::{self, consumer::pull};
use futures::StreamExt as _;

use crate::{PATIENCE, Site};

/// A commit as it stands in the stream: a line of a message.
#[derive(Clone, Debug)]
pub struct Line {
    /// The message's subject.
    pub subject: String,
    /// The message's own sequence.
    pub message: u64,
    /// Whether others stand in the same message.
    pub shared: bool,
    /// The commit, byte for byte.
    pub payload: Vec<u8>,
}

/// A plain NATS client, as the auditor that client.json names.
pub async fn auditor(site: &Site) -> async_nats::Client {
    let url = site.client_file()["nats_url"].as_str().expect("a text").to_owned();
    let (user, rest) = url.strip_prefix("nats://").and_then(|url| url.split_once(':')).expect("a user");
    let (password, address) = rest.split_once('@').expect("a password");
    async_nats::ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
        .connect(address)
        .await
        .expect("the auditor may connect")
}

/// Every commit of the log.
pub async fn read_all(client: &async_nats::Client) -> Vec<Line> {
    let stream = jetstream::new(client.clone()).get_stream("MM3").await.expect("the stream");
    let last = stream.get_info().await.expect("an auditor may ask").state.last_sequence;
    let consumer = stream.create_consumer(pull::Config::default()).await.expect("an auditor may read");
    let wanted = usize::try_from(last).expect("a count");
    let mut batch = consumer.fetch().max_messages(wanted).expires(PATIENCE).messages().await.expect("messages");
    let mut lines = Vec::new();
    while let Some(message) = batch.next().await {
        let message = message.expect("a message");
        let sequence = message.info().expect("where it stands").stream_sequence;
        let shared = message.payload.contains(&b'\n');
        lines.extend(message.payload.split(|byte| *byte == b'\n').map(|line| Line {
            subject: message.subject.to_string(),
            message: sequence,
            shared,
            payload: line.to_vec(),
        }));
        if sequence == last {
            break;
        }
    }
    lines
}
