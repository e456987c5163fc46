//! Whether a document is one of AsyncAPI 3.0, by the Initiative's own schema, and whole.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "this crate is for tests: a panic is how it fails")]

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;

/// Where the schema comes from stands in the README beside it.
static DOCUMENT: LazyLock<Validator> = LazyLock::new(|| {
    let schema = serde_json::from_str(include_str!("../asyncapi-3.0.0.schema.json")).expect("JSON");
    jsonschema::draft7::new(&schema).expect("a schema")
});

/// What is wrong with a document, each with its place; nothing for a good one.
pub fn complaints(document: &Value) -> Vec<String> {
    let mut complaints: Vec<String> =
        DOCUMENT.iter_errors(document).map(|error| format!("{}: {error}", error.instance_path())).collect();
    references(document, &mut |reference| {
        if target(document, reference).is_none() {
            complaints.push(format!("{reference} leads nowhere"));
        }
    });
    for (name, operation) in document["operations"].as_object().into_iter().flatten() {
        let channel = operation["channel"]["$ref"].as_str().unwrap_or_default();
        for message in operation["messages"].as_array().into_iter().flatten() {
            let message = message["$ref"].as_str().unwrap_or_default();
            if !message.starts_with(&format!("{channel}/messages/")) {
                complaints.push(format!("/operations/{name}: {message} is no message of {channel}"));
            }
        }
    }
    complaints
}

/// What a reference within the document leads to.
pub fn target<'a>(document: &'a Value, reference: &str) -> Option<&'a Value> {
    document.pointer(reference.strip_prefix('#')?)
}

fn references(value: &Value, tell: &mut impl FnMut(&str)) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                tell(reference);
            }
            fields.values().for_each(|value| references(value, tell));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, tell)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({
            "asyncapi": "3.0.0",
            "info": {"title": "a site", "version": "1"},
            "servers": {"log": {"host": "127.0.0.1:4222", "protocol": "nats"}},
            "channels": {"commits": {
                "address": "mm3.commit.{kind}",
                "parameters": {"kind": {"description": "which"}},
                "servers": [{"$ref": "#/servers/log"}],
                "messages": {"commit": {"payload": {"$ref": "#/components/schemas/commit"}}},
            }},
            "operations": {"tell": {
                "action": "send",
                "channel": {"$ref": "#/channels/commits"},
                "messages": [{"$ref": "#/channels/commits/messages/commit"}],
            }},
            "components": {"schemas": {"commit": {"type": "object"}}},
        })
    }

    #[test]
    fn a_good_document_has_no_complaints() {
        assert_eq!(complaints(&good()), Vec::<String>::new());
    }

    #[test]
    fn whatever_is_wrong_is_told() {
        for (place, wrong) in [
            ("/asyncapi", json!("2.6.0")),
            ("/info/title", json!(1)),
            ("/servers/log/protocol", json!(["nats"])),
            ("/channels/commits/address", json!(7)),
            ("/channels/commits/parameters/kind/description", json!(7)),
            ("/channels/commits/messages/commit/payload/$ref", json!("#/components/schemas/nothing")),
            ("/operations/tell/action", json!("publish")),
            ("/operations/tell/messages/0/$ref", json!("#/components/schemas/commit")),
            ("/components/schemas/commit/type", json!("thing")),
        ] {
            let mut document = good();
            *document.pointer_mut(place).unwrap() = wrong;
            assert!(!complaints(&document).is_empty(), "{place} may be anything");
        }
        for place in ["/asyncapi", "/info", "/info/version", "/servers/log/host", "/operations/tell/channel"] {
            let mut document = good();
            let (parent, field) = place.rsplit_once('/').unwrap();
            document.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(field).unwrap();
            assert!(!complaints(&document).is_empty(), "{place} may be absent");
        }
    }
}
