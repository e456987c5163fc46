//! One question to a process over its Unix socket: JSON-RPC 1.0, which both OVSDB (RFC 7047, section 4) and the control
//! sockets of ovs-appctl(8) speak.

use std::io;
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
struct Reply {
    id: Value,
    #[serde(default)]
    result: Value,
    #[serde(default)]
    error: Value,
}

/// Asks and returns the result.
pub(super) async fn call(socket: &Path, method: &str, parameters: &[&str]) -> io::Result<Value> {
    let asked = tokio::time::timeout(PATIENCE, ask(socket, method, parameters)).await;
    asked.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn ask(socket: &Path, method: &str, parameters: &[&str]) -> io::Result<Value> {
    let mut stream = UnixStream::connect(socket).await?;
    let question = json!({ "id": 0, "method": method, "params": parameters }).to_string();
    stream.write_all(question.as_bytes()).await?;
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Messages follow each other without a mark between them, and a question of the other side may be among them.
        for message in serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>() {
            let message = match message {
                Ok(message) => message,
                Err(error) if error.is_eof() => break,
                Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            };
            if let Ok(reply) = serde_json::from_value::<Reply>(message)
                && reply.id == 0
            {
                return if reply.error.is_null() {
                    Ok(reply.result)
                } else {
                    Err(io::Error::other(reply.error.to_string()))
                };
            }
        }
    }
}
