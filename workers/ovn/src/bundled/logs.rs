//! What a process wrote: its last complaint, and keeping its log from filling the disk.

use std::convert::Infallible;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::Duration;

use super::control;
use super::folder::Folder;
use super::part::Part;

/// A log that has grown beyond this is put aside as `….log.1`, where the last one is replaced.
const LOG_BYTES_MAX: u64 = 16 << 20;
/// How often is looked.
const TRIM_EVERY: Duration = Duration::from_secs(10 * 60);
/// How much of a log's end is searched for a complaint.
const TAIL_BYTES: u64 = 8192;

/// How long a part's log is: what is written from here on is of the process that is watched now.
pub(super) fn length(part: Part, folder: &Folder) -> u64 {
    fs::metadata(folder.log(part)).map_or(0, |file| file.len())
}

/// The last complaint: early ones go to standard error, later ones to the log.
pub(super) fn last_words(part: Part, folder: &Folder, from: u64) -> Option<String> {
    let said = tail(&folder.words(part), 0).unwrap_or_default();
    let said = said.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned);
    said.or_else(|| {
        let log = tail(&folder.log(part), from)?;
        log.lines().rev().find(|line| is_complaint(line)).map(message)
    })
}

/// A line is `time|number|module|LEVEL|message`; "vlog" in ovs-vswitchd(8), LOGGING OPTIONS.
fn is_complaint(line: &str) -> bool {
    // Those of a connection that is waited for are of every start.
    matches!(line.split('|').nth(3), Some("WARN" | "ERR" | "EMER")) && !line.contains("connection attempt failed")
}

fn message(line: &str) -> String {
    line.splitn(5, '|').nth(4).unwrap_or(line).to_owned()
}

fn tail(path: &Path, from: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    // A log that is shorter than it was is another one.
    let from = if from > length { 0 } else { from };
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(TAIL_BYTES)))).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Keeps the log of a running process short, for as long as it is awaited.
pub(super) async fn keep_short(part: Part, folder: &Folder, pid: u32) -> Infallible {
    let mut interval = tokio::time::interval(TRIM_EVERY);
    loop {
        interval.tick().await;
        if length(part, folder) > LOG_BYTES_MAX
            && let Err(error) = put_aside(part, folder, pid).await
        {
            tracing::warn!(process = %part, %error, "a log can't be put aside; it is tried again");
        }
    }
}

async fn put_aside(part: Part, folder: &Folder, pid: u32) -> io::Result<()> {
    let log = folder.log(part);
    fs::rename(&log, log.with_extension("log.1"))?;
    // It goes on in the renamed file until it is told.
    control::call(&folder.control(part, pid), "vlog/reopen", &[]).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_complaint_of_this_process_is_told() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = Folder::make(temporary.path()).expect("made");
        let part = Part::Switch;
        let old = "2026-11-27T12:38:17.510Z|00010|netdev|ERR|an old one\n";
        fs::write(folder.log(part), old).expect("written");
        let from = length(part, &folder);
        assert_eq!(last_words(part, &folder, from), None);
        let more =
            format!("{old}2026-11-27T12:38:17.518Z|00020|bridge|ERR|failed: a|b\nT|00027|bridge|INFO|ovs-vswitchd\n");
        fs::write(folder.log(part), more).expect("written");
        assert_eq!(last_words(part, &folder, from).as_deref(), Some("failed: a|b"));
        fs::write(folder.words(part), "ovs-vswitchd: early\n\n").expect("written");
        assert_eq!(last_words(part, &folder, from).as_deref(), Some("ovs-vswitchd: early"));
    }
}
