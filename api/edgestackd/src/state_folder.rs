//! The state folder of a node and who may enter what.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use edgestack_pool::NodeFolders;

/// Makes the folders. QEMU's own user must be able to pass through those that lead to disks and
/// sockets (0711: enter, not list); secrets, views and the log are ours alone (0700).
///
/// # Errors
/// The folder that could not be made, and why.
pub fn prepare(root: &Path) -> Result<NodeFolders, (PathBuf, io::Error)> {
    let root = std::path::absolute(root).map_err(|error| (root.to_owned(), error))?;
    let folders = NodeFolders::new(&root);
    let passable = [root.clone(), folders.images(), folders.volumes(), folders.vms()];
    let private = [
        folders.uploads(),
        secrets(&root),
        nats(&root),
        archive(&root),
        snapshots(&root),
        views(&root),
        webhooks(&root),
    ];
    let all = passable.iter().map(|path| (path, 0o711)).chain(private.iter().map(|path| (path, 0o700)));
    for (path, mode) in all {
        fs::create_dir_all(path)
            .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
            .map_err(|error| (path.clone(), error))?;
    }
    Ok(folders)
}

/// Tokens and keys.
pub fn secrets(root: &Path) -> PathBuf {
    root.join("secrets")
}

/// Everything of the nats-server.
pub fn nats(root: &Path) -> PathBuf {
    root.join("nats")
}

/// The second copy of the log.
pub fn archive(root: &Path) -> PathBuf {
    root.join("archive")
}

/// Past worlds, from which the site is shown as it was.
pub fn snapshots(root: &Path) -> PathBuf {
    root.join("snapshots")
}

/// How far each webhook has come.
pub fn webhooks(root: &Path) -> PathBuf {
    root.join("webhooks")
}

/// The read models.
pub fn views(root: &Path) -> PathBuf {
    root.join("views")
}
