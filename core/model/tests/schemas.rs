//! The schemas that programs in other languages rely on: they take all that was ever written, refuse what the decoder
//! refuses, and only ever grow.
//!
//! `tests/golden/schemas.json` holds them as they were published, without their comments. `UPDATE_GOLDEN=1 cargo nextest
//! run -p edgestack-model schemas` takes up what was added to them, and refuses every other change.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test's own functions are tests, too")]

#[path = "golden/types.rs"]
mod types;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use edgestack_model::{
    Commit, Event, Kind,
    event::EventRecord,
    schema::{COMMIT, Dialect, NamedSchema, Schemas},
};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

fn read(file: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

/// Every golden event, with the file that it is in.
fn golden_events() -> Vec<(PathBuf, Value)> {
    let folders = Kind::ALL.map(|kind| golden().join("events").join(kind.as_str()));
    let files = folders.into_iter().flat_map(|folder| fs::read_dir(folder).unwrap()).map(|entry| entry.unwrap().path());
    files.map(|file| (file.clone(), read(&file))).collect()
}

fn validator(document: &Value) -> Validator {
    jsonschema::draft202012::options().should_validate_formats(true).build(document).unwrap()
}

struct Checkers(Vec<(NamedSchema, Validator)>);

impl Checkers {
    fn new() -> Self {
        let schemas = Schemas::generate(Dialect::Draft202012);
        let checked = |named: &NamedSchema| (named.clone(), validator(&schemas.document(named)));
        Self(schemas.all.iter().map(checked).collect())
    }

    fn of(&self, name: &str, version: u64) -> &Validator {
        let found = self.0.iter().find(|(named, _)| named.name == name && u64::from(named.version) == version);
        &found.unwrap_or_else(|| panic!("{name} version {version} has no schema")).1
    }

    fn of_event(&self, event: &Value) -> &Validator {
        self.of(event["type"].as_str().unwrap(), event["version"].as_u64().unwrap())
    }
}

fn complaints(validator: &Validator, value: &Value) -> Vec<String> {
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn every_type_that_the_decoder_knows_has_a_schema_and_every_schema_a_golden_event() {
    let schemas = Schemas::generate(Dialect::Draft202012);
    let described: BTreeSet<_> = schemas.all.iter().map(|one| (one.kind, one.name.clone(), one.version)).collect();
    assert_eq!(described.len(), schemas.all.len(), "a schema stands twice");
    for (kind, name) in types::all_types() {
        assert!(described.iter().any(|one| (one.0, &one.1) == (Some(kind), &name)), "{name} has no schema");
    }
    let written: BTreeSet<_> = golden_events()
        .iter()
        .map(|(_, event)| {
            let kind: Kind = event["kind"].as_str().unwrap().parse().unwrap();
            let version = u32::try_from(event["version"].as_u64().unwrap()).unwrap();
            (Some(kind), event["type"].as_str().unwrap().to_owned(), version)
        })
        .chain([(None, COMMIT.to_owned(), 1)])
        .collect();
    assert_eq!(described, written);
}

#[test]
fn all_that_was_ever_written_keeps_its_schema_with_fields_that_nobody_knows_yet() {
    let checkers = Checkers::new();
    for (file, mut event) in golden_events() {
        let checker = checkers.of_event(&event);
        assert_eq!(complaints(checker, &event), Vec::<String>::new(), "{}", file.display());
        with_unknown_fields(&mut event, "labels");
        assert_eq!(complaints(checker, &event), Vec::<String>::new(), "{}", file.display());
    }
    for entry in fs::read_dir(golden().join("commit")).unwrap() {
        let file = entry.unwrap().path();
        let mut commit = read(&file);
        let checker = checkers.of(COMMIT, commit["version"].as_u64().unwrap());
        assert_eq!(complaints(checker, &commit), Vec::<String>::new(), "{}", file.display());
        commit["of a later version"] = json!({});
        assert_eq!(complaints(checker, &commit), Vec::<String>::new(), "{}", file.display());
    }
}

/// One more field in each object but a map's, where each is a value of the map.
fn with_unknown_fields(value: &mut Value, map: &str) {
    match value {
        Value::Object(fields) => {
            fields.iter_mut().filter(|(name, _)| *name != map && *name != "node_selector").for_each(|(_, field)| {
                with_unknown_fields(field, map);
            });
            fields.insert("of a later version".to_owned(), json!([1]));
        }
        Value::Array(values) => values.iter_mut().for_each(|value| with_unknown_fields(value, map)),
        _ => {}
    }
}

/// Every place in a value, its fields' names and indexes from the root.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, field)| {
            let name = name.replace('~', "~0").replace('/', "~1");
            places(field, &format!("{at}/{name}"), found);
        }),
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(index, value)| places(value, &format!("{at}/{index}"), found));
        }
        _ => {}
    }
}

/// The value with one place missing, or holding something else.
fn broken(whole: &Value) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    places(whole, "", &mut found);
    let mut all = Vec::new();
    for place in found.iter().filter(|place| !place.is_empty()) {
        for other in [
            json!(null),
            json!(true),
            json!(-1),
            json!(70_000),
            json!(5_000_000_000_u64),
            json!(1.5),
            json!(""),
            json!("Ä word\n"),
            json!([]),
            json!({}),
            json!({"Ä": "ä"}),
        ] {
            let mut value = whole.clone();
            let there = value.pointer_mut(place).unwrap();
            // serde takes a struct's fields as a list, too. Nothing was ever written so, and no schema offers it.
            if there.is_object() && other.is_array() {
                continue;
            }
            *there = other.clone();
            all.push((format!("{other} at {place}"), value));
        }
        let mut value = whole.clone();
        let (parent, last) = place.rsplit_once('/').unwrap();
        match value.pointer_mut(parent).unwrap() {
            Value::Object(fields) => drop(fields.remove(&last.replace("~1", "/").replace("~0", "~")).unwrap()),
            Value::Array(values) => drop(values.remove(last.parse().unwrap())),
            other => panic!("{other} has no places"),
        }
        all.push((format!("nothing at {place}"), value));
    }
    all
}

#[test]
fn schema_and_decoder_take_and_refuse_the_same_events() {
    let checkers = Checkers::new();
    let (mut taken, mut refused) = (0, 0);
    for (file, whole) in golden_events() {
        let checker = checkers.of_event(&whole);
        for (what, event) in broken(&whole) {
            let record = serde_json::from_value::<EventRecord>(event.clone());
            let same = |record: &EventRecord| {
                json!([record.kind, record.event_type, record.version])
                    == json!([whole["kind"], whole["type"], whole["version"]])
            };
            // What calls itself another event is not this schema's business: the reader takes another schema for it.
            let decoded = record.is_ok_and(|record| same(&record) && Event::from_record(&record).is_ok());
            assert_eq!(checker.is_valid(&event), decoded, "{}: {what}", file.display());
            *if decoded { &mut taken } else { &mut refused } += 1;
        }
    }
    assert!(taken > 100 && refused > 2000, "{taken} taken, {refused} refused");
}

#[test]
fn schemas_and_decoder_take_and_refuse_the_same_commits() {
    let checkers = Checkers::new();
    let whole = read(&golden().join("commit").join("v1.json"));
    let valid = |commit: &Value| {
        let events = commit["events"].as_array();
        checkers.of(COMMIT, 1).is_valid(commit)
            && events.is_some_and(|events| {
                events.iter().all(|event| {
                    let types = (event["type"].as_str(), event["version"].as_u64());
                    let named = checkers
                        .0
                        .iter()
                        .find(|(named, _)| (Some(named.name.as_str()), Some(u64::from(named.version))) == types);
                    named.is_some_and(|(_, checker)| checker.is_valid(event))
                })
            })
    };
    assert!(valid(&whole));
    for (what, commit) in broken(&whole) {
        // The decoder leaves what is only hashed to the log's chain.
        if what.ends_with("/previous_hash") && commit["previous_hash"].is_string() {
            assert!(!valid(&commit), "{what}");
            continue;
        }
        assert_eq!(valid(&commit), Commit::decode(commit.to_string().as_bytes()).is_ok(), "{what}");
    }
}

#[test]
fn each_schema_stands_alone_and_tells_what_it_is() {
    let schemas = Schemas::generate(Dialect::Draft202012);
    for named in &schemas.all {
        let document = schemas.document(named);
        assert!(jsonschema::draft202012::meta::is_valid(&document), "{}", named.name);
        let mut found = Vec::new();
        places(&document, "", &mut found);
        for place in found {
            let value = document.pointer(&place).unwrap();
            if place.ends_with("/$ref") {
                let target = value.as_str().unwrap().strip_prefix('#').unwrap();
                assert!(document.pointer(target).is_some(), "{}: {place} leads nowhere", named.name);
            }
            if place.ends_with("/additionalProperties") || place.ends_with("/unevaluatedProperties") {
                assert_ne!(value, &json!(false), "{}: {place}: a reader must bear with new fields", named.name);
            }
            if place.ends_with("/description") && !place.ends_with("/properties/description") {
                let text = value.as_str().unwrap();
                assert!(!text.is_empty() && !text.contains("[`"), "{}: {place}: {text}", named.name);
            }
        }
        assert!(document["title"].as_str().is_some_and(|title| title.starts_with(&named.name)), "{document}");
    }
}

/// But for formats, of which draft 07 has fewer.
#[test]
fn the_dialect_of_asyncapi_says_the_same() {
    let schemas = [Dialect::Draft202012, Dialect::AsyncApi].map(Schemas::generate);
    let names = schemas.each_ref().map(|schemas| schemas.all.iter().map(|one| one.name.clone()).collect::<Vec<_>>());
    assert_eq!(names[0], names[1]);
    for (file, whole) in golden_events() {
        let [one, other] = schemas.each_ref().map(|schemas| {
            schemas
                .all
                .iter()
                .find(|one| (&whole["type"], &whole["version"]) == (&json!(one.name), &json!(one.version)))
                .unwrap()
        });
        let mut document = other.schema.clone();
        document["components"] = json!({"schemas": schemas[1].definitions});
        let one =
            jsonschema::draft202012::options().should_validate_formats(false).build(&schemas[0].document(one)).unwrap();
        let other = jsonschema::draft7::options().should_validate_formats(false).build(&document).unwrap();
        for (what, event) in broken(&whole) {
            assert_eq!(other.is_valid(&event), one.is_valid(&event), "{}: {what}", file.display());
        }
    }
}

/// Without what only people read.
fn bare(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let kept = fields
                .iter()
                .filter(|(name, value)| !(matches!(name.as_str(), "description" | "title") && value.is_string()));
            kept.map(|(name, value)| (name.clone(), bare(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(values) => values.iter().map(bare).collect(),
        other => other.clone(),
    }
}

/// What of `now` a program that was written for `before` would not bear; empty if it only grew.
fn breaches(before: &Value, now: &Value, at: &str, found: &mut Vec<String>) {
    match (before, now) {
        (Value::Object(before), Value::Object(now)) => {
            for (name, value) in before {
                match now.get(name) {
                    Some(now) => breaches(value, now, &format!("{at}/{name}"), found),
                    None => found.push(format!("{at}/{name} is gone")),
                }
            }
            // New properties and new definitions are growth; anything else that is new narrows or widens.
            let grows = ["/properties", "/$defs"].iter().any(|end| at.ends_with(end)) || at.is_empty();
            let new = now.keys().filter(|name| !grows && !before.contains_key(*name));
            found.extend(new.map(|name| format!("{at}/{name} is new")));
        }
        // A choice may get further alternatives, at its end.
        (Value::Array(before), Value::Array(now)) if at.ends_with("/oneOf") && before.len() <= now.len() => {
            before.iter().zip(now).enumerate().for_each(|(index, (before, now))| {
                breaches(before, now, &format!("{at}/{index}"), found);
            });
        }
        (before, now) if before == now => {}
        (before, now) => found.push(format!("{at} was {before} and is {now}")),
    }
}

#[test]
fn published_schemas_only_grow() {
    let schemas = Schemas::generate(Dialect::Draft202012);
    let mut now: Map<String, Value> =
        schemas.all.iter().map(|named| (format!("{}.v{}", named.name, named.version), bare(&named.schema))).collect();
    now.insert("$defs".to_owned(), bare(&schemas.definitions.clone().into()));
    let now = Value::from(now);
    let file = golden().join("schemas.json");
    let before = if file.exists() { read(&file) } else { json!({}) };
    let mut found = Vec::new();
    breaches(&before, &now, "", &mut found);
    assert!(
        found.is_empty(),
        "programs rely on what changed here; a type whose data changes gets a next version (CONTRIBUTING.md, \
         \"Changing an event that is out\"):\n{}",
        found.join("\n")
    );
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::write(&file, serde_json::to_string_pretty(&now).unwrap() + "\n").unwrap();
    }
    assert_eq!(read(&file), now, "what was added is not in tests/golden/schemas.json: run this with UPDATE_GOLDEN=1");
}

#[test]
fn a_breach_of_the_contract_is_told() {
    let before = json!({"E.v1": {"properties": {"a": {"type": "integer"}}, "required": ["a"]}});
    let check = |now: Value, breach: bool| {
        let mut found = Vec::new();
        breaches(&before, &now, "", &mut found);
        assert_eq!(!found.is_empty(), breach, "{now}: {found:?}");
    };
    check(before.clone(), false);
    check(json!({"E.v1": {"properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a"]}, "F.v1": {}}), false);
    let choice = |words: &[&str]| {
        let one_of: Vec<_> = words.iter().map(|word| json!({"const": word})).collect();
        json!({"F.v1": {"oneOf": one_of}})
    };
    for (now, breach) in [(choice(&["a", "b", "c"]), false), (choice(&["a"]), true), (choice(&["b", "a"]), true)] {
        let mut found = Vec::new();
        breaches(&choice(&["a", "b"]), &now, "", &mut found);
        assert_eq!(!found.is_empty(), breach, "{now}: {found:?}");
    }
    for breach in [
        json!({}),
        json!({"E.v1": {"properties": {"b": {}}, "required": ["a"]}}),
        json!({"E.v1": {"properties": {"a": {"type": "string"}}, "required": ["a"]}}),
        json!({"E.v1": {"properties": {"a": {"type": ["integer", "null"]}}, "required": ["a"]}}),
        json!({"E.v1": {"properties": {"a": {"type": "integer", "maximum": 7}}, "required": ["a"]}}),
        json!({"E.v1": {"properties": {"a": {"type": "integer"}}, "required": []}}),
        json!({"E.v1": {"properties": {"a": {"type": "integer"}, "b": {}}, "required": ["a", "b"]}}),
    ] {
        check(breach, true);
    }
}

/// The check above on what is published today: whatever changes in the data of any type, and is no growth, is told. Only
/// with the next version beside it is such a change no breach.
#[test]
fn every_published_version_is_guarded() {
    let published = read(&golden().join("schemas.json"));
    let told = |now: &Value| {
        let mut found = Vec::new();
        breaches(&published, now, "", &mut found);
        !found.is_empty()
    };
    let mut checked = 0;
    for name in published.as_object().unwrap().keys().filter(|name| *name != "$defs") {
        let mut gone = published.clone();
        gone.as_object_mut().unwrap().remove(name);
        assert!(told(&gone), "{name} is gone");
        let data = if name.starts_with(COMMIT) { String::new() } else { "/properties/data".to_owned() };
        let at = format!("/{name}{data}");
        let fields = published.pointer(&format!("{at}/properties")).and_then(Value::as_object);
        for field in fields.into_iter().flat_map(Map::keys) {
            let mut renamed = published.clone();
            let properties = renamed.pointer_mut(&format!("{at}/properties")).unwrap().as_object_mut().unwrap();
            let schema = properties.remove(field).unwrap();
            properties.insert(format!("{field}_of_another_name"), schema);
            assert!(told(&renamed), "{name}: {field} was renamed");
            let mut other = published.clone();
            *other.pointer_mut(&format!("{at}/properties/{field}")).unwrap() = json!({"type": "null"});
            assert!(told(&other), "{name}: {field} is of another type");
            checked += 1;
        }
        let mut demanding = published.clone();
        demanding.pointer_mut(&at).unwrap()["required"] = json!(["of a later version"]);
        assert!(told(&demanding), "{name}: another field is required");
        let mut next = published.clone();
        let (of_type, version) = name.rsplit_once(".v").unwrap();
        next[format!("{of_type}.v{}", version.parse::<u32>().unwrap() + 1000)] = json!({"type": "object"});
        assert!(!told(&next), "{name}: a next version is growth");
    }
    for shared in published["$defs"].as_object().unwrap().keys() {
        let mut other = published.clone();
        other["$defs"][shared] = json!({"type": "null"});
        assert!(told(&other), "{shared} is of another type");
    }
    assert!(checked > 60, "{checked} fields");
}
