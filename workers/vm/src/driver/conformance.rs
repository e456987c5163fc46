//! What every vm driver must do, run against each by one line a driver.

use std::time::Duration;

use edgestack_model::orphan::ArtifactKind;
use edgestack_pool::DriverError;

use super::{GuestPing, Observed, StartNic, StartSpec, VmDriver};

/// Runs every case against a driver; `spec` describes a VM that can be started
/// there and whose guest may be deaf to the power button. What may lie in its
/// folders already carries no id of ours.
///
/// # Panics
/// When the driver breaks one of its promises; the message says which.
pub async fn run(driver: &dyn VmDriver, spec: &StartSpec) {
    let id = spec.id;
    assert!(matches!(driver.observe(id).await, Ok(Observed::Absent { .. })), "before its start nothing is there");
    assert_eq!(carried(driver).await, [], "what does not carry an id of ours is not told");
    assert!(driver.end(id).await.is_ok(), "ending what is not there is fine");
    assert!(driver.pause(id).await.is_err(), "what is not there cannot be paused");
    assert!(matches!(driver.record(id).await, Ok(None)), "nothing is written down of what never was");
    assert!(driver.guest_ping(id, &a_ping()).await.is_err(), "what is not there sends nothing");

    let process = driver.start(spec).await.unwrap_or_else(|error| panic!("it does not start: {error}"));
    assert_eq!(seen_running(driver, id).await, Some(process.clone()), "it runs");
    let again = driver.start(spec).await.unwrap_or_else(|error| panic!("a second start failed: {error}"));
    assert_eq!(again, process, "a second start gives the same process");
    let (folder, running) = ((ArtifactKind::VmFolder, id.uuid()), (ArtifactKind::VmProcess, id.uuid()));
    assert_eq!(carried(driver).await, [folder, running], "its folder and its process are told");

    assert_eq!(driver.record(id).await.ok().flatten().as_ref(), Some(&spec.record), "what it is, is written down");

    assert!(driver.pause(id).await.is_ok() && driver.pause(id).await.is_ok(), "pausing twice is fine");
    assert!(matches!(driver.observe(id).await, Ok(Observed::Paused(_))), "it is paused");
    assert!(driver.resume(id).await.is_ok() && driver.resume(id).await.is_ok(), "resuming twice is fine");
    assert_eq!(seen_running(driver, id).await, Some(process.clone()), "it runs again, the same process");

    assert!(driver.end(id).await.is_ok() && driver.end(id).await.is_ok(), "ending twice is fine");
    assert!(matches!(driver.observe(id).await, Ok(Observed::Absent { .. })), "it has ended");
    assert_eq!(carried(driver).await, [folder], "its folder stays");

    let second = driver.start(spec).await.unwrap_or_else(|error| panic!("it does not start again: {error}"));
    assert_ne!(second, process, "a new run is a new process");
    let (woken, mut wakes) = tokio::sync::mpsc::unbounded_channel();
    driver.watch(
        id,
        std::sync::Arc::new(move |id| {
            // The test may have seen enough and gone on.
            let _ = woken.send(id);
        }),
    );
    assert!(driver.release(id).await.is_ok() && driver.release(id).await.is_ok(), "releasing twice is fine");
    assert!(matches!(driver.observe(id).await, Ok(Observed::Absent { .. })), "it is gone");
    assert_eq!(carried(driver).await, [], "nothing of it is told");
    assert!(matches!(driver.record(id).await, Ok(None)), "its record goes with it");
    if !driver.is_simulated() {
        let told = tokio::time::timeout(Duration::from_secs(10), wakes.recv()).await;
        assert!(matches!(told, Ok(Some(told)) if told == id), "its end woke the watcher");
    }
}

/// Runs the cases of NICs that come and go; `nic` is one that `spec` doesn't have. `lets_go` has the guest let go of what it
/// is asked for from then on; before, it holds on to it.
///
/// # Panics
/// When the driver breaks one of its promises; the message says which.
pub async fn run_nics(driver: &dyn VmDriver, spec: &StartSpec, nic: &StartNic, lets_go: impl AsyncFnOnce()) {
    let (id, number) = (spec.id, nic.number);
    let mut with = spec.record.clone();
    with.name = "plugged".parse().unwrap_or(with.name);
    assert!(matches!(driver.plug_nic(id, nic, &with).await, Err(DriverError::Gone)), "nothing runs that could take it");
    assert!(driver.unplug_nic(id, number, &spec.record).await.is_ok(), "what never was is gone");
    let process = driver.start(spec).await.unwrap_or_else(|error| panic!("it does not start: {error}"));
    let before: Vec<u32> = spec.nics.iter().map(|nic| nic.number).collect();
    assert_eq!(process.nics.as_ref(), Some(&before), "it has the NICs of its start, and takes others");
    for _ in 0..2 {
        driver.plug_nic(id, nic, &with).await.unwrap_or_else(|error| panic!("the NIC is not plugged in: {error}"));
        assert_eq!(nics(driver, id).await, [&before[..], &[number]].concat(), "it has the NIC, once");
    }
    assert_eq!(driver.record(id).await.ok().flatten(), Some(with.clone()), "what it has is written down");
    let held = driver.unplug_nic(id, number, &spec.record).await;
    assert!(matches!(held, Err(DriverError::Retry { .. })), "a guest that holds on to it is told as such: {held:?}");
    assert!(nics(driver, id).await.contains(&number), "it is still there");
    assert_eq!(driver.record(id).await.ok().flatten(), Some(with), "and written down");
    lets_go().await;
    for _ in 0..2 {
        driver.unplug_nic(id, number, &spec.record).await.unwrap_or_else(|error| panic!("it is not let go: {error}"));
        assert_eq!(nics(driver, id).await, before, "it is gone");
    }
    assert_eq!(driver.record(id).await.ok().flatten().as_ref(), Some(&spec.record), "and not written down any more");
    // What the process ends with goes with it.
    driver.plug_nic(id, nic, &spec.record).await.unwrap_or_else(|error| panic!("it is not plugged in again: {error}"));
    assert!(driver.end(id).await.is_ok(), "it ends");
    assert!(driver.unplug_nic(id, number, &spec.record).await.is_ok(), "nobody holds on to what has no process");
    assert!(driver.release(id).await.is_ok(), "it goes");
}

fn a_ping() -> GuestPing {
    let second = Duration::from_secs(1);
    let address = std::net::Ipv4Addr::LOCALHOST.into();
    GuestPing { address, source: None, count: 1, interval: second, patience: second, size: 56 }
}

/// The NICs that a VM which runs has.
async fn nics(driver: &dyn VmDriver, id: edgestack_model::Id<edgestack_model::vm::Vm>) -> Vec<u32> {
    seen_running(driver, id).await.and_then(|process| process.nics).unwrap_or_default()
}

/// What the driver tells of, by kind and id.
async fn carried(driver: &dyn VmDriver) -> Vec<(ArtifactKind, uuid::Uuid)> {
    let artifacts = driver.artifacts().await.unwrap_or_else(|error| panic!("it does not tell what is there: {error}"));
    let mut carried: Vec<_> = artifacts.iter().map(|artifact| (artifact.kind, artifact.id)).collect();
    carried.sort_unstable();
    carried
}

async fn seen_running(
    driver: &dyn VmDriver,
    id: edgestack_model::Id<edgestack_model::vm::Vm>,
) -> Option<super::Process> {
    match driver.observe(id).await {
        Ok(Observed::Running(process)) => Some(process),
        Ok(Observed::Absent { .. } | Observed::Paused(_) | Observed::Over { .. }) | Err(_) => None,
    }
}
