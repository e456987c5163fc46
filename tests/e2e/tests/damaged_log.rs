//! Law 4: JetStream's files damaged, cut or gone, while it is stopped and while it runs: writes stop, the log is repaired
//! from the archive by itself, nothing acknowledged is lost. And the other way round.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

use std::{collections::BTreeSet, fs, path::Path};

use edgestack_e2e::{
    PATIENCE, Site, a_flavor,
    damage::{blocks, cut_in_half, flip_at, flip_in_the_middle, open_segment},
    eventually,
};

/// Each has some 800 bytes; enough of them that damage in the middle is not in the last.
const FLAVORS: usize = 120;

async fn a_site(test: &str) -> Option<Site> {
    let site = Site::start_simulated(test).await?;
    for number in 0..FLAVORS {
        site.add_flavor(&format!("f{number}")).await;
    }
    await_archived(&site).await;
    Some(site)
}

/// Waits until the archive has what is folded now.
async fn await_archived(site: &Site) {
    eventually("all is archived", PATIENCE, async || {
        let metrics = site.api().look("/metrics").await.map_err(|error| error.to_string())?.text;
        let value = |name: &str| {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|value| value.parse::<f64>().ok()).ok_or_else(|| format!("no {name}"))
        };
        let (archived, folded) = (value("edgestack_archive_sequence")?, value("edgestack_log_sequence")?);
        if archived >= folded { Ok(()) } else { Err(format!("{archived} of {folded}")) }
    })
    .await;
}

async fn names(site: &Site) -> BTreeSet<String> {
    let list = site.api().get("flavors?limit=1000").await;
    list["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

/// All that was acknowledged is there, in the log too, and more can be written.
async fn is_whole(site: &Site, more: &str) {
    site.await_ready().await;
    let mut expected: BTreeSet<String> = (0..FLAVORS).map(|number| format!("f{number}")).collect();
    assert!(expected.is_subset(&names(site).await), "something acknowledged is lost");
    site.add_flavor(more).await;
    expected.insert(more.to_owned());
    await_archived(site).await;
    // From the log alone.
    let mut rebuilt = names(site).await;
    rebuilt.retain(|name| expected.contains(name));
    assert_eq!(rebuilt, expected);
}

#[tokio::test]
async fn a_log_damaged_while_stopped_is_repaired_at_the_next_start() {
    let Some(mut site) = a_site("a_log_damaged_while_stopped_is_repaired_at_the_next_start").await else { return };
    for round in 0..8 {
        site.daemon.as_mut().unwrap().stop().await;
        let stream = site.state().join("nats/jetstream");
        let what = match round {
            0 => {
                fs::remove_dir_all(&stream).unwrap();
                "the whole store gone"
            }
            1 => {
                blocks(&site.state()).iter().for_each(|block| flip_in_the_middle(block));
                "a bit flipped"
            }
            2 => {
                blocks(&site.state()).iter().for_each(|block| cut_in_half(block));
                "a block cut in half"
            }
            3 => {
                blocks(&site.state()).iter().for_each(|block| fs::remove_file(block).unwrap());
                "the blocks gone"
            }
            4 => {
                blocks(&site.state()).iter().for_each(|block| fs::write(block, b"").unwrap());
                "the blocks emptied"
            }
            5 => {
                // JetStream's own notes of what it has; it makes them anew.
                for block in blocks(&site.state()) {
                    let folder = block.parent().unwrap();
                    fs::remove_file(folder.join("index.db")).unwrap_or_default();
                }
                "the index gone"
            }
            6 => {
                blocks(&site.state()).iter().for_each(|block| flip_in_the_middle(block));
                fs::remove_dir_all(site.state().join("views")).unwrap();
                "a bit flipped, and no views"
            }
            _ => {
                fs::remove_dir_all(&stream).unwrap();
                fs::remove_dir_all(site.state().join("views")).unwrap();
                "store and views gone"
            }
        };
        println!("{what}");
        site.up().await;
        is_whole(&site, &format!("stopped-{round}")).await;
        // Once more from nothing but the log.
        site.daemon.as_mut().unwrap().stop().await;
        fs::remove_dir_all(site.state().join("views")).unwrap();
        site.up().await;
        is_whole(&site, &format!("again-{round}")).await;
    }
}

#[tokio::test]
async fn a_log_that_loses_commits_while_it_runs_is_repaired_while_it_runs() {
    let Some(site) = a_site("a_log_that_loses_commits_while_it_runs_is_repaired_while_it_runs").await else { return };
    for round in 0..3 {
        let before = repairs(&site).await;
        let damage = [flip_in_the_middle, cut_in_half, |path: &Path| fs::remove_file(path).unwrap()][round];
        blocks(&site.state()).iter().for_each(|block| damage(block));
        // A server that holds its blocks in memory reads them again when it is started again.
        site.kill_nats();
        eventually("the log is repaired", PATIENCE, async || {
            let now = repairs(&site).await;
            if now > before { Ok(()) } else { Err(format!("{now} repairs")) }
        })
        .await;
        is_whole(&site, &format!("running-{round}")).await;
    }
    assert!(site.state().join("nats/jetstream.damaged").exists(), "the damaged store is kept");
}

async fn repairs(site: &Site) -> u64 {
    site.metric("edgestack_log_repairs_total").await
}

#[tokio::test]
async fn an_archive_that_is_damaged_or_gone_comes_again_from_the_log() {
    let Some(mut site) = a_site("an_archive_that_is_damaged_or_gone_comes_again_from_the_log").await else { return };
    let whole = fs::read(open_segment(&site.state())).unwrap();
    for round in 0..3 {
        site.daemon.as_mut().unwrap().stop().await;
        match round {
            0 => flip_in_the_middle(&open_segment(&site.state())),
            1 => cut_in_half(&open_segment(&site.state())),
            _ => fs::remove_dir_all(site.state().join("archive")).unwrap(),
        }
        site.up().await;
        await_archived(&site).await;
        let lines = |bytes: &[u8]| -> Vec<Vec<u8>> {
            let lines = bytes.split(|byte| *byte == b'\n').filter(|line| line.starts_with(br#"{"version""#));
            lines.map(<[u8]>::to_vec).collect()
        };
        let now = fs::read(open_segment(&site.state())).unwrap();
        assert!(lines(&now).starts_with(&lines(&whole)), "the same commits as before");
        is_whole(&site, &format!("archive-{round}")).await;
    }
}

/// Keeps the first third of the archive, up to a whole write.
fn cut_the_archive_back(site: &Site) {
    let file = open_segment(&site.state());
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() / 3]).unwrap();
}

#[tokio::test]
async fn what_either_copy_has_lost_is_taken_from_the_other() {
    let Some(mut site) = a_site("what_either_copy_has_lost_is_taken_from_the_other").await else { return };
    site.daemon.as_mut().unwrap().stop().await;
    cut_the_archive_back(&site);
    blocks(&site.state()).iter().for_each(|block| flip_at(block, 0.1));
    fs::remove_dir_all(site.state().join("views")).unwrap();
    site.up().await;
    is_whole(&site, "from-both").await;
}

#[tokio::test]
async fn what_is_in_neither_copy_is_left_to_a_person() {
    let Some(mut site) = a_site("what_is_in_neither_copy_is_left_to_a_person").await else { return };
    site.daemon.as_mut().unwrap().stop().await;
    cut_the_archive_back(&site);
    blocks(&site.state()).iter().for_each(|block| flip_at(block, 0.66));
    fs::remove_dir_all(site.state().join("views")).unwrap();
    site.up().await;
    eventually("it says why it does not repair", PATIENCE, async || {
        let log = site.daemon.as_ref().unwrap().log();
        if log.contains("it is in neither copy") { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let reply = site.api().post("flavors", &a_flavor("more")).await;
    assert_eq!(reply.status, 503, "{}", reply.text);
    assert!(names(&site).await.len() > FLAVORS / 2, "what comes before is read");
    assert!(!site.state().join("nats/jetstream.damaged").exists(), "nothing was replaced");
}

#[tokio::test]
async fn two_logs_that_are_both_whole_are_left_to_a_person() {
    let Some(mut site) = a_site("two_logs_that_are_both_whole_are_left_to_a_person").await else { return };
    let Some(mut other) = a_site("two_logs_that_are_both_whole_are_left_to_a_person").await else { return };
    site.daemon.as_mut().unwrap().stop().await;
    other.daemon.as_mut().unwrap().stop().await;
    let archive = site.state().join("archive");
    fs::rename(&archive, site.state().join("archive.own")).unwrap();
    fs::rename(other.state().join("archive"), &archive).unwrap();
    assert!(!site.try_up_with(&[]).await, "it must not choose by itself");
    let log = site.daemon.as_ref().unwrap().log();
    assert!(log.contains("two different logs"), "{log}");
    // What it says helps.
    fs::remove_dir_all(&archive).unwrap();
    site.up().await;
    is_whole(&site, "chosen").await;
}
