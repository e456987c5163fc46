//! Where nats-server keeps the stream of the log in its folder.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::nats_conf::ACCOUNT;
use super::stream::STREAM;

/// Everything of the stream, below the folder of its nats-server.
pub fn stream_folder(dir: &Path) -> PathBuf {
    // nats-server puts a folder of that name into its `store_dir`.
    dir.join("jetstream/jetstream").join(ACCOUNT).join("streams").join(STREAM)
}

/// Bytes of the stream's message blocks: with every write synced, no message comes in without a change of it.
///
/// # Errors
/// When the folder can't be read.
pub fn stored_bytes(dir: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(stream_folder(dir).join("msgs"))? {
        let entry = entry?;
        if entry.path().extension().is_some_and(|end| end == "blk") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}
