//! What only one of several processes does: held by one, taken over from the silent, refused to who has lost it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use edgestack_engine::{Clock as _, Duty, Heartbeats, LOST_AFTER, Leases, Origin, SubmitError};
use edgestack_log::memory::MemoryLog;
use edgestack_model::lease::{Fence, Lease};
use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;

use crate::site::{Site, TestClock, Valve, a_flavor, a_person, a_writer, committed, refused};

/// A process that waits for the work, or does it.
struct Process {
    site: Site,
    /// Nobody hears it while this is set.
    silent: Arc<AtomicBool>,
    stopping: CancellationToken,
    /// Under which fences it has worked.
    worked: Arc<Mutex<Vec<Fence>>>,
}

/// The process of a writer on a node of its number.
async fn a_process(number: u8, log: &MemoryLog, heartbeats: &Heartbeats) -> Process {
    a_process_on(number, number, log, heartbeats).await
}

async fn a_process_on(node: u8, number: u8, log: &MemoryLog, heartbeats: &Heartbeats) -> Process {
    let site = a_writer(number, Valve::new(log.clone())).await;
    let (silent, stopping) = (Arc::new(AtomicBool::new(false)), CancellationToken::new());
    let clock = TestClock::of_writer(number + 100);
    let (heard, mute) = (heartbeats.clone(), silent.clone());
    let leases = Leases {
        node: format!("edge-{node}").parse().unwrap(),
        process: clock.new_id(),
        replica: site.replica.clone(),
        port: Arc::new(site.engine.clone()),
        clock,
        heartbeats: heartbeats.clone(),
        beat: Arc::new(move |name| {
            if !mute.load(Ordering::Relaxed) {
                heard.beat(name);
            }
        }),
        stopping: stopping.clone(),
    };
    let worked: Arc<Mutex<Vec<Fence>>> = Arc::default();
    let at_work = worked.clone();
    tokio::spawn(leases.hold("work", move |duty: Duty| {
        at_work.lock().unwrap().push(duty.fence.unwrap());
        std::future::pending().boxed()
    }));
    Process { site, silent, stopping, worked }
}

impl Process {
    fn epochs(&self) -> Vec<u64> {
        self.worked.lock().unwrap().iter().map(|fence| fence.epoch).collect()
    }

    fn lease(&self) -> Lease {
        let world = self.site.replica.world();
        Lease::clone(world.lease(&"work".parse().unwrap()).unwrap())
    }

    async fn write_under(&self, epoch: u64, name: &str) -> Result<edgestack_engine::Outcome, SubmitError> {
        let fence = Fence { lease: "work".parse().unwrap(), epoch };
        let origin = Origin { fence: Some(fence), ..a_person() };
        self.site.submit_as(origin, a_flavor(name)).await
    }
}

async fn passes(time: Duration) {
    tokio::time::sleep(time).await;
}

#[tokio::test(start_paused = true)]
async fn one_of_two_works_and_the_other_takes_over_from_the_silent_and_the_stopped() {
    let (log, heartbeats) = (MemoryLog::new(), Heartbeats::new());
    let first = a_process(1, &log, &heartbeats).await;
    passes(Duration::from_secs(1)).await;
    let second = a_process(2, &log, &heartbeats).await;
    passes(LOST_AFTER * 3).await;
    assert_eq!((first.epochs(), second.epochs()), (vec![1], vec![]), "while it is heard it keeps it");
    let commits = first.site.commits().await.len();
    passes(LOST_AFTER * 30).await;
    assert_eq!(first.site.commits().await.len(), commits, "and writes nothing for it");

    first.silent.store(true, Ordering::Relaxed);
    passes(LOST_AFTER + Duration::from_secs(4)).await;
    assert_eq!((first.epochs(), second.epochs()), (vec![1], vec![2]));
    let lease = first.lease();
    assert_eq!((lease.epoch, lease.holder.unwrap().node.as_str()), (2, "edge-2"));

    // It lives, and believes what it likes.
    assert_eq!(refused(&first.write_under(1, "stale").await), "lease-moved");
    committed(&second.write_under(2, "good").await);

    // In order: the other has it at once.
    first.silent.store(false, Ordering::Relaxed);
    second.stopping.cancel();
    passes(Duration::from_secs(2)).await;
    assert_eq!(first.epochs(), [1, 3]);
    assert_eq!(refused(&second.write_under(2, "stale").await), "lease-moved");
}

#[tokio::test(start_paused = true)]
async fn who_has_lost_a_lease_and_does_not_know_it_cannot_write() {
    let (log, heartbeats) = (MemoryLog::new(), Heartbeats::new());
    let first = a_process(1, &log, &heartbeats).await;
    passes(Duration::from_secs(1)).await;
    // Its answers are held up, as in a process that is stopped in the middle of a write.
    first.silent.store(true, Ordering::Relaxed);
    first.site.log.set_away(true);
    let second = a_process(2, &log, &heartbeats).await;
    passes(LOST_AFTER + Duration::from_secs(4)).await;
    assert_eq!(second.epochs(), [2]);
    first.site.log.set_away(false);
    assert_eq!(refused(&first.write_under(1, "stale").await), "lease-moved");
    assert!(first.site.commits().await.iter().all(|commit| commit.command != "create-flavor"));
}

#[tokio::test(start_paused = true)]
async fn a_process_takes_at_once_what_an_earlier_one_of_its_node_had() {
    let (log, heartbeats) = (MemoryLog::new(), Heartbeats::new());
    let first = a_process(1, &log, &heartbeats).await;
    passes(Duration::from_secs(1)).await;
    assert_eq!(first.epochs(), [1]);
    // Killed: it says nothing any more, and its next life has not heard it.
    first.silent.store(true, Ordering::Relaxed);
    let again = a_process_on(1, 3, &log, &Heartbeats::new()).await;
    passes(Duration::from_secs(1)).await;
    assert_eq!(again.epochs(), [2]);
}

#[tokio::test(start_paused = true)]
async fn what_another_writer_made_possible_is_not_refused() {
    let log = MemoryLog::new();
    let first = a_writer(1, Valve::new(log.clone())).await;
    let second = a_writer(2, Valve::new(log.clone())).await;
    for number in 0..20 {
        let name = format!("f{number}");
        committed(&first.submit(a_flavor(&name)).await);
        // The second has no time to hear of it.
        let delete = edgestack_model::flavor::FlavorCommand::Delete { flavor: name.as_str().into() };
        committed(&second.submit(edgestack_model::Command::Flavor(delete)).await);
        committed(&first.submit(a_flavor(&name)).await);
    }
    second.log.set_away(true);
    let delete = edgestack_model::flavor::FlavorCommand::Delete { flavor: "none".into() };
    let outcome = second.submit(edgestack_model::Command::Flavor(delete)).await;
    assert!(matches!(outcome, Err(SubmitError::Unavailable { .. })), "a guess is no answer: {outcome:?}");
}
