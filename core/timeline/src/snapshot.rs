//! A world on the disk: a file that `zstdcat` and `jq` read.
//!
//! Lines of JSON, packed with zstd: a [`Header`]; each resource, then each remembered idempotency key; and a [`Seal`] over
//! the bytes before it. A snapshot is a shortcut and no truth: one that is damaged, of another program version or of
//! another log is passed over, and the fold begins further back.

use std::io::{Read, Write};

use chrono::{DateTime, Utc};
use edgestack_log::ChainHead;
use edgestack_model::{
    Sequence, World,
    idempotency::{IdempotencyKeys, Remembered},
    world::Resource,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// How a world is written; raised whenever the lines change their form.
const FORMAT: u32 = 2;
/// zstd's level: the fastest that packs well.
const LEVEL: i32 = 1;
/// The longest snapshot that is read, bytes unpacked.
const UNPACKED_MAX: u64 = 4 << 30;

/// Where a snapshot stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Header {
    format: u32,
    /// The version of EdgeStack that wrote it.
    version: String,
    /// The model that wrote it ([`edgestack_model::SOURCES`]): a world's lines are its own types.
    model: String,
    /// The last commit in it.
    sequence: u64,
    /// That commit's hash, 64 hex digits.
    hash: String,
    /// That commit's time.
    time: Option<DateTime<Utc>>,
}

#[derive(Serialize, Deserialize)]
struct Key {
    key: String,
    first: Remembered,
}

/// What ends a snapshot.
#[derive(Serialize, Deserialize)]
struct Seal {
    /// Lines between the header and the seal.
    lines: u64,
    /// SHA-256 of everything before the seal, 64 hex digits.
    sha256: String,
}

/// A world and its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    pub world: World,
    pub head: ChainHead,
    /// Of the last commit; `None` before the first.
    pub time: Option<DateTime<Utc>>,
}

impl Placed {
    /// Before the first commit.
    pub fn genesis() -> Self {
        Self { world: World::default(), head: ChainHead::GENESIS, time: None }
    }
}

/// Why a file is no snapshot for us.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("it can't be unpacked: {0}")]
    Packed(#[from] std::io::Error),
    #[error("line {line} is not understood: {why}")]
    Line { line: usize, why: String },
    #[error("it ends without its seal")]
    Unsealed,
    #[error("its bytes are not those that were sealed")]
    Changed,
    #[error("it was written by EdgeStack {0}")]
    OtherVersion(String),
    #[error("it says that it is of commit {0}")]
    OtherPlace(u64),
}

/// The file's bytes.
pub(crate) fn pack(placed: &Placed) -> Result<Vec<u8>, std::io::Error> {
    let mut text = Vec::new();
    let header = Header {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        model: edgestack_model::SOURCES.to_owned(),
        sequence: placed.head.sequence,
        hash: placed.head.hash_hex(),
        time: placed.time,
    };
    write(&mut text, &header)?;
    let mut lines = 0;
    for resource in placed.world.resources() {
        write(&mut text, &resource)?;
        lines += 1;
    }
    for (key, first) in placed.world.idempotency.iter() {
        write(&mut text, &Key { key: key.to_owned(), first: first.clone() })?;
        lines += 1;
    }
    let sha256 = hex::encode(Sha256::digest(&text));
    write(&mut text, &Seal { lines, sha256 })?;
    let mut packer = zstd::Encoder::new(Vec::new(), LEVEL)?;
    packer.include_checksum(true)?;
    packer.write_all(&text)?;
    packer.finish()
}

fn write(text: &mut Vec<u8>, line: &impl Serialize) -> Result<(), std::io::Error> {
    serde_json::to_writer(&mut *text, line)?;
    text.push(b'\n');
    Ok(())
}

/// The world in a file that should hold the one after the commit `sequence`.
pub(crate) fn unpack(packed: &[u8], sequence: u64) -> Result<Placed, Unreadable> {
    let mut text = Vec::new();
    zstd::Decoder::new(packed)?.take(UNPACKED_MAX).read_to_end(&mut text)?;
    let end = text.strip_suffix(b"\n").ok_or(Unreadable::Unsealed)?;
    let seal_at = end.iter().rposition(|byte| *byte == b'\n').ok_or(Unreadable::Unsealed)? + 1;
    let (body, seal) = end.split_at(seal_at);
    let seal: Seal = serde_json::from_slice(seal).map_err(|_| Unreadable::Unsealed)?;
    if hex::encode(Sha256::digest(body)) != seal.sha256 {
        return Err(Unreadable::Changed);
    }
    let mut lines = body.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    let header: Header = read(lines.next().ok_or(Unreadable::Unsealed)?)?;
    if header.format != FORMAT || header.model != edgestack_model::SOURCES {
        return Err(Unreadable::OtherVersion(format!(
            "{} (model {}, form {})",
            header.version, header.model, header.format
        )));
    }
    if header.sequence != sequence {
        return Err(Unreadable::OtherPlace(header.sequence));
    }
    let mut hash = [0; 32];
    hex::decode_to_slice(&header.hash, &mut hash)
        .map_err(|error| Unreadable::Line { line: 0, why: error.to_string() })?;
    let (mut resources, mut keys) = (Vec::new(), Vec::new());
    for line in lines {
        // Told apart by how they begin, which is quicker than trying.
        if line.1.starts_with(br#"{"key":"#) {
            let Key { key, first } = read(line)?;
            keys.push((key, first));
        } else {
            resources.push(read::<Resource>(line)?);
        }
    }
    let world = World::from_parts(Sequence(sequence), resources, IdempotencyKeys::from_rows(keys));
    Ok(Placed { world, head: ChainHead { sequence, hash }, time: header.time })
}

fn read<'a, T: Deserialize<'a>>((line, text): (usize, &'a [u8])) -> Result<T, Unreadable> {
    serde_json::from_slice(text).map_err(|error| Unreadable::Line { line, why: error.to_string() })
}
