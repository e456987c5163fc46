//! One seed: several lives of the control plane with faults, then a calm one, then the checks.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use edgestack_engine::Clock as _;
use edgestack_log::{Log as _, LogError, StoredCommit, memory::MemoryLog};
use edgestack_model::Commit;

use crate::{
    checkers::{self, Evidence},
    clients::{CLIENTS, run_client, uncordon_all},
    control_plane,
    faults::run_faults,
    outside::Outside,
};

/// How long everything may take to settle when nothing goes wrong any more, simulated. The longest back-off is five
/// minutes, a guest's longest grace two.
const SETTLED_WITHIN: Duration = Duration::from_secs(20 * 60);
/// How long it must stay settled, simulated.
const SETTLED_FOR: u32 = 30;

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Commits in the log.
    pub commits: u64,
    /// The hash of the last: the same seed gives the same.
    pub head: String,
    /// Lives of the control plane, and how many of them ended by a crash.
    pub lives: (u64, u64),
    /// Simulated time.
    pub simulated: Duration,
    /// How often clients got each kind of answer.
    pub answers: BTreeMap<&'static str, usize>,
}

/// A law that was broken, and how to see it again.
#[derive(Debug)]
pub struct Violation {
    seed: u64,
    what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, what } = self;
        write!(
            f,
            "seed {seed}: {what}\nreplay: EDGESTACK_SIM_SEED={seed} cargo nextest run -p edgestack-sim --no-capture"
        )
    }
}

impl std::error::Error for Violation {}

/// Runs one seed.
///
/// # Errors
/// The first law that was broken.
pub fn run(seed: u64) -> Result<Report, Violation> {
    watch_panics();
    let folder = tempfile::tempdir().unwrap();
    let outside = Arc::new(Outside::new(seed, folder.path().to_owned()));
    let violation = |what: String| Violation { seed, what };
    let lives = 3 + outside.random.below(6);
    let mut crashes = 0;
    for _ in 0..lives {
        crashes += u64::from(live(&outside));
        if let Some(what) = outside.violations.first() {
            return Err(violation(what));
        }
    }
    outside.calm_down();
    settle(&outside).map_err(violation)?;
    let evidence = read(&outside.log.inner);
    let head = checkers::chain::check(&evidence).map_err(violation)?;
    checkers::acknowledged::check(&outside, &evidence).map_err(violation)?;
    checkers::generation::check(&evidence).map_err(violation)?;
    checkers::orphans::check(&outside, &evidence).map_err(violation)?;
    checkers::views::check(&outside, &evidence).map_err(violation)?;
    let panics = PANICS.with_borrow_mut(|panics| panics.drain(..).next());
    if let Some(what) = outside.violations.first().or(panics) {
        return Err(violation(what));
    }
    Ok(Report {
        commits: head.sequence,
        head: head.hash_hex(),
        lives: (lives + 1, crashes),
        simulated: outside.clock.passed(),
        answers: outside.ledger.answers(),
    })
}

/// One life of the control plane; true when it was killed.
fn live(outside: &Arc<Outside>) -> bool {
    let killed = AtomicBool::new(false);
    in_simulated_time(outside, async {
        let random = &outside.random;
        let until = tokio::time::Instant::now() + random.millis(10_000, 150_000);
        let passes = if random.per_mille(800) { 1 + random.below(900) } else { 0 };
        outside.crash.arm(i64::try_from(passes).unwrap());
        outside.log.away.store(false, Ordering::Relaxed);
        let life = async {
            let plane = control_plane::start(outside).await;
            // Half of the lives have a second engine, and half of the clients go there.
            let second = match random.per_mille(500) {
                true => Some(control_plane::start_second_engine(outside).await),
                false => None,
            };
            for client in 0..CLIENTS {
                let to = second.as_ref().filter(|_| client % 2 == 1).unwrap_or(&plane);
                tokio::spawn(run_client(client, outside.clone(), to.clone()));
            }
            tokio::spawn(run_faults(outside.clone()));
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let checked = checkers::sound::check(&plane.replica.world(), outside.clock.now());
                if let Err(what) = checked {
                    outside.violations.add(what);
                }
                for plane in second.iter().chain([&plane]) {
                    if let Some(failure) = plane.replica.failure() {
                        outside.violations.add(format!("a replica failed: {failure:?}"));
                    }
                }
            }
        };
        tokio::select! {
            biased;
            () = outside.crash.pulled() => killed.store(true, Ordering::Relaxed),
            () = tokio::time::sleep_until(until) => {}
            () = life => {}
        }
    });
    killed.into_inner()
}

/// A life without faults, until all is where it should be; then what was left on the nodes is cleared away.
fn settle(outside: &Arc<Outside>) -> Result<(), String> {
    let outcome = Mutex::new(Ok(()));
    in_simulated_time(outside, async {
        let plane = control_plane::start(outside).await;
        uncordon_all(outside, &plane).await;
        for node in &outside.nodes {
            outside.plant(node).await;
        }
        let mut settled = until_settled(outside, &plane).await;
        if settled.is_ok() {
            for node in &outside.nodes {
                outside.clear_away(node).await;
            }
            settled = until_settled(outside, &plane).await;
        }
        *outcome.lock().unwrap() = settled;
        plane.views.as_ref().unwrap().flush().unwrap();
    });
    outcome.into_inner().unwrap()
}

async fn until_settled(outside: &Outside, plane: &control_plane::ControlPlane) -> Result<(), String> {
    let deadline = tokio::time::Instant::now() + SETTLED_WITHIN;
    let mut settled_for = 0;
    while settled_for < SETTLED_FOR {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let world = plane.replica.world().clone();
        let settled = match checkers::sound::check(&world, outside.clock.now()) {
            Ok(()) => checkers::settled::check(outside, &world).await,
            unsound => unsound,
        };
        match settled {
            Ok(()) => settled_for += 1,
            Err(what) if tokio::time::Instant::now() > deadline => {
                return Err(format!("not settled in {SETTLED_WITHIN:?}: {what}"));
            }
            Err(_) => settled_for = 0,
        }
    }
    Ok(())
}

/// A runtime of its own for each life: what is dropped with it stops wherever it was.
fn in_simulated_time(outside: &Outside, life: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        outside.clock.begin();
        life.await;
        outside.clock.end();
    });
}

fn read(log: &MemoryLog) -> Evidence {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut stored: Vec<StoredCommit> = Vec::new();
        loop {
            match log.read(stored.len() as u64 + 1, 1000).await {
                Ok(batch) if batch.is_empty() => break,
                Ok(batch) => stored.extend(batch),
                // It is so for a number of calls.
                Err(LogError::Unavailable(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        let commits = stored.iter().map(|stored| Commit::decode(&stored.payload).unwrap()).collect();
        Evidence { stored, commits }
    })
}

thread_local! {
    /// A run is one thread.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A panic in a task of the control plane ends the task alone, and must not go unseen.
fn watch_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            before(info);
        }));
    });
}
