//! Law 4: files of log and archive cut, replaced or gone under the processes that have them open, which go on from memory and
//! tell nothing. Writes stop within a second, and what was acknowledged is there again by itself.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use edgestack_e2e::{
    Api, PATIENCE, Site, a_flavor,
    damage::{blocks, cut_in_half, flip_at, flip_in_the_middle, open_segment},
    eventually,
};

/// Within which writes stop.
const STOPPED_WITHIN: Duration = Duration::from_secs(1);
/// Enough that damage in the middle is not in the last.
const FLAVORS: usize = 60;

/// What somebody does to the files in a state folder.
type Damage = (&'static str, fn(&Path));

async fn a_site(test: &str) -> Option<Site> {
    let site = Site::start_simulated(test).await?;
    for number in 0..FLAVORS {
        site.add_flavor(&format!("f{number}")).await;
    }
    Some(site)
}

/// A client that makes one flavor after another, and what it was told of them.
struct Writer {
    ended: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Told>,
}

#[derive(Default)]
struct Told {
    acknowledged: Vec<String>,
    refused: Vec<Instant>,
}

impl Writer {
    fn begin(site: &Site, prefix: &'static str) -> Self {
        let api: Api = site.api().clone();
        let ended = Arc::new(AtomicBool::new(false));
        let is_over = ended.clone();
        let task = tokio::spawn(async move {
            let mut told = Told::default();
            for number in 0.. {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                let name = format!("{prefix}-{number}");
                if api.try_post("flavors", &a_flavor(&name)).await.is_ok_and(|reply| reply.status == 201) {
                    told.acknowledged.push(name);
                } else {
                    told.refused.push(Instant::now());
                }
            }
            told
        });
        Self { ended, task }
    }

    async fn end(self) -> Told {
        self.ended.store(true, Ordering::SeqCst);
        self.task.await.unwrap()
    }
}

async fn names(site: &Site) -> BTreeSet<String> {
    let (mut found, mut marker) = (BTreeSet::new(), String::new());
    loop {
        let list = site.api().get(&format!("flavors?limit=1000{marker}")).await;
        found.extend(list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        match list["continue"].as_str() {
            Some(next) => marker = format!("&continue={next}"),
            None => return found,
        }
    }
}

async fn repairs(site: &Site) -> u64 {
    site.metric("edgestack_log_repairs_total").await
}

async fn await_repair(site: &Site, before: u64) {
    eventually("the log is repaired", PATIENCE, async || {
        let now = repairs(site).await;
        if now > before { Ok(()) } else { Err(format!("{now} repairs")) }
    })
    .await;
    site.await_ready().await;
}

#[tokio::test]
async fn writes_stop_within_a_second_when_the_files_under_a_running_server_are_not_its_own_any_more() {
    let test = "writes_stop_within_a_second_when_the_files_under_a_running_server_are_not_its_own_any_more";
    let Some(mut site) = a_site(test).await else { return };
    let mut expected = names(&site).await;
    let damages: [Damage; 4] = [
        ("gone", |state| fs::remove_dir_all(state.join("nats/jetstream")).unwrap()),
        ("cut", |state| blocks(state).iter().for_each(|block| cut_in_half(block))),
        ("removed", |state| blocks(state).iter().for_each(|block| fs::remove_file(block).unwrap())),
        ("replaced", |state| {
            for block in blocks(state) {
                let copy = block.with_extension("copy");
                fs::copy(&block, &copy).unwrap();
                fs::rename(&copy, &block).unwrap();
            }
        }),
    ];
    for (what, damage) in damages {
        let before = repairs(&site).await;
        let writer = Writer::begin(&site, what);
        let bytes: u64 = blocks(&site.state()).iter().map(|block| fs::metadata(block).unwrap().len()).sum();
        eventually("the files are looked after, and written to", PATIENCE, async || {
            let now = site.metric("edgestack_log_file_bytes").await;
            if now > bytes { Ok(()) } else { Err(format!("{now} bytes")) }
        })
        .await;
        damage(&site.state());
        let damaged = Instant::now();
        await_repair(&site, before).await;
        let repaired = damaged.elapsed();
        let told = writer.end().await;
        let stopped = told.refused.first().expect("no write was refused").saturating_duration_since(damaged);
        println!("{what}: stopped after {stopped:?}, repaired after {repaired:?}");
        assert!(stopped <= STOPPED_WITHIN, "{what}: writes went on for {stopped:?}");
        expected.extend(told.acknowledged);
        let found = names(&site).await;
        assert!(expected.is_subset(&found), "{what}: lost {:?}", expected.difference(&found));
    }
    // A bit within the last block, while nobody writes there.
    eventually("the files are looked after", PATIENCE, async || {
        let bytes: u64 = blocks(&site.state()).iter().map(|block| fs::metadata(block).unwrap().len()).sum();
        let now = site.metric("edgestack_log_file_bytes").await;
        if now == bytes { Ok(()) } else { Err(format!("{now} bytes of {bytes}")) }
    })
    .await;
    let before = repairs(&site).await;
    blocks(&site.state()).iter().for_each(|block| flip_in_the_middle(block));
    await_repair(&site, before).await;
    // From nothing but the log.
    site.daemon.as_mut().unwrap().stop().await;
    fs::remove_dir_all(site.state().join("views")).unwrap();
    site.up().await;
    let found = names(&site).await;
    assert!(expected.is_subset(&found), "lost {:?}", expected.difference(&found));
}

#[tokio::test]
async fn a_server_that_is_started_without_its_store_is_given_the_log_anew() {
    let Some(site) = a_site("a_server_that_is_started_without_its_store_is_given_the_log_anew").await else { return };
    let expected = names(&site).await;
    let before = repairs(&site).await;
    site.take_nats_program_away();
    site.kill_nats();
    fs::remove_dir_all(site.state().join("nats/jetstream")).unwrap();
    site.give_nats_program_back();
    await_repair(&site, before).await;
    assert!(expected.is_subset(&names(&site).await));
    site.add_flavor("more").await;
}

/// The commits in the open segment, which is the only one, without seals.
fn archived(site: &Site) -> Vec<String> {
    let text = fs::read(site.state().join("archive/open/00000000000000000001.ndjson")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.lines().filter(|line| line.starts_with(r#"{"version""#)).map(str::to_owned).collect()
}

#[tokio::test]
async fn an_archive_that_is_damaged_or_gone_under_the_daemon_is_whole_again_by_itself() {
    let test = "an_archive_that_is_damaged_or_gone_under_the_daemon_is_whole_again_by_itself";
    let Some(mut site) = a_site(test).await else { return };
    let damages: [Damage; 5] = [
        ("flipped", |state| flip_at(&open_segment(state), 0.3)),
        ("cut", |state| cut_in_half(&open_segment(state))),
        ("removed", |state| fs::remove_file(open_segment(state)).unwrap()),
        ("replaced", |state| {
            let segment = open_segment(state);
            let text = fs::read(&segment).unwrap();
            fs::remove_file(&segment).unwrap();
            fs::write(&segment, &text[..text.len() / 3]).unwrap();
        }),
        ("gone", |state| fs::remove_dir_all(state.join("archive")).unwrap()),
    ];
    for (what, damage) in damages {
        site.add_flavor(&format!("before-{what}")).await;
        let whole = eventually("all is archived", PATIENCE, async || {
            let lines = archived(&site);
            let last = lines.last().cloned().unwrap_or_default();
            if last.contains(&format!("before-{what}")) { Ok(lines) } else { Err(last) }
        })
        .await;
        damage(&site.state());
        // Whoever writes meanwhile needn't know of it.
        site.add_flavor(&format!("after-{what}")).await;
        let began = Instant::now();
        eventually(&format!("the archive that was {what} is whole"), PATIENCE, async || {
            let lines = archived(&site);
            let last = lines.last().cloned().unwrap_or_default();
            let is_whole = lines.starts_with(&whole) && last.contains(&format!("after-{what}"));
            if is_whole { Ok(()) } else { Err(format!("{} lines of {}", lines.len(), whole.len() + 1)) }
        })
        .await;
        println!("{what}: whole again after {:?}", began.elapsed());
        site.api().get("flavors?at=40").await;
    }
    // It is good for what it is for.
    let expected = names(&site).await;
    site.daemon.as_mut().unwrap().stop().await;
    fs::remove_dir_all(site.state().join("nats/jetstream")).unwrap();
    fs::remove_dir_all(site.state().join("views")).unwrap();
    site.up().await;
    site.await_ready().await;
    assert!(expected.is_subset(&names(&site).await));
}
