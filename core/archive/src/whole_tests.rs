//! What has left the live log is reached as before, and nothing else is believed.

use std::sync::Arc;

use edgestack_log::{ChainHead, Damage, Log, LogError, memory::MemoryLog, verify, verify_from};
use futures::StreamExt as _;

use crate::{
    Archive, ArchiveError, Options, Standing, WholeLog, compare, line,
    tests::{chain, small},
};

const COMMITS: u64 = 300;

/// An archive of all commits, and a live log that begins after `left`.
async fn trimmed(folder: &std::path::Path, left: u64) -> (Arc<Archive>, Vec<edgestack_log::StoredCommit>, MemoryLog) {
    let commits = chain(ChainHead::GENESIS, COMMITS);
    let archive = Archive::open_local(folder, small()).await.unwrap();
    for batch in commits.chunks(30) {
        archive.append(batch).await.unwrap();
    }
    let log = MemoryLog::going_on_from(head_at(&commits, left));
    for commit in &commits[usize::try_from(left).unwrap()..] {
        log.append(line::to_append(commit.clone()).unwrap()).await.unwrap().await.unwrap();
    }
    (Arc::new(archive), commits, log)
}

fn head_at(commits: &[edgestack_log::StoredCommit], sequence: u64) -> ChainHead {
    let commit = usize::try_from(sequence).unwrap().checked_sub(1).map(|at| &commits[at]);
    commit
        .map_or(ChainHead::GENESIS, |commit| ChainHead { sequence, hash: edgestack_log::chain::hash(&commit.payload) })
}

fn record(through: ChainHead) -> Vec<u8> {
    format!(r#"{{"sequence":{},"hash":"{}","signature":"of others"}}"#, through.sequence, through.hash_hex()).into()
}

async fn release(archive: &Archive, through: ChainHead) {
    archive.prove(through, |_| ()).await.unwrap();
    archive.release(through, record(through)).await.unwrap();
}

#[tokio::test]
async fn reading_following_and_checking_reach_through() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, commits, live) = trimmed(folder.path(), 150).await;
    release(&archive, head_at(&commits, 150)).await;
    let whole = WholeLog::new(Arc::new(live), archive.clone());
    let mut read = vec![];
    while read.len() < commits.len() {
        read.extend(whole.read(read.len() as u64 + 1, 70).await.unwrap());
    }
    assert!(read == commits);
    for sequence in [1, 149, 150, 151, 300] {
        let found = whole.get(sequence).await.unwrap();
        assert!(found.as_ref() == commits.get(usize::try_from(sequence).unwrap() - 1), "{sequence}");
    }
    assert_eq!(whole.get(301).await.unwrap(), None);
    for from in [1, 100, 150, 151, 200] {
        let followed = whole.follow(from).await.unwrap().take(usize::try_from(301 - from).unwrap());
        let followed: Vec<_> = followed.map(Result::unwrap).collect().await;
        assert!(followed == commits[usize::try_from(from).unwrap() - 1..], "from {from}");
    }
    let head = whole.head().await.unwrap();
    assert_eq!((head.first_sequence, head.last_sequence, head.messages), (1, 300, 300));
    assert_eq!(whole.live_head().await.unwrap().first_sequence, 151);
    assert_eq!(verify(&whole, None).await.unwrap(), head_at(&commits, 300));
    assert_eq!(verify_from(&whole, whole.released(), None).await.unwrap(), head_at(&commits, 300));
    assert_eq!(compare(&archive, &whole).await.unwrap(), Standing::Whole);
}

#[tokio::test]
async fn a_live_log_may_begin_earlier_than_recorded_but_never_later() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, commits, live) = trimmed(folder.path(), 150).await;
    let whole = WholeLog::new(Arc::new(live), archive.clone());
    // Nothing is recorded, or less than has left: the live log has lost its beginning.
    let missing = |found: Result<_, LogError>| matches!(found, Err(LogError::Damaged(Damage::Missing { .. })));
    assert!(missing(verify(&whole, None).await));
    release(&archive, head_at(&commits, 149)).await;
    assert!(missing(verify(&whole, None).await));
    assert!(matches!(compare(&archive, &whole).await.unwrap(), Standing::Damaged(_)));
    for through in [150, 151, 299] {
        release(&archive, head_at(&commits, through)).await;
        assert_eq!(verify(&whole, None).await.unwrap(), head_at(&commits, 300), "{through}");
    }
    archive.distrust_release();
    assert!(missing(verify(&whole, None).await));
}

#[tokio::test]
async fn only_what_the_archive_has_whole_may_leave() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, commits, _) = trimmed(folder.path(), 150).await;
    let other = ChainHead { hash: [7; 32], ..head_at(&commits, 150) };
    assert!(matches!(archive.prove(other, |_| ()).await, Err(ArchiveError::OtherCommit { sequence: 150 })));
    let beyond = ChainHead { sequence: 301, hash: [7; 32] };
    assert!(archive.prove(beyond, |_| ()).await.is_err());
    // A record of another commit than is meant.
    let through = head_at(&commits, 150);
    assert!(archive.release(through, record(head_at(&commits, 149))).await.is_err());
    assert_eq!(archive.released(), ChainHead::GENESIS);
    release(&archive, through).await;
    drop(archive);
    let again = Archive::open_local(folder.path(), small()).await.unwrap();
    assert_eq!(again.released(), through, "it is remembered");
    drop(again);

    let mut files: Vec<_> =
        std::fs::read_dir(folder.path().join("segments")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let first = std::fs::read(&files[0]).unwrap();
    let mut changed = first.clone();
    changed[first.len() / 3] ^= 1;
    std::fs::write(&files[0], &changed).unwrap();
    let archive = Archive::open_local(folder.path(), small()).await.unwrap();
    assert!(archive.prove(head_at(&commits, 200), |_| ()).await.is_err(), "nothing leaves for a damaged archive");
}

#[tokio::test]
async fn what_only_the_archive_has_is_not_put_aside_when_it_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, commits, live) = trimmed(folder.path(), 299).await;
    release(&archive, head_at(&commits, 299)).await;
    let whole = WholeLog::new(Arc::new(live), archive.clone());
    let mut files: Vec<_> =
        std::fs::read_dir(folder.path().join("segments")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in [&files[0], &files[files.len() - 1]] {
        let good = std::fs::read(file).unwrap();
        std::fs::write(file, &good[..good.len() / 2]).unwrap();
        assert!(archive.mend(&whole).await.is_err(), "nothing can mend it");
        assert!(file.exists(), "it stays where it was");
        std::fs::write(file, &good).unwrap();
        assert_eq!(archive.mend(&whole).await.unwrap(), vec![], "it is back");
    }
    let last = &files[files.len() - 1];
    let good = std::fs::read(last).unwrap();
    std::fs::write(last, b"").unwrap();
    drop((whole, archive));
    let refused = Archive::open_local(folder.path(), Options::default()).await.err().unwrap().to_string();
    assert!(refused.contains("bring the object back"), "{refused}");
    std::fs::write(last, &good).unwrap();
    Archive::open_local(folder.path(), Options::default()).await.unwrap();
}

#[tokio::test]
async fn appends_are_held_back_until_they_are_let_through_again() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, commits, live) = trimmed(folder.path(), 150).await;
    release(&archive, head_at(&commits, 150)).await;
    let whole = WholeLog::new(Arc::new(live), archive);
    let next = chain(head_at(&commits, 300), 2);
    let pending = whole.append(line::to_append(next[0].clone()).unwrap()).await.unwrap();
    let mut holding = std::pin::pin!(whole.hold_appends());
    assert!(futures::poll!(holding.as_mut()).is_pending(), "an append is on its way");
    assert_eq!(pending.await.unwrap(), 301);
    let held = holding.await;
    let mut later = std::pin::pin!(whole.append(line::to_append(next[1].clone()).unwrap()));
    assert!(futures::poll!(later.as_mut()).is_pending(), "none comes through");
    assert_eq!(whole.head().await.unwrap().last_sequence, 301);
    drop(held);
    assert_eq!(later.await.unwrap().await.unwrap(), 302);
}
