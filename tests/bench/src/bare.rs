//! The baseline: synced publishes to JetStream, with nothing of ours between.

use std::time::{Duration, Instant};

use async_nats::{ConnectOptions, jetstream};
use edgestack_log::jetstream::{NatsServer, NatsServerOptions, Role};
use futures::{StreamExt as _, stream::FuturesUnordered};

use crate::{Failure, Options};

/// A bare nats-server, set as a site's own is: sync always, the same stream.
pub struct Bare {
    server: NatsServer,
    context: jetstream::Context,
    _folder: tempfile::TempDir,
}

impl Bare {
    /// Starts one.
    pub async fn start(options: &Options) -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("es-bare-").tempdir()?;
        let program = which(&options.nats_server);
        let server = NatsServer::start(NatsServerOptions::new(program, folder.path().join("nats"))).await?;
        server.log(Role::Engine).await?.ensure_stream(1).await?;
        let url = server.credentials().url(Role::Engine);
        let (user, rest) = url.trim_start_matches("nats://").split_once(':').ok_or("no user in the URL")?;
        let (password, address) = rest.split_once('@').ok_or("no password in the URL")?;
        let client = ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
            .custom_inbox_prefix(Role::Engine.inbox())
            .connect(address)
            .await?;
        Ok(Self { server, context: jetstream::new(client), _folder: folder })
    }

    /// One publish after the other.
    pub async fn one_by_one(&self, bytes: usize, count: usize) -> Result<Vec<Duration>, Failure> {
        let payload = bytes::Bytes::from(vec![b'x'; bytes]);
        let mut samples = Vec::with_capacity(count);
        for _ in 0..count {
            let begun = Instant::now();
            self.context.publish("mm3.commit.bench.x", payload.clone()).await?.await?;
            samples.push(begun.elapsed());
        }
        Ok(samples)
    }

    /// So many in flight at once; the rate per second.
    pub async fn pipelined(&self, bytes: usize, in_flight_max: usize, time: Duration) -> Result<f64, Failure> {
        let payload = bytes::Bytes::from(vec![b'x'; bytes]);
        let mut in_flight = FuturesUnordered::new();
        let (begun, mut done) = (Instant::now(), 0_u32);
        while begun.elapsed() < time {
            while in_flight.len() < in_flight_max {
                let ack = self.context.publish("mm3.commit.bench.x", payload.clone()).await?;
                in_flight.push(async move { ack.await });
            }
            if let Some(ack) = in_flight.next().await {
                ack?;
                done += 1;
            }
        }
        Ok(f64::from(done) / begun.elapsed().as_secs_f64())
    }

    /// Ends it.
    pub async fn stop(self) {
        self.server.stop(Duration::from_secs(5)).await;
    }
}

pub fn which(program: &std::path::Path) -> std::path::PathBuf {
    if program.components().count() > 1 {
        return program.to_owned();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .unwrap_or_else(|| program.to_owned())
}
