//! Any past world is the fold of the commits up to it, whatever happened to the snapshots.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use edgestack_engine::Replica;
use edgestack_log::{Append, ChainHead, Log, memory::MemoryLog};
use edgestack_model::{
    Actor, Command, Commit, Decision, Given, Kind, Labels, World, decide,
    flavor::{FlavorCommand, Shape},
    idempotency::IdempotencyClaim,
    meta::MetaChange,
};
use edgestack_timeline::{Timeline, TimelineError};
use uuid::Uuid;

const BEGIN: i64 = 1_790_000_000;
const DEADLINE: Duration = Duration::from_secs(20);

/// A log of flavors that come, change and go, a commit a second, and the world after each.
async fn a_log(commits: u64) -> (MemoryLog, Vec<World>) {
    let log = MemoryLog::new();
    let (mut head, mut world, mut worlds) = (ChainHead::GENESIS, World::default(), vec![World::default()]);
    for number in 0..commits {
        let commit = next(&world, head, number);
        let payload = commit.encode().unwrap();
        let entry = Append {
            expected_last_sequence: head.sequence,
            commit_id: commit.id.to_string(),
            subject: commit.subject(),
            payload: payload.clone().into(),
        };
        log.append(entry).await.unwrap().await.unwrap();
        head = head.after(&payload);
        world.evolve(&commit).unwrap();
        worlds.push(world.clone());
    }
    (log, worlds)
}

fn next(world: &World, head: ChainHead, number: u64) -> Commit {
    let name = format!("f{}", number / 3 % 40);
    let command = match (number % 3, world.flavor(&name.as_str().into()).is_ok()) {
        (_, false) => FlavorCommand::Create {
            name: name.parse().unwrap(),
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
        },
        (1, true) => FlavorCommand::Update {
            flavor: name.as_str().into(),
            change: MetaChange { description: Some(format!("number {number}")), labels: None },
        },
        (_, true) => FlavorCommand::Delete { flavor: name.as_str().into() },
    };
    let id = |part: u64| Uuid::from_u128(u128::from(number * 8 + part + 1));
    let given = Given {
        commit_id: id(0),
        time: DateTime::from_timestamp(BEGIN + number.cast_signed(), 0).unwrap(),
        new_ids: [id(1), id(2)],
        actor: Actor { name: "admin".into(), credential: "token:0".into(), from: "here".into() },
        correlation_id: id(3),
        idempotency: Some(IdempotencyClaim { key: format!("k{number}"), fingerprint: "f".into() }),
        precondition: None,
        reason: None,
        fence: None,
    };
    let command = Command::Flavor(command);
    let Decision::Commit { primary, events } = decide(world, &given, &command).unwrap() else {
        panic!("{command:?} changes nothing")
    };
    Commit {
        id: given.commit_id,
        site: "test".into(),
        sequence: world.sequence.next(),
        time: given.time,
        actor: given.actor,
        command: command.name().into(),
        correlation_id: given.correlation_id,
        causation_id: None,
        traceparent: None,
        idempotency: given.idempotency,
        reason: None,
        previous_hash: head.hash_hex(),
        primary,
        events,
    }
}

fn snapshots(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

async fn all_are_right(timeline: &Timeline, worlds: &[World], step: usize) {
    for (sequence, world) in worlds.iter().enumerate().step_by(step) {
        let moment = timeline.at(sequence as u64).await.unwrap();
        assert_eq!(moment.world(), world, "after {sequence}");
        let time = sequence.checked_sub(1).map(|ago| DateTime::from_timestamp(BEGIN + ago as i64, 0).unwrap());
        assert_eq!(moment.time(), time, "after {sequence}");
    }
}

#[tokio::test]
async fn any_past_world_is_the_fold_up_to_it() {
    let folder = tempfile::tempdir().unwrap();
    let (log, worlds) = a_log(1500).await;
    let timeline = Timeline::with_snapshots_every(folder.path(), Arc::new(log.clone()), None, 100).unwrap();
    assert_eq!(timeline.at(1500).await.unwrap().world(), &worlds[1500]);
    all_are_right(&timeline, &worlds, 61).await;
    assert!(!snapshots(folder.path()).is_empty(), "who folds far leaves snapshots");
    // Another process begins with them.
    let again = Timeline::with_snapshots_every(folder.path(), Arc::new(log), None, 100).unwrap();
    all_are_right(&again, &worlds, 61).await;
    assert!(matches!(again.at(1501).await, Err(TimelineError::Beyond { last: 1500 })));
}

#[tokio::test]
async fn a_time_means_the_last_commit_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = a_log(100).await;
    let timeline = Timeline::open(folder.path(), Arc::new(log), None).unwrap();
    let begin: DateTime<Utc> = DateTime::from_timestamp(BEGIN, 0).unwrap();
    for (after, expect) in
        [(-3_600_000, 0), (-1, 0), (0, 1), (999, 1), (1000, 2), (98_500, 99), (99_000, 100), (10_000_000, 100)]
    {
        let time = begin + TimeDelta::milliseconds(after);
        assert_eq!(timeline.sequence_at(time).await.unwrap(), expect, "{after} ms after the first");
    }
}

/// Waits until the keeper has written all it wants.
async fn kept(timeline: &Timeline, replica: &Arc<Replica>, folder: &Path, files: usize) {
    let keeper = tokio::spawn(timeline.clone().keep(replica.clone()));
    let begun = Instant::now();
    while snapshots(folder).len() < files {
        assert!(begun.elapsed() < DEADLINE, "{} snapshots instead of {files}", snapshots(folder).len());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    keeper.abort();
}

#[tokio::test]
async fn the_keeper_writes_the_newest_and_fills_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (log, worlds) = a_log(1000).await;
    let replica = Replica::new(World::default(), ChainHead::GENESIS, None);
    edgestack_engine::catch_up(&log, &replica).await.unwrap();
    let timeline = Timeline::with_snapshots_every(folder.path(), Arc::new(log.clone()), None, 100).unwrap();
    // The newest, and one each 100 up to less than two distances from the next.
    kept(&timeline, &replica, folder.path(), 9).await;
    for file in snapshots(folder.path()) {
        let sequence: usize = file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let packed = fs::read(&file).unwrap();
        assert!(packed.len() < 40_000, "{} bytes", packed.len());
        assert_eq!(sequence % 100, 0, "{}", file.display());
    }
    let again = Timeline::with_snapshots_every(folder.path(), Arc::new(log), None, 100).unwrap();
    all_are_right(&again, &worlds, 37).await;
}

/// A snapshot with a flipped byte, cut short, empty, of another place, or of another log: never believed.
#[tokio::test]
async fn a_damaged_or_foreign_snapshot_is_passed_over_and_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (log, worlds) = a_log(1000).await;
    let log: Arc<dyn Log> = Arc::new(log);
    let replica = Replica::new(World::default(), ChainHead::GENESIS, None);
    edgestack_engine::catch_up(&*log, &replica).await.unwrap();
    let timeline = Timeline::with_snapshots_every(folder.path(), log.clone(), None, 100).unwrap();
    kept(&timeline, &replica, folder.path(), 9).await;
    let file = &snapshots(folder.path())[4];
    let whole = fs::read(file).unwrap();
    let sequence: usize = file.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let mut broken: Vec<Vec<u8>> = (0..20)
        .map(|part| {
            let mut bytes = whole.clone();
            let at = bytes.len() * part / 20;
            bytes[at] ^= 0x10;
            bytes
        })
        .collect();
    broken.extend((0..5).map(|part| whole[..whole.len() * part / 5].to_vec()));
    broken.push(fs::read(&snapshots(folder.path())[3]).unwrap());
    for (number, bytes) in broken.into_iter().enumerate() {
        fs::write(file, &bytes).unwrap();
        let timeline = Timeline::with_snapshots_every(folder.path(), log.clone(), None, 100).unwrap();
        let moment = timeline.at(sequence as u64 + 1).await.unwrap();
        assert_eq!(moment.world(), &worlds[sequence + 1], "case {number}");
        assert!(!file.exists(), "case {number}: what is damaged goes");
    }
    // Whole, and of another log with the same sequences.
    fs::write(file, &whole).unwrap();
    let other = MemoryLog::new();
    let (theirs, their_worlds) = a_log(sequence as u64 + 10).await;
    let mut head = ChainHead::GENESIS;
    for stored in theirs.read(1, usize::MAX).await.unwrap() {
        let mut commit = Commit::decode(&stored.payload).unwrap();
        commit.site = "another".into();
        commit.previous_hash = head.hash_hex();
        let payload = commit.encode().unwrap();
        let entry = Append {
            expected_last_sequence: head.sequence,
            commit_id: commit.id.to_string(),
            subject: commit.subject(),
            payload: payload.clone().into(),
        };
        other.append(entry).await.unwrap().await.unwrap();
        head = head.after(&payload);
    }
    let timeline = Timeline::with_snapshots_every(folder.path(), Arc::new(other), None, 100).unwrap();
    assert_eq!(timeline.at(sequence as u64 + 1).await.unwrap().world(), &their_worlds[sequence + 1]);
    assert!(!file.exists(), "a foreign snapshot goes");
}

#[tokio::test(start_paused = true)]
async fn a_replay_waits_for_a_log_that_is_away_and_not_for_ever() {
    let (log, worlds) = a_log(30).await;
    let folder = tempfile::tempdir().unwrap();
    let timeline = Timeline::open(folder.path(), Arc::new(log.clone()), None).unwrap();
    log.be_away(20);
    let replayed = timeline.replay(30, None, |_| {}).await.unwrap();
    assert_eq!((&*replayed.replica.world(), replayed.finding), (&worlds[30], None));
    log.be_away(u32::MAX);
    let error = timeline.replay(30, None, |_| {}).await.err().unwrap();
    assert!(matches!(error, TimelineError::Log(_)), "{error}");
}

#[tokio::test]
async fn a_damaged_log_is_told_and_never_folded_over() {
    let folder = tempfile::tempdir().unwrap();
    let (log, worlds) = a_log(300).await;
    assert!(log.drop_message(200));
    let timeline = Timeline::with_snapshots_every(folder.path(), Arc::new(log), None, 100).unwrap();
    assert_eq!(timeline.at(199).await.unwrap().world(), &worlds[199]);
    for sequence in [200, 201, 300] {
        let outcome = timeline.at(sequence).await;
        assert!(matches!(outcome, Err(TimelineError::Log(_))), "{sequence}: {outcome:?}");
    }
}

#[test]
fn a_world_lists_a_kind_in_order_of_name() {
    let mut world = World::default();
    let mut head = ChainHead::GENESIS;
    for number in [0, 30, 3, 60] {
        let commit = next(&world, head, number);
        head = head.after(&commit.encode().unwrap());
        world.evolve(&commit).unwrap();
    }
    let names =
        |after| world.list(Kind::Flavor, after).map(|flavor| flavor.meta().name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(None), ["f0", "f1", "f10", "f20"]);
    assert_eq!(names(Some("f1")), ["f10", "f20"]);
    assert_eq!(names(Some("f2")), ["f20"]);
    assert_eq!(world.list(Kind::Vm, None).count(), 0);
}

/// With an archive the past is read from there, and from the log where the archive can't be believed.
#[tokio::test]
async fn the_archive_is_read_first_and_not_believed_either() {
    let folder = tempfile::tempdir().unwrap();
    let (log, worlds) = a_log(600).await;
    let commits = log.read(1, usize::MAX).await.unwrap();
    let options = edgestack_archive::Options { segment_bytes: 50_000, ..edgestack_archive::Options::default() };
    let archive =
        Arc::new(edgestack_archive::Archive::open_local(&folder.path().join("archive"), options).await.unwrap());
    for part in commits[..500].chunks(50) {
        archive.append(part).await.unwrap();
    }
    // What only the archive has whole is read there; what it doesn't have yet is read from the log.
    let snapshots = folder.path().join("snapshots");
    assert!(log.drop_message(100));
    let timeline = Timeline::with_snapshots_every(&snapshots, Arc::new(log), Some(archive.clone()), 100).unwrap();
    for sequence in [99, 100, 101, 499, 500, 501, 600] {
        assert_eq!(timeline.at(sequence).await.unwrap().world(), &worlds[sequence as usize], "after {sequence}");
    }
    // A segment that holds other commits than the log.
    let (log, _) = a_log(600).await;
    let segments = folder.path().join("archive/segments");
    let mut files: Vec<_> = fs::read_dir(&segments).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut bytes = fs::read(&files[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&files[1], bytes).unwrap();
    let fresh = folder.path().join("fresh");
    let timeline = Timeline::with_snapshots_every(&fresh, Arc::new(log), Some(archive), 100).unwrap();
    for sequence in [50, 250, 499, 600] {
        assert_eq!(timeline.at(sequence).await.unwrap().world(), &worlds[sequence as usize], "after {sequence}");
    }
}

/// A folder that takes nothing more (a full disk, say) costs the shortcuts, never the answer.
#[tokio::test]
async fn without_room_for_snapshots_the_past_is_shown_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (log, worlds) = a_log(1500).await;
    let timeline = Timeline::with_snapshots_every(folder.path(), Arc::new(log), None, 100).unwrap();
    // A folder stands where the draft of each snapshot would be written.
    for sequence in 0..=1500 {
        fs::create_dir(folder.path().join(format!("{sequence:020}.draft"))).unwrap();
    }
    assert_eq!(timeline.at(1500).await.unwrap().world(), &worlds[1500]);
    assert!(snapshots(folder.path()).iter().all(|path| path.is_dir()), "none could be written");
}
