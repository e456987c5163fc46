//! A backup gives back what it was made of, and whatever is done to it is found.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

use std::sync::OnceLock;

use chrono::{DateTime, Utc};
use edgestack_backup::{BackupError, FORMAT, Manifest, Reader, SigningKey, Verified, Writer};
use edgestack_model::{
    Actor, Command, Commit, Decision, Given, Labels, World, decide,
    flavor::{FlavorCommand, Shape},
};
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

const COMMITS: u64 = 60;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_790_000_000, 0).unwrap()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// A log of flavors.
fn a_log(site: &str, commits: u64) -> Vec<Vec<u8>> {
    let (mut world, mut head, mut log) = (World::default(), [0_u8; 32], Vec::new());
    for number in 0..commits {
        let shape =
            Shape { vcpus: 1, memory_mib: 512, disk_gib: 1, dedicated_cpus: false, huge_pages: None, numa_nodes: None };
        let command = Command::Flavor(FlavorCommand::Create {
            name: format!("f{number}").parse().unwrap(),
            description: String::new(),
            labels: Labels::default(),
            shape,
        });
        let id = |part: u64| Uuid::from_u128(u128::from(number * 8 + part + 1));
        let given = Given {
            commit_id: id(0),
            time: now(),
            new_ids: [id(1), id(2)],
            actor: Actor { name: "admin".into(), credential: "token:0".into(), from: "here".into() },
            correlation_id: id(3),
            idempotency: None,
            precondition: None,
            reason: None,
            fence: None,
        };
        let Decision::Commit { primary, events } = decide(&world, &given, &command).unwrap() else { panic!("nothing") };
        let commit = Commit {
            id: given.commit_id,
            site: site.into(),
            sequence: world.sequence.next(),
            time: given.time,
            actor: given.actor,
            command: command.name().into(),
            correlation_id: given.correlation_id,
            causation_id: None,
            traceparent: None,
            idempotency: None,
            reason: None,
            previous_hash: hex::encode(head),
            primary,
            events,
        };
        world.evolve(&commit).unwrap();
        let payload = commit.encode().unwrap();
        head = Sha256::digest(&payload).into();
        log.push(payload);
    }
    log
}

fn manifest(log: &[Vec<u8>], key: &SigningKey) -> Manifest {
    let head_hash = log.last().map_or([0; 32], |last| Sha256::digest(last).into());
    Manifest {
        edgestack_backup: FORMAT,
        site: "test".into(),
        last: log.len() as u64,
        head_hash: hex::encode(head_hash),
        time: Some(now()),
        made_at: now(),
        version: "0.0.0".into(),
        public_key: key.public(),
    }
}

fn packed(manifest: &Manifest, log: &[Vec<u8>], key: SigningKey) -> Vec<u8> {
    let mut writer = Writer::begin(manifest, key).unwrap();
    let mut file = Vec::new();
    for payload in log {
        writer.commit(payload).unwrap();
        file.extend(writer.take());
    }
    file.extend(writer.finish().unwrap());
    file
}

fn whole() -> &'static (Vec<Vec<u8>>, Vec<u8>) {
    static WHOLE: OnceLock<(Vec<Vec<u8>>, Vec<u8>)> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let log = a_log("test", COMMITS);
        let file = packed(&manifest(&log, &key(1)), &log, key(1));
        (log, file)
    })
}

fn verify(file: &[u8]) -> Result<Verified, BackupError> {
    Reader::open(file, None)?.verify()
}

#[test]
fn a_backup_gives_back_each_commit_byte_for_byte() {
    let (log, file) = whole();
    let mut reader = Reader::open(&file[..], Some(key(1).public())).unwrap();
    let mut read = Vec::new();
    while let Some((sequence, payload)) = reader.next_commit().unwrap() {
        read.push(payload);
        assert_eq!(sequence, read.len() as u64);
    }
    assert!(&read == log);
    assert_eq!(reader.verify().unwrap().commits, COMMITS);
    assert!(file.len() * 4 < log.iter().map(Vec::len).sum(), "it is packed: {} bytes", file.len());
    let empty = packed(&manifest(&[], &key(1)), &[], key(1));
    assert_eq!(verify(&empty).unwrap().commits, 0);
}

#[test]
fn a_forged_backup_is_found_with_its_first_wrong_place() {
    let (log, file) = whole();
    let of = |log: &[Vec<u8>], manifest: Manifest| verify(&packed(&manifest, log, key(1)));
    // Each of these is packed and signed in order; what is wrong is what it holds.
    let mut removed = log.clone();
    removed.remove(20);
    assert!(matches!(of(&removed, manifest(&removed, &key(1))), Err(BackupError::Gap { expected: 21, .. })));
    let mut swapped = log.clone();
    swapped.swap(30, 31);
    assert!(matches!(of(&swapped, manifest(&swapped, &key(1))), Err(BackupError::Gap { expected: 31, .. })));
    let mut changed = log.clone();
    changed[10] = String::from_utf8(changed[10].clone()).unwrap().replace("\"f10\"", "\"x10\"").into_bytes();
    assert!(matches!(of(&changed, manifest(&changed, &key(1))), Err(BackupError::Unchained { sequence: 12 })));
    let mut garbled = log.clone();
    garbled[10] = b"{}".to_vec();
    assert!(matches!(of(&garbled, manifest(log, &key(1))), Err(BackupError::Undecodable { sequence: 11, .. })));
    let mut spliced = log[..40].to_vec();
    spliced.extend_from_slice(&a_log("other", COMMITS)[40..]);
    assert!(matches!(of(&spliced, manifest(&spliced, &key(1))), Err(BackupError::Unchained { sequence: 41 })));
    assert!(matches!(of(&log[..40], manifest(log, &key(1))), Err(BackupError::OtherHead { last: 40 })));
    // By another key, which only who asks for the right one can know; or by none that fits.
    let other = packed(&manifest(log, &key(2)), log, key(2));
    assert!(verify(&other).is_ok());
    let asked = Reader::open(&other[..], Some(key(1).public()));
    assert!(matches!(asked.map(drop), Err(BackupError::OtherKey { found }) if found == key(2).public()));
    assert!(matches!(verify(&packed(&manifest(log, &key(1)), log, key(2))), Err(BackupError::Signature)));
    let later = Manifest { edgestack_backup: FORMAT + 1, ..manifest(log, &key(1)) };
    assert!(matches!(of(log, later), Err(BackupError::OtherForm(_))));
    assert!(matches!(verify(&[&file[..], b"more"].concat()), Err(BackupError::Trailing)));
    assert!(matches!(verify(&[&file[..], &file[..]].concat()), Err(BackupError::Trailing)));
    for no_backup in [&b""[..], b"hello", &zstd::encode_all(&b"{}\n"[..], 1).unwrap()] {
        assert!(verify(no_backup).is_err());
    }
}

/// The checksum and the signature guard what the chain doesn't: the manifest.
#[test]
fn a_changed_manifest_is_found() {
    let (_, file) = whole();
    let text = String::from_utf8(zstd::decode_all(&file[..]).unwrap()).unwrap();
    for (from, to) in [("\"site\":\"test\"", "\"site\":\"best\""), ("\"version\":\"0.0.0\"", "\"version\":\"9.0.0\"")] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        let packed = zstd::encode_all(changed.as_bytes(), 1).unwrap();
        assert!(matches!(verify(&packed), Err(BackupError::Checksum)), "{from}");
    }
}

proptest! {
    #[test]
    fn a_flipped_bit_is_found_wherever_it_is(at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let (log, file) = whole();
        let mut damaged = file.clone();
        damaged[at.index(file.len())] ^= 1_u8 << bit;
        // A bit that zstd leaves unused changes nothing of what is in it.
        if let Ok(mut reader) = Reader::open(&damaged[..], None) {
            let mut read = Vec::new();
            let broken = loop {
                match reader.next_commit() {
                    Ok(Some((_, payload))) => read.push(payload),
                    Ok(None) => break reader.verify().is_err(),
                    Err(_) => break true,
                }
            };
            prop_assert!(broken || &read == log);
        }
    }

    #[test]
    fn a_cut_is_found_wherever_it_is(at in any::<prop::sample::Index>()) {
        let (_, file) = whole();
        prop_assert!(verify(&file[..at.index(file.len())]).is_err());
    }
}
