//! What this machine has. What it lacks is said as `skipped: <test>: <why>`.

use std::path::{Path, PathBuf};

/// The nats-server to run, or `None` after saying so.
pub fn nats_server(test: &str) -> Option<PathBuf> {
    let found = std::env::var_os("EDGESTACK_NATS_SERVER").map(PathBuf::from).or_else(|| in_path("nats-server"));
    if found.is_none() {
        println!("skipped: {test}: no nats-server; set EDGESTACK_NATS_SERVER, or run deploy/test");
    }
    found
}

/// Whether there is a QEMU; says so if not.
pub fn qemu(test: &str) -> Option<()> {
    let missing =
        ["/usr/bin/qemu-system-x86_64", "/usr/bin/qemu-img"].into_iter().find(|file| !Path::new(file).exists());
    match missing {
        Some(program) => {
            println!("skipped: {test}: no {program}; deploy/test installs it");
            None
        }
        None => Some(()),
    }
}

/// The Debian guest's disk, or `None` after saying so.
pub fn guest_image(test: &str) -> Option<PathBuf> {
    let image = std::env::var_os("EDGESTACK_GUEST_IMAGE").map(PathBuf::from).filter(|path| path.is_file());
    if image.is_none() {
        println!("skipped: {test}: EDGESTACK_GUEST_IMAGE names no image; deploy/guest-image makes one");
    }
    image
}

/// A Python with what the examples in docs need, or `None` after saying so.
pub fn python(test: &str) -> Option<PathBuf> {
    let python = std::env::var_os("EDGESTACK_PYTHON").map(PathBuf::from).filter(|path| path.is_file());
    if python.is_none() {
        println!(
            "skipped: {test}: EDGESTACK_PYTHON names no Python with docs/examples/requirements.txt and tests/e2e/requirements.txt; run deploy/test"
        );
    }
    python
}

/// The daemon's program.
pub fn edgestackd() -> PathBuf {
    program("edgestackd", "EDGESTACKD")
}

/// The command line client.
pub fn edgectl() -> PathBuf {
    program("edgectl", "EDGECTL")
}

fn program(name: &str, variable: &str) -> PathBuf {
    let path = std::env::var_os(variable)
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("EDGESTACK_BIN_DIR")?).join(name)))
        .unwrap_or_else(|| {
            // target/debug/deps/TEST: the programs are one up.
            let test = std::env::current_exe().expect("a path of this test");
            test.parent().and_then(Path::parent).expect("a target folder").join(name)
        });
    assert!(path.is_file(), "no program {}; build it first: cargo build -p {name}", path.display());
    path
}

/// A program of this name in PATH.
pub(crate) fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}
