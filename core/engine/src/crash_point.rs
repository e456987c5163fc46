//! Named places at which a test can have the process killed, as `kill -9` would.
//!
//! `EDGESTACK_CRASH_AT=name` (or `name:3` for the third pass) makes the process
//! send itself SIGKILL there. The writer has one before each append, after it was
//! sent and after its acknowledgement; each worker step before and after its
//! driver call and its report; writing the views one before and one between the two. Tests walk through [`ALL`].

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{Mutex, OnceLock, PoisonError},
};

/// Every crash point, so that a test can visit each.
pub const ALL: [&str; 38] = [
    "append.before",
    "append.sent",
    "append.after",
    "report.before",
    "image.import.before",
    "image.import.after",
    "image.remove.after",
    "volume.create.before",
    "volume.create.after",
    "volume.remove.before",
    "volume.remove.after",
    "vm.start.before",
    "vm.start.after",
    "vm.stop.before",
    "vm.stop.after",
    "vm.plug.before",
    "vm.plug.after",
    "vm.unplug.before",
    "vm.unplug.after",
    "vm.release.before",
    "vm.release.after",
    "gateway.drift.before",
    "gateway.write.before",
    "gateway.write.after",
    "gateway.realized",
    "webhook.deliver.before",
    "webhook.deliver.after",
    "report.after",
    "archive.written",
    "archive.synced",
    "views.before",
    "views.between",
    "release.proven",
    "release.recorded",
    "release.filled",
    "release.between",
    "release.swapped",
    "release.done",
];

struct Wanted {
    name: String,
    pass: u32,
}

static WANTED: OnceLock<Option<Wanted>> = OnceLock::new();
static PASSES: Mutex<BTreeMap<&'static str, u32>> = Mutex::new(BTreeMap::new());

thread_local! {
    static OFF: Cell<bool> = const { Cell::new(false) };
}

/// From now on this thread passes no crash point: what it does is not of this process's site (a fork of it).
pub fn none_on_this_thread() {
    OFF.set(true);
}

/// Passes a crash point.
pub fn pass(name: &'static str) {
    if OFF.get() {
        return;
    }
    edgestack_planted::pass_crash_point(name);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("EDGESTACK_CRASH_AT").ok()?;
        let (name, pass) = text.split_once(':').unwrap_or((&text, "1"));
        Some(Wanted { name: name.to_owned(), pass: pass.parse().ok()? })
    });
    let Some(wanted) = wanted else { return };
    if wanted.name != name {
        return;
    }
    let mut passes = PASSES.lock().unwrap_or_else(PoisonError::into_inner);
    let count = passes.entry(name).or_default();
    *count += 1;
    if *count == wanted.pass {
        tracing::error!(name, "crash point reached, as EDGESTACK_CRASH_AT asks: killing this process");
        // An error here would mean that we may not signal ourselves; then the test that asked sees no crash and fails.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
    }
}
