//! Law 4: the archive holds what the log holds, and both are whole.

use edgestack_archive::{Archive, Options};
use edgestack_engine::error_chain;
use edgestack_log::ChainHead;
use futures::FutureExt as _;

use super::Evidence;
use crate::outside::Outside;

/// The archive as the last life left it, opened once more.
///
/// # Errors
/// What is wrong, for people.
pub fn check(outside: &Outside, evidence: &Evidence, head: ChainHead) -> Result<(), String> {
    let folder = outside.folder.join("archive");
    let opened = Archive::open(&folder, outside.segments.clone(), Options::default());
    let archive = opened.now_or_never().unwrap().map_err(|error| error_chain(&error))?;
    let found = archive.verify(|_| ()).now_or_never().unwrap();
    let found =
        found.map_err(|error| format!("the archive is damaged, and nobody noticed: {}", error_chain(&error)))?;
    if found != head {
        return Err(format!("the archive ends at {}, the log at {}", found.sequence, head.sequence));
    }
    let mut next = 1;
    while next <= found.sequence {
        let batch = archive.read(next, 1000).now_or_never().unwrap().map_err(|error| error_chain(&error))?;
        let from = usize::try_from(next - 1).unwrap();
        if batch.is_empty() || evidence.stored[from..from + batch.len()] != batch[..] {
            return Err(format!("the archive differs from the log from {next} on"));
        }
        next += batch.len() as u64;
    }
    Ok(())
}
