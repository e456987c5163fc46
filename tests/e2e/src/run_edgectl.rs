//! The command line as a person has it: edgectl against a site, with nothing of this machine's own configuration.

use std::process::{Command, Output};

use crate::{Site, edgectl};

/// Runs edgectl with these words.
///
/// # Panics
/// When it can't be run.
pub fn run(site: &Site, words: &[&str]) -> Output {
    Command::new(edgectl())
        .args(words)
        .env("EDGESTACK_URL", &site.api().url)
        .env("EDGESTACK_TOKEN", &site.api().token)
        .env("HOME", site.folder())
        .env("NO_COLOR", "1")
        .env_remove("XDG_CONFIG_HOME")
        .output()
        .expect("edgectl runs")
}

/// Runs what works, and gives what it prints.
///
/// # Panics
/// When it fails.
#[track_caller]
pub fn works(site: &Site, words: &[&str]) -> String {
    let output = run(site, words);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "edgectl {words:?}: {}: {told}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Runs what is refused or fails, and says why.
///
/// # Panics
/// When it works, or doesn't say `because`.
#[track_caller]
pub fn fails(site: &Site, words: &[&str], because: &str) {
    let output = run(site, words);
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "edgectl {words:?}: {told}");
    assert!(told.contains(because), "edgectl {words:?} does not say {because:?}: {told}");
}
