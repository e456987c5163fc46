//! The serial console's log: read its end, follow it, keep it small.
//!
//! QEMU opens it with O_APPEND, so it can be cut while QEMU writes: the next byte goes to the new end. The file lies in
//! a folder that QEMU's user may write to, so a link in its place is not followed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::durable::{part_path, publish, remove_if_there};

/// A piece of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// What was read.
    pub bytes: Vec<u8>,
    /// Where the next piece begins.
    pub next_offset: u64,
}

/// The last `bytes_max` bytes of a log; nothing of one that isn't there yet.
pub fn tail(log: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let Some(mut file) = open(log, OpenOptions::new().read(true))? else {
        return Ok(Vec::new());
    };
    let length = file.metadata()?.len();
    read_from(&mut file, length.saturating_sub(bytes_max), bytes_max)
}

/// What a log holds from `offset` on, `bytes_max` bytes at most. A log shorter than `offset` was cut in the meantime and
/// is read from its beginning.
pub fn follow(log: &Path, offset: u64, bytes_max: u64) -> io::Result<Piece> {
    let Some(mut file) = open(log, OpenOptions::new().read(true))? else {
        return Ok(Piece { bytes: Vec::new(), next_offset: 0 });
    };
    let offset = if file.metadata()?.len() < offset { 0 } else { offset };
    let bytes = read_from(&mut file, offset, bytes_max)?;
    let next_offset = offset + bytes.len() as u64;
    Ok(Piece { bytes, next_offset })
}

/// The log's older part, `console.log.1`, as [`bound`] keeps it.
pub fn older(log: &Path) -> PathBuf {
    let mut name = log.as_os_str().to_owned();
    name.push(".1");
    name.into()
}

/// Cuts a log that is longer than `bytes_max`: its last `bytes_max` bytes become [`older`], and it begins anew. Says
/// whether it did. So a machine's logs never hold much more than twice that; what the guest writes between the copy and
/// the cut, some µs, is lost.
pub fn bound(log: &Path, bytes_max: u64) -> io::Result<bool> {
    let Some(mut file) = open(log, OpenOptions::new().read(true).write(true))? else {
        return Ok(false);
    };
    let length = file.metadata()?.len();
    if length <= bytes_max {
        return Ok(false);
    }
    let kept = older(log);
    let part = part_path(&kept);
    remove_if_there(&part)?;
    let mut copy = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    file.seek(SeekFrom::Start(length - bytes_max))?;
    // To the end of the file, not just bytes_max: the guest may have written on.
    io::copy(&mut (&file).take(bytes_max * 2), &mut copy)?;
    copy.flush()?;
    copy.sync_all()?;
    publish(&part, &kept)?;
    file.set_len(0)?;
    Ok(true)
}

fn read_from(file: &mut File, offset: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn open(log: &Path, options: &mut OpenOptions) -> io::Result<Option<File>> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    match options.custom_flags(flags).open(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
        Ok(file) if file.metadata()?.is_file() => Ok(Some(file)),
        Ok(_) => Err(io::Error::new(io::ErrorKind::InvalidInput, "the log is not a file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_long_log_is_cut_while_its_writer_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("console.log");
        let mut writer = OpenOptions::new().append(true).create(true).open(&log).expect("open");
        writer.write_all(&[b'a'; 1000]).expect("written");
        assert!(!bound(&log, 1000).expect("looked"));
        writer.write_all(b"end").expect("written");
        assert!(bound(&log, 1000).expect("cut"));
        writer.write_all(b"new").expect("written");
        assert_eq!(fs::read(&log).expect("read"), b"new");
        let kept = fs::read(older(&log)).expect("read");
        assert_eq!((kept.len(), &kept[997..]), (1000, &b"end"[..]));
    }

    #[test]
    fn a_follower_goes_on_after_a_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("console.log");
        assert_eq!(follow(&log, 7, 10).expect("nothing yet").next_offset, 0);
        fs::write(&log, "hello").expect("written");
        let piece = follow(&log, 2, 10).expect("read");
        assert_eq!((piece.bytes.as_slice(), piece.next_offset), (&b"llo"[..], 5));
        fs::write(&log, "new").expect("written");
        assert_eq!(follow(&log, 5, 10).expect("read").bytes, b"new");
        assert_eq!(tail(&log, 2).expect("read"), b"ew");
    }

    #[test]
    fn a_link_in_the_logs_place_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("console.log");
        std::os::unix::fs::symlink("/etc/passwd", &log).expect("linked");
        tail(&log, 10).expect_err("refused");
        bound(&log, 1).expect_err("refused");
    }
}
