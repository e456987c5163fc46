//! A range of loopback ports that no other test has.

use std::{
    fs::{File, OpenOptions},
    path::PathBuf,
};

use rustix::fs::{FlockOperation, flock};

/// Ports below the range from which the kernel takes the local ports of connections.
const FIRST: u16 = 23_000;
const SIZE: u16 = 50;
const RANGES: u16 = 180;

/// Held as long as the test has it; gone with its process.
#[derive(Debug)]
pub(crate) struct Ports {
    pub(crate) first: u16,
    pub(crate) last: u16,
    _lock: File,
}

impl Ports {
    /// A range that is free now.
    pub(crate) fn take() -> Self {
        let folder = shared_folder();
        for number in 0..RANGES {
            let path = folder.join(format!("ports-{number}"));
            let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path).expect("a lock file");
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                let first = FIRST + number * SIZE;
                return Self { first, last: first + SIZE - 1, _lock: lock };
            }
        }
        panic!("all {RANGES} ranges of ports are taken by other tests")
    }
}

/// A folder that the tests of this machine share.
pub(crate) fn shared_folder() -> PathBuf {
    let folder = std::env::temp_dir().join("edgestack-e2e");
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}
