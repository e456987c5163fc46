//! What folding a log costs without the log's server: decoding, the pure fold, the replica's checks, the views.
//! CPU time is told besides, as it stays the same when other work runs on the machine.

use std::time::{Duration, Instant};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use edgestack_engine::Replica;
use edgestack_log::{ChainHead, StoredCommit};
use edgestack_model::{
    Actor, Command, Commit, Decision, Given, Labels, Sequence, World,
    flavor::{FlavorCommand, Shape},
};
use uuid::Uuid;

use crate::{Failure, Options};

/// Commits handed over at once, as a reader of the log does.
const BATCH: usize = 512;

/// Prints the rows.
pub fn measure(options: &Options) -> Result<(), Failure> {
    let log = a_log(options.commits)?;
    let bytes: usize = log.iter().map(|stored| stored.payload.len()).sum();
    println!("| a log of {} commits, {} bytes each | | | | | |", log.len(), bytes / log.len().max(1));
    timed("decode", log.len(), || {
        for stored in &log {
            Commit::decode(&stored.payload)?;
        }
        Ok(())
    })?;
    timed("pure fold: decode and evolve", log.len(), || {
        let mut world = World::default();
        for stored in &log {
            world.evolve(&Commit::decode(&stored.payload)?)?;
        }
        Ok(())
    })?;
    timed("the replica: chain checked, decoded, folded", log.len(), || {
        apply(&log, &Replica::new(World::default(), ChainHead::GENESIS, None))
    })?;
    let folder = tempfile::Builder::new().prefix("es-bench-").tempdir()?;
    let opened = edgestack_views::open(&folder.path().join("views"))?;
    let replica = Replica::new(World::default(), ChainHead::GENESIS, Some(opened.views.projection()));
    opened.views.begin_anew()?;
    timed("the same with all views", log.len(), || {
        apply(&log, &replica)?;
        let (world, head) = replica.snapshot();
        Ok(opened.views.complete(&world, &head)?)
    })?;
    opened.views.flush()?;
    let on_disk = std::fs::metadata(folder.path().join("views/db"))?.len();
    println!("| the views on disk | {} bytes each | | | | |", on_disk / u64::try_from(options.commits.max(1))?);
    Ok(())
}

fn apply(log: &[StoredCommit], replica: &Replica) -> Result<(), Failure> {
    for batch in log.chunks(BATCH) {
        replica.apply(batch.iter().map(|stored| (stored.clone(), None)).collect())?;
    }
    Ok(())
}

fn timed(what: &str, commits: usize, work: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
    let (begun, cpu) = (Instant::now(), cpu_time());
    work()?;
    let (elapsed, cpu) = (begun.elapsed(), cpu_time().saturating_sub(cpu));
    #[allow(clippy::cast_precision_loss)] // A few millions at most.
    let commits = commits as f64;
    println!(
        "| {what} | {:.0}/s | | {:.2} µs of CPU each | | |",
        commits / elapsed.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / commits
    );
    Ok(())
}

/// Of all threads of this process.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
}

/// Flavors made one after the other: a commit as small as they come.
fn a_log(commits: usize) -> Result<Vec<StoredCommit>, Failure> {
    let mut world = World::default();
    let mut head = ChainHead::GENESIS;
    let mut log = Vec::with_capacity(commits);
    for n in 0..commits {
        let commit = next(&world, &head, n)?;
        let payload: Bytes = commit.encode()?.into();
        world.evolve(&commit)?;
        head = head.after(&payload);
        log.push(StoredCommit { sequence: head.sequence, payload });
    }
    Ok(log)
}

fn next(world: &World, head: &ChainHead, n: usize) -> Result<Commit, Failure> {
    commit_of(world, head, n, a_flavor(&format!("flavor-{n}"))?)
}

/// A new flavor.
pub fn a_flavor(name: &str) -> Result<Command, Failure> {
    Ok(Command::Flavor(FlavorCommand::Create {
        name: name.parse()?,
        description: String::new(),
        labels: Labels::default(),
        shape: Shape {
            vcpus: 1,
            memory_mib: 512,
            disk_gib: 1,
            dedicated_cpus: false,
            huge_pages: None,
            numa_nodes: None,
        },
    }))
}

/// The commit that a command leads to, `n` milliseconds after the log's beginning.
pub fn commit_of(world: &World, head: &ChainHead, n: usize, command: Command) -> Result<Commit, Failure> {
    let begin: DateTime<Utc> = DateTime::from_timestamp(1_790_000_000, 0).unwrap_or_default();
    let time = begin + chrono::TimeDelta::milliseconds(i64::try_from(n)?);
    let given = Given {
        commit_id: Uuid::now_v7(),
        time,
        new_ids: [Uuid::now_v7(), Uuid::now_v7()],
        actor: Actor { name: "admin".into(), credential: "token:01234567".into(), from: "127.0.0.1".into() },
        correlation_id: Uuid::now_v7(),
        idempotency: None,
        precondition: None,
        reason: None,
        fence: None,
    };
    let (primary, events) = match edgestack_model::decide(world, &given, &command) {
        Ok(Decision::Commit { primary, events }) => (primary, events),
        other => return Err(format!("a flavor could not be made: {other:?}").into()),
    };
    Ok(Commit {
        id: given.commit_id,
        site: "edge".into(),
        sequence: Sequence(head.sequence + 1),
        time,
        actor: given.actor,
        command: command.name().to_owned(),
        correlation_id: given.correlation_id,
        causation_id: None,
        traceparent: None,
        idempotency: None,
        reason: None,
        previous_hash: head.hash_hex(),
        primary,
        events,
    })
}
