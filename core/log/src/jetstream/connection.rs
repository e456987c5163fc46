//! A connection to NATS that never sends again what it had not sent when it was lost.
//!
//! async-nats keeps what is published while it is disconnected and sends it after it has reconnected. For an append that
//! would be a commit stored long after its client heard of a failure (fenced by its expectation, so harmless to the log,
//! but a surprise). So a client here lives for one TCP connection only: its second authentication is refused by our own
//! callback, which ends it and drops what it held; everything in flight then hears of it at once. A keeper task makes
//! the next client.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::{self, context::ContextBuilder};
use async_nats::{Auth, AuthError, Client, ConnectOptions, Event};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::Options;
use crate::Cause;

/// First and longest wait between attempts to connect; a server's return gives no event, so it is polled.
const FIRST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// How soon a reader that got no answer asks again, without news of the connection.
pub(super) const RETRY_READ: Duration = Duration::from_millis(200);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// Two missed pongs end the connection, which matters only across machines: on loopback the kernel tells at once.
const PING_INTERVAL: Duration = Duration::from_secs(2);

/// One living TCP connection.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) client: Client,
    pub(super) context: jetstream::Context,
    /// Counts connections, so that what was known of an earlier one can be told from what is known of this one.
    pub(super) generation: u64,
    /// As [`Options::request_timeout`].
    pub(super) request_timeout: Duration,
    /// Whether the server is one of a cluster.
    pub(super) in_cluster: bool,
}

/// What the keeper knows: a connection, or why there is none.
#[derive(Clone)]
enum Link {
    Up(Box<Live>),
    Down(Cause),
}

/// Keeps one connection open; dropping it closes the connection.
pub(super) struct Connection {
    link: watch::Receiver<Link>,
    keeper: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Connection {
    pub(super) fn open(options: Options) -> Self {
        let (tell, link) = watch::channel(Link::Down(Cause::new("not connected yet")));
        let keeper = tokio::spawn(keep(options, tell)).abort_handle();
        Self { link, keeper }
    }

    /// The connection of this moment, or why there is none.
    pub(super) fn live(&self) -> Result<Live, Cause> {
        live_of(&self.link)
    }

    pub(super) fn watch(&self) -> Watch {
        Watch { link: self.link.clone() }
    }
}

/// Waits for connections to come and go.
#[derive(Clone)]
pub(super) struct Watch {
    link: watch::Receiver<Link>,
}

impl Watch {
    /// Waits until there is a connection; `None` when there never will be another.
    pub(super) async fn live(&mut self) -> Option<Live> {
        loop {
            if let Ok(live) = live_of(&self.link) {
                return Some(live);
            }
            self.link.changed().await.ok()?;
        }
    }

    /// Waits until the keeper has news.
    pub(super) async fn changed(&mut self) {
        // Without a keeper there is no news any more, and whoever waits is about to be dropped.
        if self.link.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    pub(super) fn why_down(&self) -> Cause {
        match &*self.link.borrow() {
            Link::Up(_) => Cause::new("the connection was lost"),
            Link::Down(cause) => cause.clone(),
        }
    }
}

fn live_of(link: &watch::Receiver<Link>) -> Result<Live, Cause> {
    match &*link.borrow() {
        Link::Up(live) if live.client.connection_state() == State::Connected => Ok(Live::clone(live)),
        Link::Up(_) => Err(Cause::new("the connection was lost")),
        Link::Down(cause) => Err(cause.clone()),
    }
}

async fn keep(options: Options, tell: watch::Sender<Link>) {
    let mut wait = FIRST_WAIT;
    for generation in 1.. {
        match connect(&options, generation).await {
            Ok((live, lost)) => {
                wait = FIRST_WAIT;
                tell.send_replace(Link::Up(Box::new(live)));
                lost.notified().await;
                tell.send_replace(Link::Down(Cause::new("the connection was lost")));
            }
            Err(cause) => {
                tell.send_replace(Link::Down(cause));
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}

/// Connects to the first server that answers. One's own comes first: it is the nearest, and its replica the one to watch over.
async fn connect(options: &Options, generation: u64) -> Result<(Live, Arc<Notify>), Cause> {
    let (addresses, user, password) = split_url(&options.url)?;
    let mut last = Err(Cause::new("a NATS URL must name a server"));
    for address in addresses.split(',') {
        last = connect_to(options, generation, address, user.clone(), password.clone()).await;
        if last.is_ok() {
            break;
        }
    }
    last
}

async fn connect_to(
    options: &Options,
    generation: u64,
    address: &str,
    user: Option<String>,
    password: Option<String>,
) -> Result<(Live, Arc<Notify>), Cause> {
    let lost = Arc::new(Notify::new());
    let tell_lost = lost.clone();
    let used = AtomicBool::new(false);
    let client = ConnectOptions::with_auth_callback(move |_nonce| {
        let first = !used.swap(true, Ordering::Relaxed);
        let mut auth = Auth::new();
        auth.username = user.clone();
        auth.password = password.clone();
        async move { if first { Ok(auth) } else { Err(AuthError::new("a client lives for one connection only")) } }
    })
    .name(format!("edgestack {}", options.role))
    .custom_inbox_prefix(options.role.inbox())
    .connection_timeout(HANDSHAKE_TIMEOUT)
    .request_timeout(Some(options.request_timeout))
    .ping_interval(PING_INTERVAL)
    .max_reconnects(1)
    .ignore_discovered_servers()
    .event_callback(move |event| {
        if matches!(event, Event::Disconnected | Event::Closed) {
            tell_lost.notify_one();
        }
        if let Event::ServerError(error) = &event {
            tracing::warn!(%error, "nats refused something");
        }
        async {}
    })
    .connect(address)
    .await
    .map_err(|error| Cause::with_source("can't connect to NATS", error))?;
    let context = ContextBuilder::new()
        .timeout(options.ack_timeout)
        .ack_timeout(options.ack_timeout)
        .max_ack_inflight(options.max_in_flight)
        .backpressure_on_inflight(true)
        .build(client.clone());
    let in_cluster = client.server_info().cluster.is_some();
    Ok((Live { client, context, generation, request_timeout: options.request_timeout, in_cluster }, lost))
}

/// `nats://user:password@host:port,host:port` in its parts, the addresses still as one: async-nats uses what is in a URL for nothing but its logs.
pub(super) fn split_url(url: &str) -> Result<(String, Option<String>, Option<String>), Cause> {
    let rest = url.strip_prefix("nats://").ok_or_else(|| Cause::new("a NATS URL must start with nats://"))?;
    let Some((login, address)) = rest.rsplit_once('@') else {
        return Ok((rest.to_owned(), None, None));
    };
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    Ok((address.to_owned(), Some(user.to_owned()), Some(password.to_owned())))
}
