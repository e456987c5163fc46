//! Request bodies: read with a bound and a patience, then parsed with errors
//! that tell the place.
//!
//! JSON as RFC 8259 has it, in UTF-8. A field that a schema names must not stand
//! twice (422); in maps (labels, node_selector) the last of equal keys counts.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, header},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;

use crate::{codes, problem::Failure, query::shortened};

/// The largest JSON body: 1 MiB.
pub(crate) const JSON_BYTES_MAX: usize = 1 << 20;
/// The longest pause between two pieces of a body.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Reads a JSON body whole, without looking into it.
pub(crate) async fn read_json(method: &Method, headers: &HeaderMap, body: Body) -> Result<Bytes, Failure> {
    check_is_json(method, headers)?;
    let announced = announced_length(headers);
    // Refused by what is announced: the bytes are never read.
    if announced.is_some_and(|length| length > JSON_BYTES_MAX as u64) {
        return Err(too_large());
    }
    let mut body = body;
    let mut whole = BytesMut::new();
    let mut first = Bytes::new();
    while let Some(piece) = next_piece(&mut body).await? {
        if whole.len() + first.len() + piece.len() > JSON_BYTES_MAX {
            return Err(too_large());
        }
        // Most bodies are one piece, which then needs no copy.
        if first.is_empty() && whole.is_empty() {
            first = piece;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&piece);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// The next bytes of a body; `None` at its end.
pub(crate) async fn next_piece(body: &mut Body) -> Result<Option<Bytes>, Failure> {
    loop {
        match tokio::time::timeout(PAUSE_MAX, body.frame()).await {
            Err(_elapsed) => {
                return Err(Failure::new(&codes::BODY_TIMED_OUT, "the body stopped coming for 30 s; send it again")
                    .header(header::CONNECTION, HeaderValue::from_static("close")));
            }
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => {
                return Err(Failure::new(
                    &codes::BODY_INCOMPLETE,
                    "the body broke off before its end; send it again, whole",
                )
                .because(error.to_string())
                .header(header::CONNECTION, HeaderValue::from_static("close")));
            }
            Ok(Some(Ok(frame))) => {
                // Trailers carry nothing for us.
                if let Ok(piece) = frame.into_data() {
                    return Ok(Some(piece));
                }
            }
        }
    }
}

/// What `Content-Length` says.
pub(crate) fn announced_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The media type in `Content-Type`, in lower case and without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = text.split(';').next().unwrap_or(text);
    Some(essence.trim().to_ascii_lowercase())
}

fn check_is_json(method: &Method, headers: &HeaderMap) -> Result<(), Failure> {
    let given = media_type(headers);
    let merges = method == Method::PATCH || method == Method::PUT;
    match given.as_deref() {
        Some("application/json") => Ok(()),
        // RFC 7396; our updates are merge patches in either spelling.
        Some("application/merge-patch+json") if merges => Ok(()),
        other => Err(Failure::new(
            &codes::UNSUPPORTED_MEDIA_TYPE,
            format!(
                "Content-Type: must be application/json{}, got {}",
                if merges { " or application/merge-patch+json" } else { "" },
                other.map_or_else(|| "none".to_owned(), |given| format!("{:?}", shortened(given)))
            ),
        )
        .field("Content-Type")),
    }
}

fn too_large() -> Failure {
    Failure::new(
        &codes::BODY_TOO_LARGE,
        format!("the body has more than {JSON_BYTES_MAX} bytes, the most that a JSON body may have"),
    )
    // The rest of the body is not read, so the connection cannot go on.
    .header(header::CONNECTION, HeaderValue::from_static("close"))
}

/// Parses a body.
pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    let text = std::str::from_utf8(body).map_err(|error| {
        Failure::new(
            &codes::BODY_NOT_UTF8,
            format!("the body is not UTF-8 at byte {}; send JSON encoded as UTF-8", error.valid_up_to()),
        )
    })?;
    if !text.trim_start().starts_with('{') {
        // serde would take an array for a struct, field by field.
        return Err(match serde_json::from_str::<IgnoredAny>(text) {
            Ok(_) => Failure::new(&codes::INVALID_BODY, "the body: must be a JSON object"),
            Err(error) => malformed(&error),
        });
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize(&mut deserializer) {
        Ok(parsed) => {
            deserializer.end().map_err(|error| malformed(&error))?;
            Ok(parsed)
        }
        Err(error) => {
            // serde_json calls some values of a wrong type a syntax error: whether it is JSON at all is asked apart.
            if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
                return Err(malformed(&error));
            }
            let path = error.path().to_string();
            let error = error.into_inner();
            if error.to_string().starts_with("invalid type: floating point") {
                return parse_whole_floats(text);
            }
            Err(wrong_shape(&path, &error))
        }
    }
}

/// `1.0` is an integer to JSON Schema, and some languages print theirs so; serde knows only `1`.
fn parse_whole_floats<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    let mut value: Value = serde_json::from_str(text).map_err(|error| malformed(&error))?;
    make_whole(&mut value);
    serde_path_to_error::deserialize(value).map_err(|error| wrong_shape(&error.path().to_string(), error.inner()))
}

fn make_whole(value: &mut Value) {
    /// Every whole number up to here is a float exactly (2^53).
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) => {
            if let Some(float) = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= EXACT_MAX)
                && number.is_f64()
            {
                #[expect(clippy::cast_possible_truncation, reason = "it is whole, and within 2^53")]
                let whole = float as i64;
                *number = whole.into();
            }
        }
        Value::Array(values) => values.iter_mut().for_each(make_whole),
        Value::Object(fields) => fields.values_mut().for_each(make_whole),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn malformed(error: &serde_json::Error) -> Failure {
    Failure::new(&codes::MALFORMED_JSON, format!("the body is not JSON: {error}"))
}

fn wrong_shape(path: &str, error: &serde_json::Error) -> Failure {
    let message = error.to_string();
    // serde_json appends the place, which the field tells better.
    let message = match message.rsplit_once(" at line ").map_or(message.as_str(), |(before, _)| before) {
        "expected value" => "is of a wrong type",
        other => other,
    };
    let parent = if path == "." { "" } else { path };
    // A missing, unknown or doubled field is not in the path yet: serde names it in backticks.
    let names_field = ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|start| message.strip_prefix(start))
        .and_then(|rest| rest.split('`').next());
    let field = match names_field {
        Some(name) if parent.is_empty() || parent == name => name.to_owned(),
        Some(name) if parent.ends_with(&format!(".{name}")) => parent.to_owned(),
        Some(name) => format!("{parent}.{name}"),
        None => parent.to_owned(),
    };
    let field = shortened(&field);
    let message = shortened_message(message);
    if field.is_empty() {
        return Failure::new(&codes::INVALID_BODY, format!("the body: {message}"));
    }
    Failure::new(&codes::INVALID_BODY, format!("{field}: {message}")).field(field)
}

/// Values from outside stand in serde's messages: bounded, so that the problem is.
fn shortened_message(message: &str) -> String {
    let mut short: String = message.chars().take(400).collect();
    if short.len() < message.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgestack_wire::{flavor::CreateFlavor, vm::CreateVm, vm::VmAction};

    fn of<T: DeserializeOwned>(body: &str) -> String {
        match parse::<T>(body.as_bytes()) {
            Ok(_) => "fine".to_owned(),
            Err(failure) => format!("{failure:?}"),
        }
    }

    #[test]
    fn errors_name_code_and_field() {
        let flavor = of::<CreateFlavor>;
        let vm = of::<CreateVm>;
        let good = r#"{"name":"a","vcpus":1,"memory_mib":64,"disk_gib":1}"#;
        assert_eq!(flavor(good), "fine");
        assert_eq!(flavor(r#"{"name":"a","vcpus":1.0,"memory_mib":6.4e1,"disk_gib":1}"#), "fine");
        for (got, code, field) in [
            (flavor(r#"{"name":"a","vcpus":1}"#), "invalid-body", "Some(\"memory_mib\")"),
            (flavor(r#"{"name":"a","vcpus":"1"}"#), "invalid-body", "Some(\"vcpus\")"),
            (flavor(r#"{"name":"a","colour":"1"}"#), "invalid-body", "Some(\"colour\")"),
            (flavor(r#"{"name":"a","name":"b"}"#), "invalid-body", "Some(\"name\")"),
            (flavor(r#"{"labels":{"a":1}}"#), "invalid-body", "Some(\"labels.a\")"),
            (flavor(r#"{"name":"a","vcpus":1.5}"#), "invalid-body", "Some(\"vcpus\")"),
            (flavor("[]"), "invalid-body", "None"),
            (of::<edgestack_wire::meta::UpdateMeta>(" [null]"), "invalid-body", "None"),
            (vm(r#"{"name":"a","image":"b","flavor":"c","boot_disk":[1]}"#), "invalid-body", "Some(\"boot_disk\")"),
            (flavor("nonsense"), "malformed-json", "None"),
            (flavor(""), "malformed-json", "None"),
            (flavor(&format!("{good}x")), "malformed-json", "None"),
            (
                vm(r#"{"name":"a","image":"b","flavor":"c","boot_disk":{"size":1}}"#),
                "invalid-body",
                "Some(\"boot_disk.size\")",
            ),
            (vm(r#"{"networks":[{"network":1}]}"#), "invalid-body", "Some(\"networks[0].network\")"),
            (of::<VmAction>(r#"{"action":"stop","grace":1}"#), "invalid-body", "Some(\"grace\")"),
        ] {
            assert!(got.contains(&format!("code: \"{code}\"")), "{got}");
            assert!(got.contains(&format!("field: {field}")), "{got}");
        }
        assert!(format!("{:?}", parse::<VmAction>(b"\"\xff\"").unwrap_err()).contains("body-not-utf8"));
    }
}
