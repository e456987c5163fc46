//! A closed segment: Zstandard frames of lines, then a skippable frame with the index.
//!
//! Source of the frame formats: RFC 8878, 3.1.1 and 3.1.2. The index frame ends with the length of the index, so that
//! it is found from the object's end: magic, length of what follows, the index, its length (4 bytes, little endian),
//! and [`END`].

use bytes::Bytes;
use edgestack_log::{ChainHead, StoredCommit};
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt as _};
use sha2::{Digest as _, Sha256};

use crate::{
    ArchiveError,
    index::{FORMAT, Frame, SegmentIndex},
    line::{self, Seal},
    name, segment_error,
};

/// One of the sixteen magic numbers of skippable frames.
const SKIPPABLE: u32 = 0x184D_2A5E;
/// The last bytes of a segment.
const END: &[u8; 4] = b"ESA1";
/// Bytes of lines in a frame: small enough to read one commit quickly, large enough to pack well.
const FRAME_BYTES: usize = 128 << 10;
/// The library's default: higher levels gain little on such lines.
const LEVEL: i32 = 3;
/// Bytes read from an object's end to find the index; a longer index is read in a second go.
const TAIL_BYTES: u64 = 64 << 10;
/// No index of ours is longer: a segment has few thousand frames at most.
const INDEX_BYTES_MAX: u64 = 16 << 20;
/// Magic, length, length and end around an index.
const AROUND_INDEX: u64 = 16;

/// A segment ready to be stored.
pub(crate) struct Packed {
    pub bytes: Vec<u8>,
}

/// Packs lines, which begin right after `before`; seals are left out, as the index vouches for the whole.
pub(crate) fn pack(lines: &Bytes, before: ChainHead) -> Result<Packed, ArchiveError> {
    let (lines, _) = line::split(lines);
    let first = before.sequence + 1;
    let mut head = before;
    let (mut bytes, mut frames, mut frame) = (Vec::new(), Vec::new(), Vec::with_capacity(FRAME_BYTES));
    for (_, payload) in lines.into_iter().filter(|(_, line)| Seal::read(line).is_none()) {
        if frame.is_empty() {
            frames.push(Frame { first: head.sequence + 1, at: bytes.len() as u64 });
        }
        let commit = line::to_commit(payload, head.sequence + 1)?;
        head.check_next(&commit)?;
        line::write(&commit, &mut frame)?;
        if frame.len() >= FRAME_BYTES {
            compress(&mut frame, &mut bytes, first, head.sequence)?;
        }
    }
    if !frame.is_empty() {
        compress(&mut frame, &mut bytes, first, head.sequence)?;
    }
    let index = SegmentIndex {
        format: FORMAT,
        first,
        last: head.sequence,
        previous_hash: before.hash_hex(),
        hash: head.hash_hex(),
        bytes: bytes.len() as u64,
        sha256: hex::encode(Sha256::digest(&bytes)),
        frames,
    };
    let failed = |why: String| segment_error(first, head.sequence, why);
    let json = serde_json::to_vec(&index).map_err(|error| failed(error.to_string()))?;
    let length = u32::try_from(json.len()).map_err(|error| failed(error.to_string()))?;
    bytes.extend_from_slice(&SKIPPABLE.to_le_bytes());
    bytes.extend_from_slice(&(length + 8).to_le_bytes());
    bytes.extend_from_slice(&json);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(END);
    Ok(Packed { bytes })
}

fn compress(frame: &mut Vec<u8>, bytes: &mut Vec<u8>, first: u64, last: u64) -> Result<(), ArchiveError> {
    let packed = zstd::bulk::compress(frame, LEVEL)
        .map_err(|error| segment_error(first, last, format!("it cannot be packed: {error}")))?;
    bytes.extend_from_slice(&packed);
    frame.clear();
    Ok(())
}

/// The index of a segment in the store.
pub(crate) async fn read_index(store: &dyn ObjectStore, first: u64, last: u64) -> Result<SegmentIndex, ArchiveError> {
    let failed = |why: &str| segment_error(first, last, why.to_owned());
    let mut wanted = TAIL_BYTES;
    loop {
        let tail = read_tail(store, first, last, wanted).await?;
        let (rest, end) = tail.split_last_chunk::<4>().ok_or_else(|| failed("it is cut short"))?;
        if end != END {
            return Err(failed("it does not end as a segment does: it is cut short, or something else"));
        }
        let (rest, length) = rest.split_last_chunk::<4>().ok_or_else(|| failed("it is cut short"))?;
        let length = u64::from(u32::from_le_bytes(*length));
        let Some(begin) = usize::try_from(length).ok().and_then(|length| rest.len().checked_sub(length)) else {
            if length > INDEX_BYTES_MAX || wanted > length + AROUND_INDEX {
                return Err(failed("its index does not fit into it"));
            }
            wanted = length + AROUND_INDEX + 1;
            continue;
        };
        let json = rest.get(begin..).unwrap_or_default();
        let index: SegmentIndex =
            serde_json::from_slice(json).map_err(|error| failed(&format!("its index: {error}")))?;
        if index.format != FORMAT {
            return Err(failed(&format!("it has format {}, written by a later EdgeStack; install that", index.format)));
        }
        if (index.first, index.last) != (first, last) {
            return Err(failed("its index speaks of other commits than its name"));
        }
        return Ok(index);
    }
}

async fn read_tail(store: &dyn ObjectStore, first: u64, last: u64, bytes: u64) -> Result<Bytes, ArchiveError> {
    let location = name(first, last);
    let failed = |source| ArchiveError::Store { doing: format!("reading {location}"), source };
    let options = GetOptions { range: Some(GetRange::Suffix(bytes)), ..GetOptions::default() };
    store.get_opts(&location, options).await.map_err(failed)?.bytes().await.map_err(failed)
}

/// Commits of a segment, from `from` on, at most `max`.
pub(crate) async fn read(
    store: &dyn ObjectStore,
    index: &SegmentIndex,
    from: u64,
    max: usize,
) -> Result<Vec<StoredCommit>, ArchiveError> {
    let Some((first, range)) = index.range(from, max) else { return Ok(vec![]) };
    let whole = range == (0..index.bytes);
    let location = name(index.first, index.last);
    let bytes = store
        .get_range(&location, range)
        .await
        .map_err(|source| ArchiveError::Store { doing: format!("reading {location}"), source })?;
    let failed = |why: String| segment_error(index.first, index.last, why);
    if whole && hex::encode(Sha256::digest(&bytes)) != index.sha256 {
        return Err(failed("its checksum differs: bytes in it have changed".to_owned()));
    }
    let lines =
        zstd::stream::decode_all(&bytes[..]).map_err(|error| failed(format!("it cannot be unpacked: {error}")))?;
    let (lines, torn) = line::split(&Bytes::from(lines));
    if torn > 0 {
        return Err(failed("a line in it is cut short".to_owned()));
    }
    (first..)
        .zip(lines)
        .filter(|(sequence, _)| *sequence >= from)
        .take(max)
        .map(|(sequence, (_, payload))| line::to_commit(payload, sequence).map_err(|damage| failed(damage.to_string())))
        .collect()
}

/// Checks the chain through all commits of a segment; the head after them.
pub(crate) fn check(index: &SegmentIndex, commits: &[StoredCommit]) -> Result<ChainHead, ArchiveError> {
    let mut head = index.before()?;
    for commit in commits {
        head.check_next(commit).map_err(|damage| segment_error(index.first, index.last, damage.to_string()))?;
    }
    if head == index.head()? {
        return Ok(head);
    }
    Err(segment_error(
        index.first,
        index.last,
        format!("its commits end at {}, its index at {}", head.sequence, index.last),
    ))
}
