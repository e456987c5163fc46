//! `/asyncapi.json`: where events are heard, over NATS and over HTTP, and what they look like. Source: AsyncAPI 3.0.0.

use edgestack_log::jetstream::{ACCEPTED_SUBJECTS, Role, SHARED_SUBJECT, STORED_SUBJECTS, STREAM};
use edgestack_model::{
    Kind,
    schema::{COMMIT, Dialect, NamedSchema, Schemas},
};
use edgestack_wire::cloud_event::{CloudEvent, Dropped, Heartbeat};
use serde_json::{Map, Value, json};
use utoipa::{PartialSchema, ToSchema, openapi::RefOr};

use crate::SiteInfo;

const DESCRIPTION: &str = "\
Every change of the site is a commit in its log, and every commit holds one or more events. They are heard in two ways: over \
NATS as the commits that they are, each chained to the one before by its hash, and over HTTP as CloudEvents, filtered by the \
server. Both begin at any place of the log. /schemas has the same schemas as JSON Schema 2020-12, one by one.";

/// Where the feed's own schemas are, apart from the log's.
const FEED: &str = "feed.";

/// The document.
pub(crate) fn document(site: &SiteInfo) -> Value {
    let schemas = Schemas::generate(Dialect::AsyncApi);
    let mut document = json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "EdgeStack events",
            "version": site.version,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"api": api(site)},
        "channels": {"events": events(&schemas)},
        "operations": {"tellEvents": {
            "action": "send",
            "channel": {"$ref": "#/channels/events"},
            "summary": "Each event of the site, from the asked place of the log on, once and in order.",
            "bindings": {"http": {"method": "GET", "query": query(), "bindingVersion": "0.3.0"}},
        }},
        "components": {
            "schemas": components(&schemas),
            "messages": messages(&schemas),
            "securitySchemes": {"bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "The site's API token; `edgectl config view` shows it.",
            }},
        },
    });
    if let Some(address) = &site.nats_address {
        add_nats(&mut document, address);
    }
    document
}

fn api(site: &SiteInfo) -> Value {
    let (protocol, host) = site.url.split_once("://").unwrap_or(("http", &site.url));
    json!({
        "host": host,
        "protocol": protocol,
        "description": "MM3 over HTTP; /openapi.json describes it.",
        "security": [{"$ref": "#/components/securitySchemes/bearer"}],
    })
}

/// The event feed: server-sent events, whose `data` these messages are.
fn events(schemas: &Schemas) -> Value {
    let mut told: Map<String, Value> = events_of(schemas)
        .map(|named| {
            let key = key(named);
            (key.clone(), json!({"$ref": format!("#/components/messages/{key}")}))
        })
        .collect();
    for (name, summary) in [
        ("heartbeat", "A sign of life, and the place up to which all that matches was told."),
        ("dropped", "The last message to a reader that was too slow; it goes on with Last-Event-ID."),
    ] {
        let schema = if name == "heartbeat" { Heartbeat::name() } else { Dropped::name() };
        let payload = reference(&format!("{FEED}{schema}"));
        told.insert(name.to_owned(), json!({"name": name, "summary": summary, "payload": payload}));
    }
    json!({
        "address": "/edgetron/events",
        "title": "The event feed",
        "description": "Server-sent events. The `id` of each is a place in the log; given back as `Last-Event-ID`, nothing is \
            missed or told twice. The event's name is `heartbeat` or `dropped` for these two, and absent for a CloudEvent.",
        "servers": [{"$ref": "#/servers/api"}],
        "messages": told,
    })
}

/// A message for each type and version of event, as the feed tells it.
fn messages(schemas: &Schemas) -> Value {
    let message = |named: &NamedSchema| {
        let cloud_event = json!({
            "type": "object",
            "properties": {
                "type": {"const": format!("edgestack.{}.v{}", named.name, named.version)},
                "data": reference(&key(named)),
            },
        });
        json!({
            "name": key(named),
            "title": named.schema["title"],
            "summary": named.schema["description"],
            "contentType": "application/cloudevents+json",
            "payload": {"allOf": [reference(&format!("{FEED}{}", CloudEvent::name())), cloud_event]},
        })
    };
    events_of(schemas).map(|named| (key(named), message(named))).collect::<Map<_, _>>().into()
}

/// The parameters of the feed; their words are those of the OpenAPI document.
fn query() -> Value {
    let list = |what: &str| json!({"type": "string", "description": format!("Only {what}; more with commas.")});
    json!({
        "type": "object",
        "properties": {
            "after": {"type": "integer", "minimum": 0, "description": "Begin after the commit of this sequence, 0 for all."},
            "kind": list("events of these kinds"),
            "name": {"type": "string", "description": "Only events of objects of this name or id."},
            "label": list("events of objects that have these labels then, key=value"),
            "type": list("events of these types"),
            "actor": list("what these did"),
        },
    })
}

/// The server, channels and operations that need NATS.
fn add_nats(document: &mut Value, address: &str) {
    let user = Role::Auditor.user();
    document["servers"]["log"] = json!({
        "host": address,
        "protocol": "nats",
        "description": format!(
            "The site's nats-server. The user `{user}` reads the JetStream stream {STREAM} and hears notices, and may do nothing \
             else: its URL with password is `nats_url` in client.json, and of `edgectl config view -o json`.",
        ),
        "security": [{"$ref": format!("#/components/securitySchemes/{user}")}],
    });
    document["components"]["securitySchemes"][user] = json!({
        "type": "userPassword",
        "description": format!("The user {user}; its password is in client.json."),
    });
    document["components"]["messages"][COMMIT] = json!({
        "name": COMMIT,
        "title": "A commit",
        "summary": "The events of one command, all or none: one line of JSON.",
        "contentType": "application/json",
        "payload": reference(COMMIT),
    });
    document["components"]["messages"]["SharedCommits"] = json!({
        "name": "SharedCommits",
        "title": "Several commits",
        "summary": "Commits that arrived together, a line each (JSON Lines), in order; the schema is that of each line.",
        "contentType": "application/jsonl",
        "payload": reference(COMMIT),
    });
    document["components"]["messages"]["Notice"] = json!({
        "name": "Notice",
        "title": "Something was stored",
        "summary": "Headers only: a reason to read the stream, not what was stored.",
        "headers": {
            "type": "object",
            "properties": {
                "Nats-Stream": {"const": STREAM},
                "Nats-Subject": {"type": "string", "description": "The subject of what was stored."},
                "Nats-Sequence": {"type": "string", "pattern": "^[0-9]+$", "description": "The message's sequence in the stream; not that of a commit."},
            },
            "required": ["Nats-Stream", "Nats-Subject", "Nats-Sequence"],
        },
        // Nothing: headers are all.
        "payload": {"type": "string", "maxLength": 0},
    });
    let parameters = json!({
        "kind": {
            "description": "The kind of the commit's primary resource.",
            "enum": Kind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>(),
        },
        "resource_id": {"description": "The primary resource's id."},
    });
    let [commits, notices] = [ACCEPTED_SUBJECTS, STORED_SUBJECTS].map(|subjects| subjects.trim_end_matches('>'));
    let shared = SHARED_SUBJECT.trim_start_matches(commits);
    for (channel, address, parameters, message, operation, what) in [
        (
            "commits",
            format!("{commits}{{kind}}.{{resource_id}}"),
            Some(&parameters),
            COMMIT,
            "appendCommit",
            format!("Commits, a message each, kept for ever in the stream {STREAM}."),
        ),
        (
            "sharedCommits",
            SHARED_SUBJECT.to_owned(),
            None,
            "SharedCommits",
            "appendCommits",
            format!("Messages of several commits, in the same stream {STREAM}: whoever reads the log reads both."),
        ),
        (
            "notices",
            format!("{notices}{{kind}}.{{resource_id}}"),
            Some(&parameters),
            "Notice",
            "noticeCommit",
            "Told once, after the write was synced; not kept.".to_owned(),
        ),
        (
            "sharedNotices",
            format!("{notices}{shared}"),
            None,
            "Notice",
            "noticeCommits",
            "The same for a message of several commits.".to_owned(),
        ),
    ] {
        document["channels"][channel] = json!({
            "address": address,
            "description": what,
            "servers": [{"$ref": "#/servers/log"}],
            "messages": {message: {"$ref": format!("#/components/messages/{message}")}},
        });
        if let Some(parameters) = parameters {
            document["channels"][channel]["parameters"] = parameters.clone();
        }
        document["operations"][operation] = json!({
            "action": "send",
            "channel": {"$ref": format!("#/channels/{channel}")},
            "messages": [{"$ref": format!("#/channels/{channel}/messages/{message}")}],
            "summary": what,
        });
    }
}

/// All schemas: of each event and of the commit, what they share, and the feed's own.
fn components(schemas: &Schemas) -> Value {
    let mut components = schemas.definitions.clone();
    components.extend(events_of(schemas).map(|named| (key(named), named.schema.clone())));
    if let Some(commit) = schemas.all.iter().find(|named| named.kind.is_none()) {
        let mut commit = commit.schema.clone();
        // Here all events are at hand.
        let events: Vec<_> = events_of(schemas).map(|named| reference(&key(named))).collect();
        commit["properties"]["events"]["items"] = json!({"oneOf": events});
        components.insert(COMMIT.to_owned(), commit);
    }
    let mut feed = Vec::new();
    CloudEvent::schemas(&mut feed);
    feed.push((CloudEvent::name().into_owned(), CloudEvent::schema()));
    feed.push((Heartbeat::name().into_owned(), Heartbeat::schema()));
    feed.push((Dropped::name().into_owned(), Dropped::schema()));
    components.extend(feed.into_iter().map(|(name, schema)| (format!("{FEED}{name}"), of_the_feed(&schema))));
    components.into()
}

/// A schema of the API's, which refers to others of the API's by the names that they have here.
fn of_the_feed(schema: &RefOr<utoipa::openapi::Schema>) -> Value {
    // Plain data; serializing it cannot fail.
    let mut schema = serde_json::to_value(schema).unwrap_or_default();
    rename(&mut schema);
    schema
}

fn rename(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref") {
                *reference = reference.replace("#/components/schemas/", &format!("#/components/schemas/{FEED}"));
            }
            // OpenAPI's word; JSON Schema's is a list.
            if let Some(example) = fields.remove("example") {
                fields.insert("examples".to_owned(), json!([example]));
            }
            fields.values_mut().for_each(rename);
        }
        Value::Array(values) => values.iter_mut().for_each(rename),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn events_of(schemas: &Schemas) -> impl Iterator<Item = &NamedSchema> {
    schemas.all.iter().filter(|named| named.kind.is_some())
}

fn key(named: &NamedSchema) -> String {
    format!("{}.v{}", named.name, named.version)
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}
