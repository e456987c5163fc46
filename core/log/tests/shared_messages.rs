//! Commits that share messages are found, chained, refused and missed one by one, as if each had a message of its own.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

mod nats;

use std::fs;
use std::time::Duration;

use edgestack_log::conformance::{append_some, commit};
use edgestack_log::jetstream::{JetStreamLog, NatsServer, Options, Role, SHARED_SUBJECT};
use edgestack_log::{Append, AppendError, ChainHead, Damage, Log, LogError, StoredCommit, verify};
use futures::StreamExt;
use nats::{DEADLINE, Site};
use serde_json::Value;

/// Hands over `count` commits before any is answered, then awaits all of them.
async fn at_once(log: &JetStreamLog, mut chain: ChainHead, count: u64, bytes: usize) -> (ChainHead, Vec<Append>) {
    let (mut pending, mut entries) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let entry = commit(&chain, &format!("s{}", chain.sequence + 1), bytes);
        chain = chain.after(&entry.payload);
        entries.push(entry.clone());
        pending.push(log.append(entry).await.unwrap());
    }
    for (entry, ack) in entries.iter().zip(pending) {
        let stored = tokio::time::timeout(DEADLINE, ack).await.unwrap().unwrap();
        assert_eq!(stored, entry.expected_last_sequence + 1);
    }
    (chain, entries)
}

/// A log in which messages of one and of many commits take turns; also each commit's payload.
async fn mixed(log: &JetStreamLog) -> (ChainHead, Vec<StoredCommit>) {
    let (mut chain, mut all) = (ChainHead::GENESIS, Vec::new());
    for (count, bytes) in [(1, 300), (90, 300), (3, 70_000), (1, 300), (1, 256 * 1024), (200, 900), (7, 200_000)] {
        let (next, entries) = at_once(log, chain, count, bytes).await;
        all.extend(
            entries.into_iter().map(|e| StoredCommit { sequence: e.expected_last_sequence + 1, payload: e.payload }),
        );
        chain = append_some(log, next, 3).await.unwrap();
        for sequence in next.sequence + 1..=chain.sequence {
            all.push(log.get(sequence).await.unwrap().unwrap());
        }
    }
    (chain, all)
}

/// The stream's own count of messages, which no [`Log`] tells.
async fn messages(log: &JetStreamLog) -> u64 {
    let answer = log.client().unwrap().request("$JS.API.STREAM.INFO.MM3", "".into()).await.unwrap();
    let info: Value = serde_json::from_slice(&answer.payload).unwrap();
    info["state"]["messages"].as_u64().unwrap()
}

#[tokio::test]
async fn whoever_comes_anew_finds_any_commit_in_its_message() {
    let Some(binary) = nats::binary("whoever_comes_anew_finds_any_commit_in_its_message") else { return };
    let site = Site::start(&binary).await;
    let writer = site.log().await;
    let (chain, all) = mixed(&writer).await;
    let count = all.len() as u64;
    let messages = messages(&writer).await;
    assert!(messages < count / 2, "{messages} messages for {count} commits: nothing was shared");
    println!("{count} commits in {messages} messages");
    for number in (0..all.len()).step_by(17).chain([0, 1, all.len() - 1]) {
        // Each time without any knowledge of places.
        let log = site.server().log(Role::Reader).await.unwrap();
        assert_eq!(log.get(all[number].sequence).await.unwrap().as_ref(), Some(&all[number]));
        let log = site.server().log(Role::Reader).await.unwrap();
        let read = log.read(all[number].sequence, 5).await.unwrap();
        assert!(!read.is_empty() && read.len() <= 5, "{}", read.len());
        assert_eq!(read, all[number..number + read.len()]);
    }
    let log = site.server().log(Role::Reader).await.unwrap();
    assert_eq!(log.get(count + 1).await.unwrap(), None);
    assert_eq!(log.read(count + 1, 5).await.unwrap(), []);
    let head = log.head().await.unwrap();
    assert_eq!((head.first_sequence, head.last_sequence, head.messages), (1, count, count));
    assert_eq!(verify(&log, Some(count)).await.unwrap(), chain);
    let mut followed = log.follow(57).await.unwrap();
    for wanted in &all[56..] {
        assert_eq!(&tokio::time::timeout(DEADLINE, followed.next()).await.unwrap().unwrap().unwrap(), wanted);
    }
    // Another writer goes on behind a shared message, and never into the middle of one.
    let (chain, _) = at_once(&writer, chain, 60, 300).await;
    let other = site.log().await;
    let inside = StoredCommit { ..other.get(chain.sequence - 5).await.unwrap().unwrap() };
    let fork = commit(&ChainHead { sequence: inside.sequence - 1, hash: [0; 32] }.after(&inside.payload), "fork", 300);
    assert!(matches!(other.append(fork).await.map(drop), Err(AppendError::WrongLastSequence { .. })));
    let chain = append_some(&other, chain, 1).await.unwrap();
    assert_eq!(verify(&other, Some(chain.sequence)).await.unwrap(), chain);
    site.stop().await;
}

#[tokio::test]
async fn a_plain_client_reads_lines() {
    let Some(binary) = nats::binary("a_plain_client_reads_lines") else { return };
    let site = Site::start(&binary).await;
    let log = site.log().await;
    let (_, entries) = at_once(&log, ChainHead::GENESIS, 50, 300).await;
    let mut lines = Vec::new();
    for number in 1..=messages(&log).await {
        let body = format!(r#"{{"seq":{number}}}"#);
        let answer = log.client().unwrap().request("$JS.API.DIRECT.GET.MM3", body.into()).await.unwrap();
        let subject = answer.headers.as_ref().unwrap().get("Nats-Subject").unwrap().to_string();
        let text = String::from_utf8(answer.payload.to_vec()).unwrap();
        assert_eq!(text.lines().count() > 1, subject == SHARED_SUBJECT, "{subject}");
        lines.extend(text.lines().map(str::to_owned));
    }
    assert_eq!(lines, entries.iter().map(|e| String::from_utf8(e.payload.to_vec()).unwrap()).collect::<Vec<_>>());
    site.stop().await;
}

#[tokio::test]
async fn what_waits_behind_a_lost_race_is_refused_and_not_sent() {
    let Some(binary) = nats::binary("what_waits_behind_a_lost_race_is_refused_and_not_sent") else { return };
    let site = Site::start(&binary).await;
    let (ours, theirs) = (site.log().await, site.log().await);
    let chain = append_some(&ours, ChainHead::GENESIS, 3).await.unwrap();
    let theirs_then = append_some(&theirs, chain, 1).await.unwrap();
    let (mut speculative, mut pending) = (chain, Vec::new());
    for number in 0..40 {
        let entry = commit(&speculative, &format!("late{number}"), 300);
        speculative = speculative.after(&entry.payload);
        pending.push(ours.append(entry).await);
    }
    for ack in pending {
        let outcome = match ack {
            Ok(ack) => tokio::time::timeout(DEADLINE, ack).await.unwrap(),
            Err(error) => Err(error),
        };
        assert!(matches!(outcome, Err(AppendError::WrongLastSequence { .. })), "{outcome:?}");
    }
    let (chain, _) = at_once(&ours, theirs_then, 40, 300).await;
    assert_eq!(verify(&theirs, Some(44)).await.unwrap(), chain);
    site.stop().await;
}

/// Whoever gives up while it hands over leaves nothing behind that a later append could chain on.
#[tokio::test]
async fn an_append_that_is_given_up_leaves_no_gap_behind() {
    let Some(binary) = nats::binary("an_append_that_is_given_up_leaves_no_gap_behind") else { return };
    let site = Site::start(&binary).await;
    site.log().await;
    let mut options = Options::new(site.server().credentials().url(Role::Engine), Role::Engine);
    options.max_in_flight = 1;
    let log = JetStreamLog::connect(options).await.unwrap();
    let chain = append_some(&log, ChainHead::GENESIS, 1).await.unwrap();
    let pid = rustix::process::Pid::from_raw(site.server().pid().unwrap() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let first = commit(&chain, "first", 300);
    let after_first = chain.after(&first.payload);
    let stored = log.append(first).await.unwrap();
    // There is room for one message only: the next waits while it is handed over, and is given up.
    let second = commit(&after_first, "given-up", 300);
    let phantom = after_first.after(&second.payload);
    assert!(tokio::time::timeout(Duration::from_millis(50), log.append(second)).await.is_err());
    rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
    assert_eq!(stored.await.unwrap(), 2);
    let on_the_phantom = match log.append(commit(&phantom, "third", 300)).await {
        Ok(ack) => ack.await,
        Err(error) => Err(error),
    };
    assert!(matches!(on_the_phantom, Err(AppendError::WrongLastSequence { .. })), "{on_the_phantom:?}");
    let chain = append_some(&log, after_first, 3).await.unwrap();
    assert_eq!(verify(&log, Some(5)).await.unwrap(), chain);
    site.stop().await;
}

/// Each tenth of the file flipped in turn: whatever message it hits, the damage is told and what is before it is read.
#[tokio::test]
async fn a_flipped_bit_in_a_shared_message_is_found_wherever_it_is() {
    let Some(binary) = nats::binary("a_flipped_bit_in_a_shared_message_is_found_wherever_it_is") else { return };
    let mut site = Site::start(&binary).await;
    let (chain, all) = mixed(&site.log().await).await;
    site.server.take().unwrap().stop(DEADLINE).await;
    let block = site.dir.path().join("jetstream/jetstream/EDGESTACK/streams/MM3/msgs/1.blk");
    let whole = fs::read(&block).unwrap();
    for tenth in 0..10 {
        let mut bytes = whole.clone();
        let at = whole.len() * tenth / 10 + 40;
        bytes[at] ^= 1;
        fs::write(&block, bytes).unwrap();
        site.server = Some(NatsServer::start(site.options.clone()).await.unwrap());
        let log = site.log().await;
        let found = verify(&log, Some(chain.sequence)).await;
        let Err(LogError::Damaged(damage)) = found else { panic!("byte {at}: {found:?}") };
        println!("byte {at}: {damage}");
        let mut followed = log.follow(1).await.unwrap();
        let mut seen = 0;
        let told = loop {
            if matches!(damage, Damage::CutTail { last, .. } if last == seen as u64) {
                break "the log ends here".to_owned();
            }
            match tokio::time::timeout(DEADLINE, followed.next()).await.unwrap().unwrap() {
                Ok(commit) if commit == all[seen] => seen += 1,
                Ok(commit) => break format!("{commit:?}"),
                Err(error) => break error.to_string(),
            }
        };
        println!("byte {at}: a follower got {seen} commits, then: {told}");
        if let Damage::Gap { expected, found } = damage {
            assert_eq!(expected, seen as u64 + 1, "byte {at}");
            // What comes behind the hole is still there to be saved.
            assert_eq!(log.get(found).await.unwrap().as_ref(), Some(&all[found as usize - 1]), "byte {at}");
        }
        site.server.take().unwrap().stop(DEADLINE).await;
        // The server marks what it has lost; each round begins with the whole store.
        let folder = block.parent().unwrap();
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.path() != block {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        fs::write(&block, &whole).unwrap();
    }
    site.server = Some(NatsServer::start(site.options.clone()).await.unwrap());
    let log = site.log().await;
    assert_eq!(verify(&log, Some(chain.sequence)).await.unwrap(), chain);
    site.stop().await;
}
