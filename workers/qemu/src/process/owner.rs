//! The user QEMU runs as, and what that user may touch.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{Gid, OFlags, Uid, fchown};

/// A local user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// The user's ids by /etc/passwd; `None` if there is no such user. passwd(5).
pub(crate) fn look_up(name: &str) -> io::Result<Option<Owner>> {
    let passwd = fs::read_to_string("/etc/passwd")?;
    Ok(passwd.lines().find_map(|line| {
        let fields: Vec<_> = line.split(':').collect();
        if fields.first() != Some(&name) {
            return None;
        }
        Some(Owner { uid: fields.get(2)?.parse().ok()?, gid: fields.get(3)?.parse().ok()? })
    }))
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Makes a file the user's own, for nobody else to read or write.
pub(crate) fn give_file(path: &Path, owner: &Owner) -> io::Result<()> {
    let file = open_itself(path)?;
    let kind = file.metadata()?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a file nor a block device"));
    }
    give(&file, owner, 0o600)
}

/// Makes a folder the user's own.
pub(crate) fn give_folder(path: &Path, owner: &Owner) -> io::Result<()> {
    give(&open_itself(path)?, owner, 0o700)
}

fn give(file: &File, owner: &Owner, mode: u32) -> io::Result<()> {
    fchown(file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    file.set_permissions(fs::Permissions::from_mode(mode))
}

/// Opens what has this name, not what a link under this name leads to: we are root, the link may not be ours.
fn open_itself(path: &Path) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).unwrap_or(0);
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// Lets `user` read a file that stays the caller's (an image that many overlays share): its group becomes the user's,
/// its mode 0640. Without effect when the caller isn't root, as then QEMU runs as the caller.
pub fn grant_read(path: &Path, user: &str) -> io::Result<()> {
    if !is_root() {
        return Ok(());
    }
    let owner =
        look_up(user)?.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no user {user:?}")))?;
    let file = open_itself(path)?;
    fchown(&file, None, Some(Gid::from_raw(owner.gid)))?;
    file.set_permissions(fs::Permissions::from_mode(0o640))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        assert_eq!(look_up("root").expect("readable"), Some(Owner { uid: 0, gid: 0 }));
        assert_eq!(look_up("roo").expect("readable"), None);
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).expect("linked");
        give_file(&link, &Owner { uid: 65534, gid: 65534 }).expect_err("refused");
    }
}
