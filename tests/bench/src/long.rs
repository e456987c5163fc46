//! A site with a long past: what a million commits cost when it starts, is read, and is asked about what was.
#![allow(clippy::cast_precision_loss, reason = "figures for people")]

use std::path::Path;
use std::time::{Duration, Instant};

use async_nats::jetstream;
use edgestack_engine::{Replica, catch_up};
use edgestack_log::jetstream::{NatsServer, NatsServerOptions, Role};
use edgestack_log::{Append, ChainHead, Log};
use edgestack_model::{Command, World, flavor::FlavorCommand, meta::MetaChange};
use futures::{StreamExt as _, stream::FuturesOrdered};

use crate::{
    Failure, Options, fold,
    http::PREFIX,
    site::Site,
    stats::{Stats, ms, ratio},
};

/// Objects that the commits are about.
const OBJECTS: usize = 10_000;
/// Commits handed over before the oldest must be answered: by a site that is as busy as it can be, whose commits share messages
/// (ADR 0022), and by one that is not, where each is a message.
const IN_FLIGHT_BUSY: usize = 4096;
const IN_FLIGHT_QUIET: usize = 2;
/// Questions of each kind.
const SAMPLES: usize = 300;
/// How long the snapshots may take to be made.
const SNAPSHOTS_DEADLINE: Duration = Duration::from_secs(1200);
/// Snapshots lie so many commits apart, at most twice that.
const SNAPSHOT_EVERY: usize = 4096;

/// Prints the rows.
pub async fn measure(options: &Options) -> Result<(), Failure> {
    let folder = a_log(options, IN_FLIGHT_BUSY, "hundreds in a message").await?;
    of_a_site(options, folder).await?;
    drop(a_log(options, IN_FLIGHT_QUIET, "each a message").await?);
    Ok(())
}

/// Makes a log in a folder, and reads it.
async fn a_log(options: &Options, in_flight: usize, shape: &str) -> Result<tempfile::TempDir, Failure> {
    let commits = options.long_commits;
    let folder = tempfile::Builder::new().prefix("es-long-").tempdir()?;
    let program = crate::bare::which(&options.nats_server);
    let server = NatsServer::start(NatsServerOptions::new(program, folder.path().join("nats"))).await?;
    let filled = fill(&server, commits, in_flight).await?;
    println!(
        "| a log of {commits} commits on {OBJECTS} flavors, {shape}, {in_flight} in flight: appended | {filled:.0}/s | | | | |"
    );
    let bare = only_read(&server).await?;
    let log = server.log(Role::Engine).await?;
    let read = read_by_us(&log).await?;
    println!(
        "| the same commits read by direct gets, {shape} | {read:.0}/s | | {bare:.0}/s (the same consumer) | {:.2} | |",
        read / bare
    );
    let (rebuilt, views_bytes) = rebuild(&log).await?;
    println!(
        "| rebuild of all views from {commits} commits in JetStream, {shape} | {rebuilt:.0}/s | | {bare:.0}/s (a consumer that only reads them) | {:.2} | ≥ 150,000/s, ≥ 0.5 |",
        rebuilt / bare
    );
    println!("| the views on disk after it | {:.0} bytes a commit | | | | |", views_bytes as f64 / commits as f64);
    drop(log);
    server.stop(Duration::from_secs(10)).await;
    Ok(folder)
}

async fn of_a_site(options: &Options, folder: tempfile::TempDir) -> Result<(), Failure> {
    let commits = options.long_commits;
    let snapshots = folder.path().join("snapshots");
    let begun = Instant::now();
    let mut site = Site::start_in(options, folder, &["--driver", "simulated"]).await?;
    println!(
        "| first start on such a log, without views, snapshots or archive | {:.1} s | | | | |",
        begun.elapsed().as_secs_f64()
    );
    while count(&snapshots) + 1 < commits / (2 * SNAPSHOT_EVERY) || !is_dense(&snapshots, commits)? {
        if begun.elapsed() > SNAPSHOTS_DEADLINE {
            return Err(format!("{} snapshots after {SNAPSHOTS_DEADLINE:?}", count(&snapshots)).into());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let bytes = std::fs::read_dir(&snapshots)?.map(|file| Ok(file?.metadata()?.len())).sum::<Result<u64, Failure>>()?;
    println!(
        "| its {} snapshots, made on the side in {:.0} s | {:.1} MiB | | | | |",
        count(&snapshots),
        begun.elapsed().as_secs_f64(),
        bytes as f64 / f64::from(1 << 20)
    );
    let mut samples = Vec::new();
    for _ in 0..5 {
        samples.push(site.restart().await?);
    }
    let stats = Stats::of(samples);
    println!(
        "| start after kill -9 of both to the first answer | {} | {} | | | ≤ 1 s |",
        ms(stats.median()),
        ms(stats.percentile(99))
    );
    let (daemon, nats) = site.resident_mib()?;
    println!("| resident memory then: daemon + nats-server | {daemon} + {nats} MiB | | | | daemon ≤ 200 MiB |");
    let mut client = site.client().await?;
    let now = ask(&mut client, |n| format!("{PREFIX}/flavors/{}", name(n))).await?;
    for (what, path) in [("one object", "flavors/{}?"), ("list 100 objects", "flavors?limit=100&")] {
        let stats = ask(&mut client, |n| {
            let sequence = OBJECTS + scatter(n) % (commits - OBJECTS);
            format!("{PREFIX}/{}at={sequence}", path.replace("{}", &name(n)))
        })
        .await?;
        println!(
            "| {what} as it was, anywhere in {commits} commits | {} | {} | {} (the object as it is) | {} | p99 ≤ 100 ms |",
            ms(stats.median()),
            ms(stats.percentile(99)),
            ms(now.median()),
            ratio(stats.median(), now.median())
        );
    }
    for (what, before, after) in [
        ("one object's history", format!("{PREFIX}/flavors/"), "/events"),
        ("`explain` of one object", "/edgetron/log/explain/flavor/".to_owned(), ""),
    ] {
        let stats = ask(&mut client, |n| format!("{before}{}{after}", name(n))).await?;
        println!("| {what} | {} | {} | | | p99 ≤ 10 ms |", ms(stats.median()), ms(stats.percentile(99)));
    }
    let (daemon, nats) = site.resident_mib()?;
    println!(
        "| resident memory after all of this: daemon + nats-server | {daemon} + {nats} MiB | | | | daemon ≤ 200 MiB |"
    );
    Ok(())
}

fn name(n: usize) -> String {
    format!("flavor-{}", scatter(n) % OBJECTS)
}

/// Numbers without an order, the same in each run.
fn scatter(n: usize) -> usize {
    let mixed = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)) >> 16) as usize
}

async fn ask(client: &mut crate::http::Client, path: impl Fn(usize) -> String) -> Result<Stats, Failure> {
    let mut samples = Vec::with_capacity(SAMPLES);
    for n in 0..SAMPLES {
        let path = path(n);
        let begun = Instant::now();
        let (status, body) = client.request("GET", &path, "").await?;
        samples.push(begun.elapsed());
        if status != 200 {
            return Err(format!("{path} gives {status}: {}", String::from_utf8_lossy(&body)).into());
        }
    }
    Ok(Stats::of(samples))
}

fn count(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

fn is_dense(folder: &Path, commits: usize) -> Result<bool, Failure> {
    let mut places = vec![0, commits];
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        places.extend(path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<usize>().ok()));
    }
    places.sort_unstable();
    Ok(places.windows(2).all(|pair| pair[1] - pair[0] <= 2 * SNAPSHOT_EVERY + 64))
}

/// Makes the objects, then changes them in no order, as fast as the log takes it; commits a second.
async fn fill(server: &NatsServer, commits: usize, at_once: usize) -> Result<f64, Failure> {
    let log = server.log(Role::Engine).await?;
    log.ensure_stream(1).await?;
    let (mut world, mut head) = (World::default(), ChainHead::GENESIS);
    let mut in_flight = FuturesOrdered::new();
    let begun = Instant::now();
    for n in 0..commits {
        let command = if n < OBJECTS {
            fold::a_flavor(&format!("flavor-{n}"))?
        } else {
            Command::Flavor(FlavorCommand::Update {
                flavor: name(n).as_str().into(),
                change: MetaChange { description: Some(format!("change {n}")), labels: None },
            })
        };
        let commit = fold::commit_of(&world, &head, n, command)?;
        let payload = commit.encode()?;
        world.evolve(&commit)?;
        let entry = Append {
            expected_last_sequence: head.sequence,
            commit_id: commit.id.to_string(),
            subject: commit.subject(),
            payload: payload.into(),
        };
        head = head.after(&entry.payload);
        in_flight.push_back(log.append(entry).await?);
        if in_flight.len() >= at_once
            && let Some(ack) = in_flight.next().await
        {
            ack?;
        }
    }
    while let Some(ack) = in_flight.next().await {
        ack?;
    }
    Ok(commits as f64 / begun.elapsed().as_secs_f64())
}

/// The stream read by a plain consumer that throws away what it gets; commits a second.
async fn only_read(server: &NatsServer) -> Result<f64, Failure> {
    let client = server.log(Role::Auditor).await?.client()?;
    let stream = jetstream::new(client).get_stream("MM3").await?;
    let last = stream.get_info().await?.state.last_sequence;
    let config =
        jetstream::consumer::pull::Config { ack_policy: jetstream::consumer::AckPolicy::None, ..Default::default() };
    let consumer = stream.create_consumer(config).await?;
    let begun = Instant::now();
    let mut messages = consumer.stream().max_messages_per_batch(2000).messages().await?;
    let mut commits = 0_u64;
    while let Some(message) = messages.next().await {
        let message = message?;
        commits += message.payload.split(|byte| *byte == b'\n').count() as u64;
        if message.info().map_err(|error| error.to_string())?.stream_sequence >= last {
            break;
        }
    }
    Ok(commits as f64 / begun.elapsed().as_secs_f64())
}

/// The log read piece by piece, and nothing done with it; commits a second.
async fn read_by_us(log: &dyn Log) -> Result<f64, Failure> {
    let (begun, mut last) = (Instant::now(), 0);
    loop {
        let batch = log.read(last + 1, 2048).await?;
        match batch.last() {
            Some(commit) => last = commit.sequence,
            None => return Ok(last as f64 / begun.elapsed().as_secs_f64()),
        }
    }
}

async fn rebuild(log: &dyn Log) -> Result<(f64, u64), Failure> {
    let folder = tempfile::Builder::new().prefix("es-bench-").tempdir()?;
    let opened = edgestack_views::open(&folder.path().join("views"))?;
    let replica = Replica::new(World::default(), ChainHead::GENESIS, Some(opened.views.projection()));
    opened.views.begin_anew()?;
    let begun = Instant::now();
    catch_up(log, &replica).await?;
    let (world, head) = replica.snapshot();
    opened.views.complete(&world, &head)?;
    let rate = replica.head().sequence as f64 / begun.elapsed().as_secs_f64();
    opened.views.flush()?;
    Ok((rate, std::fs::metadata(folder.path().join("views/db"))?.len()))
}
