//! The queue in paused time: who is looked at when, and never by two.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use edgestack_log::ChainHead;
use tokio::sync::Semaphore;

use super::*;

/// Counts the looks; each lasts until it is let go on.
struct Counter {
    all: Vec<Uuid>,
    next: Next,
    looks: Mutex<Vec<(Uuid, Duration)>>,
    begun: Instant,
    at_once: AtomicUsize,
    at_once_max: AtomicUsize,
    go_on: Semaphore,
    panics_left: AtomicUsize,
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

impl Counter {
    fn new(all: Vec<Uuid>, next: Next) -> Self {
        Self {
            all,
            next,
            looks: Mutex::default(),
            begun: Instant::now(),
            at_once: AtomicUsize::new(0),
            at_once_max: AtomicUsize::new(0),
            go_on: Semaphore::new(Semaphore::MAX_PERMITS),
            panics_left: AtomicUsize::new(0),
        }
    }

    /// When a resource was looked at, in seconds since the beginning.
    fn looks_at(&self, id: Uuid) -> Vec<u64> {
        let looks = self.looks.lock().unwrap();
        looks.iter().filter(|(one, _)| *one == id).map(|(_, at)| at.as_secs()).collect()
    }
}

#[async_trait]
impl Reconciler for Counter {
    fn pool(&self) -> &'static str {
        "test"
    }

    fn all(&self, _world: &World) -> Vec<Uuid> {
        self.all.clone()
    }

    fn woken_by(&self, _change: &Change) -> Vec<Uuid> {
        vec![]
    }

    async fn reconcile(&self, id: Uuid) -> Next {
        let at_once = self.at_once.fetch_add(1, Ordering::Relaxed) + 1;
        self.at_once_max.fetch_max(at_once, Ordering::Relaxed);
        self.looks.lock().unwrap().push((id, self.begun.elapsed()));
        self.go_on.acquire().await.unwrap().forget();
        self.at_once.fetch_sub(1, Ordering::Relaxed);
        if self.panics_left.load(Ordering::Relaxed) > 0 {
            self.panics_left.fetch_sub(1, Ordering::Relaxed);
            panic!("as the test asks");
        }
        self.next
    }
}

fn start(counter: &Arc<Counter>, tasks_max: usize) -> Pool {
    let replica = Replica::new(World::default(), ChainHead::GENESIS, None);
    Pool::start(counter.clone(), replica, PoolConfig { tasks_max, beat: Duration::from_secs(10) })
}

async fn seconds_pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn everything_is_looked_at_when_the_pool_starts_and_on_each_beat() {
    let counter = Arc::new(Counter::new(vec![id(1), id(2)], Next::Beat));
    let _pool = start(&counter, 4);
    seconds_pass(25).await;
    assert_eq!(counter.looks_at(id(1)), [0, 10, 20]);
    assert_eq!(counter.looks_at(id(2)), [0, 10, 20]);
}

#[tokio::test(start_paused = true)]
async fn a_resource_is_looked_at_again_at_its_own_time() {
    let counter = Arc::new(Counter::new(vec![id(1)], Next::After(Duration::from_secs(4))));
    let _pool = start(&counter, 4);
    seconds_pass(13).await;
    assert_eq!(counter.looks_at(id(1)), [0, 4, 8, 10]);
}

#[tokio::test(start_paused = true)]
async fn what_is_woken_while_it_is_looked_at_is_looked_at_once_more_afterwards() {
    let mut counter = Counter::new(vec![], Next::Beat);
    counter.go_on = Semaphore::new(0);
    let counter = Arc::new(counter);
    let pool = start(&counter, 4);
    let wake = pool.waker();
    wake(id(1));
    seconds_pass(1).await;
    for _ in 0..5 {
        wake(id(1));
    }
    seconds_pass(1).await;
    assert_eq!(counter.looks_at(id(1)), [0], "not by two at once");
    counter.go_on.add_permits(1);
    seconds_pass(1).await;
    assert_eq!(counter.looks_at(id(1)), [0, 2], "and five wakes are one");
    counter.go_on.add_permits(10);
    seconds_pass(5).await;
    assert_eq!(counter.looks_at(id(1)), [0, 2]);
}

#[tokio::test(start_paused = true)]
async fn no_more_are_looked_at_at_once_than_asked_for_and_all_have_their_turn() {
    let all: Vec<Uuid> = (1..=7).map(id).collect();
    let mut counter = Counter::new(all.clone(), Next::Beat);
    counter.go_on = Semaphore::new(0);
    let counter = Arc::new(counter);
    let _pool = start(&counter, 3);
    seconds_pass(1).await;
    assert_eq!(counter.looks.lock().unwrap().len(), 3);
    counter.go_on.add_permits(100);
    seconds_pass(1).await;
    assert_eq!(counter.at_once_max.load(Ordering::Relaxed), 3);
    assert!(all.iter().all(|one| counter.looks_at(*one).len() == 1));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_one_resource_stops_neither_it_nor_the_others() {
    let mut counter = Counter::new(vec![], Next::Beat);
    counter.panics_left = AtomicUsize::new(1);
    let counter = Arc::new(counter);
    let pool = start(&counter, 4);
    let wake = pool.waker();
    wake(id(1));
    seconds_pass(3).await;
    wake(id(2));
    seconds_pass(1).await;
    assert_eq!(counter.looks_at(id(1)), [0, 1], "again after a second");
    assert_eq!(counter.looks_at(id(2)), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_wake_outside_of_the_pools_list_is_heard_too() {
    let counter = Arc::new(Counter::new(vec![], Next::Beat));
    let pool = start(&counter, 4);
    let wake = pool.waker();
    // The pool's handle may go; its wakers stay good.
    drop(pool);
    wake(id(9));
    seconds_pass(1).await;
    assert_eq!(counter.looks_at(id(9)), [0]);
}
