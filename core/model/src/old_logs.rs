//! Whole logs as each form of the events wrote them: their bytes chain, decode, and fold to one world.
//!
//! `tests/golden/log/<form>.jsonl` is the same story, told in one form of the events after the other: a commit a line, the
//! very bytes of the log. A file is never edited. Who gives an event type its next version raises [`FORM`] and adds the
//! next one: `UPDATE_GOLDEN=1 cargo nextest run -p edgestack-model old_logs`. All of them must fold to `world.json`, which
//! the same command writes anew when the world's own types change; its diff is for a person to read.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::PathBuf};

use chrono::TimeDelta;
use sha2::{Digest, Sha256};

use crate::{
    Commit, Kind, World,
    builders::*,
    image::ImageCommand,
    keypair::KeypairCommand,
    node::NodeFacts,
    vm::{Instance, StoppedHow, VmCommand, VmReport},
    volume::VolumeReport,
};

/// The form that events are written in now: the number of the newest file.
const FORM: u32 = 2;

/// A site's life, with resources of each kind, many in each of their states.
fn story() -> Vec<Commit> {
    let mut site = a_world();
    let facts = a_node();
    let fewer = NodeFacts { addresses: vec!["192.0.2.9".into()], ..facts };
    site.has(an_inventory("edge-1", fewer));
    site.has(an_inventory("edge-2", a_node_of(4, 4096, 40)));
    site.has(cordon("edge-2"));
    site = site.with_key("k-1", &"f".repeat(64)).because("the shop needs it").later(TimeDelta::seconds(7));
    site.has(a_vm("web"));
    (site.key, site.reason) = (None, None);
    site.has(site.told_of_root("web", VolumeReport::AttemptFailed(failed("create"))));
    site = site.later(TimeDelta::seconds(30));
    site.has(site.told_of_root("web", VolumeReport::Created));
    site.has(runs_as_ever(&site));
    site.has(pause("web"));
    site.has(site.told("web", VmReport::Paused));
    site.has(unpause("web"));
    site.has(site.told("web", VmReport::Unpaused));
    site.has(update("web", described("the shop")));
    site.has(stop("web", 30));
    site.has(site.told("web", stopped(StoppedHow::Forced)));
    site.has(start("web"));
    site.has(runs_as_ever(&site));
    site.has(restart("web"));
    site.has(lost("edge-1"));
    site.has(an_inventory("edge-1", a_node()));
    site.has(a_webhook("hook"));
    site.has(an_image("gone"));
    site.has(ImageCommand::Delete { image: "gone".into() });
    site.has(KeypairCommand::Update { keypair: "me".into(), change: described("mine") });
    site.has(a_vm("brief"));
    site.has(delete("brief"));
    site.workers_finish_removals();
    site.has(a_flavor("large", a_shape()));
    site.has(uncordon("edge-2"));
    site.log
}

/// VM `web` runs. Which NICs its process has wasn't told yet when these logs were written.
fn runs_as_ever(site: &Site) -> VmCommand {
    site.told("web", VmReport::Started(Instance { nics: None, ..site.an_instance("web") }))
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/log")
}

fn file_of(form: u32) -> PathBuf {
    folder().join(format!("{form}.jsonl"))
}

/// Adds the newest log, if it isn't there, and writes the world anew. Both tests do, as they run at once.
fn update_if_asked_for() {
    if std::env::var_os("UPDATE_GOLDEN").is_none_or(|value| value != "1") {
        return;
    }
    let commits = story();
    let mut world = World::default();
    for commit in &commits {
        world.evolve(commit).unwrap();
    }
    fs::create_dir_all(folder()).unwrap();
    fs::write(folder().join("world.jsonl"), shown(&world)).unwrap();
    if !file_of(FORM).exists() {
        fs::write(file_of(FORM), chained(commits)).unwrap();
    }
}

fn hash(line: &[u8]) -> String {
    hex::encode(Sha256::digest(line))
}

/// The commits' bytes, chained.
fn chained(mut commits: Vec<Commit>) -> String {
    let (mut text, mut previous) = (String::new(), "0".repeat(64));
    for commit in &mut commits {
        commit.previous_hash = previous;
        let line = commit.encode().unwrap();
        previous = hash(&line);
        text += std::str::from_utf8(&line).unwrap();
        text.push('\n');
    }
    text
}

/// Every resource, and what is remembered of idempotency keys, a line each.
fn shown(world: &World) -> String {
    let mut text = String::new();
    for resource in world.resources() {
        writeln!(text, "{}", serde_json::to_string(&resource).unwrap()).unwrap();
    }
    for (key, first) in world.idempotency.iter() {
        writeln!(text, "{}", serde_json::json!({ "key": key, "first": first })).unwrap();
    }
    text
}

#[test]
fn old_logs_of_every_form_chain_decode_and_fold_to_one_world() {
    update_if_asked_for();
    let golden = fs::read_to_string(folder().join("world.jsonl")).unwrap();
    for form in 1..=FORM {
        let log = fs::read(file_of(form)).unwrap_or_else(|error| panic!("{}: {error}", file_of(form).display()));
        let (mut world, mut previous) = (World::default(), "0".repeat(64));
        for line in log.strip_suffix(b"\n").unwrap().split(|byte| *byte == b'\n') {
            let commit = Commit::decode(line).unwrap_or_else(|error| panic!("form {form}: {error:?}"));
            assert_eq!(commit.previous_hash, previous, "form {form}, commit {}", commit.sequence);
            world.evolve(&commit).unwrap_or_else(|error| panic!("form {form}: {error}"));
            previous = hash(line);
        }
        assert_eq!(shown(&world), golden, "form {form} folds to another world");
    }
}

#[test]
fn the_newest_of_the_old_logs_is_what_is_written_now() {
    let file = file_of(FORM);
    let now = chained(story());
    update_if_asked_for();
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        now,
        "commits are encoded in another form than {}: give the event type its next version and raise FORM",
        file.display()
    );
    let told: BTreeSet<Kind> =
        story().iter().flat_map(|commit| &commit.events).map(|event| event.fact.kind()).collect();
    let then = Kind::ALL.into_iter().filter(|kind| !is_of_later(*kind)).collect();
    assert_eq!(told, then, "the story has events of every kind that the first form had");
}

/// Kinds that came after the first form, whose world all others must lead to.
fn is_of_later(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Lease
            | Kind::Network
            | Kind::SecurityGroup
            | Kind::SecurityGroupRule
            | Kind::Router
            | Kind::FloatingIp
            | Kind::LoadBalancer
    )
}
