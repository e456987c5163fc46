//! Law 1, read from the resolved graph: the model's dependencies hold no runtime, log, database, clock or randomness.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

use std::{collections::BTreeSet, process::Command};

/// What must not be among the model's dependencies, however far down, and why.
const BANNED: [(&str, &str); 16] = [
    ("tokio", "an async runtime"),
    ("async-std", "an async runtime"),
    ("smol", "an async runtime"),
    ("futures", "async"),
    ("mio", "sockets"),
    ("socket2", "sockets"),
    ("hyper", "a network"),
    ("async-nats", "a log"),
    ("sled", "a database"),
    ("rand", "randomness"),
    ("rand_core", "randomness"),
    ("getrandom", "randomness"),
    ("fastrand", "randomness"),
    ("tempfile", "a disk"),
    ("rustix", "an operating system"),
    ("iana-time-zone", "the machine's clock"),
];

#[test]
fn the_model_depends_on_no_runtime_log_database_clock_or_randomness() {
    let packages = normal_dependencies();
    assert!(packages.contains("serde"), "the graph was not read: {packages:?}");
    for (banned, what) in BANNED {
        assert!(
            !packages.contains(banned),
            "the model must not depend on {banned} ({what}); see how it comes in: \
             cargo tree -p edgestack-model -e normal -i {banned}"
        );
    }
}

/// The names of all packages that the model is built with, neither its tests' nor other crates'. Not from `cargo
/// metadata`: that one joins the features which all crates of the workspace ask for (uuid's `v7` brings randomness).
fn normal_dependencies() -> BTreeSet<String> {
    let output = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["tree", "--package", "edgestack-model", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--offline", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    tree.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}
