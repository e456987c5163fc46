//! One seed: several lives of the control plane with faults, then a calm one, then the checks.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use edgestack_log::{Log as _, LogError, StoredCommit, memory::MemoryLog};
use edgestack_model::Commit;

use crate::{
    checkers::{self, Evidence},
    clients::{CLIENTS, run_client, uncordon_all},
    control_plane::{self, ControlPlane},
    crash::Killed,
    damage,
    fault::Fault,
    faults::run_faults,
    outside::Outside,
};

/// How long everything may take to settle when nothing goes wrong any more, simulated. The longest back-off is five
/// minutes, a guest's longest grace two.
const SETTLED_WITHIN: Duration = Duration::from_secs(20 * 60);
/// How long it must stay settled, in seconds, simulated.
const SETTLED_FOR: u32 = 12;
/// How long nothing may stir once all is settled: longer than the beats and the readings of the log take.
const QUIET_FOR: Duration = Duration::from_secs(75);
/// Lives with faults of each run.
const LIVES_MIN: u64 = 3;
const LIVES_MORE: u64 = 6;

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
    /// What went wrong on purpose, and how often.
    pub faults: BTreeMap<Fault, u64>,
}

/// A law that was broken, and how to see it again.
#[derive(Debug)]
pub struct Violation {
    seed: u64,
    /// What is wrong, for people.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, what } = self;
        write!(f, "seed {seed}: {what}\nreplay, with a trace: RUST_LOG=debug EDGESTACK_SIM_SEED={seed} {REPLAY}")
    }
}

impl std::error::Error for Violation {}

/// The command that runs seeds as CI does; the seeds stand before it, in `EDGESTACK_SIM_SEED`.
pub const REPLAY: &str =
    "cargo test --profile sim --features planted-bugs -p edgestack-sim --test seeds -- --nocapture";

/// Runs one seed.
///
/// # Errors
/// The first law that was broken.
pub fn run(seed: u64) -> Result<Report, Violation> {
    watch_panics();
    let outside = begin(seed);
    let outcome = catch_unwind(AssertUnwindSafe(|| all_lives(&outside)));
    let outcome = outcome.unwrap_or_else(|_| Err(PANICS.take().into_iter().next().unwrap_or_default()));
    end();
    outcome.map_err(|what| Violation { seed, what })
}

/// Runs one seed with one law as its only judge: what the others would have said before it is passed over.
///
/// # Errors
/// What that law says.
pub fn run_judged_by(law: &'static str, seed: u64) -> Result<Report, Violation> {
    JUDGE.set(Some(law));
    let outcome = run(seed);
    JUDGE.set(None);
    outcome
}

/// Where a run keeps what lies on disks: in memory where there is such a place, since nothing of it is to stay.
fn folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    if memory.is_dir()
        && let Ok(folder) = tempfile::tempdir_in(memory)
    {
        return folder;
    }
    tempfile::tempdir().unwrap()
}

fn begin(seed: u64) -> Arc<Outside> {
    let folder = folder();
    let outside = Arc::new(Outside::new(seed, folder.path().to_owned()));
    FOLDER.set(Some(folder));
    PANICS.take();
    #[cfg(feature = "planted-bugs")]
    {
        let outside = outside.clone();
        edgestack_planted::at_crash_points(Some(std::rc::Rc::new(move |name| {
            if name == "archive.synced" {
                outside.note_synced();
            }
            outside.crash.pass_between();
        })));
    }
    outside
}

fn end() {
    #[cfg(feature = "planted-bugs")]
    edgestack_planted::at_crash_points(None);
    FOLDER.set(None);
}

fn all_lives(outside: &Arc<Outside>) -> Result<Report, String> {
    let lives = LIVES_MIN + outside.random.below(LIVES_MORE);
    let mut crashes = 0;
    for _ in 0..lives {
        let killed = live(outside);
        crashes += u64::from(killed);
        after(outside, killed);
        if let Some(what) = outside.violations.first() {
            return Err(what);
        }
    }
    outside.calm_down();
    if outside.random.per_mille(250) {
        outside.lose_a_node();
    }
    settle(outside)?;
    after(outside, false);
    edgestack_planted::without(|| judge(outside, lives, crashes))
}

/// What was left is judged by those who don't share its mistakes.
fn judge(outside: &Arc<Outside>, lives: u64, crashes: u64) -> Result<Report, String> {
    let evidence = read(&outside.log.inner);
    let head = checkers::chain::check(&evidence).map_err(|what| format!("chain: {what}"))?;
    by("acknowledged", checkers::acknowledged::check(outside, &evidence))?;
    by("effects", checkers::effects::check(outside, &evidence))?;
    by("generation", checkers::generation::check(&evidence))?;
    by("placed", checkers::placed::check(&evidence))?;
    by("leases", checkers::leases::check(&evidence))?;
    by("drift", checkers::drift::check(outside, &evidence))?;
    by("orphans", checkers::orphans::check(outside, &evidence))?;
    by("archive", checkers::archive::check(outside, &evidence, head))?;
    by("views", checkers::views::check(outside, &evidence))?;
    let panics = PANICS.with_borrow_mut(|panics| panics.drain(..).next());
    if let Some(what) = outside.violations.first().or(panics) {
        return Err(what);
    }
    Ok(Report {
        commits: head.sequence,
        head: head.hash_hex(),
        lives: (lives + 1, crashes),
        simulated: outside.clock.passed(),
        answers: outside.ledger.answers(),
        faults: outside.faults.counts(),
    })
}

/// What a law's checker says, with the law's name; nothing where another law is the only judge.
fn by(law: &'static str, found: Result<(), String>) -> Result<(), String> {
    debug_assert!(checkers::LAWS.contains(&law), "{law}");
    if is_judged_by(law) { found.map_err(|what| format!("{law}: {what}")) } else { Ok(()) }
}

/// Whether what this law says counts.
pub(crate) fn is_judged_by(law: &str) -> bool {
    JUDGE.get().is_none_or(|judge| judge == law)
}

/// Between two lives: what the disks make of the end, and what happens to them before the next.
fn after(outside: &Outside, killed: bool) {
    if killed && outside.random.per_mille(250) {
        // Who dies suddenly may not have archived what is in the log.
        outside.damage_log();
    }
    *outside.archive.lock().unwrap() = None;
    outside.end_pauses();
    if !outside.faulty() {
        return;
    }
    if killed {
        outside.cut_power();
    }
    outside.damage_views();
}

/// One life of the control plane; true when it was killed.
fn live(outside: &Arc<Outside>) -> bool {
    let killed = AtomicBool::new(false);
    in_simulated_time(outside, async {
        let random = &outside.random;
        let until = tokio::time::Instant::now() + random.millis(10_000, 150_000);
        let passes = if random.per_mille(800) { 1 + random.below(2500) } else { 0 };
        outside.crash.arm(i64::try_from(passes).unwrap());
        let life = async {
            let plane = control_plane::start(outside).await;
            // Half of the lives have a second engine, and half of the clients go there.
            let second = match random.per_mille(500) {
                true => Some(control_plane::start_second_engine(outside, &plane.heartbeats).await),
                false => None,
            };
            for client in 0..CLIENTS {
                let to = second.as_ref().filter(|_| client % 2 == 1).unwrap_or(&plane);
                tokio::spawn(run_client(client, outside.clone(), to.clone()));
            }
            tokio::spawn(run_faults(outside.clone()));
            let mut heard = checkers::heard::Heard::default();
            let mut noticed = checkers::noticed::Noticed::default();
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                outside.crash.or_never().await;
                let world = plane.replica.world().clone();
                let checked = edgestack_planted::without(|| {
                    by("sound", checkers::sound::check(outside, &world))?;
                    by("guarded", checkers::guarded::check_ready(outside))?;
                    by("noticed", noticed.check(outside, &world, plane.replica.failure().is_some()))?;
                    by("heard", heard.check(outside, &world, plane.replica.failure().is_some()))
                });
                if let Err(what) = checked {
                    outside.violations.add(what);
                }
                for plane in second.iter().chain([&plane]) {
                    if let Some(failure) = plane.replica.failure().filter(|failure| !failure.is_damage()) {
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
    killed.into_inner() || outside.crash.is_dead()
}

/// A life without faults, until all is where it should be; then what was left on the nodes is cleared away, and a VM is
/// made and removed as quickly as nothing in the way allows.
fn settle(outside: &Arc<Outside>) -> Result<(), String> {
    let outcome = Mutex::new(Err("the last life ended by itself".to_owned()));
    in_simulated_time(outside, async {
        let settled = async {
            "the site starts".clone_into(&mut outside.waits_for.lock().unwrap());
            let plane = control_plane::start(outside).await;
            "the site has started".clone_into(&mut outside.waits_for.lock().unwrap());
            let settled = settled_life(outside, &plane).await;
            plane.views.as_ref().unwrap().flush().unwrap();
            settled
        };
        let in_time = tokio::time::timeout(SETTLED_WITHIN * 4, settled).await;
        *outcome.lock().unwrap() = in_time.unwrap_or_else(|_| {
            let waits_for = outside.waits_for.lock().unwrap();
            Err(format!("settled: without faults, and not in hours: {waits_for}"))
        });
    });
    outcome.into_inner().unwrap()
}

async fn settled_life(outside: &Arc<Outside>, plane: &ControlPlane) -> Result<(), String> {
    uncordon_all(outside, plane).await?;
    for node in outside.living() {
        outside.plant(node).await;
    }
    until_settled(outside, plane, SETTLED_WITHIN).await?;
    for node in outside.living() {
        outside.clear_away(node).await;
    }
    until_settled(outside, plane, SETTLED_WITHIN).await?;
    by("prompt", checkers::prompt::check(outside, plane).await)?;
    until_settled(outside, plane, SETTLED_WITHIN).await?;
    by("quiet", checkers::quiet::check(outside, plane, QUIET_FOR).await)?;
    by("noticed", checkers::noticed::check_at_rest(outside, plane).await)?;
    until_settled(outside, plane, SETTLED_WITHIN).await?;
    by("drift", checkers::drift::check_at_rest(outside, plane).await)?;
    until_settled(outside, plane, SETTLED_WITHIN).await?;
    edgestack_planted::without(|| by("traffic", checkers::traffic::check(outside, &plane.replica.world())))?;
    // What lies in the midst of the log and of the archive was read by their own checks by now.
    if damage::whole(&outside.log.inner).is_none() {
        return Err("chain: the log is damaged, and nobody noticed".to_owned());
    }
    Ok(())
}

async fn until_settled(outside: &Outside, plane: &ControlPlane, within: Duration) -> Result<(), String> {
    // What nobody judges isn't waited for.
    let within = if is_judged_by("settled") { within } else { within / 10 };
    let deadline = tokio::time::Instant::now() + within;
    let mut settled_for = 0;
    while settled_for < SETTLED_FOR {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let world = plane.replica.world().clone();
        let mut settled = edgestack_planted::without(|| checkers::sound::check(outside, &world));
        if let Some(failure) = plane.replica.failure() {
            settled = Err(format!("the log is damaged: {failure:?}"));
        }
        if settled.is_ok() {
            settled = checkers::settled::check(outside, &world).await;
        }
        match settled {
            Ok(()) => settled_for += 1,
            Err(what) if tokio::time::Instant::now() > deadline => {
                return by("settled", Err(format!("not in {within:?}: {what}")));
            }
            Err(what) => {
                *outside.waits_for.lock().unwrap() = what;
                settled_for = 0;
            }
        }
    }
    Ok(())
}

/// A runtime of its own for each life: what is dropped with it stops wherever it was.
fn in_simulated_time(outside: &Outside, life: impl Future<Output = ()>) {
    struct Ending<'a>(&'a Outside);
    impl Drop for Ending<'_> {
        fn drop(&mut self) {
            self.0.clock.end();
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let lived = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            outside.clock.begin();
            let _ending = Ending(outside);
            life.await;
        });
    }));
    match lived {
        Err(payload) if !payload.is::<Killed>() => resume_unwind(payload),
        Ok(()) | Err(_) => {}
    }
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
    /// The only law that counts, if not all do.
    static JUDGE: std::cell::Cell<Option<&'static str>> = const { std::cell::Cell::new(None) };
    static FOLDER: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
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
