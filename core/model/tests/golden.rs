//! Law 10: events of every released version stay readable. `tests/golden/events` holds one file an event type and
//! version (and one for each case of a type that has several forms); they are never edited, only added:
//!
//! `UPDATE_GOLDEN=1 cargo nextest run -p edgestack-model golden` writes those that are missing and overwrites none.
#![allow(clippy::unwrap_used, reason = "a test's own functions are tests, too")]

#[path = "golden/samples.rs"]
mod samples;
#[path = "golden/types.rs"]
mod types;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use edgestack_model::{Commit, Event, Kind, event::EventRecord};
use types::all_types;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

/// Where the present form of an event is kept.
fn file_of(record: &EventRecord, case: &str) -> PathBuf {
    let case = if case.is_empty() { String::new() } else { format!(".{case}") };
    let name = format!("{}.v{}{case}.json", record.event_type, record.version);
    folder().join("events").join(&record.kind).join(name)
}

fn update_asked_for() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1")
}

fn add(file: &Path, text: &str) {
    if !file.exists() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
        println!("added {}", file.display());
    }
}

fn pretty(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

#[test]
fn golden_every_event_type_has_a_file_of_its_present_form() {
    let samples = samples::events();
    for (case, event) in &samples {
        let record = event.to_record().unwrap();
        let file = file_of(&record, case);
        if update_asked_for() {
            add(&file, &pretty(&record));
        }
        let text = fs::read_to_string(&file).unwrap_or_else(|error| {
            panic!("{}: {error}; add it: UPDATE_GOLDEN=1 cargo nextest run -p edgestack-model golden", file.display())
        });
        let golden: EventRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(
            golden,
            record,
            "the present form of {} differs from {}: a changed form needs the next version and an upcast",
            record.event_type,
            file.display()
        );
    }
    let sampled: BTreeSet<(Kind, String)> =
        samples.iter().map(|(_, event)| (event.fact.kind(), event.to_record().unwrap().event_type)).collect();
    for (kind, one) in all_types() {
        assert!(
            sampled.contains(&(kind, one.clone())),
            "{kind} event {one} has no sample: add it to golden/samples.rs"
        );
    }
}

#[test]
fn golden_every_file_ever_added_is_read_and_written_again() {
    let types = all_types();
    let mut files = 0;
    for kind in Kind::ALL {
        for entry in fs::read_dir(folder().join("events").join(kind.as_str())).unwrap() {
            let file = entry.unwrap().path();
            let golden: EventRecord = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
            assert_eq!(golden.kind, kind.as_str(), "{}", file.display());
            let begin = format!("{}.v{}.", golden.event_type, golden.version);
            assert!(file.file_name().unwrap().to_str().unwrap().starts_with(&begin), "{}", file.display());
            let event = Event::from_record(&golden).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            assert!(!event.describe().is_empty());
            let written = event.to_record().unwrap();
            assert!(types.contains(&(kind, written.event_type.clone())));
            if written.version == golden.version {
                assert_eq!(written, golden, "{}", file.display());
            }
            assert_eq!(Event::from_record(&written).unwrap(), event, "{}", file.display());
            files += 1;
        }
    }
    assert!(files >= types.len(), "{files} files for {} types", types.len());
}

#[test]
fn golden_commits_of_every_envelope_are_read_and_written_again() {
    let file = folder().join("commit").join("v1.json");
    let commit = samples::commit();
    if update_asked_for() {
        let value: serde_json::Value = serde_json::from_slice(&commit.encode().unwrap()).unwrap();
        add(&file, &pretty(&value));
    }
    let golden = fs::read(&file).unwrap();
    let read = Commit::decode(&golden).unwrap();
    assert_eq!(read, commit);
    let written: serde_json::Value = serde_json::from_slice(&read.encode().unwrap()).unwrap();
    assert_eq!(written, serde_json::from_slice::<serde_json::Value>(&golden).unwrap());
}

#[test]
fn what_is_newer_or_unknown_stops_the_reader() {
    let (_, event) = samples::events().swap_remove(0);
    let record = event.to_record().unwrap();
    for broken in [
        EventRecord { version: 0, ..record.clone() },
        EventRecord { version: record.version + 1, ..record.clone() },
        EventRecord { kind: "galaxy".into(), ..record.clone() },
        EventRecord { event_type: "VmTeleported".into(), ..record.clone() },
        EventRecord { data: serde_json::json!({}), ..record.clone() },
    ] {
        assert!(Event::from_record(&broken).is_err(), "{broken:?} was read");
    }
    let commit = samples::commit();
    let mut envelope: serde_json::Value = serde_json::from_slice(&commit.encode().unwrap()).unwrap();
    envelope["version"] = 2.into();
    assert!(Commit::decode(envelope.to_string().as_bytes()).is_err());
    assert!(Commit::decode(b"{}").is_err());
}

/// The two forms of one fact: read to the same event, and told to everyone in the newest form.
#[test]
fn an_old_form_is_read_as_the_newest() {
    for (event_type, old, new) in [("NodeRegistered", 1, 2), ("NodeFactsChanged", 1, 2)] {
        let read = |version: u32| {
            let file = folder().join("events/node").join(format!("{event_type}.v{version}.json"));
            serde_json::from_str::<EventRecord>(&fs::read_to_string(file).unwrap()).unwrap()
        };
        let (old, new) = (read(old), read(new));
        assert_ne!(old.data, new.data, "{event_type}");
        let event = Event::from_record(&old).unwrap();
        assert_eq!(event, Event::from_record(&new).unwrap(), "{event_type}");
        assert_eq!(event.to_record().unwrap(), new, "{event_type}");
        // Each version has its form, and no other's.
        for (version, data) in [(old.version, &new.data), (new.version + 1, &new.data)] {
            let record = EventRecord { version, data: data.clone(), ..old.clone() };
            assert!(Event::from_record(&record).is_err(), "{record:?} was read");
        }
    }
}
