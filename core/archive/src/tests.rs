use std::{fs, path::Path};

use bytes::Bytes;
use edgestack_log::{ChainHead, Damage, Log as _, StoredCommit, memory::MemoryLog};

use super::*;

/// Commits that chain, as long as ours are.
pub(crate) fn chain(from: ChainHead, count: u64) -> Vec<StoredCommit> {
    let mut head = from;
    (0..count)
        .map(|_| {
            let sequence = head.sequence + 1;
            let payload = format!(
                r#"{{"version":1,"id":"c{sequence}","sequence":{sequence},"previous_hash":"{}","kind":"vm","resource_id":"r{}","filler":"{}"}}"#,
                head.hash_hex(),
                sequence % 7,
                "x".repeat(500)
            );
            let payload = Bytes::from(payload);
            head = head.after(&payload);
            StoredCommit { sequence, payload }
        })
        .collect()
}

pub(crate) fn small() -> Options {
    Options { segment_bytes: 64 << 10, ..Options::default() }
}

/// An archive of so many commits in several closed segments and an open one.
async fn filled(folder: &Path, count: u64) -> (Archive, Vec<StoredCommit>) {
    let commits = chain(ChainHead::GENESIS, count);
    let archive = Archive::open_local(folder, small()).await.unwrap();
    for batch in commits.chunks(30) {
        archive.append(batch).await.unwrap();
    }
    (archive, commits)
}

fn segment_files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder.join("segments")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn open_file(folder: &Path) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(folder.join("open")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[tokio::test]
async fn another_process_sees_how_far_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(crate::archived_through(folder.path()).unwrap(), 0);
    let (archive, _) = filled(folder.path(), 500).await;
    assert_eq!(crate::archived_through(folder.path()).unwrap(), 500, "while it is open, several segments on");
    drop(archive);
    // A write that was torn is not archived.
    let path = open_file(folder.path());
    let torn = fs::metadata(&path).unwrap().len() - 1;
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(torn).unwrap();
    assert!(crate::archived_through(folder.path()).unwrap() < 500);
}

async fn read_all(archive: &Archive) -> Vec<StoredCommit> {
    let mut all: Vec<StoredCommit> = vec![];
    loop {
        let batch = archive.read(all.len() as u64 + 1, 70).await.unwrap();
        if batch.is_empty() {
            return all;
        }
        all.extend(batch);
    }
}

#[tokio::test]
async fn what_was_appended_is_read_back_from_closed_and_open_segments_and_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, commits) = filled(folder.path(), 500).await;
    assert!(segment_files(folder.path()).len() >= 3, "several segments were closed");
    assert!(read_all(&archive).await == commits);
    assert_eq!(archive.verify(|_| ()).await.unwrap(), archive.head().await);
    for sequence in [1, 2, 119, 120, 121, 350, 499, 500] {
        let one = archive.read(sequence, 1).await.unwrap();
        assert!(one[..] == commits[usize::try_from(sequence).unwrap() - 1..][..1], "{sequence}");
    }
    assert!(archive.read(501, 10).await.unwrap().is_empty());
    drop(archive);
    let again = Archive::open_local(folder.path(), small()).await.unwrap();
    assert!(read_all(&again).await == commits);
    let more = chain(again.head().await, 200);
    again.append(&more).await.unwrap();
    assert_eq!(again.verify(|_| ()).await.unwrap().sequence, 700);
}

#[tokio::test]
async fn what_is_there_already_is_passed_over_and_what_does_not_chain_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, commits) = filled(folder.path(), 100).await;
    archive.append(&commits[50..]).await.unwrap();
    assert_eq!(archive.head().await.sequence, 100);
    let foreign = chain(ChainHead { sequence: 100, hash: [7; 32] }, 1);
    assert!(matches!(
        archive.append(&foreign).await,
        Err(ArchiveError::Damaged(Damage::BrokenHash { sequence: 101, .. }))
    ));
    let later = chain(archive.head().await, 3);
    assert!(matches!(archive.append(&later[1..]).await, Err(ArchiveError::Damaged(Damage::Gap { .. }))));
    let mut two_lines = chain(archive.head().await, 1);
    two_lines[0].payload = Bytes::from(String::from_utf8(two_lines[0].payload.to_vec()).unwrap().replace(',', ",\n"));
    assert!(archive.append(&two_lines).await.is_err());
    let mut no_kind = chain(archive.head().await, 1);
    no_kind[0].payload = Bytes::from(String::from_utf8(no_kind[0].payload.to_vec()).unwrap().replace("kind", "kinds"));
    assert!(archive.append(&no_kind).await.is_err());
    // Nothing of what was refused is there.
    archive.append(&later).await.unwrap();
    assert_eq!(archive.verify(|_| ()).await.unwrap().sequence, 103);
}

#[tokio::test]
async fn a_second_process_is_turned_away() {
    let folder = tempfile::tempdir().unwrap();
    let (_first, _) = filled(folder.path(), 1).await;
    assert!(matches!(Archive::open_local(folder.path(), small()).await, Err(ArchiveError::Held { .. })));
}

#[tokio::test]
async fn a_write_torn_anywhere_is_dropped_and_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, commits) = filled(folder.path(), 10).await;
    let path = open_file(folder.path());
    let before = fs::read(&path).unwrap().len();
    let more = chain(archive.head().await, 3);
    archive.append(&more).await.unwrap();
    drop(archive);
    let whole = fs::read(&path).unwrap();
    for cut in [before, before + 1, before + 300, before + more[0].payload.len() + 1, whole.len() - 90, whole.len() - 1]
    {
        fs::write(&path, &whole[..cut]).unwrap();
        let archive = Archive::open_local(folder.path(), small()).await.unwrap();
        assert_eq!(archive.head().await.sequence, 10, "cut at {cut}");
        archive.append(&more).await.unwrap();
        assert!(read_all(&archive).await == [&commits[..], &more].concat());
        drop(archive);
        assert!(fs::read(&path).unwrap() == whole);
        assert!(!path.with_extension("ndjson.damaged").exists(), "a torn write is no damage");
    }
}

#[tokio::test]
async fn a_crash_between_packing_and_letting_the_open_file_go_leaves_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, commits) = filled(folder.path(), 40).await;
    let path = open_file(folder.path());
    let lines = fs::read(&path).unwrap();
    archive.close_open_segment().await.unwrap();
    drop(archive);
    // Before the old file went, with and without the next one.
    for with_next in [true, false] {
        if !with_next {
            fs::remove_file(open_file(folder.path())).unwrap();
        }
        fs::write(&path, &lines).unwrap();
        let again = Archive::open_local(folder.path(), small()).await.unwrap();
        assert!(read_all(&again).await == commits);
        assert!(!path.exists(), "what is packed goes");
    }
    let again = Archive::open_local(folder.path(), small()).await.unwrap();
    // Before the object was whole: its draft is no segment.
    let more = chain(again.head().await, 40);
    again.append(&more).await.unwrap();
    drop(again);
    fs::write(folder.path().join("segments/00000000000000000041-00000000000000000080.zst#1"), b"half").unwrap();
    let again = Archive::open_local(folder.path(), small()).await.unwrap();
    assert_eq!(again.head().await.sequence, 80);
    again.close_open_segment().await.unwrap();
    assert_eq!(again.verify(|_| ()).await.unwrap().sequence, 80);
}

#[tokio::test]
async fn every_kind_of_damage_is_found_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, _) = filled(folder.path(), 500).await;
    let files = segment_files(folder.path());
    let second = fs::read(&files[1]).unwrap();
    let flip = |at: usize| {
        let mut bytes = second.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let frames_end = second.len() - second.len() / 8;
    for (what, bytes) in [
        ("a flipped bit in a frame", flip(second.len() / 3)),
        ("a flipped bit in the index", flip(second.len() - 40)),
        ("a flipped bit in the end", flip(second.len() - 2)),
        ("cut in half", second[..second.len() / 2].to_vec()),
        ("its tail missing", second[..frames_end].to_vec()),
        ("emptied", vec![]),
        ("another segment in its place", fs::read(&files[0]).unwrap()),
    ] {
        fs::write(&files[1], &bytes).unwrap();
        let found = archive.verify(|_| ()).await;
        assert!(found.is_err(), "{what} was not found");
        let text = format!("{:?}", found.unwrap_err());
        assert!(text.contains("000000000") || text.contains("sequence"), "{what}: {text}");
    }
    fs::write(&files[1], &second).unwrap();
    archive.verify(|_| ()).await.unwrap();
    // A flipped bit in a line of the open segment, found while open and when opening.
    let path = open_file(folder.path());
    let whole = fs::read(&path).unwrap();
    for at in [0, 700, 900, 2000] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        assert!(archive.verify(|_| ()).await.is_err(), "byte {at}");
    }
    fs::write(&path, &whole).unwrap();
    // A segment gone from the middle.
    fs::remove_file(&files[1]).unwrap();
    assert!(archive.verify(|_| ()).await.is_err());
}

/// A log that holds the same commits.
async fn a_log(commits: &[StoredCommit]) -> MemoryLog {
    let log = MemoryLog::new();
    for commit in commits {
        log.append(crate::line::to_append(commit.clone()).unwrap()).await.unwrap().await.unwrap();
    }
    log
}

#[tokio::test]
async fn damaged_and_lost_segments_are_made_anew_from_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, commits) = filled(folder.path(), 500).await;
    let log = a_log(&commits).await;
    assert_eq!(archive.mend(&log).await.unwrap(), []);
    let files = segment_files(folder.path());
    for file in files {
        let whole = fs::read(&file).unwrap();
        let mut bytes = whole.clone();
        bytes[whole.len() / 2] ^= 1;
        for damage in [None, Some(vec![]), Some(whole[..whole.len() / 2].to_vec()), Some(bytes)] {
            match damage {
                None => fs::remove_file(&file).unwrap(),
                Some(damage) => fs::write(&file, damage).unwrap(),
            }
            assert_eq!(archive.mend(&log).await.unwrap().len(), 1);
            assert!(fs::read(&file).unwrap() == whole, "made anew, byte for byte");
            archive.verify(|_| ()).await.unwrap();
        }
    }
    // The open one, cut at the damage: the keeper adds the rest.
    let path = open_file(folder.path());
    let whole = fs::read(&path).unwrap();
    let mut bytes = whole.clone();
    bytes[whole.len() / 2] ^= 1;
    fs::write(&path, bytes).unwrap();
    assert_eq!(archive.mend(&log).await.unwrap().len(), 1);
    let have = archive.head().await.sequence;
    assert!(have < 500);
    archive.append(&log.read(have + 1, 1000).await.unwrap()).await.unwrap();
    assert!(read_all(&archive).await == commits);
}

#[tokio::test]
async fn damage_while_it_was_closed_is_found_at_opening_and_comes_again_from_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, commits) = filled(folder.path(), 500).await;
    let log = a_log(&commits).await;
    drop(archive);
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let at = bytes.len() - 130;
        bytes[at] ^= 1;
        fs::write(path, bytes).unwrap();
    };
    for damage in 0..5 {
        let segments = segment_files(folder.path());
        let files: Vec<_> = segments.iter().filter(|path| path.extension().is_some_and(|end| end == "zst")).collect();
        let mut open = fs::read_dir(folder.path().join("open")).unwrap().map(|entry| entry.unwrap().path());
        let open = open.find(|path| path.extension().is_some_and(|end| end == "ndjson")).unwrap();
        match damage {
            0 => flip(&open),
            1 => fs::write(&open, b"nothing of ours\n").unwrap(),
            2 => flip(files.last().unwrap()),
            3 => fs::remove_file(files.last().unwrap()).unwrap(),
            _ => fs::remove_file(files[1]).unwrap(),
        }
        let archive = Archive::open_local(folder.path(), small()).await.unwrap();
        archive.mend(&log).await.unwrap();
        let have = archive.head().await.sequence;
        archive.append(&log.read(have + 1, 1000).await.unwrap()).await.unwrap();
        assert!(read_all(&archive).await == commits, "damage {damage}");
        archive.verify(|_| ()).await.unwrap();
    }
}

#[tokio::test]
async fn a_segment_is_not_made_anew_from_a_log_that_is_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, commits) = filled(folder.path(), 500).await;
    let mut other = chain(ChainHead::GENESIS, 1);
    let text = String::from_utf8(other[0].payload.to_vec()).unwrap().replace("xxx", "yyy");
    other[0].payload = Bytes::from(text);
    let head = ChainHead::GENESIS.after(&other[0].payload);
    other.extend(chain(head, 499));
    assert!(other != commits);
    let file = &segment_files(folder.path())[1];
    fs::remove_file(file).unwrap();
    assert!(archive.mend(&a_log(&other).await).await.is_err());
    assert!(archive.mend(&a_log(&commits).await).await.is_ok());
}

#[tokio::test]
async fn log_and_archive_are_compared_and_an_emptied_log_is_filled_again() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, commits) = filled(folder.path(), 500).await;
    let standing = async |log: &MemoryLog| compare(&archive, log).await.unwrap();
    assert_eq!(standing(&a_log(&commits).await).await, Standing::Whole);
    let mut longer = commits.clone();
    longer.extend(chain(archive.head().await, 3));
    assert_eq!(standing(&a_log(&longer).await).await, Standing::Whole);
    assert_eq!(standing(&a_log(&commits[..300]).await).await, Standing::Behind { last: 300 });
    let text = String::from_utf8(commits[0].payload.to_vec()).unwrap().replace("xxx", "yyy");
    let mut other = vec![StoredCommit { payload: Bytes::from(text), ..commits[0].clone() }];
    other.extend(chain(ChainHead::GENESIS.after(&other[0].payload), 600));
    assert_eq!(standing(&a_log(&other).await).await, Standing::Foreign { sequence: 500 });
    for have in [0, 300] {
        let log = a_log(&commits[..have]).await;
        let head = refill(&archive, &log, |_| ()).await.unwrap();
        assert_eq!(head, archive.head().await);
        assert!(log.read(1, 1000).await.unwrap() == commits);
        assert_eq!(standing(&log).await, Standing::Whole);
    }
}

#[tokio::test]
async fn a_closed_segment_is_plain_zstandard_and_ndjson() {
    let folder = tempfile::tempdir().unwrap();
    let (_archive, commits) = filled(folder.path(), 300).await;
    // A decoder that knows nothing of our index passes over it.
    let text = zstd::stream::decode_all(&fs::read(&segment_files(folder.path())[0]).unwrap()[..]).unwrap();
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    assert!(lines.len() > 50);
    assert!(lines.iter().zip(&commits).all(|(line, commit)| **line == commit.payload[..]));
}

#[tokio::test]
async fn a_lost_segment_is_noticed_after_reopening_and_made_anew_also_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, commits) = filled(folder.path(), 500).await;
    let log = MemoryLog::new();
    for commit in &commits {
        let entry = line::to_append(commit.clone()).unwrap();
        log.append_foreign(entry).unwrap();
    }
    drop(archive);
    let count = segment_files(folder.path()).len();
    for lost in [0, count - 1, 1] {
        fs::remove_file(&segment_files(folder.path())[lost]).unwrap();
        let archive = Archive::open_local(folder.path(), small()).await.unwrap();
        if lost < count - 1 {
            archive.verify(|_| ()).await.unwrap_err();
        }
        archive.mend(&log).await.unwrap();
        // The end comes again as whatever the archive lacks does.
        archive.append(&commits).await.unwrap();
        assert_eq!(archive.verify(|_| ()).await.unwrap().sequence, 500);
        assert!(read_all(&archive).await == commits, "segment {lost}");
    }
}

#[tokio::test]
async fn a_changed_hash_in_the_last_segments_index_is_noticed_at_the_opening() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, commits) = filled(folder.path(), 500).await;
    drop(archive);
    let path = segment_files(folder.path()).pop().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let name = br#""hash":""#;
    let at = bytes.windows(name.len()).rposition(|window| window == name).unwrap() + name.len();
    bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
    fs::write(&path, bytes).unwrap();
    let archive = Archive::open_local(folder.path(), small()).await.unwrap();
    // The segment is put aside with what hung on it, and comes again.
    assert!(archive.head().await.sequence < 500);
    archive.append(&commits).await.unwrap();
    assert_eq!(archive.verify(|_| ()).await.unwrap().sequence, 500);
    assert!(read_all(&archive).await == commits);
}

#[tokio::test]
async fn what_others_do_to_its_files_is_seen_and_mended() {
    let folder = tempfile::tempdir().unwrap();
    let (archive, commits) = filled(folder.path(), 500).await;
    let log = MemoryLog::new();
    for commit in &commits {
        log.append(line::to_append(commit.clone()).unwrap()).await.unwrap().await.unwrap();
    }
    let segment = segment_files(folder.path()).remove(1);
    let flip = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        fs::write(path, bytes).unwrap();
    };
    for round in 0..6 {
        let before = archive.traces().unwrap();
        assert_eq!(archive.touched(before.as_ref()).await.unwrap(), None, "round {round}");
        // What we do ourselves is no news.
        archive.append(&chain(archive.head().await, 1)).await.unwrap();
        let appended = archive.read(archive.head().await.sequence, 1).await.unwrap().remove(0);
        log.append(line::to_append(appended).unwrap()).await.unwrap().await.unwrap();
        assert_eq!(archive.touched(before.as_ref()).await.unwrap(), None, "round {round}");
        match round {
            0 => flip(&segment),
            1 => fs::remove_file(&segment).unwrap(),
            2 => flip(&open_file(folder.path())),
            3 => fs::remove_file(open_file(folder.path())).unwrap(),
            4 => fs::write(open_file(folder.path()), b"").unwrap(),
            _ => fs::remove_dir_all(folder.path()).unwrap(),
        }
        let touched = archive.touched(before.as_ref()).await.unwrap();
        assert!(touched.is_some(), "round {round}");
        archive.mend(&log).await.unwrap();
        if round == 2 || round == 4 {
            // The end of an open segment comes again as new commits do.
            let from = archive.head().await.sequence + 1;
            archive.append(&log.read(from, 1000).await.unwrap()).await.unwrap();
        }
        assert_eq!(archive.verify(|_| ()).await.unwrap().sequence, 501 + round, "round {round}");
        for path in fs::read_dir(folder.path().join("open")).unwrap().map(|entry| entry.unwrap().path()) {
            if path.extension().is_some_and(|end| end == "damaged") {
                fs::remove_file(path).unwrap();
            }
        }
    }
    assert_eq!(read_all(&archive).await.len(), 506);
}
