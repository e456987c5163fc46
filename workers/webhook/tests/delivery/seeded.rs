//! The worker by seed, on virtual time, against targets that are slow, down and lie: whatever they do and wherever it is
//! cut off, each event is taken at least once, and each object's in their order.
//!
//! `EDGESTACK_WEBHOOK_SEEDS=1000 cargo nextest run -p edgestack-worker-webhook seeded` looks longer; a failure names its seed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use edgestack_engine::Clock;
use edgestack_model::webhook::WebhookState;
use edgestack_worker_webhook::{
    Patience,
    driver::{SimAnswer, SimDriver, SimReceived},
};
use hyper::StatusCode;
use uuid::Uuid;

use crate::site::Site;

/// The runtime's paused time.
struct VirtualClock(tokio::time::Instant);

impl Clock for VirtualClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000, 0).unwrap() + TimeDelta::from_std(self.0.elapsed()).unwrap()
    }

    fn new_id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// xorshift64*, good enough to choose by.
#[derive(Clone)]
struct Chance(Arc<Mutex<u64>>);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)))
    }

    fn below(&self, bound: u64) -> u64 {
        let mut state = self.0.lock().unwrap();
        *state ^= *state >> 12;
        *state ^= *state << 25;
        *state ^= *state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    fn per_cent(&self, per_cent: u64) -> bool {
        self.below(100) < per_cent
    }
}

/// A target with a mood of its own, until it is told to be good.
fn an_answer(chance: &Chance, mood: u64) -> SimAnswer {
    let millis = |most| Duration::from_millis(chance.below(most));
    let good = SimAnswer { before: millis(20), takes: true, after: millis(20), status: Some(StatusCode::OK) };
    let status = |takes, status| SimAnswer { takes, status: Some(status), ..good };
    match (mood, chance.below(100)) {
        (0, _) => good,
        // Down altogether.
        (1, _) => SimAnswer { takes: false, status: None, ..good },
        // Silent, or later than anybody waits.
        (_, 0..10) => SimAnswer { before: Duration::from_secs(60), takes: false, ..good },
        (_, 10..20) => SimAnswer { after: Duration::from_secs(60), ..good },
        // Took it and said no; took it and broke off; neither.
        (_, 20..30) => status(true, StatusCode::INTERNAL_SERVER_ERROR),
        (_, 30..35) => SimAnswer { status: None, ..good },
        (_, 35..45) => status(false, StatusCode::SERVICE_UNAVAILABLE),
        (_, 45..50) => status(false, StatusCode::UNPROCESSABLE_ENTITY),
        (_, 50..52) => status(false, StatusCode::FOUND),
        _ => good,
    }
}

#[derive(Default)]
struct Seen {
    requests: usize,
    events: usize,
    failed: usize,
    cut_off: usize,
}

async fn run(seed: u64) -> Result<Seen, String> {
    let chance = Chance::new(seed);
    let mut site = Site::with_clock(Arc::new(VirtualClock(tokio::time::Instant::now())));
    site.patience = Patience { give_up_after: Duration::from_secs(365 * 24 * 3600), ..Patience::default() };
    site.beat = Duration::from_secs(600);
    let mood = Arc::new(Mutex::new(0));
    let driver = {
        let (chance, mood) = (chance.clone(), mood.clone());
        Arc::new(SimDriver::new(move || an_answer(&chance, *mood.lock().unwrap())))
    };
    site.add_webhook_with("hook", "https://hooks.example.com/", |_| {}).await;
    let objects = ["a", "b", "c", "d", "e"];
    for name in objects {
        site.add(name).await;
    }
    let mut seen = Seen::default();
    site.start_worker_with(driver.clone());
    for _ in 0..60 {
        match chance.below(10) {
            0 => *mood.lock().unwrap() = chance.below(4),
            1 => {
                // Cut off wherever it is.
                site.stop_worker().await;
                tokio::time::sleep(Duration::from_millis(chance.below(5000))).await;
                site.start_worker_with(driver.clone());
                seen.cut_off += 1;
            }
            2 => tokio::time::sleep(Duration::from_secs(chance.below(4000))).await,
            _ => {
                let name = objects[usize::try_from(chance.below(5)).unwrap()];
                for _ in 0..=chance.below(3) {
                    site.touch(name).await;
                }
                tokio::time::sleep(Duration::from_millis(chance.below(200))).await;
            }
        }
        if chance.per_cent(5) {
            site.update_webhook("hook", |update| update.paused = Some(chance.per_cent(50))).await;
        }
    }
    // From now on nothing goes wrong, and in a day everything is there.
    *mood.lock().unwrap() = 0;
    site.update_webhook("hook", |update| update.paused = Some(false)).await;
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    site.await_all_delivered("hook").await;
    if site.webhook("hook").state != WebhookState::Active {
        return Err(format!("it is {:?}", site.webhook("hook").state));
    }
    let story = site.story().await;
    seen.failed = story.iter().filter(|one| *one == "WebhookFailing").count();
    let told = seen.failed + story.iter().filter(|one| *one == "WebhookRecovered").count();
    let received = driver.received();
    seen.requests = received.len();
    if told > received.len() + 2 * seen.cut_off + 60 {
        return Err(format!("{told} events of failing and recovering for {} requests", received.len()));
    }
    seen.events = check(&received)?;
    let wanted = usize::try_from(site.replica.head().sequence).unwrap() - story.len();
    if seen.events == wanted { Ok(seen) } else { Err(format!("{} of {wanted} events were taken", seen.events)) }
}

/// Each object's events in their order, repetitions apart; how many there are.
fn check(received: &[SimReceived]) -> Result<usize, String> {
    let mut ids = BTreeSet::new();
    let mut last: BTreeMap<String, u64> = BTreeMap::new();
    for one in received.iter().filter(|one| ids.insert(one.id.clone())) {
        let event: serde_json::Value = serde_json::from_slice(&one.body).unwrap();
        let object = event["subject"].as_str().unwrap().to_owned();
        let sequence: u64 = event["sequence"].as_str().unwrap().parse().unwrap();
        if let Some(before) = last.insert(object.clone(), sequence)
            && before > sequence
        {
            return Err(format!("{object}: {sequence} came after {before}"));
        }
    }
    Ok(ids.len())
}

#[test]
fn seeded_runs_lose_nothing_and_keep_the_order() {
    let seeds = std::env::var("EDGESTACK_WEBHOOK_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let mut total = Seen::default();
    for seed in 0..seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let seen = runtime.block_on(run(seed)).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        total.requests += seen.requests;
        total.events += seen.events;
        total.failed += seen.failed;
        total.cut_off += seen.cut_off;
    }
    println!(
        "{seeds} seeds: {} events in {} requests, {} times failing, {} times cut off",
        total.events, total.requests, total.failed, total.cut_off
    );
    // That the faults fired: something came more than once, failed, and was cut off.
    assert!(total.requests > total.events && total.failed > 0 && total.cut_off > 0);
}

#[test]
fn a_broken_order_would_be_noticed() {
    let one = |sequence: u64| SimReceived {
        url: String::new(),
        id: sequence.to_string(),
        body: format!("{{\"subject\":\"flavor/a\",\"sequence\":\"{sequence}\"}}").into(),
    };
    assert_eq!(check(&[one(1), one(2), one(1), one(3)]), Ok(3));
    assert!(check(&[one(2), one(1)]).is_err());
}
