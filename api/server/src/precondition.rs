//! Entity tags (RFC 9110, 8.8.3 and 13.1): `"g<generation>.r<revision>"`.
//!
//! `If-Match` compares the generation alone, in the model: workers' reports move
//! the revision and must not make people's changes fail. `If-None-Match`
//! compares the whole tag.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use edgestack_model::{Generation, Sequence, given::Precondition};
use edgestack_wire::meta::Meta;

use crate::problem::Failure;

/// The tag of a resource.
pub(crate) fn tag_text(meta: &Meta) -> String {
    format!("\"g{}.r{}\"", meta.generation, meta.revision)
}

/// The tag as a header.
pub(crate) fn tag(meta: &Meta) -> Option<HeaderValue> {
    HeaderValue::try_from(tag_text(meta)).ok()
}

/// What `If-Match` demands; `*` demands only that the resource exists, which a change does anyway.
pub(crate) fn if_match(headers: &HeaderMap) -> Result<Option<Precondition>, Failure> {
    let Some(text) = single(headers, &header::IF_MATCH)? else {
        return Ok(None);
    };
    let text = text.trim();
    if text == "*" {
        return Ok(None);
    }
    parse(text).map(Some).ok_or_else(|| {
        Failure::bad_header("If-Match", "must be the ETag of one answer, as \"g3.r17\" with its quotation marks, or *")
    })
}

/// Whether `If-None-Match` holds the tag (weak comparison).
pub(crate) fn none_match_holds(headers: &HeaderMap, tag: &str) -> bool {
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|given| given == "*" || given.strip_prefix("W/").unwrap_or(given) == tag)
}

fn parse(text: &str) -> Option<Precondition> {
    let inner = text.strip_prefix("\"g")?.strip_suffix('"')?;
    let (generation, revision) = inner.split_once(".r")?;
    let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    Some(Precondition { generation: Generation(number(generation)?), revision: Sequence(number(revision)?) })
}

/// A header that may come once; its bytes must be UTF-8.
pub(crate) fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Failure> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Failure::bad_header(name.as_str(), "it is given twice"));
    }
    std::str::from_utf8(value.as_bytes()).map(Some).map_err(|_| Failure::bad_header(name.as_str(), "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_tags_are_preconditions() {
        let one = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, text.parse().unwrap());
            if_match(&headers)
        };
        let seen = one("\"g3.r17\"").unwrap().unwrap();
        assert_eq!((seen.generation, seen.revision), (Generation(3), Sequence(17)));
        assert!(one("*").unwrap().is_none());
        for bad in ["g3.r17", "\"g3\"", "\"g.r\"", "\"g+3.r1\"", "W/\"g3.r17\"", "\"g3.r17\", \"g4.r1\"", ""] {
            assert!(one(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn if_none_match_takes_lists_and_weak_tags() {
        let mut headers = HeaderMap::new();
        assert!(!none_match_holds(&headers, "\"g1.r1\""));
        headers.insert(header::IF_NONE_MATCH, "\"x\", W/\"g1.r1\"".parse().unwrap());
        assert!(none_match_holds(&headers, "\"g1.r1\""));
        assert!(!none_match_holds(&headers, "\"g1.r2\""));
    }
}
