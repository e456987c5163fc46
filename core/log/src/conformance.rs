//! One suite for every log, simulated and real: what [`Log`] promises, one case a line in [`CASES`].
//!
//! It is part of the library so that a test anywhere (another backend, another crate's simulation) can run it:
//! `for case in CASES { (case.run)(log).await?; }`, each with a fresh, empty log.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{StreamExt, stream::BoxStream};

use crate::{
    Append, AppendError, ChainHead, Damage, Log, LogError, MAX_COMMIT_BYTES, PendingAck, Resolution, StoredCommit,
    resolve, verify,
};

/// Two handles to one log, as two processes would have them.
#[derive(Clone)]
pub struct Handles {
    /// The writer under test.
    pub log: Arc<dyn Log>,
    /// Another writer on the same log.
    pub other: Arc<dyn Log>,
}

/// One promise, and how it is tried on an empty log. An error tells what was seen instead.
pub struct Case {
    /// The promise, as a sentence.
    pub name: &'static str,
    /// Tries it.
    pub run: fn(Handles) -> BoxFuture<'static, Result<(), String>>,
}

/// Every promise.
pub const CASES: &[Case] = &[
    case("an_empty_log_has_nothing_to_read", |h| Box::pin(empty(h))),
    case("sequences_are_dense_and_the_chain_verifies", |h| Box::pin(dense(h))),
    case("a_wrong_expectation_is_refused_and_stores_nothing", |h| Box::pin(wrong_expectation(h))),
    case("pipelined_appends_keep_their_order", |h| Box::pin(pipelined(h))),
    case("after_the_first_failure_everything_in_flight_fails", |h| Box::pin(pipeline_fails(h))),
    case("a_commit_that_chains_on_another_one_is_refused_though_its_sequence_is_right", |h| Box::pin(wrong_chain(h))),
    case("what_is_no_commit_for_its_place_is_refused", |h| Box::pin(malformed(h))),
    case("read_get_and_follow_agree_byte_for_byte", |h| Box::pin(readers_agree(h))),
    case("follow_starts_in_the_middle", |h| Box::pin(follow_middle(h))),
    case("follow_sees_what_is_appended_later", |h| Box::pin(follow_later(h))),
    case("follow_waits_from_a_position_that_is_not_there_yet", |h| Box::pin(follow_next(h))),
    case("a_follower_ahead_of_the_log_is_told_of_the_cut_tail", |h| Box::pin(follow_ahead(h))),
    case("a_commit_of_exactly_the_limit_is_stored_and_one_byte_more_is_refused", |h| Box::pin(size_limit(h))),
    case("large_commits_are_read_whole_in_several_answers", |h| Box::pin(large_reads(h))),
    case("a_stored_commit_is_refused_when_it_comes_again", |h| Box::pin(same_commit_again(h))),
    case("the_outcome_is_resolved_by_what_stands_at_the_wanted_sequence", |h| Box::pin(resolved(h))),
    case("two_writers_race_and_exactly_one_wins_each_sequence", |h| Box::pin(race(h))),
];

const fn case(name: &'static str, run: fn(Handles) -> BoxFuture<'static, Result<(), String>>) -> Case {
    Case { name, run }
}

/// How long a case waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A commit that continues `chain`, with `bytes` of filling; for tests.
pub fn commit(chain: &ChainHead, id: &str, bytes: usize) -> Append {
    let head = format!(
        r#"{{"id":"{id}","sequence":{},"previous_hash":"{}","filling":""#,
        chain.sequence + 1,
        chain.hash_hex()
    );
    let filling = "x".repeat(bytes.saturating_sub(head.len() + 2));
    Append {
        expected_last_sequence: chain.sequence,
        commit_id: id.to_owned(),
        subject: format!("mm3.commit.vm.{id}"),
        payload: Bytes::from(format!(r#"{head}{filling}"}}"#)),
    }
}

/// Appends `count` commits one after the other and returns the head after them; for tests.
///
/// # Errors
/// The first append that isn't acknowledged.
pub async fn append_some(log: &dyn Log, mut chain: ChainHead, count: u64) -> Result<ChainHead, AppendError> {
    for _ in 0..count {
        let entry = commit(&chain, &format!("c{}", chain.sequence + 1), 600);
        let next = chain.after(&entry.payload);
        log.append(entry).await?.await?;
        chain = next;
    }
    Ok(chain)
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, seen: T, wanted: T) -> Result<(), String> {
    if seen == wanted { Ok(()) } else { Err(format!("{what}: {seen:?} instead of {wanted:?}")) }
}

fn told(error: impl std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The outcome of one append, whichever of its two steps tells it.
async fn appended(log: &dyn Log, entry: Append) -> Result<u64, AppendError> {
    log.append(entry).await?.await
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> Result<T, String> {
    tokio::time::timeout(PATIENCE, future).await.map_err(|_| format!("{what} didn't come in {PATIENCE:?}"))
}

type Followed = BoxStream<'static, Result<StoredCommit, LogError>>;

async fn take(followed: &mut Followed, count: usize) -> Result<Vec<StoredCommit>, String> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let next = in_time("the next commit", followed.next()).await?.ok_or("follow ended")?;
        seen.push(next.map_err(told)?);
    }
    Ok(seen)
}

async fn read_all(log: &dyn Log) -> Result<Vec<StoredCommit>, String> {
    let mut all: Vec<StoredCommit> = Vec::new();
    loop {
        let batch = log.read(all.len() as u64 + 1, 7).await.map_err(told)?;
        if batch.is_empty() {
            return Ok(all);
        }
        all.extend(batch);
    }
}

async fn empty(h: Handles) -> Result<(), String> {
    let head = h.log.head().await.map_err(told)?;
    same("last sequence", head.last_sequence, 0)?;
    same("messages", head.messages, 0)?;
    same("read", h.log.read(1, 10).await.map_err(told)?, vec![])?;
    same("get", h.log.get(1).await.map_err(told)?, None)?;
    same("verified head", verify(&*h.log, None).await.map_err(told)?, ChainHead::GENESIS)
}

async fn dense(h: Handles) -> Result<(), String> {
    let chain = append_some(&*h.log, ChainHead::GENESIS, 20).await.map_err(told)?;
    let all = read_all(&*h.other).await?;
    same("sequences", all.iter().map(|c| c.sequence).collect::<Vec<_>>(), (1..=20).collect())?;
    same("verified head", verify(&*h.other, None).await.map_err(told)?, chain)?;
    let head = h.log.head().await.map_err(told)?;
    same("head", (head.first_sequence, head.last_sequence, head.messages), (1, 20, 20))?;
    match verify(&*h.log, Some(21)).await {
        Err(LogError::Damaged(Damage::CutTail { acknowledged: 21, last: 20 })) => Ok(()),
        other => Err(format!("a missing tail came out as {other:?}")),
    }
}

async fn wrong_expectation(h: Handles) -> Result<(), String> {
    let chain = append_some(&*h.log, ChainHead::GENESIS, 3).await.map_err(told)?;
    for wrong in [0, 2, 4, 1_000_000] {
        let entry =
            commit(&ChainHead { sequence: wrong, ..if wrong == 0 { ChainHead::GENESIS } else { chain } }, "late", 600);
        match appended(&*h.log, entry).await {
            Err(AppendError::WrongLastSequence { actual: Some(3) | None }) => {}
            other => return Err(format!("an expectation of {wrong} came out as {other:?}")),
        }
    }
    same("commits", read_all(&*h.log).await?.len(), 3)?;
    append_some(&*h.log, chain, 1).await.map_err(told).map(drop)
}

async fn pipelined(h: Handles) -> Result<(), String> {
    let mut chain = ChainHead::GENESIS;
    let mut pending = Vec::new();
    for number in 1..=500 {
        let entry = commit(&chain, &format!("p{number}"), 600);
        chain = chain.after(&entry.payload);
        pending.push(h.log.append(entry).await.map_err(told)?);
    }
    for (sequence, ack) in (1..).zip(pending) {
        same("acknowledged", in_time("an ack", ack).await?.map_err(told)?, sequence)?;
    }
    same("verified head", verify(&*h.log, Some(500)).await.map_err(told)?, chain)
}

async fn pipeline_fails(h: Handles) -> Result<(), String> {
    let chain = append_some(&*h.log, ChainHead::GENESIS, 2).await.map_err(told)?;
    let mut ours = chain;
    let mut pending = Vec::new();
    for number in 0..10 {
        if number == 4 {
            // A foreign commit takes the place of our fifth one, so all from there on must fail.
            for ack in pending.drain(..) {
                let ack: PendingAck = ack;
                in_time("an ack", ack).await?.map_err(told)?;
            }
            let foreign = commit(&ours, "foreign", 600);
            h.other.append(foreign).await.map_err(told)?.await.map_err(told)?;
        }
        let entry = commit(&ours, &format!("q{number}"), 600);
        ours = ours.after(&entry.payload);
        pending.push(h.log.append(entry).await.map_err(told)?);
    }
    for ack in pending {
        match in_time("an answer", ack).await? {
            Err(AppendError::WrongLastSequence { .. }) => {}
            other => {
                return Err(format!("an append behind a failed one came out as {other:?}"));
            }
        }
    }
    same("commits", read_all(&*h.log).await?.len(), 7)
}

async fn wrong_chain(h: Handles) -> Result<(), String> {
    let chain = append_some(&*h.log, ChainHead::GENESIS, 3).await.map_err(told)?;
    for log in [&h.log, &h.other] {
        match appended(&**log, commit(&ChainHead { hash: [7; 32], ..chain }, "fork", 600)).await {
            Err(AppendError::WrongLastSequence { .. }) => {}
            other => return Err(format!("a commit of another chain came out as {other:?}")),
        }
    }
    append_some(&*h.other, chain, 1).await.map_err(told)?;
    verify(&*h.log, Some(4)).await.map_err(told).map(drop)
}

async fn malformed(h: Handles) -> Result<(), String> {
    let whole = commit(&ChainHead::GENESIS, "whole", 600);
    for (what, entry) in [
        ("no JSON", Append { payload: Bytes::from_static(b"{"), ..whole.clone() }),
        ("two lines", Append { payload: [&whole.payload[..], b"\n"].concat().into(), ..whole.clone() }),
        ("another id", Append { commit_id: "other".into(), ..whole.clone() }),
        ("another sequence", Append { expected_last_sequence: 4, ..whole.clone() }),
        ("no genesis", commit(&ChainHead { hash: [7; 32], ..ChainHead::GENESIS }, "whole", 600)),
    ] {
        match appended(&*h.log, entry).await {
            Err(AppendError::Refused(_)) => {}
            other => return Err(format!("{what} came out as {other:?}")),
        }
    }
    same("messages", h.log.head().await.map_err(told)?.messages, 0)
}

async fn readers_agree(h: Handles) -> Result<(), String> {
    append_some(&*h.log, ChainHead::GENESIS, 30).await.map_err(told)?;
    let all = read_all(&*h.log).await?;
    let mut followed = h.other.follow(1).await.map_err(told)?;
    same("followed", take(&mut followed, 30).await?, all.clone())?;
    for commit in all {
        same("got", h.log.get(commit.sequence).await.map_err(told)?, Some(commit))?;
    }
    same("beyond the end", h.log.get(31).await.map_err(told)?, None)
}

async fn follow_middle(h: Handles) -> Result<(), String> {
    append_some(&*h.log, ChainHead::GENESIS, 12).await.map_err(told)?;
    let mut followed = h.log.follow(9).await.map_err(told)?;
    let seen = take(&mut followed, 4).await?;
    same("sequences", seen.iter().map(|c| c.sequence).collect::<Vec<_>>(), vec![9, 10, 11, 12])
}

async fn follow_later(h: Handles) -> Result<(), String> {
    let mut chain = append_some(&*h.log, ChainHead::GENESIS, 2).await.map_err(told)?;
    let mut followed = h.other.follow(1).await.map_err(told)?;
    take(&mut followed, 2).await?;
    for _ in 0..20 {
        let entry = commit(&chain, &format!("l{}", chain.sequence), 600);
        chain = chain.after(&entry.payload);
        let payload = entry.payload.clone();
        h.log.append(entry).await.map_err(told)?.await.map_err(told)?;
        let seen = take(&mut followed, 1).await?;
        same("followed", (seen[0].sequence, seen[0].payload.clone()), (chain.sequence, payload))?;
    }
    Ok(())
}

async fn follow_next(h: Handles) -> Result<(), String> {
    let mut followed = h.other.follow(1).await.map_err(told)?;
    append_some(&*h.log, ChainHead::GENESIS, 3).await.map_err(told)?;
    same("followed", take(&mut followed, 3).await?.len(), 3)
}

async fn follow_ahead(h: Handles) -> Result<(), String> {
    append_some(&*h.log, ChainHead::GENESIS, 3).await.map_err(told)?;
    let mut followed = h.other.follow(9).await.map_err(told)?;
    match in_time("an error", followed.next()).await? {
        Some(Err(LogError::Damaged(Damage::CutTail { acknowledged: 8, last: 3 }))) => Ok(()),
        other => Err(format!("a position beyond the log came out as {other:?}")),
    }
}

async fn size_limit(h: Handles) -> Result<(), String> {
    let entry = commit(&ChainHead::GENESIS, "large", MAX_COMMIT_BYTES);
    same("payload", entry.payload.len(), MAX_COMMIT_BYTES)?;
    let chain = ChainHead::GENESIS.after(&entry.payload);
    h.log.append(entry).await.map_err(told)?.await.map_err(told)?;
    match h.log.append(commit(&chain, "larger", MAX_COMMIT_BYTES + 1)).await.map(drop) {
        Err(AppendError::TooLarge { bytes, limit: MAX_COMMIT_BYTES }) if bytes == MAX_COMMIT_BYTES + 1 => {}
        other => return Err(format!("a commit over the limit came out as {other:?}")),
    }
    same("verified head", verify(&*h.log, None).await.map_err(told)?, chain)
}

async fn large_reads(h: Handles) -> Result<(), String> {
    let mut chain = ChainHead::GENESIS;
    for number in 0..80 {
        let entry = commit(&chain, &format!("m{number}"), 200 * 1024);
        chain = chain.after(&entry.payload);
        h.log.append(entry).await.map_err(told)?.await.map_err(told)?;
    }
    same("verified head", verify(&*h.log, None).await.map_err(told)?, chain)?;
    let mut followed = h.log.follow(1).await.map_err(told)?;
    same("followed", take(&mut followed, 80).await?.len(), 80)
}

async fn same_commit_again(h: Handles) -> Result<(), String> {
    let entry = commit(&ChainHead::GENESIS, "once", 600);
    let chain = ChainHead::GENESIS.after(&entry.payload);
    h.log.append(entry.clone()).await.map_err(told)?.await.map_err(told)?;
    // With the same expectation the sequence is checked first; a replicated stream may know the duplicate instead, and
    // then its answer is the place where the commit is.
    match appended(&*h.log, entry).await {
        Err(AppendError::WrongLastSequence { .. }) | Ok(1) => {}
        other => return Err(format!("the same append again came out as {other:?}")),
    }
    // With a new expectation only the id tells.
    match appended(&*h.log, commit(&chain, "once", 600)).await {
        Err(AppendError::Refused(_)) => {}
        other => return Err(format!("the same id at a new place came out as {other:?}")),
    }
    same("commits", read_all(&*h.log).await?.len(), 1)
}

async fn resolved(h: Handles) -> Result<(), String> {
    let chain = append_some(&*h.log, ChainHead::GENESIS, 2).await.map_err(told)?;
    let look = async |sequence, id| resolve(&*h.log, sequence, id, PATIENCE).await.map_err(told);
    same("nothing there yet", look(3, "ours").await?, Resolution::Absent)?;
    h.log.append(commit(&chain, "ours", 600)).await.map_err(told)?.await.map_err(told)?;
    same("our own", look(3, "ours").await?, Resolution::Ours)?;
    same("another's", look(3, "theirs").await?, Resolution::Foreign)
}

async fn race(h: Handles) -> Result<(), String> {
    const EACH: usize = 40;
    let write = async |log: Arc<dyn Log>, name: &str| -> Result<usize, String> {
        let (mut chain, mut won, mut lost) = (ChainHead::GENESIS, 0, 0);
        while won < EACH {
            let entry = commit(&chain, &format!("{name}{won}-{lost}"), 600);
            let next = chain.after(&entry.payload);
            match appended(&*log, entry).await {
                Ok(sequence) => {
                    same("sequence won", sequence, next.sequence)?;
                    chain = next;
                    won += 1;
                }
                Err(AppendError::WrongLastSequence { .. }) => {
                    lost += 1;
                    for commit in log.read(chain.sequence + 1, 100).await.map_err(told)? {
                        chain.check_next(&commit).map_err(told)?;
                    }
                }
                Err(error) => return Err(told(error)),
            }
        }
        Ok(won)
    };
    let both = futures::future::join(write(h.log.clone(), "a"), write(h.other.clone(), "b"));
    let (a, b) = in_time("the end of the race", both).await?;
    let won = a? + b?;
    same("commits", verify(&*h.log, None).await.map_err(told)?.sequence, won as u64)
}
